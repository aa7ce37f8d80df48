use std::io::Cursor;

use dovetail_rule::AttributeType;

use super::*;
use crate::client::value;

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

fn read_all(text: impl Into<Vec<u8>>, format: Format) -> Result<Vec<Result<Element, Malformed>>, Malformed> {
    Ok(read(Box::new(Cursor::new(text.into())), format, schema())?.collect())
}

/// The one element of the text.
fn element(text: &str, format: Format) -> pb::Submission {
    let mut all = read_all(text, format).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0).unwrap().submission
}

/// Lines read and lines refused, as `1 ada` and `2: reason`.
fn check(text: impl Into<Vec<u8>>, format: Format, expected: &[&str]) {
    let show = |item| match item {
        Ok(Element { line, submission }) => format!("{line} {}", submission.key),
        Err(malformed @ Malformed { fatal: false, .. }) => malformed.to_string(),
        Err(malformed) => format!("{malformed} (fatal)"),
    };
    let found: Vec<String> = match read_all(text, format) {
        Ok(items) => items.into_iter().map(show).collect(),
        Err(malformed) => vec![show(Err(malformed))],
    };
    assert_eq!(found, expected);
}

#[test]
fn a_json_line_can_say_everything() {
    let line = r#"{"key":"p1","attributes":{"region":"eu","skill":1500,"x":25,"pro":true,"maps":["a","b"],"key":null},
                   "payload":"hé","ttl_ms":60000,"idempotency_key":"i"}"#;
    let expected = pb::Submission {
        key: "p1".to_owned(),
        attributes: [
            ("region".to_owned(), value::string("eu")),
            ("skill".to_owned(), value::int(1500)),
            ("x".to_owned(), value::double(25.0)),
            ("pro".to_owned(), value::bool(true)),
            ("maps".to_owned(), value::string_list(["a", "b"])),
        ]
        .into(),
        payload: "hé".into(),
        ttl_ms: Some(60_000),
        idempotency_key: "i".to_owned(),
    };
    assert_eq!(element(&line.replace('\n', " "), Format::Ndjson), expected);
}

#[test]
fn a_payload_can_be_base64() {
    let line = r#"{"key":"p1","payload":{"base64":"/wA="}}"#;
    assert_eq!(element(line, Format::Ndjson).payload.as_ref(), b"\xFF\x00");
    check(
        r#"{"key":"p1","payload":{"base64":"!"}}"#,
        Format::Ndjson,
        &["1: payload is not base64: Invalid symbol 33, offset 0."],
    );
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
fn values_of_another_type_are_refused_with_what_was_declared() {
    for (name, json, found, declared) in [
        ("skill", "1500.5", "1500.5", "int"),
        ("skill", "9223372036854775808", "9223372036854775808", "int"),
        ("skill", "\"high\"", "\"high\"", "int"),
        ("x", "9007199254740993", "9007199254740993", "double"),
        ("x", "true", "true", "double"),
        ("region", "5", "5", "string"),
        ("pro", "1", "1", "bool"),
        ("maps", "[\"a\",1]", "[\"a\",1]", "list<string>"),
        ("maps", "\"a\"", "\"a\"", "list<string>"),
    ] {
        let line = format!(r#"{{"key":"p1","attributes":{{"{name}":{json}}}}}"#);
        let reason = format!("1: attribute {name:?} is {found}, but pool \"duel\" declares {declared}");
        check(line, Format::Ndjson, &[&reason]);
    }
}

#[test]
fn a_malformed_json_line_is_named_by_its_number_and_the_rest_is_read() {
    let text = "\u{feff}{\"key\":\"ada\"}\n\n  \r\n{\"key\":\"bob\"\n{\"kee\":\"x\"}\n{\"key\":\"cid\"}\r\n{}\n7\n";
    check(
        text,
        Format::Ndjson,
        &[
            "1 ada",
            "4: EOF while parsing an object, at column 12",
            "5: unknown field `kee`, expected one of `key`, `attributes`, `payload`, `ttl_ms`, `idempotency_key`, at column 6",
            "6 cid",
            "7: missing field `key`, at column 2",
            "8: invalid type: integer `7`, expected struct ElementLine, at column 1",
        ],
    );
    let unknown = "1: unknown attribute \"skil\"; pool \"duel\" has region, skill, x, pro, maps, key";
    check(r#"{"key":"p","attributes":{"skil":1}}"#, Format::Ndjson, &[unknown]);
    let twice = "1: attribute \"skill\" is given twice";
    check(r#"{"key":"p","attributes":{"skill":1,"skill":2}}"#, Format::Ndjson, &[twice]);
}

#[test]
fn a_huge_json_line_is_skipped_without_being_held() {
    let just = format!("{{\"key\":\"{}\"}}", "k".repeat(LINE_BYTES_MAX - 10));
    assert_eq!(just.len(), LINE_BYTES_MAX);
    let text = format!("{}\n{}\n{{\"key\":\"ada\"}}", "x".repeat(3 * LINE_BYTES_MAX), just);
    let key = format!("2 {}", "k".repeat(LINE_BYTES_MAX - 10));
    check(text, Format::Ndjson, &["1: the line is longer than 1048576 bytes", &key, "3 ada"]);
}

#[test]
fn a_csv_row_can_say_everything() {
    let text = "\u{feff}skill,region,key,maps,payload,ttl_ms,idempotency_key,x,pro,attributes.key\n\
                1500,\"eu, west\",p1,a|b,\"say \"\"hi\"\"\",60000,i,25,true,-9\n";
    let expected = pb::Submission {
        key: "p1".to_owned(),
        attributes: [
            ("region".to_owned(), value::string("eu, west")),
            ("skill".to_owned(), value::int(1500)),
            ("x".to_owned(), value::double(25.0)),
            ("pro".to_owned(), value::bool(true)),
            ("maps".to_owned(), value::string_list(["a", "b"])),
            ("key".to_owned(), value::int(-9)),
        ]
        .into(),
        payload: "say \"hi\"".into(),
        ttl_ms: Some(60_000),
        idempotency_key: "i".to_owned(),
    };
    assert_eq!(element(text, Format::Csv), expected);
}

#[test]
fn an_empty_csv_cell_is_a_missing_attribute() {
    let submission = element("key,region,skill,ttl_ms\np1,,,\n", Format::Csv);
    assert_eq!((submission.attributes.len(), submission.ttl_ms), (0, None));
}

#[test]
fn a_malformed_csv_row_is_named_by_its_line_and_the_rest_is_read() {
    check(
        b"key,skill,ttl_ms\r\nada,1,\r\nbob,high,\r\n\r\n\"ci\nd\",2,\r\neve,3\r\nfay,4,soon\r\ng\xFF,5,\r\nhal,6,\r\n"
            .to_vec(),
        Format::Csv,
        &[
            "2 ada",
            "3: attribute \"skill\" is \"high\", but pool \"duel\" declares int",
            "5 ci\nd",
            "7: 2 cells, but the header has 3",
            "8: ttl_ms is \"soon\", not a number of milliseconds",
            "9: cell 1 is not UTF-8",
            "10 hal",
        ],
    );
}

#[test]
fn a_csv_header_must_fit_the_pool() {
    check("skill\n1\n", Format::Csv, &["1: the header has no column \"key\" (fatal)"]);
    check("", Format::Csv, &["1: the header has no column \"key\" (fatal)"]);
    check("key,key\n", Format::Csv, &["1: the header has \"key\" twice (fatal)"]);
    let unknown = "1: unknown attribute \"mode\"; pool \"duel\" has region, skill, x, pro, maps, key (fatal)";
    check("key,mode\n", Format::Csv, &[unknown]);
}

#[test]
fn a_csv_record_without_end_is_cut_off() {
    let text = format!("key\nada\n\"{}", "x".repeat(8 * LINE_BYTES_MAX));
    check(text, Format::Csv, &["2 ada", "3: the record is longer than 1048576 bytes (fatal)"]);
}

#[test]
fn times_and_durations_read_alike_from_both_formats() {
    let times = [("start", AttributeType::Timestamp), ("length", AttributeType::Duration)];
    let schema = PoolSchema {
        pool: "slots".to_owned(),
        attributes: times.map(|(name, declared)| (name.to_owned(), declared)).into(),
    };
    let read = |format: Format, text: String| {
        let mut all = read(Box::new(Cursor::new(text.into_bytes())), format, schema.clone()).unwrap();
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
