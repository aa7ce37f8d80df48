//! That an exact plan's filter is taken at its word only where that is as good as a test.

use crate::table::{Hint, Prober, Secret, Table};
use crate::{Row, Rule, Schema, Value, ValueKind};

const NAMES: [(&str, ValueKind); 3] =
    [("region", ValueKind::Int), ("name", ValueKind::String), ("skill", ValueKind::Int)];

fn row(region: i64, name: &str, skill: Option<i64>) -> Row {
    Row::from_values([Some(Value::Int(region)), Some(Value::from(name)), skill.map(Value::Int)])
}

/// Who is first for a prober, in a table of these rows with ids from 1 on, all of them with one hash.
fn check(rule: &str, waiting: &[Row], prober: &Row, expected: Option<u64>) {
    let schema = Schema::new(NAMES.map(|(name, kind)| (name.to_owned(), kind))).unwrap();
    let rule = Rule::compile(rule, &schema).unwrap();
    let mut table = Table::new(&rule, &schema, Secret([1, 2]));
    assert!(table.held.shape.exact.is_some(), "{} is exact", rule.source());
    for (id, row) in (1..).zip(waiting) {
        table.insert(id, row, 0, Some(7));
    }
    let prober =
        Prober { id: 1_000, row: prober, arrived_ms: 0, key: Some(7), before: u64::MAX, hint: Hint::default() };
    let mut errors = 0;
    let first = table.first(&prober, 0, &mut errors).map(|slot| table.id(slot));
    let mut all = Vec::new();
    table.search(&prober, 0, usize::MAX, &mut errors, &mut all);
    assert_eq!((first, errors), (expected, 0), "{}", rule.source());
    assert_eq!(all.first().map(|&slot| table.id(slot)), expected, "{}", rule.source());
}

const BAND: &str = "a.region == b.region && a.name == b.name && abs(a.skill - b.skill) <= 25";

#[test]
fn keys_of_one_hash_are_told_apart_by_their_values() {
    let waiting: Vec<Row> = (0..40).map(|n| row(n % 2, "eu", Some(100))).collect();
    check(BAND, &waiting, &row(1, "eu", Some(90)), Some(2));
    check(BAND, &waiting, &row(2, "eu", Some(90)), None);
    check(BAND, &waiting, &row(1, "us", Some(90)), None);
    // And where all who wait agree, but not with the prober.
    check(BAND, &waiting.iter().step_by(2).cloned().collect::<Vec<_>>(), &row(1, "eu", Some(90)), None);
}

#[test]
fn values_that_no_cell_holds_are_tested() {
    let far = 1 << 40;
    let waiting: Vec<Row> = (0..40).map(|n| row(1, "eu", Some(if n < 20 { far } else { 100 }))).collect();
    check(BAND, &waiting, &row(1, "eu", Some(90)), Some(21));
    check(BAND, &waiting, &row(1, "eu", Some(far + 25)), Some(1));
    check(BAND, &waiting, &row(1, "eu", Some(far + 26)), None);
    check(BAND, &waiting, &row(1, "eu", None), None);
    let missing: Vec<Row> = (0..40).map(|n| row(1, "eu", (n == 30).then_some(5))).collect();
    check(BAND, &missing, &row(1, "eu", Some(0)), Some(31));
    check("a.skill != b.skill", &missing, &row(1, "eu", Some(0)), Some(31));
    check("a.name != b.name", &missing, &row(1, "eu", Some(0)), None);
    check("a.name != b.name", &missing, &row(1, "us", Some(0)), Some(1));
    check("true", &missing, &row(1, "us", None), Some(1));
}
