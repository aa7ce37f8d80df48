//! Certificates of a run that speaks TLS: made before it, for every node. Everybody else of this program shows that of matcher 0, as the
//! tap reads what matchers read.
//!
//! Once a process: whoever dials asks here how.

use std::{fs, io, net::Ipv4Addr, path::Path, sync::OnceLock, time::Duration};

use dovetail::{
    client::ConnectOptions,
    settings::Role,
    tls::{Authority, ClientAuth, MakeError, NodeName, Tls, TlsSettings, Trust, Validity},
};

use super::{
    cluster::NAME,
    shape::{Node, Shape},
};

static OPTIONS: OnceLock<ConnectOptions> = OnceLock::new();

const DAY: Validity = Validity(Duration::from_secs(86_400));

fn name(node: Node) -> NodeName {
    let (role, index) = match node {
        Node::Balancer => (Role::Balancer, 0),
        Node::Matcher(index) => (Role::Matcher, index),
        Node::Gatherer(index) => (Role::Gatherer, index),
    };
    NodeName { cluster: NAME.to_owned(), role, index }
}

/// Makes certificates for all nodes at this address; from now on everybody speaks TLS.
pub fn make(folder: &Path, ip: Ipv4Addr, shape: Shape) -> io::Result<()> {
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
    let load = |options: &ConnectOptions| {
        let settings = TlsSettings { files: options.tls.clone(), clients: ClientAuth::None };
        Tls::load(settings, None).ok()
    };
    Trust { tls: OPTIONS.get().and_then(load), ..Trust::default() }
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
        ("tls-client-auth", "required".to_owned()),
    ]
}
