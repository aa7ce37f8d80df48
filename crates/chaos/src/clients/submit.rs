//! Submits elements and retries until each is acknowledged: in batches on a stream, or one by one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use dovetail::client::{Answer, Client, ClientError, SubmitOptions, SubmitStream};
use dovetail::pb::Submission;
use dovetail_sim::rng::Rng;
use tokio::time::{Instant, sleep_until, timeout};

use super::{ANSWER, Acked, Shared};
use crate::workload::ChaosPool;

/// Most elements that a submitter has sent and heard nothing of.
const UNANSWERED_MAX: usize = 4_096;

/// A submitter.
#[derive(Debug)]
pub struct Submitter {
    /// Which one of all.
    pub number: usize,
    pub pool: ChaosPool,
    pub url: String,
    pub shared: Arc<Shared>,
    /// Mean pause between two batches, or elements.
    pub pause: Duration,
    /// Most elements in a batch.
    pub batch_max: u64,
}

impl Submitter {
    fn rng(&self) -> Rng {
        Rng::new(self.shared.seed).fork(0x5B_0000 + self.number as u64)
    }

    fn next_pause(&self, rng: &mut Rng) -> Duration {
        self.pause * rng.range(1, 199) as u32 / 100
    }

    fn accept(&self, serial: u64, id: u64) {
        self.shared.acked(Acked { pool: self.pool, serial, id });
    }

    /// Batches on a stream, until told to stop and all is acknowledged. Whatever was not answered when a stream broke
    /// is sent again on the next.
    pub async fn stream(self) {
        let mut rng = self.rng();
        let mut unanswered = Unanswered::default();
        while !(self.shared.stopping() && unanswered.serials.is_empty()) {
            let client = self.shared.connect(&self.url).await;
            if let Err(error) = self.one_stream(&client, &mut unanswered, &mut rng).await {
                self.shared.survive("a submit stream", &error).await;
            }
        }
    }

    async fn one_stream(&self, client: &Client, unanswered: &mut Unanswered, rng: &mut Rng) -> Result<(), ClientError> {
        let opening = client.submit(self.pool.name(), SubmitOptions::default());
        let mut stream = or_silent(timeout(ANSWER, opening).await)?;
        unanswered.sent = 0;
        let mut next = Instant::now();
        loop {
            while stream.has_room() && unanswered.sent < unanswered.serials.len() {
                self.send(&mut stream, unanswered, rng).await?;
            }
            if stream.unanswered() == 0 && self.shared.stopping() {
                return Ok(());
            }
            let full = unanswered.serials.len() >= UNANSWERED_MAX || self.shared.stopping();
            tokio::select! {
                answer = stream.answer(), if stream.unanswered() > 0 => {
                    if let Some(answer) = answer? {
                        self.on_answer(answer, unanswered);
                    }
                }
                () = sleep_until(next), if !full => {
                    next = Instant::now() + self.next_pause(rng);
                    for _ in 0..rng.range(1, self.batch_max) {
                        unanswered.serials.push_back(self.shared.serial());
                    }
                    self.tell_pending(unanswered);
                }
                () = self.shared.stopped(), if !full => {}
                () = sleep_until(unanswered.heard + ANSWER), if stream.unanswered() > 0 => return Err(silent()),
            }
        }
    }

    async fn send(
        &self,
        stream: &mut SubmitStream,
        unanswered: &mut Unanswered,
        rng: &mut Rng,
    ) -> Result<(), ClientError> {
        let left = unanswered.serials.len() - unanswered.sent;
        let size = (rng.range(1, self.batch_max) as usize).min(left);
        let serials = unanswered.serials.iter().skip(unanswered.sent).take(size);
        let rows: Vec<Submission> = serials.map(|serial| self.pool.element(self.shared.seed, *serial)).collect();
        if stream.unanswered() == 0 {
            unanswered.heard = Instant::now();
        }
        unanswered.sent += size;
        let answer = or_silent(timeout(ANSWER, stream.send(rows)).await)?;
        assert!(answer.is_none(), "there was room");
        Ok(())
    }

    fn on_answer(&self, answer: Answer, unanswered: &mut Unanswered) {
        let journal = &self.shared.journal;
        journal.check("submissions are not refused", answer.refusals.is_empty(), || format!("{:?}", answer.refusals));
        unanswered.heard = Instant::now();
        unanswered.sent -= answer.ids.len();
        for id in answer.ids {
            let serial = unanswered.serials.pop_front().expect("the library checks how many there are");
            if id == 0 {
                continue;
            }
            let last = std::mem::replace(&mut unanswered.last, id);
            journal.check("ids ascend in the order of submission", id > last, || {
                format!("{} got {id}, the one before {last}", crate::workload::key(serial))
            });
            self.accept(serial, id);
        }
        self.tell_pending(unanswered);
    }

    fn tell_pending(&self, unanswered: &Unanswered) {
        self.shared.set_pending(self.number, unanswered.serials.front().copied());
    }

    /// One by one.
    pub async fn one_by_one(self) {
        let mut rng = self.rng();
        let mut client = self.shared.connect(&self.url).await;
        let mut next = Instant::now();
        while !self.shared.stopping() {
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.shared.stopped() => return,
            }
            next = Instant::now() + self.next_pause(&mut rng);
            let serial = self.shared.serial();
            self.shared.set_pending(self.number, Some(serial));
            let element = self.pool.element(self.shared.seed, serial);
            let id = loop {
                let call = client.submit_one(self.pool.name(), element.clone());
                match or_silent(timeout(ANSWER, call).await) {
                    Ok(id) => break id,
                    Err(error) => self.shared.survive("SubmitOne", &error).await,
                }
                client = self.shared.connect(&self.url).await;
            };
            self.accept(serial, id);
            self.shared.set_pending(self.number, None);
        }
    }
}

/// Elements without an answer, oldest first.
#[derive(Debug)]
struct Unanswered {
    serials: VecDeque<u64>,
    /// How many of them were sent on this stream.
    sent: usize,
    /// Since when there is something to hear.
    heard: Instant,
    /// The id acknowledged last.
    last: u64,
}

impl Default for Unanswered {
    fn default() -> Unanswered {
        Unanswered { serials: VecDeque::new(), sent: 0, heard: Instant::now(), last: 0 }
    }
}

fn silent() -> ClientError {
    ClientError::Lost { reason: format!("no answer within {ANSWER:?}") }
}

/// A call that took too long is lost.
pub fn or_silent<T>(answered: Result<Result<T, ClientError>, tokio::time::error::Elapsed>) -> Result<T, ClientError> {
    answered.unwrap_or_else(|_| Err(silent()))
}
