//! What follows from what an engine answers, or does not: the writer's side of the protocol, without clock and socket.
//!
//! An answer that stays out says nothing: what was asked for may have happened, may happen later, or never. So the same
//! is asked for again. Its condition is the same: it is taken once at most. A refusal then says nothing either, since
//! the first copy may be what came first; the entry that did is looked at.

use super::Position;

/// What the engine says to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is in the log.
    Taken(Position),
    /// Another entry came first.
    Refused,
    /// There is no room.
    Full,
    /// Nothing.
    Nothing,
}

/// What is to be done next about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Put the same group again, on the same condition.
    Put,
    /// Look which entry is behind the one that the group is put behind.
    Look,
    /// It is in the log.
    Done(Position),
    /// Another writer's term has begun. The group is not in the log, and never will be.
    Fenced,
    /// There is no room. The group is not in the log, and never will be unless it is put again.
    Full,
}

/// The entry behind the one that a group is put behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhatFollows {
    /// The group itself.
    Own(Position),
    /// Another entry.
    Another,
    /// There is none.
    None,
    /// That is not known.
    Unknown,
}

/// A group on its way to the log. The next one is put once this is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Appending {
    /// A copy of it may be in the log, or come to it later.
    unanswered: bool,
}

impl Appending {
    /// The engine was told to take the group.
    pub fn on_put(&mut self, heard: Heard) -> NextStep {
        match heard {
            Heard::Taken(at) => NextStep::Done(at),
            Heard::Refused | Heard::Full if self.unanswered => NextStep::Look,
            Heard::Refused => NextStep::Fenced,
            Heard::Full => NextStep::Full,
            Heard::Nothing => {
                self.unanswered = true;
                NextStep::Put
            }
        }
    }

    /// It was looked which entry came first.
    pub fn on_look(&mut self, follows: WhatFollows) -> NextStep {
        match follows {
            WhatFollows::Own(at) => NextStep::Done(at),
            // No copy of the group can be behind it.
            WhatFollows::Another => NextStep::Fenced,
            // Whoever refused it may not have been the one that decides any more.
            WhatFollows::None | WhatFollows::Unknown => NextStep::Put,
        }
    }
}

/// The newest term, as the engine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermSeen {
    /// The one that was known before.
    Known,
    /// A later one of this writer.
    Own(Position),
    /// A later one of another.
    Another,
    /// That is not known.
    Unknown,
}

/// What is to be done next to become the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TookOver {
    /// Put the entry of the term again, on the same condition.
    Put,
    /// Look which term is the newest.
    Look,
    /// It has begun.
    Won(Position),
    /// Another writer came first.
    Lost,
    /// There is no room for it.
    Full,
}

/// A term that is to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct TakingOver {
    unanswered: bool,
}

impl TakingOver {
    /// The engine was told to begin the term.
    pub fn on_put(&mut self, heard: Heard) -> TookOver {
        match heard {
            Heard::Taken(at) => TookOver::Won(at),
            Heard::Full if !self.unanswered => TookOver::Full,
            Heard::Refused | Heard::Full => TookOver::Look,
            Heard::Nothing => {
                self.unanswered = true;
                TookOver::Look
            }
        }
    }

    /// It was looked which term is the newest.
    pub fn on_look(&mut self, seen: TermSeen) -> TookOver {
        match seen {
            TermSeen::Own(at) => TookOver::Won(at),
            TermSeen::Another => TookOver::Lost,
            TermSeen::Known | TermSeen::Unknown => TookOver::Put,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position(7);

    #[test]
    fn a_refusal_of_the_first_copy_is_final_and_of_a_later_one_says_nothing() {
        assert_eq!(Appending::default().on_put(Heard::Taken(AT)), NextStep::Done(AT));
        assert_eq!(Appending::default().on_put(Heard::Refused), NextStep::Fenced);
        assert_eq!(Appending::default().on_put(Heard::Full), NextStep::Full);
        for heard in [Heard::Refused, Heard::Full] {
            let mut appending = Appending::default();
            assert_eq!(appending.on_put(Heard::Nothing), NextStep::Put);
            assert_eq!(appending.on_put(heard), NextStep::Look);
            assert_eq!(appending.on_look(WhatFollows::None), NextStep::Put);
            assert_eq!(appending.on_put(heard), NextStep::Look, "the first copy may still come");
            assert_eq!(appending.on_look(WhatFollows::Unknown), NextStep::Put);
            assert_eq!(appending.on_look(WhatFollows::Another), NextStep::Fenced);
            assert_eq!(appending.on_look(WhatFollows::Own(AT)), NextStep::Done(AT));
        }
    }

    #[test]
    fn a_term_without_an_answer_is_looked_for() {
        assert_eq!(TakingOver::default().on_put(Heard::Taken(AT)), TookOver::Won(AT));
        assert_eq!(TakingOver::default().on_put(Heard::Full), TookOver::Full);
        let mut taking = TakingOver::default();
        assert_eq!(taking.on_put(Heard::Refused), TookOver::Look);
        assert_eq!(taking.on_put(Heard::Nothing), TookOver::Look);
        assert_eq!(taking.on_put(Heard::Full), TookOver::Look, "the first copy may still come");
        assert_eq!(taking.on_look(TermSeen::Known), TookOver::Put);
        assert_eq!(taking.on_look(TermSeen::Unknown), TookOver::Put);
        assert_eq!(taking.on_look(TermSeen::Another), TookOver::Lost);
        assert_eq!(taking.on_look(TermSeen::Own(AT)), TookOver::Won(AT));
    }
}
