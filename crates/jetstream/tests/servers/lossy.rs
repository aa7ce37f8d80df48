//! An engine that loses what is put, or the answers, and looks into the past: what networks and old leaders do, but when
//! it is wanted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use dovetail_jetstream::JetStreamEngine;
use dovetail_log::shared::{
    Beat, Engine, Entry, Follow, Group, Hear, LogIdentity, LostPut, Position, PutError, SharedReadError, Term, WriterId,
};

/// What becomes of things that are put.
#[derive(Default)]
struct Fate {
    lost: VecDeque<LostPut>,
    late: Vec<Box<dyn FnOnce() + Send>>,
    stale: usize,
}

/// A log that is reached over a bad network. Clones share it.
#[derive(Clone)]
pub struct Lossy {
    engine: JetStreamEngine,
    fate: Arc<Mutex<Fate>>,
}

impl Lossy {
    pub fn over(engine: JetStreamEngine) -> Lossy {
        Lossy { engine, fate: Arc::default() }
    }

    /// Another process's access, over the same network.
    pub fn another(&self, engine: JetStreamEngine) -> Lossy {
        Lossy { engine, fate: Arc::clone(&self.fate) }
    }

    pub fn lose(&self, what: LostPut) {
        self.fate.lock().unwrap().lost.push_back(what);
    }

    pub fn arrive(&self) {
        let late = std::mem::take(&mut self.fate.lock().unwrap().late);
        late.into_iter().rev().for_each(|put| put());
    }

    pub fn stale(&self, looks: usize) {
        self.fate.lock().unwrap().stale = looks;
    }

    fn put(
        &mut self,
        put: impl FnOnce(&mut JetStreamEngine) -> Result<Position, PutError> + Send + 'static,
    ) -> Result<Position, PutError> {
        let lost = self.fate.lock().unwrap().lost.pop_front();
        let unknown = |why: &str| Err(PutError::Unknown { why: why.to_owned() });
        match lost {
            None => put(&mut self.engine),
            Some(LostPut::Request) => unknown("the request was lost"),
            Some(LostPut::Answer) => {
                // Nobody hears it, so this process does not know of a term that it has begun.
                _ = put(&mut self.engine.clone());
                unknown("the answer was lost")
            }
            Some(LostPut::Late) => {
                let mut engine = self.engine.clone();
                self.fate.lock().unwrap().late.push(Box::new(move || _ = put(&mut engine)));
                unknown("the request is late")
            }
        }
    }

    /// Whether this look is answered by somebody who does not know the last entry.
    fn is_stale(&self) -> bool {
        let mut fate = self.fate.lock().unwrap();
        let stale = fate.stale > 0;
        fate.stale -= usize::from(stale);
        stale
    }
}

impl Engine for Lossy {
    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }

    fn identity(&self) -> &LogIdentity {
        self.engine.identity()
    }

    fn group_bytes_max(&self) -> usize {
        self.engine.group_bytes_max()
    }

    fn put_group(&mut self, expects: Position, term: Position, group: &Group) -> Result<Position, PutError> {
        let group = group.clone();
        self.put(move |engine| engine.put_group(expects, term, &group))
    }

    fn put_term(&mut self, seen: Option<Position>, writer: WriterId, address: &str) -> Result<Position, PutError> {
        let address = address.to_owned();
        self.put(move |engine| engine.put_term(seen, writer, &address))
    }

    fn newest_term(&mut self) -> Result<Option<Term>, SharedReadError> {
        let newest = self.engine.newest_term()?;
        let Some(term) = newest.filter(|_| self.is_stale()) else { return self.engine.newest_term() };
        let last = self.engine.entry_after(term.at)?.is_none();
        // The tests that look into the past have no term before it.
        Ok(if last { None } else { Some(term) })
    }

    fn entry_after(&mut self, after: Position) -> Result<Option<(Position, Entry)>, SharedReadError> {
        let found = self.engine.entry_after(after)?;
        let Some((at, _)) = &found else { return Ok(None) };
        let last = self.engine.entry_after(*at)?.is_none();
        Ok(if self.is_stale() && last { None } else { found })
    }

    fn trim(&mut self, through: Position) -> Result<Position, SharedReadError> {
        self.engine.trim(through)
    }

    fn find(&mut self, through: u64) -> Result<Position, SharedReadError> {
        self.engine.find(through)
    }

    fn follow(&self, after: Position) -> Box<dyn Follow> {
        self.engine.follow(after)
    }

    fn hear(&self) -> Box<dyn Hear> {
        self.engine.hear()
    }

    fn beat(&mut self, beat: &Beat) {
        self.engine.beat(beat);
    }
}
