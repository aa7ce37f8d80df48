//! The attributes a pool's elements may have: names and kinds, in an order that rows follow.

use crate::types::AttributeType;
use crate::value::ValueKind;

/// Most attributes in one schema. A schema with more is refused.
pub const ATTRIBUTES_MAX: usize = 64;

/// Longest attribute name in bytes. A schema with a longer one is refused.
pub const NAME_BYTES_MAX: usize = 64;

/// The built-in attribute: how long an element has waited, in milliseconds at the event's time.
pub(crate) const WAITED: &str = "waited";

/// Words CEL keeps for itself: its keywords and the names it reserves for the languages it is embedded in.
pub(crate) const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// One declared attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// A CEL identifier, as in `a.<name>`.
    pub name: String,
    /// The kind every value of it has.
    pub kind: ValueKind,
    /// What it is declared as: the kind, or what an int of it means.
    pub declared: AttributeType,
}

/// Why a list of attributes is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// An attribute without a name.
    #[error("attribute {index} has no name")]
    EmptyName {
        /// Its position, from 0.
        index: usize,
    },
    /// Not `[_a-zA-Z][_a-zA-Z0-9]*`.
    #[error("attribute name {name:?} is not an identifier: letters, digits and \"_\", not starting with a digit")]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// A name longer than [`NAME_BYTES_MAX`].
    #[error("attribute name {start:?}... is {bytes} bytes, at most {NAME_BYTES_MAX}")]
    NameTooLong {
        /// How the name begins.
        start: String,
        /// Its length.
        bytes: usize,
    },
    /// `waited`, or a word CEL keeps for itself.
    #[error("attribute name {name:?} is reserved")]
    Reserved {
        /// The name as given.
        name: String,
    },
    /// A name declared twice.
    #[error("attribute {name:?} is declared twice")]
    Duplicate {
        /// The name as given.
        name: String,
    },
    /// More attributes than [`ATTRIBUTES_MAX`].
    #[error("more than {ATTRIBUTES_MAX} attributes")]
    TooMany,
}

/// The typed attributes of a pool, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    attributes: Box<[Attribute]>,
    /// Positions in `attributes`, ascending by name, for `index_of`.
    by_name: Box<[usize]>,
}

impl Schema {
    /// A schema of these attributes, in this order.
    pub fn new<T: Into<AttributeType>>(
        attributes: impl IntoIterator<Item = (String, T)>,
    ) -> Result<Schema, SchemaError> {
        let mut checked = Vec::new();
        for (index, (name, declared)) in attributes.into_iter().enumerate() {
            if index == ATTRIBUTES_MAX {
                return Err(SchemaError::TooMany);
            }
            check_name(index, &name)?;
            let declared = declared.into();
            checked.push(Attribute { name, kind: declared.kind(), declared });
        }
        let mut by_name: Vec<usize> = (0..checked.len()).collect();
        by_name.sort_by_key(|&index| checked[index].name.as_str());
        for pair in by_name.windows(2) {
            if checked[pair[0]].name == checked[pair[1]].name {
                return Err(SchemaError::Duplicate { name: checked[pair[0]].name.clone() });
            }
        }
        Ok(Schema { attributes: checked.into(), by_name: by_name.into() })
    }

    /// The attributes, in the order given.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Where `name` is in [`attributes`](Schema::attributes).
    pub fn index_of(&self, name: &str) -> Option<usize> {
        let at = self.by_name.binary_search_by(|&index| self.attributes[index].name.as_str().cmp(name)).ok()?;
        Some(self.by_name[at])
    }

    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there is no attribute. Such a pool's rule can still speak of `waited`.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }
}

fn check_name(index: usize, name: &str) -> Result<(), SchemaError> {
    if name.is_empty() {
        return Err(SchemaError::EmptyName { index });
    }
    if name.len() > NAME_BYTES_MAX {
        let start = name.chars().take(16).collect();
        return Err(SchemaError::NameTooLong { start, bytes: name.len() });
    }
    let word = name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    if !word || name.as_bytes()[0].is_ascii_digit() {
        return Err(SchemaError::InvalidName { name: name.to_owned() });
    }
    if name == WAITED || RESERVED.contains(&name) {
        return Err(SchemaError::Reserved { name: name.to_owned() });
    }
    Ok(())
}
