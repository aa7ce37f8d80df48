//! Random sequences of operations, on a table and on a plain list that is scanned with the rule.

use std::collections::BTreeMap;

use super::ordered::{check, order, scan};
use super::shapes::{CASES, Case, schema};
use crate::table::kernel::VectorLevel;
use crate::table::{AheadProbe, Hint, Hints, Prober, Secret, Slot, Table};
use crate::{Row, Rule, Side, Value};

/// xorshift64*
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

const INTS: [i64; 7] = [i64::MIN, i64::MAX, i64::MIN + 1, 1 << 30, (1 << 30) + 1, -(1 << 30) - 1, 1 << 31];
const DOUBLES: [f64; 9] = [f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e25, 1e18, 1.2e18, 5e-324, -0.0, 1e-30];

/// A row: mostly of values that meet, now and then of strange ones.
pub(super) fn row(random: &mut Random) -> Row {
    let there = |random: &mut Random, value: Value| (random.below(16) != 0).then_some(value);
    let strange = |random: &mut Random| random.below(24) == 0;
    let int = if strange(random) { random.one(&INTS) } else { random.below(40) as i64 - 20 };
    let double = |random: &mut Random| {
        if strange(random) { random.one(&DOUBLES) } else { random.below(1 << 20) as f64 / 65_536.0 - 8.0 }
    };
    let (x, y) = (double(random), double(random));
    let text = |random: &mut Random| match random.below(40) {
        0 => format!("rare {}", random.below(1000)),
        n => format!("s{}", n % 6),
    };
    let s = text(random);
    let tags: Vec<String> = (0..random.below(4)).map(|_| text(random)).collect();
    let tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
    let ok = random.below(2) == 0;
    Row::from_values([
        there(random, int.into()),
        there(random, x.into()),
        there(random, y.into()),
        there(random, s.as_str().into()),
        there(random, tags.as_slice().into()),
        there(random, ok.into()),
    ])
}

struct Model {
    rule: Rule,
    waiting: BTreeMap<u64, (Row, u64)>,
}

impl Model {
    /// What a scan finds, one by one, in order.
    fn search(
        &self,
        among: impl Fn(u64) -> bool,
        prober: &Prober<'_>,
        time_ms: u64,
        limit: usize,
    ) -> (Vec<u64>, bool, u64) {
        let (mut found, mut errors) = (Vec::new(), 0);
        let waited = |arrived: u64| i64::try_from(time_ms.saturating_sub(arrived)).unwrap();
        let own = Side { row: prober.row, waited_ms: waited(prober.arrived_ms) };
        for (&id, (row, arrived)) in self.waiting.range(..prober.before).filter(|&(&id, _)| among(id)) {
            let other = Side { row, waited_ms: waited(*arrived) };
            let tested = match id.cmp(&prober.id) {
                std::cmp::Ordering::Less => self.rule.test(other, own),
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => self.rule.test(own, other),
            };
            match tested {
                Ok(false) => {}
                Err(_) => errors += 1,
                Ok(true) if found.len() == limit => return (found, true, errors),
                Ok(true) => found.push(id),
            }
        }
        (found, false, errors)
    }
}

fn key(case: &Case, row: &Row) -> Option<u64> {
    match &row.values()[3] {
        _ if !case.keyed => None,
        // Few hashes: unequal keys collide.
        Some(Value::String(text)) => Some(text.bytes().map(u64::from).sum::<u64>() % 5 * 0x1_0000_0001),
        _ => None,
    }
}

struct Run<'a> {
    case: &'a Case,
    random: Random,
    table: Table,
    model: Model,
    time_ms: u64,
    next_id: u64,
}

impl Run<'_> {
    fn compare(&mut self, prober: &Prober<'_>, time_ms: u64) -> Option<Slot> {
        let limit = self.random.below(5) as usize;
        let (parts, part) = (self.random.one(&[1, 1, 2, 3]), self.random.below(6));
        let among = |id: u64| id % parts == part % parts;
        let (found, more, errors) = self.model.search(among, prober, time_ms, limit);
        let (mut slots, mut counted) = (Vec::new(), 0);
        let said = self.table.search_among(among, prober, time_ms, limit, &mut counted, &mut slots);
        let ids: Vec<u64> = slots.iter().map(|&slot| self.table.id(slot)).collect();
        let rule = self.case.rule;
        assert_eq!((ids, said, counted), (found, more, errors), "{rule}: {prober:?} at {time_ms}, limit {limit}");
        let (first, ..) = self.model.search(|_| true, prober, time_ms, 1);
        let mut counted = 0;
        let slot = self.table.first(prober, time_ms, &mut counted);
        assert_eq!(slot.map(|slot| self.table.id(slot)), first.first().copied(), "{rule}");
        slot
    }

    fn insert(&mut self, id: u64, row: Row, arrived_ms: u64) {
        self.table.insert(id, &row, arrived_ms, key(self.case, &row));
        self.model.waiting.insert(id, (row, arrived_ms));
    }

    fn remove(&mut self, id: u64) {
        let slot = self.table.find(id).expect("it waits");
        assert_eq!(self.table.row(slot), self.model.waiting.remove(&id).expect("it waits").0);
        self.table.remove(slot);
        assert_eq!(self.table.find(id), None);
    }

    fn arrival(&mut self) -> (u64, Row, u64) {
        self.next_id += 1 + self.random.below(3);
        if self.random.below(500) == 0 {
            self.next_id += 5 << 32;
        }
        // Clocks of several balancers disagree a little.
        self.time_ms += self.random.below(50);
        let arrived = self.time_ms.saturating_sub(self.random.below(4) * self.random.below(2_000));
        (self.next_id, row(&mut self.random), arrived)
    }

    fn waiting(&mut self) -> Option<u64> {
        let at = self.random.below(self.model.waiting.len().max(1) as u64) as usize;
        self.model.waiting.keys().nth(at).copied()
    }

    /// One operation. Towards `target` waiting elements, more or less.
    fn step(&mut self, target: usize) {
        match self.random.below(200) {
            0 => _ = order(&mut self.table, &mut |n| self.random.below(n)),
            1 => scan(&mut self.table),
            _ => {}
        }
        match self.random.below(8) {
            0..=2 => {
                let (id, row, arrived) = self.arrival();
                self.compare(&self.prober(id, &row, arrived), self.time_ms);
                if self.model.waiting.len() < target {
                    self.insert(id, row, arrived);
                }
            }
            3 | 4 if self.model.waiting.len() > self.random.below(2 * target as u64 + 1) as usize => {
                let id = self.waiting().expect("some wait");
                self.remove(id);
            }
            5 => {
                let Some(id) = self.waiting() else { return };
                let (row, arrived) = self.model.waiting[&id].clone();
                let before = if self.random.below(2) == 0 { u64::MAX } else { self.random.below(self.next_id + 2) };
                self.compare(&Prober { before, ..self.prober(id, &row, arrived) }, self.time_ms);
            }
            6 if self.random.below(16) == 0 => self.frame(target),
            _ => {
                let (id, row, arrived) = self.arrival();
                self.insert(id, row, arrived);
            }
        }
    }

    fn prober<'a>(&self, id: u64, row: &'a Row, arrived_ms: u64) -> Prober<'a> {
        Prober { id, row, arrived_ms, key: key(self.case, row), before: u64::MAX, hint: Hint::default() }
    }

    /// Some arrivals are looked ahead for; then they search, match or wait, one after the other. Or some of them are in
    /// the table before, and pass over those that come later.
    fn frame(&mut self, target: usize) {
        let arrivals: Vec<(u64, Row, u64, u64)> = (0..self.random.below(80))
            .map(|_| {
                let (id, row, arrived) = self.arrival();
                (id, row, arrived, self.time_ms)
            })
            .collect();
        let ahead: Vec<AheadProbe<'_>> = arrivals
            .iter()
            .map(|(id, row, arrived_ms, time_ms)| AheadProbe {
                prober: self.prober(*id, row, *arrived_ms),
                time_ms: *time_ms,
            })
            .collect();
        let taken_in = self.random.below(2) == 0;
        for (id, row, arrived, _) in &arrivals {
            if taken_in && self.model.waiting.len() < 2 * target && self.random.below(4) != 0 {
                self.insert(*id, row.clone(), *arrived);
            }
        }
        let mut hints = Hints::default();
        let limit = self.random.below(4) as usize;
        self.table.look_ahead(&ahead, limit, &mut hints);
        for (at, (id, row, arrived, time_ms)) in arrivals.iter().enumerate() {
            let before = if taken_in { *id } else { u64::MAX };
            let prober = Prober { before, hint: hints.of(at), ..self.prober(*id, row, *arrived) };
            match self.compare(&prober, *time_ms) {
                Some(slot) if self.random.below(3) != 0 => {
                    let id = self.table.id(slot);
                    self.remove(id);
                }
                _ if !taken_in && self.model.waiting.len() < 2 * target => self.insert(*id, row.clone(), *arrived),
                _ => {}
            }
        }
    }
}

#[test]
fn a_table_answers_as_a_plain_scan_does() {
    let schema = schema();
    for (number, case) in CASES.iter().enumerate() {
        let rule = Rule::compile(case.rule, &schema).unwrap();
        for (at, level) in VectorLevel::all().into_iter().enumerate() {
            let mut table = Table::with_shape(&rule, &schema, Secret([number as u64, at as u64]), (case.shape)());
            table.held.level = level;
            let model = Model { rule: rule.clone(), waiting: BTreeMap::new() };
            let random = Random(0x5EED + number as u64 * 64 + at as u64);
            let mut run = Run { case, random, table, model, time_ms: 1 << 20, next_id: 0 };
            for target in [3, 20, 90, 400, 10, 0] {
                for _ in 0..1_500 {
                    run.step(target);
                }
                assert!(run.table.ids().eq(run.model.waiting.keys().copied()), "{}", case.rule);
                check(&run.table);
                assert_eq!(run.table.len(), run.model.waiting.len());
            }
        }
    }
}
