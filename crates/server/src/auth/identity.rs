//! Who calls, once that is proved.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// Longest name of an identity, in bytes. A token or a key with a longer one is refused.
pub const NAME_BYTES_MAX: usize = 256;

/// How an identity was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProofKind {
    /// A client certificate.
    Certificate,
    /// A signed token: its `sub`.
    Token,
    /// An API key: the name in the file.
    Key,
}

impl ProofKind {
    /// All there are.
    pub const ALL: [ProofKind; 3] = [ProofKind::Certificate, ProofKind::Token, ProofKind::Key];

    /// As it stands before a name: `token:ada`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ProofKind::Certificate => "cert",
            ProofKind::Token => "token",
            ProofKind::Key => "key",
        }
    }
}

/// The caller. The same name from another source is another caller.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    source: ProofKind,
    /// With the source before it: `token:ada`.
    full: Arc<str>,
}

impl Identity {
    /// An identity that was proved.
    #[must_use]
    pub fn new(source: ProofKind, name: &str) -> Identity {
        Identity { source, full: format!("{}:{name}", source.name()).into() }
    }

    /// How it was proved.
    #[must_use]
    pub fn source(&self) -> ProofKind {
        self.source
    }

    /// Its name, without the source.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.full[self.source.name().len() + 1..]
    }

    /// With the source: `token:ada`. What elements remember as their owner.
    #[must_use]
    pub fn full(&self) -> &Arc<str> {
        &self.full
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.full)
    }
}

impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.full)
    }
}

/// Whether a name can be that of an identity: not empty, not too long, and without what would break a line of a log.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}
