//! What can be seen of a stream from outside: whether it lacks something, and whether its servers are as they should be.
//!
//! The leader says how it is itself, and who follows it. Whether a follower has damaged files only a reader finds that
//! reads there ([`JetStreamEngine::filled`]), or its becoming the leader.

use serde_json::Value;

use dovetail_log::shared::{Engine as _, SharedReadError};

use crate::engine::JetStreamEngine;
use crate::error::Damage;
use crate::options::MESSAGE_BYTES_MAX;

/// The oldest version of servers that was tested.
const TESTED: (u64, u64) = (2, 15);

impl JetStreamEngine {
    /// Looks how the stream is: that its leader has every entry above the floor, and that all replicas are there and
    /// follow it. Once a minute is often enough.
    ///
    /// # Errors
    /// When something is wrong, or the servers do not say. What is worst comes first.
    pub fn examine(&self) -> Result<(), Damage> {
        let stream = || self.stream.names.stream.clone();
        let state = self.stream.connection.wait_for(self.stream.state()).map_err(|error| match error {
            SharedReadError::Damaged { .. } => {
                Damage::AnotherLog { stream: stream(), expected: self.stream.identity.log_id }
            }
            SharedReadError::Unavailable { why } => Damage::Unavailable { why },
            other => Damage::Unavailable { why: other.to_string() },
        })?;
        let (first, last) = (state.first, state.last);
        // Sequences are dense above the floor; purging leaves no holes.
        let missing = if last == 0 { 0 } else { (last + 1).saturating_sub(first).saturating_sub(state.messages) };
        if missing > 0 {
            return Err(Damage::Missing { stream: stream(), missing, first, last });
        }
        if self.replicas == 1 {
            return Ok(());
        }
        let followers = state.cluster["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        if followers.len() + 1 < self.replicas {
            return Err(Damage::Replicas { stream: stream(), found: followers.len() + 1, wanted: self.replicas });
        }
        match followers.iter().find_map(|follower| Some((follower, trouble(follower)?))) {
            Some((follower, what)) => {
                let server = follower["name"].as_str().unwrap_or("without a name").to_owned();
                Err(Damage::Replica { stream: stream(), server, what })
            }
            None => Ok(()),
        }
    }

    /// What operators should know when a process starts, each in a sentence. The first is said always: whether servers
    /// write through to their disks cannot be seen from here.
    #[must_use]
    pub fn preflight(&self) -> Vec<String> {
        let server = self.stream.connection.client().server_info();
        let mut told = vec![
            "every NATS server must run with `sync_interval: always`: without it, what was acknowledged may be lost when \
             servers lose power"
                .to_owned(),
        ];
        if version(&server.version).is_none_or(|version| version < TESTED) {
            let (major, minor) = TESTED;
            told.push(format!(
                "server {:?} is version {:?}; {major}.{minor} is the oldest that was tested",
                server.server_name, server.version
            ));
        }
        if server.max_payload < MESSAGE_BYTES_MAX {
            told.push(format!(
                "max_payload of the servers is {}: one append is at most {} bytes; {MESSAGE_BYTES_MAX} is advised",
                server.max_payload,
                self.group_bytes_max()
            ));
        }
        if self.replicas == 1 {
            told.push("the log has one replica: it is lost with the disk of that server".to_owned());
        }
        told
    }
}

/// What is wrong with a follower, if something is.
fn trouble(follower: &Value) -> Option<String> {
    let lag = follower["lag"].as_u64().unwrap_or(0);
    if follower["offline"].as_bool() == Some(true) {
        return Some("away".to_owned());
    }
    (follower["current"].as_bool() != Some(true)).then(|| format!("not current: it lacks {lag} of what came last"))
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_told_apart_by_their_numbers() {
        assert_eq!(version("2.15.2"), Some((2, 15)));
        assert_eq!(version("2.9.10-beta.1"), Some((2, 9)));
        assert_eq!(version("dev"), None);
        assert!(version("2.9.10") < Some(TESTED) && version("3.0.0") > Some(TESTED));
    }

    #[test]
    fn a_follower_that_is_away_or_lags_is_told_of() {
        assert_eq!(trouble(&json!({ "name": "n1", "current": true, "lag": 0 })), None);
        assert_eq!(trouble(&json!({ "current": false, "offline": true })).as_deref(), Some("away"));
        let lags = trouble(&json!({ "current": false, "lag": 12 }));
        assert_eq!(lags.as_deref(), Some("not current: it lacks 12 of what came last"));
    }
}
