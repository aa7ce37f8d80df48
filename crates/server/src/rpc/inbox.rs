//! The way into a node's engine: bounded, and closed when the engine has stopped.
//!
//! What the node itself reads are *events*. What others ask for are *questions*: the node does not choose how many
//! come, and each may take as long as a thousand events. They have a lane of their own, which the engine serves while
//! it has nothing else to do; while events wait, questions have one part in [`PARTS`] of its time. So however many ask,
//! an event waits for one question at most, and questions are answered while events never end. Invariants: inbox.I1
//! events are taken in the order in which they were told, and so are questions; inbox.I2 while events wait, a question
//! is taken only when they had [`PARTS`]` - 1` times as long as the questions before it; inbox.I3 neither waits for
//! ever.

use std::time::Duration;

use tokio::{
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
    time::Instant,
};

use super::LinkError;

/// Questions that wait for an engine. Reaching it holds back those who ask.
const QUESTIONS: usize = 64;
/// Questions have one part in so many of an engine's time while events wait.
const PARTS: u32 = 4;
/// What is owed to events for one question, at most: one that took longer than this holds up the next no more.
const OWED_MAX: Duration = Duration::from_secs(1);
/// What takes no time by the clock counts as this: after a question comes an event.
const LEAST: Duration = Duration::from_nanos(1);

/// Sends events to an engine. A full inbox holds the sender back, and through it the peer.
#[derive(Debug)]
pub struct Inbox<E>(mpsc::Sender<E>);

impl<E> Clone for Inbox<E> {
    fn clone(&self) -> Inbox<E> {
        Inbox(self.0.clone())
    }
}

impl<E> Inbox<E> {
    /// An inbox for so many events, and what the engine reads.
    #[must_use]
    pub fn new(events_max: usize) -> (Inbox<E>, mpsc::Receiver<E>) {
        let (sender, receiver) = mpsc::channel(events_max);
        (Inbox(sender), receiver)
    }

    /// An inbox for so many events and one for questions, and what the engine hears of both.
    #[must_use]
    pub fn with_questions(events_max: usize) -> (Inbox<E>, Questions<E>, Heard<E>) {
        let (inbox, events) = Inbox::new(events_max);
        let (asking, questions) = Inbox::new(QUESTIONS);
        (inbox, Questions(asking), Heard { events, questions, budget: Budget::default(), handled: None })
    }

    /// Sends an event.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn tell(&self, event: E) -> Result<(), LinkError> {
        self.0.send(event).await.map_err(|_| LinkError::Stopped)
    }

    /// Sends an event that is answered, and waits for the answer.
    ///
    /// # Errors
    /// When the engine has stopped, or stops before it answers.
    pub async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> E) -> Result<T, LinkError> {
        let (reply, answer) = oneshot::channel();
        self.tell(event(reply)).await?;
        answer.await.map_err(|_| LinkError::Stopped)
    }
}

/// Asks an engine for others.
#[derive(Debug)]
pub struct Questions<E>(Inbox<E>);

impl<E> Clone for Questions<E> {
    fn clone(&self) -> Questions<E> {
        Questions(self.0.clone())
    }
}

impl<E> Questions<E> {
    /// Sends a question and waits for its answer.
    ///
    /// # Errors
    /// When the engine has stopped, or stops before it answers.
    pub async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> E) -> Result<T, LinkError> {
        self.0.ask(event).await
    }
}

/// What an engine hears: events, and questions in between.
#[derive(Debug)]
pub struct Heard<E> {
    events: mpsc::Receiver<E>,
    questions: mpsc::Receiver<E>,
    budget: Budget,
    /// What was handed out last, and when. It is being handled until the engine asks for more.
    handled: Option<(Kind, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Event,
    Question,
}

/// For so long events come first.
#[derive(Debug, Default)]
struct Budget(Duration);

impl Budget {
    fn is_question_next(&self) -> bool {
        self.0.is_zero()
    }

    /// No event waits: questions are in no event's way.
    fn idle(&mut self) {
        self.0 = Duration::ZERO;
    }

    fn took(&mut self, kind: Kind, time: Duration) {
        let time = time.max(LEAST);
        self.0 = match kind {
            Kind::Event => self.0.saturating_sub(time),
            Kind::Question => time.saturating_mul(PARTS - 1).min(OWED_MAX),
        };
    }
}

impl<E> Heard<E> {
    /// What comes next, once something does; none once all senders are gone. May be dropped and asked again.
    pub async fn next(&mut self) -> Option<E> {
        // An engine whose events never end lets others of its thread go on.
        tokio::task::coop::consume_budget().await;
        if let Some(next) = self.try_next() {
            return Some(next);
        }
        let (kind, next) = tokio::select! {
            biased;
            event = self.events.recv() => (Kind::Event, event?),
            Some(question) = self.questions.recv() => (Kind::Question, question),
        };
        Some(self.hand_out(kind, next))
    }

    /// The same if something has come.
    pub fn try_next(&mut self) -> Option<E> {
        if let Some((kind, since)) = self.handled.take() {
            self.budget.took(kind, since.elapsed());
        }
        if self.budget.is_question_next()
            && let Ok(question) = self.questions.try_recv()
        {
            return Some(self.hand_out(Kind::Question, question));
        }
        match self.events.try_recv() {
            Ok(event) => return Some(self.hand_out(Kind::Event, event)),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => self.budget.idle(),
        }
        let question = self.questions.try_recv().ok()?;
        Some(self.hand_out(Kind::Question, question))
    }

    fn hand_out(&mut self, kind: Kind, next: E) -> E {
        self.handled = Some((kind, Instant::now()));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_events_wait_questions_have_their_part_of_the_time_whatever_one_takes() {
        let times = [0_u64, 10, 1_000, 100_000].map(Duration::from_micros);
        for (event, question) in times.into_iter().flat_map(|event| times.map(|question| (event, question))) {
            let (mut budget, mut spent, mut taken) = (Budget::default(), [Duration::ZERO; 2], [0_u32; 2]);
            for _ in 0..100_000 {
                let kind = if budget.is_question_next() { Kind::Question } else { Kind::Event };
                let time = if kind == Kind::Event { event } else { question };
                budget.took(kind, time);
                spent[kind as usize] += time.max(LEAST);
                taken[kind as usize] += 1;
            }
            let ([on_events, on_questions], all) = (spent, spent[0] + spent[1]);
            assert!(on_questions <= all / PARTS + question + LEAST, "{event:?} and {question:?}: {spent:?}");
            // Where one event takes longer than is owed for many questions, one of each is taken.
            assert!(taken[1] * 2 + 1 >= taken[0] || on_questions * (PARTS - 1) + event + question >= on_events);
        }
    }

    #[test]
    fn a_question_that_took_for_ever_holds_up_the_next_no_more_than_others() {
        let mut budget = Budget::default();
        budget.took(Kind::Question, Duration::MAX);
        budget.took(Kind::Event, OWED_MAX);
        assert!(budget.is_question_next());
    }

    #[tokio::test]
    async fn an_event_waits_for_one_question_at_most() {
        let (inbox, questions, mut heard) = Inbox::with_questions(8);
        for round in 0..100 {
            while questions.0.0.try_send(Kind::Question).is_ok() {}
            assert_eq!(heard.next().await, Some(Kind::Question), "nothing else waits in round {round}");
            inbox.tell(Kind::Event).await.unwrap();
            assert_eq!(heard.try_next(), Some(Kind::Event), "round {round}");
        }
    }

    #[tokio::test]
    async fn each_kind_keeps_its_order() {
        let (inbox, questions, mut heard) = Inbox::with_questions(64);
        for number in 0..64 {
            inbox.tell((Kind::Event, number)).await.unwrap();
            questions.0.tell((Kind::Question, number)).await.unwrap();
        }
        let mut next = [0, 0];
        while let Some((kind, number)) = heard.try_next() {
            assert_eq!(number, next[kind as usize]);
            next[kind as usize] += 1;
        }
        assert_eq!(next, [64, 64]);
    }

    #[tokio::test]
    async fn an_engine_that_nobody_tells_anything_ends_though_others_ask() {
        let (inbox, questions, mut heard) = Inbox::with_questions(1);
        inbox.tell(Kind::Event).await.unwrap();
        drop(inbox);
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let questions = questions.clone();
                tokio::spawn(async move { questions.0.tell(Kind::Question).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let mut taken = 0;
        while heard.next().await.is_some() {
            taken += 1;
        }
        assert!(taken <= 3, "{taken} after the last was told");
        drop(heard);
        let answers = futures::future::join_all(asking).await;
        assert!(answers.into_iter().any(|answer| answer.unwrap().is_err()));
    }
}
