//! Defines a pool, fills it, drops it while elements still come, and begins again under the same name.
//!
//! Every element that was acknowledged has ended once the pool is dropped; how is for the audit, as the outcomes of all
//! pools are.

use std::{sync::Arc, time::Duration};

use dovetail::client::{Client, ClientError, by_id};
use dovetail::pb::ElementState;
use dovetail_sim::rng::Rng;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::{ANSWER, Acked, Looked, Shared, submit::or_silent};
use crate::workload::ChaosPool;

/// Most elements of a pool.
const ELEMENTS_MAX: u64 = 40;
/// Elements that come while the pool is dropped.
const LATE: u64 = 6;

/// A client whose pools do not last.
#[derive(Clone, Debug)]
pub struct Dropper {
    /// Which one of those who submit.
    pub number: usize,
    pub url: String,
    pub shared: Arc<Shared>,
    /// Mean pause before a pool is dropped, and after that.
    pub pause: Duration,
}

impl Dropper {
    /// Goes on until told to stop.
    pub async fn run(self) {
        let mut rng = Rng::new(self.shared.seed).fork(0xD5_0000 + self.number as u64);
        let mut client = self.shared.connect(&self.url).await;
        // Its own, so that it comes while the pool is dropped.
        let mut late_client = self.shared.connect(&self.url).await;
        while !self.shared.stopping() {
            let defined_at = self.define(&mut client).await;
            let mut acked = Vec::new();
            for _ in 0..rng.range(1, ELEMENTS_MAX) {
                acked.extend(self.submit(&mut client).await);
            }
            sleep(self.pause * rng.range(1, 199) as u32 / 100).await;
            let late = async {
                let mut acked = Vec::new();
                for _ in 0..LATE {
                    acked.extend(self.submit(&mut late_client).await);
                }
                acked
            };
            let ((), late) = tokio::join!(self.drop_pool(&mut client, defined_at), late);
            acked.extend(late);
            for element in acked {
                self.look(&mut client, element).await;
            }
            self.shared.journal.count("pools dropped", 1);
            sleep(self.pause * rng.range(1, 199) as u32 / 100).await;
        }
    }

    async fn define(&self, client: &mut Client) -> u64 {
        loop {
            match or_silent(timeout(ANSWER, client.define_pool(ChaosPool::Fleeting.definition())).await) {
                Ok(defined) => return defined.defined_at,
                Err(error) => self.go_on("DefinePool", &error, client).await,
            }
        }
    }

    /// An element more; none when its pool was dropped before it was acknowledged.
    async fn submit(&self, client: &mut Client) -> Option<Acked> {
        let (pool, serial) = (ChaosPool::Fleeting, self.shared.serial());
        self.shared.set_pending(self.number, Some(serial));
        let acked = loop {
            let call = client.submit_one(pool.name(), pool.element(self.shared.seed, serial));
            match or_silent(timeout(ANSWER, call).await) {
                Ok(id) => break Some(Acked { pool, serial, id }),
                Err(error) if is_gone(&error) => break None,
                Err(error) => self.go_on("SubmitOne", &error, client).await,
            }
        };
        if let Some(acked) = acked {
            self.shared.acked_alone(acked);
        }
        self.shared.set_pending(self.number, None);
        acked
    }

    async fn drop_pool(&self, client: &mut Client, defined_at: u64) {
        for attempt in 0.. {
            let call = client.drop_pool(ChaosPool::Fleeting.name(), Some(defined_at), ANSWER / 2);
            match or_silent(timeout(ANSWER, call).await) {
                Ok(dropped) if dropped.dropped => return,
                Ok(_) => {}
                // The answer to an earlier call was lost.
                Err(error) if attempt > 0 && error.code() == Some(Code::NotFound) => return,
                Err(error) => self.go_on("DropPool", &error, client).await,
            }
        }
    }

    async fn look(&self, client: &mut Client, element: Acked) {
        let journal = &self.shared.journal;
        let found = loop {
            match or_silent(timeout(ANSWER, client.get(by_id(element.id), Duration::ZERO)).await) {
                Ok(found) => break found,
                Err(error) if error.code() == Some(Code::NotFound) => {
                    return journal.violation(format!("{element:?} was acknowledged, and is not known: {error}"));
                }
                Err(error) => self.go_on("GetElement", &error, client).await,
            }
        };
        let state = found.state();
        let ended = journal.check("nobody waits in a pool that was dropped", state != ElementState::Waiting, || {
            format!("{element:?}: {found:?}")
        });
        if ended {
            self.shared.looked(Looked { element, state, found: found.r#match, ended_at: found.ended_at });
        }
    }

    async fn go_on(&self, what: &str, error: &ClientError, client: &mut Client) {
        self.shared.survive(what, error).await;
        *client = self.shared.connect(&self.url).await;
    }
}

/// Whether a submission came too late: its pool is being dropped, or gone.
fn is_gone(error: &ClientError) -> bool {
    matches!(error.code(), Some(Code::NotFound | Code::FailedPrecondition))
}
