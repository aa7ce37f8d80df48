//! Files as people have them, read by a cluster and by the oracle, and shown again.

use crate::harness::{Cluster, Done, SMALL, dovetail, program, run};
use crate::programs::DOVETAIL;

const POOL: &str = "\
name = 'far'
rule = 'abs(a.x - b.x) <= 10.0'
[attributes]
x = 'double'
skill = 'int'
tag = 'string'
maps = 'list'
pro = 'bool'
";

/// Runs a command that has to work.
async fn good(server: &str, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = dovetail(server, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {stdout}{stderr}");
    stdout
}

async fn oracle(pool: &str, arguments: &[&str]) -> Done {
    let mut command = program(DOVETAIL);
    command.args(["oracle", pool]).args(arguments);
    run(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_get_prints_is_what_was_submitted_and_can_be_submitted_again() {
    let cluster = Cluster::start("files-again", SMALL).await;
    let server = cluster.server();
    let file = |name: &str, text: &str| cluster.place.file(name, text).to_str().unwrap().to_owned();
    good(&server, &["pool", "define", "--file", &file("far.toml", POOL)]).await;
    let text = r#"[
  {"key": -5, "attributes": {"x": "Infinity", "skill": 1500.0, "tag": "", "maps": [], "pro": 1}},
  {"key": "other", "attributes": {"x": "Infinity", "tag": null}}
]"#;
    let submitted = good(&server, &["submit", "--pool", "far", &file("far.json", text)]).await;
    assert!(submitted.starts_with("submitted 2 elements"), "{submitted}");

    let printed = good(&server, &["get", "--pool", "far", "--key", "-5", "--json"]).await;
    let shown = r#""attributes":{"maps":[],"pro":true,"skill":1500,"tag":"","x":"Infinity"}"#;
    assert!(printed.contains(shown), "{printed}");
    let why = good(&server, &["explain", "--pool", "far", "--key", "-5"]).await;
    assert!(why.contains("a.x - b.x is not a number: Infinity - Infinity") && why.contains("x = Infinity\n"), "{why}");
    assert!(!why.contains("missing\n") && !why.contains("attribute is missing"), "{why}");

    good(&server, &["withdraw", "--pool", "far", "--key", "-5"]).await;
    good(&server, &["submit", "--pool", "far", "--ignore-unknown", &file("again.ndjson", &printed)]).await;
    let again = good(&server, &["get", "--pool", "far", "--key", "-5", "--json"]).await;
    assert!(again.contains(shown) && again.contains("\"waiting\""), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_and_a_cluster_read_a_spreadsheet_alike() {
    let cluster = Cluster::start("files-alike", SMALL).await;
    let server = cluster.server();
    let pool = cluster.place.file("far.toml", POOL);
    let pool = pool.to_str().unwrap();
    let text = ";Player;Skill Level;x;pro;Notes\r\n\
                0;p1;1500.0;1e1;TRUE;\"say \"\"hi\"\"\"\r\n\
                1;p2;NA;20;False;\r\n\
                2;p3;x;5;1;\r\n\
                3;p4;7;NA;0;\"two\r\nlines\"\r\n\
                4;p5;-8;25.5;;NA\r\n\
                5;p6;9;\"26;never\r\nclosed\r\n";
    let file = cluster.place.file("ranks.csv", text);
    let file = file.to_str().unwrap();
    let options = ["--delimiter", ";", "--key-column", "Player", "--rename", "Skill Level=skill", "--null", "NA"];
    let more = ["--ignore-unknown", "--keep-going", file];
    let read = [&options[..], &more].concat();

    let (code, expected, told) = oracle(pool, &read).await;
    assert_eq!((code, expected.lines().count()), (Some(1), 1), "{told}");
    good(&server, &["pool", "define", "--file", pool]).await;
    let (code, stdout, stderr) = dovetail(&server, &[&["submit", "--pool", "far"], &read[..]].concat()).await;
    assert_eq!(code, Some(1));
    assert!(
        stdout.starts_with("submitted 4 elements") && stdout.ends_with("0 refused, 2 malformed\n"),
        "{stdout}{stderr}"
    );
    for told in [&told, &stderr] {
        let malformed = format!("{file}:4: malformed: attribute \"skill\" is \"x\", but pool \"far\" declares int\n");
        assert!(told.contains(&malformed) && told.contains(&format!("{file}:8: malformed: the quote that")), "{told}");
    }
    assert_eq!(good(&server, &["watch", "--pool", "far", "--json", "--until-settled"]).await, expected);
}
