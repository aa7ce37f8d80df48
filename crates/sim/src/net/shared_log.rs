//! What balancers ask of the engine that keeps their log, and what it says.

use std::fmt;

use dovetail_log::shared::{Heard, Position};
use dovetail_node::{
    BalancerId, Term, Writer,
    balancer::{BalancerBeat, Reign},
};

use crate::disk::LogRecord;

/// Something that a balancer asks, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskId(pub u32);

/// What is to be added, and on which condition.
#[derive(Clone, Debug)]
pub enum Put {
    /// Frames of a term, behind an entry.
    Group {
        /// The last entry.
        expects: Position,
        /// The term.
        term: Term,
        /// The frames.
        records: Vec<LogRecord>,
    },
    /// A term, behind another.
    Term {
        /// The newest term.
        seen: Option<Term>,
        /// Who would write.
        balancer: BalancerId,
        /// Which process of it.
        writer: Writer,
    },
}

/// What a balancer asks of the engine.
#[derive(Clone, Debug)]
pub enum EngineAsk {
    /// Add an entry.
    Put(AskId, Put),
    /// Which entry comes after one?
    After(AskId, Position),
    /// Which term is the newest?
    NewestTerm(AskId),
    /// Tell the others.
    Beat(BalancerBeat),
}

/// What the engine says.
#[derive(Clone, Debug)]
pub enum EngineSaid {
    /// What became of an entry.
    Heard(AskId, Heard),
    /// The entry that comes after one.
    Follows(AskId, Option<Entry>),
    /// The newest term.
    Newest(AskId, Option<Reign>),
    /// The next entry.
    Entry(Entry),
    /// Another balancer lives.
    Beat(BalancerBeat),
}

impl EngineSaid {
    /// What identifies it in a trace.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        match self {
            EngineSaid::Heard(id, heard) => u64::from(id.0) << 2 | u64::from(matches!(heard, Heard::Taken(_))),
            EngineSaid::Follows(id, entry) => u64::from(id.0) << 2 | 2 | u64::from(entry.is_some()),
            EngineSaid::Newest(id, newest) => u64::from(id.0) ^ newest.map_or(0, |newest| newest.term.0 << 32),
            EngineSaid::Entry(entry) => entry.at.0 << 40,
            EngineSaid::Beat(beat) => beat.stored.0 << 20 | u64::from(beat.balancer.0),
        }
    }
}

impl fmt::Display for EngineSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineSaid::Heard(id, heard) => write!(f, "{heard:?} to {}", id.0),
            EngineSaid::Follows(_, None) => f.write_str("nothing follows"),
            EngineSaid::Follows(_, Some(entry)) => write!(f, "{} follows", entry.at),
            EngineSaid::Newest(_, newest) => write!(f, "the newest term is {newest:?}"),
            EngineSaid::Entry(Entry { at, kind: EntryKind::Term(reign) }) => write!(f, "{at} {reign:?}"),
            EngineSaid::Entry(Entry { at, kind: EntryKind::Group(term, records) }) => {
                write!(f, "{at} of {term}")?;
                records.iter().try_for_each(|record| {
                    let frame = &record.frame;
                    write!(f, " ({}, {}] stable {}", frame.after, frame.through, frame.stable)
                })
            }
            EngineSaid::Beat(beat) => write!(f, "{beat:?}"),
        }
    }
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is.
    pub at: Position,
    /// What it is.
    pub kind: EntryKind,
}

/// What the log consists of.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// A term begins here.
    Term(Reign),
    /// Frames of a term.
    Group(Term, Vec<LogRecord>),
}
