//! Thin shells around the state machines, as the gRPC shells are: subscribe, feed the machine, serve its effects.

mod balancer;
mod gatherer;
mod matcher;

pub use balancer::{BalancerNode, Submitted};
pub use gatherer::GathererNode;
pub use matcher::MatcherNode;

use dovetail_node::{BalancerId, Balancers, Term};

use crate::{
    cx::Cx,
    net::{CallId, NetStreamId, Node, Reply, Time, Timer},
};

/// Longest time that what came of a step waits for what comes of the next.
const BATCH_MS: Time = 30;

/// What a node comes to when something happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Goes,
    /// What it needs is gone, or what it has is too old for others: it has to begin anew, from a later cut.
    CursorTooOld,
    /// Another balancer writes: it forgets what the log did not take, and begins anew.
    StepsDown,
    /// Its disk failed: it stops, and comes back from what is durable.
    Fails,
}

/// Whether what came of a step is sent at once. What is not waits for what comes of the next, or for a timer, which the
/// first of it sets.
fn publishes(cx: &mut Cx, node: Node, is_first: bool) -> bool {
    let waits = cx.rng.chance(cx.scenario.net.batch_permille);
    if waits && is_first {
        let delay = cx.rng.range(1, BATCH_MS);
        cx.net.timer(node, delay, Timer::Publish);
    }
    !waits
}

/// The balancers, as a node that starts knows them.
fn balancers(cx: &Cx) -> Balancers {
    Balancers::new(u32::try_from(cx.scenario.balancers()).expect("few balancers"))
}

/// Which balancer serves a stream.
fn server(cx: &Cx, stream: NetStreamId) -> BalancerId {
    let (_, _, Node::Balancer(balancer)) = cx.net.ends(stream) else { unreachable!("a balancer serves the log") };
    balancer_id(balancer)
}

fn balancer_id(index: usize) -> BalancerId {
    BalancerId(u32::try_from(index).expect("few balancers"))
}

/// Whether an answer is one to take. Of one that is not, what it says about balancers is; and it is asked again soon.
fn takes(
    cx: &mut Cx,
    node: Node,
    balancers: &mut Balancers,
    (id, (by, term)): (CallId, (BalancerId, Option<Term>)),
    reply: &Reply,
) -> bool {
    let taken = match reply {
        Reply::StandsBy(writes) => {
            balancers.on_refused(by, *writes);
            false
        }
        _ => balancers.on_answer(by, term),
    };
    if !taken {
        let delay = cx.net.delay();
        cx.net.timer(node, delay, Timer::CallTimeout(id));
    }
    taken
}

/// A stream of the network as a machine names it.
fn served(stream: NetStreamId) -> dovetail_node::StreamId {
    dovetail_node::StreamId(u64::from(stream.0))
}

/// The network's stream of this name.
fn net(stream: dovetail_node::StreamId) -> NetStreamId {
    NetStreamId(u32::try_from(stream.0).expect("it is one of the network's"))
}
