//! A TCP proxy for every link of the cluster, that can misbehave.
//!
//! Each connection is two one-way pipes with a short queue each, so that a delay does not bound the rate. What is held
//! back is not lost: TCP would have sent it again. Only cutting a connection loses what is on its way. Not here: lost
//! or reordered bytes within a connection, which TCP rules out.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{plan::Trouble, shape::DialledLink};

/// Most bytes read at a time.
const CHUNK: usize = 8 << 10;

/// Chunks on their way in one direction; more wait at their sender.
const QUEUE: usize = 64;

/// All links.
#[derive(Debug)]
pub struct Proxies(BTreeMap<DialledLink, Proxy>);

#[derive(Debug)]
struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    trouble: Option<Trouble>,
    /// How often connections were cut: one that was set up before the last time is closed.
    cuts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    To,
    From,
}

impl State {
    fn passes(&self, way: Way) -> bool {
        match self.trouble {
            Some(Trouble::Silent | Trouble::SilentThenCut) => false,
            Some(Trouble::OneWayTo) => way == Way::From,
            Some(Trouble::OneWayFrom) => way == Way::To,
            Some(Trouble::Cut | Trouble::Delay { .. } | Trouble::Throttle { .. }) | None => true,
        }
    }
}

impl Proxies {
    /// Listens for every link at a free port of `ip`; `target` says where it leads.
    pub async fn start(
        links: &[DialledLink],
        ip: Ipv4Addr,
        target: impl Fn(DialledLink) -> SocketAddr,
    ) -> io::Result<Proxies> {
        let mut proxies = BTreeMap::new();
        for &link in links {
            let listener = TcpListener::bind((ip, 0)).await?;
            let (state, seen) = watch::channel(State::default());
            proxies.insert(link, Proxy { address: listener.local_addr()?, state });
            tokio::spawn(accept(listener, target(link), seen));
        }
        Ok(Proxies(proxies))
    }

    /// Where a link is dialled; none when there is no such link.
    pub fn address(&self, link: DialledLink) -> Option<SocketAddr> {
        self.0.get(&link).map(|proxy| proxy.address)
    }

    /// Begins a trouble.
    pub fn begin(&self, link: DialledLink, trouble: Trouble) {
        self.0[&link].state.send_modify(|state| {
            state.trouble = Some(trouble);
            state.cuts += u64::from(trouble == Trouble::Cut);
        });
    }

    /// Ends whatever troubles a link.
    pub fn end(&self, link: DialledLink) {
        self.0[&link].state.send_modify(|state| {
            state.cuts += u64::from(state.trouble == Some(Trouble::SilentThenCut));
            state.trouble = None;
        });
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<State>) {
    loop {
        match listener.accept().await {
            Ok(_) if state.borrow().trouble == Some(Trouble::Cut) => {}
            Ok((dialler, _)) => _ = tokio::spawn(connection(dialler, target, state.clone())),
            // Too many open files: they close by and by.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(dialler: TcpStream, target: SocketAddr, state: watch::Receiver<State>) {
    let cuts = state.borrow().cuts;
    let mut cut = state.clone();
    let passing = async {
        let served = TcpStream::connect(target).await?;
        dialler.set_nodelay(true)?;
        served.set_nodelay(true)?;
        let ((from_dialler, to_dialler), (from_served, to_served)) = (dialler.into_split(), served.into_split());
        tokio::try_join!(
            pass(from_dialler, to_served, state.clone(), Way::To),
            pass(from_served, to_dialler, state, Way::From)
        )
    };
    // An end that is gone shows at the other one as a closed connection; nothing else is to be done.
    tokio::select! {
        _ = passing => {}
        _ = cut.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    way: Way,
) -> io::Result<()> {
    let cuts = state.borrow().cuts;
    let (queue, mut queued) = mpsc::channel(QUEUE);
    let seen = state.clone();
    let reading = async move {
        loop {
            let mut bytes = vec![0; CHUNK];
            let read = from.read(&mut bytes).await?;
            bytes.truncate(read);
            let delay = match seen.borrow().trouble {
                Some(Trouble::Delay { ms }) => Duration::from_millis(ms),
                _ => Duration::ZERO,
            };
            if read == 0 || queue.send((Instant::now() + delay, bytes)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, bytes)) = queued.recv().await {
            sleep_until(due).await;
            let trouble = match state.wait_for(|state| state.cuts != cuts || state.passes(way)).await {
                // What was held back goes down with the connection.
                Ok(state) if state.cuts != cuts => return Ok(()),
                Ok(state) => state.trouble,
                Err(_) => return Ok(()),
            };
            if let Some(Trouble::Throttle { bytes_per_s }) = trouble {
                let full_time = Duration::from_micros(bytes.len() as u64 * 1_000_000 / bytes_per_s);
                // Over at once when the trouble is. The state goes away only with everything else.
                _ = timeout(full_time, state.wait_for(|state| state.trouble != trouble)).await;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(|((), ())| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{ClusterNode, Group, LinkEnd};

    const LINK: DialledLink = DialledLink { from: LinkEnd::Clients(Group::Askers), to: ClusterNode::Balancer };
    const LONG: Duration = Duration::from_secs(60);
    /// Long enough that what is to come is there on an idle machine; a busy one only makes the test weaker.
    const SHORT: Duration = Duration::from_millis(50);

    /// The proxies, and both ends of a connection through them.
    async fn connected() -> (Proxies, TcpStream, TcpStream) {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = server.local_addr().unwrap();
        let proxies = Proxies::start(&[LINK], Ipv4Addr::LOCALHOST, |_| target).await.unwrap();
        let mut dialler = TcpStream::connect(proxies.address(LINK).unwrap()).await.unwrap();
        let (mut served, _) = timeout(LONG, server.accept()).await.unwrap().unwrap();
        passes(&mut dialler, &mut served).await;
        passes(&mut served, &mut dialler).await;
        (proxies, dialler, served)
    }

    async fn passes(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"x").await.unwrap();
        arrives(to).await;
    }

    async fn arrives(to: &mut TcpStream) {
        let read = timeout(LONG, to.read(&mut [0; 1])).await.expect("it arrives").unwrap();
        assert_eq!(read, 1);
    }

    async fn held_back(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"x").await.unwrap();
        assert!(timeout(SHORT, to.read(&mut [0; 1])).await.is_err(), "nothing arrives");
    }

    async fn closed(end: &mut TcpStream) {
        let read = timeout(LONG, end.read(&mut [0; 1])).await.expect("it ends");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[tokio::test]
    async fn a_cut_link_closes_what_stands_and_what_is_dialled_until_it_heals() {
        let (proxies, mut dialler, mut served) = connected().await;
        proxies.begin(LINK, Trouble::Cut);
        closed(&mut dialler).await;
        closed(&mut served).await;
        let address = proxies.address(LINK).unwrap();
        closed(&mut TcpStream::connect(address).await.unwrap()).await;
        proxies.end(LINK);
        TcpStream::connect(address).await.unwrap().write_all(b"x").await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_link_passes_nothing_and_then_all_of_it() {
        let (proxies, mut dialler, mut served) = connected().await;
        proxies.begin(LINK, Trouble::Silent);
        held_back(&mut dialler, &mut served).await;
        held_back(&mut served, &mut dialler).await;
        proxies.end(LINK);
        arrives(&mut served).await;
        arrives(&mut dialler).await;
    }

    #[tokio::test]
    async fn a_silent_link_may_be_dead_when_it_is_over() {
        let (proxies, mut dialler, mut served) = connected().await;
        proxies.begin(LINK, Trouble::SilentThenCut);
        held_back(&mut dialler, &mut served).await;
        proxies.end(LINK);
        closed(&mut dialler).await;
        closed(&mut served).await;
    }

    #[tokio::test]
    async fn a_one_way_link_passes_the_other_way() {
        let (proxies, mut dialler, mut served) = connected().await;
        proxies.begin(LINK, Trouble::OneWayTo);
        held_back(&mut dialler, &mut served).await;
        passes(&mut served, &mut dialler).await;
        proxies.end(LINK);
        arrives(&mut served).await;
        proxies.begin(LINK, Trouble::OneWayFrom);
        held_back(&mut served, &mut dialler).await;
        passes(&mut dialler, &mut served).await;
    }

    #[tokio::test]
    async fn a_slow_link_passes_everything_later() {
        let (proxies, mut dialler, mut served) = connected().await;
        for trouble in [Trouble::Delay { ms: 200 }, Trouble::Throttle { bytes_per_s: 5 }] {
            proxies.begin(LINK, trouble);
            let began = Instant::now();
            passes(&mut dialler, &mut served).await;
            assert!(began.elapsed() >= Duration::from_millis(150), "{trouble:?}");
        }
    }
}
