//! Where the nodes of the cluster are: what the addresses of the settings mean on the network.
//!
//! In plain text no caller can prove to be a node; one that comes from the host of a node is taken for it, where that
//! gives nothing but a place. Names are looked up again and again, as nodes move. A name that does not resolve now
//! keeps the addresses it had.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{settings::Addresses, shutdown::Shutdown};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(30);
/// Longest time that a look for one name may take.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Most addresses of one name.
const OF_NAME_MAX: usize = 64;

/// The addresses of nodes. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownHosts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// As the settings have them: host and port.
    hosts: BTreeSet<String>,
    known: ArcSwap<BTreeSet<IpAddr>>,
}

impl KnownHosts {
    /// Those that are written as numbers; names are looked up by [`look_up`](Known::look_up).
    pub(super) fn of(addresses: &Addresses) -> KnownHosts {
        let hosts: BTreeSet<String> = addresses.all().filter_map(|(_, _, url)| host(url)).collect();
        let known = hosts.iter().filter_map(|host| host.parse::<std::net::SocketAddr>().ok());
        let known = known.map(|address| address.ip().to_canonical()).collect();
        KnownHosts(Arc::new(Shared { hosts, known: ArcSwap::from_pointee(known) }))
    }

    /// Whether a node is there.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.0.known.load().contains(&address)
    }

    /// Looks names up, until the signal.
    pub(super) async fn look_up(self, stop: Shutdown) {
        let mut found: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        loop {
            for host in &self.0.hosts {
                let look = tokio::time::timeout(LOOK_MAX, tokio::net::lookup_host(host.as_str()));
                if let Ok(Ok(addresses)) = look.await {
                    let addresses = addresses.map(|address| address.ip().to_canonical());
                    found.insert(host, addresses.take(OF_NAME_MAX).collect());
                }
            }
            self.0.known.store(Arc::new(found.values().flatten().copied().collect()));
            if tokio::time::timeout(EVERY, stop.given()).await.is_ok() {
                return;
            }
        }
    }
}

/// Host and port of a URL.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    Some(rest.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nodes_are_known_by_the_numbers_and_the_names_of_the_settings() {
        let addresses = Addresses {
            balancers: vec!["http://localhost:7400".to_owned()],
            matchers: vec!["http://10.0.0.7:7401".to_owned()],
            gatherers: vec!["https://[::ffff:10.0.0.8]:7402".to_owned(), "http://nowhere.invalid:1".to_owned()],
        };
        let known = KnownHosts::of(&addresses);
        let has = |address: &str| known.has(address.parse().unwrap());
        assert!(has("10.0.0.7") && has("10.0.0.8") && !has("10.0.0.9") && !has("127.0.0.1"));
        let stop = Shutdown::new();
        stop.give();
        known.clone().look_up(stop).await;
        assert!(has("127.0.0.1") && has("10.0.0.7") && has("10.0.0.8") && !has("10.0.0.9"));
    }
}
