//! Where elements that are in columns belong: column by column where the key is made of attributes.

use dovetail_rule::{Row, Split};

use super::Pool;
use crate::{ElementId, Place, batch::Column};

impl Pool {
    /// What [`place`](Pool::place) says of some rows of columns, in their order, with the element of each. Columns are
    /// of the pool's schema.
    #[must_use]
    pub fn places(&self, columns: &[Column], rows: impl Iterator<Item = (usize, ElementId)> + Clone) -> Vec<Place> {
        let plan = self.rule.plan();
        if self.split() != Split::Key {
            let nothing = Row::from_values([]);
            return rows.map(|(_, element)| self.place(element, &nothing)).collect();
        }
        let cells: Vec<_> = columns.iter().map(Column::cells).collect();
        if let Some(hashes) = plan.key_hashes(&cells, rows.clone().map(|(row, _)| row)) {
            let of = |((_, ElementId(id)), hash): (_, Option<u64>)| Place::Key(hash.unwrap_or(id));
            return rows.zip(hashes).map(of).collect();
        }
        let mut row = Row::from_values([]);
        let of = |(at, element)| {
            row.set_values(columns.iter().map(|column| column.get(at)));
            self.place(element, &row)
        };
        rows.map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dovetail_rule::{AttributeType, Value};

    use super::*;
    use crate::{PoolDefinition, PoolId, batch::columns_of};

    /// Rows with all kinds of values, some of them missing, and some equal.
    fn rows() -> Vec<Row> {
        let row = |n: u64| {
            let some = |kind: u64, value: Value| (!n.is_multiple_of(3 + kind)).then_some(value);
            let text = |n: u64| Value::String(["", "a", "eu-west-1", "日本語"][(n % 4) as usize].into());
            let doubles = [0.5, -0.0, 3.0, f64::NAN, 1e300];
            Row::from_values([
                some(0, Value::Int(n as i64 % 5 - 2)),
                some(1, Value::Double(doubles[(n % 5) as usize])),
                some(2, Value::Bool(n.is_multiple_of(2))),
                some(3, text(n)),
                some(4, text(n / 4)),
                some(5, Value::StringList((0..n % 3).map(|n| format!("t{n}").into()).collect())),
            ])
        };
        (0..200).map(row).collect()
    }

    #[test]
    fn elements_in_columns_belong_where_they_do_one_by_one() {
        use AttributeType::{Bool, Double, Int, String, StringList};
        let attributes = [("n", Int), ("x", Double), ("b", Bool), ("s", String), ("t", String), ("l", StringList)];
        let rules = [
            "a.n == b.n",
            "a.x == b.x && a.b == b.b",
            "a.s == b.s && a.n == b.n && a.x != b.x",
            "a.s == b.t && a.t == b.s",
            "a.l == b.l && a.s == b.s",
            "a.n * 2 == b.n * 2 && a.b == b.b",
            "true",
            "abs(a.n - b.n) <= 1",
        ];
        let rows = rows();
        let columns = columns_of(rows.iter());
        for (number, rule) in (0..).zip(rules) {
            let definition = PoolDefinition {
                name: "pool".to_owned(),
                attributes: attributes.map(|(name, declared)| (name.to_owned(), declared)).into(),
                rule: rule.to_owned(),
                ttl_ms: 0,
                reprobe_ms: Vec::new(),
                waiting_max: 0,
                payload_bytes_max: 0,
            };
            let pool = Pool::compile(PoolId(number), Arc::new(definition)).unwrap_or_else(|error| panic!("{error}"));
            let some = (0..rows.len()).filter(|row| row % 7 != 3).map(|row| (row, ElementId(row as u64 + 9)));
            let expected: Vec<Place> = some.clone().map(|(row, element)| pool.place(element, &rows[row])).collect();
            assert_eq!(pool.places(&columns, some), expected, "{rule}");
        }
    }
}
