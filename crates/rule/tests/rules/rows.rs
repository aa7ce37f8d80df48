//! Schemas and rows.

use dovetail_rule::{
    ATTRIBUTES_MAX, LIST_LEN_MAX, NAME_BYTES_MAX, Row, RowError, STRING_BYTES_MAX, Schema, SchemaError, Value,
    ValueKind,
};

use crate::schema;

fn declare(names: &[&str]) -> Result<Schema, String> {
    let attributes = names.iter().map(|name| (name.to_string(), ValueKind::Int));
    Schema::new(attributes).map_err(|error: SchemaError| error.to_string())
}

#[test]
fn a_schema_keeps_its_order_and_finds_by_name() {
    let schema = declare(&["zeta", "alpha", "_m1"]).unwrap();
    assert_eq!(
        schema.attributes().iter().map(|attribute| &*attribute.name).collect::<Vec<_>>(),
        ["zeta", "alpha", "_m1"]
    );
    assert_eq!(schema.index_of("alpha"), Some(1));
    assert_eq!(schema.index_of("zeta"), Some(0));
    assert_eq!(schema.index_of("beta"), None);
    assert_eq!(schema.len(), 3);
    assert!(declare(&[]).unwrap().is_empty());
}

#[test]
fn a_wrong_schema_is_refused_with_the_reason() {
    let check = |names: &[&str], message: &str| assert_eq!(declare(names).unwrap_err(), message);
    let not_identifier = "is not an identifier: letters, digits and \"_\", not starting with a digit";
    check(&["x", ""], "attribute 1 has no name");
    check(&["1x"], &format!("attribute name \"1x\" {not_identifier}"));
    check(&["a-b"], &format!("attribute name \"a-b\" {not_identifier}"));
    check(&["naïve"], &format!("attribute name \"naïve\" {not_identifier}"));
    check(&["waited"], "attribute name \"waited\" is reserved");
    check(&["in"], "attribute name \"in\" is reserved");
    check(&["package"], "attribute name \"package\" is reserved");
    check(&["x", "y", "x"], "attribute \"x\" is declared twice");
    check(&[&"n".repeat(NAME_BYTES_MAX + 1)], "attribute name \"nnnnnnnnnnnnnnnn\"... is 65 bytes, at most 64");
    assert!(declare(&[&"n".repeat(NAME_BYTES_MAX)]).is_ok());

    let many: Vec<String> = (0..=ATTRIBUTES_MAX).map(|n| format!("n{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&many, "more than 64 attributes");
    assert!(declare(&many[1..]).is_ok());
}

fn named(values: &[(&str, Value)]) -> Result<Row, RowError> {
    Row::from_named(&schema(), values.iter().map(|(name, value)| (name.to_string(), value.clone())))
}

#[test]
fn a_row_is_in_the_order_of_its_schema() {
    let row = named(&[("s", "x".into()), ("i", 7.into())]).unwrap();
    let mut expected = vec![None; 10];
    expected[0] = Some(Value::Int(7));
    expected[4] = Some(Value::from("x"));
    assert_eq!(row.values(), expected);
    assert_eq!(Row::new(&schema(), expected).unwrap(), row);
}

#[test]
fn a_wrong_row_is_refused_with_the_reason() {
    let check = |values: &[(&str, Value)], message: &str| assert_eq!(named(values).unwrap_err().to_string(), message);
    check(&[("x", 1.into())], "unknown attribute \"x\"");
    check(&[("waited", 1.into())], "unknown attribute \"waited\"");
    check(&[("i", 1.into()), ("i", 2.into())], "attribute \"i\" is given twice");
    check(&[("d", f64::NAN.into()), ("d", 2.0.into())], "attribute \"d\" is given twice");
    check(&[("i", 1.0.into())], "attribute \"i\" is double, but the schema declares int");
    check(&[("l", "x".into())], "attribute \"l\" is string, but the schema declares list<string>");
    check(&[("s", (&*"x".repeat(257)).into())], "attribute \"s\" has a string of 257 bytes, at most 256");
    check(&[("l", [&*"x".repeat(257)].into())], "attribute \"l\" has a string of 257 bytes, at most 256");
    check(&[("l", ["x"; LIST_LEN_MAX + 1].into())], "attribute \"l\" has 65 entries, at most 64");
    assert!(named(&[("s", (&*"x".repeat(STRING_BYTES_MAX)).into()), ("l", ["x"; LIST_LEN_MAX].into())]).is_ok());

    let arity = Row::new(&schema(), vec![None; 3]).unwrap_err().to_string();
    assert_eq!(arity, "row has 3 values, but the schema declares 10 attributes");
    let mut values = vec![None; 10];
    values[2] = Some(Value::Int(1));
    let kind = Row::new(&schema(), values).unwrap_err().to_string();
    assert_eq!(kind, "attribute \"d\" is int, but the schema declares double");
}

#[test]
fn an_int_becomes_a_double_only_when_exact() {
    let double = |int: i64| named(&[("d", int.into())]).map(|row| row.values()[2].clone());
    assert_eq!(double(25), Ok(Some(Value::Double(25.0))));
    assert_eq!(double(1 << 53), Ok(Some(Value::Double(9_007_199_254_740_992.0))));
    assert_eq!(double(i64::MIN), Ok(Some(Value::Double(-9_223_372_036_854_775_808.0))));
    for inexact in [(1 << 53) + 1, i64::MAX, i64::MIN + 1] {
        let message = double(inexact).unwrap_err().to_string();
        let expected = "which no double represents exactly, and the schema declares double";
        assert_eq!(message, format!("attribute \"d\" is {inexact}, {expected}"));
    }
}

#[test]
fn nan_is_stored_as_missing() {
    assert_eq!(named(&[("d", f64::NAN.into())]), named(&[]));
    assert_eq!(named(&[("d", f64::INFINITY.into())]).unwrap().values()[2], Some(Value::Double(f64::INFINITY)));
}

#[test]
fn a_row_made_without_a_schema_can_be_checked_against_one() {
    let check = |values: Vec<Option<Value>>| Row::from_values(values).check(&schema()).map_err(|e| e.to_string());
    let with = |index: usize, value: Value| {
        let mut values = vec![None; 10];
        values[index] = Some(value);
        values
    };
    assert_eq!(check(with(0, 1.into())), Ok(()));
    assert_eq!(check(vec![None]), Err("row has 1 values, but the schema declares 10 attributes".to_owned()));
    assert_eq!(check(with(0, "x".into())), Err("attribute \"i\" is string, but the schema declares int".to_owned()));
    assert_eq!(check(with(8, ["x"; 65].into())), Err("attribute \"l\" has 65 entries, at most 64".to_owned()));
    assert_eq!(Row::from_values(with(2, f64::NAN.into())), named(&[]).unwrap(), "NaN is missing here too");
    let row = named(&[("s", "x".into()), ("d", 1.into())]).unwrap();
    assert_eq!(Row::from_values(row.values().to_vec()), row);
}

#[test]
fn a_rows_bytes_grow_with_its_text() {
    let empty = named(&[]).unwrap().bytes();
    let text = named(&[("s", "four".into())]).unwrap().bytes();
    let list = named(&[("l", ["four", "five"].into())]).unwrap().bytes();
    assert!(empty > 0);
    assert_eq!(text, empty + 4);
    assert_eq!(list, empty + 8 + 2 * size_of::<Box<str>>());
}
