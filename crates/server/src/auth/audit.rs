//! The audit log: who connected, was refused, defined, dropped, or withdrew another's, as a line of JSON each.
//!
//! Never what clients sent beside names: no payload, no attribute, no token. Written by a thread of its own, off the
//! path of requests. Invariants: audit.A1 no call waits for a line; audit.A2 what may wait to be written is bounded, as
//! is how fast lines come: what is left out is counted, and the next line says how many were.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::caller::Caller;
use crate::time;
use dovetail::text;

/// Lines that wait to be written. More are left out, and counted; lines that any stranger can cause have half of it.
const WAITING: usize = 4096;
/// Most lines a second of what clients did. More are left out, and counted.
const LINES_PER_S: u64 = 1000;
/// The same of lines that any stranger who reaches the node can cause: they never take the place of the others.
const LINES_OF_ANYBODY_PER_S: u64 = 100;
/// Longest value of a line, in bytes; of a longer one the middle is left out.
const VALUE_BYTES_MAX: usize = 256;
/// How often it is looked at whether the file was renamed.
const LOOK: Duration = Duration::from_secs(1);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditEvent {
    /// The first call of a caller by a connection.
    Connected,
    /// A call was refused for who makes it.
    Refused,
    /// A pool was defined.
    Defined,
    /// A pool was dropped.
    Dropped,
    /// Elements of another owner were withdrawn.
    Withdrew,
    /// The policy, or keys, were read anew, or could not be.
    Reloaded,
    /// The balancer's wall clock was accepted, though it jumped.
    ClockAccepted,
}

impl AuditEvent {
    /// Whether any stranger who reaches the node can cause it, as often as wanted.
    fn is_of_anybody(self) -> bool {
        match self {
            AuditEvent::Connected | AuditEvent::Refused => true,
            AuditEvent::Defined
            | AuditEvent::Dropped
            | AuditEvent::Withdrew
            | AuditEvent::Reloaded
            | AuditEvent::ClockAccepted => false,
        }
    }
}

/// A line.
#[derive(Clone, Debug, Serialize)]
pub struct AuditLine {
    time_ms: u64,
    event: AuditEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

impl AuditLine {
    /// That something happened now.
    #[must_use]
    pub fn new(event: AuditEvent) -> AuditLine {
        AuditLine {
            time_ms: time::now_ms(),
            event,
            identity: None,
            address: None,
            connection: None,
            method: None,
            setting: None,
            ahead_ms: None,
            pool: None,
            element: None,
            count: None,
            reason: None,
            left_out: None,
        }
    }

    /// The caller; none for this process itself.
    #[must_use]
    pub fn by(mut self, caller: Option<&Caller>) -> AuditLine {
        if let Some(caller) = caller {
            self.identity = Some(caller.client.to_string());
            self.address = Some(caller.connection.address.to_string());
            self.connection = Some(caller.connection.number);
        }
        self
    }

    /// By which call: service and method, as gRPC has them (`dovetail.v1.MatchService/Submit`).
    #[must_use]
    pub fn method(self, method: &str) -> AuditLine {
        AuditLine { method: Some(cut(method)), ..self }
    }

    /// The file of which setting.
    #[must_use]
    pub fn setting(self, setting: &'static str) -> AuditLine {
        AuditLine { setting: Some(setting), ..self }
    }

    /// By how much event time went ahead.
    #[must_use]
    pub fn ahead_ms(self, ahead_ms: u64) -> AuditLine {
        AuditLine { ahead_ms: Some(ahead_ms), ..self }
    }

    /// In which pool.
    #[must_use]
    pub fn pool(self, pool: &str) -> AuditLine {
        AuditLine { pool: Some(cut(pool)), ..self }
    }

    /// Which element.
    #[must_use]
    pub fn element(self, element: u64) -> AuditLine {
        AuditLine { element: Some(element), ..self }
    }

    /// How many elements.
    #[must_use]
    pub fn count(self, count: u64) -> AuditLine {
        AuditLine { count: Some(count), ..self }
    }

    /// Why.
    #[must_use]
    pub fn reason(self, reason: &str) -> AuditLine {
        AuditLine { reason: Some(cut(reason)), ..self }
    }
}

fn cut(value: &str) -> String {
    text::cut(value.to_owned(), VALUE_BYTES_MAX)
}

/// The audit log; or none. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    lines: SyncSender<AuditLine>,
    left_out: Arc<AtomicU64>,
    /// Waiting lines that any stranger can cause.
    of_anybody: Arc<AtomicUsize>,
}

/// Where lines go.
enum Target {
    Stderr,
    File { path: PathBuf, file: File },
}

impl Audit {
    /// Opens the file; `-` is stderr.
    ///
    /// # Errors
    /// When the file cannot be opened, or the thread not be started.
    pub fn open(path: &str) -> io::Result<Audit> {
        let target = match path {
            "-" => Target::Stderr,
            path => Target::File { path: path.into(), file: append(path.as_ref())? },
        };
        let (lines, waiting) = sync_channel(WAITING);
        let (left_out, of_anybody) = (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
        let of_thread = (Arc::clone(&left_out), Arc::clone(&of_anybody));
        let run = move || write(&waiting, target, &of_thread.0, &of_thread.1);
        std::thread::Builder::new().name("audit".to_owned()).spawn(run)?;
        Ok(Audit(Some(Arc::new(Shared { lines, left_out, of_anybody }))))
    }

    /// Whether [`open`](Audit::open) will find a file that it can write to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn check(path: &str) -> io::Result<()> {
        match path {
            "-" => Ok(()),
            path => append(path.as_ref()).map(drop),
        }
    }

    /// Whether lines go anywhere.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a line, later. The line is made only if there is an audit log.
    pub fn tell(&self, line: impl FnOnce() -> AuditLine) {
        let Some(shared) = &self.0 else { return };
        let line = line();
        let of_anybody = line.event.is_of_anybody();
        if of_anybody && shared.of_anybody.fetch_add(1, Ordering::Relaxed) >= WAITING / 2 {
            shared.of_anybody.fetch_sub(1, Ordering::Relaxed);
            shared.left_out.fetch_add(1, Ordering::Relaxed);
        } else if shared.lines.try_send(line).is_err() {
            if of_anybody {
                shared.of_anybody.fetch_sub(1, Ordering::Relaxed);
            }
            shared.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn append(path: &std::path::Path) -> io::Result<File> {
    // By default only the owner may read it; the operator may change that.
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl Target {
    /// Opens the file again if it is not where it was.
    fn follow(&mut self) {
        if let Target::File { path, file } = self {
            let inode = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
            let same = match (std::fs::metadata(&*path).map(inode), file.metadata().map(inode)) {
                (Ok(there), Ok(here)) => there == here,
                _ => false,
            };
            if !same && let Ok(again) = append(path) {
                *file = again;
            }
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Target::Stderr => io::stderr().lock().write_all(text),
            Target::File { file, .. } => file.write_all(text),
        }
    }
}

/// The thread: ends with the last of those who tell.
fn write(waiting: &Receiver<AuditLine>, mut target: Target, left_out: &AtomicU64, of_anybody: &AtomicUsize) {
    // Of what clients did, and of what any stranger can cause.
    let (mut since, mut written, mut failing) = (Instant::now(), [0; 2], false);
    loop {
        let line = waiting.recv_timeout(LOOK);
        if since.elapsed() >= LOOK {
            (since, written) = (Instant::now(), [0; 2]);
            target.follow();
        }
        let mut line = match line {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let anybody = line.event.is_of_anybody();
        if anybody {
            of_anybody.fetch_sub(1, Ordering::Relaxed);
        }
        let written = &mut written[usize::from(anybody)];
        if *written >= [LINES_PER_S, LINES_OF_ANYBODY_PER_S][usize::from(anybody)] {
            left_out.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        *written += 1;
        let missing = left_out.swap(0, Ordering::Relaxed);
        line.left_out = (missing > 0).then_some(missing);
        let Ok(mut text) = serde_json::to_vec(&line) else { continue };
        text.push(b'\n');
        if let Err(error) = target.write(&text) {
            left_out.fetch_add(missing + 1, Ordering::Relaxed);
            if !std::mem::replace(&mut failing, true) {
                tracing::error!(%error, "the audit log cannot be written; lines are left out");
            }
        } else if std::mem::take(&mut failing) {
            tracing::info!("the audit log is written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(path: &std::path::Path, wanted: usize) -> Vec<serde_json::Value> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if lines.len() >= wanted {
                return lines;
            }
            assert!(Instant::now() < until, "{} of {wanted} lines", lines.len());
            std::thread::yield_now();
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("dovetail-audit-{name}-{}", std::process::id()));
        _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_line_is_an_object_with_what_is_known() {
        let folder = folder("line");
        let path = folder.join("audit.jsonl");
        let audit = Audit::open(path.to_str().unwrap()).unwrap();
        audit.tell(|| AuditLine::new(AuditEvent::Withdrew).pool("duel").element(7).method("Withdraw"));
        audit.tell(|| AuditLine::new(AuditEvent::Refused).reason(&"x".repeat(1 << 20)));
        let lines = lines_of(&path, 2);
        assert_eq!((lines[0]["event"].as_str(), lines[0]["element"].as_u64()), (Some("withdrew"), Some(7)));
        assert!(lines[0].get("reason").is_none() && lines[1]["reason"].as_str().unwrap().len() <= 256);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_was_renamed_is_opened_anew() {
        let folder = folder("rename");
        let (path, old) = (folder.join("audit.jsonl"), folder.join("audit.jsonl.1"));
        let audit = Audit::open(path.to_str().unwrap()).unwrap();
        audit.tell(|| AuditLine::new(AuditEvent::Defined).pool("one"));
        lines_of(&path, 1);
        std::fs::rename(&path, &old).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while !path.exists() {
            assert!(Instant::now() < until, "it is not opened again");
            std::thread::yield_now();
        }
        audit.tell(|| AuditLine::new(AuditEvent::Defined).pool("two"));
        assert_eq!(lines_of(&path, 1)[0]["pool"], "two");
        assert_eq!(lines_of(&old, 1).len(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let folder = folder("flood");
        let path = folder.join("audit.jsonl");
        let audit = Audit::open(path.to_str().unwrap()).unwrap();
        let told = 20_000;
        for _ in 0..told {
            audit.tell(|| AuditLine::new(AuditEvent::Refused));
        }
        // Whatever waits, what clients did is written.
        audit.tell(|| AuditLine::new(AuditEvent::Dropped).pool("duel"));
        let lines = lines_of(&path, LINES_OF_ANYBODY_PER_S as usize + 1);
        assert!(lines.iter().any(|line| line["event"] == "dropped"));
        let until = Instant::now() + Duration::from_secs(30);
        let counted = loop {
            // What was left out is said with the next line.
            audit.tell(|| AuditLine::new(AuditEvent::Reloaded));
            let lines = lines_of(&path, 1);
            let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
            if lines.last().unwrap()["event"] == "reloaded" && left_out > 0 {
                break left_out + lines.len() as u64;
            }
            assert!(Instant::now() < until, "{left_out} left out");
            std::thread::yield_now();
        };
        assert!(counted >= told, "{counted} of {told}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
