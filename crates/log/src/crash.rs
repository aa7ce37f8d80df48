//! Named places at which a process can be made to end, as if it were killed just there. For tests.
//!
//! In a build with the feature `crash-points`, `DOVETAIL_CRASH_POINT=log.append.sync:3` ends the process
//! ([`std::process::abort`]) when it comes to that place for the third time; without a number, the first. In any other
//! build [`point`] is nothing at all. A name says what would have been done next; every change this crate makes to a disk
//! has one before it, for `Disk` asks for it. `acknowledge` is after the last change, before the caller is told.

/// The name of a place.
pub type Point = &'static str;

/// The environment variable: a name, and optionally a colon and the number of the visit, from 1.
pub const VARIABLE: &str = "DOVETAIL_CRASH_POINT";

/// Every place in this crate.
pub const ALL: &[Point] = &[
    "folder.create",
    "folder.sync-parent",
    "folder.lock",
    "log.create.write",
    "log.create.sync",
    "log.create.rename",
    "log.create.sync-folder",
    "log.meta.create",
    "log.meta.write",
    "log.meta.sync",
    "log.meta.rename",
    "log.meta.sync-folder",
    "log.watermark.create",
    "log.watermark.zero",
    "log.watermark.write",
    "log.watermark.sync",
    "log.watermark.sync-later",
    "log.open.sync-folder",
    "log.repair.zero",
    "log.repair.rewrite",
    "log.repair.sync",
    "log.leftovers.remove",
    "log.leftovers.sync-folder",
    "log.spare.create",
    "log.spare.write",
    "log.spare.sync-some",
    "log.spare.sync",
    "log.spare.remove",
    "log.roll.write",
    "log.roll.sync",
    "log.roll.rename",
    "log.roll.sync-folder",
    "log.append.write",
    "log.append.sync",
    "log.append.acknowledge",
    "log.trim.remove",
    "log.trim.sync-folder",
    "log.trim.acknowledge",
    "checkpoint.open.remove",
    "checkpoint.open.sync-folder",
    "checkpoint.begin.remove",
    "checkpoint.begin.create",
    "checkpoint.write",
    "checkpoint.sync-some",
    "checkpoint.commit.sync",
    "checkpoint.commit.rename",
    "checkpoint.commit.sync-folder",
    "checkpoint.commit.acknowledge",
    "checkpoint.prune.remove",
    "checkpoint.prune.sync-folder",
    "checkpoint.abandon.remove",
];

/// Ends the process, if it was asked to end here. Other crates may have places of their own.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: Point) {}

/// Ends the process, if it was asked to end here. Other crates may have places of their own.
#[cfg(feature = "crash-points")]
pub fn point(name: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static VISITS: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var(VARIABLE).ok()?;
        Some(match value.split_once(':') {
            None => (value, 1),
            Some((name, visit)) => (name.to_owned(), visit.parse().expect("a crash point is name or name:number")),
        })
    });
    if let Some((wanted, visit)) = wanted
        && wanted == name
        && VISITS.fetch_add(1, Ordering::Relaxed) + 1 == *visit
    {
        std::process::abort();
    }
}
