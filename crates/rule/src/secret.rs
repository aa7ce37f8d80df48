//! What hashes are keyed with that decide where in memory a value is looked for.
//!
//! Strings and keys come from clients, who may choose them. Under a secret that they do not know they cannot choose any
//! that collide, so that a look-up takes the time that it takes with random ones. Nothing but that time depends on the
//! secret: tables with two of them find the same, in the same order. Where an element belongs is another hash, which
//! every node computes alike ([`Plan::key_hash`](crate::Plan::key_hash)): a client that chooses keys for that loads one
//! slice, as it can with a single key.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Drawn by the owner of the tables, anew in every process, which it never leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u64; 2]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    fn hasher(self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }

    /// The hash of a text.
    #[inline]
    pub(crate) fn text(self, text: &str) -> u64 {
        self.bytes(text.as_bytes())
    }

    /// The same of a text's bytes.
    #[inline]
    pub(crate) fn bytes(self, text: &[u8]) -> u64 {
        self.hasher().hash(text)
    }

    /// The hash of some texts: other texts, or as many in another order, are others.
    pub(crate) fn texts<'a>(self, texts: impl ExactSizeIterator<Item = &'a str>) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u64(texts.len() as u64);
        for text in texts {
            hasher.write_u64(text.len() as u64);
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }

    /// The hash of two words.
    #[inline]
    pub(crate) fn words(self, one: u64, other: u64) -> u64 {
        let mut words = [0; 16];
        words[..8].copy_from_slice(&one.to_le_bytes());
        words[8..].copy_from_slice(&other.to_le_bytes());
        self.hasher().hash(&words)
    }
}
