//! A matcher: its slices, what it reads of the balancer and of every shard, and which gatherers read its candidates.
//!
//! A session begins at the balancer's cut, which is read in parts ([`CutReader`]). It ends ([`MatcherEnd`]) when it
//! cannot go on; the next one begins at a cut again. There is no state to repair.
//!
//! | rule | where |
//! |---|---|
//! | below a shard's floor retirements are fetched before its decisions are read | [`Matcher::on_decisions_hello`] |
//! | R3: the hello says what the frames that follow know | [`Matcher::on_subscribe`] |
//! | R8: a slice whose frames know less than the balancer can fill in starts anew, once the balancer has said so | [`Matcher::on_results_floor`] |
//! | what no reader waits for is held back, and merged | `candidates.rs` |

mod candidates;
mod cut;
mod types;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use dovetail_core::{
    CandidateFrame, ColumnFrame, Cursor, Decided, DecisionFrame, EventId, Retirement, ShardId, SliceId, Stable,
    planted::{Bug, Planted},
    shard::Fetch,
    slice::{CandidateBacklog, CursorTooOld, Slice, SliceEffect, SliceRef, Slices},
};

use crate::{
    action::{Action, KnowsLess, Request, SliceHello, Step},
    ids::{LinkId, NodeId, StreamId},
    link::{Cursors, Handshake},
    origin::Origin,
    readers::Readers,
};
use candidates::CandidateQueue;
pub use candidates::{CandidatesMessage, SliceFrame};
pub use cut::CutReader;
pub use types::{MatcherEnd, MatcherSettings, MatcherStart};

/// What a matcher wants done.
pub type MatcherAction = Action<CandidatesMessage>;

/// A frame that a slice made, not yet shared out.
#[derive(Clone, Debug)]
pub struct Found {
    /// The slice.
    pub slice: SliceId,
    /// The gatherer's shard.
    pub to: ShardId,
    /// The frame.
    pub frame: Arc<CandidateFrame>,
}

/// A subscription for which a slice's frames know less than the reader can fill in, as the reader says. The balancer is
/// asked whether it is so.
#[derive(Clone, Debug)]
struct Doubted {
    stream: StreamId,
    cursors: Cursors,
    decided_seen_min: Decided,
}

/// A matcher in a session.
#[derive(Debug)]
pub struct Matcher {
    slices: Slices,
    planted: Planted,
    origin: Origin,
    feed: Handshake<()>,
    /// By shard, with the cursor that was asked for.
    shards: Vec<Handshake<Cursor>>,
    readers: Readers<CandidateQueue>,
    /// One of a shard at the most: its last.
    doubted: BTreeMap<ShardId, Doubted>,
    /// What came of inputs since the last was sent.
    found: Vec<Found>,
    effects: Vec<SliceEffect>,
}

impl Matcher {
    /// Begins a session. The stream that the cut came on is read on.
    ///
    /// # Errors
    /// When a pool of the cut does not compile here.
    pub fn new(settings: MatcherSettings, start: MatcherStart) -> Result<Matcher, MatcherEnd> {
        let MatcherSettings { placement, slices, list_max, secret } = settings;
        let MatcherStart { log_id, cut } = start;
        let slices = Slices::new(&placement, &slices, list_max as usize, secret, cut)?;
        Ok(Matcher {
            slices,
            planted: Planted::default(),
            origin: Origin::new(log_id),
            feed: Handshake::Reading,
            shards: placement.each_shard().map(|_| Handshake::Down).collect(),
            readers: Readers::default(),
            doubted: BTreeMap::new(),
            found: Vec::new(),
            effects: Vec::new(),
        })
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
        self.slices.plant(planted);
    }

    /// Its slices, before anything has come; for simulations, whose pools are small.
    #[cfg(feature = "planted")]
    pub fn tune(&mut self, tune: impl FnOnce(&mut Slices)) {
        tune(&mut self.slices);
    }

    /// Its slices, ascending.
    #[must_use]
    pub fn slices(&self) -> impl ExactSizeIterator<Item = SliceRef<'_>> {
        self.slices.iter()
    }

    /// What its slices found since the last [`Matcher::publish`].
    #[must_use]
    pub fn unpublished(&self) -> &[Found] {
        &self.found
    }

    /// What the matcher reads beside the log: every shard.
    pub fn links(&self) -> impl Iterator<Item = LinkId> + use<> {
        (0..).take(self.shards.len()).map(|shard| LinkId::Shard(ShardId(shard)))
    }

    /// A shard's watermark as every slice knows it.
    #[must_use]
    pub fn decided(&self, shard: ShardId) -> Decided {
        self.lowest(|slice| slice.decided(shard))
    }

    /// About how many events are searched when this is given next: a frame of the log, or else decisions, of which
    /// searches may wait.
    #[must_use]
    pub fn work(&self, next: Option<&ColumnFrame>) -> u64 {
        let pending = self.slices.iter().map(|slice| slice.received().0 - slice.through().0).max();
        pending.unwrap_or_default() + next.map_or(0, |frame| frame.through().0 - frame.after().0)
    }

    /// A link has no stream, or its stream has ended: it subscribes from where the slices are. But the log is followed
    /// only where it is still the same, so the balancer is asked for its cut first.
    pub fn on_dial(&mut self, link: LinkId, out: &mut Vec<MatcherAction>) {
        match link {
            LinkId::Feed => {
                self.feed = Handshake::Down;
                self.origin.ask(self.lowest(Slice::floor).event());
                out.push(Action::AskCut);
            }
            LinkId::Shard(shard) => {
                let after = Cursor(self.decided(shard).event());
                self.shards[shard.0 as usize] = Handshake::Asked(after);
                out.push(Action::Link { link, step: Step::Subscribe(Request::Decisions { after }) });
            }
            LinkId::Matcher(_) => unreachable!("a matcher reads no candidates"),
        }
    }

    /// The balancer's log and cut: the feed may go on.
    ///
    /// # Errors
    /// When the balancer serves another log, or has lost results that this session has built on.
    pub fn on_cut(&mut self, log_id: &str, cut: Stable, out: &mut Vec<MatcherAction>) -> Result<(), MatcherEnd> {
        self.origin.on_cut(log_id, cut)?;
        self.feed = Handshake::Asked(());
        let after = Some(Cursor(self.lowest(Slice::received)));
        out.push(Action::Link { link: LinkId::Feed, step: Step::Subscribe(Request::Feed { after }) });
        Ok(())
    }

    /// The balancer goes on with the log after what was received.
    pub fn on_feed_hello(&mut self, out: &mut Vec<MatcherAction>) {
        let () = self.feed.asked();
        self.feed = Handshake::Reading;
        out.push(Action::Link { link: LinkId::Feed, step: Step::Read });
    }

    /// The balancer no longer keeps the log after what was received.
    ///
    /// # Errors
    /// Always: the next session begins at a later cut.
    pub fn on_log_gone(&mut self, reason: String) -> Result<(), MatcherEnd> {
        Err(MatcherEnd::LogGone { reason })
    }

    /// A shard answered: it no longer keeps what is at or below `floor`.
    pub fn on_decisions_hello(&mut self, shard: ShardId, floor: Cursor, out: &mut Vec<MatcherAction>) {
        let link = &mut self.shards[shard.0 as usize];
        let after = *link.asked();
        let fetches = floor > after && !self.planted.is(Bug::ShardFloorIgnored);
        let step =
            if fetches { Step::Fetch(Fetch { after: after.event(), through: floor.event() }) } else { Step::Read };
        *link = Handshake::after(&step);
        out.push(Action::Link { link: LinkId::Shard(shard), step });
        if fetches && self.planted.is(Bug::DecisionsBeforeFetched) {
            out.push(Action::Link { link: LinkId::Shard(shard), step: Step::Read });
        }
    }

    /// The next frame of the log. The slices search as far as they may.
    ///
    /// # Errors
    /// When it cannot be the next one, or cannot be understood.
    pub fn on_frame(&mut self, frame: &Arc<ColumnFrame>) -> Result<(), MatcherEnd> {
        self.feed.on_frame();
        Ok(self.give(|slices, out| slices.on_frame(frame, out))?)
    }

    /// The stable cut moved.
    pub fn on_stable(&mut self, stable: Stable) {
        self.feed.on_frame();
        let Ok(()) = self.give(|slices, out| {
            slices.on_stable(stable, out);
            Ok::<(), Infallible>(())
        });
    }

    /// A shard decided something.
    ///
    /// # Errors
    /// When a frame of the log that waited for it cannot be understood.
    pub fn on_decisions(&mut self, shard: ShardId, frame: &DecisionFrame) -> Result<(), MatcherEnd> {
        if !self.planted.is(Bug::DecisionsBeforeFetched) {
            self.shards[shard.0 as usize].on_frame();
        }
        Ok(self.give(|slices, out| slices.on_decisions(shard, frame, out))?)
    }

    /// The store answered a link's fetch with all retirements of it: now the link may read.
    ///
    /// # Errors
    /// When a frame of the log that waited for them cannot be understood.
    pub fn on_fetched(
        &mut self,
        shard: ShardId,
        fetch: Fetch,
        retirements: &[Retirement],
        out: &mut Vec<MatcherAction>,
    ) -> Result<(), MatcherEnd> {
        self.shards[shard.0 as usize].on_fetched(fetch);
        self.give(|slices, out| slices.on_stored(shard, fetch.through, retirements, out))?;
        out.push(Action::Link { link: LinkId::Shard(shard), step: Step::Read });
        Ok(())
    }

    /// The store no longer has all that a link has to fetch: which elements are dead can be learned nowhere.
    ///
    /// # Errors
    /// Always: the next session begins at a later cut.
    pub fn on_refused(&mut self, shard: ShardId, fetch: Fetch, out: &mut Vec<MatcherAction>) -> Result<(), MatcherEnd> {
        if self.planted.is(Bug::RefusedGoesOn) {
            return self.on_fetched(shard, fetch, &[], out);
        }
        Err(MatcherEnd::Refused { after: fetch.after, through: fetch.through })
    }

    /// A shard subscribes to the candidates of all slices, in place of what it had, and can take frames whose
    /// `decided_seen` is at least `decided_seen_min`. First it gets a hello and what its cursors do not cover.
    ///
    /// A reader that says that too little is known is not believed: the balancer is asked (R8).
    pub fn on_subscribe(
        &mut self,
        stream: StreamId,
        shard: ShardId,
        cursors: Cursors,
        decided_seen_min: Decided,
        out: &mut Vec<MatcherAction>,
    ) {
        let backlogs = self.backlogs(shard, &cursors);
        if knows_less(&backlogs, decided_seen_min).is_none() || self.planted.is(Bug::DecidedSeenMinIgnored) {
            return self.serve(stream, shard, backlogs, out);
        }
        let earlier = self.doubted.insert(shard, Doubted { stream, cursors, decided_seen_min });
        out.extend(earlier.map(|earlier| Action::End { stream: earlier.stream }));
        out.push(Action::AskResultsFloor { stream });
    }

    /// The balancer keeps retirements above `floor`, for a stream of which that was asked.
    ///
    /// # Errors
    /// When a slice keeps frames whose `decided_seen` is below what its reader needs, and less than the balancer can
    /// fill in: else a reader without memory would be refused for ever (R8).
    pub fn on_results_floor(
        &mut self,
        stream: StreamId,
        floor: EventId,
        out: &mut Vec<MatcherAction>,
    ) -> Result<(), MatcherEnd> {
        let Some(&shard) = self.doubted.iter().find(|(_, doubted)| doubted.stream == stream).map(|(shard, _)| shard)
        else {
            return Ok(());
        };
        let Doubted { cursors, decided_seen_min, .. } = self.doubted.remove(&shard).expect("it was found");
        let backlogs = self.backlogs(shard, &cursors);
        if let Some(KnowsLess { slice, decided_seen }) = knows_less(&backlogs, decided_seen_min.min(Decided(floor)))
            && !self.planted.is(Bug::NeverStartsAnew)
        {
            return Err(MatcherEnd::KnowsLess { slice, decided_seen, results_floor: floor });
        }
        match knows_less(&backlogs, decided_seen_min) {
            Some(why) => out.push(Action::Refuse { stream, why }),
            None => self.serve(stream, shard, backlogs, out),
        }
        Ok(())
    }

    /// A stream of candidates has ended: its reader is gone, or does not read fast enough.
    pub fn on_lost(&mut self, stream: StreamId) {
        self.readers.lost(stream);
        self.doubted.retain(|_, doubted| doubted.stream != stream);
    }

    /// Sends the results of a batch of inputs to the readers that may be waiting for them; the rest lingers.
    pub fn publish(&mut self, out: &mut Vec<MatcherAction>) {
        if self.found.is_empty() {
            return;
        }
        for Found { slice, to, frame } in self.found.drain(..) {
            if let Some(queue) = self.readers.queue(NodeId::Gatherer(to)) {
                queue.add(slice, frame);
            }
        }
        self.readers.send_due(self.planted, out);
    }

    /// What was held back has waited long enough.
    pub fn on_linger(&mut self, out: &mut Vec<MatcherAction>) {
        self.readers.on_linger(out);
    }

    fn serve(&mut self, stream: StreamId, shard: ShardId, backlogs: Vec<Backlog>, out: &mut Vec<MatcherAction>) {
        // What is not sent yet is in the backlog, and would come twice.
        self.publish(out);
        let (mut hellos, mut frames, mut gone) = (Vec::new(), Vec::new(), false);
        for (slice, backlog) in backlogs {
            let (served, first) = (self.slices.get(slice), hellos.is_empty());
            let floor = served.floor();
            match backlog {
                Ok(backlog) => {
                    let overstates = self.planted.is(Bug::HelloOverstates);
                    let decided_seen = if overstates { served.decided_seen() } else { backlog.decided_seen };
                    hellos.push(SliceHello { slice, decided_seen, floor });
                    if self.planted.is(Bug::BacklogOfOneSlice) && !first {
                        continue;
                    }
                    frames.extend(backlog.frames.into_iter().map(|frame| (slice, frame)));
                }
                Err(CursorTooOld { floor, .. }) if self.planted.is(Bug::GoneUntold) => {
                    hellos.push(SliceHello { slice, decided_seen: Decided(floor.event()), floor: Cursor::ZERO });
                }
                // The hello alone says it: the reader sees that its cursor is below the floor.
                Err(CursorTooOld { floor, .. }) => {
                    hellos.push(SliceHello { slice, decided_seen: Decided(floor.event()), floor });
                    gone = true;
                }
            }
        }
        let queue = if gone { CandidateQueue::silent() } else { CandidateQueue::new(self.planted) };
        self.readers.add(NodeId::Gatherer(shard), stream, queue, out);
        out.push(Action::Send { to: stream, message: CandidatesMessage::Hello(hellos) });
        if !gone {
            let frames = frames.into_iter().map(|frame| CandidatesMessage::Frames(vec![frame]));
            out.extend(frames.map(|message| Action::Send { to: stream, message }));
        }
    }

    /// What each slice keeps for a shard that has read up to its cursors.
    fn backlogs(&self, shard: ShardId, cursors: &Cursors) -> Vec<Backlog> {
        cursors.iter().map(|(slice, after)| (slice, self.slices.get(slice).subscribe(shard, after))).collect()
    }

    fn lowest<P: Ord>(&self, of: impl Fn(&Slice) -> P) -> P {
        self.slices.iter().map(|slice| of(&slice)).min().expect("a matcher has a slice")
    }

    /// Gives the slices something.
    fn give<E>(&mut self, give: impl FnOnce(&mut Slices, &mut Vec<SliceEffect>) -> Result<(), E>) -> Result<(), E> {
        give(&mut self.slices, &mut self.effects)?;
        let found = |SliceEffect::Frame { slice, to, frame }| Found { slice, to, frame };
        self.found.extend(self.effects.drain(..).map(found));
        Ok(())
    }
}

/// What a slice keeps for a reader.
type Backlog = (SliceId, Result<CandidateBacklog, CursorTooOld>);

/// The first slice that keeps frames for a reader which know less than `decided_seen_min`.
fn knows_less(backlogs: &[Backlog], decided_seen_min: Decided) -> Option<KnowsLess> {
    let kept = backlogs.iter().filter_map(|(slice, backlog)| Some((*slice, backlog.as_ref().ok()?.decided_seen)));
    kept.map(|(slice, decided_seen)| KnowsLess { slice, decided_seen })
        .find(|less| less.decided_seen < decided_seen_min)
}
