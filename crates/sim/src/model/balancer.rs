//! The model's balancer: the ledger, the machines of the balancer's side that the server runs, and a disk.
//!
//! The disk has a frame as soon as it is appended, and results when the model says so. What a balancer shows before the
//! disk has it would be another thing after a crash; a balancer of the model does not crash, so that is checked here.

use std::{array, fmt, mem, sync::Arc};

use dovetail_core::{
    ColumnFrame, Cursor, DecisionFrame, Event, EventId, EventKind, Frame, PoolId, Retirement, Stable,
    batch::KeySecret,
    ledger::{ClientPart, CutElements, Ledger, LedgerLimits, Outcome},
    planted::Planted,
    shard::Fetch,
    slice::SliceCut,
};
use dovetail_node::{
    Step,
    balancer::{
        DecisionLinks, Durability, Feed, FeedAction, FeedFrame, LogSpan, PublishedFrame, ResultsSpan, Visible,
        check_fetch, frame,
    },
};

use super::{
    script::Plan,
    wire::{SHARDS, SLICES, shard_id, slice_id},
};
use crate::disk;

/// What comes of an input.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// Frames for slices, in order.
    pub(super) log: Vec<(u8, Arc<ColumnFrame>)>,
    /// The stable cut, for every slice.
    pub(super) stable: Option<EventId>,
    /// From where to where outcomes were published, and which.
    pub(super) published: Option<(EventId, EventId, Vec<Retirement>)>,
}

/// A balancer.
#[derive(Debug)]
pub(super) struct ModelBalancer {
    ledger: Ledger,
    durability: Durability,
    decisions: DecisionLinks,
    /// By slice.
    feeds: [Option<Reader>; SLICES],
    log: Vec<Logged>,
    /// Outcomes that are not published.
    outcomes: Vec<Outcome>,
    published: EventId,
    /// Up to where results are on disk.
    stored: EventId,
    plan: Told<Arc<Plan>>,
    planted: Planted,
}

/// A slice that reads the log.
#[derive(Debug)]
struct Reader {
    feed: Feed,
    /// It was asked to be called after a while.
    lingers: bool,
}

/// A frame that is on disk.
struct Logged(Arc<PublishedFrame>);

impl fmt::Debug for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in it follows from the script.
        let Frame { after, through, time_ms: _, stable, audience, events: _ } = self.0.frame();
        write!(f, "Logged({after:?}, {through:?}, {stable:?}, {audience:?})")
    }
}

/// What is the same in all states.
struct Told<T>(T);

impl<T> fmt::Debug for Told<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl ModelBalancer {
    /// A balancer whose pool is defined, and that is decided and stored.
    pub(super) fn new(plan: &Arc<Plan>, planted: Planted) -> ModelBalancer {
        let shards = u32::try_from(SHARDS).expect("few");
        let mut ledger = Ledger::new(LIMITS, shards);
        ledger.plant(planted);
        let kind = EventKind::PoolDefined { pool: PoolId(0), definition: Arc::clone(&plan.definition) };
        ledger.record(plan.start, 0, &kind, None).expect("the rule compiles");
        ledger.restore(plan.start, &[]).expect("nothing was decided before");
        ModelBalancer {
            durability: Durability::new(&ledger, planted),
            decisions: DecisionLinks::new(shards, planted),
            feeds: array::from_fn(|_| None),
            log: Vec::new(),
            outcomes: Vec::new(),
            published: ledger.decided().event(),
            stored: ledger.stable().event(),
            plan: Told(Arc::clone(plan)),
            ledger,
            planted,
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether something is published and not stored.
    pub(super) fn unstored(&self) -> bool {
        self.stored < self.published
    }

    /// Up to where results are on disk.
    pub(super) fn stored(&self) -> EventId {
        self.stored
    }

    /// The slices for which something is held back that is sent after a while, one bit each.
    pub(super) fn lingers(&self) -> u8 {
        let lingers = |slice: &usize| self.feeds[*slice].as_ref().is_some_and(|reader| reader.lingers);
        (0..SLICES).filter(lingers).map(|slice| 1 << slice).sum()
    }

    /// The next events are recorded, and their frame is taken.
    pub(super) fn on_events(&mut self) -> Result<Shown, String> {
        let mut frame = self.plan.0.frame(self.durability.durable().next());
        frame.stable = self.ledger.to_tell();
        let mut clients = Vec::new();
        for event in &frame.events {
            let client = matches!(event.kind, EventKind::Arrival { .. }).then(|| client_part(event));
            clients.extend(client.clone());
            self.ledger.record(event.x, frame.time_ms, &event.kind, client).expect("it defines nothing");
        }
        let parts = disk::parts(&frame, &clients);
        let (plan, planted) = (&self.plan.0, self.planted);
        let audience = |parts: &_, ledger: &_| frame::audience(parts, ledger, &plan.placement, planted);
        let mut visible = Vec::new();
        self.durability.on_frame(parts, &mut self.ledger, audience, &mut visible);
        let mut shown = Shown::default();
        self.act(visible, &mut shown)?;
        let mut visible = Vec::new();
        self.durability.on_written(1, frame.through, &mut visible);
        self.act(visible, &mut shown)?;
        Ok(shown)
    }

    /// A shard answered. The cursor that was asked for is the one of now.
    pub(super) fn on_hello(&mut self, shard: u8, floor: Cursor) -> Result<(), String> {
        self.decisions.on_dial(shard_id(shard), &self.ledger);
        match self.decisions.on_hello(shard_id(shard), floor) {
            Step::Break(lost) => Err(lost.to_string()),
            Step::Subscribe(_) | Step::Fetch(_) | Step::Read => Ok(()),
        }
    }

    /// A shard decided something.
    pub(super) fn on_decisions(&mut self, shard: u8, frame: &DecisionFrame) -> Result<Shown, String> {
        let moved = self.decisions.on_frame(shard_id(shard), frame, &mut self.ledger, &mut self.outcomes);
        let mut visible = Vec::new();
        if let Some(through) = moved.map_err(|error| error.to_string())? {
            self.durability.on_decided(through, &mut visible);
        }
        self.durability.move_stable(&self.ledger, &mut visible);
        let mut shown = Shown::default();
        self.act(visible, &mut shown)?;
        Ok(shown)
    }

    /// The disk has the results of all that is published.
    pub(super) fn on_stored(&mut self) -> Result<Shown, String> {
        self.stored = self.published;
        let mut visible = Vec::new();
        self.durability.on_stored(self.stored, &mut self.ledger, &mut visible);
        let mut shown = Shown::default();
        self.act(visible, &mut shown)?;
        Ok(shown)
    }

    /// A slice begins at the cut, which it gets in parts; then the log comes.
    pub(super) fn on_subscribe(&mut self, slice: u8) -> (Vec<SliceCut>, Shown) {
        let log = LogSpan { floor: Cursor(self.plan.0.start), durable: self.durability.durable() };
        let slices = [slice_id(slice)].into();
        let feed = Feed::on_subscribe(slices, None, log, self.planted).expect("who asks for a cut is served");
        let parts = self.cut(slice);
        let mut reader = Reader { feed, lingers: false };
        reader.feed.on_cut(Stable(parts[0].through));
        self.feeds[usize::from(slice)] = Some(reader);
        let mut shown = Shown::default();
        self.read_on(slice, log.durable, &mut shown);
        (parts, shown)
    }

    /// What is held back from a slice has waited long enough.
    pub(super) fn on_linger(&mut self, slice: u8) -> Shown {
        let reader = self.feeds[usize::from(slice)].as_mut().expect("who lingers reads");
        reader.lingers = false;
        let held = reader.feed.on_linger().expect("something is held back");
        let frame = self.needed(slice, &held);
        Shown { log: vec![(slice, frame)], ..Shown::default() }
    }

    /// What a node fetches.
    pub(super) fn check_fetch(fetch: Fetch, stored: EventId) -> Result<(), String> {
        let results = ResultsSpan { floor: Cursor::ZERO, stable: Stable(stored) };
        check_fetch(fetch, results, Planted::default()).map_err(|refused| refused.to_string())
    }

    /// The cut for a slice, one element after the other.
    fn cut(&self, slice: u8) -> Vec<SliceCut> {
        let (first, mut cutting) = self.ledger.begin_cut();
        let through = first.through;
        let mut parts = vec![first];
        loop {
            let mine = |place| self.plan.0.placement.owner(place) == slice_id(slice);
            let part = self.ledger.cut_part(&mut cutting, (1, 1), mine);
            let CutElements { waiting, last } = part.expect("nothing is forgotten meanwhile");
            parts.push(SliceCut { through, waiting, ..SliceCut::default() });
            if last {
                parts.retain(|part| !part.waiting.is_empty() || !part.pools.is_empty());
                return parts;
            }
        }
    }

    /// Does what has to be done, in that order.
    fn act(&mut self, visible: Vec<Visible>, shown: &mut Shown) -> Result<(), String> {
        for visible in visible {
            match visible {
                Visible::Append(frame) => self.log.push(Logged(Arc::new(PublishedFrame::new(frame)))),
                Visible::Broadcast(through) => {
                    self.check("broadcast", through, self.durability.durable())?;
                    (0..SLICES as u8).for_each(|slice| self.read_on(slice, through, shown));
                }
                Visible::Acknowledge(through) => {
                    self.check("acknowledged", through, self.durability.durable())?;
                }
                Visible::Publish(through) => {
                    let outcomes = mem::take(&mut self.outcomes);
                    let outcomes = outcomes.iter().map(Outcome::retirement).collect();
                    shown.published =
                        Some((mem::replace(&mut self.published, through.event()), through.event(), outcomes));
                }
                Visible::Store(through) => self.check("appended to the results", through.event(), self.published)?,
                Visible::TellStable(stable) => {
                    self.check("told to be stable", stable.event(), self.stored)?;
                    shown.stable = Some(stable.event());
                }
            }
        }
        Ok(())
    }

    fn check(&self, what: &str, through: EventId, bound: EventId) -> Result<(), String> {
        if through > bound { Err(format!("{through} is {what}, and only {bound} may be")) } else { Ok(()) }
    }

    /// Gives a slice what the log has for it.
    fn read_on(&mut self, slice: u8, through: EventId, shown: &mut Shown) {
        let Some(reader) = &mut self.feeds[usize::from(slice)] else { return };
        let mut sent = Vec::new();
        for Logged(frame) in self.log.iter().take_while(|Logged(frame)| frame.frame().through <= through) {
            if frame.frame().through <= reader.feed.cursor().event() {
                continue;
            }
            match reader.feed.on_frame(Arc::clone(frame)) {
                Some(FeedAction::Send(frame)) => {
                    reader.lingers = false;
                    sent.push(frame);
                }
                Some(FeedAction::Linger) => reader.lingers = true,
                None => {}
            }
        }
        shown.log.extend(sent.iter().map(|frame| (slice, self.needed(slice, frame))));
    }

    /// A frame with the events that a slice needs. It still covers the ids of the others.
    fn needed(&self, slice: u8, FeedFrame { after, audience, last }: &FeedFrame) -> Arc<ColumnFrame> {
        let feed = &self.feeds[usize::from(slice)].as_ref().expect("it reads").feed;
        let pool = |id| Some(&self.ledger.find_pool(id)?.pool);
        let owners = last.owners(|frame| frame::owners(frame, pool, &self.plan.0.placement, self.planted));
        let needs = |place: usize, at: usize| feed.needs(&owners[place], at);
        Arc::new(frame::pick(last.frame(), (*after, last.frame().through), audience, needs, self.planted))
    }
}

/// What the client said of an element.
fn client_part(event: &Event) -> ClientPart {
    ClientPart {
        key: event.x.to_string().into(),
        payload: bytes::Bytes::new(),
        ttl_ms: 0,
        idempotency_key: "".into(),
        owner: "".into(),
    }
}

const LIMITS: LedgerLimits = LedgerLimits {
    waiting_max: 100,
    waiting_total_max: 100,
    waiting_bytes_max: u64::MAX,
    waiting_bytes_total_max: u64::MAX,
    element_bytes_max: 65_536,
    payload_bytes_max: 100,
    ended_max: 100,
    idempotency_ms: 1_000,
    idempotency_max: 100,
    idempotency_total_max: 100,
    search_cost_max: u64::MAX,
    slices: 1,
    key_secret: KeySecret([0; 2]),
};
