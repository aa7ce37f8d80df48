//! The key: what two elements must have in common, so that an element is compared with those of its own key only.
//!
//! Invariants: key.K1 whenever the rule is true or an error on a pair, both elements have a key and the keys' hashes
//! are equal; key.K2 the hash is a fixed function of the values, the same on every node and in every version: placement
//! depends on it. The bucket hash is equal wherever the other is for equal values, and depends on the secret of the
//! table.
//!
//! Elements of two keys are false or missing together, whatever else the rule says, so no error is lost by not looking.

use super::conjunct::value;
use super::shape::{Uses, can_fail, other, renamed};
use crate::cells::{CellValues, Cells, text_of};
use crate::eval::{List, Outcome, Pair};
use crate::expr::{CompareOp, End, Expr};
use crate::row::{Row, Side};
use crate::secret::Secret;
use crate::value::{Value, ValueKind};

/// One thing two elements must have in common. Expressions are over one element, written as `a`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// `f(a) == f(b)`.
    Same(Expr),
    /// `f(a) == g(b) && g(a) == f(b)`: the two values, in whichever order.
    Mirrored(Expr, Expr),
}

/// The parts of a rule's key, in the order of the conjuncts they come from. No part is no key.
#[derive(Debug, Clone, Default)]
pub(super) struct Key {
    pub(super) parts: Box<[Part]>,
}

/// Of each conjunct, whether it is part of the key and, if so, whether equal keys are all it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    None,
    /// The key is the conjunct.
    Whole,
    /// The key only follows from it.
    Half,
}

impl Key {
    /// The key of a conjunction.
    pub(super) fn of(conjuncts: &[Expr]) -> (Key, Vec<Share>) {
        let equalities: Vec<Option<[Expr; 2]>> = conjuncts.iter().map(equality).collect();
        let (mut parts, mut shares) = (Vec::new(), vec![Share::None; conjuncts.len()]);
        for (index, ends) in equalities.iter().enumerate() {
            let Some([f, g]) = ends else { continue };
            if f == g {
                parts.push(Part::Same(f.clone()));
                shares[index] = Share::Whole;
            } else if shares[index] == Share::None {
                let mirror = equalities.iter().position(|of| matches!(of, Some([h, i]) if h == g && i == f));
                if let Some(mirror) = mirror {
                    parts.push(Part::Mirrored(f.clone(), g.clone()));
                    (shares[index], shares[mirror]) = (Share::Half, Share::Half);
                }
            }
        }
        (Key { parts: parts.into() }, shares)
    }

    /// The hash of an element's key. `None` if some part is missing: the element never matches.
    pub(super) fn hash(&self, row: &Row) -> Option<u64> {
        self.hash_by(&Fixed, row)
    }

    /// The same by a secret: hashes of different values are as good as random, even if a client chose the values.
    pub(super) fn bucket_hash(&self, row: &Row, secret: Secret) -> Option<u64> {
        self.hash_by(&secret, row)
    }

    fn hash_by(&self, by: &impl Hashing, row: &Row) -> Option<u64> {
        let mut hash = SEED;
        for part in &self.parts {
            hash = match part {
                Part::Same(of) => by.step(hash, word(row, of, by)?),
                Part::Mirrored(f, g) => {
                    let (f, g) = (word(row, f, by)?, word(row, g, by)?);
                    by.step(by.step(hash, f.min(g)), f.max(g))
                }
            };
        }
        Some(hash)
    }

    /// What [`hash`](Key::hash) is of some rows of columns, which are of the rule's schema. `None` where the key is
    /// more than attributes whose cells can be read.
    pub(super) fn hashes(
        &self,
        columns: &[Cells<'_>],
        rows: impl Iterator<Item = usize> + Clone,
    ) -> Option<Vec<Option<u64>>> {
        self.hashes_by(&Fixed, columns, rows)
    }

    /// The same of [`bucket_hash`](Key::bucket_hash).
    pub(super) fn bucket_hashes(
        &self,
        columns: &[Cells<'_>],
        rows: impl Iterator<Item = usize> + Clone,
        secret: Secret,
    ) -> Option<Vec<Option<u64>>> {
        self.hashes_by(&secret, columns, rows)
    }

    /// One part after the other, so that what a column has is looked at once.
    fn hashes_by(
        &self,
        by: &impl Hashing,
        columns: &[Cells<'_>],
        rows: impl Iterator<Item = usize> + Clone,
    ) -> Option<Vec<Option<u64>>> {
        let attribute = |part: &Part| match part {
            Part::Same(Expr::Attribute(of)) if of.kind != ValueKind::StringList => Some(of.index),
            Part::Same(_) | Part::Mirrored(..) => None,
        };
        let attributes = self.parts.iter().map(attribute).collect::<Option<Vec<usize>>>()?;
        let mut hashes = vec![Some(SEED); rows.clone().count()];
        for attribute in attributes {
            add_column(by, &mut hashes, &columns[attribute], rows.clone());
        }
        Some(hashes)
    }

    /// The parts as CEL over one element.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        self.parts.iter().map(|part| match part {
            Part::Same(of) => bare(of),
            Part::Mirrored(f, g) => format!("{{{}, {}}}", bare(f), bare(g)),
        })
    }

    /// The parts with an element's values. `None` if some part is missing.
    pub(super) fn text(&self, row: &Row) -> Option<String> {
        let side = Side { row, waited_ms: 0 };
        let of = |expr: &Expr| value(&Pair { a: side, b: side }, expr).ok();
        let parts = self.texts().zip(&self.parts).map(|(text, part)| match part {
            Part::Same(f) => Some(format!("{text} = {}", of(f)?)),
            Part::Mirrored(f, g) => Some(format!("{text} = {{{}, {}}}", of(f)?, of(g)?)),
        });
        Some(parts.collect::<Option<Vec<_>>>()?.join(", "))
    }
}

/// An expression over one element, without the element's name where that is all there is.
pub(super) fn bare(expr: &Expr) -> String {
    match expr {
        Expr::Attribute(of) => of.name.to_string(),
        other => other.to_string(),
    }
}

/// `f` and `g` of `f(a) == g(b)`, both over the element `a`, if neither can fail nor depends on time.
fn equality(conjunct: &Expr) -> Option<[Expr; 2]> {
    let Expr::Compare { op: CompareOp::Eq, left, right, .. } = conjunct else { return None };
    let of = |end: End| [left, right].into_iter().find(|side| Uses::of(side).row_of(end));
    let (f, g) = (of(End::A)?, of(End::B)?);
    if can_fail(f) || can_fail(g) {
        return None;
    }
    Some([(**f).clone(), renamed(g, &other)])
}

/// The fractional part of the golden ratio, as in SplitMix64.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Tells a double that no int is equal to from the ints. Odd, and of as many ones as zeros, it spreads texts as well.
const ODD: u64 = 0xd6e8_feb8_6659_fd93;

/// The output function of SplitMix64.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(SEED);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Adds a column's words to the hashes of some of its rows.
fn add_column(by: &impl Hashing, hashes: &mut [Option<u64>], cells: &Cells<'_>, rows: impl Iterator<Item = usize>) {
    match cells.values {
        CellValues::None | CellValues::Lists => hashes.fill(None),
        CellValues::Ints(ints) if cells.present.is_empty() => {
            add_words(by, hashes, rows, |row| Some(u64::from_le_bytes(ints[row])));
        }
        CellValues::Ints(ints) => {
            add_words(by, hashes, rows, |row| cells.has(row).then(|| u64::from_le_bytes(ints[row])));
        }
        CellValues::Doubles(doubles) => add_words(by, hashes, rows, |row| {
            let double = f64::from_le_bytes(doubles[row]);
            (cells.has(row) && !double.is_nan()).then(|| double_word(double))
        }),
        CellValues::Bools(bools) => {
            add_words(by, hashes, rows, |row| cells.has(row).then(|| u64::from(bools[row])));
        }
        CellValues::Texts { text, ends } => {
            add_words(by, hashes, rows, |row| cells.has(row).then(|| by.text(text_of(text, ends, row))));
        }
    }
}

#[inline]
fn add_words(
    by: &impl Hashing,
    hashes: &mut [Option<u64>],
    rows: impl Iterator<Item = usize>,
    word: impl Fn(usize) -> Option<u64>,
) {
    for (hash, row) in hashes.iter_mut().zip(rows) {
        *hash = match (*hash, word(row)) {
            (Some(hash), Some(word)) => Some(by.step(hash, word)),
            _ => None,
        };
    }
}

/// How words are made of texts (of numbers, the word is the number itself), and a hash of words.
trait Hashing {
    fn text(&self, text: &[u8]) -> u64;
    fn list(&self, list: List<'_>) -> u64;
    fn step(&self, hash: u64, word: u64) -> u64;
}

/// The hash that placement depends on.
struct Fixed;

impl Hashing for Fixed {
    fn text(&self, text: &[u8]) -> u64 {
        text_word(SEED, text)
    }

    fn list(&self, list: List<'_>) -> u64 {
        list_word(list)
    }

    #[inline]
    fn step(&self, hash: u64, word: u64) -> u64 {
        mix(hash ^ word)
    }
}

impl Hashing for Secret {
    fn text(&self, text: &[u8]) -> u64 {
        self.bytes(text)
    }

    fn list(&self, list: List<'_>) -> u64 {
        self.texts(list.iter())
    }

    #[inline]
    fn step(&self, hash: u64, word: u64) -> u64 {
        self.words(hash, word)
    }
}

/// 64 bits of a value; equal values, int or double, have equal bits.
#[inline(always)]
fn word(row: &Row, of: &Expr, by: &impl Hashing) -> Option<u64> {
    match of {
        Expr::Attribute(attribute) if let Some(Value::Int(int)) = row.values()[attribute.index] => Some(int as u64),
        _ => any_word(row, of, by),
    }
}

fn any_word(row: &Row, of: &Expr, by: &impl Hashing) -> Option<u64> {
    if let Expr::Attribute(attribute) = of {
        return Some(match row.values()[attribute.index].as_ref()? {
            Value::Int(int) => *int as u64,
            Value::Double(double) => double_word(*double),
            Value::String(text) => by.text(text.as_bytes()),
            Value::Bool(bool) => u64::from(*bool),
            Value::StringList(list) => by.list(List::Plain(list)),
        });
    }
    computed_word(row, of, by).ok()
}

fn computed_word(row: &Row, of: &Expr, by: &impl Hashing) -> Outcome<u64> {
    let side = Side { row, waited_ms: 0 };
    let pair = Pair { a: side, b: side };
    Ok(match of.kind() {
        ValueKind::Int => pair.int(of)? as u64,
        ValueKind::Double => double_word(pair.double(of)?),
        ValueKind::String => by.text(pair.string(of)?.as_bytes()),
        ValueKind::Bool => u64::from(pair.bool(of)?),
        ValueKind::StringList => by.list(pair.list(of)?),
    })
}

fn double_word(double: f64) -> u64 {
    /// From here on every cast to an int saturates.
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if double.trunc() == double && (-TWO_TO_63..TWO_TO_63).contains(&double) {
        return double as i64 as u64;
    }
    double.to_bits() ^ ODD
}

/// Eight bytes a step; the key's own mixing finishes it.
fn text_word(seed: u64, text: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(ODD);
        product ^ (product >> 32)
    };
    let (words, rest) = text.as_chunks::<8>();
    let hash = words.iter().fold(step(seed, text.len() as u64), |hash, word| step(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    if rest.is_empty() { hash } else { step(hash, u64::from_le_bytes(last)) }
}

fn list_word(list: List<'_>) -> u64 {
    list.iter().fold(mix(list.len() as u64), |hash, text| text_word(hash, text.as_bytes()))
}
