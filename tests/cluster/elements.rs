//! Many elements of a pool at a time: listed and withdrawn by page; and watches that begin now.

use std::time::Duration;

use dovetail::{
    client::{Client, SubmitOptions, WatchOptions, by_id, value},
    pb::{self, Attribute, AttributeType, ElementFilter, ElementState, PoolDefinition, Submission},
    reason::Reason,
};

use crate::harness::{Cluster, PATIENCE, SMALL, dovetail, until, within};

/// Elements that wait: more than the engine looks at at a time.
const WAITING: usize = 5_000;

fn pool(name: &str) -> PoolDefinition {
    let attribute = |name: &str, r#type: AttributeType| Attribute { name: name.to_owned(), r#type: r#type.into() };
    PoolDefinition {
        name: name.to_owned(),
        attributes: vec![attribute("skill", AttributeType::Int), attribute("region", AttributeType::String)],
        rule: "a.skill == b.skill && a.region == b.region".to_owned(),
        ..PoolDefinition::default()
    }
}

fn player(key: &str, skill: i64, region: &str) -> Submission {
    let attributes = [("skill".to_owned(), value::int(skill)), ("region".to_owned(), value::string(region))].into();
    Submission { key: key.to_owned(), attributes, payload: "p".into(), ..Submission::default() }
}

fn filter(key_prefix: &str, attributes: &[(&str, pb::Value)]) -> Option<ElementFilter> {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Some(ElementFilter { pool: "duel".to_owned(), key_prefix: key_prefix.to_owned(), attributes })
}

/// A cluster in which no element finds another: players of two regions, every second one, and some of another pool in
/// between.
async fn started(test: &str) -> (Cluster, Client) {
    let cluster = Cluster::start(test, SMALL).await;
    let client = filled(&cluster).await;
    (cluster, client)
}

async fn filled(cluster: &Cluster) -> Client {
    let client = cluster.client().await;
    for name in ["duel", "other"] {
        client.define_pool(pool(name)).await.unwrap();
    }
    let mut stream = client.submit("duel", SubmitOptions::default()).await.unwrap();
    for from in (0..WAITING).step_by(1000) {
        let one = |number: usize| player(&format!("p{number}"), number as i64, ["eu", "us"][number % 2]);
        stream.send((from..from + 1000).map(one).collect()).await.unwrap();
        client.submit_one("other", player(&format!("p{from}"), from as i64, "eu")).await.unwrap();
    }
    stream.finish().await.unwrap();
    client
}

async fn listed(client: &Client, filter: Option<ElementFilter>, page_size: u32) -> Vec<pb::Element> {
    let mut request = pb::ListElementsRequest { filter, page_size, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = client.list_elements(request.clone()).await.unwrap();
        assert!(page_size == 0 || page.elements.len() <= page_size as usize);
        all.extend(page.elements);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_elements_are_listed_by_page_and_chosen_by_key_and_attributes() {
    let (cluster, client) = started("listed").await;
    let all = listed(&client, filter("", &[]), 0).await;
    assert_eq!(all.len(), WAITING, "none of another pool");
    assert!(all.is_sorted_by_key(|element| element.id));
    let first = client.get(by_id(all[0].id), Duration::ZERO).await.unwrap();
    assert_eq!(first, all[0], "as GetElement has them");
    assert_eq!(listed(&client, filter("", &[]), 999).await, all, "whatever the pages");
    let keys = |elements: &[pb::Element]| elements.iter().map(|element| element.key.clone()).collect::<Vec<_>>();
    let chosen = listed(&client, filter("p1", &[("region", value::string("us"))]), 7).await;
    let expected = (0..WAITING).map(|number| (number, format!("p{number}")));
    let expected: Vec<_> =
        expected.filter(|(number, key)| key.starts_with("p1") && number % 2 == 1).map(|(_, key)| key).collect();
    assert_eq!(keys(&chosen), expected);
    let one = filter("", &[("skill", value::int(17)), ("region", value::string("us"))]);
    assert_eq!(keys(&listed(&client, one, 0).await), ["p17"]);
    assert_eq!(listed(&client, filter("", &[("skill", value::int(17)), ("region", value::string("eu"))]), 0).await, []);
    // From a command line.
    let server = cluster.server();
    let (code, stdout, stderr) = dovetail(&server, &["list", "--pool", "duel", "--where", "skill=17", "--json"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("\"key\":\"p17\"") && stdout.lines().count() == 1, "{stdout}");
    let (code, stdout, _) = dovetail(&server, &["list", "--pool", "duel", "--limit", "1200"]).await;
    assert_eq!((code, stdout.lines().count()), (Some(0), 1201), "a heading and the rows");
    let (code, _, stderr) = dovetail(&server, &["list", "--pool", "duel", "--where", "skill=high"]).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("\"high\"") && stderr.contains("int"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_chosen_is_refused_with_the_reason() {
    let (_cluster, client) = started("not-chosen").await;
    let ask = |filter, page_size, page_token: &str| pb::ListElementsRequest {
        filter,
        page_size,
        page_token: page_token.to_owned(),
    };
    for (request, reason) in [
        (ask(None, 0, ""), Reason::FieldMissing),
        (ask(filter("", &[("colour", value::int(1))]), 0, ""), Reason::AttributeUnknown),
        (ask(filter("", &[("skill", value::string("x"))]), 0, ""), Reason::AttributeType),
        (ask(filter("", &[("skill", pb::Value { kind: None })]), 0, ""), Reason::AttributeNoValue),
        (ask(filter("", &[]), 10_001, ""), Reason::OutOfBounds),
        (ask(filter("", &[]), 0, "yesterday"), Reason::PageToken),
        (ask(Some(ElementFilter { pool: "duet".to_owned(), ..Default::default() }), 0, ""), Reason::PoolUnknown),
    ] {
        let error = client.list_elements(request.clone()).await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{request:?}: {error}");
    }
    // A filter that was left out by mistake withdraws nothing.
    let request = pb::WithdrawElementsRequest { filter: filter("", &[]), ..Default::default() };
    let error = client.withdraw_elements(request).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::FieldMissing), "{error}");
    assert_eq!(client.get_pool("duel").await.unwrap().waiting, WAITING as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_elements_are_withdrawn_by_page_and_each_is_an_event_of_the_log() {
    let (cluster, client) = started("withdrawn").await;
    let chosen = || filter("p", &[("region", value::string("us"))]);
    let mut request = pb::WithdrawElementsRequest { filter: chosen(), page_size: 700, ..Default::default() };
    let (mut withdrawn, mut calls, mut position) = (0, 0, 0);
    loop {
        let part = client.withdraw_elements(request.clone()).await.unwrap();
        assert!(part.withdrawn <= 700 && part.matched == 0 && part.ended == 0, "{part:?}");
        withdrawn += part.withdrawn;
        position = part.position.max(position);
        calls += 1;
        if part.next_page_token.is_empty() {
            break;
        }
        request.page_token = part.next_page_token;
    }
    assert_eq!((withdrawn, calls), (WAITING as u64 / 2, 4));
    let left = listed(&client, filter("", &[]), 0).await;
    assert_eq!(left.len(), WAITING / 2);
    assert!(left.iter().all(|element| element.attributes["region"] == value::string("eu")));
    let status = client.get_pool("duel").await.unwrap();
    assert_eq!((status.waiting, status.withdrawn), (WAITING as u64 / 2, WAITING as u64 / 2));
    // An element that comes for one of them finds none, and each is among the outcomes once.
    let partner = client.submit_one("duel", player("late", 1, "us")).await.unwrap();
    let (found, _) = client.get_at(by_id(partner), Duration::ZERO, position.max(partner)).await.unwrap();
    assert_eq!(found.state(), ElementState::Waiting);
    let options = WatchOptions { pool: "duel".to_owned(), until_settled: true, ..Default::default() };
    let (mut watch, mut ended) = (client.watch_outcomes(options), Vec::new());
    while let Some(part) = watch.next().await.unwrap() {
        ended.extend(part.outcomes.into_iter().filter_map(|outcome| match outcome.kind {
            Some(pb::outcome::Kind::Ended(ended)) => Some((ended.reason(), ended.id)),
            _ => None,
        }));
    }
    assert!(ended.iter().all(|&(reason, _)| reason == pb::EndReason::Withdrawn));
    ended.sort_unstable_by_key(|&(_, id)| id);
    ended.dedup();
    assert_eq!(ended.len(), WAITING / 2);
    // From a command line without a terminal to ask at.
    let server = cluster.server();
    let (code, _, stderr) = dovetail(&server, &["withdraw", "--pool", "duel", "--all"]).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("all elements") && stderr.contains("--yes"), "{stderr}");
    let (code, stdout, stderr) = dovetail(&server, &["withdraw", "--pool", "duel", "--all", "--yes"]).await;
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "2,501 withdrawn, 0 matched before, 0 ended otherwise\n"),
        "{stderr}"
    );
    assert_eq!(client.get_pool("duel").await.unwrap().waiting, 0);
    assert_eq!(client.get_pool("other").await.unwrap().waiting, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_begins_now_says_where_that_is_and_tells_of_nothing_before() {
    let cluster = Cluster::start("from-now", SMALL).await;
    let client = cluster.client().await;
    client.define_pool(pool("duel")).await.unwrap();
    let pair = async |skill: i64| {
        let mut last = 0;
        for key in ["a", "b"] {
            last = client.submit_one("duel", player(&format!("{key}{skill}"), skill, "eu")).await.unwrap();
        }
        client.get(by_id(last), Duration::from_secs(60)).await.unwrap().ended_at
    };
    let before = pair(1).await;
    let options = || WatchOptions { pool: "duel".to_owned(), from_now: true, ..Default::default() };
    let (mut matches, mut outcomes, mut columns) =
        (client.watch(options()), client.watch_outcomes(options()), client.watch_columns(options()));
    let first = within(PATIENCE, "the first message", matches.next()).await.unwrap().unwrap();
    assert_eq!(first.matches, []);
    assert!(first.settled >= before, "{} is before {before}", first.settled);
    let told = within(PATIENCE, "the first message", outcomes.next()).await.unwrap().unwrap();
    assert_eq!((told.outcomes, told.settled >= before), (vec![], true));
    assert!(within(PATIENCE, "the first message", columns.next()).await.unwrap().unwrap().is_empty());
    let after = pair(2).await;
    let found = until("the match after it comes", async || {
        let part = matches.next().await.unwrap().unwrap();
        part.matches.first().map(|found| found.cursor)
    });
    assert_eq!(found.await, after);
    let both = WatchOptions { after: 1, ..options() };
    let error = client.watch(both).next().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::FieldsConflict), "{error}");
    let error = client.watch_outcomes(WatchOptions { after: 1, ..options() }).next().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::FieldsConflict), "{error}");
    let (code, stdout, stderr) =
        dovetail(&cluster.server(), &["watch", "--json", "--from", "now", "--until-settled"]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_nan_is_refused_and_zero_is_zero_whatever_its_sign() {
    let cluster = Cluster::start("doubles", SMALL).await;
    let client = cluster.client().await;
    let rating = Attribute { name: "rating".to_owned(), r#type: AttributeType::Double.into() };
    let mut definition = pool("duel");
    definition.attributes.push(rating);
    client.define_pool(definition).await.unwrap();
    for (number, rating) in [0.0, -0.0, 1.5, f64::NAN].into_iter().enumerate() {
        let mut player = player(&format!("p{number}"), number as i64, "eu");
        player.attributes.insert("rating".to_owned(), value::double(rating));
        client.submit_one("duel", player).await.unwrap();
    }
    // Beside another condition it would be none, and all that the other chooses would be withdrawn.
    let nan = || filter("", &[("region", value::string("eu")), ("rating", value::double(f64::NAN))]);
    let request = pb::WithdrawElementsRequest { filter: nan(), ..Default::default() };
    let refused = client.withdraw_elements(request).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::AttributeNoValue), "{refused}");
    assert!(refused.to_string().contains("\"rating\" is NaN"), "{refused}");
    let request = pb::ListElementsRequest { filter: nan(), ..Default::default() };
    let refused = client.list_elements(request).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::AttributeNoValue), "{refused}");
    assert_eq!(client.get_pool("duel").await.unwrap().waiting, 4);
    for zero in [0.0, -0.0] {
        let zeros = listed(&client, filter("", &[("rating", value::double(zero))]), 0).await;
        let keys: Vec<_> = zeros.into_iter().map(|element| element.key).collect();
        assert_eq!(keys, ["p0", "p1"], "{zero:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_go_on_beside_many_who_list_elements_all_the_time() {
    let flags = [("client-share-percent", "100"), ("scans-max", "256")];
    let cluster = Cluster::start_with("listers", SMALL, &flags).await;
    let client = filled(&cluster).await;
    let listers: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            let request = || pb::ListElementsRequest { filter: filter("nobody", &[]), ..Default::default() };
            tokio::spawn(async move {
                loop {
                    assert_eq!(client.list_elements(request()).await.unwrap().elements, []);
                }
            })
        })
        .collect();
    // Who asks for everything that waits, all the time, once stopped every submission.
    for number in 0..20 {
        let player = player(&format!("beside{number}"), number, "beside");
        within(PATIENCE, "a submission beside them", client.submit_one("duel", player)).await.unwrap();
    }
    for lister in listers {
        assert!(!lister.is_finished(), "it lists on");
        lister.abort();
    }
}
