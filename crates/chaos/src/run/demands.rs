//! What is demanded of a healed cluster, and for how long it is waited for.

use std::time::{Duration, Instant};

use dovetail::{client::Client, pb::inspect_response::State};
use tokio::time::{sleep, timeout};

use super::{POLL, Run};
use crate::{
    clients::watch::{self, SeenOutcome},
    marks::inspect,
    secure,
    shape::ClusterNode,
    truth::lock,
};

/// What takes longer is worth a line in the timeline.
const SLOW: Duration = Duration::from_secs(1);

impl Run {
    pub async fn all_serve(&self) -> bool {
        let cluster = &self.injector.cluster;
        for node in cluster.all() {
            if !self.within(&format!("{node} is serving"), async || cluster.serving(node).await).await {
                return false;
            }
        }
        true
    }

    /// Demands that everything submitted so far is acknowledged, decided and seen, and checks what was told.
    pub async fn caught_up(&mut self) -> bool {
        let submitted = self.shared.serials();
        let (shared, marks, truth) = (&self.shared, &self.marks, &self.truth);
        if !self.all_serve().await
            || !self.within("every submission is answered", async || shared.pending() >= submitted).await
        {
            return false;
        }
        let evidence = self.shared.take_evidence();
        // What was told by now is about events at or below this.
        let Some(through) = self.durable_now().await else { return false };
        for watcher in &self.watchers {
            let what = format!("the watcher of {} has seen everything up to {through}", watcher.name());
            if !self.within(&what, async || watcher.cursor() >= through).await {
                return false;
            }
        }
        let reached = async || lock(truth).through >= through;
        if !self.within("the tap has read everything", reached).await
            || !self
                .within("everything decided is stored", async || {
                    marks.last().is_some_and(|last| last.stable >= through)
                })
                .await
        {
            return false;
        }
        let Some(again) = self.read_again().await else { return false };
        self.audit.check(evidence, &self.watchers, &again, through);
        true
    }

    async fn durable_now(&self) -> Option<u64> {
        let deadline = Instant::now() + self.options.bound;
        while Instant::now() < deadline {
            if let Some(State::Balancer(state)) =
                inspect(&self.options.place.url(ClusterNode::Balancer)).await.and_then(|a| a.state)
            {
                return Some(state.durable);
            }
        }
        self.journal.violation("the balancer does not answer Inspect");
        None
    }

    /// What there is to read since the last audit, on a new connection.
    async fn read_again(&self) -> Option<Vec<SeenOutcome>> {
        let reading = async {
            let client =
                Client::connect_with(self.options.place.url(ClusterNode::Balancer), &secure::options()).await?;
            watch::read_again(&client, self.audit.through).await
        };
        match timeout(self.options.bound, reading).await {
            Ok(Ok(seen)) => return Some(seen),
            Ok(Err(error)) => self.journal.violation(format!("matches cannot be read again: {error}")),
            Err(_) => {
                self.journal.violation(format!("reading matches again took longer than {:?}", self.options.bound));
            }
        }
        None
    }

    /// Waits for a condition of a healed cluster; that it does not come is a violation.
    async fn within(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) -> bool {
        self.journal.checked("a healed cluster makes progress", 1);
        let began = Instant::now();
        while !condition().await {
            if self.journal.failed() {
                return false;
            }
            if began.elapsed() > self.options.bound {
                self.journal
                    .violation(format!("{:?} after healing it is still not so that {what}", self.options.bound));
                return false;
            }
            sleep(POLL).await;
        }
        if began.elapsed() > SLOW {
            self.journal.note(format!("it took {:?} until {what}", began.elapsed()));
        }
        true
    }

    /// Leaves what every node says about itself in the folder.
    pub async fn look_around(&self) {
        for node in self.injector.cluster.all() {
            let said = inspect(&self.options.place.url(node)).await;
            let path = self.options.place.folder.join(format!("{node}.inspect.txt"));
            // The rest of the record is worth having without it.
            _ = std::fs::write(path, format!("{said:#?}\n"));
        }
    }
}
