//! Messages between nodes, in parts of bounded bytes.
//!
//! Whatever has many items is sent as several messages, each of at most [`PART_BYTES`] of items or of one item. A
//! reader takes them one after the other as if their sender had stopped in between: candidates and log frames are
//! parted between events, decisions keep their order. Sizes are upper bounds by counting, so that nothing is encoded
//! twice to find out.

use std::{mem, sync::Arc};

use dovetail_core::{Audience, CandidateFrame, DecisionFrame, EventId, Retirement, SliceId, batch::Run};
use prost::Message as _;

use super::decisions::{candidate_frame_pb, decision_frame_pb};
use super::frames::{event_pb, log_frame_part_pb};
use super::pairs::{PAIR_BYTES, PAIRS_HEAD_BYTES};
use crate::{node_pb, storage_pb};
use dovetail_node::balancer::{Part, PartFrame};

/// Most bytes of the items of one message between nodes, unless it is one item. What is more goes into the next
/// message.
pub const PART_BYTES: usize = 1 << 20;

/// Largest message between nodes, in bytes. A message has [`PART_BYTES`] of items, or one item, and says who is
/// concerned: the largest item is what one event may find for one shard (a claim on each of 65,536 anchors, 1.5 MiB),
/// the longest audience that of every pair of 1,024 slices and 256 shards (3.3 MiB). A test below has that they fit.
pub const NODE_MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Most bytes of a number with its tag.
const NUMBER: usize = 11;
/// Most bytes of what a frame says beside its items and its audience: numbers, and what three columns of pairs do.
const HEAD: usize = 8 * NUMBER + 3 * PAIRS_HEAD_BYTES;
/// Most bytes of a slice and a shard of an audience.
const AUDIENCE_PAIR: usize = 3 * NUMBER;
/// What an arrival takes beside its attributes: its distance, and its share of what each column says of itself.
const ARRIVAL: usize = 16;

/// How full a message is.
#[derive(Debug, Default)]
pub struct Filling {
    bytes: usize,
    items: usize,
}

impl Filling {
    /// Takes an item, or says that it belongs into the next message, which it begins then.
    pub fn begins_next(&mut self, bytes: usize) -> bool {
        let next = self.items > 0 && self.bytes + bytes > PART_BYTES;
        if next {
            *self = Filling::default();
        }
        (self.bytes, self.items) = (self.bytes + bytes, self.items + 1);
        next
    }
}

/// Puts items into as few messages as they fit, in their order.
fn fill<T>(items: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut filling, mut parts, mut part) = (Filling::default(), Vec::new(), Vec::new());
    for item in items {
        if filling.begins_next(bytes(&item)) {
            parts.push(mem::take(&mut part));
        }
        part.push(item);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// Candidate frames as messages: several small ones in one, a large one in several.
#[must_use]
pub fn candidate_parts(frames: &[(SliceId, Arc<CandidateFrame>)]) -> Vec<node_pb::CandidateFrames> {
    let split = frames.iter().flat_map(|(slice, frame)| match candidate_bytes(frame) {
        bytes if bytes <= PART_BYTES => vec![(candidate_frame_pb(*slice, frame), bytes)],
        _ => split_candidates(*slice, frame),
    });
    let parts = fill(split, |(_, bytes)| *bytes).into_iter();
    parts.map(|part| node_pb::CandidateFrames { frames: part.into_iter().map(|(frame, _)| frame).collect() }).collect()
}

fn list_bytes(anchors: usize) -> usize {
    // A packed list has one tag; ids take ten bytes at most.
    4 * NUMBER + 10 * anchors
}

fn head_bytes(audience: &Audience) -> usize {
    HEAD + match audience {
        Audience::All => 0,
        Audience::Pairs(pairs) => AUDIENCE_PAIR * pairs.len(),
    }
}

fn candidate_bytes(frame: &CandidateFrame) -> usize {
    let lists: usize = frame.probes.iter().map(|list| list_bytes(list.anchors.len())).sum();
    head_bytes(&frame.audience) + lists + PAIR_BYTES * (frame.claims.len() + frame.closes.len() + frame.settled.len())
}

/// The events of a frame in which something was found, and the bytes of that, ascending.
fn found(frame: &CandidateFrame) -> Vec<(EventId, usize)> {
    let lists = frame.probes.iter().map(|list| (list.x, list_bytes(list.anchors.len())));
    let claims = frame.claims.iter().map(|claim| (claim.x, PAIR_BYTES));
    let closes = frame.closes.iter().map(|close| (close.x, PAIR_BYTES));
    let settled = frame.settled.iter().map(|settled| (settled.x, PAIR_BYTES));
    let mut found: Vec<_> = lists.chain(claims).chain(closes).chain(settled).collect();
    found.sort_by_key(|&(x, _)| x);
    found.dedup_by(|next, before| {
        let same = next.0 == before.0;
        before.1 += if same { next.1 } else { 0 };
        same
    });
    found
}

/// After which events to go on with another message, so that none has more than fits: each is the last of its message.
/// `events` ascend.
fn ends(events: impl Iterator<Item = (EventId, usize)>, head: usize) -> Vec<EventId> {
    let (mut filling, mut ends, mut last) = (Filling { bytes: head, items: 0 }, Vec::new(), None);
    for (x, bytes) in events {
        if filling.begins_next(bytes) {
            filling.bytes += head;
            ends.extend(last);
        }
        last = Some(x);
    }
    ends
}

/// Runs `(after, through]` that end where told, and the last of them at `through`.
fn runs(after: EventId, ends: Vec<EventId>, through: EventId) -> impl Iterator<Item = (EventId, EventId)> {
    let mut begin = after;
    ends.into_iter().chain([through]).map(move |end| (mem::replace(&mut begin, end), end))
}

/// What a slice would have sent if it had waited in between. The audience may be of events beyond a frame.
fn split_candidates(slice: SliceId, frame: &CandidateFrame) -> Vec<(node_pb::CandidateFrame, usize)> {
    let ends = ends(found(frame).into_iter(), head_bytes(&frame.audience));
    let within = |run: (EventId, EventId), x: EventId| x > run.0 && x <= run.1;
    let part = |run: (EventId, EventId)| CandidateFrame {
        after: run.0,
        through: run.1,
        decided_seen: frame.decided_seen,
        stable: frame.stable,
        audience: frame.audience.clone(),
        probes: frame.probes.iter().filter(|list| within(run, list.x)).cloned().collect(),
        claims: frame.claims.iter().filter(|claim| within(run, claim.x)).copied().collect(),
        closes: frame.closes.iter().filter(|close| within(run, close.x)).copied().collect(),
        settled: frame.settled.iter().filter(|settled| within(run, settled.x)).copied().collect(),
    };
    let parts = runs(frame.after, ends, frame.through).map(part);
    parts.map(|part| (candidate_frame_pb(slice, &part), candidate_bytes(&part))).collect()
}

/// Decisions as messages: retirements, then grants, and the watermark with the last of them.
#[must_use]
pub fn decision_parts(frame: &DecisionFrame) -> Vec<node_pb::DecisionFrame> {
    const MOST: usize = (PART_BYTES - 2 * PAIRS_HEAD_BYTES) / PAIR_BYTES;
    if frame.retirements.len() + frame.grants.len() <= MOST {
        return vec![decision_frame_pb(frame)];
    }
    let retirements = frame.retirements.chunks(MOST);
    let retirements = retirements.map(|some| DecisionFrame { retirements: some.to_vec(), ..Default::default() });
    let grants = frame.grants.chunks(MOST);
    let grants = grants.map(|some| DecisionFrame { grants: some.to_vec(), ..Default::default() });
    let mut parts: Vec<_> = retirements.chain(grants).collect();
    parts.last_mut().expect("it has more than fit").decided = frame.decided;
    parts.iter().map(decision_frame_pb).collect()
}

/// As many retirements as fit a message.
#[must_use]
pub fn retirement_part(retirements: impl Iterator<Item = Retirement>) -> Vec<Retirement> {
    retirements.take((PART_BYTES - PAIRS_HEAD_BYTES) / PAIR_BYTES).collect()
}

/// A frame of the log with some of its events, as [`log_frame_part_pb`] has it, in several messages if it is large.
#[must_use]
pub fn log_frame_parts(
    frame: &PartFrame,
    (after, audience): (EventId, &Audience),
    with: impl Fn(usize, usize) -> bool,
) -> Vec<storage_pb::LogFrame> {
    let all = (after, frame.through);
    if frame.events.iter().map(part_bytes).sum::<usize>() <= PART_BYTES {
        return vec![log_frame_part_pb(frame, all, audience, with)];
    }
    let with = &with;
    let sent = frame.events.iter().enumerate().flat_map(|(place, part)| {
        each_bytes(part).enumerate().filter(move |&(at, _)| with(place, at)).map(|(_, event)| event)
    });
    let ends = ends(sent, head_bytes(audience));
    let part = |(after, through): (EventId, EventId)| {
        let within = |place: usize, at: usize| {
            let x = frame.events[place].x(at);
            x > after && x <= through && with(place, at)
        };
        log_frame_part_pb(frame, (after, through), audience, within)
    };
    runs(after, ends, frame.through).map(part).collect()
}

/// Never fewer bytes than a part takes.
fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Event(event) => event_pb(event).encoded_len() + NUMBER,
        Part::Arrivals(_, Run { batch, rows }) => batch.bytes() + ARRIVAL * (rows.len() + batch.attributes().len()),
    }
}

/// The same of each of its events, ascending.
fn each_bytes(part: &Part) -> Box<dyn Iterator<Item = (EventId, usize)> + '_> {
    match part {
        Part::Event(event) => Box::new([(event.x, event_pb(event).encoded_len() + NUMBER)].into_iter()),
        Part::Arrivals(first, Run { batch, rows }) => {
            let each = rows.clone().zip((first.0..).map(EventId));
            Box::new(each.map(|(row, x)| (x, batch.frame_bytes(row) + ARRIVAL)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dovetail_core::{
        Claim, Decided, ElementId, Event, EventKind, Frame, Grant, LogFrame, PoolDefinition, PoolId, ProbeList,
        ShardId, Stable, WithdrawReason, WithdrawalNotice, audience::AudiencePair, batch::Batch, ledger::ClientPart,
    };
    use dovetail_rule::{ATTRIBUTES_MAX, AttributeType, LIST_LEN_MAX, Row, STRING_BYTES_MAX, Value};

    use super::*;
    use crate::{candidate_frame, decision_frame, log_frame, waiting_pb};

    const LARGE: u64 = u64::MAX >> 1;

    fn pairs(slices: u32, shards: u32) -> Audience {
        let pair =
            |slice, shard| AudiencePair { slice: SliceId(slice), shard: ShardId(shard), last: EventId(u64::MAX) };
        Audience::Pairs((0..slices).flat_map(|slice| (0..shards).map(move |shard| pair(slice, shard))).collect())
    }

    fn claims(x: u64, count: u64) -> impl Iterator<Item = Claim> {
        (1..=count).map(move |n| Claim { x: EventId(x), prober: ElementId(x), anchor: ElementId(n) })
    }

    /// Events above `LARGE`, each of which finds as many candidates.
    fn candidates(events: u64, each: u64) -> CandidateFrame {
        let xs = (1..=events).map(|n| LARGE + 3 * n);
        CandidateFrame {
            after: EventId(LARGE),
            through: EventId(LARGE + 3 * events + 1),
            decided_seen: Decided(EventId(7)),
            stable: Stable(EventId(6)),
            audience: pairs(6, 1),
            probes: xs
                .clone()
                .map(|x| ProbeList { x: EventId(x), prober: ElementId(x), anchors: (0..each).map(ElementId).collect() })
                .collect(),
            claims: xs.clone().flat_map(|x| claims(x, each)).collect(),
            closes: xs.clone().map(|x| WithdrawalNotice { x: EventId(x), element: ElementId(x) }).collect(),
            settled: xs.map(|x| Retirement { x: EventId(x), element: ElementId(x), anchor: None }).collect(),
        }
    }

    #[test]
    fn candidates_of_many_bytes_are_parted_between_events_and_say_the_same() {
        let whole = candidates(5000, 20);
        let frames = [(SliceId(3), Arc::new(whole.clone())), (SliceId(4), Arc::new(candidates(1, 1)))];
        let parts = candidate_parts(&frames);
        assert!(parts.len() > 2 && parts.iter().all(|part| part.encoded_len() <= PART_BYTES), "{}", parts.len());
        let mut frames: Vec<_> =
            parts.into_iter().flat_map(|part| part.frames).map(|frame| candidate_frame(frame).unwrap()).collect();
        assert_eq!(frames.pop().unwrap(), (SliceId(4), candidates(1, 1)));
        let mut joined = CandidateFrame { through: whole.after, ..whole.clone() };
        (joined.probes, joined.claims, joined.closes, joined.settled) = Default::default();
        for (slice, part) in frames {
            assert_eq!((slice, part.after, &part.audience), (SliceId(3), joined.through, &whole.audience));
            assert_eq!((part.decided_seen, part.stable), (whole.decided_seen, whole.stable));
            assert!(part.probes.iter().all(|list| list.x > part.after && list.x <= part.through));
            joined.through = part.through;
            joined.probes.extend(part.probes);
            joined.claims.extend(part.claims);
            joined.closes.extend(part.closes);
            joined.settled.extend(part.settled);
        }
        assert_eq!(joined, whole);
    }

    #[test]
    fn small_candidate_frames_go_together() {
        let frames: Vec<_> = (0..100).map(|slice| (SliceId(slice), Arc::new(candidates(2, 2)))).collect();
        assert_eq!(candidate_parts(&frames).len(), 1);
    }

    #[test]
    fn decisions_of_many_bytes_keep_their_order_and_the_watermark_comes_last() {
        let retirement =
            |n| Retirement { x: EventId(LARGE + n), element: ElementId(n), anchor: Some(ElementId(LARGE)) };
        let grant = |n| Grant { x: EventId(LARGE + n), prober: ElementId(n), anchor: ElementId(n) };
        let whole = DecisionFrame {
            retirements: (1..=100_000).map(retirement).collect(),
            grants: (1..=50_000).map(grant).collect(),
            decided: Some(Decided(EventId(9))),
        };
        let parts = decision_parts(&whole);
        assert!(parts.iter().all(|part| part.encoded_len() <= PART_BYTES));
        let (last, before) = parts.split_last().unwrap();
        assert!(before.iter().all(|part| part.decided.is_none()) && last.decided == Some(9));
        let grants_begin = parts.iter().position(|part| part.grants.is_some()).unwrap();
        assert!(parts[grants_begin..].iter().all(|part| part.retirements.is_none()));
        let mut joined = DecisionFrame::default();
        for part in parts.iter().map(|part| decision_frame(part).unwrap()) {
            joined.retirements.extend(part.retirements);
            joined.grants.extend(part.grants);
            joined.decided = part.decided;
        }
        assert_eq!(joined, whole);
        assert_eq!(decision_parts(&DecisionFrame::default()).len(), 1);
    }

    /// A row of so many attributes, each a list of as many of the longest texts.
    fn row(attributes: usize, entries: usize) -> Row {
        let list = || Value::StringList((0..entries).map(|_| "x".repeat(STRING_BYTES_MAX).into()).collect());
        Row::from_values((0..attributes).map(|_| Some(list())).collect::<Vec<_>>())
    }

    fn part_frame(rows: &[Row]) -> PartFrame {
        let client = ClientPart {
            key: "k".into(),
            payload: bytes::Bytes::new(),
            ttl_ms: 0,
            idempotency_key: "".into(),
            owner: "".into(),
        };
        let elements: Vec<_> = rows.iter().map(|row| (row, &client)).collect();
        let batch = Arc::new(Batch::of(PoolId(2), &elements));
        let reason = WithdrawReason::Client;
        let withdrawal = EventKind::Withdrawal { element: ElementId(5), pool: PoolId(2), reason };
        let reprobe = |row: &Row| EventKind::Reprobe {
            element: ElementId(6),
            pool: PoolId(2),
            arrived_ms: 1,
            row: Arc::new(row.clone()),
        };
        let (half, all) = (rows.len() / 2, rows.len());
        let last = 103 + all as u64;
        let events = vec![
            Part::Arrivals(EventId(101), Run { batch: Arc::clone(&batch), rows: 0..half }),
            Part::Event(Event { x: EventId(101 + half as u64), kind: withdrawal }),
            Part::Arrivals(EventId(102 + half as u64), Run { batch, rows: half..all }),
            Part::Event(Event { x: EventId(last - 1), kind: reprobe(&rows[0]) }),
        ];
        let audience = Audience::All;
        Frame { after: EventId(100), through: EventId(last), time_ms: 8, stable: Stable(EventId(7)), audience, events }
    }

    #[test]
    fn a_log_frame_of_many_bytes_is_parted_between_events_and_says_the_same() {
        let rows: Vec<Row> = (0..60).map(|n| row(4 + n % 3, 40)).map(|row| pad(&row, 6)).collect();
        let frame = part_frame(&rows);
        let held = (EventId(90), &frame.audience);
        // Every third event is another slice's.
        let with = |place: usize, at: usize| !(place + at).is_multiple_of(3);
        let whole = log_frame(log_frame_part_pb(&frame, (EventId(90), frame.through), &frame.audience, with)).unwrap();
        let parts = log_frame_parts(&frame, held, with);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.encoded_len() <= PART_BYTES + 4096));
        let mut joined = LogFrame { through: EventId(90), events: Vec::new(), ..whole.clone() };
        for part in parts {
            let part = log_frame(part).unwrap();
            assert_eq!((part.after, part.time_ms, part.stable), (joined.through, 8, Stable(EventId(7))));
            joined.through = part.through;
            joined.events.extend(part.events);
        }
        assert_eq!(joined, whole);
    }

    /// The same with attributes that are missing.
    fn pad(row: &Row, attributes: usize) -> Row {
        let missing = attributes - row.values().len();
        Row::from_values(row.values().iter().cloned().chain((0..missing).map(|_| None)).collect::<Vec<_>>())
    }

    #[test]
    fn the_largest_items_there_can_be_fit_a_message() {
        let fattest = row(ATTRIBUTES_MAX, LIST_LEN_MAX);
        // With every pair of slice and shard told beside the element.
        let frame = part_frame(&[fattest.clone(), fattest.clone(), fattest.clone()]);
        let audience = pairs(1024, 256);
        let parts = log_frame_parts(&frame, (EventId(0), &audience), |_, _| true);
        assert_eq!(parts.len(), 5, "one event each");
        for part in parts {
            assert!(part.encoded_len() <= NODE_MESSAGE_BYTES_MAX, "{} bytes", part.encoded_len());
        }
        let waiting = dovetail_core::slice::WaitingElement {
            element: ElementId(LARGE),
            pool: PoolId(9),
            arrived_ms: LARGE,
            row: Arc::new(fattest),
        };
        assert!(waiting_pb(&waiting).encoded_len() + PART_BYTES < NODE_MESSAGE_BYTES_MAX);
        // What one probe may find for one shard.
        let mut largest = candidates(1, 65_536);
        largest.audience = pairs(1024, 1);
        for part in candidate_parts(&[(SliceId(1), Arc::new(largest))]) {
            assert!(part.encoded_len() <= NODE_MESSAGE_BYTES_MAX / 2, "{} bytes", part.encoded_len());
        }
    }

    #[test]
    fn what_is_counted_is_never_less_than_what_is_sent() {
        let frame = candidates(100, 30);
        assert!(candidate_frame_pb(SliceId(1023), &frame).encoded_len() <= candidate_bytes(&frame));
        let rows: Vec<Row> = [(1, 0), (3, 1), (64, 64), (0, 0)].map(|(a, e)| pad(&row(a, e), 64)).into();
        let logged = part_frame(&rows);
        let counted: usize = logged.events.iter().flat_map(each_bytes).map(|(_, bytes)| bytes).sum();
        let sent =
            log_frame_part_pb(&logged, (logged.after, logged.through), &Audience::All, |_, _| true).encoded_len();
        // Beside what the columns say of themselves, once for all.
        assert!(sent <= counted + 64 * 16 + 128, "{sent} sent, {counted} counted");
        let xs: BTreeSet<_> = logged.events.iter().flat_map(each_bytes).map(|(x, _)| x).collect();
        assert!(xs.len() == 6 && xs.first() == Some(&EventId(101)));
        let definition = PoolDefinition {
            name: "n".repeat(64),
            attributes: (0..64).map(|n| (format!("{n:064}"), AttributeType::Int)).collect(),
            rule: "r".repeat(1024),
            ttl_ms: LARGE,
            reprobe_ms: vec![LARGE; 32],
            waiting_max: LARGE,
            payload_bytes_max: LARGE,
        };
        assert!(crate::pool_definition_pb(&definition).encoded_len() < 16 << 10);
    }
}
