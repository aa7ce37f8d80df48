//! What happened: faults, counts, checks, violations, and the time from a kill to the next match.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Kills that may wait for a match.
const PENDING_MAX: usize = 1_000;

/// Shared by everything that goes on in a run.
pub struct Journal {
    began: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    timeline: Box<dyn Write + Send>,
    violations: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    counts: BTreeMap<&'static str, u64>,
    checks: BTreeMap<&'static str, u64>,
    /// Faults that are not over.
    going_on: u64,
    /// Kills that no match has followed yet.
    killed: Vec<Kill>,
    recoveries: Vec<Recovery>,
    catch_ups: Vec<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Kill {
    /// By the wall clock, as events have it.
    wall_ms: u64,
    at: Instant,
    alone: bool,
}

/// A kill, and the next match.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    pub took: Duration,
    /// Whether nothing else went wrong from the one to the other.
    pub alone: bool,
}

/// What a run amounted to.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub faults: BTreeMap<&'static str, u64>,
    pub counts: BTreeMap<&'static str, u64>,
    pub checks: BTreeMap<&'static str, u64>,
    pub violations: Vec<String>,
    pub recoveries: Vec<Recovery>,
    /// From the healing of a round to everything decided and seen.
    pub catch_ups: Vec<Duration>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// Writes a timeline.
    pub fn new(timeline: impl Write + Send + 'static) -> Journal {
        let timeline = Box::new(timeline);
        let inner = Inner {
            timeline,
            violations: Vec::new(),
            faults: BTreeMap::new(),
            counts: BTreeMap::new(),
            checks: BTreeMap::new(),
            going_on: 0,
            killed: Vec::new(),
            recoveries: Vec::new(),
            catch_ups: Vec::new(),
        };
        Journal { began: Instant::now(), inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A line of the timeline.
    pub fn note(&self, text: impl AsRef<str>) {
        let mut line = String::new();
        let wall = dovetail::rpc::now_ms() % 86_400_000;
        let (hours, minutes, seconds, ms) = (wall / 3_600_000, wall / 60_000 % 60, wall / 1000 % 60, wall % 1000);
        let clock = format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z");
        _ = writeln!(line, "{:>9.3}  {clock}  {}", self.elapsed().as_secs_f64(), text.as_ref());
        // A disk that is full shows elsewhere.
        _ = self.inner().timeline.write_all(line.as_bytes());
    }

    /// A promise that was broken.
    pub fn violation(&self, text: impl Into<String>) {
        let text = text.into();
        self.note(format!("VIOLATION: {text}"));
        self.inner().violations.push(text);
    }

    /// Checks a promise. `what` is the line of the table that it counts in.
    pub fn check(&self, what: &'static str, holds: bool, text: impl FnOnce() -> String) -> bool {
        self.checked(what, 1);
        if !holds {
            self.violation(format!("{what}: {}", text()));
        }
        holds
    }

    /// So many promises were looked at.
    pub fn checked(&self, what: &'static str, times: u64) {
        *self.inner().checks.entry(what).or_default() += times;
    }

    pub fn count(&self, what: &'static str, times: u64) {
        *self.inner().counts.entry(what).or_default() += times;
    }

    /// A fault begins.
    pub fn fault(&self, kind: &'static str) {
        let mut inner = self.inner();
        *inner.faults.entry(kind).or_default() += 1;
        inner.going_on += 1;
        inner.killed.iter_mut().for_each(|kill| kill.alone = false);
    }

    /// A fault is over.
    pub fn fault_over(&self) {
        self.inner().going_on -= 1;
    }

    /// Processes were killed, by a fault that has begun.
    pub fn killed(&self) {
        let mut inner = self.inner();
        if inner.killed.len() < PENDING_MAX {
            let alone = inner.going_on == 1;
            inner.killed.push(Kill { wall_ms: dovetail::rpc::now_ms(), at: Instant::now(), alone });
        }
    }

    /// A watcher saw a match whose last event has this time. The balancer's clock is this one's.
    pub fn matched(&self, time_ms: u64) {
        let mut inner = self.inner();
        let (over, pending): (Vec<Kill>, _) = inner.killed.iter().partition(|kill| kill.wall_ms < time_ms);
        inner.recoveries.extend(over.iter().map(|kill| Recovery { took: kill.at.elapsed(), alone: kill.alone }));
        inner.killed = pending;
    }

    /// A healed cluster has caught up.
    pub fn caught_up(&self, took: Duration) {
        self.inner().catch_ups.push(took);
    }

    pub fn failed(&self) -> bool {
        !self.inner().violations.is_empty()
    }

    pub fn sums(&self) -> Sums {
        let inner = self.inner();
        Sums {
            faults: inner.faults.clone(),
            counts: inner.counts.clone(),
            checks: inner.checks.clone(),
            violations: inner.violations.clone(),
            recoveries: inner.recoveries.clone(),
            catch_ups: inner.catch_ups.clone(),
        }
    }
}
