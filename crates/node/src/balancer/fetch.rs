//! The stored retirements that shards and slices fetch before they read on (R3), and take for granted where frames know
//! too little (R8).
//!
//! Invariant: node.R1 a node that fetches gets all that it asked for, or is refused: it would take a part for all.

use dovetail_core::{
    Cursor, EventId, Stable,
    planted::{Bug, Planted},
    shard::Fetch,
};
use thiserror::Error;

use super::feed::{Gone, check_floor};

/// What the results have for nodes that fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultsSpan {
    /// Everything at or below was dropped.
    pub floor: Cursor,
    /// Everything up to here is decided and on disk.
    pub stable: Stable,
}

/// Why a fetch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FetchRefused {
    /// Some of it was dropped: the reader begins at a cut.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// No node needs what is not stable, because none may have forgotten it.
    #[error("retirements up to {through} were asked for, stable is {stable}")]
    NotStable {
        /// Up to where was asked.
        through: EventId,
        /// The stable cut.
        stable: Stable,
    },
}

/// Whether the results have all that is asked for.
///
/// # Errors
/// When they have not.
pub fn check_fetch(fetch: Fetch, results: ResultsSpan, planted: Planted) -> Result<(), FetchRefused> {
    let (Fetch { after, through }, ResultsSpan { floor, stable }) = (fetch, results);
    if !stable.covers(through) {
        return Err(FetchRefused::NotStable { through, stable });
    }
    if after < through && !planted.is(Bug::FetchedInPart) {
        check_floor(Cursor(after), floor, planted)?;
    }
    Ok(())
}
