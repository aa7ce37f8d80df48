//! A pool's schema as the command line needs it: to type what files contain.

use dovetail_rule::ValueKind;

use crate::pb::{self, AttributeType};

/// The pool that elements are typed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSchema {
    /// The pool's name.
    pub pool: String,
    /// Its attributes, in order.
    pub attributes: Vec<(String, ValueKind)>,
}

impl PoolSchema {
    /// The schema in a definition. An attribute of a type this build does not know is left out: it cannot be submitted.
    pub fn of(definition: &pb::PoolDefinition) -> PoolSchema {
        let typed = |attribute: &pb::Attribute| Some((attribute.name.clone(), kind(attribute.r#type())?));
        PoolSchema {
            pool: definition.name.clone(),
            attributes: definition.attributes.iter().filter_map(typed).collect(),
        }
    }

    /// The attribute's kind, or why there is none.
    pub fn kind_of(&self, name: &str) -> Result<ValueKind, String> {
        match self.attributes.iter().find(|(known, _)| known == name) {
            Some(&(_, kind)) => Ok(kind),
            None => Err(format!("unknown attribute {name:?}; pool {:?} has {}", self.pool, self.names())),
        }
    }

    /// The attributes in words.
    pub fn names(&self) -> String {
        match self.attributes.is_empty() {
            true => "no attributes".to_owned(),
            false => self.attributes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        }
    }

    /// Why a value does not fit its attribute.
    pub fn mismatch(&self, name: &str, found: &str, declared: ValueKind) -> String {
        format!("attribute {name:?} is {}, but pool {:?} declares {declared}", shorten(found), self.pool)
    }
}

/// Long values are not repeated in full.
fn shorten(found: &str) -> String {
    const CHARS_MAX: usize = 60;
    match found.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &found[..end]),
        None => found.to_owned(),
    }
}

/// The kind of a declared type; none for a type this build does not know.
pub fn kind(declared: AttributeType) -> Option<ValueKind> {
    match declared {
        AttributeType::Unspecified => None,
        AttributeType::Int => Some(ValueKind::Int),
        AttributeType::Double => Some(ValueKind::Double),
        AttributeType::String => Some(ValueKind::String),
        AttributeType::Bool => Some(ValueKind::Bool),
        AttributeType::StringList => Some(ValueKind::StringList),
    }
}

/// The declared type of a kind.
pub fn declared(kind: ValueKind) -> AttributeType {
    match kind {
        ValueKind::Int => AttributeType::Int,
        ValueKind::Double => AttributeType::Double,
        ValueKind::String => AttributeType::String,
        ValueKind::Bool => AttributeType::Bool,
        ValueKind::StringList => AttributeType::StringList,
    }
}

/// An attribute of a definition.
pub fn attribute(name: String, kind: ValueKind) -> pb::Attribute {
    pb::Attribute { name, r#type: declared(kind).into() }
}
