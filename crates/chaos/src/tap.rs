//! A subscriber of its own that reads the log as matchers do, and hands every frame to the truth.
//!
//! The balancer trims its log behind its checkpoints, during the run as well, so what is on its disk at the end is not
//! all there was. The tap is: it names all slices, so that nothing is left out for it, and it dials the balancer
//! without a proxy. It is let in with the settings of the cluster, as any matcher is. [`disk`](super::disk) then holds
//! what the disk still has against it. Should a trim overtake it while the balancer starts, the run fails and says so;
//! it is then no proof of anything.

use std::{
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    time::Duration,
};

use dovetail::Role;
use dovetail_core::{Audience, EventId, LogFrame};
use dovetail_server::rpc::NodeIdentity;
use dovetail_wire::{
    NODE_MESSAGE_BYTES_MAX,
    node_pb::{self, feed_response::Message, feed_service_client::FeedServiceClient},
    storage_pb,
};
use tokio::time::sleep;
use tonic::{Code, Status};

use super::{clients::channel, cluster::ClusterPlaces, journal::Journal, shape::ClusterNode};

/// Pause before the next try. Short: the balancer must not trim what was not read yet.
const AGAIN: Duration = Duration::from_millis(10);

/// Reads the log of a cluster for ever.
#[derive(Debug)]
pub struct Tap {
    url: String,
    identity: NodeIdentity,
    slices: u32,
    journal: Arc<Journal>,
    frames: Sender<LogFrame>,
}

impl Tap {
    /// The tap, and where its frames come out.
    pub fn new(place: &ClusterPlaces, journal: Arc<Journal>) -> (Tap, mpsc::Receiver<LogFrame>) {
        let (frames, out) = mpsc::channel();
        let (slices, cluster) = (place.shape.slices, place.settings());
        let identity = NodeIdentity::new(cluster, Role::Matcher, 0);
        (Tap { url: place.url(ClusterNode::Balancer), identity, slices, journal, frames }, out)
    }

    pub async fn run(self) {
        let mut cursor = EventId::ZERO;
        loop {
            if let Err(status) = self.read(&mut cursor).await {
                let expected = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
                if !expected.contains(&status.code()) {
                    return self.journal.violation(format!("the tap cannot read on after {cursor}: {status}"));
                }
            }
            sleep(AGAIN).await;
        }
    }

    async fn read(&self, cursor: &mut EventId) -> Result<(), Status> {
        let channel = channel(&self.url).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut client = FeedServiceClient::new(channel).max_decoding_message_size(NODE_MESSAGE_BYTES_MAX);
        let request = node_pb::FeedRequest {
            peer: Some(self.identity.pb()),
            slices: (0..self.slices).collect(),
            after: Some(cursor.0),
        };
        let mut feed = client.feed(request).await?.into_inner();
        while let Some(response) = feed.message().await? {
            match response.message {
                Some(Message::Hello(hello)) => {
                    self.identity.check(hello.peer.as_ref())?;
                    self.identity.reads_log(&hello.peer.map(|peer| peer.log_id).unwrap_or_default());
                }
                Some(Message::Frame(frame)) => self.take(frame, cursor)?,
                Some(Message::Stable(_) | Message::Cut(_)) | None => {}
            }
        }
        Ok(())
    }

    fn take(&self, frame: storage_pb::LogFrame, cursor: &mut EventId) -> Result<(), Status> {
        let frame = dovetail_wire::log_frame(frame).map_err(|error| Status::data_loss(error.to_string()))?;
        if frame.after != *cursor {
            let text = format!("frame {} to {} was broadcast after {cursor}", frame.after, frame.through);
            return Err(Status::data_loss(text));
        }
        *cursor = frame.through;
        // Who is concerned is not logged: nothing else may differ. The truth ends with the run.
        _ = self.frames.send(LogFrame { audience: Audience::All, ..frame });
        Ok(())
    }
}
