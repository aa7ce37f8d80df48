//! Starts, kills and watches the processes of a cluster.
//!
//! Invariants: harness.H1 no process outlives its `Cluster`, however the test ends; harness.H2 two clusters never want
//! the same port: each has a loopback address of its own; harness.H3 a test that fails shows the end of every process's
//! log; harness.H4 a test that waits for a process for ever fails: no process outlives [`LIFE`].

use crate::programs::{self, DOVETAIL};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard as StdGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dovetail::{
    client::{Client, ConnectOptions},
    pb::{self, inspect_response::State},
    tls::Trust,
    traffic::Traffic,
};
use tokio::sync::{Mutex, MutexGuard};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Longest wait for anything that takes no computing. Generous: the machine may be busy with another test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longest life of a process. The longest test takes a tenth of it.
const LIFE: Duration = Duration::from_secs(900);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Lines of each log that a failed test shows.
const TAIL: usize = 30;

/// Tests that keep every core busy hold this, one at a time.
pub async fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::const_new(());
    HEAVY.lock().await
}

/// Waits for a condition.
pub async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_in(PATIENCE, what, condition).await
}

/// Waits for a condition that may take a while.
pub async fn until_in<T>(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain until {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Lets something take `patience` at most.
pub async fn within<T>(patience: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(patience, future).await;
    done.unwrap_or_else(|_| panic!("{what} took longer than {patience:?}"))
}

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub slices: u32,
    pub matchers: u32,
    pub gatherers: u32,
}

/// One balancer, one matcher, one gatherer, two slices: the smallest cluster that has everything.
pub const SMALL: Shape = Shape { slices: 2, matchers: 1, gatherers: 1 };
/// Seven processes.
pub const SEVEN: Shape = Shape { slices: 6, matchers: 3, gatherers: 3 };

/// A node of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Balancer,
    Matcher(u32),
    Gatherer(u32),
}

impl Which {
    fn name(self) -> String {
        match self {
            Which::Balancer => "balancer".to_owned(),
            Which::Matcher(index) => format!("matcher-{index}"),
            Which::Gatherer(index) => format!("gatherer-{index}"),
        }
    }
}

/// A loopback address and a folder that no other cluster uses.
#[derive(Debug)]
pub struct Place {
    pub ip: Ipv4Addr,
    pub folder: PathBuf,
}

impl Place {
    pub fn new(test: &str) -> Place {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        assert!(number < 255, "a loopback network has addresses for 254 clusters");
        // All of 127/8 is this machine on Linux: an address of one's own needs no bargaining over ports.
        let process = std::process::id();
        let ip = Ipv4Addr::new(127, 1 + (process / 256 % 250) as u8, (process % 256) as u8, number);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{process}-{number}-{test}"));
        fs::create_dir_all(&folder).unwrap();
        Place { ip, folder }
    }

    /// Where a balancer keeps its log.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the files of this cluster are kept in {}", self.folder.display());
        } else {
            _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A process, with its stderr in a file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Arc<StdMutex<Child>>,
    log: PathBuf,
}

impl Process {
    /// Starts a command; its stderr is appended to `log`.
    pub fn start(mut command: Command, log: PathBuf) -> Process {
        let mut file = append(&log);
        writeln!(file, "--- {command:?}").unwrap();
        let child = command.stdin(Stdio::null()).stderr(file).spawn().unwrap();
        let child = Arc::new(StdMutex::new(child));
        let (mortal, its_log) = (Arc::downgrade(&child), log.clone());
        thread::spawn(move || {
            thread::sleep(LIFE);
            if let Some(child) = mortal.upgrade() {
                writeln!(append(&its_log), "--- the test killed it, {LIFE:?} old").unwrap();
                kill(&child);
            }
        });
        Process { child, log }
    }

    fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "cannot send {signal}");
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the process ends", async || lock(&self.child).try_wait().unwrap()).await
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn kill(&self) {
        kill(&self.child);
    }
}

fn lock(child: &StdMutex<Child>) -> StdGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(child: &StdMutex<Child>) {
    let mut child = lock(child);
    // It may have ended already.
    _ = child.kill();
    _ = child.wait();
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let text = self.log_text();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            eprintln!("=== end of {}\n{}", self.log.display(), tail.join("\n"));
        }
    }
}

/// A disk in memory, in a mount namespace of its own, mounted where a balancer's data goes. It outlives the balancer,
/// and ends with this.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Process,
    data: PathBuf,
    /// What users other than root need beside the mount namespace.
    user: &'static [&'static str],
}

impl SmallDisk {
    async fn mount(place: &Place, mib: u32) -> SmallDisk {
        let (data, mounted) = (place.data(), place.folder.join("mounted"));
        fs::create_dir_all(&data).unwrap();
        let id = Command::new("id").arg("-u").output().unwrap();
        let root = id.stdout.trim_ascii() == b"0";
        let mut command = program("unshare");
        if !root {
            command.args(["--user", "--map-root-user"]);
        }
        let script = "mount -t tmpfs -o size=\"$2\" tmpfs \"$1\" && touch \"$3\" && exec sleep 1000000";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&data).arg(format!("{mib}m")).arg(&mounted);
        let holder = Process::start(command, place.folder.join("disk.log"));
        let user: &[_] = if root { &[] } else { &["--user", "--preserve-credentials"] };
        until("the disk is mounted", async || mounted.exists().then_some(())).await;
        SmallDisk { holder, data, user }
    }

    /// A program that sees the disk.
    fn command(&self, path: impl AsRef<OsStr>) -> Command {
        let mut command = program("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount"]).args(self.user).arg(path);
        command
    }

    /// Takes so much of it with a file.
    async fn fill(&self, name: &str, mib: u32) {
        let mut command = self.command("dd");
        command.args(["if=/dev/zero", "bs=1M", &format!("count={mib}")]);
        command.arg(format!("of={}", self.data.join(name).display()));
        let (code, _, stderr) = run(command).await;
        assert_eq!(code, Some(0), "{stderr}");
    }

    /// Removes that file.
    pub async fn free(&self, name: &str) {
        let mut command = self.command("rm");
        command.arg(self.data.join(name));
        let (code, _, stderr) = run(command).await;
        assert_eq!(code, Some(0), "{stderr}");
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// A program of this package, without settings from this process's environment.
pub fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOVETAIL_")) {
        command.env_remove(name);
    }
    command.env("RUST_BACKTRACE", "1").current_dir(programs::root());
    command
}

/// What a command did: exit code, stdout, stderr.
pub type Done = (Option<i32>, String, String);

/// Runs `dovetail` to its end against a server. Blocks a thread of its own.
pub async fn dovetail(server: &str, arguments: &[&str]) -> Done {
    let mut command = program(DOVETAIL);
    command.args(arguments).env("DOVETAIL_SERVER", server);
    run(command).await
}

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Done {
    command.stdin(Stdio::null());
    let told = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = within(2 * PATIENCE, &told, output).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A running cluster of one process per node.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<Which, Process>,
    pub shape: Shape,
    pub place: Place,
    /// Flags of every node beside what all clusters have.
    flags: Vec<(&'static str, &'static str)>,
    /// The disk of the balancer's data folder, if it has one of its own.
    disk: Option<SmallDisk>,
    /// Where certificates are, if the cluster speaks TLS.
    certs: Option<PathBuf>,
    /// The folder of the programs of nodes that are started from now on.
    pub programs: PathBuf,
}

impl Cluster {
    /// Starts every node, and returns when all are serving.
    pub async fn start(test: &str, shape: Shape) -> Cluster {
        Cluster::start_with(test, shape, &[]).await
    }

    /// The same, with flags of its own.
    pub async fn start_with(test: &str, shape: Shape, flags: &[(&'static str, &'static str)]) -> Cluster {
        Cluster::start_at(Place::new(test), shape, flags, None, None).await
    }

    /// The same, with a balancer whose data folder is on a small disk, of which a part is taken already.
    pub async fn start_on(test: &str, shape: Shape, disk_mib: u32, fillers: &[(&str, u32)]) -> Cluster {
        let place = Place::new(test);
        let disk = SmallDisk::mount(&place, disk_mib).await;
        for (name, mib) in fillers {
            disk.fill(name, *mib).await;
        }
        Cluster::start_at(place, shape, &[], Some(disk), None).await
    }

    /// The same as `start_with`, with certificates of `dovetail certs init`, and one of a client named ada.
    pub async fn start_secure(test: &str, shape: Shape, flags: &[(&'static str, &'static str)]) -> Cluster {
        let place = Place::new(test);
        let certs = place.folder.join("certs");
        make_certificates(&place, shape, &certs).await;
        Cluster::start_at(place, shape, flags, None, Some(certs)).await
    }

    /// The same as `start_with`, in a place that has something already.
    pub async fn start_in(place: Place, shape: Shape, flags: &[(&'static str, &'static str)]) -> Cluster {
        Cluster::start_at(place, shape, flags, None, None).await
    }

    /// The same, with the programs of a folder.
    pub async fn start_from(programs: PathBuf, test: &str, shape: Shape) -> Cluster {
        Cluster { programs, ..Cluster::none(Place::new(test), shape) }.started().await
    }

    /// A cluster of which nothing runs yet.
    fn none(place: Place, shape: Shape) -> Cluster {
        let programs = programs::folder().to_owned();
        Cluster { nodes: BTreeMap::new(), shape, place, flags: Vec::new(), disk: None, certs: None, programs }
    }

    async fn start_at(
        place: Place,
        shape: Shape,
        flags: &[(&'static str, &'static str)],
        disk: Option<SmallDisk>,
        certs: Option<PathBuf>,
    ) -> Cluster {
        Cluster { flags: flags.to_vec(), disk, certs, ..Cluster::none(place, shape) }.started().await
    }

    async fn started(mut self) -> Cluster {
        for which in self.all() {
            self.spawn(which);
        }
        for which in self.all() {
            self.serving(which).await;
        }
        self
    }

    /// Every node there should be.
    pub fn all(&self) -> Vec<Which> {
        let matchers = (0..self.shape.matchers).map(Which::Matcher);
        let gatherers = (0..self.shape.gatherers).map(Which::Gatherer);
        [Which::Balancer].into_iter().chain(matchers).chain(gatherers).collect()
    }

    pub fn address(&self, which: Which) -> String {
        let port = match which {
            Which::Balancer => 7400,
            Which::Matcher(index) => 7500 + index,
            Which::Gatherer(index) => 7600 + index,
        };
        format!("{}:{port}", self.place.ip)
    }

    pub fn url(&self, which: Which) -> String {
        let scheme = if self.certs.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address(which))
    }

    /// Where the certificates of a cluster with TLS are.
    pub fn certs(&self) -> &Path {
        self.certs.as_ref().unwrap()
    }

    /// How ada connects.
    pub fn options(&self) -> ConnectOptions {
        self.certs.as_ref().map(|certs| shows(&certs.join("client-ada"))).unwrap_or_default()
    }

    /// Runs `dovetail` to its end against the balancer, as ada.
    pub async fn dovetail(&self, arguments: &[&str]) -> Done {
        let mut command = program(DOVETAIL);
        command.args(arguments).env("DOVETAIL_SERVER", self.server());
        if let Some(certs) = &self.certs {
            let ada = certs.join("client-ada");
            for (variable, file) in [("CA", "ca"), ("CERT", "cert"), ("KEY", "key")] {
                command.env(format!("DOVETAIL_TLS_{variable}"), ada.join(format!("{file}.pem")));
            }
        }
        run(command).await
    }

    /// Where clients go.
    pub fn server(&self) -> String {
        self.url(Which::Balancer)
    }

    pub fn data(&self) -> PathBuf {
        self.place.data()
    }

    /// The disk that the balancer was started on.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    /// The command of a node.
    pub fn command(&self, which: Which) -> Command {
        self.command_with(which, &[])
    }

    /// The command of a node that differs in some flags.
    pub fn command_with(&self, which: Which, others: &[(&str, &str)]) -> Command {
        let (name, index) = match which {
            Which::Balancer => ("dovetail-balancer", 0),
            Which::Matcher(index) => ("dovetail-matcher", index),
            Which::Gatherer(index) => ("dovetail-gatherer", index),
        };
        let urls = |nodes: u32, which: fn(u32) -> Which| {
            (0..nodes).map(|index| self.url(which(index))).collect::<Vec<_>>().join(",")
        };
        let mut flags = BTreeMap::from([
            ("cluster-name", "tested".to_owned()),
            ("slices", self.shape.slices.to_string()),
            ("balancer", self.server()),
            ("matchers", urls(self.shape.matchers, Which::Matcher)),
            ("gatherers", urls(self.shape.gatherers, Which::Gatherer)),
            ("index", index.to_string()),
            ("listen", self.address(which)),
            ("data", self.data().display().to_string()),
        ]);
        if let Some(certs) = &self.certs {
            let own = certs.join(match which {
                Which::Balancer => "balancer-0".to_owned(),
                _ => which.name(),
            });
            for (flag, file) in [("tls-cert", "cert.pem"), ("tls-key", "key.pem"), ("tls-ca", "ca.pem")] {
                flags.insert(flag, own.join(file).display().to_string());
            }
        }
        flags.extend(self.flags.iter().chain(others).map(|&(flag, value)| (flag, value.to_owned())));
        let path = self.programs.join(name);
        let mut command = match &self.disk {
            Some(disk) if which == Which::Balancer => disk.command(&path),
            _ => program(&path),
        };
        command.args(flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")));
        command
    }

    /// Starts a process for a node that has none.
    pub fn spawn(&mut self, which: Which) {
        self.spawn_command(which, self.command(which));
    }

    /// The same, with variables in its environment.
    pub fn spawn_with(&mut self, which: Which, variables: &[(&str, &str)]) {
        let mut command = self.command(which);
        command.envs(variables.iter().copied());
        self.spawn_command(which, command);
    }

    /// What all processes of a node have written to stderr.
    pub fn log_text(&self, which: Which) -> String {
        fs::read_to_string(self.log(which)).unwrap()
    }

    fn log(&self, which: Which) -> PathBuf {
        self.place.folder.join(format!("{}.log", which.name()))
    }

    /// The same, with a command of its own.
    pub fn spawn_command(&mut self, which: Which, command: Command) {
        let process = Process::start(command, self.log(which));
        assert!(self.nodes.insert(which, process).is_none(), "{which:?} runs already");
    }

    /// Another process of this cluster's folder, under another name.
    pub fn extra(&self, name: &str, command: Command) -> Process {
        Process::start(command, self.place.folder.join(format!("{name}.log")))
    }

    pub fn node(&mut self, which: Which) -> &mut Process {
        self.nodes.get_mut(&which).unwrap_or_else(|| panic!("{which:?} does not run"))
    }

    /// kill -9.
    pub fn kill(&mut self, which: Which) {
        let process = self.nodes.remove(&which).unwrap_or_else(|| panic!("{which:?} does not run"));
        process.kill();
    }

    /// Waits until a node answers health checks with SERVING.
    pub async fn serving(&self, which: Which) {
        let (url, options) = (self.url(which), self.options());
        until(&format!("{which:?} is serving"), async || {
            let channel = channel_with(&url, &options);
            (health_over(channel).await == Some(ServingStatus::Serving)).then_some(())
        })
        .await;
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(&mut self, which: Which) -> ExitStatus {
        self.node(which).signal("TERM");
        self.ended(which).await
    }

    /// Waits until a node has ended by itself, and says how.
    pub async fn ended(&mut self, which: Which) -> ExitStatus {
        let status = self.node(which).ended().await;
        self.nodes.remove(&which);
        status
    }

    pub async fn client(&self) -> Client {
        Client::connect_with(self.server(), &self.options()).await.unwrap()
    }

    /// What a node says about itself. None when it does not answer.
    pub async fn inspect(&self, which: Which) -> Option<pb::InspectResponse> {
        Client::connect_with(self.url(which), &self.options()).await.ok()?.inspect().await.ok()
    }

    pub async fn balancer_state(&self) -> pb::BalancerState {
        self.try_balancer_state().await.unwrap()
    }

    /// The balancer's state, if it can be asked.
    pub async fn try_balancer_state(&self) -> Option<pb::BalancerState> {
        match self.inspect(Which::Balancer).await?.state {
            Some(State::Balancer(state)) => Some(state),
            other => panic!("not a balancer: {other:?}"),
        }
    }
}

/// A channel that connects when it is used.
pub fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned()).unwrap().connect_timeout(Duration::from_secs(2)).connect_lazy()
}

/// The same, with TLS where the URL says so.
pub fn channel_with(url: &str, options: &ConnectOptions) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap().connect_timeout(Duration::from_secs(2));
    let trust = options.tls.ca.as_ref().map_or_else(Trust::default, |_| Trust::load(options.tls.clone()).unwrap());
    endpoint.connect_with_connector_lazy(Traffic::default().connector(trust))
}

/// Shows the certificate of a folder that `dovetail certs` made, and trusts its authority.
pub fn shows(folder: &Path) -> ConnectOptions {
    ConnectOptions::default().trust(folder.join("ca.pem")).show(folder.join("cert.pem"), folder.join("key.pem"))
}

/// Makes certificates for all nodes of a cluster and for ada, or new ones of the same authority.
pub async fn make_certificates(place: &Place, shape: Shape, certs: &Path) {
    let mut command = program(DOVETAIL);
    let host = place.ip.to_string();
    command.args(["certs", "init"]).arg(certs).args(["--name", "tested", "--client", "ada", "--balancer", &host]);
    (0..shape.matchers).for_each(|_| _ = command.args(["--matcher", &host]));
    (0..shape.gatherers).for_each(|_| _ = command.args(["--gatherer", &host]));
    let (code, _, stderr) = run(command).await;
    assert_eq!(code, Some(0), "{stderr}");
}

/// What a server says to a health check. None when it does not answer.
pub async fn health(url: &str) -> Option<ServingStatus> {
    health_over(channel(url)).await
}

async fn health_over(channel: Channel) -> Option<ServingStatus> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.ok().map(|answer: tonic::Response<HealthCheckResponse>| answer.into_inner().status())
}

pub async fn inspect(url: &str) -> Option<pb::InspectResponse> {
    Client::connect(url).await.ok()?.inspect().await.ok()
}
