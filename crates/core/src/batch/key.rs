//! Keys of clients, as the ledger remembers them.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use siphasher::sip128::SipHasher13;

use crate::PoolId;

/// Stands for a client's key in a pool: 128 bits. Making two collide takes the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u64; 2]);

impl Fingerprint {
    /// As checkpoints have it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let [one, other] = self.0;
        (u128::from(one) | u128::from(other) << 64).to_le_bytes()
    }

    /// What [`to_bytes`](Fingerprint::to_bytes) gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Fingerprint {
        let both = u128::from_le_bytes(bytes);
        Fingerprint([both as u64, (both >> 64) as u64])
    }

    /// All of it.
    #[inline]
    pub(crate) fn words(self) -> [u64; 2] {
        self.0
    }

    /// Where to look for it.
    #[inline]
    pub(crate) fn hash(self) -> KeyHash {
        let [one, other] = self.0;
        KeyHash(one & !KeyHash::REST | other & KeyHash::REST)
    }

    /// Which of so many parts it belongs to; independent of its hash.
    #[inline]
    pub(crate) fn share(self, parts: usize) -> usize {
        (self.0[1] % parts as u64) as usize
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// Where to look for a key among all: 64 bits of its fingerprint. Kept with an element, so that its key is found again
/// without being hashed once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// How many parts there are.
    pub(crate) const PARTS: usize = 512;
    /// The bits that do not say which part it is.
    const REST: u64 = u64::MAX >> KeyHash::PARTS.ilog2();

    /// The part.
    #[inline]
    pub(crate) fn part(self) -> usize {
        (self.0 >> KeyHash::REST.count_ones()) as usize
    }

    /// Where to look in it, by its lowest bits: those of the fingerprint's second word.
    #[inline]
    pub(crate) fn rest(self) -> u64 {
        self.0 & KeyHash::REST
    }
}

/// What fingerprints are made with. Drawn anew by every process. Nothing that leaves it depends on it but the
/// fingerprints of idempotency keys in its checkpoints, which therefore have it, too.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct KeySecret(pub [u64; 2]);

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret")
    }
}

impl KeySecret {
    /// A key's fingerprint.
    #[must_use]
    pub fn fingerprint(self, pool: PoolId, key: &[u8]) -> Fingerprint {
        let [one, other] = self.0;
        let hash = SipHasher13::new_with_keys(one ^ u64::from(pool.0), other).hash(key);
        Fingerprint([hash.h1, hash.h2])
    }
}
