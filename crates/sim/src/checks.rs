//! What must hold of nodes and messages, whenever and at the end. What must hold of decisions is in [`crate::truth`].

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display},
};

use dovetail_core::{
    CandidateFrame, Decided, ElementId, EventId, LogFrame, Place, Stable,
    ledger::{Ledger, PoolCounts, Remembered, Status},
    shard::Shard,
    slice::{Slice, SliceRef},
};

use crate::{
    cx::Cx,
    disk::{Checkpoint, SimDisk},
    scenario::REMEMBERS_ALL,
    truth::differs,
    violation::Violation,
};

/// A frame of candidates: lists are bounded and ascending, and within the frame.
///
/// # Errors
/// When they are not.
pub fn check_frame(cx: &Cx, slice: &Slice, frame: &CandidateFrame) -> Result<(), Violation> {
    for list in &frame.probes {
        check_bound(|| format!("list of {} in {}", list.x, slice.id()), list.anchors.len(), cx.scenario.list_max)?;
        let ascending = list.anchors.windows(2).all(|pair| pair[0] < pair[1]);
        let placed = list.anchors.iter().all(|&anchor| cx.scenario.placement.owner(Place::Id(anchor)) == slice.id());
        if !ascending || !placed {
            let what = format!("list of {} in {}", list.x, slice.id());
            return Err(differs(what, format!("{:?}", list.anchors), "ascending anchors of its own".to_owned()));
        }
    }
    // What ended at or below `decided_seen`, and before the search, is left out: its home may have forgotten it.
    let lists = frame.probes.iter().flat_map(|list| list.anchors.iter().map(|&anchor| (list.x, anchor)));
    let claims = frame.claims.iter().map(|claim| (claim.x, claim.anchor));
    for (x, anchor) in lists.chain(claims) {
        if let Some(ended) = cx.truth.ended(anchor).filter(|&ended| ended <= frame.decided_seen.event() && ended < x) {
            let found = format!("{anchor} was found at {x}, and had ended at {ended}");
            return Err(differs(format!("a frame of {}", slice.id()), found, format!("known {}", frame.decided_seen)));
        }
    }
    let events = frame.probes.iter().map(|list| list.x).chain(frame.claims.iter().map(|claim| claim.x));
    let events = events.chain(frame.closes.iter().map(|close| close.x));
    let mut events = events.chain(frame.settled.iter().map(|settled| settled.x));
    match events.find(|&x| x <= frame.after || x > frame.through) {
        None => Ok(()),
        Some(x) => {
            Err(differs("a candidate's event", x.to_string(), format!("in ({}, {}]", frame.after, frame.through)))
        }
    }
}

/// A shard's watermark only ascends, and only over what is decided.
///
/// # Errors
/// When it does not.
pub fn check_watermark(cx: &Cx, shard: &Shard, before: EventId) -> Result<(), Violation> {
    let found = shard.watermark();
    if found < Decided(before) {
        let (what, bound_by) = (format!("watermark of {}", shard.id()), "what it was".to_owned());
        return Err(Violation::Watermark { what, found: found.event(), bound_by, bound: before });
    }
    cx.truth.check_searched("a shard's watermark", Some(shard.id()), found.event())?;
    cx.truth.on_shard_decided(shard.id(), before, found.event())
}

/// Where a slice knows a shard's watermark, no element waits there any more that the shard retired up to it.
///
/// # Errors
/// When one does.
pub fn check_retired(cx: &Cx, slice: SliceRef<'_>) -> Result<(), Violation> {
    for anchor in slice.anchors() {
        let Some((x, home)) = cx.truth.retired(anchor) else { continue };
        if x <= slice.through() && x <= slice.decided(home).event() {
            let found = format!("{anchor}, which had ended at {x}, waits where {home} is known to have decided it");
            return Err(differs(format!("an anchor of {}", slice.id()), found, "nobody".to_owned()));
        }
    }
    Ok(())
}

/// Nothing comes of a message that was applied before.
///
/// # Errors
/// When something does.
pub fn check_nothing<T: Debug>(of: impl Display, effects: &[T]) -> Result<(), Violation> {
    if effects.is_empty() {
        return Ok(());
    }
    Err(differs(format!("what a repeated message does to {of}"), format!("{effects:?}"), "nothing".to_owned()))
}

/// A frame of the log holds no more than it may.
///
/// # Errors
/// When it does.
pub fn check_log_frame(cx: &Cx, frame: &LogFrame) -> Result<(), Violation> {
    check_bound(|| format!("events of the frame at {}", frame.after), frame.events.len(), cx.scenario.frame.events_max)
}

/// What is left on a disk is enough: the checkpoint joins onto the log and onto the results.
///
/// # Errors
/// When there is a gap.
pub fn check_disk(disk: &SimDisk) -> Result<(), Violation> {
    let cut = disk.checkpoint.base.through;
    let files = [("log", disk.log.floor(), disk.log.end()), ("results", disk.results.floor(), disk.results.end())];
    for (file, floor, end) in files {
        if floor > cut {
            let (what, bound_by) = (format!("beginning of the {file}"), "the checkpoint".to_owned());
            return Err(Violation::Watermark { what, found: floor, bound_by, bound: cut });
        }
        if cut > end {
            let (what, bound_by) = ("the checkpoint".to_owned(), format!("the end of the {file}"));
            return Err(Violation::Watermark { what, found: cut, bound_by, bound: end });
        }
    }
    Ok(())
}

/// A checkpoint is sorted, and within its bounds.
///
/// # Errors
/// When it is not.
pub fn check_checkpoint(cx: &Cx, checkpoint: &Checkpoint) -> Result<(), Violation> {
    let Checkpoint { base, kept } = checkpoint;
    if !kept.is_sorted_by(|one, next| one.element < next.element) {
        let found = kept.iter().map(|kept| kept.element.to_string()).collect::<Vec<_>>().join(" ");
        return Err(differs(format!("elements of the checkpoint at {}", base.through), found, "ascending".to_owned()));
    }
    let over = |remembered: &Remembered| remembered.arrived_ms + cx.scenario.ledger.idempotency_ms < base.time_ms;
    if !base.idempotency.is_sorted_by_key(|remembered| remembered.element) || base.idempotency.iter().any(over) {
        let (what, found) =
            (format!("idempotency keys of the checkpoint at {}", base.through), format!("{:?}", base.idempotency));
        return Err(differs(what, found, format!("ascending, and of {} ms", cx.scenario.ledger.idempotency_ms)));
    }
    Ok(())
}

/// At the end, everything is decided and stable, and the ledger says of every element what the oracle says.
///
/// # Errors
/// When that is not so.
pub fn check_ledger(cx: &Cx, ledger: &Ledger, assigned: EventId, results_floor: EventId) -> Result<(), Violation> {
    let (durable, decided, stable) = (cx.truth.durable(), ledger.decided(), ledger.stable());
    // Of a shared log nodes hear no more than it tells.
    let heard = if cx.scenario.shared.is_some() { cx.truth.told() } else { durable };
    let behind = stable < Stable(heard) || ledger.secured() != Stable(durable);
    if assigned != durable || decided != Decided(assigned) || behind {
        return Err(Violation::Stuck { assigned, durable, decided, stable });
    }
    if heard < durable {
        return check_counts(cx, ledger, cx.truth.waiting().count() as u64).and_then(|()| cx.truth.check_complete());
    }
    let waiting: Vec<ElementId> = cx.truth.waiting().collect();
    let cut = ledger.cut(|_| true);
    let found: Vec<ElementId> = cut.waiting.iter().map(|waiting| waiting.element).collect();
    if found != waiting || !ledger.waiting_ids().eq(waiting.iter().copied()) || !cut.left_out.is_empty() {
        let found = format!("{found:?}, left out {:?}", cut.left_out);
        return Err(differs("what waits at the cut", found, format!("{waiting:?}")));
    }
    for (element, ended) in cx.truth.elements() {
        let agrees = match ledger.status(element) {
            Status::Waiting(_) => ended.is_none(),
            Status::Ended(x) => ended == Some(x) && x > results_floor,
            Status::Unknown => {
                ended.is_some_and(|x| x <= results_floor || cx.scenario.ledger.ended_max < REMEMBERS_ALL)
            }
        };
        if !agrees {
            let found = format!("{:?}", ledger.status(element));
            return Err(differs(format!("status of {element}"), found, format!("ended by {ended:?}")));
        }
    }
    let pools = ledger.pools().map(|entry| entry.pool.id);
    let (found, expected) = (pools.collect::<Vec<_>>(), cx.truth.pools_left());
    let closing = ledger.pools_closing() + ledger.pools_leaving().count();
    if found != expected || closing > 0 || cut.pools.len() != found.len() {
        let found = format!("{found:?}, {closing} closing or leaving, cut {:?}", cut.pools);
        return Err(differs("pools at the end", found, format!("{expected:?}")));
    }
    check_counts(cx, ledger, waiting.len() as u64)?;
    cx.truth.check_timers()?;
    cx.truth.check_complete()
}

fn check_counts(cx: &Cx, ledger: &Ledger, waiting: u64) -> Result<(), Violation> {
    let mut sum = PoolCounts::default();
    for PoolCounts { waiting, waiting_bytes, matches, withdrawn, expired, dropped } in
        ledger.pools().map(|entry| entry.counts)
    {
        sum.waiting += waiting;
        sum.waiting_bytes += waiting_bytes;
        sum.matches += matches;
        sum.withdrawn += withdrawn;
        sum.expired += expired;
        sum.dropped += dropped;
    }
    let counted: u64 = ledger.count_waiting_bytes().values().sum();
    if (ledger.waiting_bytes(), sum.waiting_bytes) != (counted, counted) {
        let found = format!("{} in all, {} by pool", ledger.waiting_bytes(), sum.waiting_bytes);
        return Err(differs("bytes waiting", found, counted.to_string()));
    }
    let (matches, withdrawals) = cx.truth.outcomes_of_pools_left();
    let withdrawn = sum.withdrawn + sum.expired + sum.dropped;
    let (found, expected) = ((sum.waiting, sum.matches, withdrawn), (waiting, matches, withdrawals));
    if found == expected {
        return Ok(());
    }
    Err(differs("waiting, matches and withdrawals counted", format!("{found:?}"), format!("{expected:?}")))
}

/// At the end, a slice has its share of what waits, and keeps nothing else.
///
/// # Errors
/// When it has more or less.
pub fn check_slice(cx: &Cx, slice: SliceRef<'_>) -> Result<(), Violation> {
    let durable = cx.truth.durable();
    if slice.through() != durable || slice.decided_seen() != Decided(durable) {
        let found = format!("through {} known {}", slice.through(), slice.decided_seen());
        return Err(differs(format!("{} at the end", slice.id()), found, durable.to_string()));
    }
    let found: BTreeSet<ElementId> = slice.anchors().collect();
    let waiting = cx.truth.waiting();
    let expected: BTreeSet<ElementId> =
        waiting.filter(|&element| cx.scenario.placement.owner(cx.truth.place(element)) == slice.id()).collect();
    if found != expected {
        return Err(differs(format!("anchors of {}", slice.id()), format!("{found:?}"), format!("{expected:?}")));
    }
    // What the log does not tell to be stable is kept.
    if cx.scenario.shared.is_some() && cx.truth.told() < durable {
        return Ok(());
    }
    check_bound(|| format!("frames kept by {}", slice.id()), slice.frames_kept(), 0)?;
    check_bound(|| format!("retired elements kept by {}", slice.id()), slice.retired_kept(), cx.truth.nameable())
}

/// At the end, a shard keeps nothing.
///
/// # Errors
/// When it does.
pub fn check_shard(cx: &Cx, shard: &Shard) -> Result<(), Violation> {
    let durable = cx.truth.durable();
    if shard.watermark() != Decided(durable) {
        return Err(differs(
            format!("watermark of {}", shard.id()),
            shard.watermark().to_string(),
            durable.to_string(),
        ));
    }
    if cx.scenario.shared.is_some() && cx.truth.told() < durable {
        return Ok(());
    }
    check_bound(|| format!("timelines of {}", shard.id()), shard.timelines(), 0)?;
    check_bound(|| format!("undecided events of {}", shard.id()), shard.undecided(), 0)?;
    check_bound(|| format!("retirements kept by {}", shard.id()), shard.retirements_kept(), 0)
}

fn check_bound(what: impl FnOnce() -> String, found: usize, most: usize) -> Result<(), Violation> {
    if found <= most { Ok(()) } else { Err(Violation::Bound { what: what(), found, most }) }
}
