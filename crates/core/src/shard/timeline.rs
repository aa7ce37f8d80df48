//! Timelines: for each element homed here, the candidates that name it and are alive.
//!
//! Invariant: a candidate is in a timeline only while neither end is known to be retired, so the first one is the best.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{ElementId, EventId, Grant};

/// One element's candidates.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Own probes that are not decided, with the anchors that survive.
    probes: BTreeMap<EventId, BTreeSet<ElementId>>,
    /// Probes of others that could take this element.
    claims: BTreeMap<EventId, ElementId>,
    /// The event that withdraws it.
    close: Option<EventId>,
    /// The claim that was granted.
    granted: Option<EventId>,
}

impl Timeline {
    pub(super) fn first_probe(&self) -> Option<(EventId, Option<ElementId>)> {
        self.probes.first_key_value().map(|(&x, anchors)| (x, anchors.first().copied()))
    }

    pub(super) fn first_claim(&self) -> Option<(EventId, ElementId)> {
        self.claims.first_key_value().map(|(&x, &prober)| (x, prober))
    }

    pub(super) fn close(&self) -> Option<EventId> {
        self.close
    }

    /// Every candidate: its event, and the other end.
    fn candidates(&self) -> impl Iterator<Item = (EventId, ElementId)> {
        let own = self.probes.iter().flat_map(|(&x, anchors)| anchors.iter().map(move |&anchor| (x, anchor)));
        own.chain(self.claims.iter().map(|(&x, &prober)| (x, prober)))
    }
}

/// What the death of an element changed.
#[derive(Debug, Default)]
pub(super) struct Killed {
    /// Its own probes and withdrawal, which are decided by it.
    pub(super) undecided: Vec<EventId>,
    /// The elements whose timelines named it.
    pub(super) touched: BTreeSet<ElementId>,
}

/// All timelines of a shard.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    by_element: BTreeMap<ElementId, Timeline>,
    /// For each element that is named in timelines here: whose, and in the candidates of which event.
    holders: HashMap<ElementId, BTreeSet<(ElementId, EventId)>>,
}

impl Timelines {
    pub(super) fn len(&self) -> usize {
        self.by_element.len()
    }

    pub(super) fn get(&self, element: ElementId) -> Option<&Timeline> {
        self.by_element.get(&element)
    }

    pub(super) fn add_probe(&mut self, prober: ElementId, x: EventId, anchors: impl Iterator<Item = ElementId>) {
        let list = self.by_element.entry(prober).or_default().probes.entry(x).or_default();
        for anchor in anchors {
            list.insert(anchor);
            self.holders.entry(anchor).or_default().insert((prober, x));
        }
    }

    pub(super) fn add_claim(&mut self, anchor: ElementId, x: EventId, prober: ElementId) {
        self.by_element.entry(anchor).or_default().claims.insert(x, prober);
        self.holders.entry(prober).or_default().insert((anchor, x));
    }

    pub(super) fn add_close(&mut self, element: ElementId, x: EventId) {
        self.by_element.entry(element).or_default().close = Some(x);
    }

    pub(super) fn remove_probe(&mut self, prober: ElementId, x: EventId) {
        let timeline = self.by_element.get_mut(&prober).expect("a probe is in its prober's timeline");
        let anchors = timeline.probes.remove(&x).expect("the probe is there");
        assert!(anchors.is_empty(), "{x} of {prober} still has {anchors:?}");
    }

    /// Notes that a claim was granted. False when it had been.
    pub(super) fn grant(&mut self, grant: Grant) -> bool {
        let timeline = self.by_element.get_mut(&grant.anchor).expect("a claim is in its anchor's timeline");
        timeline.granted.replace(grant.x) != Some(grant.x)
    }

    /// Grants whose claims are not decided, in order of their anchors.
    pub(super) fn grants(&self) -> impl Iterator<Item = Grant> {
        self.by_element.iter().filter_map(|(&anchor, timeline)| {
            let x = timeline.granted?;
            let prober = *timeline.claims.get(&x)?;
            Some(Grant { x, prober, anchor })
        })
    }

    /// Drops a timeline that holds nothing.
    pub(super) fn forget_empty(&mut self, element: ElementId) {
        let timeline = self.by_element.remove(&element).expect("whoever asks has looked at it");
        assert!(timeline.probes.is_empty() && timeline.claims.is_empty() && timeline.close.is_none());
    }

    /// Removes a retired element's timeline, and every candidate that names it from the others.
    pub(super) fn kill(&mut self, element: ElementId) -> Killed {
        let mut killed = Killed::default();
        if let Some(timeline) = self.by_element.remove(&element) {
            for (x, other) in timeline.candidates() {
                self.forget_holder(other, (element, x));
            }
            killed.undecided.extend(timeline.probes.into_keys().chain(timeline.close));
        }
        for (holder, x) in self.holders.remove(&element).unwrap_or_default() {
            let timeline = self.by_element.get_mut(&holder).expect("a holder has a timeline");
            if let Some(anchors) = timeline.probes.get_mut(&x) {
                anchors.remove(&element);
            }
            if timeline.claims.get(&x) == Some(&element) {
                timeline.claims.remove(&x);
            }
            killed.touched.insert(holder);
        }
        killed
    }

    fn forget_holder(&mut self, named: ElementId, holder: (ElementId, EventId)) {
        if let Some(holders) = self.holders.get_mut(&named) {
            holders.remove(&holder);
            if holders.is_empty() {
                self.holders.remove(&named);
            }
        }
    }
}
