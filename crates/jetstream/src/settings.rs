//! The settings of a log's stream: what they have to be, and what is different.
//!
//! A stream is made once, and never changed by us. Every setting that servers tell of is compared, also those that this
//! version knows nothing of: they have to be off.

use dovetail_log::shared::LogIdentity;
use serde_json::{Value, json};

use crate::encoding;
use crate::error::JetStreamOpenError;
use crate::names::Names;
use crate::options::JetStreamOptions;

const CLUSTER: &str = "dovetail.cluster";
const LOG_ID: &str = "dovetail.log_id";
const FORMAT: &str = "dovetail.format";
const BEGINS_AFTER: &str = "dovetail.begins_after";

/// Messages are told apart by what they expect; servers remember ids for the shortest time there is.
const DUPLICATE_WINDOW_NANOS: u64 = 100_000_000;

/// The settings of a log's stream.
pub(crate) fn wanted(options: &JetStreamOptions, names: &Names, identity: &LogIdentity) -> Value {
    json!({
        "name": names.stream,
        "subjects": [names.frames, names.terms],
        "storage": "file",
        "num_replicas": options.replicas,
        "retention": "limits",
        // A log that is full refuses, and forgets nothing by itself.
        "discard": "new",
        "max_bytes": options.max_bytes,
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "duplicate_window": DUPLICATE_WINDOW_NANOS,
        "allow_direct": true,
        "deny_delete": true,
        "deny_purge": false,
        "metadata": {
            CLUSTER: identity.cluster,
            LOG_ID: format!("{:032x}", identity.log_id),
            FORMAT: encoding::VERSION.to_string(),
            BEGINS_AFTER: identity.begins_after.to_string(),
        },
    })
}

/// Which log a stream is, by its metadata.
pub(crate) fn identity(stream: &str, config: &Value) -> Result<LogIdentity, JetStreamOpenError> {
    let metadata = &config["metadata"];
    let no_log = |missing| JetStreamOpenError::NoLog { stream: stream.to_owned(), missing };
    let told = |key: &'static str| metadata[key].as_str().ok_or_else(|| no_log(key));
    Ok(LogIdentity {
        cluster: told(CLUSTER)?.to_owned(),
        log_id: log_id(config).ok_or_else(|| no_log(LOG_ID))?,
        begins_after: told(BEGINS_AFTER)?.parse().map_err(|_| no_log(BEGINS_AFTER))?,
    })
}

/// The id of the log that a stream is, if it is one.
pub(crate) fn log_id(config: &Value) -> Option<u128> {
    u128::from_str_radix(config["metadata"][LOG_ID].as_str()?, 16).ok()
}

/// Whether the settings that are found are those that are wanted.
pub(crate) fn compare(stream: &str, found: &Value, wanted: &Value) -> Result<(), JetStreamOpenError> {
    let nothing = serde_json::Map::new();
    let (of_found, of_wanted) = (found.as_object().unwrap_or(&nothing), wanted.as_object().unwrap_or(&nothing));
    for key in of_wanted.keys().chain(of_found.keys().filter(|key| !of_wanted.contains_key(*key))) {
        let (found, wanted) = (&found[key.as_str()], &wanted[key.as_str()]);
        if key == "metadata" {
            compare_metadata(stream, found, wanted)?;
        } else if found != wanted && !(is_off(found) && is_off(wanted)) {
            return Err(different(stream, key, found, wanted));
        }
    }
    Ok(())
}

/// Servers add some of their own.
fn compare_metadata(stream: &str, found: &Value, wanted: &Value) -> Result<(), JetStreamOpenError> {
    for key in [CLUSTER, LOG_ID, FORMAT, BEGINS_AFTER] {
        if found[key] != wanted[key] {
            return Err(different(stream, &format!("metadata {key}"), &found[key], &wanted[key]));
        }
    }
    Ok(())
}

fn different(stream: &str, setting: &str, found: &Value, wanted: &Value) -> JetStreamOpenError {
    let (stream, setting) = (stream.to_owned(), setting.to_owned());
    let told = |value: &Value| if value.is_null() { "not set".to_owned() } else { value.to_string() };
    JetStreamOpenError::Setting { stream, setting, found: told(found), wanted: told(wanted) }
}

/// Whether a setting does nothing: some servers say so, others say nothing of it.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => matches!(number.as_i64(), Some(0 | -1)),
        Value::String(text) => matches!(text.as_str(), "" | "none" | "default"),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.values().all(is_off),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Value {
        let identity = LogIdentity { cluster: "c".to_owned(), log_id: 0xab, begins_after: 7 };
        let options = JetStreamOptions::new(vec![], "c", 1 << 30);
        wanted(&options, &Names::new("c", "s", 0xab), &identity)
    }

    #[test]
    fn what_servers_add_is_no_difference_while_it_is_off() {
        let mut found = stream();
        for (key, value) in [
            ("compression", json!("none")),
            ("sealed", json!(false)),
            ("consumer_limits", json!({ "max_ack_pending": 0 })),
            ("allow_rollup_hdrs", json!(false)),
            ("mirror", Value::Null),
        ] {
            found[key] = value;
        }
        found["metadata"]["_nats.level"] = json!("1");
        found.as_object_mut().unwrap().remove("max_age");
        assert_eq!(compare("s", &found, &stream()), Ok(()));
        let expected = LogIdentity { cluster: "c".to_owned(), log_id: 0xab, begins_after: 7 };
        assert_eq!(identity("s", &found), Ok(expected));
    }

    #[test]
    fn every_difference_is_told_with_both_values() {
        for (key, value, told) in [
            ("max_bytes", json!(5), "setting max_bytes of stream \"s\" is 5, but 1073741824 is wanted"),
            ("discard", json!("old"), "setting discard of stream \"s\" is \"old\", but \"new\" is wanted"),
            ("num_replicas", json!(1), "setting num_replicas of stream \"s\" is 1, but 3 is wanted"),
            ("max_age", json!(60), "setting max_age of stream \"s\" is 60, but 0 is wanted"),
            ("sealed", json!(true), "setting sealed of stream \"s\" is true, but not set is wanted"),
            ("from_the_future", json!("x"), "setting from_the_future of stream \"s\" is \"x\", but not set is wanted"),
        ] {
            let mut found = stream();
            found[key] = value;
            assert_eq!(compare("s", &found, &stream()).unwrap_err().to_string(), told);
        }
        let mut found = stream();
        found["metadata"][FORMAT] = json!("2");
        let told = "setting metadata dovetail.format of stream \"s\" is \"2\", but \"1\" is wanted";
        assert_eq!(compare("s", &found, &stream()).unwrap_err().to_string(), told);
        found["metadata"] = json!({});
        let told = "stream \"s\" is no log of Dovetail: its metadata has no valid \"dovetail.cluster\"";
        assert_eq!(identity("s", &found).unwrap_err().to_string(), told);
    }
}
