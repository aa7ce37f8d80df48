//! Identifiers, each its own type with a short `Display`.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// An event's id, `x` in the design: strictly increasing, never reused. 0 is before every event.
    EventId(u64),
    "x"
);
id!(
    /// An element's id: the id of the event that was its arrival.
    ElementId(u64),
    "e"
);
id!(
    /// A slice's worker index, `0..slices`.
    SliceId(u32),
    "s"
);
id!(
    /// A gatherer's shard, `0..shards`.
    ShardId(u32),
    "g"
);
id!(
    /// A pool's number in the log, in the order of definition.
    PoolId(u32),
    "p"
);

impl EventId {
    /// Before every event.
    pub const ZERO: EventId = EventId(0);

    /// The event after this one.
    #[must_use]
    pub fn next(self) -> EventId {
        EventId(self.0 + 1)
    }

    /// The event before this one; there is none before [`EventId::ZERO`].
    #[must_use]
    pub fn prev(self) -> EventId {
        EventId(self.0.saturating_sub(1))
    }
}

impl ElementId {
    /// The event that was this element's arrival.
    #[must_use]
    pub fn arrival(self) -> EventId {
        EventId(self.0)
    }
}

impl From<EventId> for ElementId {
    /// The element that arrives with this event.
    fn from(x: EventId) -> ElementId {
        ElementId(x.0)
    }
}
