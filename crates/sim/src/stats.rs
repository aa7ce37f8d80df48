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
    /// Gatherers that began anew because candidates were gone.
    restarts_behind,
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
    /// Events lost in crashes, because they were not on disk.
    events_lost,
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
