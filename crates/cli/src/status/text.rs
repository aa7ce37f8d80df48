//! A node's state for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::{
    duration,
    notices::{self, role_name},
    table::{TextTable, thousands},
    time,
};
use dovetail::pb;
use dovetail::pb::inspect_response::State;
use dovetail_server::printable::printable;

/// Hot keys shown of each slice and pool.
const HOT_KEYS: usize = 3;

/// What a node says about itself.
pub(super) fn describe(server: &str, node: &pb::InspectResponse, now_ms: u64) -> String {
    let up = now_ms.saturating_sub(node.started_ms) / 1000 * 1000;
    let mut text = format!(
        "{} {} at {server}, build {}, up {} since {} UTC\n  {} (digest {:016x})\n",
        role_name(node.role()),
        node.index,
        printable(&node.build),
        duration::format_ms(up),
        time::date_time(node.started_ms),
        printable(&node.settings),
        node.settings_digest
    );
    for trouble in &node.troubles {
        let since = duration::format_ms(now_ms.saturating_sub(trouble.since_ms) / 1000 * 1000);
        let (about, said) = (printable(&trouble.setting), printable(&trouble.text));
        let _ = writeln!(text, "  {}: {about}: {said} (for {since})", trouble.kind().word());
    }
    match &node.state {
        None => {}
        Some(State::Balancer(state)) => balancer(&mut text, state),
        Some(State::Matcher(state)) => matcher(&mut text, state),
        Some(State::Gatherer(state)) => gatherer(&mut text, state),
    }
    links(&mut text, &node.links);
    if !node.ring.is_empty() {
        let share =
            |share: &pb::RingShare| format!("shard {} {}.{} %", share.shard, share.permille / 10, share.permille % 10);
        let _ = writeln!(text, "  ring: {}", node.ring.iter().map(share).collect::<Vec<_>>().join(", "));
    }
    text
}

/// What a balancer of several is, and what it has heard of the others.
fn several(text: &mut String, state: &pb::BalancerState, shared: &pb::SharedLogState) {
    let _ = match (shared.active, shared.term) {
        (true, term) => writeln!(text, "  it writes, in term {term}"),
        (false, 0) => writeln!(text, "  it stands by, and has heard of none that writes"),
        (false, term) => {
            let address = printable(&shared.active_address);
            writeln!(text, "  it stands by; the active one is {address} (term {term})")
        }
    };
    if shared.silent {
        let _ = writeln!(text, "  the engine that keeps the log does not answer: nothing is acknowledged");
    }
    for other in &shared.others {
        let (heard, address) = (Duration::from_millis(other.heard_ms), printable(&other.address));
        let _ = writeln!(
            text,
            "  balancer {} at {address}, heard {heard:.1?} ago: {} events behind, {} not stored",
            other.index,
            thousands(state.durable.saturating_sub(other.durable)),
            thousands(state.durable.saturating_sub(other.stored))
        );
    }
    if shared.decisions_held_bytes > 0 {
        let kib = shared.decisions_held_bytes.div_ceil(1024);
        let _ = writeln!(text, "  decisions wait for the log that they are about: {} KiB", thousands(kib));
    }
}

/// The clock's own roundings are not worth a line, in milliseconds.
const CLOCK_AHEAD_MS: u64 = 10;

fn balancer(text: &mut String, state: &pb::BalancerState) {
    let _ = writeln!(
        text,
        "  assigned {}, durable {}, decided {}, stable {}\n  {} waiting, {} in flight, {} client streams, log {}",
        state.assigned,
        state.durable,
        state.decided,
        state.stable,
        thousands(state.waiting),
        thousands(state.assigned.saturating_sub(state.decided)),
        state.client_streams,
        printable(&state.log_id)
    );
    if let Some(shared) = &state.shared {
        several(text, state, shared);
    }
    if state.waiting_bytes > 0 {
        let _ = writeln!(text, "  those that wait take {} KiB", thousands(state.waiting_bytes.div_ceil(1024)));
    }
    let still = notices::still(state);
    for node in state.awaited.iter().filter(|_| still.is_none()) {
        let _ = writeln!(text, "  decisions will wait for {} if an event concerns it", notices::awaited(node));
    }
    if let Some(still) = still {
        let _ = writeln!(text, "  {still}");
    }
    if state.search_cost > 0 {
        let _ = writeln!(
            text,
            "  searches under way cost up to {} units a slice; elements of their pools have waited {} times",
            thousands(state.search_cost),
            thousands(state.search_waits)
        );
    }
    if state.late_pools > 0 {
        let _ = writeln!(text, "  {}", notices::late(state));
    }
    if state.held > 0 {
        let held = Duration::from_millis(state.held_ms);
        let _ = writeln!(
            text,
            "  {} requests held until what they depend on is decided, the first for {held:.1?}",
            thousands(state.held)
        );
    }
    if state.clock_ahead_ms > CLOCK_AHEAD_MS {
        let ahead = Duration::from_millis(state.clock_ahead_ms);
        let _ = writeln!(text, "  event time is {ahead:.1?} ahead of the wall clock, which was set back");
    }
    if state.clock_jump_ms > 0 {
        let _ = writeln!(text, "  {}", notices::clock_jumped(state));
    }
    if let Some(stored) = &state.stored {
        on_disk(text, stored);
    }
    if !state.pools.is_empty() {
        let mut table = TextTable::new(&["pool", ">waiting", ">KiB"]);
        for pool in &state.pools {
            let kib = thousands(pool.waiting_bytes.div_ceil(1024));
            table.row([pool.pool.clone(), thousands(pool.waiting), kib]);
        }
        text.push_str(&table.render(2));
    }
    if state.pools_left_out > 0 {
        let _ = writeln!(text, "  and {} more pools", thousands(state.pools_left_out));
    }
    shard_marks(text, &state.shards);
}

fn on_disk(text: &mut String, stored: &pb::StoredState) {
    let kib = |bytes: u64| format!("{} KiB", thousands(bytes.div_ceil(1024)));
    let _ = match stored.checkpoint {
        0 => write!(text, "  no checkpoint yet"),
        through => write!(text, "  checkpoint at {through} ({})", kib(stored.checkpoint_bytes)),
    };
    let _ = writeln!(
        text,
        ", log after {} ({}), results after {} ({})",
        stored.log_floor,
        kib(stored.log_bytes),
        stored.results_floor,
        kib(stored.results_bytes)
    );
    if !stored.checkpoint_error.is_empty() {
        let _ = writeln!(text, "  the last checkpoint was not made: {}", printable(&stored.checkpoint_error));
    }
    if stored.full {
        text.push_str("  the disk is full: submissions are refused until there is room\n");
    }
}

fn matcher(text: &mut String, state: &pb::MatcherState) {
    let mut table = TextTable::new(&[
        "slice",
        ">through",
        ">decided",
        ">pending",
        ">frames kept",
        ">candidates",
        ">stalls",
        ">waiting",
    ]);
    for slice in &state.slices {
        table.row([
            slice.slice.to_string(),
            slice.through.to_string(),
            slice.decided.to_string(),
            thousands(slice.pending),
            thousands(slice.frames_kept),
            thousands(slice.candidates),
            format!("{}{}", thousands(slice.stalls), if slice.stalled { " (now)" } else { "" }),
            thousands(slice.pools.iter().map(|pool| pool.waiting).sum()),
        ]);
    }
    text.push_str(&table.render(2));
    pools(text, &state.slices);
    left_out(text, &state.slices);
    shard_marks(text, &state.shards);
}

fn gatherer(text: &mut String, state: &pb::GathererState) {
    let _ = writeln!(
        text,
        "  shard {}: decided {}, {} undecided, {} timelines, {} accepted, {} retirements kept above {}",
        state.shard,
        state.decided,
        thousands(state.undecided),
        thousands(state.timelines),
        thousands(state.accepted),
        thousands(state.retirements_kept),
        state.floor
    );
    if !state.slices.is_empty() {
        let mark = |mark: &pb::SliceProgress| format!("s{} {}", mark.slice, mark.through);
        let _ = writeln!(text, "  slices through: {}", state.slices.iter().map(mark).collect::<Vec<_>>().join(", "));
    }
    shard_marks(text, &state.shards);
}

fn shard_marks(text: &mut String, marks: &[pb::ShardProgress]) {
    if !marks.is_empty() {
        let mark = |mark: &pb::ShardProgress| format!("g{} {}", mark.shard, mark.decided);
        let _ = writeln!(text, "  shards decided: {}", marks.iter().map(mark).collect::<Vec<_>>().join(", "));
    }
}

/// How many pools of each slice are not listed.
fn left_out(text: &mut String, slices: &[pb::SliceState]) {
    let of = |slice: &pb::SliceState| format!("{} of slice {}", thousands(slice.pools_left_out), slice.slice);
    let more: Vec<String> = slices.iter().filter(|slice| slice.pools_left_out > 0).map(of).collect();
    if !more.is_empty() {
        let _ = writeln!(text, "  and more pools: {}", more.join(", "));
    }
}

/// By pool, what a matcher's slices have together.
fn pools(text: &mut String, slices: &[pb::SliceState]) {
    let mut pools: BTreeMap<&str, Vec<(u32, &pb::PoolCount)>> = BTreeMap::new();
    for slice in slices {
        for pool in &slice.pools {
            pools.entry(&pool.pool).or_default().push((slice.slice, pool));
        }
    }
    if pools.is_empty() {
        return;
    }
    let mut table = TextTable::new(&["pool", "split by", ">waiting here", ">rule errors"]);
    let mut hot = TextTable::new(&["hot key in", "slice", ">of its searches", ">waiting", "key"]);
    let mut any_hot = false;
    for (name, counts) in pools {
        table.row([
            name.to_owned(),
            counts[0].1.split().word().to_owned(),
            thousands(counts.iter().map(|(_, pool)| pool.waiting).sum()),
            thousands(counts.iter().map(|(_, pool)| pool.rule_errors).sum()),
        ]);
        for (slice, pool) in counts {
            for key in pool.hot_keys.iter().take(HOT_KEYS) {
                any_hot = true;
                hot.row([
                    name.to_owned(),
                    slice.to_string(),
                    format!("{}.{} %", key.searches_permille / 10, key.searches_permille % 10),
                    thousands(key.waiting),
                    key.key.clone(),
                ]);
            }
        }
    }
    text.push_str(&table.render(2));
    if any_hot {
        text.push_str(&hot.render(2));
    }
}

fn links(text: &mut String, links: &[pb::PeerLink]) {
    if !links.is_empty() {
        let mut table =
            TextTable::new(&["reads", "of", "address", "state", ">cursor", ">lag", ">reconnects", "last error"]);
        for link in links {
            table.row([
                link.stream().word().to_owned(),
                format!("{} {}", role_name(link.role()), link.index),
                link.address.clone(),
                if link.connected {
                    "connected".to_owned()
                } else {
                    format!("down {}", duration::format_ms(link.down_ms / 1000 * 1000))
                },
                link.cursor.to_string(),
                thousands(link.lag),
                link.reconnects.to_string(),
                link.last_error.clone(),
            ]);
        }
        text.push_str(&table.render(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::json;
    use dovetail::pb::Role;

    fn node() -> pb::InspectResponse {
        pb::InspectResponse {
            troubles: Vec::new(),
            role: Role::Balancer.into(),
            index: 0,
            cluster: "c".to_owned(),
            settings: "cluster \"c\"".to_owned(),
            settings_digest: 255,
            build: "0.1.0".to_owned(),
            started_ms: 1000,
            links: vec![pb::PeerLink {
                role: Role::Gatherer.into(),
                index: 1,
                address: "http://g:1".to_owned(),
                connected: false,
                cursor: 9,
                lag: 1234,
                last_error: "refused".to_owned(),
                stream: pb::NodeStream::Decisions.into(),
                reconnects: 2,
                received_bytes: 70,
                down_ms: 40_500,
            }],
            ring: vec![pb::RingShare { shard: 0, permille: 487 }, pb::RingShare { shard: 1, permille: 513 }],
            nodes: vec![pb::NodeAddress { role: Role::Gatherer.into(), index: 1, address: "http://g:1".to_owned() }],
            state: Some(State::Balancer(pb::BalancerState {
                pools_left_out: 0,
                assigned: 2000,
                durable: 1990,
                decided: 9,
                stable: 8,
                pools: vec![pb::PoolCount {
                    pool: "duel".to_owned(),
                    waiting: 5,
                    waiting_bytes: 1_500,
                    late_ms: 1_500,
                    ..Default::default()
                }],
                log_id: "ab".to_owned(),
                waiting: 5,
                waiting_bytes: 1_500,
                client_streams: 1,
                shards: vec![pb::ShardProgress { shard: 0, decided: 9 }],
                stored: Some(pb::StoredState {
                    checkpoint: 7,
                    checkpoint_bytes: 3_000_000,
                    log_floor: 5,
                    log_bytes: 2048,
                    results_bytes: 1,
                    full: true,
                    ..Default::default()
                }),
                awaited: vec![pb::AwaitedNode {
                    role: Role::Gatherer.into(),
                    index: 1,
                    address: "http://g:1".to_owned(),
                    down_ms: 40_500,
                    ..Default::default()
                }],
                undecided_ms: 3000,
                in_flight_max: 4000,
                held: 3,
                held_ms: 1500,
                search_waits: 1_200,
                search_cost: 67_108_864,
                late_pools: 2,
                late_ms: 1_500,
                clock_ahead_ms: 2000,
                clock_jump_ms: 0,
                clock_refuses: false,
                shared: None,
            })),
        }
    }

    #[test]
    fn a_node_is_described_for_people() {
        let expected = "\
balancer 0 at http://b:1, build 0.1.0, up 1m30s since 1970-01-01 00:00:01.000 UTC
  cluster \"c\" (digest 00000000000000ff)
  assigned 2000, durable 1990, decided 9, stable 8
  5 waiting, 1,991 in flight, 1 client streams, log ab
  those that wait take 2 KiB
  decisions wait for gatherer 1 (http://g:1, down for 40s)
  searches under way cost up to 67,108,864 units a slice; elements of their pools have waited 1,200 times
  pools late: 2, by up to 1.5s, most of all duel; elements that arrive in them wait until those have left or searched that are due
  3 requests held until what they depend on is decided, the first for 1.5s
  event time is 2.0s ahead of the wall clock, which was set back
  checkpoint at 7 (2,930 KiB), log after 5 (2 KiB), results after 0 (1 KiB)
  the disk is full: submissions are refused until there is room
  pool  waiting  KiB
  duel        5    2
  shards decided: g0 9
  reads      of          address     state     cursor    lag  reconnects  last error
  decisions  gatherer 1  http://g:1  down 40s       9  1,234           2  refused
  ring: shard 0 48.7 %, shard 1 51.3 %
";
        assert_eq!(describe("http://b:1", &node(), 91_500), expected);
    }

    #[test]
    fn a_balancer_of_several_says_who_writes_and_how_far_the_others_are() {
        let other = |index, durable, stored, heard_ms| pb::OtherBalancer {
            index,
            address: format!("http://b{index}:1"),
            durable,
            stored,
            heard_ms,
        };
        let mut shared = pb::SharedLogState {
            active: true,
            term: 41,
            active_address: "http://b0:1".to_owned(),
            silent: false,
            others: vec![other(1, 1_990, 1_000, 120), other(2, 0, 0, 61_000)],
            decisions_held_bytes: 0,
        };
        let said = |shared: &pb::SharedLogState| {
            let mut text = String::new();
            several(&mut text, &pb::BalancerState { durable: 1_990, ..Default::default() }, shared);
            text
        };
        let others = "  balancer 1 at http://b1:1, heard 120.0ms ago: 0 events behind, 990 not stored\n  \
                      balancer 2 at http://b2:1, heard 61.0s ago: 1,990 events behind, 1,990 not stored\n";
        assert_eq!(said(&shared), format!("  it writes, in term 41\n{others}"));
        let mut balancer = node();
        let Some(State::Balancer(state)) = &mut balancer.state else { panic!("a balancer") };
        state.shared = Some(shared.clone());
        let json = json::node("http://b:1", &balancer);
        assert_eq!(json["balancer"]["shared"]["others"][1]["heard_ms"], 61_000);
        (shared.active, shared.silent, shared.decisions_held_bytes) = (false, true, 2_000);
        let silent = "  the engine that keeps the log does not answer: nothing is acknowledged\n";
        let held = "  decisions wait for the log that they are about: 2 KiB\n";
        let told = format!("  it stands by; the active one is http://b0:1 (term 41)\n{silent}{others}{held}");
        assert_eq!(said(&shared), told);
        shared = pb::SharedLogState::default();
        assert_eq!(said(&shared), "  it stands by, and has heard of none that writes\n");
    }

    #[test]
    fn a_matcher_shows_how_pools_are_split_and_which_keys_are_hot() {
        let pool = |split: pb::PoolSplit, waiting, hot_keys| pb::PoolCount {
            pool: "duel".to_owned(),
            waiting,
            split: split.into(),
            hot_keys,
            ..Default::default()
        };
        let hot = pb::HotKey { key: "region = \"eu\"".to_owned(), searches_permille: 905, waiting: 1_300 };
        let slice = |slice, hot_keys| pb::SliceState {
            slice,
            pools: vec![pool(pb::PoolSplit::Key, 700, hot_keys)],
            ..Default::default()
        };
        let mut text = String::new();
        pools(&mut text, &[slice(0, vec![]), slice(2, vec![hot])]);
        let expected = "  \
  pool  split by  waiting here  rule errors
  duel  key              1,400            0
  hot key in  slice  of its searches  waiting  key
  duel        2               90.5 %    1,300  region = \"eu\"
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_list_of_pools_that_was_cut_says_how_many_are_missing() {
        let mut balancer = node();
        let Some(State::Balancer(state)) = &mut balancer.state else { panic!("a balancer") };
        state.pools_left_out = 1_200;
        let text = describe("http://b:1", &balancer, 91_500);
        assert!(text.contains("  duel        5    2\n  and 1,200 more pools\n"), "{text}");
        assert_eq!(json::node("http://b:1", &balancer)["balancer"]["pools_left_out"], 1_200);

        let slice = |slice, pools_left_out| pb::SliceState { slice, pools_left_out, ..Default::default() };
        let state = pb::MatcherState { slices: vec![slice(0, 9_000), slice(1, 0), slice(2, 7)], shards: Vec::new() };
        let matcher = pb::InspectResponse { state: Some(State::Matcher(state)), ..node() };
        let text = describe("http://m:1", &matcher, 91_500);
        assert!(text.contains("\n  and more pools: 9,000 of slice 0, 7 of slice 2\n"), "{text}");
        assert_eq!(json::node("http://m:1", &matcher)["matcher"]["slices"][2]["pools_left_out"], 7);
        assert!(!describe("http://b:1", &node(), 91_500).contains("more pools"), "nothing is missing");
    }

    #[test]
    fn a_node_is_one_json_object_for_machines() {
        let json = json::node("http://b:1", &node());
        assert_eq!(json["role"], "balancer");
        assert_eq!(json["settings_digest"], "00000000000000ff");
        assert_eq!(json["balancer"]["durable"], 1990);
        assert_eq!(json["balancer"]["pools"][0]["waiting"], 5);
        assert_eq!(json["links"][0]["lag"], 1234);
        assert_eq!(json["ring"][1]["permille"], 513);
        assert_eq!(json["balancer"]["awaited"][0]["down_ms"], 40_500);
        assert_eq!(json["balancer"]["undecided_ms"], 3000);
        assert_eq!(json["nodes"][0]["address"], "http://g:1");
    }
}
