//! What must hold of nodes and messages, whenever and at the end. What must hold of decisions is in [`crate::truth`].

use std::collections::BTreeSet;

use dovetail_core::{CandidateFrame, ElementId, EventId, shard::Shard, slice::Slice};

use crate::{cx::Cx, truth::differs, violation::Violation};

/// A frame of candidates: lists are bounded and ascending, and within the frame.
///
/// # Errors
/// When they are not.
pub fn check_frame(cx: &Cx, slice: &Slice, frame: &CandidateFrame) -> Result<(), Violation> {
    for list in &frame.probes {
        check_bound(|| format!("list of {} in {}", list.x, slice.id()), list.anchors.len(), cx.scenario.list_max)?;
        let ascending = list.anchors.windows(2).all(|pair| pair[0] < pair[1]);
        let placed = list.anchors.iter().all(|&anchor| cx.scenario.placement.owner(anchor) == slice.id());
        if !ascending || !placed {
            let what = format!("list of {} in {}", list.x, slice.id());
            return Err(differs(what, format!("{:?}", list.anchors), "ascending anchors of its own".to_owned()));
        }
    }
    let events = frame.probes.iter().map(|list| list.x).chain(frame.claims.iter().map(|claim| claim.x));
    match events.chain(frame.closes.iter().map(|close| close.x)).find(|&x| x <= frame.after || x > frame.through) {
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
    if found < before {
        let (what, bound_by) = (format!("watermark of {}", shard.id()), "what it was".to_owned());
        return Err(Violation::Watermark { what, found, bound_by, bound: before });
    }
    cx.truth.on_shard_decided(shard.id(), before, found)
}

/// At the end, a slice has its share of what waits, and keeps nothing else.
///
/// # Errors
/// When it has more or less.
pub fn check_slice(cx: &Cx, slice: &Slice) -> Result<(), Violation> {
    let durable = cx.truth.durable();
    if slice.through() != durable || slice.known() != durable {
        let found = format!("through {} known {}", slice.through(), slice.known());
        return Err(differs(format!("{} at the end", slice.id()), found, durable.to_string()));
    }
    let found: BTreeSet<ElementId> = slice.anchors().collect();
    let waiting = cx.truth.waiting();
    let expected: BTreeSet<ElementId> =
        waiting.filter(|&element| cx.scenario.placement.owner(element) == slice.id()).collect();
    if found != expected {
        return Err(differs(format!("anchors of {}", slice.id()), format!("{found:?}"), format!("{expected:?}")));
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
    if shard.watermark() != durable {
        return Err(differs(
            format!("watermark of {}", shard.id()),
            shard.watermark().to_string(),
            durable.to_string(),
        ));
    }
    check_bound(|| format!("timelines of {}", shard.id()), shard.timelines(), 0)?;
    check_bound(|| format!("undecided events of {}", shard.id()), shard.undecided(), 0)?;
    check_bound(|| format!("retirements kept by {}", shard.id()), shard.retirements_kept(), 0)
}

fn check_bound(what: impl FnOnce() -> String, found: usize, most: usize) -> Result<(), Violation> {
    if found <= most { Ok(()) } else { Err(Violation::Bound { what: what(), found, most }) }
}
