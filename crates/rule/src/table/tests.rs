//! The table against plain scans, with filters made by hand.

mod kernels;
mod memory;
mod model;
mod shapes;
mod workloads;
