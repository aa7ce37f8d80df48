//! A pool in a TOML file.
//!
//! ```toml
//! name = "duel"
//! rule = 'a.region == b.region && abs(a.skill - b.skill) <= 50'
//! ttl = "60s"
//! reprobe = ["5s", "10s", "20s"]
//!
//! [attributes]
//! region = "string"
//! skill = "int"
//!
//! [limits]
//! waiting_max = 100000
//! payload_bytes_max = 1024
//! ```
//!
//! Attributes are declared in the order of the file. They may also be an array, `[{ name = "region", type = "string"
//! }]`.

use std::fmt;
use std::fs;
use std::path::Path;

use dovetail_rule::AttributeType;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::error::CliError;
use super::{duration, schema};
use dovetail::pb;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolFile {
    name: String,
    rule: String,
    ttl: Option<Duration>,
    #[serde(default)]
    reprobe: Vec<Duration>,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    limits: PoolLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PoolLimits {
    waiting_max: u64,
    payload_bytes_max: u64,
}

/// Reads a pool file.
pub fn read(path: &Path) -> Result<pb::PoolDefinition, CliError> {
    let wrong = |reason: String| CliError::PoolFile { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<pb::PoolDefinition, String> {
    let file: PoolFile = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    Ok(pb::PoolDefinition {
        name: file.name,
        attributes: file.attributes.0.into_iter().map(|(name, kind)| schema::attribute(name, kind)).collect(),
        rule: file.rule,
        ttl_ms: file.ttl.map_or(0, |ttl| ttl.0),
        reprobe_ms: file.reprobe.into_iter().map(|reprobe| reprobe.0).collect(),
        waiting_max: file.limits.waiting_max,
        payload_bytes_max: file.limits.payload_bytes_max,
    })
}

/// In milliseconds.
#[derive(Debug)]
struct Duration(u64);

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration::parse(&text).map(|duration| Duration(duration.as_millis() as u64)).map_err(D::Error::custom)
    }
}

/// In the order of the file.
#[derive(Debug, Default)]
struct Attributes(Vec<(String, AttributeType)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttributeEntry {
    name: String,
    r#type: Kind,
}

struct Kind(AttributeType);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        String::deserialize(deserializer)?.parse().map(Kind).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of names and types, or an array of { name, type }")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Attributes, M::Error> {
                let mut attributes = Vec::new();
                while let Some((name, kind)) = map.next_entry::<String, Kind>()? {
                    attributes.push((name, kind.0));
                }
                Ok(Attributes(attributes))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Attributes, S::Error> {
                let mut attributes = Vec::new();
                while let Some(entry) = list.next_element::<AttributeEntry>()? {
                    attributes.push((entry.name, entry.r#type.0));
                }
                Ok(Attributes(attributes))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dovetail::pb::AttributeType as Type;

    fn names(definition: &pb::PoolDefinition) -> Vec<(&str, Type)> {
        definition.attributes.iter().map(|attribute| (attribute.name.as_str(), attribute.r#type())).collect()
    }

    #[test]
    fn everything_a_pool_can_have_is_read() {
        let text = "name = \"duel\"\nrule = 'true'\nttl = \"60s\"\nreprobe = [\"5s\", \"10s\"]\n\
                    [attributes]\nskill = \"int\"\nregion = \"string\"\nmaps = \"list<string>\"\nx = \"double\"\n\
                    [limits]\nwaiting_max = 10\npayload_bytes_max = 20\n";
        let pool = parse(text).unwrap();
        assert_eq!((pool.name.as_str(), pool.rule.as_str()), ("duel", "true"));
        assert_eq!((pool.ttl_ms, pool.reprobe_ms.as_slice()), (60_000, [5000, 10_000].as_slice()));
        assert_eq!((pool.waiting_max, pool.payload_bytes_max), (10, 20));
        let expected =
            [("skill", Type::Int), ("region", Type::String), ("maps", Type::StringList), ("x", Type::Double)];
        assert_eq!(names(&pool), expected);
    }

    #[test]
    fn attributes_may_be_an_array() {
        let text = "name = \"duel\"\nrule = 'true'\n\
                    attributes = [{ name = \"b\", type = \"bool\" }, { name = \"a\", type = \"list\" }]\n";
        assert_eq!(names(&parse(text).unwrap()), [("b", Type::Bool), ("a", Type::StringList)]);
    }

    #[test]
    fn a_mistake_is_shown_with_its_line() {
        for (text, expected) in [
            ("name = \"duel\"\nrule = 'true'\nttl = \"soon\"\n", "\"soon\" is not a duration"),
            ("name = \"duel\"\nrule = 'true'\nttk = \"5s\"\n", "unknown field `ttk`"),
            (
                "name = \"duel\"\nrule = 'true'\n[attributes]\nskill = \"number\"\n",
                "unknown type \"number\" (did you mean \"double\"?)",
            ),
            ("rule = 'true'\n", "missing field `name`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("line"), "{error}");
        }
    }
}
