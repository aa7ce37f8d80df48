//! A shard, by transcripts.
//!
//! On a ring of two shards `e1` to `e4` are homed at `g0`, which is the one looked at, and `e5` to `e9` at `g1`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::Arc;

use common::{element, event, retirement, shard, slice};
use dovetail_core::{
    Audience, CandidateFrame, Claim, Cursor, Decided, DecisionFrame, ElementId, EventId, Grant, Placement, ProbeList,
    Ring, ShardId, Stable, WithdrawalNotice,
    audience::AudiencePair,
    shard::{Fetch, Reader, Shard, ShardEffect, ShardError},
};

/// Shard `g0` of two, in a cluster of `slices` slices.
fn check(slices: u32, transcript: &str) {
    let placement = Placement::new(slices, 1, Arc::new(Ring::new(2, 160)));
    assert!((1..5).all(|e| placement.home_of(ElementId(e)) == ShardId(0)));
    assert!((5..10).all(|e| placement.home_of(ElementId(e)) == ShardId(1)));
    let mut g0 = Shard::new(placement.clone(), ShardId(0), EventId::ZERO);
    common::check(transcript, |words| step(&mut g0, &placement, words));
}

fn step(g0: &mut Shard, placement: &Placement, words: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    let done = match words {
        ["cut", x] => {
            *g0 = Shard::new(placement.clone(), ShardId(0), event(x));
            Ok(())
        }
        ["kept"] => {
            return vec![format!(
                "{} timelines, {} retirements, floor {}",
                g0.timelines(),
                g0.retirements_kept(),
                g0.floor()
            )];
        }
        ["subscribe", reader, after] => return subscribe(g0, reader, event(after)),
        [from, "hello", x] if from.starts_with('s') => {
            return fetch(g0.on_slice_subscribed(slice(from), Decided(event(x))));
        }
        [from, "hello", x] => return fetch(g0.on_peer_subscribed(shard(from), Cursor(event(x)))),
        ["stored", after, through, words @ ..] => {
            let fetched = Fetch { after: event(after), through: event(through) };
            g0.on_stored(fetched, &retirements(words), &mut out)
        }
        [from, after, through, words @ ..] if from.starts_with('s') => {
            g0.on_candidates(slice(from), &candidates(event(after), event(through), words), &mut out)
        }
        [from, words @ ..] => g0.on_decisions(shard(from), &decisions(words), &mut out),
        [] => unreachable!(),
    };
    let effects = out.iter().map(|effect| match effect {
        ShardEffect::Grant { to, grant } => format!("to {to}: {}", granted(grant)),
        ShardEffect::Retire(retirement) => retirement.to_string(),
        ShardEffect::Settled(retirement) => format!("to balancers: {retirement}"),
        ShardEffect::Decided { through } => format!("decided {through}"),
    });
    effects.chain(done.err().map(|error: ShardError| error.to_string())).collect()
}

fn granted(grant: &Grant) -> String {
    format!("grant {} {} {}", grant.x, grant.prober, grant.anchor)
}

fn fetch(fetch: Option<Fetch>) -> Vec<String> {
    fetch.iter().map(|fetch| format!("fetch ({}, {}]", fetch.after, fetch.through)).collect()
}

fn subscribe(g0: &Shard, reader: &str, after: EventId) -> Vec<String> {
    let reader = match reader {
        "node" => Reader::Matcher,
        "balancer" => Reader::Balancer,
        peer => Reader::Shard(shard(peer)),
    };
    let backlog = g0.subscribe(reader, Cursor(after));
    let DecisionFrame { retirements, grants, decided } = backlog.decisions;
    let retirements = retirements.iter().map(ToString::to_string);
    let lines =
        std::iter::once(format!("floor {}", backlog.floor)).chain(retirements).chain(grants.iter().map(granted));
    lines.chain(decided.map(|decided| format!("decided {decided}"))).collect()
}

/// `x3 e3 e1 , x4 e2`
fn retirements(words: &[&str]) -> Vec<dovetail_core::Retirement> {
    words.split(|&word| word == ",").filter(|words| !words.is_empty()).map(retirement).collect()
}

/// `retires x3 e3 e1 , grant x6 e2 e5 , decided x4`
fn decisions(words: &[&str]) -> DecisionFrame {
    let mut frame = DecisionFrame::default();
    for part in words.split(|&word| word == ",") {
        match part {
            ["retires", words @ ..] => frame.retirements.push(retirement(words)),
            ["grant", x, prober, anchor] => {
                frame.grants.push(Grant { x: event(x), prober: element(prober), anchor: element(anchor) });
            }
            ["decided", x] => frame.decided = Some(Decided(event(x))),
            other => panic!("{other:?} is no decision"),
        }
    }
    frame
}

/// `concerns s0 x2 s1 x4 , known x2 stable x1 , probe x3 e3 e1 e2 , claim x3 e3 e1 , close x4 e2`
fn candidates(after: EventId, through: EventId, words: &[&str]) -> CandidateFrame {
    let (known, stable) = (EventId::ZERO, EventId::ZERO);
    let (probes, claims, closes, settled) = (vec![], vec![], vec![], vec![]);
    let mut frame = CandidateFrame {
        after,
        through,
        decided_seen: Decided(known),
        stable: Stable(stable),
        audience: Audience::All,
        probes,
        claims,
        closes,
        settled,
    };
    for part in words.split(|&word| word == ",").filter(|part| !part.is_empty()) {
        match part {
            ["known", known, "stable", stable] => {
                frame.decided_seen = Decided(event(known));
                frame.stable = Stable(event(stable));
            }
            ["concerns", words @ ..] => frame.audience = audience(words),
            ["settled", words @ ..] => frame.settled.push(retirement(words)),
            ["probe", x, prober, anchors @ ..] => {
                let anchors = anchors.iter().map(|anchor| element(anchor)).collect();
                frame.probes.push(ProbeList { x: event(x), prober: element(prober), anchors });
            }
            ["claim", x, prober, anchor] => {
                frame.claims.push(Claim { x: event(x), prober: element(prober), anchor: element(anchor) });
            }
            ["close", x, e] => frame.closes.push(WithdrawalNotice { x: event(x), element: element(e) }),
            other => panic!("{other:?} is no candidate"),
        }
    }
    frame
}

/// `s0 x2 s1 x4`
fn audience(words: &[&str]) -> Audience {
    let pair = |pair: &[&str]| AudiencePair { slice: slice(pair[0]), shard: ShardId(0), last: event(pair[1]) };
    Audience::Pairs(words.chunks(2).map(pair).collect())
}

#[test]
fn a_probe_is_decided_once_every_slice_has_searched_it() {
    check(
        2,
        "
        s1 x0 x2 probe x2 e2 e1 , claim x2 e2 e1
        s0 x0 x1
        > decided x1
        s0 x1 x2
        > x2: e2 with e1
        > decided x2
        ",
    );
}

#[test]
fn a_slice_that_nothing_concerns_is_passed() {
    check(
        3,
        "
        s0 x0 x1 concerns s0 x1
        > decided x1
        s0 x1 x4 concerns s0 x4 s1 x3
        s1 x0 x2 concerns s0 x1
        > decided x2
        s1 x2 x3 concerns s1 x3
        > decided x4
        s2 x0 x2 concerns s0 x1
        s0 x4 x5
        s1 x3 x5
        s2 x2 x5
        > decided x5
        ",
    );
}

#[test]
fn what_concerns_a_slice_that_is_behind_is_waited_for() {
    check(
        2,
        "
        s0 x0 x4 concerns s0 x4 s1 x2
        s0 x4 x6 concerns s0 x6
        s1 x0 x1 concerns s1 x2
        > decided x1
        s1 x1 x2 concerns s1 x2 , settled x2 e2 e1
        > to balancers: x2: e2 with e1
        > decided x6
        ",
    );
}

#[test]
fn a_slice_that_waits_in_the_midst_of_a_frame_tells_of_all_of_it() {
    check(
        2,
        "
        s0 x0 x3 concerns s0 x9 s1 x8
        s1 x0 x5 concerns s0 x9 s1 x8
        > decided x3
        s0 x3 x9 concerns s0 x9 s1 x8
        > decided x5
        s1 x5 x9 concerns s0 x9 s1 x8
        > decided x9
        ",
    );
}

#[test]
fn frames_of_a_passed_slice_come_late_and_tell_what_may_be_forgotten() {
    check(
        2,
        "
        s0 x0 x6 concerns s0 x6
        > decided x6
        s1 x0 x4 concerns s0 x4 , known x4 stable x4
        s0 x6 x6 concerns , known x5 stable x4
        g1 decided x6
        kept
        > 0 timelines, 0 retirements, floor x4
        s1 x4 x7
        s0 x6 x7
        > decided x7
        ",
    );
}

#[test]
fn the_anchors_home_grants_and_the_probers_home_accepts() {
    check(
        1,
        "
        s0 x0 x5 claim x5 e5 e1
        > to g1: grant x5 e5 e1
        > decided x5
        s0 x5 x6 claim x6 e6 e1
        > decided x6
        g1 retires x5 e5 e1 , decided x5
        ",
    );
    check(
        1,
        "
        cut x5
        s0 x5 x6 probe x6 e4 e5 e7
        g1 grant x6 e4 e7
        g1 grant x6 e4 e5
        > x6: e4 with e5
        > decided x6
        ",
    );
}

#[test]
fn when_the_prober_is_taken_the_next_one_is_granted() {
    check(
        1,
        "
        s0 x0 x5 claim x5 e5 e1
        > to g1: grant x5 e5 e1
        > decided x5
        s0 x5 x6 claim x6 e6 e1
        > decided x6
        g1 retires x5 e5 e7
        > to g1: grant x6 e6 e1
        ",
    );
}

#[test]
fn an_anchors_own_earlier_probe_comes_before_a_claim_on_it() {
    check(
        1,
        "
        cut x9
        s0 x9 x11 probe x11 e4 e5
        > decided x10
        s0 x11 x12 claim x12 e7 e4
        g1 retires x10 e8 e5
        > to g1: grant x12 e7 e4
        > decided x12
        ",
    );
}

#[test]
fn a_withdrawal_is_final_when_no_earlier_candidate_is_alive() {
    check(
        1,
        "
        s0 x0 x7 claim x6 e6 e1 , close x7 e1
        > to g1: grant x6 e6 e1
        > decided x6
        g1 retires x6 e6 e5
        > x7: e1 withdrawn
        > decided x7
        ",
    );
}

#[test]
fn candidates_taken_before_are_passed_over_and_gaps_refused() {
    check(
        1,
        "
        s0 x0 x2 probe x2 e2 e1 , claim x2 e2 e1
        > x2: e2 with e1
        > decided x2
        s0 x0 x2 probe x2 e2 e1 , claim x2 e2 e1
        s0 x0 x3 probe x2 e2 e1 , claim x2 e2 e1
        > decided x3
        s0 x4 x5
        > candidates of s0 begin after x4, but only those up to x3 were received
        ",
    );
}

#[test]
fn contradictions_and_messages_for_another_shard_are_refused() {
    check(
        1,
        "
        g1 retires x6 e6 e5
        g1 retires x6 e6 e1
        > event x6 was decided as x6: e6 with e5, and now as x6: e6 with e1; is there another log?
        s0 x0 x7 probe x7 e7 e1
        > e7 at x7 is homed at g1, but g0 was reported of it; do both run the same settings?
        ",
    );
}

/// R3.
#[test]
fn retirements_that_old_frames_may_name_are_fetched_first() {
    check(
        1,
        "
        cut x6
        s0 hello x4
        > fetch (x4, x6]
        stored x4 x6 x5 e5 e1
        s0 x6 x7 known x4 stable x6 , probe x7 e2 e1 e3 , claim x7 e2 e1 , claim x7 e2 e3
        > x7: e2 with e3
        > decided x7
        s0 hello x7
        ",
    );
}

/// R5.
#[test]
fn what_is_homed_here_is_announced_again_however_it_was_learned() {
    check(
        1,
        "
        cut x6
        s0 hello x2
        > fetch (x2, x6]
        stored x2 x6 x4 e4 e1 , x5 e5 e2
        > x4: e4 with e1
        g1 retires x7 e3 e6
        > x7: e3 with e6
        ",
    );
}

/// R6.
#[test]
fn a_peer_that_comes_back_is_told_what_is_homed_at_it_and_its_grants() {
    check(
        1,
        "
        s0 x0 x7 probe x2 e2 e1 , claim x2 e2 e1 , claim x7 e7 e3
        > x2: e2 with e1
        > to g1: grant x7 e7 e3
        > decided x7
        g1 retires x6 e6 e5
        subscribe g1 x0
        > floor x0
        > x2: e2 with e1
        > x6: e6 with e5
        > grant x7 e7 e3
        > decided x7
        subscribe node x0
        > floor x0
        > x2: e2 with e1
        > decided x7
        ",
    );
}

/// R7.
#[test]
fn the_watermark_is_stated_on_subscription_though_it_has_not_moved() {
    check(1, "subscribe node x0\n> floor x0\n> decided x0");
}

#[test]
fn what_is_stable_decided_everywhere_and_known_to_every_slice_is_forgotten() {
    check(
        1,
        "
        s0 x0 x2 probe x2 e2 e1 , claim x2 e2 e1
        > x2: e2 with e1
        > decided x2
        kept
        > 0 timelines, 1 retirements, floor x0
        g1 decided x2
        s0 x2 x2 known x2 stable x2
        kept
        > 0 timelines, 0 retirements, floor x2
        g1 hello x2
        subscribe g1 x0
        > floor x2
        > decided x2
        ",
    );
}

#[test]
fn a_shard_that_starts_below_a_peers_floor_fetches_what_the_peer_forgot() {
    check(1, "cut x2\ng1 hello x2\ng1 hello x5\n> fetch (x2, x5]");
}

#[test]
fn what_a_slice_settled_is_passed_on_to_balancers_before_the_watermark() {
    check(
        1,
        "
        s0 x0 x4 settled x3 e3 e1 , settled x4 e2
        > to balancers: x3: e3 with e1
        > to balancers: x4: e2 withdrawn
        > decided x4
        subscribe balancer x3
        > floor x0
        > x4: e2 withdrawn
        > decided x4
        subscribe node x3
        > floor x0
        > decided x4
        subscribe g1 x3
        > floor x0
        > decided x4
        ",
    );
}

#[test]
fn what_a_slice_settled_is_passed_on_once_and_kept_until_it_is_stable() {
    check(
        1,
        "
        s0 x0 x3 settled x3 e3 e1
        > to balancers: x3: e3 with e1
        > decided x3
        s0 x2 x5 known x3 stable x0 , settled x3 e3 e1 , settled x5 e5 e4
        > to balancers: x5: e5 with e4
        > decided x5
        kept
        > 0 timelines, 2 retirements, floor x0
        s0 x5 x5 known x3 stable x3
        kept
        > 0 timelines, 1 retirements, floor x0
        ",
    );
}
