//! What is wrong with a node, though it goes on: files that it does not take, a certificate that expires soon.
//!
//! The code that finds a trouble notes it under a name, and takes it back when it is mended; `Inspect` shows what there
//! is. There are as many names as there are files in the settings, whose texts are cut.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::time::now_ms;
use dovetail::{pb, text::cut_message};

/// A kind, as `dovetail status --check` has it, and what it is about.
type Name = (&'static str, &'static str);

/// What is wrong now. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<Name, Trouble>>>);

#[derive(Debug)]
struct Trouble {
    text: String,
    since_ms: u64,
}

impl Troubles {
    /// The kind of files that are not taken.
    pub const FILE_REFUSED: &'static str = "file_refused";
    /// The kind of certificates that expire soon, or have expired.
    pub const CERTIFICATE_EXPIRES: &'static str = "certificate_expires";

    /// Something is wrong, or no longer.
    pub fn set(&self, kind: &'static str, about: &'static str, text: Option<String>) {
        let mut all = self.all();
        let Some(text) = text.map(cut_message) else {
            all.remove(&(kind, about));
            return;
        };
        let new = Trouble { text: String::new(), since_ms: now_ms() };
        all.entry((kind, about)).or_insert(new).text = text;
    }

    /// For `Inspect`.
    #[must_use]
    pub fn pb(&self) -> Vec<pb::Trouble> {
        let trouble = |(&(kind, about), trouble): (&Name, &Trouble)| pb::Trouble {
            kind: kind.to_owned(),
            about: about.to_owned(),
            text: trouble.text.clone(),
            since_ms: trouble.since_ms,
        };
        self.all().iter().map(trouble).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Name, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_shown_since_it_began_until_it_is_mended() {
        let troubles = Troubles::default();
        troubles.set(Troubles::FILE_REFUSED, "auth.policy", Some("no such role".to_owned()));
        let since_ms = troubles.pb()[0].since_ms;
        troubles.set(Troubles::FILE_REFUSED, "auth.policy", Some("no such file".to_owned()));
        troubles.set(Troubles::FILE_REFUSED, "tls.cert", None);
        let expected = pb::Trouble {
            kind: "file_refused".into(),
            about: "auth.policy".into(),
            text: "no such file".into(),
            since_ms,
        };
        assert_eq!(troubles.pb(), [expected]);
        troubles.set(Troubles::FILE_REFUSED, "auth.policy", None);
        assert!(troubles.pb().is_empty());
    }
}
