//! [`Engine`] on a stream of JetStream.
//!
//! A group is put on condition that the message before it is the last of the stream; a term on condition that the last
//! message that tells of terms is the one which tells of the newest term. Both conditions hold once: sequences are never
//! given again. When no such message is left (the term has lasted since before the floor), a *reminder* is put first,
//! so that there is one; a writer that finds a reminder in its way goes on behind it.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_log::shared::{
    Beat, Engine, Entry, Follow, Group, Hear, LogIdentity, Position, PutError, SharedReadError, Term, WriterId,
};

use crate::api::{Condition, Which};
use crate::connection::Connection;
use crate::encoding::{self, ADDRESS_BYTES_MAX, Said};
use crate::error::JetStreamOpenError;
use crate::follow::JetStreamFollow;
use crate::hear::JetStreamHear;
use crate::names::{self, Names};
use crate::open;
use crate::options::{JetStreamOptions, MESSAGE_BYTES_MAX, MESSAGE_BYTES_SPARE};
use crate::stream::LogStream;

/// One process's access to a shared log on JetStream. May be asked by any thread that belongs to no runtime.
///
/// It has a connection and a thread of its own, which clones share. Each question is bounded by
/// [`JetStreamOptions::timeouts`].
#[derive(Clone)]
pub struct JetStreamEngine {
    pub(crate) stream: Arc<LogStream>,
    pub(crate) replicas: usize,
    group_bytes_max: usize,
    /// The newest term that this process was told of.
    newest: Option<Term>,
}

impl std::fmt::Debug for JetStreamEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (names, identity) = (&self.stream.names, &self.stream.identity);
        f.debug_struct("JetStreamEngine").field("names", names).field("identity", identity).finish_non_exhaustive()
    }
}

impl JetStreamEngine {
    /// Opens a log, or makes it. Waits for servers as long as [`NatsTimeouts::open`](crate::NatsTimeouts::open) says.
    ///
    /// # Errors
    /// When no server answers, or the stream that is there is not what it has to be.
    pub fn open(options: &JetStreamOptions) -> Result<JetStreamEngine, JetStreamOpenError> {
        let stream = names::stream(&options.cluster, options.stream.as_deref())?;
        let connection = Connection::open(options)?;
        let identity = connection.wait_for(open::open(&connection, options, &stream))?;
        let names = Names::new(&options.cluster, &stream, identity.log_id);
        let message_bytes_max = connection.client().max_payload().min(MESSAGE_BYTES_MAX);
        Ok(JetStreamEngine {
            stream: Arc::new(LogStream::new(connection, names, identity)),
            replicas: options.replicas,
            group_bytes_max: message_bytes_max.saturating_sub(MESSAGE_BYTES_SPARE),
            newest: None,
        })
    }

    /// Questions that were not answered in time so far, of this process.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.stream.connection.unanswered()
    }

    /// Entries so far that a replica lacked, or had damaged, and another had.
    #[must_use]
    pub fn filled(&self) -> u64 {
        self.stream.filled()
    }

    /// The term that a group is of, with its writer. None if it is not the newest.
    async fn reign(&mut self, at: Position) -> Result<Option<Term>, SharedReadError> {
        if self.newest.as_ref().is_none_or(|newest| newest.at != at) {
            self.newest = self.stream.newest().await?.term;
        }
        Ok(self.newest.clone().filter(|newest| newest.at == at))
    }
}

impl LogStream {
    /// Puts a group behind an entry, or the reminders that came after it.
    async fn put_behind(&self, expects: Position, term: &Term, group: &Group) -> Result<Position, PutError> {
        let payload = encoding::encode_group(self.identity.log_id, term, group);
        let mut behind = expects.0;
        loop {
            match self.put_frame(behind, payload.clone()).await {
                Err(PutError::Refused) => {}
                heard => return heard,
            }
            match self.said(Which::At(behind + 1)).await {
                Ok(Some((_, Said::Reminder(_)))) => behind += 1,
                Ok(Some(_)) => return Err(PutError::Refused),
                // Who answered may not know what another refused it for.
                Ok(None) if self.is_forgotten(behind + 1).await => return Err(PutError::Refused),
                Ok(None) => return Err(unknown("it was refused, and nothing is in its place")),
                Err(error) => return Err(PutError::Unknown { why: error.to_string() }),
            }
        }
    }

    /// Whether a message is known to have been there.
    async fn is_forgotten(&self, at: u64) -> bool {
        self.state().await.is_ok_and(|state| state.floor() >= at)
    }

    /// Begins a term behind one of which no message may be left.
    async fn put_term_after(&self, seen: Position, payload: Bytes) -> Result<Position, PutError> {
        match self.put_term(Condition::LastOfSubject(seen.0), payload.clone()).await {
            Err(PutError::Refused) => {}
            heard => return heard,
        }
        let newest = self.newest().await.map_err(|error| PutError::Unknown { why: error.to_string() })?;
        let Some(term) = newest.term.filter(|term| term.at == seen) else { return Err(PutError::Refused) };
        let told_at = match newest.told_at {
            // It is there, and the condition should have held: who answered this may not know what came later.
            told_at if told_at == seen.0 => return Err(PutError::Refused),
            0 => {
                let reminder = encoding::encode_reminder(self.identity.log_id, &term);
                match self.put_term(Condition::LastOfSubject(0), reminder).await {
                    Err(PutError::Refused) => return Err(unknown("another process is about to begin a term")),
                    heard => heard?.0,
                }
            }
            told_at => told_at,
        };
        self.put_term(Condition::LastOfSubject(told_at), payload).await
    }

    async fn first_entry_after(&self, after: Position) -> Result<Option<(Position, Entry)>, SharedReadError> {
        let mut at = after.0;
        loop {
            at = at.saturating_add(1);
            let said = match self.said(Which::At(at)).await? {
                Some((_, said)) => said,
                None => {
                    let state = self.state().await?;
                    if after.0 < state.floor() {
                        return Err(SharedReadError::Trimmed { after, floor: Position(state.floor()) });
                    }
                    if at > state.last {
                        return Ok(None);
                    }
                    self.said_at(at).await?
                }
            };
            let entry = match said {
                Said::Reminder(_) => continue,
                Said::Term { writer, address } => Entry::Term { writer, address },
                Said::Group { term, group } => Entry::Group { term: term.at, group },
            };
            return Ok(Some((Position(at), entry)));
        }
    }

    /// Forgets messages up to one, but none of the last group or behind it (S2).
    async fn forget(&self, through: Position) -> Result<Position, SharedReadError> {
        let last = self.last_group().await?.map_or(0, |last| last.at);
        let through = through.0.min(last.saturating_sub(1));
        let floor = self.state().await?.floor();
        if through > floor {
            self.purge(through).await?;
        }
        Ok(Position(through.max(floor)))
    }
}

fn unknown(why: &str) -> PutError {
    PutError::Unknown { why: why.to_owned() }
}

impl Engine for JetStreamEngine {
    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }

    fn identity(&self) -> &LogIdentity {
        &self.stream.identity
    }

    fn group_bytes_max(&self) -> usize {
        self.group_bytes_max
    }

    fn put_group(&mut self, expects: Position, term: Position, group: &Group) -> Result<Position, PutError> {
        let (bytes, bytes_max) = (group.bytes(), self.group_bytes_max);
        if bytes > bytes_max {
            return Err(PutError::TooLarge { bytes, bytes_max });
        }
        let stream = Arc::clone(&self.stream);
        stream.connection.wait_for(async {
            match self.reign(term).await {
                Ok(Some(term)) => stream.put_behind(expects, &term, group).await,
                // Behind an entry of a later term nothing of this one is taken.
                Ok(None) => Err(PutError::Refused),
                Err(error) => Err(PutError::Unknown { why: error.to_string() }),
            }
        })
    }

    fn put_term(&mut self, seen: Option<Position>, writer: WriterId, address: &str) -> Result<Position, PutError> {
        if address.len() > ADDRESS_BYTES_MAX {
            let why = format!("an address of {} bytes, and {ADDRESS_BYTES_MAX} is the most", address.len());
            return Err(PutError::Unknown { why });
        }
        let payload = encoding::encode_term(self.stream.identity.log_id, writer, address);
        let at = self.stream.connection.wait_for(async {
            match seen {
                Some(seen) => self.stream.put_term_after(seen, payload).await,
                // The log begins with its first term.
                None => self.stream.put_term(Condition::Last(0), payload).await,
            }
        })?;
        self.newest = Some(Term { at, writer, address: address.to_owned() });
        Ok(at)
    }

    fn newest_term(&mut self) -> Result<Option<Term>, SharedReadError> {
        let newest = self.stream.connection.wait_for(self.stream.newest())?.term;
        self.newest.clone_from(&newest);
        Ok(newest)
    }

    fn entry_after(&mut self, after: Position) -> Result<Option<(Position, Entry)>, SharedReadError> {
        self.stream.connection.wait_for(self.stream.first_entry_after(after))
    }

    fn trim(&mut self, through: Position) -> Result<Position, SharedReadError> {
        self.stream.connection.wait_for(self.stream.forget(through))
    }

    fn find(&mut self, through: u64) -> Result<Position, SharedReadError> {
        self.stream.connection.wait_for(self.stream.find(through))
    }

    fn follow(&self, after: Position) -> Box<dyn Follow> {
        Box::new(JetStreamFollow::begin(Arc::clone(&self.stream), after))
    }

    fn hear(&self) -> Box<dyn Hear> {
        Box::new(JetStreamHear::begin(Arc::clone(&self.stream)))
    }

    fn beat(&mut self, beat: &Beat) {
        let stream = &self.stream;
        let payload = encoding::encode_beat(stream.identity.log_id, beat);
        let timeout = stream.connection.timeouts.ack;
        stream.connection.wait_for(stream.connection.tell(stream.names.beats.clone(), None, payload, timeout));
    }
}
