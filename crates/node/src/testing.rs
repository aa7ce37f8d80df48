//! What tests of several machines say alike.

use dovetail_core::{Cursor, Decided, DecisionFrame, EventId, SliceId};

use crate::{
    action::{Action, SliceHello, Step},
    ids::LinkId,
};

/// The one step that a link is told.
pub(crate) fn only_step<M>(actions: &[Action<M>], link: LinkId) -> Step {
    let [Action::Link { link: of, step }] = actions else { panic!("one step answers an input") };
    assert_eq!(*of, link);
    step.clone()
}

/// What a slice says first.
pub(crate) fn hello(slice: u32, decided_seen: u64, floor: u64) -> SliceHello {
    SliceHello { slice: SliceId(slice), decided_seen: Decided(EventId(decided_seen)), floor: Cursor(EventId(floor)) }
}

/// A shard has decided so far, and nothing came of it.
pub(crate) fn watermark(decided: u64) -> DecisionFrame {
    DecisionFrame { decided: Some(Decided(EventId(decided))), ..DecisionFrame::default() }
}
