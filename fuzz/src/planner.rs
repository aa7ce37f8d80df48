//! The body of the target `planner`: rules as people write them, on rows that often match, and what must be so of all
//! pairs, of their plans, and of tables that are searched by these.
//!
//! Input: a byte that says whether a rule is generated or written; the decisions of the generator, or a text up to
//! 0xff; rows.

use dovetail_rule::table::{Hint, Prober, Secret, Table};
use dovetail_rule::{Row, Rule, Schema, Side, Verdict};

use super::bytes::Bytes;
use super::{generate, parser, steps};

/// Returns whether the rule was accepted.
pub fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let schema = Bytes(&[]).schema();
    let (source, exchanged) = match bytes.byte() {
        0..128 => {
            let (source, exchanged) = generate::rule(&mut bytes);
            (source, Some(exchanged))
        }
        _ => (bytes.text(), None),
    };
    let rule = match Rule::compile(&source, &schema) {
        Ok(rule) => rule,
        Err(error) => {
            parser::check_refusal(&source, &error);
            return false;
        }
    };
    parser::check_print(&rule, &schema);
    let exchanged = exchanged.map(|source| Rule::compile(&source, &schema).expect("names make no difference"));
    let negated = Rule::compile(&format!("!({source}\n)"), &schema).ok();

    let rows: Vec<Row> = (0..2 + bytes.below(3)).map(|_| bytes.row(&schema)).collect();
    let waited: Vec<i64> = rows.iter().map(|_| i64::from(bytes.byte()) * 250).collect();
    let sides = || rows.iter().zip(&waited).map(|(row, waited)| Side { row, waited_ms: *waited });
    for a in sides() {
        for b in sides() {
            let answer = steps::check(&rule, a, b);
            if let Some(negated) = &negated {
                parser::check_negation(answer, steps::check(negated, a, b), &source);
            }
            if let Some(exchanged) = &exchanged {
                assert_eq!(steps::check(exchanged, b, a), answer, "exchanged: {source:?}\n{a:?}\n{b:?}");
            }
        }
    }
    check_plan(&rule, &schema, &sides().collect::<Vec<_>>());
    true
}

/// A plan says the same twice; its conjuncts together say what the rule does; elements that it tells apart by their
/// keys do not match, nor does the rule fail on them; and a table that is searched by it finds what testing one by one
/// finds.
fn check_plan(rule: &Rule, schema: &Schema, sides: &[Side<'_>]) {
    let plan = rule.plan();
    let again = Rule::compile(rule.source(), schema).expect("it compiled before");
    assert_eq!(plan.to_string(), again.plan().to_string(), "{:?}", rule.source());
    for a in sides {
        for b in sides {
            let answer = rule.test(*a, *b);
            let verdicts: Vec<Verdict> = plan.conjuncts().iter().map(|conjunct| conjunct.verdict(*a, *b)).collect();
            let fails = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Fails | Verdict::Missing));
            let errs = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Error(_)));
            let expected = (!fails && !errs, !fails && errs);
            assert_eq!((answer == Ok(true), answer.is_err()), expected, "{:?}\n{a:?}\n{b:?}\n{plan}", rule.source());
            let keys = [a, b].map(|side| plan.key_hash(side.row));
            let apart = keys[0].is_none() || keys[0] != keys[1];
            assert!(!apart || answer == Ok(false), "{:?}\n{a:?}\n{b:?}\n{plan}", rule.source());
        }
    }
    check_table(rule, schema, sides);
}

/// Every element waits three times, so that those of one key are more than a chain.
fn check_table(rule: &Rule, schema: &Schema, sides: &[Side<'_>]) {
    const TIME_MS: u64 = 1 << 40;
    let arrived_ms = |side: &Side<'_>| TIME_MS - side.waited_ms.unsigned_abs();
    const SECRET: Secret = Secret([1, 2]);
    let key = |side: &Side<'_>| rule.plan().bucket_hash(side.row, SECRET);
    let mut table = Table::new(rule, schema, SECRET);
    let waiting: Vec<&Side<'_>> = sides.iter().chain(sides).chain(sides).collect();
    for (side, id) in waiting.iter().zip(0..) {
        table.insert(id, side.row, arrived_ms(side), key(side));
    }
    // Whoever searches waits already, but for the last.
    for (side, id) in waiting.iter().zip(0..).chain([(&waiting[0], 1000)]) {
        let (mut found, mut errors) = (Vec::new(), 0);
        for (other, anchor) in waiting.iter().zip(0..).filter(|&(_, anchor)| anchor != id) {
            let [a, b] = if anchor < id { [other, side] } else { [side, other] };
            match rule.test(**a, **b) {
                Ok(true) => found.push(anchor),
                Ok(false) => {}
                Err(_) => errors += 1,
            }
        }
        let prober = Prober {
            id,
            row: side.row,
            arrived_ms: arrived_ms(side),
            key: key(side),
            before: u64::MAX,
            hint: Hint::default(),
        };
        let (mut slots, mut counted) = (Vec::new(), 0);
        table.search(&prober, TIME_MS, usize::MAX, &mut counted, &mut slots);
        let ids: Vec<u64> = slots.iter().map(|&slot| table.id(slot)).collect();
        assert_eq!((ids, counted), (found, errors), "{:?}: {id} of {waiting:?}\n{}", rule.source(), rule.plan());
    }
}
