//! What a table holds, and that it gives it back.

use super::model::{Random, row};
use super::shapes::{CASES, Case, schema};
use crate::table::{Secret, Table};
use crate::{Row, Rule};

fn table(case: &Case) -> Table {
    let schema = schema();
    Table::with_shape(&Rule::compile(case.rule, &schema).unwrap(), &schema, Secret([1, 2]), (case.shape)())
}

fn insert(table: &mut Table, random: &mut Random, id: u64) -> Row {
    let row = row(random);
    let key = table.held.shape.keyed.then(|| random.below(1 << 32) % 50 * 0x9E37_79B9);
    table.insert(id, &row, id, key);
    row
}

#[test]
fn churn_does_not_grow_a_table() {
    for case in &CASES {
        let (mut table, mut random) = (table(case), Random(0x5EED));
        let mut settled = 0;
        for id in 1..=30_000u64 {
            insert(&mut table, &mut random, id);
            // Whoever goes is not the oldest: dead lanes are everywhere.
            if id > 300 {
                let nth = random.below(300) as usize;
                let victim = table.ids().nth(nth).unwrap();
                table.remove(table.find(victim).unwrap());
            }
            if id == 5_000 {
                settled = table.bytes();
            }
        }
        assert!(table.bytes() < settled + settled / 2, "{}: {} after {settled}", case.rule, table.bytes());
    }
}

#[test]
fn a_peak_is_given_back() {
    for case in &CASES {
        let (mut table, mut random) = (table(case), Random(0x5EED));
        for id in 1..=20_000 {
            insert(&mut table, &mut random, id);
        }
        let peak = table.bytes();
        for id in (1..=20_000).filter(|id| id % 200 != 0) {
            table.remove(table.find(id).unwrap());
        }
        for id in 20_001..=20_010 {
            insert(&mut table, &mut random, id);
        }
        assert_eq!(table.len(), 110);
        assert!(table.bytes() < peak / 20, "{}: {} of {peak}", case.rule, table.bytes());
    }
}

#[test]
fn strings_go_with_their_last_element() {
    let (mut table, mut random) = (table(&CASES[3]), Random(0x5EED));
    let rows: Vec<Row> = (1..=500).map(|id| insert(&mut table, &mut random, id)).collect();
    assert!(table.held.slab.strings.len() > 6);
    for (id, row) in (1..).zip(rows) {
        let slot = table.find(id).unwrap();
        assert_eq!(table.row(slot), row);
        table.remove(slot);
    }
    assert_eq!(table.held.slab.strings.len(), 0);
    assert!(table.is_empty());
}
