//! A node's state as JSON, with the names of inspect.proto. One is older than the field: `about`, of a trouble's
//! `setting`.

use serde_json::{Value, json};

use crate::notices::role_name;
use dovetail::pb;
use dovetail::pb::inspect_response::State;

pub(super) fn node(server: &str, node: &pb::InspectResponse) -> Value {
    let mut object = json!({
        "server": server,
        "role": role_name(node.role()),
        "index": node.index,
        "cluster": node.cluster,
        "settings": node.settings,
        "settings_digest": format!("{:016x}", node.settings_digest),
        "build": node.build,
        "started_ms": node.started_ms,
        "links": node.links.iter().map(link).collect::<Vec<_>>(),
        "nodes": node.nodes.iter().map(address).collect::<Vec<_>>(),
        "troubles": node.troubles.iter().map(trouble).collect::<Vec<_>>(),
        "ring": node.ring.iter().map(|s| json!({ "shard": s.shard, "permille": s.permille })).collect::<Vec<_>>(),
    });
    let state = match &node.state {
        None => return object,
        Some(State::Balancer(state)) => ("balancer", balancer(state)),
        Some(State::Matcher(state)) => ("matcher", matcher(state)),
        Some(State::Gatherer(state)) => ("gatherer", gatherer(state)),
    };
    object[state.0] = state.1;
    object
}

fn link(link: &pb::PeerLink) -> Value {
    json!({
        "role": role_name(link.role()),
        "index": link.index,
        "address": link.address,
        "connected": link.connected,
        "cursor": link.cursor,
        "lag": link.lag,
        "last_error": link.last_error,
        "stream": link.stream().word(),
        "received_bytes": link.received_bytes,
        "reconnects": link.reconnects,
        "down_ms": link.down_ms,
    })
}

fn trouble(trouble: &pb::Trouble) -> Value {
    json!({ "kind": trouble.kind().word(), "about": trouble.setting, "text": trouble.text, "since_ms": trouble.since_ms })
}

fn address(node: &pb::NodeAddress) -> Value {
    json!({ "role": role_name(node.role()), "index": node.index, "address": node.address })
}

fn awaited(node: &pb::AwaitedNode) -> Value {
    json!({
        "role": role_name(node.role()),
        "index": node.index,
        "address": node.address,
        "down_ms": node.down_ms,
        "never_seen": node.never_seen,
        "why": node.why,
    })
}

fn balancer(state: &pb::BalancerState) -> Value {
    json!({
        "assigned": state.assigned,
        "durable": state.durable,
        "decided": state.decided,
        "stable": state.stable,
        "pools": pools(&state.pools),
        "pools_left_out": state.pools_left_out,
        "log_id": state.log_id,
        "waiting": state.waiting,
        "waiting_bytes": state.waiting_bytes,
        "client_streams": state.client_streams,
        "shards": shards(&state.shards),
        "held": state.held,
        "held_ms": state.held_ms,
        "search_waits": state.search_waits,
        "search_cost": state.search_cost,
        "late_pools": state.late_pools,
        "late_ms": state.late_ms,
        "clock_ahead_ms": state.clock_ahead_ms,
        "clock_jump_ms": state.clock_jump_ms,
        "clock_refuses": state.clock_refuses,
        "stored": state.stored.as_ref().map(stored),
        "awaited": state.awaited.iter().map(awaited).collect::<Vec<_>>(),
        "undecided_ms": state.undecided_ms,
        "in_flight_max": state.in_flight_max,
        "shared": state.shared.as_ref().map(shared),
    })
}

fn shared(shared: &pb::SharedLogState) -> Value {
    let other = |other: &pb::OtherBalancer| {
        json!({
            "index": other.index,
            "address": other.address,
            "durable": other.durable,
            "stored": other.stored,
            "heard_ms": other.heard_ms,
        })
    };
    json!({
        "active": shared.active,
        "term": shared.term,
        "active_address": shared.active_address,
        "silent": shared.silent,
        "others": shared.others.iter().map(other).collect::<Vec<_>>(),
        "decisions_held_bytes": shared.decisions_held_bytes,
    })
}

fn stored(stored: &pb::StoredState) -> Value {
    json!({
        "checkpoint": stored.checkpoint,
        "checkpoint_bytes": stored.checkpoint_bytes,
        "checkpoint_error": stored.checkpoint_error,
        "log_floor": stored.log_floor,
        "log_bytes": stored.log_bytes,
        "results_floor": stored.results_floor,
        "results_bytes": stored.results_bytes,
        "full": stored.full,
        "log_appended_bytes": stored.log_appended_bytes,
        "results_appended_bytes": stored.results_appended_bytes,
        "log_syncs": stored.log_syncs,
        "results_syncs": stored.results_syncs,
    })
}

fn matcher(state: &pb::MatcherState) -> Value {
    let slice = |slice: &pb::SliceState| {
        json!({
            "slice": slice.slice,
            "through": slice.through,
            "decided": slice.decided,
            "pending": slice.pending,
            "frames_kept": slice.frames_kept,
            "stalls": slice.stalls,
            "stalled": slice.stalled,
            "pools": pools(&slice.pools),
            "pools_left_out": slice.pools_left_out,
            "candidates": slice.candidates,
            "probes": slice.probes,
            "stalled_ms": slice.stalled_ms,
        })
    };
    json!({ "slices": state.slices.iter().map(slice).collect::<Vec<_>>(), "shards": shards(&state.shards) })
}

fn gatherer(state: &pb::GathererState) -> Value {
    let slice = |mark: &pb::SliceProgress| json!({ "slice": mark.slice, "through": mark.through });
    json!({
        "shard": state.shard,
        "decided": state.decided,
        "slices": state.slices.iter().map(slice).collect::<Vec<_>>(),
        "timelines": state.timelines,
        "undecided": state.undecided,
        "retirements_kept": state.retirements_kept,
        "floor": state.floor,
        "accepted": state.accepted,
        "shards": shards(&state.shards),
    })
}

fn shards(marks: &[pb::ShardProgress]) -> Vec<Value> {
    marks.iter().map(|mark| json!({ "shard": mark.shard, "decided": mark.decided })).collect()
}

fn pools(pools: &[pb::PoolCount]) -> Vec<Value> {
    let hot = |hot: &pb::HotKey| json!({ "key": hot.key, "searches_permille": hot.searches_permille, "waiting": hot.waiting });
    let pool = |pool: &pb::PoolCount| {
        let mut object = json!({ "pool": pool.pool, "waiting": pool.waiting, "rule_errors": pool.rule_errors });
        // Only the balancer tells.
        if pool.waiting_bytes > 0 {
            object["waiting_bytes"] = pool.waiting_bytes.into();
        }
        if pool.late_ms > 0 {
            object["late_ms"] = pool.late_ms.into();
        }
        // Only matchers tell.
        if pool.split() != pb::PoolSplit::Unspecified {
            object["split"] = pool.split().word().into();
            object["hot_keys"] = pool.hot_keys.iter().map(hot).collect();
        }
        object
    };
    pools.iter().map(pool).collect()
}
