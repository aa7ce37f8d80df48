//! A ledger that takes elements in batches says what one that takes them one by one does, on random histories that are
//! long enough for what is left of batches to be put together.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use dovetail_core::{
    Decided, ElementId, EventId, EventKind, PoolDefinition, PoolId, Retirement, ShardId, WithdrawReason,
    batch::{KeySecret, Keyed},
    ledger::{Admission, Admitted, Checked, Ledger, LedgerLimits, Outcome, Status, Stopped, Submission},
};
use dovetail_rule::{AttributeType, Value};

const LIMITS: LedgerLimits = LedgerLimits {
    waiting_max: 3_000,
    waiting_total_max: 5_000,
    waiting_bytes_max: 250_000,
    waiting_bytes_total_max: 480_000,
    element_bytes_max: 65_536,
    payload_bytes_max: 8,
    ended_max: 900,
    idempotency_ms: 900,
    idempotency_max: 40,
    idempotency_total_max: 70,
    search_cost_max: u64::MAX,
    slices: 1,
    key_secret: KeySecret([3, 4]),
};
const POOLS: u64 = 3;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn pool(number: u64) -> PoolDefinition {
    PoolDefinition {
        name: format!("pool{number}"),
        attributes: vec![("n".to_owned(), AttributeType::Int), ("s".to_owned(), AttributeType::String)],
        rule: "a.n == b.n".to_owned(),
        ttl_ms: [0, 900, 0][number as usize],
        reprobe_ms: if number == 2 { vec![100, 300] } else { Vec::new() },
        waiting_max: 0,
        payload_bytes_max: 0,
    }
}

fn submission(random: &mut Random) -> Submission {
    let mut attributes = vec![("n".to_owned(), Value::Int(random.below(9) as i64))];
    if random.below(3) > 0 {
        attributes.push(("s".to_owned(), Value::String("x".repeat(random.below(5) as usize).into())));
    }
    Submission {
        key: format!("k{}", random.below(20_000)),
        attributes,
        payload: vec![7; random.below(8) as usize].into(),
        ttl_ms: (random.below(20) == 0).then(|| random.below(2_000)),
        idempotency_key: if random.below(15) == 0 { format!("i{}", random.below(60)) } else { String::new() },
    }
}

/// Both ledgers, and the last event's id and time.
struct Pair {
    one_by_one: Ledger,
    batches: Ledger,
    x: u64,
    time_ms: u64,
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair { one_by_one: Ledger::new(LIMITS, 1), batches: Ledger::new(LIMITS, 1), x: 0, time_ms: 0 };
        for number in 0..POOLS {
            let definition = Arc::new(pool(number));
            pair.record(&EventKind::PoolDefined { pool: PoolId(number as u32), definition });
        }
        pair
    }

    fn record(&mut self, kind: &EventKind) {
        self.x += 1;
        for ledger in [&mut self.one_by_one, &mut self.batches] {
            ledger.record(EventId(self.x), self.time_ms, kind, None).unwrap();
        }
    }

    /// A batch, some of it refused, comes to the same.
    fn submit(&mut self, random: &mut Random) {
        self.time_ms += random.below(40);
        let pool = PoolId(random.below(POOLS) as u32);
        let most = [1, 6, 300][random.below(3) as usize];
        let submissions: Vec<Submission> = (0..=random.below(most)).map(|_| submission(random)).collect();
        let name = format!("pool{}", pool.0);
        let mut said = Vec::new();
        let before = self.x;
        for submission in submissions.clone() {
            said.push(match self.one_by_one.admit(self.time_ms, &name, submission, EventId(self.x)) {
                Ok(Admission::New { pool, row, client }) => {
                    self.x += 1;
                    let kind = EventKind::Arrival { pool, row };
                    self.one_by_one.record(EventId(self.x), self.time_ms, &kind, Some(client)).unwrap();
                    format!("x{}", self.x)
                }
                Ok(Admission::Retry(element)) => format!("made {element}"),
                Ok(Admission::Undecided(asked)) => format!("undecided at {asked}"),
                Ok(Admission::Late(pool)) => format!("{pool} is late"),
                Err(error) => error.to_string(),
            });
        }
        let defined = &self.batches.pool(pool).pool;
        let checked: Vec<Checked> =
            submissions.into_iter().map(|submission| submission.check(defined, &LIMITS).unwrap()).collect();
        let batch = Keyed::new(Checked::batch(&checked).unwrap(), LIMITS.key_secret);
        let (mut row, mut x, mut found) = (0, before, Vec::new());
        while row < checked.len() {
            // A frame may be full in the middle of a batch.
            let rows = row..checked.len().min(row + 1 + random.below(200) as usize);
            let Admitted { count, stopped } =
                self.batches.admit_run(EventId(x + 1), self.time_ms, &batch, rows, EventId(x));
            found.extend((x + 1..=x + count as u64).map(|x| format!("x{x}")));
            (row, x) = (row + count, x + count as u64);
            row += usize::from(stopped.is_some());
            found.extend(stopped.map(|stopped| match stopped {
                Stopped::Retry(element) => format!("made {element}"),
                Stopped::Refused(error) => error.to_string(),
                Stopped::Undecided(asked) => format!("undecided at {asked}"),
                Stopped::Late => "late".to_owned(),
            }));
        }
        assert_eq!(found, said);
    }

    /// Some that wait, those that came first more often, are matched or withdrawn at events that are not decided.
    fn decide(&mut self, random: &mut Random) {
        let mut waiting: Vec<ElementId> = self.batches.waiting_ids().collect();
        let mut x = self.batches.decided().event().0;
        for _ in 0..random.below(300) {
            x += 1 + random.below(2);
            let pool_of = |element: ElementId| match self.batches.status(element) {
                Status::Waiting(entry) => entry.pool,
                Status::Ended(_) | Status::Unknown => unreachable!("it waits"),
            };
            let at = |random: &mut Random, waiting: &[ElementId]| {
                (random.below(waiting.len() as u64) * random.below(100) / 99) as usize
            };
            if x > self.x || waiting.len() < 2 {
                break;
            }
            let (one, other) = (at(random, &waiting), at(random, &waiting));
            let (one, other) = (one.min(other), one.max(other));
            if one == other || pool_of(waiting[one]) != pool_of(waiting[other]) {
                continue;
            }
            let (other, one) = (waiting.remove(other), waiting.remove(one));
            let reported = Retirement { x: EventId(x), element: other, anchor: Some(one) };
            for ledger in [&mut self.one_by_one, &mut self.batches] {
                ledger.on_retirements(&[reported]).unwrap();
            }
        }
        let through = EventId(x.min(self.x));
        let mut said: [Vec<Outcome>; 2] = Default::default();
        for (ledger, said) in [&mut self.one_by_one, &mut self.batches].into_iter().zip(&mut said) {
            ledger.on_decided(ShardId(0), Decided(through), said).unwrap();
        }
        assert_eq!(said[0], said[1]);
        if random.below(2) == 0 {
            for ledger in [&mut self.one_by_one, &mut self.batches] {
                ledger.on_stored(through);
            }
        }
    }

    fn timers(&mut self, random: &mut Random) {
        let most = 1 + random.below(200) as usize;
        let due = self.one_by_one.due(self.time_ms, most);
        assert_eq!(self.batches.due(self.time_ms, most), due);
        due.iter().for_each(|kind| self.record(kind));
        // A client withdraws, too.
        let any = self.batches.waiting_ids().nth(random.below(50) as usize);
        if let Some(element) = any
            && let Status::Waiting(entry) = self.batches.status(element)
        {
            self.record(&EventKind::Withdrawal { element, pool: entry.pool, reason: WithdrawReason::Client });
        }
    }

    fn said(ledger: &Ledger, last: u64) -> Vec<String> {
        let mut said =
            vec![format!("{} {:?}", ledger.waiting(), ledger.next_due_ms()), format!("{:?}", ledger.cut(|_| true))];
        said.extend(ledger.pools().map(|pool| format!("{:?}", pool.counts)));
        said.extend((0..=last).map(|id| format!("{:?}", ledger.status(ElementId(id)))));
        for pool in 0..POOLS as u32 {
            said.extend((0..20_000).map(|key| format!("{:?}", ledger.find(PoolId(pool), &format!("k{key}")))));
            let mut after = Some(ElementId(0));
            while let Some(from) = after {
                let (part, next) = ledger.waiting_after(PoolId(pool), from, 100, |_, _, _| true);
                let (every_third, _) =
                    ledger.waiting_after(PoolId(pool), from, 100, |element, _, _| element.0 % 3 == 0);
                let of_part = part.iter().filter(|(element, _)| element.0 % 3 == 0);
                assert_eq!(format!("{every_third:?}"), format!("{:?}", of_part.collect::<Vec<_>>()));
                said.push(format!("{part:?}"));
                after = next;
            }
        }
        said
    }
}

#[test]
fn batches_come_to_what_their_elements_would_one_by_one() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let mut pair = Pair::new();
        for step in 0..400 {
            match random.below(5) {
                0 | 1 => pair.submit(&mut random),
                2 | 3 => pair.decide(&mut random),
                _ => pair.timers(&mut random),
            }
            for ledger in [&pair.one_by_one, &pair.batches] {
                let counted = ledger.count_waiting_bytes();
                assert_eq!(ledger.waiting_bytes(), counted.values().sum::<u64>(), "seed {seed}, step {step}");
                let by_pool = ledger.pools().map(|entry| (entry.pool.id, entry.counts.waiting_bytes));
                assert_eq!(by_pool.collect::<std::collections::BTreeMap<_, _>>(), counted, "seed {seed}, step {step}");
            }
            if step % 100 == 99 {
                let [one, other] = [&pair.one_by_one, &pair.batches].map(|ledger| Pair::said(ledger, pair.x));
                let differ = one.iter().zip(&other).position(|(one, other)| one != other);
                assert_eq!(differ, None, "seed {seed}, step {step}: they differ");
                assert_eq!(one.len(), other.len());
            }
        }
        let counts = |pool: u32| pair.batches.pool(PoolId(pool)).counts;
        assert!((0..3).any(|pool| counts(pool).matches > 500), "seed {seed}: {:?}", counts(0));
    }
}

#[test]
fn an_element_takes_as_many_bytes_in_whatever_batch_it_is() {
    let schema = pool(0);
    let defined = dovetail_core::Pool::compile(PoolId(0), Arc::new(schema)).unwrap();
    let mut random = Random(5);
    let all: Vec<Checked> = (0..200).map(|_| submission(&mut random).check(&defined, &LIMITS).unwrap()).collect();
    let together = Checked::batch(&all).unwrap();
    for (row, checked) in all.iter().enumerate() {
        let alone = Checked::batch(std::slice::from_ref(checked)).unwrap();
        assert_eq!(together.waiting_bytes(row..row + 1), alone.waiting_bytes(0..1));
        assert_eq!(together.element_bytes(row), alone.element_bytes(0));
        let picked = dovetail_core::batch::Batch::pick([(&together, row), (&together, 0)].into_iter()).unwrap();
        assert_eq!(picked.waiting_bytes(0..1), alone.waiting_bytes(0..1));
    }
    let sum: u64 = (0..200).map(|row| together.waiting_bytes(row..row + 1)).sum();
    assert_eq!(together.waiting_bytes(0..200), sum);
    // A key of 2 bytes, an int, a text of 3, and a payload of 4.
    let one = Submission {
        key: "ab".to_owned(),
        attributes: vec![("n".to_owned(), Value::Int(1)), ("s".to_owned(), Value::String("xyz".into()))],
        payload: vec![7; 4].into(),
        idempotency_key: "once".to_owned(),
        ..Submission::default()
    };
    let one = Checked::batch(&[one.check(&defined, &LIMITS).unwrap()]).unwrap();
    assert_eq!((one.waiting_bytes(0..1), one.element_bytes(0)), (64 + 2 + 8 + 8 + 4 + 3 + 4, 2 + 8 + 8 + 4 + 3 + 4));
}
