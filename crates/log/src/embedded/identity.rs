//! Whose log a folder holds, and who has it open.
//!
//! `meta` is written once, last of all when a folder is created: where it is, creation was complete.
//! `lock` is locked for as long as the log is open, and says by whom; what it says is for people only.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::disk::{Disk, failed};
use super::format::{VERSION, u32_at, u128_at};
use crate::error::OpenError;

pub(crate) const META_FILE: &str = "meta";
const META_NEW_FILE: &str = "meta.new";
const LOCK_FILE: &str = "lock";
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
        let mut file = disk.create(&dir.join(META_NEW_FILE))?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        file.rename(&dir.join(META_FILE))?;
        Ok(disk.sync_dir(dir)?)
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
        if u32_at(&bytes, 8) != crc32c::crc32c(&bytes[12..]) {
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

/// Locks the folder until the file is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { holder.trim().to_owned() } else { "a process that left no name".to_owned() };
            return Err(OpenError::Locked { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error).into()),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(this_process().as_bytes()))
        .map_err(failed("write", &path))?;
    Ok(file)
}

fn this_process() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).map_or("unknown".into(), |name| name.to_string_lossy());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "an unknown host" } else { host.trim() };
    format!("{program} (pid {}) on {host}\n", std::process::id())
}
