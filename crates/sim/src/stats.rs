//! What happened, in numbers.

use std::time::Duration;

use serde::Serialize;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Sums over runs.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Longest list of a probe.
            pub list_longest: usize,
        }

        impl Stats {
            /// Adds another's.
            pub fn add(&mut self, other: &Stats) {
                $(self.$name += other.$name;)*
                self.list_longest = self.list_longest.max(other.list_longest);
            }
        }
    };
}

stats! {
    /// Runs.
    runs,
    /// Events of the logs.
    events,
    /// Arrivals among them.
    arrivals,
    /// Reprobes among them.
    reprobes,
    /// Pairs.
    matches,
    /// Elements withdrawn by clients, or expired.
    withdrawals,
    /// Pools dropped.
    pools_dropped,
    /// Submissions refused, as they should be.
    refused,
    /// Messages sent.
    messages,
    /// Messages delivered twice.
    duplicates,
    /// Balancers crashed.
    balancer_crashes,
    /// Matchers crashed.
    matcher_crashes,
    /// Gatherers crashed.
    gatherer_crashes,
    /// Gatherers that began anew because candidates or retirements were gone.
    restarts_behind,
    /// Checkpoints that became durable.
    checkpoints,
    /// Checkpoints lost in crashes.
    checkpoints_lost,
    /// Balancers that started from a checkpoint.
    checkpoint_starts,
    /// Frames of the log trimmed.
    frames_trimmed,
    /// Records of results trimmed.
    results_trimmed,
    /// Runs in which a node asked for less than is kept.
    refused_runs,
    /// Matchers that began anew because the log did not reach back to their cursor.
    matchers_refused_feed,
    /// Matchers that began anew because retirements were gone.
    matchers_refused_fetch,
    /// Matchers that began anew because no reader could fetch what their old frames do not know.
    matchers_refused_known,
    /// Gatherers that began anew because retirements were gone.
    gatherers_refused,
    /// Errors of the balancer's disk, at each of which it stopped.
    disk_errors,
    /// Times the balancer's disk was full for a while.
    disk_full,
    /// Actions of clients turned away meanwhile.
    refused_full,
    /// Submissions answered with an element that was there already.
    retries,
    /// Those answered by what a checkpoint remembered.
    retries_from_checkpoint,
    /// Submissions refused for the number of idempotency keys.
    refused_idempotency,
    /// Times that a submission was held, since the element that has its key was not decided.
    held_rows,
    /// Submissions that waited behind one of their stream that was held.
    held_behind,
    /// Submissions that were held for as long as may be, and not decided.
    held_in_vain,
    /// Submissions held for a pool of which timers were due and not written.
    held_late,
    /// Timers written of such pools.
    late,
    /// Nodes paused.
    pauses,
    /// Streams broken otherwise.
    breaks,
    /// Fetches from the store by shards for a slice's frames (R3).
    slice_fetches,
    /// Fetches from the store by shards for a peer's decisions.
    peer_fetches,
    /// Fetches from the store by slices.
    matcher_fetches,
    /// Searches that waited for the decided watermark.
    stalls,
    /// Searches that were looked ahead for.
    looked_ahead,
    /// Frames of the log that were held back from a reader, with which that began.
    frames_held,
    /// Frames of the log that had an audience.
    audiences_told,
    /// Candidates asked for again, since they were gone but not needed any more.
    asked_again,
    /// Times that candidate frames were held back, since they did not concern their readers.
    held,
    /// Events lost in crashes, because they were not on disk.
    events_lost,
    /// Times that all nodes stopped and the results were lost.
    results_lost,
    /// Runs in which balancers share a log.
    shared_runs,
    /// Times that a balancer took over from another.
    takeovers,
    /// Times that a balancer found that another writes.
    stepped_down,
    /// Frames of decisions that balancers held back until they had read what these are about.
    decisions_held,
    /// Times that a shard was not read for a while, since too much was held back.
    decisions_refused,
    /// Fetches from the balancer that writes by those that stand by.
    standby_fetches,
    /// Sessions that ended since a balancer took over that did not know what they had forgotten.
    sessions_outdated,
    /// Times that the engine was down, or a balancer cut off from it.
    engine_faults,
    /// Groups that were looked for, since nobody had said whether they were taken.
    looked_for,
    /// Outcomes told again after a crash of the balancer.
    outcomes_repeated,
}

impl Stats {
    /// For people.
    #[must_use]
    pub fn summary(&self, elapsed: Duration) -> String {
        let s = self;
        let seconds = elapsed.as_secs_f64();
        let lines = [
            format!("{} runs in {seconds:.1} s, {:.0} a second", s.runs, s.rate(elapsed)),
            format!("  log        {} events ({} arrivals, {} reprobes)", s.events, s.arrivals, s.reprobes),
            format!("  outcomes   {} matches, {} withdrawals", s.matches, s.withdrawals),
            format!(
                "  crashes    {} of balancers, {} of matchers, {} of gatherers ({} more restarts of gatherers left behind)",
                s.balancer_crashes, s.matcher_crashes, s.gatherer_crashes, s.restarts_behind
            ),
            format!("  lost       {} events that were never acknowledged", s.events_lost),
            format!("  network    {} messages, {} delivered twice", s.messages, s.duplicates),
            format!("  faults     {} streams broken, {} pauses", s.breaks, s.pauses),
            format!(
                "  fetches    {} for a slice, {} for a peer, {} by matchers",
                s.slice_fetches, s.peer_fetches, s.matcher_fetches
            ),
            format!(
                "  kept       {} checkpoints, {} lost; {} starts from one; {} frames and {} results trimmed; {} times \
                 all results lost",
                s.checkpoints,
                s.checkpoints_lost,
                s.checkpoint_starts,
                s.frames_trimmed,
                s.results_trimmed,
                s.results_lost
            ),
            format!(
                "  refused    in {} runs: matchers for the log {}, for retirements {}, for old frames {}; gatherers {}",
                s.refused_runs,
                s.matchers_refused_feed,
                s.matchers_refused_fetch,
                s.matchers_refused_known,
                s.gatherers_refused
            ),
            format!(
                "  shared     {} runs, {} takeovers, {} stepped down, {} faults of the engine, {} groups looked for",
                s.shared_runs, s.takeovers, s.stepped_down, s.engine_faults, s.looked_for
            ),
            format!(
                "  standby    {} of decisions held, {} times too many, {} fetches, {} sessions outdated",
                s.decisions_held, s.decisions_refused, s.standby_fetches, s.sessions_outdated
            ),
            format!(
                "  disk       {} errors, {} times full, {} actions turned away",
                s.disk_errors, s.disk_full, s.refused_full
            ),
            format!(
                "  retries    {}, {} of them answered from a checkpoint; {} refused for the number of keys",
                s.retries, s.retries_from_checkpoint, s.refused_idempotency
            ),
            format!(
                "  keys       {} submissions held, {} more behind them, {} in vain",
                s.held_rows, s.held_behind, s.held_in_vain
            ),
            format!(
                "  audience   {} frames that told, {} times frames held, {} of candidates held, {} asked for again",
                s.audiences_told, s.frames_held, s.held, s.asked_again
            ),
            format!(
                "  search     {} stalls, {} looked ahead for, longest list {}",
                s.stalls, s.looked_ahead, s.list_longest
            ),
        ];
        lines.join("\n")
    }

    /// Runs a second.
    #[must_use]
    pub fn rate(&self, elapsed: Duration) -> f64 {
        let runs = u32::try_from(self.runs).unwrap_or(u32::MAX);
        f64::from(runs) / elapsed.as_secs_f64().max(0.001)
    }
}
