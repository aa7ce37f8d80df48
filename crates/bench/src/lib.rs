//! Measures a cluster: starts one of real processes or is pointed at one, drives a workload through it from outside, as
//! any client would, and checks what came out.
//!
//! Nothing here is part of a node. `dovetail bench` is the command line of it.

mod check;
mod cluster;
mod counters;
mod drive;
mod driven;
mod error;
pub mod latency;
mod pace;
mod plan;
mod plot;
pub mod report;
mod source;
mod usage;
pub mod workload;

use std::sync::Arc;
use std::time::Duration;

pub use check::{Against, Check, CheckError, CheckVerdict};
pub use cluster::BenchShape;
pub use error::BenchError;
pub use pace::ArrivalPace;
pub use plan::{BenchPlan, Manner, Target};
pub use plot::plot;
pub use source::{Form, RowSource};

use cluster::BenchCluster;
use counters::Nodes;
use dovetail::client::{Client, ConnectOptions};
use drive::{DriveProgress, Load};
use report::{BenchReport, Measured};
use usage::Usage;

/// Does all rounds. `told` hears of each when it is done.
///
/// # Errors
/// When a round cannot be measured. A result that is not the right one is no error: the report says so.
pub async fn run(plan: &BenchPlan, mut told: impl FnMut(usize, &Measured)) -> Result<BenchReport, BenchError> {
    let mut rounds = Vec::with_capacity(plan.rounds);
    for round in 0..plan.rounds {
        let measured = match &plan.target {
            Target::Own(shape) => {
                let mut cluster = BenchCluster::start(shape, round).await?;
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
    Ok(BenchReport::of(plan, rounds))
}

/// One round. `alive` is asked now and then.
async fn measure(
    plan: &BenchPlan,
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
    let progress = Arc::new(DriveProgress::default());
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
