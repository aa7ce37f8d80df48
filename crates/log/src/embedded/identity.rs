//! Whose log a folder holds.
//!
//! `meta` is written once, last of all when a folder is created: where it is, creation was complete.

use std::path::Path;

use super::format::VERSION;
use crate::disk::{Disk, failed};
use crate::error::OpenError;
use crate::integers::{agrees, u32_at, u128_at};

pub(crate) const META_FILE: &str = "meta";
const META_NEW_FILE: &str = "meta.new";
const MAGIC: [u8; 8] = *b"DOVETLOG";
const HEAD_BYTES: usize = 36;

/// Most bytes in the name of a cluster.
pub const CLUSTER_BYTES_MAX: usize = 255;

/// `magic 8 | crc 4 | version 4 | log id 16 | length 4 | cluster`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub log_id: u128,
    pub cluster: String,
}

impl Identity {
    pub fn write(&self, disk: &Disk, dir: &Path) -> Result<(), OpenError> {
        let mut bytes = [&MAGIC[..], &[0; 4], &VERSION.to_le_bytes(), &self.log_id.to_le_bytes()].concat();
        bytes.extend_from_slice(&(self.cluster.len() as u32).to_le_bytes());
        bytes.extend_from_slice(self.cluster.as_bytes());
        let checksum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        let mut file = disk.create("log.meta.create", &dir.join(META_NEW_FILE))?;
        file.write_at("log.meta.write", &bytes, 0)?;
        file.sync("log.meta.sync")?;
        file.rename("log.meta.rename", &dir.join(META_FILE))?;
        Ok(disk.sync_dir("log.meta.sync-folder", dir)?)
    }

    /// None when the folder has none.
    pub fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(META_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error).into()),
        };
        let damaged = |what| OpenError::damaged(&path, 0, what);
        if bytes.len() < HEAD_BYTES || bytes[..8] != MAGIC {
            return Err(damaged("not the identity of a log: the magic bytes are missing"));
        }
        if !agrees(u32_at(&bytes, 8), crc32c::crc32c(&bytes[12..])) {
            return Err(damaged("the checksum of the identity does not match"));
        }
        match u32_at(&bytes, 12) {
            VERSION => {}
            found => return Err(OpenError::Version { file: path, found, supported: VERSION }),
        }
        let cluster = String::from_utf8(bytes[HEAD_BYTES..].to_vec()).ok();
        match cluster.filter(|cluster| cluster.len() == u32_at(&bytes, 32) as usize) {
            Some(cluster) => Ok(Some(Self { log_id: u128_at(&bytes, 16), cluster })),
            None => Err(damaged("the cluster's name is not what its length says")),
        }
    }
}
