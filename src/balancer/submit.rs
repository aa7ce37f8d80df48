//! The `Submit` stream: batches in, ids out, in order, with a bounded number of batches on the way.

use std::sync::Arc;

use dovetail_core::{
    Pool,
    ledger::{Checked, Submission, SubmitError},
};
use futures::StreamExt;
use prost::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    Node,
    columns::Submitting,
    errors::{self, RequestError},
    held::Room,
    messages::{DiskFull, Request, RowRefused, Submitted},
};
use crate::{
    convert::{self, ConvertError, SubmittedColumns},
    pb::{self, submit_request::Batch},
    rpc::{self, ResponseStream},
    shutdown::Shutdown,
};

/// Batches of one stream that may wait for the disk. The next one is read when the first of them is answered.
const BATCHES: usize = 64;
/// Bytes of batches of one stream that may wait to be let in, as they were encoded. One batch may be larger.
const STREAM_BYTES: u32 = 16 << 20;
/// Most rows of a batch.
pub(super) const ROWS_MAX: usize = 65_536;
/// About the most bytes of text that the refusals of one answer have.
const REFUSAL_TEXTS: usize = 1 << 20;

enum Answer {
    Soon(oneshot::Receiver<Result<Submitted, DiskFull>>),
    Last(Status),
}

/// Serves one stream.
pub(super) fn serve(
    node: Arc<Node>,
    requests: Streaming<pb::SubmitRequest>,
    stop: Shutdown,
) -> ResponseStream<pb::SubmitResponse> {
    let (answers, waiting) = mpsc::channel(BATCHES);
    tokio::spawn(read(node, requests, stop, answers));
    Box::pin(ReceiverStream::new(waiting).then(async |answer| match answer {
        Answer::Soon(submitted) => match submitted.await.map_err(errors::stopping)? {
            Ok(submitted) => Ok(response(submitted)),
            Err(full) => Err(RequestError::from(full).into()),
        },
        Answer::Last(status) => Err(status),
    }))
}

/// Reads batches until the client ends the stream, the node stops, or a batch cannot be taken.
async fn read(
    node: Arc<Node>,
    mut requests: Streaming<pb::SubmitRequest>,
    stop: Shutdown,
    answers: mpsc::Sender<Answer>,
) {
    let _open = match node.submit_streams.take() {
        Ok(open) => open,
        Err(refused) => {
            _ = answers.send(Answer::Last(refused.into())).await;
            return;
        }
    };
    let stream = node.next_stream();
    let room = Arc::new(Semaphore::new(STREAM_BYTES as usize));
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = stop.given() => Err(errors::stopping(())),
        };
        let answer = match message {
            Ok(None) => return,
            Ok(Some(request)) => tokio::select! {
                taken = take(&node, stream, &room, request) => taken.map_or_else(Answer::Last, Answer::Soon),
                () = stop.given() => Answer::Last(errors::stopping(())),
                // The client left while nothing could be taken; what it sent was not answered.
                () = answers.closed() => return,
            },
            Err(status) => Answer::Last(status),
        };
        let last = matches!(answer, Answer::Last(_));
        // Nobody reads the answers: the client is gone, and what it sent before is logged all the same.
        if answers.send(answer).await.is_err() || last {
            return;
        }
    }
}

async fn take(
    node: &Node,
    stream: u64,
    stream_room: &Arc<Semaphore>,
    request: pb::SubmitRequest,
) -> Result<oneshot::Receiver<Result<Submitted, DiskFull>>, Status> {
    let bytes = request.encoded_len();
    errors::check_pool_name(&request.pool)?;
    let missing = RequestError::Missing { what: "a SubmitRequest without a batch", field: "rows or columns" };
    let batch = request.batch.ok_or(missing)?;
    let count = match &batch {
        Batch::Rows(rows) => rows.rows.len(),
        Batch::Columns(columns) => columns.count as usize,
    };
    if count > ROWS_MAX {
        return Err(RequestError::BatchSize { found: count }.into());
    }
    let share = u32::try_from(bytes).unwrap_or(STREAM_BYTES).clamp(1, STREAM_BYTES);
    let of_stream = Arc::clone(stream_room).acquire_many_owned(share).await.map_err(errors::stopping)?;
    let room = Room { _of_stream: Some(of_stream), ..node.request_room(bytes).await? };
    let pool = node.pools.named(&request.pool);
    let secret = node.ledger_limits.key_secret;
    let elements = match (batch, pool.as_deref().ok_or(request.pool)) {
        (Batch::Rows(rows), pool) => {
            let checked = rows.rows.into_iter().map(|row| check(node, &pool, || convert::submission(row)));
            Submitting::rows(checked.collect(), secret)
        }
        (Batch::Columns(columns), pool) => {
            let columns = SubmittedColumns::read(columns).map_err(RequestError::Columns)?;
            match pool {
                Ok(pool) => Submitting::columns(&columns, pool, &node.ledger_limits),
                Err(name) => Submitting::rows((0..count).map(|_| Err(unknown_pool(&name))).collect(), secret),
            }
        }
    };
    let (reply, submitted) = oneshot::channel();
    let request = Request::Submit { elements, stream, reply, room };
    node.requests.tell(request).await.map_err(errors::stopping)?;
    Ok(submitted)
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

/// The answer to a batch. It fits what clients take, whatever was refused: beyond so many bytes of text, refusals come without.
fn response(submitted: Submitted) -> pb::SubmitResponse {
    let (mut bytes, mut messages_left_out) = (0, false);
    let refusal = |(row, refused): &(u32, RowRefused)| {
        let reason = errors::row_reason(refused);
        messages_left_out |= bytes >= REFUSAL_TEXTS;
        let message = if messages_left_out { String::new() } else { rpc::cut_message(refused.to_string()) };
        bytes += message.len();
        pb::Refusal {
            row: *row,
            code: i32::from(reason.code()).unsigned_abs(),
            message,
            reason: reason.into(),
            holder: errors::row_holder(refused).unwrap_or_default(),
        }
    };
    let refusals = submitted.refused.iter().map(refusal).collect();
    pb::SubmitResponse { refusals, ids: submitted.ids, messages_left_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_the_largest_batch_fits_what_clients_take_though_each_row_is_refused() {
        let refused = |row| {
            let key = "k".repeat(256);
            let element = dovetail_core::ElementId(u64::MAX);
            (row, SubmitError::KeyWaiting { pool: "p".repeat(64), key, element }.into())
        };
        let refused: Vec<_> = (0..ROWS_MAX as u32).map(refused).collect();
        let answer = response(Submitted { ids: vec![0; ROWS_MAX], refused });
        assert!(answer.encoded_len() < 3 << 20, "{} bytes", answer.encoded_len());
        assert_eq!(answer.refusals.len(), ROWS_MAX);
        assert!(answer.messages_left_out && answer.refusals[0].message.contains("is waiting in pool"));
        let last = answer.refusals.last().unwrap();
        assert_eq!((last.message.as_str(), last.reason()), ("", pb::ErrorReason::KeyWaiting));
        assert_eq!((last.row, last.code, last.holder), (ROWS_MAX as u32 - 1, 6, u64::MAX));
    }
}
