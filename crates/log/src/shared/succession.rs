//! What was read of a shared log, to hold what comes next against.

use super::{Followed, Group, Position, SharedReadError, Term};

/// How far a reader is. Holds for every reader, of whatever engine: a log that breaks its rules is damaged, and is
/// not read on.
#[derive(Clone, Debug)]
pub struct Succession {
    at: Position,
    through: u64,
    /// The term that the last entry is of; not known of a reader that has begun within one.
    term: Option<Position>,
}

impl Succession {
    /// Of a reader that goes on after a position, with the record that ends with `through`.
    #[must_use]
    pub fn after(at: Position, through: u64) -> Succession {
        Succession { at, through, term: None }
    }

    /// The last entry.
    #[must_use]
    pub fn at(&self) -> Position {
        self.at
    }

    /// `through` of the last record.
    #[must_use]
    pub fn through(&self) -> u64 {
        self.through
    }

    /// The term of the last entry, if it is known.
    #[must_use]
    pub fn term(&self) -> Option<Position> {
        self.term
    }

    /// What comes next.
    ///
    /// # Errors
    /// When records are missing before it, it does not come after the last entry, or it is not of the last term. It is
    /// not taken then.
    pub fn on_followed(&mut self, followed: &Followed) -> Result<(), SharedReadError> {
        match followed {
            Followed::Term(term) => self.on_term(term),
            Followed::Group { at, term, group } => self.on_group(*at, *term, group),
            Followed::Quiet => Ok(()),
        }
    }

    fn on_term(&mut self, term: &Term) -> Result<(), SharedReadError> {
        self.advance(term.at)?;
        self.term = Some(term.at);
        Ok(())
    }

    fn on_group(&mut self, at: Position, term: Position, group: &Group) -> Result<(), SharedReadError> {
        let damaged = |what| Err(SharedReadError::Damaged { at, what });
        if group.after != self.through {
            return Err(SharedReadError::Gap { at, expected: self.through, found: group.after });
        }
        if term >= at {
            return damaged("a group is of a term that begins after it");
        }
        if self.term.is_some_and(|last| last != term) {
            return damaged("a group is not of the term before it");
        }
        let mut before = group.after;
        for record in &group.records {
            if record.through <= before {
                return damaged("the records of a group are not ascending");
            }
            before = record.through;
        }
        if group.records.is_empty() {
            return damaged("a group has no records");
        }
        self.advance(at)?;
        (self.term, self.through) = (Some(term), before);
        Ok(())
    }

    fn advance(&mut self, at: Position) -> Result<(), SharedReadError> {
        if at <= self.at {
            return Err(SharedReadError::Damaged { at, what: "an entry comes again, or too late" });
        }
        self.at = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log::Record, shared::WriterId};

    fn term(at: u64) -> Term {
        Term { at: Position(at), writer: WriterId(1), address: String::new() }
    }

    fn run(after: u64, throughs: &[u64]) -> Group {
        Group { after, records: throughs.iter().map(|&through| Record::new(through, "")).collect() }
    }

    #[test]
    fn terms_and_groups_follow_one_another() {
        let mut read = Succession::after(Position(3), 10);
        read.on_group(Position(4), Position(2), &run(10, &[11, 15])).unwrap();
        read.on_term(&term(6)).unwrap();
        read.on_group(Position(9), Position(6), &run(15, &[16])).unwrap();
        assert_eq!((read.at(), read.through(), read.term()), (Position(9), 16, Some(Position(6))));
    }

    #[test]
    fn what_breaks_the_rules_is_told_with_its_place_and_is_not_taken() {
        let at = Position(9);
        for (term_of, group, told) in [
            (6, run(14, &[16]), "at @9 the shared log goes on after 14, but 15 was the last record before"),
            (6, run(16, &[17]), "at @9 the shared log goes on after 16, but 15 was the last record before"),
            (2, run(15, &[16]), "the shared log is damaged at @9: a group is not of the term before it"),
            (9, run(15, &[16]), "the shared log is damaged at @9: a group is of a term that begins after it"),
            (6, run(15, &[16, 16]), "the shared log is damaged at @9: the records of a group are not ascending"),
            (6, run(15, &[15]), "the shared log is damaged at @9: the records of a group are not ascending"),
            (6, run(15, &[]), "the shared log is damaged at @9: a group has no records"),
        ] {
            let mut read = Succession::after(Position(3), 15);
            read.on_term(&term(6)).unwrap();
            assert_eq!(read.on_group(at, Position(term_of), &group).unwrap_err().to_string(), told);
            read.on_group(at, Position(6), &run(15, &[20])).unwrap();
            let again = "the shared log is damaged at @9: an entry comes again, or too late";
            assert_eq!(read.on_term(&term(9)).unwrap_err().to_string(), again);
        }
    }
}
