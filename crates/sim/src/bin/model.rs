//! x
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
use dovetail_sim::model::{check::{Options, check}, cluster::Faults, script::{Op, Relation, Script}};
fn main() {
    let args: Vec<u16> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let n = args[0] as usize;
    let script = Script { ops: vec![Op::Arrive; n], relation: Relation { always: args[1], late: 0 }, homes: [0,1,0,1][..n].to_vec() };
    let options = Options { faults: Faults { crashes: args[2] as u8, duplicates: args[3] as u8, growing: args[4] == 1, eager: args[6] as u8 }, planted: None, breadth_first: false, threads: 2, states_max: None, audit: args[5] == 1 };
    let report = check(&script, options, &|_| {});
    println!("{report:#?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
