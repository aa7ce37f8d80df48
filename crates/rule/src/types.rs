//! What attributes are declared as: the kinds of values, and the two that are ints by another name.

use std::fmt;
use std::str::FromStr;

use crate::suggest::nearest;
use crate::value::ValueKind;

/// The declared type of an attribute. Prints as `int`, `double`, `string`, `bool`, `list<string>`, `timestamp` and
/// `duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeType {
    /// A 64-bit signed integer.
    Int,
    /// A 64-bit floating-point number.
    Double,
    /// UTF-8 text.
    String,
    /// True or false.
    Bool,
    /// An ordered list of strings.
    StringList,
    /// An int: milliseconds since 1970. People read and write RFC 3339.
    Timestamp,
    /// An int: milliseconds, which may be negative. People read and write `1h30m`.
    Duration,
}

impl AttributeType {
    /// Every type, in declaration order.
    pub const ALL: [AttributeType; 7] = [
        AttributeType::Int,
        AttributeType::Double,
        AttributeType::String,
        AttributeType::Bool,
        AttributeType::StringList,
        AttributeType::Timestamp,
        AttributeType::Duration,
    ];

    /// The type's name, as schemas spell it.
    pub const fn name(self) -> &'static str {
        match self {
            AttributeType::Timestamp => "timestamp",
            AttributeType::Duration => "duration",
            _ => self.kind().name(),
        }
    }

    /// What kind of value an attribute of this type has.
    pub const fn kind(self) -> ValueKind {
        match self {
            AttributeType::Int | AttributeType::Timestamp | AttributeType::Duration => ValueKind::Int,
            AttributeType::Double => ValueKind::Double,
            AttributeType::String => ValueKind::String,
            AttributeType::Bool => ValueKind::Bool,
            AttributeType::StringList => ValueKind::StringList,
        }
    }

    /// What its values are counted in, if that is more than the kind says: for messages.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            AttributeType::Timestamp => ": an int of milliseconds since 1970",
            AttributeType::Duration => ": an int of milliseconds",
            _ => "",
        }
    }
}

impl From<ValueKind> for AttributeType {
    fn from(kind: ValueKind) -> AttributeType {
        match kind {
            ValueKind::Int => AttributeType::Int,
            ValueKind::Double => AttributeType::Double,
            ValueKind::String => AttributeType::String,
            ValueKind::Bool => AttributeType::Bool,
            ValueKind::StringList => AttributeType::StringList,
        }
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no type of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown type {name:?}{}: one of int, double, string, bool, list<string>, timestamp, duration",
    meant.map_or_else(String::new, |meant| format!(" (did you mean {:?}?)", meant.name()))
)]
pub struct TypeError {
    /// The name as given.
    pub name: String,
    /// The type that was probably meant.
    pub meant: Option<AttributeType>,
}

/// What other systems call the types.
const ELSEWHERE: [(&str, AttributeType); 14] = [
    ("integer", AttributeType::Int),
    ("int64", AttributeType::Int),
    ("long", AttributeType::Int),
    ("number", AttributeType::Double),
    ("float", AttributeType::Double),
    ("float64", AttributeType::Double),
    ("text", AttributeType::String),
    ("str", AttributeType::String),
    ("boolean", AttributeType::Bool),
    ("string[]", AttributeType::StringList),
    ("array", AttributeType::StringList),
    ("datetime", AttributeType::Timestamp),
    ("date", AttributeType::Timestamp),
    ("time", AttributeType::Timestamp),
];

impl FromStr for AttributeType {
    type Err = TypeError;

    /// Reads what `Display` prints, and `list` for `list<string>`.
    fn from_str(name: &str) -> Result<AttributeType, TypeError> {
        if name == "list" {
            return Ok(AttributeType::StringList);
        }
        let named = |name: &str| AttributeType::ALL.into_iter().find(|one| one.name() == name);
        named(name).ok_or_else(|| {
            let lower = name.to_ascii_lowercase();
            let elsewhere = ELSEWHERE.into_iter().find(|(other, _)| *other == lower).map(|(_, one)| one);
            let near = || nearest(&lower, AttributeType::ALL.into_iter().map(AttributeType::name));
            let meant = elsewhere.or_else(|| named(&lower)).or_else(|| named(&near()?));
            TypeError { name: name.to_owned(), meant }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_as_it_prints() {
        for one in AttributeType::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert_eq!("list".parse(), Ok(AttributeType::StringList));
        for kind in ValueKind::ALL {
            assert_eq!(AttributeType::from(kind).kind(), kind);
            assert_eq!(AttributeType::from(kind).name(), kind.name());
        }
    }

    #[test]
    fn an_unknown_type_is_refused_with_what_was_probably_meant() {
        for (name, meant) in [
            ("Int", Some(AttributeType::Int)),
            ("number", Some(AttributeType::Double)),
            ("datetime", Some(AttributeType::Timestamp)),
            ("timestmap", Some(AttributeType::Timestamp)),
            ("list<int>", None),
            ("", None),
        ] {
            let error = name.parse::<AttributeType>().unwrap_err();
            assert_eq!((error.name.as_str(), error.meant), (name, meant));
        }
        let error = "float".parse::<AttributeType>().unwrap_err();
        let expected = "unknown type \"float\" (did you mean \"double\"?): one of int, double, string, bool, \
                        list<string>, timestamp, duration";
        assert_eq!(error.to_string(), expected);
    }
}
