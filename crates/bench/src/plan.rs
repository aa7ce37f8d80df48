//! What is measured: which elements are submitted, to what, and how.

use std::sync::Arc;

use super::cluster::BenchShape;
use super::pace::ArrivalPace;
use super::source::{Form, RowSource};
use dovetail::client::ConnectOptions;

/// What is measured.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    /// What the run is called.
    pub name: String,
    /// What is submitted.
    pub source: Arc<RowSource>,
    /// What it is submitted to.
    pub target: Target,
    /// How to connect to a cluster that runs.
    pub connect: ConnectOptions,
    /// How it is submitted.
    pub manner: Manner,
    /// How often all of it is done.
    pub rounds: usize,
}

/// How elements are submitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// How many clients submit.
    pub clients: usize,
    /// Most elements of a message.
    pub batch: usize,
    /// How messages are written.
    pub form: Form,
    /// Most messages of a client without an answer.
    pub in_flight: usize,
    /// When elements are sent.
    pub pace: ArrivalPace,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Processes of our own, others in each round.
    Own(BenchShape),
    /// A cluster that runs: its balancer's URL.
    Running(String),
}
