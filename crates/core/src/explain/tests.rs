use dovetail_rule::{AttributeType, Row};

use super::*;
use crate::{PoolDefinition, PoolId};

const RULE: &str = "a.region == b.region && a.role != b.role && abs(a.skill - b.skill) <= 50 + a.waited / 100";

fn pool(rule: &str, reprobe_ms: &[u64]) -> Pool {
    let attributes =
        [("region", AttributeType::String), ("role", AttributeType::String), ("skill", AttributeType::Int)];
    let definition = PoolDefinition {
        name: "duel".into(),
        attributes: attributes.map(|(name, kind)| (name.to_owned(), kind)).into(),
        rule: rule.into(),
        ttl_ms: 0,
        reprobe_ms: reprobe_ms.to_vec(),
        waiting_max: 0,
        payload_bytes_max: 0,
    };
    Pool::compile(PoolId(0), Arc::new(definition)).unwrap()
}

fn waits(pool: &Pool, id: u64, region: &str, role: &str, skill: Option<i64>) -> WaitingElement {
    let skill = skill.map(|skill| ("skill".to_owned(), Value::Int(skill)));
    let values = [("region".to_owned(), region.into()), ("role".to_owned(), role.into())].into_iter().chain(skill);
    let row = Arc::new(Row::from_named(&pool.schema, values).unwrap());
    WaitingElement { element: ElementId(id), pool: PoolId(0), arrived_ms: id * 1000, row }
}

/// Explains why `e9`, a tank in eu with skill 1500, waits at 10 seconds.
fn explain(pool: &Pool, others: &[WaitingElement]) -> Explanation {
    let mut explainer = Explainer::new(pool.clone(), waits(pool, 9, "eu", "tank", Some(1500)), 10_000, 3);
    for other in others {
        explainer.look_at(other, &format!("k{}", other.element.0).into());
    }
    explainer.finish()
}

#[test]
fn each_conjunct_counts_those_it_was_the_first_to_turn_away() {
    let pool = pool(RULE, &[]);
    let others = [
        waits(&pool, 1, "us", "tank", Some(1500)),
        waits(&pool, 2, "us", "healer", Some(1500)),
        waits(&pool, 3, "eu", "tank", Some(1500)),
        waits(&pool, 4, "eu", "healer", Some(1700)),
        waits(&pool, 5, "eu", "healer", None),
        waits(&pool, 9, "eu", "tank", Some(1500)),
    ];
    let found = explain(&pool, &others);
    let texts: Vec<String> = pool.rule.plan().conjuncts().iter().map(|conjunct| conjunct.text()).collect();
    let counts = |text: &str| found.conjuncts[texts.iter().position(|known| known.starts_with(text)).unwrap()];
    assert_eq!(found.anchors, 5, "itself does not count");
    assert_eq!(counts("a.region").elements, 2);
    assert_eq!(counts("a.role").elements, 1);
    assert_eq!(counts("abs").elements, 2);
    assert_eq!(counts("abs").missing, 1);
    assert_eq!((found.acceptable, found.rule_errors), (0, 0));
}

#[test]
fn the_nearest_miss_fails_least_and_says_by_how_much() {
    let pool = pool(RULE, &[]);
    let others = [
        waits(&pool, 1, "us", "tank", Some(1500)),
        waits(&pool, 2, "eu", "healer", Some(1900)),
        waits(&pool, 3, "eu", "healer", Some(1271)),
        waits(&pool, 4, "us", "healer", Some(1500)),
        waits(&pool, 5, "eu", "healer", Some(1700)),
    ];
    let found = explain(&pool, &others);
    let nearest: Vec<u64> = found.nearest.iter().map(|miss| miss.element.0).collect();
    assert_eq!(nearest, [5, 3, 2], "one comparison off by the least first; what is off by no number comes last");
    let failed = &found.nearest[0].failed;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].reason, "abs(a.skill - b.skill) is 200, at most 100 is allowed: off by 100");
    assert_eq!(failed[0].off_by, Some(100.0));
}

#[test]
fn a_widening_rule_says_which_search_will_find_the_pair() {
    let pool = pool(RULE, &[5_000, 12_000]);
    // a is e2, which has waited 8 s now. It allows 150 at 12 s (searched by nobody), e2 searches a millisecond after 14
    // s, e9 after 14 s and 21 s.
    let found =
        explain(&pool, &[waits(&pool, 2, "eu", "healer", Some(1660)), waits(&pool, 3, "us", "healer", Some(1))]);
    assert_eq!(found.nearest[0].acceptable_at_ms, Some(14_001));
    assert_eq!(found.nearest[1].acceptable_at_ms, None, "no time makes regions equal");
    assert_eq!(found.prospect, Some(Prospect { at_ms: 14_001, element: ElementId(2), key: "k2".into() }));
}

#[test]
fn a_pair_that_is_acceptable_waits_for_one_of_the_two_to_search() {
    let pool = pool(RULE, &[30_000]);
    let found = explain(&pool, &[waits(&pool, 2, "eu", "healer", Some(1500))]);
    assert_eq!(found.acceptable, 1);
    assert_eq!(found.prospect.unwrap().at_ms, 32_001);
}

#[test]
fn errors_are_counted_and_nobody_is_blamed() {
    let pool = pool("a.skill / (b.skill - 1500) == 1", &[]);
    let found = explain(&pool, &[waits(&pool, 2, "eu", "healer", Some(1500))]);
    assert_eq!((found.rule_errors, found.nearest.len()), (1, 0));
}

#[test]
fn what_arithmetic_has_no_number_for_is_not_called_missing() {
    let attributes = [("x", AttributeType::Double), ("y", AttributeType::Double)];
    let definition = PoolDefinition {
        name: "far".into(),
        attributes: attributes.map(|(name, kind)| (name.to_owned(), kind)).into(),
        rule: "has(a.y) ? abs(a.x - b.x) <= 10.0 : a.x < b.x".into(),
        ttl_ms: 0,
        reprobe_ms: Vec::new(),
        waiting_max: 0,
        payload_bytes_max: 0,
    };
    let pool = Pool::compile(PoolId(0), Arc::new(definition)).unwrap();
    let waits = |id: u64, x: Option<f64>, y: Option<f64>| {
        let values =
            [("x", x), ("y", y)].into_iter().filter_map(|(name, x)| Some((name.to_owned(), Value::Double(x?))));
        let row = Arc::new(Row::from_named(&pool.schema, values).unwrap());
        WaitingElement { element: ElementId(id), pool: PoolId(0), arrived_ms: 0, row }
    };
    let explain = |x: Option<f64>, y: Option<f64>| {
        let mut explainer = Explainer::new(pool.clone(), waits(9, Some(f64::INFINITY), None), 0, 3);
        explainer.look_at(&waits(1, x, y), &"k1".into());
        let found = explainer.finish();
        let missing: u64 = found.conjuncts.iter().map(|one| one.missing).sum();
        let failed = &found.nearest[0].failed[0];
        (failed.reason.rsplit_once(" : a.x < b.x").map_or(failed.reason.clone(), |(_, why)| why.to_owned()), missing)
    };
    // y is missing on one side, and nothing looks at that.
    let infinite = explain(Some(f64::INFINITY), Some(1.0));
    assert_eq!(infinite, (": a.x - b.x is not a number: Infinity - Infinity".to_owned(), 0));
    assert_eq!(explain(None, Some(1.0)), (": an attribute is missing".to_owned(), 1));
    let pool = self::pool("a.skill < b.skill", &[]);
    let found = self::explain(&pool, &[self::waits(&pool, 1, "eu", "tank", Some(1500))]);
    assert_eq!(found.nearest[0].failed[0].off_by, Some(0.0));
}
