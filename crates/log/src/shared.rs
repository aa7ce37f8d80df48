//! A log that several writers share, of which one at a time appends: a log that outlives the machine of its writer.
//!
//! ```text
//! active   ReplicatedLog -> TermWriter -> Engine          an append is durable once the engine has it,
//!                        -> its own copy                  and then it is in the copy
//! standby  Copying       <- Follow     <- Engine          the same records, in the same order
//!                        -> its own copy
//! ```
//!
//! An [`Engine`] keeps entries in one order, and takes a group of records only behind the entry that its writer
//! believes to be the last. A *term* is the reign of one writer: it begins with an entry of its own, whose position is
//! its number, and with that nothing of an earlier term is taken any more. What is asked of an engine may stay without
//! an answer: [`Appending`] and [`TakingOver`] say what follows from what is heard, and [`Succession`] holds what is
//! read against what was read before.
//!
//! Invariants, checked by [`conformance::shared`](crate::conformance::shared) for every engine: shared.T1 a group is in
//! the log only behind the entry of its term, and before that of any other; shared.T2 each group begins where the group
//! before it ends; shared.T3 what an append was answered with `Ok` for is there once, and what it was answered with
//! [`Fenced`](SharedAppendError::Fenced) for never is; shared.T4 a copy has no record that the log does not have.

mod appending;
mod copying;
mod memory;
mod replicated;
mod succession;
mod writer;

use std::fmt;
use std::time::Duration;

use crate::log::{Log, Record};
pub use appending::{Appending, Heard, NextStep, TakingOver, TermSeen, TookOver, WhatFollows};
pub use copying::{CopyError, Copying};
pub use memory::{LostPut, MemoryEngine};
pub use replicated::ReplicatedLog;
pub use succession::Succession;
pub use writer::{SharedAppendError, TakeOverError, TermWriter, take_over};

/// Where an entry is in a shared log. The engine gives it; entries that come later have higher ones, not the next ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Before every entry.
    pub const ZERO: Position = Position(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A process that may write. Drawn at random when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(pub u128);

/// Which log it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The cluster's name.
    pub cluster: String,
    /// Drawn at random when the log was made.
    pub log_id: u128,
    /// The event after which its first group begins: 0, or what a log that was moved here was trimmed through.
    pub begins_after: u64,
}

impl LogIdentity {
    /// Where a copy of it ends: one that is empty, where it begins.
    fn end_of(&self, copy: &dyn Log) -> u64 {
        copy.last().max(self.begins_after)
    }
}

/// The reign of one writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Where it begins; its number.
    pub at: Position,
    /// Whose it is.
    pub writer: WriterId,
    /// Where the writer is, for people and clients.
    pub address: String,
}

/// What one append takes: all of it, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `through` of the group before it.
    pub after: u64,
    /// At least one, ascending.
    pub records: Vec<Record>,
}

impl Group {
    /// `through` of its last record.
    #[must_use]
    pub fn through(&self) -> u64 {
        self.records.last().map_or(self.after, |record| record.through)
    }

    /// Bytes of its records, with their headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| crate::RECORD_HEADER_BYTES + record.bytes.len()).sum()
    }
}

/// What a shared log consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A term begins.
    Term {
        /// Whose it is.
        writer: WriterId,
        /// Where the writer is.
        address: String,
    },
    /// Records of a term.
    Group {
        /// The position of the term's first entry.
        term: Position,
        /// The records.
        group: Group,
    },
}

/// A writer, or one that may become it, says that it lives. It is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Who.
    pub writer: WriterId,
    /// The newest term that it knows of.
    pub term: Option<Position>,
    /// The last event of its copy.
    pub recorded: u64,
    /// The last event that is in its results.
    pub stored: u64,
    /// It can begin again with what it has of its own, and needs nothing of the log at or below this event.
    pub kept: u64,
    /// Where it is.
    pub address: String,
    /// It writes, and would rather another took over.
    pub yields: bool,
}

/// What a reader of a shared log gets, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A term begins.
    Term(Term),
    /// Records.
    Group {
        /// Where they are.
        at: Position,
        /// Of which term.
        term: Position,
        /// The records.
        group: Group,
    },
    /// Nothing came for as long as the reader would wait.
    Quiet,
}

/// Why an engine has not said that it took an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The condition does not hold: this copy of the entry is not in the log, and never will be.
    #[error("another entry came first")]
    Refused,
    /// There is no room: this copy of the entry is not in the log, and never will be.
    #[error("the log is full: {why}")]
    Full {
        /// In the engine's words.
        why: String,
    },
    /// No copy of the entry is ever taken.
    #[error("an entry of {bytes} bytes, and the engine takes {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size taken.
        bytes_max: usize,
    },
    /// It may be in the log, may come to it later, or be lost.
    #[error("the log does not answer: {why}")]
    Unknown {
        /// In the engine's words.
        why: String,
    },
}

/// Why a shared log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedReadError {
    /// The cursor is below the floor: entries after it were trimmed.
    #[error("nothing can be read after {after}: the shared log was trimmed through {floor}")]
    Trimmed {
        /// The cursor.
        after: Position,
        /// The last entry that was trimmed.
        floor: Position,
    },
    /// Records are missing.
    #[error("at {at} the shared log goes on after {found}, but {expected} was the last record before")]
    Gap {
        /// Where.
        at: Position,
        /// The event that comes before the next group.
        expected: u64,
        /// What the group says.
        found: u64,
    },
    /// What is there is not what was written.
    #[error("the shared log is damaged at {at}: {what}")]
    Damaged {
        /// Where.
        at: Position,
        /// What is wrong there.
        what: &'static str,
    },
    /// A copy has more than the log, or ends within a group: it is the copy of another log.
    #[error("no group of the shared log ends with {through}, as the copy does; the log ends with {last}")]
    AnotherLog {
        /// The last event of the copy.
        through: u64,
        /// The last event of the log.
        last: u64,
    },
    /// The engine cannot be reached.
    #[error("the log does not answer: {why}")]
    Unavailable {
        /// In the engine's words.
        why: String,
    },
}

/// Reads a shared log as it grows. Belongs to one thread.
pub trait Follow: Send {
    /// What comes next, or [`Followed::Quiet`] when nothing comes for so long.
    ///
    /// # Errors
    /// When entries that come next are gone, or cannot be read.
    fn next(&mut self, patience: Duration) -> Result<Followed, SharedReadError>;
}

/// Hears who lives. Belongs to one thread.
pub trait Hear: Send {
    /// The next beat, of this process or another. None when none comes for so long, or none can be heard now.
    fn next(&mut self, patience: Duration) -> Option<Beat>;
}

/// One process's access to an engine that keeps a shared log. What is put is durable before it is answered for.
pub trait Engine: Send {
    /// Another access of this process to the same log, for another thread.
    fn another(&self) -> Box<dyn Engine>;

    /// Which log it is.
    fn identity(&self) -> &LogIdentity;

    /// The most that [`Group::bytes`] of one group may be.
    fn group_bytes_max(&self) -> usize;

    /// Adds a group of a term behind the entry `expects`, if that is the last. Returns where it is.
    ///
    /// # Errors
    /// When it was not added, or that is not known.
    fn put_group(&mut self, expects: Position, term: Position, group: &Group) -> Result<Position, PutError>;

    /// Begins a term behind the last entry, if `seen` is the newest term; none is before the first. Groups that are put
    /// meanwhile are no reason to refuse it, nor is a trim.
    ///
    /// # Errors
    /// When it was not added, or that is not known.
    fn put_term(&mut self, seen: Option<Position>, writer: WriterId, address: &str) -> Result<Position, PutError>;

    /// The newest term, as whoever takes entries knows it.
    ///
    /// # Errors
    /// When that is not known.
    fn newest_term(&mut self) -> Result<Option<Term>, SharedReadError>;

    /// The first entry after a position, as whoever takes entries knows it.
    ///
    /// # Errors
    /// When it is gone, or cannot be read.
    fn entry_after(&mut self, after: Position) -> Result<Option<(Position, Entry)>, SharedReadError>;

    /// Forgets entries up to a position, or fewer, and none above it. Returns the last that is forgotten. May be asked
    /// for by any process, and again. The newest term stays known when its entry is forgotten.
    ///
    /// # Errors
    /// When it is not known whether they are forgotten.
    fn trim(&mut self, through: Position) -> Result<Position, SharedReadError>;

    /// Where the copy of a reader goes on whose last record is `through`.
    ///
    /// # Errors
    /// When what comes next is gone, or the copy is of another log.
    fn find(&mut self, through: u64) -> Result<Position, SharedReadError>;

    /// Reads all that comes after a position.
    fn follow(&self, after: Position) -> Box<dyn Follow>;

    /// Hears beats from now on.
    fn hear(&self) -> Box<dyn Hear>;

    /// Says to all that hear that this process lives. It may be lost.
    fn beat(&mut self, beat: &Beat);
}
