//! Requests that are held until what they depend on is decided, with what has been done of them.
//!
//! Which those are, and in which order they go on, is for `dovetail_core::hold`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use dovetail_core::{
    Decided, EventId, PoolId,
    batch::Keyed,
    hold::{Freed, Holds, Ticket},
};
use tokio::sync::oneshot;

use super::{
    columns::{Room, Submitting},
    messages::{Explaining, Found, Reply, Submitted, Withdrawing},
    refused::{ElementName, NotWritten, RowRefused},
    turns::TurnWait,
};
use crate::caller::ClientId;

/// Bytes of submissions, as they were encoded, above which the stream that has most of those that are held is held no
/// longer.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Longest time to hold a read that does not wait for its element.
const READ_MS_MAX: u64 = 1_000;
/// A withdrawal whose time is over, but for which there is no room in flight, is looked at again after this.
const AGAIN_MS: u64 = 1_000;
/// While this process stands still, the time to hold stands still as well, but for so much.
const STEP: Duration = Duration::from_secs(1);
/// Fewest reads between two looks for those whose clients have left.
const SWEEP_MIN: usize = 1_024;

/// What may have to be held.
#[derive(Debug)]
pub(super) enum HeldRequest {
    Submit(Box<Admitting>),
    Withdraw {
        element: ElementName,
        reply: Reply<Withdrawing>,
    },
    /// Waits so many milliseconds for the element's end, if any.
    Get {
        element: ElementName,
        wait_ms: u32,
        reply: oneshot::Sender<(Found, EventId)>,
    },
    Explain {
        element: ElementName,
        reply: oneshot::Sender<Explaining>,
    },
}

impl HeldRequest {
    /// Its share of the bytes that may be held.
    fn bytes(&self) -> usize {
        match self {
            HeldRequest::Submit(admitting) => admitting.room.bytes,
            HeldRequest::Withdraw { .. } | HeldRequest::Get { .. } | HeldRequest::Explain { .. } => 0,
        }
    }

    /// Whether it makes events: then it goes on only while there is room for some.
    pub(super) fn writes(&self) -> bool {
        matches!(self, HeldRequest::Submit(_) | HeldRequest::Withdraw { .. })
    }

    /// Whether it can be answered where there is no room for events: a read, and what is refused because its time is
    /// over.
    fn needs_no_room(&self, over: bool) -> bool {
        !self.writes() || over
    }

    /// Its client has left, and nothing of it was done.
    fn is_gone(&self) -> bool {
        match self {
            // What was sent is let in all the same.
            HeldRequest::Submit(_) => false,
            HeldRequest::Withdraw { reply, .. } => reply.is_closed(),
            HeldRequest::Get { reply, .. } => reply.is_closed(),
            HeldRequest::Explain { reply, .. } => reply.is_closed(),
        }
    }

    /// The element that a key named when it was asked for: the answer is about that one.
    pub(super) fn fix(&mut self, found: impl FnOnce(&ElementName) -> Option<ElementName>) {
        match self {
            HeldRequest::Submit(_) => {}
            HeldRequest::Withdraw { element, .. }
            | HeldRequest::Get { element, .. }
            | HeldRequest::Explain { element, .. } => {
                *element = found(element).unwrap_or_else(|| element.clone());
            }
        }
    }

    /// Answers a request that makes events without making any; gives back one that makes none. The caller may have gone
    /// away.
    pub(super) fn refuse(self, why: NotWritten) -> Option<HeldRequest> {
        match self {
            HeldRequest::Submit(admitting) => _ = admitting.reply.send(Err(why)),
            HeldRequest::Withdraw { reply, .. } => _ = reply.send(Err(why)),
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
    /// The row that it was held for.
    pub(super) held_row: Option<usize>,
    submitted: Submitted,
    reply: Reply<Submitted>,
    room: Room,
}

impl Admitting {
    pub(super) fn new(elements: Submitting, reply: Reply<Submitted>, room: Room) -> Admitting {
        let Submitting { count, batch, places, refused } = elements;
        let unsorted = !refused.is_empty();
        let submitted = Submitted { ids: vec![0; count], refused };
        Admitting { batch, places, unsorted, row: 0, asked: None, held_row: None, submitted, reply, room }
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
        self.submitted.refused.push(place, why);
        self.row += 1;
    }

    /// Whose it is; none within the process.
    pub(super) fn client(&self) -> Option<&ClientId> {
        self.room.client.as_ref()
    }

    /// All rows were seen to: the answer, and its recipient.
    pub(super) fn finish(self) -> (Submitted, Reply<Submitted>) {
        let mut submitted = self.submitted;
        if self.unsorted {
            submitted.refused.sort();
        }
        (submitted, self.reply)
    }
}

/// All that are held, with a bound in bytes, and the clock that their times are measured by.
#[derive(Debug)]
pub(super) struct HeldRequests {
    holds: Holds<HeldRequest>,
    bytes: usize,
    /// By stream.
    bytes_of: HashMap<u64, usize>,
    /// Requests that are no part of a stream of submissions have streams of their own, numbered from the end.
    alone: u64,
    now_ms: u64,
    looked: Instant,
    sweep_at: usize,
}

impl HeldRequests {
    pub(super) fn new(ms_max: u64) -> HeldRequests {
        HeldRequests {
            holds: Holds::new(ms_max),
            bytes: 0,
            bytes_of: HashMap::new(),
            alone: u64::MAX,
            now_ms: 1,
            looked: Instant::now(),
            sweep_at: SWEEP_MIN,
        }
    }

    /// A stream for a request that is alone in it.
    pub(super) fn alone(&mut self) -> u64 {
        self.alone -= 1;
        self.alone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Puts a request behind those of its stream that are held. Gives it back when there are none.
    pub(super) fn behind(&mut self, stream: u64, mut request: HeldRequest) -> Result<(), HeldRequest> {
        if !self.holds.holds(stream) {
            return Err(request);
        }
        self.count(stream, &mut request);
        self.holds.behind(stream, request)?;
        self.make_room();
        Ok(())
    }

    /// Holds a request; with the ticket it left with, if it waits for the same as before.
    pub(super) fn hold(&mut self, stream: u64, wait: TurnWait, mut request: HeldRequest, again: Option<Ticket>) {
        let now_ms = self.tick();
        self.count(stream, &mut request);
        let read_ms = match &request {
            HeldRequest::Get { wait_ms: 0, .. } | HeldRequest::Explain { .. } => Some(READ_MS_MAX),
            HeldRequest::Get { wait_ms, .. } => Some((*wait_ms).into()),
            HeldRequest::Submit(_) | HeldRequest::Withdraw { .. } => None,
        };
        let TurnWait { until, behind } = wait;
        if behind {
            self.holds.hold_last(stream, until, now_ms, request, again);
        } else {
            self.holds.hold(stream, until, now_ms, request, again);
        }
        if let Some(read_ms) = read_ms {
            self.holds.end_by(stream, now_ms + read_ms);
        }
        self.make_room();
        self.sweep();
    }

    /// Holds a withdrawal on whose time is over, until there may be room for it.
    pub(super) fn hold_on(&mut self, stream: u64, until: EventId, request: HeldRequest) {
        let now_ms = self.tick();
        self.holds.hold(stream, until, now_ms, request, None);
        self.holds.end_by(stream, now_ms + AGAIN_MS);
    }

    /// Requests that are held for a pool may go on.
    pub(super) fn caught_up(&mut self, pool: PoolId) {
        self.holds.caught_up(pool);
    }

    /// The next one that may go on; where there is no `room` for events, of those that need none.
    pub(super) fn next(&mut self, decided: Decided, room: bool) -> Option<Freed<HeldRequest>> {
        let now_ms = self.tick();
        let freed = self.holds.next(decided, now_ms, |request, over| room || request.needs_no_room(over))?;
        let bytes = freed.request.bytes();
        self.bytes -= bytes;
        if bytes > 0
            && let Some(of) = self.bytes_of.get_mut(&freed.stream)
        {
            *of -= bytes;
            if *of == 0 {
                self.bytes_of.remove(&freed.stream);
            }
        }
        Some(freed)
    }

    /// For how long a request was held, in milliseconds.
    pub(super) fn held_ms(&self, ticket: Option<Ticket>) -> u64 {
        ticket.map_or(0, |ticket| self.now_ms.saturating_sub(ticket.since_ms()))
    }

    /// In how many milliseconds the next one's time is over.
    pub(super) fn over_in_ms(&mut self) -> Option<u64> {
        let now_ms = self.tick();
        self.holds.deadline_ms().map(|deadline_ms| deadline_ms.saturating_sub(now_ms))
    }

    /// How many are held, and for how many milliseconds the first of them.
    pub(super) fn counts(&mut self) -> (usize, u64) {
        let now_ms = self.tick();
        (self.holds.len(), self.holds.since_ms().map_or(0, |since_ms| now_ms.saturating_sub(since_ms)))
    }

    /// Nothing can be written: what makes events is told so.
    pub(super) fn refuse_writes(&mut self, why: &NotWritten) {
        for request in self.holds.take_out(HeldRequest::writes) {
            // They are alone in their streams; submissions with others behind them go on by themselves.
            self.bytes -= request.bytes();
            _ = request.refuse(why.clone());
        }
        let streams: Vec<u64> = self.bytes_of.keys().copied().collect();
        streams.into_iter().for_each(|stream| self.holds.end_by(stream, 0));
        self.bytes_of.retain(|&stream, _| self.holds.holds(stream));
    }

    /// A clock that does not count when this process stands still: what was held meanwhile is decided first.
    fn tick(&mut self) -> u64 {
        let passed = self.looked.elapsed().min(STEP);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(0);
        if passed_ms > 0 {
            self.looked = Instant::now();
            self.now_ms += passed_ms;
        }
        self.now_ms
    }

    fn count(&mut self, stream: u64, request: &mut HeldRequest) {
        let HeldRequest::Submit(admitting) = request else { return };
        // It is not on its way any more, and others may come.
        admitting.room.on_the_way = None;
        self.bytes += admitting.room.bytes;
        *self.bytes_of.entry(stream).or_default() += admitting.room.bytes;
    }

    /// Above the bound, the stream that has most is held no longer: of its first batch, the rows that are undecided are
    /// refused.
    fn make_room(&mut self) {
        if self.bytes > HELD_BYTES_MAX
            && let Some((&stream, _)) = self.bytes_of.iter().max_by_key(|&(_, bytes)| bytes)
        {
            self.holds.end_by(stream, 0);
        }
    }

    /// Forgets those whose clients have left, once they may be as many as the others.
    fn sweep(&mut self) {
        let held = self.holds.streams();
        if held >= self.sweep_at {
            self.holds.take_out(HeldRequest::is_gone);
            self.sweep_at = SWEEP_MIN.max(2 * self.holds.streams());
        }
    }
}
