use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::keys::{SETTINGS, SettingKind};
use super::*;
use crate::auth::Rates;
use dovetail::tls::{Files, OwnFiles};
use dovetail_certs::ClientAuth;

/// A settings file that goes away with the test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dovetail-settings-{}-{number}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

fn sources(file: Option<&File>, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Sources {
    Sources {
        file: file.map(|file| file.0.clone()),
        env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        flags: flags.iter().map(|&(key, value)| (key, value.to_owned())).collect(),
    }
}

/// Loads as a matcher; the file's path becomes FILE in an error.
fn check(toml: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)], expected: Result<(), &str>) {
    let file = File::new(toml);
    let found = sources(Some(&file), env, flags).load(Role::Matcher);
    let found = found.map(drop).map_err(|error| error.to_string().replace(file.0.to_str().unwrap(), "FILE"));
    assert_eq!(found, expected.map_err(str::to_owned));
}

fn sample() -> ClusterSettings {
    ClusterSettings {
        name: "dovetail".to_owned(),
        slices: 6,
        matchers: 3,
        gatherers: 2,
        block: 64,
        virtual_nodes: 160,
        list_max: 256,
        balancers: Vec::new(),
    }
}

#[test]
fn the_digest_is_the_one_other_builds_compute() {
    assert_eq!(format!("{:016x}", sample().digest()), "04bd71331e4a0433");
}

#[test]
fn the_digest_covers_every_field() {
    let changes: [fn(&mut ClusterSettings); 10] = [
        |settings| settings.name.push('2'),
        |settings| settings.slices += 1,
        |settings| settings.matchers += 1,
        |settings| settings.gatherers += 1,
        |settings| settings.block += 1,
        |settings| settings.virtual_nodes += 1,
        |settings| settings.list_max += 1,
        |settings| settings.balancers = ["http://a:1", "http://b:1"].map(str::to_owned).into(),
        |settings| settings.balancers = ["http://b:1", "http://a:1"].map(str::to_owned).into(),
        |settings| settings.balancers = ["http://a:1", "http://b:1", "http://c:1"].map(str::to_owned).into(),
    ];
    let mut digests = BTreeSet::from([sample().digest()]);
    for change in changes {
        let mut changed = sample();
        change(&mut changed);
        assert!(digests.insert(changed.digest()), "{changed} has the digest of another");
    }
}

#[test]
fn the_words_name_every_value() {
    let words = "cluster \"dovetail\", slices 6, matchers 3, gatherers 2, block 64, virtual_nodes 160, list_max 256";
    assert_eq!(sample().to_string(), words);
    let balancers = ["http://a:1", "http://b:1"].map(str::to_owned).into();
    let several = ClusterSettings { balancers, ..sample() };
    assert_eq!(several.to_string(), format!("{words}, balancers http://a:1 http://b:1"));
}

#[test]
fn slices_are_dealt_to_matchers_in_turn() {
    assert_eq!(sample().slices_of(1).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn without_any_source_the_three_roles_find_each_other_on_one_host() {
    for (role, port) in [(Role::Balancer, 7400), (Role::Matcher, 7401), (Role::Gatherer, 7402)] {
        let settings = Sources::default().load(role).unwrap();
        assert_eq!(settings.node.listen.port(), port);
        assert_eq!(settings.node.address(), format!("http://127.0.0.1:{port}"));
        assert_eq!(settings.cluster.list_max, 256);
        assert_eq!(settings.node.limits.frame_age_ms_max, 2);
    }
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default() {
    let file = File::new("[cluster]\nslices = 10\nblock = 10\nlist_max = 10\n");
    let env = [("DOVETAIL_BLOCK", "20"), ("DOVETAIL_LIST_MAX", "20"), ("DOVETAIL_PORT", "tcp://10.0.0.1:80")];
    let settings = sources(Some(&file), &env, &[("cluster.list_max", "30")]).load(Role::Balancer).unwrap();
    let ClusterSettings { virtual_nodes, slices, block, list_max, .. } = settings.cluster;
    assert_eq!((virtual_nodes, slices, block, list_max), (160, 10, 20, 30));
}

#[test]
fn a_list_of_nodes_is_replaced_as_a_whole() {
    let file = File::new("[cluster]\nmatchers = [\"http://a:1\", \"http://b:1\", \"http://c:1\"]\n");
    let env = [("DOVETAIL_MATCHERS", "http://d:1, http://e:1")];
    let settings = sources(Some(&file), &env, &[]).load(Role::Balancer).unwrap();
    assert_eq!(settings.node.addresses.matchers, ["http://d:1", "http://e:1"]);
    assert_eq!(settings.cluster.matchers, 2);
}

#[test]
fn a_list_of_one_balancer_is_that_balancer_and_agrees_with_nodes_that_know_no_list() {
    let of = |flags: &[(&'static str, &str)]| sources(None, &[], flags).load(Role::Matcher).unwrap();
    let one = of(&[("cluster.balancer", "http://a:1")]);
    assert_eq!(of(&[("cluster.balancers", "http://a:1")]), one);
    assert_eq!(of(&[("cluster.balancers", "http://a:1"), ("cluster.balancer", "a:1")]), one);
    assert_eq!(one.cluster.digest(), Sources::default().load(Role::Matcher).unwrap().cluster.digest());
    assert_eq!(Sources::default().load(Role::Matcher).unwrap().node.addresses.balancers, ["http://127.0.0.1:7400"]);
}

#[test]
fn several_balancers_agree_on_their_names_and_each_is_one_of_them() {
    let nats = "[log]\nengine = \"jetstream\"\nurls = \"nats://a:4222\"\n";
    let file = File::new(&format!("{nats}[cluster]\nbalancers = [\"http://a:1\", \"http://b:1/\", \"c:1\"]\n"));
    let balancers = ["http://a:1", "http://b:1", "http://c:1"];
    for index in 0..3 {
        let flags = [("node.index", ["0", "1", "2"][index]), ("node.insecure", "true")];
        let settings = sources(Some(&file), &[], &flags).load(Role::Balancer).unwrap();
        assert_eq!(
            (settings.node.addresses.balancers.as_slice(), settings.node.address()),
            (&balancers.map(str::to_owned)[..], balancers[index])
        );
        assert_eq!(settings.cluster.balancers, balancers);
    }
    let error = sources(Some(&file), &[], &[("node.index", "3")]).load(Role::Balancer).unwrap_err().to_string();
    let says = "node.index is 3 (from flag --index), but must be below 3, the number of addresses in cluster.balancers";
    assert!(error.starts_with(says), "{error}");
    // One process has one of all.
    assert!(sources(Some(&file), &[], &[]).load_up().unwrap().cluster.balancers.is_empty());
}

#[test]
fn balancers_that_are_named_twice_over_are_refused() {
    let two = ("cluster.balancers", "http://a:1,http://b:1");
    let refused = "cluster.balancer is \"http://a:1\" (from environment variable DOVETAIL_BALANCER), and cluster.balancers is \
                   [\"http://a:1\", \"http://b:1\"] (from flag --balancers): give one of the two";
    check("", &[("DOVETAIL_BALANCER", "http://a:1")], &[two], Err(refused));
    let refused =
        "cluster.balancers is \"http://a:1\", but must be a list that names each once (from flag --balancers)";
    check("", &[], &[("cluster.balancers", "http://a:1,http://b:1,a:1")], Err(refused));
    let refused = "cluster.balancers is 8, but must be 1 to 7 (from flag --balancers)";
    let eight = (0..8).map(|port| format!("http://a:{}", port + 1)).collect::<Vec<_>>().join(",");
    check("", &[], &[("cluster.balancers", &eight)], Err(refused));
    check(
        "[cluster]\nbalancers = []\n",
        &[],
        &[],
        Err("cluster.balancers is 0, but must be 1 to 7 (from settings file FILE)"),
    );
    let refused = "cluster.balancers is \"http://b:1\" (from flag --balancers), but tls.cert is given, and then all nodes speak \
                   TLS; write https://";
    let tls = [("tls.cert", "c"), ("tls.key", "k"), ("tls.ca", "a"), ("cluster.balancers", "https://a:1,http://b:1")];
    check("", &[], &tls, Err(refused));
}

#[test]
fn up_counts_nodes_wherever_they_are_named() {
    let file = File::new("[cluster]\nmatchers = [\"http://a:1\", \"http://b:1\", \"http://c:1\"]\ngatherers = 4\n");
    let settings = sources(Some(&file), &[], &[]).load_up().unwrap();
    assert_eq!((settings.cluster.matchers, settings.cluster.gatherers), (3, 4));
    let settings = sources(Some(&file), &[], &[("cluster.matchers", "5")]).load_up().unwrap();
    assert_eq!(settings.cluster.matchers, 5);
    let settings = Sources::default().load_up().unwrap();
    assert_eq!((settings.cluster.matchers, settings.cluster.gatherers), (2, 2));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(settings.data, PathBuf::from("./dovetail-data"));
}

#[test]
fn a_refusal_names_the_value_the_bound_and_where_it_came_from() {
    check("[cluster]\nslices = 6\n", &[], &[], Ok(()));
    let refused = "cluster.slices is 0, but must be 1 to 1024 (from settings file FILE)";
    check("[cluster]\nslices = 0\n", &[], &[], Err(refused));
    let refused = "cluster.slices is -3, but must be 1 to 1024 (from settings file FILE)";
    check("[cluster]\nslices = -3\n", &[], &[], Err(refused));
    let refused = "cluster.block is 1.5, but must be a whole number (from settings file FILE)";
    check("[cluster]\nblock = 1.5\n", &[], &[], Err(refused));
    let refused = "cluster.list_max is 1, but must be 2 to 65536 (from environment variable DOVETAIL_LIST_MAX)";
    check("", &[("DOVETAIL_LIST_MAX", "1")], &[], Err(refused));
    let refused = "limits.waiting_max is \"many\", but must be a whole number (from flag --waiting-max)";
    check("", &[], &[("limits.waiting_max", "many")], Err(refused));
    let refused = "cluster.name is \"a b\", but must be 1 to 64 of a-z A-Z 0-9 _ . - (from flag --cluster-name)";
    check("", &[], &[("cluster.name", "a b")], Err(refused));
    let refused =
        "node.listen is \"7400\", but must be IP:PORT, such as 127.0.0.1:7400 or [::]:7400 (from flag --listen)";
    check("", &[], &[("node.listen", "7400")], Err(refused));
    let refused = "node.log_format is \"xml\", but must be text or json (from settings file FILE)";
    check("[node]\nlog_format = \"xml\"\n", &[], &[], Err(refused));
}

#[test]
fn a_log_filter_that_is_no_level_is_refused_wherever_it_is_given() {
    let refused = |value: &str, from: &str| {
        format!(
            "node.log is {value:?}, but must be off, error, warn, info, debug or trace, or also targets with levels, such as \
             info,dovetail=debug (from {from})"
        )
    };
    let nonsense = |from| refused("nonsense", from);
    check("", &[], &[("node.log", "nonsense")], Err(&nonsense("flag --log")));
    check("", &[("DOVETAIL_LOG", "nonsense")], &[], Err(&nonsense("environment variable DOVETAIL_LOG")));
    check("[node]\nlog = \"nonsense\"\n", &[], &[], Err(&nonsense("settings file FILE")));
    for value in ["verbose", "info,nonsense", "dovetail=loud", "=info", "dovetail=", "info;debug", "h2", "infos"] {
        check("", &[], &[("node.log", value)], Err(&refused(value, "flag --log")));
    }
    for value in [
        "off",
        "ERROR",
        "info",
        "info,dovetail=debug",
        "dovetail=trace,h2=warn",
        "dovetail::rpc",
        "warn,h2[a{b=1}]=debug",
        "",
    ] {
        check("", &[], &[("node.log", value)], Ok(()));
    }
}

#[test]
fn a_refused_address_is_shown() {
    for (url, says) in [
        ("ftp://a:1", "\"ftp://a:1\" begins with ftp://, which is not gRPC; write http://a:1"),
        ("http://", "\"http://\" is not HOST:PORT, such as 127.0.0.1:7400 or https://balancer:7400"),
        ("http://a:1/x", "\"http://a:1/x\" has \"/x\" after host and port; write http://a:1"),
        ("http://me@a:1", "an address has a user before its host, but nodes know no users; write http://a:1"),
    ] {
        let refused = format!("cluster.matchers: {says} (from settings file FILE)");
        check(&format!("[cluster]\nmatchers = [{url:?}]\n"), &[], &[], Err(&refused));
    }
    let refused = "cluster.matchers is 0, but must be 1 to 1024 (from settings file FILE)";
    check("[cluster]\nmatchers = []\n", &[], &[], Err(refused));
    let refused = "cluster.matchers is 3, but must be a list of URLs (from flag --matchers)";
    check("", &[], &[("cluster.matchers", "3")], Err(refused));
}

#[test]
fn plain_text_is_for_loopback_or_for_who_says_so() {
    for listen in ["127.0.0.1:1", "127.7.7.7:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        check("", &[], &[("node.listen", listen)], Ok(()));
    }
    for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        let refused = format!(
            "node.listen is {listen} (from flag --listen), which others reach, and there is no TLS: give --tls-cert, --tls-key and \
             --tls-ca (dovetail certs init makes them), or listen at 127.0.0.1, or say --insecure if the network may be trusted"
        );
        check("", &[], &[("node.listen", listen)], Err(&refused));
        assert!(sources(None, &[], &[("node.listen", listen)]).load_up().is_err());
        check("", &[], &[("node.listen", listen), ("node.insecure", "true")], Ok(()));
        check("[node]\ninsecure = true\n", &[], &[("node.listen", listen)], Ok(()));
        check("", &[("DOVETAIL_INSECURE", "true")], &[("node.listen", listen)], Ok(()));
        let tls = [("node.listen", listen), ("tls.cert", "c"), ("tls.key", "k")];
        assert!(sources(None, &[], &tls).load_up().is_ok());
    }
    let refused = "node.insecure is \"yes\", but must be true or false (from environment variable DOVETAIL_INSECURE)";
    check("", &[("DOVETAIL_INSECURE", "yes")], &[("node.listen", "0.0.0.0:1")], Err(refused));
    // Nobody was told where to listen: others look for the node at this machine.
    assert_eq!(Sources::default().load(Role::Matcher).unwrap().node.listen.to_string(), "127.0.0.1:7401");
    let others = sources(None, &[], &[("cluster.matchers", "http://10.0.0.1:7401")]);
    assert!(matches!(others.load(Role::Matcher), Err(SettingsError::PlainText { .. })));
}

#[test]
fn settings_of_tls_go_together_or_are_refused() {
    let all = [("tls.cert", "c"), ("tls.key", "k"), ("tls.ca", "a")];
    let urls = [
        ("cluster.balancer", "https://b:1"),
        ("cluster.matchers", "https://m:1"),
        ("cluster.gatherers", "https://g:1"),
    ];
    check("", &[], &[all.as_slice(), &urls].concat(), Ok(()));
    // What clients have in their environment makes no TLS of a node.
    check("", &[], &[("tls.ca", "a")], Ok(()));
    for (left_out, says) in [
        (1, "tls.cert is \"c\" (from flag --tls-cert), but tls.key, its key, is not given"),
        (0, "tls.key is \"k\" (from flag --tls-key), but tls.cert, the certificate it is of, is not given"),
        (
            2,
            "tls.ca is not given (from the default), but tls.cert is given, and other nodes are believed only with an authority \
             that signs for them",
        ),
    ] {
        let mut given = all.to_vec();
        given.remove(left_out);
        check("", &[], &[given.as_slice(), &urls].concat(), Err(says));
    }
    let refused = "cluster.gatherers is \"http://g:1\" (from flag --gatherers), but tls.cert is given, and then all nodes speak \
                   TLS; write https://";
    check(
        "",
        &[],
        &[all.as_slice(), &urls[..2], &[("cluster.gatherers", "https://f:1,http://g:1")]].concat(),
        Err(refused),
    );
    let refused = "cluster.balancer is \"https://b:1\" (from flag --balancer), but tls.cert, tls.key and tls.ca are not given; \
                   TLS needs them";
    check("", &[], &urls, Err(refused));
    let refused = "tls.client_auth is \"maybe\", but must be none, optional or required (from flag --tls-client-auth)";
    check("", &[], &[("tls.client_auth", "maybe")], Err(refused));
    let refused = "tls.client_auth is \"required\" (from flag --tls-client-auth), but tls.ca, which signs the certificates of \
                   clients, is not given";
    check("", &[], &[("tls.client_auth", "required"), ("tls.cert", "c"), ("tls.key", "k")], Err(refused));
}

#[test]
fn relations_between_settings_name_both() {
    let refused = "cluster.matchers is 2 (from flag --matchers), but must be at most cluster.slices, which is 1 (from \
                   environment variable DOVETAIL_SLICES)";
    check("", &[("DOVETAIL_SLICES", "1")], &[("cluster.matchers", "http://a:1,http://b:1")], Err(refused));
    let refused = "node.index is 1 (from environment variable DOVETAIL_INDEX), but must be below 1, the number of \
                   addresses in cluster.matchers (from the default)";
    check("", &[("DOVETAIL_INDEX", "1")], &[], Err(refused));
}

#[test]
fn unknown_keys_are_refused_with_what_may_have_been_meant() {
    let refused = "unknown setting \"cluster.waiting_max\" in settings file FILE; did you mean \"limits.waiting_max\"?";
    check("[cluster]\nwaiting_max = 5\n", &[], &[], Err(refused));
    check("slises = 4\n", &[], &[], Err("unknown setting \"slises\" in settings file FILE"));
    check(
        "[cluster.slices]\nx = 1\n",
        &[],
        &[],
        Err("cluster.slices is a table, but must be a whole number (from settings file FILE)"),
    );
    check("[ssl]\n", &[], &[], Err("unknown setting \"ssl\" in settings file FILE"));
    check("cluster = 4\n", &[], &[], Err("unknown setting \"cluster\" in settings file FILE"));
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let missing = Sources { file: Some("/nowhere/dovetail.toml".into()), ..Sources::default() };
    let error = missing.load(Role::Balancer).unwrap_err().to_string();
    assert!(error.starts_with("settings file /nowhere/dovetail.toml cannot be read: No such file"), "{error}");
    let file = File::new("[cluster]\nslices = = 4\n");
    let error = sources(Some(&file), &[], &[]).load(Role::Balancer).unwrap_err().to_string();
    assert!(error.contains("is not TOML: TOML parse error at line 2, column 10"), "{error}");
}

#[test]
fn every_default_is_within_its_bounds_and_every_name_is_taken_once() {
    let mut names = BTreeSet::new();
    for setting in SETTINGS {
        assert!(names.insert(setting.key.to_owned()) && names.insert(setting.flag.to_owned()), "{}", setting.key);
        assert!(names.insert(setting.env()), "{}", setting.env());
        if let SettingKind::Count { min, max } = setting.kind {
            let default: u64 = setting.default.parse().unwrap();
            assert!((min..=max).contains(&default), "{}", setting.key);
        }
    }
    let known = known_names(Program::Role(Role::Matcher));
    for name in ["--config", "DOVETAIL_CONFIG", "--list-max", "DOVETAIL_CLUSTER_NAME", "cluster.name", "--index"] {
        assert!(known.iter().any(|known| known == name), "{name}");
    }
    assert!(!known_names(Program::Up).contains(&"--index".to_owned()));
}

#[test]
fn every_setting_of_the_file_reaches_its_field() {
    let file = File::new(
        "[cluster]\nname = \"c1\"\nslices = 7\nmatchers = [\"https://m:1\"]\ngatherers = [\"https://g:1\"]\n\
         balancer = \"https://b:1/\"\nblock = 8\nvirtual_nodes = 9\nlist_max = 10\n\
         [node]\nlisten = \"[::1]:11\"\nlisten_nodes = \"10.0.0.1:12\"\nlisten_operators = \"127.0.0.1:13\"\nindex = 0\ndata = \"/d\"\nlog = \"warn,dovetail=debug\"\nlog_format = \"json\"\ntakeover_after_ms = 302\nbeat_ms = 21\nstandby_grace_ms = 1003\ninsecure = false\n\
         [tls]\ncert = \"/c.pem\"\nkey = \"/k.pem\"\nca = \"/a.pem\"\nclient_auth = \"required\"\n\
         [limits]\nwaiting_max = 12\nwaiting_total_max = 24\nwaiting_bytes_max = 1048577\nwaiting_bytes_total_max = 1048578\nelement_bytes_max = 1025\ncalls_max = 25\nwaits_max = 26\npayload_bytes_max = 13\nin_flight_max = 14\nhold_ms_max = 27\npools_prefix_max = 38\npools_client_max = 39\nsearch_cost_max = 1048578\nframe_events_max = 15\n\
         frame_bytes_max = 4096\nframe_age_ms_max = 17\nended_max = 18\nidempotency_max = 19\nidempotency_ms = 28000\nidempotency_total_max = 29\nclock_jump_ms_max = 2900\n\
         checkpoint_bytes = 1048576\nresults_bytes_max = 1048577\nresults_ms_max = 60000\nwatchers_max = 20\n\
         submit_streams_max = 21\nconnections_max = 28\nclient_connections_max = 29\nconnection_idle_ms_max = 30\nconnection_age_ms_max = 31\nclient_share_percent = 32\nscans_max = 33\nsubmit_idle_ms_max = 34\nstreams_max = 24\nconnection_streams_max = 25\nmessage_bytes_max = 65536\ndrain_ms_max = 23\n\
         [auth]\npolicy = \"/p\"\napi_keys = \"/k\"\njwks = \"/j\"\nissuer = \"i\"\naudience = \"a\"\naudit = \"-\"\n\
         elements_per_s = 31\nbytes_per_s = 32\ncalls_per_s = 33\nstreams = 34\n\
         [log]\nengine = \"jetstream\"\nurls = \"nats://n:1, tls://u:p@o:2\"\ncredentials = \"/n.creds\"\nauthorities = \"/n.pem\"\n\
         stream = \"s\"\nreplicas = 5\nmax_bytes = 16777217\npatience_ms = 101\n",
    );
    let expected = Settings {
        cluster: ClusterSettings {
            name: "c1".to_owned(),
            slices: 7,
            matchers: 1,
            gatherers: 1,
            block: 8,
            virtual_nodes: 9,
            list_max: 10,
            balancers: Vec::new(),
        },
        node: NodeSettings {
            role: Role::Gatherer,
            index: 0,
            listen: "[::1]:11".parse().unwrap(),
            listen_nodes: Some("10.0.0.1:12".parse().unwrap()),
            listen_operators: Some("127.0.0.1:13".parse().unwrap()),
            data: "/d".into(),
            log: LogSettings { filter: "warn,dovetail=debug".to_owned(), format: LogFormat::Json },
            tls: Some(TlsSettings {
                files: Files {
                    own: Some(OwnFiles { cert: "/c.pem".into(), key: "/k.pem".into() }),
                    ca: Some("/a.pem".into()),
                },
                clients: ClientAuth::Required,
            }),
            addresses: Addresses {
                balancers: vec!["https://b:1".to_owned()],
                matchers: vec!["https://m:1".to_owned()],
                gatherers: vec!["https://g:1".to_owned()],
            },
            limits: Limits {
                waiting_max: 12,
                waiting_total_max: 24,
                waiting_bytes_max: 1_048_577,
                waiting_bytes_total_max: 1_048_578,
                element_bytes_max: 1025,
                payload_bytes_max: 13,
                in_flight_max: 14,
                hold_ms_max: 27,
                pools_prefix_max: 38,
                pools_client_max: 39,
                search_cost_max: 1_048_578,
                frame_events_max: 15,
                frame_bytes_max: 4096,
                frame_age_ms_max: 17,
                ended_max: 18,
                idempotency_ms: 28_000,
                idempotency_max: 19,
                idempotency_total_max: 29,
                clock_jump_ms_max: 2_900,
                checkpoint_bytes: 1_048_576,
                results_bytes_max: 1_048_577,
                results_ms_max: 60_000,
                watchers_max: 20,
                calls_max: 25,
                waits_max: 26,
                submit_streams_max: 21,
                connections_max: 28,
                client_connections_max: 29,
                connection_idle_ms_max: 30,
                connection_age_ms_max: 31,
                client_share_percent: 32,
                scans_max: 33,
                submit_idle_ms_max: 34,
                streams_max: 24,
                connection_streams_max: 25,
                message_bytes_max: 65536,
                drain_ms_max: 23,
            },
            auth: AuthSettings {
                policy: Some("/p".into()),
                api_keys: Some("/k".into()),
                jwks: Some("/j".into()),
                issuer: "i".to_owned(),
                audience: "a".to_owned(),
                audit: "-".to_owned(),
                rates: Rates { elements_per_s: 31, bytes_per_s: 32, calls_per_s: 33, streams: 34 },
            },
            engine: LogEngine::JetStream(Box::new(JetStreamSettings {
                urls: vec!["nats://n:1".to_owned(), "tls://u:p@o:2".to_owned()],
                credentials: Some("/n.creds".into()),
                authorities: Some("/n.pem".into()),
                stream: Some("s".to_owned()),
                replicas: 5,
                max_bytes: 16_777_217,
            })),
            standby: StandbySettings { patience_ms: 101, takeover_after_ms: 302, beat_ms: 21, grace_ms: 1_003 },
        },
    };
    assert_eq!(sources(Some(&file), &[], &[]).load(Role::Gatherer).unwrap(), expected);
    assert_eq!(sources(None, &[], &[]).env, BTreeMap::new());
}

#[test]
fn who_keeps_the_log_is_said_whole_or_refused_and_no_password_is_told() {
    let nats = ("log.engine", "jetstream");
    let urls = |urls| [nats, ("log.urls", urls)];
    check("", &[], &[], Ok(()));
    check("", &[], &urls("nats://a:4222,tls://b:4222"), Ok(()));
    check(
        "",
        &[],
        &[("log.engine", "kafka")],
        Err("log.engine is \"kafka\", but must be embedded or jetstream (from flag --log-engine)"),
    );
    let expected = "but must be addresses of NATS servers, such as nats://10.0.0.5:4222,nats://10.0.0.6:4222, for log.engine \
                    \"jetstream\"";
    // Others need not know where it is.
    check("", &[], &[nats], Ok(()));
    let refused = sources(None, &[], &[nats]).load(Role::Balancer).unwrap_err().to_string();
    assert_eq!(refused, format!("log.urls is \"\", {expected} (from the default)"));
    let told = format!("log.urls is no address in part 2, {expected} (from flag --log-urls)");
    check("", &[], &urls("nats://b:1,http://me:secret@a:4222"), Err(&told));
    for even in ["2", "4"] {
        let flags = [nats, ("log.urls", "nats://a:4222"), ("log.replicas", even)];
        let told = format!("log.replicas is {even}, but must be 1, 3 or 5 (from flag --log-replicas)");
        check("", &[], &flags, Err(&told));
    }
    let told = "node.beat_ms is 200 (from the default), but must be at most a third of node.takeover_after_ms, which is 133 (from \
                flag --takeover-after-ms)";
    check("", &[], &[("node.takeover_after_ms", "400")], Err(told));
    let file = File::new("[log]\nurls = nats://me:secret@a:4222\n");
    let refused = sources(Some(&file), &[], &[]).load(Role::Balancer).unwrap_err().to_string();
    assert!(refused.contains("line 2, column 8") && !refused.contains("secret"), "{refused}");
    let flags = [nats, ("log.urls", "nats://me:secret@a:4222")];
    let settings = sources(None, &[], &flags).load(Role::Matcher).unwrap();
    assert!(!format!("{settings:?}").contains("secret"));
}

#[test]
fn several_balancers_share_a_log_that_others_keep() {
    let two = ("cluster.balancers", "http://127.0.0.1:1,http://127.0.0.1:2");
    let refused = sources(None, &[], &[two]).load(Role::Balancer).unwrap_err();
    let told = "log.engine is \"embedded\", but must be jetstream where cluster.balancers names several: they share a log (from \
                the default)";
    assert_eq!(refused.to_string(), told);
    assert!(sources(None, &[], &[two]).load(Role::Matcher).is_ok(), "others follow them");
    let flags = [two, ("log.engine", "jetstream"), ("log.urls", "nats://a:4222")];
    assert!(sources(None, &[], &flags).load(Role::Balancer).is_ok());
}
