//! Who may open which log: identities, settings, and who comes first.

use std::thread;

use dovetail_jetstream::{Damage, JetStreamEngine, JetStreamOpenError, JetStreamOptions, Opening};
use dovetail_log::shared::{Engine, Position, PutError, SharedReadError};
use serde_json::json;

use crate::harness::{Servers, begin, group, until_some};

fn existing(options: &JetStreamOptions, log_id: u128) -> JetStreamOptions {
    JetStreamOptions { opening: Opening::Existing { log_id }, ..options.clone() }
}

fn refused(options: &JetStreamOptions) -> JetStreamOpenError {
    JetStreamEngine::open(options).expect_err("it must not open")
}

#[test]
fn of_processes_that_make_a_log_at_once_one_wins_and_all_open_it() {
    let Some(servers) = Servers::start(3) else { return };
    let options = servers.options("born");
    let ids: Vec<u128> = thread::scope(|scope| {
        let open = || JetStreamEngine::open(&options).unwrap().identity().log_id;
        let opening: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        opening.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0] && *id != 0), "{ids:x?}");
    JetStreamEngine::open(&existing(&options, ids[0])).unwrap();
    // The identity that was asked for when it was made, as for a log that is moved here.
    let mut moved = servers.options("moved");
    moved.opening = Opening::OrMake { log_id: Some(77), begins_after: 41 };
    let mut engine = JetStreamEngine::open(&moved).unwrap();
    assert_eq!((engine.identity().log_id, engine.identity().begins_after), (77, 41));
    assert_eq!(engine.find(41), Ok(Position::ZERO));
    assert!(matches!(engine.find(40), Err(SharedReadError::Trimmed { .. })));
    assert_eq!(engine.find(42), Err(SharedReadError::AnotherLog { through: 42, last: 41 }));
    // Who opens it later is told.
    let again = servers.open("moved");
    assert_eq!(again.identity(), engine.identity());
    moved.opening = Opening::OrMake { log_id: Some(78), begins_after: 41 };
    let told = "stream \"dovetail-moved\" is log 0000000000000000000000000000004d, but \
                0000000000000000000000000000004e is wanted";
    assert_eq!(refused(&moved).to_string(), told);
}

#[test]
fn a_log_that_is_deleted_or_made_again_by_hand_is_refused_with_both_ids() {
    let Some(servers) = Servers::start(1) else { return };
    let (admin, options) = (servers.admin(), servers.options("lost"));
    let engine = JetStreamEngine::open(&options).unwrap();
    let log_id = engine.identity().log_id;
    let mut writer = begin(engine.clone(), 1);
    let at = writer.append(&group(0, 1)).unwrap();
    admin.delete("dovetail-lost");
    let stream = "dovetail-lost".to_owned();
    let gone = JetStreamOpenError::Gone { stream: stream.clone(), expected: log_id };
    assert_eq!(refused(&existing(&options, log_id)), gone);
    assert!(matches!(engine.examine(), Err(Damage::Unavailable { .. })));
    // Another process makes another log of that name.
    let other = JetStreamEngine::open(&options).unwrap();
    let found = other.identity().log_id;
    assert_ne!(found, log_id);
    let another = JetStreamOpenError::AnotherLog { stream: stream.clone(), found, expected: log_id };
    assert_eq!(refused(&existing(&options, log_id)), another);
    let told = format!("stream \"dovetail-lost\" is log {found:032x}, but {log_id:032x} is wanted");
    assert_eq!(another.to_string(), told);
    // Its entries come to the same places. Whoever has the lost log open neither writes there nor reads it.
    let mut others = begin(other, 2);
    let last = others.append(&group(0, 1)).unwrap();
    assert_eq!(last, at);
    let mut lost = engine.clone();
    let put = lost.put_group(at, writer.term().at, &group(1, 2));
    assert!(matches!(put, Err(PutError::Unknown { .. })), "{put:?}");
    let put = lost.put_term(Some(writer.term().at), writer.term().writer, "here");
    assert!(matches!(put, Err(PutError::Unknown { .. })), "{put:?}");
    let damaged = lost.newest_term().expect_err("it is not this log's");
    assert!(matches!(damaged, SharedReadError::Damaged { .. }), "{damaged}");
    assert_eq!(engine.examine(), Err(Damage::AnotherLog { stream, expected: log_id }));
    let read = engine.follow(Position::ZERO).next(crate::harness::PATIENCE).expect_err("it is not this log's");
    assert!(matches!(read, SharedReadError::Damaged { .. }), "{read}");
    others.append(&group(1, 2)).unwrap();
}

#[test]
fn a_setting_that_is_changed_by_hand_is_refused_with_both_values() {
    let Some(servers) = Servers::start(1) else { return };
    let (admin, options) = (servers.admin(), servers.options("set"));
    JetStreamEngine::open(&options).unwrap();
    let config = admin.info("dovetail-set")["config"].clone();
    for (key, value, told) in [
        (
            "max_age",
            json!(3_600_000_000_000_u64),
            "setting max_age of stream \"dovetail-set\" is 3600000000000, but 0 is wanted",
        ),
        ("discard", json!("old"), "setting discard of stream \"dovetail-set\" is \"old\", but \"new\" is wanted"),
        ("max_bytes", json!(4096), "setting max_bytes of stream \"dovetail-set\" is 4096, but 1073741824 is wanted"),
        (
            "allow_rollup_hdrs",
            json!(true),
            "setting allow_rollup_hdrs of stream \"dovetail-set\" is true, but not set is wanted",
        ),
        ("allow_direct", json!(false), "setting allow_direct of stream \"dovetail-set\" is false, but true is wanted"),
    ] {
        let mut changed = config.clone();
        changed[key] = value;
        admin.ask("STREAM.UPDATE.dovetail-set", &changed);
        assert_eq!(refused(&options).to_string(), told);
    }
    admin.ask("STREAM.UPDATE.dovetail-set", &config);
    let mut more = options.clone();
    more.max_bytes += 1;
    let told = "setting max_bytes of stream \"dovetail-set\" is 1073741824, but 1073741825 is wanted";
    assert_eq!(refused(&more).to_string(), told);
    JetStreamEngine::open(&options).unwrap();
    // One that is no log at all.
    let mut foreign = options;
    foreign.stream = Some("foreign".to_owned());
    admin.ask("STREAM.CREATE.foreign", &json!({ "name": "foreign", "subjects": ["foreign"] }));
    let told = "stream \"foreign\" is no log of Dovetail: its metadata has no valid \"dovetail.cluster\"";
    assert_eq!(refused(&foreign).to_string(), told);
}

#[test]
fn servers_that_are_not_there_are_told_of_without_passwords() {
    if crate::harness::program().is_none() {
        return;
    }
    let mut options = JetStreamOptions::new(vec!["nats://me:secret@127.0.0.1:1".to_owned()], "c", 1 << 20);
    options.timeouts.open = std::time::Duration::from_secs(2);
    let told = refused(&options).to_string();
    assert!(told.starts_with("no server of 127.0.0.1:1 answers: ") && !told.contains("secret"), "{told}");
    options.urls = vec!["http://me:secret@127.0.0.1:1".to_owned()];
    let told = refused(&options).to_string();
    assert!(told.starts_with("\"127.0.0.1:1\" is no address of a server: ") && !told.contains("secret"), "{told}");
    let Some(servers) = Servers::start(1) else { return };
    let mut options = servers.options("c");
    options.replicas = 3;
    options.timeouts.open = std::time::Duration::from_secs(3);
    let told = refused(&options).to_string();
    assert!(told.starts_with("stream \"dovetail-c\" cannot be made: replicas > 1 not supported"), "{told}");
}

#[test]
fn operators_are_told_what_cannot_be_seen_and_what_is_odd() {
    let Some(servers) = Servers::start(1) else { return };
    let engine = servers.open("told");
    let told = engine.preflight();
    assert!(told[0].contains("sync_interval: always"), "{told:?}");
    assert_eq!(told[1..], ["the log has one replica: it is lost with the disk of that server"]);
    assert_eq!(engine.group_bytes_max(), (8 << 20) - 4096);
    until_some("a log that is as it should be", || engine.examine().ok());
}
