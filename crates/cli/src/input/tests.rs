mod csv;
mod json;

use std::io::Cursor;

use dovetail_rule::AttributeType;

use super::element::LINE_BYTES_MAX;
use super::*;
use dovetail::client::value;

fn schema() -> PoolSchema {
    let attribute = |name: &str, kind| (name.to_owned(), kind);
    PoolSchema {
        pool: "duel".to_owned(),
        attributes: vec![
            attribute("region", AttributeType::String),
            attribute("skill", AttributeType::Int),
            attribute("x", AttributeType::Double),
            attribute("pro", AttributeType::Bool),
            attribute("maps", AttributeType::StringList),
            attribute("key", AttributeType::Int),
        ],
    }
}

fn read_all(
    text: impl Into<Vec<u8>>,
    format: Format,
    options: ReadingArgs,
) -> Result<Vec<Result<Element, Malformed>>, Malformed> {
    Ok(read(Box::new(Cursor::new(text.into())), format, schema(), options)?.collect())
}

/// The one element of the text.
fn element(text: &str, format: Format) -> pb::Submission {
    let mut all = read_all(text, format, ReadingArgs::default()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0).unwrap().submission
}

/// Lines read and lines refused, as `1 ada` and `2: reason`.
fn check(text: impl Into<Vec<u8>>, format: Format, expected: &[&str]) {
    check_with(ReadingArgs::default(), text, format, expected);
}

fn check_with(options: ReadingArgs, text: impl Into<Vec<u8>>, format: Format, expected: &[&str]) {
    let show = |item| match item {
        Ok(Element { line, submission }) => format!("{line} {}", submission.key),
        Err(malformed @ Malformed { fatal: false, .. }) => malformed.to_string(),
        Err(malformed) => format!("{malformed} (fatal)"),
    };
    let found: Vec<String> = match read_all(text, format, options) {
        Ok(items) => items.into_iter().map(show).collect(),
        Err(malformed) => vec![show(Err(malformed))],
    };
    assert_eq!(found, expected);
}

#[test]
fn integers_keep_all_their_64_bits() {
    for int in [i64::MIN, -1, 0, 9_007_199_254_740_993, i64::MAX] {
        let line = format!(r#"{{"key":"p1","attributes":{{"skill":{int}}}}}"#);
        assert_eq!(element(&line, Format::Ndjson).attributes["skill"], value::int(int));
        let csv = format!("key,skill\np1,{int}\n");
        assert_eq!(element(&csv, Format::Csv).attributes["skill"], value::int(int));
    }
    let line = r#"{"key":"p1","attributes":{"skill":1500.0}}"#;
    assert_eq!(element(line, Format::Ndjson).attributes["skill"], value::int(1500));
}

#[test]
fn doubles_are_read_to_the_nearest() {
    for double in [0.1, 1e-300, 5e-324, 0.9999998807907104, 123_456_789.123_456_79, f64::MAX] {
        let line = format!(r#"{{"key":"p1","attributes":{{"x":{double:?}}}}}"#);
        assert_eq!(element(&line, Format::Ndjson).attributes["x"], value::double(double));
        assert_eq!(element(&format!("key,x\np1,{double:?}\n"), Format::Csv).attributes["x"], value::double(double));
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_what_to_do() {
    let utf_16: Vec<u8> = [0xFEFF].into_iter().chain("key,skill\n".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    check(utf_16, Format::Csv, &["1: cell 1 is not UTF-8; save the file as UTF-8 (fatal)"]);
    let latin = b"{\"key\":\"a\"}\n{\"key\":\"\xE9\"}\n".to_vec();
    check(latin, Format::Ndjson, &["1 a", "2: byte 9 is not UTF-8; save the file as UTF-8"]);
}

#[test]
fn a_value_is_read_alike_from_csv_and_from_json() {
    let int = |int: i64| Some(value::int(int));
    let double = |double: f64| Some(value::double(double));
    for (name, csv, json, expected) in [
        ("skill", "1500.0", "1500.0", int(1500)),
        ("skill", "1e3", "1e3", int(1000)),
        ("skill", " 7 ", "7", int(7)),
        ("skill", "9007199254740993.0", "9007199254740993.0", int(9_007_199_254_740_993)),
        ("skill", "1500.5", "1500.5", None),
        ("skill", "0.99999999999999999999", "0.99999999999999999999", None),
        ("skill", "9223372036854775808", "9223372036854775808", None),
        ("x", "1e400", "1e400", None),
        ("x", "9007199254740993", "9007199254740993", None),
        ("x", "1e3", "1e3", double(1000.0)),
        ("x", "-0.0", "-0.0", double(-0.0)),
        ("x", "Infinity", "\"Infinity\"", double(f64::INFINITY)),
        ("x", "-inf", "\"-inf\"", double(f64::NEG_INFINITY)),
        ("pro", "True", "true", Some(value::bool(true))),
        ("pro", "FALSE", "false", Some(value::bool(false))),
        ("pro", "1", "1", Some(value::bool(true))),
        ("pro", "0", "0", Some(value::bool(false))),
        ("pro", "yes", "\"yes\"", None),
        ("region", "NA", "\"NA\"", Some(value::string("NA"))),
        ("maps", "a|b", "[\"a\",\"b\"]", Some(value::string_list(["a", "b"]))),
        ("skill", "", "null", None),
    ] {
        let read = |text: String, format| {
            let read = read_all(text, format, ReadingArgs::default()).unwrap().remove(0);
            read.ok().and_then(|element| element.submission.attributes.get(name).cloned())
        };
        assert_eq!(read(format!("key,{name}\np,{csv}\n"), Format::Csv), expected, "{name} {csv}");
        let json = format!("{{\"key\":\"p\",\"attributes\":{{\"{name}\":{json}}}}}\n");
        assert_eq!(read(json.clone(), Format::Ndjson), expected, "{json}");
    }
    let na =
        "2: attribute \"skill\" is \"NA\", but pool \"duel\" declares int; --null says which cells are missing values";
    check("key,skill\np,NA\n", Format::Csv, &[na]);
}

#[test]
fn reading_begins_at_a_line() {
    let from = |from_line| ReadingArgs { from_line, ..ReadingArgs::default() };
    let lines = "{\"key\":\"a\"}\n\n{\"key\":\n{\"key\":\"b\"}\n{\"key\":7.5}\n";
    let last = "5: key is 7.5, not a string or a whole number";
    check_with(from(4), lines, Format::Ndjson, &["4 b", last]);
    check_with(from(5), lines, Format::Ndjson, &[last]);
    check_with(from(6), lines, Format::Ndjson, &[]);
    check_with(from(3), "[{\"key\":\"a\"},\n7,\n{\"key\":\"b\"}]", Format::Ndjson, &["3 b"]);
    check_with(from(2), "{\n\"key\":\"a\"}\n{\"key\":\"b\"}", Format::Ndjson, &["3 b"]);
    let csv = "key,skill\na,high\n\"b\nb\",2\nc,3\n";
    check_with(from(3), csv, Format::Csv, &["3 b\nb", "5 c"]);
    check_with(from(4), csv, Format::Csv, &["5 c"]);
}

#[test]
fn times_and_durations_read_alike_from_both_formats() {
    let times = [("start", AttributeType::Timestamp), ("length", AttributeType::Duration)];
    let schema = PoolSchema {
        pool: "slots".to_owned(),
        attributes: times.map(|(name, declared)| (name.to_owned(), declared)).into(),
    };
    let read = |format: Format, text: String| {
        let mut all =
            read(Box::new(Cursor::new(text.into_bytes())), format, schema.clone(), ReadingArgs::default()).unwrap();
        all.next().unwrap().map(|read| read.submission.attributes).map_err(|error| error.reason)
    };
    let new_year = 1_767_225_600_000;
    for (name, text, ms) in [
        ("start", "2026-01-01T00:00:00Z", Some(new_year)),
        ("start", "2026-01-01T02:00:00.5+02:00", Some(new_year + 500)),
        ("start", "1767225600000", Some(new_year)),
        ("start", "-1", Some(-1)),
        ("start", "2026-01-01T00:00:00", None),
        ("start", "2026-01-01", None),
        ("start", "5s", None),
        ("length", "5s", Some(5_000)),
        ("length", "1h30m", Some(5_400_000)),
        ("length", "-250ms", Some(-250)),
        ("length", "250", Some(250)),
        ("length", "9223372036854775808", None),
        ("length", "5", Some(5)),
        ("length", "1us", None),
        ("length", "soon", None),
    ] {
        let json = read(Format::Ndjson, format!("{{\"key\":\"p\",\"attributes\":{{\"{name}\":\"{text}\"}}}}"));
        let csv = read(Format::Csv, format!("key,{name}\np,{text}\n"));
        assert_eq!(json, csv, "{name} {text}");
        match ms {
            Some(ms) => assert_eq!(json.unwrap()[name], value::int(ms), "{name} {text}"),
            None => assert!(json.unwrap_err().contains(text), "{name} {text}"),
        }
    }
    let number = r#"{"key":"p","attributes":{"start":1767225600000,"length":250}}"#;
    let attributes = read(Format::Ndjson, number.to_owned()).unwrap();
    assert_eq!((&attributes["start"], &attributes["length"]), (&value::int(new_year), &value::int(250)));
}

/// Gives a byte at a time, as a slow pipe may.
struct Dribble(Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn whatever_a_text_is_reading_it_ends_and_does_not_depend_on_how_it_comes() {
    const PIECES: [&[u8]; 20] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b":",
        b"\\",
        b" ",
        b"\n",
        b"\r",
        b"\xE9",
        b"1e400",
        b"null",
        b"key",
        b"\"key\"",
        b"skill",
        b"\"key\":\"a\"",
        b"{\"key\":\"b\"}",
        b"\xEF\xBB\xBF",
    ];
    let mut state: u64 = 7;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..2000 {
        let beginning: &[u8] = [b"[".as_slice(), b"{\n", b"key,skill\n", b""][round % 4];
        let middle = (0..random(24)).flat_map(|_| PIECES[random(PIECES.len())].iter().copied());
        let text: Vec<u8> = beginning.iter().copied().chain(middle).collect();
        for format in [Format::Ndjson, Format::Csv] {
            let options = ReadingArgs { from_line: random(4) as u64, ..ReadingArgs::default() };
            let dribble = Box::new(Dribble(Cursor::new(text.clone())));
            let slowly = read(dribble, format, schema(), options.clone()).map(|read| read.collect::<Vec<_>>());
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(slowly, read_all(text.clone(), format, options), "{shown:?}");
            let lines: Vec<u64> = slowly.iter().flatten().map(line_of).collect();
            assert!(lines.is_sorted() && lines.len() <= text.len(), "{shown:?}: {lines:?}");
        }
    }
}

fn line_of(read: &Result<Element, Malformed>) -> u64 {
    read.as_ref().map_or_else(|malformed| malformed.from_line, |element| element.line)
}
