//! The table against plain scans, with filters made by hand.

mod workloads;
