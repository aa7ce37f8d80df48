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
    /// By the wall clock: when the last fault began or was over.
    changed_ms: u64,
    /// Whether a match was seen that came about after that, and whether one had been when the last fault began.
    well: bool,
    was_well: bool,
    /// Kills that no match has followed yet.
    killed: Vec<Kill>,
    recoveries: Vec<Recovery>,
    catch_ups: Vec<Duration>,
}

#[derive(Clone, Debug)]
struct Kill {
    what: String,
    /// By the wall clock, as events have it.
    wall_ms: u64,
    at: Instant,
    /// How long it stays down, as planned.
    down: Duration,
    alone: bool,
}

/// A kill, and the next match.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    pub took: Duration,
    /// Without the time before it was started.
    pub took_up: Duration,
    /// Whether nothing else went wrong from the one to the other, and the cluster was well before: what was broken
    /// before shows after it is mended, until a timeout.
    pub alone: bool,
}

/// A recovery that takes so long is told of in the timeline.
const SLOW: Duration = Duration::from_secs(1);

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

impl Inner {
    fn changed(&mut self) {
        self.changed_ms = dovetail_server::time::now_ms();
        self.well = false;
    }
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
            changed_ms: 0,
            well: false,
            was_well: false,
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
        let wall = dovetail_server::time::now_ms() % 86_400_000;
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
        inner.was_well = inner.well;
        inner.changed();
        inner.killed.iter_mut().for_each(|kill| kill.alone = false);
    }

    /// A fault is over.
    pub fn fault_over(&self) {
        let mut inner = self.inner();
        inner.going_on -= 1;
        inner.changed();
    }

    /// Processes were killed, by a fault that has begun; they stay down for so long.
    pub fn killed(&self, what: String, down: Duration) {
        let mut inner = self.inner();
        if inner.killed.len() < PENDING_MAX {
            let alone = inner.going_on == 1 && inner.was_well;
            inner.killed.push(Kill { what, wall_ms: dovetail_server::time::now_ms(), at: Instant::now(), down, alone });
        }
    }

    /// A watcher saw a match whose last event has this time. The balancer's clock is this one's.
    pub fn matched(&self, time_ms: u64) {
        let mut inner = self.inner();
        inner.well |= time_ms > inner.changed_ms;
        let over: Vec<Kill> = inner.killed.extract_if(.., |kill| kill.wall_ms < time_ms).collect();
        drop(inner);
        for Kill { what, at, down, alone, .. } in over {
            let took = at.elapsed();
            let took_up = took.saturating_sub(down);
            self.inner().recoveries.push(Recovery { took, took_up, alone });
            if took_up > SLOW {
                let beside = if alone { "nothing else" } else { "something else, or something that had just been" };
                self.note(format!("{took:?} from {what} to a match, down for {down:?}; {beside} was broken"));
            }
        }
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
