//! The words that people read for values of the protocol, in tables and in JSON.

use dovetail_rule::{ConjunctRole as PlanRole, Split};

use crate::pb::{ConjunctRole, NodeStream, NoteCode, PoolSplit, TroubleKind};

impl ConjunctRole {
    /// `key`, `columns` or `residual`; nothing for what is not known.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            ConjunctRole::Unspecified => "",
            ConjunctRole::Key => "key",
            ConjunctRole::Columns => "columns",
            ConjunctRole::Residual => "residual",
        }
    }
}

impl From<PlanRole> for ConjunctRole {
    fn from(role: PlanRole) -> ConjunctRole {
        match role {
            PlanRole::Key => ConjunctRole::Key,
            PlanRole::Columns => ConjunctRole::Columns,
            PlanRole::Residual => ConjunctRole::Residual,
        }
    }
}

impl PoolSplit {
    /// `key`, `index` or `one`; nothing for what is not known.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            PoolSplit::Unspecified => "",
            PoolSplit::Key => "key",
            PoolSplit::Index => "index",
            PoolSplit::One => "one",
        }
    }
}

impl From<Split> for PoolSplit {
    fn from(split: Split) -> PoolSplit {
        match split {
            Split::Key => PoolSplit::Key,
            Split::Index => PoolSplit::Index,
            Split::One => PoolSplit::One,
        }
    }
}

impl NodeStream {
    /// `feed`, `cut`, `candidates` or `decisions`; nothing for what is not known.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            NodeStream::Unspecified => "",
            NodeStream::Feed => "feed",
            NodeStream::Cut => "cut",
            NodeStream::Candidates => "candidates",
            NodeStream::Decisions => "decisions",
        }
    }
}

impl NoteCode {
    /// `never_matches`, `asymmetric` and so on; nothing for what is not known.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            NoteCode::Unspecified => "",
            NoteCode::NeverMatches => "never_matches",
            NoteCode::MatchesEveryPair => "matches_every_pair",
            NoteCode::Asymmetric => "asymmetric",
            NoteCode::MissingNeverMatches => "missing_never_matches",
            NoteCode::EveryPairTested => "every_pair_tested",
            NoteCode::CostlyResidual => "costly_residual",
            NoteCode::WaitedWithoutReprobe => "waited_without_reprobe",
            NoteCode::ReprobeNeverHappens => "reprobe_never_happens",
            NoteCode::ReprobeWithoutWaited => "reprobe_without_waited",
            NoteCode::WaitedNotReached => "waited_not_reached",
        }
    }
}

impl TroubleKind {
    /// `file_refused` or `certificate_expires`; nothing for what is not known.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            TroubleKind::Unspecified => "",
            TroubleKind::FileRefused => "file_refused",
            TroubleKind::CertificateExpires => "certificate_expires",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_has_the_words_of_the_plan() {
        for role in [PlanRole::Key, PlanRole::Columns, PlanRole::Residual] {
            assert_eq!(ConjunctRole::from(role).word(), role.to_string());
        }
        for split in [Split::Key, Split::Index, Split::One] {
            assert_eq!(PoolSplit::from(split).word(), split.to_string());
        }
    }
}
