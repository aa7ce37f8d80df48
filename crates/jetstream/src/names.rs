//! What a cluster's stream and its subjects are called.
//!
//! Subjects have the log's id: what a process puts into a log never comes into another that has the same name by then.

use crate::error::JetStreamOpenError;

/// Longest name of a cluster, in bytes.
const CLUSTER_BYTES_MAX: usize = 64;
/// Longest name of a stream, in bytes. It is the name of a folder of the servers.
const STREAM_BYTES_MAX: usize = 128;

/// The names of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub stream: String,
    /// Where groups are put.
    pub frames: String,
    /// Where terms are begun.
    pub terms: String,
    /// Where beats are heard. The stream does not take them.
    pub beats: String,
}

impl Names {
    /// Those of a log in a stream. The cluster's name is one.
    pub fn new(cluster: &str, stream: &str, log_id: u128) -> Names {
        let subject = |last: &str| format!("dovetail.{}.{log_id:032x}.{last}", token(cluster));
        Names { stream: stream.to_owned(), frames: subject("frame"), terms: subject("term"), beats: subject("beat") }
    }
}

/// The stream of a cluster, which may have a name of its own.
pub(crate) fn stream(cluster: &str, stream: Option<&str>) -> Result<String, JetStreamOpenError> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
    let within = |name: &str, bytes_max| (1..=bytes_max).contains(&name.len());
    if !within(cluster, CLUSTER_BYTES_MAX) || !cluster.chars().all(|char| plain(char) || char == '.') {
        let must = "1 to 64 of a-z A-Z 0-9 _ . -";
        return Err(JetStreamOpenError::Name { what: "the cluster", name: cluster.to_owned(), must });
    }
    let Some(stream) = stream else { return Ok(format!("dovetail-{}", token(cluster))) };
    if !within(stream, STREAM_BYTES_MAX) || !stream.chars().all(|char| plain(char) || char == '=') {
        let must = "1 to 128 of a-z A-Z 0-9 _ - =";
        return Err(JetStreamOpenError::Name { what: "the stream", name: stream.to_owned(), must });
    }
    Ok(stream.to_owned())
}

/// A dot would end a token of a subject, and is in no name of a stream.
fn token(cluster: &str) -> String {
    cluster.replace('.', "=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_names_of_its_own() {
        assert_eq!(stream("eu.1", None).unwrap(), "dovetail-eu=1");
        assert_eq!(stream("a", Some("matches")).unwrap(), "matches");
        let names = Names::new("eu.1", "s", 0xab);
        assert_eq!(names.frames, "dovetail.eu=1.000000000000000000000000000000ab.frame");
        for name in ["", "a b", "a*", "a>", "ä", &"a".repeat(65)] {
            assert!(stream(name, None).is_err(), "{name}");
        }
        let refused = stream("a", Some("a.b")).unwrap_err().to_string();
        assert_eq!(refused, "the stream is \"a.b\", but must be 1 to 128 of a-z A-Z 0-9 _ - =");
    }
}
