//! Folders as a disk may give them back: a good log and good checkpoints, changed by the input.
//!
//! Opening and reading either work or say what is wrong, and do not panic, hang or take more memory than there are
//! bytes; records that are read ascend, and a log that opens takes another.

use std::{fs, path::PathBuf, sync::LazyLock};

use dovetail_log::{
    EmbeddedLog, Log, Options, Record,
    checkpoint::{CheckpointOptions, Checkpoints},
};

use super::draw::Bytes;

/// Files by name.
type Files = Vec<(String, Vec<u8>)>;

const LOG_ID: u128 = 7;
/// Most files that are looked at, and most bytes of each.
const FILE_BYTES_MAX: usize = 32 << 10;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("dovetail-fuzz-{}", std::process::id()))
});

static LOG: LazyLock<Files> = LazyLock::new(|| {
    let (mut log, _) = EmbeddedLog::open(clean(), options()).expect("an empty folder gets a log");
    for n in 1..=8_u64 {
        let records = [Record::new(3 * n, vec![n as u8; 700]), Record::new(3 * n + 1, vec![0; n as usize])];
        log.append(&records).expect("there is room");
    }
    log.close().expect("a log is closed");
    files()
});

static CHECKPOINTS: LazyLock<Files> = LazyLock::new(|| {
    let (mut checkpoints, _) =
        Checkpoints::open(clean(), CheckpointOptions::new(LOG_ID)).expect("an empty folder is one");
    for through in [5, 9] {
        let mut writer = checkpoints.begin(through).expect("it is newer");
        for chunk in 0..3_u8 {
            writer.chunk(&vec![chunk; 100 * usize::from(chunk)]).expect("there is room");
        }
        writer.commit().expect("it is written");
    }
    drop(checkpoints);
    files()
});

fn options() -> Options {
    Options { segment_bytes: 8192, foreground: true, ..Options::new("fuzz") }
}

/// The folder, with nothing in it.
fn clean() -> &'static PathBuf {
    _ = fs::remove_dir_all(&*FOLDER);
    fs::create_dir_all(&*FOLDER).expect("a folder of our own can be made");
    &FOLDER
}

fn files() -> Files {
    let entries = fs::read_dir(&*FOLDER).expect("the folder is there").map(|entry| entry.expect("it can be listed"));
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().expect("names are text"), fs::read(entry.path()).expect("it can be read"))
    };
    let mut files: Files = entries.map(file).collect();
    files.sort();
    files
}

/// One input: which folder, then changes.
pub fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let log = bytes.byte() & 1 == 0;
    let mut files = if log { LOG.clone() } else { CHECKPOINTS.clone() };
    for _ in 0..16 {
        if bytes.0.is_empty() || files.is_empty() {
            break;
        }
        change(&mut files, &mut bytes);
    }
    let folder = clean();
    for (name, content) in &files {
        fs::write(folder.join(name), content).expect("the folder is ours");
    }
    if log { read_log() } else { read_checkpoints() }
}

fn change(files: &mut Files, bytes: &mut Bytes<'_>) {
    let at = bytes.below(files.len());
    let (what, offset) = (bytes.below(8), usize::from(bytes.byte()) << 8 | usize::from(bytes.byte()));
    let count = usize::from(bytes.byte());
    let content = &mut files[at].1;
    let mut draw = |count: usize| (0..count).map(|_| bytes.byte()).collect::<Vec<u8>>();
    match what {
        0..4 => {
            let new = draw(count % 48);
            for (byte, new) in content.iter_mut().skip(offset).zip(new) {
                *byte = new;
            }
        }
        4 => content.truncate(offset),
        5 => content.extend(draw(count)),
        6 => _ = files.remove(at),
        _ => {
            // What stands in one place stands in another as well.
            let from = usize::from(draw(1)[0]) << 6;
            let moved: Vec<u8> = content.iter().skip(from).take(count * 16).copied().collect();
            for (byte, new) in content.iter_mut().skip(offset).zip(moved) {
                *byte = new;
            }
        }
    }
    if let Some((_, content)) = files.get_mut(at) {
        content.truncate(FILE_BYTES_MAX);
    }
}

fn read_log() {
    let Ok((mut log, report)) = EmbeddedLog::open(&*FOLDER, options()) else { return };
    let reader = log.reader();
    let (mut after, last) = (reader.floor(), report.last);
    while let Ok(records) = reader.read_after(after, 1024) {
        for record in &records {
            assert!(record.through > after, "{} after {after}", record.through);
            after = record.through;
        }
        if records.is_empty() {
            assert_eq!(after, last, "all that is there is read");
            break;
        }
    }
    if let Some(next) = last.checked_add(1) {
        if log.append(&[Record::new(next, "one more")]).is_ok() {
            assert_eq!(log.last(), next);
        }
        _ = log.trim(last);
    }
    _ = log.close();
}

fn read_checkpoints() {
    let Ok((mut checkpoints, _)) = Checkpoints::open(&*FOLDER, CheckpointOptions::new(LOG_ID)) else { return };
    _ = checkpoints.trim_point();
    let mut chunks = 0;
    let loaded = checkpoints.load(0..=u64::MAX, |reader| {
        while let Some(chunk) = reader.next_chunk()? {
            assert!(chunk.len() <= FILE_BYTES_MAX);
            chunks += 1;
        }
        Ok::<_, dovetail_log::checkpoint::RestoreError>(())
    });
    _ = (loaded, chunks);
    let newest = checkpoints.list().iter().map(|info| info.through).max().unwrap_or_default();
    if let Some(next) = newest.checked_add(1)
        && let Ok(mut writer) = checkpoints.begin(next)
    {
        writer.chunk(b"one more").expect("the folder is ours");
        writer.commit().expect("the folder is ours");
    }
}

/// Both folders as they are, and with changes of each kind.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (log, name) in [(0, "log"), (1, "checkpoints")] {
        seeds.push((name.to_owned(), vec![log]));
        for what in 0..8_u8 {
            let changes = (0..5_u8).flat_map(|file| [file, what, file << 3, 40, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
            seeds.push((format!("{name}-{what}"), [vec![log], changes.collect()].concat()));
        }
    }
    seeds
}
