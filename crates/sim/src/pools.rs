//! Pools and elements: rules from sparse to all-match, through the real rule compiler.

use dovetail_core::PoolDefinition;
use dovetail_rule::{AttributeType, Value};

use crate::rng::Rng;

/// A pool, and how its elements are drawn.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// What the client defines.
    pub definition: PoolDefinition,
    /// How often an element lacks an attribute, in a thousand.
    pub missing_permille: u64,
    /// Values are below this.
    pub spread: u64,
}

/// One to three pools.
pub fn draw_pools(rng: &mut Rng) -> Vec<PoolPlan> {
    let pools = rng.pick(&[1, 1, 1, 2, 3]);
    (0..pools).map(|number| draw_pool(rng, number)).collect()
}

fn draw_pool(rng: &mut Rng, number: u64) -> PoolPlan {
    let attributes = [
        ("hash", AttributeType::Int),
        ("skill", AttributeType::Int),
        ("share", AttributeType::Double),
        ("role", AttributeType::String),
        ("open", AttributeType::Bool),
    ];
    let definition = PoolDefinition {
        name: format!("pool{number}"),
        attributes: attributes.map(|(name, kind)| (name.to_owned(), kind)).into(),
        rule: draw_rule(rng),
        ttl_ms: rng.pick(&[0, 0, 0, 300, 2000]),
        reprobe_ms: draw_schedule(rng),
        waiting_max: 0,
        payload_bytes_max: 0,
    };
    PoolPlan { definition, missing_permille: rng.pick(&[0, 0, 50]), spread: rng.pick(&[10, 100, 1000]) }
}

/// When elements search again, in milliseconds after their arrival.
fn draw_schedule(rng: &mut Rng) -> Vec<u64> {
    let steps: &[u64] = rng.pick(&[&[], &[], &[20, 40, 80], &[100], &[5, 10, 15, 20, 25, 200], &[50, 500, 1500]]);
    steps.to_vec()
}

fn draw_rule(rng: &mut Rng) -> String {
    // Of a hundred thousand pairs this many match, by a hash of both.
    let density = rng.pick(&[500, 2_000, 10_000, 30_000, 50_000, 80_000]);
    let hashed = format!("(a.hash * 7919 + b.hash * 104729) % 100000 < {density}");
    let width = rng.pick(&[0, 1, 5, 20, 100]);
    // A third are split by key: few keys or many, plain or mirrored, alone or with all else a rule can say.
    let key = match rng.below(18) {
        0 | 1 => "a.role == b.role && ",
        2 => "a.skill == b.skill && ",
        3 => "a.open == b.open && a.role == b.role && ",
        4 => "a.share == b.share && ",
        5 => "a.skill == b.hash && a.hash == b.skill && ",
        _ => "",
    };
    format!("{key}({})", draw_rest(rng, density, width, &hashed))
}

fn draw_rest(rng: &mut Rng, density: u64, width: u64, hashed: &str) -> String {
    match rng.below(10) {
        // Half of them settled by one slice; the others as dense, but split by index.
        0 if density < 30_000 => "true".to_owned(),
        0 => "a.hash >= 0".to_owned(),
        1..4 => hashed.to_owned(),
        4 => format!("abs(a.skill - b.skill) <= {width}"),
        5 => format!("abs(a.skill - b.skill) <= {width} + min(a.waited, b.waited) / 20"),
        6 => format!("a.role != b.role && a.share * b.share < 0.{}", rng.range(1, 9)),
        7 => format!("a.skill < b.skill && {hashed}"),
        8 => format!("(a.hash * 7919 + b.hash * 104729) % 100000 < {density} / 4 + (a.waited + b.waited) * 100"),
        _ => format!("a.open ? a.hash / b.skill % 3 == 1 : max(a.waited, b.waited) >= {width} * 10"),
    }
}

/// Gives some of the pools rules of other kinds, over one more attribute, a list: sets, distances, tolerances, widening
/// without a band, keys of expressions, numbers beyond what columns hold, and errors.
pub fn vary(mut pools: Vec<PoolPlan>, rng: &mut Rng) -> Vec<PoolPlan> {
    for plan in &mut pools {
        if rng.chance(400) {
            plan.definition.attributes.push(("tags".to_owned(), AttributeType::StringList));
            plan.definition.rule = draw_other_rule(rng);
        }
    }
    pools
}

fn draw_other_rule(rng: &mut Rng) -> String {
    let key = match rng.below(14) {
        0 => "a.tags == b.tags && ",
        1 => "(a.open ? a.role : 'none') == (b.open ? b.role : 'none') && ",
        2 => "a.skill / 3 == b.skill / 3 && ",
        3 => "a.role == b.role && size(a.tags) == size(b.tags) && ",
        4 => "(a.skill > 5 || a.open) == (b.skill > 5 || b.open) && ",
        _ => "",
    };
    let (few, some) = (rng.below(5), rng.range(1, 300));
    let rest = match rng.below(14) {
        0 => "a.tags.intersects(b.tags)".to_owned(),
        1 => "a.role in b.tags || b.role in a.tags".to_owned(),
        2 => "!a.tags.intersects(b.tags) && a.share < b.share".to_owned(),
        3 => format!("(a.share - b.share) * (a.share - b.share) + (a.skill - b.skill) * (a.skill - b.skill) <= {few}"),
        4 => format!("abs(a.share - b.share) <= 0.00{some} * min(a.waited, b.waited)"),
        5 => "abs(a.skill - b.skill) <= a.hash % 50 && abs(a.skill - b.skill) <= b.hash % 50".to_owned(),
        6 => format!("a.skill != b.skill || min(a.waited, b.waited) > {some}"),
        7 => format!("abs(a.hash * 5000 - b.hash * 5000) <= {some} * 1000000"),
        8 => format!("a.hash / b.skill > {some} * 100 && b.hash / a.skill > {some}"),
        9 => format!("b.skill in [a.skill + {few}, a.hash % 100, {few}]"),
        10 => format!("2 * abs(a.share - b.share) + abs(a.skill - b.skill) / 10.0 < 0.{some}"),
        11 => format!("max(a.waited, b.waited) < {some} ? a.role == b.role : a.role != b.role && a.tags != b.tags"),
        12 => format!("!has(a.share) || !has(b.share) || a.share * b.share > 0.{some}"),
        _ => format!("size(a.tags) + size(b.tags) > {few} && 'tank' in a.tags"),
    };
    format!("{key}({rest})")
}

/// The attributes of an element.
pub fn draw_attributes(plan: &PoolPlan, rng: &mut Rng) -> Vec<(String, Value)> {
    let int = |bound: u64, rng: &mut Rng| i64::try_from(rng.below(bound)).expect("a small number");
    let skill = int(plan.spread, rng);
    let share = f64::from(u32::try_from(rng.below(1000)).expect("below 1000")) / 1000.0;
    let hash = int(1_000_000, rng);
    let values = [
        ("hash", Value::Int(hash)),
        ("skill", Value::Int(skill)),
        ("share", Value::Double(share)),
        ("role", Value::from(rng.pick(&["tank", "healer", "scout"]))),
        ("open", Value::Bool(rng.chance(500))),
    ];
    // What the dice say of the others does not depend on whether there are tags.
    let tags = plan.definition.attributes.iter().any(|(name, _)| name == "tags").then(|| ("tags", tags_of(hash)));
    let kept = values.into_iter().filter(|_| !rng.chance(plan.missing_permille)).chain(tags);
    kept.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Some of a few words, and now and then one of many.
fn tags_of(hash: i64) -> Value {
    let words = ["tank", "healer", "scout", "night"].into_iter().zip(0..);
    let mut tags: Vec<String> =
        words.filter(|(_, bit)| hash >> bit & 1 == 1).map(|(word, _)| word.to_owned()).collect();
    if hash % 3 == 0 {
        tags.push(format!("guild{}", hash % 100));
    }
    Value::StringList(tags.into_iter().map(String::into_boxed_str).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dovetail_core::{Pool, PoolId};

    use super::*;

    #[test]
    fn every_rule_that_can_be_drawn_compiles() {
        for seed in 0..500 {
            for plan in draw_pools(&mut Rng::new(seed)) {
                let rule = plan.definition.rule.clone();
                Pool::compile(PoolId(0), Arc::new(plan.definition)).unwrap_or_else(|error| panic!("{rule}: {error}"));
            }
        }
    }
}
