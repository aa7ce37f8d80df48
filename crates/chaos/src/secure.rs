//! Certificates of a run that speaks TLS: made before it, for every node. Everything else in this program shows that of
//! matcher 0, because the tap reads what matchers read.
//!
//! Once for the process: what dials asks here how.

use std::{io, net::Ipv4Addr, path::Path, sync::OnceLock};

use dovetail::{
    client::ConnectOptions,
    tls::{Files, Trust},
};
use dovetail_certs::{CertificateFolder, NodeName};

use super::shape::{ClusterNode, ClusterShape, NAME};

static OPTIONS: OnceLock<ConnectOptions> = OnceLock::new();
/// Whether who shows no certificate is not let in.
static CLIENT_AUTH: OnceLock<&str> = OnceLock::new();

/// A client that has a certificate.
pub const CLIENT: &str = "ada";

/// Makes certificates for all nodes at this address, and one for a client; from now on all speak TLS. Clients show a
/// certificate as `client_auth` has it.
pub fn make(folder: &Path, ip: Ipv4Addr, shape: ClusterShape, client_auth: &'static str) -> io::Result<()> {
    let nodes = shape.nodes().into_iter().map(|node| {
        let (role, index) = node.role();
        (node.to_string(), NodeName { cluster: NAME.to_owned(), role, index })
    });
    let made = CertificateFolder::make(folder, NAME, &ip.to_string(), nodes, CLIENT)?;
    _ = CLIENT_AUTH.set(client_auth);
    let tls = made.files(Some(&ClusterNode::Matcher(0).to_string()));
    let options = ConnectOptions { tls, ..ConnectOptions::default() };
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

/// Which servers channels believe.
pub fn trust() -> Trust {
    trust_of(options().tls)
}

/// Which servers the channels of a client with these files believe; in plain text, all.
fn trust_of(files: Files) -> Trust {
    OPTIONS.get().and_then(|_| Trust::load(files).ok()).unwrap_or_default()
}

/// The same for another client, which shows the certificate of this name, or none.
pub fn trust_as(folder: &Path, name: Option<&str>) -> Trust {
    trust_of(CertificateFolder::at(folder).files(name))
}

/// The flags of a node.
pub fn flags(folder: &Path, node: ClusterNode) -> Vec<(&'static str, String)> {
    if OPTIONS.get().is_none() {
        return Vec::new();
    }
    let mut flags = Vec::from(CertificateFolder::at(folder).flags(&node.to_string()));
    flags.push(("tls-client-auth", CLIENT_AUTH.get().copied().unwrap_or("required").to_owned()));
    flags
}
