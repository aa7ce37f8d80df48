//! A log of one's own that follows a shared one.

use std::time::{Duration, Instant};

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
pub struct Copying {
    follow: Box<dyn Follow>,
    read: Succession,
    copy: Box<dyn Log>,
}

impl std::fmt::Debug for Copying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copying").field("read", &self.read).finish_non_exhaustive()
    }
}

impl Copying {
    /// Goes on where a copy ends. One that is empty begins where the shared log does.
    ///
    /// # Errors
    /// When what comes next is gone from the shared log, or the copy is another log's.
    pub fn begin(engine: &mut dyn Engine, copy: Box<dyn Log>) -> Result<Copying, SharedReadError> {
        let through = engine.identity().end_of(&*copy);
        let at = engine.find(through)?;
        Ok(Copying { follow: engine.follow(at), read: Succession::after(at, through), copy })
    }

    /// How far the copy is.
    #[must_use]
    pub fn read(&self) -> &Succession {
        &self.read
    }

    /// The copy.
    #[must_use]
    pub fn copy(&self) -> &dyn Log {
        &*self.copy
    }

    /// What comes next; records are in the copy then. [`Followed::Quiet`] when nothing comes for so long.
    ///
    /// # Errors
    /// When what comes next cannot be read, breaks the rules of shared logs, or cannot be written. Nothing of it is in
    /// the copy then; begin again with one that was opened again.
    pub fn step(&mut self, patience: Duration) -> Result<Followed, CopyError> {
        let followed = self.follow.next(patience)?;
        self.read.on_followed(&followed)?;
        if let Followed::Group { group, .. } = &followed {
            self.copy.append(&group.records)?;
        }
        Ok(followed)
    }

    /// Follows up to the beginning of this process's term, behind which nobody else appends: then it may.
    ///
    /// # Errors
    /// When what comes before cannot be read or written; or no entry comes for so long, whoever lives.
    ///
    /// # Panics
    /// When the copy has followed beyond the term already.
    pub fn take_over(mut self, writer: TermWriter, patience: Duration) -> Result<ReplicatedLog, CopyError> {
        let begins = writer.term().at;
        assert!(self.read.at() <= begins, "nothing is behind {begins} before its writer has appended");
        let mut until = Instant::now() + patience;
        while self.read.at() < begins {
            let left = until.saturating_duration_since(Instant::now());
            match self.step(left)? {
                Followed::Term(_) | Followed::Group { .. } => until = Instant::now() + patience,
                Followed::Beat(_) if !left.is_zero() => {}
                Followed::Beat(_) | Followed::Quiet => {
                    let why = format!("the term began at {begins}, and nothing comes after {}", self.read.at());
                    return Err(SharedReadError::Unavailable { why }.into());
                }
            }
        }
        Ok(ReplicatedLog::new(writer, self.copy))
    }
}
