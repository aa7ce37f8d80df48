//! Batches in, ids out, with a bounded number of batches on the way.
//!
//! Invariants: answers come in the order of the batches; no more than `in_flight` batches are unanswered.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::servers::{Again, Servers};
use super::{ClientError, Columns, service};
use crate::pb;
use crate::pb::submit_request::Batch;

/// How to submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmitOptions {
    /// Most batches sent and not answered, at least 1. [`SubmitStream::send`] waits above it.
    pub in_flight: usize,
}

impl SubmitOptions {
    /// As many batches of some hundred elements as keep a cluster busy that writes each frame to a disk. With a quarter
    /// of it, W2 flat out is a fifth slower (docs/performance.md).
    pub const IN_FLIGHT: u16 = 64;
}

impl Default for SubmitOptions {
    fn default() -> SubmitOptions {
        SubmitOptions { in_flight: SubmitOptions::IN_FLIGHT.into() }
    }
}

/// What became of a batch. Its elements are on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// One per element, in order; 0 for one that was refused.
    pub ids: Vec<u64>,
    /// The elements that were refused, in order, by their place in the batch.
    pub refusals: Vec<pb::Refusal>,
}

/// An open submission.
#[derive(Debug)]
pub struct SubmitStream {
    pool: String,
    in_flight: usize,
    requests: mpsc::Sender<pb::SubmitRequest>,
    responses: Streaming<pb::SubmitResponse>,
    /// Sizes of the unanswered batches, oldest first.
    unanswered: VecDeque<usize>,
    /// The server that it is at, of these.
    at: usize,
    servers: Servers,
}

impl SubmitStream {
    pub(super) async fn open(
        servers: Servers,
        pool: String,
        options: SubmitOptions,
    ) -> Result<SubmitStream, ClientError> {
        let in_flight = options.in_flight.max(1);
        // Nothing was sent when it does not begin: it begins elsewhere. As deep as the window: a send never waits for the
        // channel, only for an answer.
        let open = |calls| {
            let (requests, receiver) = mpsc::channel(in_flight);
            async move {
                let responses = service(calls).submit(ReceiverStream::new(receiver)).await?;
                Ok(responses.map(|responses| (requests, responses)))
            }
        };
        let (at, (requests, responses)) = servers.call_at(Again::Same, open).await?;
        Ok(SubmitStream { pool, in_flight, requests, responses, unanswered: VecDeque::new(), at, servers })
    }

    /// Batches sent and not answered.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether [`send`](SubmitStream::send) would go ahead without waiting for an answer first.
    pub fn has_room(&self) -> bool {
        self.unanswered.len() < self.in_flight
    }

    /// Sends a batch, as columns where it can be. If there is no room, first waits for the answer to the oldest batch,
    /// and returns it.
    ///
    /// An error ends the stream. Batches not answered by then may or may not have been taken.
    pub async fn send(&mut self, rows: Vec<pb::Submission>) -> Result<Option<Answer>, ClientError> {
        match Columns::of(&rows) {
            Some(columns) => self.send_columns(columns).await,
            None => self.send_rows(rows).await,
        }
    }

    /// Sends a batch as rows, whatever it costs; like [`send`](SubmitStream::send) otherwise.
    pub async fn send_rows(&mut self, rows: Vec<pb::Submission>) -> Result<Option<Answer>, ClientError> {
        self.send_batch(rows.len(), Batch::Rows(pb::Rows::of(&rows))).await
    }

    /// Sends a batch of columns: the fastest way in. Like [`send`](SubmitStream::send) otherwise.
    pub async fn send_columns(&mut self, columns: Columns) -> Result<Option<Answer>, ClientError> {
        self.send_batch(columns.len(), Batch::Columns(columns.into())).await
    }

    async fn send_batch(&mut self, size: usize, batch: Batch) -> Result<Option<Answer>, ClientError> {
        let answer = if self.has_room() { None } else { self.answer().await? };
        let request = pb::SubmitRequest { pool: self.pool.clone(), batch: Some(batch), first_id_only: true };
        if self.requests.send(request).await.is_err() {
            return Err(self.why_it_ended().await);
        }
        self.unanswered.push_back(size);
        Ok(answer)
    }

    /// The answer to the oldest batch without one; `None` when every batch has been answered.
    ///
    /// Can be dropped and called again without losing an answer.
    pub async fn answer(&mut self) -> Result<Option<Answer>, ClientError> {
        let Some(&size) = self.unanswered.front() else { return Ok(None) };
        let Some(response) = self.message().await? else {
            return Err(ClientError::Lost { reason: "the server ended the stream".to_owned() });
        };
        self.unanswered.pop_front();
        checked(response, size).map(Some)
    }

    /// Tells the server that this was all, and returns the answers still to come.
    pub async fn finish(mut self) -> Result<Vec<Answer>, ClientError> {
        self.close();
        let mut answers = Vec::with_capacity(self.unanswered.len());
        while let Some(answer) = self.answer().await? {
            answers.push(answer);
        }
        // An error that concerns no batch, e.g. that the node went down after the last.
        match self.message().await? {
            None => Ok(answers),
            Some(_) => Err(ClientError::Answer("an answer to no batch".to_owned())),
        }
    }

    /// Tells the server that this was all; [`answer`](SubmitStream::answer) goes on. A later send fails.
    pub fn close(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.requests = closed;
    }

    async fn why_it_ended(&mut self) -> ClientError {
        loop {
            match self.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return ClientError::Lost { reason: "the server ended the stream".to_owned() },
                Err(error) => return error,
            }
        }
    }

    /// What comes next. The next stream begins elsewhere, if this one ends because its server stands by or is gone.
    async fn message(&mut self) -> Result<Option<pb::SubmitResponse>, ClientError> {
        let (servers, at) = (&self.servers, self.at);
        let ended = |status: Status| {
            let error = ClientError::from(status);
            servers.hear(at, &error);
            error
        };
        self.responses.message().await.map_err(ended)
    }
}

fn checked(response: pb::SubmitResponse, size: usize) -> Result<Answer, ClientError> {
    let pb::SubmitResponse { mut ids, mut refusals, first_id, .. } = response;
    if first_id > 0 && ids.is_empty() && first_id.checked_add(size as u64).is_some() {
        ids = (first_id..first_id + size as u64).collect();
    }
    let refused = ids.iter().filter(|&&id| id == 0).count();
    let named = |refusal: &pb::Refusal| ids.get(refusal.row as usize) == Some(&0);
    if ids.len() != size || refusals.len() != refused || !refusals.iter().all(named) {
        let found = format!("{} ids and {} refusals for {size} elements", ids.len(), refusals.len());
        return Err(ClientError::Answer(found));
    }
    for refusal in refusals.iter_mut().filter(|refusal| refusal.message.is_empty()) {
        refusal.message = left_out(refusal);
    }
    Ok(Answer { ids, refusals })
}

/// In place of a text that the server left out, because so many rows were refused.
fn left_out(refusal: &pb::Refusal) -> String {
    match refusal.holder {
        0 => refusal.reason().name().to_owned(),
        holder => format!("{}: element {holder}", refusal.reason().name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_an_id_for_each_element_or_it_is_none() {
        let ids = |ids: &[u64], first_id, size| {
            let response = pb::SubmitResponse { ids: ids.to_vec(), first_id, ..pb::SubmitResponse::default() };
            checked(response, size).ok().map(|answer| answer.ids)
        };
        assert_eq!(ids(&[4, 9], 0, 2), Some(vec![4, 9]), "as earlier versions tell them");
        assert_eq!(ids(&[], 7, 3), Some(vec![7, 8, 9]));
        assert_eq!((ids(&[], 0, 0), ids(&[], 0, 2)), (Some(Vec::new()), None));
        assert_eq!((ids(&[4], 7, 2), ids(&[], u64::MAX, 2)), (None, None));
    }

    #[test]
    fn a_row_that_was_refused_has_no_id() {
        let refusal = |row| pb::Refusal { row, message: "why".to_owned(), ..pb::Refusal::default() };
        let of = |ids: Vec<u64>, first_id, refusals| {
            checked(pb::SubmitResponse { ids, first_id, refusals, ..pb::SubmitResponse::default() }, 2).is_ok()
        };
        assert!(of(vec![5, 0], 0, vec![refusal(1)]));
        assert!(!of(vec![5, 0], 0, vec![refusal(0)]) && !of(vec![5, 6], 0, vec![refusal(1)]));
        assert!(!of(Vec::new(), 5, vec![refusal(1)]), "then there are ids");
    }
}
