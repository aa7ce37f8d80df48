//! Rules with the filters a planner would make of them: every kind of column and bound.

use crate::expr::{AttributeRef, End, Expr};
use crate::filter::{Asked, Bound, Column, Node, ORDERED_MAX, Operand, Probe, SYMBOL_UNKNOWN, Store, Sum};
use crate::table::layout::Shape;
use crate::value::{Value, ValueKind};
use crate::{Row, Schema};

/// A rule over [`schema`], and a shape for it.
pub(super) struct Case {
    pub(super) rule: &'static str,
    pub(super) keyed: bool,
    pub(super) shape: fn() -> Shape,
}

/// The attributes of every case.
pub(super) fn schema() -> Schema {
    let kinds = [
        ("n", ValueKind::Int),
        ("x", ValueKind::Double),
        ("y", ValueKind::Double),
        ("s", ValueKind::String),
        ("tags", ValueKind::StringList),
        ("ok", ValueKind::Bool),
    ];
    Schema::new(kinds.map(|(name, kind)| (name.to_owned(), kind))).unwrap()
}

/// The column of an attribute.
pub(super) fn column(schema: &Schema, name: &str, store: Store) -> Column {
    let index = schema.index_of(name).unwrap();
    let kind = schema.attributes()[index].kind;
    Column { expr: Expr::Attribute(AttributeRef { end: End::A, index, kind, name: name.into() }), store }
}

/// What sets bounds, given the role of the anchors, the probe's row and `waited` and the oldest's, and symbols.
type Bounds = fn(End, &Row, (i64, i64), &dyn Fn(&str) -> u32, &mut Asked);

fn shape(keyed: bool, columns: &[(&str, Store)], sums: Vec<Sum>, roots: [Node; 2], bounds: Bounds) -> Shape {
    let columns: Vec<Column> = columns.iter().map(|&(name, store)| column(&schema(), name, store)).collect();
    let ask = Box::new(move |anchor: End, probe: &Probe<'_>, symbol: &dyn Fn(&str) -> u32, asked: &mut Asked| {
        asked.bounds.clear();
        asked.points.clear();
        asked.weights.clear();
        bounds(anchor, probe.side.row, (probe.side.waited_ms, probe.oldest_waited_ms), symbol, asked);
    });
    let ordered = numbers(&columns);
    Shape { keyed, columns, sums, roots, ask, exact: None, ordered }
}

/// The columns of numbers, by all of which a bucket may be ordered.
pub(super) fn numbers(columns: &[Column]) -> Box<[usize]> {
    let number = |&at: &usize| matches!(columns[at].store, Store::Int | Store::Double);
    (0..columns.len()).filter(number).take(ORDERED_MAX).collect()
}

fn leaf(bound: usize, of: Operand) -> Node {
    Node::Leaf { bound, of }
}

fn lone(of: Operand) -> [Node; 2] {
    [leaf(0, of), leaf(0, of)]
}

pub(super) fn int(row: &Row) -> Option<i64> {
    match &row.values()[0] {
        Some(Value::Int(int)) => Some(*int),
        _ => None,
    }
}

fn double(row: &Row, index: usize) -> Option<f64> {
    match &row.values()[index] {
        Some(Value::Double(double)) => Some(*double),
        _ => None,
    }
}

fn text(row: &Row) -> Option<&str> {
    match &row.values()[3] {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn tags(row: &Row) -> &[Box<str>] {
    match &row.values()[4] {
        Some(Value::StringList(tags)) => tags,
        _ => &[],
    }
}

fn signature(row: &Row, symbol: &dyn Fn(&str) -> u32) -> u64 {
    let known = tags(row).iter().map(|tag| symbol(tag)).filter(|&symbol| symbol != SYMBOL_UNKNOWN);
    known.fold(0, |set, symbol| set | 1 << (symbol & 63))
}

/// The range around a prober's int; everything if it is far out, where differences overflow.
fn around(row: &Row, by: i64) -> Bound {
    match int(row) {
        None => Bound::Never,
        Some(int) if int.unsigned_abs() > 1 << 40 => Bound::Always,
        Some(int) => {
            let clamp = |int: i64| int.clamp(i64::from(i32::MIN) + 1, i64::from(i32::MAX)) as i32;
            Bound::Int { low: clamp(int - by), high: clamp(int + by) }
        }
    }
}

fn points(row: &Row, asked: &mut Asked, weights: [f64; 2], limit: f64) {
    match (double(row, 1), double(row, 2)) {
        (Some(x), Some(y)) if x.abs().max(y.abs()) <= (1u64 << 60) as f64 => {
            asked.bounds.push(Bound::Sum { from: asked.points.len(), limit });
            asked.points.extend([x, y]);
            asked.weights.extend(weights);
        }
        (Some(_), Some(_)) => asked.bounds.push(Bound::Always),
        _ => asked.bounds.push(Bound::Never),
    }
}

fn plane(squared: bool) -> Vec<Sum> {
    vec![Sum { columns: [0, 1].into(), squared }]
}

const PLANE: [(&str, Store); 2] = [("x", Store::Double), ("y", Store::Double)];

/// Every case.
pub(super) const CASES: [Case; 11] = [
    Case {
        rule: "a.s == b.s && abs(a.n - b.n) <= 5",
        keyed: true,
        shape: || {
            shape(true, &[("n", Store::Int)], vec![], lone(Operand::Column(0)), |_, row, _, _, asked| {
                asked.bounds.push(around(row, 5));
            })
        },
    },
    Case { rule: "a.ok != b.ok", keyed: false, shape: Shape::everything },
    Case {
        rule: "a.s != b.s",
        keyed: false,
        shape: || {
            shape(false, &[("s", Store::Symbol)], vec![], lone(Operand::Column(0)), |_, row, _, symbol, asked| {
                asked.bounds.push(text(row).map_or(Bound::Never, |text| Bound::SymbolNot(symbol(text))));
            })
        },
    },
    Case {
        rule: "a.tags.intersects(b.tags) && a.n != b.n",
        keyed: false,
        shape: || {
            let all = || Node::All([leaf(0, Operand::Column(0)), leaf(1, Operand::Column(1))].into());
            let columns = [("tags", Store::Set), ("n", Store::Int)];
            shape(false, &columns, vec![], [all(), all()], |_, row, _, symbol, asked| {
                asked.bounds.push(Bound::Set(signature(row, symbol)));
                asked.bounds.push(match int(row).map(i32::try_from) {
                    None => Bound::Never,
                    Some(Ok(int)) => Bound::IntNot(int),
                    Some(Err(_)) => Bound::Always,
                });
            })
        },
    },
    Case {
        rule: "a.ok && a.x <= b.x",
        keyed: false,
        shape: || {
            let all = |of| Node::All([leaf(0, of), leaf(1, Operand::Column(1))].into());
            let roots = [all(Operand::Column(0)), all(Operand::Probe)];
            let columns = [("ok", Store::Bit), ("x", Store::Double)];
            shape(false, &columns, vec![], roots, |anchor, row, _, _, asked| {
                let ok = row.values()[5] == Some(Value::Bool(true));
                asked.bounds.push(match anchor {
                    End::A => Bound::Bit,
                    End::B if ok => Bound::Always,
                    End::B => Bound::Never,
                });
                asked.bounds.push(match (anchor, double(row, 1)) {
                    (_, None) => Bound::Never,
                    (End::A, Some(x)) => Bound::Double { low: f32::NEG_INFINITY, high: (x as f32).next_up() },
                    (End::B, Some(x)) => Bound::Double { low: (x as f32).next_down(), high: f32::INFINITY },
                });
            })
        },
    },
    Case {
        rule: "a.s in b.tags",
        keyed: false,
        shape: || {
            let roots = [leaf(0, Operand::Column(0)), leaf(0, Operand::Column(1))];
            let columns = [("s", Store::Symbol), ("tags", Store::Set)];
            shape(false, &columns, vec![], roots, |anchor, row, _, symbol, asked| {
                asked.bounds.push(match (anchor, text(row)) {
                    (End::A, _) => Bound::SymbolIn(signature(row, symbol)),
                    (End::B, Some(text)) if symbol(text) != SYMBOL_UNKNOWN => Bound::Set(1 << (symbol(text) & 63)),
                    (End::B, _) => Bound::Never,
                });
            })
        },
    },
    Case {
        rule: "a.n == b.n || a.s == b.s && a.ok",
        keyed: false,
        shape: || {
            let both = Node::All([leaf(1, Operand::Column(1)), leaf(2, Operand::Column(2))].into());
            let root = Node::Any([leaf(0, Operand::Column(0)), both].into());
            let columns = [("n", Store::Int), ("s", Store::Symbol), ("ok", Store::Bit)];
            shape(false, &columns, vec![], [root.clone(), root], |anchor, row, _, symbol, asked| {
                asked.bounds.push(around(row, 0));
                asked.bounds.push(text(row).map_or(Bound::Never, |text| Bound::Symbol(symbol(text))));
                let ok = row.values()[5] == Some(Value::Bool(true));
                asked.bounds.push(match anchor {
                    End::A => Bound::Bit,
                    End::B if ok => Bound::Always,
                    End::B => Bound::Never,
                });
            })
        },
    },
    Case {
        rule: "2.0 * abs(a.x - b.x) + abs(a.y - b.y) <= 1.5",
        keyed: false,
        shape: || {
            shape(false, &PLANE, plane(false), lone(Operand::Sum(0)), |_, row, _, _, asked| {
                points(row, asked, [2.0, 1.0], 1.5);
            })
        },
    },
    Case {
        rule: "(a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) < 2.0",
        keyed: false,
        shape: || {
            shape(false, &PLANE, plane(true), lone(Operand::Sum(0)), |_, row, _, _, asked| {
                points(row, asked, [1.0, 1.0], 2.0);
            })
        },
    },
    Case {
        rule: "abs(a.n - b.n) * 3 + (a.ok ? 0 : 1) * 0 <= 12",
        keyed: false,
        shape: || {
            let sums = vec![Sum { columns: [0].into(), squared: false }];
            shape(false, &[("n", Store::Int)], sums, lone(Operand::Sum(0)), |_, row, _, _, asked| match int(row) {
                None => asked.bounds.push(Bound::Never),
                Some(int) if int.unsigned_abs() > 1 << 40 => asked.bounds.push(Bound::Always),
                Some(int) => {
                    asked.bounds.push(Bound::Sum { from: 0, limit: 12.0 });
                    asked.points.push(int as f64);
                    asked.weights.push(3.0);
                }
            })
        },
    },
    Case {
        rule: "abs(a.n - b.n) <= min(a.waited, b.waited) / 1000",
        keyed: false,
        shape: || {
            shape(false, &[("n", Store::Int)], vec![], lone(Operand::Column(0)), |_, row, waited, _, asked| {
                asked.bounds.push(around(row, waited.0.min(waited.1) / 1000));
            })
        },
    },
];
