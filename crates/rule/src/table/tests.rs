//! The table against plain scans: with the plans of random rules, and with filters made by hand.

mod equivalence;
mod exact;
mod kernels;
mod memory;
mod model;
mod ordered;
mod shapes;
mod workloads;
