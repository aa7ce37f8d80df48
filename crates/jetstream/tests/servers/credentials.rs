//! A file of credentials, as NATS's operators hand out: a token that an account has signed, and the user's key.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dovetail_jetstream::{JetStreamEngine, JetStreamOpenError};
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::harness::{Servers, begin, group};

/// A token that says something of somebody, by whoever signs it.
fn token(signer: &KeyPair, subject: &KeyPair, says: Value) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "jti": "test",
        "iat": 1_700_000_000,
        "iss": signer.public_key(),
        "sub": subject.public_key(),
        "name": "test",
        "nats": says,
    });
    let signed = format!("{}.{}", encode(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn account(operator: &KeyPair, account: &KeyPair, jetstream: i64) -> String {
    let unbounded = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": jetstream, "disk_storage": jetstream, "streams": jetstream, "consumer": jetstream,
    });
    token(operator, account, json!({ "limits": unbounded, "type": "account", "version": 2 }))
}

#[test]
fn a_process_is_let_in_with_a_file_of_credentials() {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let (ours, user) = (KeyPair::new_account(), KeyPair::new_user());
    let of_operator =
        token(&operator, &operator, json!({ "system_account": system.public_key(), "type": "operator", "version": 2 }));
    let (of_system, of_ours) = (account(&operator, &system, 0), account(&operator, &ours, -1));
    let configuration = |_: &Path| {
        format!(
            "operator: {of_operator}\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload: {{ {}: {of_system}, {}: {of_ours} }}\n",
            system.public_key(),
            system.public_key(),
            ours.public_key()
        )
    };
    let Some(servers) = Servers::start_with(1, configuration) else { return };
    let unbounded =
        json!({ "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}, "type": "user", "version": 2 });
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        token(&ours, &user, unbounded),
        user.seed().unwrap()
    );
    let file = servers.folder_of_all().join("balancer.creds");
    fs::write(&file, text).unwrap();
    let mut options = servers.options("known");
    options.credentials = Some(file.clone());
    let mut writer = begin(JetStreamEngine::open(&options).unwrap(), 1);
    writer.append(&group(0, 1)).unwrap();
    // Without it nobody is let in, and a file that is none is told of.
    options.timeouts.open = std::time::Duration::from_secs(4);
    options.credentials = None;
    let told = JetStreamEngine::open(&options).unwrap_err().to_string();
    assert!(told.contains("authorization violation"), "{told}");
    fs::write(&file, "not a token").unwrap();
    options.credentials = Some(file.clone());
    let told = JetStreamEngine::open(&options).unwrap_err();
    assert!(matches!(&told, JetStreamOpenError::File { file: of, .. } if *of == file), "{told}");
}
