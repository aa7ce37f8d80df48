//! The stream of one log: its messages in their order, told apart.
//!
//! Invariants: jetstream.S1 the sequences of messages are dense, from the first that is kept to the last; jetstream.S2 the
//! last group is never forgotten, and so nothing behind it is: which term is the newest, and with which event the log
//! ends, is always known; jetstream.S3 a message of a term, once forgotten, is never the last of its subject again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dovetail_log::shared::{Group, LogIdentity, Position, PutError, SharedReadError, Term};
use tokio::time::sleep;

use crate::api::{self, Condition, Stored, StreamState, Which};
use crate::connection::Connection;
use crate::encoding::{self, Said};
use crate::names::Names;
use crate::settings;

/// So often all servers are asked for a message that one of them lacks: one that lags gets some time.
const ASKED_MAX: u32 = 5;
const AGAIN: Duration = Duration::from_millis(20);

/// What a server answers for a message that no replica has as it was written.
pub(crate) const MISSING: &str = "no server has the entry as it was written";

/// The newest term, and the last message that tells of terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub term: Option<Term>,
    /// 0 when no message of a term is left.
    pub told_at: u64,
}

/// A group, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct GroupAt {
    pub at: u64,
    pub term: Term,
    pub group: Group,
}

/// The stream of a log, over one connection.
pub(crate) struct LogStream {
    pub connection: Connection,
    pub names: Names,
    pub identity: LogIdentity,
    /// Entries that were asked of other replicas.
    filled: AtomicU64,
}

impl LogStream {
    pub fn new(connection: Connection, names: Names, identity: LogIdentity) -> LogStream {
        LogStream { connection, names, identity, filled: AtomicU64::new(0) }
    }

    /// Entries that one replica lacked, and another had.
    pub fn filled(&self) -> u64 {
        self.filled.load(Ordering::Relaxed)
    }

    pub fn decode(&self, stored: &Stored) -> Result<Said, SharedReadError> {
        encoding::decode(self.identity.log_id, &stored.payload).map_err(|what| damaged(stored.at, what))
    }

    pub async fn put_frame(&self, behind: u64, payload: Bytes) -> Result<Position, PutError> {
        api::put(&self.connection, &self.names, &self.names.frames, Condition::Last(behind), payload).await
    }

    pub async fn put_term(&self, condition: Condition, payload: Bytes) -> Result<Position, PutError> {
        api::put(&self.connection, &self.names, &self.names.terms, condition, payload).await
    }

    /// A message, as the leader has it.
    pub async fn get(&self, which: Which<'_>) -> Result<Option<Stored>, SharedReadError> {
        Ok(api::get(&self.connection, &self.names.stream, which).await?)
    }

    /// How the stream is, which has to be this log's still.
    pub async fn state(&self) -> Result<StreamState, SharedReadError> {
        let state = api::info(&self.connection, &self.names.stream).await?;
        if settings::log_id(&state.config) != Some(self.identity.log_id) {
            return Err(damaged(0, "the stream is not of this log any more"));
        }
        Ok(state)
    }

    /// Forgets all messages up to one, which is before the last group.
    pub async fn purge(&self, through: u64) -> Result<(), SharedReadError> {
        Ok(api::purge(&self.connection, &self.names.stream, through + 1).await?)
    }

    /// The first group from a message on that the leader has.
    pub async fn group_from(&self, at: u64) -> Result<Option<GroupAt>, SharedReadError> {
        self.group(Which::From(at, &self.names.frames)).await
    }

    /// The last group that the leader has.
    pub async fn last_group(&self) -> Result<Option<GroupAt>, SharedReadError> {
        self.group(Which::Last(&self.names.frames)).await
    }

    async fn group(&self, which: Which<'_>) -> Result<Option<GroupAt>, SharedReadError> {
        match self.said(which).await? {
            None => Ok(None),
            Some((at, Said::Group { term, group })) => Ok(Some(GroupAt { at, term, group })),
            Some((at, Said::Term { .. } | Said::Reminder(_))) => Err(damaged(at, "a term is where groups are")),
        }
    }

    /// Where a message is, and what it says. None when the leader has none such; one that the leader has damaged is
    /// asked of another replica.
    pub async fn said(&self, which: Which<'_>) -> Result<Option<(u64, Said)>, SharedReadError> {
        let Some(stored) = self.get(which).await? else { return Ok(None) };
        let stored = if self.decode(&stored).is_ok() { stored } else { self.fill(stored.at).await? };
        Ok(Some((stored.at, self.decode(&stored)?)))
    }

    /// What a message says that is above the floor and not behind the last.
    pub async fn said_at(&self, at: u64) -> Result<Said, SharedReadError> {
        match self.said(Which::At(at)).await? {
            Some((_, said)) => Ok(said),
            None => self.decode(&self.fill(at).await?),
        }
    }

    /// The newest term. Messages of terms that were forgotten are before the last group, which says its own (S2).
    pub async fn newest(&self) -> Result<Newest, SharedReadError> {
        for _ in 0..2 {
            let newest = self.look_for_the_newest().await?;
            if newest.term.is_some() || self.state().await?.last == 0 {
                return Ok(newest);
            }
            // The first term has begun since it was looked for.
        }
        Err(damaged(0, "the log has messages, and neither a term nor a group"))
    }

    async fn look_for_the_newest(&self) -> Result<Newest, SharedReadError> {
        let (told_at, told) = match self.said(Which::Last(&self.names.terms)).await? {
            None => (0, None),
            Some((at, Said::Term { writer, address })) => (at, Some(Term { at: Position(at), writer, address })),
            Some((at, Said::Reminder(term))) => (at, Some(term)),
            Some((at, Said::Group { .. })) => return Err(damaged(at, "a group is where terms are")),
        };
        // A reminder that came late may be of an earlier term, and a leader may lack what told of a later one.
        let of_the_last = self.last_group().await?.map(|last| last.term);
        Ok(Newest { term: told.into_iter().chain(of_the_last).max_by_key(|term| term.at), told_at })
    }

    /// A message that the replica lacks which was asked, or has damaged: as some replica has it. It is above the floor,
    /// unless it is forgotten meanwhile.
    pub async fn fill(&self, at: u64) -> Result<Stored, SharedReadError> {
        for _ in 0..ASKED_MAX {
            let mut silence = None;
            for server in self.connection.to_each().await {
                match api::get_of(&self.connection, server, &self.names.stream, at).await {
                    Ok(Some(stored)) if self.decode(&stored).is_ok() => {
                        self.filled.fetch_add(1, Ordering::Relaxed);
                        let stream = &self.names.stream;
                        tracing::warn!(
                            stream,
                            at,
                            "a replica of the log is damaged: it lacks an entry that another has"
                        );
                        return Ok(stored);
                    }
                    Ok(_) => {}
                    Err(error) => silence = Some(error),
                }
            }
            // One that says nothing may have it.
            if let Some(error) = silence {
                return Err(error.into());
            }
            sleep(AGAIN).await;
        }
        let floor = self.state().await?.floor();
        if at <= floor {
            return Err(SharedReadError::Trimmed { after: Position(at - 1), floor: Position(floor) });
        }
        Err(damaged(at, MISSING))
    }
}

pub(crate) fn damaged(at: u64, what: &'static str) -> SharedReadError {
    SharedReadError::Damaged { at: Position(at), what }
}
