//! An engine in memory, for tests and for a cluster in one process that may forget. It can be told to lose what is put,
//! or its answers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Beat, Engine, Entry, Follow, Followed, Group, Hear, LogIdentity, Position, PutError, SharedReadError, Term,
    WriterId,
};

/// Beats that a reader may be behind; older ones are lost to it.
const BEATS: usize = 64;

/// What becomes of something that is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostPut {
    /// It is lost on its way.
    Request,
    /// It is taken, if it may be, and the answer is lost.
    Answer,
    /// Nothing is heard of it, and it comes when [`MemoryEngine::arrive`] says.
    Late,
}

/// Something on its way to the log, with its condition.
#[derive(Clone, Debug)]
enum Put {
    Group(Position, Position, Group),
    Term(Option<Position>, WriterId, String),
}

#[derive(Debug)]
struct Kept {
    entries: VecDeque<(Position, Entry)>,
    floor: Position,
    /// `through` of the last group at or below the floor.
    floor_through: u64,
    last: Position,
    last_through: u64,
    term: Option<Term>,
    term_before: Option<Term>,
    bytes: usize,
    bytes_max: usize,
    beats: VecDeque<Beat>,
    /// Beats that were dropped from the front.
    beats_dropped: u64,
    lost: VecDeque<LostPut>,
    late: Vec<Put>,
    /// How many of the next looks are answered by somebody who does not know the last entry.
    stale: usize,
}

impl Kept {
    fn take(&mut self, put: &Put) -> Result<Position, PutError> {
        let (holds, bytes) = match put {
            Put::Group(expects, _, group) => (*expects == self.last, group.bytes()),
            Put::Term(seen, ..) => (*seen == self.term.as_ref().map(|term| term.at), 0),
        };
        if !holds {
            return Err(PutError::Refused);
        }
        if self.bytes + bytes > self.bytes_max {
            let why = format!("{} bytes are kept, and {} is the most", self.bytes, self.bytes_max);
            return Err(PutError::Full { why });
        }
        // As in an engine that counts other things, too.
        let at = Position(self.last.0 + 1 + self.last.0 % 3);
        let entry = match put.clone() {
            Put::Group(_, term, group) => {
                self.last_through = group.through();
                Entry::Group { term, group }
            }
            Put::Term(_, writer, address) => {
                let term = Term { at, writer, address: address.clone() };
                self.term_before = self.term.replace(term);
                Entry::Term { writer, address }
            }
        };
        self.bytes += bytes;
        self.last = at;
        self.entries.push_back((at, entry));
        Ok(at)
    }

    /// Whether this look is answered by somebody who does not know the last entry.
    fn is_stale(&mut self) -> bool {
        let stale = self.stale > 0;
        self.stale -= usize::from(stale);
        stale
    }

    fn first_after(&self, after: Position) -> Result<Option<&(Position, Entry)>, SharedReadError> {
        if after < self.floor {
            return Err(SharedReadError::Trimmed { after, floor: self.floor });
        }
        Ok(self.entries.get(self.entries.partition_point(|(at, _)| *at <= after)))
    }
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    changed: Condvar,
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shared log in memory. Clones are of the same log; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
    identity: LogIdentity,
    group_bytes_max: usize,
}

impl MemoryEngine {
    /// An empty log that holds at most `bytes_max` bytes of records, and takes groups of at most `group_bytes_max`.
    #[must_use]
    pub fn new(identity: LogIdentity, bytes_max: usize, group_bytes_max: usize) -> MemoryEngine {
        let kept = Kept {
            entries: VecDeque::new(),
            floor: Position::ZERO,
            floor_through: identity.begins_after,
            last: Position::ZERO,
            last_through: identity.begins_after,
            term: None,
            term_before: None,
            bytes: 0,
            bytes_max,
            beats: VecDeque::new(),
            beats_dropped: 0,
            lost: VecDeque::new(),
            late: Vec::new(),
            stale: 0,
        };
        let shared = Arc::new(Shared { kept: Mutex::new(kept), changed: Condvar::new() });
        MemoryEngine { shared, identity, group_bytes_max }
    }

    /// Something is lost of what is put next, behind what was to be lost before.
    pub fn lose(&self, what: LostPut) {
        self.shared.kept().lost.push_back(what);
    }

    /// What is late comes now, the last of it first. Nobody hears what becomes of it.
    pub fn arrive(&self) {
        let mut kept = self.shared.kept();
        while let Some(put) = kept.late.pop() {
            _ = kept.take(&put);
        }
        drop(kept);
        self.shared.changed.notify_all();
    }

    /// So many of the next looks for an entry or a term are answered by somebody who does not know the last entry.
    pub fn stale(&self, looks: usize) {
        self.shared.kept().stale = looks;
    }

    fn put(&self, put: Put) -> Result<Position, PutError> {
        let mut kept = self.shared.kept();
        let lost = kept.lost.pop_front();
        let taken = match lost {
            Some(LostPut::Request) => Err(PutError::Unknown { why: "the request was lost".to_owned() }),
            Some(LostPut::Late) => {
                kept.late.push(put);
                Err(PutError::Unknown { why: "the request is late".to_owned() })
            }
            Some(LostPut::Answer) => {
                _ = kept.take(&put);
                Err(PutError::Unknown { why: "the answer was lost".to_owned() })
            }
            None => kept.take(&put),
        };
        drop(kept);
        self.shared.changed.notify_all();
        taken
    }
}

impl Engine for MemoryEngine {
    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }

    fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    fn group_bytes_max(&self) -> usize {
        self.group_bytes_max
    }

    fn put_group(&mut self, expects: Position, term: Position, group: &Group) -> Result<Position, PutError> {
        let (bytes, bytes_max) = (group.bytes(), self.group_bytes_max);
        if bytes > bytes_max {
            return Err(PutError::TooLarge { bytes, bytes_max });
        }
        self.put(Put::Group(expects, term, group.clone()))
    }

    fn put_term(&mut self, seen: Option<Position>, writer: WriterId, address: &str) -> Result<Position, PutError> {
        self.put(Put::Term(seen, writer, address.to_owned()))
    }

    fn newest_term(&mut self) -> Result<Option<Term>, SharedReadError> {
        let mut kept = self.shared.kept();
        let unknown = kept.is_stale() && kept.term.as_ref().is_some_and(|term| term.at == kept.last);
        Ok(if unknown { kept.term_before.clone() } else { kept.term.clone() })
    }

    fn entry_after(&mut self, after: Position) -> Result<Option<(Position, Entry)>, SharedReadError> {
        let mut kept = self.shared.kept();
        let last = if kept.is_stale() { kept.last } else { Position(u64::MAX) };
        Ok(kept.first_after(after)?.filter(|(at, _)| *at < last).cloned())
    }

    fn trim(&mut self, through: Position) -> Result<Position, SharedReadError> {
        let mut kept = self.shared.kept();
        while let Some((at, entry)) = kept.entries.pop_front_if(|(at, _)| *at <= through) {
            kept.floor = at;
            if let Entry::Group { group, .. } = entry {
                kept.bytes -= group.bytes();
                kept.floor_through = group.through();
            }
        }
        Ok(kept.floor)
    }

    fn find(&mut self, through: u64) -> Result<Position, SharedReadError> {
        let kept = self.shared.kept();
        if through < kept.floor_through {
            return Err(SharedReadError::Trimmed { after: Position::ZERO, floor: kept.floor });
        }
        if through == kept.floor_through {
            return Ok(kept.floor);
        }
        let ends_there = |entry: &Entry| matches!(entry, Entry::Group { group, .. } if group.through() == through);
        let found = kept.entries.iter().find(|(_, entry)| ends_there(entry)).map(|(at, _)| *at);
        found.ok_or(SharedReadError::AnotherLog { through, last: kept.last_through })
    }

    fn follow(&self, after: Position) -> Box<dyn Follow> {
        Box::new(MemoryFollow { shared: Arc::clone(&self.shared), at: after })
    }

    fn hear(&self) -> Box<dyn Hear> {
        let kept = self.shared.kept();
        let next = kept.beats_dropped + kept.beats.len() as u64;
        drop(kept);
        Box::new(MemoryHear { shared: Arc::clone(&self.shared), next })
    }

    fn beat(&mut self, beat: &Beat) {
        let mut kept = self.shared.kept();
        kept.beats.push_back(beat.clone());
        if kept.beats.len() > BEATS {
            kept.beats.pop_front();
            kept.beats_dropped += 1;
        }
        drop(kept);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// What comes next by `next`, waited for as long as patience lasts.
    fn wait_for<T>(&self, patience: Duration, mut next: impl FnMut(&Kept) -> Option<T>) -> Option<T> {
        let until = Instant::now() + patience;
        let mut kept = self.kept();
        loop {
            if let Some(next) = next(&kept) {
                return Some(next);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            kept = self.changed.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct MemoryFollow {
    shared: Arc<Shared>,
    at: Position,
}

impl Follow for MemoryFollow {
    fn next(&mut self, patience: Duration) -> Result<Followed, SharedReadError> {
        let at = self.at;
        let next = self.shared.wait_for(patience, |kept| kept.first_after(at).map(Option::<&_>::cloned).transpose());
        let Some((at, entry)) = next.transpose()? else { return Ok(Followed::Quiet) };
        self.at = at;
        Ok(match entry {
            Entry::Term { writer, address } => Followed::Term(Term { at, writer, address }),
            Entry::Group { term, group } => Followed::Group { at, term, group },
        })
    }
}

struct MemoryHear {
    shared: Arc<Shared>,
    /// The beat that comes next.
    next: u64,
}

impl Hear for MemoryHear {
    fn next(&mut self, patience: Duration) -> Option<Beat> {
        let next = self.next;
        let (at, beat) = self.shared.wait_for(patience, |kept| {
            let at = next.max(kept.beats_dropped);
            let beat = usize::try_from(at - kept.beats_dropped).ok().and_then(|beat| kept.beats.get(beat))?;
            Some((at, beat.clone()))
        })?;
        self.next = at + 1;
        Some(beat)
    }
}
