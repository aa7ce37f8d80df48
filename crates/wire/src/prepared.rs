//! Records that are encoded where they are written from.

use dovetail_log::{Content, Record};
use prost::Message;

/// A message that is to be a record. It shares the bytes that it is made of until it is written.
#[derive(Debug)]
pub struct Prepared<M> {
    through: u64,
    bytes: usize,
    message: M,
}

impl<M: Message> Prepared<M> {
    pub(super) fn new(through: u64, message: M) -> Prepared<M> {
        Prepared { through, bytes: message.encoded_len(), message }
    }

    /// The record by itself.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::new(self.through, self.message.encode_to_vec())
    }
}

impl<M: Message> Content for Prepared<M> {
    fn through(&self) -> u64 {
        self.through
    }

    fn bytes_len(&self) -> usize {
        self.bytes
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.message.encode_raw(out);
    }
}
