//! A log of one's own that follows a shared one.

use std::time::Duration;

use thiserror::Error;

use super::{Engine, Follow, Followed, ReplicatedLog, SharedReadError, Succession, TermWriter};
use crate::error::AppendError;
use crate::log::Log;

/// Why a copy does not go on.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The shared log cannot be read.
    #[error(transparent)]
    Read(#[from] SharedReadError),
    /// The copy cannot be written.
    #[error("the copy of the shared log: {0}")]
    Append(#[from] AppendError),
}

/// A copy of a shared log, and what follows it. The copy has what was followed, and nothing else (shared.T4).
pub struct Copying<C> {
    follow: Box<dyn Follow>,
    read: Succession,
    copy: C,
    /// A group that was read, and for which the copy has no room.
    held: Option<Followed>,
}

impl<C> std::fmt::Debug for Copying<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copying").field("read", &self.read).finish_non_exhaustive()
    }
}

impl<C: Log> Copying<C> {
    /// Goes on where a copy ends. One that is empty begins where the shared log does.
    ///
    /// # Errors
    /// When what comes next is gone from the shared log, or the copy is another log's.
    pub fn begin(engine: &mut dyn Engine, copy: C) -> Result<Copying<C>, SharedReadError> {
        let through = engine.identity().end_of(&copy);
        let at = engine.find(through)?;
        Ok(Copying { follow: engine.follow(at), read: Succession::after(at, through), copy, held: None })
    }

    /// How far the copy is.
    #[must_use]
    pub fn read(&self) -> &Succession {
        &self.read
    }

    /// The copy.
    pub fn copy(&mut self) -> &mut C {
        &mut self.copy
    }

    /// The copy alone.
    #[must_use]
    pub fn into_copy(self) -> C {
        self.copy
    }

    /// What comes next; records are in the copy then. [`Followed::Quiet`] when nothing comes for so long.
    ///
    /// # Errors
    /// When what comes next cannot be read, breaks the rules of shared logs, or cannot be written. Nothing of it is in
    /// the copy then; begin again with one that was opened again. Where the disk is full ([`AppendError::DiskFull`]),
    /// there may be room the next time.
    pub fn step(&mut self, patience: Duration) -> Result<Followed, CopyError> {
        let followed = match self.held.take() {
            Some(held) => held,
            None => {
                let followed = self.follow.next(patience)?;
                self.read.on_followed(&followed)?;
                followed
            }
        };
        if let Followed::Group { group, .. } = &followed
            && let Err(error) = self.copy.append(&group.records)
        {
            if matches!(error, AppendError::DiskFull { .. }) {
                self.held = Some(followed);
            }
            return Err(error.into());
        }
        Ok(followed)
    }

    /// Follows up to the beginning of this process's term, behind which nobody else appends: then it may.
    ///
    /// # Errors
    /// When what comes before cannot be read or written; or no entry comes for so long.
    ///
    /// # Panics
    /// As [`write`](Copying::write).
    pub fn take_over(mut self, writer: TermWriter, patience: Duration) -> Result<ReplicatedLog<C>, CopyError> {
        let begins = writer.term().at;
        while self.read.at() < begins {
            if self.step(patience)? == Followed::Quiet {
                let why = format!("the term began at {begins}, and nothing comes after {}", self.read.at());
                return Err(SharedReadError::Unavailable { why }.into());
            }
        }
        Ok(self.write(writer))
    }

    /// Goes on as the writer, whose term's beginning was read.
    ///
    /// # Panics
    /// When the copy is not there, or beyond.
    #[must_use]
    pub fn write(self, writer: TermWriter) -> ReplicatedLog<C> {
        let (begins, at) = (writer.term().at, self.read.at());
        assert!(at <= begins, "nothing is behind {begins} before its writer has appended");
        assert!(at == begins && self.held.is_none(), "all before {begins} is read first, and not only up to {at}");
        ReplicatedLog::new(writer, self.copy)
    }
}
