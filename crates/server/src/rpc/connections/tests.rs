use std::net::IpAddr;

use super::*;
use crate::{caller::Port, settings::Addresses};
use dovetail::Role;
use dovetail_certs::{NodeName, Proved};

#[tokio::test]
async fn a_connection_that_only_watches_health_goes_for_another_and_not_for_being_idle() {
    let open = connections(2, 2);
    let (watching, _other) = (open.admit(&from(1, 1)).unwrap(), open.admit(&from(2, 2)).unwrap());
    let watch = open.quiet_call(1);
    let _call = call(&open, 2);
    open.pass(Duration::from_secs(60));
    open.close_older(1000);
    assert!(!watching.close.is_cancelled(), "it watches");
    let _third = open.admit(&from(3, 3)).expect("the first goes");
    assert!(watching.close.is_cancelled());
    drop(watch);
}

fn connections(node: usize, address: usize) -> Connections {
    Connections::new(Bounds { node, address, process: usize::MAX }, KnownHosts::default(), None)
}

/// A connection from an address that ends so.
fn from(last: u8, number: u64) -> Connection {
    Connection { number, address: IpAddr::from([10, 0, 0, last]), port: Port::ALL, proved: None }
}

/// A call of somebody of whom nothing is known.
fn call(connections: &Connections, number: u64) -> OpenCall {
    connections.call(&stranger(number)).unwrap()
}

fn stranger(number: u64) -> Caller {
    let connection = from(1, number);
    Caller { client: ClientId::of(connection.address), connection }
}

fn named(name: &str, number: u64) -> Caller {
    Caller { client: ClientId::Name(name.into()), ..stranger(number) }
}

#[test]
fn one_too_many_is_refused_while_all_have_calls_open() {
    let connections = connections(2, 2);
    let places = [connections.admit(&from(1, 1)).unwrap(), connections.admit(&from(2, 2)).unwrap()];
    let calls = [call(&connections, 1), call(&connections, 2)];
    connections.pass(Duration::from_secs(60));
    assert_eq!(connections.admit(&from(3, 3)).unwrap_err(), Full::Node);
    assert!(places.iter().all(|place| !place.close.is_cancelled()));
    drop(places);
    drop(calls);
    assert_eq!(connections.count(), 0);
    assert!(connections.admit(&from(3, 3)).is_ok());
}

#[test]
fn one_too_many_takes_the_place_of_one_that_never_called_and_then_of_the_longest_idle() {
    let connections = connections(3, 3);
    let called = connections.admit(&from(1, 1)).unwrap();
    drop(call(&connections, 1));
    let silent = [connections.admit(&from(2, 2)).unwrap(), connections.admit(&from(3, 3)).unwrap()];
    assert_eq!(connections.admit(&from(4, 4)).unwrap_err(), Full::Node, "they have only just come");
    connections.pass(Duration::from_secs(1));
    let fourth = connections.admit(&from(4, 4)).unwrap();
    let _busy = call(&connections, 4);
    assert_eq!(
        [&silent[0], &silent[1], &called, &fourth].map(|place| place.close.is_cancelled()),
        [true, false, false, false]
    );
    let fifth = connections.admit(&from(5, 5)).unwrap();
    let _busy = call(&connections, 5);
    assert!(silent[1].close.is_cancelled());
    assert_eq!(connections.admit(&from(6, 6)).unwrap_err(), Full::Node, "the one left called not long ago");
    connections.pass(Duration::from_secs(10));
    let sixth = connections.admit(&from(6, 6)).unwrap();
    assert!(called.close.is_cancelled() && !fifth.close.is_cancelled() && !sixth.close.is_cancelled());
    drop((called, silent));
    assert_eq!(connections.count(), 3, "the places went to others");
}

#[test]
fn who_dials_once_takes_a_place_of_those_that_come_by_the_dozen_and_keeps_it() {
    let connections = connections(12, 8);
    let _called = called(&connections, &stranger(1));
    let once = connections.admit(&from(9, 2)).unwrap();
    let crowd: Vec<ConnectionPlace> =
        (0..10).map(|number| connections.admit(&from(2 + number % 2, 10 + u64::from(number))).unwrap()).collect();
    let second = connections.admit(&from(10, 30)).expect("nobody was let in but a crowd that says nothing");
    let third = connections.admit(&from(11, 31)).unwrap();
    let gone: Vec<usize> = (0..10).filter(|&number| crowd[number].close.is_cancelled()).collect();
    assert_eq!(gone, [0, 1], "the oldest of either address, which had as many");
    for number in 40..60 {
        assert_eq!(connections.admit(&from(2, number)).unwrap_err(), Full::Node, "a crowd has enough");
    }
    // Those that come once each take the places of the crowd, and none of one another.
    let many: Vec<_> = (60..80).map(|number| connections.admit(&from(number, number.into()))).collect();
    assert_eq!(many.iter().filter(|place| place.is_ok()).count(), 6);
    let alone = [&once, &second, &third].into_iter().chain(many.iter().flatten());
    assert!(!alone.into_iter().any(|place| place.close.is_cancelled()));
    assert_eq!(connections.count(), 12);
}

#[test]
fn an_address_at_its_bound_takes_its_own_places_only() {
    let connections = connections(4, 2);
    let other = connections.admit(&from(1, 1)).unwrap();
    let own = [connections.admit(&from(2, 2)).unwrap(), connections.admit(&from(2, 3)).unwrap()];
    let calls = [call(&connections, 2), call(&connections, 3)];
    connections.pass(Duration::from_secs(60));
    assert_eq!(connections.admit(&from(2, 4)).unwrap_err(), Full::Address);
    drop(calls);
    connections.pass(Duration::from_secs(10));
    let next = connections.admit(&from(2, 4)).unwrap();
    assert!(own[0].close.is_cancelled() && !other.close.is_cancelled() && !next.close.is_cancelled());
}

#[test]
fn a_connection_without_a_call_is_closed_in_time_and_one_with_a_call_is_not() {
    let connections = connections(9, 9);
    let (idle, busy) = (connections.admit(&from(1, 1)).unwrap(), connections.admit(&from(2, 2)).unwrap());
    let call = call(&connections, 2);
    connections.pass(Duration::from_secs(60));
    connections.close_older(60_001);
    assert!(!idle.close.is_cancelled());
    connections.close_older(60_000);
    assert!(idle.close.is_cancelled() && !busy.close.is_cancelled());
    drop(call);
    connections.close_older(60_000);
    assert!(!busy.close.is_cancelled(), "it has only just ended");
}

/// A connection that called once.
fn called(connections: &Connections, caller: &Caller) -> ConnectionPlace {
    let place = connections.admit(&caller.connection).unwrap();
    drop(connections.call(caller).unwrap());
    place
}

#[test]
fn strangers_of_many_addresses_leave_places_to_who_is_named_and_to_nodes() {
    let connections = connections(16, 16);
    let strangers: Vec<ConnectionPlace> = (1..=12).map(|number| called(&connections, &stranger(number))).collect();
    let last = connections.admit(&from(13, 13)).unwrap();
    let refused = connections.call(&stranger(13)).unwrap_err();
    assert_eq!((refused.reason(), refused.reason().retry_after().is_some()), (Reason::TooManyCalls, true));
    assert!(
        refused.message().contains("12 connections are open to clients that proved no name"),
        "{}",
        refused.message()
    );
    let named_ones = [14, 15].map(|number| called(&connections, &named("shop", number)));
    let third = connections.admit(&from(16, 16)).unwrap();
    assert!(connections.call(&named("shop", 16)).is_err(), "two places are for nodes alone");
    connections.pass(Duration::from_secs(10));
    let _call = connections.call(&named("shop", 16)).unwrap();
    assert!(strangers[0].close.is_cancelled(), "the stranger that has been idle longest went");
    assert!(
        ![&strangers[1], &last, &third, &named_ones[0], &named_ones[1]].iter().any(|place| place.close.is_cancelled())
    );
}

#[test]
fn a_stranger_that_proves_a_name_makes_room_for_another() {
    let connections = connections(16, 16);
    let _strangers: Vec<ConnectionPlace> = (1..=12).map(|number| called(&connections, &stranger(number))).collect();
    drop(connections.call(&named("shop", 7)).unwrap());
    let _next = called(&connections, &stranger(13));
}

#[test]
fn one_name_has_no_more_connections_than_one_address() {
    let connections = connections(32, 2);
    let places = [1, 2].map(|number| called(&connections, &named("shop", number)));
    let _third = connections.admit(&from(3, 3)).unwrap();
    let refused = connections.call(&named("shop", 3)).unwrap_err();
    assert!(refused.message().contains("2 connections are open to client shop"), "{}", refused.message());
    assert!(connections.call(&named("other", 3)).is_ok());
    drop(places);
    assert!(connections.admit(&from(1, 4)).is_ok_and(|_place| connections.call(&named("shop", 4)).is_ok()));
}

#[test]
fn a_node_of_the_settings_takes_the_place_of_a_stranger_that_has_only_just_come() {
    let url = |last| format!("http://10.0.0.{last}:7400");
    let addresses = Addresses { balancers: vec![url(7)], matchers: vec![url(8)], gatherers: vec![url(9)] };
    let bounds = Bounds { node: 16, address: 16, process: usize::MAX };
    let connections = Connections::new(bounds, KnownHosts::of(&addresses), None);
    let strangers: Vec<ConnectionPlace> =
        (1..=16).map(|number| connections.admit(&from(100 + number as u8, number)).unwrap()).collect();
    assert_eq!(connections.admit(&from(2, 17)).unwrap_err(), Full::Node);
    let mut nodes: Vec<ConnectionPlace> =
        (18..=19).map(|number| connections.admit(&from(8, number)).unwrap()).collect();
    assert!(strangers[1].close.is_cancelled() && !strangers[2].close.is_cancelled());
    let calls: Vec<OpenCall> = (3..=14).map(|number| call(&connections, number)).collect();
    nodes.extend((20..=21).map(|number| connections.admit(&from(8, number)).unwrap()));
    assert_eq!(
        connections.admit(&from(8, 22)).unwrap_err(),
        Full::Node,
        "those that are left have calls, or are nodes"
    );
    drop((calls, nodes));
}

#[test]
fn who_is_a_node_is_what_its_certificate_says_where_there_are_certificates() {
    let bounds = Bounds { node: 16, address: 16, process: usize::MAX };
    let connections = Connections::new(bounds, KnownHosts::default(), Some("c".to_owned()));
    let proved = |cluster: &str| {
        let name = NodeName { cluster: cluster.to_owned(), role: Role::Matcher, index: 3 };
        let connection = Connection { proved: Some(Arc::new(Proved::Node(name))), ..from(1, 1) };
        Caller { client: ClientId::Name("matcher-3".into()), connection }
    };
    assert_eq!(connections.standing(&proved("c")).0, CallerStanding::Node);
    assert_eq!(connections.standing(&proved("other")).0, CallerStanding::Named);
    let mut at_its_port = stranger(1);
    at_its_port.connection.port = Port::NODES;
    assert_eq!(connections.standing(&at_its_port).0, CallerStanding::Stranger);
    at_its_port.connection.port = Port::OPERATORS;
    assert_eq!(connections.standing(&at_its_port).0, CallerStanding::Named);
}
