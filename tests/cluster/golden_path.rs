//! What a new user does first, as the README has it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::harness::{Done, Place, Process, dovetail, program, run, until};
use crate::history::History;
use crate::programs::DOVETAIL;

/// A cluster in one process.
struct Up {
    process: Process,
    place: Place,
}

impl Up {
    async fn start(test: &str) -> Up {
        let place = Place::new(test);
        let mut command = program(DOVETAIL);
        command.args(["up", "--listen", &format!("{}:7400", place.ip), "--data"]).arg(place.folder.join("data"));
        command.args(["--slices", "4", "--matchers", "2", "--gatherers", "2"]);
        command.stdout(std::fs::File::create(place.folder.join("stdout")).unwrap());
        let process = Process::start(command, place.folder.join("up.log"));
        let up = Up { process, place };
        until("the banner is printed", async || up.banner().contains("Next").then_some(())).await;
        up
    }

    fn server(&self) -> String {
        format!("http://{}:7400", self.place.ip)
    }

    fn banner(&self) -> String {
        std::fs::read_to_string(self.place.folder.join("stdout")).unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> Done {
        dovetail(&self.server(), arguments).await
    }

    /// SIGTERM; then what is on the disk.
    async fn stop(mut self) -> History {
        self.process.signal("TERM");
        let status = self.process.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.process.log_text());
        History::read(&self.place.folder.join("data"), "dovetail")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_one_process_tells_machines_where_it_is_and_status_finds_all_of_it() {
    let place = Place::new("up-json");
    let mut command = program(DOVETAIL);
    // A free port: only what is printed says which.
    command.args(["up", "--json", "--listen", &format!("{}:0", place.ip), "--data"]).arg(place.folder.join("data"));
    let stdout = place.folder.join("stdout");
    command.stdout(std::fs::File::create(&stdout).unwrap());
    let mut process = Process::start(command, place.folder.join("up.log"));
    let started: serde_json::Value = until("it says where it is", async || {
        serde_json::from_str(std::fs::read_to_string(&stdout).unwrap().lines().next()?).ok()
    })
    .await;
    assert_eq!((&started["cluster"], &started["version"]), (&"dovetail".into(), &dovetail_cli::VERSION.into()));
    assert_eq!(["matchers", "gatherers"].map(|role| started[role].as_array().unwrap().len()), [2, 2]);
    let server = started["server"].as_str().unwrap();
    until("nothing is wrong", async || {
        let (code, stdout, _) = dovetail(server, &["status", "--check"]).await;
        (code == Some(0) && stdout == "ok: 5 nodes, nothing is wrong\n").then_some(())
    })
    .await;
    let (code, stdout, _) = dovetail(server, &["status", "--all"]).await;
    let roles = |name: &str| stdout.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((code, ["balancer ", "matcher ", "gatherer "].map(roles)), (Some(0), [1, 2, 2]), "{stdout}");
    // Again and again, until it is interrupted.
    let mut watch = program(DOVETAIL);
    let pages = place.folder.join("pages");
    watch.args(["status", "--watch", "100ms", "--server", server]).stdout(std::fs::File::create(&pages).unwrap());
    let mut watch = Process::start(watch, place.folder.join("watch.log"));
    let shown = || std::fs::read_to_string(&pages).unwrap().matches("balancer 0 at ").count();
    until("it has asked three times", async || (shown() >= 3).then_some(())).await;
    watch.signal("INT");
    assert_eq!(watch.ended().await.code(), Some(0), "{}", watch.log_text());
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
}

async fn oracle(pool: &str, elements: &str) -> String {
    let mut command = program(DOVETAIL);
    command.args(["oracle", pool, elements]);
    let (code, stdout, stderr) = run(command).await;
    assert_eq!(code, Some(0), "{stderr}");
    stdout
}

/// Define, submit, watch: the lines that a cluster prints for an example.
async fn lines(up: &Up, pool: &str, elements: &str) -> String {
    let name = Path::new(elements).extension().map_or("rides", |kind| if kind == "csv" { "rides" } else { "duel" });
    let (code, stdout, stderr) = up.run(&["pool", "define", "--file", pool]).await;
    assert_eq!((code, stdout), (Some(0), format!("pool {name:?} is defined (event 1)\n")), "{stderr}");
    let (code, stdout, stderr) = up.run(&["submit", "--pool", name, elements]).await;
    assert!(code == Some(0) && stdout.contains("ids 2..") && stdout.ends_with(" 0 refused\n"), "{stdout}{stderr}");
    let (code, stdout, stderr) = up.run(&["watch", "--pool", name, "--json", "--until-settled"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_steps_print_the_lines_of_the_oracle() {
    let expected = oracle("examples/players.toml", "examples/players.ndjson").await;
    // The rule widens from the 200th millisecond on, and the oracle's elements all arrive at once. A busy machine may
    // need more than one try to submit the file so fast; whatever the time taken, the log's own sequential program
    // agrees.
    for attempt in 1.. {
        let up = Up::start("first-steps").await;
        let found = lines(&up, "examples/players.toml", "examples/players.ndjson").await;
        let banner = up.banner();
        let history = up.stop().await;
        let cursors: Vec<u64> = found.lines().map(cursor).collect();
        let told: Vec<u64> = history.pairs().iter().map(|&(x, ..)| x).take(cursors.len()).collect();
        assert_eq!(cursors, told, "matches by the sequential program");
        assert!(banner.contains("slices 1, 3") && banner.contains("examples/players.ndjson"), "{banner}");
        let took_ms = history.arrived_ms.last().unwrap() - history.arrived_ms[0];
        let last = *history.keys.keys().next_back().unwrap();
        if took_ms < 200 && cursors.iter().all(|&cursor| cursor <= last) {
            assert_eq!(found, expected);
            return;
        }
        assert!(attempt < 20, "submitting the example took {took_ms} ms, again and again");
    }
}

fn cursor(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["cursor"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_csv_example_prints_the_lines_of_the_oracle() {
    let up = Up::start("riders").await;
    let found = lines(&up, "examples/riders.toml", "examples/riders.csv").await;
    assert_eq!(found, oracle("examples/riders.toml", "examples/riders.csv").await);
    let id = "2";
    let (code, stdout, _) = up.run(&["get", id]).await;
    assert!(code == Some(0) && stdout.starts_with("element 2 (rider-001) in pool rides"), "{stdout}");
    let (code, stdout, _) = up.run(&["pool", "list"]).await;
    assert!(code == Some(0) && stdout.contains("rides"), "{stdout}");
    let (code, stdout, _) = up.run(&["status"]).await;
    assert!(code == Some(0) && stdout.starts_with("balancer 0 at "), "{stdout}");
    for links in [links(&up, &up.server()).await, links(&up, &gatherer_of(&up).await).await] {
        let in_memory = |link: &serde_json::Value| link["connected"] == true && link["received_bytes"] == 0;
        assert!(links.len() >= 2 && links.iter().all(in_memory), "roles of one process need no sockets: {links:?}");
    }
    up.stop().await;
}

/// What a node reads, by its status.
async fn links(up: &Up, server: &str) -> Vec<serde_json::Value> {
    let (code, stdout, stderr) = up.run(&["status", "--json", "--server", server]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    status["links"].as_array().unwrap().clone()
}

async fn gatherer_of(up: &Up) -> String {
    links(up, &up.server()).await[0]["address"].as_str().unwrap().to_owned()
}

/// A command whose output is read while it runs.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(up: &Up, arguments: &[&str]) -> Running {
        let mut command: Command = program(DOVETAIL);
        command.args(arguments).env("DOVETAIL_SERVER", up.server());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child, stdout }
    }

    fn write(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// The next line, waited for.
    async fn line(self) -> (Running, String) {
        let read = tokio::task::spawn_blocking(move || {
            let mut running = self;
            let mut line = String::new();
            running.stdout.read_line(&mut line).unwrap();
            (running, line)
        });
        crate::harness::within(Duration::from_secs(60), "a line", read).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_appear_while_elements_stream_in() {
    let up = Up::start("stream").await;
    let rule = ["pool", "define", "duel", "--attribute", "skill=int", "--rule", "a.skill == b.skill"];
    assert_eq!(up.run(&rule).await.0, Some(0));
    let mut watch = Running::start(&up, &["watch", "--pool", "duel", "--json"]);
    let mut submit = Running::start(&up, &["submit", "--pool", "duel", "-"]);
    for round in 0..3 {
        let element = |side: &str| format!("{{\"key\":\"{side}{round}\",\"attributes\":{{\"skill\":{round}}}}}\n");
        submit.write(&element("a"));
        submit.write(&element("b"));
        let line;
        (watch, line) = watch.line().await;
        let found: serde_json::Value = serde_json::from_str(&line).unwrap();
        let keys = [&found["a"]["key"], &found["b"]["key"]];
        assert_eq!(keys, [&format!("a{round}"), &format!("b{round}")]);
        assert!(submit.child.try_wait().unwrap().is_none(), "the submission is still open");
    }
    drop(submit.child.stdin.take());
    let (_submit, summary) = submit.line().await;
    assert!(summary.starts_with("submitted 6 elements in "), "{summary}");
}
