//! What of a shard's decisions one reader is sent, and when it is waited for.

use dovetail_core::{
    Cursor, Decided, DecisionFrame,
    planted::{Bug, Planted},
    shard::{Reader, ShardEffect},
};

use crate::readers::Queue;

/// A matcher's watermark is held back by fewer events than this, and by fewer than half of `list_max`: its lists are
/// hardly longer for it, and no slice waits for what is held back. Once all events before the one that waits are
/// decided, the last watermark told is less than this behind it; a slice whose list is too long waits for one that is
/// half of `list_max` behind, and one that has listed too many candidates for one with 32 full lists in between.
const MATCHER_LAG_MAX: u64 = 16;
/// Most retirements that wait for the balancer's watermark: with this many they go without it.
const HELD_MAX: usize = 4096;

/// What a reader of decisions is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionMessage {
    /// First.
    Hello {
        /// The lowest cursor that needs no fetch.
        floor: Cursor,
    },
    /// Then.
    Frame(DecisionFrame),
}

/// What one reader is sent next: the balancer publishes nothing above a watermark, a matcher is in no hurry to forget,
/// and a peer waits for grants and retirements alone.
#[derive(Clone, Debug)]
pub(super) struct DecisionQueue {
    reader: Reader,
    /// The watermark it was told.
    told: Decided,
    /// A matcher's watermark is behind by less than this.
    lag_max: u64,
    next: DecisionFrame,
    planted: Planted,
}

impl DecisionQueue {
    /// For a reader that has been told of a watermark.
    pub(super) fn new(reader: Reader, told: Decided, list_max: u32, planted: Planted) -> DecisionQueue {
        let lag_max = (u64::from(list_max) / 2).min(MATCHER_LAG_MAX);
        DecisionQueue { reader, told, lag_max, next: DecisionFrame::default(), planted }
    }

    /// Takes the reader's share of what came of a batch: all get retirements and the watermark, peers their grants, the
    /// balancer what slices settled. Decisions stay in their order, and the last watermark covers them all (R4).
    pub(super) fn add(&mut self, effects: &[ShardEffect]) {
        if self.planted.is(Bug::MergedRetirementsLost) {
            self.next.retirements.clear();
        }
        for effect in effects {
            match (effect, self.reader) {
                (ShardEffect::Settled(_), Reader::Balancer) if self.planted.is(Bug::SettledUntold) => {}
                (ShardEffect::Retire(retirement), _) | (ShardEffect::Settled(retirement), Reader::Balancer) => {
                    self.next.retirements.push(*retirement);
                }
                (ShardEffect::Grant { to, grant }, Reader::Shard(shard)) if *to == shard => {
                    if self.planted.is(Bug::MergedGrantsLost) {
                        self.next.grants.clear();
                    }
                    self.next.grants.push(*grant);
                }
                (ShardEffect::Decided { through }, _) => self.next.decided = Some(*through),
                (ShardEffect::Settled(_) | ShardEffect::Grant { .. }, _) => {}
            }
        }
    }
}

impl Queue for DecisionQueue {
    type Message = DecisionMessage;

    fn is_empty(&self) -> bool {
        let DecisionFrame { retirements, grants, decided } = &self.next;
        retirements.is_empty() && grants.is_empty() && decided.is_none()
    }

    fn is_due(&self) -> bool {
        let DecisionFrame { retirements, grants, decided } = &self.next;
        match self.reader {
            Reader::Balancer => decided.is_some() || retirements.len() >= HELD_MAX,
            Reader::Shard(_) => !retirements.is_empty() || !grants.is_empty(),
            Reader::Matcher => decided.is_some_and(|decided| decided.event().0 >= self.told.event().0 + self.lag_max),
        }
    }

    fn take(&mut self) -> DecisionMessage {
        if self.planted.is(Bug::R4WatermarkFirst)
            && let Some(decided) = self.next.decided.take_if(|_| !self.next.retirements.is_empty())
        {
            return DecisionMessage::Frame(DecisionFrame { decided: Some(decided), ..DecisionFrame::default() });
        }
        self.told = self.next.decided.unwrap_or(self.told);
        DecisionMessage::Frame(std::mem::take(&mut self.next))
    }
}
