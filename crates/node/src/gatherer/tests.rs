//! A gatherer of shard 0 of two, which reads two matchers: one of slices 0 and 1, one of slice 2.

use std::sync::Arc;

use dovetail_core::{
    Audience, CandidateFrame, Cursor, Decided, DecisionFrame, ElementId, EventId, Grant, Placement, Retirement, Ring,
    ShardId, SliceId, Stable, shard::Fetch,
};

use super::{DecisionMessage, Gatherer, GathererAction, GathererEnd, GathererSettings, GathererStart};
use crate::{
    action::{Action, Request, SliceHello, Step},
    ids::{BalancerId, LinkId, MatcherId, NodeId, StreamId},
    link::{Cursors, GivenUp},
    origin::LogChanged,
    testing::{hello, only_step, watermark},
};

const M0: LinkId = LinkId::Matcher(MatcherId(0));
const PEER: ShardId = ShardId(1);

struct Rig {
    gatherer: Gatherer,
    out: Vec<GathererAction>,
}

/// From a cut at 10, of a balancer that keeps results above 5.
fn rig() -> Rig {
    let settings = GathererSettings {
        placement: placement(),
        id: ShardId(0),
        list_max: 1000,
        matchers: vec![vec![SliceId(0), SliceId(1)], vec![SliceId(2)]],
    };
    let start = GathererStart { log_id: "log".to_owned(), cut: Stable(EventId(10)), results_floor: EventId(5) };
    Rig { gatherer: Gatherer::new(settings, start), out: Vec::new() }
}

fn placement() -> Placement {
    Placement::new(3, 1, Arc::new(Ring::new(2, 16)))
}

/// Elements above 100 that are homed at a shard.
fn homed(shard: ShardId) -> impl Iterator<Item = ElementId> {
    let placement = placement();
    (100..).map(ElementId).filter(move |&element| placement.home_of(element) == shard)
}

fn cursors(cursors: &[(u32, u64)]) -> Cursors {
    Cursors::new(cursors.iter().map(|&(slice, after)| (SliceId(slice), Cursor(EventId(after)))).collect())
}

fn fetch(after: u64, through: u64) -> Fetch {
    Fetch { after: EventId(after), through: EventId(through) }
}

/// A slice has searched up to an event, and knows that everything there is decided and stable.
fn passed(slice: u32, through: u64) -> (SliceId, CandidateFrame) {
    let through = EventId(through);
    let frame = CandidateFrame {
        after: EventId(0),
        through,
        decided_seen: Decided(through),
        stable: Stable(through),
        audience: Audience::All,
        probes: Vec::new(),
        claims: Vec::new(),
        closes: Vec::new(),
        settled: Vec::new(),
    };
    (SliceId(slice), frame)
}

impl Rig {
    fn out(&mut self) -> Vec<GathererAction> {
        std::mem::take(&mut self.out)
    }

    /// The one step that a link is told.
    fn step(&mut self, link: LinkId) -> Step {
        only_step(&self.out(), link)
    }

    fn dial(&mut self, link: LinkId) -> Step {
        self.gatherer.on_dial(link, &mut self.out);
        self.step(link)
    }

    fn hello(&mut self, slices: &[SliceHello]) -> Result<Step, GathererEnd> {
        self.gatherer.on_candidates_hello(MatcherId(0), slices, &mut self.out)?;
        Ok(self.step(M0))
    }

    fn peer_hello(&mut self, floor: u64) -> Step {
        self.gatherer.on_decisions_hello(PEER, Cursor(EventId(floor)), &mut self.out);
        self.step(LinkId::Shard(PEER))
    }

    /// All links read.
    fn read_all(&mut self) {
        for link in self.gatherer.links().collect::<Vec<_>>() {
            self.dial(link);
        }
        assert_eq!(self.hello(&[hello(0, 10, 10), hello(1, 10, 10)]), Ok(Step::Read));
        self.gatherer.on_candidates_hello(MatcherId(1), &[hello(2, 10, 10)], &mut self.out).expect("it goes on");
        assert_eq!(self.step(LinkId::Matcher(MatcherId(1))), Step::Read);
        assert_eq!(self.peer_hello(10), Step::Read);
    }

    /// Everything is searched up to an event, by all slices and by the peer.
    fn pass(&mut self, through: u64) {
        let frames = [passed(0, through), passed(1, through)];
        self.gatherer.on_candidates(MatcherId(0), &frames).expect("in order");
        self.gatherer.on_candidates(MatcherId(1), &[passed(2, through)]).expect("in order");
        self.gatherer.on_decisions(PEER, &watermark(through)).expect("a watermark");
    }

    fn publish(&mut self) -> Vec<GathererAction> {
        self.gatherer.publish(&mut self.out);
        self.out()
    }

    fn subscribe(&mut self, stream: u64, node: NodeId) -> Vec<GathererAction> {
        self.gatherer.on_subscribe(StreamId(stream), node, Cursor(EventId(10)), &mut self.out);
        self.out()
    }

    /// The peer announces retirements that are homed here: they are announced again (R5).
    fn retire(&mut self, xs: &[u64]) -> Vec<Retirement> {
        let elements = homed(ShardId(0));
        let retirement = |(&x, element)| Retirement { x: EventId(x), element, anchor: None };
        let retirements: Vec<_> = xs.iter().zip(elements).map(retirement).collect();
        let frame = DecisionFrame { retirements: retirements.clone(), ..DecisionFrame::default() };
        self.gatherer.on_decisions(PEER, &frame).expect("homed here");
        retirements
    }
}

fn sent(stream: u64, frame: DecisionFrame) -> GathererAction {
    Action::Send { to: StreamId(stream), message: DecisionMessage::Frame(frame) }
}

#[test]
fn every_matcher_and_every_other_shard_is_read() {
    let links: Vec<_> = rig().gatherer.links().collect();
    assert_eq!(links, [M0, LinkId::Matcher(MatcherId(1)), LinkId::Shard(PEER)]);
}

#[test]
fn a_matcher_is_asked_for_all_of_its_slices_and_for_what_can_be_filled_in() {
    let cursors = cursors(&[(0, 10), (1, 10)]);
    let request = Request::Candidates { shard: ShardId(0), decided_seen_min: Decided(EventId(5)), cursors };
    assert_eq!(rig().dial(M0), Step::Subscribe(request));
    assert_eq!(rig().dial(LinkId::Shard(PEER)), Step::Subscribe(Request::Decisions { after: Cursor(EventId(10)) }));
}

#[test]
fn what_slices_may_still_name_is_fetched_before_their_frames_and_the_longest_has_all() {
    let mut rig = rig();
    rig.dial(M0);
    assert_eq!(rig.hello(&[hello(0, 8, 0), hello(1, 6, 0)]), Ok(Step::Fetch(fetch(6, 10))));
    rig.gatherer.on_fetched(M0, fetch(6, 10), &[], &mut rig.out).expect("nothing contradicts it");
    assert_eq!(rig.step(M0), Step::Read);
    assert_eq!(rig.gatherer.shard().floor(), EventId(6));
}

#[test]
#[should_panic(expected = "before what has to be fetched")]
fn no_frame_is_read_before_what_has_to_be_fetched() {
    let mut rig = rig();
    rig.dial(M0);
    assert_eq!(rig.hello(&[hello(0, 8, 0), hello(1, 10, 0)]), Ok(Step::Fetch(fetch(8, 10))));
    _ = rig.gatherer.on_candidates(MatcherId(0), &[passed(0, 12)]);
}

#[test]
fn a_fetch_that_broke_off_is_asked_for_again() {
    let mut rig = rig();
    rig.dial(M0);
    for _ in 0..2 {
        assert_eq!(rig.hello(&[hello(0, 8, 0), hello(1, 10, 0)]), Ok(Step::Fetch(fetch(8, 10))));
        rig.dial(M0);
    }
}

#[test]
fn a_session_ends_when_the_store_has_not_what_must_be_fetched() {
    let mut rig = rig();
    rig.dial(M0);
    assert_eq!(rig.hello(&[hello(0, 3, 0), hello(1, 10, 0)]), Ok(Step::Fetch(fetch(3, 10))));
    let refused = GathererEnd::Refused { after: EventId(3), through: EventId(10) };
    assert_eq!(rig.gatherer.on_refused(M0, fetch(3, 10), &mut rig.out), Err(refused));
}

#[test]
fn below_a_peers_floor_retirements_are_fetched() {
    let mut rig = rig();
    rig.dial(LinkId::Shard(PEER));
    assert_eq!(rig.peer_hello(14), Step::Fetch(fetch(10, 14)));
}

#[test]
fn a_session_ends_when_a_slice_no_longer_keeps_what_comes_next() {
    let mut rig = rig();
    rig.dial(M0);
    let behind = GathererEnd::CursorTooOld { slice: SliceId(1), floor: Cursor(EventId(12)), read: Cursor(EventId(10)) };
    assert_eq!(rig.hello(&[hello(0, 10, 10), hello(1, 12, 12)]), Err(behind));
}

#[test]
fn what_was_passed_before_the_answer_came_is_asked_for_again() {
    let mut rig = rig();
    rig.read_all();
    rig.dial(M0);
    // Nothing up to 15 concerns slices 0 and 1, as slice 2 says.
    let (slice, mut frame) = passed(2, 15);
    frame.after = EventId(10);
    frame.audience = Audience::nobody();
    rig.gatherer.on_candidates(MatcherId(1), &[(slice, frame)]).expect("in order");
    assert_eq!(rig.hello(&[hello(0, 12, 12), hello(1, 12, 12)]), Ok(Step::Break(GivenUp::Passed)));
    let Step::Subscribe(Request::Candidates { cursors: asked, .. }) = rig.dial(M0) else { panic!("it dials") };
    assert_eq!(asked, cursors(&[(0, 15), (1, 15)]));
}

#[test]
fn slices_that_were_not_asked_for_are_not_read() {
    let mut rig = rig();
    rig.dial(M0);
    let other = |asked: Option<u32>, found: Option<u32>| {
        Ok(Step::Break(GivenUp::OtherSlice { asked: asked.map(SliceId), found: found.map(SliceId) }))
    };
    assert_eq!(rig.hello(&[hello(0, 10, 10)]), other(Some(1), None));
    rig.dial(M0);
    assert_eq!(rig.hello(&[hello(0, 10, 10), hello(2, 10, 10)]), other(Some(1), Some(2)));
    rig.dial(M0);
    assert_eq!(rig.hello(&[hello(0, 10, 10), hello(1, 10, 10), hello(2, 10, 10)]), other(None, Some(2)));
    let mut read = cursors(&[(0, 10), (1, 10)]);
    assert_eq!(read.on_frame(SliceId(2), EventId(11)), Err(GivenUp::UnknownSlice { slice: SliceId(2) }));
    assert_eq!(read.on_frame(SliceId(1), EventId(11)), Ok(()));
    assert_eq!((read.lowest(), read), (Cursor(EventId(10)), cursors(&[(0, 10), (1, 11)])));
}

#[test]
fn a_gap_ends_the_session() {
    let mut rig = rig();
    rig.read_all();
    let (slice, mut frame) = passed(0, 20);
    frame.after = EventId(12);
    let end = rig.gatherer.on_candidates(MatcherId(0), &[(slice, frame)]).expect_err("11 and 12 are missing");
    assert_eq!(end.to_string(), "candidates of s0 begin after x12, but only those up to x10 were received");
}

#[test]
fn a_subscriber_gets_a_hello_then_what_its_cursor_does_not_cover() {
    let mut rig = rig();
    rig.read_all();
    rig.pass(12);
    let first = Action::Send { to: StreamId(1), message: DecisionMessage::Hello { floor: Cursor(EventId(12)) } };
    assert_eq!(rig.subscribe(1, NodeId::Balancer(BalancerId(0))), [first, sent(1, watermark(12))]);
    assert_eq!(rig.publish(), [], "the backlog has all of it");
}

#[test]
fn the_balancer_gets_retirements_with_the_watermark_that_covers_them() {
    let mut rig = rig();
    rig.read_all();
    rig.subscribe(1, NodeId::Balancer(BalancerId(0)));
    let mut retirements = rig.retire(&[12]);
    assert_eq!(rig.publish(), [Action::Linger]);
    retirements.extend(rig.retire(&[13]));
    assert_eq!(rig.publish(), [], "a linger is under way");
    rig.pass(13);
    assert_eq!(rig.publish(), [sent(1, DecisionFrame { retirements, ..watermark(13) })]);
}

#[test]
fn a_matcher_gets_its_watermark_when_it_is_far_behind_or_after_a_while() {
    let mut rig = rig();
    rig.read_all();
    rig.subscribe(1, NodeId::Matcher(MatcherId(0)));
    rig.pass(25);
    assert_eq!(rig.publish(), [Action::Linger]);
    rig.pass(26);
    assert_eq!(rig.publish(), [sent(1, watermark(26))]);
    rig.pass(27);
    assert_eq!(rig.publish(), [], "a linger is under way");
    rig.gatherer.on_linger(&mut rig.out);
    assert_eq!(rig.out(), [sent(1, watermark(27))]);
    rig.pass(28);
    assert_eq!(rig.publish(), [Action::Linger]);
}

#[test]
fn a_peer_gets_grants_and_retirements_at_once_and_its_watermark_with_them() {
    let mut rig = rig();
    rig.read_all();
    rig.subscribe(1, NodeId::Gatherer(PEER));
    rig.pass(12);
    assert_eq!(rig.publish(), [Action::Linger]);
    let retirements = rig.retire(&[13]);
    assert_eq!(rig.publish(), [sent(1, DecisionFrame { retirements, ..watermark(12) })]);
    let [prober, other] = homed(PEER).take(2).collect::<Vec<_>>()[..] else { panic!("there are two") };
    let (anchor, next) = (ElementId(5), ElementId(6));
    let grants =
        [(prober, anchor), (other, next)].map(|(prober, anchor)| Grant { x: prober.arrival(), prober, anchor });
    let to = PEER;
    let effects = grants.map(|grant| dovetail_core::shard::ShardEffect::Grant { to, grant });
    rig.gatherer.effects.extend(effects);
    let frame = DecisionFrame { grants: grants.to_vec(), ..DecisionFrame::default() };
    assert_eq!(rig.publish(), [sent(1, frame)]);
}

#[test]
fn a_node_that_subscribes_again_takes_the_place_of_its_stream() {
    let mut rig = rig();
    rig.read_all();
    rig.subscribe(1, NodeId::Balancer(BalancerId(0)));
    assert_eq!(rig.subscribe(2, NodeId::Balancer(BalancerId(0)))[0], Action::End { stream: StreamId(1) });
    rig.pass(12);
    assert_eq!(rig.publish(), [sent(2, watermark(12))]);
    rig.gatherer.on_lost(StreamId(2));
    rig.pass(13);
    assert_eq!(rig.publish(), []);
}

#[test]
fn a_session_ends_when_the_balancer_has_another_log_or_lost_what_was_forgotten() {
    let mut rig = rig();
    rig.read_all();
    rig.pass(20);
    rig.gatherer.on_check(&mut rig.out);
    assert_eq!(rig.out(), [Action::AskCut]);
    // What was forgotten since it was asked does not count.
    rig.pass(30);
    assert_eq!(rig.gatherer.on_cut("log", Stable(EventId(20))), Ok(()));
    rig.gatherer.on_check(&mut rig.out);
    let lost = GathererEnd::Log(LogChanged::ResultsLost { cut: Stable(EventId(29)), floor: EventId(30) });
    assert_eq!(rig.gatherer.on_cut("log", Stable(EventId(29))), Err(lost));
    let end = rig.gatherer.on_cut("other", Stable(EventId(30))).expect_err("another log");
    assert_eq!(end.to_string(), "the balancer's log is other, this session's was log");
}
