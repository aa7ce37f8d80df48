//! Who may do what: credentials, the policy, rates, and the record of it.
//!
//! The edge of a node asks [`Auth::admit`] of every call before anything of its message is read; services ask the
//! [`Access`] that they find beside the request once they know the pool and the element. What an element's owner is
//! follows from here, and is written into the log with the element; it never changes what is matched.
//!
//! Without a policy everything is as open as the network. With one, what it does not grant is refused, and calls that
//! do not say who makes them are UNAUTHENTICATED. All files are read again when they change; a bad new one is refused
//! in the log, and the old one stays. Invariants: auth.U1 nothing a client sends is believed before it is verified, nor
//! read beyond [`token::TOKEN_BYTES_MAX`]; auth.U2 what is remembered of clients is bounded; auth.U3 a credential that
//! was believed is verified again when it expires, or keys change.

mod access;
pub mod api_keys;
pub mod audit;
mod files;
mod identity;
mod pace;
mod pattern;
pub mod policy;
mod rate;
pub mod table;
pub mod token;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use thiserror::Error;
use tonic::codegen::http::HeaderMap;

pub use access::{Access, PATIENCE};
pub use identity::{Identity, ProofKind, is_name};
pub use pace::OpenStream;
pub use rate::{Rates, Take};
pub use table::{PolicyRole, Scope, Verb};

use crate::{
    caller::{Caller, ClientId},
    fault::Fault,
    shutdown::Shutdown,
    time,
    troubles::Troubles,
};
use access::not_permitted;
use api_keys::{ApiKeys, Hash, KEYS_BYTES_MAX};
use audit::{Audit, AuditEvent, AuditLine};
use dovetail::{pb::TroubleKind, reason::Reason};
use files::Watched;
use pace::{ClientPace, Paces};
use policy::{Grants, POLICY_BYTES_MAX, Policy};
use rate::TooFast;
use token::{JWKS_BYTES_MAX, TOKEN_BYTES_MAX, TokenError, Verifier};

/// Who may do what at a node, and how fast. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthSettings {
    /// Who has which role in which pools. With it, what it does not grant is refused; without it, every client may do
    /// everything.
    pub policy: Option<PathBuf>,
    /// API keys by name, hashed.
    pub api_keys: Option<PathBuf>,
    /// Public keys that verify tokens.
    pub jwks: Option<PathBuf>,
    /// The `iss` of tokens.
    pub issuer: String,
    /// One of the `aud` of tokens.
    pub audience: String,
    /// Where the audit log goes: a file, `-` for stderr, or nothing.
    pub audit: String,
    /// The rates of a client of which the policy says nothing else.
    pub rates: Rates,
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Credentials that were believed and are remembered; then those that expired go, or all.
const BELIEVED: usize = 4096;
/// Connections whose caller the audit log has; above it all are forgotten, and are logged anew.
const SEEN: usize = 8192;

/// Why policy, keys or the audit log cannot be used.
#[derive(Debug, Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("cannot read {setting}, {path}: {source}")]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file says nothing that can be used.
    #[error("{setting}, {path}: {reason}")]
    Content {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The audit log cannot be opened.
    #[error("cannot open the audit log {path}: {source}")]
    Audit {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Who may do what, at a node. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Auth(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether there is a policy, so that every caller has to prove a name.
    on: bool,
    policy: ArcSwap<Policy>,
    keys: ArcSwap<ApiKeys>,
    verifier: ArcSwapOption<Verifier>,
    believed: Mutex<HashMap<Hash, (Identity, u64)>>,
    /// Counts how often keys were read.
    generation: AtomicU64,
    seen: Mutex<HashSet<(u64, ClientId)>>,
    rates: Rates,
    paces: Paces,
    audit: Audit,
}

/// A call that was let in.
#[derive(Debug, Default)]
pub struct Let {
    /// What it may do.
    pub access: Access,
    /// Counts it, if it is a stream.
    pub stream: Option<OpenStream>,
}

impl Default for Auth {
    /// Every caller may do everything.
    fn default() -> Auth {
        Auth::new(false, Rates::default(), Audit::default())
    }
}

impl Auth {
    fn new(on: bool, rates: Rates, audit: Audit) -> Auth {
        Auth(Arc::new(Shared {
            on,
            policy: ArcSwap::default(),
            keys: ArcSwap::default(),
            verifier: ArcSwapOption::empty(),
            believed: Mutex::default(),
            generation: AtomicU64::new(0),
            seen: Mutex::default(),
            rates,
            paces: Paces::new(),
            audit,
        }))
    }

    /// Reads all files, and reads them again when they change, until the signal.
    ///
    /// # Errors
    /// When one of them cannot be read or used.
    pub fn open(settings: &AuthSettings, troubles: &Troubles, stop: &Shutdown) -> Result<Auth, AuthError> {
        let audit = match settings.audit.as_str() {
            "" => Audit::default(),
            path => Audit::open(path).map_err(|source| no_audit(path, source))?,
        };
        let auth = Auth::new(settings.policy.is_some(), settings.rates, audit);
        let mut files = Files::new(settings);
        files.each(|file, path, text| {
            let said = auth.take_in(file, settings, text)?;
            tracing::info!(setting = file.setting(), path = %path.display(), "{said} is read");
            Ok(())
        })?;
        if !files.0.is_empty() {
            let (auth, settings, stop) = (auth.clone(), settings.clone(), stop.clone());
            tokio::spawn(auth.follow(files, settings, troubles.clone(), stop));
        }
        Ok(auth)
    }

    /// Whether [`open`](Auth::open) will find files that it can read and use: for a process that does not start with
    /// others.
    ///
    /// # Errors
    /// When one of them cannot be read or used.
    pub fn check(settings: &AuthSettings) -> Result<(), AuthError> {
        if !settings.audit.is_empty() {
            Audit::check(&settings.audit).map_err(|source| no_audit(&settings.audit, source))?;
        }
        let auth = Auth::new(settings.policy.is_some(), settings.rates, Audit::default());
        Files::new(settings).each(|file, _, text| auth.take_in(file, settings, text).map(drop))
    }

    async fn follow(self, mut files: Files, settings: AuthSettings, troubles: Troubles, stop: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.given() => return,
            }
            let (auth, settings, troubles) = (self.clone(), settings.clone(), troubles.clone());
            let looked = tokio::task::spawn_blocking(move || {
                files.look(|file, text| auth.take_in(file, &settings, text), &auth.0.audit, &troubles);
                files
            });
            files = match looked.await {
                Ok(files) => files,
                Err(error) => return tracing::error!(%error, "policy and keys are no longer followed"),
            };
        }
    }

    /// Takes the new content of a file, if it can be used.
    fn take_in(&self, file: Of, settings: &AuthSettings, text: &str) -> Result<String, String> {
        let shared = &self.0;
        let said = match file {
            Of::Policy => {
                shared.policy.store(Arc::new(policy::parse(text).map_err(|error| error.to_string())?));
                return Ok("the policy".to_owned());
            }
            Of::Keys => {
                let keys = api_keys::parse(text).map_err(|error| error.to_string())?;
                let said = format!("{} API keys", keys.len());
                shared.keys.store(Arc::new(keys));
                said
            }
            Of::Jwks => {
                let jwks = token::parse_jwks(text).map_err(|error| error.to_string())?;
                let said = format!("{jwks:?} for tokens, and {} keys that are of no use", jwks.left_out);
                let verifier = Verifier::new(jwks, &settings.issuer, &settings.audience);
                shared.verifier.store(Some(Arc::new(verifier)));
                said
            }
        };
        // What was believed by the old keys is not by the new ones.
        shared.generation.fetch_add(1, Ordering::SeqCst);
        shared.believed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(said)
    }

    fn audit(&self) -> &Audit {
        &self.0.audit
    }

    fn grants(&self, identity: &Identity) -> Arc<Grants> {
        self.0.policy.load().of(identity)
    }

    fn rates(&self, identity: Option<&Identity>) -> Rates {
        identity.map_or(self.0.rates, |identity| self.grants(identity).rates(self.0.rates))
    }

    fn take(
        &self,
        identity: Option<&Identity>,
        pace: &ClientPace,
        take: Take,
        patience: Duration,
    ) -> Result<Duration, TooFast> {
        self.0.paces.take(pace, &self.rates(identity), take, patience)
    }

    /// Lets a call in, or says why not. Finds out who calls; from then on the call is that client's.
    ///
    /// # Errors
    /// UNAUTHENTICATED when the call shows no credential, or one that is not believed; PERMISSION_DENIED when the
    /// caller may do this in no pool; RESOURCE_EXHAUSTED when it calls too often.
    pub fn admit(&self, headers: &HeaderMap, caller: Option<&mut Caller>, path: &str) -> Result<Let, Fault> {
        // Without a connection it is a call from within the process.
        let Some(caller) = caller else { return Ok(Let::default()) };
        let path = path.strip_prefix('/').unwrap_or(path);
        let (service, method) = path.split_once('/').unwrap_or((path, ""));
        let Some(verb) = table::verb(service, method) else { return Ok(Let::default()) };
        let identity =
            self.identify(headers, caller, verb).inspect_err(|fault| self.tell_refused(caller, path, fault))?;
        let rates = self.rates(identity.as_ref());
        if verb == Verb::Node || (identity.is_none() && rates.is_unbounded() && !self.0.audit.is_open()) {
            return Ok(Let::default());
        }
        let pace = (!rates.is_unbounded()).then(|| self.0.paces.of(&caller.client, &rates));
        let access = Access::new(self, caller.clone(), identity, pace, path);
        access.pace_call()?;
        let is_stream = matches!((verb, method), (Verb::Watch, _) | (Verb::Submit, "Submit"));
        let stream = if is_stream { access.open_stream()? } else { None };
        self.tell_connected(caller);
        Ok(Let { access, stream })
    }

    /// The caller, if callers have to prove a name; and whether it may do this in any pool.
    fn identify(&self, headers: &HeaderMap, caller: &mut Caller, verb: Verb) -> Result<Option<Identity>, Fault> {
        if !self.0.on {
            return Ok(None);
        }
        // Between nodes it is certificates that count, which the services of nodes look at themselves.
        if verb == Verb::Node {
            return Ok(None);
        }
        let identity = match bearer(headers)? {
            Some(credential) => self.believe(credential)?,
            None => match &caller.client {
                ClientId::Name(name) => Identity::new(ProofKind::Certificate, name),
                ClientId::Address(_) => return Err(missing()),
            },
        };
        caller.client = ClientId::Name(Arc::clone(identity.full()));
        let grants = self.grants(&identity);
        // These are for operators of the whole cluster, not for those of some pools.
        if matches!(verb, Verb::Inspect | Verb::Operate) && !grants.operates_all() {
            return Err(not_permitted(&identity, verb, None, "it is for operators of all pools"));
        }
        match grants.scope_anywhere(verb) {
            Scope::Nobody => Err(not_permitted(&identity, verb, None, "the policy grants it in no pool")),
            Scope::Own | Scope::Anybody => Ok(Some(identity)),
        }
    }

    /// Whose credential it is.
    fn believe(&self, credential: &str) -> Result<Identity, Fault> {
        let shared = &self.0;
        if credential.len() > TOKEN_BYTES_MAX {
            return Err(refused(TokenError::TooLong { found: credential.len() }));
        }
        let hash = api_keys::hash(credential);
        let now_s = time::now_ms() / 1000;
        let lock = || shared.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((identity, until)) = lock().get(&hash)
            && now_s < *until
        {
            return Ok(identity.clone());
        }
        let generation = shared.generation.load(Ordering::SeqCst);
        let (identity, until) = if credential.starts_with(api_keys::PREFIX) {
            let found = shared.keys.load().find(&hash).cloned();
            (found.ok_or_else(|| refused(TokenError::UnknownKey))?, u64::MAX)
        } else {
            let verifier = shared.verifier.load();
            let verifier = verifier.as_ref().ok_or_else(|| refused(TokenError::UnknownKey))?;
            verifier.verify(credential).map_err(|error| refused(error).saying(verifier.why(credential, error)))?
        };
        let mut believed = lock();
        if shared.generation.load(Ordering::SeqCst) == generation {
            if believed.len() >= BELIEVED {
                believed.retain(|_, (_, until)| now_s < *until);
            }
            if believed.len() >= BELIEVED {
                believed.clear();
            }
            believed.insert(hash, (identity.clone(), until));
        }
        Ok(identity)
    }

    fn tell_refused(&self, caller: &Caller, path: &str, fault: &Fault) {
        let line = || AuditLine::new(AuditEvent::Refused).by(Some(caller)).method(path).reason(fault.message());
        self.0.audit.tell(line);
    }

    fn tell_connected(&self, caller: &Caller) {
        if !self.0.audit.is_open() {
            return;
        }
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN {
            seen.clear();
        }
        if seen.insert((caller.connection.number, caller.client.clone())) {
            self.0.audit.tell(|| AuditLine::new(AuditEvent::Connected).by(Some(caller)));
        }
    }
}

/// The credential that a call comes with.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut all = headers.get_all("authorization").iter();
    let Some(value) = all.next() else { return Ok(None) };
    let malformed = || {
        let text = "the call's `authorization` is not one `Bearer` and a token";
        Fault::new(Reason::CredentialsRefused, text).with("why", "malformed")
    };
    if all.next().is_some() {
        return Err(malformed());
    }
    let (scheme, credential) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") && !credential.trim().is_empty() {
        Ok(Some(credential.trim()))
    } else {
        Err(malformed())
    }
}

fn no_audit(path: &str, source: io::Error) -> AuthError {
    AuthError::Audit { path: path.to_owned(), source }
}

fn missing() -> Fault {
    let text = "the call does not say who makes it: send `authorization: Bearer TOKEN`, or a client certificate";
    Fault::new(Reason::CredentialsMissing, text)
}

fn refused(error: TokenError) -> Fault {
    Fault::new(Reason::CredentialsRefused, error.to_string()).with("why", error.why())
}

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Policy,
    Keys,
    Jwks,
}

impl Of {
    fn setting(self) -> &'static str {
        match self {
            Of::Policy => "auth.policy",
            Of::Keys => "auth.api_keys",
            Of::Jwks => "auth.jwks",
        }
    }
}

/// The files that are followed.
#[derive(Debug)]
struct Files(Vec<(Of, Watched)>);

impl Files {
    fn new(settings: &AuthSettings) -> Files {
        let all = [
            (Of::Policy, &settings.policy, POLICY_BYTES_MAX),
            (Of::Keys, &settings.api_keys, KEYS_BYTES_MAX),
            (Of::Jwks, &settings.jwks, JWKS_BYTES_MAX),
        ];
        let named = all.into_iter().filter_map(|(of, path, most)| Some((of, Watched::new(path.as_ref()?, most))));
        Files(named.collect())
    }

    /// Reads all of them for the first time.
    fn each(&mut self, mut take: impl FnMut(Of, &Path, &str) -> Result<(), String>) -> Result<(), AuthError> {
        for (of, watched) in &mut self.0 {
            let (setting, path) = (of.setting(), watched.path().to_owned());
            let read = watched.changed().map_err(|source| AuthError::Read { setting, path: path.clone(), source })?;
            let taken = read.map_or(Ok(()), |text| take(*of, &path, &text));
            taken.map_err(|reason| AuthError::Content { setting, path: path.clone(), reason })?;
        }
        Ok(())
    }

    /// Reads those that changed.
    fn look(&mut self, mut take: impl FnMut(Of, &str) -> Result<String, String>, audit: &Audit, troubles: &Troubles) {
        for (of, watched) in &mut self.0 {
            let taken = match watched.changed() {
                Ok(None) => continue,
                Ok(Some(text)) => take(*of, &text),
                Err(error) => Err(error.to_string()),
            };
            let (setting, path) = (of.setting(), watched.path().display().to_string());
            let trouble = taken
                .as_ref()
                .err()
                .map(|reason| format!("{path} is not taken, and what was read before stays: {reason}"));
            troubles.set(TroubleKind::FileRefused, setting, trouble);
            match taken {
                Ok(said) => {
                    watched.is_news("");
                    tracing::info!(setting, path, "{said} is read anew");
                    audit.tell(|| AuditLine::new(AuditEvent::Reloaded).setting(setting));
                }
                Err(reason) if watched.is_news(&reason) => {
                    tracing::error!(setting, path, reason, "the new file is refused, and what was read before stays");
                    audit.tell(|| AuditLine::new(AuditEvent::Reloaded).setting(setting).reason(&reason));
                }
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
