//! The `Submit` stream: batches in, ids out, in order, with a bounded number of batches on the way.

use std::sync::Arc;

use futures::StreamExt;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    Node, errors,
    messages::{DiskFull, Request, Submitted},
};
use crate::{convert, pb, rpc::ResponseStream, shutdown::Shutdown};

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
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = stop.given() => Err(errors::stopping(())),
        };
        let answer = match message {
            Ok(None) => return,
            Ok(Some(request)) => tokio::select! {
                taken = take(&node, request) => taken.map_or_else(Answer::Last, Answer::Soon),
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
    request: pb::SubmitRequest,
) -> Result<oneshot::Receiver<Result<Submitted, DiskFull>>, Status> {
    let bytes = request.encoded_len();
    let Some(pb::submit_request::Batch::Rows(rows)) = request.batch else {
        return Err(Status::invalid_argument("a SubmitRequest without rows; set rows"));
    };
    let rows = rows.rows;
    errors::check_pool_name(&request.pool)?;
    if rows.len() > ROWS_MAX {
        return Err(Status::invalid_argument(format!("a batch of {} rows, at most {ROWS_MAX}", rows.len())));
    }
    let room = node.request_room(bytes).await?;
    let rows = rows.into_iter().map(convert::submission).collect();
    let (reply, submitted) = oneshot::channel();
    let request = Request::Submit { pool: request.pool, rows, reply, room };
    node.requests.tell(request).await.map_err(errors::stopping)?;
    Ok(submitted)
}

fn response(submitted: Submitted) -> pb::SubmitResponse {
    let mut response = pb::SubmitResponse::default();
    for (row, outcome) in (0..).zip(submitted.rows) {
        response.ids.push(outcome.as_ref().map_or(0, |element| element.0));
        if let Err(refused) = outcome {
            let code = i32::from(errors::row_code(&refused)).unsigned_abs();
            response.refusals.push(pb::Refusal { row, code, message: refused.to_string() });
        }
    }
    response
}
