//! A ledger that starts from a checkpoint says and offers what one that read the whole log does, on random histories.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use dovetail_core::{
    Decided, ElementId, EventId, EventKind, PoolDefinition, PoolId, Retirement, ShardId, WithdrawReason,
    batch::{Batch, KeySecret, Run},
    ledger::{
        Admission, CheckpointBuilder, CheckpointElement, CheckpointHead, ClientPart, Ledger, LedgerLimits, Outcome,
        Status, Submission,
    },
    oracle::Oracle,
};
use dovetail_rule::{AttributeType, Value};

const LIMITS: LedgerLimits = LedgerLimits {
    waiting_max: 1000,
    waiting_total_max: 1000,
    waiting_bytes_max: u64::MAX,
    waiting_bytes_total_max: u64::MAX,
    element_bytes_max: 65_536,
    payload_bytes_max: 4,
    ended_max: 30,
    idempotency_ms: 300,
    idempotency_max: 12,
    idempotency_total_max: 20,
    search_cost_max: u64::MAX,
    slices: 1,
    key_secret: KeySecret([0; 2]),
};

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// An event as it is logged.
#[derive(Clone)]
struct Logged {
    x: EventId,
    time_ms: u64,
    kind: EventKind,
    client: Option<ClientPart>,
}

/// A history: the log, what the sequential program makes of it, and the ledger that lived through it.
struct History {
    log: Vec<Logged>,
    outcomes: Vec<Outcome>,
    ledger: Ledger,
    oracle: Oracle,
    time_ms: u64,
    dropped: usize,
}

fn pool(number: u64) -> PoolDefinition {
    PoolDefinition {
        name: format!("pool{number}"),
        attributes: vec![("n".to_owned(), AttributeType::Int)],
        rule: "abs(a.n - b.n) <= a.waited / 50".to_owned(),
        ttl_ms: [0, 400][number as usize % 2],
        reprobe_ms: vec![30, 60, 61, 200],
        waiting_max: 0,
        payload_bytes_max: 0,
    }
}

impl History {
    fn new() -> History {
        let (log, outcomes) = (Vec::new(), Vec::new());
        let (ledger, oracle) = (Ledger::new(LIMITS, 1), Oracle::new());
        History { log, outcomes, ledger, oracle, time_ms: 1_000, dropped: 0 }
    }

    fn push(&mut self, kind: EventKind, client: Option<ClientPart>) {
        let x = EventId(self.log.len() as u64 + 1);
        self.ledger.record(x, self.time_ms, &kind, client.clone()).unwrap();
        if let Some(retirement) = self.oracle.on_event(x, self.time_ms, &kind).unwrap() {
            self.ledger.on_retirements(&[retirement]).unwrap();
        }
        self.log.push(Logged { x, time_ms: self.time_ms, kind, client });
    }

    fn submit(&mut self, random: &mut Random) {
        let name = format!("pool{}", random.below(3));
        let submission = Submission {
            key: format!("k{}", random.below(60)),
            attributes: vec![("n".to_owned(), Value::Int(random.below(200) as i64))],
            ttl_ms: (random.below(4) == 0).then_some(90),
            idempotency_key: if random.below(2) == 0 { format!("i{}", random.below(40)) } else { String::new() },
            ..Submission::default()
        };
        if let Ok(Admission::New { pool, row, client }) =
            self.ledger.admit(self.time_ms, &name, submission, self.ledger.recorded())
        {
            self.push(EventKind::Arrival { pool, row }, Some(client));
        }
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(14) {
            0 => self.time_ms += random.below(60),
            1 => {
                let free = (0..3).find(|number| self.ledger.pool_named(&format!("pool{number}")).is_none());
                if let Some(number) = free {
                    let (pool, definition) = (self.ledger.next_pool(), Arc::new(pool(number)));
                    self.push(EventKind::PoolDefined { pool, definition }, None);
                }
            }
            5 if random.below(4) == 0 => {
                let name = format!("pool{}", random.below(3));
                let open = self.ledger.pool_named(&name).filter(|entry| entry.closed_at.is_none());
                if let Some(pool) = open.map(|entry| entry.pool.id) {
                    self.push(EventKind::PoolClosed { pool }, None);
                }
            }
            6 => {
                for kind in self.ledger.dropping(3, self.time_ms) {
                    self.dropped += usize::from(matches!(kind, EventKind::PoolDropped { .. }));
                    self.push(kind, None);
                }
            }
            2 => {
                let waiting: Vec<ElementId> = self.ledger.waiting_ids().collect();
                if !waiting.is_empty() {
                    let element = waiting[random.below(waiting.len() as u64) as usize];
                    self.withdraw(element);
                }
            }
            3 | 4 => {
                for kind in self.ledger.due(self.time_ms, 3) {
                    self.push(kind, None);
                }
            }
            _ => self.submit(random),
        }
    }

    fn withdraw(&mut self, element: ElementId) {
        if let Status::Waiting(entry) = self.ledger.status(element)
            && entry.closing.is_none()
        {
            let pool = entry.pool;
            self.push(EventKind::Withdrawal { element, pool, reason: WithdrawReason::Client }, None);
        }
    }

    /// Decides, and puts on disk, up to some event.
    fn settle(&mut self, through: EventId) {
        let through = through.max(self.ledger.stable().event());
        self.ledger.on_decided(ShardId(0), Decided(through), &mut self.outcomes).unwrap();
        self.ledger.on_stored(through);
    }
}

/// The next checkpoint, made as a balancer makes it.
fn fold(
    history: &History,
    (base, kept): (CheckpointHead, Vec<CheckpointElement>),
    through: EventId,
) -> (CheckpointHead, Vec<CheckpointElement>) {
    let mut fold = CheckpointBuilder::new(base.clone(), through, &LIMITS);
    history.outcomes.iter().for_each(|outcome| fold.on_outcome(outcome));
    for logged in &history.log {
        fold.on_event(logged.x, logged.time_ms, &logged.kind, logged.client.as_ref());
    }
    let old = kept.iter().filter_map(|kept| fold.keep(kept.clone()));
    let arrived = history.log.iter().filter_map(|one| fold.arrived(one.x, one.time_ms, &one.kind, one.client.clone()));
    let made: Vec<CheckpointElement> = old.chain(arrived).collect();
    assert!(made.is_sorted_by(|one, next| one.element < next.element));
    let made = (fold.base(), made);
    assert_eq!(fold_runs(history, (base, kept), through), made, "by runs, and one by one");
    made
}

/// The same from neighbouring arrivals of a frame and pool at a time.
fn fold_runs(
    history: &History,
    (base, kept): (CheckpointHead, Vec<CheckpointElement>),
    through: EventId,
) -> (CheckpointHead, Vec<CheckpointElement>) {
    let mut fold = CheckpointBuilder::new(base, through, &LIMITS);
    for outcome in &history.outcomes {
        fold.on_retirement(outcome.retirement(), outcome.pool, outcome.reason);
    }
    let arrives = |logged: &Logged| match &logged.kind {
        EventKind::Arrival { pool, row } => Some((*pool, Arc::clone(row))),
        _ => None,
    };
    let alike = |one: &Logged, next: &Logged| {
        let pools = [one, next].map(|logged| arrives(logged).map(|(pool, _)| pool));
        pools[0].is_some() && pools[0] == pools[1] && one.time_ms == next.time_ms
    };
    let mut runs = Vec::new();
    for logged in history.log.chunk_by(alike) {
        let Logged { x, time_ms, kind, client } = &logged[0];
        match arrives(&logged[0]) {
            None => fold.on_event(*x, *time_ms, kind, client.as_ref()),
            Some((pool, _)) => {
                let rows: Vec<_> = logged.iter().filter_map(arrives).collect();
                let clients = logged.iter().map(|logged| logged.client.as_ref().unwrap());
                let elements: Vec<_> = rows.iter().map(|(_, row)| &**row).zip(clients).collect();
                let run = Run::all(Arc::new(Batch::of(pool, &elements)));
                fold.on_arrivals(*x, *time_ms, &run);
                runs.push((*x, *time_ms, run));
            }
        }
    }
    let old = kept.into_iter().filter_map(|kept| fold.keep(kept));
    let arrived = runs.iter().flat_map(|(x, time_ms, run)| fold.arrived_of(*x, *time_ms, run));
    let kept = old.chain(arrived).collect();
    (fold.base(), kept)
}

/// A ledger from a checkpoint, and from what the log and the results have after it.
fn restart(history: &History, (base, kept): (CheckpointHead, Vec<CheckpointElement>)) -> Ledger {
    let from = base.through;
    let mut ledger = Ledger::from_checkpoint(LIMITS, 1, base).unwrap();
    ledger.keep(kept);
    let (before, after): (Vec<&Outcome>, Vec<&Outcome>) =
        history.outcomes.iter().partition(|outcome| outcome.x <= from);
    before.into_iter().for_each(|outcome| ledger.remember(outcome));
    for logged in history.log.iter().filter(|logged| logged.x > from) {
        ledger.record(logged.x, logged.time_ms, &logged.kind, logged.client.clone()).unwrap();
    }
    let retirements: Vec<Retirement> = after.into_iter().map(Outcome::retirement).collect();
    ledger.restore(history.ledger.stable().event(), &retirements).unwrap();
    ledger
}

/// What a ledger says and offers.
fn said(ledger: &mut Ledger, elements: u64, time_ms: u64) -> Vec<String> {
    let mut said = vec![
        format!("{} {} {} {}", ledger.recorded(), ledger.decided(), ledger.stable(), ledger.waiting()),
        format!("{:?}", ledger.cut(|_| true)),
    ];
    for pool in ledger.pools() {
        said.push(format!("{:?} {:?}", pool.pool.definition, (pool.defined_at, pool.closed_at, pool.counts)));
    }
    said.extend((1..=elements).map(|id| match ledger.status(ElementId(id)) {
        Status::Waiting(entry) => format!("e{id} {entry:?}"),
        Status::Ended(x) => format!("e{id} ended by {x}"),
        Status::Unknown => format!("e{id} unknown"),
    }));
    let next = ledger.next_pool().0;
    said.push(format!("{:?}", (0..next).map(|pool| ledger.pool_name(PoolId(pool))).collect::<Vec<_>>()));
    for pool in 0..next {
        said.extend((0..60).map(|key| format!("{key} {:?}", ledger.find(PoolId(pool), &format!("k{key}")))));
        for key in 0..40 {
            let submission =
                Submission { key: "new".to_owned(), idempotency_key: format!("i{key}"), ..Submission::default() };
            said.push(format!(
                "{key} {:?}",
                ledger.admit(time_ms, &format!("pool{pool}"), submission, ledger.recorded()).map(|_| ())
            ));
        }
    }
    // In which order pools have their turn follows from timers of elements that are leaving, too.
    let mut due = ledger.due(u64::MAX, usize::MAX);
    due.sort_by_key(|kind| match kind {
        EventKind::Withdrawal { pool, .. } | EventKind::Reprobe { pool, .. } => *pool,
        other => panic!("{other:?} is no timer's"),
    });
    said.push(format!("{due:?}"));
    // In which order closed pools are looked at follows from when.
    let mut dropping = Vec::new();
    while ledger.has_dropping() {
        dropping.extend(ledger.dropping(100, time_ms).iter().map(|kind| format!("{kind:?}")));
    }
    dropping.sort();
    said.extend(dropping);
    said
}

#[test]
fn a_ledger_from_a_chain_of_checkpoints_is_the_one_that_read_the_whole_log() {
    let (mut matched, mut kept_most, mut dropped) = (0, 0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut history = History::new();
        let mut checkpoint = (CheckpointHead::default(), Vec::new());
        for _ in 0..3 + random.below(5) {
            for _ in 0..random.below(80) {
                history.step(&mut random);
            }
            let ahead = history.ledger.recorded().0 - history.ledger.stable().event().0;
            let settled = history.ledger.stable().event().0 + random.below(ahead + 1);
            history.settle(EventId(settled));
            // Checkpoints are made beside the ledger, of a cut that is stable by then.
            let behind = history.ledger.stable().event().0 - checkpoint.0.through.0;
            let through = EventId(checkpoint.0.through.0 + random.below(behind + 1));
            if through > checkpoint.0.through {
                checkpoint = fold(&history, checkpoint, through);
            }
        }
        matched += history.outcomes.len();
        dropped += history.dropped;
        kept_most = kept_most.max(checkpoint.1.len());
        let mut restarted = restart(&history, checkpoint);
        let elements = history.log.len() as u64;
        let now_ms = history.time_ms;
        let found = said(&mut restarted, elements, now_ms);
        let expected = said(&mut history.ledger, elements, now_ms);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "seed {seed}");
        }
        assert_eq!(found.len(), expected.len());
    }
    assert!(matched > 5_000 && kept_most > 20, "{matched} outcomes, at most {kept_most} kept");
    assert!(dropped > 100, "{dropped} dropped");
}

#[test]
fn what_the_results_have_dropped_is_forgotten() {
    let mut random = Random(7);
    let mut history = History::new();
    while history.log.len() < 200 {
        history.step(&mut random);
    }
    history.settle(history.ledger.recorded());
    let ended: Vec<ElementId> = history.outcomes.iter().flat_map(|outcome| outcome.retirement().ends()).collect();
    let latest = *ended.last().unwrap();
    assert!(matches!(history.ledger.status(latest), Status::Ended(_)));
    history.ledger.on_results_trimmed(history.outcomes.last().unwrap().x.prev());
    assert!(matches!(history.ledger.status(latest), Status::Ended(_)));
    history.ledger.on_results_trimmed(history.outcomes.last().unwrap().x);
    assert!(ended.iter().all(|&element| matches!(history.ledger.status(element), Status::Unknown)));
}
