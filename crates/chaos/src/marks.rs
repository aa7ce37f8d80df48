//! The balancer's watermarks, asked for all the time.
//!
//! `stable <= decided <= durable <= assigned`, each monotone while a process lives. Across a death only what is on disk
//! can be asked to stay: `durable` and `stable`. `assigned` loses what was never acknowledged; `decided` is decided
//! again from `stable` on, and that it steps back meanwhile is counted, not condemned.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dovetail::pb::{
    BalancerState, InspectRequest, InspectResponse, inspect_response::State,
    inspect_service_client::InspectServiceClient,
};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::{clients::channel, journal::Journal};

const PAUSE: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(5);

/// Asks one balancer.
#[derive(Debug)]
pub struct Marks {
    url: String,
    journal: Arc<Journal>,
    last: Mutex<Option<(u64, BalancerState)>>,
}

impl Marks {
    pub fn new(url: String, journal: Arc<Journal>) -> Arc<Marks> {
        Arc::new(Marks { url, journal, last: Mutex::new(None) })
    }

    /// What it said last.
    pub fn last(&self) -> Option<BalancerState> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, state)| state.clone())
    }

    /// Asks for ever.
    pub async fn run(self: Arc<Self>) {
        let Ok(channel) = channel(&self.url) else { return };
        loop {
            if let Some(answer) = ask(channel.clone()).await
                && let Some(State::Balancer(state)) = answer.state
            {
                self.take(answer.started_ms, state);
            }
            sleep(PAUSE).await;
        }
    }

    fn take(&self, started_ms: u64, now: BalancerState) {
        let marks = |state: &BalancerState| [state.stable, state.decided, state.durable, state.assigned];
        let journal = &self.journal;
        journal.check("stable <= decided <= durable <= assigned", marks(&now).is_sorted(), || {
            format!("{:?}", marks(&now))
        });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((lived, before)) = &*last {
            let (was, is) = (marks(before), marks(&now));
            let told = || format!("[stable, decided, durable, assigned] was {was:?}, is {is:?}");
            if *lived == started_ms {
                let monotone = was.iter().zip(&is).all(|(was, is)| was <= is);
                journal.check("watermarks never go back", monotone, told);
            } else {
                let kept = was[0] <= is[0] && was[2] <= is[2];
                journal.check("what is on disk stays across restarts", kept, told);
                journal.count("restarts seen by Inspect", 1);
                journal.count("of these, decided stepped back", u64::from(is[1] < was[1]));
            }
            let floors =
                |state: &BalancerState| state.stored.as_ref().map_or((0, 0), |of| (of.checkpoint, of.log_floor));
            if floors(before).0 < floors(&now).0 {
                journal.count("checkpoints", 1);
            }
            if floors(before).1 < floors(&now).1 {
                journal.count("trims", 1);
            }
        }
        *last = Some((started_ms, now));
    }
}

/// What a node says about itself. None when it does not answer.
pub async fn inspect(url: &str) -> Option<InspectResponse> {
    ask(channel(url).ok()?).await
}

async fn ask(channel: Channel) -> Option<InspectResponse> {
    let mut client = InspectServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let answer = timeout(ANSWER, client.inspect(InspectRequest {})).await;
    Some(answer.ok()?.ok()?.into_inner())
}
