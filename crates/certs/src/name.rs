//! What a certificate names: a node by cluster, role and index, or a client by a name.
//!
//! A node's certificate has the URI `spiffe://CLUSTER/dovetail/ROLE/INDEX`, or the DNS name
//! `ROLE-INDEX.CLUSTER.dovetail`, or both. Every other certificate is a client's. Its name is NAME of the URI
//! `spiffe://…/dovetail/client/NAME`; else its first URI; else its first DNS name; else the common name of its subject.
//! What signs certificates decides who is who: names are not proved by themselves. Invariant: name.N1 a certificate
//! names one node at the most; one that names two is refused, as it would prove whatever is asked for.

use std::{fmt, sync::Arc};

use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use dovetail::{Role, text::cut, tls::TlsError};

/// The top of every node's DNS name. No registry gives it out, so no public authority signs such a name.
const TOP: &str = "dovetail";
/// Longest name of a client, in bytes. A certificate with a longer one is refused.
const NAME_BYTES_MAX: usize = 256;

/// A node, as its certificate names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    /// The cluster's name.
    pub cluster: String,
    /// What it does.
    pub role: Role,
    /// Its index among its role.
    pub index: u32,
}

impl NodeName {
    /// `spiffe://CLUSTER/dovetail/ROLE/INDEX`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("spiffe://{}/{TOP}/{}/{}", self.cluster, self.role, self.index)
    }

    /// `ROLE-INDEX.CLUSTER.dovetail`.
    #[must_use]
    pub fn dns(&self) -> String {
        format!("{}-{}.{}.{TOP}", self.role, self.index, self.cluster)
    }

    fn from_uri(uri: &str) -> Option<NodeName> {
        let (cluster, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let (role, index) = path.strip_prefix(TOP)?.strip_prefix('/')?.split_once('/')?;
        NodeName::from_parts(cluster, role, index)
    }

    fn from_dns(name: &str) -> Option<NodeName> {
        let (node, cluster) = name.strip_suffix(TOP)?.strip_suffix('.')?.split_once('.')?;
        let (role, index) = node.split_once('-')?;
        NodeName::from_parts(cluster, role, index)
    }

    fn from_parts(cluster: &str, role: &str, index: &str) -> Option<NodeName> {
        let role = Role::ALL.into_iter().find(|known| known.name() == role)?;
        // One way to write a number: no sign, no zeros before it.
        let index = index.parse().ok().filter(|number: &u32| number.to_string() == index)?;
        (!cluster.is_empty()).then(|| NodeName { cluster: cluster.to_owned(), role, index })
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of cluster {:?}", self.role, self.index, self.cluster)
    }
}

/// Who showed a certificate that was signed by the authority of this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proved {
    /// A node.
    Node(NodeName),
    /// A client.
    Client(Arc<str>),
}

impl Proved {
    /// The node, if it is one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Proved::Node(name) => Some(name),
            Proved::Client(_) => None,
        }
    }

    /// A name that no other has: of a node, its DNS name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        match self {
            Proved::Node(name) => name.dns().into(),
            Proved::Client(name) => Arc::clone(name),
        }
    }
}

impl fmt::Display for Proved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proved::Node(name) => write!(f, "{name}"),
            Proved::Client(name) => write!(f, "client {name:?}"),
        }
    }
}

/// What a certificate says, signed or not: who may believe it is decided elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What it names.
    pub names: Proved,
    /// Every name and address it is good for.
    pub hosts: Vec<String>,
    /// The subject of who signed it.
    pub issuer: String,
    /// Whether it signs others.
    pub is_authority: bool,
    /// From when on it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is good, in seconds since 1970.
    pub not_after: i64,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// When it is no certificate, names neither node nor client, or names several nodes.
    pub fn read(der: &[u8]) -> Result<Certificate, TlsError> {
        let unreadable = |reason: String| TlsError::Certificate { reason };
        let (_, read) = X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
        let alternatives = read.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
        let (mut uris, mut names, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
        for name in alternatives.into_iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::DNSName(name) => {
                    names.push(*name);
                    hosts.push((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => hosts.extend(address(bytes)),
                _ => {}
            }
        }
        let common = read.subject().iter_common_name().find_map(|name| name.as_str().ok());
        Ok(Certificate {
            names: whom(&uris, &names, common)?,
            hosts,
            issuer: read.issuer().to_string(),
            is_authority: read.is_ca(),
            not_before: read.validity().not_before.timestamp(),
            not_after: read.validity().not_after.timestamp(),
        })
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
}

/// NAME of `spiffe://…/dovetail/client/NAME`.
fn client_of(uri: &str) -> Option<&str> {
    let (_, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
    path.strip_prefix(TOP)?.strip_prefix("/client/").filter(|name| !name.is_empty())
}

/// The URI of a client of a cluster.
#[must_use]
pub fn client_uri(cluster: &str, name: &str) -> String {
    format!("spiffe://{cluster}/{TOP}/client/{name}")
}

/// What these names mean.
fn whom(uris: &[&str], dns: &[&str], common: Option<&str>) -> Result<Proved, TlsError> {
    let by_uri = uris.iter().filter_map(|uri| NodeName::from_uri(uri));
    let mut nodes: Vec<NodeName> = by_uri.chain(dns.iter().filter_map(|name| NodeName::from_dns(name))).collect();
    nodes.sort();
    nodes.dedup();
    if nodes.len() > 1 {
        let named = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        return Err(TlsError::Certificate { reason: format!("it names {}", cut(named, NAME_BYTES_MAX)) });
    }
    if let Some(node) = nodes.pop() {
        return Ok(Proved::Node(node));
    }
    let own = uris.iter().find_map(|uri| client_of(uri));
    let name = own.or(uris.first().copied()).or(dns.first().copied()).or(common).unwrap_or_default();
    if name.is_empty() {
        let reason = "it has no URI, no DNS name and no common name: it names no node and no client".to_owned();
        return Err(TlsError::Certificate { reason });
    }
    if name.len() > NAME_BYTES_MAX {
        let reason = format!("its name has {} bytes, which is more than {NAME_BYTES_MAX}", name.len());
        return Err(TlsError::Certificate { reason });
    }
    Ok(Proved::Client(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: Role, index: u32) -> NodeName {
        NodeName { cluster: "eu.prod".to_owned(), role, index }
    }

    #[test]
    fn a_node_is_known_by_its_uri_and_by_its_dns_name() {
        let matcher = node(Role::Matcher, 12);
        assert_eq!(matcher.uri(), "spiffe://eu.prod/dovetail/matcher/12");
        assert_eq!(matcher.dns(), "matcher-12.eu.prod.dovetail");
        for (uris, dns) in [(vec![matcher.uri()], vec![]), (vec![], vec![matcher.dns()])] {
            let texts = |texts: &[String]| texts.iter().map(|text| text.to_owned().leak() as &str).collect::<Vec<_>>();
            let proved = whom(&texts(&uris), &texts(&dns), Some("other"));
            assert_eq!(proved.unwrap(), Proved::Node(matcher.clone()));
        }
    }

    #[test]
    fn what_only_looks_like_a_node_is_a_client() {
        for dns in [
            "matcher-01.c.dovetail",
            "matcher-+1.c.dovetail",
            "matcher-4294967296.c.dovetail",
            "matcher-1.dovetail",
            "matcher.c.dovetail",
            "Matcher-1.c.dovetail",
            "matcher-1.c.dovetail.example",
            "matcher-1.cdovetail",
        ] {
            assert_eq!(whom(&[], &[dns], None).unwrap(), Proved::Client(dns.into()), "{dns}");
        }
        for uri in ["spiffe://c/dovetail/matcher", "spiffe:///dovetail/matcher/1", "https://c/dovetail/matcher/1"] {
            assert_eq!(whom(&[uri], &[], None).unwrap(), Proved::Client(uri.into()), "{uri}");
        }
    }

    #[test]
    fn a_certificate_of_two_nodes_is_refused_with_both() {
        let (one, other) = (node(Role::Matcher, 0).uri(), node(Role::Gatherer, 1).dns());
        let refused = whom(&[&one], &[&other], None).unwrap_err().to_string();
        assert!(refused.contains("matcher 0") && refused.contains("gatherer 1"), "{refused}");
        // The same node twice is one.
        assert!(whom(&[&one], &[&node(Role::Matcher, 0).dns()], None).is_ok());
    }

    #[test]
    fn a_client_is_named_by_its_uri_then_its_dns_name_then_its_common_name() {
        let name = |uris: &[&str], dns: &[&str], common| whom(uris, dns, common).unwrap().name().to_string();
        assert_eq!(name(&["spiffe://c/dovetail/client/shop"], &["host"], Some("cn")), "shop");
        assert_eq!(name(&[&client_uri("c", "shop")], &[], None), "shop");
        for uri in ["spiffe://c/ns/a", "spiffe://c/ns/dovetail/client/admin", "https://c/dovetail/client/admin"] {
            assert_eq!(name(&[uri], &["host"], Some("cn")), uri);
        }
        assert_eq!(name(&[], &["host", "other"], Some("cn")), "host");
        assert_eq!(name(&[], &[], Some("cn")), "cn");
        assert!(whom(&[], &[], None).is_err());
        assert!(whom(&[], &[], Some(&"n".repeat(257))).is_err());
    }
}
