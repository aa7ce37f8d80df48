//! What one call may do: asked by services as soon as they know which pool, and whose element, it is about.
//!
//! A call that came from within the process, or at a node without a policy, may do everything. The policy is asked as
//! it is now, at each question: what it no longer grants ends with the next message of a stream.

use std::{sync::Arc, time::Duration};

use tonic::codegen::http::Extensions;

use super::{
    Auth,
    audit::{AuditEvent, AuditLine},
    identity::Identity,
    pace::{ClientPace, OpenStream},
    rate::{Take, TooFast},
    table::{Scope, Verb},
};
use crate::{caller::Caller, fault::Fault};
use dovetail::reason::Reason;

/// Longest time that a stream of submissions is read later because its client is too fast. Beyond it is refused.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What a call may do.
#[derive(Clone, Debug, Default)]
pub struct Access(Option<Arc<Call>>);

#[derive(Debug)]
struct Call {
    auth: Auth,
    caller: Caller,
    /// None where there is no policy.
    identity: Option<Identity>,
    pace: Option<Arc<ClientPace>>,
    method: Box<str>,
}

impl Access {
    pub(super) fn new(
        auth: &Auth,
        caller: Caller,
        identity: Option<Identity>,
        pace: Option<Arc<ClientPace>>,
        method: &str,
    ) -> Access {
        Access(Some(Arc::new(Call { auth: auth.clone(), caller, identity, pace, method: method.into() })))
    }

    /// That of a request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Access {
        extensions.get::<Access>().cloned().unwrap_or_default()
    }

    /// The caller whose permission is asked for, if callers are authenticated.
    fn asked(&self) -> Option<(&Call, &Identity)> {
        let call = self.0.as_deref()?;
        Some((call, call.identity.as_ref()?))
    }

    /// Whether there is anything to ask: it is cheaper not to look up an owner that is not needed.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked().is_some()
    }

    /// The owner of what this call submits; empty where there is no policy.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.asked().map_or("", |(_, identity)| identity.full())
    }

    /// Of whose elements it may do this in a pool.
    ///
    /// # Errors
    /// When it grants this in no pool.
    pub fn scope(&self, verb: Verb, pool: &str) -> Result<Scope, Fault> {
        let Some((call, identity)) = self.asked() else { return Ok(Scope::Anybody) };
        match call.auth.grants(identity).scope(verb, pool) {
            Scope::Nobody => Err(self.refused(verb, Some(pool), "the policy does not grant it")),
            scope @ (Scope::Own | Scope::Anybody) => Ok(scope),
        }
    }

    /// Whether it may do this to all elements of a pool, or to the pool.
    ///
    /// # Errors
    /// When it may not.
    pub fn may(&self, verb: Verb, pool: &str) -> Result<(), Fault> {
        match self.scope(verb, pool)? {
            Scope::Anybody => Ok(()),
            Scope::Own | Scope::Nobody => {
                Err(self.refused(verb, Some(pool), "it is granted for its own elements alone"))
            }
        }
    }

    /// Whether it may do this to an element with this owner in a pool. The scope, if it may.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_of(&self, verb: Verb, pool: &str, owner: &str) -> Result<Scope, Fault> {
        let Some((call, identity)) = self.asked() else { return Ok(Scope::Anybody) };
        let grants = call.auth.grants(identity);
        let own = owner == &**identity.full();
        match grants.scope(verb, pool) {
            Scope::Own if own => Ok(Scope::Own),
            Scope::Anybody => Ok(Scope::Anybody),
            Scope::Own => Err(self.refused(verb, Some(pool), "the element is not its own")),
            // Not every caller may know which pool an element is in.
            Scope::Nobody => {
                let pool = (grants.scope(Verb::See, pool) > Scope::Nobody).then_some(pool);
                Err(self.refused(verb, pool, "the policy does not grant it"))
            }
        }
    }

    /// Whether it may do this in all pools at once.
    ///
    /// # Errors
    /// When it is no operator of all.
    pub fn may_everywhere(&self, verb: Verb) -> Result<(), Fault> {
        let Some((call, identity)) = self.asked() else { return Ok(()) };
        if call.auth.grants(identity).operates_all() {
            Ok(())
        } else {
            Err(self.refused(verb, None, "all pools at once are for operators of all pools; name one"))
        }
    }

    /// Whether it may know of a pool.
    #[must_use]
    pub fn sees(&self, pool: &str) -> bool {
        self.asked().is_none_or(|(call, identity)| call.auth.grants(identity).scope(Verb::See, pool) > Scope::Nobody)
    }

    fn refused(&self, verb: Verb, pool: Option<&str>, why: &str) -> Fault {
        let Some((call, identity)) = self.asked() else {
            return Fault::new(Reason::Internal, "a call was refused for which no permission was checked");
        };
        let fault = not_permitted(identity, verb, pool, why);
        call.auth.audit().tell(|| {
            let line = AuditLine::new(AuditEvent::Refused).by(Some(&call.caller)).method(&call.method).reason(why);
            if let Some(pool) = pool { line.pool(pool) } else { line }
        });
        fault
    }

    /// Takes of the client's rates. Returns once it may go on; waits so long at most.
    ///
    /// # Errors
    /// When it would be longer.
    pub async fn pace(&self, take: Take, patience: Duration) -> Result<(), Fault> {
        let Some(call) = self.0.as_deref() else { return Ok(()) };
        let Some(pace) = &call.pace else { return Ok(()) };
        let wait = call.auth.take(call.identity.as_ref(), pace, take, patience);
        let wait = wait.map_err(|fast| too_fast(&call.caller, fast))?;
        if wait > Duration::ZERO {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// The same of a call that is answered once: it waits for nothing.
    pub(super) fn pace_call(&self) -> Result<(), Fault> {
        let Some(call) = self.0.as_deref() else { return Ok(()) };
        let Some(pace) = &call.pace else { return Ok(()) };
        let take = Take { calls: 1, ..Take::default() };
        let taken = call.auth.take(call.identity.as_ref(), pace, take, Duration::ZERO);
        taken.map(drop).map_err(|fast| too_fast(&call.caller, fast))
    }

    /// Counts a stream.
    pub(super) fn open_stream(&self) -> Result<Option<OpenStream>, Fault> {
        let Some(call) = self.0.as_deref() else { return Ok(None) };
        let Some(pace) = &call.pace else { return Ok(None) };
        let most = call.auth.rates(call.identity.as_ref()).streams;
        pace.open(most).map(Some).ok_or_else(|| {
            let text = format!("{} has {most} streams open, which is its most", call.caller.client);
            let fault = Fault::new(Reason::RateLimited, text).with("limit", "streams").with("bound", most);
            fault.with("client", &call.caller.client).after(PATIENCE)
        })
    }

    /// Writes a line of the audit log, about this call.
    pub fn tell(&self, what: AuditEvent, line: impl FnOnce(AuditLine) -> AuditLine) {
        if let Some(call) = self.0.as_deref() {
            call.auth.audit().tell(|| line(AuditLine::new(what).by(Some(&call.caller)).method(&call.method)));
        }
    }
}

/// A refusal: this caller may not do that.
pub(super) fn not_permitted(identity: &Identity, verb: Verb, pool: Option<&str>, why: &str) -> Fault {
    let text = match pool {
        Some(pool) => format!("{identity} may not {verb} in pool {pool:?}: {why}"),
        None => format!("{identity} may not {verb}: {why}"),
    };
    let fault = Fault::new(Reason::NotPermitted, text).with("identity", identity).with("verb", verb);
    if let Some(pool) = pool { fault.with("pool", pool) } else { fault }
}

fn too_fast(caller: &Caller, fast: TooFast) -> Fault {
    let TooFast { limit, bound, wait } = fast;
    let ms = wait.as_millis() + 1;
    let text = format!("{} has used up its {limit} of {bound}; there is room again in {ms} ms", caller.client);
    let fault = Fault::new(Reason::RateLimited, text).with("limit", limit).with("bound", bound);
    fault.with("client", &caller.client).after(wait)
}
