//! Subscriptions of this node at others: dialled, resumed when they break, and visible in `Inspect`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dovetail_core::{Cursor, EventId};
use dovetail_node::BalancerId;

use super::{ActiveBalancer, LaterTerm, LinkError, Local, LocalNodes, Route};
use crate::{shutdown::Shutdown, time};
use dovetail::{Role, pb};
use dovetail_certs::{NodeName, NodeTrust, Tls};

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Tries before a peer that never answered is warned of: about 3 seconds.
const STARTING_TRIES: u64 = 8;
/// A subscription that lasted so long was not refused: the next try comes at once.
const SETTLED: Duration = Duration::from_secs(2);

/// One subscription.
#[derive(Debug)]
pub struct Link {
    role: Role,
    /// Of a balancer, which was dialled last.
    index: AtomicU32,
    /// To the node; to the balancers, by index.
    routes: Vec<Route>,
    active: Option<ActiveBalancer>,
    stream: pb::NodeStream,
    connected: AtomicBool,
    /// Whether it ever was connected.
    stood: AtomicBool,
    cursor: AtomicU64,
    reconnects: AtomicU64,
    broken: Mutex<Broken>,
}

/// How a subscription broke last.
#[derive(Debug)]
struct Broken {
    since: Instant,
    error: String,
}

/// A subscription that does not stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Whose.
    pub role: Role,
    /// Its index among its role.
    pub index: u32,
    /// Where it is.
    pub address: String,
    /// For how long.
    pub since: Duration,
    /// Whether it never stood.
    pub never: bool,
    /// Why the last try failed; empty before that.
    pub why: String,
}

impl Link {
    /// The subscription stands, and has been read up to `cursor`.
    pub fn read(&self, cursor: Cursor) {
        if !self.connected.swap(true, Ordering::Relaxed) {
            if !self.stood.swap(true, Ordering::Relaxed) {
                // Peers that start together miss each other at first: that is no failure to tell of.
                self.reconnects.store(0, Ordering::Relaxed);
                self.broken().error.clear();
            }
            tracing::info!(peer = %self.role, index = self.index(), address = self.route().address(), stream = self.stream.word(), cursor = cursor.event().0, "subscribed");
        }
        self.cursor.store(cursor.event().0, Ordering::Relaxed);
    }

    /// Where it subscribes: to the balancer that was dialled last, if it is of several.
    pub fn route(&self) -> &Route {
        let at = if self.active.is_some() { self.index() as usize } else { 0 };
        &self.routes[at]
    }

    fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// One try, at the balancer that is asked now; given up when another is.
    ///
    /// # Errors
    /// With what broke it.
    pub async fn once<T, F>(&self, once: impl FnOnce() -> F) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        let Some(active) = &self.active else { return once().await };
        let balancer = active.asked();
        self.index.store(balancer.0, Ordering::Relaxed);
        ask(active, balancer, once()).await
    }

    /// Subscribes again and again until told to stop. `once` is one subscription, from the current cursor until it
    /// breaks; what it returns instead of an error ends the link. None when told to stop.
    pub async fn keep<T, F>(&self, stop: &Shutdown, mut once: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        let mut backoff = BACKOFF_MIN;
        loop {
            let began = tokio::time::Instant::now();
            let later = self.active.as_ref().map(ActiveBalancer::later_term);
            let broken = tokio::select! {
                () = stop.given() => return None,
                ended = self.once(&mut once) => match ended {
                    Ok(answer) => return Some(answer),
                    Err(broken) => broken,
                },
            };
            if stop.is_given() {
                // The neighbours stop as well, most likely.
                return None;
            }
            self.failed(&broken);
            if began.elapsed() > SETTLED {
                backoff = BACKOFF_MIN;
            }
            tokio::select! {
                () = stop.given() => return None,
                () = follows(later, began) => {}
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
            }
        }
    }

    /// The subscription broke, or could not be set up.
    pub fn failed(&self, error: &LinkError) {
        let (role, index, address, text) = (self.role, self.index(), self.route().address(), error.to_string());
        let mut broken = self.broken();
        if self.connected.swap(false, Ordering::Relaxed) {
            broken.since = Instant::now();
        }
        let tries = self.reconnects.fetch_add(1, Ordering::Relaxed);
        // A peer that is down is news once, not at every try; one that is not up yet only when it takes long.
        let (stood, other) = (self.stood.load(Ordering::Relaxed), broken.error != text);
        if error.is_other_settings() {
            // Trying again does not help: an operator has to change them.
            if other {
                tracing::error!(peer = %role, index, address, stream = self.stream.word(), error = text, "the cluster settings of this node and of its peer differ");
            }
        } else if if stood { other } else { tries == STARTING_TRIES } {
            tracing::warn!(peer = %role, index, address, stream = self.stream.word(), error = text, "not subscribed, trying again");
        }
        broken.error = text;
    }

    fn broken(&self) -> MutexGuard<'_, Broken> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is down; none while it stands.
    fn down(&self) -> Option<Down> {
        let broken = self.broken();
        let down = || Down {
            role: self.role,
            index: self.index(),
            address: self.route().address().to_owned(),
            since: broken.since.elapsed(),
            never: !self.stood.load(Ordering::Relaxed),
            why: broken.error.clone(),
        };
        (!self.connected.load(Ordering::Relaxed)).then(down)
    }

    fn pb(&self, highest: EventId) -> pb::PeerLink {
        let cursor = self.cursor.load(Ordering::Relaxed);
        let down = self.down();
        pb::PeerLink {
            role: pb::Role::from(self.role).into(),
            index: self.index(),
            address: self.route().address().to_owned(),
            stream: self.stream.into(),
            connected: down.is_none(),
            cursor,
            lag: highest.0.saturating_sub(cursor),
            last_error: self.broken().error.clone(),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            received_bytes: self.routes.iter().map(|route| route.traffic().received()).sum(),
            down_ms: down.map_or(0, |down| time::ms(down.since)),
        }
    }
}

/// Asks a balancer, until another is to be asked; what it says instead of an answer is heard.
async fn ask<T>(
    active: &ActiveBalancer,
    balancer: BalancerId,
    answer: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let answer = tokio::select! {
        answer = answer => answer,
        () = active.left(balancer) => Err(LinkError::Left),
    };
    answer.inspect_err(|error| active.on_failed(balancer, error))
}

/// Waits until a later term was heard of than when the last try began: the next one is at the balancer that it is of.
/// No two begin within 20 ms.
async fn follows(later: Option<LaterTerm>, began: tokio::time::Instant) {
    let Some(mut later) = later else { return std::future::pending().await };
    later.heard().await;
    tokio::time::sleep_until(began + BACKOFF_MIN).await;
}

/// All subscriptions of a node.
#[derive(Clone, Debug)]
pub struct Links {
    links: Arc<Mutex<Vec<Arc<Link>>>>,
    neighbours: LocalNodes,
    tls: Option<Tls>,
    cluster: Arc<str>,
}

impl Links {
    /// None yet, of a node of a cluster that has such neighbours in its process, and such certificates.
    #[must_use]
    pub fn new(cluster: &str, neighbours: LocalNodes, tls: Option<Tls>) -> Links {
        Links { links: Arc::default(), neighbours, tls, cluster: cluster.into() }
    }

    /// Offers what this node serves at `address` to its neighbours.
    pub fn offer(&self, address: &str, service: Local) {
        self.neighbours.offer(address, service);
    }

    /// The route to a node, of no subscription.
    #[must_use]
    pub fn route(&self, role: Role, index: u32, address: &str) -> Route {
        let wanted = NodeName { cluster: self.cluster.to_string(), role, index };
        let trust = NodeTrust { tls: self.tls.clone(), wanted: Some(wanted) };
        Route::new(address, &self.neighbours, trust)
    }

    /// The route to a balancer, of no subscription.
    #[must_use]
    pub fn route_to(&self, active: &ActiveBalancer, balancer: BalancerId) -> Route {
        let address = &active.addresses()[balancer.0 as usize];
        self.route(Role::Balancer, balancer.0, address).of_balancer(active, balancer)
    }

    /// Asks the balancer something; where it stands by, the one that it names.
    ///
    /// # Errors
    /// With what it says instead of an answer, or why it cannot be reached: the next time another may be asked.
    pub async fn ask<T, F>(&self, active: &ActiveBalancer, question: impl Fn(Route) -> F) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        let mut tries = active.addresses().len();
        loop {
            let (began, later, balancer) = (tokio::time::Instant::now(), active.later_term(), active.asked());
            match ask(active, balancer, question(self.route_to(active, balancer))).await {
                Err(LinkError::Left) if tries > 0 => {}
                Err(_) if tries > 0 && later.is_there() => {}
                answer => return answer,
            }
            tries -= 1;
            tokio::time::sleep_until(began + BACKOFF_MIN).await;
        }
    }

    /// A new subscription at a node.
    pub fn add(&self, role: Role, index: u32, address: &str, stream: pb::NodeStream) -> Arc<Link> {
        self.keep_link(role, index, vec![self.route(role, index, address)], None, stream)
    }

    /// A new subscription at the balancer that writes.
    pub fn add_balancer(&self, active: &ActiveBalancer, stream: pb::NodeStream) -> Arc<Link> {
        let count = u32::try_from(active.addresses().len()).expect("settings bound them");
        let routes = (0..count).map(|index| self.route_to(active, BalancerId(index))).collect();
        self.keep_link(Role::Balancer, active.asked().0, routes, Some(active.clone()), stream)
    }

    fn keep_link(
        &self,
        role: Role,
        index: u32,
        routes: Vec<Route>,
        active: Option<ActiveBalancer>,
        stream: pb::NodeStream,
    ) -> Arc<Link> {
        let link = Arc::new(Link {
            role,
            index: AtomicU32::new(index),
            routes,
            active,
            stream,
            connected: AtomicBool::new(false),
            stood: AtomicBool::new(false),
            cursor: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            broken: Mutex::new(Broken { since: Instant::now(), error: String::new() }),
        });
        self.links.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&link));
        link
    }

    /// Forgets all of them, when a session ends.
    pub fn clear(&self) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Those that do not stand.
    #[must_use]
    pub fn down(&self) -> Vec<Down> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(|link| link.down()).collect()
    }

    /// For `Inspect`: `highest` is the highest event this node knows of.
    #[must_use]
    pub fn pb(&self, highest: EventId) -> Vec<pb::PeerLink> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|link| link.pb(highest)).collect()
    }
}
