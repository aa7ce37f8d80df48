//! The balancer that a node asks: of several, the one that writes, as far as is known
//! ([`dovetail_node::balancers`]).
//!
//! All that a node reads of the balancer, and all that it asks it, goes to one at a time. So what one link hears moves
//! all of them: a refusal that names another, an answer of a later term, a balancer that says that it has taken over.
//! Says nothing of who is the balancer at an address; whoever tells it something has to know that.

use std::sync::{Arc, Mutex, PoisonError};

use dovetail_node::{BalancerId, Balancers, Term};
use tokio::sync::watch;

use super::{LinkError, NodeIdentity};
use dovetail::standby::StandsBy;

/// The balancers of a cluster, and which of them is asked. Clones are of the same.
#[derive(Clone, Debug)]
pub struct ActiveBalancer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    addresses: Vec<String>,
    identity: NodeIdentity,
    balancers: Mutex<Balancers>,
    /// What came of it: who is asked, and the highest term heard of.
    asked: watch::Sender<BalancerId>,
    term: watch::Sender<Option<Term>>,
}

/// Whether a later term was heard of since a moment.
#[derive(Debug)]
pub struct LaterTerm(watch::Receiver<Option<Term>>);

impl LaterTerm {
    /// Whether one was.
    #[must_use]
    pub fn is_there(&self) -> bool {
        // The sender is gone with the node.
        self.0.has_changed().unwrap_or(false)
    }

    /// Waits for one.
    pub async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl ActiveBalancer {
    /// The balancers at these addresses, of which the first is asked. The node tells others of the term that it hears.
    #[must_use]
    pub fn new(addresses: &[String], identity: &NodeIdentity) -> ActiveBalancer {
        let balancers = Balancers::new(u32::try_from(addresses.len()).expect("settings bound them"));
        ActiveBalancer(Arc::new(Shared {
            addresses: addresses.to_vec(),
            identity: identity.clone(),
            asked: watch::Sender::new(balancers.asked()),
            term: watch::Sender::new(balancers.term()),
            balancers: Mutex::new(balancers),
        }))
    }

    /// All of them, by index.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.0.addresses
    }

    /// The one to ask.
    #[must_use]
    pub fn asked(&self) -> BalancerId {
        *self.0.asked.borrow()
    }

    /// The highest term that was heard of.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        *self.0.term.borrow()
    }

    /// From now on later terms are noticed.
    #[must_use]
    pub fn later_term(&self) -> LaterTerm {
        LaterTerm(self.0.term.subscribe())
    }

    /// Waits until another is asked than this one.
    pub async fn left(&self, balancer: BalancerId) {
        // The sender lives as long as this.
        _ = self.0.asked.subscribe().wait_for(|asked| *asked != balancer).await;
    }

    /// A balancer says that it writes in a term.
    pub fn on_told(&self, balancer: BalancerId, term: Term) {
        if self.give(|balancers| balancers.on_told(balancer, term)) {
            let address = self.address(balancer);
            tracing::info!(index = balancer.0, address, term = term.0, "another balancer writes");
        }
    }

    /// An answer of a balancer, with the term that it writes in.
    ///
    /// # Errors
    /// When a later term was heard of: it does not know that it is over, and another is asked (balancers.F1).
    pub fn on_answer(&self, by: BalancerId, term: Option<Term>) -> Result<(), LinkError> {
        let heard = self.term();
        let (taken, another) = self.give(|balancers| {
            let before = balancers.asked();
            let taken = balancers.on_answer(by, term);
            if !taken {
                balancers.on_silent(by);
            }
            (taken, balancers.asked() != before)
        });
        match (taken, term, self.term()) {
            (false, Some(found), Some(heard)) => Err(LinkError::Over { found, heard }),
            (_, Some(term), _) if another && Some(term) > heard => {
                let address = self.address(by);
                tracing::info!(index = by.0, address, term = term.0, "another balancer writes");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A subscription at a balancer broke, or it did not answer a question.
    pub fn on_failed(&self, by: BalancerId, error: &LinkError) {
        let LinkError::Status(status) = error else { return };
        if let Some(StandsBy { active }) = StandsBy::of(status) {
            let named = |(url, term): (String, u64)| {
                let at = self.0.addresses.iter().position(|address| *address == url)?;
                Some((BalancerId(u32::try_from(at).ok()?), Term(term)))
            };
            let writes = active.and_then(named);
            self.give(|balancers| balancers.on_refused(by, writes));
        } else if error.is_silence() {
            self.give(|balancers| balancers.on_silent(by));
        }
    }

    fn address(&self, balancer: BalancerId) -> &str {
        self.0.addresses.get(balancer.0 as usize).map_or("", |address| address)
    }

    /// Tells the machine something, and the others of what came of it.
    fn give<T>(&self, tell: impl FnOnce(&mut Balancers) -> T) -> T {
        let Shared { identity, balancers, asked, term, .. } = &*self.0;
        let mut balancers = balancers.lock().unwrap_or_else(PoisonError::into_inner);
        let came = tell(&mut balancers);
        // Within the lock, so that the last one says how it is.
        term.send_if_modified(|known| std::mem::replace(known, balancers.term()) != balancers.term());
        asked.send_if_modified(|known| std::mem::replace(known, balancers.asked()) != balancers.asked());
        if balancers.term().is_some() {
            identity.is_in_term(balancers.term());
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::rpc::{peer::tests::identity, stands_by};

    const B: [BalancerId; 3] = [BalancerId(0), BalancerId(1), BalancerId(2)];

    fn active() -> ActiveBalancer {
        let addresses = ["http://a:1", "http://b:1", "http://c:1"].map(str::to_owned);
        ActiveBalancer::new(&addresses, &identity(1))
    }

    fn refused(active: Option<(&str, u64)>) -> LinkError {
        LinkError::Status(stands_by(active.map(|(url, term)| (url, Term(term)))))
    }

    #[tokio::test]
    async fn a_refusal_moves_all_that_ask_and_is_noticed_when_it_names_a_later_term() {
        let active = active();
        let later = active.later_term();
        active.on_failed(B[0], &refused(None));
        assert_eq!((active.asked(), later.is_there()), (B[1], false));
        active.on_failed(B[1], &refused(Some(("http://c:1", 5))));
        assert_eq!((active.asked(), active.term(), later.is_there()), (B[2], Some(Term(5)), true));
        assert_eq!(active.0.identity.pb().term, 5);
        active.left(B[1]).await;
        // Of the same refusal another link hears later: it does not move those who have followed it.
        active.on_failed(B[1], &refused(Some(("http://c:1", 5))));
        assert_eq!(active.asked(), B[2]);
        active.on_failed(B[2], &refused(Some(("http://elsewhere:1", 9))));
        assert_eq!((active.asked(), active.term()), (B[0], Some(Term(5))), "nobody here is at that address");
    }

    #[test]
    fn one_that_is_silent_is_left_and_one_that_refuses_is_not() {
        let active = active();
        active.on_failed(B[0], &LinkError::Status(Status::already_exists("another process is this node")));
        active.on_failed(B[0], &LinkError::Ended);
        assert_eq!(active.asked(), B[0]);
        active.on_failed(B[0], &LinkError::Status(Status::unavailable("tcp connect error")));
        assert_eq!(active.asked(), B[1]);
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        active.on_failed(B[1], &LinkError::Status(broken));
        assert_eq!(active.asked(), B[2]);
    }

    #[test]
    fn an_answer_of_a_lower_term_is_not_taken_and_its_balancer_is_left() {
        let active = active();
        active.on_told(B[1], Term(7));
        assert!(active.on_answer(B[1], Some(Term(7))).is_ok());
        active.on_failed(B[1], &LinkError::Status(Status::unavailable("gone")));
        assert_eq!(active.asked(), B[2]);
        let over = active.on_answer(B[2], Some(Term(3))).unwrap_err();
        assert_eq!(over.to_string(), "the balancer writes in term 3, and one that writes in term 7 was heard of");
        assert_eq!(active.asked(), B[0]);
        assert!(active.on_answer(B[0], Some(Term(8))).is_ok());
        active.on_told(B[2], Term(8));
        assert_eq!((active.asked(), active.term()), (B[0], Some(Term(8))));
    }
}
