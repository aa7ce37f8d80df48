//! Candidate frames: being built, and kept until the stable cut covers them.

use std::{collections::VecDeque, mem, sync::Arc};

use super::{CandidateBacklog, CursorTooOld, SliceEffect};
use crate::{
    Audience, CandidateFrame, Claim, Cursor, ElementId, EventId, News, ProbeList, Retirement, ShardId, SliceId, Stable,
    WithdrawalNotice,
};

#[derive(Debug)]
pub(super) struct Frames {
    slice: SliceId,
    shards: Vec<ShardFrames>,
    /// Everything at or below was sent.
    flushed: EventId,
    /// Everything at or below is gone.
    floor: Cursor,
    /// What was last said, so that news is told once.
    said: News,
}

#[derive(Debug, Default)]
struct ShardFrames {
    probes: Vec<ProbeList>,
    claims: Vec<Claim>,
    closes: Vec<WithdrawalNotice>,
    settled: Vec<Retirement>,
    kept: VecDeque<Arc<CandidateFrame>>,
}

impl Frames {
    pub(super) fn new(slice: SliceId, shards: usize, cut: EventId, said: News) -> Frames {
        let shards = (0..shards).map(|_| ShardFrames::default()).collect();
        Frames { slice, shards, flushed: cut, floor: Cursor(cut), said }
    }

    pub(super) fn probe(&mut self, home: ShardId, x: EventId, prober: ElementId, anchors: Vec<ElementId>) {
        self.shards[home.0 as usize].probes.push(ProbeList { x, prober, anchors });
    }

    pub(super) fn claim(&mut self, home: ShardId, x: EventId, prober: ElementId, anchor: ElementId) {
        self.shards[home.0 as usize].claims.push(Claim { x, prober, anchor });
    }

    pub(super) fn close(&mut self, home: ShardId, x: EventId, element: ElementId) {
        self.shards[home.0 as usize].closes.push(WithdrawalNotice { x, element });
    }

    pub(super) fn settled(&mut self, home: ShardId, retirement: Retirement) {
        self.shards[home.0 as usize].settled.push(retirement);
    }

    /// Sends and keeps what was found in events up to `through`; nothing when there was no event. `audience` is that of
    /// these events, and perhaps of some after them.
    pub(super) fn flush(&mut self, through: EventId, audience: &Audience, news: News, out: &mut Vec<SliceEffect>) {
        if through == self.flushed {
            return;
        }
        for (shard, frames) in (0..).map(ShardId).zip(&mut self.shards) {
            let frame = Arc::new(CandidateFrame {
                after: self.flushed,
                through,
                decided_seen: news.decided_seen,
                stable: news.stable,
                audience: audience.of_shard(shard),
                probes: mem::take(&mut frames.probes),
                claims: mem::take(&mut frames.claims),
                closes: mem::take(&mut frames.closes),
                settled: mem::take(&mut frames.settled),
            });
            frames.kept.push_back(Arc::clone(&frame));
            out.push(SliceEffect::Frame { slice: self.slice, to: shard, frame });
        }
        self.flushed = through;
        self.said = news;
        // A slice that starts anew may have less than the stable cut covers; no reader will ask for that again.
        self.trim(news.stable);
    }

    /// Tells every shard what it may forget by now, when that is more than it was told. Not kept: the next frame says
    /// it too.
    pub(super) fn news(&mut self, news: News, out: &mut Vec<SliceEffect>) {
        if news.forgettable() <= self.said.forgettable() {
            return;
        }
        self.said = news;
        let frame = Arc::new(self.without_events(news));
        for shard in 0..self.shards.len() {
            let to = ShardId(u32::try_from(shard).expect("few shards"));
            out.push(SliceEffect::Frame { slice: self.slice, to, frame: Arc::clone(&frame) });
        }
    }

    fn without_events(&self, News { decided_seen, stable }: News) -> CandidateFrame {
        let (after, through) = (self.flushed, self.flushed);
        let (probes, claims, closes, settled) = (vec![], vec![], vec![], vec![]);
        let audience = Audience::nobody();
        CandidateFrame { after, through, decided_seen, stable, audience, probes, claims, closes, settled }
    }

    pub(super) fn trim(&mut self, stable: Stable) {
        for frames in &mut self.shards {
            while let Some(frame) = frames.kept.front()
                && stable.covers(frame.through)
            {
                self.floor.raise(Cursor(frame.through));
                frames.kept.pop_front();
            }
        }
    }

    pub(super) fn backlog(&self, shard: ShardId, after: Cursor, news: News) -> Result<CandidateBacklog, CursorTooOld> {
        if after < self.floor {
            return Err(CursorTooOld { after, floor: self.floor });
        }
        let kept = self.shards[shard.0 as usize].kept.iter();
        let mut frames: Vec<_> = kept.filter(|frame| !after.covers(frame.through)).map(Arc::clone).collect();
        // `decided_seen` ascends from frame to frame, so the first has the lowest.
        let lowest = frames.first().map_or(news.decided_seen, |frame| frame.decided_seen);
        // What was told when there were no events is not kept, so it is told again.
        frames.push(Arc::new(self.without_events(news)));
        Ok(CandidateBacklog { decided_seen: lowest, frames })
    }

    pub(super) fn floor(&self) -> Cursor {
        self.floor
    }

    pub(super) fn kept(&self) -> usize {
        self.shards.iter().map(|frames| frames.kept.len()).sum()
    }
}
