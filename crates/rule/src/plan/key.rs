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
        let mut hash = SEED;
        for part in &self.parts {
            hash = match part {
                Part::Same(of) => mix(hash ^ word(row, of, &Fixed)?),
                Part::Mirrored(f, g) => {
                    let (f, g) = (word(row, f, &Fixed)?, word(row, g, &Fixed)?);
                    mix(mix(hash ^ f.min(g)) ^ f.max(g))
                }
            };
        }
        Some(hash)
    }

    /// The same by a secret: hashes of different values are as good as random, even if a client chose the values.
    pub(super) fn bucket_hash(&self, row: &Row, secret: Secret) -> Option<u64> {
        let mut hash = SEED;
        for part in &self.parts {
            hash = match part {
                Part::Same(of) => secret.words(hash, word(row, of, &secret)?),
                Part::Mirrored(f, g) => {
                    let (f, g) = (word(row, f, &secret)?, word(row, g, &secret)?);
                    secret.words(secret.words(hash, f.min(g)), f.max(g))
                }
            };
        }
        Some(hash)
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

/// Makes words of texts: of numbers, the word is the number itself.
trait Texts {
    fn text(&self, text: &str) -> u64;
    fn list(&self, list: List<'_>) -> u64;
}

/// The hash that placement depends on.
struct Fixed;

impl Texts for Fixed {
    fn text(&self, text: &str) -> u64 {
        text_word(SEED, text)
    }

    fn list(&self, list: List<'_>) -> u64 {
        list_word(list)
    }
}

impl Texts for Secret {
    fn text(&self, text: &str) -> u64 {
        Secret::text(*self, text)
    }

    fn list(&self, list: List<'_>) -> u64 {
        self.texts(list.iter())
    }
}

/// 64 bits of a value; equal values, int or double, have equal bits.
#[inline(always)]
fn word(row: &Row, of: &Expr, texts: &impl Texts) -> Option<u64> {
    match of {
        Expr::Attribute(attribute) if let Some(Value::Int(int)) = row.values()[attribute.index] => Some(int as u64),
        _ => any_word(row, of, texts),
    }
}

fn any_word(row: &Row, of: &Expr, texts: &impl Texts) -> Option<u64> {
    if let Expr::Attribute(attribute) = of {
        return Some(match row.values()[attribute.index].as_ref()? {
            Value::Int(int) => *int as u64,
            Value::Double(double) => double_word(*double),
            Value::String(text) => texts.text(text),
            Value::Bool(bool) => u64::from(*bool),
            Value::StringList(list) => texts.list(List::Plain(list)),
        });
    }
    computed_word(row, of, texts).ok()
}

fn computed_word(row: &Row, of: &Expr, texts: &impl Texts) -> Outcome<u64> {
    let side = Side { row, waited_ms: 0 };
    let pair = Pair { a: side, b: side };
    Ok(match of.kind() {
        ValueKind::Int => pair.int(of)? as u64,
        ValueKind::Double => double_word(pair.double(of)?),
        ValueKind::String => texts.text(pair.string(of)?),
        ValueKind::Bool => u64::from(pair.bool(of)?),
        ValueKind::StringList => texts.list(pair.list(of)?),
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
fn text_word(seed: u64, text: &str) -> u64 {
    let step = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(ODD);
        product ^ (product >> 32)
    };
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(step(seed, text.len() as u64), |hash, word| step(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    if rest.is_empty() { hash } else { step(hash, u64::from_le_bytes(last)) }
}

fn list_word(list: List<'_>) -> u64 {
    list.iter().fold(mix(list.len() as u64), text_word)
}
