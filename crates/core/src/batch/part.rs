//! Neighbouring elements of a batch, as a batch of their own that shares its values.

use std::ops::Range;

use bytes::Bytes;

use super::{Batch, ClientColumns, Column, Strings, Values, column::part_of_lists};

impl Batch {
    /// Some neighbouring elements. Values are shared; only ends and presence are made anew, where they have to be.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Batch {
        let attributes = self.attributes.iter().map(|column| column.part(rows.clone())).collect();
        Batch::new(self.pool, attributes, self.clients.part(rows))
    }
}

impl Column {
    fn part(&self, rows: Range<usize>) -> Column {
        let values = match &self.values {
            Values::None => Values::None,
            Values::Ints(ints) => Values::Ints(words(ints, &rows)),
            Values::Doubles(doubles) => Values::Doubles(words(doubles, &rows)),
            Values::Bools(bools) => Values::Bools(bools.slice(rows.clone())),
            Values::Strings(texts) => Values::Strings(texts.part(rows.clone())),
            Values::StringLists { entries, ends } => {
                let (entries, ends) = part_of_lists(entries, ends, rows.clone());
                Values::StringLists { entries, ends }
            }
        };
        Column { present: self.presence_of(rows), values }
    }

    fn presence_of(&self, rows: Range<usize>) -> Bytes {
        if rows.clone().all(|row| self.has(row)) {
            return Bytes::new();
        }
        let mut bits = vec![0; rows.len().div_ceil(8)];
        for (at, row) in rows.enumerate() {
            bits[at / 8] |= u8::from(self.has(row)) << (at % 8);
        }
        bits.into()
    }
}

impl ClientColumns {
    fn part(&self, rows: Range<usize>) -> ClientColumns {
        let any = |strings: &Option<Strings>| {
            let part = strings.as_ref().map(|strings| strings.part(rows.clone()));
            part.filter(|part| !part.bytes.is_empty())
        };
        let ttls_ms = self.ttls_ms.as_ref().map(|ttls_ms| words(ttls_ms, &rows));
        ClientColumns {
            keys: self.keys.part(rows.clone()),
            payloads: any(&self.payloads),
            ttls_ms: ttls_ms.filter(|ttls_ms| ttls_ms.iter().any(|&byte| byte != 0)),
            idempotency_keys: any(&self.idempotency_keys),
            owners: any(&self.owners),
        }
    }
}

fn words(words: &Bytes, rows: &Range<usize>) -> Bytes {
    words.slice(8 * rows.start..8 * rows.end)
}

#[cfg(test)]
mod tests {
    use dovetail_rule::{Row, Value};

    use super::*;
    use crate::{PoolId, batch::ClientPart};

    /// An element of a batch in which some attributes, payloads, times and keys are missing.
    fn element(n: usize) -> (Row, ClientPart) {
        let text = |n: usize| "é".repeat(n % 3);
        let list = (0..n % 4).map(|entry| text(entry + n).into()).collect();
        let values = [
            Some(Value::Int(n as i64)),
            n.is_multiple_of(3).then_some(Value::Double(n as f64)),
            (n > 20).then_some(Value::Bool(n.is_multiple_of(2))),
            Some(Value::String(text(n).into())),
            (n % 5 > 1).then_some(Value::StringList(list)),
            None,
        ];
        let client = ClientPart {
            key: format!("key{n}").into(),
            payload: if n < 9 { "payload".into() } else { Bytes::new() },
            ttl_ms: if n > 12 { n as u64 } else { 0 },
            idempotency_key: text(n).into(),
            owner: if n == 3 { "ada" } else { "" }.into(),
        };
        (Row::from_values(values), client)
    }

    #[test]
    fn a_part_says_of_its_elements_what_the_batch_says() {
        let elements: Vec<_> = (0..30).map(element).collect();
        let all: Vec<_> = elements.iter().map(|(row, client)| (row, client)).collect();
        let batch = Batch::of(PoolId(7), &all);
        for from in 0..=30 {
            for to in from..=30 {
                let part = batch.part(from..to);
                assert_eq!((part.pool(), part.len()), (PoolId(7), to - from));
                for (at, (row, client)) in elements[from..to].iter().enumerate() {
                    assert_eq!((&part.row(at), &part.clients().get(at)), (row, client), "{at} of {from}..{to}");
                }
                // A batch of the same elements that was made at once has no more columns.
                let made = Batch::of(PoolId(7), &all[from..to]);
                let has = |clients: &ClientColumns| {
                    let ClientColumns { payloads, ttls_ms, idempotency_keys, owners, .. } = clients;
                    (payloads.is_some(), ttls_ms.is_some(), idempotency_keys.is_some(), owners.is_some())
                };
                assert_eq!(has(part.clients()), has(made.clients()), "{from}..{to}");
            }
        }
    }
}
