//! Which versions talk to each other.

/// The version of what nodes say to each other. A minor version that changes what is said raises it by 1, and talks to
/// nodes of the one before; one that cannot be talked to by the one before raises it by 2.
pub const PROTOCOL: u32 = 3;

/// Whether nodes of this version and of another talk to each other: as the other has it, 0 if it does not tell.
#[must_use]
pub fn talks_to(protocol: u32) -> bool {
    PROTOCOL.abs_diff(protocol) <= 1
}
