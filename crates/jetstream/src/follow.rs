//! [`Follow`] on a stream of JetStream.
//!
//! Invariants: jetstream.F1 a reader gets every message that is above the floor, once, in the order of sequences; what one
//! replica lacks it gets from another, and what none has ends it. jetstream.F2 waiting for servers is done beside the
//! reader, which waits no longer than its patience, and one question more.

use std::sync::Arc;
use std::time::Duration;

use dovetail_log::shared::{Follow, Followed, Position, SharedReadError, Term};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::{ApiError, Stored};
use crate::encoding::Said;
use crate::feed::Feed;
use crate::stream::LogStream;

/// After how long another feed is begun when one could not be.
const AGAIN: Duration = Duration::from_millis(50);

/// Where messages come from.
enum Source {
    /// It is on its way.
    Begins(JoinHandle<Result<Feed, ApiError>>),
    /// It is there; the leader is asked for the floor, before anything of it is believed.
    Checked(Box<Feed>, JoinHandle<Result<u64, SharedReadError>>),
    /// As it is.
    Flows(Box<Feed>),
}

/// A reader of the log.
pub(crate) struct JetStreamFollow {
    stream: Arc<LogStream>,
    /// The last message that was handled.
    at: u64,
    source: Option<Source>,
    /// A message that came, with others missing before it.
    ahead: Option<Stored>,
}

impl JetStreamFollow {
    /// Begins after a position.
    pub fn begin(stream: Arc<LogStream>, after: Position) -> JetStreamFollow {
        let mut follow = JetStreamFollow { stream, at: after.0, source: None, ahead: None };
        // Begun here, it takes nothing of the patience of whoever reads; messages are asked for with the first read.
        let mut begins = follow.feed();
        let begun = follow.stream.connection.wait_for(async { timeout(follow.api_timeout(), &mut begins).await });
        follow.source = match begun {
            Ok(Ok(Ok(feed))) => Some(follow.checked(feed)),
            Ok(_) => None,
            Err(_) => Some(Source::Begins(begins)),
        };
        follow
    }

    fn api_timeout(&self) -> Duration {
        self.stream.connection.timeouts.api
    }

    fn feed(&self) -> JoinHandle<Result<Feed, ApiError>> {
        self.stream.connection.handle().spawn(Feed::begin(Arc::clone(&self.stream), self.at))
    }

    fn checked(&self, feed: Feed) -> Source {
        let stream = Arc::clone(&self.stream);
        let floor = async move { stream.state().await.map(|state| state.floor()) };
        Source::Checked(Box::new(feed), self.stream.connection.handle().spawn(floor))
    }

    /// The next message, in whatever order they come. None when the source has changed.
    async fn arrives(&mut self) -> Result<Option<Stored>, SharedReadError> {
        match &mut self.source {
            None => {
                self.source = Some(Source::Begins(self.feed()));
                Ok(None)
            }
            Some(Source::Begins(begins)) => {
                let begun = begins.await;
                self.source = None;
                match begun {
                    Ok(Ok(feed)) => self.source = Some(self.checked(feed)),
                    _ => sleep(AGAIN).await,
                }
                Ok(None)
            }
            Some(Source::Checked(_, floor)) => {
                let floor = floor.await;
                let Some(Source::Checked(feed, _)) = self.source.take() else { return Ok(None) };
                match floor {
                    Ok(Ok(floor)) => self.not_below(floor)?,
                    Ok(Err(error @ SharedReadError::Damaged { .. })) => return Err(error),
                    _ => {
                        sleep(AGAIN).await;
                        return Ok(None);
                    }
                }
                self.source = Some(Source::Flows(feed));
                Ok(None)
            }
            Some(Source::Flows(feed)) => {
                let first = !feed.begun;
                match feed.next().await {
                    // Others are missing before it, perhaps only on their way here: then another feed has them.
                    Ok(stored) if stored.at > self.at + 1 && !first => self.source = None,
                    Ok(stored) => return Ok((stored.at > self.at).then_some(stored)),
                    Err(why) => {
                        let (stream, at) = (&self.stream.names.stream, self.at);
                        tracing::debug!(stream, at, why, "a reader of the log begins again");
                        self.source = None;
                    }
                }
                Ok(None)
            }
        }
    }

    fn not_below(&self, floor: u64) -> Result<(), SharedReadError> {
        if self.at < floor {
            return Err(SharedReadError::Trimmed { after: Position(self.at), floor: Position(floor) });
        }
        Ok(())
    }

    /// The message that comes next, though others came before it. None when servers do not say.
    async fn missing(&mut self) -> Result<Option<Stored>, SharedReadError> {
        let Some(state) = if_said(self.stream.state().await).await? else { return Ok(None) };
        self.not_below(state.floor())?;
        if_said(self.stream.fill(self.at + 1).await).await
    }

    /// What a message says, which is the next one. None when it is nothing that readers get.
    async fn read(&mut self, mut stored: Stored) -> Result<Option<Followed>, SharedReadError> {
        if self.stream.decode(&stored).is_err() {
            // Whatever becomes of it, another feed begins with it.
            self.source = None;
            match if_said(self.stream.fill(stored.at).await).await? {
                Some(filled) => stored = filled,
                None => return Ok(None),
            }
        }
        let (at, said) = (Position(stored.at), self.stream.decode(&stored)?);
        self.at = stored.at;
        Ok(match said {
            Said::Term { writer, address } => Some(Followed::Term(Term { at, writer, address })),
            Said::Group { term, group } => Some(Followed::Group { at, term: term.at, group }),
            Said::Reminder(_) => None,
        })
    }

    /// A message that comes next, once it is there.
    async fn next_message(&mut self) -> Result<Option<Stored>, SharedReadError> {
        match self.ahead.take() {
            None => self.arrives().await,
            Some(ahead) if ahead.at <= self.at => Ok(None),
            ahead => Ok(ahead),
        }
    }

    async fn next_within(&mut self, patience: Duration) -> Result<Followed, SharedReadError> {
        let until = Instant::now() + patience;
        loop {
            // Given up in between, it goes on where it was.
            let message = match timeout_at(until, self.next_message()).await {
                Ok(message) => message,
                Err(_) => return Ok(Followed::Quiet),
            };
            let next = match message {
                Ok(Some(stored)) if stored.at > self.at + 1 => {
                    self.ahead = Some(stored);
                    self.missing().await
                }
                other => other,
            };
            match next? {
                Some(stored) => {
                    if let Some(followed) = self.read(stored).await? {
                        return Ok(followed);
                    }
                }
                None if self.ahead.is_some() && Instant::now() >= until => return Ok(Followed::Quiet),
                None => {}
            }
        }
    }
}

/// What servers say. None when they say nothing; they are not asked again at once.
async fn if_said<T>(said: Result<T, SharedReadError>) -> Result<Option<T>, SharedReadError> {
    match said {
        Ok(said) => Ok(Some(said)),
        Err(SharedReadError::Unavailable { .. }) => {
            sleep(AGAIN).await;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Follow for JetStreamFollow {
    fn next(&mut self, patience: Duration) -> Result<Followed, SharedReadError> {
        let stream = Arc::clone(&self.stream);
        stream.connection.wait_for(self.next_within(patience))
    }
}
