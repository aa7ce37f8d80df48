//! Pools, submissions, and the parts of a cut.

use std::sync::Arc;

use dovetail_core::{
    ElementId, PoolDefinition, PoolId,
    ledger::Submission,
    pool::{Note, NoteCode},
    slice::{SliceCut, WaitingElement},
};

use super::error::ConvertError;
use super::values::{kind, kind_pb, row, row_pb};
use crate::node_pb;
use dovetail::columns::value;
use dovetail::pb;

/// What a client defined.
///
/// # Errors
/// When an attribute has no type.
pub fn pool_definition(pool: pb::PoolDefinition) -> Result<PoolDefinition, ConvertError> {
    let attributes = pool.attributes.into_iter().map(|attribute| Ok((attribute.name, kind(attribute.r#type)?)));
    Ok(PoolDefinition {
        name: pool.name,
        attributes: attributes.collect::<Result<_, ConvertError>>()?,
        rule: pool.rule,
        ttl_ms: pool.ttl_ms,
        reprobe_ms: pool.reprobe_ms,
        waiting_max: pool.waiting_max,
        payload_bytes_max: pool.payload_bytes_max,
    })
}

/// A definition, as sent.
#[must_use]
pub fn pool_definition_pb(pool: &PoolDefinition) -> pb::PoolDefinition {
    let attribute = |(name, kind): &(String, _)| pb::Attribute { name: name.clone(), r#type: kind_pb(*kind).into() };
    pb::PoolDefinition {
        name: pool.name.clone(),
        attributes: pool.attributes.iter().map(attribute).collect(),
        rule: pool.rule.clone(),
        ttl_ms: pool.ttl_ms,
        reprobe_ms: pool.reprobe_ms.clone(),
        waiting_max: pool.waiting_max,
        payload_bytes_max: pool.payload_bytes_max,
    }
}

/// A note, as sent.
#[must_use]
pub fn note_pb(note: Note) -> pb::Note {
    pb::Note { code: note_code(note.code).into(), text: note.text }
}

const fn note_code(code: NoteCode) -> pb::NoteCode {
    match code {
        NoteCode::NeverMatches => pb::NoteCode::NeverMatches,
        NoteCode::MatchesEveryPair => pb::NoteCode::MatchesEveryPair,
        NoteCode::Asymmetric => pb::NoteCode::Asymmetric,
        NoteCode::MissingNeverMatches => pb::NoteCode::MissingNeverMatches,
        NoteCode::EveryPairTested => pb::NoteCode::EveryPairTested,
        NoteCode::CostlyResidual => pb::NoteCode::CostlyResidual,
        NoteCode::WaitedWithoutReprobe => pb::NoteCode::WaitedWithoutReprobe,
        NoteCode::ReprobeNeverHappens => pb::NoteCode::ReprobeNeverHappens,
        NoteCode::ReprobeWithoutWaited => pb::NoteCode::ReprobeWithoutWaited,
        NoteCode::WaitedNotReached => pb::NoteCode::WaitedNotReached,
    }
}

/// An element as a client submits it.
///
/// # Errors
/// When an attribute has no value.
pub fn submission(submission: pb::Submission) -> Result<Submission, ConvertError> {
    let attributes = submission.attributes.into_iter().map(|(name, sent)| match value(sent) {
        Some(value) => Ok((name, value)),
        None => Err(ConvertError::NoValue(name)),
    });
    Ok(Submission {
        key: submission.key,
        attributes: attributes.collect::<Result<_, _>>()?,
        payload: submission.payload,
        ttl_ms: submission.ttl_ms,
        idempotency_key: submission.idempotency_key,
    })
}

/// Adds a part to the cut that is being received. True when it was the last.
///
/// # Errors
/// When a pool or an element in it is not complete.
pub fn slice_cut_part(cut: &mut SliceCut, part: node_pb::CutPart) -> Result<bool, ConvertError> {
    for pool in part.pools {
        let definition = pool_definition(pool.definition.ok_or(ConvertError::Missing("definition"))?)?;
        cut.pools.push((PoolId(pool.pool), Arc::new(definition)));
    }
    for waiting in part.waiting {
        cut.waiting.push(WaitingElement {
            element: ElementId(waiting.element),
            pool: PoolId(waiting.pool),
            arrived_ms: waiting.arrived_ms,
            row: row(waiting.row)?,
        });
    }
    cut.complete.extend(part.complete_pools.into_iter().map(PoolId));
    cut.left_out.extend(part.retired.into_iter().map(ElementId));
    Ok(part.last)
}

/// An element of a cut, as sent.
#[must_use]
pub fn waiting_pb(waiting: &WaitingElement) -> node_pb::WaitingElement {
    node_pb::WaitingElement {
        element: waiting.element.0,
        pool: waiting.pool.0,
        arrived_ms: waiting.arrived_ms,
        row: Some(row_pb(&waiting.row)),
    }
}
