//! What the program says it is.

/// What the program says it is: the version, and what it was built from, where that is known.
pub const VERSION: &str = env!("DOVETAIL_VERSION");
