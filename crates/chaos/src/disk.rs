//! What a stopped balancer left on its disk, held against the truth.
//!
//! The disk may have lost its beginning to trims. What it has must be what was broadcast, frame by frame, up to the
//! frames of the last moment, which were not sent any more; and everything must be decided as the oracle says.

use std::path::Path;

use dovetail_core::EventKind;
use dovetail_log::{EmbeddedLog, Log as _, Options, Record};

use super::{
    journal::Journal,
    shape::NAME,
    truth::{LogTruth, digest},
    workload::key,
};

/// About how many bytes are read at a time.
const READ_BYTES: usize = 4 << 20;

/// Checks a data folder. An error is one of reading it.
pub fn check(data: &Path, truth: &mut LogTruth, journal: &Journal) -> Result<(), String> {
    let (log, report) = EmbeddedLog::open(data.join("log"), Options::new(NAME)).map_err(|error| error.to_string())?;
    journal.check("a stopped balancer leaves nothing torn", report.torn.is_none(), || format!("{:?}", report.torn));
    let (last, broadcast) = (log.last(), truth.through);
    journal.check("the disk has all that was broadcast", last >= broadcast, || {
        format!("the log ends at {last}, and {broadcast} was broadcast")
    });
    each(&log, |record| frame(record, truth, journal))?;
    let options = Options::new(format!("{NAME}, results of log {:032x}", log.log_id()));
    let (results, _) = EmbeddedLog::open(data.join("results"), options).map_err(|error| error.to_string())?;
    let floor = results.floor();
    let mut stored = 0;
    each(&results, |record| {
        for outcome in dovetail_wire::result_record(record).map_err(|error| error.to_string())? {
            let expected = truth.decided_at(outcome.x.0);
            let same = expected.is_some_and(|expected| {
                expected.retirement == outcome.retirement() && expected.reason == outcome.reason
            });
            stored += 1;
            journal.check("stored outcomes are the oracle's", same, || {
                format!("{:?} is stored, the oracle has {expected:?}", outcome.retirement())
            });
        }
        Ok(())
    })?;
    let expected = truth.outcomes(None, floor + 1..=results.last()).len();
    journal.check("every outcome is stored", stored == expected, || format!("{stored}, the oracle has {expected}"));
    Ok(())
}

fn frame(record: &Record, truth: &mut LogTruth, journal: &Journal) -> Result<(), String> {
    let logged = dovetail_wire::log_record(record).map_err(|error| error.to_string())?;
    if logged.frame.after.0 >= truth.through {
        truth.take(&logged.frame);
    }
    let found = digest(&logged.frame);
    let expected = truth.frame(logged.frame.through.0);
    journal.check("frames on disk are those broadcast", expected == Some(found), || {
        format!("frame {} to {}", logged.frame.after, logged.frame.through)
    });
    let arrivals = logged.frame.events.iter().filter(|event| matches!(event.kind, EventKind::Arrival { .. }));
    for (event, client) in arrivals.zip(&logged.clients) {
        let named = truth.element(event.x.0).map(|element| key(element.serial));
        journal.check("keys on disk are the clients'", named.as_deref() == Some(&*client.key), || {
            format!("{} has key {}, submitted as {named:?}", event.x, client.key)
        });
    }
    Ok(())
}

fn each(log: &EmbeddedLog, mut take: impl FnMut(&Record) -> Result<(), String>) -> Result<(), String> {
    let reader = log.reader();
    let mut after = reader.floor();
    loop {
        let records = reader.read_after(after, READ_BYTES).map_err(|error| error.to_string())?;
        let Some(last) = records.last() else { return Ok(()) };
        after = last.through;
        records.iter().try_for_each(&mut take)?;
    }
}
