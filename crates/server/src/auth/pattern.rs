//! Names and pools as a policy writes them: whole, or with `*` for anything.

use std::fmt;

use super::identity::{Identity, ProofKind};

/// A text in which `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// A pattern.
    #[must_use]
    pub fn new(text: &str) -> Pattern {
        Pattern(text.into())
    }

    /// Whether it is `*`, and so fits everything.
    #[must_use]
    pub fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    /// Whether a text fits. Takes at most the product of both lengths.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return &*self.0 == text };
        let Some(mut text) = text.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            match text.find(part) {
                Some(at) => text = &text[at + part.len()..],
                None => return false,
            }
        }
        text.len() >= last.len() && text.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identities: `ada`, `game-*`, or of one source alone, `token:game-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPattern {
    source: Option<ProofKind>,
    name: Pattern,
}

impl IdentityPattern {
    /// From a policy's text.
    #[must_use]
    pub fn new(text: &str) -> IdentityPattern {
        let of = |source: ProofKind| {
            let name = text.strip_prefix(source.name())?.strip_prefix(':')?;
            Some(IdentityPattern { source: Some(source), name: Pattern::new(name) })
        };
        ProofKind::ALL.into_iter().find_map(of).unwrap_or(IdentityPattern { source: None, name: Pattern::new(text) })
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn fits(&self, identity: &Identity) -> bool {
        self.source.is_none_or(|source| source == identity.source()) && self.name.fits(identity.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let fits = |pattern: &str, text: &str| Pattern::new(pattern).fits(text);
        assert!(fits("team-a.*", "team-a.duel") && fits("team-a.*", "team-a.") && fits("*", "") && fits("*", "x"));
        assert!(!fits("team-a.*", "team-b.duel") && !fits("team-a.*", "team-a") && !fits("team", "team-a"));
        assert!(fits("a*b*c", "abc") && fits("a*b*c", "aXbYbZc") && !fits("a*b*c", "acb") && !fits("a*bc", "abcd"));
        assert!(!fits("ab*ba", "aba"), "one character is not both");
        assert!(fits("é*", "éa") && !fits("", "x") && fits("", ""));
    }

    #[test]
    fn a_name_of_another_source_is_another_name() {
        let [token, key] = [ProofKind::Token, ProofKind::Key].map(|source| Identity::new(source, "ada"));
        assert!(
            IdentityPattern::new("ada").fits(&token)
                && IdentityPattern::new("ada").fits(&key)
                && IdentityPattern::new("a*").fits(&key)
        );
        assert!(IdentityPattern::new("token:ada").fits(&token) && !IdentityPattern::new("token:ada").fits(&key));
        assert!(IdentityPattern::new("key:*").fits(&key) && !IdentityPattern::new("cert:*").fits(&key));
        // A token whose subject looks like a certificate is none.
        assert!(!IdentityPattern::new("cert:ada").fits(&Identity::new(ProofKind::Token, "cert:ada")));
        assert_eq!((token.name(), token.to_string()), ("ada", "token:ada".to_owned()));
    }
}
