//! Between the wire and the core: every message to the core's type, and back.
//!
//! What comes in is checked for what the core takes for granted (order, presence, numbers in range); what goes out
//! cannot fail.

mod audience;
mod checkpoint;
mod clients;
mod decisions;
mod error;
mod frames;
mod matches;
mod outcomes;
mod packages;
mod pairs;
mod parts;
mod pools;
mod prepared;
mod protocol;
mod published;
mod records;
mod rows;
mod submitted;
#[cfg(test)]
mod tests;
mod values;

pub use audience::{audience, audience_pb};
pub use checkpoint::{KeptChunk, ReadChunks, base_chunks};
pub use decisions::{
    candidate_frame, candidate_frame_pb, decision_frame, decision_frame_pb, retirements, retirements_pb,
};
pub use dovetail_node::balancer::{Part, PartFrame};
pub use error::{ConvertError, PairsError};
pub use frames::{column_frame, log_frame, log_frame_part_pb, log_frame_pb};
pub use matches::MatchWriter;
pub use outcomes::{
    OutcomeChunk, OutcomeWriter, outcome, outcome_bytes, result_chunk, result_record, result_record_pb, results_begin,
    results_begin_pb,
};
pub use packages::{DESCRIPTORS, node::v1 as node_pb, storage::v1 as storage_pb};
pub use parts::{
    Filling, NODE_MESSAGE_BYTES_MAX, PART_BYTES, candidate_parts, decision_parts, log_frame_parts, retirement_part,
};
pub use pools::{note_pb, pool_definition, pool_definition_pb, slice_cut_part, submission, waiting_pb};
pub use prepared::Prepared;
pub use protocol::{PROTOCOL, talks_to};
pub use published::{OutcomeCollector, PublishedOutcomes};
pub use records::{LoggedFrame, log_parts, log_record, log_record_pb};
pub use rows::row_columns;
pub use submitted::SubmittedColumns;
pub use values::{attribute_type, kind, kind_pb, value_pb};
