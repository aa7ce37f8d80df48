//! What a command that waits says meanwhile, on stderr: that decisions stand still, and which node they wait for; that
//! the server does not answer; and that it goes on again.
//!
//! Asks `Inspect` now and then. Says what is known and no more: the balancer knows who is connected, not who works.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::duration;
use dovetail::{
    client::Client,
    pb::{self, Role, inspect_response::State},
};
use dovetail_server::printable::printable;

/// Longest time for what is said beside an answer.
const ONCE_WITHIN: Duration = Duration::from_secs(1);
/// How often to ask.
const ASK: Duration = Duration::from_secs(1);
/// Longest time for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Decisions that stand still for less are not worth a line.
const STILL_MS: u64 = 2000;
/// The same when every node is connected: a long search looks like it.
const STILL_THOUGH_ALL_ARE_THERE_MS: u64 = 10_000;
/// How long until the same is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// Does work that waits for decisions, and says meanwhile what it waits for.
pub async fn during<T>(client: &Client, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = tell(client) => match never {},
    }
}

/// Says after an answer of what is decided that decisions stand still, so that it is not of now. `at` is the position
/// that it reflects, where it says so. Asks once; who does not answer is not waited for.
pub async fn as_of(client: &Client, at: u64) {
    if let Ok(Ok(node)) = timeout(ONCE_WITHIN, client.inspect()).await
        && let Some(State::Balancer(state)) = &node.state
        && let Some(text) = stale(state, at)
    {
        eprintln!("{text}");
    }
}

/// Why an answer is not of now, in words; none while decisions go on.
fn stale(state: &pb::BalancerState, at: u64) -> Option<String> {
    let still = still(state)?;
    let at = if at == 0 { state.stable } else { at };
    let so = if state.awaited.is_empty() { ";" } else { ", so" };
    Some(format!("{still}{so} this is as of event {at}"))
}

async fn tell(client: &Client) -> std::convert::Infallible {
    let mut notices = Notices::default();
    // A line that moves on a terminal is not to end in the middle of ours.
    let clear = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    loop {
        sleep(ASK).await;
        let answer = match timeout(ANSWER_WITHIN, client.inspect()).await {
            Ok(Ok(node)) => Ok(Some(node)),
            // Who may not look at nodes is not told about them, which is no reason to say that there is no answer.
            Ok(Err(error)) if error.is_not_permitted() => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {}s", ANSWER_WITHIN.as_secs())),
        };
        if let Some(notice) = notices.on_answer(client.url(), answer.as_ref().map(Option::as_ref), Instant::now()) {
            eprintln!("{clear}{notice}");
        }
    }
}

/// What was said last, and when.
#[derive(Default)]
struct Notices {
    /// The node that decisions wait for, or that they stand still, or that there is no answer.
    told: Option<(Kind, Instant)>,
    /// Answers that have not come, one after the other.
    silent: u32,
}

#[derive(PartialEq, Eq)]
enum Kind {
    Silence,
    Still(Vec<(Role, u32)>),
}

impl Notices {
    /// What is to be said now, if anything. An answer without a state is of a server that does not tell it to who asks.
    fn on_answer(
        &mut self,
        url: &str,
        answer: Result<Option<&pb::InspectResponse>, &String>,
        now: Instant,
    ) -> Option<String> {
        let (kind, text) = match answer {
            Err(reason) => {
                self.silent += 1;
                if self.silent < 2 {
                    return None;
                }
                (Kind::Silence, format!("{url} does not answer: {}", printable(reason)))
            }
            Ok(None) => {
                self.silent = 0;
                return self.told.take_if(|(kind, _)| *kind == Kind::Silence).map(|_| format!("{url} answers again"));
            }
            Ok(Some(node)) => {
                self.silent = 0;
                let state = match &node.state {
                    Some(State::Balancer(state)) => still(state).map(|text| (state, text)),
                    _ => None,
                };
                let Some((state, text)) = state else { return self.goes_on(url) };
                let nodes = state.awaited.iter().map(|node| (node.role(), node.index)).collect();
                (Kind::Still(nodes), text)
            }
        };
        let known = self.told.as_ref().is_some_and(|(told, at)| *told == kind && now.duration_since(*at) < AGAIN);
        if known {
            return None;
        }
        self.told = Some((kind, now));
        Some(text)
    }

    fn goes_on(&mut self, url: &str) -> Option<String> {
        self.told.take().map(|(kind, _)| match kind {
            Kind::Silence => format!("{url} answers again"),
            Kind::Still(_) => "decisions go on".to_owned(),
        })
    }
}

/// Why decisions stand still, in words; none while they do not.
pub fn still(state: &pb::BalancerState) -> Option<String> {
    let bound = if state.awaited.is_empty() { STILL_THOUGH_ALL_ARE_THERE_MS } else { STILL_MS };
    if state.undecided_ms < bound {
        return None;
    }
    if !state.awaited.is_empty() {
        return Some(format!("decisions wait for {}", all(&state.awaited)));
    }
    let still_for = seconds(state.undecided_ms);
    Some(format!(
        "nothing was decided for {still_for}, though every node is connected: one hangs, or a search takes long; \
         see \"dovetail status --all\""
    ))
}

/// `matcher 1 (http://10.0.0.2:7401, down for 40s) and gatherer 0 (...)`.
fn all(nodes: &[pb::AwaitedNode]) -> String {
    nodes.iter().map(awaited).collect::<Vec<_>>().join(" and ")
}

/// A node that is away: `matcher 1 (http://10.0.0.2:7401, down for 40s)`.
pub fn awaited(node: &pb::AwaitedNode) -> String {
    let since = seconds(node.down_ms);
    let how = if node.never_seen {
        format!("not seen since the balancer started {since} ago")
    } else {
        format!("down for {since}")
    };
    let refused = match node.why.strip_prefix("it was refused: ") {
        Some(why) => format!("; refused: {}", printable(why)),
        None => String::new(),
    };
    format!("{} {} ({}, {how}{refused})", role_name(node.role()), node.index, printable(&node.address))
}

fn seconds(ms: u64) -> String {
    duration::format_ms(ms / 1000 * 1000)
}

/// A role in words.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unknown role",
        Role::Balancer => "balancer",
        Role::Matcher => "matcher",
        Role::Gatherer => "gatherer",
    }
}

/// The wall clock is not followed.
pub fn clock_jumped(state: &pb::BalancerState) -> String {
    let ahead = duration::format_ms(state.clock_jump_ms / 1000 * 1000);
    let refused = if state.clock_refuses { "submissions are refused" } else { "submissions will be refused soon" };
    format!(
        "the wall clock jumped ahead by {ahead} and is not followed; {refused} until it is right, or `dovetail clock accept`"
    )
}

/// Pools whose timers cannot all be written when they are due.
pub fn late(state: &pb::BalancerState) -> String {
    let since = Duration::from_millis(state.late_ms);
    let named = state.pools.iter().max_by_key(|pool| pool.late_ms).filter(|pool| pool.late_ms > 0);
    let named = named.map(|pool| format!(", most of all {}", printable(&pool.pool))).unwrap_or_default();
    format!(
        "pools late: {}, by up to {since:.1?}{named}; elements that arrive in them wait until those have left or searched that are due",
        state.late_pools
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(undecided_ms: u64, away: &[pb::AwaitedNode]) -> pb::InspectResponse {
        let state = pb::BalancerState { undecided_ms, awaited: away.to_vec(), ..pb::BalancerState::default() };
        pb::InspectResponse { state: Some(State::Balancer(state)), ..pb::InspectResponse::default() }
    }

    fn away(index: u32, down_ms: u64, never_seen: bool) -> pb::AwaitedNode {
        let (role, address) = (Role::Matcher.into(), format!("http://m{index}"));
        pb::AwaitedNode { role, index, address, down_ms, never_seen, why: "its connection ended".to_owned() }
    }

    #[test]
    fn a_notice_names_who_is_waited_for_once_and_tells_when_it_goes_on() {
        let began = Instant::now();
        let mut notices = Notices::default();
        let mut at = |second, node: pb::InspectResponse| {
            notices.on_answer("http://b", Ok(Some(&node)), began + Duration::from_secs(second))
        };
        assert_eq!(at(0, node(0, &[])), None);
        assert_eq!(at(1, node(1900, &[away(1, 40_500, false)])), None, "not yet");
        let one = "decisions wait for matcher 1 (http://m1, down for 41s)";
        assert_eq!(at(2, node(2900, &[away(1, 41_500, false)])).as_deref(), Some(one));
        assert_eq!(at(3, node(3900, &[away(1, 42_500, false)])), None, "it is known");
        let both = "decisions wait for matcher 0 (http://m0, not seen since the balancer started 7s ago) and \
                    matcher 1 (http://m1, down for 43s)";
        assert_eq!(at(4, node(4900, &[away(0, 7000, true), away(1, 43_500, false)])).as_deref(), Some(both));
        assert_eq!(at(5, node(0, &[])).as_deref(), Some("decisions go on"));
        assert_eq!(at(6, node(0, &[])), None);
    }

    #[test]
    fn when_all_are_connected_it_is_said_later_and_nobody_is_blamed() {
        assert_eq!(still(&pb::BalancerState { undecided_ms: 9000, ..pb::BalancerState::default() }), None);
        let text = still(&pb::BalancerState { undecided_ms: 12_345, ..pb::BalancerState::default() }).unwrap();
        assert!(text.starts_with("nothing was decided for 12s, though every node is connected"), "{text}");
    }

    #[test]
    fn an_answer_is_as_of_an_event_only_while_decisions_stand_still() {
        let state = |undecided_ms, awaited: &[pb::AwaitedNode]| pb::BalancerState {
            undecided_ms,
            stable: 17,
            awaited: awaited.to_vec(),
            ..pb::BalancerState::default()
        };
        assert_eq!(stale(&state(0, &[away(1, 31_000, false)]), 0), None);
        let expected = "decisions wait for matcher 1 (http://m1, down for 31s), so this is as of event 17";
        assert_eq!(stale(&state(9000, &[away(1, 31_000, false)]), 0).as_deref(), Some(expected));
        let text = stale(&state(12_000, &[]), 16).unwrap();
        assert!(text.ends_with("see \"dovetail status --all\"; this is as of event 16"), "{text}");
    }

    #[test]
    fn a_server_that_is_silent_once_is_not_news() {
        let now = Instant::now();
        let mut notices = Notices::default();
        let refused = "connection refused".to_owned();
        assert_eq!(notices.on_answer("http://b", Err(&refused), now), None);
        let told = notices.on_answer("http://b", Err(&refused), now);
        assert_eq!(told.as_deref(), Some("http://b does not answer: connection refused"));
        assert_eq!(notices.on_answer("http://b", Err(&refused), now), None);
        let answer = node(0, &[]);
        assert_eq!(notices.on_answer("http://b", Ok(Some(&answer)), now).as_deref(), Some("http://b answers again"));
    }

    #[test]
    fn a_server_that_does_not_tell_its_state_is_not_silent() {
        let now = Instant::now();
        let mut notices = Notices::default();
        assert_eq!([(); 3].map(|()| notices.on_answer("http://b", Ok(None), now)), [None, None, None]);
        let refused = "connection refused".to_owned();
        assert_eq!(notices.on_answer("http://b", Err(&refused), now), None);
        assert!(notices.on_answer("http://b", Err(&refused), now).is_some());
        assert_eq!(notices.on_answer("http://b", Ok(None), now).as_deref(), Some("http://b answers again"));
        assert_eq!(notices.on_answer("http://b", Ok(None), now), None);
    }
}
