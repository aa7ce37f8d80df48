//! Who has a folder open: `lock` is locked for as long as someone has, and says who; what it says is for people only.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::crash;
use crate::disk::failed;
use crate::error::OpenError;

const LOCK_FILE: &str = "lock";

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
    crash::point("folder.lock");
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
