//! The generators of the integration tests, for the tests in here.
#![allow(clippy::unwrap_used)]

#[path = "../tests/rules/random/draw.rs"]
pub(crate) mod draw;
#[path = "../tests/rules/random/shaped.rs"]
pub(crate) mod shaped;
#[allow(dead_code)]
#[path = "../tests/rules/random/tree.rs"]
pub(crate) mod tree;
#[path = "../tests/rules/random/world.rs"]
pub(crate) mod world;
