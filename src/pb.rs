//! The generated `dovetail.v1` package.
#![allow(missing_docs, clippy::all, unused_qualifications, rust_2018_idioms)]

pub mod codec;

tonic::include_proto!("dovetail.v1");

pub use crate::batch::{Columns, Rows};
