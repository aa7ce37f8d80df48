//! Many runs: seeds shared among threads, panics caught, the lowest seed that failed.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    sim::{Options, SimOutcome, run},
    stats::Stats,
    violation::Violation,
};

thread_local! {
    /// Whether this thread is in a run; and where the run panicked.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Summary {
    /// Sums over all runs.
    pub stats: Stats,
    /// What failed, by seed, ascending.
    pub failures: Vec<(u64, Violation)>,
}

/// Keeps panics of runs silent, from now on: they are reported as violations. Others are told as before.
pub fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                PLACE.set(info.location().map(|location| format!("{}:{}", location.file(), location.line())));
            } else {
                told(info);
            }
        }));
    });
}

/// Runs one seed; a panic is a violation.
#[must_use]
pub fn run_caught(seed: u64, options: Options) -> SimOutcome {
    RUNNING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(seed, options)));
    RUNNING.set(false);
    outcome.unwrap_or_else(|panic| {
        let place = PLACE.take().unwrap_or_default();
        let violation = Some(Violation::Panic(format!("{} at {place}", message(&*panic))));
        SimOutcome { violation, stats: Stats { runs: 1, ..Stats::default() }, ..SimOutcome::default() }
    })
}

/// Runs seeds on some threads until all are done, or `failures_max` have failed.
///
/// `progress` is told now and then how many are done.
pub fn run_many(
    seeds: Range<u64>,
    options: Options,
    threads: usize,
    failures_max: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Summary {
    const CHUNK: u64 = 32;
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let work = || {
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            let failed = summary.lock().expect("no thread panics with it").failures.len();
            if start >= seeds.end || failed >= failures_max {
                return;
            }
            let mut stats = Stats::default();
            let mut failures = Vec::new();
            for seed in start..seeds.end.min(start + CHUNK) {
                let outcome = run_caught(seed, options);
                stats.add(&outcome.stats);
                failures.extend(outcome.violation.map(|violation| (seed, violation)));
            }
            let mut summary = summary.lock().expect("no thread panics with it");
            summary.stats.add(&stats);
            summary.failures.append(&mut failures);
            progress(summary.stats.runs);
        }
    };
    thread::scope(|scope| (0..threads.max(1)).for_each(|_| _ = scope.spawn(work)));
    let mut summary = summary.into_inner().expect("no thread panics with it");
    summary.failures.sort_by_key(|&(seed, _)| seed);
    summary
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
