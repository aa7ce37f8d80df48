//! Runs commands as a reader of a page would.
//!
//! Invariants: shell.S1 no program outlives its `Shell`, however the test ends; shell.S2 two pages never want the same
//! address: the hosts of a page are on a loopback network of its own, whatever the page calls them.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::compare;
use crate::page::{Run, Step};

/// Longest wait for a command, or for what a program is to print.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

/// A program in the background, and where its output goes.
struct Job {
    child: Child,
    output: PathBuf,
    is_watch: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A folder, a network, and the programs that run.
pub struct Shell {
    folder: PathBuf,
    /// What the page calls something, and what it is here.
    names: Vec<(String, String)>,
    server: String,
    jobs: Vec<Job>,
    started: usize,
}

impl Shell {
    pub fn new(page: &str, number: u8) -> Shell {
        let process = std::process::id();
        let name = format!("page-{process}-{}", page.replace('/', "-"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        // Clusters of other tests are in 127.1 to 127.250.
        let network = format!("127.{}.{}.", 251 + number, process % 256);
        let root = crate::programs::root();
        symlink(root.join("examples"), folder.join("examples")).unwrap();
        let inside = |path: &str| (path.to_owned(), format!("{}{path}", folder.display()));
        let mut names = vec![
            ("127.0.0.".to_owned(), network.clone()),
            ("10.0.0.".to_owned(), format!("127.254.{}.", process % 256)),
        ];
        names.extend(["/tmp/dovetail", "/var/lib/dovetail", "/etc/dovetail"].map(inside));
        let mut shell =
            Shell { folder, names, server: format!("http://{network}1:7400"), jobs: Vec::new(), started: 0 };
        shell.file("/deploy/loopback.toml", &fs::read_to_string(root.join("deploy/loopback.toml")).unwrap());
        shell
    }

    /// Writes a file that the page shows.
    pub fn file(&mut self, path: &str, text: &str) {
        let path = self.folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.here(text)).unwrap();
    }

    /// What the page says, with the names of this run.
    fn here(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (page, here)| text.replace(page, here))
    }

    /// What was printed, with the names of the page.
    fn page(&self, text: &str) -> String {
        self.names.iter().rev().fold(text.to_owned(), |text, (page, here)| text.replace(here, page))
    }

    /// Takes a step, and compares what it prints.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Interrupt => self.interrupt(),
            // The foreign clients are installed by a script; CI has run it.
            Step::Run(run) if run.command.starts_with("grpcurl") && !tools().join("grpcurl").exists() => {
                eprintln!("{}: not run, grpcurl is not installed (tests/foreign/install.sh)", run.at);
            }
            Step::Run(run) if run.command == "kill $(jobs -p)" => self.interrupt(),
            Step::Run(run) => self.run(run),
        }
    }

    fn run(&mut self, run: &Run) {
        let command = run.command.replace("cargo run --release -- ", "dovetail ");
        let is_watch = command.starts_with("dovetail watch") && !command.contains("--until-settled");
        let goes_on = run.host.is_some() || command.ends_with('&') || command.starts_with("dovetail up") || is_watch;
        if !goes_on {
            return self.run_to_its_end(run, &command);
        }
        let job = self.start(run, &command, is_watch);
        if let Some(address) = self.address(run, &command) {
            wait(&run.at, || TcpStream::connect(&address).is_ok().then_some(()), || format!("{address} is not served"));
        }
        let printed = || self.page(&fs::read_to_string(&job.output).unwrap());
        let said = || compare::matches(&run.expected, &printed(), run.numbers_vary).then_some(());
        if !run.expected.is_empty() {
            wait(&run.at, said, || differs(run, &printed()));
        }
        self.jobs.push(job);
    }

    fn start(&mut self, run: &Run, command: &str, is_watch: bool) -> Job {
        self.started += 1;
        let output = self.folder.join(format!("output-{}", self.started));
        let file = File::create(&output).unwrap();
        let bin = crate::programs::folder();
        let path = format!("{}:{}:{}", bin.display(), tools().display(), std::env::var("PATH").unwrap());
        // In place of the shell, so that a signal reaches the program.
        let line = self.here(command.trim_end_matches('&'));
        let line = if line.contains(['|', ';', '>']) { line } else { format!("exec {line}") };
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOVETAIL_")) {
            shell.env_remove(name);
        }
        shell.args(["-c", &line]).current_dir(&self.folder).env("PATH", path).env("DOVETAIL_SERVER", &self.server);
        let listen = match &run.host {
            None => self.server.trim_start_matches("http://").to_owned(),
            Some(_) => self.address(run, command).unwrap(),
        };
        shell.env("DOVETAIL_LISTEN", listen);
        if let Some(own) = certificates(run, command) {
            // Hosts that share a file system here have each their own in /etc/dovetail/tls there.
            for (variable, file) in [("CERT", "cert"), ("KEY", "key"), ("CA", "ca")] {
                shell.env(format!("DOVETAIL_TLS_{variable}"), self.folder.join(&own).join(format!("{file}.pem")));
            }
        }
        let child = shell.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Job { child, output, is_watch }
    }

    /// Where a node of this command listens, if it is one.
    fn address(&self, run: &Run, command: &str) -> Option<String> {
        if let Some((_, rest)) = command.split_once("--listen ") {
            return Some(self.here(rest.split(' ').next().unwrap()));
        }
        let host = self.here(run.host.as_ref()?);
        let role = ["dovetail-balancer", "dovetail-matcher", "dovetail-gatherer"];
        let port = 7400 + role.iter().position(|role| command.starts_with(role))?;
        Some(format!("{host}:{port}"))
    }

    /// Runs a command that ends by itself. The status of nodes that have just started is asked for until it is as
    /// expected.
    fn run_to_its_end(&mut self, run: &Run, command: &str) {
        let fails = run.expected.iter().any(|line| line.starts_with("error:"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.start(run, command, false);
            let (status, printed) = self.finish(run, job);
            let is_right = run.expected.is_empty() || compare::matches(&run.expected, &printed, run.numbers_vary);
            if is_right && status.success() != fails {
                return;
            }
            let again = command.starts_with("dovetail status") && Instant::now() < deadline;
            assert!(again, "{status}\n{}", differs(run, &printed));
        }
    }

    /// Waits for the end of a command: how it ended, and what it printed.
    fn finish(&self, run: &Run, mut job: Job) -> (ExitStatus, String) {
        let printed = || self.page(&fs::read_to_string(&job.output).unwrap());
        let status = wait(&run.at, || job.child.try_wait().unwrap(), || format!("it does not end: {}", printed()));
        (status, printed())
    }

    /// Ctrl-C for everything that runs, which has to end well.
    fn interrupt(&mut self) {
        for job in &self.jobs {
            let pid = job.child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        }
        for mut job in self.jobs.drain(..) {
            let printed = || fs::read_to_string(&job.output).unwrap();
            let status = wait("^C", || job.child.try_wait().unwrap(), || "a program does not stop".to_owned());
            assert!(status.success() || job.is_watch, "{status}: {}", printed());
        }
    }

    /// A watch of a page is ended with its block.
    pub fn end_watches(&mut self) {
        self.jobs.retain(|job| !job.is_watch);
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.jobs.clear();
        if std::thread::panicking() {
            eprintln!("the files of this page are kept in {}", self.folder.display());
        } else {
            _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Where the certificates of a node on a host were made.
fn certificates(run: &Run, command: &str) -> Option<String> {
    run.host.as_ref()?;
    let mut words = command.strip_prefix("dovetail-")?.split(' ');
    let role = words.next()?;
    let index = words.skip_while(|word| *word != "--index").nth(1).unwrap_or("0");
    Some(format!("certs/{role}-{index}"))
}

/// Where `tests/foreign/install.sh` puts programs.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools/bin")
}

fn wait<T>(at: &str, mut ready: impl FnMut() -> Option<T>, why: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < deadline, "{at}: {}", why());
        std::thread::sleep(POLL);
    }
}

fn differs(run: &Run, printed: &str) -> String {
    let expected = run.expected.join("\n");
    format!("{}: {}\n--- the page says\n{expected}\n--- it prints\n{printed}", run.at, run.command)
}
