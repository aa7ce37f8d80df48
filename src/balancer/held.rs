//! Requests that are held until what they depend on is decided, with what has been done of them.
//!
//! Which those are, and in which order they go on, is for `dovetail_core::hold`.

use dovetail_core::{
    EventId,
    batch::Keyed,
    hold::{Freed, Holds},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    columns::Submitting,
    messages::{DiskFull, ElementName, Explaining, Found, Reply, RowRefused, Submitted, Withdrawing},
};

/// Most bytes of submissions that are held, as they were encoded. What would be held above it is refused.
const HELD_BYTES_MAX: usize = 64 << 20;

/// What may have to be held.
#[derive(Debug)]
pub(super) enum Held {
    Submit(Box<Admitting>),
    Withdraw { element: ElementName, reply: Reply<Withdrawing> },
    Get { element: ElementName, wait: bool, reply: oneshot::Sender<(Found, EventId)> },
    Explain { element: ElementName, reply: oneshot::Sender<Explaining> },
}

impl Held {
    /// Its share of the bytes that may be held.
    fn bytes(&self) -> usize {
        match self {
            Held::Submit(admitting) => admitting.room.num_permits(),
            Held::Withdraw { .. } | Held::Get { .. } | Held::Explain { .. } => 0,
        }
    }

    /// Whether it makes events: then it goes on only while there is room for some.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Held::Submit(_) | Held::Withdraw { .. })
    }

    /// Answers what makes events without making any; gives back what does not. Whoever asked may have gone away.
    pub(super) fn refuse(self, why: DiskFull) -> Option<Held> {
        match self {
            Held::Submit(admitting) => _ = admitting.reply.send(Err(why)),
            Held::Withdraw { reply, .. } => _ = reply.send(Err(why)),
            other => return Some(other),
        }
        None
    }
}

/// A batch on its way in.
#[derive(Debug)]
pub(super) struct Admitting {
    /// None when all rows were refused.
    pub(super) batch: Option<Keyed>,
    places: Option<Box<[u32]>>,
    /// Refusals are not in their order yet.
    unsorted: bool,
    /// The next row to let in.
    pub(super) row: usize,
    /// The last event when the rows were asked for, or the last of them that was let in.
    pub(super) asked: Option<EventId>,
    submitted: Submitted,
    pub(super) reply: Reply<Submitted>,
    room: OwnedSemaphorePermit,
}

impl Admitting {
    pub(super) fn new(elements: Submitting, reply: Reply<Submitted>, room: OwnedSemaphorePermit) -> Admitting {
        let Submitting { count, batch, places, refused } = elements;
        let unsorted = !refused.is_empty();
        let submitted = Submitted { ids: vec![0; count], refused };
        Admitting { batch, places, unsorted, row: 0, asked: None, submitted, reply, room }
    }

    fn place(&self, row: usize) -> usize {
        self.places.as_ref().map_or(row, |places| places[row] as usize)
    }

    /// The next rows were let in.
    pub(super) fn let_in(&mut self, count: usize, first: EventId) {
        for (row, id) in (self.row..self.row + count).zip(first.0..) {
            let place = self.place(row);
            self.submitted.ids[place] = id;
        }
        self.row += count;
    }

    /// The next row was refused.
    pub(super) fn refuse(&mut self, why: RowRefused) {
        let place = self.place(self.row) as u32;
        self.submitted.refused.push((place, why));
        self.row += 1;
    }

    /// All rows were seen to: the answer, and whom to.
    pub(super) fn finish(self) -> (Submitted, Reply<Submitted>) {
        let mut submitted = self.submitted;
        if self.unsorted {
            submitted.refused.sort_by_key(|&(place, _)| place);
        }
        (submitted, self.reply)
    }
}

/// All that are held, with a bound in bytes.
#[derive(Debug)]
pub(super) struct HeldRequests {
    holds: Holds<Held>,
    bytes: usize,
    ms_max: u64,
    /// Requests that are no part of a stream of submissions have streams of their own, numbered from the end.
    alone: u64,
}

impl HeldRequests {
    pub(super) fn new(ms_max: u64) -> HeldRequests {
        HeldRequests { holds: Holds::new(ms_max), bytes: 0, ms_max, alone: u64::MAX }
    }

    /// A stream for a request that is alone in it.
    pub(super) fn alone(&mut self) -> u64 {
        self.alone -= 1;
        self.alone
    }

    /// Puts a request behind those of its stream that are held. Gives it back when there are none.
    pub(super) fn behind(&mut self, stream: u64, request: Held) -> Result<(), Held> {
        let bytes = request.bytes();
        self.holds.behind(stream, request)?;
        self.bytes += bytes;
        Ok(())
    }

    pub(super) fn hold(&mut self, stream: u64, until: EventId, now_ms: u64, request: Held) {
        self.bytes += request.bytes();
        self.holds.hold(stream, until, now_ms, request);
    }

    /// Whether no more may be held.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= HELD_BYTES_MAX
    }

    pub(super) fn next(&mut self, decided: EventId, now_ms: u64) -> Option<Freed<Held>> {
        let freed = self.holds.next(decided, now_ms)?;
        self.bytes -= freed.request.bytes();
        Some(freed)
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.holds.deadline_ms()
    }

    pub(super) fn ms_max(&self) -> u64 {
        self.ms_max
    }

    /// How many are held, and for how long the first of them at `now_ms`.
    pub(super) fn counts(&self, now_ms: u64) -> (usize, u64) {
        let since_ms = self.holds.deadline_ms().map(|deadline_ms| deadline_ms.saturating_sub(self.ms_max));
        (self.holds.len(), since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms)))
    }
}
