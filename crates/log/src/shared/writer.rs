//! The writer of a term.

use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::{
    Appending, Engine, Entry, Group, Heard, LogIdentity, NextStep, Position, PutError, SharedReadError, TakingOver,
    Term, TermSeen, TookOver, WhatFollows, WriterId,
};

/// After how long an engine that did not answer is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// Why a term did not begin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TakeOverError {
    /// Another writer came first.
    #[error("the term of {} began at {}", newest.address, newest.at)]
    Lost {
        /// Its term.
        newest: Term,
    },
    /// There is no room.
    #[error("the log is full: {why}")]
    Full {
        /// In the engine's words.
        why: String,
    },
    /// The engine does not answer. The term may have begun, or may begin later: ask again.
    #[error("the log does not answer: {why}")]
    Unknown {
        /// In the engine's words.
        why: String,
    },
}

/// Why a group was not appended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SharedAppendError {
    /// Another writer's term has begun, and this one's is over. The group is not in the log, nor will it ever be; but
    /// one that was [`Unknown`](SharedAppendError::Unknown) before may have been, and trimmed since.
    #[error("another writer has taken over")]
    Fenced,
    /// There is no room. The group is not in the log, and may be appended again.
    #[error("the log is full: {why}")]
    Full {
        /// In the engine's words.
        why: String,
    },
    /// The group is larger than the engine takes, and was not put.
    #[error("a group of {bytes} bytes, and the log takes {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size taken.
        bytes_max: usize,
    },
    /// The engine does not answer. The group may be in the log, or come to it later: append the same again, and nothing
    /// else, until the answer is another.
    #[error("the log does not answer: {why}")]
    Unknown {
        /// In the engine's words.
        why: String,
    },
    /// A group that was not answered for has to come first.
    #[error("what was appended after {after} is not answered for yet")]
    AnotherFirst {
        /// `after` of that group.
        after: u64,
    },
}

/// Makes this process the writer, if `seen` is the newest term. Asks for `patience`, and at least once.
///
/// # Errors
/// When it is not the writer, or does not know whether it is.
pub fn take_over(
    mut engine: Box<dyn Engine>,
    seen: Option<Position>,
    me: WriterId,
    address: &str,
    patience: Duration,
) -> Result<TermWriter, TakeOverError> {
    let until = Instant::now() + patience;
    let (mut taking, mut next) = (TakingOver::default(), TookOver::Put);
    let mut why = String::new();
    loop {
        // Whether nothing was heard: then it is asked again after a while.
        let silent;
        (next, silent) = match next {
            TookOver::Put => {
                let heard = heard(engine.put_term(seen, me, address), &mut why);
                (taking.on_put(heard), heard == Heard::Nothing)
            }
            TookOver::Look => match engine.newest_term() {
                Ok(Some(newest)) if seen.is_none_or(|seen| newest.at > seen) => {
                    let own = newest.writer == me;
                    let seen = if own { TermSeen::Own(newest.at) } else { TermSeen::Another };
                    match taking.on_look(seen) {
                        TookOver::Lost => return Err(TakeOverError::Lost { newest }),
                        next => (next, false),
                    }
                }
                Ok(_) => (taking.on_look(TermSeen::Known), true),
                Err(error) => {
                    why = error.to_string();
                    (taking.on_look(TermSeen::Unknown), true)
                }
            },
            TookOver::Won(at) => {
                let term = Term { at, writer: me, address: address.to_owned() };
                return Ok(TermWriter { engine, term, end: at, unanswered: None, patience });
            }
            TookOver::Lost => unreachable!("it was told above"),
            TookOver::Full => return Err(TakeOverError::Full { why }),
        };
        if silent && !goes_on(until) {
            return Err(TakeOverError::Unknown { why });
        }
    }
}

/// What the engine said. In `why` its words, if it gave any.
fn heard(put: Result<Position, PutError>, why: &mut String) -> Heard {
    match put {
        Ok(at) => Heard::Taken(at),
        Err(PutError::Refused) => Heard::Refused,
        Err(PutError::Full { why: told }) => {
            *why = told;
            Heard::Full
        }
        Err(PutError::Unknown { why: told }) => {
            *why = told;
            Heard::Nothing
        }
        Err(error @ PutError::TooLarge { .. }) => unreachable!("sizes are checked before: {error}"),
    }
}

/// Waits a little, if there is time left.
fn goes_on(until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    thread::sleep(left.min(AGAIN));
    true
}

/// The one that may append, as far as it knows. Ends with the term.
pub struct TermWriter {
    engine: Box<dyn Engine>,
    term: Term,
    /// The last entry of the log, unless another writer has taken over.
    end: Position,
    /// A group of which it is not known whether it is in the log, and what is known of it.
    unanswered: Option<(Group, Appending)>,
    patience: Duration,
}

impl std::fmt::Debug for TermWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TermWriter").field("term", &self.term).field("end", &self.end).finish_non_exhaustive()
    }
}

impl TermWriter {
    /// Its term.
    #[must_use]
    pub fn term(&self) -> &Term {
        &self.term
    }

    /// The same, who asks for so long when the engine does not answer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> TermWriter {
        TermWriter { patience, ..self }
    }

    /// The last entry of the log that this writer knows of.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    pub(super) fn group_bytes_max(&self) -> usize {
        self.engine.group_bytes_max()
    }

    pub(super) fn identity(&self) -> &LogIdentity {
        self.engine.identity()
    }

    /// The engine, to trim, and to say that this process lives.
    pub fn engine(&mut self) -> &mut dyn Engine {
        &mut *self.engine
    }

    /// Appends a group, and returns where it is once it is durable. Asks for as long as [`take_over`] was told to, and
    /// at least once.
    ///
    /// # Errors
    /// When it is not in the log, or that is not known.
    pub fn append(&mut self, group: &Group) -> Result<Position, SharedAppendError> {
        let (bytes, bytes_max) = (group.bytes(), self.engine.group_bytes_max());
        if bytes > bytes_max {
            return Err(SharedAppendError::TooLarge { bytes, bytes_max });
        }
        let mut appending = match self.unanswered.take() {
            None => Appending::default(),
            Some((first, appending)) if first == *group => appending,
            Some((first, appending)) => {
                let after = first.after;
                self.unanswered = Some((first, appending));
                return Err(SharedAppendError::AnotherFirst { after });
            }
        };
        let until = Instant::now() + self.patience;
        let (mut next, mut why) = (NextStep::Put, String::new());
        loop {
            // Whether nothing was heard: then it is asked again after a while.
            let silent;
            (next, silent) = match next {
                NextStep::Put => {
                    let heard = heard(self.engine.put_group(self.end, self.term.at, group), &mut why);
                    (appending.on_put(heard), heard == Heard::Nothing)
                }
                NextStep::Look => {
                    let follows = self.what_follows(group, &mut why);
                    let silent = matches!(follows, WhatFollows::None | WhatFollows::Unknown);
                    (appending.on_look(follows), silent)
                }
                NextStep::Done(at) => {
                    self.end = at;
                    return Ok(at);
                }
                NextStep::Fenced => return Err(SharedAppendError::Fenced),
                NextStep::Full => return Err(SharedAppendError::Full { why }),
            };
            if silent && !goes_on(until) {
                self.unanswered = Some((group.clone(), appending));
                return Err(SharedAppendError::Unknown { why });
            }
        }
    }

    /// Which entry is behind the last one that this writer knows of.
    fn what_follows(&mut self, group: &Group, why: &mut String) -> WhatFollows {
        match self.engine.entry_after(self.end) {
            Ok(Some((at, Entry::Group { term, group: found }))) if term == self.term.at && found == *group => {
                WhatFollows::Own(at)
            }
            Ok(Some(_)) => WhatFollows::Another,
            Ok(None) => WhatFollows::None,
            // This writer has trimmed nothing that it does not know of.
            Err(SharedReadError::Trimmed { .. }) => WhatFollows::Another,
            Err(error) => {
                *why = error.to_string();
                WhatFollows::Unknown
            }
        }
    }
}
