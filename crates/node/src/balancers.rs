//! Which of several balancers a node asks: the one that writes, as far as the node knows.
//!
//! Any balancer says which one that is. What is believed is the highest [`Term`] heard of: one of a lower term may go on
//! for a while without knowing that it is over. It says nothing that is wrong, since it has it from the log, but what
//! comes next it does not have. Invariant: balancers.F1 no answer of a lower term is taken than one that was heard of.

use crate::ids::{BalancerId, Term};

/// The balancers, as a node knows them.
#[derive(Clone, Debug)]
pub struct Balancers {
    count: u32,
    asked: BalancerId,
    term: Option<Term>,
}

impl Balancers {
    /// So many balancers, at least one, of which the first is asked.
    #[must_use]
    pub fn new(count: u32) -> Balancers {
        Balancers { count: count.max(1), asked: BalancerId(0), term: None }
    }

    /// The one to ask.
    #[must_use]
    pub fn asked(&self) -> BalancerId {
        self.asked
    }

    /// The highest term that was heard of.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// A balancer writes in a term, as itself or another says. Whether another than before is to be asked.
    pub fn on_told(&mut self, balancer: BalancerId, term: Term) -> bool {
        let later = self.term.is_none_or(|heard| term > heard);
        if !later || balancer.0 >= self.count {
            return false;
        }
        self.term = Some(term);
        std::mem::replace(&mut self.asked, balancer) != balancer
    }

    /// Whether an answer of a balancer counts that writes in a term; one that is alone has none.
    pub fn on_answer(&mut self, by: BalancerId, term: Option<Term>) -> bool {
        let Some(term) = term else { return true };
        self.on_told(by, term);
        self.term == Some(term)
    }

    /// A balancer does not write, and says which one does, if it knows.
    pub fn on_refused(&mut self, by: BalancerId, writes: Option<(BalancerId, Term)>) {
        match writes {
            Some((balancer, term)) if balancer != by && balancer.0 < self.count && Some(term) >= self.term => {
                (self.asked, self.term) = (balancer, Some(term));
            }
            _ => self.on_silent(by),
        }
    }

    /// A balancer does not answer: the next one is asked.
    pub fn on_silent(&mut self, by: BalancerId) {
        if by == self.asked {
            self.asked = BalancerId((by.0 + 1) % self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: [BalancerId; 3] = [BalancerId(0), BalancerId(1), BalancerId(2)];

    #[test]
    fn one_that_is_alone_is_asked_whatever_happens() {
        let mut balancers = Balancers::new(1);
        assert!(balancers.on_answer(B[0], None));
        balancers.on_silent(B[0]);
        balancers.on_refused(B[0], None);
        assert_eq!((balancers.asked(), balancers.term()), (B[0], None));
    }

    #[test]
    fn the_one_of_the_highest_term_is_asked_until_it_is_silent() {
        let mut balancers = Balancers::new(3);
        assert!(balancers.on_told(B[2], Term(5)));
        assert!(!balancers.on_told(B[2], Term(9)), "it is asked already");
        assert!(!balancers.on_told(B[1], Term(8)), "that is over");
        assert!(!balancers.on_told(BalancerId(3), Term(20)), "there is no such balancer");
        assert!(!balancers.on_answer(B[1], Some(Term(8))), "it does not know that it is over");
        assert!(balancers.on_answer(B[2], Some(Term(9))));
        assert_eq!((balancers.asked(), balancers.term()), (B[2], Some(Term(9))));
        balancers.on_silent(B[1]);
        assert_eq!(balancers.asked(), B[2], "it was not asked");
        balancers.on_silent(B[2]);
        assert_eq!(balancers.asked(), B[0]);
    }

    #[test]
    fn who_refuses_names_the_one_to_ask_or_the_next_is_asked() {
        let mut balancers = Balancers::new(3);
        balancers.on_refused(B[0], Some((B[2], Term(4))));
        assert_eq!(balancers.asked(), B[2]);
        // It stands by itself, and knows no more than the node.
        balancers.on_refused(B[2], Some((B[2], Term(4))));
        assert_eq!(balancers.asked(), B[0]);
        balancers.on_refused(B[0], None);
        assert_eq!(balancers.asked(), B[1]);
        balancers.on_refused(B[1], Some((B[0], Term(3))));
        assert_eq!(balancers.asked(), B[2], "that is over");
        balancers.on_refused(B[2], Some((B[1], Term(4))));
        assert!(balancers.on_answer(B[1], Some(Term(7))), "it has taken over");
    }
}
