//! The background thread of an embedded log: zeroes the next segment ahead of time, and syncs the watermark.
//!
//! Overwriting zeroed blocks needs no change to the file system's own records, which is what makes an fsync cheap;
//! zeroing them while the current segment fills keeps that out of the writer's way. Zeros go to the disk past the page
//! cache where that can be: through it they would cost as much time as the records. They go slowly, as an append's
//! fsync waits for all that the disk was given, but twice as fast as the segment fills. It never touches a segment.
//! Invariant: log.H1 a spare is handed out only when all of it is durable zeros.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile, PAGE_BYTES};
use crate::error::DiskError;
use crate::lock::FolderLock;

/// Longest time a watermark stays unsynced, give or take the zeroing of a part of a segment. Only damage to the last
/// group that comes together with a loss of power within this time can be taken for a torn tail.
const WATERMARK_SYNC_INTERVAL: Duration = Duration::from_secs(1);
const SPARE_FILE: &str = "spare";
const ZERO_CHUNK_BYTES: usize = 256 << 10;
/// Zeros are synced in pieces, so that an append's fsync does not wait behind a whole segment of them.
const ZERO_SYNC_BYTES: u64 = 8 << 20;
/// Between one chunk of zeros and the next, when there is time: 12 MiB a second.
const ZERO_PAUSE: Duration = Duration::from_millis(20);

/// A file of durable zeros.
pub(crate) struct Spare {
    pub file: DiskFile,
    pub capacity: u64,
}

/// Makes a spare of `capacity` at once.
pub(crate) fn make_spare(disk: &Disk, dir: &Path, capacity: u64) -> Result<Spare, DiskError> {
    let made = make_spare_while(disk, dir, capacity, |_| true)?;
    Ok(made.expect("it was told to go on"))
}

/// Makes a spare of `capacity`, or None when it is told not to go on: asked between chunks, with the bytes that are
/// zeroed. What could not be finished does not stay: on a disk that is full, others need the space.
fn make_spare_while(
    disk: &Disk,
    dir: &Path,
    capacity: u64,
    go_on: impl FnMut(u64) -> bool,
) -> Result<Option<Spare>, DiskError> {
    let made = zero_spare(disk, dir, capacity, go_on);
    if made.is_err() {
        let _ = remove_spare(disk, dir);
    }
    made
}

fn zero_spare(
    disk: &Disk,
    dir: &Path,
    capacity: u64,
    mut go_on: impl FnMut(u64) -> bool,
) -> Result<Option<Spare>, DiskError> {
    let file = disk.create("log.spare.create", &dir.join(SPARE_FILE))?;
    let mut past_cache = file.past_cache();
    let zeros = Zeros::new(ZERO_CHUNK_BYTES.min(usize::try_from(capacity).unwrap_or(usize::MAX)));
    let zeros = zeros.bytes();
    let (mut written, mut synced) = (0, 0);
    while written < capacity {
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
        if written < capacity && !go_on(written) {
            return Ok(None);
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

/// Removes a spare that will not be used.
pub(crate) fn remove_spare(disk: &Disk, dir: &Path) -> Result<(), DiskError> {
    disk.remove("log.spare.remove", &dir.join(SPARE_FILE))
}

#[derive(Default)]
struct State {
    /// Size of the spare to make next.
    wanted: Option<u64>,
    making: bool,
    /// The spare being made is waited for.
    urgent: bool,
    /// An error is dropped here: the append that needs the spare makes it then, and meets the error again if it
    /// persists.
    spare: Option<Spare>,
    /// Since when the watermark holds something that is not synced.
    unsynced_since: Option<Instant>,
    failed: Option<DiskError>,
}

impl State {
    /// Until the watermark has to be synced; None while there is nothing to sync.
    fn until_sync(&self) -> Option<Duration> {
        self.unsynced_since.map(|since| WATERMARK_SYNC_INTERVAL.saturating_sub(since.elapsed()))
    }

    /// Whether it has to be synced now. What is written from now on is for the next time.
    fn begin_sync(&mut self, shared: &Shared) -> bool {
        let due = self.until_sync() == Some(Duration::ZERO);
        if due {
            self.unsynced_since = None;
            shared.unsynced.store(false, Ordering::Release);
        }
        due
    }
}

struct Shared {
    disk: Disk,
    dir: PathBuf,
    /// Of the folder: files are made and removed in no other.
    lock: Arc<FolderLock>,
    watermark: Arc<DiskFile>,
    state: Mutex<State>,
    changed: Condvar,
    /// How much of the segment being written is filled, in thousandths.
    filled: AtomicU64,
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
    pub fn start(
        disk: Disk,
        dir: PathBuf,
        lock: Arc<FolderLock>,
        watermark: Arc<DiskFile>,
        foreground: bool,
    ) -> Result<Self, DiskError> {
        let shared = Arc::new(Shared {
            disk,
            dir,
            lock,
            watermark,
            state: Mutex::default(),
            changed: Condvar::new(),
            filled: AtomicU64::new(0),
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
            let made = make_spare(&self.shared.disk, &self.shared.dir, capacity);
            self.shared.lock().spare = made.ok();
            return;
        }
        self.shared.lock().wanted = Some(capacity);
        self.shared.changed.notify_all();
    }

    /// The spare asked for, as soon as it is ready; made here when there is none, or none of `capacity_min`.
    pub fn take_spare(&self, capacity_min: u64) -> Result<Spare, DiskError> {
        let mut state = self.shared.lock();
        while state.making || state.wanted.is_some() {
            state.urgent = true;
            self.shared.changed.notify_all();
            state = self.shared.changed.wait(state).expect("no holder of this lock panics");
        }
        match state.spare.take().filter(|spare| spare.capacity >= capacity_min) {
            Some(spare) => Ok(spare),
            None => make_spare(&self.shared.disk, &self.shared.dir, capacity_min),
        }
    }

    /// The segment being written is filled up to `end`.
    pub fn filled(&self, end: u64, capacity: u64) {
        self.shared.filled.store(end * 1000 / capacity, Ordering::Relaxed);
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
        self.shared.lock.check()?;
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
                let pause = |zeroed| pause(shared, zeroed, capacity);
                let made = shared.lock.check();
                let made = made.and_then(|()| make_spare_while(&shared.disk, &shared.dir, capacity, pause));
                let mut state = shared.lock();
                (state.making, state.urgent) = (false, false);
                state.spare = made.ok().flatten();
                shared.changed.notify_all();
            }
            Task::SyncWatermark => sync_watermark(shared),
        }
    }
}

fn sync_watermark(shared: &Shared) {
    if let Err(error) = shared.watermark.sync("log.watermark.sync-later") {
        shared.lock().failed = Some(error);
        shared.failed.store(true, Ordering::Release);
    }
}

/// Between two chunks of zeros: the other work, and a pause unless the spare may be needed soon. False when it is time
/// to end.
fn pause(shared: &Shared, zeroed: u64, capacity: u64) -> bool {
    let mut state = shared.lock();
    if state.begin_sync(shared) {
        drop(state);
        sync_watermark(shared);
        state = shared.lock();
    }
    let soon = 2 * shared.filled.load(Ordering::Relaxed) * capacity / 1000 > zeroed;
    let may_wait = |state: &mut State| !state.urgent && !shared.stop.load(Ordering::Relaxed);
    if !soon {
        let paused = shared.changed.wait_timeout_while(state, ZERO_PAUSE, may_wait);
        drop(paused.expect("no holder of this lock panics"));
    }
    !shared.stop.load(Ordering::Relaxed)
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
        if state.begin_sync(shared) {
            return Some(Task::SyncWatermark);
        }
        state = match state.until_sync() {
            None => shared.changed.wait(state).expect("no holder of this lock panics"),
            Some(left) => shared.changed.wait_timeout(state, left).expect("no holder of this lock panics").0,
        };
    }
}
