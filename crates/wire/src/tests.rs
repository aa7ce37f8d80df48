//! Frames and records there and back, what earlier versions wrote, and columns that are none.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_core::{
    Audience, ElementId, Event, EventId, EventKind, LogFrame, PoolDefinition, PoolId, ShardId, SliceId, Stable,
    WithdrawReason,
    audience::AudiencePair,
    batch::{Batch, ClientWriter, Column, KeySecret, Run},
    ledger::{CheckpointHead, ClientPart, Outcome, OutcomeEnd, PoolBase},
};
use dovetail_log::Record;
use dovetail_rule::{Row, Value};
use prost::Message;

use super::*;
use crate::storage_pb;
use dovetail::pb;

/// SplitMix64.
pub(super) struct Draws(pub(super) u64);

impl Draws {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 32) * n) >> 32
    }

    pub(super) fn text(&mut self) -> String {
        let length = self.below(4);
        (0..length).map(|_| ['a', 'é', '日', '🙂'][self.below(4) as usize]).collect()
    }

    /// Pool p's rows have p attributes, of kinds that follow from their places.
    fn row(&mut self, pool: PoolId) -> Arc<Row> {
        let value = |place: u32| {
            (self.below(4) > 0).then(|| match place % 5 {
                0 => Value::Int(self.below(u64::from(u32::MAX)) as i64 - 5),
                1 => Value::Double(self.below(100) as f64 / 8.0),
                2 => Value::String(self.text().into()),
                3 => Value::Bool(self.below(2) == 1),
                _ => Value::StringList((0..self.below(3)).map(|_| self.text().into()).collect()),
            })
        };
        let values: Vec<_> = (0..pool.0).map(value).collect();
        Arc::new(Row::from_values(values))
    }

    fn frame(&mut self, after: u64) -> (LogFrame, Vec<ClientPart>) {
        let mut x = after;
        let (mut events, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..self.below(12) {
            x += 1 + self.below(2);
            let pool = PoolId(self.below(8) as u32);
            let element = ElementId(1 + self.below(x));
            let kind = match self.below(5) {
                0 => match self.below(3) {
                    0 => EventKind::PoolClosed { pool },
                    1 => EventKind::PoolDropped { pool },
                    _ => EventKind::Withdrawal { element, pool, reason: WithdrawReason::Dropped },
                },
                1 => EventKind::Reprobe { element, pool, arrived_ms: 7, row: self.row(pool) },
                _ => {
                    clients.push(self.client());
                    EventKind::Arrival { pool, row: self.row(pool) }
                }
            };
            events.push(Event { x: EventId(x), kind });
        }
        let (after, through) = (EventId(after), EventId(x + 1));
        (
            LogFrame { after, through, time_ms: 1_000, stable: Stable(EventId(3)), audience: Audience::All, events },
            clients,
        )
    }

    fn client(&mut self) -> ClientPart {
        ClientPart {
            key: self.text().into(),
            payload: self.text().into(),
            ttl_ms: self.below(2) * 500,
            idempotency_key: if self.below(3) == 0 { self.text().into() } else { "".into() },
            owner: if self.below(3) == 0 { self.text().into() } else { "".into() },
        }
    }

    fn outcome(&mut self, x: u64) -> Outcome {
        let mut end = |id| OutcomeEnd {
            id: ElementId(id),
            key: self.text().into(),
            payload: self.text().into(),
            arrived_ms: Some(self.below(9)).filter(|&ms| ms > 0),
            owner: if self.below(3) == 0 { self.text().into() } else { "".into() },
        };
        let (element, anchor) = (end(x), end(x + 100));
        let matched = self.below(3) > 0;
        Outcome {
            x: EventId(x),
            pool: PoolId(self.below(3) as u32),
            time_ms: self.below(9),
            element,
            anchor: matched.then_some(anchor),
            reason: (!matched).then_some(WithdrawReason::Client),
        }
    }
}

/// A frame as the balancer has it: neighbouring arrivals of a pool in runs of up to `most`, the odd ones as parts of
/// larger batches.
fn in_parts(frame: &LogFrame, clients: &[ClientPart], most: usize) -> PartFrame {
    let mut clients = clients.iter();
    let mut parts = Vec::new();
    let mut run: Vec<(EventId, PoolId, &Row, &ClientPart)> = Vec::new();
    let flush = |run: &mut Vec<(EventId, PoolId, &Row, &ClientPart)>, parts: &mut Vec<Part>| {
        let Some(&(first, pool, row, client)) = run.first() else { return };
        let mut elements: Vec<_> = run.drain(..).map(|(_, _, row, client)| (row, client)).collect();
        let from = elements.len() % 2;
        if from == 1 {
            elements.insert(0, (row, client));
            elements.push((row, client));
        }
        let rows = from..elements.len() - from;
        let batch = Arc::new(Batch::of(pool, &elements));
        parts.push(Part::Arrivals(first, Run { batch, rows }));
    };
    for event in &frame.events {
        if let EventKind::Arrival { pool, row } = &event.kind {
            let fits = run.last().is_none_or(|&(last, of, ..)| last.next() == event.x && of == *pool);
            if !fits || run.len() == most {
                flush(&mut run, &mut parts);
            }
            run.push((event.x, *pool, row, clients.next().unwrap()));
        } else {
            flush(&mut run, &mut parts);
            parts.push(Part::Event(event.clone()));
        }
    }
    flush(&mut run, &mut parts);
    let &LogFrame { after, through, time_ms, stable, .. } = frame;
    PartFrame { after, through, time_ms, stable, audience: frame.audience.clone(), events: parts }
}

fn logged(frame: &LogFrame, clients: &[ClientPart]) -> Record {
    log_record_pb(&in_parts(frame, clients, 5)).record()
}

#[test]
fn frames_and_log_records_come_back_as_they_went() {
    let mut draws = Draws(1);
    for _ in 0..2_000 {
        let (frame, clients) = draws.frame(40);
        for most in [1, 3, 100] {
            let parts = in_parts(&frame, &clients, most);
            assert_eq!(log_frame(log_frame_pb(&parts)).unwrap(), frame);
            let record = log_record_pb(&parts).record();
            let read = log_record(&record).unwrap();
            assert_eq!((&*read.frame, &read.clients), (&frame, &clients));
            let kept = LoggedFrame::of(&log_parts(&record, true).unwrap());
            assert_eq!((&*kept.frame, &kept.clients), (&frame, &clients));
        }
    }
}

// Frames with a column that nobody had could not be read, by a matcher or by the balancer's next start.
#[test]
fn an_attribute_that_nobody_has_comes_back_as_it_went() {
    let mut keys = ClientWriter::default();
    (0..9).for_each(|key: u8| keys.push(&[b'a' + key], b"", 0, b""));
    let ints = Column::of([Some(&Value::Int(5)); 9].into_iter());
    let columns = vec![Column::missing(9), ints];
    let batch = Arc::new(Batch::new(PoolId(0), columns, keys.finish()));
    for rows in [0..9, 2..3, 1..9] {
        let run = Run { batch: Arc::clone(&batch), rows: rows.clone() };
        let (after, through) = (EventId(4), EventId(4 + rows.len() as u64));
        let events = vec![Part::Arrivals(EventId(5), run)];
        let frame =
            PartFrame { after, through, time_ms: 1, stable: Stable(EventId(0)), audience: Audience::All, events };
        let expected = LoggedFrame::of(&frame);
        assert_eq!(log_frame(log_frame_pb(&frame)).unwrap(), *expected.frame);
        let read = log_record(&log_record_pb(&frame).record()).unwrap();
        assert_eq!((&read.frame, &read.clients), (&expected.frame, &expected.clients));
        let EventKind::Arrival { row, .. } = &read.frame.events[0].kind else { panic!("an arrival") };
        assert_eq!(row.values(), [None, Some(Value::Int(5))]);
    }
}

#[test]
fn a_part_of_a_frame_has_the_events_chosen_and_covers_the_others() {
    let mut draws = Draws(2);
    for _ in 0..500 {
        let (frame, clients) = draws.frame(7);
        let parts = in_parts(&frame, &clients, 4);
        // By part, how many events come before it.
        let before: Vec<usize> = parts
            .events
            .iter()
            .scan(0, |events, part| {
                let before = *events;
                *events += match part {
                    Part::Event(_) => 1,
                    Part::Arrivals(_, run) => run.rows.len(),
                };
                Some(before)
            })
            .collect();
        // It stands for four events before it as well.
        let after = EventId(3);
        let audience = Audience::Pairs(vec![AudiencePair { slice: SliceId(2), shard: ShardId(1), last: EventId(8) }]);
        let with = |place: usize, at| (before[place] + at) % 3 == 1;
        let part = log_frame(log_frame_part_pb(&parts, (after, parts.through), &audience, with)).unwrap();
        let chosen = frame.events.iter().enumerate().filter(|(place, _)| place % 3 == 1);
        let events: Vec<Event> = chosen.map(|(_, event)| event.clone()).collect();
        assert_eq!(part, LogFrame { after, audience, events, ..frame });
    }
}

#[test]
fn results_come_back_as_they_went() {
    let mut draws = Draws(3);
    for count in 0..200 {
        let outcomes: Vec<_> = (1..=count).map(|x| draws.outcome(x)).collect();
        let mut writer = OutcomeWriter::new(usize::MAX);
        outcomes.iter().for_each(|outcome| writer.push_outcome(outcome));
        let chunk = writer.take().pop();
        assert_eq!(chunk.is_some(), count > 0);
        let record = result_record_pb(EventId(count), chunk.as_deref()).record();
        assert_eq!(result_record(&record).unwrap(), outcomes);
        let Some(chunk) = result_chunk(&record).unwrap() else { continue };
        for (index, outcome) in outcomes.iter().enumerate() {
            assert_eq!((chunk.x(index), chunk.pool(index)), (outcome.x, outcome.pool));
            assert_eq!(chunk.retirement(index), outcome.retirement());
            assert_eq!((chunk.after(outcome.x), chunk.after(outcome.x.prev())), (index + 1, index));
            assert!(chunk.bytes(index) <= outcome_bytes(outcome));
        }
    }
}

#[test]
fn matches_that_share_the_columns_of_their_chunk_say_what_gathered_ones_do() {
    let mut draws = Draws(8);
    let (mut shared, mut not) = (0, 0);
    for count in 1..300 {
        let mut writer = OutcomeWriter::new(usize::MAX);
        // Nearly always of one pool, and all of them matches whose anchor came first.
        let odd = draws.below(3);
        for x in 1..=count {
            let mut outcome = draws.outcome(1_000 + x);
            if odd > 0 || x < count {
                outcome.pool = PoolId(4);
            }
            if odd > 1 || x < count {
                let (element, reason) = (outcome.element.clone(), None);
                let anchor = Some(OutcomeEnd { id: ElementId(x), ..element });
                outcome = Outcome { anchor, reason, ..outcome };
            }
            writer.push_outcome(&outcome);
        }
        let chunk = writer.take().pop().unwrap();
        let from = draws.below(count) as usize;
        for arrivals in [true, false] {
            let mut gathered = if arrivals { MatchWriter::default() } else { MatchWriter::without_arrivals() };
            (from..chunk.len()).for_each(|index| gathered.push(&chunk, index, "pool"));
            match chunk.match_columns(from, "pool", arrivals) {
                Some(columns) => {
                    shared += 1;
                    let read = |columns| dovetail::columns::MatchedColumns::read(columns).unwrap();
                    let (found, expected) = (read(&columns), read(&gathered.finish().unwrap()));
                    assert!(columns.encoded_len() <= chunk.bytes_from(from));
                    assert_eq!(found.len(), expected.len());
                    for index in 0..found.len() {
                        assert_eq!(
                            (found.cursor(index), found.ends(index)),
                            (expected.cursor(index), expected.ends(index))
                        );
                        assert_eq!(found.pool(index), "pool");
                    }
                }
                None => not += 1,
            }
        }
    }
    assert!(shared > 100 && not > 100, "{shared}, {not}");
}

#[test]
fn records_of_a_version_without_columns_are_read() {
    let row = storage_pb::Row { values: vec![value_pb(Some(&Value::Int(5))), value_pb(None)] };
    let arrival = storage_pb::event::Kind::Arrival(storage_pb::Arrival { pool: 2, row: Some(row) });
    let client = storage_pb::ClientPart {
        element: 9,
        key: "k".to_owned(),
        payload: Bytes::from_static(b"p"),
        ..Default::default()
    };
    let frame = storage_pb::LogFrame {
        after: 8,
        through: 9,
        events: vec![storage_pb::Event { event_id: 9, kind: Some(arrival) }],
        ..storage_pb::LogFrame::default()
    };
    let record = storage_pb::LogRecord { frame: Some(frame), clients: vec![client], ..Default::default() };
    let read = log_record(&Record::new(9, record.encode_to_vec())).unwrap();
    let row = Arc::new(Row::from_values([Some(Value::Int(5)), None]));
    assert_eq!(read.frame.events, [Event { x: EventId(9), kind: EventKind::Arrival { pool: PoolId(2), row } }]);
    assert_eq!((&*read.clients[0].key, &*read.clients[0].payload), ("k", b"p".as_slice()));

    let end = |id, key: &str| Some(storage_pb::OutcomeEnd { id, key: key.to_owned(), payload: Bytes::new() });
    let stored = storage_pb::StoredOutcome {
        event_id: 9,
        pool: 2,
        time_ms: 4,
        element: end(9, "k"),
        anchor: end(3, "a"),
        reason: 0,
    };
    let record = storage_pb::ResultRecord { through: 9, outcomes: vec![stored], ..Default::default() };
    let read = result_record(&Record::new(9, record.encode_to_vec())).unwrap();
    assert_eq!((read[0].element.id, read[0].anchor.as_ref().unwrap().id), (ElementId(9), ElementId(3)));
    assert_eq!(read[0].element.arrived_ms, None);
}

#[test]
fn records_of_a_version_that_logged_columns_of_each_pool_are_read() {
    let mut draws = Draws(6);
    for _ in 0..1_000 {
        let (frame, clients) = draws.frame(40);
        let mut columns = ClientWriter::default();
        for ClientPart { key, payload, ttl_ms, idempotency_key, owner } in &clients {
            columns.push_owned(key.as_bytes(), payload, *ttl_ms, idempotency_key.as_bytes(), owner.as_bytes());
        }
        let record = storage_pb::LogRecord {
            columnar_frame: Some(log_frame_pb(&in_parts(&frame, &clients, 100))),
            client_columns: Some(records::client_columns_pb(&columns.finish())),
            ..Default::default()
        };
        let record = Record::new(frame.through.0, record.encode_to_vec());
        for kept in [true, false] {
            let read = LoggedFrame::of(&log_parts(&record, kept).unwrap());
            assert_eq!((&*read.frame, &read.clients), (&frame, &clients));
        }
    }
}

#[test]
fn elements_that_came_one_by_one_are_logged_together_and_large_batches_as_they_came() {
    let mut draws = Draws(9);
    let pool = PoolId(5);
    let mut events = Vec::new();
    let mut next = 1;
    for count in [1, 1, 31, 40, 1, 33, 2, 2] {
        let elements: Vec<_> = (0..count).map(|_| (draws.row(pool), draws.client())).collect();
        let elements: Vec<_> = elements.iter().map(|(row, client)| (&**row, client)).collect();
        events.push(Part::Arrivals(EventId(next), Run::all(Arc::new(Batch::of(pool, &elements)))));
        next += count;
    }
    let (after, through, stable) = (EventId(0), EventId(next - 1), Stable(EventId(0)));
    let frame = PartFrame { after, through, time_ms: 1, stable, audience: Audience::All, events };
    let record = log_record_pb(&frame).record();
    let sent = storage_pb::LogRecord::decode(record.bytes.clone()).unwrap();
    assert_eq!(sent.runs.iter().map(|run| run.first).collect::<Vec<_>>(), [1, 34, 74, 75, 108]);
    let (read, expected) = (log_record(&record).unwrap(), LoggedFrame::of(&frame));
    assert_eq!((&read.frame, &read.clients), (&expected.frame, &expected.clients));
}

// It would take a frame without arrivals for all there is.
#[test]
fn a_version_that_knows_no_runs_finds_no_frame_in_a_record_and_stops() {
    let (frame, clients) = Draws(7).frame(40);
    let record = storage_pb::LogRecord::decode(logged(&frame, &clients).bytes).unwrap();
    assert!(record.frame.is_none() && record.columnar_frame.is_none() && record.run_frame.is_some());
}

#[test]
fn runs_that_do_not_fit_their_record_are_refused() {
    let run = |first, keys: &[u32]| storage_pb::LoggedRun {
        first,
        clients: Some(storage_pb::ClientColumns { keys: Some(texts(b"ab", keys)), ..Default::default() }),
        ..Default::default()
    };
    let check = |runs: Vec<storage_pb::LoggedRun>, events: Vec<storage_pb::Event>, says: &str| {
        let run_frame = Some(storage_pb::LogFrame { after: 10, through: 13, events, ..Default::default() });
        let record = storage_pb::LogRecord { run_frame, runs, ..Default::default() };
        let read = log_record(&Record::new(13, record.encode_to_vec()));
        assert_eq!(read.map_or_else(|error| error.to_string(), |_| "read".to_owned()), says);
    };
    let order = "the events of the frame through x13 do not ascend within it";
    check(vec![run(12, &[1, 2]), run(11, &[2])], Vec::new(), "read");
    for runs in [
        vec![run(10, &[2])],
        vec![run(13, &[1, 2])],
        vec![run(12, &[1, 2]), run(13, &[2])],
        vec![run(0, &[2])],
        vec![run(11, &[])],
        vec![run(u64::MAX, &[2])],
        vec![run(u64::MAX, &[1, 2])],
    ] {
        check(runs, Vec::new(), order);
    }
    check(vec![run(11, &[3])], Vec::new(), "column \"keys\": end 0 is 3, which is not from 0 to 2");
    check(vec![storage_pb::LoggedRun { first: 11, ..Default::default() }], Vec::new(), "clients is missing");
    let short = storage_pb::LoggedRun {
        columns: vec![pb::Column { present: Bytes::new(), values: Some(ints(1)) }],
        ..run(11, &[1, 2])
    };
    check(vec![short], Vec::new(), "ints has 8 bytes; 2 elements take 16");
    let row = storage_pb::Row { values: Vec::new() };
    let arrival = storage_pb::event::Kind::Arrival(storage_pb::Arrival { pool: 0, row: Some(row) });
    let arrival = storage_pb::Event { event_id: 11, kind: Some(arrival) };
    check(Vec::new(), vec![arrival], "frame through x13 has 1 arrivals and 0 client parts");
}

#[test]
fn outcomes_of_a_version_that_did_not_store_when_elements_arrived_are_read() {
    let mut writer = OutcomeWriter::new(usize::MAX);
    writer.push_outcome(&Draws(5).outcome(9));
    let record = result_record_pb(EventId(9), writer.take().first().map(|chunk| &**chunk)).record();
    let mut stored = storage_pb::ResultRecord::decode(record.bytes).unwrap();
    let columns = stored.columns.as_mut().unwrap();
    for ends in [&mut columns.elements, &mut columns.anchors] {
        ends.as_mut().unwrap().arrived_ms = Bytes::new();
    }
    let read = result_record(&Record::new(9, stored.encode_to_vec())).unwrap();
    assert_eq!((read[0].x, read[0].element.arrived_ms), (EventId(9), None));
    // A column of another length is damage.
    stored.columns.as_mut().unwrap().elements.as_mut().unwrap().arrived_ms = Bytes::from_static(&[0; 4]);
    assert!(result_record(&Record::new(9, stored.encode_to_vec())).is_err());
}

#[test]
fn frames_whose_events_are_out_of_place_are_refused() {
    let arrivals = |distances: &[u32]| storage_pb::Arrivals {
        pool: 0,
        distances: distances.iter().flat_map(|distance| distance.to_le_bytes()).collect::<Vec<_>>().into(),
        columns: Vec::new(),
    };
    let check = |runs: Vec<storage_pb::Arrivals>, fits: bool| {
        let frame = storage_pb::LogFrame { after: 10, through: 13, arrivals: runs, ..Default::default() };
        let read = log_frame(frame.clone());
        assert_eq!(read.is_ok(), fits, "{frame:?}: {read:?}");
    };
    check(vec![arrivals(&[1, 3]), arrivals(&[2])], true);
    check(vec![arrivals(&[2, 1])], false);
    check(vec![arrivals(&[1]), arrivals(&[1])], false);
    check(vec![arrivals(&[0])], false);
    check(vec![arrivals(&[4])], false);
}

fn texts(text: &[u8], ends: &[u32]) -> pb::TextColumn {
    let ends = ends.iter().flat_map(|end| end.to_le_bytes()).collect::<Vec<_>>();
    pb::TextColumn { text: text.to_vec().into(), ends: ends.into() }
}

fn ints(count: usize) -> pb::column::Values {
    pb::column::Values::Ints(vec![0; count * 8].into())
}

/// A batch of two with one attribute, read.
fn read(present: &'static [u8], values: Option<pb::column::Values>) -> Result<(), String> {
    let column = Some(pb::Column { present: present.into(), values });
    let columns = pb::Columns {
        count: 2,
        keys: Some(texts(b"ab", &[1, 2])),
        attributes: vec![pb::AttributeColumn { name: "n".to_owned(), column }],
        ..Default::default()
    };
    SubmittedColumns::read(columns).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn columns_that_are_none_are_refused_by_name_with_what_is_wrong() {
    use pb::column::Values::{Bools, StringLists, Strings};
    let refused = |present, values, expected: &str| assert_eq!(read(present, values).unwrap_err(), expected);
    assert_eq!(read(b"", Some(ints(2))), Ok(()));
    assert_eq!(read(&[0], None), Ok(()), "nobody has it");
    refused(b"", Some(ints(3)), "column \"n\": ints has 24 bytes; 2 elements take 16");
    refused(&[1, 1], Some(ints(2)), "column \"n\": present has 2 bytes; 2 elements take 1");
    refused(&[2], None, "column \"n\": there are no values, but element 1 has the attribute");
    refused(b"", None, "column \"n\": there are no values, but element 0 has the attribute");
    refused(b"", Some(Bools(vec![0, 2].into())), "column \"n\": bool 1 is 2, not 0 or 1");
    refused(b"", Some(Strings(texts(b"abc", &[2, 1]))), "column \"n\": end 1 is 1, which is not from 2 to 3");
    refused(b"", Some(Strings(texts(b"abc", &[1, 4]))), "column \"n\": end 1 is 4, which is not from 1 to 3");
    refused(b"", Some(Strings(texts(b"abc", &[1, 2]))), "column \"n\": the last end is 2, but there are 3");
    refused(b"", Some(Strings(texts(b"a\xFF", &[1, 2]))), "column \"n\": text is not UTF-8 at byte 1");
    refused(b"", Some(Strings(texts("é".as_bytes(), &[1, 2]))), "column \"n\": text is not UTF-8 at byte 1");
    let lists = |ends: &[u32]| {
        let ends = texts(b"", ends).ends;
        Some(StringLists(pb::TextListColumn { entries: Some(texts(b"pq", &[1, 2])), ends }))
    };
    assert_eq!(read(b"", lists(&[0, 2])), Ok(()));
    refused(b"", lists(&[1, 3]), "column \"n\": end 1 is 3, which is not from 1 to 2");
    refused(b"", lists(&[2]), "column \"n\": ends has 4 bytes; 2 elements take 8");
}

#[test]
fn every_flipped_byte_of_a_record_is_read_or_refused() {
    let mut draws = Draws(4);
    let (frame, clients) = std::iter::repeat_with(|| draws.frame(40)).find(|(_, clients)| clients.len() > 6).unwrap();
    let record = logged(&frame, &clients);
    for at in 0..record.bytes.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = record.bytes.to_vec();
            bytes[at] ^= flip;
            // Whatever it says, it must not panic. The log's checksums are what finds it.
            _ = log_record(&Record::new(record.through, bytes));
        }
    }
}

fn pool_base(name: &str, closed_at: Option<EventId>) -> PoolBase {
    let definition = PoolDefinition {
        name: name.to_owned(),
        attributes: Vec::new(),
        rule: "true".to_owned(),
        ttl_ms: 0,
        reprobe_ms: Vec::new(),
        waiting_max: 0,
        payload_bytes_max: 0,
    };
    let (definition, defined_at) = (Arc::new(definition), EventId(3));
    PoolBase {
        definition,
        defined_at,
        closed_at,
        matches: 1,
        withdrawn: 2,
        expired: 3,
        dropped: 4 * closed_at.map_or(0, |x| x.0),
    }
}

fn base(pools: &[(u32, Option<EventId>)], next_pool: u32, dropped: &[u32]) -> CheckpointHead {
    let pools = pools.iter().map(|&(id, closed_at)| (PoolId(id), pool_base(&format!("pool{id}"), closed_at)));
    let dropped = dropped.iter().map(|&id| (PoolId(id), format!("old{id}").into()));
    CheckpointHead {
        through: EventId(9),
        time_ms: 1_000,
        pools: pools.collect(),
        next_pool: PoolId(next_pool),
        dropped: dropped.collect(),
        idempotency: Vec::new(),
        secret: Some(KeySecret([7, 8])),
    }
}

fn read_base(chunks: impl Iterator<Item = Vec<u8>>) -> Result<CheckpointHead, ConvertError> {
    let mut read = ReadChunks::default();
    for chunk in chunks {
        assert!(read.read(&chunk)?.is_empty());
    }
    read.base()
}

#[test]
fn a_checkpoint_has_the_numbers_of_its_pools_and_what_was_dropped() {
    let many: Vec<_> = (0..600).map(|id| (2 * id, None)).collect();
    let names: Vec<u32> = (0..600).map(|id| 2 * id + 1).collect();
    for base in [
        CheckpointHead { secret: Some(KeySecret::default()), ..CheckpointHead::default() },
        base(&[(0, None), (1, None)], 2, &[]),
        base(&[(0, None), (1, Some(EventId(7)))], 2, &[]),
        base(&[(0, None), (5, None)], 9, &[3, 1]),
        base(&[], 4, &[]),
        base(&many, 1_200, &names),
    ] {
        assert_eq!(read_base(base_chunks(&base)).unwrap(), base);
    }
}

#[test]
fn a_checkpoint_without_drops_is_what_earlier_versions_wrote_and_one_with_them_stops_these() {
    let chunks = |base: &CheckpointHead| -> Vec<storage_pb::CheckpointChunk> {
        base_chunks(base).map(|chunk| storage_pb::CheckpointChunk::decode(&*chunk).unwrap()).collect()
    };
    let plain = chunks(&base(&[(0, None), (1, None)], 2, &[]));
    assert!(plain.iter().all(|chunk| chunk.numbered.is_empty() && chunk.dropped.is_empty()));
    assert_eq!(plain[0].head.as_ref().unwrap().next_pool, None);
    let pools: Vec<_> = plain.iter().flat_map(|chunk| &chunk.pools).collect();
    assert!(pools.len() == 2 && pools.iter().all(|pool| pool.pool.is_none() && pool.definition.is_some()));
    // An earlier version takes every pool for one with a definition.
    for base in [base(&[(1, None)], 2, &[]), base(&[(0, Some(EventId(7)))], 1, &[]), base(&[(0, None)], 2, &[])] {
        let pools: Vec<_> = chunks(&base).into_iter().flat_map(|chunk| chunk.pools).collect();
        assert!(pools.len() == 1 && pools[0].definition.is_none(), "{pools:?}");
    }
}
