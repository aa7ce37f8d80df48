//! Processes that die in the middle of a load: the run goes on, and its result is the sequential program's.

use std::time::Duration;

use dovetail::client::{by_id, by_key, value};

use dovetail::pb::{Attribute, AttributeType, ElementState, PoolDefinition, Submission};
use dovetail_core::{ElementId, Placement, Pool, PoolId, Ring};
use dovetail_rule::{Row, Value};
use tokio::sync::oneshot;

use crate::harness::{Cluster, PATIENCE, SEVEN, Which, heavy, until, within};
use crate::history::History;
use crate::load::{Load, Watcher, settled};
use crate::time::{EQUAL, player, pool};
use crate::workload::{KnownAnswer, Workload, position, submissions};

/// Longest time a cluster may take to recover and to decide what is left.
const SETTLES_IN: Duration = Duration::from_secs(240);

/// A fixed sequence of choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What happens between two parts of a load.
#[derive(Clone, Debug)]
enum Fault {
    /// kill -9; the restart comes a part later.
    Kill(Vec<Which>),
    /// Starts again what was killed, and waits until it serves.
    Restart,
    /// kill -9 and restart at once, not waiting for anything.
    Bounce(Vec<Which>),
}

/// Loads W1 in as many parts as there are faults, with a fault after each part; checks the result against the known
/// answer, the log, and a watcher that was there all along.
async fn check(test: &str, n: usize, faults: &[Fault]) {
    let _heavy = heavy().await;
    let mut cluster = Cluster::start(test, SEVEN).await;
    let client = cluster.client().await;
    client.define_pool(Workload::W1.pool("w1", n)).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let watching = Watcher::new(&cluster.server(), "w1", 0).spawn(stopped);
    let mut load = Load::new(cluster.server(), "w1", submissions(Workload::W1, n));
    let (mut dead, mut kills, mut balancer_kills) = (Vec::new(), 0, 0);
    for (part, fault) in faults.iter().enumerate() {
        load.send(n * (part + 1) / (faults.len() + 1)).await;
        if let Fault::Kill(nodes) | Fault::Bounce(nodes) = fault {
            let state = cluster.balancer_state().await;
            kills += usize::from(state.decided < state.assigned);
            balancer_kills += usize::from(nodes.contains(&Which::Balancer));
        }
        match fault {
            Fault::Kill(nodes) => {
                nodes.iter().for_each(|&which| cluster.kill(which));
                dead.extend(nodes);
            }
            Fault::Restart => {
                dead.iter().for_each(|&which| cluster.spawn(which));
                for which in dead.drain(..) {
                    cluster.serving(which).await;
                }
            }
            Fault::Bounce(nodes) => {
                nodes.iter().for_each(|&which| cluster.kill(which));
                nodes.iter().for_each(|&which| cluster.spawn(which));
            }
        }
    }
    assert!(dead.is_empty(), "who is killed is started again");
    assert!(kills > 0, "nothing was undecided at any of the kills");
    load.finish().await;
    assert!(load.broken >= balancer_kills, "the load was cut {} times", load.broken);
    let matches = settled(&client, "w1", 0, SETTLES_IN).await;
    stop.send(()).unwrap();
    let watched = within(PATIENCE, "the watcher", watching).await.unwrap();
    assert!(watched.matches == matches, "what was watched through every death is not what is read back");
    assert!(watched.broken >= balancer_kills, "the watch was cut {} times", watched.broken);
    let ends = matches.iter().map(|found| {
        let [a, b] = [&found.a, &found.b].map(|end| position(&end.as_ref().unwrap().key));
        (a, b)
    });
    assert_eq!(KnownAnswer::of(n, ends).unwrap(), Workload::W1.answer(n).unwrap());
    let history = History::of(&mut cluster).await;
    history.check(&matches);
    // No acknowledged element is lost, and no id was given twice: the log has exactly what was acknowledged.
    let logged: Vec<(u64, u64)> = history.keys.iter().map(|(&id, key)| (id, position(key))).collect();
    let acknowledged: Vec<(u64, u64)> = load.ids.iter().copied().zip(1..).collect();
    assert_eq!(logged.len(), acknowledged.len(), "elements in the log");
    assert!(logged == acknowledged, "the log has other ids than were acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_matcher_or_gatherer_comes_back_and_changes_nothing() {
    let mut choices = Choices(2);
    let mut faults = Vec::new();
    for round in 0..6 {
        let which = match round % 2 {
            0 => Which::Matcher(choices.below(3) as u32),
            _ => Which::Gatherer(choices.below(3) as u32),
        };
        faults.extend([Fault::Kill(vec![which]), Fault::Restart]);
    }
    check("any-one", 100_000, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn matchers_and_gatherers_that_die_in_quick_succession_change_nothing() {
    let mut choices = Choices(7);
    let one = |choices: &mut Choices| match choices.below(6) as u32 {
        index @ 0..3 => Which::Matcher(index),
        index => Which::Gatherer(index - 3),
    };
    let faults: Vec<Fault> = (0..12).map(|_| Fault::Bounce(vec![one(&mut choices)])).collect();
    check("succession", 20_000, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_balancer_comes_back_with_all_it_acknowledged_and_reuses_no_id() {
    let mut faults = vec![Fault::Bounce(vec![Which::Balancer]); 4];
    faults.extend([Fault::Bounce(vec![Which::Balancer]), Fault::Bounce(vec![Which::Balancer])]);
    check("balancer", 100_000, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_each_role_killed_at_once_comes_back_and_changes_nothing() {
    let trio = |m, g| Fault::Bounce(vec![Which::Balancer, Which::Matcher(m), Which::Gatherer(g)]);
    check("trio", 20_000, &[trio(0, 1), trio(1, 2), trio(2, 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_killed_at_once_comes_back_and_changes_nothing() {
    let nodes = (0..3).flat_map(|index| [Which::Matcher(index), Which::Gatherer(index)]);
    let all: Vec<Which> = [Which::Balancer].into_iter().chain(nodes).collect();
    check("everyone", 20_000, &[Fault::Bounce(all.clone()), Fault::Bounce(all)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gatherer_that_hangs_holds_the_result_back_and_does_not_change_it() {
    let _heavy = heavy().await;
    let n = 20_000;
    let mut cluster = Cluster::start("hang", SEVEN).await;
    let client = cluster.client().await;
    client.define_pool(Workload::W1.pool("w1", n)).await.unwrap();
    let mut load = Load::new(cluster.server(), "w1", submissions(Workload::W1, n));
    // Once for as long as a part of the load takes.
    load.send(n / 4).await;
    cluster.node(Which::Gatherer(1)).signal("STOP");
    load.send(n / 2).await;
    cluster.node(Which::Gatherer(1)).signal("CONT");
    // And once until its peers have noticed.
    load.send(n * 3 / 4).await;
    cluster.node(Which::Gatherer(2)).signal("STOP");
    load.finish().await;
    let last = *load.ids.last().unwrap();
    until("the balancer misses the gatherer", async || {
        let links = cluster.inspect(Which::Balancer).await?.links;
        links.iter().any(|link| link.index == 2 && !link.connected).then_some(())
    })
    .await;
    assert!(cluster.balancer_state().await.decided < last, "nothing is decided without one of the gatherers");
    cluster.node(Which::Gatherer(2)).signal("CONT");
    let matches = settled(&client, "w1", 0, SETTLES_IN).await;
    assert_eq!(load.broken, 0, "clients notice nothing");
    History::of(&mut cluster).await.check(&matches);
}

/// Skills whose elements matcher `matcher` alone searches for, and gatherer `gatherer` alone announces, in a pool split
/// by skill.
fn skills_of(matcher: u32, gatherer: u32, definition: &PoolDefinition) -> impl Iterator<Item = i64> {
    let pool = Pool::compile(PoolId(0), dovetail_wire::pool_definition(definition.clone()).unwrap().into()).unwrap();
    // The defaults of the settings.
    let placement = Placement::new(SEVEN.slices, 64, Ring::new(SEVEN.gatherers, 160).into());
    (0..).filter(move |&skill| {
        let place = pool.place(ElementId(1), &Row::from_values([Some(Value::Int(skill))]));
        placement.owner(place).0 % SEVEN.matchers == matcher && placement.home(place).0 == gatherer
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_hang_hold_up_what_concerns_them_and_nothing_before() {
    let definition = pool(EQUAL);
    let mut cluster = Cluster::start("concerned", SEVEN).await;
    let client = cluster.client().await;
    client.define_pool(definition.clone()).await.unwrap();
    // Who defines a pool concerns all of them.
    let told = async || (cluster.balancer_state().await.stable >= 1).then_some(());
    until("everybody knows the pool", told).await;
    let hanging = [Which::Matcher(1), Which::Gatherer(2)];
    hanging.iter().for_each(|&which| cluster.node(which).signal("STOP"));
    let pair = async |skill: i64| {
        let first = client.submit_one("duel", player(&format!("{skill}-a"), skill)).await.unwrap();
        client.submit_one("duel", player(&format!("{skill}-b"), skill)).await.unwrap();
        by_id(first)
    };
    for skill in skills_of(0, 0, &definition).take(5) {
        let found = client.get(pair(skill).await, PATIENCE).await.unwrap();
        assert_eq!(
            found.state(),
            ElementState::Matched,
            "a balancer, a matcher and a gatherer are enough for skill {skill}"
        );
    }
    let state = cluster.balancer_state().await;
    assert!(state.stable < state.decided, "the cut does not pass who has not been there: {state:?}");
    for (matcher, gatherer) in [(1, 1), (2, 2)] {
        let skill = skills_of(matcher, gatherer, &definition).next().unwrap();
        let found = client.get(pair(skill).await, Duration::from_millis(300)).await.unwrap();
        assert_eq!(found.state(), ElementState::Waiting, "matcher {matcher} or gatherer {gatherer} hangs");
    }
    hanging.iter().for_each(|&which| cluster.node(which).signal("CONT"));
    let matches = settled(&client, "duel", 0, SETTLES_IN).await;
    assert_eq!(matches.len(), 7);
    History::of(&mut cluster).await.check(&matches);
}

#[tokio::test(flavor = "multi_thread")]
async fn widening_rules_withdrawals_and_expiry_stay_exact_while_everyone_dies_in_turn() {
    let _heavy = heavy().await;
    let mut cluster = Cluster::start("mixed", SEVEN).await;
    let client = cluster.client().await;
    let attribute = |name: &str| Attribute { name: name.to_owned(), r#type: AttributeType::Int.into() };
    let pool = PoolDefinition {
        name: "widening".to_owned(),
        attributes: vec![attribute("region"), attribute("skill")],
        rule: "a.region == b.region && abs(a.skill - b.skill) <= 2 + min(a.waited, b.waited) / 100".to_owned(),
        ttl_ms: 4000,
        reprobe_ms: vec![300, 700, 1500, 2500],
        ..PoolDefinition::default()
    };
    client.define_pool(pool).await.unwrap();
    let mut choices = Choices(11);
    let n = 6000;
    let elements: Vec<Submission> = (1..=n)
        .map(|position| {
            let (region, skill) = (choices.below(4) as i64, choices.below(3000) as i64);
            let attributes = [("region".to_owned(), value::int(region)), ("skill".to_owned(), value::int(skill))];
            let key = format!("k{position}");
            Submission {
                idempotency_key: key.clone(),
                key,
                attributes: attributes.into(),
                ttl_ms: (position % 10 == 0).then_some(100),
                ..Submission::default()
            }
        })
        .collect();
    let mut load = Load::new(cluster.server(), "widening", elements);
    let victims = [
        Which::Matcher(0),
        Which::Gatherer(0),
        Which::Balancer,
        Which::Gatherer(2),
        Which::Matcher(2),
        Which::Balancer,
        Which::Matcher(1),
        Which::Gatherer(1),
    ];
    for (round, which) in (1..).zip(victims) {
        load.send(load.len() * round / victims.len()).await;
        // An element that matched or expired before is not there any more; both answers are right.
        for _ in 0..20 {
            let key = format!("k{}", choices.below(load.ids.len().max(1) as u64) + 1);
            within(SETTLES_IN, "a withdrawal", client.withdraw(by_key("widening", key))).await.unwrap();
        }
        cluster.kill(which);
        cluster.spawn(which);
        cluster.serving(which).await;
    }
    load.finish().await;
    until("every element is matched, withdrawn or expired", async || {
        let pools = client.list_pools().await.ok()?;
        (pools[0].waiting == 0).then_some(())
    })
    .await;
    let matches = settled(&client, "widening", 0, SETTLES_IN).await;
    let mut states = [0; 5];
    for &id in &load.ids {
        let state = client.get(by_id(id), Duration::ZERO).await.unwrap().state;
        states[state as usize] += 1;
    }
    let pools = client.list_pools().await.unwrap();
    let history = History::of(&mut cluster).await;
    history.check(&matches);
    assert_eq!(history.keys.keys().copied().collect::<Vec<_>>(), load.ids, "the log has what was acknowledged");
    assert!(history.waiting.is_empty(), "the sequential program agrees that nobody waits");
    let ends = history.oracle.iter().filter(|retirement| retirement.anchor.is_none()).count() as u64;
    assert_eq!((pools[0].matches, pools[0].withdrawn + pools[0].expired), (matches.len() as u64, ends));
    assert_eq!(states[ElementState::Matched as usize], 2 * matches.len());
    assert_eq!(states[ElementState::Withdrawn as usize] as u64, pools[0].withdrawn);
    assert_eq!(states[ElementState::Expired as usize] as u64, pools[0].expired);
    let later = matches.iter().filter(|found| found.cursor > found.b.as_ref().unwrap().id).count();
    assert!(later > 0 && pools[0].withdrawn > 0 && pools[0].expired > 0, "all of it happened: {:?}", pools[0]);
}
