//! One JSON object a line:
//! `{"key":"p1","attributes":{"region":"eu","skill":1500},"payload":"...","ttl_ms":60000,"idempotency_key":"..."}`.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dovetail_rule::AttributeType;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Number, Value as Json};

use super::{Element, LINE_BYTES_MAX, Malformed};
use crate::cli::schema::{PoolSchema, milliseconds};
use crate::client::value;
use crate::pb;

/// Bytes read from the file at a time.
const READ_BYTES: usize = 256 * 1024;

/// Doubles hold every whole number below it.
const DOUBLE_EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// The elements of a file.
pub(super) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    schema: PoolSchema,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn Read + Send>, schema: PoolSchema) -> Lines {
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        Lines { reader, schema, line: 0, buffer: Vec::new(), ended: false }
    }
}

impl Iterator for Lines {
    type Item = Result<Element, Malformed>;

    fn next(&mut self) -> Option<Result<Element, Malformed>> {
        while !self.ended {
            self.line += 1;
            let line = self.line;
            match next_line(&mut self.reader, &mut self.buffer) {
                Ok(Line::End) => self.ended = true,
                Ok(Line::TooLong) => {
                    let reason = format!("the line is longer than {LINE_BYTES_MAX} bytes");
                    return Some(Err(Malformed::skippable(line, reason)));
                }
                Ok(Line::Read) => {
                    let text = content(&self.buffer, line);
                    if !text.is_empty() {
                        let parsed = parse(text, &self.schema);
                        return Some(match parsed {
                            Ok(submission) => Ok(Element { line, submission }),
                            Err(reason) => Err(Malformed::skippable(line, reason)),
                        });
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(Malformed::fatal(line, error.to_string())));
                }
            }
        }
        None
    }
}

enum Line {
    Read,
    TooLong,
    End,
}

/// Reads a line into `buffer`; one that is too long is consumed and dropped.
fn next_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Line> {
    buffer.clear();
    let mut any = false;
    let mut too_long = false;
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let newline = memchr(available);
        let part = &available[..newline.unwrap_or(available.len())];
        any |= !available.is_empty();
        too_long |= buffer.len() + part.len() > LINE_BYTES_MAX;
        if !too_long {
            buffer.extend_from_slice(part);
        }
        let ends = newline.is_some() || available.is_empty();
        let used = part.len() + usize::from(newline.is_some());
        reader.consume(used);
        if ends {
            return Ok(match (any, too_long) {
                (false, _) => Line::End,
                (true, true) => Line::TooLong,
                (true, false) => Line::Read,
            });
        }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n')
}

/// The line without blanks around it; the first one also without a byte-order mark.
fn content(buffer: &[u8], line: u64) -> &[u8] {
    let text = match line {
        1 => buffer.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(buffer),
        _ => buffer,
    };
    text.trim_ascii()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ElementLine {
    key: String,
    #[serde(default)]
    attributes: Pairs,
    payload: Option<Payload>,
    ttl_ms: Option<u64>,
    #[serde(default)]
    idempotency_key: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a payload is a string or {\"base64\":\"..\"}")]
enum Payload {
    Text(String),
    Binary(Binary),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binary {
    base64: String,
}

/// The members of an object, so that a repeated one is noticed.
#[derive(Default)]
struct Pairs(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attributes")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn parse(text: &[u8], schema: &PoolSchema) -> Result<pb::Submission, String> {
    let line: ElementLine = serde_json::from_slice(text).map_err(|error| reason(&error))?;
    let mut attributes = HashMap::with_capacity(line.attributes.0.len());
    for (name, json) in line.attributes.0 {
        let value = typed(&name, json, schema)?;
        if let Some(value) = value
            && attributes.insert(name.clone(), value).is_some()
        {
            return Err(format!("attribute {name:?} is given twice"));
        }
    }
    let payload = match line.payload {
        None => Vec::new(),
        Some(Payload::Text(text)) => text.into_bytes(),
        Some(Payload::Binary(Binary { base64 })) => {
            STANDARD.decode(base64).map_err(|error| format!("payload is not base64: {error}"))?
        }
    };
    Ok(pb::Submission {
        key: line.key,
        attributes,
        payload: payload.into(),
        ttl_ms: line.ttl_ms,
        idempotency_key: line.idempotency_key,
    })
}

/// serde_json's words, with the column only: it knows nothing of the file's lines.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what}, at column {}", error.column()),
        None => text,
    }
}

/// The attribute's value as the pool declares it; none for null, which is a missing attribute.
fn typed(name: &str, json: Json, schema: &PoolSchema) -> Result<Option<pb::Value>, String> {
    let kind = schema.kind_of(name)?;
    let value = match (kind, json) {
        (_, Json::Null) => return Ok(None),
        (AttributeType::Int | AttributeType::Timestamp | AttributeType::Duration, Json::Number(number)) => {
            exact_int(&number).map(value::int).ok_or(Json::Number(number))
        }
        (AttributeType::Timestamp | AttributeType::Duration, Json::String(text)) => {
            milliseconds(&text, kind).map(value::int).ok_or(Json::String(text))
        }
        (AttributeType::Double, Json::Number(number)) => {
            exact_double(&number).map(value::double).ok_or(Json::Number(number))
        }
        (AttributeType::String, Json::String(text)) => Ok(value::string(text)),
        (AttributeType::Bool, Json::Bool(flag)) => Ok(value::bool(flag)),
        (AttributeType::StringList, Json::Array(list)) => strings(list).map(value::string_list),
        (_, other) => Err(other),
    };
    value.map(Some).map_err(|found| schema.mismatch(name, &found.to_string(), kind))
}

/// The integer that a JSON number is, if 64 bits hold it. `1500.0` is one, `1500.5` is not.
fn exact_int(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let double = number.as_f64().filter(|_| number.is_f64())?;
        (double.fract() == 0.0 && double.abs() < DOUBLE_EXACT_BELOW).then_some(double as i64)
    })
}

/// The double that a JSON number is. A fraction is rounded, as everywhere; a whole number must not need rounding.
fn exact_double(number: &Number) -> Option<f64> {
    match number.as_i128() {
        Some(whole) => Some(whole as f64).filter(|&double| double as i128 == whole),
        None => number.as_f64(),
    }
}

fn strings(list: Vec<Json>) -> Result<Vec<String>, Json> {
    let all = list.iter().all(Json::is_string);
    if !all {
        return Err(Json::Array(list));
    }
    let text = |entry| match entry {
        Json::String(text) => Some(text),
        _ => None,
    };
    Ok(list.into_iter().filter_map(text).collect())
}
