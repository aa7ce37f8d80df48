//! How many connections a process has file descriptors for, beside those that it needs itself.
//!
//! The log, the results, checkpoints, their readers and the connections to other nodes take descriptors as they go;
//! without one the log ends. So connections that others open never get the last of them.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for files, readers of files, timers and signals of a process.
const RESERVE: usize = 128;
/// Connections that are taken however few descriptors there are: a cluster has to find one another.
const CONNECTIONS_MIN: usize = 16;

/// Connections of all nodes of this process that others opened.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Raises the limit of open files to the most that the process may have, once, and says what it is then.
fn open_files_max() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let most = if raised.is_ok() { maximum } else { current };
        most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
    })
}

/// Most connections that others may open, in a cluster of so many nodes: each may have to be dialed.
pub(super) fn connections_max(nodes: usize) -> usize {
    open_files_max().saturating_sub(RESERVE + nodes).max(CONNECTIONS_MIN)
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(super) struct Descriptor(());

impl Descriptor {
    /// One more, of at most so many.
    pub(super) fn take(most: usize) -> Option<Descriptor> {
        let more = |open: usize| (open < most).then_some(open + 1);
        OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Descriptor(()))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_files_and_for_other_nodes() {
        let all = open_files_max();
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum, "it is raised");
        assert_eq!(connections_max(7), (all - 135).max(CONNECTIONS_MIN));
        assert_eq!(connections_max(usize::MAX / 2), CONNECTIONS_MIN);
    }
}
