//! What a user sees of the search: pools of both splits in one cluster, hot keys, and explanations.

use std::time::Duration;

use dovetail::client::{Client, by_id, by_key, value};
use dovetail::pb::inspect_response::State;
use dovetail::pb::{self, Attribute, AttributeType, ConjunctRole, ElementState, PoolDefinition, PoolSplit, Submission};

use crate::harness::{Cluster, SEVEN, SMALL, Which, dovetail, heavy, until};
use crate::load::{settled, submit};
use crate::workload::{KnownAnswer, Workload, position, submissions};

const N: usize = 20_000;
const SETTLES_IN: Duration = Duration::from_secs(300);

async fn run(client: &Client, workload: Workload) {
    let pool = format!("{workload:?}");
    let defined = client.define_pool(workload.pool(&pool, N)).await.unwrap();
    submit(client, &pool, submissions(workload, N)).await;
    let matches = settled(client, &pool, defined.defined_at, SETTLES_IN).await;
    let key = |end: &Option<pb::MatchedElement>| position(&end.as_ref().unwrap().key);
    let ends = matches.iter().map(|found| (key(&found.a), key(&found.b)));
    assert_eq!(KnownAnswer::of(N, ends).unwrap(), workload.answer(N).unwrap(), "{workload:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_with_and_without_keys_live_side_by_side() {
    let _heavy = heavy().await;
    let cluster = Cluster::start("both-splits", SEVEN).await;
    let client = cluster.client().await;
    // At once, so that frames hold elements of all.
    tokio::join!(
        run(&client, Workload::W1),
        run(&client, Workload::W2),
        run(&client, Workload::W3),
        run(&client, Workload::W4),
        run(&client, Workload::W5)
    );
    for matcher in 0..SEVEN.matchers {
        let pools = pools(&cluster, matcher).await;
        let split = |name: &str| pools.iter().find(|pool| pool.pool == name).unwrap().split();
        let splits = ["W1", "W2", "W3", "W4", "W5"].map(split);
        assert_eq!(
            splits,
            [PoolSplit::Key, PoolSplit::Key, PoolSplit::One, PoolSplit::Key, PoolSplit::Index],
            "as matcher {matcher} tells"
        );
    }
}

/// The pools of all slices of a matcher.
async fn pools(cluster: &Cluster, matcher: u32) -> Vec<pb::PoolCount> {
    match cluster.inspect(Which::Matcher(matcher)).await.unwrap().state {
        Some(State::Matcher(state)) => state.slices.into_iter().flat_map(|slice| slice.pools).collect(),
        other => panic!("not a matcher: {other:?}"),
    }
}

fn duel(reprobe_ms: &[u64]) -> PoolDefinition {
    let attribute = |(name, kind): (&str, AttributeType)| Attribute { name: name.to_owned(), r#type: kind.into() };
    let attributes = [("region", AttributeType::String), ("skill", AttributeType::Int)];
    PoolDefinition {
        name: "duel".to_owned(),
        attributes: attributes.map(attribute).into(),
        rule: "a.region == b.region && abs(a.skill - b.skill) <= 50 + a.waited / 1000".to_owned(),
        reprobe_ms: reprobe_ms.to_vec(),
        ..PoolDefinition::default()
    }
}

fn player(key: &str, region: &str, skill: i64) -> Submission {
    let attributes = [("region".to_owned(), value::string(region)), ("skill".to_owned(), value::int(skill))];
    Submission { key: key.to_owned(), attributes: attributes.into(), ..Submission::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_most_searches_have_in_common_shows_in_inspect() {
    let cluster = Cluster::start("hot-key", SMALL).await;
    let client = cluster.client().await;
    client.define_pool(duel(&[])).await.unwrap();
    // None is matched: skills are too far apart.
    let region = |n: i64| if n % 5 == 0 { format!("r{n}") } else { "eu".to_owned() };
    let players = (0..4_000).map(|n| player(&format!("p{n}"), &region(n), n * 1_000)).collect();
    submit(&client, "duel", players).await;
    let hot = until("the hot key shows", async || {
        let pools = pools(&cluster, 0).await;
        let hot: Vec<pb::HotKey> = pools.into_iter().flat_map(|pool| pool.hot_keys).collect();
        hot.into_iter().find(|hot| hot.waiting == 3_200)
    })
    .await;
    assert_eq!(hot.key, "region = \"eu\"");
    assert!(hot.searches_permille > 700, "{hot:?}");
    let (code, stdout, _) = dovetail(&cluster.url(Which::Matcher(0)), &["status"]).await;
    assert!(code == Some(0) && stdout.contains("region = \"eu\""), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_element_is_explained_and_so_is_what_became_of_it() {
    let cluster = Cluster::start("explain", SMALL).await;
    let client = cluster.client().await;
    client.define_pool(duel(&[3_600_000])).await.unwrap();
    let players = [("ann", "eu", 1_000), ("bob", "us", 1_000), ("cid", "eu", 1_200), ("dan", "eu", 1_010)];
    let mut ids = Vec::new();
    for (key, region, skill) in players {
        ids.push(client.submit_one("duel", player(key, region, skill)).await.unwrap());
    }
    until("ann is matched with dan", async || {
        let found = client.get(by_id(ids[0]), Duration::ZERO).await.unwrap();
        (found.state() == ElementState::Matched).then_some(())
    })
    .await;
    let lone = client.submit_one("duel", player("eve", "eu", 1_111)).await.unwrap();

    let explained = client.explain(by_key("duel", "eve"), 0).await.unwrap();
    assert_eq!(explained.element.as_ref().unwrap().id, lone);
    assert_eq!((explained.anchors, explained.acceptable, explained.rule_errors), (2, 0, 0));
    let conjuncts: Vec<_> = explained.conjuncts.iter().map(|one| (one.role(), one.turned_away)).collect();
    assert_eq!(conjuncts, [(ConjunctRole::Key, 1), (ConjunctRole::Columns, 1)]);
    assert_eq!(explained.ordered_by, ["skill"]);
    let nearest = &explained.nearest[0];
    assert_eq!((nearest.id, nearest.key.as_str(), nearest.failed.len()), (ids[2], "cid", 1));
    assert_eq!(nearest.failed[0].reason, "abs(a.skill - b.skill) is 89, at most 50 is allowed: off by 39");
    // An hour after cid came it searches again, and allows 3,600 more.
    let prospect = explained.prospect.unwrap();
    assert_eq!(prospect.id, ids[2]);
    assert!((3_590_000..=3_600_000).contains(&(prospect.at_ms - explained.time_ms)), "{prospect:?}");

    let ended = client.explain(by_id(ids[0]), 0).await.unwrap();
    assert_eq!((ended.element.unwrap().state(), ended.conjuncts.len()), (ElementState::Matched, 0));

    let (code, stdout, _) = dovetail(&cluster.server(), &["explain", "--pool", "duel", "--key", "eve"]).await;
    assert!(code == Some(0) && stdout.contains("off by 3") && stdout.contains("; acceptable in 5"), "{stdout}");
    let (code, _, stderr) = dovetail(&cluster.server(), &["explain", "999"]).await;
    assert_eq!((code, stderr.as_str()), (Some(1), "error: element 999 is not known (NOT_FOUND)\n"));
    let refused = client.explain(by_id(lone), 101).await.unwrap_err();
    assert!(refused.to_string().contains("nearest is 101, at most 100"), "{refused}");
}

/// A pool in which each search tests all waiting elements, by a rule that costs much.
fn costly() -> PoolDefinition {
    let attribute = |(name, kind): (&str, AttributeType)| Attribute { name: name.to_owned(), r#type: kind.into() };
    let attributes = [("s", AttributeType::String), ("t", AttributeType::String), ("g", AttributeType::Int)];
    PoolDefinition {
        name: "costly".to_owned(),
        attributes: attributes.map(attribute).into(),
        rule: format!("a.g < b.g && ({})", ["a.s.contains(b.t)"; 20].join(" || ")),
        ..PoolDefinition::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_searches_cost_much_keeps_no_other_pool_waiting() {
    let _heavy = heavy().await;
    let cluster = Cluster::start("costly-pool", SMALL).await;
    let client = cluster.client().await;
    client.define_pool(costly()).await.unwrap();
    client.define_pool(duel(&[])).await.unwrap();
    let (text, part) = ("ab".repeat(128), format!("{}c", "ab".repeat(50)));
    let element = |key: String, name: &str, text: &str, g| Submission {
        key,
        attributes: [(name.to_owned(), value::string(text)), ("g".to_owned(), value::int(g))].into(),
        ..Submission::default()
    };
    // Those who wait have no part, and so are not searched for in one another.
    submit(&client, "costly", (0..20_000).map(|n| element(format!("w{n}"), "s", &text, 0)).collect()).await;
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (client, search) = (client.clone(), element(format!("p{n}"), "t", &part, 1));
        flood.spawn(async move { client.submit_one("costly", search).await });
    }
    until("searches under way keep others of their pool waiting", async || {
        let state = cluster.balancer_state().await;
        (state.search_waits > 0 && state.search_cost > 0).then_some(())
    })
    .await;
    let ann = client.submit_one("duel", player("ann", "eu", 1)).await.unwrap();
    client.submit_one("duel", player("bob", "eu", 1)).await.unwrap();
    until("ann is matched", async || {
        (client.get(by_id(ann), Duration::ZERO).await.unwrap().state() == ElementState::Matched).then_some(())
    })
    .await;
    while let Some(let_in) = flood.join_next().await {
        let_in.unwrap().unwrap();
    }
    let (code, stdout, _) = dovetail(&cluster.server(), &["status"]).await;
    assert_eq!(code, Some(0), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_would_make_searches_cost_too_much_is_refused_with_what_it_costs() {
    let cluster = Cluster::start_with("search-cost", SMALL, &[("search-cost-max", "1048576")]).await;
    let client = cluster.client().await;
    client.define_pool(costly()).await.unwrap();
    let element = |n: u32| Submission {
        key: format!("k{n}"),
        attributes: [
            ("s".to_owned(), value::string("x".repeat(256))),
            ("t".to_owned(), value::string("y".repeat(256))),
        ]
        .into(),
        ..Submission::default()
    };
    let mut refused = None;
    for n in 0..2_000 {
        if let Err(error) = client.submit_one("costly", element(n)).await {
            refused = Some((n, error.to_string()));
            break;
        }
    }
    let (waiting, text) = refused.expect("a search of 20 contains among 2,000 costs more");
    // A slice may test 201: each pair costs 5,185 units.
    assert!((200..1_300).contains(&waiting), "{waiting}");
    assert!(text.contains("which is search_cost_max"), "{text}");
}
