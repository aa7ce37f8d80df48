//! The `Submit` stream: batches in, ids out, in order, with a bounded number of batches on the way.

use std::sync::Arc;

use dovetail_core::{
    Pool,
    ledger::{Checked, Submission, SubmitError},
};
use futures::StreamExt;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    Node,
    columns::Submitting,
    errors,
    messages::{DiskFull, Request, RowRefused, Submitted},
};
use crate::{
    convert::{self, ConvertError, SubmittedColumns},
    pb::{self, submit_request::Batch},
    rpc::ResponseStream,
    shutdown::Shutdown,
};

/// Batches of one stream that may wait for the disk. The next one is read when the first of them is answered.
const BATCHES: usize = 64;
/// Most rows of a batch.
pub(super) const ROWS_MAX: usize = 65_536;

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
            Err(full) => Err(errors::disk_full(full)),
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
            _ = answers.send(Answer::Last(refused)).await;
            return;
        }
    };
    let stream = node.next_stream();
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = stop.given() => Err(errors::stopping(())),
        };
        let answer = match message {
            Ok(None) => return,
            Ok(Some(request)) => tokio::select! {
                taken = take(&node, stream, request) => taken.map_or_else(Answer::Last, Answer::Soon),
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
    request: pb::SubmitRequest,
) -> Result<oneshot::Receiver<Result<Submitted, DiskFull>>, Status> {
    let bytes = request.encoded_len();
    errors::check_pool_name(&request.pool)?;
    let batch = request
        .batch
        .ok_or_else(|| Status::invalid_argument("a SubmitRequest without a batch; set rows or columns"))?;
    let count = match &batch {
        Batch::Rows(rows) => rows.rows.len(),
        Batch::Columns(columns) => columns.count as usize,
    };
    if count > ROWS_MAX {
        return Err(Status::invalid_argument(format!("a batch of {count} rows, at most {ROWS_MAX}")));
    }
    let room = node.request_room(bytes).await?;
    let pool = node.pools.named(&request.pool);
    let secret = node.ledger_limits.key_secret;
    let elements = match (batch, pool.as_deref().ok_or(request.pool)) {
        (Batch::Rows(rows), pool) => {
            let checked = rows.rows.into_iter().map(|row| check(node, &pool, || convert::submission(row)));
            Submitting::rows(checked.collect(), secret)
        }
        (Batch::Columns(columns), pool) => {
            let columns =
                SubmittedColumns::read(columns).map_err(|error| Status::invalid_argument(error.to_string()))?;
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

fn response(submitted: Submitted) -> pb::SubmitResponse {
    let refusal = |(row, refused): &(u32, RowRefused)| pb::Refusal {
        row: *row,
        code: i32::from(errors::row_code(refused)).unsigned_abs(),
        message: refused.to_string(),
    };
    pb::SubmitResponse { refusals: submitted.refused.iter().map(refusal).collect(), ids: submitted.ids }
}
