//! The log of a writer: the shared one, and its copy.

use super::{Group, SharedAppendError, TermWriter};
use crate::error::{AppendError, TrimError};
use crate::log::{Log, LogReader, Record, check_order, check_sizes};

/// A shared log that this process writes, and its own copy of it. What is appended is durable once the engine has it;
/// it is read from the copy.
///
/// While the engine does not answer, [`append`](Log::append) asks it again and again, as it must: nobody but the engine
/// knows whether it has the group. `unanswered` is told each time, and may give up; then the log has to be opened
/// again, as when the copy cannot be written.
pub struct ReplicatedLog<C> {
    writer: TermWriter,
    copy: C,
    unanswered: Box<dyn FnMut(&str) -> bool + Send>,
    /// Why nothing is appended any more.
    over: Option<String>,
    /// `through` of the first record of an append of which a part was taken.
    begun: Option<u64>,
}

impl<C> std::fmt::Debug for ReplicatedLog<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicatedLog").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl<C: Log> ReplicatedLog<C> {
    pub(super) fn new(writer: TermWriter, copy: C) -> ReplicatedLog<C> {
        ReplicatedLog { writer, copy, unanswered: Box::new(|_| true), over: None, begun: None }
    }

    /// Asks whether to go on when the engine has not answered for as long as the writer waits; its words are given.
    #[must_use]
    pub fn on_unanswered(self, unanswered: impl FnMut(&str) -> bool + Send + 'static) -> ReplicatedLog<C> {
        ReplicatedLog { unanswered: Box::new(unanswered), ..self }
    }

    /// The writer, to trim the shared log, and to say that this process lives.
    pub fn writer(&mut self) -> &mut TermWriter {
        &mut self.writer
    }

    /// The copy.
    pub fn copy(&mut self) -> &mut C {
        &mut self.copy
    }

    /// The copy alone, to follow again.
    #[must_use]
    pub fn into_copy(self) -> C {
        self.copy
    }

    fn append_group(&mut self, group: &Group) -> Result<(), AppendError> {
        loop {
            let why = match self.writer.append(group) {
                Ok(_) => {
                    let copied = self.copy.append(&group.records);
                    // It would be put a second time.
                    self.over = copied.as_ref().err().map(|error| format!("the copy of what was appended: {error}"));
                    return copied;
                }
                Err(SharedAppendError::Full { why }) => return Err(AppendError::EngineFull { why }),
                Err(SharedAppendError::TooLarge { bytes, bytes_max }) => {
                    return Err(AppendError::GroupTooLarge { bytes, bytes_max });
                }
                Err(SharedAppendError::Unknown { why }) if (self.unanswered)(&why) => continue,
                Err(SharedAppendError::Fenced) => {
                    self.over = Some(SharedAppendError::Fenced.to_string());
                    return Err(AppendError::Fenced);
                }
                Err(error @ SharedAppendError::Unknown { .. }) => error.to_string(),
                Err(error @ SharedAppendError::AnotherFirst { .. }) => {
                    unreachable!("one group is appended at a time: {error}")
                }
            };
            self.over = Some(why.clone());
            return Err(AppendError::WriterOver { why });
        }
    }

    /// The first of `records` that fit one group.
    fn fitting(&self, records: &[Record]) -> usize {
        let (mut bytes, bytes_max) = (0, self.writer.group_bytes_max());
        let fits = |record: &&Record| {
            bytes += crate::RECORD_HEADER_BYTES + record.bytes.len();
            bytes <= bytes_max
        };
        records.iter().take_while(fits).count()
    }
}

impl<C: Log> Log for ReplicatedLog<C> {
    /// The records are put in as few groups as the engine takes; when there is no room for all, the first may be there.
    /// The same records may be appended again then.
    fn append(&mut self, records: &[Record]) -> Result<(), AppendError> {
        if let Some(cause) = &self.over {
            return Err(AppendError::WriterOver { why: cause.clone() });
        }
        let first = records.first().map(|record| record.through);
        let mut rest = records;
        if first.is_some() && self.begun == first {
            let known = records.partition_point(|record| record.through <= self.copy.last());
            rest = &records[known..];
        }
        check_order(self.copy.last(), rest)?;
        let bytes_max = self.writer.group_bytes_max().saturating_sub(crate::RECORD_HEADER_BYTES);
        check_sizes(bytes_max, rest)?;
        self.begun = first;
        while !rest.is_empty() {
            let (group, others) = rest.split_at(self.fitting(rest));
            self.append_group(&Group { after: self.writer.identity().end_of(&self.copy), records: group.to_vec() })?;
            rest = others;
        }
        self.begun = None;
        Ok(())
    }

    /// Trims the copy. What the shared log forgets is for all its readers to know.
    fn trim(&mut self, through: u64) -> Result<u64, TrimError> {
        self.copy.trim(through)
    }

    fn last(&self) -> u64 {
        self.copy.last()
    }

    fn floor(&self) -> u64 {
        self.copy.floor()
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.copy.reader()
    }
}
