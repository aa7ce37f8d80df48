//! Stand-in.
use crate::expr::{Comparands, CompareOp, Expr};
use crate::row::Row;
use crate::value::Value;

/// Stand-in.
#[derive(Debug, Clone)]
pub struct Plan {
    parts: Vec<usize>,
}

impl Plan {
    pub(crate) fn new(expr: &Expr) -> Plan {
        let all = match expr {
            Expr::And(of) => of.to_vec(),
            other => vec![other.clone()],
        };
        let part = |expr: &Expr| match expr {
            Expr::Compare { op: CompareOp::Eq, comparands: Comparands::Same(_), left, right } => {
                match (&**left, &**right) {
                    (Expr::Attribute(a), Expr::Attribute(b)) if a.end != b.end && a.index == b.index => Some(a.index),
                    _ => None,
                }
            }
            _ => None,
        };
        Plan { parts: all.iter().filter_map(part).collect() }
    }
    /// Stand-in.
    pub fn keyed(&self) -> bool {
        !self.parts.is_empty()
    }
    /// Stand-in.
    pub fn key_hash(&self, row: &Row) -> Option<u64> {
        if self.parts.is_empty() {
            return None;
        }
        let mut hash = 0u64;
        for &part in &self.parts {
            let text = match row.values()[part].as_ref()? {
                Value::Double(d) if *d == 0.0 => "0".to_owned(),
                v => v.to_string(),
            };
            for byte in text.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100000001b3).rotate_left(17);
            }
        }
        hash ^= hash >> 29;
        Some(hash.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 7)
    }
}
