//! The client library and the client commands, against a server that plays a script.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod advice;
mod commands;
mod fake;
mod library;
#[path = "../programs.rs"]
mod programs;
