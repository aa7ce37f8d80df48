//! An element as a JSON object:
//! `{"key":"p1","attributes":{"region":"eu","skill":1500},"payload":"...","ttl_ms":60000,"idempotency_key":"..."}`.
//!
//! Members come in any order and once; `null` is the same as absent. A key may be a whole number, and is then its
//! digits.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::typed::{self, Written, exact_int, string};
use crate::schema::{PoolSchema, shorten};
use dovetail::pb;

/// How to read elements.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) schema: PoolSchema,
    /// Whether to pass over members and attributes that are unknown.
    pub(super) ignore_unknown: bool,
}

impl Reading {
    /// Reads the text of one element. Errors say the line when it has several, of which the first is `first_line`.
    pub(super) fn element(&self, text: &[u8], first_line: u64) -> Result<pb::Submission, String> {
        let text = std::str::from_utf8(text)
            .map_err(|error| format!("byte {} is not UTF-8; save the file as UTF-8", error.valid_up_to() + 1))?;
        if !text.starts_with('{') {
            return Err(format!("an element is an object, such as {{\"key\":\"p1\"}}, and not {}", shorten(text)));
        }
        let mut refused = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_map(JsonElement { reading: self, refused: &mut refused });
        let read = read.and_then(|element| json.end().map(|()| element));
        match (read, refused) {
            (Ok(element), _) => Ok(element),
            (Err(_), Some(reason)) => Err(reason),
            (Err(error), None) => Err(reason(&error, text, first_line)),
        }
    }
}

/// serde_json's words, with the place in the file.
fn reason(error: &serde_json::Error, text: &str, first_line: u64) -> String {
    let said = error.to_string();
    let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
    let at = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let place = match first_line + error.line() as u64 - 1 {
        line if text.contains('\n') => format!("at line {line}, column {}", error.column()),
        _ => format!("at column {}", error.column()),
    };
    let from = |back: usize| error.column().checked_sub(back).and_then(|start| at.get(start..)).unwrap_or_default();
    let begins = |back: usize| ["NaN", "Infinity", "-Infinity"].iter().any(|name| from(back).starts_with(name));
    let advice = match error.classify() {
        _ if what == "trailing characters" => "; an element is one object, on a line of its own",
        _ if begins(1) || begins(2) => {
            "; JSON has no such number: write \"NaN\", \"Infinity\" or \"-Infinity\", as a string"
        }
        serde_json::error::Category::Eof => {
            "; an element is one line, unless the file begins with a line that is only { or with [, for an array"
        }
        _ => "",
    };
    format!("{what}, {place}{advice}")
}

/// Reads an object's members. What our own words say better than serde's goes to `refused`.
struct JsonElement<'a> {
    reading: &'a Reading,
    refused: &'a mut Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Key,
    Attributes,
    Payload,
    TtlMs,
    IdempotencyKey,
}

const MEMBERS: [(&str, Member); 5] = [
    ("key", Member::Key),
    ("attributes", Member::Attributes),
    ("payload", Member::Payload),
    ("ttl_ms", Member::TtlMs),
    ("idempotency_key", Member::IdempotencyKey),
];

impl<'de> Visitor<'de> for JsonElement<'_> {
    type Value = pb::Submission;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element, which is an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<pb::Submission, M::Error> {
        let JsonElement { reading, refused } = self;
        let mut element = pb::Submission::default();
        let mut seen = [false; MEMBERS.len()];
        let mut has_key = false;
        while let Some(member) = map.next_key_seed(Name(|name: &str| reading.member(name)))? {
            let member = match member {
                Ok(Some(member)) => member,
                Ok(None) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                Err(reason) => return Err(refuse(refused, reason)),
            };
            if std::mem::replace(&mut seen[member as usize], true) {
                let (name, _) = MEMBERS[member as usize];
                return Err(refuse(refused, format!("{name:?} is given twice")));
            }
            if member == Member::Attributes {
                element.attributes = map.next_value_seed(Attributes { reading, refused })?.unwrap_or_default();
                continue;
            }
            // Not Option: serde_json gives a raw null as it is.
            let json = map.next_value::<&RawValue>()?.get();
            if json == "null" {
                continue;
            }
            has_key |= member == Member::Key;
            set(&mut element, member, json).map_err(|reason| refuse(refused, reason))?;
        }
        if has_key { Ok(element) } else { Err(refuse(refused, "there is no \"key\"".to_owned())) }
    }
}

impl Reading {
    /// The member of this name; none for one to pass over.
    fn member(&self, name: &str) -> Result<Option<Member>, String> {
        match MEMBERS.iter().find(|(known, _)| *known == name) {
            Some(&(_, member)) => Ok(Some(member)),
            None if self.ignore_unknown => Ok(None),
            None => {
                let advice = match self.schema.find(name) {
                    Some(_) => "attributes are written inside \"attributes\"",
                    None => "--ignore-unknown passes over others",
                };
                let name = shorten(name);
                Err(format!(
                    "unknown member {name:?}: there are key, attributes, payload, ttl_ms, idempotency_key; {advice}"
                ))
            }
        }
    }
}

/// Sets a member other than the attributes.
fn set(element: &mut pb::Submission, member: Member, json: &str) -> Result<(), String> {
    match member {
        Member::Attributes => {}
        Member::Key => element.key = name(json, "key")?,
        Member::IdempotencyKey => element.idempotency_key = name(json, "idempotency_key")?,
        Member::Payload => element.payload = payload(json)?.into(),
        Member::TtlMs => element.ttl_ms = Some(ttl_ms(json, Written::Json(json))?),
    }
    Ok(())
}

/// A string, or a whole number as its digits stand.
fn name(json: &str, of: &str) -> Result<String, String> {
    let digits = json.strip_prefix('-').unwrap_or(json);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(json.to_owned());
    }
    string(json)
        .ok_or_else(|| format!("{of} is {}, {}", shorten(json), not_text(json, "not a string or a whole number")))
}

/// Why JSON is not the text it has to be. A string that cannot be read has what JSON can write and no text can have.
fn not_text<'a>(json: &str, otherwise: &'a str) -> &'a str {
    if json.starts_with('"') {
        "which has half of a surrogate pair: a \\ud... escape without its other half"
    } else {
        otherwise
    }
}

/// Milliseconds, as an int is written.
pub(super) fn ttl_ms(text: &str, shown: Written<'_>) -> Result<u64, String> {
    let ms = exact_int(text.trim()).ok().and_then(|ms| u64::try_from(ms).ok());
    ms.ok_or_else(|| format!("ttl_ms is {}, not a number of milliseconds", shorten(&shown.to_string())))
}

/// Text, or `{"base64":".."}`.
fn payload(json: &str) -> Result<Vec<u8>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Binary {
        base64: String,
    }
    if let Some(text) = string(json) {
        return Ok(text.into_bytes());
    }
    // Of an object only: serde would take an array for one.
    let binary = json.starts_with('{').then(|| serde_json::from_str::<Binary>(json).ok()).flatten();
    match binary {
        Some(Binary { base64 }) => STANDARD.decode(base64).map_err(|error| format!("payload is not base64: {error}")),
        None => {
            let why = not_text(json, "not a string or {\"base64\":\"..\"}");
            Err(format!("payload is {}, {why}", shorten(json)))
        }
    }
}

/// Reads the attributes; none for null.
struct Attributes<'a> {
    reading: &'a Reading,
    refused: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Attributes<'_> {
    type Value = Option<HashMap<String, pb::Value>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Attributes<'_> {
    type Value = Option<HashMap<String, pb::Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of attributes")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let Attributes { reading: Reading { schema, ignore_unknown }, refused } = self;
        let mut attributes = HashMap::with_capacity(schema.attributes.len().min(8));
        // By place in the schema, which has at most 64 attributes when it is one.
        let mut seen: u64 = 0;
        let find = |name: &str| schema.find(name).ok_or_else(|| (!ignore_unknown).then(|| schema.unknown(name)));
        while let Some(found) = map.next_key_seed(Name(find))? {
            let (place, name, declared) = match found {
                Ok(found) => found,
                Err(None) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                Err(Some(reason)) => {
                    return Err(refuse(refused, format!("{reason}; --ignore-unknown passes over others")));
                }
            };
            let bit = 1u64.checked_shl(place as u32).unwrap_or_default();
            if seen & bit != 0 || attributes.contains_key(name) {
                return Err(refuse(refused, format!("attribute {name:?} is given twice")));
            }
            seen |= bit;
            let json = map.next_value::<&RawValue>()?.get();
            if json != "null" {
                let value = typed::value_of(schema, name, Written::Json(json), declared);
                attributes.insert(name.to_owned(), value.map_err(|reason| refuse(refused, reason))?);
            }
        }
        Ok(Some(attributes))
    }
}

fn refuse<E: serde::de::Error>(refused: &mut Option<String>, reason: String) -> E {
    *refused = Some(reason);
    E::custom("refused")
}

/// The name of a member, handed over without a copy.
struct Name<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Name<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Name<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<T, E> {
        Ok((self.0)(name))
    }
}
