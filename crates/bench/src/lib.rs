//! Measures a cluster: starts one of real processes or is pointed at one, drives a workload through it from outside, as
//! any client would, and checks what came out.
//!
//! Nothing here is part of a node. `dovetail bench` is the command line of it.

mod check;
mod cluster;
mod counters;
mod drive;
pub mod latency;
mod pace;
mod plot;
pub mod report;
mod source;
mod usage;
pub mod workload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

pub use check::{Against, Check, CheckError, Verdict};
pub use cluster::Shape;
pub use pace::Pace;
pub use plot::plot;
pub use source::{Form, Source};

use cluster::Cluster;
use counters::Nodes;
use dovetail::client::{Client, ClientError, ConnectOptions};
use drive::{Load, Progress};
use report::{Measured, Report};
use usage::Usage;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the run is called.
    pub name: String,
    /// What is submitted.
    pub source: Arc<Source>,
    /// What it is submitted to.
    pub target: Target,
    /// How to connect to a cluster that runs.
    pub connect: ConnectOptions,
    /// How it is submitted.
    pub manner: Manner,
    /// How often all of it is done.
    pub rounds: usize,
}

/// How elements are submitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// How many clients submit.
    pub clients: usize,
    /// Most elements of a message.
    pub batch: usize,
    /// How messages are written.
    pub form: Form,
    /// Most messages of a client without an answer.
    pub in_flight: usize,
    /// When elements are sent.
    pub pace: Pace,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Processes of our own, others in each round.
    Own(Shape),
    /// A cluster that runs: its balancer's URL.
    Running(String),
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An element was refused.
    #[error("the element at position {position} was refused: {reason}")]
    Refused {
        /// From 1.
        position: usize,
        /// Why.
        reason: String,
    },
    /// A client of the run stopped.
    #[error("a client stopped unexpectedly")]
    Stopped,
    /// Nothing was acknowledged or decided for a while.
    #[error("nothing was acknowledged or decided for {seconds} s, after {acknowledged} elements were acknowledged")]
    Standstill {
        /// So long.
        seconds: u64,
        /// How many were, before.
        acknowledged: u64,
    },
    /// The matches contradict each other.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The path of this executable is unknown.
    #[error("cannot find this program's own path, beside which the others are: {0}")]
    Own(#[source] std::io::Error),
    /// A binary is missing.
    #[error("{} is not there; a cluster is started from the binaries beside this one", path.display())]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
    },
    /// The cluster's folder cannot be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates for `--tls` cannot be made.
    #[error("cannot make certificates: {0}")]
    Certificates(#[source] std::io::Error),
    /// No free ports were found.
    #[error("cannot find free ports: {0}")]
    Ports(#[source] std::io::Error),
    /// A process cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// Its binary.
        program: OsString,
        /// Why.
        source: std::io::Error,
    },
    /// A process of the cluster ended by itself.
    #[error("a process of role \"{role}\" ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// Its role.
        role: &'static str,
        /// How.
        status: ExitStatus,
        /// The last lines.
        log: String,
    },
    /// The cluster was not ready in time.
    #[error("the cluster was not ready within {seconds} s {silent}")]
    NotReady {
        /// So long.
        seconds: u64,
        /// The nodes that did not answer.
        silent: String,
    },
}

/// Does all rounds. `told` hears of each when it is done.
///
/// # Errors
/// When a round cannot be measured. A result that is not the right one is no error: the report says so.
pub async fn run(plan: &Plan, mut told: impl FnMut(usize, &Measured)) -> Result<Report, BenchError> {
    let mut rounds = Vec::with_capacity(plan.rounds);
    for round in 0..plan.rounds {
        let measured = match &plan.target {
            Target::Own(shape) => {
                let mut cluster = Cluster::start(shape, round).await?;
                let before = cluster.usage();
                let (server, connect) = (cluster.server().to_owned(), cluster.connect().clone());
                let mut measured = measure(plan, (&server, &connect), round, || cluster.check()).await?;
                measured.usage = cluster.usage().zip(before).map(|(after, before)| report::used(&after, &before));
                measured
            }
            Target::Running(server) => measure(plan, (server, &plan.connect), round, || Ok(())).await?,
        };
        told(round, &measured);
        rounds.push(measured);
    }
    Ok(Report::of(plan, rounds))
}

/// One round. `alive` is asked now and then.
async fn measure(
    plan: &Plan,
    (server, connect): (&str, &ConnectOptions),
    round: usize,
    mut alive: impl FnMut() -> Result<(), BenchError>,
) -> Result<Measured, BenchError> {
    let pool = format!("bench-{}-{}-{round}", std::process::id(), now_ms());
    let client = Client::connect_with(server, connect).await?;
    let defined_at = client.define_pool(plan.source.pool(&pool)).await?.defined_at;
    let (before, own_before) = (Nodes::ask(server, connect).await, Usage::own());
    let load = Load {
        server: server.to_owned(),
        connect: connect.clone(),
        pool,
        defined_at,
        source: Arc::clone(&plan.source),
        manner: plan.manner,
    };
    let progress = Arc::new(Progress::default());
    let died = async {
        loop {
            if let Err(error) = alive() {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let driven = tokio::select! {
        driven = drive::drive(load, &progress) => driven?,
        error = progress.standstill() => return Err(error),
        error = died => return Err(error),
    };
    let own = Usage::own().zip(own_before).map(|(after, before)| after.since(before));
    let after = Nodes::ask(server, connect).await;
    let source = Arc::clone(&plan.source);
    // The sequential program computes for as long as it takes.
    let checked = tokio::task::spawn_blocking(move || {
        let order = check::Order::of(&driven.ids);
        let checked = check::check(&source, &driven, &order);
        (checked, driven, order)
    });
    let (checked, driven, order) = checked.await.map_err(|_| BenchError::Stopped)?;
    Ok(Measured::of(&driven, &order, checked?, &before, &after, own))
}

/// Now, in milliseconds since 1970: pools of earlier runs have other names.
fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
