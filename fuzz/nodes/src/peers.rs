//! What nodes say to each other, and what a log and a checkpoint hold: decoded, converted, and given to a slice and a
//! shard.
//!
//! An input is a sequence of messages: what it is, its length as two bytes, its bytes. A slice and a shard take them
//! one after the other, as a session would: the first that is refused ends it. Refused they may be; a panic would be a
//! fault, since who sends is not always a node of the same version, in good health.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_core::{
    Audience, CandidateFrame, Cursor, Decided, DecisionFrame, Event, EventId, EventKind, Frame, Placement,
    PoolDefinition, PoolId, Ring, ShardId, SliceId, Stable, WithdrawReason,
    batch::KeySecret,
    shard::{Fetch, Reader, Shard, ShardEffect},
    slice::{SliceCut, SliceEffect, Slices},
};
use dovetail_log::Record;
use dovetail_rule::{AttributeType, Row, Value, table::Secret};
use dovetail_wire::{node_pb, storage_pb};
use prost::Message;

const FRAME: u8 = 0;
const DECISIONS_TO_SLICE: u8 = 1;
const CANDIDATES: u8 = 2;
const DECISIONS_TO_SHARD: u8 = 3;
const CUT: u8 = 4;
const STABLE: u8 = 5;
const STORED_TO_SLICE: u8 = 6;
const STORED_TO_SHARD: u8 = 7;
const SUBSCRIBED: u8 = 8;
const RECORD: u8 = 9;
const CHECKPOINT: u8 = 10;
const KINDS: u8 = 11;

const SHARDS: u32 = 2;
const LIST_MAX: usize = 8;

fn placement() -> Placement {
    Placement::new(2, 4, Arc::new(Ring::new(SHARDS, 16)))
}

/// The nodes that read, and how far they are.
struct Session {
    cut: SliceCut,
    slice: Option<Slices>,
    shard: Shard,
    chunks: Option<dovetail_wire::ReadChunks>,
}

/// One input.
pub fn run(input: &[u8]) {
    let mut session = Session {
        cut: SliceCut::default(),
        slice: None,
        shard: Shard::new(placement(), ShardId(0), EventId::ZERO),
        chunks: Some(dovetail_wire::ReadChunks::new(KeySecret([1, 2]))),
    };
    let mut rest = input;
    while let [kind, low, high, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (message, after) = more.split_at(length);
        if session.take(*kind, Bytes::copy_from_slice(message)).is_none() {
            return;
        }
        rest = after;
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Session {
    /// None when the message ends the session.
    fn take(&mut self, kind: u8, bytes: Bytes) -> Option<()> {
        let from = ShardId(u32::from(kind / KINDS) % SHARDS);
        match kind % KINDS {
            CUT => {
                self.slice.is_none().then_some(())?;
                dovetail_wire::slice_cut_part(&mut self.cut, node_pb::CutPart::decode(bytes).ok()?).ok()?;
            }
            RECORD => record(bytes)?,
            CHECKPOINT => self.chunk(&bytes)?,
            kind @ (CANDIDATES | DECISIONS_TO_SHARD | STORED_TO_SHARD | SUBSCRIBED) => {
                self.shard_reads(kind, from, bytes)?;
            }
            kind => self.slice_reads(kind, from, bytes)?,
        }
        Some(())
    }

    fn slice_reads(&mut self, kind: u8, from: ShardId, bytes: Bytes) -> Option<()> {
        let mut out = Vec::new();
        if self.slice.is_none() {
            let cut = std::mem::take(&mut self.cut);
            self.slice = Some(Slices::new(&placement(), &[SliceId(0)], LIST_MAX, Secret([1, 2]), cut).ok()?);
        }
        let slice = self.slice.as_mut()?;
        match kind {
            FRAME => {
                let frame = dovetail_wire::column_frame(storage_pb::LogFrame::decode(bytes).ok()?).ok()?;
                slice.on_frame(&Arc::new(frame), &mut out).ok()?;
            }
            DECISIONS_TO_SLICE => {
                let frame = dovetail_wire::decision_frame(&node_pb::DecisionFrame::decode(bytes).ok()?).ok()?;
                slice.on_decisions(from, &frame, &mut out).ok()?;
            }
            STORED_TO_SLICE => {
                let frame = dovetail_wire::decision_frame(&node_pb::DecisionFrame::decode(bytes).ok()?).ok()?;
                slice.on_stored(from, frame.decided?.event(), &frame.retirements, &mut out).ok()?;
            }
            STABLE => slice.on_stable(Stable(EventId(number(&bytes))), &mut out),
            _ => unreachable!("there are no others"),
        }
        for SliceEffect::Frame { frame, .. } in out {
            _ = dovetail_wire::candidate_parts(&[(SliceId(0), frame)]);
        }
        let slice = slice.get(SliceId(0));
        _ = (slice.subscribe(from, Cursor(EventId::ZERO)), slice.decided_seen(), slice.anchors().count());
        Some(())
    }

    fn shard_reads(&mut self, kind: u8, from: ShardId, bytes: Bytes) -> Option<()> {
        let (shard, mut out) = (&mut self.shard, Vec::new());
        match kind {
            CANDIDATES => {
                for frame in node_pb::CandidateFrames::decode(bytes).ok()?.frames {
                    let (slice, frame): (SliceId, CandidateFrame) = dovetail_wire::candidate_frame(frame).ok()?;
                    // The reader looks for the slice among those that it asked for.
                    (slice.0 < 2).then_some(())?;
                    shard.on_candidates(slice, &frame, &mut out).ok()?;
                }
            }
            DECISIONS_TO_SHARD => {
                let frame = dovetail_wire::decision_frame(&node_pb::DecisionFrame::decode(bytes).ok()?).ok()?;
                shard.on_decisions(from, &frame, &mut out).ok()?;
            }
            STORED_TO_SHARD => {
                let frame = dovetail_wire::decision_frame(&node_pb::DecisionFrame::decode(bytes).ok()?).ok()?;
                let fetch = Fetch { after: shard.floor(), through: frame.decided?.event() };
                shard.on_stored(fetch, &frame.retirements, &mut out).ok()?;
            }
            _ => {
                _ = shard.on_slice_subscribed(SliceId(from.0), Decided(EventId(number(&bytes))));
                _ = shard.on_peer_subscribed(from, Cursor(EventId(number(&bytes))));
            }
        }
        let told = |effect| match effect {
            ShardEffect::Retire(retirement) | ShardEffect::Settled(retirement) => Some(retirement),
            ShardEffect::Grant { .. } | ShardEffect::Decided { .. } => None,
        };
        let retirements = out.into_iter().filter_map(told).collect();
        _ = dovetail_wire::decision_parts(&DecisionFrame { retirements, ..DecisionFrame::default() });
        for reader in [Reader::Shard(ShardId(1)), Reader::Matcher, Reader::Balancer] {
            _ = shard.subscribe(reader, Cursor(EventId::ZERO));
        }
        Some(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Option<()> {
        let mut chunks = self.chunks.take()?;
        chunks.read(bytes).ok()?;
        if bytes.len().is_multiple_of(2) {
            _ = chunks.base();
        } else {
            self.chunks = Some(chunks);
        }
        Some(())
    }
}

/// A record of the log says the same, whether it is kept or not, and when it was written again.
fn record(bytes: Bytes) -> Option<()> {
    let record = Record::new(1, bytes);
    let kept = dovetail_wire::log_parts(&record, true);
    let shared = dovetail_wire::log_parts(&record, false);
    assert_eq!(kept.is_ok(), shared.is_ok());
    let (kept, shared) = (kept.ok()?, shared.ok()?);
    let again = dovetail_wire::log_parts(&dovetail_wire::log_record_pb(&kept).record(), false)
        .expect("what was written can be read");
    let events = |frame: &dovetail_wire::PartFrame| format!("{:?}", dovetail_wire::LoggedFrame::of(frame));
    assert_eq!(events(&kept), events(&shared));
    assert_eq!(events(&kept), events(&again));
    Some(())
}

/// A cluster of two slices and two shards in good health: what slice 0 and shard 0 heard, in order; records; and a
/// checkpoint.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    ["a.i == b.i", "a.i != b.i && a.s == 'x'", "a.i < b.i"]
        .into_iter()
        .enumerate()
        .flat_map(|(number, rule)| {
            let (heard, records) = heard(rule);
            [(format!("session-{number}"), heard), (format!("records-{number}"), records)]
        })
        .collect()
}

/// What is in a log: a pool, elements that arrive, search again and are withdrawn.
fn log(rule: &str) -> Vec<dovetail_wire::PartFrame> {
    let definition = PoolDefinition {
        name: "pool".into(),
        attributes: vec![("i".into(), AttributeType::Int), ("s".into(), AttributeType::String)],
        rule: rule.into(),
        ttl_ms: 0,
        reprobe_ms: vec![1000],
        waiting_max: 0,
        payload_bytes_max: 0,
    };
    let pool = PoolId(0);
    let row = |x: u64| Arc::new(Row::from_values([Some(Value::Int(x as i64 % 3)), Some(Value::String("x".into()))]));
    let mut events = vec![EventKind::PoolDefined { pool, definition: Arc::new(definition) }];
    events.extend((2..14).map(|x| EventKind::Arrival { pool, row: row(x) }));
    let element = |x| dovetail_core::ElementId(x);
    events.extend([3, 12, 13].map(|x| EventKind::Reprobe { element: element(x), pool, arrived_ms: 1, row: row(x) }));
    events.extend([12, 13].map(|x| EventKind::Withdrawal {
        element: element(x),
        pool,
        reason: WithdrawReason::Client,
    }));
    events.extend([EventKind::PoolClosed { pool }, EventKind::PoolDropped { pool }]);
    let events: Vec<Event> = (1..).map(EventId).zip(events).map(|(x, kind)| Event { x, kind }).collect();
    let frame = |events: &[Event]| Frame {
        after: events[0].x.prev(),
        through: events[events.len() - 1].x,
        time_ms: 1000 + events[0].x.0,
        stable: Stable(EventId::ZERO),
        audience: Audience::All,
        events: events.iter().cloned().map(dovetail_wire::Part::Event).collect(),
    };
    events.chunks(5).map(frame).collect()
}

fn heard(rule: &str) -> (Vec<u8>, Vec<u8>) {
    let (mut heard, mut records) = (Vec::new(), Vec::new());
    let message = |to: &mut Vec<u8>, kind: u8, bytes: &[u8]| {
        to.push(kind);
        to.extend((bytes.len() as u16).to_le_bytes());
        to.extend(bytes);
    };
    let ids = [SliceId(0), SliceId(1)];
    let slices = Slices::new(&placement(), &ids, LIST_MAX, Secret([1, 2]), SliceCut::default());
    let mut slices = slices.expect("an empty cut is one");
    let mut shards: Vec<Shard> = (0..SHARDS).map(|id| Shard::new(placement(), ShardId(id), EventId::ZERO)).collect();
    for frame in log(rule) {
        let record = dovetail_wire::log_record_pb(&frame).record();
        message(&mut records, RECORD, &record.bytes);
        let sent = dovetail_wire::log_frame_pb(&frame);
        message(&mut heard, FRAME, &sent.encode_to_vec());
        let frame = Arc::new(dovetail_wire::column_frame(sent).expect("what is sent can be read"));
        let mut found: Vec<SliceEffect> = Vec::new();
        slices.on_frame(&frame, &mut found).expect("it is the next");
        // Until nobody has anything to say.
        while !found.is_empty() {
            let mut told: Vec<(ShardId, ShardEffect)> = Vec::new();
            for SliceEffect::Frame { slice, to, frame } in found.drain(..) {
                let sent = node_pb::CandidateFrames { frames: vec![dovetail_wire::candidate_frame_pb(slice, &frame)] };
                if to.0 == 0 {
                    message(&mut heard, CANDIDATES, &sent.encode_to_vec());
                }
                let mut out = Vec::new();
                shards[to.0 as usize].on_candidates(slice, &frame, &mut out).expect("it is the next");
                told.extend(out.into_iter().map(|effect| (to, effect)));
            }
            while !told.is_empty() {
                let mut answers = Vec::new();
                for (from, effect) in told.drain(..) {
                    let (mut decisions, mut to_shard) = (DecisionFrame::default(), None);
                    match effect {
                        ShardEffect::Grant { to, grant } => (to_shard, decisions.grants) = (Some(to), vec![grant]),
                        ShardEffect::Retire(retirement) => decisions.retirements.push(retirement),
                        ShardEffect::Settled(_) => continue,
                        ShardEffect::Decided { through } => decisions.decided = Some(through),
                    }
                    let sent = dovetail_wire::decision_frame_pb(&decisions).encode_to_vec();
                    let by = from.0 as u8 * KINDS;
                    if to_shard.is_none() {
                        message(&mut heard, by + DECISIONS_TO_SLICE, &sent);
                        slices.on_decisions(from, &decisions, &mut found).expect("it is what a shard says");
                    }
                    for shard in shards.iter_mut().filter(|shard| shard.id() != from) {
                        if to_shard.is_some_and(|to| to != shard.id()) {
                            continue;
                        }
                        if shard.id().0 == 0 {
                            message(&mut heard, by + DECISIONS_TO_SHARD, &sent);
                        }
                        let mut out = Vec::new();
                        shard.on_decisions(from, &decisions, &mut out).expect("it is what a shard says");
                        answers.extend(out.into_iter().map(|effect| (shard.id(), effect)));
                    }
                }
                told = answers;
            }
        }
    }
    (heard, records)
}
