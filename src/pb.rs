//! The generated `dovetail.v1` package.
#![allow(missing_docs, clippy::all, unused_qualifications, rust_2018_idioms)]

pub mod codec;

tonic::include_proto!("dovetail.v1");

pub use crate::batch::{Columns, Rows};

/// The encoded descriptors of every file, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dovetail.bin"));
