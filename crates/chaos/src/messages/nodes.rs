//! What nodes look like from outside: their memory, and their logs.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{cluster::log_path, shape::ClusterNode};

/// What no log of a node has in a run in which nothing breaks. A session that ends was ended by a message.
const NEVER: [&str; 6] = [
    "panicked",
    "the session ended",
    "starting from the cut",
    "decisions stand still",
    "the settings of this node and of its peer differ",
    "cannot be written",
];

/// Memory of a process, in KiB: now, and at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

/// Memory by node.
pub fn memory(processes: &[(ClusterNode, u32)]) -> BTreeMap<ClusterNode, Memory> {
    let of = |id: u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim().parse().ok()
        };
        Some(Memory { now: line("VmRSS:")?, peak: line("VmHWM:")? })
    };
    processes.iter().filter_map(|&(node, id)| Some((node, of(id)?))).collect()
}

/// Bytes of the log of each node.
pub fn log_bytes(folder: &Path, nodes: &[ClusterNode]) -> BTreeMap<ClusterNode, u64> {
    let bytes = |node: &ClusterNode| fs::metadata(log_path(folder, *node)).map_or(0, |file| file.len());
    nodes.iter().map(|node| (*node, bytes(node))).collect()
}

/// What is in logs, after so many bytes, that must not be there.
pub fn look_at_logs(folder: &Path, after: &BTreeMap<ClusterNode, u64>) -> Vec<String> {
    let mut found = Vec::new();
    for (&node, &from) in after {
        let log = fs::read(log_path(folder, node)).unwrap_or_default();
        let text = String::from_utf8_lossy(log.get(from as usize..).unwrap_or_default()).into_owned();
        let lines = text.lines().filter(|line| NEVER.iter().any(|never| line.contains(never)));
        found.extend(lines.take(3).map(|line| format!("the log of {node} has: {line}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_tells_of_a_panic_or_of_another_session_is_told_of() {
        let folder = std::env::temp_dir().join(format!("dovetail-messages-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        let (node, begun) = (ClusterNode::Matcher(0), "INFO starting from the cut\n");
        let log = |text: &str| fs::write(log_path(&folder, node), format!("{begun}{text}")).expect("it can be written");
        log("");
        let after = log_bytes(&folder, &[node]);
        assert_eq!(after[&node], begun.len() as u64);
        assert!(look_at_logs(&folder, &after).is_empty());
        log("INFO starting from the cut\nthread 'main' panicked at x\nINFO something else\n");
        assert_eq!(look_at_logs(&folder, &after).len(), 2);
        _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn the_memory_of_a_process_is_known() {
        let own = memory(&[(ClusterNode::Balancer, std::process::id())]);
        assert!(
            own[&ClusterNode::Balancer].peak >= own[&ClusterNode::Balancer].now && own[&ClusterNode::Balancer].now > 0
        );
    }
}
