//! Finds the stream of a log, or makes it.
//!
//! Of processes that make it at once one wins: the others find it, with the id that the winner drew.

use std::time::Duration;

use dovetail_log::shared::LogIdentity;
use tokio::time::{Instant, sleep};

use crate::api::{ApiError, StreamState, api, code, info};
use crate::connection::Connection;
use crate::error::JetStreamOpenError;
use crate::names::Names;
use crate::options::{JetStreamOptions, Opening};
use crate::settings;

/// How often servers are asked that do not answer yet.
const AGAIN: Duration = Duration::from_millis(100);

/// Which log a stream is, once its settings are what they have to be.
pub(crate) async fn open(
    connection: &Connection,
    options: &JetStreamOptions,
    stream: &str,
) -> Result<LogIdentity, JetStreamOpenError> {
    let until = Instant::now() + options.timeouts.open;
    loop {
        let error = match info(connection, stream).await {
            Ok(state) => return accept(&state, options, stream),
            Err(ApiError::Refused { code: code::NO_STREAM, .. }) => match make(connection, options, stream).await? {
                Ok(state) => return accept(&state, options, stream),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if Instant::now() >= until {
            return Err(JetStreamOpenError::Unavailable { urls: options_urls(options), why: error.why() });
        }
        sleep(AGAIN).await;
    }
}

fn options_urls(options: &JetStreamOptions) -> String {
    let shown = |url: &String| url.rsplit_once('@').map_or(url.clone(), |(_, host)| host.to_owned());
    options.urls.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Makes the stream, if it may be. The inner error passes.
async fn make(
    connection: &Connection,
    options: &JetStreamOptions,
    stream: &str,
) -> Result<Result<StreamState, ApiError>, JetStreamOpenError> {
    let (log_id, begins_after) = match options.opening {
        Opening::Existing { log_id: expected } => {
            return Err(JetStreamOpenError::Gone { stream: stream.to_owned(), expected });
        }
        Opening::OrMake { log_id, begins_after } => (log_id.unwrap_or_else(draw), begins_after),
    };
    let identity = LogIdentity { cluster: options.cluster.clone(), log_id, begins_after };
    let names = Names::new(&options.cluster, stream, log_id);
    let wanted = settings::wanted(options, &names, &identity);
    match api(connection, &format!("STREAM.CREATE.{stream}"), &wanted).await {
        Ok(answer) => Ok(Ok(StreamState::read(&answer))),
        Err(ApiError::Refused { code, why }) if !passes(code) => {
            Err(JetStreamOpenError::Refused { stream: stream.to_owned(), why: format!("{why} ({code})") })
        }
        // This may have made it all the same: the stream is looked at again.
        Err(error) => Ok(Err(error)),
    }
}

/// Whether servers may say another thing soon: another process was first, or they have only just started.
fn passes(code: u64) -> bool {
    [code::NAME_IN_USE, code::NO_PEERS, code::UNAVAILABLE].contains(&code)
}

fn draw() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    u128::from_le_bytes(bytes)
}

/// Whether a stream that is there is what it has to be.
fn accept(state: &StreamState, options: &JetStreamOptions, stream: &str) -> Result<LogIdentity, JetStreamOpenError> {
    let identity = settings::identity(stream, &state.config)?;
    let expected = match options.opening {
        Opening::Existing { log_id } => Some(log_id),
        Opening::OrMake { log_id, .. } => log_id,
    };
    if let Some(expected) = expected.filter(|expected| *expected != identity.log_id) {
        let (stream, found) = (stream.to_owned(), identity.log_id);
        return Err(JetStreamOpenError::AnotherLog { stream, found, expected });
    }
    // What a log begins after was settled when it was made.
    let wanted = LogIdentity { cluster: options.cluster.clone(), ..identity };
    let names = Names::new(&options.cluster, stream, wanted.log_id);
    settings::compare(stream, &state.config, &settings::wanted(options, &names, &wanted))?;
    Ok(wanted)
}
