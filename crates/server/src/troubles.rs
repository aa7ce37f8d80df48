//! What is wrong with a node, though it goes on: files that it does not take, a certificate that expires soon.
//!
//! The code that finds a trouble notes it under a name, and takes it back when it is mended; `Inspect` shows what there
//! is. There are as many names as there are files in the settings, whose texts are cut.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::time::now_ms;
use dovetail::{
    pb::{self, TroubleKind},
    text::cut_message,
};

/// A kind, and the setting that it is about.
type Name = (TroubleKind, &'static str);

/// What is wrong now. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<Name, Trouble>>>);

#[derive(Debug)]
struct Trouble {
    text: String,
    since_ms: u64,
}

impl Troubles {
    /// Something is wrong, or no longer.
    pub fn set(&self, kind: TroubleKind, setting: &'static str, text: Option<String>) {
        let mut all = self.all();
        let Some(text) = text.map(cut_message) else {
            all.remove(&(kind, setting));
            return;
        };
        let new = Trouble { text: String::new(), since_ms: now_ms() };
        all.entry((kind, setting)).or_insert(new).text = text;
    }

    /// For `Inspect`.
    #[must_use]
    pub fn pb(&self) -> Vec<pb::Trouble> {
        let trouble = |(&(kind, setting), trouble): (&Name, &Trouble)| pb::Trouble {
            kind: kind.into(),
            setting: setting.to_owned(),
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
        troubles.set(TroubleKind::FileRefused, "auth.policy", Some("no such role".to_owned()));
        let since_ms = troubles.pb()[0].since_ms;
        troubles.set(TroubleKind::FileRefused, "auth.policy", Some("no such file".to_owned()));
        troubles.set(TroubleKind::FileRefused, "tls.cert", None);
        let expected = pb::Trouble {
            kind: TroubleKind::FileRefused.into(),
            setting: "auth.policy".into(),
            text: "no such file".into(),
            since_ms,
        };
        assert_eq!(troubles.pb(), [expected]);
        troubles.set(TroubleKind::FileRefused, "auth.policy", None);
        assert!(troubles.pb().is_empty());
    }
}
