//! What should be: the sequential program on the durable log. Everything that nodes decide is held against it at once.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use dovetail_core::{
    ElementId, Event, EventId, EventKind, LogFrame, Place, Placement, Pool, PoolId, Retirement, ShardId, SliceId,
    WithdrawReason,
    ledger::{ClientPart, Outcome, OutcomeEnd},
    oracle::Oracle,
};
use dovetail_rule::{Row, Split};

use crate::violation::Violation;

/// The oracle on the durable log, and what was announced of it.
#[derive(Debug)]
pub struct Truth {
    placement: Placement,
    oracle: Oracle,
    /// By event, from 0.
    events: Vec<Decided>,
    elements: HashMap<ElementId, Known>,
    pools: Vec<Pool>,
    /// By pool, when it was closed and when it was dropped.
    drops: Vec<(Option<EventId>, Option<EventId>)>,
    /// Which element an idempotency key made last, and when.
    made: HashMap<(PoolId, Box<str>), (ElementId, u64)>,
    /// When elements were made with an idempotency key, and in which pool.
    keyed: Vec<(PoolId, u64)>,
    /// The element that had a key last.
    keys: HashMap<(PoolId, Arc<str>), ElementId>,
    /// How far each slice ever got.
    searched: Vec<EventId>,
    /// The stable cut that the last frame of the durable log names.
    named: EventId,
}

/// What one event decides.
#[derive(Debug, Default)]
struct Decided {
    retirement: Option<Retirement>,
    time_ms: u64,
    reason: Option<WithdrawReason>,
    /// The slice and the shard that alone are concerned; none when all are.
    only: Option<(SliceId, ShardId)>,
    /// Whether a shard has announced it.
    announced: bool,
    /// Whether a client could have seen it.
    published: bool,
}

#[derive(Debug)]
struct Known {
    pool: PoolId,
    place: Place,
    key: Arc<str>,
    payload: Bytes,
    owner: Arc<str>,
    ended: Option<EventId>,
    /// When its time to live ends.
    expires_ms: Option<u64>,
    arrived_ms: u64,
    /// When it searched again, last.
    searched_ms: u64,
    /// How often it may still search again.
    reprobes_left: usize,
}

impl Truth {
    /// Before every event.
    #[must_use]
    pub fn new(placement: Placement) -> Truth {
        Truth {
            searched: vec![EventId::ZERO; placement.slices() as usize],
            placement,
            oracle: Oracle::new(),
            events: vec![Decided::default()],
            elements: HashMap::new(),
            pools: Vec::new(),
            drops: Vec::new(),
            made: HashMap::new(),
            keyed: Vec::new(),
            keys: HashMap::new(),
            named: EventId::ZERO,
        }
    }

    /// The last durable event.
    #[must_use]
    pub fn durable(&self) -> EventId {
        EventId(self.events.len() as u64 - 1)
    }

    /// The elements that wait after the durable log.
    pub fn waiting(&self) -> impl Iterator<Item = ElementId> {
        self.oracle.waiting()
    }

    /// How many matches and withdrawals the durable log has.
    #[must_use]
    pub fn outcomes(&self) -> (u64, u64) {
        let retirements = || self.events.iter().filter_map(|event| event.retirement);
        let matches = retirements().filter(|retirement| retirement.anchor.is_some()).count();
        (matches as u64, (retirements().count() - matches) as u64)
    }

    /// The same of the pools that are not dropped.
    #[must_use]
    pub fn outcomes_of_pools_left(&self) -> (u64, u64) {
        let left = |told: &Retirement| self.drops[self.elements[&told.element].pool.0 as usize].1.is_none();
        let retirements = || self.events.iter().filter_map(|event| event.retirement).filter(left);
        let matches = retirements().filter(|retirement| retirement.anchor.is_some()).count();
        (matches as u64, (retirements().count() - matches) as u64)
    }

    /// How many pools were dropped.
    #[must_use]
    pub fn pools_dropped(&self) -> u64 {
        self.drops.iter().filter(|(_, dropped)| dropped.is_some()).count() as u64
    }

    /// The event that ended an element, if any.
    #[must_use]
    pub fn ended(&self, element: ElementId) -> Option<EventId> {
        self.elements.get(&element).and_then(|known| known.ended)
    }

    /// The event that ended an element, if any, and the shard that announces it.
    #[must_use]
    pub fn retired(&self, element: ElementId) -> Option<(EventId, ShardId)> {
        let x = self.ended(element)?;
        let prober = self.events[index(x)].retirement?.element;
        Some((x, self.placement.home(self.place(prober))))
    }

    /// Every element of the durable log, and the event that ended it.
    pub fn elements(&self) -> impl Iterator<Item = (ElementId, Option<EventId>)> {
        self.elements.iter().map(|(&element, known)| (element, known.ended))
    }

    /// The element that an idempotency key made, and when.
    #[must_use]
    pub fn made(&self, pool: PoolId, idempotency_key: &str) -> Option<(ElementId, u64)> {
        self.made.get(&(pool, idempotency_key.into())).copied()
    }

    /// How many idempotency keys have made an element at or after a time: in a pool, and in all.
    #[must_use]
    pub fn keyed(&self, pool: PoolId, from_ms: u64) -> (usize, usize) {
        let since = self.keyed.iter().filter(|&&(_, at_ms)| at_ms >= from_ms);
        (since.clone().filter(|&&(of, _)| of == pool).count(), since.count())
    }

    /// The stable cut that the durable log tells.
    #[must_use]
    pub fn told(&self) -> EventId {
        self.named
    }

    /// How many elements the next frame of the log may still name though they are retired.
    #[must_use]
    pub fn nameable(&self) -> usize {
        let retirements = self.events[index(self.named.next())..].iter().filter_map(|event| event.retirement);
        retirements.flat_map(|retirement| retirement.ends()).count()
    }

    /// A frame is on disk: whatever happens, its events have happened.
    ///
    /// # Errors
    /// When ids are not dense, or time or the stable cut that frames tell goes back, or an event names an element
    /// retired at or below that.
    pub fn on_durable(&mut self, frame: &LogFrame, clients: &[ClientPart]) -> Result<(), Violation> {
        let last = self.events.last().expect("there is an event 0");
        if frame.after != self.durable() || frame.time_ms < last.time_ms {
            let (found, expected) = ((frame.after, frame.time_ms), (self.durable(), last.time_ms));
            return Err(differs("a frame's beginning and time", format!("{found:?}"), format!("{expected:?}")));
        }
        if frame.stable.event() < self.named {
            let (found, expected) = (frame.stable.to_string(), format!("{} or above", self.named));
            return Err(differs("the stable cut that a frame tells", found, expected));
        }
        self.named = frame.stable.event();
        let mut clients = clients.iter();
        for event in &frame.events {
            self.check_time(event, frame.time_ms)?;
            self.check_drops(event)?;
            self.check_named(event)?;
            let decided = self.oracle.on_event(event.x, frame.time_ms, &event.kind);
            let retirement = decided.expect("what the ledger recorded compiles");
            let reason = match &event.kind {
                EventKind::Withdrawal { reason, .. } => Some(*reason),
                _ => None,
            };
            match &event.kind {
                EventKind::Arrival { pool, row } => {
                    let client = clients.next().expect("an arrival has a client part");
                    self.on_arrival(event.x.into(), frame.time_ms, (*pool, row), client)?;
                }
                EventKind::Reprobe { element, .. } => self.on_reprobe(*element, frame.time_ms)?,
                EventKind::PoolDefined { pool, definition } => {
                    let pool = Pool::compile(*pool, Arc::clone(definition));
                    self.pools.push(pool.expect("what the ledger recorded compiles"));
                    self.drops.push((None, None));
                }
                EventKind::PoolClosed { pool } => self.drops[pool.0 as usize].0 = Some(event.x),
                EventKind::PoolDropped { pool } => self.drops[pool.0 as usize].1 = Some(event.x),
                EventKind::Withdrawal { .. } => {}
            }
            for end in retirement.iter().flat_map(Retirement::ends) {
                self.elements.get_mut(&end).expect("it arrived").ended = Some(event.x);
            }
            let only = self.only_at(event);
            let only = only.map(|place| (self.placement.owner(place), self.placement.home(place)));
            self.events.push(Decided { retirement, time_ms: frame.time_ms, reason, only, ..Decided::default() });
        }
        Ok(())
    }

    /// Nodes may have forgotten what was retired at or below the stable cut that a frame tells.
    fn check_named(&self, event: &Event) -> Result<(), Violation> {
        let (EventKind::Withdrawal { element, .. } | EventKind::Reprobe { element, .. }) = event.kind else {
            return Ok(());
        };
        let ended = self.elements.get(&element).and_then(|known| known.ended);
        match ended.filter(|&ended| ended <= self.named) {
            None => Ok(()),
            Some(ended) => {
                let what = format!("the element that {} names, which ended at {ended}", event.x);
                Err(differs(what, element.to_string(), format!("one that waits at {}", self.named)))
            }
        }
    }

    /// The place of an event's element, when one slice alone is concerned by it.
    fn only_at(&self, event: &Event) -> Option<Place> {
        let pool = |pool: PoolId| Some(&self.pools[pool.0 as usize]);
        match event.kind {
            EventKind::Withdrawal { element, pool: of, .. } if self.pools[of.0 as usize].split() != Split::Index => {
                Some(self.place(element))
            }
            _ => event.only_at(pool),
        }
    }

    /// A shard announces a retirement.
    ///
    /// # Errors
    /// When it is not the oracle's.
    pub fn on_announced(&mut self, shard: ShardId, told: Retirement) -> Result<(), Violation> {
        let expected = self.events.get(index(told.x)).and_then(|event| event.retirement);
        if expected != Some(told) {
            return Err(Violation::Diverged { by: shard.to_string(), x: told.x, told: Some(told), expected });
        }
        self.events[index(told.x)].announced = true;
        Ok(())
    }

    /// A shard says that what is homed there is decided in `(before, through]`.
    ///
    /// # Errors
    /// When it has not announced all of it.
    pub fn on_shard_decided(&self, shard: ShardId, before: EventId, through: EventId) -> Result<(), Violation> {
        self.check_bound(|| format!("watermark of {shard}"), through)?;
        for x in before.0 + 1..=through.0 {
            let event = &self.events[index(EventId(x))];
            let Some(expected) = event.retirement.filter(|_| !event.announced) else { continue };
            if self.placement.home(self.elements[&expected.element].place) == shard {
                let by = format!("{shard}, whose watermark is {through},");
                return Err(Violation::Diverged { by, x: EventId(x), told: None, expected: Some(expected) });
            }
        }
        Ok(())
    }

    /// A balancer publishes what was decided in `(before, through]`. Returns how much of it had been published before.
    ///
    /// # Errors
    /// When it is not exactly what the oracle has there.
    pub fn on_published(&mut self, before: EventId, through: EventId, outcomes: &[Outcome]) -> Result<u64, Violation> {
        self.check_bound(|| "decided watermark".to_owned(), through)?;
        let mut told = outcomes.iter().peekable();
        let mut repeated = 0;
        for x in before.0 + 1..=through.0 {
            let x = EventId(x);
            let outcome = told.next_if(|outcome| outcome.x == x);
            let (found, expected) = (outcome.map(Outcome::retirement), self.events[index(x)].retirement);
            if found != expected {
                return Err(Violation::Diverged { by: "balancer".to_owned(), x, told: found, expected });
            }
            if let Some(outcome) = outcome {
                self.check_outcome(outcome)?;
                repeated += u64::from(std::mem::replace(&mut self.events[index(x)].published, true));
            }
        }
        match told.next() {
            Some(stray) => Err(Violation::OutOfOrder { x: stray.x, before: through }),
            None => Ok(repeated),
        }
    }

    /// A slice has searched up to some event.
    ///
    /// # Errors
    /// When that is above the durable log.
    pub fn on_searched(&mut self, slice: SliceId, through: EventId) -> Result<(), Violation> {
        self.check_bound(|| format!("{slice}'s search"), through)?;
        let searched = &mut self.searched[slice.0 as usize];
        *searched = through.max(*searched);
        Ok(())
    }

    /// A watermark of the decisions of one shard, or of all: every slice has searched what concerns it and them.
    ///
    /// # Errors
    /// When one has not.
    pub fn check_searched(&self, what: &str, of: Option<ShardId>, found: EventId) -> Result<(), Violation> {
        let unsearched = |(slice, &searched): (SliceId, &EventId)| {
            let missed = self.events.get(index(searched.next())..=index(found)).unwrap_or_default();
            let concerns = |(only, home)| only == slice && of.is_none_or(|shard| shard == home);
            let first = missed.iter().position(|event| event.only.is_none_or(concerns))?;
            Some(EventId(searched.0 + first as u64))
        };
        let Some(bound) = (0..).map(SliceId).zip(&self.searched).filter_map(unsearched).min() else { return Ok(()) };
        let bound_by = "what every slice has searched".to_owned();
        Err(Violation::Watermark { what: what.to_owned(), found, bound_by, bound })
    }

    /// At the end: what still waits has searched as often as its pool wants, and has no time to live.
    ///
    /// # Errors
    /// When its timers were forgotten.
    pub fn check_timers(&self) -> Result<(), Violation> {
        for element in self.oracle.waiting() {
            let known = &self.elements[&element];
            let schedule = &self.pools[known.pool.0 as usize].definition.reprobe_ms;
            if let (Some(closed), _) = self.drops[known.pool.0 as usize] {
                let found = format!("{element} waits, and its pool was closed at {closed}");
                return Err(differs("a pool at the end", found, "nobody waits in it".to_owned()));
            }
            let last_ms = schedule.iter().max().map_or(0, |last| known.arrived_ms + last + 1);
            if known.expires_ms.is_some() || known.searched_ms < last_ms {
                let found = format!("searched at {}, expires {:?}", known.searched_ms, known.expires_ms);
                return Err(differs(format!("timers of {element}"), found, format!("searched at {last_ms} or later")));
            }
        }
        Ok(())
    }

    /// At the end: everything the oracle has was published.
    ///
    /// # Errors
    /// When an outcome is missing.
    pub fn check_complete(&self) -> Result<(), Violation> {
        let mut events = self.events.iter().zip(0..);
        match events.find(|(event, _)| event.retirement.is_some() && !event.published) {
            None => Ok(()),
            Some((event, x)) => {
                let by = "balancer, when all was done,".to_owned();
                Err(Violation::Diverged { by, x: EventId(x), told: None, expected: event.retirement })
            }
        }
    }

    /// Where an element of the durable log belongs.
    #[must_use]
    pub fn place(&self, element: ElementId) -> Place {
        self.elements[&element].place
    }

    /// A search finds no element in its pool whose time to live is over, and an arrival comes after every reprobe that
    /// was due. An element whose time to live is over is not withdrawn for another reason.
    fn check_time(&self, event: &Event, time_ms: u64) -> Result<(), Violation> {
        let (arrives, pool) = match event.kind {
            EventKind::Arrival { pool, .. } => (true, pool),
            EventKind::Reprobe { pool, .. } => (false, pool),
            EventKind::Withdrawal { element, reason, .. } => return self.check_reason(element, reason, time_ms),
            _ => return Ok(()),
        };
        for element in self.oracle.waiting() {
            let known = &self.elements[&element];
            if known.pool != pool {
                continue;
            }
            let schedule = &self.pools[known.pool.0 as usize].definition.reprobe_ms;
            let due_ms = schedule.iter().map(|delay| known.arrived_ms + delay + 1).filter(|&due| due <= time_ms).max();
            // No element searches in a pool that is being dropped.
            let closed = self.drops[known.pool.0 as usize].0.is_some();
            let searched = closed || !arrives || due_ms.is_none_or(|due_ms| known.searched_ms >= due_ms);
            if known.expires_ms.is_some_and(|due_ms| due_ms <= time_ms) || !searched {
                let found = format!("expires {:?}, was to search {due_ms:?}", known.expires_ms);
                let expected = format!("nothing due at {time_ms} is left at {}", event.x);
                return Err(differs(format!("timers of {element}"), found, expected));
            }
        }
        Ok(())
    }

    fn check_reason(&self, element: ElementId, reason: WithdrawReason, time_ms: u64) -> Result<(), Violation> {
        let waits = self.elements[&element].ended.is_none();
        let over = self.elements[&element].expires_ms.filter(|&due_ms| waits && due_ms <= time_ms);
        match over {
            Some(due_ms) if reason != WithdrawReason::Expired => {
                let found = format!("{reason:?} at {time_ms}");
                Err(differs(format!("why {element} is withdrawn"), found, format!("it expired at {due_ms}")))
            }
            _ => Ok(()),
        }
    }

    /// What a pool is dropped by comes in order; nothing arrives in one that is closed, and nothing names one that is
    /// gone.
    fn check_drops(&self, event: &Event) -> Result<(), Violation> {
        let wrong = |pool: PoolId, expected: &str| {
            let found = format!("{:?} at {}, and it was closed and dropped at {:?}", event.kind, event.x, self.drops);
            Err(differs(format!("an event of {pool}"), found, expected.to_owned()))
        };
        let of = |pool: PoolId| self.drops.get(pool.0 as usize).copied().unwrap_or_default();
        match &event.kind {
            EventKind::PoolDefined { pool, .. } if pool.0 as usize != self.pools.len() => wrong(*pool, "a new number"),
            EventKind::PoolDefined { pool, definition } => {
                let named = |pool: &Pool| pool.definition.name == definition.name && of(pool.id).1.is_none();
                if self.pools.iter().any(named) { wrong(*pool, "a name that is free") } else { Ok(()) }
            }
            EventKind::PoolClosed { pool } if of(*pool) != (None, None) => wrong(*pool, "it was open"),
            EventKind::PoolDropped { pool } => {
                let waits = self.oracle.waiting().any(|element| self.elements[&element].pool == *pool);
                let closed = matches!(of(*pool), (Some(_), None));
                if waits || !closed { wrong(*pool, "it was closed, and nobody waited") } else { Ok(()) }
            }
            EventKind::Arrival { pool, .. } | EventKind::Reprobe { pool, .. } if of(*pool).0.is_some() => {
                wrong(*pool, "it was open")
            }
            EventKind::Withdrawal { pool, .. } if of(*pool).1.is_some() => wrong(*pool, "it was there"),
            _ => Ok(()),
        }
    }

    /// At the end: every pool that was closed is dropped. Those that are not.
    #[must_use]
    pub fn pools_left(&self) -> Vec<PoolId> {
        let left = self.pools.iter().zip(&self.drops).filter(|(_, (_, dropped))| dropped.is_none());
        left.map(|(pool, _)| pool.id).collect()
    }

    /// A submission was refused because `holder` waits under its key; it was made when events up to `asked` had ids.
    ///
    /// # Errors
    /// When the log says that it did not wait any more, or nothing yet.
    pub fn check_refused(&self, holder: ElementId, asked: EventId) -> Result<(), Violation> {
        let at = asked.max(holder.arrival());
        self.check_bound(|| format!("refusal for the key of {holder} at {at}"), at)?;
        match self.elements[&holder].ended {
            Some(ended) if ended <= at => {
                let found = format!("refused for {holder} at {at}");
                Err(differs("a submission", found, format!("let in: it had ended at {ended}")))
            }
            _ => Ok(()),
        }
    }

    fn on_arrival(
        &mut self,
        element: ElementId,
        time_ms: u64,
        (pool, row): (PoolId, &Row),
        client: &ClientPart,
    ) -> Result<(), Violation> {
        let before = self.keys.insert((pool, Arc::clone(&client.key)), element);
        if let Some(before) = before.filter(|before| self.elements[before].ended.is_none()) {
            let found = format!("{before} waits under it, and {element}");
            return Err(differs(format!("key {:?}", client.key), found, "one element".to_owned()));
        }
        let ClientPart { key, payload, idempotency_key, ttl_ms, owner } = client.clone();
        if !idempotency_key.is_empty() {
            self.keyed.push((pool, time_ms));
            self.made.insert((pool, idempotency_key), (element, time_ms));
        }
        let defined = &self.pools[pool.0 as usize];
        let (place, reprobes_left) = (defined.place(element, row), defined.definition.reprobe_ms.len());
        let expires_ms = (ttl_ms > 0).then(|| time_ms + ttl_ms);
        let (ended, searched_ms) = (None, 0);
        let known = Known {
            pool,
            place,
            key,
            payload,
            owner,
            ended,
            expires_ms,
            arrived_ms: time_ms,
            searched_ms,
            reprobes_left,
        };
        self.elements.insert(element, known);
        Ok(())
    }

    fn on_reprobe(&mut self, element: ElementId, time_ms: u64) -> Result<(), Violation> {
        let known = self.elements.get_mut(&element).expect("it arrived");
        known.searched_ms = time_ms;
        let most = self.pools[known.pool.0 as usize].definition.reprobe_ms.len();
        let left = known.reprobes_left.checked_sub(1);
        known.reprobes_left =
            left.ok_or_else(|| Violation::Bound { what: format!("reprobes of {element}"), found: most + 1, most })?;
        Ok(())
    }

    fn check_outcome(&self, told: &Outcome) -> Result<(), Violation> {
        let event = &self.events[index(told.x)];
        let end = |id: ElementId| {
            let known = &self.elements[&id];
            let arrived_ms = Some(known.arrived_ms);
            OutcomeEnd {
                id,
                key: Arc::clone(&known.key),
                payload: known.payload.clone(),
                arrived_ms,
                owner: Arc::clone(&known.owner),
            }
        };
        let expected = Outcome {
            x: told.x,
            pool: self.elements[&told.element.id].pool,
            time_ms: event.time_ms,
            element: end(told.element.id),
            anchor: told.anchor.as_ref().map(|anchor| end(anchor.id)),
            reason: event.reason,
        };
        if *told == expected {
            return Ok(());
        }
        Err(Violation::Outcome { x: told.x, told: format!("{told:?}"), expected: format!("{expected:?}") })
    }

    fn check_bound(&self, what: impl FnOnce() -> String, found: EventId) -> Result<(), Violation> {
        let bound = self.durable();
        if found <= bound {
            return Ok(());
        }
        Err(Violation::Watermark { what: what(), found, bound_by: "the end of the durable log".to_owned(), bound })
    }
}

/// Two things that should be equal are not.
#[must_use]
pub fn differs(what: impl Into<String>, found: String, expected: String) -> Violation {
    Violation::Differs { what: what.into(), found, expected }
}

fn index(x: EventId) -> usize {
    usize::try_from(x.0).expect("a run has few events")
}
