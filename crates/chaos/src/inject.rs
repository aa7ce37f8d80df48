//! Lets a plan happen to a cluster.
//!
//! On a busy machine things take longer than planned; a fault of a node then waits for the one before it.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    clients::Shared,
    cluster::{Cluster, NodeStopped},
    plan::{ChaosFault, Planned},
    shape::ClusterNode,
};

/// Longest time a node may take to stop when it is told to: `drain_ms_max`, and the rest on a busy machine.
const STOPS_IN: Duration = Duration::from_secs(40);

/// What a plan happens to.
#[derive(Clone, Debug)]
pub struct Injector {
    pub cluster: Arc<Cluster>,
    pub shared: Arc<Shared>,
    /// Held while a node has a fault. Several are taken in ascending order.
    faulty: Arc<BTreeMap<ClusterNode, Mutex<()>>>,
}

impl Injector {
    pub fn new(cluster: Arc<Cluster>, shared: Arc<Shared>) -> Injector {
        let faulty = cluster.all().into_iter().map(|node| (node, Mutex::new(()))).collect();
        Injector { cluster, shared, faulty: Arc::new(faulty) }
    }

    /// Lets every fault of the plan begin and end. Returns when the round is over.
    pub async fn run(&self, plan: Vec<Planned>, length: Duration) {
        let began = Instant::now();
        let mut faults = JoinSet::new();
        for planned in plan {
            let this = self.clone();
            faults.spawn(async move {
                sleep_until(began + Duration::from_millis(planned.at_ms)).await;
                let mut held = Vec::new();
                for node in planned.fault.nodes() {
                    held.push(this.faulty[node].lock().await);
                }
                let journal = Arc::clone(&this.shared.journal);
                journal.note(format!("{} for {:?}", planned.fault, planned.lasts()));
                journal.fault(planned.fault.kind());
                if let Err(error) = this.happen(&planned).await {
                    journal.violation(format!("{}: {error}", planned.fault));
                }
                journal.fault_over();
            });
        }
        while let Some(ended) = faults.join_next().await {
            if let Err(panic) = ended {
                self.shared.journal.violation(format!("a fault could not be injected: {panic}"));
            }
        }
        sleep_until(began + length).await;
    }

    async fn happen(&self, planned: &Planned) -> io::Result<()> {
        let cluster = &self.cluster;
        match &planned.fault {
            ChaosFault::Kill(nodes) => {
                for &node in nodes {
                    cluster.kill(node).await?;
                }
                self.shared.journal.killed(planned.fault.to_string(), planned.lasts());
                sleep(planned.lasts()).await;
                for &node in nodes {
                    self.start(node).await?;
                }
                Ok(())
            }
            ChaosFault::Freeze(node) => {
                cluster.freeze(*node).await?;
                sleep(planned.lasts()).await;
                self.shared.journal.note(format!("SIGCONT {node}"));
                cluster.thaw(*node).await
            }
            ChaosFault::Restart(node) => {
                self.stop(*node).await?;
                sleep(planned.lasts()).await;
                self.start(*node).await
            }
            ChaosFault::Network(links, trouble) => {
                for &link in links {
                    cluster.proxies.begin(link, *trouble);
                }
                sleep(planned.lasts()).await;
                for &link in links {
                    cluster.proxies.end(link);
                }
                self.shared.journal.note(format!("over: {trouble:?} of {} links", links.len()));
                Ok(())
            }
        }
    }

    async fn start(&self, node: ClusterNode) -> io::Result<()> {
        self.shared.journal.note(format!("start {node}"));
        self.cluster.spawn(node).await
    }

    /// SIGTERM, and a good end.
    pub async fn stop(&self, node: ClusterNode) -> io::Result<()> {
        let began = Instant::now();
        let stopped = self.cluster.terminate(node, STOPS_IN).await?;
        let took = began.elapsed();
        let text = || format!("{node}: {stopped:?} after {took:?}");
        let well = match &stopped {
            NodeStopped::Ended(status) => status.success(),
            NodeStopped::Unprepared => true,
            NodeStopped::Killed => false,
        };
        self.shared.journal.check("a node that is told to stop ends well", well, text);
        Ok(())
    }
}
