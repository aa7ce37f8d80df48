//! Who reads a stream that is one node's: so many at a time for each node, by role and index.
//!
//! A node that comes back is let in at once, though its old connection may linger: a process takes the place of its own
//! earlier stream, and where another process has the place, the address that the cluster's settings have for the node
//! is asked which of the two it is. When that address does not answer, the earlier process stays until its connection
//! ends; keepalive closes the connection of one that died without a word within 40 seconds. Two processes that share an
//! index by mistake do not take turns: the one that is not at the address is refused, with an error that names the
//! other.
//!
//! Nodes are asked at the same time, each for so many clients at once, and for one client after the other: a client
//! that claims to be a node that does not answer waits by itself. Invariants: readers.P1 at most `each` streams of one
//! node; readers.P2 a stream ends only for the same process, or for the node that the settings name; readers.P3 no node
//! outside of the settings has a place; readers.P4 no client waits for what is asked for another.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use dovetail_rule::format_timestamp;
use futures::{Stream, StreamExt, future, stream};
use tokio::time::Instant;
use tonic::Status;

use super::{Links, ResponseStream};
use crate::{
    caller::{Caller, ClientId},
    fault::Fault,
    settings::Addresses,
    shutdown::Shutdown,
    time::now_ms,
};
use dovetail::{Role, reason::Reason};
use dovetail_wire::node_pb;

/// Longest time that a node may take to say whether it is the one.
const ASK_MAX: Duration = Duration::from_secs(1);
/// [`ReaderFence::asked`].
const ASKED: Duration = Duration::from_secs(1);
/// Most clients for which one node is asked at a time. For one more it is not asked, and that one is refused.
const ASKS_MAX: usize = 16;
/// Fewest silent answers that are remembered before old ones are looked for.
const SILENT_MIN: usize = 1024;

type Key = (Role, u32);

/// Asks the node at an address whether this process is it. None without an answer.
type Ask = dyn Fn(Key, String, u64) -> Pin<Box<dyn Future<Output = Option<bool>> + Send>> + Send + Sync;

/// What a process does that reads already, when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Its earlier stream ends.
    Replaces,
    /// It has several.
    Counts,
}

/// The readers of one kind of stream.
pub struct ReaderFence {
    what: &'static str,
    each: usize,
    again: Again,
    addresses: Addresses,
    ask: Box<Ask>,
    /// How long an answer holds, and how long a node that gave none is not asked again.
    asked: Duration,
    places: Mutex<Places>,
    told: Mutex<Told>,
}

/// Whose claim it is; none within the process.
type Claimant = (Key, Option<ClientId>);

/// What nodes said of who they are.
#[derive(Debug, Default)]
struct Told {
    /// Which process is the node, and when it said so.
    is: BTreeMap<Key, (Instant, u64)>,
    /// When a node gave no answer, and for whose claim.
    silent: HashMap<Claimant, Instant>,
    /// Claims about which nodes are asked, or are to be: one of a client after the other.
    asking: HashMap<Claimant, Arc<tokio::sync::Mutex<()>>>,
}

impl Told {
    /// Whether this process is the node, where that was said within so long, or nothing was said.
    fn known(&self, claimant: &Claimant, instance: u64, within: Duration) -> Option<bool> {
        let is = self.is.get(&claimant.0).filter(|(at, _)| at.elapsed() < within);
        let silent = || self.silent.get(claimant).filter(|at| at.elapsed() < within).map(|_| false);
        is.map(|&(_, is)| is == instance).or_else(silent)
    }

    /// The place in line of a claim; none when too many others are asked about.
    fn line(&mut self, claimant: &Claimant) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let asked = self.asking.keys().filter(|(key, _)| *key == claimant.0).count();
        if asked >= ASKS_MAX && !self.asking.contains_key(claimant) {
            return None;
        }
        Some(Arc::clone(self.asking.entry(claimant.clone()).or_default()))
    }

    /// What a node said: which process it is; or that it is another than those it was asked about; none when it said
    /// nothing.
    fn heard(&mut self, claimant: &Claimant, said: Option<Option<u64>>, within: Duration) {
        match said {
            // No node that was asked about: the next may be it.
            Some(None) => _ = self.is.remove(&claimant.0),
            Some(Some(is)) => _ = self.is.insert(claimant.0, (Instant::now(), is)),
            None => {
                if self.silent.len() >= SILENT_MIN && self.silent.len() == self.silent.capacity() {
                    self.silent.retain(|_, at| at.elapsed() < within);
                }
                self.silent.insert(claimant.clone(), Instant::now());
            }
        }
    }
}

/// A place in line, until it is dropped.
struct Asking<'a> {
    readers: &'a ReaderFence,
    claimant: Claimant,
    line: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut told = self.readers.told();
        // The last one in line: there is this, and what the table has.
        if Arc::strong_count(&self.line) == 2 {
            told.asking.remove(&self.claimant);
        }
    }
}

#[derive(Debug, Default)]
struct Places {
    held: BTreeMap<Key, Vec<Holder>>,
    last: u64,
}

impl std::fmt::Debug for ReaderFence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("what", &self.what).field("places", &self.places).finish_non_exhaustive()
    }
}

/// Who has a place.
#[derive(Clone, Debug)]
struct Holder {
    number: u64,
    instance: u64,
    address: Option<IpAddr>,
    since_ms: u64,
    end: Shutdown,
    why: Arc<OnceLock<Fault>>,
}

/// A place, for as long as it is kept.
#[derive(Debug)]
pub struct Reading {
    readers: Arc<ReaderFence>,
    key: Key,
    holder: Holder,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut places = self.readers.places();
        if let Some(held) = places.held.get_mut(&self.key) {
            held.retain(|holder| holder.number != self.holder.number);
        }
    }
}

impl Reading {
    /// Does something for as long as the place is kept: what was asked for before the node came again is of no use any
    /// more.
    ///
    /// # Errors
    /// NODE_TAKEN when the place went to another stream, and what it fails with.
    pub async fn meanwhile<T>(&self, doing: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            biased;
            () = self.holder.end.given() => {
                let why = self.holder.why.get().cloned();
                Err(why.unwrap_or_else(|| self.readers.again(self.key)).into())
            }
            done = doing => done,
        }
    }

    /// A stream that ends when its place goes to another, and gives the place back when it ends.
    pub fn of<T: Send + 'static>(
        self,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> ResponseStream<T> {
        let (end, why) = (self.holder.end.clone(), Arc::clone(&self.holder.why));
        let ended = async move { end.given().await };
        let last = stream::once(async move { why.get().cloned().map(|fault| Err(fault.into())) });
        let kept = messages.take_until(ended).chain(last.filter_map(future::ready));
        Box::pin(kept.inspect(move |_| _ = &self))
    }
}

impl ReaderFence {
    /// None yet. `what` they read, as `the candidates`; `each` node has so many streams.
    #[must_use]
    pub fn new(
        what: &'static str,
        each: usize,
        again: Again,
        addresses: &Addresses,
        links: &Links,
    ) -> Arc<ReaderFence> {
        let links = links.clone();
        let ask = move |(role, index): Key,
                        address: String,
                        instance|
              -> Pin<Box<dyn Future<Output = Option<bool>> + Send>> {
            let route = links.route(role, index, &address);
            Box::pin(async move {
                let asked = tokio::time::timeout(ASK_MAX, route.confirm(instance));
                asked.await.ok()?.ok()
            })
        };
        ReaderFence::asking(what, each, again, addresses.clone(), (Box::new(ask), ASKED))
    }

    fn asking(
        what: &'static str,
        each: usize,
        again: Again,
        addresses: Addresses,
        (ask, asked): (Box<Ask>, Duration),
    ) -> Arc<ReaderFence> {
        let (places, told) = (Mutex::default(), Mutex::default());
        Arc::new(ReaderFence { what, each, again, addresses, ask, asked, places, told })
    }

    /// A place for a node, whose role and index are within the settings; `caller` is none within the process.
    ///
    /// # Errors
    /// When it is not in the settings, or the place is another process's.
    pub async fn take(self: &Arc<Self>, peer: &node_pb::Peer, caller: Option<&Caller>) -> Result<Reading, Status> {
        let (key, address) = self.key(peer)?;
        let newcomer = (peer.instance, caller.map(|caller| caller.connection.address));
        if let Some(reading) = self.try_take(key, newcomer, caller.is_none()) {
            return Ok(reading);
        }
        let claimant = (key, caller.map(|caller| caller.client.clone()));
        if self.is_node(claimant, address, peer.instance).await
            && let Some(reading) = self.try_take(key, newcomer, true)
        {
            return Ok(reading);
        }
        let first = self.places().held.get(&key).and_then(|held| held.first().cloned());
        match first {
            // It left meanwhile.
            None => self.try_take(key, newcomer, false).ok_or_else(|| self.full(key).into()),
            Some(first) if first.instance == peer.instance => Err(self.full(key).into()),
            Some(first) => Err(self.taken(key, address, &first).into()),
        }
    }

    fn key(&self, peer: &node_pb::Peer) -> Result<(Key, &str), Fault> {
        let role = Role::try_from(peer.role()).map_err(|()| {
            Fault::new(Reason::FieldMissing, format!("the request does not say which node reads {}", self.what))
                .at("peer.role")
        })?;
        let addresses = &self.addresses;
        let (address, count) = match role {
            Role::Balancer => (addresses.balancers.get(peer.index as usize), addresses.balancers.len()),
            Role::Matcher => (addresses.matchers.get(peer.index as usize), addresses.matchers.len()),
            Role::Gatherer => (addresses.gatherers.get(peer.index as usize), addresses.gatherers.len()),
        };
        let text = || format!("there is no {role} {}; the cluster has {count}", peer.index);
        let none = || Fault::new(Reason::OutOfBounds, text()).at("peer.index").with("value", peer.index);
        Ok(((role, peer.index), address.ok_or_else(|| none().with("bound", count))?))
    }

    /// A place that is free, or its own; with `force` another's.
    fn try_take(self: &Arc<Self>, key: Key, newcomer: (u64, Option<IpAddr>), force: bool) -> Option<Reading> {
        let (instance, address) = newcomer;
        let mut places = self.places();
        places.last += 1;
        let number = places.last;
        let held = places.held.entry(key).or_default();
        if self.again == Again::Replaces {
            for holder in held.extract_if(.., |holder| holder.instance == instance) {
                holder.end.give();
            }
        }
        if held.len() >= self.each {
            let other = held.iter().position(|holder| holder.instance != instance).filter(|_| force)?;
            let other = held.remove(other);
            // The first word stays.
            _ = other.why.set(self.lost(key, address));
            other.end.give();
        }
        let (end, why) = (Shutdown::new(), Arc::default());
        let holder = Holder { number, instance, address, since_ms: now_ms(), end, why };
        held.push(holder.clone());
        drop(places);
        Some(Reading { readers: Arc::clone(self), key, holder })
    }

    /// Whether this process is the node at the address.
    async fn is_node(&self, claimant: Claimant, address: &str, instance: u64) -> bool {
        let key = claimant.0;
        let line = {
            let mut told = self.told();
            if let Some(known) = told.known(&claimant, instance, self.asked) {
                return known;
            }
            told.line(&claimant)
        };
        let Some(line) = line else { return false };
        let asking = Asking { readers: self, claimant, line };
        let _turn = asking.line.lock().await;
        // Who was before in line may have heard it.
        if let Some(known) = self.told().known(&asking.claimant, instance, self.asked) {
            return known;
        }
        let ask = |instance| (self.ask)(key, address.to_owned(), instance);
        let mut said = ask(instance).await.map(|is| is.then_some(instance));
        if said == Some(None) {
            // Then perhaps who reads.
            let others = self.instances(key);
            let answers = future::join_all(others.iter().map(|&other| ask(other))).await;
            let is = others.iter().zip(answers).find(|(_, answer)| *answer == Some(true));
            said = Some(is.map(|(&other, _)| other));
        }
        self.told().heard(&asking.claimant, said, self.asked);
        said == Some(Some(instance))
    }

    fn instances(&self, key: Key) -> Vec<u64> {
        let places = self.places();
        let mut instances: Vec<u64> =
            places.held.get(&key).into_iter().flatten().map(|holder| holder.instance).collect();
        instances.dedup();
        instances
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self, (role, index): Key) -> Fault {
        let (each, what) = (self.each, self.what);
        let text = format!("{role} {index} has {each} streams of {what} open, which is the most");
        Fault::new(Reason::TooManyCalls, text).with("bound", each)
    }

    fn taken(&self, (role, index): Key, address: &str, first: &Holder) -> Fault {
        let from = from(first.address);
        let since = i64::try_from(first.since_ms).ok().and_then(format_timestamp).unwrap_or_default();
        let text = format!(
            "{role} {index} reads {} already, from {from}, since {since}, and this is another process. The cluster has {role} \
             {index} at {address}: is an index used twice?",
            self.what
        );
        Fault::new(Reason::NodeTaken, text).with("address", from).with("since_ms", first.since_ms)
    }

    fn again(&self, (role, index): Key) -> Fault {
        let text = format!("{role} {index} has come again, and reads {} by its later stream", self.what);
        Fault::new(Reason::NodeTaken, text)
    }

    fn lost(&self, (role, index): Key, by: Option<IpAddr>) -> Fault {
        let text = format!(
            "{role} {index} reads {} from {} now: that process is at the address that the cluster has for it",
            self.what,
            from(by)
        );
        Fault::new(Reason::NodeTaken, text).with("address", from(by))
    }
}

fn from(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "this process".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tonic::Code;

    use dovetail::pb;

    use super::*;
    use crate::caller::{ClientId, Connection};

    /// Readers of a cluster in which gatherer 0 is `is`; 0 for nobody who answers.
    fn readers(each: usize, again: Again, is: &Arc<AtomicU64>, asked: Duration) -> Arc<ReaderFence> {
        let url = |port| format!("http://127.0.0.1:{port}");
        let addresses = Addresses { balancers: vec![url(1)], matchers: vec![url(2)], gatherers: vec![url(3), url(4)] };
        let is = Arc::clone(is);
        let ask = move |_: Key, address: String, instance| -> Pin<Box<dyn Future<Output = Option<bool>> + Send>> {
            assert_eq!(address, "http://127.0.0.1:3");
            let is = is.load(Ordering::Relaxed);
            Box::pin(async move { (is > 0).then_some(is == instance) })
        };
        ReaderFence::asking("the candidates", each, again, addresses, (Box::new(ask), asked))
    }

    fn peer(instance: u64) -> node_pb::Peer {
        node_pb::Peer { role: pb::Role::Gatherer.into(), index: 0, instance, ..node_pb::Peer::default() }
    }

    fn caller(last: u8) -> Caller {
        let address = IpAddr::from([10, 0, 0, last]);
        Caller {
            connection: Connection { number: 1, address, port: crate::caller::Port::ALL, proved: None },
            client: ClientId::Address(address),
        }
    }

    /// A stream that only ends with its place.
    fn open(reading: Reading) -> ResponseStream<()> {
        reading.of(stream::pending())
    }

    #[tokio::test]
    async fn a_second_process_is_refused_while_the_first_reads_and_let_in_when_it_has_gone() {
        for (answers, asked) in [(7, ASKED), (0, ASKED), (7, Duration::ZERO), (0, Duration::ZERO)] {
            let is = Arc::new(AtomicU64::new(answers));
            let readers = readers(1, Again::Replaces, &is, asked);
            let first = open(readers.take(&peer(7), Some(&caller(1))).await.unwrap());
            for _ in 0..3 {
                let refused = readers.take(&peer(8), Some(&caller(2))).await.unwrap_err();
                assert_eq!(refused.code(), Code::AlreadyExists);
                let text = refused.message();
                assert!(text.contains("gatherer 0 reads the candidates already, from 10.0.0.1, since 20"), "{text}");
                assert!(text.contains("http://127.0.0.1:3"), "{text}");
            }
            drop(first);
            readers.take(&peer(8), Some(&caller(2))).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_process_takes_the_place_of_its_own_earlier_stream() {
        let is = Arc::new(AtomicU64::new(0));
        let readers = readers(1, Again::Replaces, &is, Duration::ZERO);
        let mut first = open(readers.take(&peer(7), Some(&caller(1))).await.unwrap());
        let second = open(readers.take(&peer(7), Some(&caller(1))).await.unwrap());
        assert!(first.next().await.is_none());
        drop(first);
        // What it asks for meanwhile is done, and given up when it comes once more.
        let asking = readers.take(&peer(7), Some(&caller(1))).await.unwrap();
        assert_eq!(asking.meanwhile(async { Ok(1) }).await.unwrap(), 1);
        let third = readers.take(&peer(7), Some(&caller(1))).await.unwrap();
        let given_up = asking.meanwhile(future::pending::<Result<(), Status>>()).await.unwrap_err();
        assert!(given_up.message().contains("gatherer 0 has come again"), "{given_up}");
        drop((second, asking));
        let second = open(third);
        // The place is the last one's.
        assert!(readers.take(&peer(8), Some(&caller(2))).await.is_err());
        drop(second);
    }

    #[tokio::test]
    async fn the_node_at_the_address_is_let_in_though_another_reads_and_that_one_is_told() {
        let is = Arc::new(AtomicU64::new(7));
        let readers = readers(1, Again::Replaces, &is, Duration::ZERO);
        let mut stranger = open(readers.take(&peer(666), Some(&caller(9))).await.unwrap());
        let _node = open(readers.take(&peer(7), Some(&caller(1))).await.unwrap());
        let told = stranger.next().await.unwrap().unwrap_err();
        assert!(told.message().contains("from 10.0.0.1 now"), "{}", told.message());
        assert!(readers.take(&peer(666), Some(&caller(9))).await.is_err());
        // It restarts while its old connection lingers.
        is.store(8, Ordering::Relaxed);
        readers.take(&peer(8), Some(&caller(1))).await.unwrap();
    }

    #[tokio::test]
    async fn a_stranger_at_a_node_that_gives_no_answer_delays_no_other_node_and_not_that_one_once_it_answers() {
        let url = |port| format!("http://127.0.0.1:{port}");
        let addresses = Addresses { balancers: vec![url(1)], matchers: vec![url(2)], gatherers: vec![url(3), url(4)] };
        // Gatherer 0 gives no answer until it is up; then it is the process 7. Gatherer 1 is the process 9.
        let (up, silent) = (Arc::new(AtomicU64::new(0)), Shutdown::new());
        let (is, silence) = (Arc::clone(&up), silent.clone());
        let ask = move |(_, index): Key, _, instance| -> Pin<Box<dyn Future<Output = Option<bool>> + Send>> {
            let is = if index == 1 { 9 } else { is.load(Ordering::Relaxed) };
            let silence = silence.clone();
            Box::pin(async move {
                if is == 0 {
                    silence.given().await;
                    return None;
                }
                Some(is == instance)
            })
        };
        let readers = ReaderFence::asking("the candidates", 1, Again::Replaces, addresses, (Box::new(ask), ASKED));
        let peer = |index, instance| node_pb::Peer {
            role: pb::Role::Gatherer.into(),
            index,
            instance,
            ..node_pb::Peer::default()
        };
        let mut places = vec![];
        for index in 0..2 {
            places.push(readers.take(&peer(index, 666), Some(&caller(9))).await.unwrap());
        }
        let claims: Vec<_> = (0..64)
            .map(|number| {
                let readers = Arc::clone(&readers);
                tokio::spawn(
                    async move { readers.take(&peer(0, 1_000 + u64::from(number)), Some(&caller(number))).await },
                )
            })
            .collect();
        while readers.told().asking.len() < ASKS_MAX {
            tokio::task::yield_now().await;
        }
        let _other = readers.take(&peer(1, 9), Some(&caller(2))).await.unwrap();
        assert!(readers.take(&peer(0, 7), Some(&caller(77))).await.is_err(), "it is asked for so many at a time");
        up.store(7, Ordering::Relaxed);
        silent.give();
        assert!(future::join_all(claims).await.into_iter().all(|claim| claim.unwrap().is_err()));
        let _node = readers.take(&peer(0, 7), Some(&caller(77))).await.unwrap();
        assert!(readers.told().asking.is_empty());
    }

    #[tokio::test]
    async fn several_processes_may_read_where_the_most_is_not_reached_and_none_is_of_another_cluster() {
        let is = Arc::new(AtomicU64::new(7));
        let readers = readers(2, Again::Counts, &is, ASKED);
        let node = peer(7);
        let streams = future::join_all([(); 2].map(|()| readers.take(&node, None))).await;
        assert!(streams.iter().all(Result::is_ok));
        let refused = readers.take(&peer(7), Some(&caller(1))).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        let other = node_pb::Peer { index: 2, ..peer(7) };
        assert_eq!(readers.take(&other, None).await.unwrap_err().code(), Code::InvalidArgument);
        let nobody = node_pb::Peer { role: 0, ..peer(7) };
        assert_eq!(readers.take(&nobody, None).await.unwrap_err().code(), Code::InvalidArgument);
    }
}
