//! Candidates, and decisions.

use dovetail_core::{
    CandidateFrame, Decided, DecisionFrame, ElementId, EventId, ProbeList, Retirement, SliceId, Stable,
};

use super::audience::{audience, audience_pb};
use super::error::ConvertError;
use super::pairs::{pairs, pairs_pb};
use crate::node_pb;

/// A candidate frame from the wire, and the slice that made it.
///
/// # Errors
/// When columns of it do not fit each other, or an id is above its event.
pub fn candidate_frame(frame: node_pb::CandidateFrame) -> Result<(SliceId, CandidateFrame), ConvertError> {
    let list = |list: node_pb::ProbeList| ProbeList {
        x: EventId(list.event_id),
        prober: ElementId(list.prober),
        anchors: list.anchors.into_iter().map(ElementId).collect(),
    };
    let of = SliceId(frame.slice);
    let frame = CandidateFrame {
        after: EventId(frame.after),
        through: EventId(frame.through),
        decided_seen: Decided(EventId(frame.decided_seen)),
        stable: Stable(EventId(frame.stable)),
        audience: audience(frame.audience),
        probes: frame.probes.into_iter().map(list).collect(),
        claims: pairs("claims", frame.claims.as_ref())?,
        closes: pairs("withdrawals", frame.withdrawals.as_ref())?,
        settled: pairs("settled", frame.settled.as_ref())?,
    };
    Ok((of, frame))
}

/// A candidate frame, as sent.
#[must_use]
pub fn candidate_frame_pb(slice: SliceId, frame: &CandidateFrame) -> node_pb::CandidateFrame {
    let list = |list: &ProbeList| node_pb::ProbeList {
        event_id: list.x.0,
        prober: list.prober.0,
        anchors: list.anchors.iter().map(|anchor| anchor.0).collect(),
    };
    node_pb::CandidateFrame {
        after: frame.after.0,
        through: frame.through.0,
        decided_seen: frame.decided_seen.event().0,
        stable: frame.stable.event().0,
        audience: audience_pb(&frame.audience),
        probes: frame.probes.iter().map(list).collect(),
        claims: pairs_pb(&frame.claims),
        withdrawals: pairs_pb(&frame.closes),
        settled: pairs_pb(&frame.settled),
        slice: slice.0,
    }
}

/// Decisions from the wire.
///
/// # Errors
/// When columns of it do not fit each other, or an id is above its event.
pub fn decision_frame(frame: &node_pb::DecisionFrame) -> Result<DecisionFrame, ConvertError> {
    Ok(DecisionFrame {
        retirements: pairs("retirements", frame.retirements.as_ref())?,
        grants: pairs("grants", frame.grants.as_ref())?,
        decided: frame.decided.map(EventId).map(Decided),
    })
}

/// Decisions, as sent.
#[must_use]
pub fn decision_frame_pb(frame: &DecisionFrame) -> node_pb::DecisionFrame {
    node_pb::DecisionFrame {
        retirements: pairs_pb(&frame.retirements),
        grants: pairs_pb(&frame.grants),
        decided: frame.decided.map(|decided| decided.event().0),
    }
}

/// Retirements of the store from the wire.
///
/// # Errors
/// When their columns do not fit each other, or an id is above its event.
pub fn retirements(sent: &node_pb::RetirementsResponse) -> Result<Vec<Retirement>, ConvertError> {
    pairs("retirements", sent.retirements.as_ref())
}

/// Retirements of the store, as sent.
#[must_use]
pub fn retirements_pb(retirements: &[Retirement]) -> node_pb::RetirementsResponse {
    node_pb::RetirementsResponse { retirements: pairs_pb(retirements), term: 0 }
}
