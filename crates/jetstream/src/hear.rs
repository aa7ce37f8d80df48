//! [`Hear`] by a subject of which nothing is kept.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use dovetail_log::shared::{Beat, Hear};
use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::encoding;
use crate::stream::LogStream;

/// A reader of beats. Its subscription outlives the connections.
pub(crate) struct JetStreamHear {
    stream: Arc<LogStream>,
    /// None while there could be none.
    beats: Option<Subscriber>,
}

impl JetStreamHear {
    /// Beats that are said from now on are heard.
    pub fn begin(stream: Arc<LogStream>) -> JetStreamHear {
        let beats = stream.connection.wait_for(subscribe(&stream));
        JetStreamHear { stream, beats }
    }
}

async fn subscribe(stream: &LogStream) -> Option<Subscriber> {
    let connection = &stream.connection;
    let client = connection.client();
    let beats = client.subscribe(stream.names.beats.clone()).await.ok();
    _ = timeout(connection.timeouts.ack, client.flush()).await;
    beats
}

impl Hear for JetStreamHear {
    fn next(&mut self, patience: Duration) -> Option<Beat> {
        let JetStreamHear { stream, beats } = self;
        stream.connection.wait_for(async {
            let until = Instant::now() + patience;
            if beats.is_none() {
                *beats = timeout_at(until, subscribe(stream)).await.ok().flatten();
            }
            loop {
                let Some(subscribed) = beats else {
                    sleep_until(until).await;
                    return None;
                };
                match timeout_at(until, subscribed.next()).await {
                    Ok(Some(message)) => {
                        let beat = encoding::decode_beat(stream.identity.log_id, &message.payload);
                        if beat.is_some() {
                            return beat;
                        }
                    }
                    Ok(None) => *beats = None,
                    Err(_) => return None,
                }
            }
        })
    }
}
