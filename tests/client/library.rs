use std::time::Duration;

use dovetail::client::{Client, ClientError, ConnectOptions, SubmitOptions, WatchOptions, by_id};
use dovetail::pb;
use dovetail::reason::Reason;
use dovetail_server::{fault::Fault, rpc};
use tonic::{Code, Status};

use crate::fake::{Fake, WatchCall, found, part};

fn element(key: &str) -> pb::Submission {
    pb::Submission { key: key.to_owned(), ..Default::default() }
}

async fn connect(fake: &Fake) -> Client {
    Client::connect(fake.url()).await.unwrap()
}

fn call(sends: &[(&[u64], u64)], ends: Option<Result<(), Status>>) -> WatchCall {
    WatchCall { sends: sends.iter().map(|(cursors, settled)| part(cursors, *settled)).collect(), ends }
}

/// Plays the calls; returns the cursors handed out, how it ended, and from where each call started.
async fn watch(calls: Vec<WatchCall>, options: WatchOptions) -> (Vec<u64>, Result<(), ClientError>, Vec<u64>) {
    let fake = Fake::start();
    fake.script().watches = calls.into();
    let mut watch = connect(&fake).await.watch(options);
    let mut cursors = Vec::new();
    let end = loop {
        match watch.next().await {
            Ok(Some(part)) => cursors.extend(part.matches.iter().map(|found| found.cursor)),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert!(matches!(watch.next().await, Ok(None)), "it stays ended");
    let started = fake.script().watched.iter().map(|request| request.after).collect();
    (cursors, end, started)
}

fn until_settled() -> WatchOptions {
    WatchOptions { until_settled: true, ..Default::default() }
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_batches() {
    let fake = Fake::start();
    let mut submit = connect(&fake).await.submit("duel", SubmitOptions::default()).await.unwrap();
    for batch in [&["a", "b"][..], &["bad", "c"], &["d"]] {
        assert_eq!(submit.send(batch.iter().map(|key| element(key)).collect()).await.unwrap(), None);
    }
    let answers = submit.finish().await.unwrap();
    let ids: Vec<&[u64]> = answers.iter().map(|answer| answer.ids.as_slice()).collect();
    assert_eq!(ids, [&[2, 3][..], &[0, 4], &[5]]);
    assert_eq!(answers[1].refusals[0].message, "key \"bad\" is already waiting");
    assert_eq!(fake.keys(), [vec!["a", "b"], vec!["bad", "c"], vec!["d"]]);
}

// The test's thread blocks until the server has seen the batches; another one sends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_more_batches_are_under_way_than_asked_for() {
    let fake = Fake::start();
    fake.hold_answers();
    let mut submit = connect(&fake).await.submit("duel", SubmitOptions { in_flight: 2 }).await.unwrap();
    for key in ["a", "b"] {
        assert_eq!(submit.send(vec![element(key)]).await.unwrap(), None);
    }
    assert!(!submit.has_room());
    fake.until("both batches", |script| script.batches.len() == 2);
    fake.answer(1);
    let answer = submit.send(vec![element("c")]).await.unwrap();
    assert_eq!(answer.map(|answer| answer.ids), Some(vec![2]));
    assert_eq!(submit.unanswered(), 2);
    fake.answer(2);
    assert_eq!(submit.finish().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_submission_that_breaks_says_so_and_answers_what_it_can() {
    let fake = Fake::start();
    fake.script().breaks_at = Some(1);
    let mut submit = connect(&fake).await.submit("duel", SubmitOptions::default()).await.unwrap();
    submit.send(vec![element("a")]).await.unwrap();
    submit.send(vec![element("b")]).await.unwrap();
    assert_eq!(submit.answer().await.unwrap().map(|answer| answer.ids), Some(vec![2]));
    let error = submit.answer().await.unwrap_err();
    assert_eq!(error.to_string(), "the node is going down (UNAVAILABLE)");
    assert!(error.is_transient());
}

#[tokio::test]
async fn one_element_is_one_call() {
    let fake = Fake::start();
    let client = connect(&fake).await;
    assert_eq!(client.submit_one("duel", element("a")).await.unwrap(), 2);
    let error = client.submit_one("duel", element("bad")).await.unwrap_err();
    assert_eq!(error.to_string(), "key \"bad\" is already waiting (ALREADY_EXISTS)");
}

#[tokio::test]
async fn a_watch_resumes_after_unavailable_and_hands_each_match_out_once() {
    let unavailable = || Some(Err(Status::unavailable("going down")));
    let calls = vec![
        call(&[(&[3], 3), (&[5], 8)], unavailable()),
        // A server that repeats itself: 5 is behind the cursor.
        call(&[(&[5, 9], 9)], unavailable()),
        call(&[], unavailable()),
        call(&[(&[11], 11)], Some(Ok(()))),
    ];
    let (cursors, end, started) = watch(calls, until_settled()).await;
    assert_eq!(cursors, [3, 5, 9, 11]);
    assert!(end.is_ok());
    assert_eq!(started, [0, 8, 9, 9]);
}

#[tokio::test]
async fn a_watch_of_outcomes_resumes_like_one_of_matches() {
    let fake = Fake::start();
    let unavailable = || Some(Err(Status::unavailable("going down")));
    let calls = [call(&[(&[3], 4)], unavailable()), call(&[(&[5, 9], 9)], unavailable()), call(&[], Some(Ok(())))];
    fake.script().watches = calls.into();
    let mut watch = connect(&fake).await.watch_outcomes(until_settled());
    let mut outcomes = Vec::new();
    while let Some(part) = watch.next().await.unwrap() {
        outcomes.extend(part.outcomes);
    }
    // The one at 4 was settled before the connection broke.
    assert_eq!(outcomes.iter().map(|outcome| outcome.cursor).collect::<Vec<_>>(), [2, 3, 5, 8, 9]);
    let ended = outcomes.iter().filter(|outcome| matches!(outcome.kind, Some(pb::outcome::Kind::Ended(_))));
    assert_eq!(ended.map(|outcome| outcome.cursor).collect::<Vec<_>>(), [2, 8]);
    let started: Vec<u64> = fake.script().watched.iter().map(|request| request.after).collect();
    assert_eq!(started, [0, 4, 9]);
}

#[tokio::test]
async fn a_watch_that_never_ends_takes_an_end_for_a_lost_connection() {
    let calls = vec![call(&[(&[3], 3)], Some(Ok(()))), call(&[(&[5], 5)], Some(Err(Status::data_loss("damage"))))];
    let (cursors, end, started) = watch(calls, WatchOptions { after: 2, ..Default::default() }).await;
    assert_eq!(cursors, [3, 5]);
    assert_eq!(end.unwrap_err().code(), Some(Code::DataLoss));
    assert_eq!(started, [2, 3]);
}

#[tokio::test]
async fn a_watch_does_not_retry_what_cannot_work() {
    let future = Status::out_of_range("cursor 99 is in the future; the highest id is 5");
    let (cursors, end, started) = watch(vec![call(&[], Some(Err(future)))], until_settled()).await;
    assert!(cursors.is_empty());
    assert_eq!(end.unwrap_err().to_string(), "cursor 99 is in the future; the highest id is 5 (OUT_OF_RANGE)");
    assert_eq!(started, [0]);
}

#[tokio::test]
async fn a_watch_gives_up_in_the_end() {
    let unavailable = || call(&[], Some(Err(Status::unavailable("going down"))));
    let options = WatchOptions { retry_max: Duration::from_millis(100), ..Default::default() };
    let (_, end, started) = watch((0..20).map(|_| unavailable()).collect(), options).await;
    assert_eq!(end.unwrap_err().to_string(), "going down (UNAVAILABLE)");
    assert!(started.len() > 1, "it tried again");
}

#[tokio::test]
async fn a_watch_survives_the_death_of_the_server() {
    let mut fake = Fake::start();
    fake.script().watches = [call(&[(&[3], 3)], None), call(&[(&[5], 5)], Some(Ok(())))].into();
    let mut watch = connect(&fake).await.watch(until_settled());
    assert_eq!(watch.next().await.unwrap().unwrap().matches, [found(3)]);
    fake.restart();
    assert_eq!(watch.next().await.unwrap().unwrap().matches, [found(5)]);
    assert!(watch.next().await.unwrap().is_none());
    assert!(watch.resumed() > 0);
}

#[tokio::test]
async fn all_pools_are_read_page_after_page() {
    let fake = Fake::start();
    let named = |name: &str| pb::PoolDefinition { name: name.to_owned(), ..Default::default() };
    fake.script().pools = ["a", "b", "c", "d", "e"].map(named).into();
    let client = connect(&fake).await;
    let names = client.list_pools().await.unwrap().into_iter().map(|status| status.definition.unwrap().name);
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    assert_eq!(client.get_pool("d").await.unwrap().waiting, 1234);
    assert_eq!(client.get_pool("f").await.unwrap_err().code(), Some(Code::NotFound));
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_a_refusal() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    let error = client.get(by_id(17), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), "element 17 is not known (NOT_FOUND)");
    assert!(!error.is_transient());
    fake.stop();
    let error = Client::connect(fake.url()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Connect { url, .. } if *url == fake.url()), "{error}");
    let error = client.list_pools().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    for (url, says) in [("not a url", "HOST:PORT"), ("http://ada:b@127.0.0.1:1", "user")] {
        let error = Client::connect(url).await.unwrap_err();
        assert!(matches!(error, ClientError::Url(_)) && error.to_string().contains(says), "{error}");
    }
    let error = Client::connect("https://127.0.0.1:1").await.unwrap_err();
    assert!(
        matches!(error, ClientError::NoAuthority { .. }) && error.to_string().contains("ConnectOptions::trust"),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_and_a_port_are_enough() {
    let fake = Fake::start();
    let client = Client::connect(fake.url().strip_prefix("http://").unwrap()).await.unwrap();
    assert_eq!((client.url(), client.list_pools().await.unwrap().len()), (fake.url().as_str(), 1));
}

async fn connect_any(fakes: &[Fake]) -> Client {
    Client::connect_any(fakes.iter().map(Fake::url), &ConnectOptions::default()).await.unwrap()
}

fn stands_by(active: Option<(&Fake, u64)>) -> Status {
    let url = active.map(|(fake, _)| fake.url());
    rpc::stands_by(url.as_deref().zip(active.and_then(|(_, term)| rpc::term(term))))
}

#[tokio::test]
async fn calls_go_to_the_balancer_that_writes_and_follow_it_when_another_takes_over() {
    let [a, b, c] = [Fake::start(), Fake::start(), Fake::start()];
    a.refuses(stands_by(Some((&c, 5))));
    b.refuses(stands_by(None));
    let fakes = [a, b, c];
    let client = connect_any(&fakes).await;
    assert_eq!(client.url(), fakes[0].url());
    assert_eq!(client.submit_one("duel", element("a")).await.unwrap(), 2);
    assert_eq!(client.url(), fakes[2].url());
    // Its copies go on where it is.
    fakes[2].refuses(stands_by(Some((&fakes[0], 7))));
    fakes[0].refuses(None);
    assert_eq!(client.clone().list_pools().await.unwrap().len(), 1);
    assert_eq!(client.url(), fakes[0].url());
    client.withdraw(by_id(17)).await.unwrap();
    assert_eq!([fakes[0].keys(), fakes[1].keys(), fakes[2].keys()], [vec![], vec![], vec![vec!["a".to_owned()]]]);
}

#[tokio::test]
async fn while_no_balancer_writes_calls_wait_for_one() {
    let fakes = [Fake::start(), Fake::start()];
    fakes.iter().for_each(|fake| fake.refuses(stands_by(None)));
    let client = connect_any(&fakes).await;
    let submitting = tokio::spawn(async move { client.submit_one("duel", element("a")).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!submitting.is_finished());
    fakes[1].refuses(None);
    assert_eq!(submitting.await.unwrap().unwrap(), 2);
    assert_eq!(fakes[1].keys(), [["a"]]);
}

#[tokio::test]
async fn a_server_that_the_client_was_not_given_is_not_asked() {
    let (a, b, other) = (Fake::start(), Fake::start(), Fake::start());
    a.refuses(stands_by(Some((&other, 5))));
    let alone = connect(&a).await;
    let error = alone.submit_one("duel", element("a")).await.unwrap_err();
    assert_eq!((error.reason(), error.value("active")), (Some(Reason::StandsBy), Some(other.url())));
    let fakes = [a, b];
    let client = connect_any(&fakes).await;
    assert_eq!(client.submit_one("duel", element("a")).await.unwrap(), 2);
    assert!(other.keys().is_empty());
}

#[tokio::test]
async fn a_call_that_may_have_been_done_is_made_again_only_where_that_is_the_same() {
    let stopping = || Status::from(Fault::new(Reason::NodeStopping, "the node is stopping"));
    let fakes = [Fake::start(), Fake::start()];
    fakes[0].refuses(stopping());
    let client = connect_any(&fakes).await;
    assert_eq!(client.list_pools().await.unwrap().len(), 1, "it reads");
    let client = connect_any(&fakes).await;
    let keyed = pb::Submission { idempotency_key: "once".to_owned(), ..element("a") };
    assert_eq!(client.submit_one("duel", keyed).await.unwrap(), 2);
    let client = connect_any(&fakes).await;
    let error = client.submit_one("duel", element("b")).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NodeStopping));
    // The next one goes elsewhere.
    assert_eq!(client.submit_one("duel", element("c")).await.unwrap(), 2);
    assert_eq!(fakes[1].keys(), [["a"], ["c"]]);
    // What has nothing to do with where it is asked is said at once.
    fakes[1].refuses(Status::from(Fault::new(Reason::ClockJumped, "the clock jumped")));
    assert_eq!(client.list_pools().await.unwrap_err().reason(), Some(Reason::ClockJumped));
}

#[tokio::test]
async fn where_nobody_listens_the_next_is_asked() {
    let mut fakes = [Fake::start(), Fake::start()];
    fakes[0].stop();
    let client = connect_any(&fakes).await;
    assert_eq!(client.url(), fakes[1].url());
    assert_eq!(client.list_pools().await.unwrap().len(), 1);
    fakes[0].restart();
    fakes[1].stop();
    // It may be that the connection is lost while this is under way; then it is not known what came of it.
    let submitted = async |key| client.submit_one("duel", element(key)).await;
    if submitted("a").await.is_err() {
        submitted("b").await.unwrap();
    }
    assert_eq!((client.url(), fakes[0].keys().len()), (fakes[0].url().as_str(), 1));
    fakes[0].stop();
    let none = Client::connect_any(fakes.iter().map(Fake::url), &ConnectOptions::default()).await.unwrap_err();
    assert!(matches!(&none, ClientError::Connect { url, .. } if *url == fakes[0].url()), "{none}");
}

#[tokio::test]
async fn batches_begin_where_they_are_taken() {
    let fakes = [Fake::start(), Fake::start()];
    fakes[0].refuses(stands_by(Some((&fakes[1], 5))));
    let client = connect_any(&fakes).await;
    let mut submit = client.submit("duel", SubmitOptions::default()).await.unwrap();
    submit.send(vec![element("a")]).await.unwrap();
    assert_eq!(submit.finish().await.unwrap().len(), 1);
    assert_eq!((fakes[0].keys().len(), fakes[1].keys().len()), (0, 1));
}

#[tokio::test]
async fn a_watch_goes_on_at_the_balancer_that_writes_and_hands_each_match_out_once() {
    let fakes = [Fake::start(), Fake::start()];
    fakes[0].refuses(stands_by(Some((&fakes[1], 5))));
    let stepped_down = stands_by(Some((&fakes[0], 7)));
    fakes[1].script().watches = [call(&[(&[3], 3)], Some(Err(stepped_down)))].into();
    fakes[0].script().watches = [call(&[(&[3, 5], 5)], Some(Ok(())))].into();
    let mut watch = connect_any(&fakes).await.watch(until_settled());
    let cursors = |part: &pb::WatchMatchesResponse| part.matches.iter().map(|found| found.cursor).collect::<Vec<_>>();
    assert_eq!(cursors(&watch.next().await.unwrap().unwrap()), [3]);
    fakes[0].refuses(None);
    assert_eq!(cursors(&watch.next().await.unwrap().unwrap()), [5]);
    assert!(watch.next().await.unwrap().is_none());
    assert_eq!(fakes[0].script().watched[0].after, 3);
}
