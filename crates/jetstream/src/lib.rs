//! The shared log of a Dovetail cluster on NATS JetStream.
//!
//! [`JetStreamEngine`] is an [`Engine`](dovetail_log::shared::Engine): one stream is the log, one message an entry, the
//! sequence of a message its position. Fencing is JetStream's: a message is taken only while the message before it is
//! the one that its writer expects. What the servers have to be is in deploy/nats.
//!
//! Not here: who may write and when ([`dovetail_log::shared`]), when to trim, an async interface. Invariants: those of
//! the module `stream` (dense sequences, the last group stays) and of `follow`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use dovetail_jetstream::{JetStreamEngine, JetStreamOptions};
//! use dovetail_log::Record;
//! use dovetail_log::shared::{Engine, Group, WriterId, take_over};
//!
//! let urls = vec!["nats://127.0.0.1:4222".to_owned()];
//! let mut engine = JetStreamEngine::open(&JetStreamOptions::new(urls, "example", 10 << 30))?;
//! let seen = engine.newest_term()?.map(|term| term.at);
//! let mut writer = take_over(Box::new(engine), seen, WriterId(1), "http://here", Duration::from_secs(2))?;
//! writer.append(&Group { after: 0, records: vec![Record::new(1, "event 1")] })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod connection;
mod encoding;
mod engine;
mod error;
mod examine;
mod feed;
mod find;
mod follow;
mod hear;
mod names;
mod open;
mod options;
mod settings;
mod stream;

pub use engine::JetStreamEngine;
pub use error::{Damage, JetStreamOpenError};
pub use options::{JetStreamOptions, MESSAGE_BYTES_MAX, MESSAGE_BYTES_SPARE, NatsTimeouts, NatsTls, Opening};
