//! The workloads W1 to W5 as tests submit them.

use dovetail::pb::Submission;
pub use dovetail_bench::workload::{KnownAnswer, Workload};

/// The first `n` elements. The one at position `i`, from 1, has the key `k{i}`, also as its idempotency key.
pub fn submissions(workload: Workload, n: usize) -> Vec<Submission> {
    let elements = workload.elements(n);
    let submission = |position| {
        let key = format!("k{}", position + 1);
        Submission {
            idempotency_key: key.clone(),
            key,
            attributes: elements.attributes(position),
            ..Submission::default()
        }
    };
    (0..n).map(submission).collect()
}

/// The position in the key that [`submissions`] gave.
pub fn position(key: &str) -> u64 {
    key.strip_prefix('k').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{key:?} is not our key"))
}
