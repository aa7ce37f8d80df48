//! Who waits for something of which there is so much at a time.
//!
//! The calls that wait on one connection are served in the order in which they came, and connections take turns: a
//! connection that waits for much is in the way of no other. A call whose client's share is spent is passed over; the
//! first for which there is not enough in all gets what is given back until there is. Invariants: line.N1 a call that
//! waits is in line once; line.N2 one that has left is not.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Those who wait, by connection; `W` is what one waits for.
#[derive(Debug)]
pub(super) struct WaitingLine<W> {
    /// Each in the order of its tickets.
    waiting: HashMap<Connection, BTreeMap<u64, W>>,
    /// Connections with a call that waits, the next first.
    turns: VecDeque<Connection>,
    tickets: u64,
}

/// None for this process.
pub(super) type Connection = Option<u64>;

/// A place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    connection: Connection,
    number: u64,
}

/// What came of one who was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It has what it waited for, or has left.
    Done,
    /// There is enough, but not for it.
    PassedOver,
    /// There is not enough for any call.
    NotEnough,
}

impl<W> Default for WaitingLine<W> {
    fn default() -> WaitingLine<W> {
        WaitingLine { waiting: HashMap::new(), turns: VecDeque::new(), tickets: 0 }
    }
}

impl<W> WaitingLine<W> {
    /// One more, at the end of its connection's.
    pub(super) fn push(&mut self, connection: Connection, waits: W) -> Ticket {
        self.tickets += 1;
        let of = self.waiting.entry(connection).or_default();
        if of.is_empty() {
            self.turns.push_back(connection);
        }
        of.insert(self.tickets, waits);
        Ticket { connection, number: self.tickets }
    }

    /// It does not wait any more.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        let Some(of) = self.waiting.get_mut(&ticket.connection) else { return };
        of.remove(&ticket.number);
        if of.is_empty() {
            self.waiting.remove(&ticket.connection);
            self.turns.retain(|connection| *connection != ticket.connection);
        }
    }

    /// Serves one of each connection after the other, for as long as a call can be served.
    pub(super) fn serve(&mut self, mut serve: impl FnMut(&mut W) -> Served) {
        let mut passed_over = 0;
        while passed_over < self.turns.len()
            && let Some(connection) = self.turns.pop_front()
        {
            let of = self.waiting.get_mut(&connection).expect("somebody of it waits");
            let mut first = of.first_entry().expect("nobody else is in line");
            match serve(first.get_mut()) {
                Served::Done => {
                    first.remove();
                    passed_over = 0;
                }
                Served::PassedOver => passed_over += 1,
                Served::NotEnough => {
                    self.turns.push_front(connection);
                    return;
                }
            }
            if of.is_empty() {
                self.waiting.remove(&connection);
            } else {
                self.turns.push_back(connection);
            }
        }
    }

    /// Whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves so many, and says who they were.
    fn served(line: &mut WaitingLine<&'static str>, mut most: usize, but: &[&str]) -> Vec<&'static str> {
        let mut names = Vec::new();
        line.serve(|name| {
            if but.contains(name) {
                return Served::PassedOver;
            }
            if most == 0 {
                return Served::NotEnough;
            }
            most -= 1;
            names.push(*name);
            Served::Done
        });
        names
    }

    #[test]
    fn connections_take_turns_and_each_keeps_its_order() {
        let mut line = WaitingLine::default();
        for name in ["a1", "a2", "a3"] {
            line.push(Some(1), name);
        }
        line.push(Some(2), "b1");
        line.push(None, "own");
        assert_eq!(served(&mut line, 2, &[]), ["a1", "b1"]);
        line.push(Some(2), "b2");
        assert_eq!(served(&mut line, 9, &[]), ["own", "a2", "b2", "a3"]);
        assert!(line.is_empty());
    }

    #[test]
    fn who_may_not_have_more_is_passed_over_and_who_needs_more_than_there_is_keeps_its_turn() {
        let mut line = WaitingLine::default();
        line.push(Some(1), "spent");
        line.push(Some(2), "large");
        line.push(Some(3), "small");
        assert!(served(&mut line, 0, &["spent"]).is_empty());
        assert_eq!(served(&mut line, 1, &["spent"]), ["large"]);
        assert_eq!(served(&mut line, 9, &["spent"]), ["small"]);
        assert_eq!(served(&mut line, 9, &[]), ["spent"]);
        assert!(line.is_empty());
    }

    #[test]
    fn who_has_left_is_not_in_line() {
        let mut line = WaitingLine::default();
        let tickets = ["a1", "a2"].map(|name| line.push(Some(1), name));
        let other = line.push(Some(2), "b1");
        line.leave(tickets[0]);
        line.leave(tickets[0]);
        line.leave(other);
        assert_eq!(served(&mut line, 9, &[]), ["a2"]);
        line.leave(tickets[1]);
        assert!(line.is_empty());
    }
}
