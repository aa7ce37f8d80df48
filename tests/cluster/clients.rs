//! Foreign clients, which know nothing but an address: Python's grpcio, and grpcurl.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Cluster, Place, Process, SEVEN, SMALL, Which, program, run, until};
use crate::programs::{self, DOVETAIL};

/// What a node serves, with reflection itself, which names itself by the version it was asked in.
fn services(which: Which) -> Vec<String> {
    let own: &[&str] = match which {
        Which::Balancer => {
            &["node.v1.FeedService", "node.v1.NodeService", "v1.InspectService", "v1.MatchService", "v1.OperateService"]
        }
        Which::Matcher(_) => &["node.v1.CandidatesService", "node.v1.NodeService", "v1.InspectService"],
        Which::Gatherer(_) => &["node.v1.DecisionsService", "node.v1.NodeService", "v1.InspectService"],
    };
    let own = own.iter().map(|name| format!("dovetail.{name}"));
    own.chain(["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"].map(str::to_owned)).collect()
}

/// Where `tests/foreign/install.sh` puts the tools.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools")
}

fn missing(tool: &str) -> ! {
    panic!("{tool} is not in {}: run `bash tests/foreign/install.sh` once", tools().display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_needs_nothing_but_reflection() {
    let python = tools().join("python/bin/python");
    if !python.exists() {
        missing("Python with grpcio-reflection");
    }
    const NODES: [Which; 3] = [Which::Balancer, Which::Matcher(2), Which::Gatherer(1)];
    let cluster = Cluster::start("python", SEVEN).await;
    let mut command = Command::new(python);
    command.current_dir(programs::root()).arg("tests/foreign/client.py");
    command.args(NODES.map(|which| cluster.address(which)));
    let (code, stdout, stderr) = run(command).await;
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let seen: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&seen["defined_at"], &seen["matches"], &seen["resumed"]), (&1.into(), &1000.into(), &500.into()));
    assert_eq!(seen["ids"], serde_json::json!([2, 2001]));
    // This library asks by v1alpha, grpcurl by v1.
    let services = NODES.map(|which| {
        services(which).iter().map(|name| name.replace(".v1.Server", ".v1alpha.Server")).collect::<Vec<_>>()
    });
    assert_eq!(seen["services"], serde_json::json!(services));
    assert_eq!(seen["deadlines"], serde_json::json!(["DEADLINE_EXCEEDED"]), "a client's own deadline is told as such");
    assert_eq!(seen["details"]["reason"], "KEY_WAITING");
    assert_eq!(seen["methods"].as_array().unwrap().len(), 13);
    let check = |call: &str, code: &str, says: &[&str]| {
        assert_eq!(seen[call]["code"], code, "{seen}");
        let message = seen[call]["message"].as_str().unwrap();
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
    };
    check("wrong_type", "INVALID_ARGUMENT", &["\"skill\"", "string", "int"]);
    check("future", "OUT_OF_RANGE", &["1000000000000", "2002"]);
    let state = cluster.balancer_state().await;
    assert_eq!((state.assigned, state.waiting), (2002, 1), "what was refused left nothing behind");
}

/// grpcurl; or `buf curl`, where there was no Go to install it.
enum Curl {
    Grpcurl(PathBuf),
    Buf,
}

impl Curl {
    fn here() -> Curl {
        let grpcurl = tools().join("bin/grpcurl");
        if grpcurl.exists() {
            return Curl::Grpcurl(grpcurl);
        }
        match Command::new("buf").arg("--version").output() {
            Ok(_) => Curl::Buf,
            Err(_) => missing("grpcurl"),
        }
    }

    /// Calls a method, or lists the services for "".
    fn command(&self, address: &str, method: &str, request: &str, reflection: &str) -> Command {
        let mut command;
        match self {
            Curl::Grpcurl(path) => {
                command = Command::new(path);
                command.args(["-plaintext", "-max-time", "60"]);
                match method {
                    "" => command.args([address, "list"]),
                    method => command.args(["-d", request, address, method]),
                };
            }
            Curl::Buf => {
                command = Command::new("buf");
                command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]);
                command.args(["--reflect-protocol", &format!("grpc-{reflection}")]);
                match method {
                    "" => command.args(["--list-services", &format!("http://{address}")]),
                    method => command.args(["-d", request, &format!("http://{address}/{method}")]),
                };
            }
        }
        command
    }

    async fn call(&self, address: &str, method: &str, request: &str) -> Result<Value, String> {
        let (code, stdout, stderr) = run(self.command(address, method, request, "v1")).await;
        match code {
            Some(0) => Ok(serde_json::from_str(&stdout).unwrap_or(Value::String(stdout))),
            _ => Err(stderr),
        }
    }

    async fn services(&self, address: &str) -> Vec<String> {
        let (code, stdout, stderr) = run(self.command(address, "", "", "v1")).await;
        assert_eq!(code, Some(0), "{stderr}");
        stdout.lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_does_on_every_role_what_the_readme_shows() {
    let curl = Curl::here();
    let cluster = Cluster::start("grpcurl", SMALL).await;
    for (which, role) in
        [(Which::Balancer, "ROLE_BALANCER"), (Which::Matcher(0), "ROLE_MATCHER"), (Which::Gatherer(0), "ROLE_GATHERER")]
    {
        let address = cluster.address(which);
        assert_eq!(curl.services(&address).await, services(which));
        let health = curl.call(&address, "grpc.health.v1.Health/Check", "{}").await.unwrap();
        assert_eq!(health["status"], "SERVING", "{which:?}");
        let state = curl.call(&address, "dovetail.v1.InspectService/Inspect", "{}").await.unwrap();
        // What has the default value is left out of JSON.
        assert_eq!((&state["role"], &state["cluster"]), (&role.into(), &"tested".into()), "{state}");
        assert!(state["settings"].as_str().unwrap().contains("slices 2"), "{state}");
    }
    let address = cluster.address(Which::Balancer);
    let call = async |method: &str, request: &str| {
        curl.call(&address, &format!("dovetail.v1.MatchService/{method}"), request).await
    };
    let pool = r#"{"pool": {"name": "chat", "attributes": [{"name": "lang", "type": "ATTRIBUTE_TYPE_STRING"}],
        "rule": "a.lang == b.lang"}}"#;
    let defined = call("DefinePool", pool).await.unwrap();
    assert_eq!(defined, serde_json::json!({ "definedAt": "1", "created": true, "idempotencyMs": "86400000" }));
    let element = |key: &str, payload: &str| {
        format!(
            r#"{{"pool": "chat", "element": {{"key": "{key}", "attributes": {{"lang": {{"string_value": "en"}}}},
            "payload": "{payload}"}}}}"#
        )
    };
    assert_eq!(call("SubmitOne", &element("ann", "cm9vbS0x")).await.unwrap()["id"], "2");
    let ann = r#"{"element": {"key": {"pool": "chat", "key": "ann"}}, "wait_ms": 10000}"#;
    let waiting = &call("GetElement", &ann.replace("10000", "0")).await.unwrap()["element"];
    assert_eq!(
        (&waiting["state"], &waiting["attributes"]["lang"]["stringValue"]),
        (&"ELEMENT_STATE_WAITING".into(), &"en".into())
    );
    assert_eq!(call("SubmitOne", &element("bob", "")).await.unwrap()["id"], "3");
    let found = &call("GetElement", ann).await.unwrap()["element"];
    assert_eq!((&found["state"], &found["match"]["cursor"]), (&"ELEMENT_STATE_MATCHED".into(), &"3".into()));
    let watched = call("WatchMatches", r#"{"pool": "chat", "until_settled": true}"#).await.unwrap();
    let [a, b] = ["a", "b"].map(|end| &watched["matches"][0][end]);
    assert_eq!((&a["key"], &a["payload"], &b["key"]), (&"ann".into(), &"cm9vbS0x".into(), &"bob".into()), "{watched}");
    let withdrawn = call("Withdraw", r#"{"element": {"id": 2}}"#).await.unwrap();
    assert_eq!(withdrawn["outcome"], "WITHDRAW_OUTCOME_ALREADY_MATCHED");
    let refused = call("SubmitOne", &element("ann", "").replace("chat", "chess")).await.unwrap_err();
    assert!(refused.contains("NotFound") || refused.contains("not_found"), "{refused}");
    assert!(refused.contains("chess"), "{refused}");
    let other = cluster.address(Which::Matcher(0));
    let list = curl.call(&other, "dovetail.v1.MatchService/ListPools", "{}").await.unwrap_err();
    assert!(list.contains("nimplemented") && list.contains(&address), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_with_every_role_serves_reflection_too() {
    let curl = Curl::here();
    let place = Place::new("up-reflection");
    let address = format!("{}:7400", place.ip);
    let mut command = program(DOVETAIL);
    command.args(["up", "--listen", &address, "--data"]).arg(place.folder.join("data"));
    command.stdout(std::process::Stdio::null());
    let _up = Process::start(command, place.folder.join("up.log"));
    let services = until("it serves", async || {
        let url = format!("http://{address}");
        crate::harness::health(&url).await?;
        Some(curl.services(&address).await)
    })
    .await;
    assert!(services.iter().any(|service| service == "dovetail.v1.MatchService"), "{services:?}");
}
