//! Named places at which a process can be made to end, as if it were killed just there. For tests.
//!
//! `DOVETAIL_CRASH_POINT=log.append.sync:3` ends the process ([`std::process::abort`]) when it comes to that place for
//! the third time; without a number, the first. A name says what would have been done next; every change this crate
//! makes to a disk has one before it, for `Disk` asks for it. `acknowledge` is after the last change, before the caller
//! is told.
//!
//! The places are in every build, so that tests and users run the same programs and build them once. Two things keep a
//! node in service from ending by mistake: the variable counts only beside `DOVETAIL_TEST=1`, which nothing but a test
//! sets, and a node says in its log that it is going to. Where nothing was asked for, a place costs one load and a
//! branch; all are passed once for a frame, a session or a change of the disk, never once for an element.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of a place.
pub type Point = &'static str;

/// The environment variable: a name, and optionally a colon and the number of the visit, from 1.
pub const VARIABLE: &str = "DOVETAIL_CRASH_POINT";

/// The environment variable without which the other is ignored: it has to be `1`.
pub const TEST_VARIABLE: &str = "DOVETAIL_TEST";

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

/// The place at which this process was asked to end, and at which visit.
struct Wanted {
    name: String,
    visit: u64,
}

impl Wanted {
    /// Reads the two variables, whose values are given. `None` when there is no test, or nothing is asked for.
    fn read(test: Option<&str>, point: Option<&str>) -> Option<Wanted> {
        let point = point.filter(|_| test == Some("1"))?;
        let (name, visit) = point.split_once(':').unwrap_or((point, "1"));
        Some(Wanted { name: name.to_owned(), visit: visit.parse().expect("a crash point is name or name:number") })
    }
}

fn wanted() -> Option<&'static Wanted> {
    static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
    let read = || {
        let variable = |name| std::env::var(name).ok();
        Wanted::read(variable(TEST_VARIABLE).as_deref(), variable(VARIABLE).as_deref())
    };
    WANTED.get_or_init(read).as_ref()
}

/// The place at which a test asked this process to end, for a node to say so at its start.
#[must_use]
pub fn asked_for() -> Option<&'static str> {
    wanted().map(|wanted| wanted.name.as_str())
}

/// Ends the process, if it was asked to end here. Other crates may have places of their own.
#[inline]
pub fn point(name: Point) {
    if let Some(wanted) = wanted() {
        visit(wanted, name);
    }
}

#[cold]
fn visit(wanted: &Wanted, name: Point) {
    static VISITS: AtomicU64 = AtomicU64::new(0);
    if wanted.name == name && VISITS.fetch_add(1, Ordering::Relaxed) + 1 == wanted.visit {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_asked_for_only_beside_the_mark_of_a_test() {
        let read = |test, point| Wanted::read(test, point).map(|wanted| (wanted.name, wanted.visit));
        let third = Some(("log.append.sync".to_owned(), 3));
        assert_eq!(read(Some("1"), Some("log.append.sync:3")), third);
        assert_eq!(read(Some("1"), Some("log.lock")), Some(("log.lock".to_owned(), 1)));
        for test in [None, Some(""), Some("0"), Some("true")] {
            assert_eq!(read(test, Some("log.append.sync:3")), None);
        }
        assert_eq!(read(Some("1"), None), None);
    }
}
