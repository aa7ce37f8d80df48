use std::{net::IpAddr, path::Path};

use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::auth::token::tests::{Signer, claims};
use crate::caller::{Connection, Port};

fn caller() -> Caller {
    let connection = Connection { number: 1, address: IpAddr::from([10, 0, 0, 1]), port: Port::ALL, proved: None };
    Caller { client: ClientId::Address(connection.address), connection }
}

fn bearing(credential: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {credential}").parse().unwrap());
    headers
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("dovetail-auth-{name}-{}", std::process::id()));
        _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let new = self.0.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

const POLICY: &str = "[[grant]]\nwho = [\"ada\"]\nroles = [\"producer\", \"owner-only\"]\npools = [\"team-a.*\"]\n";
const SUBMIT: &str = "/dovetail.v1.MatchService/SubmitOne";
const DEFINE: &str = "/dovetail.v1.MatchService/DefinePool";

fn settings(folder: &Folder, signer: &Signer) -> AuthSettings {
    AuthSettings {
        policy: Some(folder.write("policy.toml", POLICY)),
        jwks: Some(folder.write("jwks.json", &Signer::jwks(&[signer]))),
        issuer: "issuer".to_owned(),
        audience: "dovetail".to_owned(),
        ..AuthSettings::default()
    }
}

fn why(fault: Fault) -> (Code, String, String) {
    let status = tonic::Status::from(fault);
    let info = status.get_details_error_info().unwrap();
    let why = info.metadata.get("why").or(info.metadata.get("verb")).cloned().unwrap_or_default();
    (status.code(), info.reason, why)
}

async fn reaches(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not come");
}

#[tokio::test]
async fn without_a_policy_nobody_is_asked() {
    let auth = Auth::default();
    let mut caller = caller();
    let access = auth.admit(&HeaderMap::new(), Some(&mut caller), DEFINE).unwrap().access;
    assert!(access.may(Verb::Drop, "any").is_ok() && access.owner().is_empty() && !access.is_asked());
    assert!(matches!(caller.client, ClientId::Address(_)));
}

#[tokio::test]
async fn a_call_is_let_in_for_what_the_policy_grants_whoever_makes_it() {
    let (folder, signer) = (Folder::new("policy"), Signer::ed25519("one"));
    let auth = Auth::open(&settings(&folder, &signer), &Troubles::default(), &Shutdown::new()).unwrap();
    let admit =
        |headers: &HeaderMap, path: &str| auth.admit(headers, Some(&mut caller()), path).map(|found| found.access);
    let token = bearing(&signer.sign(&claims()));
    let access = admit(&token, SUBMIT).unwrap();
    assert_eq!(access.owner(), "token:ada");
    assert!(access.may(Verb::Submit, "team-a.x").is_ok() && access.sees("team-a.x") && !access.sees("team-b"));
    let refused = access.may(Verb::Submit, "team-b").unwrap_err();
    assert_eq!(refused.message(), "token:ada may not submit in pool \"team-b\": the policy does not grant it");
    assert!(access.may_of(Verb::Withdraw, "team-a.x", "token:ada").is_ok());
    assert!(
        access.may_of(Verb::Withdraw, "team-a.x", "key:ada").is_err()
            && access.may_of(Verb::Read, "team-a.x", "").is_err()
    );
    assert!(access.may(Verb::Withdraw, "team-a.x").is_err() && access.may_everywhere(Verb::Watch).is_err());
    let secret = access.may_of(Verb::Read, "team-b", "token:bob").unwrap_err();
    assert!(!secret.message().contains("team-b"), "the pool of an element is not told to who may not see it");
    let refused = |headers: &HeaderMap, path: &str| why(admit(headers, path).unwrap_err());
    let denied = |verb: &str| (Code::PermissionDenied, "NOT_PERMITTED".to_owned(), verb.to_owned());
    assert_eq!(refused(&token, DEFINE), denied("define"));
    assert_eq!(refused(&token, "/dovetail.v1.InspectService/Inspect"), denied("inspect"));
    assert_eq!(refused(&token, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), denied("inspect"));
    assert_eq!(refused(&token, "/dovetail.v1.MatchService/NoSuch"), denied("other"));
    assert_eq!(
        refused(&HeaderMap::new(), SUBMIT),
        (Code::Unauthenticated, "CREDENTIALS_MISSING".to_owned(), String::new())
    );
    assert!(admit(&HeaderMap::new(), "/grpc.health.v1.Health/Check").is_ok(), "health is open");
}

#[tokio::test]
async fn a_credential_that_is_none_says_why_and_is_not_shown() {
    let (folder, signer) = (Folder::new("refused"), Signer::ed25519("one"));
    let auth = Auth::open(&settings(&folder, &signer), &Troubles::default(), &Shutdown::new()).unwrap();
    let refused = |headers: &HeaderMap| {
        let fault = auth.admit(headers, Some(&mut caller()), SUBMIT).unwrap_err();
        for value in headers.values().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(' ')) {
            assert!(value.len() < 8 || !fault.message().contains(value), "{}", fault.message());
        }
        let (code, reason, why) = why(fault);
        assert_eq!((code, reason.as_str()), (Code::Unauthenticated, "CREDENTIALS_REFUSED"));
        why
    };
    let expired = signer.sign(&serde_json::json!({"sub": "ada", "iss": "issuer", "aud": "dovetail", "exp": 1}));
    assert_eq!(refused(&bearing(&expired)), "expired");
    assert_eq!(refused(&bearing(&Signer::ed25519("two").sign(&claims()))), "unknown_key");
    assert_eq!(refused(&bearing("dvt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")), "unknown_key");
    assert_eq!(refused(&bearing(&"x".repeat(10_000))), "too_long");
    assert_eq!(refused(&bearing("token-that-is-none")), "malformed");
    let mut basic = HeaderMap::new();
    basic.insert("authorization", "Basic dXNlcjpwYXNz".parse().unwrap());
    assert_eq!(refused(&basic), "malformed");
    let mut twice = bearing(&signer.sign(&claims()));
    twice.append("authorization", "Bearer other-token".parse().unwrap());
    assert_eq!(refused(&twice), "malformed");
}

#[tokio::test]
async fn an_api_key_and_a_certificate_are_somebody_each() {
    let folder = Folder::new("keys");
    let (key, line) = api_keys::generate().unwrap();
    let all = "[[grant]]\nwho = [\"*\"]\nroles = [\"producer\"]\npools = [\"*\"]\n";
    let settings = AuthSettings {
        policy: Some(folder.write("policy.toml", all)),
        api_keys: Some(folder.write("keys.toml", &format!("ada = {line:?}\n"))),
        ..AuthSettings::default()
    };
    let auth = Auth::open(&settings, &Troubles::default(), &Shutdown::new()).unwrap();
    for _ in 0..2 {
        let mut caller = caller();
        let access = auth.admit(&bearing(&key), Some(&mut caller), SUBMIT).unwrap().access;
        assert_eq!((access.owner(), caller.client.to_string().as_str()), ("key:ada", "key:ada"));
    }
    let mut certified = Caller { client: ClientId::Name("ada".into()), ..caller() };
    assert_eq!(auth.admit(&HeaderMap::new(), Some(&mut certified), SUBMIT).unwrap().access.owner(), "cert:ada");
}

#[tokio::test]
async fn files_are_read_again_when_they_change_and_bad_ones_are_not_taken() {
    let (folder, one, two) = (Folder::new("reload"), Signer::ed25519("one"), Signer::ed25519("two"));
    let mut settings = settings(&folder, &one);
    settings.audit = folder.0.join("audit.jsonl").display().to_string();
    let (stop, troubles) = (Shutdown::new(), Troubles::default());
    let auth = Auth::open(&settings, &troubles, &stop).unwrap();
    let troubled = |setting: &str| troubles.pb().iter().any(|trouble| trouble.setting == setting);
    let admit = |signer: &Signer, path: &str| {
        let token = bearing(&signer.sign(&claims()));
        auth.admit(&token, Some(&mut caller()), path).map(|found| found.access)
    };
    let open = admit(&one, SUBMIT).unwrap();
    folder.write("policy.toml", &POLICY.replace("producer", "pool-admin"));
    reaches("the new policy", || admit(&one, DEFINE).is_ok()).await;
    assert!(admit(&one, SUBMIT).is_err() && open.may(Verb::Submit, "team-a.x").is_err(), "an open stream ends, too");
    folder.write("policy.toml", "[[grant]]\nwho = [\"*\"]\nroles = [\"root\"]\n");
    let audited = |what: &str| std::fs::read_to_string(Path::new(&settings.audit)).unwrap().contains(what);
    reaches("the refusal of the bad policy", || audited("there is no role")).await;
    assert!(admit(&one, DEFINE).is_ok(), "what was read before stays");
    assert!(troubled("auth.policy") && !troubled("auth.jwks"), "{:?}", troubles.pb());
    folder.write("policy.toml", &POLICY.replace("producer", "pool-admin"));
    reaches("a policy that is good", || !troubled("auth.policy")).await;
    folder.write("jwks.json", &Signer::jwks(&[&two]));
    reaches("the new key", || admit(&two, DEFINE).is_ok()).await;
    assert!(admit(&one, DEFINE).is_err(), "what was believed by the old key is not by the new one");
    std::fs::remove_file(folder.0.join("jwks.json")).unwrap();
    reaches("the missing file", || audited("No such file") && troubled("auth.jwks")).await;
    assert!(audited("\"setting\":\"auth.jwks\"") && audited("\"method\":\"dovetail.v1.MatchService/"));
    assert!(admit(&two, DEFINE).is_ok());
    reaches("what was seen", || audited("\"connected\"") && audited("\"refused\"")).await;
    let audit = std::fs::read_to_string(&settings.audit).unwrap();
    assert!(!audit.contains(&two.sign(&claims())[..20]) && audit.contains("\"identity\":\"token:ada\""), "{audit}");
    stop.give();
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_an_error_at_the_start() {
    let (folder, signer) = (Folder::new("start"), Signer::ed25519("one"));
    let good = settings(&folder, &signer);
    let said =
        |settings: &AuthSettings| Auth::open(settings, &Troubles::default(), &Shutdown::new()).unwrap_err().to_string();
    let missing = AuthSettings { policy: Some(folder.0.join("none.toml")), ..good.clone() };
    assert!(said(&missing).starts_with("cannot read auth.policy"));
    let bad = AuthSettings { jwks: Some(folder.write("bad.json", "{}")), ..good.clone() };
    assert!(said(&bad).starts_with("auth.jwks") && said(&bad).contains("no JSON Web Key Set"));
    let nowhere = AuthSettings { audit: folder.0.join("no/such/folder").display().to_string(), ..good };
    assert!(said(&nowhere).starts_with("cannot open the audit log"));
}

#[tokio::test]
async fn a_client_above_its_rates_is_refused_with_when_to_come_back() {
    let rates = Rates { calls_per_s: 2, streams: 1, elements_per_s: 1000, ..Rates::default() };
    let auth =
        Auth::open(&AuthSettings { rates, ..AuthSettings::default() }, &Troubles::default(), &Shutdown::new()).unwrap();
    let watch = "/dovetail.v1.MatchService/WatchMatches";
    let stream = auth.admit(&HeaderMap::new(), Some(&mut caller()), watch).unwrap();
    let second = auth.admit(&HeaderMap::new(), Some(&mut caller()), watch).unwrap_err();
    assert_eq!(why(second).1, "RATE_LIMITED");
    let fast = tonic::Status::from(auth.admit(&HeaderMap::new(), Some(&mut caller()), SUBMIT).unwrap_err());
    assert_eq!(fast.code(), Code::ResourceExhausted);
    let retry = fast.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(retry > Duration::ZERO && retry <= Duration::from_secs(1), "{retry:?}");
    let elements = |elements| Take { elements, ..Take::default() };
    assert!(stream.access.pace(elements(1000), PATIENCE).await.is_ok());
    assert!(stream.access.pace(elements(20), PATIENCE).await.is_ok(), "later, within its patience");
    assert!(stream.access.pace(elements(3000), PATIENCE).await.is_ok(), "more than a second's worth at once is a debt");
    assert!(stream.access.pace(elements(1), PATIENCE).await.is_err());
    // Another client has its own.
    let mut other = Caller { client: ClientId::Address(IpAddr::from([10, 0, 0, 2])), ..caller() };
    assert!(auth.admit(&HeaderMap::new(), Some(&mut other), watch).is_ok());
    // Calls between nodes and health are not counted.
    for path in ["/dovetail.node.v1.FeedService/Feed", "/grpc.health.v1.Health/Check"].repeat(10) {
        assert!(auth.admit(&HeaderMap::new(), Some(&mut caller()), path).is_ok());
    }
}
