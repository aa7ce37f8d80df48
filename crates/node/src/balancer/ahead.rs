//! Decisions of events that this balancer's log does not have yet.
//!
//! The log of a balancer that stands by lags behind that of the one that writes, and the shards decide by the latter:
//! what they say of later events is held back until these have been read. As what is held has a bound, a shard that
//! says more is not read until there is room; it is then asked again from where the ledger is. So it is with a balancer
//! that writes, and does not know yet that another has taken over: what it gave ids to and the log did not take is not
//! what the decisions are about. To one that is alone a decision ahead of its log is of another log, or its own has lost
//! its end ([`DecisionError::Future`](dovetail_core::ledger::DecisionError)). Invariants: node.A1 nothing is taken of an
//! event that is not durable; node.A2 of each shard everything is taken in the order in which it came; node.A3 what is held
//! has a bound, beside one frame.

use std::collections::VecDeque;

use dovetail_core::{DecisionFrame, EventId, Retirement, ShardId};

/// What becomes of a frame of decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// It is of events that are recorded, and nothing of its shard is held: take it.
    Take(DecisionFrame),
    /// It is held back.
    Held,
    /// There is no room, and nothing of its shard is held any more: end the subscription, and subscribe again, from
    /// where the ledger is, once [`DecisionsAhead::may_read`] says so.
    NoRoom,
}

/// Frames of decisions that are ahead of the log.
#[derive(Clone, Debug)]
pub struct DecisionsAhead {
    /// By shard.
    held: Vec<VecDeque<DecisionFrame>>,
    bytes: usize,
    bytes_max: usize,
    /// The shards of which there was no room for what comes next.
    left: Vec<bool>,
}

impl DecisionsAhead {
    /// Nothing of so many shards is held; at most so many bytes will be.
    #[must_use]
    pub fn new(shards: u32, bytes_max: usize) -> DecisionsAhead {
        let shards = shards as usize;
        DecisionsAhead { held: vec![VecDeque::new(); shards], bytes: 0, bytes_max, left: vec![false; shards] }
    }

    /// A frame of a shard came, and the log is recorded up to an event.
    pub fn on_frame(&mut self, shard: ShardId, frame: DecisionFrame, recorded: EventId) -> Ahead {
        let held = &mut self.held[shard.0 as usize];
        if held.is_empty() && reach(&frame) <= recorded {
            return Ahead::Take(frame);
        }
        if self.bytes > 0 && self.bytes + bytes(&frame) > self.bytes_max {
            self.forget(shard);
            self.left[shard.0 as usize] = true;
            return Ahead::NoRoom;
        }
        self.bytes += bytes(&frame);
        held.push_back(frame);
        Ahead::Held
    }

    /// The next frame that may be taken now that the log is recorded up to an event. Ask again until there is none.
    pub fn next(&mut self, recorded: EventId) -> Option<(ShardId, DecisionFrame)> {
        let (shard, held) =
            (0..).zip(&mut self.held).find(|(_, held)| held.front().is_some_and(|frame| reach(frame) <= recorded))?;
        let frame = held.pop_front().expect("it was found");
        self.bytes -= bytes(&frame);
        Some((ShardId(shard), frame))
    }

    /// The subscription of a shard ended: what is held of it comes again.
    pub fn forget(&mut self, shard: ShardId) {
        let held = std::mem::take(&mut self.held[shard.0 as usize]);
        self.bytes -= held.iter().map(bytes).sum::<usize>();
    }

    /// Whether a shard may be subscribed to: there was always room for what it said, or nothing is held any more.
    pub fn may_read(&mut self, shard: ShardId) -> bool {
        let left = &mut self.left[shard.0 as usize];
        *left &= self.bytes > 0;
        !*left
    }

    /// How many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The last event that a frame says something of.
fn reach(frame: &DecisionFrame) -> EventId {
    let retired = frame.retirements.iter().map(|retirement| retirement.x).max();
    retired.max(frame.decided.map(|decided| decided.event())).unwrap_or(EventId::ZERO)
}

/// What a frame takes. Grants are for shards.
fn bytes(frame: &DecisionFrame) -> usize {
    size_of::<DecisionFrame>() + size_of::<Retirement>() * frame.retirements.len()
}

#[cfg(test)]
mod tests {
    use dovetail_core::{Decided, ElementId};

    use super::*;

    fn frame(retired: &[u64], decided: u64) -> DecisionFrame {
        let retirement = |&x: &u64| Retirement { x: EventId(x), element: ElementId(x), anchor: None };
        let decided = (decided > 0).then_some(Decided(EventId(decided)));
        DecisionFrame { retirements: retired.iter().map(retirement).collect(), decided, ..DecisionFrame::default() }
    }

    const ONE: ShardId = ShardId(0);
    const OTHER: ShardId = ShardId(1);

    #[test]
    fn what_is_of_later_events_is_held_until_these_are_recorded() {
        let mut ahead = DecisionsAhead::new(2, 10_000);
        let recorded = EventId(10);
        assert_eq!(ahead.on_frame(ONE, frame(&[9], 10), recorded), Ahead::Take(frame(&[9], 10)));
        assert_eq!(ahead.on_frame(ONE, frame(&[], 0), recorded), Ahead::Take(frame(&[], 0)));
        assert_eq!(ahead.on_frame(ONE, frame(&[9, 12], 0), recorded), Ahead::Held);
        assert_eq!(ahead.on_frame(OTHER, frame(&[], 11), recorded), Ahead::Held);
        assert_eq!(ahead.on_frame(ONE, frame(&[8], 0), recorded), Ahead::Held, "it is behind one that is held");
        assert_eq!(ahead.on_frame(OTHER, frame(&[], 14), recorded), Ahead::Held);
        assert_eq!(ahead.next(recorded), None);
        assert_eq!(ahead.next(EventId(11)), Some((OTHER, frame(&[], 11))));
        assert_eq!(ahead.next(EventId(11)), None);
        assert_eq!(ahead.next(EventId(13)), Some((ONE, frame(&[9, 12], 0))));
        assert_eq!(ahead.next(EventId(13)), Some((ONE, frame(&[8], 0))));
        assert_eq!(ahead.next(EventId(13)), None);
        assert_eq!(ahead.on_frame(ONE, frame(&[13], 13), EventId(13)), Ahead::Take(frame(&[13], 13)));
        assert_eq!(ahead.next(EventId(14)), Some((OTHER, frame(&[], 14))));
        assert_eq!(ahead.bytes(), 0);
    }

    #[test]
    fn a_shard_for_which_there_is_no_room_is_read_again_when_nothing_is_held() {
        let recorded = EventId(10);
        let mut ahead = DecisionsAhead::new(2, 3 * bytes(&frame(&[11], 0)));
        for x in 11..13 {
            assert_eq!(ahead.on_frame(ONE, frame(&[x], 0), recorded), Ahead::Held);
        }
        assert_eq!(ahead.on_frame(OTHER, frame(&[13], 0), recorded), Ahead::Held);
        assert_eq!(ahead.on_frame(ONE, frame(&[14], 0), recorded), Ahead::NoRoom);
        assert_eq!(ahead.bytes(), bytes(&frame(&[13], 0)), "what was held of it comes again");
        assert_eq!([ONE, OTHER].map(|shard| ahead.may_read(shard)), [false, true]);
        assert_eq!(ahead.next(EventId(13)), Some((OTHER, frame(&[13], 0))));
        assert_eq!([ONE, OTHER].map(|shard| ahead.may_read(shard)), [true, true]);
        // One frame may be larger than all that may be held.
        let large = frame(&(11..20).collect::<Vec<_>>(), 0);
        assert_eq!(ahead.on_frame(ONE, large, recorded), Ahead::Held);
        ahead.forget(ONE);
        assert_eq!((ahead.bytes(), ahead.next(EventId(30))), (0, None));
    }
}
