//! The files of deploy/nats: servers that are started from them keep a log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dovetail_jetstream::{JetStreamEngine, JetStreamOpenError, JetStreamOptions, NatsTls};
use dovetail_log::shared::{Beat, Engine, Position, SharedReadError, WriterId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::harness::{PATIENCE, Servers, begin, group, read};

fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/nats.conf");
    fs::read_to_string(file).unwrap()
}

/// An authority, and a certificate of 127.0.0.1 with its key, in the files that the configuration names.
fn certificates(dir: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    fs::write(dir.join("authority.pem"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority.pem(), authority_key).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(dir.join("server.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}

/// Everything that an engine asks of servers.
fn does_all(options: &JetStreamOptions) {
    let mut engine = JetStreamEngine::open(options).unwrap();
    let mut writer = begin(engine.clone(), 1);
    let ats: Vec<Position> = (0..5).map(|n| writer.append(&group(n, n + 1)).unwrap()).collect();
    read(&engine, Position::ZERO, 0, 5);
    assert_eq!(engine.find(3), Ok(ats[2]));
    assert_eq!(engine.trim(ats[2]), Ok(ats[2]));
    let mut hears = engine.hear();
    let address = "here".to_owned();
    let beat = Beat { writer: WriterId(1), term: None, recorded: 5, stored: 5, kept: 4, address, yields: false };
    engine.beat(&beat);
    assert_eq!(hears.next(PATIENCE), Some(beat));
    let trimmed = engine.follow(Position::ZERO).next(PATIENCE);
    assert!(matches!(trimmed, Err(SharedReadError::Trimmed { .. })), "{trimmed:?}");
    let mut next = begin(engine, 2);
    next.append(&group(5, 6)).unwrap();
}

#[test]
fn servers_of_the_shipped_configuration_keep_a_log() {
    let text = shipped();
    for setting in ["sync_interval: always", "max_payload: 8MB", "max_file: "] {
        assert!(text.contains(setting), "{setting}");
    }
    let Some(servers) = Servers::start_given(3, |_| text.clone()) else { return };
    does_all(&servers.options("dovetail"));
}

#[test]
fn servers_that_let_only_known_users_in_by_tls_keep_a_log() {
    let prepared = |dir: &Path| {
        certificates(dir);
        shipped().replace("#: ", "").replace("/etc/nats", dir.to_str().unwrap())
    };
    let Some(servers) = Servers::start_given(3, prepared) else { return };
    let file = |name: &str| Some(servers.folder_of_all().join(name));
    let url = |url: &String, user: &str| url.replace("nats://", &format!("tls://{user}@"));
    let mut options = servers.options("dovetail");
    options.tls = Some(NatsTls { authorities: file("authority.pem"), own: None });
    options.urls = servers.urls().iter().map(|known| url(known, "balancer:CHANGE-ME")).collect();
    does_all(&options);
    // Who is not known is told so, and so is who does not know the server.
    options.timeouts.open = Duration::from_secs(4);
    let mut stranger = options.clone();
    stranger.urls = servers.urls().iter().map(|known| url(known, "balancer:wrong")).collect();
    let told = JetStreamEngine::open(&stranger).unwrap_err().to_string();
    assert!(told.contains("authorization violation") && !told.contains("wrong"), "{told}");
    options.tls = Some(NatsTls { authorities: None, own: None });
    let told = JetStreamEngine::open(&options).unwrap_err().to_string();
    assert!(told.contains("certificate"), "{told}");
    options.tls = Some(NatsTls { authorities: file("nowhere.pem"), own: None });
    assert!(matches!(JetStreamEngine::open(&options), Err(JetStreamOpenError::File { .. })));
}
