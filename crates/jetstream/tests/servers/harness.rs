//! Servers on loopback, each with a folder of its own, that end with the test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, ServerAddr};
use dovetail_jetstream::{JetStreamEngine, JetStreamOptions};
use dovetail_log::Record;
use dovetail_log::shared::{Engine, Followed, Group, Position, Succession, TermWriter, WriterId, take_over};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long servers may take for what they have to do.
pub const PATIENCE: Duration = Duration::from_secs(25);

static ONE_AFTER_THE_OTHER: Mutex<()> = Mutex::new(());

/// Where the program is. None, after a message, when it is nowhere; not in CI.
pub fn program() -> Option<PathBuf> {
    let named = std::env::var_os("DOVETAIL_NATS_SERVER").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools/bin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_the_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    let found = named.into_iter().chain([installed]).chain(of_the_path).find(|program| program.is_file());
    if found.is_none() {
        let told =
            "there is no nats-server: run `bash tests/foreign/install.sh` once, or name it in DOVETAIL_NATS_SERVER";
        assert!(std::env::var_os("CI").is_none(), "{told}");
        eprintln!("skipped: {told}");
    }
    found
}

/// Servers of one cluster, or a single one.
pub struct Servers {
    dir: TempDir,
    program: PathBuf,
    servers: Vec<Server>,
    configuration: Configuration,
    _one_after_the_other: MutexGuard<'static, ()>,
}

/// What servers are started with.
enum Configuration {
    /// A configuration of ours, with more lines.
    Ours(String),
    /// This one; what depends on the host is in flags, and its folder in place of `/var/lib/nats`.
    Given(String),
}

struct Server {
    child: Option<Child>,
    port: u16,
    routes: u16,
}

impl Servers {
    /// None when there is no program.
    pub fn start(count: usize) -> Option<Servers> {
        Servers::start_with(count, |_| String::new())
    }

    /// With more lines in their configuration, which may name files of their folder.
    pub fn start_with(count: usize, more: impl Fn(&Path) -> String) -> Option<Servers> {
        Servers::start_configured(count, |dir| Configuration::Ours(more(dir)))
    }

    /// With a configuration that is made for other hosts and folders.
    pub fn start_given(count: usize, given: impl Fn(&Path) -> String) -> Option<Servers> {
        Servers::start_configured(count, |dir| Configuration::Given(given(dir)))
    }

    fn start_configured(count: usize, configuration: impl Fn(&Path) -> Configuration) -> Option<Servers> {
        let program = program()?;
        let guard = ONE_AFTER_THE_OTHER.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let configuration = configuration(dir.path());
        let ports: Vec<TcpListener> = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |at: usize| ports[at].local_addr().unwrap().port();
        let servers = (0..count).map(|n| Server { child: None, port: port(2 * n), routes: port(2 * n + 1) }).collect();
        drop(ports);
        let mut started = Servers { dir, program, servers, configuration, _one_after_the_other: guard };
        (0..count).for_each(|n| started.restart(n));
        Some(started)
    }

    fn name(n: usize) -> String {
        format!("n{}", n + 1)
    }

    /// Where files of the configuration are.
    pub fn folder_of_all(&self) -> &Path {
        self.dir.path()
    }

    fn folder(&self, n: usize) -> PathBuf {
        self.dir.path().join(Servers::name(n))
    }

    fn configuration(&self, n: usize) -> String {
        let more = match &self.configuration {
            Configuration::Ours(more) => more,
            Configuration::Given(given) => return given.replace("/var/lib/nats", self.folder(n).to_str().unwrap()),
        };
        let (name, server, store) = (Servers::name(n), &self.servers[n], self.folder(n));
        let mut text = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: {store:?}, max_file: 4GB, max_mem: 64MB, sync_interval: always }}\n{}\n",
            server.port, more
        );
        if self.servers.len() > 1 {
            let (own, routes) = (server.routes, self.routes().replace(',', "\", \""));
            text += &format!("cluster {{ name: test, listen: \"127.0.0.1:{own}\", routes: [\"{routes}\"] }}\n");
        }
        text
    }

    fn routes(&self) -> String {
        let routes = self.servers.iter().map(|server| format!("nats-route://127.0.0.1:{}", server.routes));
        routes.collect::<Vec<_>>().join(",")
    }

    /// Flags that stand for what a given configuration says of its hosts.
    fn flags(&self, n: usize) -> Vec<String> {
        let Configuration::Given(_) = self.configuration else { return Vec::new() };
        let (port, routes) = (self.servers[n].port.to_string(), self.routes());
        let own = format!("nats://127.0.0.1:{}", self.servers[n].routes);
        ["-a", "127.0.0.1", "-p", &port, "-cluster", &own, "-routes", &routes].map(str::to_owned).into()
    }

    /// Starts a server that does not run. Returns once it takes connections.
    pub fn restart(&mut self, n: usize) {
        fs::create_dir_all(self.folder(n)).unwrap();
        let file = self.dir.path().join(format!("{}.conf", Servers::name(n)));
        fs::write(&file, self.configuration(n)).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log(n)).unwrap();
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(&file)
            .args(self.flags(n))
            .env("NATS_NAME", Servers::name(n))
            .env("GOMAXPROCS", "2")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        assert!(self.servers[n].child.replace(child).is_none(), "it runs already");
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.servers[n].port)).is_err() {
            let ended = self.servers[n].child.as_mut().unwrap().try_wait().unwrap();
            let said = || fs::read_to_string(self.log(n)).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "a server does not start: {}", said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("{}.log", Servers::name(n)))
    }

    /// Ends a server at once.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.servers[n].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends a server in order: it writes what it knows.
    pub fn stop(&mut self, n: usize) {
        self.signal(n, Signal::TERM);
        if let Some(mut child) = self.servers[n].child.take() {
            child.wait().unwrap();
        }
    }

    /// Lets a server stand still.
    pub fn pause(&self, n: usize) {
        self.signal(n, Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self, n: usize) {
        self.signal(n, Signal::CONT);
    }

    fn signal(&self, n: usize, signal: Signal) {
        let child = self.servers[n].child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("nats://127.0.0.1:{}", server.port)).collect()
    }

    /// Of a log of this cluster with a replica on each server.
    pub fn options(&self, cluster: &str) -> JetStreamOptions {
        let mut options = JetStreamOptions::new(self.urls(), cluster, 1 << 30);
        options.replicas = self.servers.len();
        options.timeouts.open = PATIENCE;
        options
    }

    pub fn open(&self, cluster: &str) -> JetStreamEngine {
        JetStreamEngine::open(&self.options(cluster)).unwrap()
    }

    /// As an operator.
    pub fn admin(&self) -> Admin {
        Admin::connect(&self.urls())
    }

    /// Files below a server's folder whose names end so.
    pub fn files(&self, n: usize, end: &str) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.folder(n)]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_str().unwrap().ends_with(end) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..self.servers.len()).for_each(|n| self.kill(n));
    }
}

/// What an operator asks of the servers.
pub struct Admin {
    runtime: Runtime,
    client: Client,
}

impl Admin {
    fn connect(urls: &[String]) -> Admin {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let servers: Vec<ServerAddr> = urls.iter().map(|url| url.parse().unwrap()).collect();
        let options = ConnectOptions::new()
            .ping_interval(Duration::from_millis(500))
            .connection_timeout(Duration::from_millis(500))
            .request_timeout(Some(Duration::from_secs(2)))
            .retry_on_initial_connect();
        let client = runtime.block_on(options.connect(servers)).unwrap();
        Admin { runtime, client }
    }

    /// Until they answer with something else than an error that passes.
    pub fn ask(&self, what: &str, body: &Value) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let asked = self.client.request(format!("$JS.API.{what}"), body.into());
            let told = match self.runtime.block_on(asked) {
                Ok(answer) => {
                    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
                    if answer["error"].is_null() {
                        return answer;
                    }
                    answer["error"].to_string()
                }
                Err(error) => error.to_string(),
            };
            assert!(Instant::now() < until, "{what}: {told}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn info(&self, stream: &str) -> Value {
        self.ask(&format!("STREAM.INFO.{stream}"), &Value::Null)
    }

    /// Which server leads a stream, counted from 0. None while there is none.
    pub fn leader(&self, stream: &str) -> Option<usize> {
        let info = self.info(stream);
        let name = info["cluster"]["leader"].as_str()?;
        Some(name.strip_prefix('n')?.parse::<usize>().unwrap() - 1)
    }

    /// The leader of a stream, once there is one.
    pub fn some_leader(&self, stream: &str) -> usize {
        until_some("the stream has no leader", || self.leader(stream))
    }

    /// Another server is to lead, or this one.
    pub fn step_down(&self, stream: &str, to: Option<usize>) {
        let body = to.map_or(Value::Null, |n| json!({ "placement": { "preferred": Servers::name(n) } }));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let asked = self.client.request(format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}"), body.into());
        _ = self.runtime.block_on(asked);
    }

    pub fn delete(&self, stream: &str) {
        self.ask(&format!("STREAM.DELETE.{stream}"), &Value::Null);
    }

    /// All replicas follow the leader.
    pub fn all_current(&self, stream: &str) {
        until_some("the replicas do not follow", || {
            let info = self.info(stream);
            let replicas = info["cluster"]["replicas"].as_array()?;
            let current = |replica: &Value| replica["current"] == true && replica["lag"].as_u64().unwrap_or(0) == 0;
            (info["cluster"]["leader"].is_string() && replicas.iter().all(current)).then_some(())
        });
    }
}

/// Looks until there is something, or fails.
pub fn until_some<T>(why: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{why}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Records of some bytes that end with an event.
pub fn group(after: u64, through: u64) -> Group {
    large_group(after, through, 100)
}

pub fn large_group(after: u64, through: u64, bytes: usize) -> Group {
    Group { after, records: (after + 1..=through).map(|n| Record::new(n, vec![n as u8; bytes])).collect() }
}

/// The writer of the term behind the newest.
pub fn begin(mut engine: JetStreamEngine, writer: u128) -> TermWriter {
    let seen = until_some("the newest term is not known", || engine.newest_term().ok()).map(|term| term.at);
    take_over(Box::new(engine), seen, WriterId(writer), "here", PATIENCE).unwrap()
}

/// What a log has after a position and event, through an event, as a reader gets it.
pub fn read(engine: &JetStreamEngine, after: Position, from: u64, through: u64) -> Vec<Followed> {
    let (mut follow, mut succession) = (engine.follow(after), Succession::after(after, from));
    let (mut all, until) = (Vec::new(), Instant::now() + PATIENCE);
    while succession.through() < through {
        assert!(Instant::now() < until, "a reader is at {} of {through}", succession.through());
        match follow.next(Duration::from_millis(500)).unwrap() {
            Followed::Quiet => {}
            followed => {
                succession.on_followed(&followed).unwrap();
                all.push(followed);
            }
        }
    }
    all
}
