//! Checkpoints: made by a thread beside the engine, from the last one and what log and results have since.
//!
//! The engine never stops for one: it only says of which cut. What is trimmed is behind the oldest checkpoint that is
//! kept, so that one which turns out to be damaged has another to fall back on.

use std::thread;

use dovetail_core::{
    EventId,
    ledger::{CheckpointBuilder, CheckpointElement, CheckpointHead, Ledger, LedgerLimits},
};
use dovetail_log::{
    LogReader,
    checkpoint::{CheckpointInfo, CheckpointReader, CheckpointWriter, Checkpoints},
};
use tokio::sync::mpsc;

use super::{
    failure::CheckpointWorkError,
    records::Records,
    throttle::{Throttle, Urgency},
    written::{Made, Written},
};
use dovetail_wire::{KeptChunk, Part, PartFrame, ReadChunks};

/// What is done after each step of making one.
type Step<'a> = dyn FnMut() -> Result<(), CheckpointWorkError> + 'a;

/// What checkpoints are made from.
pub(crate) struct Maker {
    pub(crate) checkpoints: Checkpoints,
    pub(crate) log: Box<dyn LogReader>,
    pub(crate) results: Box<dyn LogReader>,
    pub(crate) ledger_limits: LedgerLimits,
}

impl Maker {
    /// The newest checkpoint there is, and what it allows to trim.
    pub(crate) fn newest(&self) -> Made {
        let trim = EventId(self.checkpoints.trim_point().unwrap_or_default());
        newest(&self.checkpoints).map_or(Made::default(), |info| Made {
            through: EventId(info.through),
            bytes: info.file_bytes,
            trim,
        })
    }

    /// Makes a checkpoint of a cut that is stable. `step` is called after each step of it, and may end it.
    fn make(&mut self, through: EventId, step: &mut Step<'_>) -> Result<Made, CheckpointWorkError> {
        let Maker { checkpoints, log, results, ledger_limits } = self;
        let mut old = match newest(checkpoints) {
            Some(info) => Old::open(checkpoints.read(info)?, ledger_limits)?,
            None => Old::default(),
        };
        let base = std::mem::take(&mut old.base);
        let after = base.through;
        let mut fold = CheckpointBuilder::new(base, through, ledger_limits);
        let mut records = Records::new(&**results, after);
        while let Some(record) = records.next()? {
            if let Some(outcomes) = dovetail_wire::result_chunk(&record)? {
                for index in 0..outcomes.len() {
                    fold.on_retirement(outcomes.retirement(index), outcomes.pool(index), outcomes.reason(index));
                }
            }
            step()?;
            if record.through >= through.0 {
                break;
            }
        }
        each_frame(&**log, after, through, step, |frame| {
            for part in &frame.events {
                match part {
                    Part::Event(event) => fold.on_event(event.x, frame.time_ms, &event.kind, None),
                    Part::Arrivals(first, run) => fold.on_arrivals(*first, frame.time_ms, run),
                }
            }
            Ok(())
        })?;
        let mut writer = checkpoints.begin(through.0)?;
        let base = fold.base();
        for chunk in dovetail_wire::base_chunks(&base) {
            writer.chunk(&chunk)?;
        }
        drop(base);
        let mut chunk = KeptChunk::default();
        while let Some(elements) = old.next()? {
            step()?;
            for kept in elements.into_iter().filter_map(|kept| fold.keep(kept)) {
                write(&mut writer, chunk.push(&kept))?;
            }
        }
        each_frame(&**log, after, through, step, |frame| {
            let runs = frame.events.iter().filter_map(|part| match part {
                Part::Arrivals(first, run) => Some((*first, run)),
                Part::Event(_) => None,
            });
            for kept in runs.flat_map(|(first, run)| fold.arrived_of(first, frame.time_ms, run)) {
                write(&mut writer, chunk.push(&kept))?;
            }
            Ok(())
        })?;
        write(&mut writer, chunk.take())?;
        writer.commit()?;
        Ok(self.newest())
    }
}

/// The newest that is not known to be damaged.
fn newest(checkpoints: &Checkpoints) -> Option<&CheckpointInfo> {
    checkpoints.list().iter().find(|info| info.damage.is_none())
}

fn write(writer: &mut CheckpointWriter<'_>, chunk: Option<Vec<u8>>) -> Result<(), CheckpointWorkError> {
    Ok(chunk.map_or(Ok(()), |chunk| writer.chunk(&chunk))?)
}

/// The frames of the log that have events in `(after, through]`.
fn each_frame(
    log: &dyn LogReader,
    after: EventId,
    through: EventId,
    step: &mut Step<'_>,
    mut each: impl FnMut(&PartFrame) -> Result<(), CheckpointWorkError>,
) -> Result<(), CheckpointWorkError> {
    let mut records = Records::new(log, after);
    while let Some(record) = records.next()? {
        step()?;
        let frame = dovetail_wire::log_parts(&record, false)?;
        each(&frame)?;
        if frame.through >= through {
            break;
        }
    }
    Ok(())
}

/// The old checkpoint, being read: its base, then its elements part by part.
#[derive(Default)]
struct Old {
    base: CheckpointHead,
    /// The elements that came with the last chunk of the base.
    first: Option<Vec<CheckpointElement>>,
    rest: Option<CheckpointReader>,
}

impl Old {
    fn open(mut reader: CheckpointReader, limits: &LedgerLimits) -> Result<Old, CheckpointWorkError> {
        let (base, first) = read_base(&mut reader, limits)?;
        Ok(Old { base, first: Some(first), rest: Some(reader) })
    }

    fn next(&mut self) -> Result<Option<Vec<CheckpointElement>>, CheckpointWorkError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(reader) = &mut self.rest else { return Ok(None) };
        Ok(reader.next_chunk()?.map(|chunk| ReadChunks::default().read(chunk)).transpose()?)
    }
}

/// The base, and the elements of the first chunk that has any.
fn read_base(
    reader: &mut CheckpointReader,
    limits: &LedgerLimits,
) -> Result<(CheckpointHead, Vec<CheckpointElement>), CheckpointWorkError> {
    let mut chunks = ReadChunks::new(limits.key_secret);
    while let Some(chunk) = reader.next_chunk()? {
        let elements = chunks.read(chunk)?;
        if !elements.is_empty() {
            return Ok((chunks.base()?, elements));
        }
    }
    Ok((chunks.base()?, Vec::new()))
}

/// Reads a checkpoint into a ledger. Long ones tell how far they are.
pub(crate) fn read_ledger(
    reader: &mut CheckpointReader,
    limits: LedgerLimits,
    shards: u32,
) -> Result<(Ledger, u64), CheckpointWorkError> {
    /// Elements between two messages.
    const TOLD: usize = 1_000_000;
    let (base, first) = read_base(reader, &limits)?;
    let time_ms = base.time_ms;
    let mut ledger = Ledger::from_checkpoint(limits, shards, base)?;
    ledger.keep(first);
    let mut told = 0;
    loop {
        let Some(chunk) = reader.next_chunk()? else { return Ok((ledger, time_ms)) };
        ledger.keep(ReadChunks::default().read(chunk)?);
        if ledger.waiting() / TOLD > told {
            told = ledger.waiting() / TOLD;
            let (read, bytes) = (reader.bytes_read(), reader.info().bytes);
            tracing::info!(waiting = ledger.waiting(), read, bytes, "reading the checkpoint");
        }
    }
}

/// Starts the thread that makes checkpoints of the cuts it is told, a little at a time unless that is urgent.
pub(crate) fn make_checkpoints(
    mut maker: Maker,
    mut cuts: mpsc::UnboundedReceiver<EventId>,
    urgency: Urgency,
    written: mpsc::UnboundedSender<Written>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("checkpoint".into()).spawn(move || {
        while let Some(through) = cuts.blocking_recv() {
            let began = std::time::Instant::now();
            let mut throttle = Throttle::new(urgency.clone());
            let made = maker.make(through, &mut || {
                throttle.rest();
                if cuts.is_closed() { Err(CheckpointWorkError::Stopped) } else { Ok(()) }
            });
            match &made {
                Ok(made) => {
                    let took_ms = began.elapsed().as_millis() as u64;
                    tracing::info!(cut = made.through.0, bytes = made.bytes, took_ms, "made a checkpoint");
                }
                Err(CheckpointWorkError::Stopped) => return,
                Err(error) => tracing::warn!(cut = through.0, error = %error, "no checkpoint was made; the log stays"),
            }
            // The engine may be gone already.
            _ = written.send(Written::Checkpoint(made));
        }
    })
}
