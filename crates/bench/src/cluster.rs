//! A cluster of real processes on this machine, started for one round.
//!
//! Invariants: bench.C1 no process and no file of the cluster outlives it; bench.C2 two clusters never want the same
//! port for long: on Linux each has a loopback address of its own.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::counters::Nodes;
use super::error::BenchError;
use super::usage::Usage;
use dovetail::Role;
use dovetail::client::ConnectOptions;
use dovetail_certs::{CertificateFolder, NodeName};

/// Longest time until every node serves. The machine may be busy.
const STARTING_MAX: Duration = Duration::from_secs(60);
/// How often they are asked.
const POLL: Duration = Duration::from_millis(20);
/// What the cluster is called.
const NAME: &str = "bench";
/// Lines of a node's log that are shown when it ends by itself.
const TAIL: usize = 10;

/// How many of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchShape {
    /// Matchers.
    pub matchers: u32,
    /// Gatherers.
    pub gatherers: u32,
    /// Slices.
    pub slices: u32,
    /// All roles in one process, as `dovetail up` has them.
    pub up: bool,
    /// Nodes and clients speak TLS, and show certificates.
    pub tls: bool,
    /// Where the balancer's folder is made; none for the system's place for temporary files.
    pub data: Option<PathBuf>,
}

/// A process of the cluster.
#[derive(Debug)]
struct Node {
    /// What it is counted as.
    role: &'static str,
    log: PathBuf,
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A folder that is removed when it is no longer needed.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// What the processes of a role have used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleUsage {
    /// The role.
    pub role: &'static str,
    /// How many processes.
    pub processes: usize,
    /// Their CPU time, and the sum of their peaks.
    pub usage: Usage,
}

/// A cluster that runs.
#[derive(Debug)]
pub struct BenchCluster {
    // Dropped in this order: the processes before their files.
    nodes: Vec<Node>,
    _folder: Folder,
    server: String,
    connect: ConnectOptions,
}

impl BenchCluster {
    /// Starts every process, and returns when all serve and read one another.
    ///
    /// # Errors
    /// When one cannot be started, or ends, or is not ready in time.
    pub async fn start(shape: &BenchShape, round: usize) -> Result<BenchCluster, BenchError> {
        let programs = Programs::find(shape.up)?;
        let parent = shape.data.clone().unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("dovetail-bench-{}-{round}", std::process::id()));
        fs::create_dir(&path).map_err(|source| BenchError::Folder { path: path.clone(), source })?;
        let folder = Folder(path);
        let count = if shape.up { 1 } else { 1 + shape.matchers + shape.gatherers };
        let addresses = free_addresses(count as usize).map_err(BenchError::Ports)?;
        let certificates = if shape.tls {
            Some(certificates(shape, &folder.0, addresses[0].ip()).map_err(BenchError::Certificates)?)
        } else {
            None
        };
        let mut cluster = BenchCluster {
            nodes: Vec::new(),
            _folder: folder,
            server: format!("{}://{}", scheme(shape.tls), addresses[0]),
            connect: certificates.as_ref().map_or_else(ConnectOptions::default, connect),
        };
        let folder = cluster._folder.0.clone();
        for (name, role, command) in commands(shape, &programs, &folder, &addresses, certificates.as_ref()) {
            cluster.spawn(&folder, &name, role, command)?;
        }
        let deadline = Instant::now() + STARTING_MAX;
        loop {
            cluster.check()?;
            let nodes = Nodes::ask(&cluster.server, &cluster.connect).await;
            if nodes.are_ready() && nodes.slices() == shape.slices as usize {
                return Ok(cluster);
            }
            if Instant::now() > deadline {
                let silent = nodes.silent.join("; ");
                return Err(BenchError::NotReady { seconds: STARTING_MAX.as_secs(), silent });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn spawn(&mut self, folder: &Path, name: &str, role: &'static str, mut command: Command) -> Result<(), BenchError> {
        let log = folder.join(format!("{name}.log"));
        let started =
            File::create(&log).and_then(|file| command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn());
        let program = command.get_program().into();
        let child = started.map_err(|source| BenchError::Spawn { program, source })?;
        self.nodes.push(Node { role, log, child });
        Ok(())
    }

    /// Where clients go.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// And how.
    #[must_use]
    pub fn connect(&self) -> &ConnectOptions {
        &self.connect
    }

    /// Whether every process still runs.
    ///
    /// # Errors
    /// With the end of its log, when one has ended.
    pub fn check(&mut self) -> Result<(), BenchError> {
        for node in &mut self.nodes {
            if let Ok(Some(status)) = node.child.try_wait() {
                let log = fs::read_to_string(&node.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let log = lines[lines.len().saturating_sub(TAIL)..].join("\n");
                return Err(BenchError::Ended { role: node.role, status, log });
            }
        }
        Ok(())
    }

    /// What the processes have used, by role in the order of the start. None where there is no /proc.
    #[must_use]
    pub fn usage(&self) -> Option<Vec<RoleUsage>> {
        let mut roles: Vec<RoleUsage> = Vec::new();
        for node in &self.nodes {
            let usage = Usage::of(node.child.id())?;
            match roles.iter_mut().find(|of| of.role == node.role) {
                Some(of) => {
                    of.processes += 1;
                    of.usage.cpu += usage.cpu;
                    of.usage.peak_bytes += usage.peak_bytes;
                }
                None => roles.push(RoleUsage { role: node.role, processes: 1, usage }),
            }
        }
        Some(roles)
    }
}

/// The binaries beside this one.
struct Programs {
    folder: PathBuf,
}

impl Programs {
    fn find(up: bool) -> Result<Programs, BenchError> {
        let own = std::env::current_exe().map_err(BenchError::Own)?;
        let folder = own.parent().unwrap_or(Path::new("/")).to_owned();
        let programs = Programs { folder };
        let needed = if up { vec![programs.up()] } else { Role::ALL.map(|role| programs.of(role)).into() };
        match needed.into_iter().find(|path| !path.is_file()) {
            Some(path) => Err(BenchError::NoProgram { path }),
            None => Ok(programs),
        }
    }

    fn of(&self, role: Role) -> PathBuf {
        self.folder.join(format!("dovetail-{role}"))
    }

    fn up(&self) -> PathBuf {
        self.folder.join("dovetail")
    }
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// What every node needs to prove who it is.
fn certificates(shape: &BenchShape, folder: &Path, ip: IpAddr) -> io::Result<CertificateFolder> {
    let node = |role, index| (format!("{role}-{index}"), NodeName { cluster: NAME.to_owned(), role, index });
    let of = |role, count| (0..count).map(move |index| node(role, index));
    let others = of(Role::Matcher, shape.matchers).chain(of(Role::Gatherer, shape.gatherers));
    let nodes = of(Role::Balancer, 1).chain(others);
    CertificateFolder::make(&folder.join("certs"), NAME, &ip.to_string(), nodes, NAME)
}

/// How clients connect who have the certificate of this program.
fn connect(certificates: &CertificateFolder) -> ConnectOptions {
    ConnectOptions { tls: certificates.files(Some(NAME)), ..ConnectOptions::default() }
}

/// Names, roles and commands of all processes, in the order in which they are started.
fn commands(
    shape: &BenchShape,
    programs: &Programs,
    folder: &Path,
    addresses: &[SocketAddr],
    certificates: Option<&CertificateFolder>,
) -> Vec<(String, &'static str, Command)> {
    let data = ("data", folder.join("data").display().to_string());
    let common = [("cluster-name", NAME.to_owned()), ("slices", shape.slices.to_string()), ("log", "warn".to_owned())];
    let own =
        |node: &str| certificates.into_iter().flat_map(|certificates| certificates.flags(node)).collect::<Vec<_>>();
    let url = |address: &SocketAddr| format!("{}://{address}", scheme(shape.tls));
    if shape.up {
        let flags = [
            ("listen", addresses[0].to_string()),
            ("matchers", shape.matchers.to_string()),
            ("gatherers", shape.gatherers.to_string()),
            data,
        ];
        let mut command = program(&programs.up());
        command.arg("up");
        with_flags(&mut command, common.into_iter().chain(flags).chain(own("balancer-0")));
        return vec![("up".to_owned(), "all roles", command)];
    }
    let (matchers, gatherers) = addresses[1..].split_at(shape.matchers as usize);
    let urls = |addresses: &[SocketAddr]| addresses.iter().map(url).collect::<Vec<_>>().join(",");
    let node = |role: Role, called: &'static str, index: usize, listen: SocketAddr| {
        let mut flags = vec![
            ("balancer", url(&addresses[0])),
            ("matchers", urls(matchers)),
            ("gatherers", urls(gatherers)),
            ("index", index.to_string()),
            ("listen", listen.to_string()),
        ];
        if role == Role::Balancer {
            flags.push(data.clone());
        }
        let name = format!("{role}-{index}");
        let mut command = program(&programs.of(role));
        with_flags(&mut command, common.clone().into_iter().chain(flags).chain(own(&name)));
        (name, called, command)
    };
    let mut all = vec![node(Role::Balancer, "balancer", 0, addresses[0])];
    all.extend((0..).zip(matchers).map(|(index, at)| node(Role::Matcher, "matchers", index, *at)));
    all.extend((0..).zip(gatherers).map(|(index, at)| node(Role::Gatherer, "gatherers", index, *at)));
    all
}

/// A program that hears no settings from this process's environment: what is measured is what is shown.
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOVETAIL_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

fn with_flags(command: &mut Command, flags: impl Iterator<Item = (&'static str, String)>) {
    command.args(flags.map(|(flag, value)| format!("--{flag}={value}")));
}

/// Addresses at which no process listens.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let process = std::process::id();
    // All of 127/8 is this machine on Linux. Elsewhere it is only 127.0.0.1, whose ports are shared with all other
    // programs.
    let own = Ipv4Addr::new(127, 1 + (process / 256 % 250) as u8, (process % 256) as u8, 255);
    let ip = match TcpListener::bind((own, 0)) {
        Ok(_) => own,
        Err(_) => Ipv4Addr::LOCALHOST,
    };
    // All at once, so that none is given twice.
    let listeners = (0..count).map(|_| TcpListener::bind((IpAddr::V4(ip), 0))).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn lines(up: bool) -> Vec<String> {
        let shape = BenchShape { matchers: 2, gatherers: 1, slices: 4, up, tls: false, data: None };
        let addresses: Vec<SocketAddr> = (1..=4).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let programs = Programs { folder: "/bin".into() };
        let line = |(name, role, command): (String, &str, Command)| {
            let arguments: Vec<_> =
                command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
            format!("{name} ({role}): {} {}", command.get_program().to_string_lossy(), arguments.join(" "))
        };
        commands(&shape, &programs, Path::new("/t"), &addresses, None).into_iter().map(line).collect()
    }

    #[test]
    fn every_role_has_its_processes_and_only_the_balancer_has_a_folder() {
        let lines = lines(false);
        let common = "--cluster-name=bench --slices=4 --log=warn --balancer=http://127.0.0.1:1 \
                      --matchers=http://127.0.0.1:2,http://127.0.0.1:3 --gatherers=http://127.0.0.1:4";
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[0],
            format!(
                "balancer-0 (balancer): /bin/dovetail-balancer {common} --index=0 --listen=127.0.0.1:1 --data=/t/data"
            )
        );
        assert_eq!(
            lines[2],
            format!("matcher-1 (matchers): /bin/dovetail-matcher {common} --index=1 --listen=127.0.0.1:3")
        );
    }

    #[test]
    fn all_roles_may_be_one_process() {
        let expected = "up (all roles): /bin/dovetail up --cluster-name=bench --slices=4 --log=warn --listen=127.0.0.1:1 \
                        --matchers=2 --gatherers=1 --data=/t/data";
        assert_eq!(lines(true), [expected]);
    }

    #[test]
    fn free_addresses_differ() {
        let addresses = free_addresses(10).unwrap();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 10);
    }
}
