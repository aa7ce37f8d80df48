//! Names of the messages of streams between nodes, for errors about one that came where another was expected.

use super::LinkError;
use dovetail_wire::node_pb;

/// A message of a stream between nodes, as errors name it.
pub trait NamedMessage {
    /// What it is, with its article.
    fn name(&self) -> &'static str;
}

impl NamedMessage for node_pb::feed_response::Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "a hello",
            Self::Cut(_) => "a part of the cut",
            Self::Frame(_) => "a frame of the log",
            Self::Stable(_) => "a stable cut",
        }
    }
}

impl NamedMessage for node_pb::candidates_response::Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "a hello",
            Self::Frames(_) => "frames of candidates",
        }
    }
}

impl NamedMessage for node_pb::decisions_response::Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "a hello",
            Self::Frame(_) => "a frame of decisions",
        }
    }
}

/// A message that does not belong where it came; none is one of a kind that this version does not know.
pub fn unexpected(expected: &'static str, found: Option<&impl NamedMessage>) -> LinkError {
    LinkError::Unexpected { expected, found: found.map_or("a message of an unknown kind", NamedMessage::name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_what_came_and_what_was_expected() {
        use node_pb::feed_response::Message;
        let came = Message::Stable(7);
        assert_eq!(
            unexpected("a hello", Some(&came)).to_string(),
            "the peer sent a stable cut where a hello was expected"
        );
        assert_eq!(
            unexpected("a hello", None::<&Message>).to_string(),
            "the peer sent a message of an unknown kind where a hello was expected"
        );
    }
}
