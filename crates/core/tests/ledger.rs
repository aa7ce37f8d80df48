//! The ledger, by transcripts. One shard, unless a test says otherwise; the pool `duel` reprobes after 10 and 20 ms.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::Arc;

use common::{element, event, number, retirement, shard};
use dovetail_core::{
    Audience, Decided, ElementId, EventId, EventKind, PoolDefinition, PoolId, ShardId, SliceId, Stable, WithdrawReason,
    audience::AudiencePair,
    batch::KeySecret,
    ledger::{Admission, ClientPart, LateDue, Ledger, LedgerLimits, Outcome, Status, Submission, TimerShare, Timing},
    sequencer::{FrameLimits, Sequencer},
};
use dovetail_rule::{Row, Schema};

const LIMITS: LedgerLimits = LedgerLimits {
    waiting_max: 3,
    waiting_total_max: 5,
    waiting_bytes_max: u64::MAX,
    waiting_bytes_total_max: u64::MAX,
    element_bytes_max: 65_536,
    payload_bytes_max: 4,
    ended_max: 2,
    idempotency_ms: 100,
    idempotency_max: 2,
    idempotency_total_max: 3,
    search_cost_max: u64::MAX,
    slices: 1,
    key_secret: KeySecret([0; 2]),
};

const FRAME: FrameLimits = FrameLimits { events_max: 100, bytes_max: 10_000, age_ms_max: 5 };

/// A ledger of `shards` shards, with the pool `duel` defined by `x1`.
fn check(shards: u32, transcript: &str) {
    let mut ledger = Ledger::new(LIMITS, shards);
    let kind = EventKind::PoolDefined { pool: PoolId(0), definition: pool() };
    ledger.record(EventId(1), 0, &kind, None).unwrap();
    let mut x = 1;
    common::check(transcript, |words| match words {
        ["submit", rest @ ..] => submit(&mut ledger, &mut x, rest),
        ["withdraw", e, at] => {
            let kind = EventKind::Withdrawal { element: element(e), pool: PoolId(0), reason: WithdrawReason::Client };
            record(&mut ledger, &mut x, number(at), &kind, None)
        }
        ["due", now, rest @ ..] => {
            let at = rest.last().unwrap_or(now);
            let due = ledger.due(number(now), 10);
            due.iter().flat_map(|kind| record(&mut ledger, &mut x, number(at), kind, None)).collect()
        }
        ["retired", words @ ..] => {
            ledger.on_retirements(&[retirement(words)]).err().map(|error| error.to_string()).into_iter().collect()
        }
        ["decided", from, reported] => {
            let mut out = Vec::new();
            let done = ledger.on_decided(shard(from), Decided(event(reported)), &mut out);
            out.iter().map(outcome).chain(done.err().map(|error| error.to_string())).collect()
        }
        ["frame", after, through, "all"] => {
            ledger.on_frame(event(after), event(through), &Audience::All);
            vec![]
        }
        ["frame", after, through, pairs @ ..] => {
            ledger.on_frame(event(after), event(through), &audience(pairs));
            vec![]
        }
        ["stored", through] => {
            ledger.on_stored(event(through));
            vec![]
        }
        ["marks"] => vec![format!("decided {} stable {}", ledger.decided(), ledger.stable())],
        ["restore", through, words @ ..] => {
            let retirements: Vec<_> = words.split(|&word| word == ",").map(retirement).collect();
            ledger.restore(event(through), &retirements).unwrap();
            vec![]
        }
        ["cut"] => vec![cut(&ledger)],
        ["status", e] => vec![match ledger.status(element(e)) {
            Status::Waiting(entry) if entry.closing.is_some() => "waits, closing".to_owned(),
            Status::Waiting(_) => "waits".to_owned(),
            Status::Ended(x) => format!("ended by {x}"),
            Status::Unknown => "unknown".to_owned(),
        }],
        ["find", key] => ledger.find(PoolId(0), key).iter().map(ToString::to_string).collect(),
        other => panic!("{other:?} is no step"),
    });
}

/// `submit KEY at 5 ttl 30 once KEY payload 4 pool NAME asked x7`
fn submit(ledger: &mut Ledger, x: &mut u64, words: &[&str]) -> Vec<String> {
    let mut submission = Submission { key: words[0].to_owned(), ..Submission::default() };
    let (mut at, mut pool, mut asked) = (0, "duel", None);
    for pair in words[1..].chunks(2) {
        match pair[0] {
            "at" => at = number(pair[1]),
            "ttl" => submission.ttl_ms = Some(number(pair[1])),
            "once" => submission.idempotency_key = pair[1].to_owned(),
            "payload" => submission.payload = vec![0; usize::try_from(number(pair[1])).unwrap()].into(),
            "pool" => pool = pair[1],
            "asked" => asked = Some(event(pair[1])),
            other => panic!("{other:?} is no part of a submission"),
        }
    }
    match ledger.admit(at, pool, submission, asked.unwrap_or(ledger.recorded())) {
        Ok(Admission::New { pool, row, client }) => {
            record(ledger, x, at, &EventKind::Arrival { pool, row }, Some(client))
        }
        Ok(Admission::Retry(element)) => vec![format!("made {element}")],
        Ok(Admission::Undecided(asked)) => vec![format!("undecided at {asked}")],
        Ok(Admission::Late(pool)) => vec![format!("{pool} is late")],
        Err(error) => vec![error.to_string()],
    }
}

fn record(ledger: &mut Ledger, x: &mut u64, at: u64, kind: &EventKind, client: Option<ClientPart>) -> Vec<String> {
    *x += 1;
    ledger.record(EventId(*x), at, kind, client).unwrap();
    vec![match kind {
        EventKind::Arrival { .. } => format!("x{x} arrival"),
        EventKind::Withdrawal { element, reason, .. } => format!("x{x} withdrawal of {element}, {reason:?}"),
        EventKind::Reprobe { element, .. } => format!("x{x} reprobe of {element}"),
        EventKind::PoolDefined { pool, .. } => format!("x{x} {pool}"),
        EventKind::PoolClosed { pool } => format!("x{x} closes {pool}"),
        EventKind::PoolDropped { pool } => format!("x{x} drops {pool}"),
    }]
}

/// `g0 x2 g1 x4`
fn audience(words: &[&str]) -> Audience {
    let pair = |pair: &[&str]| AudiencePair { slice: SliceId(0), shard: shard(pair[0]), last: event(pair[1]) };
    Audience::Pairs(words.chunks(2).map(pair).collect())
}

fn outcome(outcome: &Outcome) -> String {
    let anchor = outcome.anchor.as_ref().map_or(String::new(), |anchor| format!(" with {}", anchor.key));
    let reason = outcome.reason.map_or(String::new(), |reason| format!(" {reason:?}"));
    format!("{} at {}: {}{anchor}{reason}", outcome.x, outcome.time_ms, outcome.element.key)
}

fn cut(ledger: &Ledger) -> String {
    let cut = ledger.cut(|_| true);
    let waiting: Vec<String> = cut.waiting.iter().map(|waiting| waiting.element.to_string()).collect();
    let left_out: Vec<String> = cut.left_out.iter().map(ToString::to_string).collect();
    format!("{} waiting [{}] left out [{}]", cut.through, waiting.join(" "), left_out.join(" "))
}

fn pool() -> Arc<PoolDefinition> {
    Arc::new(PoolDefinition {
        name: "duel".into(),
        attributes: vec![],
        rule: "true".into(),
        ttl_ms: 0,
        reprobe_ms: vec![10, 20],
        waiting_max: 0,
        payload_bytes_max: 0,
    })
}

fn defined() -> EventKind {
    EventKind::PoolDefined { pool: PoolId(0), definition: pool() }
}

fn arrival() -> EventKind {
    EventKind::Arrival { pool: PoolId(0), row: Arc::new(Row::from_named(&Schema::default(), []).unwrap()) }
}

/// Of an element that expires 30 ms after its arrival.
fn client(number: u64) -> ClientPart {
    ClientPart {
        key: format!("k{number}").into(),
        payload: "".into(),
        ttl_ms: 30,
        idempotency_key: "".into(),
        owner: "".into(),
    }
}

#[test]
fn reprobes_follow_the_schedule_and_a_stop_skips_what_it_missed_but_one() {
    check(
        1,
        "
        submit ann at 100
        > x2 arrival
        due 110
        due 111
        > x3 reprobe of e2
        due 111
        due 120
        due 121
        > x4 reprobe of e2
        due 999
        submit bob at 1000
        > x5 arrival
        due 1030
        > x6 reprobe of e5
        due 1030
        ",
    );
}

/// A reprobe that was due at 110 came into a frame begun at 105, and was due again and again until the frame was full.
#[test]
fn a_reprobe_is_written_once_though_its_frame_is_older() {
    check(
        1,
        "
        submit ann at 100
        > x2 arrival
        due 111 at 105
        > x3 reprobe of e2
        due 112 at 105
        due 121 at 105
        > x4 reprobe of e2
        due 999
        ",
    );
}

#[test]
fn a_time_to_live_ends_once_and_ends_the_reprobes() {
    check(
        1,
        "
        submit ann at 100 ttl 15
        > x2 arrival
        due 111
        > x3 reprobe of e2
        due 115
        > x4 withdrawal of e2, Expired
        due 999
        status e2
        > waits, closing
        retired x4 e2
        decided g0 x4
        > x4 at 115: ann Expired
        status e2
        > ended by x4
        ",
    );
}

#[test]
fn outcomes_leave_in_order_once_every_shard_has_decided() {
    check(
        2,
        "
        submit ann at 1
        > x2 arrival
        submit bob at 2
        > x3 arrival
        withdraw e2 3
        > x4 withdrawal of e2, Client
        submit cid at 4
        > x5 arrival
        retired x5 e5 e3
        decided g0 x5
        retired x4 e2
        decided g1 x4
        > x4 at 3: ann Client
        decided g1 x5
        > x5 at 4: cid with bob
        decided g1 x3
        ",
    );
}

#[test]
fn decisions_that_contradict_each_other_or_the_log_are_refused() {
    check(
        1,
        "
        submit ann
        > x2 arrival
        submit bob
        > x3 arrival
        retired x3 e3 e2
        retired x3 e3 e2
        retired x3 e3
        > event x3 was decided as x3: e3 with e2, and now as x3: e3 withdrawn; is there another log?
        decided g0 x4
        > g0 has decided up to x4, but the log ends at x3; has the log lost its end, or is it another one?
        ",
    );
    check(
        1,
        "submit ann\n> x2 arrival\nretired x2 e9\ndecided g0 x2\n> x2: e9 withdrawn is decided, but e9 does not wait",
    );
}

#[test]
fn a_key_is_free_again_once_its_element_is_decided() {
    check(
        1,
        "
        submit ann
        > x2 arrival
        submit ann
        > undecided at x2
        decided g0 x2
        submit ann asked x2
        > key \"ann\" is waiting in pool \"duel\" already, as element 2
        submit ann
        > key \"ann\" is waiting in pool \"duel\" already, as element 2
        submit bob
        > x3 arrival
        submit ann
        > undecided at x3
        retired x3 e3 e2
        decided g0 x3
        > x3 at 0: bob with ann
        find ann
        > e2
        submit ann
        > x4 arrival
        find ann
        > e4
        find bob
        > e3
        ",
    );
}

/// A client that asked while ann waited as e2 is told of e4 once that is decided, too: between the two the key was
/// free. What others do since does not lengthen the wait.
#[test]
fn a_key_that_was_taken_again_is_undecided_again() {
    check(
        1,
        "
        submit ann
        > x2 arrival
        submit bob
        > x3 arrival
        submit ann
        > undecided at x3
        retired x3 e3 e2
        decided g0 x3
        > x3 at 0: bob with ann
        submit ann
        > x4 arrival
        submit ann asked x3
        > undecided at x4
        submit cid
        > x5 arrival
        decided g0 x4
        submit ann asked x3
        > key \"ann\" is waiting in pool \"duel\" already, as element 4
        ",
    );
}

/// What is due is written before time passes it: first who expires, then who searches, in steps.
#[test]
fn time_waits_for_what_is_due() {
    let mut ledger = Ledger::new(LIMITS, 1);
    let mut sequencer: Sequencer = Sequencer::new(FRAME, EventId::ZERO, 0);
    let mut advance = |ledger: &mut Ledger, kinds: &[EventKind], now_ms: u64, most: usize| {
        for kind in kinds {
            let (x, time_ms) = sequencer.push(Stable::ZERO, kind.clone(), 0);
            let client = matches!(kind, EventKind::Arrival { .. }).then(|| client(x.0));
            ledger.record(x, time_ms, kind, client).unwrap();
        }
        let frame = sequencer.take().map(|frame| format!("frame at {}", frame.time_ms));
        let timing = ledger.advance_time(&mut sequencer, now_ms, most, &mut TimerShare::all());
        (frame.unwrap_or_default(), sequencer.time_ms(), timing)
    };
    let done = |frame: &str, time_ms| (frame.to_owned(), time_ms, Timing::Done);
    assert_eq!(advance(&mut ledger, &[defined()], 100, 9), done("frame at 0", 100));
    // Two elements at 100: they expire at 130, and are to search at 111 and 121.
    assert_eq!(advance(&mut ledger, &[arrival(), arrival()], 110, 9), done("frame at 100", 110));
    // A stop until 200. Who searches at 111 does so at 121, and time stays there until that is written.
    let (_, time_ms, searches) = advance(&mut ledger, &[], 200, 9);
    let Timing::Due(searches) = searches else { panic!("{searches:?}") };
    assert!(time_ms == 121 && searches.iter().all(|kind| matches!(kind, EventKind::Reprobe { .. })), "{searches:?}");
    // That was the search at 121 as well. Both expire at 130, which is written at 140, one after the other.
    let (frame, time_ms, first) = advance(&mut ledger, &searches, 200, 1);
    let withdrawal = |element| EventKind::Withdrawal {
        element: ElementId(element),
        pool: PoolId(0),
        reason: WithdrawReason::Expired,
    };
    assert_eq!((frame.as_str(), time_ms, &first), ("frame at 121", 140, &Timing::Due(vec![withdrawal(2)])));
    let (frame, time_ms, second) = advance(&mut ledger, &[withdrawal(2)], 200, 1);
    assert_eq!((frame.as_str(), time_ms, &second), ("frame at 140", 140, &Timing::Due(vec![withdrawal(3)])));
    assert_eq!(advance(&mut ledger, &[withdrawal(3)], 200, 1), done("frame at 140", 200));
}

/// An element that arrives with a time to live.
fn mortal(x: u64, ttl_ms: u64) -> ClientPart {
    ClientPart { ttl_ms, ..client(x) }
}

/// Time passes the timers of a pool that has more than its share, and no element arrives in it until they are written;
/// nothing of that concerns another pool.
#[test]
fn a_storm_of_timers_makes_its_own_pool_wait() {
    let mut ledger = Ledger::new(LedgerLimits { waiting_max: 100, waiting_total_max: 100, ..LIMITS }, 1);
    let mut sequencer: Sequencer = Sequencer::new(FRAME, EventId::ZERO, 0);
    let other = PoolDefinition { name: "calm".to_owned(), ..(*pool()).clone() };
    let defined_other = EventKind::PoolDefined { pool: PoolId(1), definition: Arc::new(other) };
    let row = Arc::new(Row::from_named(&Schema::default(), []).unwrap());
    let arrive = |pool| EventKind::Arrival { pool: PoolId(pool), row: Arc::clone(&row) };
    let write = |ledger: &mut Ledger, sequencer: &mut Sequencer, kinds: &[EventKind], ttl_ms| {
        for kind in kinds {
            let (x, time_ms) = sequencer.push(Stable::ZERO, kind.clone(), 0);
            let part = matches!(kind, EventKind::Arrival { .. }).then(|| mortal(x.0, ttl_ms));
            ledger.record(x, time_ms, kind, part).unwrap();
        }
        sequencer.take();
    };
    write(&mut ledger, &mut sequencer, &[defined(), defined_other], 0);
    // Ten of the storm expire at 5, before they search at 11; one of the other pool expires at 5 as well.
    write(&mut ledger, &mut sequencer, &vec![arrive(0); 10], 5);
    write(&mut ledger, &mut sequencer, &[arrive(1)], 5);
    let mut share = TimerShare::new(3, 100);
    let Timing::Due(due) = ledger.advance_time(&mut sequencer, 8, 100, &mut share) else { panic!("some are due") };
    assert_eq!((due.len(), sequencer.time_ms()), (4, 8), "three and one");
    write(&mut ledger, &mut sequencer, &due, 0);
    assert_eq!(ledger.advance_time(&mut sequencer, 30, 100, &mut share), Timing::Done);
    assert_eq!((sequencer.time_ms(), ledger.late().collect::<Vec<_>>()), (30, vec![(PoolId(0), 5)]));
    let submit = |ledger: &mut Ledger, pool| {
        let submission = Submission { key: "new".to_owned(), ..Submission::default() };
        ledger.admit(30, pool, submission, EventId(13)).unwrap()
    };
    assert!(matches!(submit(&mut ledger, "duel"), Admission::Late(PoolId(0))));
    assert!(matches!(submit(&mut ledger, "calm"), Admission::New { .. }));
    // An element after its time to live expires, whatever is asked for.
    assert_eq!(ledger.reason_at(ElementId(9), 30, WithdrawReason::Client), WithdrawReason::Expired);
    // The rest is written some at a time.
    let LateDue { events, stuck } = ledger.late_due(&sequencer, 4, |_, _| true);
    assert_eq!((events.len(), stuck, ledger.is_late(PoolId(0))), (4, false, true));
    write(&mut ledger, &mut sequencer, &events, 0);
    let LateDue { events, .. } = ledger.late_due(&sequencer, 100, |_, _| true);
    let expire = |kind: &EventKind| matches!(kind, EventKind::Withdrawal { reason: WithdrawReason::Expired, .. });
    assert_eq!(events.iter().filter(|kind| expire(kind)).count(), 3);
    assert!(events[..3].iter().all(expire), "{events:?}: all expire before anybody searches");
    assert!(!ledger.is_late(PoolId(0)), "they are to be written at once");
    assert_eq!((ledger.take_caught_up(), ledger.take_caught_up()), (vec![PoolId(0)], vec![]));
    write(&mut ledger, &mut sequencer, &events, 0);
    assert_eq!(ledger.late_due(&sequencer, 4, |_, _| true), LateDue { events: vec![], stuck: true });
    assert_eq!(ledger.advance_time(&mut sequencer, 40, 100, &mut share), Timing::Done);
}

#[test]
fn what_cannot_be_let_in_is_refused_with_its_bound() {
    check(
        1,
        "
        submit ann pool chess
        > pool \"chess\" is not defined
        submit ann payload 5
        > payload of key \"ann\" is 5 bytes, at most 4 in pool \"duel\"
        submit ann ttl 99999999999
        > ttl of key \"ann\" is 99999999999 ms, at most 34560000000
        submit ann
        > x2 arrival
        submit bob
        > x3 arrival
        submit cid
        > x4 arrival
        submit dee
        > undecided at x4
        decided g0 x4
        submit dee asked x4
        > pool \"duel\" has 3 elements waiting, which is its waiting_max
        ",
    );
}

#[test]
fn all_pools_together_have_a_bound_beside_their_own() {
    let mut ledger = Ledger::new(LedgerLimits { waiting_total_max: 2, ..LIMITS }, 1);
    let kind = EventKind::PoolDefined { pool: PoolId(0), definition: pool() };
    ledger.record(EventId(1), 0, &kind, None).unwrap();
    let mut x = 1;
    let answers: Vec<String> = ["a", "b", "c"].iter().flat_map(|key| submit(&mut ledger, &mut x, &[key])).collect();
    assert_eq!(answers, ["x2 arrival", "x3 arrival", "undecided at x3"]);
    ledger.on_decided(ShardId(0), Decided(EventId(3)), &mut ()).unwrap();
    let full = "2 elements wait in all pools together, which is waiting_total_max";
    assert_eq!(submit(&mut ledger, &mut x, &["c", "asked", "x3"]), [full]);
}

#[test]
fn nothing_is_written_before_all_that_frames_tell_is_stable_is_decided_again() {
    let mut ledger = Ledger::new(LIMITS, 1);
    ledger.record(EventId(1), 0, &defined(), None).unwrap();
    (2..=4).for_each(|x| ledger.record(EventId(x), 0, &arrival(), Some(client(x))).unwrap());
    assert_eq!((ledger.may_write(), ledger.to_tell()), (true, Stable::ZERO));
    // The results that these frames told of are lost.
    for told in [3, 2] {
        ledger.on_told(Stable(EventId(told)));
        assert_eq!((ledger.may_write(), ledger.to_tell()), (false, Stable(EventId(3))));
    }
    ledger.on_decided(ShardId(0), Decided(EventId(2)), &mut ()).unwrap();
    assert!(!ledger.may_write());
    ledger.on_decided(ShardId(0), Decided(EventId(3)), &mut ()).unwrap();
    // They are not stored again yet: what is stable has gone back, what frames tell does not.
    assert_eq!((ledger.may_write(), ledger.stable(), ledger.to_tell()), (true, Stable::ZERO, Stable(EventId(3))));
    ledger.on_decided(ShardId(0), Decided(EventId(4)), &mut ()).unwrap();
    ledger.on_stored(EventId(4));
    assert_eq!(ledger.to_tell(), Stable(EventId(4)));
}

#[test]
fn the_stable_cut_waits_for_what_others_have_stored_and_never_goes_back() {
    let mut ledger = Ledger::new(LIMITS, 1);
    ledger.record(EventId(1), 0, &defined(), None).unwrap();
    (2..=9).for_each(|x| ledger.record(EventId(x), 0, &arrival(), Some(client(x))).unwrap());
    ledger.on_decided(ShardId(0), Decided(EventId(9)), &mut ()).unwrap();
    let mut stable = |others: u64, stored: u64| {
        ledger.bound_stable(EventId(others));
        ledger.on_stored(EventId(stored));
        ledger.stable().event().0
    };
    assert_eq!([(0, 4), (3, 4), (7, 4), (7, 9)].map(|(others, stored)| stable(others, stored)), [0, 3, 4, 7]);
    // One that knows less begins to stand by: it has to be brought there first.
    assert_eq!([(2, 9), (8, 9), (u64::MAX, 9)].map(|(others, stored)| stable(others, stored)), [7, 8, 9]);
}

#[test]
fn the_bytes_of_what_waits_have_bounds_by_pool_and_in_all() {
    // Each takes 64 bytes, and 1 for its key.
    let limits = LedgerLimits { waiting_bytes_max: 2 * 65, ..LIMITS };
    let refused = |limits: LedgerLimits| {
        let mut ledger = Ledger::new(limits, 1);
        let kind = EventKind::PoolDefined { pool: PoolId(0), definition: pool() };
        ledger.record(EventId(1), 0, &kind, None).unwrap();
        let mut x = 1;
        let answers: Vec<String> = ["a", "b", "c"].iter().flat_map(|key| submit(&mut ledger, &mut x, &[key])).collect();
        assert_eq!(answers, ["x2 arrival", "x3 arrival", "undecided at x3"]);
        assert_eq!((ledger.waiting_bytes(), ledger.pool(PoolId(0)).counts.waiting_bytes), (130, 130));
        ledger.on_decided(ShardId(0), Decided(EventId(3)), &mut ()).unwrap();
        submit(&mut ledger, &mut x, &["c", "asked", "x3"]).concat()
    };
    let own = "pool \"duel\" has 130 bytes of elements waiting, and 65 more are above 130, which is waiting_bytes_max";
    assert_eq!(refused(limits), own);
    let all = "130 bytes of elements wait in all pools together, and 65 more are above 190, which is \
               waiting_bytes_total_max";
    assert_eq!(refused(LedgerLimits { waiting_bytes_total_max: 190, ..LIMITS }), all);
}

#[test]
fn an_element_has_a_bound_in_bytes_beside_its_payload() {
    let ledger = |element_bytes_max| {
        let mut ledger = Ledger::new(LedgerLimits { element_bytes_max, ..LIMITS }, 1);
        let kind = EventKind::PoolDefined { pool: PoolId(0), definition: pool() };
        ledger.record(EventId(1), 0, &kind, None).unwrap();
        submit(&mut ledger, &mut 1, &["ann", "payload", "4", "once", "key"]).concat()
    };
    assert_eq!(ledger(3 + 3), "x2 arrival");
    let large = "element with key \"ann\" is 6 bytes without its payload, at most 5, which is element_bytes_max";
    assert_eq!(ledger(5), large);
}

#[test]
fn a_retry_makes_no_second_element_while_its_key_is_remembered() {
    check(
        1,
        "
        submit ann once k1
        > x2 arrival
        submit ann once k1
        > made e2
        submit bob once k1
        > idempotency key \"k1\" made element 2 from another body
        submit ann at 100 once k1
        > made e2
        submit ann at 101 once k1
        > undecided at x2
        decided g0 x2
        submit ann at 101 once k1
        > key \"ann\" is waiting in pool \"duel\" already, as element 2
        ",
    );
}

#[test]
fn no_more_keys_are_taken_than_are_remembered_and_none_is_forgotten_for_another() {
    check(
        1,
        "
        submit ann at 10 once k1
        > x2 arrival
        submit bob at 30 once k2
        > x3 arrival
        submit cid at 50 once k3
        > 2 idempotency keys are remembered of pool \"duel\", which is idempotency_max: the oldest is forgotten in 61 ms; \
          submissions without an idempotency key go on
        submit ann at 50 once k1
        > made e2
        submit bob at 110 once k2
        > made e3
        submit cid at 110 once k3
        > 2 idempotency keys are remembered of pool \"duel\", which is idempotency_max: the oldest is forgotten in 1 ms; \
          submissions without an idempotency key go on
        submit cid at 111 once k3
        > x4 arrival
        submit bob at 111 once k2
        > made e3
        ",
    );
}

/// Two pools of one owner, and two of others, each with a quota of 8; an owner may have 8.
fn four_pools() -> (Ledger, u64) {
    let limits =
        LedgerLimits { waiting_max: 99, waiting_total_max: 99, idempotency_max: 8, idempotency_total_max: 8, ..LIMITS };
    let mut ledger = Ledger::new(limits, 1);
    for (number, name) in (0..).zip(["p0", "p1", "other.a", "third.a"]) {
        let definition = Arc::new(PoolDefinition { name: name.to_owned(), ..PoolDefinition::clone(&pool()) });
        let kind = EventKind::PoolDefined { pool: PoolId(number), definition };
        ledger.record(EventId(u64::from(number) + 1), 0, &kind, None).unwrap();
    }
    (ledger, 4)
}

/// Submits with keys of their own until one is refused. How many went in, and why it was refused.
fn submit_keys(ledger: &mut Ledger, x: &mut u64, pool: &str) -> (usize, String) {
    for number in 0.. {
        let key = format!("k{number}");
        let answer = submit(ledger, x, &[&key, "once", &key, "pool", pool]);
        if answer != [format!("x{x} arrival")] {
            return (number, answer.concat());
        }
    }
    unreachable!("a quota ends it")
}

#[test]
fn an_owner_that_uses_up_its_quota_of_keys_with_many_pools_leaves_half_to_the_next() {
    let (mut ledger, mut x) = four_pools();
    for number in 0..3 {
        let key = format!("k{number}");
        assert_eq!(submit(&mut ledger, &mut x, &[&key, "once", &key, "pool", "p0"]), [format!("x{x} arrival")]);
    }
    let (more, full) = submit_keys(&mut ledger, &mut x, "p1");
    assert_eq!(more, 5, "8 of one owner");
    assert_eq!(
        full,
        "pools whose names begin with \"p\" have their share of the idempotency keys that are remembered; \
         idempotency_total_max is 8: the oldest is forgotten in 101 ms; submissions without an idempotency key go on"
    );
    assert_eq!(submit_keys(&mut ledger, &mut x, "other.a").0, 4);
    assert_eq!(submit_keys(&mut ledger, &mut x, "third.a").0, 2);
    assert_eq!(submit(&mut ledger, &mut x, &["k0", "once", "k0", "pool", "p0"]), ["made e5"], "a retry goes on");
    assert_eq!(submit(&mut ledger, &mut x, &["k9", "pool", "p1"]), [format!("x{x} arrival")], "so does what has none");
    assert_eq!(ledger.idempotency_keys(PoolId(1)), (5, 14));
}

#[test]
fn empty_pools_take_no_idempotency_keys_from_those_that_need_them() {
    let (mut ledger, mut x) = four_pools();
    for number in 4..604 {
        let name = format!("greedy{number}");
        let definition = Arc::new(PoolDefinition { name, ..PoolDefinition::clone(&pool()) });
        x += 1;
        ledger.record(EventId(x), 0, &EventKind::PoolDefined { pool: PoolId(number), definition }, None).unwrap();
    }
    assert_eq!(submit_keys(&mut ledger, &mut x, "greedy4").0, 8);
    assert_eq!(submit_keys(&mut ledger, &mut x, "other.a").0, 4);
}

#[test]
fn what_a_smaller_quota_finds_there_stays_for_its_time() {
    let (mut large, mut x) = four_pools();
    let keys: Vec<String> = (0..4).map(|number| format!("k{number}")).collect();
    for key in &keys {
        submit(&mut large, &mut x, &[key, "once", key, "pool", "p0"]);
    }
    let mut small = Ledger::new(LedgerLimits { waiting_max: 99, waiting_total_max: 99, ..LIMITS }, 1);
    let definition = Arc::new(PoolDefinition { name: "p0".to_owned(), ..PoolDefinition::clone(&pool()) });
    small.record(EventId(1), 0, &EventKind::PoolDefined { pool: PoolId(0), definition }, None).unwrap();
    let mut x = 1;
    for key in &keys {
        let row = Arc::new(Row::from_named(&Schema::default(), []).unwrap());
        let client = ClientPart {
            key: key.as_str().into(),
            payload: vec![].into(),
            ttl_ms: 0,
            idempotency_key: key.as_str().into(),
            owner: "".into(),
        };
        record(&mut small, &mut x, 0, &EventKind::Arrival { pool: PoolId(0), row }, Some(client));
    }
    for (key, number) in keys.iter().zip(2..) {
        assert_eq!(
            submit(&mut small, &mut x, &[key, "at", "100", "once", key, "pool", "p0"]),
            [format!("made e{number}")]
        );
    }
    assert_eq!(small.idempotency_keys(PoolId(0)), (4, 4));
    submit(&mut small, &mut x, &["late", "at", "101", "pool", "p0"]);
    assert_eq!(small.idempotency_keys(PoolId(0)), (0, 0));
}

#[test]
fn ended_elements_are_remembered_up_to_a_bound() {
    check(
        1,
        "
        submit ann
        > x2 arrival
        withdraw e2 0
        > x3 withdrawal of e2, Client
        submit bob
        > x4 arrival
        submit cid
        > x5 arrival
        retired x3 e2
        retired x5 e5 e4
        decided g0 x5
        > x3 at 0: ann Client
        > x5 at 0: cid with bob
        status e2
        > unknown
        status e4
        > ended by x5
        status e5
        > ended by x5
        ",
    );
}

/// R2: what waited at the cut comes with it, decided since or not; who was dead at it and is named above is left out.
#[test]
fn the_cut_has_what_waited_at_it_and_leaves_out_who_did_not() {
    check(
        1,
        "
        submit ann
        > x2 arrival
        submit bob
        > x3 arrival
        submit cid
        > x4 arrival
        due 11
        > x5 reprobe of e2
        > x6 reprobe of e3
        > x7 reprobe of e4
        retired x3 e3 e2
        decided g0 x4
        > x3 at 0: bob with ann
        cut
        > x0 waiting [] left out []
        stored x3
        cut
        > x3 waiting [] left out [e2 e3]
        stored x4
        withdraw e4 20
        > x8 withdrawal of e4, Client
        retired x8 e4
        decided g0 x8
        > x8 at 20: cid Client
        cut
        > x4 waiting [e4] left out [e2 e3]
        stored x8
        cut
        > x8 waiting [] left out []
        ",
    );
}

#[test]
fn what_the_store_has_is_decided_and_stable_after_a_restart() {
    check(
        2,
        "
        submit ann
        > x2 arrival
        submit bob
        > x3 arrival
        submit cid
        > x4 arrival
        restore x3 x3 e3 e2
        status e2
        > ended by x3
        cut
        > x3 waiting [] left out []
        retired x3 e3 e2
        decided g0 x4
        decided g1 x4
        find cid
        > e4
        ",
    );
}

#[test]
#[should_panic(expected = "x1 is recorded after x1")]
fn an_event_is_recorded_once() {
    let mut ledger = Ledger::new(LIMITS, 1);
    let kind = EventKind::PoolDefined { pool: PoolId(0), definition: pool() };
    ledger.record(EventId(1), 0, &kind, None).unwrap();
    let row = Arc::new(Row::new(&Schema::new::<dovetail_rule::AttributeType>([]).unwrap(), vec![]).unwrap());
    let _ = ledger.record(EventId(1), 0, &EventKind::Arrival { pool: PoolId(0), row }, None);
}

#[test]
fn a_shard_that_nothing_concerns_is_passed_but_not_by_the_cut() {
    check(
        2,
        "
        frame x0 x1 all
        decided g0 x1
        decided g1 x1
        submit ann
        > x2 arrival
        submit bob
        > x3 arrival
        frame x1 x3 g0 x3
        retired x3 e3 e2
        decided g0 x2
        marks
        > decided x2 stable x0
        decided g0 x3
        > x3 at 0: bob with ann
        stored x3
        marks
        > decided x3 stable x1
        decided g1 x3
        marks
        > decided x3 stable x3
        ",
    );
}

#[test]
fn a_shard_that_is_concerned_is_waited_for() {
    check(
        2,
        "
        frame x0 x1 g0 x1
        submit ann
        > x2 arrival
        frame x1 x2 g1 x2
        decided g0 x1
        marks
        > decided x1 stable x0
        decided g1 x2
        marks
        > decided x2 stable x0
        ",
    );
}

#[test]
fn what_was_not_taken_before_concerns_all() {
    check(
        2,
        "
        submit ann
        > x2 arrival
        submit bob
        > x3 arrival
        frame x2 x3 g0 x3
        decided g0 x3
        marks
        > decided x0 stable x0
        decided g1 x2
        marks
        > decided x3 stable x0
        ",
    );
}

/// Pairs an element that arrives now with one that waits, up to the stable cut.
fn pair(ledger: &mut Ledger, x: u64, anchor: u64) {
    ledger.record(EventId(x), 0, &arrival(), Some(client(x))).unwrap();
    let anchor = Some(ElementId(anchor));
    ledger.on_retirements(&[dovetail_core::Retirement { x: EventId(x), element: ElementId(x), anchor }]).unwrap();
    ledger.on_decided(ShardId(0), Decided(EventId(x)), &mut Vec::<Outcome>::new()).unwrap();
    ledger.on_stored(EventId(x));
}

#[test]
fn a_cut_that_is_read_in_parts_is_the_one_that_was_there_when_it_began() {
    for most in [1, 2, 7, 1000] {
        let mut ledger = Ledger::new(LIMITS, 1);
        ledger.record(EventId(1), 0, &defined(), None).unwrap();
        (2..=100).for_each(|x| ledger.record(EventId(x), 0, &arrival(), Some(client(x))).unwrap());
        ledger.on_decided(ShardId(0), Decided(EventId(100)), &mut Vec::<Outcome>::new()).unwrap();
        ledger.on_stored(EventId(90));
        let expected = format!("{:?}", ledger.cut(|_| true));
        let (mut cut, mut cutting) = ledger.begin_cut();
        assert_eq!(cut.through, EventId(90));
        ledger.keep_for([cutting.through()]);
        // Those that wait end from both sides while the cut is read.
        let (mut x, mut ends) = (100, (2..=90).step_by(3).chain((3..=90).rev().step_by(3)));
        loop {
            let part = ledger.cut_part(&mut cutting, (most, usize::MAX), |_| true).unwrap();
            cut.waiting.extend(part.waiting);
            if part.last {
                break;
            }
            for anchor in ends.by_ref().take(3) {
                x += 1;
                pair(&mut ledger, x, anchor);
            }
        }
        cut.waiting.sort_by_key(|waiting| waiting.element);
        assert_eq!(format!("{cut:?}"), expected, "{most} at a time");
        // What is not needed is not kept.
        let (_, mut late) = ledger.begin_cut();
        ledger.keep_for([]);
        pair(&mut ledger, x + 1, 100);
        assert!(ledger.cut_part(&mut late, (1, usize::MAX), |_| true).is_err());
    }
}
