//! API keys, for small setups: a file with a name and the hash of a key on each line.
//!
//! A key is 256 random bits, which cannot be guessed, so a fast hash is enough: there is nothing to try out, as there
//! is with passwords. The file does not help a thief. Hashes are compared in constant time, all of them each time.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;
use toml::Value;

use super::{
    identity::{Identity, NAME_BYTES_MAX, ProofKind, is_name},
    policy::line_of,
};

/// What a key begins with, so that one in a log or a repository is known for what it is.
pub const PREFIX: &str = "dvt_";
/// Largest file, in bytes. A larger one is refused.
pub const KEYS_BYTES_MAX: usize = 1 << 20;
/// Most keys of a file. More are refused: every call with a new key is compared with all of them.
const KEYS_MAX: usize = 4096;

/// The hash of a credential.
pub type Hash = [u8; 32];

/// Why a file has no keys.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeysError {
    /// Too long.
    #[error("it has {found} bytes, at most {KEYS_BYTES_MAX}")]
    Bytes {
        /// Its bytes.
        found: usize,
    },
    /// Not TOML, or of another form.
    #[error("{0}")]
    Form(String),
    /// Neither one hash nor a list of them.
    #[error("what {name:?} has is of type {found}, and not the hash of a key, or a list of them")]
    Kind {
        /// Whose it is.
        name: String,
        /// What is there.
        found: &'static str,
    },
    /// Too many.
    #[error("it has {found} keys, at most {KEYS_MAX}")]
    Count {
        /// How many.
        found: usize,
    },
    /// An invalid name.
    #[error("the name {0:?} must have 1 to {NAME_BYTES_MAX} bytes, without control characters")]
    Name(String),
    /// Not a hash.
    #[error("the key of {0:?} is not sha256: and 64 hexadecimal digits, as `dovetail token new` prints it")]
    Hash(String),
    /// The key itself, which must not be in a file.
    #[error("{0:?} has a key in place of its hash: make another with `dovetail token new`, that one has been seen")]
    Plain(String),
    /// One key for two names.
    #[error("{0:?} and {1:?} have the same key")]
    Twice(String, String),
}

/// Keys by their hashes.
#[derive(Debug, Default)]
pub struct ApiKeys(Vec<(Hash, Identity)>);

/// Reads a file of keys.
///
/// # Errors
/// When it is none, and for each line that means nothing.
pub fn parse(text: &str) -> Result<ApiKeys, KeysError> {
    if text.len() > KEYS_BYTES_MAX {
        return Err(KeysError::Bytes { found: text.len() });
    }
    let file: toml::Table = toml::from_str(text).map_err(|error| form(text, &error))?;
    let mut keys: Vec<(Hash, Identity)> = Vec::new();
    for (name, entry) in file {
        if !is_name(&name) {
            return Err(KeysError::Name(name));
        }
        let identity = Identity::new(ProofKind::Key, &name);
        let hashes = match entry {
            Value::Array(hashes) => hashes,
            one => vec![one],
        };
        for hash in hashes {
            let Value::String(text) = hash else {
                return Err(KeysError::Kind { name, found: hash.type_str() });
            };
            if text.starts_with(PREFIX) {
                return Err(KeysError::Plain(name));
            }
            let hash = read_hash(&text).ok_or_else(|| KeysError::Hash(name.clone()))?;
            if let Some((_, other)) = keys.iter().find(|(known, _)| *known == hash) {
                return Err(KeysError::Twice(other.name().to_owned(), name));
            }
            keys.push((hash, identity.clone()));
            if keys.len() > KEYS_MAX {
                return Err(KeysError::Count { found: keys.len() });
            }
        }
    }
    Ok(ApiKeys(keys))
}

/// Where it is none, and not what is there: that may be a key.
fn form(text: &str, error: &toml::de::Error) -> KeysError {
    let line = error.span().map(|span| format!("line {}: ", line_of(text, span.start)));
    KeysError::Form(format!("{}{}", line.unwrap_or_default(), error.message()))
}

fn read_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = pairs.iter().map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?)).collect();
    bytes?.try_into().ok()
}

/// The hash of a credential.
#[must_use]
pub fn hash(credential: &str) -> Hash {
    let digest = digest::digest(&digest::SHA256, credential.as_bytes());
    let mut hash = Hash::default();
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// A key, and what the file has of it.
///
/// # Errors
/// When the system has no random numbers.
pub fn generate() -> Result<(String, String), aws_lc_rs::error::Unspecified> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let digits: String = hash(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((key, format!("sha256:{digits}")))
}

impl ApiKeys {
    /// Whose key has this hash.
    #[must_use]
    pub fn find(&self, hash: &Hash) -> Option<&Identity> {
        let mut found = None;
        for (known, identity) in &self.0 {
            if verify_slices_are_equal(known, hash).is_ok() {
                found = Some(identity);
            }
        }
        found
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let (key, line) = generate().unwrap();
        let (other, other_line) = generate().unwrap();
        assert!(key.starts_with("dvt_") && key.len() == 47 && key != other);
        let keys = parse(&format!("ada = {line:?}\n\"game 1\" = [{other_line:?}]\n")).unwrap();
        assert_eq!(keys.find(&hash(&key)).unwrap().to_string(), "key:ada");
        assert_eq!(keys.find(&hash(&other)).unwrap().name(), "game 1");
        assert!(keys.find(&hash("dvt_")).is_none() && keys.find(&hash(&line)).is_none() && keys.len() == 2);
    }

    #[test]
    fn a_file_that_is_none_is_refused_and_does_not_show_a_key() {
        let (key, line) = generate().unwrap();
        let plain = parse(&format!("ada = {key:?}")).unwrap_err();
        assert_eq!(plain, KeysError::Plain("ada".to_owned()));
        assert!(!plain.to_string().contains(&key));
        assert_eq!(parse("ada = \"sha256:12\"").unwrap_err(), KeysError::Hash("ada".to_owned()));
        assert!(matches!(parse(&format!("a = {line:?}\nb = {line:?}")).unwrap_err(), KeysError::Twice(..)));
        assert!(matches!(parse("\"\" = \"x\"").unwrap_err(), KeysError::Name(_)));
        let cut = parse(&format!("ada = \"{key}")).unwrap_err();
        assert!(matches!(cut, KeysError::Form(_)) && !cut.to_string().contains(&key), "{cut}");
        let bare = parse(&format!("ada = {line:?}\n{key}\n")).unwrap_err().to_string();
        assert!(bare.starts_with("line 2: ") && !bare.contains(&key), "{bare}");
        for (text, found) in
            [("ada = 1", "integer"), ("ada = [[]]", "array"), ("ada = [1.5]", "float"), ("[ada]", "table")]
        {
            assert_eq!(parse(text).unwrap_err(), KeysError::Kind { name: "ada".to_owned(), found }, "{text}");
        }
        assert!(parse("").unwrap().is_empty());
    }
}
