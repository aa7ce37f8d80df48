//! A run of the checker over one script.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    thread,
    time::{Duration, Instant},
};

use dovetail_core::planted::Bug;
use serde::Serialize;
use stateright::{Checker, HasDiscoveries, Model};

use super::{
    cluster::{FaultBudget, ModelCluster, State},
    machines::MachineId,
    reduce::Verified,
    script::Script,
    wire::NODES,
};

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What may go wrong.
    pub faults: FaultBudget,
    /// A bug to plant.
    pub planted: Option<Bug>,
    /// Breadth first, which finds a shortest counterexample and takes more memory.
    pub breadth_first: bool,
    /// Threads.
    pub threads: usize,
    /// Stops after about so many steps; none to go on to the end.
    pub steps_max: Option<usize>,
    /// Takes steps of machines again from other histories.
    pub audit: bool,
}

/// Runs at random before the first round.
const WALKS: u64 = 300;

/// What was left out rests on claims (`super::reduce`), every one of which was looked at again in the end.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Claims {
    /// Claims by which something was left out.
    pub used: usize,
    /// These, and those that they rest on.
    pub hold: usize,
    /// Pairs of messages that were given to a machine in both orders for that.
    pub diamonds: usize,
    /// Times that all was explored, until no claim failed.
    pub rounds: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// The script.
    pub script: String,
    /// Different states reached.
    pub states: usize,
    /// Steps taken between them.
    pub steps: usize,
    /// The longest run.
    pub depth: usize,
    /// Whether all states were reached.
    pub exhausted: bool,
    /// Wall-clock time.
    pub seconds: f64,
    /// States of single machines, and steps of them that were computed.
    pub machine_states: usize,
    /// Steps of single machines.
    pub machine_steps: usize,
    /// Machine steps taken again from another history, and how many of them differed.
    pub audited: (usize, usize),
    /// What the reduction rests on.
    pub claims: Claims,
    /// What is wrong, and how it comes about.
    pub counterexample: Option<Counterexample>,
}

/// A run that breaks a promise.
#[derive(Clone, Debug, Serialize)]
pub struct Counterexample {
    /// The promise.
    pub property: String,
    /// What is wrong in the end.
    pub what: String,
    /// What happens, in order.
    pub steps: Vec<String>,
}

/// Checks a script. `progress` is told the number of states now and then.
#[must_use]
pub fn check(script: &Script, options: Options, progress: &dyn Fn(usize)) -> ModelReport {
    let started = Instant::now();
    let cluster = ModelCluster::new(script, options.faults, options.planted);
    if !options.faults.reduced {
        return check_once(script, cluster, options, started, progress).expect("it rests on no claim");
    }
    cluster.stroll(WALKS);
    let _ = cluster.reduction().verify();
    let mut rounds = 1;
    loop {
        if let Some(mut report) = check_once(script, cluster.clone(), options, started, progress) {
            report.claims.rounds = rounds;
            return report;
        }
        rounds += 1;
    }
}

/// In how many ways a cluster can come to rest without a reduction, with it, and both: a plain search, to test the
/// reduction.
///
/// A way is the state of every machine.
#[must_use]
pub fn rests(script: &Script, faults: FaultBudget) -> [usize; 3] {
    let plain = ModelCluster::new(script, FaultBudget { reduced: false, ..faults }, None);
    let reduced = plain.with(FaultBudget { reduced: true, ..faults });
    let all = search(&plain);
    let some = loop {
        let some = search(&reduced);
        if reduced.reduction().verify().holds() {
            break some;
        }
    };
    [all.len(), some.len(), all.intersection(&some).count()]
}

type Rest = [Option<MachineId>; NODES];

fn search(cluster: &ModelCluster) -> BTreeSet<Rest> {
    let mut open = cluster.init_states();
    let mut seen: HashSet<u64> = open.iter().map(fingerprint).collect();
    let (mut rests, mut actions) = (BTreeSet::new(), Vec::new());
    while let Some(state) = open.pop() {
        assert_eq!(cluster.wrong(&state), None);
        rests.extend(cluster.rest(&state));
        actions.clear();
        cluster.actions(&state, &mut actions);
        let nexts = actions.iter().filter_map(|&action| cluster.next_state(&state, action));
        open.extend(nexts.filter(|next| seen.insert(fingerprint(next))));
    }
    rests
}

fn fingerprint(state: &State) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(state)
}

/// None when the search rested on a claim that does not hold. What it found then may be no run at all.
fn check_once(
    script: &Script,
    cluster: ModelCluster,
    options: Options,
    started: Instant,
    progress: &dyn Fn(usize),
) -> Option<ModelReport> {
    let mut builder = cluster.checker().threads(options.threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(most) = options.steps_max {
        builder = builder.target_state_count(most);
    }
    if options.breadth_first {
        report(script, options, started, builder.spawn_bfs(), progress)
    } else {
        report(script, options, started, builder.spawn_dfs(), progress)
    }
}

fn report(
    script: &Script,
    options: Options,
    started: Instant,
    checker: impl Checker<ModelCluster>,
    progress: &dyn Fn(usize),
) -> Option<ModelReport> {
    while !checker.is_done() {
        thread::sleep(Duration::from_millis(1));
        progress(checker.unique_state_count());
    }
    let checker = checker.join();
    let cluster = checker.model();
    let verified = if options.faults.reduced { cluster.reduction().verify() } else { Verified::default() };
    if !verified.holds() {
        return None;
    }
    let Verified { used, hold, diamonds, .. } = verified;
    let seconds = started.elapsed().as_secs_f64();
    let discoveries = checker.discoveries();
    let shortest = discoveries.into_iter().min_by_key(|(_, path)| path.clone().into_actions().len());
    let counterexample = shortest.map(|(property, path)| {
        let what = cluster.wrong(path.last_state()).unwrap_or_default();
        let steps = path.into_vec();
        let steps = steps.iter().filter_map(|(state, action)| Some(cluster.describe(state, (*action)?))).collect();
        Counterexample { property: property.to_owned(), what, steps }
    });
    let audit = if options.audit { cluster.machines().audit() } else { Default::default() };
    let (machine_states, machine_steps) = cluster.machines().known();
    Some(ModelReport {
        script: script.to_string(),
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        exhausted: counterexample.is_none() && options.steps_max.is_none_or(|most| checker.state_count() < most),
        seconds,
        machine_states,
        machine_steps,
        audited: (audit.steps, audit.differ),
        claims: Claims { used, hold, diamonds, rounds: 1 },
        counterexample,
    })
}
