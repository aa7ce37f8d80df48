//! The balancer's clocks, and what it says of them.
//!
//! Event time is [`EventClock`]'s, made of this machine's wall clock and of the time since it was booted, which counts
//! when it sleeps. A wall clock that jumps ahead too far is not followed until an operator says so; when that has
//! lasted for [`GRACE_MS`], writes are refused. A process that starts while the wall clock is wrong must not believe
//! it: the file `clock` in the data folder has the last process's clock, and counts until the machine is booted again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use dovetail_core::clock::{EventClock, Jump};
use tokio::sync::watch;

use crate::time;

/// How long a jump may last before writes are refused, in milliseconds: most pass by themselves, and event time is
/// right meanwhile.
const GRACE_MS: u64 = 10_000;
/// How far event time may be from what the file says before it is written anew, in milliseconds: clocks are corrected a
/// little.
const NOTE_MS: u64 = 60_000;
const NOTE_FILE: &str = "clock";

/// Event time, by this machine's clocks.
#[derive(Debug)]
pub(super) struct Clock {
    event: EventClock,
    /// When it was opened; also for systems that do not tell when they were booted.
    began: Instant,
    note: Option<Note>,
    /// The jump for which writes are refused.
    refused: watch::Sender<Option<Jump>>,
}

/// Where event time is between two starts of a process.
#[derive(Debug)]
struct Note {
    file: PathBuf,
    /// Which boot of the machine this is.
    boot: String,
    /// Event time since the boot, as the file has it.
    noted_ms: Option<u64>,
}

impl Clock {
    /// A clock that goes on after an event of `time_ms`, and after what was noted in the folder.
    pub(super) fn open(folder: &Path, time_ms: u64, jump_ms_max: u64) -> Clock {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().filter(|_| since_boot_ms().is_some());
        let mut note =
            boot.map(|boot| Note { file: folder.join(NOTE_FILE), boot: boot.trim().to_owned(), noted_ms: None });
        let (began, boot_ms) = (Instant::now(), since_boot_ms());
        let known = note.as_mut().and_then(Note::read).zip(boot_ms).filter(|((_, then_ms), now_ms)| now_ms >= then_ms);
        let event = match known {
            Some((known, now_ms)) => EventClock::going_on(time_ms, known, now_ms, jump_ms_max),
            None => EventClock::new(time_ms, boot_ms.unwrap_or_default(), jump_ms_max),
        };
        Clock { event, began, note, refused: watch::channel(None).0 }
    }

    /// Goes on after an event of `time_ms`, which another balancer wrote.
    pub(super) fn go_on(&mut self, folder: &Path, time_ms: u64, jump_ms_max: u64) {
        let Clock { event, began, note, refused: _ } = Clock::open(folder, time_ms, jump_ms_max);
        (self.event, self.began, self.note) = (event, began, note);
        self.refused.send_replace(None);
    }

    /// The time now.
    pub(super) fn now_ms(&mut self) -> u64 {
        self.read(time::now_ms())
    }

    fn read(&mut self, wall_ms: u64) -> u64 {
        let monotonic_ms = since_boot_ms().unwrap_or_else(|| self.lasted_ms());
        let before = self.event.jump();
        let now_ms = self.event.read(wall_ms, monotonic_ms);
        let jump = self.event.jump();
        match (before, jump) {
            (None, Some(jump)) => {
                let ahead_ms = jump.ahead_ms();
                tracing::error!(
                    wall_ms,
                    event_ms = now_ms,
                    ahead_ms,
                    "the wall clock jumped ahead, and is not followed"
                );
            }
            (Some(_), None) => tracing::warn!(wall_ms, event_ms = now_ms, "the wall clock is followed again"),
            _ => {}
        }
        let refused = jump.filter(|jump| jump.lasts_ms > GRACE_MS);
        self.refused.send_if_modified(|known| {
            let changed = known.is_some() != refused.is_some();
            *known = refused;
            changed
        });
        if let Some(note) = &mut self.note {
            note.keep(self.event.known());
        }
        now_ms
    }

    /// How long it has run.
    pub(super) fn lasted_ms(&self) -> u64 {
        time::ms(self.began.elapsed())
    }

    /// The time when it was last read.
    pub(super) fn last_ms(&self) -> u64 {
        self.event.last_ms()
    }

    /// How far the wall clock is ahead, if it is not followed.
    pub(super) fn jump(&self) -> Option<Jump> {
        self.event.jump()
    }

    /// Tells the jump for which writes are refused.
    pub(super) fn refused(&self) -> watch::Receiver<Option<Jump>> {
        self.refused.subscribe()
    }

    /// Follows the wall clock, wherever it is. How far ahead it was, and event time now.
    pub(super) fn accept(&mut self) -> (u64, u64) {
        let wall_ms = time::now_ms();
        self.read(wall_ms);
        let ahead_ms = self.event.accept(wall_ms);
        let event_ms = self.read(wall_ms);
        tracing::warn!(wall_ms, event_ms, ahead_ms, "an operator accepted the wall clock");
        (ahead_ms, event_ms)
    }
}

impl Note {
    /// Event time, and the time since the boot then, if the file is of this boot.
    fn read(&mut self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(&self.file).ok()?;
        let mut words = text.split_whitespace();
        let of_this_boot = words.next() == Some(&self.boot);
        let [event_ms, boot_ms] = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
        of_this_boot.then_some((event_ms, boot_ms))
    }

    /// Writes the file when it is not there, or not right any more. It need not survive a loss of power, after which it
    /// means nothing.
    fn keep(&mut self, (event_ms, boot_ms): (u64, u64)) {
        let since_ms = event_ms.saturating_sub(boot_ms);
        if self.noted_ms.is_some_and(|noted_ms| noted_ms.abs_diff(since_ms) <= NOTE_MS) {
            return;
        }
        self.noted_ms = Some(since_ms);
        let new = self.file.with_extension("new");
        let written = fs::write(&new, format!("{} {event_ms} {boot_ms}\n", self.boot));
        if let Err(error) = written.and_then(|()| fs::rename(&new, &self.file)) {
            let file = self.file.display();
            tracing::warn!(%file, %error, "the state of the clock could not be saved: a restart will believe the wall clock");
        }
    }
}

/// Milliseconds since the machine was booted, those included in which it slept.
#[cfg(target_os = "linux")]
fn since_boot_ms() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(u64::try_from(time.tv_sec).ok()? * 1_000 + u64::try_from(time.tv_nsec).ok()? / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
fn since_boot_ms() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::time;

    const HOUR: u64 = 3_600_000;

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("dovetail-clock-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder for the test");
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_process_that_starts_while_the_wall_clock_is_wrong_does_not_believe_it() {
        let folder = Folder::new("believes");
        let wall_ms = time::now_ms();
        let mut clock = Clock::open(&folder.0, 0, HOUR);
        assert!(clock.read(wall_ms) >= wall_ms);
        let mut next = Clock::open(&folder.0, 0, HOUR);
        let now_ms = next.read(wall_ms + 9 * HOUR);
        assert!(now_ms < wall_ms + HOUR && next.jump().is_some(), "{now_ms}");
        assert_eq!(*next.refused().borrow(), None, "not at once");
        // What was accepted is noted, too.
        next.event.accept(wall_ms + 9 * HOUR);
        next.read(wall_ms + 9 * HOUR);
        let mut last = Clock::open(&folder.0, 0, HOUR);
        assert!(last.read(wall_ms + 9 * HOUR + 5) >= wall_ms + 9 * HOUR);
        assert_eq!(last.jump(), None);
    }

    #[test]
    fn what_passed_since_the_note_counts_once_though_the_log_has_most_of_it() {
        let folder = Folder::new("once");
        let (wall_ms, boot_ms) = (time::now_ms(), since_boot_ms().unwrap());
        // The file is not written again while a process runs and nothing jumps: it has the time of that one's start.
        Clock::open(&folder.0, 0, HOUR).read(wall_ms);
        let file = folder.0.join(NOTE_FILE);
        let boot = fs::read_to_string(&file).unwrap().split(' ').next().unwrap().to_owned();
        let lasted_ms = boot_ms.min(20_000);
        fs::write(&file, format!("{boot} {} {}\n", wall_ms - lasted_ms, boot_ms - lasted_ms)).unwrap();
        let mut clock = Clock::open(&folder.0, wall_ms - lasted_ms.min(1_000), HOUR);
        let (now_ms, right_ms) = (clock.read(wall_ms), time::now_ms());
        assert!(now_ms >= wall_ms && now_ms <= right_ms + 50, "{now_ms}, {wall_ms} to {right_ms}");
    }

    #[test]
    fn a_note_of_another_boot_or_one_that_is_none_means_nothing() {
        let wall_ms = time::now_ms();
        for (number, text) in ["another-boot 1000 5\n", "", "\0\0\0", "word", "x 1 -5"].into_iter().enumerate() {
            let folder = Folder::new(&number.to_string());
            fs::write(folder.0.join(NOTE_FILE), text).unwrap();
            let mut clock = Clock::open(&folder.0, 7, HOUR);
            assert!(clock.read(wall_ms) >= wall_ms && clock.jump().is_none(), "{text:?}");
            assert!(fs::read_to_string(folder.0.join(NOTE_FILE)).unwrap().split(' ').count() == 3);
        }
    }
}
