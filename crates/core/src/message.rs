//! What slices and shards say to each other.

use std::fmt;

use crate::{Audience, Decided, ElementId, EventId, News, Stable};

/// What one slice found in events `(after, through]`, for one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateFrame {
    /// Exclusive. Equal to `through` in a frame that only carries news of `decided_seen` and `stable`.
    pub after: EventId,
    /// The last event searched.
    pub through: EventId,
    /// The decided watermark the slice had when it searched: elements retired at or below it are left out.
    pub decided_seen: Decided,
    /// The highest stable cut the slice has heard of.
    pub stable: Stable,
    /// Which slices, this one among them, may have something for the shard up to `through`, and perhaps somewhat
    /// beyond.
    pub audience: Audience,
    /// Probes whose prober is homed at the shard, ascending by `x`.
    pub probes: Vec<ProbeList>,
    /// Claims on anchors homed at the shard, ascending by `x`.
    pub claims: Vec<Claim>,
    /// Withdrawals of the slice's own elements that are homed at the shard, ascending by `x`.
    pub closes: Vec<WithdrawalNotice>,
    /// What the slice decided itself, in pools where it alone searches, homed at the shard; ascending by `x`.
    pub settled: Vec<Retirement>,
}

impl CandidateFrame {
    /// Whether it only says how far the slice is.
    #[must_use]
    pub fn finds_nothing(&self) -> bool {
        self.probes.is_empty() && self.claims.is_empty() && self.closes.is_empty() && self.settled.is_empty()
    }

    /// What it says besides what was found.
    #[must_use]
    pub fn news(&self) -> News {
        News { decided_seen: self.decided_seen, stable: self.stable }
    }

    /// Stands for the frame before it as well, in which nothing was found.
    pub fn follow(&mut self, before: &CandidateFrame) {
        debug_assert!(before.finds_nothing() && before.through >= self.after, "{before:?} is not before {self:?}");
        self.after = before.after;
        self.audience.join(&before.audience);
    }
}

/// A probe and the anchors of one slice that satisfy the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeList {
    /// The probe.
    pub x: EventId,
    /// The prober.
    pub prober: ElementId,
    /// Ascending.
    pub anchors: Vec<ElementId>,
}

/// A probe that could take an anchor homed at the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The probe.
    pub x: EventId,
    /// The prober.
    pub prober: ElementId,
    /// The anchor.
    pub anchor: ElementId,
}

/// An element withdrawn by event `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithdrawalNotice {
    /// The withdrawal.
    pub x: EventId,
    /// The element.
    pub element: ElementId,
}

/// What a shard decided. Applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionFrame {
    /// Homed at the sender, or (when a shard comes back) at the reader.
    pub retirements: Vec<Retirement>,
    /// For the reader only.
    pub grants: Vec<Grant>,
    /// The sender's decided watermark. Comes after every retirement that it covers (rule R4).
    pub decided: Option<Decided>,
}

/// An accepted pair, or a final withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retirement {
    /// The event that decided it. Each event decides at most one.
    pub x: EventId,
    /// The prober, or the element withdrawn. Its home is the retirement's home.
    pub element: ElementId,
    /// The anchor; none for a withdrawal.
    pub anchor: Option<ElementId>,
}

impl Retirement {
    /// The elements that no longer wait: one or two.
    pub fn ends(&self) -> impl Iterator<Item = ElementId> + use<> {
        [Some(self.element), self.anchor].into_iter().flatten()
    }

    /// The pair, lower id first; none for a withdrawal.
    #[must_use]
    pub fn pair(&self) -> Option<(ElementId, ElementId)> {
        self.anchor.map(|anchor| (anchor.min(self.element), anchor.max(self.element)))
    }
}

impl fmt::Display for Retirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.anchor {
            Some(anchor) => write!(f, "{}: {} with {anchor}", self.x, self.element),
            None => write!(f, "{}: {} withdrawn", self.x, self.element),
        }
    }
}

/// The home of `anchor` is sure that probe `x` is the anchor's best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The probe.
    pub x: EventId,
    /// The prober, homed at the reader.
    pub prober: ElementId,
    /// The anchor.
    pub anchor: ElementId,
}
