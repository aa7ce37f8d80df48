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
        (
            "skill",
            "9223372036854775808",
            "9223372036854775808",
            "int, from -9223372036854775808 to 9223372036854775807",
        ),
        ("skill", "1e-1", "1e-1", "int"),
        ("skill", "\"high\"", "\"high\"", "int"),
        ("x", "9007199254740993", "9007199254740993", "double, and no double is exactly that"),
        ("x", "-1e400", "-1e400", "double, at most 1.7976931348623157e308"),
        ("x", "\"1.5\"", "\"1.5\"", "double"),
        ("x", "true", "true", "double"),
        ("region", "5", "5", "string"),
        ("pro", "2", "2", "bool"),
        ("pro", "\"true\"", "\"true\"", "bool"),
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
            "4: EOF while parsing an object, at column 12; an element is one line, unless the file begins with a line that is only { \
             or with [, for an array",
            "5: unknown member \"kee\": there are key, attributes, payload, ttl_ms, idempotency_key; --ignore-unknown passes over others",
            "6 cid",
            "7: there is no \"key\"",
            "8: an element is an object, such as {\"key\":\"p1\"}, and not 7",
        ],
    );
    let unknown = "1: unknown attribute \"skil\"; pool \"duel\" has region, skill, x, pro, maps, key; --ignore-unknown passes over others";
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
    check(text, Format::Ndjson, &["1: the element is longer than 1048576 bytes", &key, "3 ada"]);
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
            "9: cell 1 is not UTF-8; save the file as UTF-8",
            "10 hal",
        ],
    );
}

#[test]
fn a_csv_header_must_fit_the_pool() {
    let no_key = |names: &str| {
        format!("1: the header has no column \"key\", but {names}; --key-column names the one to take for it (fatal)")
    };
    check("skill,region\n1,eu\n", Format::Csv, &[&no_key("skill, region")]);
    check("", Format::Csv, &["1: the file is empty: there is no header (fatal)"]);
    check("key,key\n", Format::Csv, &["1: the header has \"key\" twice, or two columns for it (fatal)"]);
    let unknown = "1: unknown attribute \"Skill Level\"; pool \"duel\" has region, skill, x, pro, maps, key; --ignore-unknown passes \
                   over columns that it does not have, --columns chooses some, and --rename \"Skill Level=NAME\" takes this one for \
                   another (fatal)";
    check("key,Skill Level\n", Format::Csv, &[unknown]);
    let index = "1: column 1 has no name, as an index that pandas writes has none; write the file without it (index=False), take it for \
                 the key with --key-column \"\", or pass over it with --ignore-unknown (fatal)";
    check(",key,skill\n0,a,1\n", Format::Csv, &[index]);
    check(
        "key;skill\na;1\n",
        Format::Csv,
        &["1: the header is one column, \"key;skill\": try --delimiter ';' (fatal)"],
    );
    check("key\tskill\n", Format::Csv, &["1: the header is one column, \"key\\tskill\": try --delimiter tab (fatal)"]);
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_what_to_do() {
    let utf_16: Vec<u8> = [0xFEFF].into_iter().chain("key,skill\n".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    check(utf_16, Format::Csv, &["1: cell 1 is not UTF-8; save the file as UTF-8 (fatal)"]);
    let latin = b"{\"key\":\"a\"}\n{\"key\":\"\xE9\"}\n".to_vec();
    check(latin, Format::Ndjson, &["1 a", "2: byte 9 is not UTF-8; save the file as UTF-8"]);
}

#[test]
fn a_csv_record_without_end_is_cut_off() {
    let text = format!("key\nada\n\"{}", "x".repeat(8 * LINE_BYTES_MAX));
    let expected = "3: the record is longer than 1048576 bytes; is a quote not closed? (fatal)";
    check(text, Format::Csv, &["2 ada", expected]);
}

#[test]
fn a_csv_quote_that_is_never_closed_is_told_with_its_line() {
    let unclosed = |line: u64| {
        format!(
            "{line}: the quote that opens here is never closed; a quote inside a cell is written twice, in quotes (fatal)"
        )
    };
    check("key,region\na,eu\nb,\"5 inch\nc,us\nd,us\n", Format::Csv, &["2 a", &unclosed(3)]);
    check("key,region\r\n\r\na,\"x\r\ny\"\r\nb,\"eu\"\"", Format::Csv, &["3 a", &unclosed(5)]);
    check("key,region\r\"a\rb\",\"eu", Format::Csv, &[&unclosed(3)]);
    check(b"key,region\na,\"\xE9".to_vec(), Format::Csv, &[&unclosed(2)]);
    check("key,\"region\na,eu\n", Format::Csv, &[&unclosed(1)]);
    // Closed just before the end, with and without a line feed.
    for end in ["", "\n", "\r", "\r\n", "\n\n"] {
        check(format!("key,region\na,\"eu\n\"{end}"), Format::Csv, &["2 a"]);
        check(format!("key\na{end}"), Format::Csv, &["2 a"]);
    }
}

#[test]
fn csv_lines_end_in_any_way_and_count_alike() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["key,skill", "a,1", "", "\"b", "c\",2", "d,high", "e,5"].join(end);
        let (b, high) = (format!("4 b{end}c"), "6: attribute \"skill\" is \"high\", but pool \"duel\" declares int");
        check(text, Format::Csv, &["2 a", &b, high, "7 e"]);
    }
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
fn csv_is_read_as_the_options_say() {
    let text = "id\tSkill Level\tregion\tmaps\tkey\tmore\n\
                p1\tNA\t-\t-\t7\tx\n\
                p2\t5\tNA\t\tNA\ty\n";
    let options = ReadingArgs {
        delimiter: Some(b'\t'),
        key_column: Some("id".to_owned()),
        rename: vec![("Skill Level".to_owned(), "skill".to_owned())],
        null: vec!["null".to_owned(), "NA".to_owned()],
        empty: Some("-".to_owned()),
        ignore_unknown: true,
        ..ReadingArgs::default()
    };
    let read = |options: &ReadingArgs| -> Vec<(String, Vec<(String, pb::Value)>)> {
        let elements = read_all(text, Format::Csv, options.clone()).unwrap().into_iter().map(Result::unwrap);
        let shown = elements.map(|Element { submission, .. }| {
            let mut attributes: Vec<_> = submission.attributes.into_iter().collect();
            attributes.sort_by(|one, other| one.0.cmp(&other.0));
            (submission.key, attributes)
        });
        shown.collect()
    };
    let has = |name: &str, value: pb::Value| (name.to_owned(), value);
    let first =
        vec![has("key", value::int(7)), has("maps", value::string_list([""; 0])), has("region", value::string(""))];
    let expected = [("p1".to_owned(), first), ("p2".to_owned(), vec![has("skill", value::int(5))])];
    assert_eq!(read(&options), expected);
    let chosen = ReadingArgs { columns: vec!["Skill Level".to_owned()], ignore_unknown: false, ..options.clone() };
    assert_eq!(read(&chosen), [("p1".to_owned(), vec![]), ("p2".to_owned(), vec![has("skill", value::int(5))])]);

    let wrong = |options: ReadingArgs| read_all(text, Format::Csv, options).unwrap_err().reason;
    let names = "but the header has id, Skill Level, region, maps, key, more";
    let no_column = ReadingArgs { columns: vec!["skill".to_owned()], ..options.clone() };
    assert_eq!(wrong(no_column), format!("--columns names \"skill\", {names}"));
    let no_key = ReadingArgs { key_column: Some("ID".to_owned()), ..options.clone() };
    assert_eq!(wrong(no_key), format!("--key-column names \"ID\", {names}"));
    let to_nothing = ReadingArgs { rename: vec![("Skill Level".to_owned(), "skil".to_owned())], ..options };
    assert!(wrong(to_nothing).starts_with("unknown attribute \"skil\""));
}

#[test]
fn null_is_absent_everywhere() {
    let line = r#"{"key":"a","attributes":null,"payload":null,"ttl_ms":null,"idempotency_key":null}"#;
    assert_eq!(element(line, Format::Ndjson), pb::Submission { key: "a".to_owned(), ..Default::default() });
    check(r#"{"key":null}"#, Format::Ndjson, &["1: there is no \"key\""]);
}

#[test]
fn an_element_and_its_parts_are_objects_and_what_is_given_is_given_once() {
    let text = r#"{"key":"a"}
["b",{"skill":1},"payload",null,""]
{"key":"c","payload":["aGVsbG8="]}
{"key":"d","attributes":[["skill",1]]}
{"key":"e","attributes":{"skill":null,"skill":2}}
{"key":"f","payload":null,"payload":"x"}
{"key":"g"}{"key":"h"}
{"key":"i","skill":5}
{"key":"j","attributes":{"x":NaN}}
{"key":"k","ttl_ms":-1}
"#;
    check(
        text,
        Format::Ndjson,
        &[
            "1 a",
            r#"2: an element is an object, such as {"key":"p1"}, and not ["b",{"skill":1},"payload",null,""]"#,
            r#"3: payload is ["aGVsbG8="], not a string or {"base64":".."}"#,
            "4: invalid type: sequence, expected an object of attributes, at column 25",
            "5: attribute \"skill\" is given twice",
            "6: \"payload\" is given twice",
            "7: trailing characters, at column 12; an element is one object, on a line of its own",
            "8: unknown member \"skill\": there are key, attributes, payload, ttl_ms, idempotency_key; attributes are written inside \
             \"attributes\"",
            "9: expected value, at column 30; JSON has no such number: write \"NaN\", \"Infinity\" or \"-Infinity\", as a string",
            "10: ttl_ms is -1, not a number of milliseconds",
        ],
    );
}

#[test]
fn a_key_may_be_a_whole_number_and_is_its_digits() {
    let text = "{\"key\":17}\n{\"key\":-5}\n{\"key\":98765432109876543210987}\n{\"key\":1.0}\n{\"key\":true}\n";
    let expected = [
        "1 17",
        "2 -5",
        "3 98765432109876543210987",
        "4: key is 1.0, not a string or a whole number",
        "5: key is true, not a string or a whole number",
    ];
    check(text, Format::Ndjson, &expected);
    let line = r#"{"key":"p","ttl_ms":60000.0,"idempotency_key":7}"#;
    let submission = element(line, Format::Ndjson);
    assert_eq!((submission.ttl_ms, submission.idempotency_key.as_str()), (Some(60_000), "7"));
}

#[test]
fn what_is_unknown_is_passed_over_when_that_is_asked_for() {
    let line = r#"{"id":7,"key":"p","state":["x"],"attributes":{"skill":1,"level":{"a":[]}}}"#;
    let options = ReadingArgs { ignore_unknown: true, ..ReadingArgs::default() };
    let submission = read_all(line, Format::Ndjson, options).unwrap().remove(0).unwrap().submission;
    assert_eq!(submission.attributes, [("skill".to_owned(), value::int(1))].into());
}

#[test]
fn an_array_of_objects_is_read_element_by_element() {
    check("[]", Format::Ndjson, &[]);
    check("\u{feff}\n [{\"key\":\"a\"},{\"key\":\"b\"}]\n", Format::Ndjson, &["2 a", "2 b"]);
    let text = "[\n  {\n    \"key\": \"a]}\\\"\",\n    \"attributes\": {\"maps\": [\"x\"]}\n  },\n  7, \"s\", [1, {}],\n  {\n    \"key\": x\n  },\n\
                {\"key\":\"b\"}\n]\n";
    let object = |found: &str| format!("6: an element is an object, such as {{\"key\":\"p1\"}}, and not {found}");
    let expected = [
        "2 a]}\"",
        &object("7"),
        &object("\"s\""),
        &object("[1, {}]"),
        "7: expected value, at line 8, column 12",
        "10 b",
    ];
    check(text, Format::Ndjson, &expected);
    for (text, last) in [
        ("[{\"key\":\"a\"}\n{\"key\":\"b\"}]", "2: expected a comma, or the array's end, not '{' (fatal)"),
        ("[{\"key\":\"a\"},\n]", "2: expected an element after the comma, not ']' (fatal)"),
        ("[{\"key\":\"a\"}]\n{\"key\":\"b\"}", "2: expected nothing after the array's end, not '{' (fatal)"),
        ("[{\"key\":\"a\"},,", "1: expected an element, not ',' (fatal)"),
        ("[{\"key\":\"a\"}\n", "1: the array that begins here is never closed (fatal)"),
        ("[{\"key\":\"a\"},\n\n{\"key\":\"b]\n", "3: the element that begins here is never closed (fatal)"),
    ] {
        check(text, Format::Ndjson, &["1 a", last]);
    }
}

#[test]
fn pretty_printed_objects_are_read_one_after_the_other() {
    let pretty = |key: &str| format!("{{\n  \"key\": \"{key}\"\n}}\n");
    check(format!("\n{}{}", pretty("a"), pretty("b")), Format::Ndjson, &["2 a", "5 b"]);
    let long = format!("{}{{\n\"key\": \"{}\"\n}}{}", pretty("a"), "x".repeat(2 * LINE_BYTES_MAX), pretty("b"));
    check(long, Format::Ndjson, &["1 a", "4: the element is longer than 1048576 bytes", "6 b"]);
    check("{\n\"key\": \"a\"\n", Format::Ndjson, &["1: the element that begins here is never closed (fatal)"]);
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
