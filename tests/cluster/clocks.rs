//! What time is to a cluster: elements expire and search again when they are due, whatever the balancer's clocks and
//! stops do.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dovetail::{
    client::{Client, by_id},
    pb::{ElementState, PoolDefinition, Submission},
    reason::Reason,
};
use tonic::Code;

use crate::harness::{Cluster, PATIENCE, SMALL, Which, until};
use crate::load::{settled, submit};
use crate::time::{EQUAL, WAIT, player, pool, start};

/// Elements that expire while the balancer cannot see to it.
const EXPIRE: i64 = 3_000;

/// A wall clock that a test sets.
struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    fn new(cluster: &Cluster) -> WallClock {
        let [library, file] = ["clock.so", "clock"].map(|name| cluster.place.folder.join(name));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
        let source = crate::programs::root().join("tests/foreign/clock.c");
        assert!(compiler.arg(source).status().unwrap().success(), "a C compiler is needed to build, and for this");
        let clock = WallClock { library, file };
        fs::write(&clock.file, 0_i64.to_ne_bytes()).unwrap();
        clock
    }

    /// Sets it so far ahead of this machine's, or back.
    fn set(&self, ahead_ms: i64) {
        File::options().write(true).open(&self.file).unwrap().write_all(&ahead_ms.to_ne_bytes()).unwrap();
    }

    /// Starts the balancer anew, with this clock.
    async fn of_balancer(&self, cluster: &mut Cluster) -> Client {
        cluster.kill(Which::Balancer);
        let variables = [("LD_PRELOAD", &self.library), ("CLOCK_FILE", &self.file)];
        cluster.spawn_with(Which::Balancer, &variables.map(|(name, path)| (name, path.to_str().unwrap())));
        cluster.serving(Which::Balancer).await;
        cluster.client().await
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Those who wait for partners, with a second to live; and when the last of them has to expire.
async fn submit_mortals(client: &Client) -> u64 {
    let ids = submit(client, "duel", (0..EXPIRE).map(|number| player(&format!("old{number}"), number)).collect()).await;
    let newest = client.get(by_id(*ids.last().unwrap()), Duration::ZERO).await.unwrap();
    newest.arrived_ms + 1_000
}

/// Partners for all of them, which come when all have expired: none is matched.
async fn check_expired(client: &Client) {
    submit(client, "duel", (0..EXPIRE).rev().map(|number| player(&format!("new{number}"), number)).collect()).await;
    assert_eq!(settled(client, "duel", 0, PATIENCE).await.len(), 0, "matched after their time was over");
    until("all have expired", async || (client.list_pools().await.unwrap()[0].expired >= EXPIRE as u64).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_expired_while_the_balancer_was_down_is_not_matched() {
    let (mut cluster, client) = start("expired-down", PoolDefinition { ttl_ms: 1_000, ..pool(EQUAL) }).await;
    let expired_ms = submit_mortals(&client).await;
    cluster.kill(Which::Balancer);
    until("all have expired", async || (now_ms() > expired_ms + 100).then_some(())).await;
    cluster.spawn(Which::Balancer);
    let client = until("the server takes connections", async || Client::connect(cluster.server()).await.ok()).await;
    check_expired(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_expired_while_the_balancer_stood_still_is_not_matched() {
    let (mut cluster, client) = start("expired-still", PoolDefinition { ttl_ms: 1_000, ..pool(EQUAL) }).await;
    let expired_ms = submit_mortals(&client).await;
    cluster.node(Which::Balancer).signal("STOP");
    until("all have expired", async || (now_ms() > expired_ms + 100).then_some(())).await;
    cluster.node(Which::Balancer).signal("CONT");
    check_expired(&client).await;
}

/// Nothing is decided, so no more timers are written than may be under way: the pool that has the others is late. Who
/// arrives in another pool is let in; who arrives in this one is, once they are written.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_expiries_holds_up_its_own_pool_alone() {
    let (mut cluster, client) = start("storm", PoolDefinition { ttl_ms: 5_000, ..pool(EQUAL) }).await;
    client.define_pool(PoolDefinition { name: "calm".to_owned(), ttl_ms: 0, ..pool(EQUAL) }).await.unwrap();
    submit(&client, "duel", (0..EXPIRE).map(|number| player(&format!("old{number}"), number)).collect()).await;
    // Timers may be as many as other events that are under way.
    until("the elements wait", async || {
        let state = cluster.balancer_state().await;
        (state.decided == state.assigned).then_some(())
    })
    .await;
    cluster.node(Which::Gatherer(0)).signal("STOP");
    until("the pool is late", async || (cluster.balancer_state().await.late_pools == 1).then_some(())).await;
    client.submit_one("calm", player("ann", 1)).await.unwrap();
    let partner = {
        let client = client.clone();
        tokio::spawn(async move { client.submit_one("duel", player("new", EXPIRE - 1)).await.unwrap() })
    };
    let state = until("a partner is held", async || {
        let state = cluster.balancer_state().await;
        (state.held > 0).then_some(state)
    })
    .await;
    let late = state.pools.iter().find(|pool| pool.late_ms > 0).expect("one is late");
    assert!(late.pool == "duel" && state.late_ms >= late.late_ms, "{state:?}");
    cluster.node(Which::Gatherer(0)).signal("CONT");
    partner.await.unwrap();
    assert_eq!(settled(&client, "duel", 0, PATIENCE).await.len(), 0, "matched after their time was over");
    until("all have expired", async || {
        let pools = client.list_pools().await.unwrap();
        let duel = pools.iter().find(|pool| pool.definition.as_ref().is_some_and(|pool| pool.name == "duel")).unwrap();
        (duel.expired >= EXPIRE as u64 && cluster.balancer_state().await.late_pools == 0).then_some(())
    })
    .await;
}

/// A reprobe that is due after a second, and a rule that asks for more than a second.
#[tokio::test(flavor = "multi_thread")]
async fn who_searches_after_a_delay_has_waited_for_longer() {
    let rule = "a.skill == b.skill && max(a.waited, b.waited) > 300";
    let (_cluster, client) = start("strictly-after", PoolDefinition { reprobe_ms: vec![300], ..pool(rule) }).await;
    for number in 0..200 {
        let both = ["a", "b"].map(|side| player(&format!("{side}{number}"), number)).to_vec();
        submit(&client, "duel", both).await;
    }
    until("everybody is matched", async || {
        let pool = client.list_pools().await.unwrap().remove(0);
        (pool.matches == 200 && pool.waiting == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_goes_on_while_the_wall_clock_stands_behind() {
    let mut cluster = Cluster::start("set-back", SMALL).await;
    let clock = WallClock::new(&cluster);
    let client = clock.of_balancer(&mut cluster).await;
    let rule = "a.skill == b.skill && max(a.waited, b.waited) > 400";
    client.define_pool(PoolDefinition { ttl_ms: 800, reprobe_ms: vec![400], ..pool(rule) }).await.unwrap();
    client.submit_one("duel", player("before", 9)).await.unwrap();
    clock.set(-3_600_000);
    let began = Instant::now();
    let ids = submit(&client, "duel", vec![player("ann", 1), player("bob", 1), player("cid", 2)]).await;
    let ann = client.get(by_id(ids[0]), WAIT).await.unwrap();
    assert_eq!(ann.state(), ElementState::Matched, "after {:?}", began.elapsed());
    let cid = client.get(by_id(ids[2]), WAIT).await.unwrap();
    let took = began.elapsed();
    assert_eq!(cid.state(), ElementState::Expired);
    assert!(took >= Duration::from_millis(750) && took < Duration::from_secs(20), "{took:?}");
    let ahead_ms = cluster.balancer_state().await.clock_ahead_ms;
    assert!((3_590_000..=3_601_000).contains(&ahead_ms), "{ahead_ms}");
    // A balancer that starts on a clock of the past goes on from the log's time.
    submit(&client, "duel", vec![player("dan", 3)]).await;
    let client = clock.of_balancer(&mut cluster).await;
    let dan = client.get(dovetail::client::by_key("duel", "dan"), WAIT).await.unwrap();
    assert_eq!(dan.state(), ElementState::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_cluster_sees_within_a_second_that_the_clock_was_set_ahead() {
    let mut cluster = Cluster::start("set-ahead", SMALL).await;
    let clock = WallClock::new(&cluster);
    let client = clock.of_balancer(&mut cluster).await;
    client.define_pool(PoolDefinition { ttl_ms: 600_000, ..pool(EQUAL) }).await.unwrap();
    let id = client.submit_one("duel", player("ann", 1)).await.unwrap();
    let waits = {
        let client = client.clone();
        tokio::spawn(async move { client.get(by_id(id), WAIT).await.unwrap() })
    };
    // Nothing comes that could wake the balancer.
    until("the call waits", async || (cluster.balancer_state().await.decided >= id).then_some(())).await;
    let began = Instant::now();
    clock.set(700_000);
    assert_eq!(waits.await.unwrap().state(), ElementState::Expired);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}, of which the balancer's are at most 0.5 s",
        began.elapsed()
    );
}

/// What passed between its start and its last event is in the log, and in what the clock's file says, too.
#[tokio::test(flavor = "multi_thread")]
async fn event_time_is_not_ahead_after_restarts_of_the_balancer() {
    let (mut cluster, mut client) = start("restarts", pool(EQUAL)).await;
    for round in 0..2 {
        let (began, mut number) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(3) {
            client.submit_one("duel", player(&format!("r{round}-{number}"), number)).await.unwrap();
            number += 1;
        }
        cluster.kill(Which::Balancer);
        cluster.spawn(Which::Balancer);
        cluster.serving(Which::Balancer).await;
        client = cluster.client().await;
        let id = client.submit_one("duel", player(&format!("r{round}"), -1 - round)).await.unwrap();
        let (arrived_ms, now_ms) = (client.get(by_id(id), Duration::ZERO).await.unwrap().arrived_ms, now_ms());
        assert!(arrived_ms < now_ms + 1_000, "{arrived_ms} is not now, {now_ms}");
        let ahead_ms = cluster.balancer_state().await.clock_ahead_ms;
        assert!(ahead_ms < 1_000, "{ahead_ms} after restart {round}");
    }
}

/// A year ahead is not followed: no element expires, those that wait are matched, and after a while writes are refused.
/// A restart changes nothing; the word of an operator does.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_is_not_followed_without_an_operators_word() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let mut cluster = Cluster::start("jumped", SMALL).await;
    let clock = WallClock::new(&cluster);
    let client = clock.of_balancer(&mut cluster).await;
    client.define_pool(PoolDefinition { ttl_ms: 600_000, ..pool(EQUAL) }).await.unwrap();
    let ann = client.submit_one("duel", player("ann", 1)).await.unwrap();
    clock.set(YEAR);
    let bob = client.submit_one("duel", player("bob", 1)).await.unwrap();
    assert_eq!(client.get(by_id(bob), WAIT).await.unwrap().state(), ElementState::Matched);
    clock.set(0);
    let mortal = Submission { ttl_ms: Some(300), ..player("mortal", 2) };
    let mortal = client.submit_one("duel", mortal).await.unwrap();
    let ended = client.get(by_id(mortal), WAIT).await.unwrap();
    assert_eq!(ended.state(), ElementState::Expired);
    // It stays ahead: that is no slip.
    clock.set(YEAR);
    let number = std::sync::atomic::AtomicI64::new(10);
    let refused = until("submissions are refused", async || {
        let key = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        client.submit_one("duel", player(&format!("k{key}"), key)).await.err()
    })
    .await;
    assert_eq!((refused.code(), refused.reason()), (Some(Code::Unavailable), Some(Reason::ClockJumped)), "{refused}");
    assert!(refused.to_string().contains("dovetail clock accept"), "{refused}");
    let state = cluster.balancer_state().await;
    assert!(state.clock_refuses && state.clock_jump_ms > YEAR as u64 - 3_600_000, "{}", state.clock_jump_ms);
    assert_eq!(client.get(by_id(ann), Duration::ZERO).await.unwrap().state(), ElementState::Matched, "reads go on");
    let client = clock.of_balancer(&mut cluster).await;
    let cid = client.submit_one("duel", player("cid", 3)).await.unwrap();
    assert!(cluster.balancer_state().await.clock_jump_ms > 0, "a restart does not believe it");
    let accepted = client.accept_clock().await.unwrap();
    assert!(accepted.ahead_ms > YEAR as u64 - 3_600_000, "{}", accepted.ahead_ms);
    // Who comes then comes at that time, and has all of its own before it.
    let dan = client.submit_one("duel", player("dan", 4)).await.unwrap();
    let dan = client.get(by_id(dan), Duration::ZERO).await.unwrap();
    let now_ms = now_ms();
    assert!(dan.arrived_ms > now_ms + YEAR as u64 - 3_600_000, "{accepted:?} {dan:?} {now_ms}");
    assert_eq!(dan.state(), ElementState::Waiting);
    assert_eq!(client.get(by_id(cid), WAIT).await.unwrap().state(), ElementState::Expired);
    let state = cluster.balancer_state().await;
    assert!(state.clock_jump_ms == 0 && !state.clock_refuses);
}
