use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;

use super::*;

/// A key that signs, and what a file of keys has of it.
pub(crate) struct Signer {
    algorithm: Algorithm,
    kid: String,
    key: EncodingKey,
    jwk: Value,
}

impl Signer {
    pub(crate) fn ed25519(kid: &str) -> Signer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig"});
        Signer { algorithm: Algorithm::EdDSA, kid: kid.to_owned(), key: EncodingKey::from_ed_der(pkcs8.as_ref()), jwk }
    }

    fn p256(kid: &str) -> Signer {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid});
        Signer { algorithm: Algorithm::ES256, kid: kid.to_owned(), key: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk }
    }

    pub(crate) fn jwks(all: &[&Signer]) -> String {
        json!({"keys": all.iter().map(|signer| signer.jwk.clone()).collect::<Vec<_>>()}).to_string()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

pub(crate) fn claims() -> Value {
    json!({"sub": "ada", "iss": "issuer", "aud": "dovetail", "exp": get_current_timestamp() + 600})
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn verifier(signers: &[&Signer]) -> Verifier {
    Verifier::new(parse_jwks(&Signer::jwks(signers)).unwrap(), "issuer", "dovetail")
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn a_token_of_each_algorithm_is_believed() {
    for signer in [Signer::ed25519("one"), Signer::p256("one")] {
        let other = Signer::ed25519("other");
        let (identity, until) = verifier(&[&other, &signer]).verify(&signer.sign(&claims())).unwrap();
        assert_eq!(identity.to_string(), "token:ada");
        assert!(until > get_current_timestamp() + 590 && until < get_current_timestamp() + 650);
        let several = with("aud", json!(["other", "dovetail"]));
        assert!(verifier(&[&signer]).verify(&signer.sign(&several)).is_ok());
    }
}

#[test]
fn a_token_signed_with_rsa_is_believed() {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
    let jwks = json!({"keys": [{"kty": "RSA", "n": n, "e": e, "alg": "RS256"}]}).to_string();
    let verifier = Verifier::new(parse_jwks(&jwks).unwrap(), "issuer", "dovetail");
    let message = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims()));
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign_rsa(&pair, &message)));
    assert_eq!(verifier.verify(&token).unwrap().0.name(), "ada");
    let forged = message.replace(&part(&claims()), &part(&with("sub", "root")));
    let forged = format!("{forged}.{}", token.rsplit('.').next().unwrap());
    assert_eq!(verifier.verify(&forged), Err(TokenError::Signature));
}

fn sign_rsa(pair: &RsaKeyPair, message: &str) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    signature
}

#[test]
fn a_token_of_another_time_issuer_or_audience_is_not_believed() {
    let signer = Signer::ed25519("one");
    let verifier = verifier(&[&signer]);
    let now = get_current_timestamp();
    for (claims, error) in [
        (with("exp", now - LEEWAY_S - 5), TokenError::Expired),
        (with("exp", 0), TokenError::Expired),
        (with("nbf", now + LEEWAY_S + 60), TokenError::NotYetValid),
        (with("aud", "another"), TokenError::Audience),
        (with("aud", json!(["another"])), TokenError::Audience),
        (with("iss", "another"), TokenError::Issuer),
        (without("exp"), TokenError::Claims),
        (without("aud"), TokenError::Claims),
        (without("iss"), TokenError::Claims),
        (with("exp", "soon"), TokenError::Claims),
        (without("sub"), TokenError::Claims),
        (with("sub", 7), TokenError::Claims),
        (with("sub", ""), TokenError::Claims),
        (with("sub", "a\nb"), TokenError::Claims),
        (with("sub", "x".repeat(257)), TokenError::Claims),
    ] {
        assert_eq!(verifier.verify(&signer.sign(&claims)).map(drop), Err(error), "{claims}");
    }
    // Clocks differ a little.
    assert!(verifier.verify(&signer.sign(&with("exp", now - 2))).is_ok());
    assert!(verifier.verify(&signer.sign(&with("nbf", now + 2))).is_ok());
}

#[test]
fn a_token_of_another_key_is_not_believed() {
    let (one, other, same_name) = (Signer::ed25519("one"), Signer::ed25519("other"), Signer::ed25519("one"));
    assert_eq!(verifier(&[&one]).verify(&other.sign(&claims())), Err(TokenError::UnknownKey));
    assert_eq!(verifier(&[&one]).verify(&same_name.sign(&claims())), Err(TokenError::Signature));
    let nameless = encode(&Header::new(Algorithm::EdDSA), &claims(), &one.key).unwrap();
    assert!(verifier(&[&one]).verify(&nameless).is_ok(), "there is just one key");
    assert_eq!(verifier(&[&one, &other]).verify(&nameless), Err(TokenError::UnknownKey));
}

#[test]
fn a_token_that_chooses_how_it_is_verified_is_not_believed() {
    let (signer, p256) = (Signer::ed25519("one"), Signer::p256("one"));
    let verifier = verifier(&[&signer]);
    let signature = signer.sign(&claims());
    let signature = signature.rsplit('.').next().unwrap();
    for alg in ["none", "None", "NONE", ""] {
        for signature in ["", signature] {
            let token = format!("{}.{}.{signature}", part(&json!({"alg": alg, "kid": "one"})), part(&claims()));
            assert!(verifier.verify(&token).is_err(), "{alg}");
        }
    }
    // HMAC with what everybody knows: the public key, in each form that a verifier may have it in.
    let x = signer.jwk["x"].as_str().unwrap();
    for secret in [x.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(x).unwrap(), signer.jwk.to_string().into_bytes()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some("one".to_owned()), ..Header::new(algorithm) };
            let token = encode(&header, &claims(), &EncodingKey::from_secret(&secret).unwrap()).unwrap();
            assert_eq!(verifier.verify(&token), Err(TokenError::Algorithm), "{algorithm:?}");
        }
    }
    assert_eq!(verifier.verify(&p256.sign(&claims())), Err(TokenError::Algorithm), "the key is Ed25519");
    // A key of its own in the header.
    let own = Signer::ed25519("own");
    let header = json!({"alg": "EdDSA", "kid": "one", "jwk": own.jwk});
    let token = own.sign(&claims());
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let token = format!("{}.{}.{signature}", part(&header), rest.split_once('.').unwrap().1);
    assert_eq!(verifier.verify(&token), Err(TokenError::Signature));
}

#[test]
fn what_is_no_token_is_not_read_far() {
    let signer = Signer::ed25519("one");
    let verifier = verifier(&[&signer]);
    let long = signer.sign(&with("more", "x".repeat(TOKEN_BYTES_MAX)));
    assert_eq!(verifier.verify(&long), Err(TokenError::TooLong { found: long.len() }));
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(5000));
    for text in ["", ".", "..", "...", "a.b.c", "é.é.é", &format!("{deep}.{deep}."), "eyJhbGciOiJFZERTQSJ9.e30."] {
        assert!(verifier.verify(text).is_err(), "{text}");
    }
    let token = signer.sign(&claims());
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = verifier.verify(std::str::from_utf8(&bytes).unwrap());
        // The last character has bits that say nothing.
        assert!(changed.is_err() || at == token.len() - 1, "byte {at}");
    }
}

#[test]
fn a_file_without_a_key_of_use_is_refused() {
    let signer = Signer::ed25519("one");
    let said = |text: &str| parse_jwks(text).unwrap_err().to_string();
    assert!(said("{").contains("no JSON Web Key Set"));
    assert!(said("{\"keys\": []}").contains("none of its 0 keys"));
    let secret = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string();
    assert_eq!(parse_jwks(&secret).unwrap_err(), JwksError::Secret { number: 1 });
    let mut private = signer.jwk.clone();
    private["d"] = "c2VjcmV0".into();
    assert_eq!(parse_jwks(&json!({"keys": [private]}).to_string()).unwrap_err(), JwksError::Secret { number: 1 });
    assert_eq!(parse_jwks(&Signer::jwks(&[&signer, &signer])).unwrap_err(), JwksError::Twice("one".to_owned()));
    let mut for_encryption = signer.jwk.clone();
    for_encryption["use"] = "enc".into();
    assert!(said(&json!({"keys": [for_encryption]}).to_string()).contains("none of its 1 keys"));
    let small = json!({"keys": [{"kty": "RSA", "n": "AQAB".repeat(30), "e": "AQAB"}]}).to_string();
    assert!(said(&small).contains("none of its 1 keys"));
    assert!(matches!(parse_jwks(&" ".repeat(2 << 20)).unwrap_err(), JwksError::Bytes { .. }));
    // Keys of other kinds beside one of use are passed over.
    let mixed = json!({"keys": [{"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "new"}, signer.jwk]}).to_string();
    assert_eq!(parse_jwks(&mixed).unwrap().left_out, 2);
}

#[test]
fn a_key_that_is_cut_is_refused_with_what_is_wrong_with_it() {
    for (key, said) in [
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}), "key 1: x has 3 bytes, and not 32"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "A+/="}), "key 1: x is not written in base64url"),
        (
            json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode([1; 32]), "y": ""}),
            "key 1: y has 0 bytes, and not 32",
        ),
    ] {
        let error = parse_jwks(&json!({"keys": [key]}).to_string()).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn whoever_shows_a_token_is_told_which_claim_is_not_as_it_should_be() {
    let signer = Signer::ed25519("one");
    let verifier = verifier(&[&signer]);
    for (claims, said) in [
        (with("exp", 1_000_000_000), "the token has expired: its exp is 2001-09-09T01:46:40"),
        (with("nbf", 4_000_000_000_u64), "the token is not valid yet: its nbf is 2096-10-02T07:06:40"),
        (with("aud", json!(["a", "b"])), "its aud is [\"a\",\"b\"], and has to be \"dovetail\""),
        (with("iss", "you"), "the token is from another issuer: its iss is \"you\", and has to be \"issuer\""),
        (without("aud"), ": it has no aud"),
        (without("exp"), ": it has no exp"),
        (with("sub", 7), ": its sub is 7"),
        (with("exp", "soon"), ": its exp is \"soon\""),
    ] {
        let token = signer.sign(&claims);
        let error = verifier.verify(&token).unwrap_err();
        let text = verifier.why(&token, error);
        assert!(text.contains(said), "{claims}: {text}");
        assert!(text.starts_with(&error.to_string()));
    }
    let long = signer.sign(&with("aud", "x".repeat(3_000)));
    assert!(verifier.why(&long, TokenError::Audience).len() < 500);
    let other = Signer::ed25519("one").sign(&with("aud", "secret"));
    let error = verifier.verify(&other).unwrap_err();
    assert_eq!(verifier.why(&other, error), "the token's signature is not that of its key", "nothing else is believed");
    assert_eq!(verifier.why("a.b", TokenError::Malformed), TokenError::Malformed.to_string());
}
