use super::*;

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
fn half_of_a_surrogate_pair_is_no_text() {
    let half = |line: u64, of: &str, escape: &str| {
        let why = "which has half of a surrogate pair: a \\ud... escape without its other half";
        format!("{line}: {of} is \"{escape}\", {why}")
    };
    check(
        r#"{"key":"\ud800"}
{"key":"\ud83d\ude00"}
{"key":"a","idempotency_key":"\udc00"}
{"key":"a","payload":"\ud800x"}
{"key":"a","attributes":{"region":"\ud800"}}
"#,
        Format::Ndjson,
        &[
            &half(1, "key", r"\ud800"),
            "2 😀",
            &half(3, "idempotency_key", r"\udc00"),
            &half(4, "payload", r"\ud800x"),
            r#"5: attribute "region" is "\ud800", but pool "duel" declares string, and half of a surrogate pair is no text"#,
        ],
    );
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
        ("[{\"key\":\"a\"}\n", "2: the file ends here, and the array that begins on line 1 is not closed (fatal)"),
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
