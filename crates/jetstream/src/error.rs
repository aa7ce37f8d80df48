//! Why a log cannot be opened, and what may be wrong with one that is.

use std::path::PathBuf;

use thiserror::Error;

/// Why a shared log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JetStreamOpenError {
    /// The name cannot be that of a cluster or a stream.
    #[error("{what} is {name:?}, but must be {must}")]
    Name {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
        /// What it has to be.
        must: &'static str,
    },
    /// A URL cannot be read.
    #[error("{url:?} is no address of a server: {why}")]
    Url {
        /// The URL, without a password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read.
    #[error("{file}: {why}", file = file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No server answers, or none lets us in.
    #[error("no server of {urls} answers: {why}")]
    Unavailable {
        /// The servers that were asked, without passwords.
        urls: String,
        /// What became of the last of them.
        why: String,
    },
    /// The servers do not make the stream.
    #[error("stream {stream:?} cannot be made: {why}")]
    Refused {
        /// The stream.
        stream: String,
        /// In the servers' words.
        why: String,
    },
    /// The stream is there, and is no log.
    #[error("stream {stream:?} is no log of Dovetail: its metadata has no valid {missing:?}")]
    NoLog {
        /// The stream.
        stream: String,
        /// The key that is missing, or has a value that it cannot have.
        missing: &'static str,
    },
    /// A setting of the stream is not what it has to be.
    #[error("setting {setting} of stream {stream:?} is {found}, but {wanted} is wanted")]
    Setting {
        /// The stream.
        stream: String,
        /// The setting, as the servers call it.
        setting: String,
        /// What it is, in JSON.
        found: String,
        /// What it has to be, in JSON.
        wanted: String,
    },
    /// The log has to be there, and is not.
    #[error("stream {stream:?} is gone; it was log {expected:032x}")]
    Gone {
        /// The stream.
        stream: String,
        /// The log that it was.
        expected: u128,
    },
    /// Another log is there.
    #[error("stream {stream:?} is log {found:032x}, but {expected:032x} is wanted")]
    AnotherLog {
        /// The stream.
        stream: String,
        /// The log that it is.
        found: u128,
        /// The log that it has to be.
        expected: u128,
    },
}

/// What is wrong with the stream of a log that runs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The server that leads the stream lacks entries.
    #[error("the leader of stream {stream:?} lacks {missing} of the entries {first} to {last}")]
    Missing {
        /// The stream.
        stream: String,
        /// How many it lacks.
        missing: u64,
        /// The first entry that it has.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A server lags behind the leader, or is away.
    #[error("server {server} of stream {stream:?} is {what}")]
    Replica {
        /// The stream.
        stream: String,
        /// The server's name.
        server: String,
        /// How it is.
        what: String,
    },
    /// There are fewer replicas than there have to be.
    #[error("stream {stream:?} has {found} replicas, but {wanted} are wanted")]
    Replicas {
        /// The stream.
        stream: String,
        /// How many there are.
        found: usize,
        /// How many there have to be.
        wanted: usize,
    },
    /// The stream has become another one.
    #[error("stream {stream:?} is not log {expected:032x} any more")]
    AnotherLog {
        /// The stream.
        stream: String,
        /// The log that it was.
        expected: u128,
    },
    /// Nobody says how the stream is.
    #[error("the log does not answer: {why}")]
    Unavailable {
        /// In the servers' words.
        why: String,
    },
}
