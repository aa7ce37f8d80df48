//! Who may do what, over real processes: every call by every role, owners across restarts, rates, and what is written
//! down about it.

use std::time::Duration;

use dovetail::{
    client::{Client, ConnectOptions, Token, value},
    pb::{
        self, Attribute, AttributeType, PoolDefinition, Submission, inspect_service_client::InspectServiceClient,
        match_service_client::MatchServiceClient, operate_service_client::OperateServiceClient,
    },
};
use dovetail_server::auth::{PolicyRole, Scope, Verb, api_keys, table};
use dovetail_wire::node_pb::{
    self, candidates_service_client::CandidatesServiceClient, decisions_service_client::DecisionsServiceClient,
    feed_service_client::FeedServiceClient, node_service_client::NodeServiceClient,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};
use tonic_types::StatusExt as _;

use crate::harness::{Cluster, PATIENCE, SMALL, Which, channel, channel_with, until, within};

/// A cluster that asks who calls, and the keys of those who may.
struct Guarded {
    cluster: Cluster,
    keys: Vec<(String, String)>,
    audit: std::path::PathBuf,
    policy: std::path::PathBuf,
    folder: std::path::PathBuf,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client for each role in `duel`, and more.
fn policy() -> String {
    let mut text = String::new();
    for role in PolicyRole::ALL {
        let pools = if role == PolicyRole::Node { "" } else { "pools = [\"duel\", \"team.*\"]\n" };
        text.push_str(&format!("[[grant]]\nwho = [\"{role}\"]\nroles = [\"{role}\"]\n{pools}"));
    }
    text.push_str(
        "[[grant]]\nwho = [\"ada\", \"bob\", \"slow\"]\nroles = [\"producer\", \"owner-only\"]\npools = [\"*\"]\n\
         [[grant]]\nwho = [\"root\"]\nroles = [\"operator\"]\n[[rate]]\nwho = [\"slow\"]\nelements_per_s = 2\nstreams = 1\n",
    );
    text
}

impl Guarded {
    async fn start(test: &str) -> Guarded {
        Guarded::start_with(test, false).await
    }

    /// With certificates or without.
    async fn start_with(test: &str, secure: bool) -> Guarded {
        let folder =
            std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("auth-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let names = PolicyRole::ALL.iter().map(|role| role.name()).chain(["ada", "bob", "slow", "root", "nobody"]);
        let made: Vec<_> = names.map(|name| (name.to_owned(), api_keys::generate().unwrap())).collect();
        let lines: String = made.iter().map(|(name, (_, hash))| format!("{name} = {hash:?}\n")).collect();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (policy, keys, audit) =
            (file("policy.toml", &policy()), file("keys.toml", &lines), folder.join("audit.jsonl"));
        let flag = |path: &std::path::Path| -> &'static str { path.display().to_string().leak() };
        let flags = [("policy", flag(&policy)), ("api-keys", flag(&keys)), ("audit", flag(&audit))];
        let cluster = if secure {
            Cluster::start_secure(test, SMALL, &flags).await
        } else {
            Cluster::start_with(test, SMALL, &flags).await
        };
        let keys = made.into_iter().map(|(name, (key, _))| (name, key)).collect();
        Guarded { cluster, keys, audit, policy, folder }
    }

    fn of<T>(&self, who: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some((_, key)) = self.keys.iter().find(|(name, _)| name == who) {
            request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        request
    }

    fn service(&self) -> MatchServiceClient<Channel> {
        MatchServiceClient::new(channel(&self.cluster.server()))
    }

    async fn define(&self, who: &str, name: &str) -> Result<(), Status> {
        let skill = Attribute { name: "skill".to_owned(), r#type: AttributeType::Int.into() };
        let rule = "a.skill == b.skill".to_owned();
        let pool = PoolDefinition { name: name.to_owned(), attributes: vec![skill], rule, ..Default::default() };
        self.service().define_pool(self.of(who, pb::DefinePoolRequest { pool: Some(pool) })).await.map(drop)
    }

    async fn submit(&self, who: &str, pool: &str, key: &str, skill: i64) -> Result<u64, Status> {
        let attributes = [("skill".to_owned(), value::int(skill))].into();
        let element =
            Submission { key: key.to_owned(), attributes, payload: "secret-payload".into(), ..Default::default() };
        let request = pb::SubmitOneRequest { pool: pool.to_owned(), element: Some(element) };
        Ok(self.service().submit_one(self.of(who, request)).await?.into_inner().id)
    }

    async fn stream(&self, who: &str, pool: &str, key: &str, count: usize) -> Result<Vec<u64>, Status> {
        let row = |number: usize| Submission {
            key: format!("{key}{number}"),
            attributes: [("skill".to_owned(), value::int(-1 - number as i64))].into(),
            ..Default::default()
        };
        let rows = pb::Rows::of(&(0..count).map(row).collect::<Vec<_>>());
        let batch = Some(pb::submit_request::Batch::Rows(rows));
        let request = pb::SubmitRequest { pool: pool.to_owned(), batch, ..Default::default() };
        let mut answers = self.service().submit(self.of(who, tokio_stream::iter([request]))).await?.into_inner();
        Ok(answers.message().await?.map(|answer| answer.ids).unwrap_or_default())
    }

    async fn get(&self, who: &str, id: u64) -> Result<pb::Element, Status> {
        let request = pb::GetElementRequest { element: Some(dovetail::client::by_id(id)), ..Default::default() };
        Ok(self.service().get_element(self.of(who, request)).await?.into_inner().element.unwrap())
    }

    async fn withdraw(&self, who: &str, id: u64) -> Result<pb::WithdrawOutcome, Status> {
        let request = pb::WithdrawRequest { element: Some(dovetail::client::by_id(id)) };
        Ok(self.service().withdraw(self.of(who, request)).await?.into_inner().outcome())
    }

    async fn inspect(&self, who: &str, which: Which) -> Result<(), Status> {
        let mut service = InspectServiceClient::new(channel(&self.cluster.url(which)));
        service.inspect(self.of(who, pb::InspectRequest {})).await.map(drop)
    }

    /// Makes a call of a method, about a pool and an element.
    async fn call(&self, who: &str, method: &str, pool: &str, element: u64) -> Result<(), Status> {
        let reference = || Some(dovetail::client::by_id(element));
        let filter =
            || Some(pb::ElementFilter { pool: pool.to_owned(), key_prefix: "no-".to_owned(), ..Default::default() });
        let mut service = self.service();
        match method {
            "Submit" => self.stream(who, pool, &format!("s-{who}"), 1).await.map(drop),
            "SubmitOne" => self.submit(who, pool, &format!("o-{who}"), -5).await.map(drop),
            "GetElement" => self.get(who, element).await.map(drop),
            "Explain" => {
                let request = pb::ExplainRequest { element: reference(), nearest_max: 0 };
                service.explain(self.of(who, request)).await.map(drop)
            }
            "ListElements" => {
                let request = pb::ListElementsRequest { filter: filter(), ..Default::default() };
                service.list_elements(self.of(who, request)).await.map(drop)
            }
            "Withdraw" => self.withdraw(who, element).await.map(drop),
            "WithdrawElements" => {
                let request = pb::WithdrawElementsRequest { filter: filter(), ..Default::default() };
                service.withdraw_elements(self.of(who, request)).await.map(drop)
            }
            "WatchMatches" => {
                let request = pb::WatchMatchesRequest { pool: pool.to_owned(), from_now: true, ..Default::default() };
                service.watch_matches(self.of(who, request)).await?.into_inner().message().await.map(drop)
            }
            "WatchOutcomes" => {
                let request = pb::WatchOutcomesRequest { pool: pool.to_owned(), from_now: true, ..Default::default() };
                service.watch_outcomes(self.of(who, request)).await?.into_inner().message().await.map(drop)
            }
            "DefinePool" => self.define(who, pool).await,
            "ListPools" => service.list_pools(self.of(who, pb::ListPoolsRequest::default())).await.map(drop),
            "GetPool" => service.get_pool(self.of(who, pb::GetPoolRequest { name: pool.to_owned() })).await.map(drop),
            "DropPool" => {
                let request = pb::DropPoolRequest { name: pool.to_owned(), ..Default::default() };
                service.drop_pool(self.of(who, request)).await.map(drop)
            }
            "Inspect" => self.inspect(who, Which::Balancer).await,
            "AcceptClock" => {
                let mut operate = OperateServiceClient::new(channel(&self.cluster.server()));
                operate.accept_clock(self.of(who, pb::AcceptClockRequest {})).await.map(drop)
            }
            "ServerReflectionInfo" => {
                let message_request = Some(MessageRequest::ListServices(String::new()));
                let request = ServerReflectionRequest { host: String::new(), message_request };
                let mut reflection = ServerReflectionClient::new(channel(&self.cluster.server()));
                let request = self.of(who, tokio_stream::iter([request]));
                reflection.server_reflection_info(request).await?.into_inner().message().await.map(drop)
            }
            other => panic!("{other} is not called here"),
        }
    }
}

/// Calls of clients and operators, with the service they are of.
const CALLS: [(&str, &str); 16] = [
    ("dovetail.v1.MatchService", "Submit"),
    ("dovetail.v1.MatchService", "SubmitOne"),
    ("dovetail.v1.MatchService", "GetElement"),
    ("dovetail.v1.MatchService", "Explain"),
    ("dovetail.v1.MatchService", "ListElements"),
    ("dovetail.v1.MatchService", "Withdraw"),
    ("dovetail.v1.MatchService", "WithdrawElements"),
    ("dovetail.v1.MatchService", "WatchMatches"),
    ("dovetail.v1.MatchService", "WatchOutcomes"),
    ("dovetail.v1.MatchService", "DefinePool"),
    ("dovetail.v1.MatchService", "ListPools"),
    ("dovetail.v1.MatchService", "GetPool"),
    ("dovetail.v1.MatchService", "DropPool"),
    ("dovetail.v1.InspectService", "Inspect"),
    ("dovetail.v1.OperateService", "AcceptClock"),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
];

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn denied<T: std::fmt::Debug>(result: Result<T, Status>) -> Status {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"), "{status:?}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_allowed_to_the_roles_of_the_table_and_to_no_other() {
    let guarded = Guarded::start("roles").await;
    for pool in ["duel", "closed"] {
        guarded.define("root", pool).await.unwrap();
    }
    // Of the whole cluster.
    let of_all = |method: &str| matches!(method, "Inspect" | "AcceptClock" | "ServerReflectionInfo");
    let about_pool = |method: &str| method != "ListPools" && !of_all(method);
    for (number, role) in (1000..).zip(PolicyRole::ALL) {
        let who = role.name();
        for (at, (service, method)) in (0..).zip(CALLS) {
            let verb = table::verb(service, method).unwrap();
            // What another client submitted, in a pool where the role counts and in one where it does not.
            let skill = number * 100 + at * 2;
            let others = guarded.submit("bob", "duel", &format!("b{skill}"), skill).await.unwrap();
            let closed = guarded.submit("bob", "closed", &format!("b{skill}"), skill).await.unwrap();
            let pool = if method == "DropPool" { format!("team.{who}") } else { "duel".to_owned() };
            if method == "DropPool" {
                guarded.define("root", &pool).await.unwrap();
            }
            let call = within(PATIENCE, method, guarded.call(who, method, &pool, others)).await;
            // Not for operators of some pools.
            if role == PolicyRole::Operator && of_all(method) {
                denied(call);
                within(PATIENCE, method, guarded.call("root", method, "duel", others)).await.unwrap();
                continue;
            }
            match role.allows(verb) {
                Scope::Anybody => call.unwrap_or_else(|status| panic!("{who}, {method}: {status:?}")),
                Scope::Own | Scope::Nobody => {
                    let status = denied(call);
                    let named = [format!("key:{who}"), verb.to_string()];
                    assert!(named.iter().all(|named| status.message().contains(named)), "{}", status.message());
                }
            }
            if about_pool(method) {
                denied(within(PATIENCE, method, guarded.call(who, method, "closed", closed)).await);
            }
            for stranger in ["nobody", ""] {
                let status =
                    within(PATIENCE, method, guarded.call(stranger, method, "duel", others)).await.unwrap_err();
                let expected = if stranger.is_empty() { Code::Unauthenticated } else { Code::PermissionDenied };
                assert_eq!(status.code(), expected, "{stranger:?}, {method}: {status:?}");
            }
        }
    }
    // Watching all pools is for who operates all of them.
    for (who, allowed) in [("consumer", false), ("operator", false), ("root", true)] {
        let watched = within(PATIENCE, "a watch", guarded.call(who, "WatchMatches", "", 0)).await;
        if allowed { watched.unwrap() } else { _ = denied(watched) }
    }
    // Only pools that one may see are listed.
    let listed = guarded.service().list_pools(guarded.of("producer", pb::ListPoolsRequest::default())).await.unwrap();
    let names: Vec<_> = listed.into_inner().pools.into_iter().map(|status| status.definition.unwrap().name).collect();
    let left = PolicyRole::ALL.into_iter().filter(|role| role.allows(Verb::Drop) == Scope::Nobody);
    let mut seen: Vec<_> = left.map(|role| format!("team.{role}")).chain(["duel".to_owned()]).collect();
    seen.sort();
    assert_eq!(names, seen, "and not closed");
    // Every node asks who inspects it.
    for which in guarded.cluster.all() {
        guarded.inspect("root", which).await.unwrap();
        denied(guarded.inspect("consumer", which).await);
        assert_eq!(guarded.inspect("", which).await.unwrap_err().code(), Code::Unauthenticated);
    }
}

/// A token is for clients: none makes its holder a node, not even one with the role of nodes, whatever the call claims.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_makes_a_call_of_nodes() {
    let guarded = Guarded::start_with("node-calls", true).await;
    let cluster = &guarded.cluster;
    let ca = ConnectOptions::default().trust(cluster.certs().join("ca.pem"));
    let to = |which| channel_with(&cluster.url(which), &ca);
    for who in PolicyRole::ALL.map(PolicyRole::name).into_iter().chain(["root", "nobody", ""]) {
        let peer = || {
            let peer = node_pb::Peer {
                cluster: "tested".to_owned(),
                role: pb::Role::Matcher.into(),
                ..node_pb::Peer::default()
            };
            Some(peer)
        };
        let mut feed = FeedServiceClient::new(to(Which::Balancer));
        let mut node = NodeServiceClient::new(to(Which::Balancer));
        let mut candidates = CandidatesServiceClient::new(to(Which::Matcher(0)));
        let mut decisions = DecisionsServiceClient::new(to(Which::Gatherer(0)));
        let (slices, after) = (vec![0], None);
        let answers = [
            ("Feed", feed.feed(guarded.of(who, node_pb::FeedRequest { peer: peer(), slices, after })).await.map(drop)),
            ("Cut", feed.cut(guarded.of(who, node_pb::CutRequest { peer: peer() })).await.map(drop)),
            (
                "Retirements",
                feed.retirements(guarded.of(who, node_pb::RetirementsRequest { peer: peer(), ..Default::default() }))
                    .await
                    .map(drop),
            ),
            (
                "Candidates",
                candidates
                    .candidates(guarded.of(who, node_pb::CandidatesRequest { peer: peer(), ..Default::default() }))
                    .await
                    .map(drop),
            ),
            (
                "Decisions",
                decisions
                    .decisions(guarded.of(who, node_pb::DecisionsRequest { peer: peer(), after: 0 }))
                    .await
                    .map(drop),
            ),
            ("Confirm", node.confirm(guarded.of(who, node_pb::ConfirmRequest::default())).await.map(drop)),
            ("Follow", node.follow(guarded.of(who, node_pb::FollowRequest { peer: peer() })).await.map(drop)),
        ];
        for (call, answer) in answers {
            let status = answer.expect_err(call);
            assert_eq!(status.code(), Code::PermissionDenied, "{who:?}, {call}: {status:?}");
        }
    }
}

/// What a program shows goes with the calls of every service: of clients, of operators, and of who looks.
#[tokio::test(flavor = "multi_thread")]
async fn the_library_shows_its_token_with_the_calls_of_every_service() {
    let guarded = Guarded::start("library").await;
    let connect = async |who: Option<&str>| {
        let key = who.and_then(|who| guarded.keys.iter().find(|(name, _)| name == who)).map(|(_, key)| key.clone());
        let options = ConnectOptions { token: key.map(Token::Text), ..ConnectOptions::default() };
        Client::connect_with(guarded.cluster.server(), &options).await.unwrap()
    };
    for (who, code) in
        [(None, Some(Code::Unauthenticated)), (Some("slow"), Some(Code::PermissionDenied)), (Some("root"), None)]
    {
        let client = connect(who).await;
        assert_eq!(client.accept_clock().await.err().and_then(|error| error.code()), code, "{who:?}");
        assert_eq!(client.inspect().await.err().and_then(|error| error.code()), code, "{who:?}");
    }
    assert_eq!(connect(None).await.list_pools().await.unwrap_err().code(), Some(Code::Unauthenticated));
    connect(Some("root")).await.list_pools().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_submitted_is_its_own_across_restarts_and_after_its_end() {
    let mut guarded = Guarded::start("owners").await;
    guarded.define("root", "duel").await.unwrap();
    let waits = guarded.submit("ada", "duel", "waits", 1).await.unwrap();
    let ends = guarded.stream("ada", "duel", "ends", 1).await.unwrap()[0];
    let pair =
        [guarded.submit("ada", "duel", "a", 7).await.unwrap(), guarded.submit("bob", "duel", "b", 7).await.unwrap()];
    let explain = |id| pb::ExplainRequest { element: Some(dovetail::client::by_id(id)), nearest_max: 5 };
    let explained = guarded.service().explain(guarded.of("ada", explain(waits))).await.unwrap().into_inner();
    assert!(explained.nearest.is_empty() && explained.prospect.is_none(), "who else waits is not told");
    denied(guarded.service().explain(guarded.of("bob", explain(waits))).await);
    denied(guarded.withdraw("bob", ends).await);
    assert_eq!(guarded.withdraw("ada", ends).await.unwrap(), pb::WithdrawOutcome::Withdrawn);
    for round in 0..3 {
        until("the pair is decided", async || {
            (guarded.get("ada", pair[0]).await.ok()?.state() == pb::ElementState::Matched).then_some(())
        })
        .await;
        assert_eq!(guarded.get("ada", waits).await.unwrap().state(), pb::ElementState::Waiting);
        assert_eq!(guarded.get("ada", ends).await.unwrap().state(), pb::ElementState::Withdrawn);
        assert_eq!(guarded.get("bob", pair[1]).await.unwrap().state(), pb::ElementState::Matched);
        for (who, id) in [("bob", waits), ("bob", ends), ("bob", pair[0]), ("ada", pair[1])] {
            denied(guarded.get(who, id).await);
            denied(guarded.withdraw(who, id).await);
        }
        if round < 2 {
            guarded.cluster.kill(Which::Balancer);
            guarded.cluster.spawn(Which::Balancer);
            guarded.cluster.serving(Which::Balancer).await;
        }
    }
    // What came before there was a policy has no owner, and goes on to be matched.
    guarded.cluster.stop(Which::Balancer).await;
    let open = [("policy", ""), ("api-keys", "")];
    let command = guarded.cluster.command_with(Which::Balancer, &open);
    guarded.cluster.spawn_command(Which::Balancer, command);
    guarded.cluster.serving(Which::Balancer).await;
    assert_eq!(guarded.get("", waits).await.unwrap().state(), pb::ElementState::Waiting, "nobody is asked");
    let old = guarded.submit("", "duel", "old", 70).await.unwrap();
    guarded.cluster.stop(Which::Balancer).await;
    guarded.cluster.spawn(Which::Balancer);
    guarded.cluster.serving(Which::Balancer).await;
    denied(guarded.get("ada", old).await);
    assert_eq!(guarded.get("root", old).await.unwrap().state(), pb::ElementState::Waiting);
    assert_eq!(guarded.get("ada", waits).await.unwrap().state(), pb::ElementState::Waiting);
    guarded.submit("ada", "duel", "new", 70).await.unwrap();
    until("old and new are a pair", async || {
        (guarded.get("root", old).await.ok()?.state() == pb::ElementState::Matched).then_some(())
    })
    .await;
    denied(guarded.get("ada", old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_its_rate_is_told_when_to_come_back_and_the_audit_log_says_what_happened() {
    let guarded = Guarded::start("rates").await;
    guarded.define("root", "duel").await.unwrap();
    // More than a second's worth at once passes, and has to be paid for.
    assert_eq!(guarded.stream("slow", "duel", "s", 10).await.unwrap().len(), 10);
    let status = guarded.submit("slow", "duel", "more", 1).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    let retry = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(retry > Duration::ZERO && retry <= Duration::from_secs(6), "{retry:?}");
    let id = guarded.submit("ada", "duel", "a", 1).await.expect("others have their own rates");
    denied(guarded.define("ada", "more").await);
    assert_eq!(guarded.withdraw("root", id).await.unwrap(), pb::WithdrawOutcome::Withdrawn);
    let mut operate = OperateServiceClient::new(channel(&guarded.cluster.server()));
    operate.accept_clock(guarded.of("root", pb::AcceptClockRequest {})).await.unwrap();
    let lines = until("the audit log has all of it", async || {
        let text = std::fs::read_to_string(&guarded.audit).ok()?;
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let has = |event: &str, who: &str| lines.iter().any(|line| line["event"] == event && line["identity"] == who);
        let all = has("connected", "key:slow") && has("refused", "key:ada") && has("withdrew", "key:root");
        let all = all && has("defined", "key:root") && has("clock-accepted", "key:root");
        let mut methods = lines.iter().filter_map(|line| line["method"].as_str());
        assert!(methods.all(|method| method.starts_with("dovetail.v1.") && method.contains('/')), "{text}");
        all.then_some(text)
    })
    .await;
    let withdrew = lines.lines().find(|line| line.contains("withdrew")).unwrap();
    assert!(withdrew.contains(&format!("\"element\":{id}")) && withdrew.contains("\"address\":"), "{withdrew}");
    assert!(!lines.contains("secret-payload") && guarded.keys.iter().all(|(_, key)| !lines.contains(&key[..12])));
    // A grant that is taken away ends, and one that is added begins, without a restart.
    let text = std::fs::read_to_string(&guarded.policy).unwrap();
    std::fs::write(&guarded.policy, text.replace("\"ada\", \"bob\"", "\"bob\"")).unwrap();
    until("ada may nothing more", async || guarded.submit("ada", "duel", "a", 1).await.is_err().then_some(())).await;
    assert!(guarded.submit("bob", "duel", "b", 1).await.is_ok());
}

#[test]
fn every_verb_of_clients_is_called_here() {
    let called: Vec<_> = CALLS.iter().filter_map(|(service, method)| table::verb(service, method)).collect();
    let rest: Vec<_> = Verb::ALL.into_iter().filter(|verb| !called.contains(verb)).collect();
    // Nodes prove who they are by certificates.
    assert!(rest.iter().all(|verb| matches!(verb, Verb::Node)), "{rest:?}");
}
