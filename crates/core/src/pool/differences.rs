//! In what two definitions of a pool differ, once both have been compiled.

use std::fmt;

use dovetail_rule::{Schema, format_duration};

use super::Pool;

/// Most differences that are shown.
const SHOWN_MAX: usize = 6;
/// Most characters shown of a value.
const CHARS_MAX: usize = 240;
/// Characters shown of a long value before the first that differs.
const CHARS_BEFORE: usize = 40;

/// One way in which a definition differs from that of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs: `rule`, `ttl`, `attribute "skill"`.
    pub field: String,
    /// What the pool has.
    pub defined: String,
    /// What was given.
    pub given: String,
}

/// The bounds of a pool that sets none of its own.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Most elements waiting.
    pub waiting_max: u64,
    /// Largest payload, in bytes.
    pub payload_bytes_max: u64,
}

/// Prints as `rule is defined as a.x == b.x, and given as a.x != b.x; ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differences(pub Vec<Difference>);

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Difference { field, defined, given }) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let (defined, given) = window(defined, given);
            write!(f, "{}{field} is defined as {defined}, and given as {given}", if index > 0 { "; " } else { "" })?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl Pool {
    /// In what another definition differs. Neither how a rule is laid out nor the order of attributes is a difference,
    /// nor is a default that is written out.
    #[must_use]
    pub fn differences(&self, other: &Pool, defaults: Defaults) -> Differences {
        let mut found = attributes(&self.schema, &other.schema);
        let mut differ = |field: &str, defined: String, given: String| {
            if defined != given {
                found.push(Difference { field: field.to_owned(), defined, given });
            }
        };
        let (own, others) = (&self.definition, &other.definition);
        differ("rule", self.rule.expr().to_string(), other.rule.expr().to_string());
        differ("ttl", time(own.ttl_ms), time(others.ttl_ms));
        differ("reprobe", times(&own.reprobe_ms), times(&others.reprobe_ms));
        let bound = |own: u64, default: u64| if own == 0 { default } else { own }.to_string();
        let [waiting, given] = [own, others].map(|one| bound(one.waiting_max, defaults.waiting_max));
        differ("waiting_max", waiting, given);
        let [payload, given] = [own, others].map(|one| bound(one.payload_bytes_max, defaults.payload_bytes_max));
        differ("payload_bytes_max", payload, given);
        Differences(found)
    }
}

fn attributes(own: &Schema, others: &Schema) -> Vec<Difference> {
    let declared = |schema: &Schema, name: &str| {
        let index = schema.index_of(name);
        index.map_or("none".to_owned(), |index| schema.attributes()[index].declared.to_string())
    };
    let new = others.attributes().iter().filter(|attribute| own.index_of(&attribute.name).is_none());
    let names = own.attributes().iter().chain(new).map(|attribute| &attribute.name);
    let both = names.map(|name| (name, declared(own, name), declared(others, name)));
    both.filter(|(_, defined, given)| defined != given)
        .map(|(name, defined, given)| Difference { field: format!("attribute {name:?}"), defined, given })
        .collect()
}

fn time(ms: u64) -> String {
    match ms {
        0 => "none".to_owned(),
        ms => format_duration(i64::try_from(ms).unwrap_or(i64::MAX)),
    }
}

fn times(all: &[u64]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.iter().map(|&ms| time(ms)).collect::<Vec<_>>().join(",") }
}

/// The two around the first place where they differ, if they are long.
fn window(defined: &str, given: &str) -> (String, String) {
    let same = defined.chars().zip(given.chars()).take_while(|(one, other)| one == other).count();
    let long = defined.chars().count().max(given.chars().count()) > CHARS_MAX;
    let from = if long { same.saturating_sub(CHARS_BEFORE) } else { 0 };
    let cut = |text: &str| {
        let mut rest = text.chars().skip(from);
        let shown: String = rest.by_ref().take(CHARS_MAX).collect();
        let (before, after) = (if from > 0 { "..." } else { "" }, if rest.next().is_some() { "..." } else { "" });
        format!("{before}{shown}{after}")
    };
    (cut(defined), cut(given))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dovetail_rule::AttributeType;

    use super::*;
    use crate::{PoolDefinition, PoolId};

    const DEFAULTS: Defaults = Defaults { waiting_max: 1_000, payload_bytes_max: 100 };

    fn definition() -> PoolDefinition {
        let attribute = |name: &str, declared| (name.to_owned(), declared);
        PoolDefinition {
            name: "duel".to_owned(),
            attributes: vec![attribute("region", AttributeType::String), attribute("skill", AttributeType::Int)],
            rule: "a.region == b.region && a.skill - b.skill < 5000 && b.skill - a.skill < 5000".to_owned(),
            ttl_ms: 60_000,
            reprobe_ms: vec![],
            waiting_max: 0,
            payload_bytes_max: 0,
        }
    }

    fn check(other: PoolDefinition, expected: &str) {
        let [own, other] = [definition(), other]
            .map(|definition| Pool::compile(PoolId(0), Arc::new(definition)).unwrap_or_else(|error| panic!("{error}")));
        assert_eq!(own.differences(&other, DEFAULTS).to_string(), expected);
    }

    #[test]
    fn layout_order_of_attributes_and_written_defaults_are_no_difference() {
        check(definition(), "");
        let rule = "// as before\n(a.region==b.region)\n  && (a.skill-b.skill) < duration('5s') && (b.skill - a.skill < 0x1388)";
        check(PoolDefinition { rule: rule.to_owned(), ..definition() }, "");
        let attributes = definition().attributes.into_iter().rev().collect();
        check(PoolDefinition { attributes, waiting_max: 1_000, payload_bytes_max: 100, ..definition() }, "");
    }

    #[test]
    fn every_difference_is_told_with_both_values() {
        let timed = definition().attributes.into_iter().chain([("start".to_owned(), AttributeType::Timestamp)]);
        let other = PoolDefinition { attributes: timed.collect(), ttl_ms: 0, ..definition() };
        check(
            other,
            "attribute \"start\" is defined as none, and given as timestamp; ttl is defined as 1m, and given as none",
        );
        let attributes =
            vec![("region".to_owned(), AttributeType::String), ("skill".to_owned(), AttributeType::Duration)];
        let other = PoolDefinition { attributes, reprobe_ms: vec![5_000, 10_500], waiting_max: 7, ..definition() };
        check(
            other,
            "attribute \"skill\" is defined as int, and given as duration; reprobe is defined as none, and given as \
             5s,10s500ms; waiting_max is defined as 1000, and given as 7",
        );
        let other = PoolDefinition { rule: "a.skill == b.skill".to_owned(), payload_bytes_max: 7, ..definition() };
        check(
            other,
            "rule is defined as a.region == b.region && a.skill - b.skill < 5000 && b.skill - a.skill < 5000, and given as \
             a.skill == b.skill; payload_bytes_max is defined as 100, and given as 7",
        );
    }

    #[test]
    fn much_that_differs_is_told_in_few_words() {
        let rule = |last: &str| format!("{}a.skill == {last}", "a.skill == b.skill || ".repeat(40));
        let (one, other) = window(&rule("5"), &rule("6"));
        assert!(one.starts_with("...") && one.ends_with("a.skill == 5") && one.len() < 60, "{one}");
        assert!(other.ends_with("a.skill == 6"), "{other}");
        let many = (0..50).map(|index| Difference {
            field: format!("attribute \"x{index}\""),
            defined: "none".to_owned(),
            given: "int".to_owned(),
        });
        let text = Differences(many.collect()).to_string();
        assert!(text.ends_with("; and 44 more") && text.len() < 1_000, "{text}");
    }
}
