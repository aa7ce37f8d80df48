//! A matcher of slices 0 and 2 of three, which reads shards 0 and 1.

use std::{collections::BTreeSet, sync::Arc};

use dovetail_core::{
    Audience, CandidateFrame, ColumnFrame, Cursor, Decided, ElementId, EventId, LogFrame, Placement, PoolDefinition,
    PoolId, Retirement, Ring, ShardId, SliceId, Stable,
    audience::AudiencePair,
    shard::Fetch,
    slice::{Secret, SliceCut, WaitingElement},
};
use dovetail_rule::Row;

use super::{CandidatesMessage, CutReader, Matcher, MatcherAction, MatcherSettings, MatcherStart};
use crate::{
    action::{Action, KnowsLess, Request, Step},
    ids::{LinkId, NodeId, StreamId},
    link::{Cursors, GivenUp},
    testing::{hello, only_step, watermark},
};

const SHARD: ShardId = ShardId(0);
const OTHER: ShardId = ShardId(1);

struct Rig {
    matcher: Matcher,
    out: Vec<MatcherAction>,
}

fn definition() -> Arc<PoolDefinition> {
    Arc::new(PoolDefinition {
        name: "pool".to_owned(),
        attributes: Vec::new(),
        rule: "true".to_owned(),
        ttl_ms: 0,
        reprobe_ms: Vec::new(),
        waiting_max: 0,
        payload_bytes_max: 0,
    })
}

/// From a cut at 10, with one pool in which nobody waits.
fn rig() -> Rig {
    let pools = vec![(PoolId(0), definition())];
    let cut = SliceCut { through: EventId(10), pools, ..SliceCut::default() };
    let settings = MatcherSettings {
        placement: Placement::new(3, 1, Arc::new(Ring::new(2, 16))),
        slices: vec![SliceId(0), SliceId(2)],
        list_max: 1000,
        secret: Secret([1, 2]),
    };
    let matcher = Matcher::new(settings, MatcherStart { log_id: "log".to_owned(), cut });
    let mut rig = Rig { matcher: matcher.expect("the rule compiles"), out: Vec::new() };
    for shard in [SHARD, OTHER] {
        rig.dial(LinkId::Shard(shard));
        assert_eq!(rig.decisions_hello(shard, 10), Step::Read);
    }
    rig
}

fn cursors(cursors: [u64; 2]) -> Cursors {
    let [first, second] = cursors.map(EventId);
    Cursors::new(vec![(SliceId(0), Cursor(first)), (SliceId(2), Cursor(second))])
}

/// Events of which none is in the frame: they are nothing to the slices here.
fn frame(after: u64, through: u64, audience: Audience) -> Arc<ColumnFrame> {
    let (after, through) = (EventId(after), EventId(through));
    let head = LogFrame { after, through, time_ms: 0, stable: Stable(EventId(10)), audience, events: Vec::new() };
    Arc::new(ColumnFrame::new(head, Vec::new()).expect("no event is out of order"))
}

impl Rig {
    fn out(&mut self) -> Vec<MatcherAction> {
        std::mem::take(&mut self.out)
    }

    /// The one step that a link is told.
    fn step(&mut self, link: LinkId) -> Step {
        only_step(&self.out(), link)
    }

    fn dial(&mut self, link: LinkId) -> Step {
        self.matcher.on_dial(link, &mut self.out);
        self.step(link)
    }

    fn decisions_hello(&mut self, shard: ShardId, floor: u64) -> Step {
        self.matcher.on_decisions_hello(shard, Cursor(EventId(floor)), &mut self.out);
        self.step(LinkId::Shard(shard))
    }

    fn subscribe(&mut self, stream: u64, shard: ShardId, asked: [u64; 2], decided_seen_min: u64) -> Vec<MatcherAction> {
        self.matcher.on_subscribe(
            StreamId(stream),
            shard,
            cursors(asked),
            Decided(EventId(decided_seen_min)),
            &mut self.out,
        );
        self.out()
    }

    fn publish(&mut self) -> Vec<MatcherAction> {
        self.matcher.publish(&mut self.out);
        self.out()
    }

    fn decide(&mut self, through: u64) {
        for shard in [SHARD, OTHER] {
            self.matcher.on_decisions(shard, &watermark(through)).expect("a watermark");
        }
    }

    /// What was sent to a stream, as the slices and events of its frames: slice, after, through.
    fn sent(actions: &[MatcherAction], stream: u64) -> Vec<Vec<(u32, u64, u64)>> {
        let span = |(slice, frame): &(SliceId, Arc<CandidateFrame>)| (slice.0, frame.after.0, frame.through.0);
        let message = |action: &MatcherAction| match action {
            Action::Send { to, message: CandidatesMessage::Frames(frames) } if to.0 == stream => {
                Some(frames.iter().map(span).collect())
            }
            _ => None,
        };
        actions.iter().filter_map(message).collect()
    }
}

#[test]
fn every_shard_is_read() {
    assert_eq!(rig().matcher.links().collect::<Vec<_>>(), [LinkId::Shard(SHARD), LinkId::Shard(OTHER)]);
}

#[test]
fn below_a_shards_floor_retirements_are_fetched_for_all_slices_before_its_decisions() {
    let mut rig = rig();
    let asked = Step::Subscribe(Request::Decisions { after: Cursor(EventId(10)) });
    assert_eq!(rig.dial(LinkId::Shard(SHARD)), asked);
    let fetch = Fetch { after: EventId(10), through: EventId(14) };
    assert_eq!(rig.decisions_hello(SHARD, 14), Step::Fetch(fetch));
    let retirement = Retirement { x: EventId(12), element: ElementId(4), anchor: None };
    rig.matcher.on_fetched(SHARD, fetch, &[retirement], &mut rig.out).expect("nothing waits for it");
    assert_eq!(rig.step(LinkId::Shard(SHARD)), Step::Read);
    assert!(rig.matcher.slices().all(|slice| slice.decided(SHARD) == Decided(EventId(14))), "each was told");
    assert!(rig.matcher.slices().all(|slice| slice.retired_kept() == 1), "who is dead as well");
    assert_eq!(rig.dial(LinkId::Shard(SHARD)), Step::Subscribe(Request::Decisions { after: Cursor(EventId(14)) }));
}

#[test]
#[should_panic(expected = "before what has to be fetched")]
fn no_decision_is_read_before_what_has_to_be_fetched() {
    let mut rig = rig();
    rig.dial(LinkId::Shard(SHARD));
    rig.decisions_hello(SHARD, 14);
    _ = rig.matcher.on_decisions(SHARD, &watermark(15));
}

#[test]
fn a_session_ends_when_the_store_has_not_what_must_be_fetched() {
    let mut rig = rig();
    rig.dial(LinkId::Shard(SHARD));
    let Step::Fetch(fetch) = rig.decisions_hello(SHARD, 14) else { panic!("the floor is above what is known") };
    let end = rig.matcher.on_refused(SHARD, fetch, &mut rig.out).expect_err("it cannot go on");
    assert_eq!(end.to_string(), "the balancer no longer keeps all retirements in (x10, x14]");
}

#[test]
fn the_log_is_followed_from_what_was_received_once_it_is_the_same_and_its_cut_is_not_below() {
    let mut rig = rig();
    rig.matcher.on_frame(&frame(10, 12, Audience::All)).expect("the next one");
    rig.matcher.on_dial(LinkId::Feed, &mut rig.out);
    assert_eq!(rig.out(), [Action::AskCut]);
    rig.matcher.on_cut("log", Stable(EventId(10)), &mut rig.out).expect("the same log");
    assert_eq!(rig.step(LinkId::Feed), Step::Subscribe(Request::Feed { after: Some(Cursor(EventId(12))) }));
    rig.matcher.on_feed_hello(&mut rig.out);
    assert_eq!(rig.step(LinkId::Feed), Step::Read);
    rig.matcher.on_frame(&frame(12, 13, Audience::All)).expect("the next one");
}

#[test]
#[should_panic(expected = "before the hello")]
fn no_frame_of_the_log_is_read_before_the_hello() {
    let mut rig = rig();
    rig.matcher.on_dial(LinkId::Feed, &mut rig.out);
    rig.matcher.on_cut("log", Stable(EventId(10)), &mut rig.out).expect("the same log");
    _ = rig.matcher.on_frame(&frame(10, 12, Audience::All));
}

#[test]
fn a_session_ends_when_the_balancer_has_another_log_or_lost_results_or_the_log_after_the_cursor() {
    let mut rig = rig();
    rig.matcher.on_dial(LinkId::Feed, &mut rig.out);
    let end = rig.matcher.on_cut("other", Stable(EventId(10)), &mut rig.out).expect_err("another log");
    assert_eq!(end.to_string(), "the balancer's log is other, this session's was log");
    let end = rig.matcher.on_cut("log", Stable(EventId(9)), &mut rig.out).expect_err("what was stable is lost");
    assert_eq!(end.to_string(), "the balancer's results end at x9, what is below x10 is forgotten here");
    let end = rig.matcher.on_log_gone("events after x10 are gone".to_owned()).expect_err("it cannot go on");
    assert_eq!(end.to_string(), "events after x10 are gone");
}

#[test]
fn a_gap_in_the_log_ends_the_session() {
    let end = rig().matcher.on_frame(&frame(12, 13, Audience::All)).expect_err("11 and 12 are missing");
    assert_eq!(end.to_string(), "log frame begins after x12, but only events up to x10 were received");
}

#[test]
fn a_reader_gets_a_hello_of_all_slices_then_what_its_cursors_do_not_cover_then_what_comes() {
    let mut rig = rig();
    rig.matcher.on_frame(&frame(10, 12, Audience::All)).expect("the next one");
    let first = rig.subscribe(1, SHARD, [10, 12], 0);
    let hellos = CandidatesMessage::Hello(vec![hello(0, 10, 10), hello(2, 10, 10)]);
    assert_eq!(first[0], Action::Send { to: StreamId(1), message: hellos });
    // At last each tells what it knows.
    assert_eq!(Rig::sent(&first, 1), [vec![(0, 10, 12)], vec![(0, 12, 12)], vec![(2, 12, 12)]]);
    assert_eq!(rig.publish(), [], "the backlog has all of it");
    rig.matcher.on_frame(&frame(12, 13, Audience::All)).expect("the next one");
    assert_eq!(Rig::sent(&rig.publish(), 1), [vec![(0, 12, 13), (2, 12, 13)]]);
}

#[test]
fn the_hello_says_the_least_that_frames_know_which_follow() {
    let mut rig = rig();
    rig.matcher.on_frame(&frame(10, 11, Audience::All)).expect("the next one");
    rig.decide(11);
    rig.matcher.on_frame(&frame(11, 12, Audience::All)).expect("the next one");
    let decided_seen = |actions: &[MatcherAction]| match &actions[0] {
        Action::Send { message: CandidatesMessage::Hello(slices), .. } => slices[0].decided_seen.event().0,
        other => panic!("{other:?} is no hello"),
    };
    assert_eq!(decided_seen(&rig.subscribe(1, SHARD, [10, 10], 0)), 10, "11 was searched when 10 was decided");
    assert_eq!(decided_seen(&rig.subscribe(2, OTHER, [11, 11], 0)), 11);
}

#[test]
fn what_does_not_concern_a_reader_is_merged_and_sent_after_a_while() {
    let mut rig = rig();
    rig.subscribe(1, SHARD, [10, 10], 0);
    rig.matcher.on_frame(&frame(10, 12, Audience::nobody())).expect("the next one");
    assert_eq!(rig.publish(), [Action::Linger]);
    rig.matcher.on_frame(&frame(12, 15, Audience::nobody())).expect("the next one");
    assert_eq!(rig.publish(), [], "a linger is under way");
    rig.matcher.on_linger(&mut rig.out);
    assert_eq!(Rig::sent(&rig.out(), 1), [vec![(0, 10, 15), (2, 10, 15)]]);
    rig.matcher.on_frame(&frame(15, 16, Audience::nobody())).expect("the next one");
    assert_eq!(rig.publish(), [Action::Linger]);
    // What concerns it takes along what was held back.
    rig.matcher.on_frame(&frame(16, 17, Audience::All)).expect("the next one");
    assert_eq!(Rig::sent(&rig.publish(), 1), [vec![(0, 15, 17), (2, 15, 17)]]);
}

#[test]
fn a_merged_frame_concerns_whom_any_of_its_frames_did() {
    let mut rig = rig();
    rig.subscribe(1, SHARD, [10, 10], 0);
    let pair = AudiencePair { slice: SliceId(1), shard: SHARD, last: EventId(12) };
    rig.matcher.on_frame(&frame(10, 12, Audience::Pairs(vec![pair]))).expect("the next one");
    rig.publish();
    rig.matcher.on_frame(&frame(12, 13, Audience::nobody())).expect("the next one");
    rig.publish();
    rig.matcher.on_linger(&mut rig.out);
    let [Action::Send { message: CandidatesMessage::Frames(frames), .. }] = &rig.out()[..] else {
        panic!("one message")
    };
    assert!(frames.iter().all(|(_, frame)| frame.audience == Audience::Pairs(vec![pair])), "{frames:?}");
}

#[test]
fn a_reader_whose_frames_are_gone_gets_a_hello_that_says_so_and_nothing_more() {
    let mut rig = rig();
    rig.matcher.on_frame(&frame(10, 12, Audience::All)).expect("the next one");
    rig.decide(12);
    rig.publish();
    rig.matcher.on_stable(Stable(EventId(12)));
    let message = CandidatesMessage::Hello(vec![hello(0, 12, 12), hello(2, 12, 12)]);
    assert_eq!(rig.subscribe(1, SHARD, [10, 12], 0), [Action::Send { to: StreamId(1), message }]);
    rig.matcher.on_frame(&frame(12, 13, Audience::All)).expect("the next one");
    assert_eq!(rig.publish(), []);
    // Its next stream is served.
    assert_eq!(rig.subscribe(2, SHARD, [13, 13], 0)[0], Action::End { stream: StreamId(1) });
}

#[test]
fn a_reader_that_says_that_too_little_is_known_is_believed_once_the_balancer_says_so() {
    let mut rig = rig();
    rig.matcher.on_frame(&frame(10, 12, Audience::All)).expect("the next one");
    rig.decide(12);
    assert_eq!(rig.subscribe(1, SHARD, [10, 10], 11), [Action::AskResultsFloor { stream: StreamId(1) }]);
    rig.matcher.on_results_floor(StreamId(1), EventId(10), &mut rig.out).expect("the balancer can fill it in");
    let why = KnowsLess { slice: SliceId(0), decided_seen: Decided(EventId(10)) };
    assert_eq!(rig.out(), [Action::Refuse { stream: StreamId(1), why }]);
    rig.subscribe(2, SHARD, [10, 10], 12);
    let end = rig.matcher.on_results_floor(StreamId(2), EventId(11), &mut rig.out).expect_err("it cannot be filled in");
    assert_eq!(end.to_string(), "s0 keeps frames whose decided_seen is x10, and retirements are kept above x11");
}

#[test]
fn a_reader_is_served_when_its_frames_know_enough_by_the_time_that_the_balancer_answers() {
    let mut rig = rig();
    rig.matcher.on_frame(&frame(10, 12, Audience::All)).expect("the next one");
    assert_eq!(rig.subscribe(1, SHARD, [12, 12], 12), [Action::AskResultsFloor { stream: StreamId(1) }]);
    rig.decide(12);
    rig.matcher.on_results_floor(StreamId(1), EventId(12), &mut rig.out).expect("they know enough");
    let message = CandidatesMessage::Hello(vec![hello(0, 12, 10), hello(2, 12, 10)]);
    assert_eq!(rig.out()[0], Action::Send { to: StreamId(1), message });
}

#[test]
fn of_a_shard_that_asks_again_the_last_stream_waits_for_the_balancer() {
    let mut rig = rig();
    rig.subscribe(1, SHARD, [10, 10], 11);
    let again = [Action::End { stream: StreamId(1) }, Action::AskResultsFloor { stream: StreamId(2) }];
    assert_eq!(rig.subscribe(2, SHARD, [10, 10], 11), again);
    rig.matcher.on_results_floor(StreamId(1), EventId(11), &mut rig.out).expect("nobody waits for it");
    assert_eq!(rig.out(), []);
    rig.matcher.on_lost(StreamId(2));
    rig.matcher.on_results_floor(StreamId(2), EventId(11), &mut rig.out).expect("nobody waits for it");
}

#[test]
fn each_shard_gets_its_own_and_a_stream_in_place_of_the_one_it_had() {
    let mut rig = rig();
    rig.subscribe(1, SHARD, [10, 10], 0);
    rig.subscribe(2, OTHER, [10, 10], 0);
    rig.matcher.on_frame(&frame(10, 12, Audience::All)).expect("the next one");
    let sent = rig.publish();
    assert_eq!((Rig::sent(&sent, 1).len(), Rig::sent(&sent, 2).len()), (1, 1));
    assert_eq!(rig.subscribe(3, SHARD, [12, 12], 0)[0], Action::End { stream: StreamId(1) });
    rig.matcher.on_lost(StreamId(2));
    rig.matcher.on_frame(&frame(12, 13, Audience::All)).expect("the next one");
    let sent = rig.publish();
    assert_eq!([1, 2, 3].map(|stream| Rig::sent(&sent, stream).len()), [0, 0, 1]);
    assert!(rig.matcher.readers.queue(NodeId::Gatherer(OTHER)).is_none());
}

#[test]
fn cursors_are_for_exactly_the_slices_that_run_here() {
    let own = [SliceId(0), SliceId(2)];
    let of = |asked: &[(u32, u64)]| {
        Cursors::of_slices(asked.iter().map(|&(slice, after)| (SliceId(slice), Cursor(EventId(after)))).collect(), &own)
    };
    assert_eq!(of(&[(2, 7), (0, 5)]), Some(cursors([5, 7])));
    for asked in [&[(0, 5)][..], &[(0, 5), (1, 5)], &[(0, 5), (0, 6)], &[(0, 5), (2, 5), (2, 5)], &[]] {
        assert_eq!(of(asked), None);
    }
}

#[test]
fn work_is_what_waits_and_what_comes() {
    let mut rig = rig();
    assert_eq!(rig.matcher.work(None), 0);
    let next = frame(10, 15, Audience::All);
    assert_eq!(rig.matcher.work(Some(&next)), 5);
    rig.matcher.on_frame(&next).expect("the next one");
    assert_eq!(rig.matcher.work(None), 0, "it was searched");
}

fn waiting(element: u64) -> WaitingElement {
    let row = Arc::new(Row::from_values(Vec::new()));
    WaitingElement { element: ElementId(element), pool: PoolId(0), arrived_ms: 0, row }
}

#[test]
fn a_cut_is_all_of_its_parts() {
    let mut reader = CutReader::new("log".to_owned(), EventId(10));
    let pools = vec![(PoolId(0), definition())];
    let first = SliceCut {
        pools,
        waiting: vec![waiting(7)],
        complete: BTreeSet::from([PoolId(0)]),
        left_out: BTreeSet::from([ElementId(1)]),
        ..SliceCut::default()
    };
    reader.on_part(first).expect("the first part");
    let left_out = BTreeSet::from([ElementId(2)]);
    reader.on_part(SliceCut { waiting: vec![waiting(3)], left_out, ..SliceCut::default() }).expect("the last part");
    let MatcherStart { log_id, cut } = reader.finish().expect("each comes once");
    assert_eq!((log_id.as_str(), cut.through, cut.pools.len()), ("log", EventId(10), 1));
    assert_eq!(cut.waiting, [waiting(3), waiting(7)]);
    assert_eq!((cut.complete, cut.left_out), (BTreeSet::from([PoolId(0)]), [1, 2].map(ElementId).into()));
}

#[test]
fn parts_are_no_cut_when_an_element_comes_twice_or_above_it() {
    let mut reader = CutReader::new("log".to_owned(), EventId(10));
    let part = |elements: &[u64]| SliceCut {
        waiting: elements.iter().map(|&element| waiting(element)).collect(),
        ..SliceCut::default()
    };
    let above = GivenUp::AboveCut { element: ElementId(11), through: EventId(10) };
    assert_eq!(reader.on_part(part(&[4, 11])), Err(above));
    reader.on_part(part(&[4, 6])).expect("they wait at the cut");
    reader.on_part(part(&[5, 4])).expect("as far as it knows");
    assert_eq!(reader.finish().err(), Some(GivenUp::Twice { element: ElementId(4) }));
}
