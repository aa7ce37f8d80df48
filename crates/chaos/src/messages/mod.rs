//! Messages to every call of every role, from random bytes to good ones, over real sockets; and what must hold
//! meanwhile.
//!
//! Nothing is broken on purpose here but the messages. No process may end, no session of a node either, nothing may
//! hang, memory stays within a bound, and every answer has a code that says whose fault it was: what is no message is
//! INVALID_ARGUMENT, and nothing that a client sends is an error of the server. After each round honest clients are
//! matched as ever, and what the messages left behind can be cleared away.
//!
//! A seed draws the same messages, but for the ids of elements that there are; which call meets which is up to the
//! machine.
//!
//! | module | what it is |
//! |---|---|
//! | [`schema`], [`draw`] | calls and messages, from the descriptors |
//! | [`who`], [`send`] | who calls, and how |
//! | [`verdict`], [`nodes`], [`honest`] | what must hold |

mod draw;
mod honest;
mod nodes;
pub mod report;
mod schema;
mod send;
mod verdict;
mod who;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use dovetail::Role;
use dovetail_server::rpc::NodeIdentity;
use dovetail_sim::rng::Rng;
use prost::Message as _;
use tokio::{task::JoinSet, time::sleep};

use super::{
    cluster::{Cluster, ClusterPlaces, NodeStopped},
    journal::{Journal, Sums},
    proxy::Proxies,
    shape::ClusterNode,
};
use draw::{Draw, Known};
use honest::Honest;
use nodes::Memory;
use schema::{MessageSchema, Method};
use send::HostileCall;
use verdict::{Sent, Verdicts};
use who::{CallerKind, Everybody, Keys};

/// Messages between two looks at the cluster.
const ROUND: u64 = 20_000;
/// Callers at a time.
const WORKERS: u64 = 16;
/// Most memory of a node, in KiB, above what it had when it had started.
const GROWTH_MAX: u64 = 256 << 10;
/// Most bytes of log that a message may cost a node, on average: what clients say is not written down.
const LOG_PER_MESSAGE_MAX: u64 = 20;
/// How long a node may take to serve, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run is asked to be.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub messages: u64,
    /// Whether nodes ask who calls.
    pub auth: bool,
    pub place: ClusterPlaces,
}

/// What came of it.
#[derive(Debug)]
pub struct MessagesOutcome {
    pub sums: Sums,
    pub messages: u64,
    pub verdicts: Arc<Verdicts>,
    /// By node, in KiB: when it had started, and at the end.
    pub memory: BTreeMap<ClusterNode, (Memory, Memory)>,
}

/// Everything that a worker needs.
struct MessageRig {
    seed: u64,
    schema: MessageSchema,
    known: Known,
    everybody: Everybody,
    place: ClusterPlaces,
    verdicts: Arc<Verdicts>,
    sent: AtomicU64,
}

/// Runs it all.
pub async fn run(options: Options) -> io::Result<MessagesOutcome> {
    let journal = Arc::new(Journal::new(File::create(options.place.folder.join("timeline.txt"))?));
    let mut place = options.place.clone();
    let keys = options.auth.then(|| Keys::make(&mut place)).transpose()?;
    let targets = place.clone();
    let proxies = Proxies::start(&place.shape.links(), place.ip, |link| targets.address(link.to)).await?;
    let cluster = Cluster::start(place.clone(), proxies).await?;
    let mut outcome = MessagesOutcome {
        sums: Sums::default(),
        messages: 0,
        verdicts: Arc::new(Verdicts::new(Arc::clone(&journal))),
        memory: BTreeMap::new(),
    };
    if all_serve(&cluster, &journal).await {
        let field = Arc::new(MessageRig {
            seed: options.seed,
            schema: MessageSchema::new(),
            known: known(&place),
            everybody: Everybody::new(&place, keys.as_ref())?,
            place,
            verdicts: Arc::clone(&outcome.verdicts),
            sent: AtomicU64::new(0),
        });
        rounds(&options, &cluster, &journal, &field, keys.as_ref(), &mut outcome).await;
        stop(&cluster, &journal).await;
        outcome.messages = field.sent.load(Ordering::Relaxed);
    }
    cluster.end().await;
    outcome.sums = journal.sums();
    Ok(outcome)
}

async fn all_serve(cluster: &Cluster, journal: &Journal) -> bool {
    let began = Instant::now();
    for node in cluster.all() {
        while !cluster.serving(node).await {
            if began.elapsed() > PATIENCE {
                journal.violation(format!("{node} does not serve {PATIENCE:?} after it was started"));
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    true
}

async fn stop(cluster: &Cluster, journal: &Journal) {
    for node in cluster.all() {
        match cluster.terminate(node, PATIENCE).await {
            Ok(NodeStopped::Ended(status)) if status.success() => {}
            ended => journal.violation(format!("{node} was told to stop: {ended:?}")),
        }
    }
}

/// What nodes say of themselves: every node there is, and one there is not.
fn known(place: &ClusterPlaces) -> Known {
    let shape = place.shape;
    let nodes = shape.nodes().into_iter().map(ClusterNode::role);
    let peer = |(role, index)| NodeIdentity::new(place.settings(), role, index).pb().encode_to_vec();
    let peers = nodes.chain([(Role::Matcher, shape.matchers)]).map(peer).collect();
    Known { peers, slices: shape.slices, shards: shape.gatherers, ..Known::default() }
}

async fn rounds(
    options: &Options,
    cluster: &Cluster,
    journal: &Journal,
    field: &Arc<MessageRig>,
    keys: Option<&Keys>,
    outcome: &mut MessagesOutcome,
) {
    let honest = match Honest::new(&field.place, keys).await {
        Ok(honest) => honest,
        Err(error) => return journal.violation(format!("an honest client cannot begin: {error}")),
    };
    let processes = cluster.processes().await;
    let (folder, begun) = (&field.place.folder, nodes::memory(&processes));
    let logs = nodes::log_bytes(folder, &cluster.all());
    for round in 0.. {
        let sent = field.sent.load(Ordering::Relaxed);
        if sent >= options.messages || journal.failed() {
            return;
        }
        if let Err(error) = honest.prepare().await {
            journal.violation(format!("before round {round}, an honest client: {error}"));
        }
        workers(field, round, ROUND.min(options.messages - sent)).await;
        for (node, status) in cluster.ended().await {
            journal.violation(format!("{node} ended by itself with {status}"));
        }
        nodes::look_at_logs(folder, &logs).into_iter().for_each(|found| journal.violation(found));
        match honest.look(options.seed, round).await {
            Ok(newest) => field.known.newest.store(newest, Ordering::Relaxed),
            Err(error) => journal.violation(format!("after round {round}, honest clients: {error}")),
        }
        journal.checked("honest clients are matched", 1);
        let sent = field.sent.load(Ordering::Relaxed);
        for (node, bytes) in nodes::log_bytes(folder, &cluster.all()) {
            let (bytes, most) = (bytes - logs[&node], LOG_PER_MESSAGE_MAX * sent + (256 << 10));
            let text = || format!("{node} has {bytes} bytes after {sent} messages");
            journal.check("logs do not grow with messages", bytes <= most, text);
        }
        for (node, memory) in nodes::memory(&processes) {
            let begun = begun[&node];
            let most = begun.now + GROWTH_MAX;
            let text = || format!("{node} had {} KiB, {} when it had started", memory.peak, begun.now);
            journal.check("memory is bounded", memory.peak <= most, text);
            outcome.memory.insert(node, (begun, memory));
        }
        journal.note(format!("round {round}: {sent} messages, {:?}", outcome.memory));
    }
}

/// One round, by all workers.
async fn workers(field: &Arc<MessageRig>, round: u64, messages: u64) {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let field = Arc::clone(field);
        let share = messages / WORKERS + u64::from(worker < messages % WORKERS);
        workers.spawn(async move { field.work(round, worker, share).await });
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker does not panic");
    }
}

impl MessageRig {
    async fn work(&self, round: u64, worker: u64, messages: u64) {
        let rng = Rng::new(self.seed).fork(round).fork(worker);
        let mut left = messages;
        for call in 0.. {
            if left == 0 {
                return;
            }
            // A generator for each call: one is drawn again without those before it.
            let mut draw = Draw { rng: rng.fork(call), schema: &self.schema, known: &self.known };
            let node = draw.rng.pick(&self.nodes());
            let count = if draw.rng.chance(3) {
                let bytes = garbage(&mut draw);
                // Whether it is read to its end is the node's affair.
                _ = send::garbage(self.place.address(node), &bytes).await;
                1
            } else {
                self.call(&mut draw, node, left, format!("round {round}, worker {worker}, call {call}")).await
            };
            self.sent.fetch_add(count, Ordering::Relaxed);
            left = left.saturating_sub(count);
        }
    }

    /// The balancer is as often called as all others together.
    fn nodes(&self) -> Vec<ClusterNode> {
        let nodes = self.place.shape.nodes();
        nodes.iter().skip(1).flat_map(|&other| [ClusterNode::Balancer, other]).collect()
    }

    async fn call(&self, draw: &mut Draw<'_>, node: ClusterNode, left: u64, at: String) -> u64 {
        let method = self.method(draw, node);
        let who = self.everybody.draw(&mut draw.rng);
        let count = match (method.many_requests, draw.rng.chance(15)) {
            (true, _) => draw.rng.below(6),
            (false, true) => draw.rng.pick(&[0, 2]),
            (false, false) => 1,
        };
        let messages: Vec<Bytes> = (0..count.min(left)).map(|_| draw.request(method).into()).collect();
        let (call, patient) = self.with(draw, method, who, &messages);
        let sent = Sent { at, node, method, who: &who.name, messages, patient };
        let answer = send::call(who.channel(node), call).await;
        self.verdicts.judge(&sent, answer);
        // A call without a message is one as well.
        count.max(1)
    }

    /// How the call is made, and whether it has to be answered by itself.
    fn with(&self, draw: &mut Draw<'_>, method: &Method, who: &CallerKind, messages: &[Bytes]) -> (HostileCall, bool) {
        let deadline = draw.rng.chance(300).then(|| Duration::from_millis(draw.rng.pick(&[1, 20, 100])));
        let (endless, waits) = (method.many_answers && method.name != "Submit", self.schema.waits(method));
        let call = HostileCall {
            path: method.path(),
            messages: messages.to_vec(),
            token: who.token.clone(),
            deadline,
            endless,
            waits,
        };
        (call, deadline.is_none() && !endless && !waits)
    }

    /// A call that the node has, most of the time.
    fn method(&self, draw: &mut Draw<'_>, node: ClusterNode) -> &Method {
        let (role, _) = node.role();
        let any = draw.rng.chance(50);
        let served: Vec<&Method> =
            self.schema.methods.iter().filter(|method| any || method.is_served_by(role)).collect();
        served[draw.rng.index(served.len())]
    }
}

/// Bytes that are no HTTP/2, or begin as if they were.
fn garbage(draw: &mut Draw<'_>) -> Vec<u8> {
    let begins: &[u8] = draw.rng.pick(&[
        b"".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ]);
    [begins, &draw.bytes(2_000)].concat()
}
