//! Certificates of a run that speaks TLS: made before it, for every node. Everybody else of this program shows that of matcher 0, as the
//! tap reads what matchers read.
//!
//! Once a process: whoever dials asks here how.

use std::{fs, io, net::Ipv4Addr, path::Path, sync::OnceLock, time::Duration};

use dovetail::{
    client::ConnectOptions,
    settings::Role,
    tls::{Authority, ClientAuth, Files, MakeError, NodeName, OwnFiles, Tls, TlsSettings, Trust, Validity},
};

use super::{
    cluster::NAME,
    shape::{Node, Shape},
};

static OPTIONS: OnceLock<ConnectOptions> = OnceLock::new();
/// Whether who shows no certificate is not let in.
static CLIENT_AUTH: OnceLock<&str> = OnceLock::new();

/// A client that has a certificate.
pub const CLIENT: &str = "ada";

const DAY: Validity = Validity(Duration::from_secs(86_400));

fn name(node: Node) -> NodeName {
    let (role, index) = match node {
        Node::Balancer => (Role::Balancer, 0),
        Node::Matcher(index) => (Role::Matcher, index),
        Node::Gatherer(index) => (Role::Gatherer, index),
    };
    NodeName { cluster: NAME.to_owned(), role, index }
}

/// Makes certificates for all nodes at this address, and one for a client; from now on everybody speaks TLS. Clients show a
/// certificate as `client_auth` has it.
pub fn make(folder: &Path, ip: Ipv4Addr, shape: Shape, client_auth: &'static str) -> io::Result<()> {
    let failed = |error: MakeError| io::Error::other(error);
    let (authority, kept) = Authority::new(NAME, DAY).map_err(failed)?;
    fs::create_dir_all(folder)?;
    let ca = folder.join("ca.pem");
    fs::write(&ca, kept.cert)?;
    for node in shape.nodes() {
        let issued = authority.node(&name(node), &[ip.to_string()], DAY).map_err(failed)?;
        fs::write(folder.join(format!("{node}.pem")), issued.cert)?;
        fs::write(folder.join(format!("{node}.key")), issued.key)?;
    }
    let issued = authority.client(NAME, CLIENT, DAY).map_err(failed)?;
    fs::write(folder.join(format!("{CLIENT}.pem")), issued.cert)?;
    fs::write(folder.join(format!("{CLIENT}.key")), issued.key)?;
    _ = CLIENT_AUTH.set(client_auth);
    let own = Node::Matcher(0);
    let options = ConnectOptions::default().trust(ca);
    let options = options.show(folder.join(format!("{own}.pem")), folder.join(format!("{own}.key")));
    OPTIONS.set(options).map_err(|_| io::Error::other("certificates were made before"))
}

/// What URLs begin with.
pub fn scheme() -> &'static str {
    if OPTIONS.get().is_some() { "https" } else { "http" }
}

/// How clients connect.
pub fn options() -> ConnectOptions {
    OPTIONS.get().cloned().unwrap_or_default()
}

/// Whom channels believe.
pub fn trust() -> Trust {
    trust_of(options().tls)
}

/// Whom the channels believe of somebody who has these files; in plain text, everybody.
fn trust_of(files: Files) -> Trust {
    let settings = TlsSettings { files, clients: ClientAuth::None };
    let tls = OPTIONS.get().and_then(|_| Tls::load(settings, None).ok());
    Trust { tls, ..Trust::default() }
}

/// The same for somebody else: who shows the certificate of this name, or none.
pub fn trust_as(folder: &Path, name: Option<&str>) -> Trust {
    let own =
        |name: &str| OwnFiles { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    trust_of(Files { own: name.map(own), ca: Some(folder.join("ca.pem")) })
}

/// The flags of a node.
pub fn flags(folder: &Path, node: Node) -> Vec<(&'static str, String)> {
    if OPTIONS.get().is_none() {
        return Vec::new();
    }
    let path = |file: String| folder.join(file).display().to_string();
    vec![
        ("tls-cert", path(format!("{node}.pem"))),
        ("tls-key", path(format!("{node}.key"))),
        ("tls-ca", path("ca.pem".to_owned())),
        ("tls-client-auth", CLIENT_AUTH.get().copied().unwrap_or("required").to_owned()),
    ]
}
