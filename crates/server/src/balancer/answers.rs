//! What is answered about one element: that it waits, what became of it, or that it is not known.

use std::collections::HashMap;

use dovetail_core::{
    ElementId, WithdrawReason,
    ledger::{Outcome, OutcomeEnd},
};
use dovetail_rule::AttributeType;
use tonic::Status;

use super::{errors::RequestError, node::Node, refused::ElementName, watch};
use crate::auth::{Access, Verb};
use dovetail::pb;

/// No such element.
pub(super) fn unknown(name: &ElementName) -> Status {
    RequestError::UnknownElement(name.clone()).into()
}

/// The end of an outcome that an element is.
pub(super) fn end_of(outcome: &Outcome, element: ElementId) -> &OutcomeEnd {
    match &outcome.anchor {
        Some(anchor) if anchor.id == element => anchor,
        _ => &outcome.element,
    }
}

/// Whether a call may know what became of an element.
pub(super) fn may_read(node: &Node, access: &Access, element: ElementId, outcome: &Outcome) -> Result<(), Status> {
    if access.is_asked() {
        access.may_of(Verb::Read, &node.pools.name(outcome.pool), &end_of(outcome, element).owner)?;
    }
    Ok(())
}

/// What became of an element, by the outcome that ended its waiting.
pub(super) fn ended(node: &Node, element: ElementId, outcome: &Outcome) -> pb::Element {
    let end = end_of(outcome, element);
    let state = match outcome.reason {
        None => pb::ElementState::Matched,
        Some(WithdrawReason::Client) => pb::ElementState::Withdrawn,
        Some(WithdrawReason::Expired) => pb::ElementState::Expired,
        Some(WithdrawReason::Dropped) => pb::ElementState::Dropped,
    };
    pb::Element {
        id: element.0,
        pool: node.pools.name(outcome.pool).as_ref().to_owned(),
        key: end.key.as_ref().to_owned(),
        state: state.into(),
        r#match: watch::match_pb(outcome, &node.pools.name(outcome.pool)),
        ended_at: outcome.x.0,
        ..Default::default()
    }
}

/// An element that waits.
pub(super) fn waiting(
    element: ElementId,
    pool: &dovetail_core::PoolDefinition,
    entry: &dovetail_core::ledger::Entry,
) -> pb::Element {
    let named = pool.attributes.iter().zip(entry.row.values());
    let attributes: HashMap<_, _> = named
        .filter_map(|((name, _), value)| {
            value.as_ref().map(|value| (name.clone(), dovetail_wire::value_pb(Some(value))))
        })
        .collect();
    // An int or a string says what it is; an int that is a time does not.
    let times = pool.attributes.iter().filter(|(name, declared)| {
        matches!(declared, AttributeType::Timestamp | AttributeType::Duration) && attributes.contains_key(name)
    });
    pb::Element {
        id: element.0,
        pool: pool.name.clone(),
        key: entry.key.as_ref().to_owned(),
        state: pb::ElementState::Waiting.into(),
        arrived_ms: entry.arrived_ms,
        attribute_types: times
            .map(|(name, declared)| (name.clone(), dovetail_wire::kind_pb(*declared).into()))
            .collect(),
        attributes,
        payload: entry.payload.clone(),
        ..Default::default()
    }
}
