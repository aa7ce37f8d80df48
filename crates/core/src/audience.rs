//! Which slices and shards a run of events concerns, so that no node waits for the others.
//!
//! One slice searches an event of a pool that is split by key, and one shard announces the result. The balancer knows
//! both when it logs the event, and says so. A shard then knows of every other slice that it found nothing, without a
//! message from it, and the balancer knows the same of every other shard: a frame of one element takes three messages,
//! however many nodes there are. The other nodes learn of it later, of many frames at a time.
//!
//! Where the audience is not known, all are concerned, which is always safe.

use crate::{EventId, Place, Placement, ShardId, SliceId};

/// Which slices may have something for which shards in a run of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Every slice for every shard, or it is not known.
    #[default]
    All,
    /// For these alone, ascending.
    Pairs(Vec<AudiencePair>),
}

/// A slice that may have something for a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AudiencePair {
    /// The slice that searches.
    pub slice: SliceId,
    /// The shard that announces what was found.
    pub shard: ShardId,
    /// The last event of the run that concerns both.
    pub last: EventId,
}

impl Audience {
    /// Concerns no pair yet: to add to.
    #[must_use]
    pub fn nobody() -> Audience {
        Audience::Pairs(Vec::new())
    }

    /// Adds event `x`, above all before. It has a place when one slice alone searches for its element
    /// ([`Event::only_at`](crate::Event::only_at)).
    pub fn add(&mut self, x: EventId, only_at: Option<Place>, placement: &Placement) {
        match only_at {
            Some(place) => {
                self.add_pair(AudiencePair { slice: placement.owner(place), shard: placement.home(place), last: x });
            }
            None => *self = Audience::All,
        }
    }

    /// Adds the audience of another run.
    pub fn join(&mut self, other: &Audience) {
        match other {
            Audience::All => *self = Audience::All,
            Audience::Pairs(pairs) => pairs.iter().for_each(|&pair| self.add_pair(pair)),
        }
    }

    fn add_pair(&mut self, pair: AudiencePair) {
        let Audience::Pairs(pairs) = self else { return };
        match pairs.binary_search_by_key(&(pair.slice, pair.shard), |pair| (pair.slice, pair.shard)) {
            Ok(at) => pairs[at].last = pairs[at].last.max(pair.last),
            Err(at) => pairs.insert(at, pair),
        }
    }

    /// Only what concerns a shard.
    #[must_use]
    pub fn of_shard(&self, shard: ShardId) -> Audience {
        match self {
            Audience::All => Audience::All,
            Audience::Pairs(pairs) => {
                Audience::Pairs(pairs.iter().filter(|pair| pair.shard == shard).copied().collect())
            }
        }
    }

    /// Whether any of some slices may have something for a shard.
    pub fn has(&self, mut slices: impl FnMut(SliceId) -> bool) -> bool {
        match self {
            Audience::All => true,
            Audience::Pairs(pairs) => pairs.iter().any(|pair| slices(pair.slice)),
        }
    }
}

/// How far each slice, or each shard, is through the log: reported by itself, or known without a report. The field
/// calls it a progress tracker.
#[derive(Debug)]
pub(crate) struct Progress {
    each: Vec<ParticipantProgress>,
    /// Of every event up to here it is known which participants it concerns.
    horizon: EventId,
}

#[derive(Clone, Copy, Debug)]
struct ParticipantProgress {
    through: EventId,
    /// The last event that concerns the participant, up to the horizon.
    due: EventId,
}

impl Progress {
    /// `count` participants, each at `through`.
    pub(crate) fn new(count: usize, through: EventId) -> Progress {
        Progress { each: vec![ParticipantProgress { through, due: through }; count], horizon: through }
    }

    /// Everything that the participant has to say at or below this event is known.
    pub(crate) fn through(&self, index: usize) -> EventId {
        self.each[index].through
    }

    /// The lowest event that any of them has reached.
    pub(crate) fn lowest(&self) -> EventId {
        self.each.iter().map(|participant| participant.through).min().expect("a cluster has one of each")
    }

    /// The participant has reported everything up to `through`.
    pub(crate) fn report(&mut self, index: usize, through: EventId) {
        let participant = &mut self.each[index];
        participant.through = through.max(participant.through);
    }

    /// Events `(after, through]` concern the pairs of `audience`; events between the horizon and `after` concern all.
    /// `index` is the participant of a pair.
    pub(crate) fn concern(
        &mut self,
        (after, through): (EventId, EventId),
        audience: &Audience,
        index: impl Fn(&AudiencePair) -> u32,
    ) {
        if after > self.horizon {
            self.concern_all(after);
        }
        match audience {
            Audience::All => self.concern_all(through),
            Audience::Pairs(pairs) => {
                for pair in pairs {
                    // A message may name participants that do not exist.
                    if let Some(participant) = self.each.get_mut(index(pair) as usize) {
                        participant.due = pair.last.max(participant.due);
                    }
                }
            }
        }
        self.horizon = through.max(self.horizon);
    }

    fn concern_all(&mut self, x: EventId) {
        self.each.iter_mut().for_each(|participant| participant.due = x.max(participant.due));
    }

    /// Advances every participant that has no unreported events to the horizon.
    pub(crate) fn skip_unconcerned(&mut self) {
        for participant in self.each.iter_mut().filter(|participant| participant.through >= participant.due) {
            participant.through = self.horizon.max(participant.through);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(slice: u32, shard: u32, last: u64) -> AudiencePair {
        AudiencePair { slice: SliceId(slice), shard: ShardId(shard), last: EventId(last) }
    }

    fn audience(pairs: &[(u32, u32, u64)]) -> Audience {
        Audience::Pairs(pairs.iter().map(|&(slice, shard, last)| pair(slice, shard, last)).collect())
    }

    #[test]
    fn a_pair_is_there_once_with_its_last_event() {
        let mut joined = audience(&[(0, 1, 3), (2, 0, 4)]);
        joined.join(&audience(&[(0, 0, 5), (2, 0, 9)]));
        joined.join(&audience(&[(2, 0, 7)]));
        assert_eq!(joined, audience(&[(0, 0, 5), (0, 1, 3), (2, 0, 9)]));
        assert_eq!(joined.of_shard(ShardId(0)), audience(&[(0, 0, 5), (2, 0, 9)]));
        assert_eq!([0, 1, 2].map(|slice| joined.has(|of| of.0 == slice)), [true, false, true]);
    }

    #[test]
    fn what_concerns_all_stays_so() {
        let mut joined = audience(&[(0, 1, 3)]);
        joined.join(&Audience::All);
        joined.join(&audience(&[(0, 1, 9)]));
        assert_eq!((joined.of_shard(ShardId(3)), joined.has(|_| false)), (Audience::All, true));
    }

    #[test]
    fn participants_that_are_not_concerned_advance_and_others_have_to_report() {
        let mut progress = Progress::new(2, EventId(10));
        let mut through = |reported: u64, concerns: u64, horizon: u64| {
            progress.report(0, EventId(reported));
            let after = progress.horizon;
            progress.concern((after, EventId(horizon)), &audience(&[(0, 0, concerns)]), |pair| pair.slice.0);
            progress.skip_unconcerned();
            progress.through(0).0
        };
        assert_eq!(through(0, 0, 20), 20);
        assert_eq!(through(0, 25, 30), 20);
        assert_eq!(through(24, 0, 40), 24);
        assert_eq!(through(25, 0, 40), 40);
        // What is reported late changes nothing.
        assert_eq!(through(30, 12, 40), 40);
        assert_eq!((progress.through(1), progress.lowest()), (EventId(40), EventId(40)));
    }

    #[test]
    fn what_was_not_known_before_concerns_all_and_a_stranger_nobody() {
        let mut progress = Progress::new(2, EventId(10));
        progress.concern((EventId(15), EventId(20)), &audience(&[(7, 0, 20)]), |pair| pair.slice.0);
        progress.report(0, EventId(14));
        progress.report(1, EventId(15));
        progress.skip_unconcerned();
        assert_eq!([0, 1].map(|index| progress.through(index)), [EventId(14), EventId(20)]);
        assert_eq!(progress.lowest(), EventId(14));
    }
}
