//! The policy: who has which role in which pools, and at which rates.
//!
//! A plain function of a text. What a policy does not grant is refused; a policy that is not understood is none.
//! Invariant: policy.P1 a policy is bounded: so many bytes, grants and patterns; what is derived from it for identities
//! is bounded too.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::{
    identity::{Identity, NAME_BYTES_MAX, ProofKind},
    pattern::{IdentityPattern, Pattern},
    rate::Rates,
    table::{PolicyRole, Scope, Verb},
};

/// Largest policy, in bytes. A larger one is refused.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// Most grants, and most rates. More are refused.
const GRANTS_MAX: usize = 10_000;
/// Identities whose grants are remembered; then all are worked out again.
const REMEMBERED: usize = 4096;

/// Why a policy is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// Too long.
    #[error("it has {found} bytes, at most {POLICY_BYTES_MAX}")]
    Bytes {
        /// Its bytes.
        found: usize,
    },
    /// Not TOML, or not of this form.
    #[error("{0}")]
    Form(String),
    /// Too many of something.
    #[error("it has {found} [[{what}]] tables, at most {GRANTS_MAX}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// A grant that means nothing, or not what was meant.
    #[error("grant {number}, line {line}: {reason}")]
    Grant {
        /// Which one, from 1.
        number: usize,
        /// The line of its `[[grant]]`.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The same of a rate.
    #[error("rate {number}, line {line}: {reason}")]
    Rate {
        /// Which one, from 1.
        number: usize,
        /// The line of its `[[rate]]`.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    grant: Vec<Spanned<GrantEntry>>,
    #[serde(default)]
    rate: Vec<Spanned<RateEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantEntry {
    who: Vec<String>,
    roles: Vec<String>,
    #[serde(default)]
    pools: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateEntry {
    who: Vec<String>,
    elements_per_s: Option<u64>,
    calls_per_s: Option<u64>,
    bytes_per_s: Option<u64>,
    streams: Option<u64>,
}

/// Who may do what.
#[derive(Debug, Default)]
pub struct Policy {
    grants: Vec<Grant>,
    rates: Vec<(Vec<IdentityPattern>, NamedRates)>,
    /// By identity, what was worked out.
    known: RwLock<HashMap<Identity, Arc<Grants>>>,
}

#[derive(Debug)]
struct Grant {
    who: Vec<IdentityPattern>,
    roles: Vec<PolicyRole>,
    pools: Arc<[Pattern]>,
}

/// Those rates that an entry names.
#[derive(Clone, Copy, Debug, Default)]
struct NamedRates {
    elements_per_s: Option<u64>,
    calls_per_s: Option<u64>,
    bytes_per_s: Option<u64>,
    streams: Option<u64>,
}

impl NamedRates {
    /// These, and the others where these say nothing.
    fn or(self, others: NamedRates) -> NamedRates {
        NamedRates {
            elements_per_s: self.elements_per_s.or(others.elements_per_s),
            calls_per_s: self.calls_per_s.or(others.calls_per_s),
            bytes_per_s: self.bytes_per_s.or(others.bytes_per_s),
            streams: self.streams.or(others.streams),
        }
    }
}

/// Reads a policy.
///
/// # Errors
/// When it is too long, not of the form, or grants what makes no sense.
pub fn parse(text: &str) -> Result<Policy, PolicyError> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::Bytes { found: text.len() });
    }
    let file: File = toml::from_str(text).map_err(|error| PolicyError::Form(error.to_string()))?;
    for (what, found) in [("grant", file.grant.len()), ("rate", file.rate.len())] {
        if found > GRANTS_MAX {
            return Err(PolicyError::Count { what, found });
        }
    }
    let line = |at: usize| line_of(text, at);
    let grants = (1..).zip(file.grant).map(|(number, entry)| {
        let line = line(entry.span().start);
        grant(entry.into_inner()).map_err(|reason| PolicyError::Grant { number, line, reason })
    });
    let grants = grants.collect::<Result<_, _>>()?;
    let rates = (1..).zip(file.rate).map(|(number, entry)| {
        let line = line(entry.span().start);
        let RateEntry { who, elements_per_s, calls_per_s, bytes_per_s, streams } = entry.into_inner();
        let who = identities(&who).map_err(|reason| PolicyError::Rate { number, line, reason })?;
        Ok((who, NamedRates { elements_per_s, calls_per_s, bytes_per_s, streams }))
    });
    Ok(Policy { grants, rates: rates.collect::<Result<_, _>>()?, known: RwLock::default() })
}

/// The line of a place in a text, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

fn identities(who: &[String]) -> Result<Vec<IdentityPattern>, String> {
    if who.is_empty() {
        return Err("it names no client; `who` is a list such as [\"ada\", \"game-*\"]".to_owned());
    }
    who.iter().map(|text| pattern(text).and_then(|()| source(text)).map(|()| IdentityPattern::new(text))).collect()
}

/// What an operator may write who means a source: each would be the name of no client.
const NO_SOURCES: [&str; 9] =
    ["tokens", "jwt", "bearer", "certs", "certificate", "keys", "apikey", "api-key", "api_key"];

/// Refuses what looks like a source and is none.
fn source(text: &str) -> Result<(), String> {
    let Some((source, _)) = text.split_once(':') else { return Ok(()) };
    let sources = ProofKind::ALL.map(ProofKind::name);
    let lower = source.to_lowercase();
    let meant = sources.contains(&lower.as_str()) || NO_SOURCES.contains(&lower.as_str());
    if !meant || sources.contains(&source) {
        return Ok(());
    }
    Err(format!("there is no source {source:?}, as in {text:?}; there are {}", sources.join(", ")))
}

fn pattern(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("an empty name fits no client".to_owned()),
        1..=NAME_BYTES_MAX => Ok(()),
        found => Err(format!("a name of {found} bytes, at most {NAME_BYTES_MAX}")),
    }
}

fn grant(entry: GrantEntry) -> Result<Grant, String> {
    let GrantEntry { who, roles, pools } = entry;
    let who = identities(&who)?;
    if roles.is_empty() {
        return Err("it grants no role".to_owned());
    }
    let role = |name: &String| {
        PolicyRole::named(name).ok_or_else(|| {
            let all: Vec<_> = PolicyRole::ALL.iter().map(|role| role.name()).collect();
            format!("there is no role {name:?}; there are {}", all.join(", "))
        })
    };
    let roles: Vec<PolicyRole> = roles.iter().map(role).collect::<Result<_, _>>()?;
    let of_pools = |role: &&PolicyRole| !matches!(role, PolicyRole::Operator | PolicyRole::Node);
    if let (true, Some(role)) = (pools.is_empty(), roles.iter().find(of_pools)) {
        return Err(format!(
            "{role} is granted in no pool; `pools` is a list such as [\"duel\", \"team-a.*\"], or [\"*\"]"
        ));
    }
    if !pools.is_empty() && roles.contains(&PolicyRole::Node) {
        return Err("node is a role for all of the cluster, and takes no pools".to_owned());
    }
    pools.iter().try_for_each(|text| pattern(text))?;
    let pools =
        if pools.is_empty() { vec![Pattern::new("*")] } else { pools.iter().map(|text| Pattern::new(text)).collect() };
    Ok(Grant { who, roles, pools: pools.into() })
}

impl Policy {
    /// What an identity may do.
    #[must_use]
    pub fn of(&self, identity: &Identity) -> Arc<Grants> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(identity) {
            return Arc::clone(known);
        }
        let granted = self.grants.iter().filter(|grant| grant.who.iter().any(|who| who.fits(identity)));
        let roles = granted.flat_map(|grant| grant.roles.iter().map(|&role| (role, Arc::clone(&grant.pools))));
        let rates = self.rates.iter().filter(|(who, _)| who.iter().any(|who| who.fits(identity)));
        let rates = rates.fold(NamedRates::default(), |rates, (_, named)| named.or(rates));
        let grants = Arc::new(Grants { roles: roles.collect(), rates });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(identity.clone(), Arc::clone(&grants));
        grants
    }
}

/// What one identity may do.
#[derive(Debug, Default)]
pub struct Grants {
    roles: Vec<(PolicyRole, Arc<[Pattern]>)>,
    rates: NamedRates,
}

impl Grants {
    /// Of whose elements it may do this in a pool.
    #[must_use]
    pub fn scope(&self, verb: Verb, pool: &str) -> Scope {
        let of_pool = |pools: &[Pattern]| pools.iter().any(|pattern| pattern.fits(pool));
        self.most(verb, of_pool)
    }

    /// The same in some pool: whether a call has to be looked at.
    #[must_use]
    pub fn scope_anywhere(&self, verb: Verb) -> Scope {
        self.most(verb, |_| true)
    }

    /// Its rates: those of the last entry that names it and them, else the default.
    #[must_use]
    pub fn rates(&self, default: Rates) -> Rates {
        let named = self.rates;
        Rates {
            elements_per_s: named.elements_per_s.unwrap_or(default.elements_per_s),
            calls_per_s: named.calls_per_s.unwrap_or(default.calls_per_s),
            bytes_per_s: named.bytes_per_s.unwrap_or(default.bytes_per_s),
            streams: named.streams.unwrap_or(default.streams),
        }
    }

    /// Whether it is an operator of all pools.
    #[must_use]
    pub fn operates_all(&self) -> bool {
        self.roles.iter().any(|(role, pools)| *role == PolicyRole::Operator && pools.iter().any(Pattern::is_any))
    }

    fn most(&self, verb: Verb, of_pools: impl Fn(&[Pattern]) -> bool) -> Scope {
        let scopes = self.roles.iter().map(|(role, pools)| match role.allows(verb) {
            Scope::Nobody => Scope::Nobody,
            scope if of_pools(pools) => scope,
            Scope::Own | Scope::Anybody => Scope::Nobody,
        });
        scopes.max().unwrap_or(Scope::Nobody)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::ProofKind;

    fn ada() -> Identity {
        Identity::new(ProofKind::Token, "ada")
    }

    #[test]
    fn what_is_not_granted_is_refused() {
        let policy = parse(
            "[[grant]]\nwho = [\"a*\"]\nroles = [\"producer\", \"owner-only\"]\npools = [\"team-a.*\"]\n\
             [[grant]]\nwho = [\"token:ada\"]\nroles = [\"consumer\"]\npools = [\"duel\"]\n",
        )
        .unwrap();
        let grants = policy.of(&ada());
        assert_eq!(grants.scope(Verb::Submit, "team-a.x"), Scope::Anybody);
        assert_eq!(grants.scope(Verb::Withdraw, "team-a.x"), Scope::Own);
        assert_eq!(grants.scope(Verb::Submit, "duel"), Scope::Nobody);
        assert_eq!(grants.scope(Verb::Watch, "duel"), Scope::Anybody);
        assert_eq!(grants.scope(Verb::Watch, "duel2"), Scope::Nobody);
        assert_eq!(
            (grants.scope_anywhere(Verb::Watch), grants.scope_anywhere(Verb::Define)),
            (Scope::Anybody, Scope::Nobody)
        );
        assert!(!grants.operates_all());
        let stranger = policy.of(&Identity::new(ProofKind::Token, "mallory"));
        assert!(Verb::ALL.iter().all(|&verb| stranger.scope_anywhere(verb) == Scope::Nobody));
        let other_source = policy.of(&Identity::new(ProofKind::Key, "ada"));
        assert_eq!(other_source.scope(Verb::Watch, "duel"), Scope::Nobody);
        assert!(Verb::ALL.iter().all(|&verb| parse("").unwrap().of(&ada()).scope_anywhere(verb) == Scope::Nobody));
    }

    #[test]
    fn an_operator_of_some_pools_is_none_of_all() {
        let some = parse("[[grant]]\nwho = [\"ada\"]\nroles = [\"operator\"]\npools = [\"a*\"]\n").unwrap();
        assert!(!some.of(&ada()).operates_all() && some.of(&ada()).scope(Verb::Drop, "ab") == Scope::Anybody);
        let all = parse("[[grant]]\nwho = [\"ada\"]\nroles = [\"operator\"]\n").unwrap();
        assert!(all.of(&ada()).operates_all());
        assert_eq!(all.of(&ada()).scope_anywhere(Verb::Node), Scope::Nobody);
    }

    #[test]
    fn the_last_rate_that_names_somebody_is_used() {
        let policy = parse(
            "[[rate]]\nwho = [\"*\"]\nelements_per_s = 10\ncalls_per_s = 5\n[[rate]]\nwho = [\"ada\"]\nelements_per_s = 0\n",
        )
        .unwrap();
        let rates = policy.of(&ada()).rates(Rates { bytes_per_s: 7, ..Rates::default() });
        assert_eq!(rates, Rates { elements_per_s: 0, calls_per_s: 5, bytes_per_s: 7, streams: 0 });
    }

    #[test]
    fn a_policy_that_cannot_be_meant_is_refused_with_the_place() {
        for (text, said) in [
            ("[[grant]]\nwho = [\"a\"]\nroles = [\"root\"]\n", "grant 1, line 1: there is no role \"root\""),
            ("[[grant]]\nwho = []\nroles = [\"operator\"]\n", "grant 1, line 1: it names no client"),
            (
                "[[grant]]\nwho = [\"spiffe://a/b\", \"Token:ada\"]\nroles = [\"operator\"]\n",
                "grant 1, line 1: there is no source \"Token\", as in \"Token:ada\"; there are cert, token, key",
            ),
            ("[[rate]]\nwho = [\"jwt:ada\"]\n", "rate 1, line 1: there is no source \"jwt\""),
            ("[[grant]]\nwho = [\"a\"]\nroles = []\n", "grant 1, line 1: it grants no role"),
            ("[[grant]]\nwho = [\"a\"]\nroles = [\"producer\"]\n", "producer is granted in no pool"),
            ("[[grant]]\nwho = [\"a\"]\nroles = [\"node\"]\npools = [\"x\"]\n", "takes no pools"),
            ("[[grant]]\nwho = [\"\"]\nroles = [\"operator\"]\n", "an empty name"),
            ("[[grants]]\nwho = [\"a\"]\n", "unknown field `grants`"),
            ("[[grant]]\nwho = [\"a\"]\nrole = [\"operator\"]\n", "unknown field `role`"),
            ("[[rate]]\nwho = [\"a\"]\ncalls_per_s = -1\n", "calls_per_s"),
            ("[[rate]]\nwho = []\n", "rate 1, line 1: it names no client"),
            (
                "[[rate]]\nwho = [\"a\"]\n\n[[grant]]\nwho = [\"a\"]\nroles = [\"operator\"]\n# more\n[[grant]]\nwho = []\nroles = []\n",
                "grant 2, line 8: it names no client",
            ),
            ("who", "key with no value"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(parse(&"#".repeat(2 << 20)).unwrap_err(), PolicyError::Bytes { found: 2 << 20 });
    }

    #[test]
    fn what_is_remembered_of_identities_is_bounded() {
        let policy = parse("[[grant]]\nwho = [\"*\"]\nroles = [\"consumer\"]\npools = [\"*\"]\n").unwrap();
        for number in 0..3 * REMEMBERED {
            _ = policy.of(&Identity::new(ProofKind::Token, &number.to_string()));
        }
        assert!(policy.known.read().unwrap().len() <= REMEMBERED);
    }
}
