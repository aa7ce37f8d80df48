//! The background thread of an embedded log: zeroes the next segment ahead of time, and syncs the watermark.
//!
//! Overwriting zeroed blocks needs no change to the file system's own records, which is what makes an fsync cheap;
//! zeroing them while the current segment fills keeps that out of the writer's way. Zeros go to the disk past the page cache
//! where that can be: through it they would cost as much time as the records.
//! It never touches a segment. Invariant: H1 a spare is handed out only when all of it is durable zeros.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile, PAGE_BYTES};
use crate::error::DiskError;

/// Longest time a watermark stays unsynced, give or take the zeroing of a segment. Only damage to the last group that
/// comes together with a loss of power within this time can be taken for a torn tail.
const WATERMARK_SYNC_INTERVAL: Duration = Duration::from_secs(1);
const SPARE_FILE: &str = "spare";
const ZERO_CHUNK_BYTES: usize = 1 << 20;
/// Zeros are synced in pieces, so that an append's fsync does not wait behind a whole segment of them.
const ZERO_SYNC_BYTES: u64 = 8 << 20;

/// A file of durable zeros.
pub(crate) struct Spare {
    pub file: DiskFile,
    pub capacity: u64,
}

/// Makes a spare of `capacity`, or None when `stop` was set meanwhile. What could not be finished does not stay: on a
/// disk that is full, others need the space.
pub(crate) fn make_spare(
    disk: &Disk,
    dir: &Path,
    capacity: u64,
    stop: &AtomicBool,
) -> Result<Option<Spare>, DiskError> {
    let made = zero_spare(disk, dir, capacity, stop);
    if made.is_err() {
        let _ = remove_spare(disk, dir);
    }
    made
}

fn zero_spare(disk: &Disk, dir: &Path, capacity: u64, stop: &AtomicBool) -> Result<Option<Spare>, DiskError> {
    let file = disk.create("log.spare.create", &dir.join(SPARE_FILE))?;
    let mut past_cache = file.past_cache();
    let zeros = Zeros::new(ZERO_CHUNK_BYTES.min(usize::try_from(capacity).unwrap_or(usize::MAX)));
    let zeros = zeros.bytes();
    let (mut written, mut synced) = (0, 0);
    while written < capacity {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let chunk = (capacity - written).min(zeros.len() as u64);
        let chunk_zeros = &zeros[..chunk as usize];
        let past = past_cache.as_ref().filter(|_| chunk.is_multiple_of(PAGE_BYTES as u64));
        match past.map(|past| past.write_at("log.spare.write", chunk_zeros, written)) {
            Some(Ok(())) => {}
            Some(Err(error)) if error.source.kind() != std::io::ErrorKind::InvalidInput => return Err(error),
            // The file system cannot, or wants larger pieces.
            Some(Err(_)) | None => {
                past_cache = None;
                file.write_at("log.spare.write", chunk_zeros, written)?;
            }
        }
        written += chunk;
        if written - synced >= ZERO_SYNC_BYTES {
            file.sync("log.spare.sync-some")?;
            synced = written;
        }
    }
    file.sync("log.spare.sync")?;
    Ok(Some(Spare { file, capacity }))
}

/// Zeros that begin at a page, as writing past the cache wants them.
struct Zeros {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Zeros {
    fn new(len: usize) -> Zeros {
        let bytes = vec![0u8; len + PAGE_BYTES];
        let from = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Zeros { bytes, from, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }
}

/// Removes a spare that nobody will use.
pub(crate) fn remove_spare(disk: &Disk, dir: &Path) -> Result<(), DiskError> {
    disk.remove("log.spare.remove", &dir.join(SPARE_FILE))
}

#[derive(Default)]
struct State {
    /// Size of the spare to make next.
    wanted: Option<u64>,
    making: bool,
    /// An error is dropped here: whoever needs the spare makes it then, and meets the error again if it persists.
    spare: Option<Spare>,
    /// Since when the watermark holds something that is not synced.
    unsynced_since: Option<Instant>,
    failed: Option<DiskError>,
}

struct Shared {
    disk: Disk,
    dir: PathBuf,
    watermark: Arc<DiskFile>,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
    unsynced: AtomicBool,
    failed: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Handle of the thread; dropping it ends the thread.
pub(crate) struct Housekeeper {
    shared: Arc<Shared>,
    /// None in the foreground.
    thread: Option<JoinHandle<()>>,
    stopped: bool,
}

impl Housekeeper {
    /// In the foreground there is no thread: spares are made when they are asked for.
    pub fn start(disk: Disk, dir: PathBuf, watermark: Arc<DiskFile>, foreground: bool) -> Result<Self, DiskError> {
        let shared = Arc::new(Shared {
            disk,
            dir,
            watermark,
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        });
        if foreground {
            return Ok(Self { shared, thread: None, stopped: false });
        }
        let thread = std::thread::Builder::new().name("log housekeeper".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared)
        });
        match thread {
            Ok(thread) => Ok(Self { shared, thread: Some(thread), stopped: false }),
            Err(source) => Err(DiskError { doing: "start the housekeeper of", file: shared.dir.clone(), source }),
        }
    }

    /// Asks for a spare of `capacity`, to be there when it is needed.
    pub fn want_spare(&self, capacity: u64) {
        if self.thread.is_none() {
            let made = make_spare(&self.shared.disk, &self.shared.dir, capacity, &self.shared.stop);
            self.shared.lock().spare = made.ok().flatten();
            return;
        }
        self.shared.lock().wanted = Some(capacity);
        self.shared.changed.notify_all();
    }

    /// The spare asked for, as soon as it is ready; made here when there is none, or none of `capacity_min`.
    pub fn take_spare(&self, capacity_min: u64) -> Result<Spare, DiskError> {
        let mut state = self.shared.lock();
        while state.making || state.wanted.is_some() {
            state = self.shared.changed.wait(state).expect("no holder of this lock panics");
        }
        match state.spare.take().filter(|spare| spare.capacity >= capacity_min) {
            Some(spare) => Ok(spare),
            None => {
                let never = AtomicBool::new(false);
                let made = make_spare(&self.shared.disk, &self.shared.dir, capacity_min, &never)?;
                Ok(made.expect("nobody stops this one"))
            }
        }
    }

    /// The watermark was written: sync it within the interval.
    pub fn watermark_written(&self) {
        if !self.shared.unsynced.swap(true, Ordering::AcqRel) {
            self.shared.lock().unsynced_since = Some(Instant::now());
            self.shared.changed.notify_all();
        }
    }

    /// The error of a sync of the watermark that failed.
    pub fn take_error(&self) -> Option<DiskError> {
        if self.shared.failed.load(Ordering::Acquire) { self.shared.lock().failed.take() } else { None }
    }

    /// Ends the thread and removes the spare.
    pub fn stop(&mut self) -> Result<(), DiskError> {
        if std::mem::replace(&mut self.stopped, true) {
            return Ok(());
        }
        if let Some(thread) = self.thread.take() {
            {
                let _state = self.shared.lock();
                self.shared.stop.store(true, Ordering::Relaxed);
                self.shared.changed.notify_all();
            }
            thread.join().expect("the housekeeper never panics");
        }
        remove_spare(&self.shared.disk, &self.shared.dir)
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        // A spare that stays is removed when the log is opened again.
        let _ = self.stop();
    }
}

enum Task {
    Spare(u64),
    SyncWatermark,
}

fn run(shared: &Shared) {
    while let Some(task) = next_task(shared) {
        match task {
            Task::Spare(capacity) => {
                let made = make_spare(&shared.disk, &shared.dir, capacity, &shared.stop);
                let mut state = shared.lock();
                state.making = false;
                state.spare = made.ok().flatten();
                shared.changed.notify_all();
            }
            Task::SyncWatermark => {
                if let Err(error) = shared.watermark.sync("log.watermark.sync-later") {
                    shared.lock().failed = Some(error);
                    shared.failed.store(true, Ordering::Release);
                }
            }
        }
    }
}

/// Waits for something to do; None when it is time to end.
fn next_task(shared: &Shared) -> Option<Task> {
    let mut state = shared.lock();
    loop {
        if shared.stop.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(capacity) = state.wanted.take() {
            state.making = true;
            return Some(Task::Spare(capacity));
        }
        state = match state.unsynced_since {
            None => shared.changed.wait(state).expect("no holder of this lock panics"),
            Some(since) => match WATERMARK_SYNC_INTERVAL.checked_sub(since.elapsed()) {
                Some(left) => shared.changed.wait_timeout(state, left).expect("no holder of this lock panics").0,
                None => {
                    state.unsynced_since = None;
                    shared.unsynced.store(false, Ordering::Release);
                    return Some(Task::SyncWatermark);
                }
            },
        };
    }
}
