//! Why a balancer cannot start, or stops without being told to.

use std::path::PathBuf;

use dovetail_core::{EventId, ledger::DecisionError};
use dovetail_jetstream::JetStreamOpenError;
use dovetail_log::{
    AppendError, OpenError, ReadError,
    checkpoint::RestoreError,
    shared::{CopyError, SharedReadError},
};
use dovetail_node::balancer::ReplayError;
use dovetail_wire::ConvertError;
use thiserror::Error;

use super::shared_log::FollowError;
use crate::rpc::ServeError;

/// Why a balancer could not start, or stopped without being told to.
#[derive(Debug, Error)]
pub enum BalancerError {
    /// It cannot serve.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The log could not be opened.
    #[error("cannot open the log: {0}")]
    Open(#[from] OpenError),
    /// The log failed while it was written. Nothing is acknowledged after that.
    #[error("the log cannot be written, so nothing more is acknowledged: {0}")]
    Append(#[from] AppendError),
    /// The data folder does not fit together, or cannot be read.
    #[error("the log in {} cannot be replayed: {source}", folder.display())]
    Replay {
        /// The data folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: Box<RecoveryError>,
    },
    /// What the shards say does not fit the log.
    #[error("the shards' decisions do not fit the log: {0}")]
    Decision(#[from] DecisionError),
    /// The log that it shares cannot be followed.
    #[error("the shared log cannot be followed: {0}")]
    Follow(#[from] FollowError),
    /// A part of it panicked, or could not be started.
    #[error("{0} stopped unexpectedly")]
    Part(&'static str),
    /// The engine that keeps the log that it shares cannot be opened.
    #[error("the shared log cannot be opened: {0}")]
    Engine(#[from] JetStreamOpenError),
}

impl BalancerError {
    /// Whether trying again may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            BalancerError::Engine(JetStreamOpenError::Unavailable { .. })
                | BalancerError::Follow(FollowError::Copy(CopyError::Read(SharedReadError::Unavailable { .. })))
        )
    }

    /// Whether settings are wrong, so that no restart helps.
    pub(crate) fn is_of_settings(&self) -> bool {
        use JetStreamOpenError::{Name, Setting, Url};
        matches!(self, BalancerError::Engine(Name { .. } | Url { .. } | Setting { .. }))
    }
}

/// Why a data folder cannot be read back.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointWorkError),
    /// Log or results cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record of them says nothing that this version understands.
    #[error(transparent)]
    Record(#[from] ConvertError),
    /// What they say cannot have happened.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// With a gap in them the results would not be what they say they are.
    #[error("the results end at {last}, before the checkpoint at {checkpoint}; without {} it can go on", folder.display())]
    ResultsShort {
        /// Their last event.
        last: EventId,
        /// The cut that the ledger begins at.
        checkpoint: EventId,
        /// Where the results are.
        folder: PathBuf,
    },
    /// What was decided between the ledger's cut and them is not known: it would count as decided, and as nothing.
    #[error(
        "the results begin after {floor}, and the newest checkpoint that can be read is at {checkpoint}; without {} it can \
         go on",
        folder.display()
    )]
    ResultsGap {
        /// Nothing is known of what was decided up to here.
        floor: EventId,
        /// The cut that the ledger begins at.
        checkpoint: EventId,
        /// Where the results are.
        folder: PathBuf,
    },
}

/// Why a checkpoint was not made, or not read.
#[derive(Debug, Error)]
pub enum CheckpointWorkError {
    /// A checkpoint cannot be written.
    #[error(transparent)]
    Write(#[from] dovetail_log::checkpoint::CheckpointError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Read(#[from] RestoreError),
    /// A record says nothing that this version understands.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// Log or results cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// It was given up, so that the node can stop.
    #[error("the node is stopping")]
    Stopped,
    /// A pool of it does not compile here.
    #[error(transparent)]
    Pool(#[from] dovetail_core::DefineError),
}
