//! Reading one checkpoint, chunk by chunk. Every chunk is verified before it is given away, the whole at the end.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::format::{
    self, CHUNK_HEADER_BYTES, CheckpointHeaderError, CheckpointSeed, FOOTER_BYTES, HEADER_BYTES, Header, Next, Totals,
};
use super::info::{CheckpointInfo, Damage};
use crate::disk::failed;
use crate::error::{OpenError, RestoreError};

/// One read of the file takes this much, unless a chunk is larger.
const READ_BYTES: usize = 1 << 20;

/// What a look at both ends of the file at `path` tells; `through` is what its name says. What is between the ends is
/// verified when it is read.
pub(super) fn look(path: &Path, log_id: u128, through: u64) -> Result<CheckpointInfo, OpenError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let file_bytes = file.metadata().map_err(failed("look at", path))?.len();
    let mut info = CheckpointInfo { file: path.to_owned(), through, file_bytes, chunks: 0, bytes: 0, damage: None };
    let mut head = [0; HEADER_BYTES];
    let head = &mut head[..HEADER_BYTES.min(usize::try_from(file_bytes).unwrap_or(HEADER_BYTES))];
    file.read_exact_at(head, 0).map_err(failed("read", path))?;
    let damaged = |offset, what| Some(Damage { offset, what });
    match Header::decode(head) {
        Err(CheckpointHeaderError::Version(found)) => {
            return Err(OpenError::Version { file: path.to_owned(), found, supported: format::VERSION });
        }
        Err(CheckpointHeaderError::Damaged(what)) => info.damage = damaged(0, what),
        Ok(header) if header.log_id != log_id => {
            return Err(OpenError::OtherLog { file: path.to_owned(), found: header.log_id, expected: log_id });
        }
        Ok(header) if header.through != through => {
            info.damage = damaged(32, "the checkpoint is another one than its name says");
        }
        Ok(header) => match look_at_footer(&file, &header, file_bytes).map_err(failed("read", path))? {
            Ok(totals) => (info.chunks, info.bytes) = (totals.chunks, totals.bytes),
            Err(damage) => info.damage = Some(damage),
        },
    }
    Ok(info)
}

fn look_at_footer(file: &File, header: &Header, file_bytes: u64) -> std::io::Result<Result<Totals, Damage>> {
    let Some(offset) = file_bytes.checked_sub(FOOTER_BYTES as u64).filter(|offset| *offset >= HEADER_BYTES as u64)
    else {
        return Ok(Err(Damage { offset: file_bytes, what: "the file ends before its footer does" }));
    };
    let mut bytes = [0; FOOTER_BYTES];
    file.read_exact_at(&mut bytes, offset)?;
    let totals = format::decode_footer(header.seed(), offset, &bytes).map_err(|what| Damage { offset, what });
    Ok(totals.and_then(|totals| {
        if totals.file_bytes() == Some(file_bytes) {
            Ok(totals)
        } else {
            Err(Damage { offset, what: "the file has another length than its footer says" })
        }
    }))
}

/// A checkpoint being read. It holds the file: it can be read to its end even when it is removed meanwhile.
#[derive(Debug)]
pub struct CheckpointReader {
    path: PathBuf,
    file: File,
    info: CheckpointInfo,
    seed: CheckpointSeed,
    totals: Totals,
    /// Part of the file: it starts at `start`; what is before `at` in it was given away.
    window: Vec<u8>,
    start: u64,
    at: usize,
    done: bool,
    failure: Option<Damage>,
}

impl CheckpointReader {
    pub(super) fn open(info: &CheckpointInfo, log_id: u128) -> Result<Self, RestoreError> {
        let path = info.file.clone();
        if let Some(Damage { offset, what }) = info.damage {
            return Err(RestoreError::Damaged { file: path, offset, what });
        }
        let file = File::open(&path).map_err(failed("open", &path))?;
        let header = Header { log_id, through: info.through };
        let mut reader = Self {
            path,
            file,
            info: info.clone(),
            seed: header.seed(),
            totals: Totals::default(),
            window: Vec::new(),
            start: 0,
            at: 0,
            done: false,
            failure: None,
        };
        reader.fill(HEADER_BYTES)?;
        if reader.window[..HEADER_BYTES] != header.encode() {
            return Err(reader.damaged("the header is not what it was when the folder was opened"));
        }
        reader.at = HEADER_BYTES;
        Ok(reader)
    }

    /// The checkpoint as its owner's list has it.
    pub fn info(&self) -> &CheckpointInfo {
        &self.info
    }

    /// Bytes of the chunks read so far; [`CheckpointInfo::bytes`] in the end.
    pub fn bytes_read(&self) -> u64 {
        self.totals.bytes
    }

    /// The next chunk, as it was written. None when there is no other and the whole is what its footer says: only then
    /// the checkpoint is known to be complete. After an error there is nothing more.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, RestoreError> {
        if let Some(Damage { offset, what }) = self.failure {
            return Err(RestoreError::Damaged { file: self.path.clone(), offset, what });
        }
        if self.done {
            return Ok(None);
        }
        self.fill(CHUNK_HEADER_BYTES)?;
        let next = format::next(&self.window[self.at..]).map_err(|what| self.damaged(what))?;
        match next {
            Next::Footer => self.check_footer().map(|()| None),
            Next::Chunk(length) => {
                self.fill(length)?;
                let chunk = self.at..self.at + length;
                let offset = self.start + self.at as u64;
                format::verify_chunk(self.seed, offset, &self.window[chunk.clone()], &mut self.totals)
                    .map_err(|what| self.damaged(what))?;
                self.at = chunk.end;
                Ok(Some(&self.window[chunk.start + CHUNK_HEADER_BYTES..chunk.end]))
            }
        }
    }

    /// Reads and verifies what is left.
    pub fn finish(&mut self) -> Result<(), RestoreError> {
        while self.next_chunk()?.is_some() {}
        Ok(())
    }

    pub(super) fn failure(&self) -> Option<Damage> {
        self.failure
    }

    fn check_footer(&mut self) -> Result<(), RestoreError> {
        self.fill(FOOTER_BYTES)?;
        let offset = self.start + self.at as u64;
        let footer = format::decode_footer(self.seed, offset, &self.window[self.at..self.at + FOOTER_BYTES]);
        if footer.map_err(|what| self.damaged(what))? != self.totals {
            return Err(self.damaged("the chunks are not those the footer counts"));
        }
        self.at += FOOTER_BYTES;
        if offset + FOOTER_BYTES as u64 != self.info.file_bytes {
            return Err(self.damaged("the file goes on after its footer"));
        }
        self.done = true;
        Ok(())
    }

    /// Has `length` bytes in the window from `at` on.
    fn fill(&mut self, length: usize) -> Result<(), RestoreError> {
        if self.window.len() - self.at >= length {
            return Ok(());
        }
        self.window.drain(..self.at);
        self.start += self.at as u64;
        self.at = 0;
        let left = usize::try_from(self.info.file_bytes - self.start).unwrap_or(usize::MAX);
        let from = self.window.len();
        let wanted = length.max(READ_BYTES).min(left);
        if wanted < length {
            return Err(self.damaged("the file ends before the checkpoint does"));
        }
        self.window.resize(wanted, 0);
        match self.file.read_exact_at(&mut self.window[from..], self.start + from as u64) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("the file became shorter while it was read"))
            }
            Err(error) => {
                self.failure = Some(Damage { offset: self.start + from as u64, what: "it cannot be read" });
                Err(failed("read", &self.path)(error).into())
            }
        }
    }

    fn damaged(&mut self, what: &'static str) -> RestoreError {
        let offset = self.start + self.at as u64;
        self.failure = Some(Damage { offset, what });
        RestoreError::Damaged { file: self.path.clone(), offset, what }
    }
}
