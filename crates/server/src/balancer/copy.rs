//! The log of a balancer that shares it with others: a thread that follows what another writes into its own copy, and
//! goes on as the writer once its term has begun.
//!
//! What is followed goes to the engine in the order of the log, a few groups ahead of it at most. Invariant: copy.P1 the
//! engine hears of its own term after all that is before it, and nothing that was followed comes after that.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use dovetail_core::EventId;
use dovetail_log::{
    AppendError, Content, EmbeddedLog, Log as _, Record, TrimError,
    shared::{CopyError, Followed, Position, ReplicatedLog, SharedReadError, TakeOverError, TermWriter, take_over},
};
use tokio::sync::mpsc;

use super::{
    shared_log::{FollowError, FollowedPart, SharedLog},
    store::{FULL_PAUSE, LogWork, WrittenLog, close, trim_log, write_log},
    written::{AskedFor, Disk, Written},
};

/// Longest time that what is asked of the thread waits while nothing comes.
const STEP: Duration = Duration::from_millis(20);
/// How long a term is asked for at a time: in between, others are followed.
const ASKED: Duration = Duration::from_millis(250);
/// Bytes of records between two places that are remembered, to trim by.
const MARK_BYTES: u64 = 1 << 20;

/// Starts the thread. It ends when nobody tells it anything any more.
pub(super) fn start(
    log: SharedLog,
    work: mpsc::UnboundedReceiver<LogWork>,
    followed: mpsc::Sender<FollowedPart>,
    written: mpsc::UnboundedSender<Written>,
) -> std::io::Result<thread::JoinHandle<()>> {
    let thread =
        Following { log, work, followed, written, asked: None, won: None, marks: Marks::default(), full: false };
    thread::Builder::new().name("log".into()).spawn(move || thread.run())
}

struct Following {
    log: SharedLog,
    work: mpsc::UnboundedReceiver<LogWork>,
    followed: mpsc::Sender<FollowedPart>,
    written: mpsc::UnboundedSender<Written>,
    /// The term that is asked for comes behind this one.
    asked: Option<Option<Position>>,
    won: Option<TermWriter>,
    marks: Marks,
    /// The copy's disk has no room.
    full: bool,
}

/// What a step came to.
enum Stepped {
    On,
    /// Its own term has begun.
    Begun,
    /// Nobody waits for anything.
    Ended,
}

impl Following {
    fn run(mut self) {
        loop {
            if self.is_ended() {
                return close(self.log.copying.into_copy());
            }
            self.take_over();
            match self.step() {
                Ok(Stepped::On) => {}
                Ok(Stepped::Begun) => break,
                Ok(Stepped::Ended) => return close(self.log.copying.into_copy()),
                Err(error) => {
                    _ = self.written.send(Written::Followed(error));
                    return;
                }
            }
        }
        let Following { log, work, written, won, marks, .. } = self;
        let writer = won.expect("a term that begins was won");
        let silent = Arc::new(AtomicBool::new(false));
        let (told, tell) = (Arc::clone(&silent), written.clone());
        let unanswered = move |why: &str| {
            if !told.swap(true, Ordering::Relaxed) {
                tracing::error!(why, "the log does not answer; nothing is acknowledged until it does");
                _ = tell.send(Written::Silent(true));
            }
            // The engine is gone when its balancer stops, or is over.
            !tell.is_closed()
        };
        let log = log.copying.write(writer).on_unanswered(unanswered);
        write_log(SharedFrames { log, silent, marks, written: written.clone() }, work, &written);
    }

    /// Does what it was told meanwhile. Whether nobody will tell it anything any more.
    fn is_ended(&mut self) -> bool {
        loop {
            match self.work.try_recv() {
                Ok(LogWork::TakeOver(seen)) => self.asked = Some(seen),
                Ok(LogWork::Trim(through)) => trim_log(self.log.copying.copy(), through, &self.written),
                Ok(LogWork::TrimShared(_)) => {}
                Ok(LogWork::Append(frame)) => unreachable!("{} is appended by who does not write", frame.through),
                Err(mpsc::error::TryRecvError::Empty) => return false,
                Err(mpsc::error::TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Asks for the term that is wanted, if one is.
    fn take_over(&mut self) {
        let Some(seen) = self.asked else { return };
        let SharedLog { engine, me, address, patience, .. } = &self.log;
        let asked = match take_over(engine.another(), seen, *me, address, ASKED.min(*patience)) {
            Ok(writer) => {
                let writer = writer.with_patience(*patience);
                let at = writer.term().at;
                self.won = Some(writer);
                AskedFor::Won(at)
            }
            Err(TakeOverError::Lost { newest }) => AskedFor::Lost(newest),
            // Asked for again, after what comes meanwhile.
            Err(error @ (TakeOverError::Full { .. } | TakeOverError::Unknown { .. })) => {
                tracing::debug!(error = %error, "no term was begun");
                return;
            }
        };
        self.asked = None;
        _ = self.written.send(Written::Asked(asked));
    }

    fn step(&mut self) -> Result<Stepped, FollowError> {
        let followed = match self.log.copying.step(STEP) {
            Ok(followed) => followed,
            Err(CopyError::Append(AppendError::DiskFull { file, source })) => {
                if !self.full {
                    tracing::error!(file = %file.display(), error = %source, "the disk is full; the copy of the log waits for room");
                    _ = self.written.send(Written::Full(Disk::Log, true));
                }
                self.full = true;
                thread::sleep(FULL_PAUSE);
                return Ok(Stepped::On);
            }
            Err(CopyError::Read(SharedReadError::Unavailable { why })) => {
                tracing::debug!(why, "the log cannot be followed now");
                thread::sleep(STEP);
                return Ok(Stepped::On);
            }
            Err(error) => return Err(error.into()),
        };
        let part = match followed {
            Followed::Quiet => return Ok(Stepped::On),
            Followed::Term(term) => FollowedPart::Term(term),
            Followed::Group { at, group, .. } => {
                if std::mem::take(&mut self.full) {
                    _ = self.written.send(Written::Full(Disk::Log, false));
                }
                self.marks.add(group.through(), at, group.bytes() as u64);
                _ = self.written.send(Written::Sized(Disk::Log, self.log.copying.copy().bytes()));
                let frames = group.records.iter().map(|record| Ok(Arc::new(dovetail_wire::log_parts(record, true)?)));
                let bytes = group.records.iter().map(|record| record.bytes.len() as u64).sum();
                FollowedPart::Frames(frames.collect::<Result<_, FollowError>>()?, bytes)
            }
        };
        let began = match &part {
            FollowedPart::Term(term) => self.won.as_ref().is_some_and(|won| won.term().at == term.at),
            FollowedPart::Frames(..) => false,
        };
        if self.followed.blocking_send(part).is_err() {
            return Ok(Stepped::Ended);
        }
        Ok(if began { Stepped::Begun } else { Stepped::On })
    }
}

/// The log of the balancer that writes it.
struct SharedFrames {
    log: ReplicatedLog<EmbeddedLog>,
    /// The engine does not answer.
    silent: Arc<AtomicBool>,
    marks: Marks,
    written: mpsc::UnboundedSender<Written>,
}

impl WrittenLog for SharedFrames {
    fn put<C: Content>(&mut self, records: &[C]) -> Result<(), AppendError> {
        let record = |content: &C| {
            let mut bytes = Vec::with_capacity(content.bytes_len());
            content.put(&mut bytes);
            Record::new(content.through(), bytes)
        };
        let records: Vec<Record> = records.iter().map(record).collect();
        let bytes = records.iter().map(|record| record.bytes.len() as u64).sum();
        self.log.append(&records)?;
        if self.silent.swap(false, Ordering::Relaxed) {
            tracing::info!("the log answers again");
            _ = self.written.send(Written::Silent(false));
        }
        let through = records.last().map_or(0, |record| record.through);
        self.marks.add(through, self.log.writer().end(), bytes);
        Ok(())
    }

    fn forget(&mut self, through: EventId) -> Result<u64, TrimError> {
        self.log.trim(through.0)
    }

    fn forget_shared(&mut self, through: EventId) {
        let Some(at) = self.marks.take(through) else { return };
        match self.log.writer().engine().trim(at) {
            Ok(floor) => tracing::debug!(through = through.0, floor = floor.0, "the shared log was trimmed"),
            // It is trimmed with the next.
            Err(error) => tracing::warn!(error = %error, "the shared log was not trimmed"),
        }
    }

    fn bytes_here(&mut self) -> u64 {
        self.log.copy().bytes()
    }

    fn end(self) {
        close(self.log.into_copy());
    }
}

/// Where some groups are, ascending: what may go is known by its events.
#[derive(Debug, Default)]
struct Marks {
    known: VecDeque<(u64, Position)>,
    bytes: u64,
}

impl Marks {
    /// A group that ends with an event is there.
    fn add(&mut self, through: u64, at: Position, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= MARK_BYTES {
            self.bytes = 0;
            self.known.push_back((through, at));
        }
    }

    /// The last that is known to end at or before an event. It is forgotten, and all before it.
    fn take(&mut self, through: EventId) -> Option<Position> {
        let mut last = None;
        while let Some((_, at)) = self.known.pop_front_if(|(ends, _)| *ends <= through.0) {
            last = Some(at);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_is_found_by_its_events_to_within_a_mebibyte() {
        let mut marks = Marks::default();
        for group in 1..=8 {
            marks.add(group * 10, Position(group), MARK_BYTES / 2);
        }
        assert_eq!(marks.take(EventId(19)), None);
        assert_eq!(marks.take(EventId(20)), Some(Position(2)));
        assert_eq!(marks.take(EventId(39)), None, "it is gone already");
        assert_eq!(marks.take(EventId(75)), Some(Position(6)));
        assert_eq!(marks.take(EventId(1_000)), Some(Position(8)));
        assert_eq!(marks.take(EventId(1_000)), None);
    }
}
