//! One shard's elements and what it decides about them (docs/protocol.md, "Who does what").
//!
//! Keeps the timeline of every element homed here that has something in flight, grants an anchor to the probe that is
//! its best, and accepts a pair when it is the best of both ends and both are sure of it. What a slice settled itself
//! is certain: it is passed on to the balancer, and no other node needs to know. A slice that no event concerns need
//! not say so: the others do. Invariants: shard.G1 a shard acts only on what no lower candidate can still change;
//! shard.G2 the decided watermark never goes back, and never passes an undecided event homed here; shard.G3 what is
//! decided is never undone; shard.G4 memory follows what is in flight: at or below `floor` nothing is remembered.

mod timeline;
mod types;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::{
    Audience, CandidateFrame, Claim, Cursor, Decided, DecisionFrame, ElementId, EventId, Grant, Placement, ProbeList,
    Retirement, ShardId, SliceId, Stable, WithdrawalNotice,
    audience::Progress,
    planted::{Bug, Planted},
};
use timeline::Timelines;
pub use types::{DecisionBacklog, Fetch, Reader, ShardEffect, ShardError};

#[derive(Clone, Debug)]
struct SliceState {
    /// The lowest `decided_seen` of any frame that may still come.
    decided_seen: Decided,
    /// What it settled above the stable cut, ascending.
    settled: VecDeque<Retirement>,
}

/// A shard.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    placement: Placement,
    planted: Planted,
    slices: Vec<SliceState>,
    /// How far each slice is, as to what concerns this shard.
    progress: Progress,
    /// The lowest of these: at or below it every candidate has been heard.
    complete: EventId,
    /// Watermarks of all shards, this one's among them.
    decided: Vec<Decided>,
    timelines: Timelines,
    /// Own probes and withdrawals that are not decided.
    undecided: BTreeSet<EventId>,
    /// Elements to look at again once `complete` has reached an event.
    wake: BTreeSet<(EventId, ElementId)>,
    /// Grants received for probes that are not decided.
    offers: BTreeSet<Grant>,
    /// Retirements above the floor, whichever shard or slice decided them.
    retirements: BTreeMap<EventId, Retirement>,
    dead: HashMap<ElementId, EventId>,
    floor: EventId,
    stable: Stable,
    /// Elements whose timelines changed.
    touched: BTreeSet<ElementId>,
    accepted: u64,
}

impl Shard {
    /// Starts at a cut, with nothing undecided at or below it; cut 0 is before every event.
    #[must_use]
    pub fn new(placement: Placement, id: ShardId, cut: EventId) -> Shard {
        let slices = placement.slices() as usize;
        Shard {
            id,
            slices: vec![SliceState { decided_seen: Decided(cut), settled: VecDeque::new() }; slices],
            progress: Progress::new(slices, cut),
            planted: Planted::default(),
            complete: cut,
            decided: vec![Decided(cut); placement.shards() as usize],
            timelines: Timelines::default(),
            undecided: BTreeSet::new(),
            wake: BTreeSet::new(),
            offers: BTreeSet::new(),
            retirements: BTreeMap::new(),
            dead: HashMap::new(),
            floor: cut,
            stable: Stable(cut),
            touched: BTreeSet::new(),
            accepted: 0,
            placement,
        }
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// A slice answered a subscription: `decided_seen` is the lowest of any frame that follows (R3). What is returned
    /// has to be fetched and given to [`Shard::on_stored`] before the first of those frames.
    #[must_use]
    pub fn on_slice_subscribed(&mut self, slice: SliceId, decided_seen: Decided) -> Option<Fetch> {
        self.slices[slice.0 as usize].decided_seen = decided_seen;
        if decided_seen.event() < self.floor && !self.planted.is(Bug::R3NoFetch) {
            return Some(Fetch { after: decided_seen.event(), through: self.floor });
        }
        self.forget();
        None
    }

    /// Another shard answered a subscription: it no longer keeps what is at or below `floor`. What is returned has to
    /// be fetched and given to [`Shard::on_stored`] before the first of its decisions.
    #[must_use]
    pub fn on_peer_subscribed(&self, peer: ShardId, floor: Cursor) -> Option<Fetch> {
        let cursor = Cursor(self.decided(peer).min(self.watermark()).event());
        (cursor < floor).then_some(Fetch { after: cursor.event(), through: floor.event() })
    }

    /// Takes the next frame of a slice. What was taken before is passed over.
    ///
    /// # Errors
    /// When the frame cannot be the slice's next, or is not for this shard.
    pub fn on_candidates(
        &mut self,
        slice: SliceId,
        frame: &CandidateFrame,
        out: &mut Vec<ShardEffect>,
    ) -> Result<(), ShardError> {
        let received = self.through(slice);
        if frame.after > received {
            return Err(ShardError::Gap { slice, after: frame.after, received });
        }
        // Of one that the slice was passed in, this alone is news.
        let of = &mut self.slices[slice.0 as usize];
        of.decided_seen.raise(frame.decided_seen);
        self.stable.raise(frame.stable);
        if frame.through < received && !self.planted.is(Bug::DuplicateFrameApplied) {
            self.forget();
            return Ok(());
        }
        self.check_homes(frame)?;
        self.progress.report(slice.0 as usize, frame.through);
        self.pass_slices(frame);
        let after = if self.planted.is(Bug::DuplicateFrameApplied) { frame.after } else { received };
        frame.probes.iter().filter(|list| list.x > after).for_each(|list| self.add_probe(list));
        frame.claims.iter().filter(|claim| claim.x > after).for_each(|claim| self.add_claim(claim));
        frame.closes.iter().filter(|close| close.x > after).for_each(|close| self.add_close(close));
        self.pass_on(slice, frame.settled.iter().filter(|settled| settled.x > after), out);
        self.wake_complete();
        self.settle(out)
    }

    /// Takes what another shard decided.
    ///
    /// # Errors
    /// When a decision is not the sender's to announce, or contradicts a known one.
    pub fn on_decisions(
        &mut self,
        from: ShardId,
        decisions: &DecisionFrame,
        out: &mut Vec<ShardEffect>,
    ) -> Result<(), ShardError> {
        for &retirement in &decisions.retirements {
            let home = self.placement.home_of(retirement.element);
            if home != from && home != self.id {
                return Err(ShardError::Misplaced { x: retirement.x, element: retirement.element, home, id: self.id });
            }
            self.retire(retirement, self.announces(home), out)?;
        }
        for &grant in &decisions.grants {
            self.check_home(grant.x, grant.prober)?;
            self.offer(grant);
        }
        if let Some(decided) = decisions.decided {
            self.decided[from.0 as usize].raise(decided);
        }
        self.settle(out)
    }

    /// Takes all retirements of a fetched range from the store. Those homed here are announced again (R5).
    ///
    /// # Errors
    /// When one contradicts a known one.
    pub fn on_stored(
        &mut self,
        fetched: Fetch,
        retirements: &[Retirement],
        out: &mut Vec<ShardEffect>,
    ) -> Result<(), ShardError> {
        if fetched.through >= self.floor {
            self.floor = self.floor.min(fetched.after);
        }
        for &retirement in retirements {
            let home = self.placement.home_of(retirement.element);
            self.retire(retirement, self.announces(home), out)?;
        }
        self.settle(out)
    }

    /// The backlog for a reader that knows this shard's watermark as `after`. What comes later goes out as effects.
    #[must_use]
    pub fn subscribe(&self, reader: Reader, after: Cursor) -> DecisionBacklog {
        let own = |r: &Retirement| !after.covers(r.x) && self.placement.home_of(r.element) == self.id;
        let peer = |r: &Retirement| match reader {
            Reader::Shard(shard) => self.placement.home_of(r.element) == shard && !self.planted.is(Bug::R6PeersSilent),
            Reader::Matcher | Reader::Balancer => false,
        };
        let mut retirements: Vec<_> = self.retirements.values().filter(|&r| own(r) || peer(r)).copied().collect();
        if reader == Reader::Balancer && !self.planted.is(Bug::SettledNotRepeated) {
            let settled = self.slices.iter().flat_map(|slice| &slice.settled);
            retirements.extend(settled.filter(|settled| !after.covers(settled.x)));
        }
        let grants = match reader {
            Reader::Shard(_) if self.planted.is(Bug::R6PeersSilent) => Vec::new(),
            Reader::Shard(shard) => {
                self.timelines.grants().filter(|grant| self.placement.home_of(grant.prober) == shard).collect()
            }
            Reader::Matcher | Reader::Balancer => Vec::new(),
        };
        let decided = (!self.planted.is(Bug::R7WatermarkUnstated)).then_some(self.watermark());
        let floor = match reader {
            Reader::Balancer if !self.planted.is(Bug::SettledFloorUntold) => self.forgotten(),
            _ => self.floor,
        };
        DecisionBacklog { floor: Cursor(floor), decisions: DecisionFrame { retirements, grants, decided } }
    }

    /// Something at or below is not known here any more: retirements up to the floor, and what slices settled up to the
    /// stable cut. A balancer that does not know it may stand by, or have lost its results.
    #[must_use]
    pub fn forgotten(&self) -> EventId {
        self.floor.max(self.stable.event())
    }

    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Where elements belong.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The decided watermark: every event homed here at or below it is decided.
    #[must_use]
    pub fn watermark(&self) -> Decided {
        self.decided[self.id.0 as usize]
    }

    /// Another shard's watermark as known here; where to resume its decisions.
    #[must_use]
    pub fn decided(&self, shard: ShardId) -> Decided {
        self.decided[shard.0 as usize]
    }

    /// Up to where nothing more comes of a slice; where to resume its candidates.
    #[must_use]
    pub fn through(&self, slice: SliceId) -> EventId {
        self.progress.through(slice.0 as usize)
    }

    /// At or below this nothing is remembered.
    #[must_use]
    pub fn floor(&self) -> EventId {
        self.floor
    }

    /// Elements with candidates in flight.
    #[must_use]
    pub fn timelines(&self) -> usize {
        self.timelines.len()
    }

    /// Own probes and withdrawals that are not decided.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.undecided.len()
    }

    /// Retirements remembered.
    #[must_use]
    pub fn retirements_kept(&self) -> usize {
        self.retirements.len() + self.slices.iter().map(|slice| slice.settled.len()).sum::<usize>()
    }

    /// Pairs accepted here, those that slices settled among them.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether a retirement learned from others is announced again: when it is homed here (R5).
    fn announces(&self, home: ShardId) -> bool {
        home == self.id && !self.planted.is(Bug::R5NotAnnounced)
    }

    fn check_homes(&self, frame: &CandidateFrame) -> Result<(), ShardError> {
        frame.probes.iter().try_for_each(|list| self.check_home(list.x, list.prober))?;
        frame.claims.iter().try_for_each(|claim| self.check_home(claim.x, claim.anchor))?;
        frame.closes.iter().try_for_each(|close| self.check_home(close.x, close.element))
    }

    fn check_home(&self, x: EventId, element: ElementId) -> Result<(), ShardError> {
        let home = self.placement.home_of(element);
        if home == self.id { Ok(()) } else { Err(ShardError::Misplaced { x, element, home, id: self.id }) }
    }

    /// Announces what a slice settled, and keeps it for a balancer that comes back.
    fn pass_on<'a>(
        &mut self,
        slice: SliceId,
        settled: impl Iterator<Item = &'a Retirement>,
        out: &mut Vec<ShardEffect>,
    ) {
        let kept = &mut self.slices[slice.0 as usize].settled;
        for &retirement in settled {
            self.accepted += u64::from(retirement.anchor.is_some());
            kept.push_back(retirement);
            out.push(ShardEffect::Settled(retirement));
        }
    }

    fn add_probe(&mut self, list: &ProbeList) {
        if self.dead.contains_key(&list.prober) {
            return;
        }
        let alive = list.anchors.iter().copied().filter(|anchor| !self.dead.contains_key(anchor));
        self.timelines.add_probe(list.prober, list.x, alive);
        self.undecided.insert(list.x);
        self.touched.insert(list.prober);
    }

    fn add_claim(&mut self, claim: &Claim) {
        if !self.dead.contains_key(&claim.anchor) && !self.dead.contains_key(&claim.prober) {
            self.timelines.add_claim(claim.anchor, claim.x, claim.prober);
            self.touched.insert(claim.anchor);
        }
    }

    fn add_close(&mut self, close: &WithdrawalNotice) {
        if !self.dead.contains_key(&close.element) {
            self.timelines.add_close(close.element, close.x);
            self.undecided.insert(close.x);
            self.touched.insert(close.element);
        }
    }

    fn offer(&mut self, grant: Grant) {
        if !self.watermark().covers(grant.x) && !self.dead.contains_key(&grant.prober) {
            self.offers.insert(grant);
            self.touched.insert(grant.prober);
        }
    }

    /// Passes every slice that nothing concerns for this shard, up to where that is known.
    fn pass_slices(&mut self, frame: &CandidateFrame) {
        let ignored = self.planted.is(Bug::AudienceIgnored) && frame.audience != Audience::All;
        let audience = if ignored { &Audience::nobody() } else { &frame.audience };
        self.progress.concern((frame.after, frame.through), audience, |pair| pair.slice.0);
        self.progress.skip_unconcerned();
    }

    /// Looks again at the probes that waited for every slice to have searched this far.
    fn wake_complete(&mut self) {
        self.complete = self.progress.lowest();
        while let Some(&(x, element)) = self.wake.first()
            && x <= self.complete
        {
            self.wake.pop_first();
            self.touched.insert(element);
        }
    }

    /// Follows every touched timeline as far as it is certain, then moves the watermark and forgets.
    fn settle(&mut self, out: &mut Vec<ShardEffect>) -> Result<(), ShardError> {
        while let Some(element) = self.touched.pop_first() {
            self.advance(element, out)?;
        }
        let lowest = self.undecided.first().filter(|_| !self.planted.is(Bug::WatermarkIgnoresUndecided));
        let through = Decided(lowest.map_or(self.complete, |x| x.prev().min(self.complete)));
        if through > self.watermark() {
            self.decided[self.id.0 as usize] = through;
            self.offers = self.offers.split_off(&Grant { x: through.event().next(), ..Grant::default() });
            out.push(ShardEffect::Decided { through });
        }
        self.forget();
        Ok(())
    }

    /// Follows one element's timeline: the lowest candidate that survives is its best.
    fn advance(&mut self, element: ElementId, out: &mut Vec<ShardEffect>) -> Result<(), ShardError> {
        while let Some(timeline) = self.timelines.get(element) {
            let (probe, claim) = (timeline.first_probe(), timeline.first_claim());
            let claim_first = self.planted.is(Bug::ClaimBeforeOwnProbe) && claim.is_some();
            if let Some((x, best)) = probe
                && claim.is_none_or(|(claimed_at, _)| x < claimed_at)
                && !claim_first
            {
                if self.complete < x && !self.planted.is(Bug::ProbeNotComplete) {
                    self.wake.insert((x, element));
                    return Ok(());
                }
                let Some(anchor) = best else {
                    self.timelines.remove_probe(element, x);
                    self.undecided.remove(&x);
                    continue;
                };
                let granted = self.offers.contains(&Grant { x, prober: element, anchor });
                if granted || self.planted.is(Bug::AcceptWithoutGrant) {
                    self.accepted += 1;
                    self.retire(Retirement { x, element, anchor: Some(anchor) }, true, out)?;
                }
                return Ok(());
            }
            // An arrival that found nothing is never announced, so its own probe is decided once every slice has passed
            // it.
            if self.complete < element.arrival() {
                self.wake.insert((element.arrival(), element));
                return Ok(());
            }
            let close = timeline.close();
            if let Some(x) = close
                && (claim.is_none() || self.planted.is(Bug::CloseBeforeCandidates))
            {
                return self.retire(Retirement { x, element, anchor: None }, true, out);
            }
            match claim {
                Some((x, prober)) => self.grant(Grant { x, prober, anchor: element }, out),
                None => self.timelines.forget_empty(element),
            }
            return Ok(());
        }
        Ok(())
    }

    fn grant(&mut self, grant: Grant, out: &mut Vec<ShardEffect>) {
        if !self.timelines.grant(grant) {
            return;
        }
        let to = self.placement.home_of(grant.prober);
        if to == self.id {
            self.offer(grant);
        } else {
            out.push(ShardEffect::Grant { to, grant });
        }
    }

    /// Records a retirement, kills every candidate that names its ends, and announces it when asked to.
    fn retire(&mut self, reported: Retirement, announce: bool, out: &mut Vec<ShardEffect>) -> Result<(), ShardError> {
        if reported.x <= self.floor {
            return Ok(());
        }
        match self.retirements.get(&reported.x) {
            Some(&known) if known == reported => return Ok(()),
            Some(&known) => return Err(ShardError::Conflict { x: reported.x, known, reported }),
            None => _ = self.retirements.insert(reported.x, reported),
        }
        for end in reported.ends() {
            if self.planted.is(Bug::AnchorStaysAlive) && end != reported.element {
                continue;
            }
            self.dead.insert(end, reported.x);
            let removed = self.timelines.kill(end);
            removed.undecided.iter().for_each(|x| _ = self.undecided.remove(x));
            self.touched.extend(removed.touched);
        }
        if announce {
            out.push(ShardEffect::Retire(reported));
        }
        Ok(())
    }

    /// Forgets retirements that no frame can name any more and no returning peer will ask for.
    ///
    /// Frames that are still to come leave out what had retired at their slice's `decided_seen`, except for events
    /// below the retirement; those are decided. Retirements that other shards have not announced yet are above their
    /// watermarks. A node that starts anew starts at the stable cut or above.
    fn forget(&mut self) {
        let decided_seen = self.slices.iter().map(|slice| slice.decided_seen).min().expect("a placement has a slice");
        let decided = self.decided.iter().copied().min().expect("a placement has a shard");
        let mut floor = decided_seen.event().min(self.stable.event()).min(decided.event());
        if self.planted.is(Bug::ForgetsTooEarly) {
            floor = self.watermark().event();
        }
        self.floor = floor.max(self.floor);
        // A balancer that asks for what is stable is told that it is gone.
        for slice in &mut self.slices {
            while slice.settled.pop_front_if(|settled| self.stable.covers(settled.x)).is_some() {}
        }
        while let Some(entry) = self.retirements.first_entry()
            && *entry.key() <= self.floor
        {
            for end in entry.remove().ends() {
                self.dead.remove(&end);
            }
        }
    }
}
