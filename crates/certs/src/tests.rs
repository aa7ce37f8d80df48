//! Handshakes over sockets, with certificates made for them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use dovetail::{
    Role,
    tls::{OwnFiles, Trust},
};

const YEAR: Validity = Validity(Duration::from_secs(365 * 86_400));

fn name(role: Role, index: u32) -> NodeName {
    NodeName { cluster: "c".to_owned(), role, index }
}

/// Files of a test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("dovetail-tls-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, issued: &Issued) -> OwnFiles {
        let (cert, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&cert, &issued.cert).unwrap();
        fs::write(&key, &issued.key).unwrap();
        OwnFiles { cert, key }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority, and where its certificate is.
fn authority(folder: &Folder, file: &str) -> (Authority, PathBuf) {
    let (authority, kept) = Authority::new("c", YEAR).unwrap();
    (authority, folder.write(file, &kept).cert)
}

fn settings(own: Option<OwnFiles>, ca: &Path, clients: ClientAuth) -> TlsSettings {
    TlsSettings { files: Files { own, ca: Some(ca.to_owned()) }, clients }
}

/// What both sides of a handshake say.
type Both = (io::Result<Option<Proved>>, io::Result<Option<Proved>>);

async fn handshake(server: &Tls, client: &Tls, host: &str) -> Both {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = async {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut stream, proved) = server.accept(stream).await.map_err(|refused| refused.error)?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        Ok(proved)
    };
    let connected = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut stream, proved) = client.connect(host, stream).await?;
        // With TLS 1.3 a client hears only now that its certificate is refused.
        stream.read_exact(&mut [0; 5]).await?;
        Ok(proved)
    };
    tokio::join!(accepted, connected)
}

#[tokio::test]
async fn both_sides_of_a_handshake_learn_who_the_other_is() {
    let folder = Folder::new("both");
    let (authority, ca) = authority(&folder, "ca");
    let (matcher, gatherer) = (name(Role::Matcher, 0), name(Role::Gatherer, 1));
    let issue = |name: &NodeName| authority.node(name, &["10.0.0.2".to_owned()], YEAR).unwrap();
    let own = |name: &NodeName, file| Some(folder.write(file, &issue(name)));
    let server = Tls::load(settings(own(&matcher, "m"), &ca, ClientAuth::Optional), Some(matcher.clone())).unwrap();
    let client = Tls::load(settings(own(&gatherer, "g"), &ca, ClientAuth::Optional), None).unwrap();
    for host in ["127.0.0.1", "localhost", "10.0.0.2", "matcher-0.c.dovetail"] {
        let (accepted, connected) = handshake(&server, &client, host).await;
        assert_eq!(accepted.unwrap(), Some(Proved::Node(gatherer.clone())), "{host}");
        assert_eq!(connected.unwrap(), Some(Proved::Node(matcher.clone())), "{host}");
    }
    let (_, connected) = handshake(&server, &client, "10.0.0.3").await;
    let refused = connected.unwrap_err().to_string();
    assert!(refused.contains("10.0.0.3") && refused.contains("10.0.0.2"), "{refused}");
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate_and_let_in_without_one_unless_one_is_required() {
    let folder = Folder::new("clients");
    let (authority, ca) = authority(&folder, "ca");
    let node = name(Role::Balancer, 0);
    let own = folder.write("b", &authority.node(&node, &[], YEAR).unwrap());
    let shop = folder.write("shop", &authority.client("c", "shop", YEAR).unwrap());
    let named = Tls::load(settings(Some(shop), &ca, ClientAuth::Optional), None).unwrap();
    let nobody = Tls::load(settings(None, &ca, ClientAuth::Optional), None).unwrap();
    for (clients, of_named, of_nobody) in [
        (ClientAuth::None, Some(None), Some(None)),
        (ClientAuth::Optional, Some(Some(Proved::Client("shop".into()))), Some(None)),
        (ClientAuth::Required, Some(Some(Proved::Client("shop".into()))), None),
    ] {
        let server = Tls::load(settings(Some(own.clone()), &ca, clients), None).unwrap();
        let (accepted, connected) = handshake(&server, &named, "localhost").await;
        assert_eq!((accepted.ok(), connected.is_ok()), (of_named, true), "{clients:?}");
        let (accepted, connected) = handshake(&server, &nobody, "localhost").await;
        assert_eq!((accepted.ok(), connected.is_ok()), (of_nobody.clone(), of_nobody.is_some()), "{clients:?}");
    }
}

#[tokio::test]
async fn what_another_authority_signed_and_what_has_expired_is_refused_on_both_sides() {
    let folder = Folder::new("refused");
    let (authority_of_c, ca) = authority(&folder, "ca");
    let (other, _) = authority(&folder, "other");
    let node = name(Role::Matcher, 0);
    let good = folder.write("good", &authority_of_c.node(&node, &[], YEAR).unwrap());
    let good = Tls::load(settings(Some(good), &ca, ClientAuth::Required), None).unwrap();
    let bad = [
        ("other", other.node(&node, &[], YEAR).unwrap()),
        ("expired", authority_of_c.node(&node, &[], Validity(Duration::ZERO)).unwrap()),
    ];
    // Certificates count in seconds.
    let until = seconds(SystemTime::now()) + 2;
    while seconds(SystemTime::now()) < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (what, issued) in bad {
        let own = folder.write(what, &issued);
        let bad = Tls::load(settings(Some(own), &ca, ClientAuth::Required), None).unwrap();
        let (accepted, connected) = handshake(&bad, &good, "localhost").await;
        assert!(accepted.is_err() && connected.is_err(), "{what}");
        let (accepted, connected) = handshake(&good, &bad, "localhost").await;
        assert!(connected.is_err(), "{what}");
        let text = accepted.unwrap_err().to_string();
        assert!(text.contains(if what == "other" { "UnknownIssuer" } else { "expired" }), "{what}: {text}");
    }
}

#[tokio::test]
async fn a_certificate_of_a_client_is_none_of_a_server() {
    let folder = Folder::new("usage");
    let (authority, ca) = authority(&folder, "ca");
    let shop = folder.write("shop", &authority.client("c", "shop", YEAR).unwrap());
    let shop = Tls::load(settings(Some(shop), &ca, ClientAuth::Optional), None).unwrap();
    let (_, connected) = handshake(&shop, &shop, "localhost").await;
    assert!(connected.is_err());
}

#[test]
fn a_node_does_not_start_with_the_certificate_of_another() {
    let folder = Folder::new("own");
    let (authority, ca) = authority(&folder, "ca");
    let own = folder.write("m", &authority.node(&name(Role::Matcher, 0), &[], YEAR).unwrap());
    let settings = settings(Some(own), &ca, ClientAuth::Optional);
    for wanted in
        [name(Role::Matcher, 1), name(Role::Gatherer, 0), NodeName { cluster: "d".into(), ..name(Role::Matcher, 0) }]
    {
        let refused = Tls::load(settings.clone(), Some(wanted.clone())).unwrap_err().to_string();
        assert!(refused.contains("is of matcher 0 of cluster \"c\""), "{refused}");
        assert!(refused.contains(&format!("this is {wanted}")), "{refused}");
    }
    assert!(Tls::load(settings, Some(name(Role::Matcher, 0))).is_ok());
}

#[tokio::test]
async fn new_files_are_used_and_bad_ones_change_nothing() {
    let folder = Folder::new("reload");
    let (authority, ca) = authority(&folder, "ca");
    let node = name(Role::Matcher, 0);
    let own = folder.write("m", &authority.node(&node, &["first.example".to_owned()], YEAR).unwrap());
    let tls = Tls::load(settings(Some(own.clone()), &ca, ClientAuth::Optional), Some(node.clone())).unwrap();
    assert!(!tls.reload().unwrap());
    let issued = authority.node(&node, &["second.example".to_owned()], YEAR).unwrap();
    // The key is not there yet.
    fs::write(&own.cert, &issued.cert).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pair { .. })));
    let (_, connected) = handshake(&tls, &tls, "first.example").await;
    connected.unwrap();
    fs::write(&own.key, &issued.key).unwrap();
    assert!(tls.reload().unwrap());
    let (_, connected) = handshake(&tls, &tls, "second.example").await;
    connected.unwrap();
    for (bad, says) in
        [("", "no certificate in PEM"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "m.pem")]
    {
        fs::write(&own.cert, bad).unwrap();
        let refused = tls.reload().unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    folder.write("m", &authority.node(&name(Role::Matcher, 1), &[], YEAR).unwrap());
    assert!(matches!(tls.reload(), Err(TlsError::OtherNode { .. })));
    fs::remove_file(&own.key).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::File { what: "key", .. })));
    let (_, connected) = handshake(&tls, &tls, "second.example").await;
    connected.unwrap();
}

#[tokio::test]
async fn files_that_change_while_a_node_runs_are_read_once_they_stay_as_they_are() {
    let folder = Folder::new("watch");
    let (authority, ca) = authority(&folder, "ca");
    let node = name(Role::Matcher, 0);
    let own = folder.write("m", &authority.node(&node, &[], YEAR).unwrap());
    let tls = Tls::load(settings(Some(own), &ca, ClientAuth::Optional), Some(node.clone())).unwrap();
    let first = tls.own().unwrap();
    let wrong = Arc::new(Mutex::new(BTreeMap::new()));
    let told = Arc::clone(&wrong);
    let tell = move |trouble, text: Option<String>| {
        told.lock().unwrap().insert(trouble, text);
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(tls.clone().watch(tell, async { _ = stopped.await }));
    folder.write("m", &authority.node(&node, &["new.example".to_owned()], YEAR).unwrap());
    let changed = async {
        while tls.own().unwrap() == first {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), changed).await.unwrap();
    assert!(tls.own().unwrap().hosts.contains(&"new.example".to_owned()));
    folder.write("m", &authority.node(&node, &[], Validity(Duration::from_secs(13 * 86_400))).unwrap());
    let is = |trouble: FileTrouble, wanted: bool| {
        let wrong = Arc::clone(&wrong);
        let there = async move {
            while wrong.lock().unwrap().get(&trouble).is_some_and(Option::is_some) != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), there)
    };
    is(FileTrouble::Expires, true).await.unwrap();
    let strange = name(Role::Matcher, 7);
    folder.write("m", &authority.node(&strange, &[], YEAR).unwrap());
    is(FileTrouble::Refused, true).await.unwrap();
    folder.write("m", &authority.node(&node, &[], YEAR).unwrap());
    is(FileTrouble::Refused, false).await.unwrap();
    is(FileTrouble::Expires, false).await.unwrap();
    drop(stop);
    watch.await.unwrap();
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_of() {
    let folder = Folder::new("plain");
    let (_, ca) = authority(&folder, "ca");
    let client = Tls::load(settings(None, &ca, ClientAuth::Optional), None).unwrap();
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let refused = client.connect("localhost", near).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("does not answer with TLS") && refused.contains("write http://"), "{refused}");
}

#[test]
fn an_authority_that_was_kept_signs_again() {
    let (_, kept) = Authority::new("c", YEAR).unwrap();
    let again = Authority::open(&kept).unwrap();
    assert!(again.client("c", "shop", YEAR).is_ok());
    assert!(matches!(again.node(&name(Role::Matcher, 0), &["a b".to_owned()], YEAR), Err(MakeError::Host(_))));
    assert!(Authority::open(&Issued { cert: kept.cert, key: String::new() }).is_err());
    for name in ["", ".", "..", "a/b", "a b", &"n".repeat(65)] {
        assert!(!is_fit_for_files(name), "{name:?}");
    }
    assert!(is_fit_for_files("shop-1.eu_2"));
}

#[tokio::test]
async fn a_client_looks_at_its_files_before_each_connection_and_keeps_what_it_read_when_they_are_no_good() {
    let folder = Folder::new("trust");
    let (authority, ca) = authority(&folder, "ca");
    let own = folder.write("b", &authority.node(&name(Role::Balancer, 0), &[], YEAR).unwrap());
    let server = Tls::load(settings(Some(own), &ca, ClientAuth::Optional), None).unwrap();
    let shop = folder.write("shop", &authority.client("c", "shop", YEAR).unwrap());
    let trust = Trust::load(Files { own: Some(shop), ca: Some(ca) }).unwrap();
    let seen = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = async { server.accept(listener.accept().await.unwrap().0).await.unwrap().1.unwrap().name() };
        let stream = TcpStream::connect(address).await.unwrap();
        let (accepted, connected) = tokio::join!(accepted, trust.connect("localhost", stream));
        connected.unwrap();
        accepted.to_string()
    };
    assert_eq!(seen().await, "shop");
    folder.write("shop", &authority.client("c", "depot", YEAR).unwrap());
    assert_eq!(seen().await, "depot");
    fs::write(folder.path("shop.pem"), "").unwrap();
    assert_eq!(seen().await, "depot");
    let refused = Trust::default().connect("localhost", tokio::io::duplex(8).0).await.unwrap_err();
    assert!(refused.to_string().contains("no authority is named"), "{refused}");
}
