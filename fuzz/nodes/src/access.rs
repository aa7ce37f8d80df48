//! The policy, files of keys, and credentials. The first byte of an input chooses which; the rest is its text.
//!
//! Nothing panics, and nobody is let in by a token that was not signed: no input has the key that would sign it.

use std::sync::LazyLock;

use dovetail_server::auth::{
    ProofKind, api_keys, policy,
    table::Verb,
    token::{self, Verifier},
};

/// Public keys of nobody.
const JWKS: &str = r#"{"keys": [
  {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "one", "use": "sig"},
  {"kty": "EC", "crv": "P-256", "kid": "two", "alg": "ES256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
   "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

const POLICY: &str = include_str!("policy.toml");

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(token::parse_jwks(JWKS).expect("the keys are keys"), "issuer", "dovetail"));

/// One input.
pub fn run(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match which % 4 {
        0 => {
            let Ok(policy) = policy::parse(&text) else { return };
            for source in [ProofKind::Key, ProofKind::Token] {
                let grants = policy.of(&dovetail_server::auth::Identity::new(source, "ada"));
                for pool in ["", "pool", "pool/é", "*"] {
                    _ = grants.scope(Verb::Submit, pool);
                }
                _ = (grants.scope_anywhere(Verb::Submit), grants.operates_all());
                _ = grants.rates(dovetail_server::auth::Rates::default());
            }
        }
        1 => {
            if let Ok(jwks) = token::parse_jwks(&text) {
                _ = Verifier::new(jwks, "issuer", "dovetail").verify(TOKEN);
            }
        }
        2 => _ = api_keys::parse(&text),
        _ => assert!(VERIFIER.verify(&text).is_err(), "{text:?} was signed by nobody"),
    }
}

/// Of the right form, and signed by nobody: `{"alg":"EdDSA","kid":"one"}`, then claims.
const TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJpc3N1ZXIiLCJhdWQiOiJkb3ZldGFpbCIsImV4cCI6NDEwMjQ0NDgwMH0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const KEYS: &str = r#"
ada = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
bob = ["sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"]
"#;

/// One of each.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let texts = [("policy", POLICY), ("jwks", JWKS), ("keys", KEYS), ("token", TOKEN)];
    let seed = |(which, (name, text)): (u8, (&str, &str))| (name.to_owned(), [&[which], text.as_bytes()].concat());
    (0..).zip(texts).map(seed).collect()
}
