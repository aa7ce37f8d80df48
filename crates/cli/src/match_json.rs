//! JSON for machines: the same lines from `watch`, `get`, `withdraw` and `oracle`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use dovetail::pb;

/// A match, as a line: `{"cursor":..,"pool":..,"a":{"id":..,"key":..},"b":{"id":..,"key":..}}`.
#[derive(Debug, Serialize)]
pub struct MatchJson<'a> {
    cursor: u64,
    pool: &'a str,
    a: EndJson<'a>,
    b: EndJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct EndJson<'a> {
    id: u64,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<PayloadJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<u64>,
}

/// The end of an element's waiting without a match, as a line:
/// `{"cursor":..,"pool":..,"ended":{"id":..,"key":..},"reason":..}`.
#[derive(Debug, Serialize)]
pub struct EndedJson<'a> {
    cursor: u64,
    pool: &'a str,
    ended: EndJson<'a>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
}

/// How long an element had waited at a time, if it is known when it arrived.
pub fn waited_ms(time_ms: u64, arrived_ms: Option<u64>) -> Option<u64> {
    arrived_ms.map(|arrived_ms| time_ms.saturating_sub(arrived_ms))
}

impl<'a> EndedJson<'a> {
    /// Of an outcome that is one. `times`: with when that was, and how long the element had waited.
    pub fn of(outcome: &'a pb::Outcome, ended: &'a pb::Ended, times: bool) -> EndedJson<'a> {
        let waited_ms = waited_ms(outcome.time_ms, ended.arrived_ms).filter(|_| times);
        EndedJson {
            cursor: outcome.cursor,
            pool: &outcome.pool,
            ended: EndJson { id: ended.id, key: &ended.key, payload: PayloadJson::of(&ended.payload), waited_ms },
            reason: reason_name(ended.reason()),
            time_ms: times.then_some(outcome.time_ms),
        }
    }
}

/// Why an element waits no longer, in a word.
pub fn reason_name(reason: pb::EndReason) -> &'static str {
    match reason {
        pb::EndReason::Unspecified => "unknown",
        pb::EndReason::Withdrawn => "withdrawn",
        pb::EndReason::Expired => "expired",
        pb::EndReason::Dropped => "dropped",
    }
}

/// A payload: text when it is UTF-8, `{"base64":".."}` when not. `submit` reads both.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum PayloadJson<'a> {
    /// UTF-8.
    Text(&'a str),
    /// Anything else.
    Binary {
        /// In the standard alphabet, padded.
        base64: String,
    },
}

impl PayloadJson<'_> {
    /// None for an empty payload.
    pub fn of(payload: &Bytes) -> Option<PayloadJson<'_>> {
        match (payload.is_empty(), std::str::from_utf8(payload)) {
            (true, _) => None,
            (false, Ok(text)) => Some(PayloadJson::Text(text)),
            (false, Err(_)) => Some(PayloadJson::Binary { base64: STANDARD.encode(payload) }),
        }
    }
}

impl<'a> From<&'a pb::Match> for MatchJson<'a> {
    fn from(found: &'a pb::Match) -> MatchJson<'a> {
        MatchJson::of(found, false)
    }
}

impl<'a> MatchJson<'a> {
    /// `times`: with when the match was made, and how long each end had waited.
    pub fn of(found: &'a pb::Match, times: bool) -> MatchJson<'a> {
        let ends = [&found.a, &found.b].map(|end| match end {
            Some(end) => EndJson {
                id: end.id,
                key: &end.key,
                payload: PayloadJson::of(&end.payload),
                waited_ms: waited_ms(found.time_ms, end.arrived_ms).filter(|_| times),
            },
            // A server always sends both ends.
            None => EndJson { id: 0, key: "", payload: None, waited_ms: None },
        });
        let [a, b] = ends;
        MatchJson { cursor: found.cursor, pool: &found.pool, a, b, time_ms: times.then_some(found.time_ms) }
    }
}

/// A double. What JSON has no number for is the string that proto3's JSON has for it, and that `submit` reads.
pub fn double(double: f64) -> serde_json::Value {
    match no_number(double) {
        Some(name) => name.into(),
        None => double.into(),
    }
}

/// The name of a double that is no number.
pub fn no_number(double: f64) -> Option<&'static str> {
    match double {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ if double.is_nan() => Some("NaN"),
        _ => None,
    }
}

/// The line, with its newline.
pub fn line(value: &impl Serialize) -> String {
    // Our own structs have string keys and no failing parts.
    let mut line = serde_json::to_string(value).unwrap_or_else(|error| panic!("cannot write JSON: {error}"));
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(id: u64, payload: &'static [u8]) -> Option<pb::MatchedElement> {
        Some(pb::MatchedElement {
            id,
            key: format!("p{id}"),
            payload: Bytes::from_static(payload),
            arrived_ms: Some(2),
        })
    }

    #[test]
    fn a_match_is_exactly_this_line() {
        let found = pb::Match { cursor: 7, pool: "duel".to_owned(), a: end(3, b""), b: end(7, b""), time_ms: 5 };
        let expected = r#"{"cursor":7,"pool":"duel","a":{"id":3,"key":"p3"},"b":{"id":7,"key":"p7"}}"#;
        assert_eq!(line(&MatchJson::from(&found)), format!("{expected}\n"));
    }

    #[test]
    fn a_match_shows_how_long_its_ends_had_waited_when_times_are_asked_for() {
        let mut found = pb::Match { cursor: 7, pool: "duel".to_owned(), a: end(3, b""), b: end(7, b""), time_ms: 5 };
        // Not known of a match that an earlier version stored.
        found.b.as_mut().unwrap().arrived_ms = None;
        let expected =
            r#"{"cursor":7,"pool":"duel","a":{"id":3,"key":"p3","waited_ms":3},"b":{"id":7,"key":"p7"},"time_ms":5}"#;
        assert_eq!(line(&MatchJson::of(&found, true)), format!("{expected}\n"));
    }

    #[test]
    fn a_payload_is_text_where_it_can_be() {
        let found = pb::Match {
            cursor: 7,
            pool: "duel".to_owned(),
            a: end(3, b"h\xC3\xA9\""),
            b: end(7, b"\xFF\x00"),
            time_ms: 5,
        };
        let expected = concat!(
            r#"{"cursor":7,"pool":"duel","a":{"id":3,"key":"p3","payload":"hé\""},"#,
            r#""b":{"id":7,"key":"p7","payload":{"base64":"/wA="}}}"#
        );
        assert_eq!(line(&MatchJson::from(&found)), format!("{expected}\n"));
    }
}
