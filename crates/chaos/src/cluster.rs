//! The processes of the cluster: started, killed, frozen and stopped.
//!
//! Invariants: chaos.C1 no process outlives its `Cluster`; chaos.C2 a node has one process at a time.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use dovetail_server::settings::ClusterSettings;
use tokio::{sync::Mutex, time::sleep};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    clients::channel,
    proxy::Proxies,
    secure,
    shape::{ClusterNode, ClusterShape, DialledLink, LinkEnd, NAME},
};

/// Bytes of log after which the balancer makes a checkpoint and trims: the least there may be, so that it happens
/// often.
const CHECKPOINT_BYTES: u64 = 1 << 20;

/// How long a process may take until it listens to signals. The machine may be busy.
const STARTING: Duration = Duration::from_secs(5);

/// The signal's number.
const SIGTERM: i32 = 15;

const POLL: Duration = Duration::from_millis(20);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct ClusterPlaces {
    /// The folder with the role binaries.
    pub bin: PathBuf,
    /// The folder of the run: logs of the nodes, and their data.
    pub folder: PathBuf,
    pub ip: Ipv4Addr,
    pub shape: ClusterShape,
    /// Flags of every node, beside those it needs.
    pub flags: Vec<(&'static str, String)>,
}

impl ClusterPlaces {
    /// Where a node listens itself, without a proxy.
    pub fn address(&self, node: ClusterNode) -> SocketAddr {
        let port = match node {
            ClusterNode::Balancer => 7400,
            ClusterNode::Matcher(index) => 7500 + index as u16,
            ClusterNode::Gatherer(index) => 8600 + index as u16,
        };
        (self.ip, port).into()
    }

    pub fn url(&self, node: ClusterNode) -> String {
        format!("{}://{}", secure::scheme(), self.address(node))
    }

    /// Certificates, in a run with TLS.
    pub fn certs(&self) -> PathBuf {
        self.folder.join("certs")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, node: ClusterNode) -> PathBuf {
        let (role, _) = node.role();
        self.bin.join(format!("dovetail-{role}"))
    }

    /// What every role's binary has without being told otherwise.
    pub fn settings(&self) -> ClusterSettings {
        let ClusterShape { slices, matchers, gatherers } = self.shape;
        let (name, balancers) = (NAME.to_owned(), Vec::new());
        let (block, virtual_nodes, list_max) = (64, 160, 256);
        ClusterSettings { name, slices, matchers, gatherers, block, virtual_nodes, list_max, balancers }
    }

    /// The binaries that are missing.
    pub fn missing(&self) -> Vec<PathBuf> {
        let all =
            [ClusterNode::Balancer, ClusterNode::Matcher(0), ClusterNode::Gatherer(0)].map(|node| self.program(node));
        all.into_iter().filter(|path| !path.is_file()).collect()
    }

    fn command(&self, node: ClusterNode, proxies: &Proxies) -> Command {
        let url = |to: ClusterNode| match proxies.address(DialledLink { from: LinkEnd::Node(node), to }) {
            Some(proxy) => format!("{}://{proxy}", secure::scheme()),
            // It is never dialled from here.
            None => self.url(to),
        };
        let urls = |nodes: u32, which: fn(u32) -> ClusterNode| {
            (0..nodes).map(|index| url(which(index))).collect::<Vec<_>>().join(",")
        };
        let (_, index) = node.role();
        let mut flags = vec![
            ("cluster-name", NAME.to_owned()),
            ("slices", self.shape.slices.to_string()),
            ("balancer", url(ClusterNode::Balancer)),
            ("matchers", urls(self.shape.matchers, ClusterNode::Matcher)),
            ("gatherers", urls(self.shape.gatherers, ClusterNode::Gatherer)),
            ("index", index.to_string()),
            ("listen", self.address(node).to_string()),
        ];
        if node == ClusterNode::Balancer {
            flags.push(("data", self.data().display().to_string()));
            flags.push(("checkpoint-bytes", CHECKPOINT_BYTES.to_string()));
        }
        flags.extend(secure::flags(&self.certs(), node));
        flags.extend(self.flags.iter().cloned());
        let mut command = Command::new(self.program(node));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOVETAIL_")) {
            command.env_remove(name);
        }
        command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
        command.args(flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")));
        command
    }
}

/// All processes.
#[derive(Debug)]
pub struct Cluster {
    pub place: ClusterPlaces,
    pub proxies: Proxies,
    nodes: BTreeMap<ClusterNode, Mutex<Process>>,
}

#[derive(Debug)]
struct Process {
    node: ClusterNode,
    child: Option<Child>,
    started: Instant,
}

/// How a node ended that was told to stop.
#[derive(Debug)]
pub enum NodeStopped {
    /// By itself.
    Ended(ExitStatus),
    /// By the signal: it had only just been started, and did not listen to signals yet.
    Unprepared,
    /// Not in time; it was killed.
    Killed,
}

impl Process {
    fn spawn(&mut self, place: &ClusterPlaces, proxies: &Proxies) -> io::Result<()> {
        assert!(self.child.is_none(), "{} runs already", self.node);
        let log = OpenOptions::new().create(true).append(true).open(log_path(&place.folder, self.node))?;
        let mut command = place.command(self.node, proxies);
        self.started = Instant::now();
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other(format!("cannot send {signal} to {}", self.node))) }
    }

    fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(|_| ())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.kill();
    }
}

/// The log of a node.
pub fn log_path(folder: &Path, node: ClusterNode) -> PathBuf {
    folder.join(format!("{node}.log"))
}

impl Cluster {
    /// Starts every node.
    pub async fn start(place: ClusterPlaces, proxies: Proxies) -> io::Result<Cluster> {
        let process = |node| (node, Mutex::new(Process { node, child: None, started: Instant::now() }));
        let nodes = place.shape.nodes().into_iter().map(process).collect();
        let cluster = Cluster { place, proxies, nodes };
        for node in cluster.all() {
            cluster.spawn(node).await?;
        }
        Ok(cluster)
    }

    pub fn all(&self) -> Vec<ClusterNode> {
        self.nodes.keys().copied().collect()
    }

    /// Starts a node that does not run.
    pub async fn spawn(&self, node: ClusterNode) -> io::Result<()> {
        self.nodes[&node].lock().await.spawn(&self.place, &self.proxies)
    }

    /// kill -9.
    pub async fn kill(&self, node: ClusterNode) -> io::Result<()> {
        self.nodes[&node].lock().await.kill()
    }

    pub async fn freeze(&self, node: ClusterNode) -> io::Result<()> {
        self.nodes[&node].lock().await.signal("STOP")
    }

    pub async fn thaw(&self, node: ClusterNode) -> io::Result<()> {
        self.nodes[&node].lock().await.signal("CONT")
    }

    /// SIGTERM.
    pub async fn terminate(&self, node: ClusterNode, patience: Duration) -> io::Result<NodeStopped> {
        let mut process = self.nodes[&node].lock().await;
        let unprepared = process.started.elapsed() < STARTING;
        process.signal("TERM")?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let Some(child) = &mut process.child else { break };
            if let Some(status) = child.try_wait()? {
                process.child = None;
                return Ok(match status.signal() {
                    Some(SIGTERM) if unprepared => NodeStopped::Unprepared,
                    _ => NodeStopped::Ended(status),
                });
            }
            sleep(POLL).await;
        }
        process.kill()?;
        Ok(NodeStopped::Killed)
    }

    /// The processes that run, by id.
    pub async fn processes(&self) -> Vec<(ClusterNode, u32)> {
        let mut found = Vec::new();
        for (&node, process) in &self.nodes {
            found.extend(process.lock().await.child.as_ref().map(|child| (node, child.id())));
        }
        found
    }

    /// The nodes that ended without being told to, each once.
    pub async fn ended(&self) -> Vec<(ClusterNode, ExitStatus)> {
        let mut ended = Vec::new();
        for (&node, process) in &self.nodes {
            // Who has it is about to end it.
            let Ok(mut process) = process.try_lock() else { continue };
            if let Some(Ok(Some(status))) = process.child.as_mut().map(Child::try_wait) {
                process.child = None;
                ended.push((node, status));
            }
        }
        ended
    }

    /// kill -9 of all nodes.
    pub async fn end(&self) {
        for process in self.nodes.values() {
            // It may have ended already.
            _ = process.lock().await.kill();
        }
    }

    /// Whether a node answers health checks with SERVING.
    pub async fn serving(&self, node: ClusterNode) -> bool {
        let Ok(channel) = channel(&self.place.url(node)) else { return false };
        let mut client = HealthClient::new(channel);
        let answer = tokio::time::timeout(Duration::from_secs(5), client.check(HealthCheckRequest::default())).await;
        matches!(answer, Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving)
    }
}
