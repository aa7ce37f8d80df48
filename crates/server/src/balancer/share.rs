//! What a balancer has beside its ledger that shares its log with others: who writes, what was followed, what has to
//! wait until it was.

use std::{collections::BTreeMap, sync::Arc};

use dovetail_core::{EventId, ShardId, ledger::Ledger, planted::Planted};
use dovetail_log::shared::{Beat, Position, Term as SharedTerm, WriterId};
use dovetail_node::{
    BalancerId, Term, Writer,
    balancer::{Asked, BalancerBeat, DecisionsAhead, Leadership, LeadershipSettings, Reign, Replay},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::{
    beats::Beats,
    reign::{Place, Writes},
    shared_log::{FollowedPart, Pace, SharedLog},
    written::AskedFor,
};
use crate::{
    settings::{NodeSettings, Settings},
    time,
};
use dovetail::pb;

/// Most bytes of decisions that are held until the log has what they are about.
const AHEAD_BYTES: usize = 64 << 20;

/// What comes to an engine that shares its log.
#[derive(Debug)]
pub(super) enum ShareInput {
    /// From the log.
    Followed(FollowedPart),
    /// From another balancer, or this one.
    Heard(Beat),
    /// It is time to say that this one lives.
    Tick,
}

/// What another balancer says of itself.
#[derive(Clone, Debug)]
struct OtherBalancer {
    at: Instant,
    beat: Beat,
}

/// What a balancer has that shares its log.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) leadership: Leadership,
    pub(super) replay: Replay,
    pub(super) ahead: DecisionsAhead,
    /// Shards for whose decisions there was no room: nothing of them is taken until they are dialled again.
    left: Vec<bool>,
    /// Tells who reads them.
    pub(super) leave: Arc<[Notify]>,
    /// The time of the last event that was followed.
    pub(super) time_ms: u64,
    /// Everything up to here is in the results.
    pub(super) stored: EventId,
    pub(super) was_active: bool,
    /// The engine that keeps the log does not answer.
    pub(super) silent: bool,
    /// Somebody wants another to take over, and waits until one has.
    pub(super) yielding: Option<oneshot::Sender<()>>,
    /// It says so.
    yields: bool,
    /// The shared log was trimmed up to here.
    trimmed: EventId,
    pub(super) settings: NodeSettings,
    others: BTreeMap<BalancerId, OtherBalancer>,
    pace: Pace,
    began: Instant,
    next_tick: Instant,
    beats: Beats,
    followed: mpsc::Receiver<FollowedPart>,
}

impl Share {
    /// Of a balancer that begins to follow a log behind what its ledger has, and an event of `time_ms`.
    pub(super) fn new(
        SharedLog { me: writer, pace, .. }: &SharedLog,
        (ledger, time_ms): (&Ledger, u64),
        beats: Beats,
        followed: mpsc::Receiver<FollowedPart>,
        Settings { cluster, node }: &Settings,
    ) -> Share {
        let began = Instant::now();
        let leadership = LeadershipSettings {
            me: BalancerId(node.index),
            writer: Writer(writer.0),
            takeover_after_ms: time::ms(pace.takeover_after),
            stagger_ms: time::ms(pace.stagger()),
            grace_ms: time::ms(pace.grace),
        };
        Share {
            leadership: Leadership::new(leadership, 0, Planted::default()),
            replay: Replay::new(ledger, Planted::default()),
            ahead: DecisionsAhead::new(cluster.gatherers, AHEAD_BYTES),
            left: vec![false; cluster.gatherers as usize],
            leave: (0..cluster.gatherers).map(|_| Notify::new()).collect(),
            time_ms,
            stored: ledger.decided().event(),
            was_active: false,
            silent: false,
            yielding: None,
            yields: false,
            trimmed: EventId::ZERO,
            settings: node.clone(),
            others: BTreeMap::new(),
            pace: *pace,
            began,
            next_tick: began,
            beats,
            followed,
        }
    }

    /// Where the balancers are, by index.
    fn addresses(&self) -> &[String] {
        &self.settings.addresses.balancers
    }

    /// Where a balancer is, if it is of the settings.
    fn address(&self, balancer: BalancerId) -> Option<&str> {
        self.addresses().get(balancer.0 as usize).map(String::as_str)
    }

    /// What comes next. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> ShareInput {
        let Share { beats, followed, next_tick, pace, .. } = self;
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(*next_tick) => {
                *next_tick = Instant::now() + pace.beat;
                ShareInput::Tick
            }
            Some(beat) = beats.heard.recv() => ShareInput::Heard(beat),
            Some(part) = followed.recv() => ShareInput::Followed(part),
        }
    }

    /// The clock of who writes.
    pub(super) fn now_ms(&self) -> u64 {
        time::ms(self.began.elapsed())
    }

    fn balancer(&self, address: &str) -> Option<BalancerId> {
        let at = self.addresses().iter().position(|known| known == address)?;
        Some(BalancerId(u32::try_from(at).expect("settings bound them")))
    }

    fn reign(&self, term: &SharedTerm) -> Reign {
        // One that the settings do not have is none of these, and writes all the same.
        let balancer = self.balancer(&term.address).unwrap_or(BalancerId(u32::MAX));
        Reign { term: Term(term.at.0), balancer, writer: Writer(term.writer.0) }
    }

    pub(super) fn on_term(&mut self, term: &SharedTerm) {
        let (reign, now_ms) = (self.reign(term), self.now_ms());
        self.leadership.on_term(reign, now_ms);
    }

    pub(super) fn on_asked(&mut self, asked: &AskedFor) {
        let now_ms = self.now_ms();
        let asked = match asked {
            AskedFor::Won(at) => Asked::Won(Term(at.0)),
            AskedFor::Lost(newest) => Asked::Lost(self.reign(newest)),
        };
        self.leadership.on_asked(asked, now_ms);
    }

    pub(super) fn on_beat(&mut self, beat: Beat) {
        let Some(balancer) = self.balancer(&beat.address) else { return };
        let now_ms = self.now_ms();
        let said = BalancerBeat {
            balancer,
            writer: Writer(beat.writer.0),
            term: beat.term.map(|at| Term(at.0)),
            recorded: EventId(beat.recorded),
            stored: EventId(beat.stored),
            yields: beat.yields,
        };
        self.leadership.on_beat(&said, now_ms);
        if balancer != self.leadership.me().0 {
            self.others.insert(balancer, OtherBalancer { at: Instant::now(), beat });
        }
    }

    /// Says that it lives, and that it needs nothing of the log up to `kept` to begin again.
    pub(super) fn beat(&mut self, durable: EventId, kept: EventId) {
        let BalancerBeat { writer, term, recorded, stored, yields, .. } =
            self.leadership.beat(durable, self.stored, self.yields);
        // The thread is gone with the process, most likely.
        _ = self.beats.say.send(Beat {
            writer: WriterId(writer.0),
            term: term.map(|term| Position(term.0)),
            recorded: recorded.0,
            stored: stored.0,
            kept: kept.0,
            address: self.settings.address().to_owned(),
            yields,
        });
    }

    /// Says from now on that another should take over.
    pub(super) fn give_way(&mut self) {
        self.yields = true;
    }

    /// Whether another can take over at once.
    pub(super) fn is_followed(&self) -> bool {
        self.others.values().any(|other| other.at.elapsed() < self.pace.takeover_after)
    }

    /// What every balancer can do without of the log, this one up to `own`, if that has moved: it may be trimmed up to
    /// there.
    pub(super) fn unneeded(&mut self, own: EventId) -> Option<EventId> {
        let (me, _) = self.leadership.me();
        let kept =
            (0..).map(BalancerId).take(self.addresses().len()).map(|balancer| match self.others.get(&balancer) {
                _ if balancer == me => own,
                Some(other) => EventId(other.beat.kept),
                None => EventId::ZERO,
            });
        let unneeded = kept.min().unwrap_or(EventId::ZERO);
        (unneeded > std::mem::replace(&mut self.trimmed, unneeded)).then_some(unneeded)
    }

    /// What every balancer has stored: nobody fetches results up to there.
    pub(super) fn stored_by_all(&self) -> EventId {
        self.leadership.stored_by_all(u32::try_from(self.addresses().len()).expect("settings bound them"))
    }

    /// There was no room for what a shard says.
    pub(super) fn leave(&mut self, shard: ShardId) {
        self.left[shard.0 as usize] = true;
        self.leave[shard.0 as usize].notify_one();
    }

    /// Whether nothing of a shard is taken.
    pub(super) fn has_left(&self, shard: ShardId) -> bool {
        self.left[shard.0 as usize]
    }

    /// A shard is dialled. Whether it may be: what was held of it comes again.
    pub(super) fn on_dial(&mut self, shard: ShardId) -> bool {
        let may = self.ahead.may_read(shard);
        if may {
            self.ahead.forget(shard);
            self.left[shard.0 as usize] = false;
        }
        may
    }

    /// Whether another balancer writes, as far as is known.
    pub(super) fn another_writes(&self) -> bool {
        self.leadership.newest().is_some_and(|newest| newest.balancer != self.leadership.me().0)
    }

    /// What it is, for those who ask.
    pub(super) fn place(&self) -> Place {
        match self.leadership.newest() {
            Some(newest) if self.was_active && self.leadership.is_active() => Place::Active(newest.term),
            newest => Place::StandsBy(newest.and_then(|Reign { term, balancer, .. }| {
                let address = self.address(balancer)?.into();
                Some(Writes { balancer, address, term })
            })),
        }
    }

    /// For `Inspect`.
    pub(super) fn pb(&self) -> pb::SharedLogState {
        let newest = self.leadership.newest();
        let address = newest.and_then(|newest| self.address(newest.balancer));
        let other = |(balancer, OtherBalancer { at, beat }): (&BalancerId, &OtherBalancer)| pb::OtherBalancer {
            index: balancer.0,
            address: beat.address.clone(),
            durable: beat.recorded,
            stored: beat.stored,
            heard_ms: time::ms(at.elapsed()),
        };
        pb::SharedLogState {
            active: self.leadership.is_active(),
            term: newest.map_or(0, |newest| newest.term.0),
            active_address: address.unwrap_or_default().to_owned(),
            silent: self.silent,
            others: self.others.iter().map(other).collect(),
            decisions_held_bytes: self.ahead.bytes() as u64,
        }
    }
}
