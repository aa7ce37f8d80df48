//! Four slices and two shards. Elements of pool 0 meet those of their own region alone; in pool 1 every slice searches.

use std::sync::Arc;

use dovetail_core::{
    Audience, Cursor, Decided, DecisionFrame, ElementId, Event, EventId, EventKind, Frame, Placement, Pool,
    PoolDefinition, PoolId, Retirement, Ring, ShardId, SliceId, Stable, WithdrawReason,
    audience::AudiencePair,
    batch::{Batch, KeySecret, Run},
    ledger::{ClientPart, Ledger, LedgerLimits, Outcome, Status},
    planted::Planted,
    shard::Fetch,
};
use dovetail_rule::{AttributeType, Row, Value};

use super::{
    DecisionLinks, Durability, Feed, FeedAction, FeedFrame, FeedRefused, Gone, LogSpan, Owners, Part, PartFrame,
    PublishedFrame, Replay, ResultsSpan, Visible, check_fetch, frame,
};
use crate::action::{Request, Step};

const LOG: LogSpan = LogSpan { floor: Cursor(EventId(5)), durable: EventId(20) };

fn placement() -> Placement {
    Placement::new(4, 1, Arc::new(Ring::new(2, 16)))
}

fn pool(number: u32, rule: &str) -> Pool {
    let definition = PoolDefinition {
        name: format!("pool{number}"),
        attributes: vec![("region".to_owned(), AttributeType::Int)],
        rule: rule.to_owned(),
        ttl_ms: 0,
        reprobe_ms: vec![],
        waiting_max: 0,
        payload_bytes_max: 0,
    };
    Pool::compile(PoolId(number), Arc::new(definition)).expect("its rule compiles")
}

fn pools() -> [Pool; 2] {
    [pool(0, "a.region == b.region"), pool(1, "a.region + b.region < 3")]
}

fn row(region: i64) -> Row {
    Row::from_values([Some(Value::Int(region))])
}

/// Elements of a pool, of these regions, the first of which is the event `first`: rows of a batch that begins with
/// another.
fn arrivals(pool: u32, first: u64, regions: &[i64]) -> Part {
    let client = ClientPart {
        key: "".into(),
        payload: Default::default(),
        ttl_ms: 0,
        idempotency_key: "".into(),
        owner: "".into(),
    };
    let rows: Vec<Row> = [99].iter().chain(regions).map(|&region| row(region)).collect();
    let elements: Vec<_> = rows.iter().map(|row| (row, &client)).collect();
    let batch = Arc::new(Batch::of(PoolId(pool), &elements));
    Part::Arrivals(EventId(first), Run { batch, rows: 1..rows.len() })
}

fn withdrawal(x: u64) -> Part {
    let kind = EventKind::Withdrawal { element: ElementId(1), pool: PoolId(0), reason: WithdrawReason::Client };
    Part::Event(Event { x: EventId(x), kind })
}

fn part_frame(after: u64, through: u64, audience: Audience, events: Vec<Part>) -> PartFrame {
    Frame { after: EventId(after), through: EventId(through), time_ms: 7, stable: Stable(EventId(3)), audience, events }
}

/// A frame that concerns a slice and shard 0.
fn concerns(slice: u32, after: u64, through: u64) -> Arc<PublishedFrame> {
    let frame = part_frame(after, through, pairs(&[(slice, through)]), Vec::new());
    Arc::new(PublishedFrame::new(Arc::new(frame)))
}

fn pairs(pairs: &[(u32, u64)]) -> Audience {
    let pair = |&(slice, last)| AudiencePair { slice: SliceId(slice), shard: ShardId(0), last: EventId(last) };
    Audience::Pairs(pairs.iter().map(pair).collect())
}

/// A reader of slices 0 and 1.
fn feed(after: Option<u64>) -> Result<Feed, FeedRefused> {
    let slices = [SliceId(0), SliceId(1)].into_iter().collect();
    Feed::on_subscribe(slices, after.map(EventId).map(Cursor), LOG, Planted::default())
}

/// What a frame that is sent covers, and whom it concerns.
fn told(frame: &FeedFrame) -> (u64, u64, Audience) {
    (frame.after.0, frame.last.frame().through.0, frame.audience.clone())
}

fn sent(action: Option<FeedAction>) -> (u64, u64, Audience) {
    let Some(FeedAction::Send(frame)) = action else { panic!("it is sent: {action:?}") };
    told(&frame)
}

#[test]
fn a_frame_that_concerns_the_reader_goes_at_once() {
    let mut feed = feed(Some(10)).unwrap();
    assert_eq!(sent(feed.on_frame(concerns(1, 10, 12))), (10, 12, pairs(&[(1, 12)])));
    let everybody = part_frame(12, 13, Audience::All, Vec::new());
    let everybody = Arc::new(PublishedFrame::new(Arc::new(everybody)));
    assert_eq!(sent(feed.on_frame(everybody)), (12, 13, Audience::All));
    assert!(feed.on_linger().is_none(), "nothing is held back");
}

#[test]
fn what_does_not_concern_the_reader_goes_with_what_does_and_nothing_of_its_audience_is_lost() {
    let mut feed = feed(Some(10)).unwrap();
    assert!(matches!(feed.on_frame(concerns(2, 10, 12)), Some(FeedAction::Linger)));
    assert!(feed.on_frame(concerns(3, 12, 15)).is_none(), "a linger is under way");
    assert_eq!(feed.cursor(), Cursor(EventId(15)));
    let all = pairs(&[(0, 16), (2, 12), (3, 15)]);
    assert_eq!(sent(feed.on_frame(concerns(0, 15, 16))), (10, 16, all));
    assert!(matches!(feed.on_frame(concerns(2, 16, 17)), Some(FeedAction::Linger)), "it begins anew");
}

#[test]
fn what_waited_long_enough_is_sent_though_it_concerns_others() {
    let mut feed = feed(Some(10)).unwrap();
    _ = feed.on_frame(concerns(2, 10, 12));
    _ = feed.on_frame(concerns(2, 12, 14));
    let held = feed.on_linger().expect("it was held back");
    assert_eq!(told(&held), (10, 14, pairs(&[(2, 14)])));
    assert!(feed.on_linger().is_none(), "it comes once");
}

#[test]
fn a_reader_begins_where_the_log_goes_on_and_nowhere_else() {
    assert_eq!(feed(Some(5)).unwrap().cursor(), Cursor(EventId(5)));
    assert_eq!(feed(Some(20)).unwrap().cursor(), Cursor(EventId(20)));
    let gone = Gone { cursor: Cursor(EventId(4)), floor: Cursor(EventId(5)) };
    assert_eq!(feed(Some(4)).unwrap_err(), FeedRefused::Gone(gone));
    let ahead = feed(Some(21)).unwrap_err();
    assert_eq!(ahead.to_string(), "the log ends at x20, but x21 was read");
}

#[test]
fn a_reader_that_begins_at_a_cut_gets_the_frames_after_it() {
    let mut feed = feed(None).unwrap();
    feed.on_cut(Stable(EventId(8)));
    assert!(feed.on_frame(concerns(0, 6, 8)).is_none(), "the cut has it");
    // The cut is in the midst of a frame: what of it the cut has comes again.
    assert_eq!(sent(feed.on_frame(concerns(0, 6, 9))), (6, 9, pairs(&[(0, 9)])));
}

#[test]
#[should_panic(expected = "no frame is left out")]
fn a_frame_that_leaves_events_out_is_not_taken() {
    _ = feed(Some(10)).unwrap().on_frame(concerns(0, 11, 12));
}

#[test]
#[should_panic(expected = "a reader gets its cut before frames")]
fn no_frame_comes_before_the_cut() {
    _ = feed(None).unwrap().on_frame(concerns(0, 6, 8));
}

#[test]
fn each_row_of_a_run_is_needed_where_its_own_region_is_searched() {
    let (pools, placement) = (pools(), placement());
    let regions = [3, 1, 4, 1, 5, 9, 2, 6];
    let events = vec![arrivals(0, 11, &regions), withdrawal(19), arrivals(1, 20, &[1, 2])];
    let frame = part_frame(10, 21, Audience::All, events);
    let owners = frame::owners(&frame, |id| pools.get(id.0 as usize), &placement, Planted::default());
    let own = |(x, &region): (u64, &i64)| placement.owner(pools[0].place(ElementId(x), &row(region)));
    let each: Vec<SliceId> = (11..).zip(&regions).map(own).collect();
    assert!(each.iter().any(|slice| *slice != each[0]), "not all are of one slice: {each:?}");
    assert_eq!(*owners, [Owners::Each(each.into()), Owners::All, Owners::All]);
    let gone = frame::owners(&frame, |_| None, &placement, Planted::default());
    assert_eq!(*gone, [Owners::All, Owners::All, Owners::All], "a pool that is gone is everybody's");
}

#[test]
fn a_reader_needs_what_its_slices_own_and_what_all_need() {
    let feed = feed(Some(10)).unwrap();
    let each = Owners::Each([1, 2, 0].map(SliceId).into());
    assert_eq!([0, 1, 2].map(|at| feed.needs(&each, at)), [true, false, true]);
    assert!(feed.needs(&Owners::All, 0));
}

#[test]
fn what_is_picked_of_a_frame_is_what_its_reader_needs_and_in_columns() {
    let events = vec![
        arrivals(0, 11, &[3, 1, 4]),
        withdrawal(14),
        arrivals(1, 15, &[7]),
        arrivals(0, 16, &[1, 5]),
        arrivals(1, 18, &[8, 9]),
    ];
    let frame = part_frame(10, 19, Audience::All, events);
    let all = || frame.events.iter().flat_map(|part| (0..part.len()).map(|at| part.event(at)));
    for chosen in 0..1_u32 << 9 {
        let needs = |place: usize, at: usize| chosen >> (frame.events[place].x(at).0 - 11) & 1 == 1;
        let audience = Audience::nobody();
        let picked = frame::pick(&frame, (EventId(7), EventId(19)), &audience, needs, Planted::default());
        let needed: Vec<Event> = all().filter(|event| chosen >> (event.x.0 - 11) & 1 == 1).collect();
        assert_eq!(picked.len(), needed.len());
        assert!(picked.events().len() <= 1 && picked.arrivals().len() <= 2, "arrivals are in columns");
        let &Frame { time_ms, stable, .. } = &frame;
        let (after, through) = (EventId(7), EventId(19));
        assert_eq!(picked.to_events(), Frame { after, through, time_ms, stable, audience, events: needed });
    }
}

#[test]
fn a_part_tells_its_events_one_by_one() {
    let part = arrivals(0, 11, &[7, 8]);
    assert_eq!((part.len(), part.is_empty(), part.x(1)), (2, false, EventId(12)));
    let kind = EventKind::Arrival { pool: PoolId(0), row: Arc::new(row(8)) };
    assert_eq!(part.event(1), Event { x: EventId(12), kind });
}

fn limits() -> LedgerLimits {
    LedgerLimits {
        waiting_max: 100,
        waiting_total_max: 100,
        waiting_bytes_max: 10_000,
        waiting_bytes_total_max: 10_000,
        element_bytes_max: 1_000,
        payload_bytes_max: 100,
        ended_max: 100,
        idempotency_ms: 0,
        idempotency_max: 100,
        idempotency_total_max: 100,
        search_cost_max: u64::MAX,
        slices: 4,
        key_secret: KeySecret::default(),
    }
}

/// A log of a pool in which all match, and two elements that do; two shards decide it.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new(limits(), 2);
    let definition = Arc::clone(&pool(0, "true").definition);
    ledger.record(EventId(1), 5, &EventKind::PoolDefined { pool: PoolId(0), definition }, None).expect("it compiles");
    let Part::Arrivals(first, run) = arrivals(0, 2, &[7, 8]) else { unreachable!("they arrive") };
    ledger.record_run(first, 5, &run);
    ledger
}

fn decisions() -> DecisionLinks {
    DecisionLinks::new(2, Planted::default())
}

#[test]
fn a_shard_is_read_from_its_own_mark() {
    let (mut decisions, mut ledger, mut out) = (decisions(), ledger(), Vec::new());
    ledger.on_decided(ShardId(1), Decided(EventId(2)), &mut out).unwrap();
    let ask = |after| Step::Subscribe(Request::Decisions { after: Cursor(EventId(after)) });
    assert_eq!([0, 1].map(|shard| decisions.on_dial(ShardId(shard), &ledger)), [ask(0), ask(2)]);
    assert_eq!(decisions.on_hello(ShardId(1), Cursor(EventId(2))), Step::Read);
}

#[test]
fn a_shard_that_has_forgotten_what_the_ledger_does_not_know_is_not_read() {
    let (mut decisions, ledger) = (decisions(), ledger());
    _ = decisions.on_dial(ShardId(0), &ledger);
    let Step::Break(lost) = decisions.on_hello(ShardId(0), Cursor(EventId(1))) else { panic!("it is not read") };
    assert_eq!(lost.to_string(), "g0 keeps decisions after x1, and this log's results end at x0");
}

#[test]
fn what_a_message_decides_is_known_before_its_watermark_covers_it() {
    let (mut decisions, mut ledger, mut out) = (decisions(), ledger(), Vec::new());
    for shard in [0, 1].map(ShardId) {
        _ = decisions.on_dial(shard, &ledger);
        _ = decisions.on_hello(shard, Cursor::ZERO);
    }
    let told = Retirement { x: EventId(3), element: ElementId(3), anchor: Some(ElementId(2)) };
    let frame = |retirements| DecisionFrame { retirements, grants: Vec::new(), decided: Some(Decided(EventId(3))) };
    assert_eq!(decisions.on_frame(ShardId(0), &frame(vec![told]), &mut ledger, &mut out), Ok(None));
    assert_eq!(decisions.on_frame(ShardId(1), &frame(vec![]), &mut ledger, &mut out), Ok(Some(Decided(EventId(3)))));
    assert_eq!(out.iter().map(Outcome::retirement).collect::<Vec<_>>(), [told]);
    assert_eq!(decisions.on_frame(ShardId(1), &frame(vec![]), &mut ledger, &mut out), Ok(None), "it has not moved");
}

#[test]
#[should_panic(expected = "a frame was read before the hello")]
fn no_decision_is_taken_before_the_hello() {
    let (mut decisions, mut ledger) = (decisions(), ledger());
    _ = decisions.on_dial(ShardId(0), &ledger);
    _ = decisions.on_frame(ShardId(0), &DecisionFrame::default(), &mut ledger, &mut Vec::<Outcome>::new());
}

fn logged(after: u64, through: u64) -> PartFrame {
    part_frame(after, through, Audience::All, Vec::new())
}

/// What has to be done, in words.
fn words(out: &mut Vec<Visible>) -> Vec<String> {
    let word = |visible| match visible {
        Visible::Append(frame) => format!("append ({}, {}]", frame.after, frame.through),
        Visible::Broadcast(through) => format!("broadcast {through}"),
        Visible::Acknowledge(through) => format!("acknowledge {through}"),
        Visible::Publish(through) => format!("publish {through}"),
        Visible::Store(through) => format!("store {through}"),
        Visible::TellStable(stable) => format!("stable {stable}"),
    };
    out.drain(..).map(word).collect()
}

#[test]
fn nothing_is_seen_before_it_is_on_disk_and_readers_see_it_before_clients() {
    let mut ledger = ledger();
    let mut durability = Durability::new(&Ledger::new(limits(), 2), Planted::default());
    let mut out = Vec::new();
    durability.on_frame(logged(0, 2), &mut ledger, |_, _| Audience::All, &mut out);
    durability.on_frame(logged(2, 3), &mut ledger, |_, _| Audience::nobody(), &mut out);
    assert_eq!(words(&mut out), ["append (x0, x2]", "append (x2, x3]"]);
    assert_eq!((durability.queued(), durability.durable()), (2, EventId(0)));
    durability.on_written(2, EventId(3), &mut out);
    assert_eq!(words(&mut out), ["broadcast x3", "acknowledge x3"]);
    assert_eq!((durability.queued(), durability.durable()), (0, EventId(3)));
}

#[test]
fn a_stable_cut_is_told_once_when_the_results_have_it() {
    let mut ledger = ledger();
    let mut durability = Durability::new(&ledger, Planted::default());
    let (mut out, mut outcomes) = (Vec::new(), Vec::new());
    for shard in [0, 1].map(ShardId) {
        ledger.on_decided(shard, Decided(EventId(3)), &mut outcomes).unwrap();
    }
    durability.on_decided(Decided(EventId(3)), &mut out);
    durability.move_stable(&ledger, &mut out);
    assert_eq!(words(&mut out), ["publish x3", "store x3"]);
    durability.on_stored(EventId(3), &mut ledger, &mut out);
    durability.move_stable(&ledger, &mut out);
    assert_eq!(words(&mut out), ["stable x3"]);
}

#[test]
#[should_panic(expected = "no event is left out of the log")]
fn a_frame_follows_the_one_before() {
    let mut ledger = ledger();
    let mut durability = Durability::new(&ledger, Planted::default());
    durability.on_frame(logged(5, 6), &mut ledger, |_, _| Audience::All, &mut Vec::new());
}

#[test]
#[should_panic(expected = "x3 was not decided")]
fn nothing_is_stored_before_it_is_decided() {
    let mut ledger = ledger();
    let mut durability = Durability::new(&ledger, Planted::default());
    durability.on_stored(EventId(3), &mut ledger, &mut Vec::new());
}

#[test]
fn of_a_run_that_a_checkpoint_is_in_the_midst_of_the_rest_is_read_back() {
    let mut ledger = Ledger::new(limits(), 2);
    let definition = Arc::clone(&pool(0, "a.region == b.region").definition);
    ledger.record(EventId(1), 5, &EventKind::PoolDefined { pool: PoolId(0), definition }, None).expect("it compiles");
    let Part::Arrivals(first, run) = arrivals(0, 2, &[6, 7, 8, 9]) else { unreachable!("they arrive") };
    ledger.record_run(first, 5, &Run { rows: 1..3, ..run.clone() });
    let replay = Replay::new(&ledger, Planted::default());
    let frame = part_frame(1, 5, Audience::All, vec![Part::Arrivals(first, run)]);
    replay.on_frame(&frame, &mut ledger).unwrap();
    assert_eq!((ledger.recorded(), ledger.waiting()), (EventId(5), 4));
    let rows = [4, 5].map(|element| match ledger.status(ElementId(element)) {
        Status::Waiting(entry) => Row::clone(&entry.row),
        other => panic!("e{element} waits: {other:?}"),
    });
    assert_eq!(rows, [row(8), row(9)]);
    replay.on_frame(&part_frame(0, 1, Audience::All, vec![withdrawal(1)]), &mut ledger).unwrap();
    assert_eq!(ledger.recorded(), EventId(5), "what the checkpoint has is not read back");
}

#[test]
fn results_that_pass_the_log_are_not_taken() {
    let mut ledger = ledger();
    let replay = Replay::new(&ledger, Planted::default());
    let ahead = replay.on_results(EventId(9), None::<&[Outcome]>, &mut ledger).unwrap_err();
    assert_eq!(ahead.to_string(), "the results reach x9, the log only x3");
}

#[test]
fn a_fetch_is_answered_with_all_of_it_or_refused() {
    let results = ResultsSpan { floor: Cursor(EventId(5)), stable: Stable(EventId(20)) };
    let check = |after, through| {
        let fetch = Fetch { after: EventId(after), through: EventId(through) };
        check_fetch(fetch, results, Planted::default()).map_err(|refused| refused.to_string())
    };
    assert_eq!([check(5, 20), check(3, 3)], [Ok(()), Ok(())]);
    assert_eq!(check(4, 20), Err("cursor x4 is older than what is kept; the oldest that works is x5".to_owned()));
    assert_eq!(check(5, 21), Err("retirements up to x21 were asked for, stable is x20".to_owned()));
}
