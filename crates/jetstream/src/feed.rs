//! Messages of the stream as they come: a consumer that one replica has, and that ends with whoever reads it.
//!
//! It has no more than one batch on its way, so a reader that is slow holds little. Messages may be lost between two
//! connections, and the replica may lag or lack some: the reader looks at the sequences. Whatever is odd ends a feed,
//! and the reader begins another.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::api::{ApiError, Stored, api};
use crate::options::MESSAGE_BYTES_MAX;
use crate::stream::LogStream;

/// Most messages, and bytes, that are asked for at once. One message of the largest size fits.
const BATCH: u32 = 256;
const BATCH_BYTES: usize = 16 << 20;
/// How long the consumer holds a question for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often it says that it is there, while nothing comes.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// After so long without a word it is gone.
const SILENT_MAX: Duration = Duration::from_millis(1500);
/// How long servers keep a consumer that nobody asks.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

const _: () = assert!(MESSAGE_BYTES_MAX < BATCH_BYTES, "a message fits a batch");

/// What the answer to a question for messages ends with, without harm.
const HARMLESS: [&str; 2] = ["batch completed", "message size exceeds maxbytes"];

/// A consumer, and what it sends.
pub(crate) struct Feed {
    stream: Arc<LogStream>,
    consumer: String,
    /// Each question is answered at a subject of its own: the end of an earlier one means nothing.
    inbox: String,
    questions: u64,
    messages: Subscriber,
    /// Messages that are still to come of those that were asked for last; 0 when none are.
    asked: u32,
    heard: Instant,
    /// Whether a message came.
    pub begun: bool,
}

impl Feed {
    /// Begins after a message.
    pub async fn begin(stream: Arc<LogStream>, after: u64) -> Result<Feed, ApiError> {
        let consumer = format!("dovetail-{}", stream.connection.client().new_inbox().replace('.', "-"));
        let inbox = stream.connection.client().new_inbox();
        let messages = stream.connection.client().subscribe(format!("{inbox}.*")).await;
        let messages = messages.map_err(|error| ApiError::Silence(error.to_string()))?;
        let name = &stream.names.stream;
        let body = json!({
            "stream_name": name,
            "action": "create",
            "config": {
                "name": consumer,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": after.saturating_add(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": nanos(FORGOTTEN_AFTER),
            },
        });
        api(&stream.connection, &format!("CONSUMER.CREATE.{name}.{consumer}"), &body).await?;
        Ok(Feed { stream, consumer, inbox, questions: 0, messages, asked: 0, heard: Instant::now(), begun: false })
    }

    /// The message that comes next. Nothing is lost when this is not waited for.
    ///
    /// # Errors
    /// When the feed is over, with the reason.
    pub async fn next(&mut self) -> Result<Stored, String> {
        loop {
            if self.asked == 0 {
                self.ask().await?;
            }
            let message = match timeout_at(self.heard + SILENT_MAX, self.messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err("the connection is closed".to_owned()),
                Err(_) => return Err("the consumer says nothing".to_owned()),
            };
            self.heard = Instant::now();
            let answers_the_last = message.subject.rsplit('.').next() == Some(&self.questions.to_string());
            match message.status.map(|status| status.as_u16()) {
                None => {
                    self.asked -= u32::from(answers_the_last);
                    self.begun = true;
                    return stored(message).ok_or_else(|| "a message without its place".to_owned());
                }
                // It is there.
                Some(100) => {}
                Some(_) if !answers_the_last => {}
                // Nothing came for as long as it would wait.
                Some(404 | 408) => self.asked = 0,
                Some(status) => {
                    let told = message.description.unwrap_or_default();
                    if !HARMLESS.contains(&told.to_lowercase().as_str()) {
                        return Err(format!("{status} {told}"));
                    }
                    self.asked = 0;
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<(), String> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream.names.stream, self.consumer);
        let body = json!({
            "batch": BATCH,
            "max_bytes": BATCH_BYTES,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        self.questions += 1;
        let (connection, inbox) = (&self.stream.connection, Some(format!("{}.{}", self.inbox, self.questions)));
        if !connection.tell(subject, inbox, body.to_string().into(), connection.timeouts.ack).await {
            return Err("no server is connected".to_owned());
        }
        (self.asked, self.heard) = (BATCH, Instant::now());
        Ok(())
    }
}

impl Drop for Feed {
    /// Servers forget the consumer by themselves; told, they do it at once.
    fn drop(&mut self) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream.names.stream, self.consumer);
        let client = self.stream.connection.client().clone();
        self.stream.connection.handle().spawn(async move { client.publish(subject, "".into()).await });
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("it is seconds")
}

/// `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.…`, or with two tokens more before the stream, and one at the end.
fn stored(message: Message) -> Option<Stored> {
    let reply = message.reply?;
    let tokens: Vec<&str> = reply.split('.').collect();
    let at = if tokens.len() < 11 { 5 } else { 7 };
    Some(Stored { at: tokens.get(at)?.parse().ok()?, payload: message.payload })
}
