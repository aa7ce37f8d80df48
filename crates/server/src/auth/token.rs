//! Signed tokens (JWT), and the keys that verify them (JWKS).
//!
//! Plain functions of texts, but for the time, which jsonwebtoken reads. A token names its key by `kid`; the *key* says
//! by which algorithm it signs, so a token cannot choose another: `none`, HMAC and all that is not in [`ALGORITHMS`]
//! verify nothing. Invariants: token.J1 nothing of a token is believed before its signature; token.J2 a token is
//! bounded in bytes before anything is read of it.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dovetail_rule::format_timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::identity::{Identity, ProofKind, is_name};
use crate::time::now_ms;
use dovetail::text::{ECHO_BYTES_MAX, cut};

/// Longest credential, in bytes: of a token, or of an API key. A longer one is refused before it is read.
pub use dovetail::client::TOKEN_BYTES_MAX;
/// Largest file of keys, in bytes. A larger one is refused.
pub const JWKS_BYTES_MAX: usize = 1 << 20;
/// Most keys of a file.
const KEYS_MAX: usize = 256;
/// By how much clocks may differ: a token is good so long after its `exp`, and before its `nbf`.
pub const LEEWAY_S: u64 = 30;
/// What signs.
pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256];
/// Bytes of a coordinate of Ed25519 and P-256.
const CURVE_BYTES: usize = 32;
/// Fewest bits of an RSA key.
const RSA_BITS_MIN: usize = 2048;

/// Why a file has no keys.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JwksError {
    /// Too long.
    #[error("it has {found} bytes, at most {JWKS_BYTES_MAX}")]
    Bytes {
        /// Its bytes.
        found: usize,
    },
    /// Not JSON, or not `{"keys": [...]}`.
    #[error("it is no JSON Web Key Set: {0}")]
    Form(String),
    /// None of the keys can be used.
    #[error(
        "none of its {found} keys is one of EdDSA (Ed25519), ES256 (P-256) and RS256 (RSA of 2,048 bits or more) for signatures"
    )]
    Unusable {
        /// How many there are.
        found: usize,
    },
    /// Too many.
    #[error("it has {found} keys, at most {KEYS_MAX}")]
    Count {
        /// How many.
        found: usize,
    },
    /// A secret where public keys belong: a reader of the file could sign.
    #[error("key {number} is a secret or a private key; the file is for public keys")]
    Secret {
        /// Which one, from 1.
        number: usize,
    },
    /// A key that is none.
    #[error("key {number}: {reason}")]
    Key {
        /// Which one, from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// Two keys of one name.
    #[error("two keys have the kid {0:?}")]
    Twice(String),
}

/// Why a token is not believed. Its sender is told [`TokenError::why`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Longer than there may be.
    #[error("the credential has {found} bytes, at most {TOKEN_BYTES_MAX}")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// No token.
    #[error("the credential is no token that can be read")]
    Malformed,
    /// Not signed, signed with a secret, or in another way than its key does.
    #[error("the token is not signed as its key signs (EdDSA, ES256 or RS256)")]
    Algorithm,
    /// No such key here.
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    /// Not signed by the key it names.
    #[error("the token's signature is not that of its key")]
    Signature,
    /// Too late.
    #[error("the token has expired")]
    Expired,
    /// Too early.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// For another audience.
    #[error("the token is for another audience")]
    Audience,
    /// From another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// It lacks `exp`, `aud`, `iss` or `sub`, or has something else in its place.
    #[error("the token lacks exp, aud, iss or sub, or one of them is not what it should be")]
    Claims,
}

impl TokenError {
    /// For programs.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            TokenError::TooLong { .. } => "too_long",
            TokenError::Malformed => "malformed",
            TokenError::Algorithm => "algorithm",
            TokenError::UnknownKey => "unknown_key",
            TokenError::Signature => "signature",
            TokenError::Expired => "expired",
            TokenError::NotYetValid => "not_yet_valid",
            TokenError::Audience => "audience",
            TokenError::Issuer => "issuer",
            TokenError::Claims => "claims",
        }
    }
}

/// Keys that verify.
pub struct Jwks {
    named: BTreeMap<String, Key>,
    nameless: Vec<Key>,
    /// Keys of the file that are of no use here.
    pub left_out: usize,
}

struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.named.keys()).finish()
    }
}

#[derive(Deserialize)]
struct JwksFile {
    keys: Vec<Value>,
}

/// Reads a file of keys.
///
/// # Errors
/// When it is none, has a secret in it, or no key that is of use.
pub fn parse_jwks(text: &str) -> Result<Jwks, JwksError> {
    if text.len() > JWKS_BYTES_MAX {
        return Err(JwksError::Bytes { found: text.len() });
    }
    let file: JwksFile = serde_json::from_str(text).map_err(|error| JwksError::Form(error.to_string()))?;
    let found = file.keys.len();
    if found > KEYS_MAX {
        return Err(JwksError::Count { found });
    }
    let mut jwks = Jwks { named: BTreeMap::new(), nameless: Vec::new(), left_out: 0 };
    for (number, value) in (1..).zip(file.keys) {
        if value.get("d").is_some() || value.get("k").is_some() {
            return Err(JwksError::Secret { number });
        }
        let refused = |reason: String| JwksError::Key { number, reason };
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else {
            jwks.left_out += 1;
            continue;
        };
        let Some(algorithm) = algorithm_of(&jwk) else {
            jwks.left_out += 1;
            continue;
        };
        check_lengths(&jwk).map_err(refused)?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|error| refused(error.to_string()))?;
        let key = Key { algorithm, key };
        match jwk.common.key_id {
            None => jwks.nameless.push(key),
            Some(kid) => {
                if jwks.named.contains_key(&kid) {
                    return Err(JwksError::Twice(kid));
                }
                jwks.named.insert(kid, key);
            }
        }
    }
    match jwks.named.len() + jwks.nameless.len() {
        0 => Err(JwksError::Unusable { found }),
        _ => Ok(jwks),
    }
}

/// What a key signs with; none of one that is not for that, or of a kind that is not used here.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(pair) if pair.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        // Six bits a character.
        AlgorithmParameters::RSA(rsa) if rsa.n.len() * 6 >= RSA_BITS_MIN => (Algorithm::RS256, KeyAlgorithm::RS256),
        _ => return None,
    };
    jwk.common.key_algorithm.is_none_or(|said| said == name).then_some(algorithm)
}

/// Refuses a key of which no token can be: it is cut, or not written as keys are.
fn check_lengths(jwk: &Jwk) -> Result<(), String> {
    let parts = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) => vec![("x", &pair.x)],
        AlgorithmParameters::EllipticCurve(pair) => vec![("x", &pair.x), ("y", &pair.y)],
        _ => vec![],
    };
    for (name, part) in parts {
        match URL_SAFE_NO_PAD.decode(part) {
            Ok(bytes) if bytes.len() == CURVE_BYTES => {}
            Ok(bytes) => return Err(format!("{name} has {} bytes, and not {CURVE_BYTES}", bytes.len())),
            Err(error) => return Err(format!("{name} is not written in base64url: {error}")),
        }
    }
    Ok(())
}

/// What tokens are verified with.
#[derive(Debug)]
pub struct Verifier {
    jwks: Jwks,
    issuer: String,
    audience: String,
}

/// What is wanted of the claims; whether they are what they should be is looked at after the signature.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    exp: Value,
}

impl Verifier {
    /// Of tokens by an issuer for an audience.
    #[must_use]
    pub fn new(jwks: Jwks, issuer: &str, audience: &str) -> Verifier {
        Verifier { jwks, issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// Who a token says that it is, and until when that holds, in seconds since 1970.
    ///
    /// # Errors
    /// When it is not to be believed.
    pub fn verify(&self, token: &str) -> Result<(Identity, u64), TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { found: token.len() });
        }
        let header = decode_header(token).map_err(|error| error_of(error.kind()))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(TokenError::Algorithm);
        }
        let key = match header.kid {
            Some(kid) => self.jwks.named.get(&kid).ok_or(TokenError::UnknownKey)?,
            None => self.only_key()?,
        };
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let claims = decode::<Claims>(token, &key.key, &validation).map_err(|error| error_of(error.kind()))?.claims;
        let (Some(name), Some(exp)) = (claims.sub.as_str().filter(|name| is_name(name)), claims.exp.as_f64()) else {
            return Err(TokenError::Claims);
        };
        // It was compared with the clock; beyond 2^64 it saturates.
        let until = (exp as u64).saturating_add(LEEWAY_S);
        Ok((Identity::new(ProofKind::Token, name), until))
    }

    /// Why a token is not believed, with its own claims where its signature is good: to its holder they are no secret.
    #[must_use]
    pub fn why(&self, token: &str, error: TokenError) -> String {
        let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
        let claims: Option<Value> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
        let detail = claims.and_then(|claims| self.detail(&claims, error));
        detail.map_or_else(|| error.to_string(), |detail| format!("{error}: {detail}"))
    }

    fn detail(&self, claims: &Value, error: TokenError) -> Option<String> {
        let says = |name: &str| match claims.get(name) {
            None => format!("it has no {name}"),
            Some(value) => format!("its {name} is {}", cut(value.to_string(), ECHO_BYTES_MAX)),
        };
        let at = |name: &str| {
            let seconds = claims.get(name).and_then(Value::as_f64)? as i64;
            Some(format!("its {name} is {}, {}", format_timestamp(seconds.saturating_mul(1000))?, now()))
        };
        match error {
            TokenError::Expired => at("exp").or_else(|| Some(says("exp"))),
            TokenError::NotYetValid => at("nbf").or_else(|| Some(says("nbf"))),
            TokenError::Audience => Some(format!("{}, and has to be {:?}", says("aud"), self.audience)),
            TokenError::Issuer => Some(format!("{}, and has to be {:?}", says("iss"), self.issuer)),
            TokenError::Claims => {
                let is_good = |name: &&str| claims.get(*name).is_some_and(|value| is_claim(name, value));
                ["exp", "aud", "iss", "sub"].iter().find(|name| !is_good(name)).map(|name| says(name))
            }
            TokenError::TooLong { .. }
            | TokenError::Malformed
            | TokenError::Algorithm
            | TokenError::UnknownKey
            | TokenError::Signature => None,
        }
    }

    /// The key of a token that names none: there has to be just one.
    fn only_key(&self) -> Result<&Key, TokenError> {
        let mut all = self.jwks.named.values().chain(&self.jwks.nameless);
        match (all.next(), all.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(TokenError::UnknownKey),
        }
    }
}

/// Whether a claim is of its form.
fn is_claim(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("exp", value) => value.is_number(),
        ("aud", Value::Array(all)) => all.iter().all(Value::is_string),
        ("sub", value) => value.as_str().is_some_and(is_name),
        (_, value) => value.is_string(),
    }
}

/// For people whose clock is not ours.
fn now() -> String {
    let now = i64::try_from(now_ms()).ok().and_then(format_timestamp).unwrap_or_default();
    format!("and it is {now} here, give or take {LEEWAY_S} s")
}

fn error_of(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm | ErrorKind::InvalidAlgorithmName => {
            TokenError::Algorithm
        }
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::InvalidSubject => {
            TokenError::Claims
        }
        // The header's `alg` is one of those that jsonwebtoken does not know, such as `none`, or the text is no JSON.
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
pub(crate) mod tests;
