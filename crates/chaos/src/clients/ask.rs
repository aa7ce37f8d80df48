//! Withdraws elements, looks them up, and submits again what was acknowledged.

use std::{sync::Arc, time::Duration};

use dovetail::client::{Client, ClientError, by_id, by_key};
use dovetail::pb::{ElementRef, ElementState};
use dovetail_sim::rng::Rng;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::{ANSWER, Acked, Looked, Shared, Withdrawn, submit::or_silent};
use crate::workload::key;

/// Questions are about the newest so many elements, most of the time.
const NEW: usize = 300;

/// A client that asks one question after the other.
#[derive(Debug)]
pub struct Asker {
    /// Which one of all.
    pub number: u64,
    pub url: String,
    pub shared: Arc<Shared>,
    /// Mean pause between two questions.
    pub pause: Duration,
}

impl Asker {
    /// Asks until told to stop.
    pub async fn run(self) {
        let mut rng = Rng::new(self.shared.seed).fork(0xA5_0000 + self.number);
        let mut client = self.shared.connect(&self.url).await;
        while !self.shared.stopping() {
            sleep(self.pause * rng.range(1, 199) as u32 / 100).await;
            let of = if rng.chance(800) { NEW } else { usize::MAX };
            let Some(element) = self.shared.recent(|of| rng.below(of), of) else { continue };
            match rng.below(10) {
                0..4 => self.withdraw(&mut client, element, named(element, &mut rng)).await,
                4..8 => {
                    let wait = Duration::from_millis(if rng.chance(300) { rng.range(1, 800) } else { 0 });
                    self.look(&mut client, element, named(element, &mut rng), wait, None).await;
                }
                _ => self.submit_again(&mut client, element).await,
            }
        }
    }

    async fn withdraw(&self, client: &mut Client, element: Acked, name: ElementRef) {
        let answer = loop {
            self.shared.withdrawing(element.id);
            match or_silent(timeout(ANSWER, client.withdraw(name.clone())).await) {
                Ok(answer) => break answer,
                Err(error) => self.go_on("Withdraw", &error, client).await,
            }
        };
        self.shared.journal.count("withdrawals", 1);
        let (outcome, reason, position) = (answer.outcome(), answer.reason(), answer.position);
        let calls = self.shared.withdraw_calls(element.id);
        self.shared.withdrawn(Withdrawn { element, outcome, found: answer.r#match, reason, calls });
        self.look(client, element, name, Duration::ZERO, Some(position)).await;
    }

    /// Looks an element up. `ended` is a position from which on it is known not to wait.
    async fn look(&self, client: &mut Client, element: Acked, name: ElementRef, wait: Duration, ended: Option<u64>) {
        let journal = &self.shared.journal;
        let ended = ended.or_else(|| self.shared.seen(element.id));
        let at = ended.unwrap_or(element.id);
        let (found, position) = loop {
            match or_silent(timeout(ANSWER + wait, client.get_at(name.clone(), wait, at)).await) {
                Ok(found) => break found,
                Err(error) if error.code() == Some(Code::NotFound) => {
                    return journal.violation(format!("{element:?} was acknowledged, and is not known: {error}"));
                }
                // The position was not reached in time.
                Err(error) if error.code() == Some(Code::DeadlineExceeded) => journal.count("retries", 1),
                Err(error) => self.go_on("GetElement", &error, client).await,
            }
        };
        journal.count("lookups", 1);
        let same = found.id == element.id && found.key == key(element.serial) && found.pool == element.pool.name();
        journal.check("GetElement finds the element", same, || format!("{element:?}, found {found:?}"));
        journal.check("no answer is older than its position", position >= at, || format!("asked at {at}: {found:?}"));
        let state = found.state();
        if ended.is_some() {
            let told = || format!("{element:?} at {at}: {found:?}");
            journal.check("what has ended is not waiting", state != ElementState::Waiting, told);
        }
        if state != ElementState::Waiting {
            self.shared.looked(Looked { element, state, found: found.r#match, ended_at: found.ended_at });
        }
    }

    /// The same element under the same idempotency key: it gets its first id.
    async fn submit_again(&self, client: &mut Client, element: Acked) {
        let body = element.pool.element(self.shared.seed, element.serial);
        let began = Instant::now();
        loop {
            match or_silent(timeout(ANSWER, client.submit_one(element.pool.name(), body.clone())).await) {
                Ok(id) => {
                    let took = began.elapsed();
                    self.shared.journal.check("a retry gets the first id", id == element.id, || {
                        format!("{element:?} got {id} after {took:?}")
                    });
                    return;
                }
                Err(error) => self.go_on("submitting again", &error, client).await,
            }
        }
    }

    async fn go_on(&self, what: &str, error: &ClientError, client: &mut Client) {
        self.shared.survive(what, error).await;
        *client = self.shared.connect(&self.url).await;
    }
}

fn named(element: Acked, rng: &mut Rng) -> ElementRef {
    if rng.chance(500) { by_id(element.id) } else { by_key(element.pool.name(), key(element.serial)) }
}
