//! What issue 3 promises: for random schemas, rules of all operators, elements and histories, a table searched by the
//! rule's own plan answers as the rule does when it is asked about one pair after the other, errors included; and so do
//! the plan's conjuncts.
//!
//! A fixed range of seeds by default. More with e.g.
//! `EQUIVALENCE_SEEDS=0..1000000 cargo test --release -p dovetail-rule equivalence -- --nocapture`.

use std::collections::BTreeMap;
use std::time::Instant;

use super::ordered::{check, order, scan};
use crate::eval::{Absent, Pair};
use crate::expr::End;
use crate::random::draw::Random;
use crate::random::world::World;
use crate::random::{shaped, tree};
use crate::table::kernel::VectorLevel;
use crate::table::{AheadProbe, Hint, Hints, Prober, Secret, Slot, Table};
use crate::{Row, Rule, Side, ValueKind, Verdict, Warning};

/// What a pair is to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    True,
    False,
    Missing,
    Error,
}

/// How much was tested, so that a run that tests nothing is noticed.
#[derive(Debug, Default)]
struct Seen {
    rules: u64,
    keyed: u64,
    filtered: u64,
    residual_only: u64,
    searches: u64,
    hinted: u64,
    renumbered: u64,
    ordered: u64,
    pairs: u64,
    told: [u64; 4],
}

/// An element that waits.
struct Waiting {
    row: Row,
    arrived_ms: u64,
}

struct Run<'a> {
    context: String,
    rule: Rule,
    world: &'a World,
    secret: Secret,
    /// What keys' hashes are cut down to, so that some collide.
    mask: u64,
    table: Table,
    waiting: BTreeMap<u64, Waiting>,
    levels: Vec<VectorLevel>,
    random: Random,
    time_ms: u64,
    next_id: u64,
    seen: &'a mut Seen,
}

impl Run<'_> {
    fn key(&self, row: &Row) -> Option<u64> {
        self.rule.plan().bucket_hash(row, self.secret).map(|key| key & self.mask)
    }

    /// What the rule says of one pair, and whether the plan's conjuncts say the same.
    fn tell(&mut self, a: Side<'_>, b: Side<'_>) -> Told {
        let told = match (Pair { a, b }).bool(self.rule.expr()) {
            Ok(true) => Told::True,
            Ok(false) => Told::False,
            Err(Absent::Missing) => Told::Missing,
            Err(Absent::Error(_)) => Told::Error,
        };
        self.seen.pairs += 1;
        self.seen.told[told as usize] += 1;
        if self.seen.pairs.is_multiple_of(4) {
            let plan = self.rule.plan();
            let verdicts: Vec<Verdict> = plan.conjuncts().iter().map(|conjunct| conjunct.verdict(a, b)).collect();
            let joined = match () {
                () if verdicts.contains(&Verdict::Fails) => Told::False,
                () if verdicts.contains(&Verdict::Missing) => Told::Missing,
                () if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Error(_))) => Told::Error,
                () => Told::True,
            };
            assert_eq!(joined, told, "{}: conjuncts say {verdicts:?} of\n{a:?}\n{b:?}\n{plan}", self.context);
            let tested = self.rule.test(a, b);
            assert_eq!((tested == Ok(true), tested.is_err()), (told == Told::True, told == Told::Error));
            for needed in plan.needed() {
                let index = self.world.schema.index_of(&needed.attribute).expect("it is an attribute");
                let at = |end: End| if end == End::A { a } else { b };
                let ends = needed.end.map_or(vec![End::A, End::B], |end| vec![end]);
                let there = ends.into_iter().all(|end| at(end).row.values()[index].is_some());
                assert!(told != Told::True || there, "{}: needs {needed}\n{a:?}\n{b:?}\n{plan}", self.context);
            }
            let waited = [a, b].map(|side| side.waited_ms);
            if let Some(text) = plan.unreached(waited).first() {
                let whole = plan.conjuncts().iter().any(|one| one.text() == *text);
                assert!(told != Told::True || !whole, "{}: {text} holds\n{a:?}\n{b:?}\n{plan}", self.context);
            }
            for warning in plan.warnings() {
                assert!(is_true(warning, told), "{}: {warning}\n{a:?}\n{b:?}\n{plan}", self.context);
            }
        }
        told
    }

    /// What the rule says of the prober and everyone who waits, one by one.
    fn scan(&mut self, id: u64, row: &Row, arrived_ms: u64, time_ms: u64) -> Vec<(u64, Told)> {
        let waited = |arrived: u64| i64::try_from(time_ms.saturating_sub(arrived)).unwrap();
        let own = Side { row, waited_ms: waited(arrived_ms) };
        let waiting = std::mem::take(&mut self.waiting);
        let mut told = Vec::with_capacity(waiting.len());
        for (&other, of) in waiting.iter().filter(|&(&other, _)| other != id) {
            let side = Side { row: &of.row, waited_ms: waited(of.arrived_ms) };
            told.push((other, if other < id { self.tell(side, own) } else { self.tell(own, side) }));
        }
        self.waiting = waiting;
        told
    }

    /// A search of every level against a scan. Whom it finds first.
    fn search(&mut self, id: u64, row: &Row, arrived_ms: u64, hint: Hint<'_>, time_ms: u64) -> Option<u64> {
        let told = self.scan(id, row, arrived_ms, time_ms);
        let prober = Prober { id, row, arrived_ms, key: self.key(row), before: u64::MAX, hint };
        for level in self.levels.clone() {
            self.table.held.level = level;
            let limit = self.random.pick(&[0, 1, 1, 2, 3, 10, usize::MAX]);
            let (mut slots, mut errors) = (Vec::new(), 0);
            let more = self.table.search(&prober, time_ms, limit, &mut errors, &mut slots);
            let found: Vec<u64> = slots.iter().map(|&slot| self.table.id(slot)).collect();
            let expected = found_in(&told, limit);
            self.agree(&format!("{level:?} search for {limit}"), &(found, more, errors), &expected, &prober, time_ms);
            let mut errors = 0;
            let first = self.table.first(&prober, time_ms, &mut errors).map(|slot: Slot| self.table.id(slot));
            let at = told.iter().position(|&(_, told)| told == Told::True);
            let passed = &told[..at.unwrap_or(told.len())];
            let expected =
                (at.map(|at| told[at].0), passed.iter().filter(|(_, told)| *told == Told::Error).count() as u64);
            self.agree(&format!("{level:?} first"), &(first, errors), &expected, &prober, time_ms);
            self.seen.searches += 2;
        }
        told.iter().find(|&&(_, told)| told == Told::True).map(|&(id, _)| id)
    }

    fn agree<T: PartialEq + std::fmt::Debug>(
        &self,
        what: &str,
        found: &T,
        told: &T,
        prober: &Prober<'_>,
        time_ms: u64,
    ) {
        if found == told {
            return;
        }
        let waiting: Vec<String> = self
            .waiting
            .iter()
            .take(20)
            .map(|(id, of)| format!("{id} arrived {}: {:?}", of.arrived_ms, of.row.values()))
            .collect();
        panic!(
            "{}: {what} says {found:?}, one by one {told:?}\nat {time_ms} of {} arrived {}: {:?}\n{}\n{}\n{:?}",
            self.context,
            prober.id,
            prober.arrived_ms,
            prober.row.values(),
            waiting.join("\n"),
            self.rule.plan(),
            self.world,
        );
    }

    fn insert(&mut self, id: u64, row: Row, arrived_ms: u64) {
        let epoch = self.table.held.epoch;
        self.table.insert(id, &row, arrived_ms, self.key(&row));
        self.seen.renumbered += self.table.held.epoch - epoch;
        self.waiting.insert(id, Waiting { row, arrived_ms });
    }

    fn remove(&mut self, id: u64) {
        let slot = self.table.find(id).expect("it waits");
        assert_eq!(self.table.row(slot), self.waiting.remove(&id).expect("it waits").row, "{}", self.context);
        self.table.remove(slot);
    }

    fn someone(&mut self) -> Option<u64> {
        let at = self.random.below(self.waiting.len().max(1));
        self.waiting.keys().nth(at).copied()
    }

    fn arrival(&mut self) -> (u64, Row, u64) {
        self.next_id += 1 + self.random.below(3) as u64;
        self.time_ms += self.random.below(400) as u64;
        // Clocks of several balancers disagree, even about whether it has arrived yet.
        let arrived_ms = match self.random.below(6) {
            0 => self.time_ms.saturating_sub(self.random.below(4_000) as u64),
            1 => self.time_ms + self.random.below(2_000) as u64,
            _ => self.time_ms,
        };
        (self.next_id, self.world.row(&mut self.random), arrived_ms)
    }

    fn arrive(&mut self, hint: Hint<'_>, (id, row, arrived_ms): (u64, Row, u64), time_ms: u64, target: usize) {
        let first = self.search(id, &row, arrived_ms, hint, time_ms);
        match first {
            Some(anchor) if self.waiting.len() > target || self.random.one_in(3) => self.remove(anchor),
            _ => self.insert(id, row, arrived_ms),
        }
    }

    fn step(&mut self, target: usize) {
        match self.random.below(40) {
            0..3 => {
                self.seen.ordered += order(&mut self.table, &mut |n| self.random.below(n as usize) as u64);
            }
            3 => scan(&mut self.table),
            4 => _ = check(&self.table),
            _ => {}
        }
        match self.random.below(20) {
            0..8 => {
                let (arrival, time_ms) = (self.arrival(), self.time_ms);
                self.arrive(Hint::default(), arrival, time_ms, target);
            }
            8..11 if self.waiting.len() > self.random.below(2 * target) => {
                let id = self.someone().expect("some wait");
                self.remove(id);
            }
            11..14 => {
                let Some(id) = self.someone() else { return };
                self.time_ms += self.random.below(3_000) as u64;
                let (row, arrived_ms) = (self.waiting[&id].row.clone(), self.waiting[&id].arrived_ms);
                if let Some(partner) = self.search(id, &row, arrived_ms, Hint::default(), self.time_ms)
                    && self.random.one_in(3)
                {
                    self.remove(partner);
                    self.remove(id);
                }
            }
            14 => self.frame(target),
            // After a crowd, and now and then for no reason, nearly everyone leaves.
            15 if self.waiting.len() > 2 * target || self.random.one_in(40) => {
                let leaving: Vec<u64> = self.waiting.keys().copied().filter(|_| !self.random.one_in(12)).collect();
                leaving.into_iter().for_each(|id| self.remove(id));
            }
            _ => {
                let (id, row, arrived_ms) = self.arrival();
                self.insert(id, row, arrived_ms);
            }
        }
    }

    /// Some arrivals are looked ahead for; then they search one after the other, and others leave in between.
    fn frame(&mut self, target: usize) {
        let arrivals: Vec<(u64, Row, u64, u64)> = (0..self.random.below(45))
            .map(|_| {
                let (id, row, arrived_ms) = self.arrival();
                (id, row, arrived_ms, self.time_ms)
            })
            .collect();
        let probes: Vec<AheadProbe<'_>> = arrivals
            .iter()
            .map(|(id, row, arrived_ms, time_ms)| AheadProbe {
                prober: Prober {
                    id: *id,
                    row,
                    arrived_ms: *arrived_ms,
                    key: self.key(row),
                    before: u64::MAX,
                    hint: Hint::default(),
                },
                time_ms: *time_ms,
            })
            .collect();
        let mut hints = Hints::default();
        self.table.held.level = self.random.pick(&self.levels);
        self.table.look_ahead(&probes, self.random.below(6), &mut hints);
        for (at, (id, row, arrived_ms, time_ms)) in arrivals.iter().enumerate() {
            if self.random.one_in(3)
                && let Some(leaves) = self.someone()
            {
                self.remove(leaves);
            }
            if self.random.one_in(100) {
                let leaving: Vec<u64> = self.waiting.keys().copied().filter(|_| !self.random.one_in(9)).collect();
                leaving.into_iter().for_each(|id| self.remove(id));
            }
            self.arrive(hints.of(at), (*id, row.clone(), *arrived_ms), *time_ms, target);
            self.seen.hinted += 1;
        }
    }
}

/// What a search for so many has to say.
fn found_in(told: &[(u64, Told)], limit: usize) -> (Vec<u64>, bool, u64) {
    let (mut found, mut errors) = (Vec::new(), 0);
    for &(id, told) in told {
        match told {
            Told::True if found.len() == limit => return (found, true, errors),
            Told::True => found.push(id),
            Told::Error => errors += 1,
            Told::False | Told::Missing => {}
        }
    }
    (found, false, errors)
}

fn rule(random: &mut Random, world: &World) -> Option<(String, Rule)> {
    for _ in 0..30 {
        let text = match random.below(8) {
            0 | 1 => {
                let depth = 1 + random.below(5);
                tree::Tree::generate(random, ValueKind::Bool, depth).text(random)
            }
            // Anything at all, next to something that a plan can use.
            2 => {
                let depth = 1 + random.below(3);
                format!(
                    "{} && ({})",
                    shaped::rule(random),
                    tree::Tree::generate(random, ValueKind::Bool, depth).text(random)
                )
            }
            _ => shaped::rule(random),
        };
        let compiled = world.put(&text).and_then(|source| Some((Rule::compile(&source, &world.schema).ok()?, source)));
        if let Some((rule, source)) = compiled {
            return Some((source, rule));
        }
    }
    None
}

fn run(seed: u64, seen: &mut Seen) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let world = World::draw(&mut random);
    let Some((source, rule)) = rule(&mut random, &world) else { return };
    let plan = rule.plan();
    let filtered = plan.conjuncts().iter().any(|conjunct| conjunct.role() == crate::ConjunctRole::Columns);
    seen.rules += 1;
    seen.keyed += u64::from(plan.keyed());
    seen.filtered += u64::from(filtered);
    seen.residual_only += u64::from(!plan.keyed() && !filtered);
    let secret = Secret([random.0, !seed]);
    let table = Table::new(&rule, &world.schema, secret);
    let target = random.pick(&[2, 6, 6, 6, 20, 20, 70, 150]);
    let target = if random.one_in(60) { 400 } else { target };
    let steps = if target > 100 { 3 * target } else { 60 };
    let mut run = Run {
        context: format!("seed {seed}: {source}"),
        rule,
        world: &world,
        secret,
        mask: random.pick(&[u64::MAX, u64::MAX, 0xF, 0x1_0000_0001]),
        table,
        waiting: BTreeMap::new(),
        levels: VectorLevel::all(),
        time_ms: random.pick(&[0, 1 << 20]),
        next_id: 0,
        random,
        seen,
    };
    if target > 100 {
        for _ in 0..target {
            let (id, row, arrived_ms) = run.arrival();
            run.insert(id, row, arrived_ms);
        }
    }
    for _ in 0..steps {
        // Large ones are searched a few times only: a scan of theirs is many pairs.
        if target <= 100 || run.random.one_in(6) {
            run.step(target);
        } else {
            let (id, row, arrived_ms) = run.arrival();
            run.insert(id, row, arrived_ms);
            let leaves = run.someone().expect("somebody waits");
            run.remove(leaves);
        }
    }
    assert!(run.table.ids().eq(run.waiting.keys().copied()), "{}", run.context);
}

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("EQUIVALENCE_SEEDS").ok();
    given.map_or(0..if cfg!(debug_assertions) { 200 } else { 600 }, |given| {
        let (from, to) = given.split_once("..").expect("FROM..TO");
        from.parse().unwrap()..to.parse().unwrap()
    })
}

#[test]
fn planned_columnar_keyed_and_hinted_searches_agree_with_the_rule() {
    let (seeds, mut seen, started) = (seeds(), Seen::default(), Instant::now());
    seeds.clone().for_each(|seed| run(seed, &mut seen));
    let [holds, fails, missing, errors] = seen.told;
    println!("{seen:?}");
    println!(
        "{} rules, {} pairs: {holds} true, {fails} false, {missing} missing, {errors} errors, in {:.1} s",
        seen.rules,
        seen.pairs,
        started.elapsed().as_secs_f64()
    );
    let rules = seeds.end - seeds.start;
    assert!(seen.rules > rules / 2 && seen.keyed > rules / 20 && seen.filtered > rules / 4, "{seen:?}");
    assert!(
        seen.pairs > 300 * rules && seen.hinted > rules && seen.renumbered > 0 && seen.ordered > rules / 4,
        "{seen:?}"
    );
    assert!(seen.told.iter().all(|&count| count > seen.pairs / 300), "{seen:?}");
}

/// Whether a warning agrees with what is told of a pair.
fn is_true(warning: &Warning, told: Told) -> bool {
    match warning {
        Warning::NeverMatches { .. } => told != Told::True,
        Warning::AlwaysMatches => told == Told::True,
        _ => true,
    }
}
