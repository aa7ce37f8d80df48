//! A cap that clients share: so much in all, of which no client takes everything.
//!
//! What is taken is counted in all, by client and by connection. A client may take its share, which is a part of all,
//! and one connection half of that: a client that holds as much as it may on one connection is in the way of no other,
//! not even of one at the same address. A call that waits for some stands in line ([`line`](super::line)), and takes
//! nothing before others that have waited for longer. Invariants: shares.S1 no more is taken than the bounds say;
//! shares.S2 what was taken is given back when its [`Share`] is dropped, wherever that is; shares.S3 a client that has
//! taken nothing takes no memory here.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::oneshot;

use super::line::{Served, Ticket, WaitingLine};
use crate::{
    caller::{Caller, ClientId},
    fault::Fault,
};
use dovetail::reason::Reason;

/// So much of something. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: usize,
    of_client: usize,
    of_connection: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    clients: HashMap<ClientId, usize>,
    connections: HashMap<u64, usize>,
    line: WaitingLine<ShareWaits>,
}

/// A call in line.
#[derive(Debug)]
struct ShareWaits {
    caller: Option<Caller>,
    count: usize,
    give: Option<oneshot::Sender<Share>>,
}

/// Who has taken as much as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spent {
    /// All clients together.
    All(usize),
    /// A client.
    Client(ClientId, usize),
    /// One of its connections.
    Connection(ClientId, usize),
}

impl Spent {
    /// As an error says it: of what there is no more (`watchers are open`), and by which setting.
    #[must_use]
    pub fn text(&self, what: &str, name: &str) -> String {
        match self {
            Spent::All(most) => format!("{most} {what}, which is {name}"),
            Spent::Client(client, most) => {
                format!("{most} {what} for client {client}, which is its share of {name} (client_share_percent)")
            }
            Spent::Connection(client, most) => format!(
                "{most} {what} for one connection of client {client}, which is half of a client's share of {name} \
                 (client_share_percent); another connection may have more"
            ),
        }
    }

    /// As a refusal.
    #[must_use]
    pub fn fault(&self, what: &str, name: &'static str) -> Fault {
        let fault = Fault::new(Reason::TooManyCalls, self.text(what, name)).with("limit", name);
        match self {
            Spent::All(most) => fault.with("bound", most),
            Spent::Client(client, most) | Spent::Connection(client, most) => {
                fault.with("bound", most).with("client", client)
            }
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text("taken", "the bound"))
    }
}

impl Shares {
    /// So much in all, of which one client may take so many of a hundred.
    #[must_use]
    pub fn new(all: usize, client_percent: usize) -> Shares {
        let part = (all as u128 * client_percent as u128).div_ceil(100);
        let of_client = usize::try_from(part).unwrap_or(all).clamp(1, all.max(1));
        Shares::with(all, of_client, of_client.div_ceil(2))
    }

    /// So much in all, of which one client may take so much, on one connection or many.
    #[must_use]
    pub fn by_client(all: usize, of_client: usize) -> Shares {
        let of_client = of_client.min(all);
        Shares::with(all, of_client, of_client)
    }

    fn with(all: usize, of_client: usize, of_connection: usize) -> Shares {
        Shares(Arc::new(Shared { all, of_client, of_connection, taken: Mutex::default() }))
    }

    /// How much there is in all.
    #[must_use]
    pub fn all(&self) -> usize {
        self.0.all
    }

    /// The most that one caller may ever have at a time.
    #[must_use]
    pub fn most_for(&self, caller: Option<&Caller>) -> usize {
        if caller.is_some() { self.0.of_connection } else { self.0.all }
    }

    /// How much is taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken().all
    }

    /// Takes so much for this caller; none is this process itself, which has no share of its own to keep to.
    ///
    /// # Errors
    /// When there is not so much left.
    pub fn take(&self, caller: Option<&Caller>, count: usize) -> Result<Share, Spent> {
        self.0.count(&mut self.0.taken(), caller, count)?;
        Ok(Share { shared: Arc::clone(&self.0), whose: whose(caller), count })
    }

    /// Takes so much, or as much as the caller may ever have, if there is so much left and nobody waits.
    fn take_at_once(&self, caller: Option<&Caller>, count: usize) -> Option<Share> {
        let count = count.min(self.most_for(caller));
        let mut taken = self.0.taken();
        let free = taken.line.is_empty() && self.0.count(&mut taken, caller, count).is_ok();
        free.then(|| Share { shared: Arc::clone(&self.0), whose: whose(caller), count })
    }

    /// Takes so much once there is so much left, and all who waited before have what they may have. It is never more
    /// than there is.
    pub(crate) fn wait(&self, caller: Option<&Caller>, count: usize) -> Waiting {
        let (give, given) = oneshot::channel();
        let count = count.min(self.most_for(caller));
        let waits = ShareWaits { caller: caller.cloned(), count, give: Some(give) };
        let ticket = self.0.taken().line.push(caller.map(|caller| caller.connection.number), waits);
        Shared::serve(&self.0);
        Waiting { shared: Arc::clone(&self.0), ticket, given, caller: caller.cloned(), count }
    }
}

/// How often those who wait look whether it is all that is spent.
const LOOKS: u32 = 30;

impl Shares {
    /// The same as waiting, but not for others that never give back: it ends when for so long there was not enough for
    /// any call. For its own share a call may wait for ever.
    ///
    /// # Errors
    /// When it is stuck.
    pub(crate) async fn wait_unless_stuck(
        &self,
        caller: Option<&Caller>,
        count: usize,
        stuck: Duration,
    ) -> Result<Share, Spent> {
        // A place in line costs more than what is done here.
        if let Some(share) = self.take_at_once(caller, count) {
            return Ok(share);
        }
        let mut waiting = self.wait(caller, count);
        let mut stuck_for = 0;
        loop {
            if let Ok(share) = tokio::time::timeout(stuck / LOOKS, &mut waiting).await {
                return Ok(share);
            }
            let spent = waiting.spent();
            stuck_for = if matches!(spent, Spent::All(_)) { stuck_for + 1 } else { 0 };
            if stuck_for >= LOOKS {
                return Err(spent);
            }
        }
    }
}

fn whose(caller: Option<&Caller>) -> Option<(ClientId, u64)> {
    caller.map(|caller| (caller.client.clone(), caller.connection.number))
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What leaves no room for so much.
    fn spent(&self, taken: &Taken, caller: Option<&Caller>, count: usize) -> Option<Spent> {
        if taken.all + count > self.all {
            return Some(Spent::All(self.all));
        }
        let Caller { client, connection } = caller?;
        if taken.clients.get(client).copied().unwrap_or(0) + count > self.of_client {
            return Some(Spent::Client(client.clone(), self.of_client));
        }
        let of_connection = taken.connections.get(&connection.number).copied().unwrap_or(0);
        (of_connection + count > self.of_connection).then(|| Spent::Connection(client.clone(), self.of_connection))
    }

    /// Counts what is taken.
    fn count(&self, taken: &mut Taken, caller: Option<&Caller>, count: usize) -> Result<(), Spent> {
        if let Some(spent) = self.spent(taken, caller, count) {
            return Err(spent);
        }
        if let Some(Caller { client, connection }) = caller {
            *taken.clients.entry(client.clone()).or_default() += count;
            *taken.connections.entry(connection.number).or_default() += count;
        }
        taken.all += count;
        Ok(())
    }

    /// Gives those in line what there is.
    fn serve(this: &Arc<Shared>) {
        let mut taken = this.taken();
        let mut line = std::mem::take(&mut taken.line);
        let mut unwanted = Vec::new();
        line.serve(|waits| match this.count(&mut taken, waits.caller.as_ref(), waits.count) {
            Ok(()) => {
                let share = Share { shared: Arc::clone(this), whose: whose(waits.caller.as_ref()), count: waits.count };
                let give = waits.give.take().expect("it is given once");
                unwanted.extend(give.send(share).err());
                Served::Done
            }
            Err(Spent::All(_)) => Served::NotEnough,
            Err(Spent::Client(..) | Spent::Connection(..)) => Served::PassedOver,
        });
        taken.line = line;
        drop(taken);
        // Who left this moment gives it back, to others in line.
        drop(unwanted);
    }
}

/// A place in line, until it is dropped. It ends with what was waited for.
#[derive(Debug)]
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    ticket: Ticket,
    given: oneshot::Receiver<Share>,
    caller: Option<Caller>,
    count: usize,
}

impl Waiting {
    /// What it waits for.
    pub(super) fn spent(&self) -> Spent {
        let spent = self.shared.spent(&self.shared.taken(), self.caller.as_ref(), self.count);
        // There is enough, but others have waited for longer.
        spent.unwrap_or(Spent::All(self.shared.all))
    }
}

impl Future for Waiting {
    type Output = Share;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Share> {
        // Who gives keeps its end until it has given.
        Pin::new(&mut self.given).poll(cx).map(|share| share.expect("who waits is in line"))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.taken().line.leave(self.ticket);
        // It may have been in the way of others.
        Shared::serve(&self.shared);
    }
}

/// What was taken, until it is dropped.
#[derive(Debug)]
pub struct Share {
    shared: Arc<Shared>,
    whose: Option<(ClientId, u64)>,
    count: usize,
}

impl Share {
    /// Gives back what is more than so much.
    pub fn keep(&mut self, count: usize) {
        let back = self.count.saturating_sub(count);
        if back == 0 {
            return;
        }
        self.count -= back;
        let mut taken = self.shared.taken();
        taken.all -= back;
        if let Some((client, connection)) = &self.whose {
            give_back(&mut taken.clients, client, back);
            give_back(&mut taken.connections, connection, back);
        }
        let wanted = !taken.line.is_empty();
        drop(taken);
        if wanted {
            Shared::serve(&self.shared);
        }
    }
}

fn give_back<K: Eq + std::hash::Hash>(taken: &mut HashMap<K, usize>, whose: &K, back: usize) {
    if let Some(count) = taken.get_mut(whose) {
        *count -= back;
        if *count == 0 {
            taken.remove(whose);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.keep(0);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::caller::{Connection, Port};

    /// A caller from an address that ends so, by a connection.
    pub(in crate::rpc) fn caller(last: u8, number: u64) -> Caller {
        let address = IpAddr::from([10, 0, 0, last]);
        Caller {
            connection: Connection { number, address, port: Port::ALL, proved: None },
            client: ClientId::Address(address),
        }
    }

    #[test]
    fn one_client_takes_its_share_and_one_connection_half_of_it() {
        let shares = Shares::new(16, 25);
        let (one, two, three) = (caller(1, 1), caller(1, 2), caller(2, 3));
        let client = one.client.clone();
        let first = [shares.take(Some(&one), 1).unwrap(), shares.take(Some(&one), 1).unwrap()];
        assert_eq!(shares.take(Some(&one), 1).unwrap_err(), Spent::Connection(client.clone(), 2));
        let _second = [shares.take(Some(&two), 1).unwrap(), shares.take(Some(&two), 1).unwrap()];
        assert_eq!(shares.take(Some(&two), 1).unwrap_err(), Spent::Client(client, 4));
        assert!(shares.take(Some(&three), 2).is_ok(), "another client has a share of its own");
        drop(first);
        assert_eq!(shares.taken(), 2);
        assert!(shares.take(Some(&one), 2).is_ok());
    }

    #[test]
    fn nobody_takes_more_than_there_is_and_who_has_given_all_back_is_forgotten() {
        let shares = Shares::new(3, 100);
        let mut own = shares.take(None, 2).unwrap();
        assert_eq!(shares.take(Some(&caller(1, 1)), 2).unwrap_err(), Spent::All(3));
        own.keep(1);
        let theirs = shares.take(Some(&caller(1, 1)), 2).unwrap();
        assert_eq!(shares.taken(), 3);
        drop((own, theirs));
        let taken = shares.0.taken();
        assert!(taken.all == 0 && taken.clients.is_empty() && taken.connections.is_empty());
    }

    #[test]
    fn the_smallest_cap_is_one_for_whoever_comes() {
        let shares = Shares::new(1, 1);
        let only = shares.take(Some(&caller(1, 1)), 1).unwrap();
        assert_eq!(shares.take(Some(&caller(2, 2)), 1).unwrap_err(), Spent::All(1));
        drop(only);
        assert!(shares.take(Some(&caller(2, 2)), 1).is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_is_served_in_turn_and_who_leaves_is_in_nobodys_way() {
        let shares = Shares::new(16, 50);
        let (greedy, honest) = (caller(1, 1), caller(2, 2));
        let had = shares.wait(Some(&greedy), 4).await;
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(shares.wait(Some(&greedy), 4))).collect();
        assert_eq!(crowd[0].spent(), Spent::Connection(greedy.client.clone(), 4));
        // Its own crowd is not before another.
        let theirs = shares.wait(Some(&honest), 4).await;
        let rest = shares.take(None, 8).unwrap();
        let mut other = Box::pin(shares.wait(Some(&caller(3, 3)), 4));
        assert_eq!(other.spent(), Spent::All(16));
        assert!(futures::poll!(other.as_mut()).is_pending());
        drop(theirs);
        let _other = other.await;
        // The one that waited longest has what the first gives back.
        drop(had);
        let first = crowd.remove(0).await;
        assert!(futures::poll!(crowd[0].as_mut()).is_pending());
        let last = crowd.pop().unwrap();
        drop((crowd, rest));
        assert_eq!(shares.taken(), 8);
        drop(first);
        let last = last.await;
        assert!(shares.0.taken().line.is_empty());
        drop((last, _other));
        assert_eq!(shares.taken(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_its_own_share_keeps_nothing_from_others_and_may_wait_for_ever() {
        let shares = Shares::by_client(100, 40);
        let (greedy, other) = (caller(1, 1), caller(2, 2));
        let had = shares.wait_unless_stuck(Some(&greedy), 30, Duration::ZERO).await.unwrap();
        let mut more = Box::pin(shares.wait_unless_stuck(Some(&greedy), 20, Duration::from_millis(LOOKS.into())));
        let soon = tokio::time::timeout(Duration::from_millis(4 * u64::from(LOOKS)), &mut more).await;
        assert!(soon.is_err(), "it waits for its own");
        assert_eq!(shares.taken(), 30);
        let _other = shares.wait_unless_stuck(Some(&other), usize::MAX, Duration::ZERO).await.unwrap();
        assert_eq!(shares.taken(), 70, "what is too much is all of its share");
        drop(had);
        let mut more = more.await.unwrap();
        more.keep(7);
        assert_eq!(shares.taken(), 47);
    }

    #[tokio::test]
    async fn who_waits_for_others_that_never_give_back_is_sent_away() {
        let shares = Shares::by_client(100, 100);
        let never = shares.take(None, 100).unwrap();
        let stuck = shares.wait_unless_stuck(Some(&caller(1, 1)), 1, Duration::ZERO).await;
        assert_eq!(stuck.unwrap_err(), Spent::All(100));
        assert_eq!(shares.taken(), 100);
        drop(never);
        assert!(shares.wait_unless_stuck(Some(&caller(1, 1)), 1, Duration::ZERO).await.is_ok());
    }

    #[test]
    fn a_refusal_names_the_setting_the_bound_and_the_client() {
        let shares = Shares::new(8, 50);
        let caller = caller(7, 1);
        let _all = shares.take(Some(&caller), 2).unwrap();
        let spent = shares.take(Some(&caller), 1).unwrap_err();
        let text = spent.text("watchers are open", "watchers_max");
        for part in ["2 watchers are open", "10.0.0.7", "watchers_max", "client_share_percent"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}
