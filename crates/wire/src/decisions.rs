//! Candidates, retirements, grants.

use dovetail_core::{
    CandidateFrame, Claim, Decided, DecisionFrame, ElementId, EventId, Grant, ProbeList, Retirement, SliceId, Stable,
    WithdrawalNotice,
};

use super::audience::{audience, audience_pb};
use crate::node_pb;

/// A candidate frame from the wire, and the slice that made it.
#[must_use]
pub fn candidate_frame(frame: node_pb::CandidateFrame) -> (SliceId, CandidateFrame) {
    let list = |list: node_pb::ProbeList| ProbeList {
        x: EventId(list.event_id),
        prober: ElementId(list.prober),
        anchors: list.anchors.into_iter().map(ElementId).collect(),
    };
    let claim = |claim: node_pb::Claim| Claim {
        x: EventId(claim.event_id),
        prober: ElementId(claim.prober),
        anchor: ElementId(claim.anchor),
    };
    let close = |close: node_pb::WithdrawalNotice| WithdrawalNotice {
        x: EventId(close.event_id),
        element: ElementId(close.element),
    };
    let of = SliceId(frame.slice);
    let frame = CandidateFrame {
        after: EventId(frame.after),
        through: EventId(frame.through),
        decided_seen: Decided(EventId(frame.decided_seen)),
        stable: Stable(EventId(frame.stable)),
        audience: audience(frame.audience),
        probes: frame.probes.into_iter().map(list).collect(),
        claims: frame.claims.into_iter().map(claim).collect(),
        closes: frame.withdrawals.into_iter().map(close).collect(),
        settled: frame.settled.into_iter().map(retirement).collect(),
    };
    (of, frame)
}

/// A candidate frame, as sent.
#[must_use]
pub fn candidate_frame_pb(slice: SliceId, frame: &CandidateFrame) -> node_pb::CandidateFrame {
    let list = |list: &ProbeList| node_pb::ProbeList {
        event_id: list.x.0,
        prober: list.prober.0,
        anchors: list.anchors.iter().map(|anchor| anchor.0).collect(),
    };
    let claim = |claim: &Claim| node_pb::Claim { event_id: claim.x.0, prober: claim.prober.0, anchor: claim.anchor.0 };
    let close = |close: &WithdrawalNotice| node_pb::WithdrawalNotice { event_id: close.x.0, element: close.element.0 };
    node_pb::CandidateFrame {
        after: frame.after.0,
        through: frame.through.0,
        decided_seen: frame.decided_seen.event().0,
        stable: frame.stable.event().0,
        audience: audience_pb(&frame.audience),
        probes: frame.probes.iter().map(list).collect(),
        claims: frame.claims.iter().map(claim).collect(),
        withdrawals: frame.closes.iter().map(close).collect(),
        settled: frame.settled.iter().map(retirement_pb).collect(),
        slice: slice.0,
    }
}

/// Decisions from the wire.
#[must_use]
pub fn decision_frame(frame: node_pb::DecisionFrame) -> DecisionFrame {
    let grant = |grant: node_pb::Grant| Grant {
        x: EventId(grant.event_id),
        prober: ElementId(grant.prober),
        anchor: ElementId(grant.anchor),
    };
    DecisionFrame {
        retirements: frame.retirements.into_iter().map(retirement).collect(),
        grants: frame.grants.into_iter().map(grant).collect(),
        decided: frame.decided.map(EventId).map(Decided),
    }
}

/// Decisions, as sent.
#[must_use]
pub fn decision_frame_pb(frame: &DecisionFrame) -> node_pb::DecisionFrame {
    let grant = |grant: &Grant| node_pb::Grant { event_id: grant.x.0, prober: grant.prober.0, anchor: grant.anchor.0 };
    node_pb::DecisionFrame {
        retirements: frame.retirements.iter().map(retirement_pb).collect(),
        grants: frame.grants.iter().map(grant).collect(),
        decided: frame.decided.map(|decided| decided.event().0),
    }
}

/// A retirement from the wire. Ids begin at 1, so an anchor of 0 is none.
#[must_use]
pub fn retirement(retirement: node_pb::Retirement) -> Retirement {
    Retirement {
        x: EventId(retirement.event_id),
        element: ElementId(retirement.element),
        anchor: (retirement.anchor != 0).then_some(ElementId(retirement.anchor)),
    }
}

/// A retirement, as sent.
#[must_use]
pub fn retirement_pb(retirement: &Retirement) -> node_pb::Retirement {
    node_pb::Retirement {
        event_id: retirement.x.0,
        element: retirement.element.0,
        anchor: retirement.anchor.map_or(0, |anchor| anchor.0),
    }
}
