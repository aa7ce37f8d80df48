//! A rule as its own tree: generated, printed and evaluated here, by none of the crate's code.
//!
//! The evaluator is as naive as can be: every operand is evaluated, every value is owned, ints are computed in 128
//! bits, and kinds are found out as it goes.

use dovetail_rule::{EvalError, Side, Value, ValueKind};

use super::draw::{DOUBLES, INTS, Random, STRINGS};

#[derive(Debug, Clone)]
pub enum Tree {
    Literal(Value),
    Attribute { of_a: bool, name: char },
    Waited { of_a: bool },
    Has { of_a: bool, name: char },
    Unary(&'static str, Box<Tree>),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    Choice(Box<[Tree; 3]>),
    Call(&'static str, Vec<Tree>),
    Method(&'static str, Box<Tree>, Vec<Tree>),
    In(Box<Tree>, Vec<Tree>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    Value(Value),
    Missing,
    Error(EvalError),
}

use Found::{Error, Missing};

fn found(value: impl Into<Value>) -> Found {
    match value.into() {
        Value::Double(double) if double.is_nan() => Missing,
        value => Found::Value(value),
    }
}

impl Tree {
    pub fn generate(random: &mut Random, kind: ValueKind, depth: usize) -> Tree {
        let deeper = depth.saturating_sub(1);
        let sub = |random: &mut Random, kind| Box::new(Tree::generate(random, kind, deeper));
        let number = |random: &mut Random| if random.one_in(2) { ValueKind::Int } else { ValueKind::Double };
        if depth == 0 || random.one_in(8) {
            return Tree::leaf(random, kind);
        }
        if random.one_in(10) {
            let condition = Tree::generate(random, ValueKind::Bool, deeper);
            // A choice between an int and a double is a double.
            let other = if kind == ValueKind::Double { number(random) } else { kind };
            let branches = if random.one_in(2) { [kind, other] } else { [other, kind] };
            let [then, otherwise] = branches.map(|kind| Tree::generate(random, kind, deeper));
            return Tree::Choice(Box::new([condition, then, otherwise]));
        }
        match kind {
            ValueKind::Bool => match random.below(10) {
                0 => Tree::Unary("!", sub(random, kind)),
                1..=3 => Tree::Binary(random.pick(&["&&", "||"]), sub(random, kind), sub(random, kind)),
                4 | 5 => {
                    let op = random.pick(&["==", "!=", "<", "<=", ">", ">="]);
                    let kinds = match random.below(5) {
                        0 => [ValueKind::String; 2],
                        1 if op.contains('=') && op.len() == 2 && !op.contains(['<', '>']) => {
                            [random.pick(&[ValueKind::Bool, ValueKind::StringList]); 2]
                        }
                        _ => [number(random), number(random)],
                    };
                    Tree::Binary(op, sub(random, kinds[0]), sub(random, kinds[1]))
                }
                6 => {
                    let kind = random.pick(&[ValueKind::Int, ValueKind::Double, ValueKind::String, ValueKind::Bool]);
                    let needle = sub(random, kind);
                    let item = |random: &mut Random| {
                        let kind = if kind.is_number() { number(random) } else { kind };
                        Tree::generate(random, kind, deeper)
                    };
                    let items = (0..1 + random.below(3)).map(|_| item(random)).collect();
                    Tree::In(needle, items)
                }
                7 => Tree::Binary("in", sub(random, ValueKind::String), sub(random, ValueKind::StringList)),
                8 => {
                    let argument = *sub(random, ValueKind::StringList);
                    Tree::Method("intersects", sub(random, ValueKind::StringList), vec![argument])
                }
                _ => {
                    let name = random.pick(&["startsWith", "endsWith", "contains"]);
                    let argument = *sub(random, ValueKind::String);
                    Tree::Method(name, sub(random, ValueKind::String), vec![argument])
                }
            },
            ValueKind::Int | ValueKind::Double => {
                let double = kind == ValueKind::Double;
                match random.below(8) {
                    0 => Tree::Unary("-", sub(random, kind)),
                    1 => Tree::Call("abs", vec![*sub(random, kind)]),
                    2 if double => {
                        let kind = number(random);
                        Tree::Call("double", vec![*sub(random, kind)])
                    }
                    2 => {
                        let kind = random.pick(&[ValueKind::String, ValueKind::StringList]);
                        match random.one_in(2) {
                            true => Tree::Call("size", vec![*sub(random, kind)]),
                            false => Tree::Method("size", sub(random, kind), vec![]),
                        }
                    }
                    3 => {
                        let mut arguments = vec![*sub(random, kind)];
                        for _ in 0..1 + random.below(2) {
                            let kind = if double { number(random) } else { kind };
                            arguments.push(*sub(random, kind));
                        }
                        Tree::Call(random.pick(&["min", "max"]), arguments)
                    }
                    _ => {
                        let other = if double { number(random) } else { kind };
                        let kinds = if random.one_in(2) { [kind, other] } else { [other, kind] };
                        let ops: &[&str] = if double { &["+", "-", "*", "/"] } else { &["+", "-", "*", "/", "%"] };
                        Tree::Binary(random.pick(ops), sub(random, kinds[0]), sub(random, kinds[1]))
                    }
                }
            }
            ValueKind::String | ValueKind::StringList => Tree::leaf(random, kind),
        }
    }

    fn leaf(random: &mut Random, kind: ValueKind) -> Tree {
        let of_a = random.one_in(2);
        let names = ["ij", "de", "st", "fg", "lm"][kind as usize].as_bytes();
        match (kind, random.below(6)) {
            (_, 0..=3) => Tree::Attribute { of_a, name: char::from(random.pick(names)) },
            (ValueKind::Int, 4) => Tree::Waited { of_a },
            (ValueKind::Bool, 4) => Tree::Has { of_a, name: char::from(random.pick(b"ijdestfglm")) },
            (ValueKind::Int, _) => Tree::Literal(Value::Int(random.pick(&INTS))),
            (ValueKind::Double, _) => Tree::Literal(Value::Double(random.pick(&DOUBLES))),
            (ValueKind::String, _) => Tree::Literal(Value::from(random.pick(&STRINGS))),
            (ValueKind::Bool, _) => Tree::Literal(Value::Bool(random.one_in(2))),
            (ValueKind::StringList, _) => {
                let len = random.below(3);
                Tree::Literal(Value::StringList((0..len).map(|_| random.pick(&STRINGS).into()).collect()))
            }
        }
    }

    /// How tightly the tree's operator binds, as the CEL specification lists them.
    fn precedence(&self) -> u8 {
        match self {
            Tree::Choice(_) => 1,
            Tree::Binary("||", ..) => 2,
            Tree::Binary("&&", ..) => 3,
            Tree::Binary("+" | "-", ..) => 5,
            Tree::Binary("*" | "/" | "%", ..) => 6,
            Tree::Binary(..) | Tree::In(..) => 4,
            Tree::Unary(..) => 7,
            Tree::Literal(Value::Int(int)) if *int < 0 => 7,
            Tree::Literal(Value::Double(double)) if double.is_sign_negative() => 7,
            _ => 8,
        }
    }

    /// As CEL, in brackets if it binds less than `least`, and sometimes for no reason.
    fn within(&self, least: u8, random: &mut Random) -> String {
        let text = self.text(random);
        if self.precedence() < least || random.one_in(12) { format!("({text})") } else { text }
    }

    pub fn text(&self, random: &mut Random) -> String {
        let end = |of_a: &bool| if *of_a { "a" } else { "b" };
        let all = |trees: &[Tree], random: &mut Random| {
            trees.iter().map(|tree| tree.text(random)).collect::<Vec<_>>().join(", ")
        };
        match self {
            Tree::Literal(Value::StringList(list)) => {
                format!("[{}]", list.iter().map(|entry| quoted(entry)).collect::<Vec<_>>().join(","))
            }
            Tree::Literal(Value::String(text)) => quoted(text),
            Tree::Literal(Value::Double(double)) => format!("{double:?}"),
            Tree::Literal(Value::Int(int)) if random.one_in(8) => as_time(*int),
            Tree::Literal(Value::Int(int)) => int.to_string(),
            Tree::Literal(Value::Bool(bool)) => bool.to_string(),
            Tree::Attribute { of_a, name } => format!("{}.{name}", end(of_a)),
            Tree::Waited { of_a } => format!("{}.waited", end(of_a)),
            Tree::Has { of_a, name } => format!("has({}.{name})", end(of_a)),
            Tree::Unary(op, of) => format!("{op}{}", of.within(7, random)),
            Tree::Binary(op, left, right) => {
                let own = self.precedence();
                format!("{} {op} {}", left.within(own, random), right.within(own + 1, random))
            }
            Tree::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                let (condition, then) = (condition.within(2, random), then.within(2, random));
                format!("{condition} ? {then} : {}", otherwise.within(1, random))
            }
            Tree::Call(name, arguments) => format!("{name}({})", all(arguments, random)),
            Tree::Method(name, receiver, arguments) => {
                format!("{}.{name}({})", receiver.within(8, random), all(arguments, random))
            }
            Tree::In(needle, items) => format!("{} in [{}]", needle.within(4, random), all(items, random)),
        }
    }

    pub fn evaluate(&self, a: Side<'_>, b: Side<'_>) -> Found {
        let side = |of_a: &bool| if *of_a { a } else { b };
        let attribute = |of_a: &bool, name: &char| {
            let index = "ijdestfglm".find(*name).unwrap();
            side(of_a).row.values()[index].clone().map_or(Missing, found)
        };
        match self {
            Tree::Literal(value) => found(value.clone()),
            Tree::Attribute { of_a, name } => attribute(of_a, name),
            Tree::Waited { of_a } => found(side(of_a).waited_ms),
            Tree::Has { of_a, name } => found(attribute(of_a, name) != Missing),
            Tree::Binary("&&", left, right) => logic(false, &[left.evaluate(a, b), right.evaluate(a, b)]),
            Tree::Binary("||", left, right) => logic(true, &[left.evaluate(a, b), right.evaluate(a, b)]),
            Tree::In(needle, items) => {
                let needle = needle.evaluate(a, b);
                let equal = items.iter().map(|item| strict("==", &[needle.clone(), item.evaluate(a, b)]));
                logic(true, &equal.collect::<Vec<_>>())
            }
            Tree::Choice(parts) => {
                let taken = match parts[0].evaluate(a, b) {
                    Found::Value(Value::Bool(bool)) => &parts[if bool { 1 } else { 2 }],
                    absent => return absent,
                };
                match taken.evaluate(a, b) {
                    Found::Value(Value::Int(int)) if self.is_double() => found(int as f64),
                    other => other,
                }
            }
            Tree::Unary(op, of) => strict(if *op == "-" { "negate" } else { op }, &[of.evaluate(a, b)]),
            Tree::Binary(op, left, right) => strict(op, &[left.evaluate(a, b), right.evaluate(a, b)]),
            Tree::Call(name, arguments) => {
                strict(name, &arguments.iter().map(|argument| argument.evaluate(a, b)).collect::<Vec<_>>())
            }
            Tree::Method(name, receiver, arguments) => {
                let operands = [&**receiver].into_iter().chain(arguments);
                strict(name, &operands.map(|operand| operand.evaluate(a, b)).collect::<Vec<_>>())
            }
        }
    }

    /// Whether the tree's kind is double, which the branch a choice takes does not tell.
    fn is_double(&self) -> bool {
        match self {
            Tree::Literal(value) => value.kind() == ValueKind::Double,
            Tree::Attribute { name, .. } => matches!(name, 'd' | 'e'),
            Tree::Unary(_, of) => of.is_double(),
            Tree::Binary("+" | "-" | "*" | "/" | "%", left, right) => left.is_double() || right.is_double(),
            Tree::Choice(parts) => parts[1].is_double() || parts[2].is_double(),
            Tree::Call("double", _) => true,
            Tree::Call("abs" | "min" | "max", arguments) => arguments.iter().any(Tree::is_double),
            _ => false,
        }
    }
}

/// An int as the time or duration that it stands for.
fn as_time(int: i64) -> String {
    match int {
        0 => "timestamp('1970-01-01T01:00:00+01:00')".to_owned(),
        -1000 => "timestamp('1969-12-31T23:59:59Z')".to_owned(),
        int => format!("duration('{int}ms')"),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

fn logic(decisive: bool, operands: &[Found]) -> Found {
    if operands.contains(&found(decisive)) {
        return found(decisive);
    }
    absent(operands).unwrap_or_else(|| found(!decisive))
}

fn absent(operands: &[Found]) -> Option<Found> {
    if operands.contains(&Missing) {
        return Some(Missing);
    }
    operands.iter().find(|operand| matches!(operand, Error(_))).cloned()
}

fn strict(op: &str, operands: &[Found]) -> Found {
    use Value::{Bool, Double, Int, String, StringList};
    if let Some(absent) = absent(operands) {
        return absent;
    }
    let values: Vec<Value> = operands
        .iter()
        .map(|operand| match operand {
            Found::Value(value) => value.clone(),
            _ => unreachable!("absent operands are seen to above"),
        })
        .collect();
    let int = |wide: i128| i64::try_from(wide).map_or(Error(EvalError::Overflow), found);
    match (op, &*values) {
        ("!", [Bool(bool)]) => found(!bool),
        ("negate", [Int(of)]) => int(-i128::from(*of)),
        ("negate", [Double(of)]) => found(0.0_f64.copysign(-1.0) - of),
        ("abs", [Int(of)]) => int(i128::from(*of).abs()),
        ("abs", [Double(of)]) => found(of.copysign(1.0)),
        ("double", [of]) => found(as_double(of)),
        ("size", [String(text)]) => found(text.char_indices().fold(0, |count, _| count + 1)),
        ("size", [StringList(list)]) => found(list.len() as i64),
        ("min" | "max", _) if values.iter().all(|value| value.kind() == ValueKind::Int) => {
            let ints = || values.iter().map(|value| if let Int(int) = value { *int } else { unreachable!() });
            found(if op == "min" { ints().min().unwrap() } else { ints().max().unwrap() })
        }
        ("min" | "max", _) => {
            let mut best = as_double(&values[0]);
            for value in &values[1..] {
                let new = as_double(value);
                if op == "min" && new < best || op == "max" && new > best {
                    best = new;
                }
            }
            found(best)
        }
        ("/" | "%", [Int(_), Int(0)]) => Error(EvalError::DivisionByZero),
        ("%", [Int(i64::MIN), Int(-1)]) => Error(EvalError::Overflow),
        ("+" | "-" | "*" | "/" | "%", [Int(left), Int(right)]) => {
            let (left, right) = (i128::from(*left), i128::from(*right));
            int(match op {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                "/" => left / right,
                _ => left % right,
            })
        }
        ("+" | "-" | "*" | "/", [left, right]) => {
            let (left, right) = (as_double(left), as_double(right));
            found(match op {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                _ => left / right,
            })
        }
        ("startsWith", [String(text), String(part)]) => found(text.as_bytes().starts_with(part.as_bytes())),
        ("endsWith", [String(text), String(part)]) => found(text.as_bytes().ends_with(part.as_bytes())),
        ("contains", [String(text), String(part)]) => {
            found(part.is_empty() || text.as_bytes().windows(part.len()).any(|window| window == part.as_bytes()))
        }
        ("in", [String(_), StringList(list)]) => found(list.iter().any(|entry| String(entry.clone()) == values[0])),
        ("intersects", [StringList(left), StringList(right)]) => {
            found(left.iter().any(|entry| right.iter().any(|other| entry == other)))
        }
        ("==", [left, right]) => found(equal(left, right)),
        ("!=", [left, right]) => found(!equal(left, right)),
        (">=", [left, right]) => found(less(right, left) || equal(left, right)),
        (">", [left, right]) => found(less(right, left)),
        ("<=", [left, right]) => found(less(left, right) || equal(left, right)),
        ("<", [left, right]) => found(less(left, right)),
        _ => panic!("{op} of {values:?}"),
    }
}

fn as_double(value: &Value) -> f64 {
    match value {
        Value::Int(int) => *int as f64,
        Value::Double(double) => *double,
        other => panic!("{other:?} is no number"),
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left == right,
        _ if left.kind() == right.kind() => left == right,
        _ => !less(left, right) && !less(right, left),
    }
}

fn less(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left < right,
        (Value::Double(left), Value::Double(right)) => left < right,
        (Value::String(left), Value::String(right)) => left.chars().lt(right.chars()),
        // The casts saturate, far beyond any i64.
        (Value::Int(left), Value::Double(right)) => i128::from(*left) < right.ceil() as i128,
        (Value::Double(left), Value::Int(right)) => (left.floor() as i128) < i128::from(*right),
        other => panic!("{other:?} have no order"),
    }
}
