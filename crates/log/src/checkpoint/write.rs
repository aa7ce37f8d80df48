//! Writing one checkpoint, chunk by chunk, under a name that is no checkpoint's until all of it is durable.
//!
//! This keeps log.K1: nothing gets a checkpoint's name before its content is durable.

use std::path::PathBuf;

use super::Checkpoints;
use super::format::{self, CHUNK_BYTES_MAX, HEADER_BYTES, Header, Totals};
use super::info::CheckpointInfo;
use crate::crash;
use crate::disk::DiskFile;
use crate::error::{CheckpointError, DiskError};

pub(super) const UNFINISHED_FILE: &str = "unfinished";
/// Chunks are collected until they make a write of this size.
const WRITE_BYTES: usize = 1 << 20;
/// Synced in pieces, so that a log's fsync on the same disk does not wait behind a whole checkpoint.
const SYNC_BYTES: u64 = 32 << 20;

/// A checkpoint being written; made by [`Checkpoints::begin`]. Dropping it abandons it.
#[derive(Debug)]
pub struct CheckpointWriter<'a> {
    store: &'a mut Checkpoints,
    header: Header,
    /// None once writing failed.
    file: Option<DiskFile>,
    /// Chunks that are not in the file yet, and where they will go.
    buffer: Vec<u8>,
    offset: u64,
    synced: u64,
    totals: Totals,
    cause: String,
}

impl<'a> CheckpointWriter<'a> {
    pub(super) fn create(store: &'a mut Checkpoints, header: Header) -> Result<Self, CheckpointError> {
        store.lock.check()?;
        let path = store.dir.join(UNFINISHED_FILE);
        // Not overwritten but replaced: pages of an earlier attempt that failed must not count for this one.
        store.disk.remove("checkpoint.begin.remove", &path)?;
        let file = store.disk.create("checkpoint.begin.create", &path)?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES + HEADER_BYTES);
        buffer.extend_from_slice(&header.encode());
        let (totals, cause) = (Totals::default(), String::new());
        Ok(Self { store, header, file: Some(file), buffer, offset: 0, synced: 0, totals, cause })
    }

    /// Appends one chunk, at most [`CHUNK_BYTES_MAX`] bytes; it is read back as it is. Chunks may be small: they cost 8
    /// bytes each and share writes. After an error of the disk the checkpoint is lost and its space free again.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(CheckpointError::ChunkTooLarge { bytes: bytes.len(), bytes_max: CHUNK_BYTES_MAX });
        }
        self.refuse_failed()?;
        let at = self.offset + self.buffer.len() as u64;
        format::encode_chunk(self.header.seed(), at, bytes, &mut self.totals, &mut self.buffer);
        match self.buffer.len() {
            ..WRITE_BYTES => Ok(()),
            _ => self.flush().map_err(|error| self.fail(error)),
        }
    }

    /// Bytes of the chunks so far.
    pub fn bytes(&self) -> u64 {
        self.totals.bytes
    }

    /// Makes the checkpoint durable and gives it its name, then removes what [`CheckpointOptions::keep`] no longer
    /// covers. Only when this returns `Ok` may the log be trimmed on the strength of it.
    ///
    /// [`CheckpointOptions::keep`]: super::CheckpointOptions::keep
    pub fn commit(mut self) -> Result<CheckpointInfo, CheckpointError> {
        self.refuse_failed()?;
        let at = self.offset + self.buffer.len() as u64;
        format::encode_footer(self.header.seed(), at, &self.totals, &mut self.buffer);
        self.finish().map_err(|error| self.fail(error))?;
        let mut file = self.file.take().expect("it has not failed");
        let info = CheckpointInfo {
            file: self.store.path(self.header.through),
            through: self.header.through,
            file_bytes: self.offset,
            chunks: self.totals.chunks,
            bytes: self.totals.bytes,
            damage: None,
        };
        let named = self
            .store
            .lock
            .check()
            .and_then(|()| file.rename("checkpoint.commit.rename", &info.file))
            .and_then(|()| self.store.disk.sync_dir("checkpoint.commit.sync-folder", &self.store.dir));
        named.map_err(|error| self.store.poison(error))?;
        self.store.committed(info.clone());
        crash::point("checkpoint.commit.acknowledge");
        Ok(info)
    }

    fn finish(&mut self) -> Result<(), DiskError> {
        self.flush()?;
        self.file.as_ref().expect("it has not failed").sync("checkpoint.commit.sync")
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let file = self.file.as_ref().expect("it has not failed");
        file.write_at("checkpoint.write", &self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_BYTES);
        if self.offset - self.synced >= SYNC_BYTES {
            file.sync("checkpoint.sync-some")?;
            self.synced = self.offset;
        }
        Ok(())
    }

    fn refuse_failed(&self) -> Result<(), CheckpointError> {
        match self.file {
            Some(_) => Ok(()),
            None => Err(CheckpointError::Abandoned { cause: self.cause.clone() }),
        }
    }

    fn fail(&mut self, error: DiskError) -> CheckpointError {
        self.abandon();
        let error = CheckpointError::from(error);
        self.cause = error.to_string();
        error
    }

    /// Frees the space. What cannot be removed now is removed by the next checkpoint, or by opening.
    fn abandon(&mut self) {
        if self.file.take().is_some() {
            let path: PathBuf = self.store.dir.join(UNFINISHED_FILE);
            let _ = self.store.disk.remove("checkpoint.abandon.remove", &path);
        }
    }
}

impl Drop for CheckpointWriter<'_> {
    fn drop(&mut self) {
        self.abandon();
    }
}
