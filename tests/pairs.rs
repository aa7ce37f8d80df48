//! A pool in which two elements match for each number, and what has to be true of it whatever happened to the cluster:
//! what was acknowledged is matched once, with its own, and every balancer tells the same in the same order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dovetail::{
    client::{Client, WatchOptions, value},
    pb::{self, Attribute, AttributeType, PoolDefinition, Submission},
};

/// Longest time without an acknowledgement or a match.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ids of what was acknowledged, by number.
pub type Acknowledged = BTreeMap<u64, [u64; 2]>;

/// The pool.
pub fn pool() -> PoolDefinition {
    PoolDefinition {
        name: "pairs".to_owned(),
        attributes: vec![Attribute { name: "n".to_owned(), r#type: AttributeType::Int.into() }],
        rule: "a.n == b.n".to_owned(),
        ..PoolDefinition::default()
    }
}

/// One of the two of a number.
pub fn element(number: u64, side: char) -> Submission {
    let key = format!("{number}{side}");
    Submission {
        idempotency_key: format!("i{key}"),
        key,
        attributes: [("n".to_owned(), value::int(i64::try_from(number).unwrap()))].into(),
        ..Submission::default()
    }
}

/// Submits both of a number, each until it is acknowledged. Their ids, and how often one was refused.
pub async fn submit(client: &Client, number: u64) -> ([u64; 2], usize) {
    let (mut ids, mut refused) = ([0; 2], 0);
    for (id, side) in ids.iter_mut().zip(['a', 'b']) {
        let deadline = Instant::now() + PATIENCE;
        *id = loop {
            match client.submit_one("pairs", element(number, side)).await {
                Ok(id) => break id,
                Err(error) => assert!(error.is_transient() && Instant::now() < deadline, "{number}{side}: {error}"),
            }
            refused += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
    }
    (ids, refused)
}

/// All matches up to an event, as one balancer tells them.
async fn matches(url: &str, through: u64) -> Vec<(u64, [u64; 2])> {
    let client = Client::connect(url).await.unwrap();
    let mut watch = client.watch(WatchOptions::default());
    let mut found = Vec::new();
    while let Some(part) = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
        let ends = |of: pb::Match| (of.cursor, [of.a.unwrap().id, of.b.unwrap().id]);
        found.extend(part.matches.into_iter().map(ends));
        if part.settled >= through {
            break;
        }
    }
    found
}

/// Whatever was acknowledged is matched once, with its own, and the balancers at these addresses tell it alike.
pub async fn check(urls: impl IntoIterator<Item = &String>, acknowledged: &Acknowledged) {
    let last = acknowledged.values().flatten().copied().max().unwrap();
    let sorted = |mut pairs: Vec<[u64; 2]>| {
        pairs.iter_mut().for_each(|pair| pair.sort_unstable());
        pairs.sort_unstable();
        pairs
    };
    let expected = sorted(acknowledged.values().copied().collect());
    let mut first = None;
    for url in urls {
        let told = matches(url, last).await;
        assert!(told.is_sorted_by(|one, other| one.0 < other.0), "each once, in order");
        assert_eq!(sorted(told.iter().map(|(_, pair)| *pair).collect()), expected, "{url}");
        assert_eq!(*first.get_or_insert_with(|| told.clone()), told, "{url} tells what the first does");
    }
}
