//! Above what the balancer keeps retirements, as it says itself: asked when a gatherer says that a slice knows too
//! little (R8).

use std::time::Duration;

use dovetail_core::EventId;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::Status;

use super::node::Node;
use crate::fault::Fault;
use dovetail::reason::Reason;

/// How long an answer holds: gatherers that ask again and again cost the balancer no more than this. It is never too
/// high then, as what is kept only gets less.
const HOLDS: Duration = Duration::from_millis(250);
/// Longest time that the balancer may take.
const ASK_MAX: Duration = Duration::from_secs(2);

/// The last answer, and of which log. One asks at a time.
#[derive(Debug, Default)]
pub(super) struct ResultsFloor(Mutex<Option<(Instant, String, EventId)>>);

impl ResultsFloor {
    /// Of the log that this session reads.
    pub(super) async fn get(&self, node: &Node) -> Result<EventId, Status> {
        let own = node.identity.log_id();
        let mut last = self.0.lock().await;
        if let Some((at, log_id, floor)) = &*last
            && at.elapsed() < HOLDS
            && *log_id == own
        {
            return Ok(*floor);
        }
        let unknown = |why: String| {
            let text = format!("the balancer did not say above what it keeps retirements: {why}");
            Fault::new(Reason::NodeStarting, text)
        };
        let answer = timeout(ASK_MAX, node.ask_cut()).await;
        let answer = answer.map_err(|_| unknown(format!("no answer in {ASK_MAX:?}")))?;
        let answer = answer.map_err(|error| unknown(error.to_string()))?;
        if answer.log_id != own {
            return Err(unknown(format!("its log is {}, this session's is {own}", answer.log_id)).into());
        }
        *last = Some((Instant::now(), own, answer.results_floor));
        Ok(answer.results_floor)
    }
}
