//! A pool's schema as the command line needs it: to type what files contain.

use dovetail_rule::{AttributeType as Type, format_duration, format_timestamp, parse_duration, parse_timestamp};

use dovetail::pb;

/// The pool that elements are typed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSchema {
    /// The pool's name.
    pub pool: String,
    /// Its attributes, in order.
    pub attributes: Vec<(String, Type)>,
}

impl PoolSchema {
    /// The schema in a definition. An attribute of a type this build does not know is left out: it cannot be submitted.
    pub fn of(definition: &pb::PoolDefinition) -> PoolSchema {
        let typed = |attribute: &pb::Attribute| {
            Some((attribute.name.clone(), dovetail_wire::attribute_type(attribute.r#type())?))
        };
        PoolSchema {
            pool: definition.name.clone(),
            attributes: definition.attributes.iter().filter_map(typed).collect(),
        }
    }

    /// An attribute's place, its name and its type; none for an unknown one.
    pub fn find(&self, name: &str) -> Option<(usize, &str, Type)> {
        let mut known = self.attributes.iter().enumerate();
        known.find(|(_, (known, _))| known == name).map(|(place, (name, declared))| (place, name.as_str(), *declared))
    }

    /// Why there is no attribute of this name.
    pub fn unknown(&self, name: &str) -> String {
        format!("unknown attribute {:?}; pool {:?} has {}", shorten(name), self.pool, self.names())
    }

    /// The attributes in words.
    pub fn names(&self) -> String {
        if self.attributes.is_empty() {
            "no attributes".to_owned()
        } else {
            self.attributes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
        }
    }

    /// Why a value does not fit its attribute.
    pub fn mismatch(&self, name: &str, found: &str, declared: Type) -> String {
        format!("attribute {name:?} is {}, but pool {:?} declares {declared}", shorten(found), self.pool)
    }
}

/// Long values are not repeated in full.
pub fn shorten(found: &str) -> String {
    const CHARS_MAX: usize = 60;
    match found.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &found[..end]),
        None => found.to_owned(),
    }
}

/// An attribute of a definition.
pub fn attribute(name: String, declared: impl Into<Type>) -> pb::Attribute {
    pb::Attribute { name, r#type: dovetail_wire::kind_pb(declared.into()).into() }
}

/// What a text says of a time or duration, in milliseconds: RFC 3339, `1h30m`, or the milliseconds themselves. None for
/// other types, and for text that is neither.
pub fn milliseconds(text: &str, declared: Type) -> Option<i64> {
    let parse = match declared {
        Type::Timestamp => parse_timestamp,
        Type::Duration => parse_duration,
        _ => return None,
    };
    text.trim().parse().ok().or_else(|| parse(text).ok())
}

/// An int of an attribute as people and files write it; none where it is a plain number.
pub fn written(int: i64, declared: Type) -> Option<String> {
    match declared {
        Type::Timestamp => format_timestamp(int),
        Type::Duration => Some(format_duration(int)),
        _ => None,
    }
}
