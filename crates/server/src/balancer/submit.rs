//! The `Submit` stream: batches in, ids out, in order, with a bounded number of batches on the way.

use std::{sync::Arc, time::Duration};

use dovetail_core::{
    Pool,
    ledger::{Checked, LedgerLimits, PAYLOAD_BYTES_CAP, Submission, SubmitError},
};
use futures::stream;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::{Status, Streaming};

use super::{
    columns::{Checking, Room, Submitting},
    errors::{self, RequestError},
    messages::{Request, Submitted},
    node::Node,
    refusals::answer_bytes,
    refused::{NotWritten, RowRefused},
};
use crate::{
    auth::{self, Access, Take, Verb},
    caller::Caller,
    rpc::{ResponseStream, Share, Shares, Spent},
    shutdown::Shutdown,
};
use dovetail::{
    batch::{self as wire, ROWS_MAX},
    pb::{self, submit_request::Batch},
};
use dovetail_wire::{ConvertError, SubmittedColumns};

/// Batches of one stream that may wait for the disk. The next one is read when the first of them is answered.
const BATCHES: usize = 64;
/// Bytes of batches of one stream that may wait to be let in: as they were encoded, and of rows what they take as
/// columns. One batch may be larger.
const STREAM_BYTES: u32 = 16 << 20;
/// Bytes of answers of one stream that its client has not read, and of those to batches that are on their way. Above it
/// the stream is read no further.
const STREAM_ANSWER_BYTES: u32 = 4 << 20;
/// How long a batch waits for room among those of other clients. Then its stream ends: they may never read their
/// answers.
const STUCK: Duration = Duration::from_secs(30);
/// What a packed row takes beside the element, at most: names of attributes, tags and lengths.
const ROW_NAMES_BYTES: u64 = 16 << 10;

enum Answer {
    Soon(Taken),
    Last(Status),
}

/// A batch that the engine has.
struct Taken {
    submitted: oneshot::Receiver<Result<Submitted, NotWritten>>,
    room: BatchAnswerRoom,
    /// The client knows that ids follow one another.
    first_id_only: bool,
}

/// Room for an answer, until its client has read it.
struct BatchAnswerRoom {
    of_all: Share,
    of_stream: OwnedSemaphorePermit,
}

impl BatchAnswerRoom {
    /// Gives back what the answer does not need.
    fn keep(&mut self, bytes: usize) {
        self.of_all.keep(bytes);
        drop(self.of_stream.split(self.of_stream.num_permits().saturating_sub(bytes)));
    }
}

/// What the batches of one stream may take.
struct StreamRoom {
    requests: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    caller: Option<Caller>,
    all_requests: Shares,
    all_answers: Shares,
}

impl StreamRoom {
    fn new(node: &Node, caller: Option<&Caller>) -> StreamRoom {
        StreamRoom {
            requests: Arc::new(Semaphore::new(STREAM_BYTES as usize)),
            answers: Arc::new(Semaphore::new(STREAM_ANSWER_BYTES as usize)),
            caller: caller.cloned(),
            all_requests: node.request_bytes.clone(),
            all_answers: node.batch_answers.clone(),
        }
    }

    /// Waits while the client, or all together, have more answers than they may.
    async fn answer(&self, rows: usize) -> Result<BatchAnswerRoom, Status> {
        let bytes = answer_bytes(rows);
        let of_stream = take_of(&self.answers, bytes, STREAM_ANSWER_BYTES).await?;
        let of_all = self.all_answers.wait_unless_stuck(self.caller.as_ref(), bytes, STUCK).await;
        let of_all = of_all.map_err(|spent| stuck(spent, BATCH_ANSWERS))?;
        Ok(BatchAnswerRoom { of_all, of_stream })
    }

    async fn request(&self, encoded: usize, bytes: usize) -> Result<Room, Status> {
        let of_stream = take_of(&self.requests, bytes, STREAM_BYTES).await?;
        let on_the_way = self.all_requests.wait_unless_stuck(self.caller.as_ref(), bytes, STUCK).await;
        let on_the_way = on_the_way.map_err(|spent| stuck(spent, REQUESTS))?;
        Ok(Room {
            on_the_way: Some(on_the_way),
            _of_stream: Some(of_stream),
            bytes: encoded.max(bytes),
            client: self.caller.as_ref().map(|caller| caller.client.clone()),
        })
    }
}

/// What there is too much of, as an error has it.
const REQUESTS: &str = "bytes of submissions are on their way";
const BATCH_ANSWERS: &str = "bytes of answers to batches are kept for clients to read";

fn stuck(spent: Spent, what: &'static str) -> Status {
    RequestError::Limit { spent, what, name: "the most of a balancer" }.into()
}

async fn take_of(room: &Arc<Semaphore>, bytes: usize, most: u32) -> Result<OwnedSemaphorePermit, Status> {
    let share = u32::try_from(bytes).unwrap_or(most).clamp(1, most);
    Arc::clone(room).acquire_many_owned(share).await.map_err(errors::stopping)
}

/// Serves one stream.
pub(super) fn serve(
    node: Arc<Node>,
    caller: Option<Caller>,
    requests: Streaming<pb::SubmitRequest>,
    access: Access,
    stop: Shutdown,
) -> ResponseStream<pb::SubmitResponse> {
    // Before the client hears anything, so that streams which it opens one after another are counted in that order.
    let open = match node.submit_streams.take(caller.as_ref()) {
        Ok(open) => open,
        Err(refused) => return Box::pin(stream::once(std::future::ready(Err(refused.into())))),
    };
    let (answers, waiting) = mpsc::channel(BATCHES);
    tokio::spawn(async move {
        read(node, caller, requests, access, stop, answers).await;
        drop(open);
    });
    // The room of an answer is given back when the next one is asked for: the connection has taken it by then.
    Box::pin(stream::unfold(
        (waiting, None),
        async |(mut waiting, read): (mpsc::Receiver<Answer>, Option<BatchAnswerRoom>)| {
            drop(read);
            let (answer, room) = match waiting.recv().await? {
                Answer::Soon(Taken { submitted, mut room, first_id_only }) => {
                    let answer = answer(submitted, first_id_only).await;
                    room.keep(answer.as_ref().map_or(0, Message::encoded_len));
                    (answer, Some(room))
                }
                Answer::Last(status) => (Err(status), None),
            };
            Some((answer, (waiting, room)))
        },
    ))
}

async fn answer(
    submitted: oneshot::Receiver<Result<Submitted, NotWritten>>,
    first_id_only: bool,
) -> Result<pb::SubmitResponse, Status> {
    match submitted.await.map_err(errors::stopping)? {
        Ok(submitted) => Ok(response(submitted, first_id_only)),
        Err(why) => Err(why.into()),
    }
}

/// Reads batches until the client ends the stream, the node stops, or a batch cannot be taken.
async fn read(
    node: Arc<Node>,
    caller: Option<Caller>,
    mut requests: Streaming<pb::SubmitRequest>,
    access: Access,
    stop: Shutdown,
    answers: mpsc::Sender<Answer>,
) {
    let stream = node.next_stream();
    let room = StreamRoom::new(&node, caller.as_ref());
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = stop.given() => Err(errors::stopping(())),
        };
        let answer = match message {
            Ok(None) => return,
            Ok(Some(request)) => tokio::select! {
                taken = take(&node, &access, stream, &room, request) => taken.map_or_else(Answer::Last, Answer::Soon),
                () = stop.given() => Answer::Last(errors::stopping(())),
                // The client left while nothing could be taken; what it sent was not answered.
                () = answers.closed() => return,
            },
            Err(status) => Answer::Last(status),
        };
        let last = matches!(answer, Answer::Last(_));
        // The answers are not read: the client is gone, and what it sent before is logged all the same.
        if answers.send(answer).await.is_err() || last {
            return;
        }
    }
}

async fn take(
    node: &Node,
    access: &Access,
    stream: u64,
    room: &StreamRoom,
    request: pb::SubmitRequest,
) -> Result<Taken, Status> {
    let (encoded, first_id_only) = (request.encoded_len(), request.first_id_only);
    node.check_clock()?;
    errors::check_pool_name(&request.pool)?;
    access.may(Verb::Submit, &request.pool)?;
    let missing = RequestError::Missing { what: "a SubmitRequest without a batch", field: "rows or columns" };
    let batch = request.batch.ok_or(missing)?;
    let count = match &batch {
        Batch::Rows(rows) => rows.len(),
        Batch::Columns(columns) => columns.count as usize,
    };
    if count > ROWS_MAX {
        return Err(RequestError::BatchSize { found: count }.into());
    }
    let taken = Take { elements: count as u64, bytes: encoded as u64, ..Take::default() };
    access.pace(taken, auth::PATIENCE).await?;
    let pool = node.pools.named(&request.pool);
    let attributes = pool.as_deref().map_or(0, |pool| pool.schema.len());
    let bytes = match &batch {
        // As columns each has a place for each attribute, whether or not it has it.
        Batch::Rows(_) => encoded + count * attributes * size_of::<u64>(),
        Batch::Columns(_) => encoded,
    };
    let answer_room = room.answer(count).await?;
    let room = room.request(encoded, bytes).await?;
    let elements = check_batch(node, batch, pool.as_deref().ok_or(request.pool), count).await?.owned_by(access.owner());
    let (reply, submitted) = oneshot::channel();
    let request = Request::Submit { elements, stream, reply, room };
    node.requests.tell(request).await.map_err(errors::stopping)?;
    Ok(Taken { submitted, room: answer_room, first_id_only })
}

/// Checks what can be told of a batch without the engine. The pool, or the name that none has.
async fn check_batch(
    node: &Node,
    batch: Batch,
    pool: Result<&Pool, String>,
    count: usize,
) -> Result<Submitting, RequestError> {
    let limits = &node.ledger_limits;
    let mut checking = Checking::default();
    match (batch, pool) {
        (Batch::Rows(rows), pool) => {
            let row_bytes_max = limits.element_bytes_max + PAYLOAD_BYTES_CAP + ROW_NAMES_BYTES;
            if let Ok(pool) = &pool
                && rows.packed().all(|row| row.len() as u64 <= row_bytes_max)
                && let Some(submitting) = Submitting::rows(&rows, pool, limits)
            {
                return Ok(submitting);
            }
            for (at, packed) in rows.packed().enumerate() {
                let row = if packed.len() as u64 <= row_bytes_max {
                    let row = pb::Submission::decode(packed);
                    let row = row.map_err(|error| RequestError::RowMalformed { row: at, error })?;
                    check(node, &pool, || dovetail_wire::submission(row))
                } else {
                    // It is not unpacked: it may take many times as much then.
                    Err(too_large(packed, limits))
                };
                checking.push(row).await;
            }
        }
        (Batch::Columns(columns), pool) => {
            let columns = SubmittedColumns::read(columns).map_err(RequestError::Columns)?;
            match pool {
                Ok(pool) => return Ok(Submitting::columns(&columns, pool, limits).await),
                Err(name) => {
                    for _ in 0..count {
                        checking.push(Err(unknown_pool(&name))).await;
                    }
                }
            }
        }
    }
    Ok(checking.finish(limits.key_secret))
}

/// Checks what can be told of a row without the engine. The pool, or the name that none has.
pub(super) fn check(
    node: &Node,
    pool: &Result<&Pool, String>,
    submission: impl FnOnce() -> Result<Submission, ConvertError>,
) -> Result<Checked, RowRefused> {
    match pool {
        Ok(pool) => Ok(submission()?.check(pool, &node.ledger_limits)?),
        Err(name) => Err(unknown_pool(name)),
    }
}

fn unknown_pool(name: &str) -> RowRefused {
    SubmitError::UnknownPool(name.to_owned()).into()
}

fn too_large(row: &[u8], limits: &LedgerLimits) -> RowRefused {
    SubmitError::ElementBytes { key: wire::key_of(row), found: row.len(), bound: limits.element_bytes_max }.into()
}

/// The answer to a batch. It fits what clients take, whatever was refused: beyond so many bytes of text, refusals come
/// without.
fn response(Submitted { ids, refused }: Submitted, first_id_only: bool) -> pb::SubmitResponse {
    if let (true, Some(&first_id)) = (first_id_only && refused.is_empty(), ids.first())
        && ids.iter().zip(first_id..).all(|(&id, next)| id == next)
    {
        return pb::SubmitResponse { first_id, ..pb::SubmitResponse::default() };
    }
    let (refusals, messages_left_out) = refused.pb();
    pb::SubmitResponse { refusals, ids, messages_left_out, first_id: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::refusals::Refusals;

    #[test]
    fn ids_that_follow_one_another_are_told_by_the_first_to_clients_that_know() {
        let told = |ids: &[u64], known| {
            let answer = response(Submitted { ids: ids.to_vec(), refused: Refusals::default() }, known);
            (answer.ids, answer.first_id)
        };
        assert_eq!(told(&[7, 8, 9], true), (Vec::new(), 7));
        assert_eq!(told(&[7, 8, 9], false), (vec![7, 8, 9], 0));
        assert_eq!(told(&[7, 9], true), (vec![7, 9], 0));
        assert_eq!(told(&[], true), (Vec::new(), 0));
    }

    #[test]
    fn the_answer_to_the_largest_batch_fits_what_clients_take_though_each_row_is_refused() {
        let mut refused = Refusals::default();
        for row in 0..ROWS_MAX as u32 {
            let key = "k".repeat(256);
            let element = dovetail_core::ElementId(u64::MAX);
            refused.push(row, SubmitError::KeyWaiting { pool: "p".repeat(64), key, element }.into());
        }
        let answer = response(Submitted { ids: vec![0; ROWS_MAX], refused }, true);
        assert!(answer.encoded_len() < answer_bytes(ROWS_MAX), "{} bytes", answer.encoded_len());
        assert_eq!(answer.refusals.len(), ROWS_MAX);
        assert!(answer.messages_left_out && answer.refusals[0].message.contains("is waiting in pool"));
        let last = answer.refusals.last().unwrap();
        assert_eq!((last.message.as_str(), last.reason()), ("", pb::ErrorReason::KeyWaiting));
        assert_eq!((last.row, last.code, last.holder), (ROWS_MAX as u32 - 1, 6, u64::MAX));
    }
}
