use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dovetail::pb::{self, AttributeType, ElementState, WithdrawOutcome};
use tonic::Status;

use crate::fake::{Fake, WatchCall, found, part};
use crate::programs;

/// What a command did: exit code, stdout, stderr.
pub type Done = (Option<i32>, String, String);

fn command(fake: Option<&Fake>, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::DOVETAIL);
    command.args(arguments).env_remove("DOVETAIL_SERVER").stdin(Stdio::null());
    command.current_dir(programs::root());
    if let Some(fake) = fake {
        command.env("DOVETAIL_SERVER", fake.url());
    }
    command
}

pub fn run(fake: Option<&Fake>, arguments: &[&str]) -> Done {
    let output = command(fake, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A file of this name's ending, in cargo's folder for tests.
pub fn file(ending: &str, text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("client-{number}.{ending}"));
    fs::write(&path, text).unwrap();
    path
}

fn lines(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("{{\"key\":\"{key}\"}}\n")).collect()
}

/// Submits the text; the file's name becomes FILE on stderr, and the time taken T on stdout.
pub fn submit(fake: &Fake, ending: &str, text: &str, more: &[&str]) -> Done {
    let path = file(ending, text);
    let name = path.to_str().unwrap();
    let (code, stdout, stderr) = run(Some(fake), &[&["submit", "--pool", "duel", name], more].concat());
    let stdout = match (stdout.split_once(" in "), stdout.split_once("/s)")) {
        (Some((before, _)), Some((_, after))) => format!("{before} in T{after}"),
        _ => stdout,
    };
    (code, stdout, stderr.replace(name, "FILE"))
}

pub fn done(code: i32, stdout: &str, stderr: &str) -> Done {
    (Some(code), stdout.to_owned(), stderr.to_owned())
}

#[test]
fn submit_keeps_the_order_of_the_lines_and_sums_up() {
    let fake = Fake::start();
    let keys: Vec<String> = (0..1000).map(|number| format!("p{number}")).collect();
    let text = lines(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let expected = done(0, "submitted 1000 elements in T, ids 2..1001, 0 refused\n", "");
    assert_eq!(submit(&fake, "ndjson", &text, &["--batch", "100"]), expected);
    let batches = fake.keys();
    assert!(batches.iter().all(|batch| batch.len() <= 100));
    assert_eq!(batches.concat(), keys);
}

#[test]
fn submit_types_csv_by_the_pools_schema() {
    let fake = Fake::start();
    let expected = done(0, "submitted 2 elements in T, ids 2..3, 0 refused\n", "");
    assert_eq!(submit(&fake, "csv", "key,skill,region\np1,-9223372036854775808,eu\np2,,\n", &[]), expected);
    let script = fake.script();
    let rows: Vec<_> = script.batches.iter().flatten().collect();
    assert_eq!(rows[0].attributes["skill"], dovetail::client::value::int(i64::MIN));
    assert!(rows[1].attributes.is_empty());
}

#[test]
fn submit_stops_at_a_malformed_line_after_submitting_those_before_it() {
    let fake = Fake::start();
    let text = "{\"key\":\"a\"}\n{\"key\":\"b\"}\n{\"key\":\n{\"key\":\"d\"}\n";
    let expected = done(
        1,
        "submitted 2 elements in T, ids 2..3, 0 refused, 1 malformed\n",
        "FILE:3: malformed: EOF while parsing a value, at column 7; an element is one line, unless the file begins with a line \
         that is only { or with [, for an array\n\
         stopped at the malformed line; what stands before it was submitted. Once it is mended, --from-line 3 goes on; \
         --keep-going passes over such lines\n",
    );
    assert_eq!(submit(&fake, "ndjson", text, &[]), expected);
    assert_eq!(fake.keys().concat(), ["a", "b"]);
}

#[test]
fn submit_goes_on_after_malformed_lines_when_told_to() {
    let fake = Fake::start();
    let text = "{\"key\":\"a\"}\n{\"key\":7.5}\n{\"key\":\"c\",\"attributes\":{\"skill\":1.5}}\n{\"key\":\"d\"}\n";
    let expected = done(
        1,
        "submitted 2 elements in T, ids 2..3, 0 refused, 2 malformed\n",
        "FILE:2: malformed: key is 7.5, not a string or a whole number\n\
         FILE:3: malformed: attribute \"skill\" is 1.5, but pool \"duel\" declares int\n",
    );
    assert_eq!(submit(&fake, "ndjson", text, &["--keep-going"]), expected);
    assert_eq!(fake.keys().concat(), ["a", "d"]);
}

#[test]
fn submit_begins_at_the_line_where_it_stopped() {
    let fake = Fake::start();
    let text = "{\"key\":\"a\"}\n{\"key\":\"b\"}\n{\"key\":\n{\"key\":\"bad\"}\n";
    assert_eq!(submit(&fake, "ndjson", text, &["--batch", "1"]).0, Some(1));
    assert_eq!(fake.keys().concat(), ["a", "b"], "nothing after the malformed line");
    let mended = text.replace("{\"key\":\n", "{\"key\":\"c\"}\n");
    let expected = done(
        1,
        "submitted 1 elements in T, ids 2..2, 1 refused\n",
        "FILE:4: refused: key \"bad\" is already waiting (ALREADY_EXISTS)\n",
    );
    assert_eq!(submit(&fake, "ndjson", &mended, &["--from-line", "3"]), expected, "the lines are the file's own");
    assert_eq!(fake.keys().concat(), ["a", "b", "c", "bad"]);
}

#[test]
fn submit_from_a_line_that_the_file_does_not_have_fails_and_says_how_many_there_are() {
    let fake = Fake::start();
    let nothing = "submitted 0 elements in T, 0 refused\n";
    for (ending, text) in [("ndjson", "{\"key\":\"a\"}\n{\"key\":\"b\"}\n"), ("csv", "key\na")] {
        let expected = done(1, nothing, "error: FILE: --from-line is 99999, but there are 2 lines\n");
        assert_eq!(submit(&fake, ending, text, &["--from-line", "99999"]), expected, "{ending}");
        // As a run says that was interrupted after the last line.
        assert_eq!(submit(&fake, ending, text, &["--from-line", "3"]), done(0, nothing, ""), "{ending}");
    }
    let elements = file("ndjson", "{\"key\":\"a\"}\n");
    let (code, _, stderr) =
        run(None, &["oracle", "examples/players.toml", elements.to_str().unwrap(), "--from-line", "3"]);
    assert!(code == Some(1) && stderr.ends_with("--from-line is 3, but there is 1 line\n"), "{stderr}");
}

#[test]
fn a_spreadsheet_that_is_not_text_is_said_to_be_one() {
    let expected = done(1, "", "error: FILE: this is a spreadsheet or zip file; save it as CSV\n");
    for ending in ["xlsx", "csv", "ndjson"] {
        assert_eq!(submit(&Fake::start(), ending, "PK\u{3}\u{4}\u{14}\0\u{6}\0", &[]), expected, "{ending}");
    }
}

#[test]
fn submit_takes_nothing_of_a_row_whose_quote_is_never_closed() {
    let fake = Fake::start();
    let expected = done(
        1,
        "submitted 1 elements in T, ids 2..2, 0 refused, 1 malformed\n",
        "FILE:4: malformed: the quote that opens here is never closed; a quote inside a cell is written twice, in quotes\n\
         stopped at the malformed line; what stands before it was submitted. Once it is mended, --from-line 3 goes on; \
         nothing after it can be read\n",
    );
    let text = "key,payload,region\na,1,eu\nb,\"two\nlines\",\"5 inch\nc,3,eu\n";
    assert_eq!(submit(&fake, "csv", text, &["--keep-going"]), expected);
    assert_eq!(fake.keys().concat(), ["a"]);
}

#[test]
fn submit_reads_a_spreadsheet_as_told() {
    let fake = Fake::start();
    let text = "\u{feff};Player;Skill Level;Region;Notes\r\n0;p1;1500.0;eu;-\r\n1;p2;NA;(none);x\r\n";
    let told =
        ["--delimiter", ";", "--key-column", "Player", "--rename", "Skill Level=skill", "--rename", "Region=region"];
    let more = ["--null", "NA,-", "--empty", "(none)", "--ignore-unknown"];
    let expected = done(0, "submitted 2 elements in T, ids 2..3, 0 refused\n", "");
    assert_eq!(submit(&fake, "csv", text, &[&told[..], &more].concat()), expected);
    let script = fake.script();
    let rows: Vec<_> = script.batches.iter().flatten().collect();
    assert_eq!((rows[0].key.as_str(), rows[1].key.as_str()), ("p1", "p2"));
    assert_eq!(rows[0].attributes["skill"], dovetail::client::value::int(1500));
    assert_eq!(rows[1].attributes, [("region".to_owned(), dovetail::client::value::string(""))].into());
}

#[test]
fn options_of_csv_are_wrong_usage_for_json() {
    let expected = "error: --null is for CSV, but FILE is read as JSON; see --format\n";
    let (code, _, stderr) = submit(&Fake::start(), "ndjson", "", &["--null", "NA"]);
    assert_eq!((code, stderr.as_str()), (Some(2), expected));
}

#[test]
fn submit_names_refused_elements_by_their_lines() {
    let fake = Fake::start();
    let expected = done(
        1,
        "submitted 3 elements in T, ids 2..4, 2 refused\n",
        "FILE:2: refused: key \"bad\" is already waiting (ALREADY_EXISTS)\n\
         FILE:5: refused: key \"bad2\" is already waiting (ALREADY_EXISTS)\n",
    );
    assert_eq!(submit(&fake, "ndjson", &lines(&["a", "bad", "c", "d", "bad2"]), &["--batch", "2"]), expected);
}

#[test]
fn submit_says_what_is_in_doubt_when_the_connection_breaks() {
    let fake = Fake::start();
    fake.script().breaks_at = Some(1);
    let (code, stdout, stderr) =
        submit(&fake, "ndjson", &lines(&["a", "b", "c", "d"]), &["--batch", "2", "--in-flight", "1"]);
    assert_eq!((code, stdout.as_str()), (Some(1), "submitted 2 elements in T, ids 2..3, 0 refused\n"));
    let expected = "error: the node is going down (UNAVAILABLE)\n\
                    FILE: lines 3 to 4 were sent and not answered: they may have been taken\n\
                    --from-line 3 goes on from here\n";
    assert_eq!(stderr, expected);
}

#[test]
fn submit_does_not_keep_a_pipe_waiting() {
    let fake = Fake::start();
    let mut child = command(Some(&fake), &["submit", "--pool", "duel", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"key\":\"a\"}\n").unwrap();
    fake.until("the first line before the second is written", |script| script.batches.len() == 1);
    stdin.write_all(b"{\"key\":\"b\"}").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(fake.keys(), [["a"], ["b"]]);
}

#[test]
fn submit_to_an_unknown_pool_names_those_there_are() {
    let fake = Fake::start();
    let expected = done(1, "", "error: pool \"duet\" is not defined (NOT_FOUND); there are: duel\n");
    assert_eq!(run(Some(&fake), &["submit", "--pool", "duet", "-"]), expected);
    let (code, _, stderr) = run(Some(&fake), &["submit", "--pool", "duel", "/nowhere.ndjson"]);
    assert_eq!((code, stderr.as_str()), (Some(1), "error: /nowhere.ndjson: No such file or directory (os error 2)\n"));
}

#[test]
fn watch_prints_exact_json_lines_and_resumes() {
    let fake = Fake::start();
    let mut with_payload = found(9);
    with_payload.a.as_mut().unwrap().payload = "hi".into();
    let calls = [
        WatchCall { sends: vec![part(&[3], 4)], ends: Some(Err(Status::unavailable("going down"))) },
        WatchCall {
            sends: vec![pb::WatchMatchesResponse { matches: vec![with_payload], settled: 9, ..Default::default() }],
            ends: Some(Ok(())),
        },
    ];
    fake.script().watches = calls.into();
    let stdout = concat!(
        r#"{"cursor":3,"pool":"duel","a":{"id":2,"key":"p2"},"b":{"id":3,"key":"p3"}}"#,
        "\n",
        r#"{"cursor":9,"pool":"duel","a":{"id":8,"key":"p8","payload":"hi"},"b":{"id":9,"key":"p9"}}"#,
        "\n"
    );
    let arguments = ["watch", "--pool", "duel", "--json", "--from", "2", "--until-settled"];
    assert_eq!(run(Some(&fake), &arguments), done(0, stdout, ""));
    let request = |after| pb::WatchMatchesRequest {
        pool: "duel".to_owned(),
        after,
        until_settled: true,
        format: pb::ResponseFormat::Rows.into(),
        from_now: false,
        arrival_times: false,
    };
    assert_eq!(fake.script().watched, [request(2), request(4)]);
}

#[test]
fn watch_prints_a_table_for_people() {
    let fake = Fake::start();
    fake.script().watches = [WatchCall { sends: vec![part(&[3], 3)], ends: Some(Ok(())) }].into();
    let (code, stdout, _) = run(Some(&fake), &["watch", "--until-settled"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let found: Vec<Vec<String>> = stdout.lines().map(words).collect();
    assert_eq!(code, Some(0));
    assert_eq!(found[0], ["cursor", "pool", "a", "(id)", "b", "(id)", "time", "(UTC)", "waited", "(a,", "b)"]);
    assert_eq!(found[1], ["3", "duel", "p2", "(2)", "p3", "(3)", "1970-01-01", "00:00:00.000"]);
}

/// The first line that a watch prints, while it goes on.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

#[test]
fn watch_prints_what_it_has_while_it_waits_and_ends_quietly_with_its_reader() {
    let mut fake = Fake::start();
    let calls =
        [WatchCall { sends: vec![part(&[3], 3)], ends: None }, WatchCall { sends: vec![part(&[5], 5)], ends: None }];
    fake.script().watches = calls.into();
    let mut child =
        command(Some(&fake), &["watch", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(first_line(&mut child).starts_with("{\"cursor\":3,"));
    drop(child.stdout.take());
    // The next match finds nobody to read it.
    fake.restart();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn pool_define_says_the_same_by_flags_and_by_file() {
    let fake = Fake::start();
    let rule = "a.region == b.region";
    let flags = [
        "pool",
        "define",
        "duel",
        "--attribute",
        "skill=int",
        "--attribute",
        "maps=list<string>",
        "--rule",
        rule,
        "--ttl",
        "60s",
        "--reprobe",
        "5s,10s",
        "--waiting-max",
        "7",
    ];
    assert_eq!(run(Some(&fake), &flags), done(0, "pool \"duel\" is defined (event 1)\n", ""));
    let text = format!(
        "name = 'duel'\nrule = '{rule}'\nttl = '1m'\nreprobe = ['5s', '10s']\nlimits = {{ waiting_max = 7 }}\n\
         [attributes]\nskill = 'int'\nmaps = 'list'\n"
    );
    let path = file("toml", &text);
    assert_eq!(run(Some(&fake), &["pool", "define", "--file", path.to_str().unwrap()]).0, Some(0));
    let script = fake.script();
    assert_eq!(script.defined[0], script.defined[1]);
    assert_eq!(script.defined[0].reprobe_ms, [5000, 10_000]);
    assert_eq!(script.defined[0].attributes[1].r#type(), AttributeType::StringList);
}

#[test]
fn a_refusal_is_one_readable_line() {
    let fake = Fake::start();
    let expected = done(
        1,
        "",
        "error: pool \"duel\" is defined with another rule (ALREADY_EXISTS); choose another name; the elements of duel \
                         stay where they are\n",
    );
    assert_eq!(run(Some(&fake), &["pool", "define", "duel", "--rule", "other"]), expected);
    let expected = done(1, "", "error: element 17 is not known (NOT_FOUND)\n");
    assert_eq!(run(Some(&fake), &["get", "17"]), expected);
}

#[test]
fn pool_list_shows_every_pool() {
    let fake = Fake::start();
    let (code, stdout, _) = run(Some(&fake), &["pool", "list"]);
    let row = stdout.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((code, row.as_str()), (Some(0), "duel 1,234 0 0 0 - - region=string skill=int a.region == b.region"));
    let (_, stdout, _) = run(Some(&fake), &["pool", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["pool"], &json["attributes"][1]["type"]), (&"duel".into(), &"int".into()));
}

#[test]
fn get_shows_what_became_of_an_element() {
    let fake = Fake::start();
    fake.script().element = Some(pb::Element {
        id: 3,
        pool: "duel".to_owned(),
        key: "p3".to_owned(),
        state: ElementState::Matched.into(),
        ended_at: 3,
        r#match: Some(found(3)),
        ..Default::default()
    });
    let expected = done(0, "element 3 (p3) in pool duel: matched: 2 (p2) with 3 (p3) at 3\n", "");
    assert_eq!(run(Some(&fake), &["get", "--pool", "duel", "--key", "p3", "--wait", "5s"]), expected);
}

#[test]
fn withdraw_fails_when_the_element_was_matched_before() {
    let fake = Fake::start();
    for (outcome, code, text) in [
        (WithdrawOutcome::Withdrawn, 0, "withdrawn at 9\n"),
        (WithdrawOutcome::AlreadyWithdrawn, 0, "already withdrawn at 9\n"),
        (WithdrawOutcome::AlreadyMatched, 1, "already matched: 2 (p2) with 3 (p3) at 3\n"),
        (WithdrawOutcome::NotFound, 1, "no such element, or no longer remembered\n"),
    ] {
        let matched = (outcome == WithdrawOutcome::AlreadyMatched).then(|| found(3));
        let position = if outcome == WithdrawOutcome::NotFound { 0 } else { 9 };
        let answer = pb::WithdrawResponse { outcome: outcome.into(), r#match: matched, position, reason: 0 };
        fake.script().withdraw = Some(answer);
        assert_eq!(run(Some(&fake), &["withdraw", "3"]), done(code, text, ""));
    }
}

#[test]
fn withdraw_fails_when_the_element_has_expired() {
    let fake = Fake::start();
    let (outcome, reason) = (WithdrawOutcome::AlreadyWithdrawn.into(), pb::EndReason::Expired.into());
    fake.script().withdraw = Some(pb::WithdrawResponse { outcome, reason, position: 9, ..Default::default() });
    assert_eq!(run(Some(&fake), &["withdraw", "3"]), done(1, "already expired at 9\n", ""));
}

#[test]
fn an_element_that_still_waits_when_the_wait_is_over_is_shown_and_exits_with_3() {
    let fake = Fake::start();
    let waiting = pb::Element {
        id: 3,
        pool: "duel".to_owned(),
        key: "p3".to_owned(),
        state: ElementState::Waiting.into(),
        ..Default::default()
    };
    fake.script().element = Some(waiting);
    let shown = "element 3 (p3) in pool duel: waiting\n";
    assert_eq!(run(Some(&fake), &["get", "3"]), done(0, shown, ""));
    let late = "error: element 3 still waits after 200ms, which is --wait\n";
    assert_eq!(run(Some(&fake), &["get", "3", "--wait", "200ms"]), done(3, shown, late));
}

#[test]
fn a_command_ends_with_3_when_its_time_is_over() {
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for command in
        ["get 3", "withdraw 3", "explain 3", "pool list", "pool define d --rule true", "submit --pool duel -"]
    {
        let arguments: Vec<&str> = command.split(' ').chain(["--timeout", "300ms", "--server", &url]).collect();
        let doubt = match command {
            "withdraw 3" => "; the withdrawal may still take place; \"dovetail get 3\" tells",
            "pool define d --rule true" => "; the pool may still be defined; the same command again tells",
            _ => "",
        };
        let late = format!("error: not done within 300ms, which is --timeout, with the server at {url}{doubt}\n");
        assert_eq!(run(None, &arguments), done(3, "", &late), "{command}");
    }
    let bench = ["bench", "--timeout", "300ms", "--elements", "100", "--server", &url];
    assert_eq!(run(None, &bench), done(3, "", "error: not done within 300ms, which is --timeout\n"));
    let (code, _, stderr) = run(None, &["status", "--timeout", "300ms", "--server", &url]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with(&format!("error: no server at {url}: no answer within 300ms")), "{stderr}");
}

#[test]
fn a_watch_and_a_submission_end_with_3_and_say_what_is_in_doubt() {
    // Long enough for a busy machine to begin.
    let fake = Fake::start();
    fake.script().watches = [WatchCall { sends: vec![part(&[3], 3)], ends: None }].into();
    let (code, stdout, stderr) = run(Some(&fake), &["watch", "--json", "--timeout", "2s"]);
    assert_eq!((code, stdout.lines().count()), (Some(3), 1));
    assert!(stderr.starts_with("error: not done within 2s"), "{stderr}");
    fake.hold_answers();
    let (code, stdout, stderr) = submit(&fake, "ndjson", &lines(&["a", "b"]), &["--timeout", "2s"]);
    assert_eq!((code, stdout.as_str()), (Some(3), "submitted 0 elements in T, 0 refused\n"));
    let doubt = "FILE: lines 1 to 2 were sent and not answered: they may have been taken\n\
                 --from-line 1 goes on from here\nerror: not done within 2s";
    assert!(stderr.starts_with(doubt), "{stderr}");
}

/// The objects that a command prints.
fn objects(stdout: &str) -> Vec<serde_json::Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn submit_tells_machines_what_became_of_each_line() {
    let fake = Fake::start();
    let text = format!("{}{{\n{}", lines(&["a", "bad"]), lines(&["c"]));
    let (code, stdout, _) = submit(&fake, "ndjson", &text, &["--json", "--keep-going"]);
    let found = objects(&stdout);
    assert_eq!((code, found.len()), (Some(1), 5));
    // Malformed lines are told when they are read, the others when they are answered.
    let line = |number: u64| found.iter().find(|object| object["line"] == number).unwrap();
    assert_eq!(line(1), &serde_json::json!({ "line": 1, "id": 2 }));
    let refused = serde_json::json!({ "code": "ALREADY_EXISTS", "message": "key \"bad\" is already waiting" });
    assert_eq!(line(2)["refused"], refused);
    assert!(line(3)["malformed"].as_str().unwrap().starts_with("EOF while parsing"));
    assert_eq!(line(4), &serde_json::json!({ "line": 4, "id": 3 }));
    let all = &found[4];
    let counts = ["submitted", "refused", "malformed", "first_id", "last_id"].map(|name| all[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 2, 3]);
}

#[test]
fn pool_define_tells_machines_what_was_defined() {
    let fake = Fake::start();
    let define = ["pool", "define", "duel", "--attribute", "skill=int", "--rule", "a.skill > b.skill", "--json"];
    let (code, stdout, stderr) = run(Some(&fake), &define);
    let found = objects(&stdout);
    assert_eq!((code, stderr.as_str(), found.len()), (Some(0), "", 1));
    assert_eq!(
        (&found[0]["pool"], &found[0]["created"], &found[0]["defined_at"]),
        (&"duel".into(), &true.into(), &1.into())
    );
    let note = &found[0]["notes"][0];
    assert_eq!(note["code"], "asymmetric");
    assert!(note["text"].as_str().unwrap().contains("a and b exchanged"));
}

#[test]
fn the_version_says_what_was_built_and_how() {
    for program in ["dovetail", "dovetail-balancer", "dovetail-matcher", "dovetail-gatherer"] {
        let output = Command::new(programs::folder().join(program)).arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (name, version) = text.trim_end().split_once(' ').unwrap();
        assert_eq!(name, program);
        let built = if program == "dovetail" { dovetail_cli::VERSION } else { dovetail_server::VERSION };
        assert_eq!(version, built);
        let profile = if cfg!(debug_assertions) { "debug)" } else { "release)" };
        assert!(
            version.starts_with(&format!("{} (", env!("CARGO_PKG_VERSION"))) && version.ends_with(profile),
            "{version}"
        );
    }
}

#[test]
fn completions_of_every_program_are_scripts_of_the_shell() {
    for program in ["dovetail", "dovetail-balancer", "dovetail-matcher", "dovetail-gatherer"] {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let (code, stdout, stderr) = run(None, &["completions", shell, "--program", program]);
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{shell} {program}");
            assert!(stdout.contains(program), "{shell} {program}");
            if shell == "bash" {
                let path = file("bash", &stdout);
                assert!(Command::new("bash").arg("-n").arg(path).status().unwrap().success(), "{program}");
            }
        }
    }
}

#[test]
fn bash_completes_commands_and_their_flags() {
    let path = file("bash", &run(None, &["completions", "bash"]).1);
    // As bash calls it for `dovetail` and what follows.
    let complete = |words: &str| {
        let script = "source \"$0\"; COMP_WORDS=(dovetail $1); COMP_CWORD=${#COMP_WORDS[@]}; COMP_WORDS+=(\"$2\"); \
                      _dovetail dovetail \"$2\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"";
        let (before, last) = words.rsplit_once(' ').unwrap_or(("", words));
        let output = Command::new("bash").args(["-c", script]).arg(&path).args([before, last]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(complete("wi"), "withdraw");
    assert_eq!(complete("status --che"), "--check");
    assert_eq!(complete("pool def"), "define");
}

#[test]
fn man_pages_of_every_command_are_written_and_can_be_read() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("man-pages/man1");
    let (code, stdout, stderr) = run(None, &["man", "--out", folder.to_str().unwrap()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.ends_with(&format!("pages are in {}\n", folder.display())), "{stdout}");
    let has_man = Command::new("man").arg("--version").stdout(Stdio::null()).status().is_ok_and(|done| done.success());
    for (page, part) in [
        ("dovetail", "withdraw"),
        ("dovetail-pool-define", "--attribute"),
        ("dovetail-status", "--check"),
        ("dovetail-balancer", "--in-flight-max"),
        ("dovetail-matcher", "--index"),
        ("dovetail-gatherer", "--index"),
    ] {
        let path = folder.join(format!("{page}.1"));
        assert!(fs::read_to_string(&path).unwrap().starts_with(".ie"), "{page} is a page");
        if has_man {
            let shown = Command::new("man").arg("-l").arg(&path).env("MANPAGER", "cat").output().unwrap();
            let text = String::from_utf8_lossy(&shown.stdout).replace('\u{2010}', "-");
            assert!(shown.status.success() && text.contains(part), "{page}: {text}");
        }
    }
    let (code, _, stderr) = run(None, &["man", "--out", "/proc/nowhere"]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("error: cannot write to /proc/nowhere: "), "{stderr}");
}

#[test]
fn status_asks_every_node_and_fails_when_one_is_silent() {
    let (fake, mut gone) = (Fake::start(), Fake::start());
    gone.stop();
    let servers = format!("{},{}", gone.url(), fake.url());
    let (code, stdout, stderr) = run(None, &["status", "--server", &servers]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains(&format!("gatherer 3 at {}", fake.url())), "{stdout}");
    assert!(stderr.starts_with(&format!("error: no server at {}: ", gone.url())), "{stderr}");
}

#[test]
fn nobody_listening_is_said_with_the_url_and_what_to_do() {
    let mut fake = Fake::start();
    fake.stop();
    for arguments in [&["pool", "list"][..], &["submit", "--pool", "duel", "-"], &["watch"], &["get", "1"]] {
        let (code, stdout, stderr) = run(Some(&fake), arguments);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        let expected = format!(
            "error: no server at {}: Connection refused (os error 111); \"dovetail up\" starts one, and --server or \
             DOVETAIL_SERVER names another\n",
            fake.url()
        );
        assert_eq!(stderr, expected);
    }
}

#[test]
fn wrong_usage_and_wrong_settings_exit_with_2() {
    assert_eq!(run(None, &["get"]).0, Some(2));
    assert_eq!(run(None, &["submit"]).0, Some(2));
    let expected = done(2, "", "error: cluster.slices is 0, but must be 1 to 1024 (from flag --slices)\n");
    assert_eq!(run(None, &["up", "--slices", "0"]), expected);
    assert_eq!(run(None, &["--help"]).0, Some(0));
    assert_eq!(run(None, &["--version"]).0, Some(0));
}

#[test]
fn the_examples_match_about_half_of_their_elements_or_more() {
    for (pool, elements) in [("players.toml", "players.ndjson"), ("riders.toml", "riders.csv")] {
        let (pool, elements) = (format!("examples/{pool}"), format!("examples/{elements}"));
        let (code, stdout, stderr) = run(None, &["oracle", &pool, &elements]);
        assert_eq!(code, Some(0), "{stderr}");
        let count: usize = stderr.split(' ').next().unwrap().parse().unwrap();
        assert!(2 * stdout.lines().count() * 100 >= count * 45, "{stderr}");
    }
}

#[test]
fn the_oracle_tells_malformed_and_refused_lines() {
    let pool = file("toml", "name = 'duel'\nrule = 'a.skill == b.skill'\nattributes = { skill = 'int' }\n");
    let text = "{\"key\":\"a\",\"attributes\":{\"skill\":1}}\n{\"key\":\"a\",\"attributes\":{\"skill\":1}}\n\
                {\"key\":\"b\",\"attributes\":{\"skill\":\"1\"}}\n{\"key\":\"c\",\"attributes\":{\"skill\":1}}\n";
    let elements = file("ndjson", text);
    let (pool, name) = (pool.to_str().unwrap(), elements.to_str().unwrap());
    let (code, stdout, stderr) = run(None, &["oracle", "--keep-going", pool, name]);
    assert_eq!(code, Some(1));
    assert_eq!(
        stdout,
        "{\"cursor\":3,\"pool\":\"duel\",\"a\":{\"id\":2,\"key\":\"a\"},\"b\":{\"id\":3,\"key\":\"c\"}}\n"
    );
    let expected = "FILE:2: refused: key \"a\" is waiting in pool \"duel\" already, as element 2\n\
                    FILE:3: malformed: attribute \"skill\" is \"1\", but pool \"duel\" declares int\n\
                    2 elements, 1 matches, 0 waiting\n";
    assert_eq!(stderr.replace(name, "FILE"), expected);
}

#[test]
fn the_oracle_tells_machines_what_it_did_not_take_and_sums_up() {
    let pool = file("toml", "name = 'duel'\nrule = 'a.skill == b.skill'\nattributes = { skill = 'int' }\n");
    let text = "{\"key\":\"a\",\"attributes\":{\"skill\":1}}\n{\"key\":\"a\"}\n{\"key\":\n{\"key\":\"c\",\"attributes\":{\"skill\":1}}\n";
    let elements = file("ndjson", text);
    let arguments = ["oracle", "--json", "--keep-going", pool.to_str().unwrap(), elements.to_str().unwrap()];
    let (code, stdout, _) = run(None, &arguments);
    let found = objects(&stdout);
    assert_eq!((code, found.len()), (Some(1), 4), "{stdout}");
    assert_eq!(found[0]["line"], 2);
    assert!(found[0]["refused"].as_str().unwrap().contains("waiting"), "{stdout}");
    assert!(found[1]["line"] == 3 && found[1]["malformed"].is_string(), "{stdout}");
    assert_eq!(found[2]["a"]["key"], "a");
    assert_eq!(found[3], serde_json::json!({ "elements": 2, "matches": 1, "waiting": 0 }));
}

#[test]
fn a_server_that_is_no_url_is_wrong_usage() {
    let (code, stdout, stderr) = run(None, &["pool", "list", "--server", "ftp//nowhere at all"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with("error: ") && stderr.contains("nowhere at all"), "{stderr}");
}

const DUEL: &str = "a.region == b.region && abs(a.skill - b.skill) <= 25";

#[test]
fn a_rule_is_planned_without_a_server() {
    let attributes = ["--attribute", "region=string", "--attribute", "skill=int"];
    let plan = |more: &[&str]| run(None, &[&["rule", "plan", DUEL], &attributes[..], more].concat());
    let expected = "\
key       a.region == b.region
columns   abs(a.skill - b.skill) <= 25  skill: band
residual  none
split     by key (region): elements of two keys never match
order     by skill, where many wait and few of them are wanted
cost      up to 13 units for each pair that columns let through
needs     region, skill: an element without never matches
";
    assert_eq!(plan(&[]), done(0, expected, ""));
    let (code, stdout, stderr) = plan(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, stderr.as_str(), json["split"].as_str()), (Some(0), "", Some("key")));
    assert_eq!((&json["conjuncts"][1]["how"], &json["order"]), (&"skill: band".into(), &serde_json::json!(["skill"])));
    assert_eq!((&json["needs"], &json["notes"]), (&serde_json::json!(["region", "skill"]), &serde_json::json!([])));
}

#[test]
fn the_plan_of_a_pool_file_tells_how_its_rule_and_its_times_go_together() {
    let text = "name = 'duel'\nrule = 'abs(a.skill - b.skill) <= 25 + a.waited / 1000'\nttl = '10s'\nreprobe = ['10s']\n\
                attributes = { skill = 'int' }\n";
    let (code, stdout, stderr) = run(None, &["rule", "plan", "--file", file("toml", text).to_str().unwrap()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for part in ["the reprobe at 10s never happens: an element expires after 10s (ttl)", "no element searches again"] {
        assert!(stdout.contains(part), "{stdout}");
    }
}

#[test]
fn the_examples_are_free_of_notes() {
    let files = ["examples", "examples/cookbook"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(programs::root().join(folder)).unwrap());
    let pools = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let mut checked = 0;
    for pool in pools {
        let (code, stdout, stderr) = run(None, &["rule", "plan", "--json", "--file", pool.to_str().unwrap()]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{}", pool.display());
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(json["notes"], serde_json::json!([]), "{}", pool.display());
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} pools were found");
}

#[test]
fn a_rule_that_cannot_be_is_shown_with_the_place() {
    let expected = "error: rule:1:3: unknown attribute \"skil\" (did you mean \"skill\"?); there are skill, waited\na.skil == b.skill\n  ^^^^\n";
    let found = run(None, &["rule", "plan", "a.skil == b.skill", "--attribute", "skill=int"]);
    assert_eq!(found, done(1, "", expected));
}

#[test]
fn defining_a_pool_whose_rule_may_be_a_mistake_says_so() {
    let fake = Fake::start();
    let define = |rule: &str| run(Some(&fake), &["pool", "define", "duel", "--attribute", "skill=int", "--rule", rule]);
    let defined = "pool \"duel\" is defined (event 1)\n";
    let note = "note: not the same with a and b exchanged, so who arrives first matters: a.skill > b.skill\n";
    assert_eq!(define("a.skill > b.skill"), done(0, defined, note));
    assert_eq!(define("a.skill == b.skill"), done(0, defined, ""));
}

#[test]
fn explain_shows_what_the_server_found() {
    let fake = Fake::start();
    assert_eq!(run(Some(&fake), &["explain", "17"]), done(1, "", "error: element 17 is not known (NOT_FOUND)\n"));
    let element = pb::Element {
        id: 17,
        pool: "duel".to_owned(),
        key: "ada".to_owned(),
        state: ElementState::Waiting.into(),
        ..Default::default()
    };
    fake.script().element = Some(element);
    let (code, stdout, _) = run(Some(&fake), &["explain", "17", "--nearest", "7"]);
    assert!(code == Some(0) && stdout.contains("tested with the 7 others"), "{stdout}");
}

#[test]
fn files_that_say_who_may_do_what_are_settings_and_are_looked_at_before_anything_starts() {
    let policy = std::env::temp_dir().join(format!("dovetail-policy-{}", std::process::id()));
    fs::write(&policy, "[[grant]]\nwho = [\"root\"]\nroles = [\"operator\"]\n").unwrap();
    let good = policy.to_str().unwrap();
    let tokens = ["--token-issuer", "https://issuer", "--token-audience", "dovetail"];
    for (flags, says) in [
        (vec!["--policy", "/nowhere"], "/nowhere: No such file"),
        (vec!["--policy", "/proc/self/status"], "auth.policy, /proc/self/status: "),
        (vec!["--policy", good, "--api-keys", "/nowhere"], "/nowhere: No such file"),
        ([&["--policy", good, "--jwks", "/nowhere"][..], &tokens].concat(), "/nowhere: No such file"),
    ] {
        let (code, stdout, stderr) = run(None, &[&["up", "--data", "/proc/nowhere"], &flags[..]].concat());
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{flags:?}: {stderr}");
        assert!(stderr.contains(says) && !stderr.contains("listening"), "{flags:?}: {stderr}");
    }
    fs::remove_file(policy).unwrap();
}

#[test]
fn a_token_s_file_that_cannot_be_read_is_named() {
    let (code, _, stderr) = run(None, &["pool", "list", "--token-file", "/nowhere/token"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("/nowhere/token: No such file"), "{stderr}");
}

#[test]
fn commands_find_the_balancer_that_writes_among_several() {
    let (standby, writes) = (Fake::start(), Fake::start());
    standby.refuses(dovetail_server::rpc::stands_by(None));
    let servers = format!("{},{}", standby.url(), writes.url());
    let (first, second) = (standby.url(), writes.url());
    let twice = ["pool", "list", "--json", "--server", &first, "--server", &second];
    for (arguments, variable) in
        [(&twice[..], ""), (&["pool", "list", "--json", "--server", &servers], ""), (&twice[..3], &servers)]
    {
        let mut command = command(None, arguments);
        if !variable.is_empty() {
            command.env("DOVETAIL_SERVER", variable);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("\"pool\":\"duel\""));
    }
}
