//! Memory that was freed goes back to the system, also when nothing happens afterwards.
//!
//! mimalloc gives back what has been free for a second when a thread next asks it for memory. After a burst a node may
//! be idle, and would keep gigabytes. So a thread of its own makes it look every two seconds, and each worker thread
//! looks through its own heap before it goes to sleep, as often at most.

use std::{
    cell::Cell,
    io,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// How often freed memory is looked for. With mimalloc's own delay it is back after about three seconds.
const EVERY: Duration = Duration::from_secs(2);

/// How often it was looked for.
static LOOKS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The last of them that this thread took part in.
    static LOOKED: Cell<u64> = const { Cell::new(0) };
}

/// Gives back what is free, every two seconds, for as long as the process runs.
///
/// # Errors
/// When there is no thread for it.
pub fn give_back() -> io::Result<()> {
    let look = || {
        loop {
            thread::sleep(EVERY);
            LOOKS.fetch_add(1, Ordering::Relaxed);
            collect(true);
        }
    };
    thread::Builder::new().name("memory".to_owned()).spawn(look).map(drop)
}

/// A worker thread has nothing to do.
pub fn on_park() {
    let looks = LOOKS.load(Ordering::Relaxed);
    if LOOKED.replace(looks) != looks {
        collect(false);
    }
}

#[cfg(feature = "mimalloc")]
#[allow(unsafe_code, reason = "mimalloc's crate has no function for it")]
fn collect(force: bool) {
    // So that it is linked.
    use mimalloc as _;

    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: any thread may call it at any time, whichever allocator is in use; it takes no pointer.
    unsafe { mi_collect(force) }
}

#[cfg(not(feature = "mimalloc"))]
fn collect(_force: bool) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_looks_once_for_each_look() {
        LOOKS.fetch_add(1, Ordering::Relaxed);
        on_park();
        assert_eq!(LOOKED.get(), LOOKS.load(Ordering::Relaxed));
        on_park();
    }
}
