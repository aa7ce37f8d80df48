//! The connections that are open, how many there may be, and which of them has to go.
//!
//! There are at most so many in all, and so many from one address. The caller is known for sure with a connection's
//! first call: before, it is a *stranger*, and as long as nothing else is known of it; *named*, by a certificate or a
//! token, or at the port for operators; or a *node*, by its certificate, or in plain text by the port for nodes or an
//! address that the settings have for one. An eighth of all places is for nodes alone, and another for named callers
//! and for nodes: where strangers have the rest, the first call of one more is refused. So however many addresses an
//! attacker has, nodes reach one another, and clients that prove their names are served.
//!
//! One connection more than there may be takes the place of one without an open call. First, of those that never made
//! one, the oldest of the address that has most of them, if it has more than the address of the new one: so a client
//! that dials once, and has yet to prove a name, is let in and left alone while others come by the thousand. Then, of
//! those that have been left alone for a while, the oldest that never made a call, or else, of strangers first, that
//! which has been idle longest. Without such a one it is closed at once. Invariants: connections.C1 no more than the
//! bounds are open, the file descriptors of the process included; connections.C2 a connection with an open call is
//! never closed for another; connections.C3 a client at its own bound only takes its own places; connections.C4 those
//! that made calls are no more than the places that are not kept for others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    descriptors::{self, Descriptor},
    known::KnownHosts,
};
use crate::{
    caller::{Caller, ClientId, Connection},
    fault::Fault,
    settings::NodeSettings,
    shutdown::Shutdown,
    time::ms,
};
use dovetail::reason::Reason;

/// How long a connection is left alone that made no call yet, and one that did.
const SETTLED: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// One place in so many is for nodes alone, and as many for those who are named and for nodes.
const KEPT: usize = 8;

/// Most connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of the node.
    pub(super) node: usize,
    /// From one address, and of one name.
    pub(super) address: usize,
    /// Of the process.
    pub(super) process: usize,
}

impl Bounds {
    /// Those of a node. One address never has all.
    pub(super) fn of(node: &NodeSettings) -> Bounds {
        let process = descriptors::connections_max(node.addresses.all().count());
        let all = node.limits.connections_max.min(process);
        Bounds { node: all, address: node.limits.client_connections_max.min(all - all / 4), process }
    }

    /// Most that have made calls of strangers, and of strangers and those who are named.
    fn called(self) -> [usize; 2] {
        let kept = self.node / KEPT;
        [self.node - 2 * kept, self.node - kept]
    }
}

/// Which bound leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `connections_max`, or the file descriptors.
    Node,
    /// `client_connections_max`.
    Address,
}

/// Who is at the other end of a connection that made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallerStanding {
    /// Nothing is known.
    Stranger,
    /// A name is proved, or it is an operator's.
    Named,
    /// A node of the cluster.
    Node,
}

/// The open connections of a node. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    /// Where nodes of the cluster are.
    nodes: KnownHosts,
    /// The cluster whose nodes prove who they are by certificates, if they do.
    proving: Option<String>,
    began: Instant,
    /// What tests add to the time.
    #[cfg(test)]
    later: std::sync::atomic::AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    /// By address, as clients are told apart.
    addresses: HashMap<ClientId, usize>,
    /// Those that made calls, by standing.
    called: [usize; 3],
    /// Of those, by name.
    names: HashMap<ClientId, usize>,
    /// Those without an open call, the first to go first; also by address.
    idle: BTreeSet<Idle>,
    idle_of: BTreeSet<(ClientId, Idle)>,
    /// Those that never made a call, but for those that a node is expected at.
    new: Crowds,
}

/// How many there are of each address.
#[derive(Debug, Default)]
struct Crowds {
    of: HashMap<ClientId, usize>,
    /// The most last.
    by_count: BTreeSet<(usize, ClientId)>,
}

impl Crowds {
    fn count(&self, address: &ClientId) -> usize {
        self.of.get(address).copied().unwrap_or(0)
    }

    /// The address that has most, if it has more than another will have with one more.
    fn more_than_with_one_more(&self, other: &ClientId) -> Option<&ClientId> {
        let (most, address) = self.by_count.last()?;
        (*most > self.count(other) + 1).then_some(address)
    }

    fn change(&mut self, address: &ClientId, change: isize) {
        let before = self.count(address);
        let after = before.saturating_add_signed(change);
        self.by_count.remove(&(before, address.clone()));
        match after {
            0 => _ = self.of.remove(address),
            _ => {
                self.of.insert(address.clone(), after);
                self.by_count.insert((after, address.clone()));
            }
        }
    }
}

#[derive(Debug)]
struct Open {
    address: ClientId,
    /// Whether a node is expected at the other end.
    of_node: bool,
    /// Once it made a call.
    standing: Option<CallerStanding>,
    /// What it counts by, if it is named.
    name: Option<ClientId>,
    calls: usize,
    /// Calls for which it is not closed as idle, and no more.
    quiet: usize,
    /// While no call is open.
    idle: Option<Idle>,
    close: CancellationToken,
    _descriptor: Descriptor,
}

impl Open {
    /// Whether it is idle because it never made a call, and no node is expected at the other end.
    fn is_new(&self, idle: Idle) -> bool {
        idle.standing.is_none() && !self.of_node
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Idle {
    /// None before it made a call.
    standing: Option<CallerStanding>,
    /// In milliseconds after the first.
    since: u64,
    number: u64,
}

impl Idle {
    /// Before all others of a standing.
    fn first(standing: Option<CallerStanding>) -> Idle {
        Idle { standing, since: 0, number: 0 }
    }

    /// Whether it has been left alone for long enough.
    fn is_settled(&self, now: u64) -> bool {
        now.saturating_sub(self.since) >= ms(SETTLED[usize::from(self.standing.is_some())])
    }
}

impl Table {
    /// Notes that a connection has no open call.
    fn rest(&mut self, number: u64, since: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let idle = Idle { standing: open.standing, since, number };
        open.idle = Some(idle);
        if open.is_new(idle) {
            self.new.change(&open.address, 1);
        }
        self.idle.insert(idle);
        self.idle_of.insert((open.address.clone(), idle));
    }

    /// Notes that it is no longer among those.
    fn wake(&mut self, number: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        if let Some(idle) = open.idle.take() {
            if open.is_new(idle) {
                self.new.change(&open.address, -1);
            }
            self.idle.remove(&idle);
            self.idle_of.remove(&(open.address.clone(), idle));
        }
    }

    fn remove(&mut self, number: u64) -> Option<Open> {
        self.wake(number);
        let open = self.open.remove(&number)?;
        less(&mut self.addresses, &open.address);
        if let Some(standing) = open.standing {
            self.called[standing as usize] -= 1;
        }
        if let Some(name) = &open.name {
            less(&mut self.names, name);
        }
        Some(open)
    }

    /// Closes a connection, if there is one.
    fn close(&mut self, idle: Option<Idle>) -> bool {
        let Some(open) = idle.and_then(|idle| self.remove(idle.number)) else { return false };
        open.close.cancel();
        true
    }

    /// Those of an address without an open call, the first to go first.
    fn idle_of(&self, address: &ClientId) -> impl Iterator<Item = Idle> {
        let from = (address.clone(), Idle::first(None));
        self.idle_of.range(from..).take_while(move |(of, _)| of == address).map(|(_, idle)| *idle)
    }

    /// The oldest that never made a call of the address that has most of them, if it has more than this one with one
    /// more.
    fn one_of_a_crowd(&self, address: &ClientId) -> Option<Idle> {
        let crowd = self.new.more_than_with_one_more(address)?;
        self.idle_of(crowd).find(|idle| !self.is_of_node(idle.number))
    }

    fn is_of_node(&self, number: u64) -> bool {
        self.open.get(&number).is_some_and(|open| open.of_node)
    }

    /// Closes the connection that may go first for one from this address, if one may go: for a node, also one that has
    /// only just come.
    fn close_one(&mut self, address: &ClientId, now: u64, of_node: bool) -> bool {
        let settled = || self.idle.first().copied().filter(|idle| idle.is_settled(now));
        let mut first = self.one_of_a_crowd(address).or_else(settled);
        if first.is_none() && of_node {
            let mut strangers = self.idle.iter().take_while(|idle| idle.standing <= Some(CallerStanding::Stranger));
            first = strangers.find(|idle| !self.is_of_node(idle.number)).copied();
        }
        self.close(first)
    }

    /// The same of those from an address.
    fn close_one_of(&mut self, address: &ClientId, now: u64) -> bool {
        let first = self.idle_of(address).next();
        self.close(first.filter(|idle| idle.is_settled(now)))
    }

    /// The same of those of a standing that made calls.
    fn close_one_that_called(&mut self, standing: CallerStanding, now: u64) -> bool {
        let first = self.idle.range(Idle::first(Some(standing))..).next().copied();
        self.close(first.filter(|idle| idle.standing == Some(standing) && idle.is_settled(now)))
    }

    /// Whether there is a place for one more of a standing that made a call, once one that is idle went for it, if one
    /// may go.
    fn has_room(&mut self, standing: CallerStanding, now: u64, bounds: Bounds) -> Result<(), usize> {
        let [strangers_max, others_max] = bounds.called();
        let [strangers, named, _] = self.called;
        let (full, most) = match standing {
            CallerStanding::Stranger => (strangers >= strangers_max || strangers + named >= others_max, strangers_max),
            CallerStanding::Named => (strangers + named >= others_max, others_max),
            CallerStanding::Node => return Ok(()),
        };
        let may_go = [CallerStanding::Stranger, standing];
        if full && !may_go.into_iter().any(|standing| self.close_one_that_called(standing, now)) {
            return Err(most);
        }
        Ok(())
    }

    /// Notes who is at the other end of a connection that makes a call, unless it is known to be more already.
    fn stands(
        &mut self,
        number: u64,
        (standing, name): (CallerStanding, Option<&ClientId>),
        now: u64,
        bounds: Bounds,
    ) -> Result<(), Fault> {
        let Some(open) = self.open.get(&number) else { return Ok(()) };
        let before = open.standing;
        if before >= Some(standing) {
            return Ok(());
        }
        let named = name.filter(|_| standing == CallerStanding::Named);
        let room = match named.and_then(|name| self.names.get(name)) {
            Some(&count) if count >= bounds.address => Err(refused_name(named, count)),
            _ => self.has_room(standing, now, bounds).map_err(|most| refused(standing, most)),
        };
        match room {
            // It goes on as what it was.
            Err(_) if before.is_some() => return Ok(()),
            Err(fault) => return Err(fault),
            Ok(()) => {}
        }
        let Some(open) = self.open.get_mut(&number) else { return Ok(()) };
        (open.standing, open.name) = (Some(standing), named.cloned());
        if let Some(before) = before {
            self.called[before as usize] -= 1;
        }
        self.called[standing as usize] += 1;
        if let Some(name) = named {
            *self.names.entry(name.clone()).or_default() += 1;
        }
        Ok(())
    }
}

/// One fewer; who has none is forgotten.
fn less(counts: &mut HashMap<ClientId, usize>, of: &ClientId) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

fn refused(standing: CallerStanding, most: usize) -> Fault {
    let whom = match standing {
        CallerStanding::Stranger => "clients that proved no name, which is what connections_max leaves to them",
        CallerStanding::Named | CallerStanding::Node => "clients, which is what connections_max leaves to them",
    };
    let text = format!("{most} connections are open to {whom}");
    Fault::new(Reason::TooManyCalls, text).with("limit", "connections_max").with("bound", most)
}

fn refused_name(name: Option<&ClientId>, count: usize) -> Fault {
    let name = name.map(ClientId::to_string).unwrap_or_default();
    let text = format!("{count} connections are open to client {name}, which is client_connections_max");
    let fault = Fault::new(Reason::TooManyCalls, text).with("limit", "client_connections_max");
    fault.with("bound", count).with("client", name)
}

impl Connections {
    /// None yet. Nodes prove who they are by certificates, or else they are known by where they are.
    pub(super) fn new(bounds: Bounds, nodes: KnownHosts, proving: Option<String>) -> Connections {
        Connections(Arc::new(Shared {
            bounds,
            nodes,
            proving,
            began: Instant::now(),
            #[cfg(test)]
            later: Default::default(),
            table: Mutex::default(),
        }))
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// Where nodes of the cluster are.
    pub(super) fn nodes(&self) -> KnownHosts {
        self.0.nodes.clone()
    }

    /// Whether it comes from where nodes do.
    fn is_where_nodes_are(&self, connection: &Connection) -> bool {
        let port = connection.port;
        (port.nodes && !port.clients) || self.0.nodes.has(connection.address)
    }

    /// A place for a new connection.
    pub(super) fn admit(&self, connection: &Connection) -> Result<ConnectionPlace, Full> {
        let of_node = self.is_where_nodes_are(connection);
        let (number, address) = (connection.number, ClientId::of(connection.address));
        let (mut table, now) = (self.table(), self.now());
        let Bounds { node, address: of_address, process } = self.0.bounds;
        if table.addresses.get(&address).copied().unwrap_or(0) >= of_address && !table.close_one_of(&address, now) {
            return Err(Full::Address);
        }
        if table.open.len() >= node && !table.close_one(&address, now, of_node) {
            return Err(Full::Node);
        }
        let descriptor = match Descriptor::take(process) {
            Some(descriptor) => descriptor,
            None if table.close_one(&address, now, of_node) => Descriptor::take(process).ok_or(Full::Node)?,
            None => return Err(Full::Node),
        };
        let close = CancellationToken::new();
        *table.addresses.entry(address.clone()).or_default() += 1;
        let open = Open {
            address,
            of_node,
            standing: None,
            name: None,
            calls: 0,
            quiet: 0,
            idle: None,
            close: close.clone(),
            _descriptor: descriptor,
        };
        table.open.insert(number, open);
        table.rest(number, now);
        Ok(ConnectionPlace { connections: self.clone(), number, close })
    }

    /// Who makes a call, and what it counts by.
    fn standing<'a>(&self, caller: &'a Caller) -> (CallerStanding, Option<&'a ClientId>) {
        let connection = &caller.connection;
        let node = match &self.0.proving {
            Some(cluster) => {
                let proved = connection.proved.as_ref().and_then(|proved| proved.node());
                proved.is_some_and(|node| node.cluster == *cluster)
            }
            None => self.is_where_nodes_are(connection),
        };
        match &caller.client {
            _ if node => (CallerStanding::Node, None),
            name @ ClientId::Name(_) => (CallerStanding::Named, Some(name)),
            ClientId::Address(_) if connection.port.operators && !connection.port.clients => {
                (CallerStanding::Named, None)
            }
            ClientId::Address(_) => (CallerStanding::Stranger, None),
        }
    }

    /// Whether a node of the cluster calls, as far as that is known.
    pub(super) fn is_node(&self, caller: &Caller) -> bool {
        self.standing(caller).0 == CallerStanding::Node
    }

    /// Counts a call of a connection until it is dropped.
    ///
    /// # Errors
    /// When it is the connection's first, and the places of those who are not known better are taken.
    pub(super) fn call(&self, caller: &Caller) -> Result<OpenCall, Fault> {
        let (number, standing) = (caller.connection.number, self.standing(caller));
        let (mut table, now) = (self.table(), self.now());
        table.stands(number, standing, now, self.0.bounds)?;
        table.wake(number);
        if let Some(open) = table.open.get_mut(&number) {
            open.calls += 1;
        }
        Ok(OpenCall { connections: self.clone(), number })
    }

    /// Closes a connection, whatever is open on it.
    pub(super) fn close(&self, number: u64) {
        if let Some(open) = self.table().open.get(&number) {
            open.close.cancel();
        }
    }

    /// Notes a call that does not keep the connection from being closed for another, until it is dropped: one that any
    /// stranger may make, for as long as it likes. The connection is not closed for being idle.
    pub(super) fn quiet_call(&self, number: u64) -> QuietCall {
        self.count_quiet(number, 1);
        QuietCall { connections: self.clone(), number }
    }

    fn count_quiet(&self, number: u64, change: isize) {
        let mut table = self.table();
        if let Some(open) = table.open.get_mut(&number) {
            open.quiet = open.quiet.saturating_add_signed(change);
        }
    }

    /// Closes those that have no call open for so many milliseconds, until the signal; none when it is 0.
    pub(super) async fn close_idle(self, idle_ms_max: u64, stop: Shutdown) {
        if idle_ms_max == 0 {
            return;
        }
        let every = Duration::from_millis((idle_ms_max / 8).clamp(10, 60_000));
        while tokio::time::timeout(every, stop.given()).await.is_err() {
            self.close_older(idle_ms_max);
        }
    }

    fn close_older(&self, idle_ms_max: u64) {
        let (mut table, now) = (self.table(), self.now());
        let old = table.idle.iter().filter(|idle| now - idle.since.min(now) >= idle_ms_max).copied();
        let old: Vec<Idle> =
            old.filter(|idle| table.open.get(&idle.number).is_some_and(|open| open.quiet == 0)).collect();
        for idle in old {
            if let Some(open) = table.remove(idle.number) {
                open.close.cancel();
            }
        }
    }

    /// How many are open.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.table().open.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        let now = ms(self.0.began.elapsed());
        #[cfg(test)]
        let now = now + self.0.later.load(std::sync::atomic::Ordering::Relaxed);
        now
    }

    #[cfg(test)]
    fn pass(&self, time: Duration) {
        self.0.later.fetch_add(ms(time), std::sync::atomic::Ordering::Relaxed);
    }
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    connections: Connections,
    number: u64,
    /// Given when the connection has to go.
    pub(super) close: CancellationToken,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.connections.table().remove(self.number);
    }
}

/// An open call of a connection.
#[derive(Debug)]
pub(super) struct OpenCall {
    connections: Connections,
    number: u64,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let (mut table, since) = (self.connections.table(), self.connections.now());
        let Some(open) = table.open.get_mut(&self.number) else { return };
        open.calls -= 1;
        if open.calls == 0 {
            table.rest(self.number, since);
        }
    }
}

/// A call for which a connection is not closed as idle.
#[derive(Debug)]
pub(super) struct QuietCall {
    connections: Connections,
    number: u64,
}

impl Drop for QuietCall {
    fn drop(&mut self) {
        self.connections.count_quiet(self.number, -1);
    }
}

#[cfg(test)]
mod tests;
