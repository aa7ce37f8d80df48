//! Positions of the log that must not be taken for one another.
//!
//! Each is the id of an event, and all are numbers of the same size: one in place of another would compile, and lose
//! matches now and then. So each has its own type, which compares with its own kind alone. It becomes another only by
//! name: [`Decided::event`] is the last event that it covers, and `Cursor(decided.event())` a reader's cursor that is
//! there. They cost nothing: each is the number that it wraps.
//!
//! ```compile_fail
//! use dovetail_core::{Decided, EventId, News, Stable};
//!
//! // Swapped: what is decided is not stable yet.
//! News { decided_seen: Stable(EventId(7)), stable: Decided(EventId(9)) };
//! ```
//!
//! ```
//! use dovetail_core::{Decided, EventId, News, Stable};
//!
//! let news = News { decided_seen: Decided(EventId(9)), stable: Stable(EventId(7)) };
//! assert_eq!(news.forgettable(), EventId(7));
//! ```

use std::fmt;

use crate::EventId;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub EventId);

        impl $name {
            /// Before every event.
            pub const ZERO: $name = $name(EventId::ZERO);

            /// The last event that it covers.
            #[inline]
            #[must_use]
            pub fn event(self) -> EventId {
                self.0
            }

            /// Whether an event is at or below it.
            #[inline]
            #[must_use]
            pub fn covers(self, x: EventId) -> bool {
                x <= self.0
            }

            /// Moves up to another, if that is higher: it never goes back.
            #[inline]
            pub fn raise(&mut self, to: $name) {
                *self = to.max(*self);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position!(
    /// A decided watermark, of one shard or of all: every event at or below it is decided, and what that retired has
    /// been told before it.
    Decided
);
position!(
    /// A stable cut: everything at or below it is decided, and on disk. Nobody asks for that again.
    Stable
);
position!(
    /// How far a reader has read a stream: what comes after it is wanted. A floor is the lowest that can be served.
    Cursor
);

/// What a slice tells its readers when it has nothing else to tell: what it knows, and what they may forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The decided watermark that it searches with.
    pub decided_seen: Decided,
    /// The highest stable cut that it has heard of.
    pub stable: Stable,
}

impl News {
    /// At or below this its readers have nothing to remember on its account.
    #[must_use]
    pub fn forgettable(self) -> EventId {
        self.decided_seen.event().min(self.stable.event())
    }
}
