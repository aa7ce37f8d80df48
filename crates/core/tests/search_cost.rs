//! How much one search may cost, and by what: the rule's cost on the longest values that wait, times who may have to be
//! tested.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use dovetail_core::{
    Decided, ElementId, EventId, EventKind, PoolDefinition, PoolId, Retirement, ShardId,
    batch::KeySecret,
    ledger::{Admission, Ledger, LedgerLimits, Submission},
};
use dovetail_rule::{AttributeType, Row, Value, ValueKind};

const POOL: PoolId = PoolId(0);

fn limits(search_cost_max: u64, slices: u32) -> LedgerLimits {
    LedgerLimits {
        waiting_max: 1_000_000,
        waiting_total_max: 1_000_000,
        waiting_bytes_max: u64::MAX,
        waiting_bytes_total_max: u64::MAX,
        element_bytes_max: 65_536,
        payload_bytes_max: 4,
        ended_max: 100,
        idempotency_ms: 1_000,
        idempotency_max: 100,
        idempotency_total_max: 100,
        search_cost_max,
        slices,
        key_secret: KeySecret([1, 2]),
    }
}

struct Pool {
    ledger: Ledger,
    x: u64,
}

impl Pool {
    fn new(rule: &str, limits: LedgerLimits) -> Pool {
        let attributes = [("s", ValueKind::String), ("t", ValueKind::String), ("k", ValueKind::Int)];
        let definition = PoolDefinition {
            name: "texts".to_owned(),
            attributes: attributes.map(|(name, kind)| (name.to_owned(), AttributeType::from(kind))).into(),
            rule: rule.to_owned(),
            ttl_ms: 0,
            reprobe_ms: vec![],
            waiting_max: 0,
            payload_bytes_max: 0,
        };
        let mut ledger = Ledger::new(limits, 1);
        let kind = EventKind::PoolDefined { pool: POOL, definition: Arc::new(definition) };
        ledger.record(EventId(1), 0, &kind, None).unwrap();
        let mut pool = Pool { ledger, x: 1 };
        pool.decide(&[]);
        pool
    }

    /// Submits an element with texts of that length and a key; its refusal, if it is refused.
    fn submit(&mut self, bytes: usize, k: i64) -> Option<String> {
        let text = || Value::from("x".repeat(bytes).as_str());
        let attributes = [("s", text()), ("t", text()), ("k", k.into())];
        let submission = Submission {
            key: format!("e{}", self.x),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Submission::default()
        };
        match self.ledger.admit(0, "texts", submission, self.ledger.recorded()) {
            Ok(Admission::New { pool, row, client }) => {
                self.x += 1;
                self.ledger.record(EventId(self.x), 0, &EventKind::Arrival { pool, row }, Some(client)).unwrap();
                self.decide(&[]);
                None
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Some(error.to_string()),
        }
    }

    /// How many of these are let in until one is refused.
    fn fill(&mut self, bytes: usize, k: i64, most: usize) -> usize {
        (0..most).take_while(|_| self.submit(bytes, k).is_none()).count()
    }

    /// Everything is decided; these elements were withdrawn.
    fn decide(&mut self, ended: &[u64]) {
        for &element in ended {
            let element = ElementId(element);
            let reason = dovetail_core::WithdrawReason::Client;
            self.x += 1;
            let kind = EventKind::Withdrawal { element, pool: POOL, reason };
            self.ledger.record(EventId(self.x), 0, &kind, None).unwrap();
            self.ledger.on_retirements(&[Retirement { x: EventId(self.x), element, anchor: None }]).unwrap();
        }
        self.ledger.on_decided(ShardId(0), Decided(EventId(self.x)), &mut ()).unwrap();
    }

    fn cost(&self, k: i64) -> u64 {
        self.ledger.search_cost(POOL, || Row::from_values([None, None, Some(Value::Int(k))]))
    }
}

const CONTAINS: &str = "a.s.contains(b.t) || b.s.contains(a.t)";

#[test]
fn so_many_wait_as_one_search_may_test() {
    // Texts of 20 bytes cost 20 units, twice; the operators 7 more.
    let mut pool = Pool::new(CONTAINS, limits(4_700, 1));
    assert_eq!(pool.fill(20, 0, 1_000), 101, "the last one searches among 100");
    let refused = "pool \"texts\": one search tests up to 101 elements in a slice, and its rule costs up to 47 units on what waits: \
                   that is more than 4700, which is search_cost_max; fewer or shorter elements may wait, or a rule that costs less";
    assert_eq!(pool.submit(20, 0).as_deref(), Some(refused));
    assert_eq!(pool.ledger.search_bound(POOL), Some((47, 100)));
    pool.decide(&[2, 3]);
    assert_eq!(pool.fill(20, 0, 1_000), 2, "who left makes room");
}

#[test]
fn slices_share_who_waits_where_there_is_no_key() {
    assert_eq!(Pool::new(CONTAINS, limits(4_700, 3)).fill(20, 0, 1_000), 301);
}

#[test]
fn longer_texts_leave_room_for_fewer_until_the_pool_is_empty() {
    let mut pool = Pool::new(CONTAINS, limits(4_700, 1));
    assert_eq!(pool.fill(20, 0, 10), 10);
    assert_eq!(pool.fill(256, 0, 1_000), 0, "among ten, a search for the longest would cost 5,190");
    assert_eq!(pool.fill(200, 0, 1_000), 2);
    assert!(pool.submit(20, 0).is_some(), "who is short would be tested with who is long");
    pool.decide(&(2..14).collect::<Vec<_>>());
    assert_eq!(pool.fill(20, 0, 1_000), 101);
}

#[test]
fn elements_of_other_keys_do_not_count() {
    let mut pool = Pool::new(&format!("a.k == b.k && ({CONTAINS})"), limits(5_100, 6));
    let of = |pool: &mut Pool, k| pool.fill(20, k, 1_000);
    assert_eq!([of(&mut pool, 1), of(&mut pool, 2)], [101, 101]);
    pool.decide(&[2]);
    assert_eq!([of(&mut pool, 2), of(&mut pool, 1)], [0, 1]);
    assert_eq!((pool.cost(1), pool.cost(2), pool.cost(3)), (5_151, 5_151, 0));
}

#[test]
fn what_is_found_without_testing_is_never_refused() {
    for rule in ["true", "a.k == b.k", "a.s == b.s", "abs(a.k - b.k) <= 5"] {
        let mut pool = Pool::new(rule, limits(2_000, 1));
        assert_eq!(pool.fill(256, 7, 1_500), 1_500, "{rule}");
    }
}
