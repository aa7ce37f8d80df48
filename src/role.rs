//! The roles of nodes.

use std::fmt;

use crate::pb;

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Gives ids, logs, broadcasts, serves clients.
    Balancer,
    /// Searches slices.
    Matcher,
    /// Decides.
    Gatherer,
}

impl Role {
    /// Every role, in the order events pass through them.
    pub const ALL: [Role; 3] = [Role::Balancer, Role::Matcher, Role::Gatherer];

    /// `balancer`, `matcher` or `gatherer`.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Balancer => "balancer",
            Role::Matcher => "matcher",
            Role::Gatherer => "gatherer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Role> for pb::Role {
    /// The role's number in the protocol.
    fn from(role: Role) -> pb::Role {
        match role {
            Role::Balancer => pb::Role::Balancer,
            Role::Matcher => pb::Role::Matcher,
            Role::Gatherer => pb::Role::Gatherer,
        }
    }
}

impl TryFrom<pb::Role> for Role {
    type Error = ();

    fn try_from(role: pb::Role) -> Result<Role, ()> {
        match role {
            pb::Role::Unspecified => Err(()),
            pb::Role::Balancer => Ok(Role::Balancer),
            pb::Role::Matcher => Ok(Role::Matcher),
            pb::Role::Gatherer => Ok(Role::Gatherer),
        }
    }
}
