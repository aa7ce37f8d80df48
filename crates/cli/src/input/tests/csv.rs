use super::*;

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
fn a_csv_record_without_end_is_cut_off() {
    let text = format!("key\nada\n\"{}", "x".repeat(8 * LINE_BYTES_MAX));
    let expected = "3: the record is longer than 1048576 bytes; is a quote not closed? (fatal)";
    check(text, Format::Csv, &["2 ada", expected]);
}

#[test]
fn any_number_of_blank_csv_lines_is_passed_over() {
    let many = 3 * LINE_BYTES_MAX / 2;
    for end in ["\n", "\r\n", "\r"] {
        let blank = end.repeat(many);
        let text = format!("key{end}{blank}ada{end}{end}\"b{end}ob\"{end}cy{end}{end}");
        let (ada, bob, cy) = (many + 2, many + 4, many + 6);
        check(text, Format::Csv, &[&format!("{ada} ada"), &format!("{bob} b{end}ob"), &format!("{cy} cy")]);
    }
    // Inside quotes they are the record's.
    let text = format!("key\n{}\"{}\"\n", "\n".repeat(many), "\n".repeat(many));
    let expected = format!("{}: the record is longer than 1048576 bytes; is a quote not closed? (fatal)", many + 2);
    check(text, Format::Csv, &[&expected]);
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
