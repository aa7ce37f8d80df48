//! Clusters that speak TLS: who is let in, who is not, and what goes on while certificates change.

use std::path::Path;
use std::time::Duration;

use dovetail::{
    client::{Client, ConnectOptions, SubmitOptions, WatchOptions},
    pb,
};
use dovetail_certs::{Authority, Issued, Validity};
use dovetail_wire::node_pb::{
    self, candidates_service_client::CandidatesServiceClient, decisions_service_client::DecisionsServiceClient,
    feed_service_client::FeedServiceClient,
};
use tonic::{Code, Status};

use crate::harness::{
    Cluster, PATIENCE, SEVEN, SMALL, Which, channel_with, heavy, make_certificates, program, run, shows, until, within,
};
use crate::programs::DOVETAIL;

/// What a node says to be: as the balancer of a cluster would know it.
async fn peer(cluster: &Cluster, role: pb::Role, index: u32) -> node_pb::Peer {
    let told = cluster.inspect(Which::Balancer).await.unwrap();
    let (settings, settings_digest) = (told.settings, told.settings_digest);
    let (cluster, role, protocol) = (told.cluster, role.into(), dovetail_wire::PROTOCOL);
    node_pb::Peer { cluster, settings, settings_digest, role, index, protocol, ..node_pb::Peer::default() }
}

fn refused(answer: Result<impl Sized, Status>, says: &[&str]) {
    let status = answer.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    for part in says {
        assert!(status.message().contains(part), "no {part:?} in {:?}", status.message());
    }
}

/// Every call of nodes, by a caller that shows this and claims that.
async fn calls(
    cluster: &Cluster,
    options: &ConnectOptions,
    peer: &node_pb::Peer,
) -> [(&'static str, Result<(), Status>); 5] {
    let peer = || Some(peer.clone());
    let mut feed = FeedServiceClient::new(channel_with(&cluster.server(), options));
    let mut candidates = CandidatesServiceClient::new(channel_with(&cluster.url(Which::Matcher(0)), options));
    let mut decisions = DecisionsServiceClient::new(channel_with(&cluster.url(Which::Gatherer(0)), options));
    let request = node_pb::CandidatesRequest { peer: peer(), ..Default::default() };
    let feed_request = node_pb::FeedRequest { peer: peer(), slices: vec![0], after: None };
    [
        ("Feed", feed.feed(feed_request).await.map(drop)),
        ("Cut", feed.cut(node_pb::CutRequest { peer: peer() }).await.map(drop)),
        (
            "Retirements",
            feed.retirements(node_pb::RetirementsRequest { peer: peer(), ..Default::default() }).await.map(drop),
        ),
        ("Candidates", candidates.candidates(request).await.map(drop)),
        ("Decisions", decisions.decisions(node_pb::DecisionsRequest { peer: peer(), after: 0 }).await.map(drop)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_processes_with_certificates_make_the_pairs_of_the_sequential_program() {
    let _heavy = heavy().await;
    let cluster = Cluster::start_secure("tls-golden", SEVEN, &[("tls-client-auth", "required")]).await;
    let (pool, elements) = ("examples/players.toml", "examples/players.ndjson");
    for arguments in [&["pool", "define", "--file", pool][..], &["submit", "--pool", "duel", elements]] {
        let (code, _, stderr) = cluster.dovetail(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    }
    let (code, watched, stderr) = cluster.dovetail(&["watch", "--pool", "duel", "--json", "--until-settled"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let (code, pairs, stderr) = cluster.dovetail(&["oracle", pool, elements]).await;
    assert_eq!(code, Some(0), "{stderr}");
    // Who widens after five seconds may be among those watched.
    let ids = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["a"]["id"].as_u64(), line["b"]["id"].as_u64())
    };
    let pairs: Vec<_> = pairs.lines().map(ids).collect();
    let watched: Vec<_> = watched.lines().map(ids).collect();
    assert_eq!((pairs.len(), &watched[..pairs.len()]), (86, &pairs[..]));
    until("nothing is wrong", async || {
        let (code, stdout, _) = cluster.dovetail(&["status", "--check"]).await;
        (code == Some(0) && stdout == "ok: 7 nodes, nothing is wrong\n").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_node_makes_no_call_of_nodes_and_a_node_only_its_own() {
    let cluster = Cluster::start_secure("tls-calls", SMALL, &[]).await;
    let certs = cluster.certs();
    let ca = ConnectOptions::default().trust(certs.join("ca.pem"));
    let gatherer = peer(&cluster, pb::Role::Gatherer, 0).await;
    for (options, says) in [(ca, "who shows no certificate"), (cluster.options(), "client \"ada\"")] {
        for (call, answer) in calls(&cluster, &options, &gatherer).await {
            refused(answer, &[call, says, "cluster \"tested\""]);
        }
    }
    // With the certificate of a matcher: what gatherers do is refused, and so is every other name.
    let matcher = shows(&certs.join("matcher-0"));
    let said = [peer(&cluster, pb::Role::Matcher, 1).await, peer(&cluster, pb::Role::Gatherer, 0).await];
    for (said, name) in said.iter().zip(["matcher 1 of cluster", "gatherer 0 of cluster"]) {
        for (call, answer) in calls(&cluster, &matcher, said).await {
            match call {
                "Candidates" => refused(answer, &["Candidates is for gatherers", "matcher 0 of cluster \"tested\""]),
                // A caller that claims to be a gatherer is not one that reads the feed.
                "Feed" if said.role() == pb::Role::Gatherer => refused(answer, &["Feed is for matchers", "Gatherer"]),
                _ => refused(answer, &[name, "certificate says matcher 0 of cluster \"tested\""]),
            }
        }
    }
    let own = peer(&cluster, pb::Role::Matcher, 0).await;
    let answers = calls(&cluster, &matcher, &own).await;
    let let_in: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(call, _)| *call).collect();
    // The real matcher 0 reads decisions, and there is one reader of a name.
    assert!(let_in.contains(&"Cut") && let_in.contains(&"Retirements"), "{answers:?}");
    // A client is served as before.
    assert!(cluster.client().await.list_pools().await.unwrap().is_empty());
}

/// Waits until a link of a node says this of why it is down.
async fn link_says(cluster: &Cluster, which: Which, parts: &[&str]) {
    until(&format!("a link of {which:?} says {parts:?}"), async || {
        let links = cluster.inspect(which).await?.links;
        links.iter().any(|link| parts.iter().all(|part| link.last_error.contains(part))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_in_the_place_of_nodes_are_refused_with_both_names_and_the_right_one_is_let_in_again() {
    let mut cluster = Cluster::start_secure("tls-strangers", SMALL, &[]).await;
    let strange = cluster.place.folder.join("strange");
    make_certificates(&cluster.place, SMALL, &strange).await;
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    for (which, folder, reader) in [
        (Which::Matcher(0), "matcher-0", Which::Gatherer(0)),
        (Which::Gatherer(0), "gatherer-0", Which::Matcher(0)),
        (Which::Balancer, "balancer-0", Which::Matcher(0)),
    ] {
        cluster.kill(which);
        // Of the same name, by another authority.
        let own = strange.join(folder);
        let (cert, key, ca) = (file(&own, "cert.pem"), file(&own, "key.pem"), file(&own, "ca.pem"));
        let flags = [("tls-cert", cert.as_str()), ("tls-key", &key), ("tls-ca", &ca)];
        let command = cluster.command_with(which, &flags);
        cluster.spawn_command(which, command);
        link_says(&cluster, reader, &["UnknownIssuer"]).await;
        cluster.kill(which);
        // Of another name, by the same authority: a whole cluster in one process takes any certificate.
        let other = cluster.certs().join(if which == Which::Balancer { "matcher-0" } else { "balancer-0" });
        let mut command = program(DOVETAIL);
        command
            .args(["up", "--listen", &cluster.address(which), "--data"])
            .arg(cluster.place.folder.join(format!("{which:?}")));
        for (flag, name) in [("--tls-cert", "cert.pem"), ("--tls-key", "key.pem"), ("--tls-ca", "ca.pem")] {
            command.arg(flag).arg(other.join(name));
        }
        let stdout = std::fs::File::create(cluster.place.folder.join("stdout")).unwrap();
        command.stdout(stdout);
        cluster.spawn_command(which, command);
        let wanted = folder.replace('-', " ");
        let found = if which == Which::Balancer { "is of matcher 0" } else { "is of balancer 0" };
        link_says(&cluster, reader, &[&format!("{wanted} of cluster \"tested\" was dialled"), found]).await;
        cluster.kill(which);
        cluster.spawn(which);
        cluster.serving(which).await;
    }
    until("nothing is wrong", async || {
        let (code, ..) = cluster.dovetail(&["status", "--check"]).await;
        (code == Some(0)).then_some(())
    })
    .await;
    // A node that was given the certificate of another does not even start.
    let other = cluster.certs().join("gatherer-0");
    let (cert, key) = (file(&other, "cert.pem"), file(&other, "key.pem"));
    let (code, _, stderr) =
        run(cluster.command_with(Which::Matcher(0), &[("tls-cert", &cert), ("tls-key", &key)])).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("is of gatherer 0 of cluster \"tested\", but this is matcher 0 of cluster"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_under_load_and_nobody_notices() {
    let _heavy = heavy().await;
    let cluster = Cluster::start_secure("tls-rotation", SEVEN, &[("tls-client-auth", "required")]).await;
    let (code, _, stderr) = cluster.dovetail(&["pool", "define", "any", "--rule", "true"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let client = cluster.client().await;
    let mut stream = client.submit("any", SubmitOptions::default()).await.unwrap();
    let mut watch = client.watch(WatchOptions { pool: "any".to_owned(), ..WatchOptions::default() });
    let element = |key: String| pb::Submission { key, ..Default::default() };
    let before: Vec<_> = cluster.all().into_iter().map(|which| (which, cluster.log_text(which).len())).collect();
    make_certificates(&cluster.place, SEVEN, cluster.certs()).await;
    let (mut submitted, mut matched, mut number) = (0_u64, 0, 0_u32);
    let changed = |which, from: usize| cluster.log_text(which)[from..].contains("certificates are read again");
    within(PATIENCE, "new certificates are in use everywhere", async {
        while number < 200 || !before.iter().all(|&(which, from)| changed(which, from)) {
            number += 1;
            stream.send((0..10).map(|n| element(format!("{number}-{n}"))).collect()).await.unwrap();
            submitted += 10;
            // A connection of its own, with the certificate that is there now.
            if number.is_multiple_of(10) {
                assert_eq!(cluster.client().await.list_pools().await.unwrap().len(), 1);
            }
            while matched * 2 + 100 < submitted {
                matched += watch.next().await.unwrap().unwrap().matches.len() as u64;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(stream.finish().await.unwrap().iter().all(|answer| answer.refusals.is_empty()));
    while matched * 2 < submitted {
        matched += within(PATIENCE, "the last matches come", watch.next()).await.unwrap().unwrap().matches.len() as u64;
    }
    for which in cluster.all() {
        let node = cluster.inspect(which).await.unwrap();
        let broken: Vec<_> = node.links.iter().filter(|link| !link.connected || link.reconnects > 0).collect();
        assert!(broken.is_empty(), "{which:?}: {broken:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_nodes_and_operators_can_have_ports_of_their_own() {
    let mut cluster = Cluster::start_secure("tls-ports", SMALL, &[]).await;
    let [nodes, operators] = [7410, 7420].map(|port| format!("{}:{port}", cluster.place.ip));
    let to_nodes = format!("https://{nodes}");
    for which in cluster.all() {
        cluster.kill(which);
        let own = [("listen-nodes", nodes.as_str()), ("listen-operators", &operators), ("balancer", &to_nodes)];
        let flags = if which == Which::Balancer { &own[..] } else { &own[2..] };
        let command = cluster.command_with(which, flags);
        cluster.spawn_command(which, command);
    }
    let (code, _, stderr) = within(PATIENCE, "the balancer is there", async {
        loop {
            let done = cluster.dovetail(&["pool", "define", "any", "--rule", "true"]).await;
            match done.0 {
                Some(0) => return done,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    assert_eq!(code, Some(0), "{stderr}");
    let client = cluster.client().await;
    let mut stream = client.submit("any", SubmitOptions::default()).await.unwrap();
    let element = |key: &str| pb::Submission { key: key.to_owned(), ..Default::default() };
    stream.send(vec![element("a"), element("b")]).await.unwrap();
    let mut watch = client.watch(WatchOptions { pool: "any".to_owned(), ..WatchOptions::default() });
    let mut matched = 0;
    while matched == 0 {
        let part = within(PATIENCE, "nodes reach the balancer at their port", watch.next()).await;
        matched = part.unwrap().unwrap().matches.len();
    }
    // Callers elsewhere are told where to go.
    let error = client.inspect().await.unwrap_err().to_string();
    assert!(error.contains("is for clients; dovetail.v1.InspectService is at its port for operators"), "{error}");
    for (port, says) in [(&nodes, "is for nodes; "), (&operators, "is for operators; ")] {
        let other = Client::connect_with(format!("https://{port}"), &cluster.options()).await.unwrap();
        let error = other.list_pools().await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("at its port for clients"), "{error}");
        assert_eq!(other.inspect().await.is_ok(), *port == operators);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_at_once_what_is_the_matter() {
    let cluster = Cluster::start_secure("tls-clients", SMALL, &[("tls-client-auth", "required")]).await;
    let address = cluster.address(Which::Balancer);
    let ca = cluster.certs().join("ca.pem").display().to_string();
    let plain = Cluster::start("tls-plain", SMALL).await;
    let expired = cluster.certs().join("expired");
    let kept = |name: &str| std::fs::read_to_string(cluster.certs().join(name)).unwrap();
    let authority = Authority::open(&Issued { cert: kept("ca.pem"), key: kept("ca.key") }).unwrap();
    let issued = authority.client("tested", "ada", Validity(Duration::ZERO)).unwrap();
    std::fs::create_dir_all(&expired).unwrap();
    for (name, text) in [("cert.pem", &issued.cert), ("key.pem", &issued.key), ("ca.pem", &kept("ca.pem"))] {
        std::fs::write(expired.join(name), text).unwrap();
    }
    let strange = cluster.place.folder.join("strange");
    make_certificates(&cluster.place, SMALL, &strange).await;
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let shown = |folder: &Path| ["cert.pem", "key.pem"].map(|name| file(folder, name));
    let ([expired_cert, expired_key], [strange_cert, strange_key]) =
        (shown(&expired), shown(&strange.join("client-ada")));
    let strange_ca = file(&strange, "ca.pem");
    let (secure, http) = (format!("https://{address}"), format!("http://{address}"));
    let to_plain = plain.server().replace("http://", "https://");
    // Certificates count in seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (code, arguments, says) in [
        (2, vec!["--server", &secure], "asks for TLS, but no authority is named"),
        (2, vec!["--server", &secure, "--tls-ca", "/nowhere"], "authority /nowhere: No such file"),
        (2, vec!["--server", &secure, "--tls-ca", &ca, "--tls-cert", "/c"], "--tls-cert needs --tls-key"),
        (1, vec!["--server", &secure, "--tls-ca", &strange_ca], "UnknownIssuer"),
        (1, vec!["--server", &secure, "--tls-ca", &ca], "CertificateRequired"),
        (
            1,
            vec!["--server", &secure, "--tls-ca", &ca, "--tls-cert", &expired_cert, "--tls-key", &expired_key],
            "CertificateExpired",
        ),
        (
            1,
            vec!["--server", &secure, "--tls-ca", &ca, "--tls-cert", &strange_cert, "--tls-key", &strange_key],
            "UnknownCA",
        ),
        (1, vec!["--server", &http], "speaks TLS: write https://"),
        (1, vec!["--server", &to_plain, "--tls-ca", &ca], "does not answer with TLS"),
    ] {
        let mut command = program(DOVETAIL);
        command.args(["pool", "list"]).args(&arguments);
        let (found, _, stderr) = within(Duration::from_secs(20), "an answer", run(command)).await;
        assert!(found == Some(code) && stderr.contains(says), "{arguments:?}: {found:?} {stderr}");
    }
    // The library says the same.
    let error = Client::connect(secure.as_str()).await.unwrap_err().to_string();
    assert!(error.contains("ConnectOptions::trust"), "{error}");
    let client = Client::connect_with(secure, &cluster.options()).await.unwrap();
    assert!(client.list_pools().await.is_ok());
}
