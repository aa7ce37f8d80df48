//! Messages of clients: batches of submissions, as rows and as columns.
//!
//! What is unpacked by hand says what prost says of the same bytes, and never panics; what was checked can be read to
//! the last value. The first byte of an input chooses the message.

use bytes::Bytes;
use dovetail::{batch as wire, pb};
use dovetail_rule::{ATTRIBUTES_MAX, AttributeType, Row, Schema};
use prost::{Message, encoding};

/// `Rows`, as prost reads them.
#[derive(Clone, PartialEq, Message)]
struct PlainRows {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<pb::Submission>,
}

/// `Columns`, as prost reads them.
#[derive(Clone, PartialEq, Message)]
struct PlainColumns {
    #[prost(uint32, tag = "1")]
    count: u32,
    #[prost(message, optional, tag = "2")]
    keys: Option<pb::TextColumn>,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<pb::AttributeColumn>,
    #[prost(message, optional, tag = "4")]
    payloads: Option<pb::BytesColumn>,
    #[prost(bytes = "bytes", tag = "5")]
    ttls_ms: Bytes,
    #[prost(message, optional, tag = "6")]
    idempotency_keys: Option<pb::TextColumn>,
}

/// One input.
pub fn run(input: &[u8]) {
    let Some((&which, bytes)) = input.split_first() else { return };
    let bytes = Bytes::copy_from_slice(bytes);
    match which % 3 {
        0 => rows(bytes),
        1 => columns(bytes),
        _ => whole(bytes),
    }
}

fn rows(bytes: Bytes) {
    let plain = PlainRows::decode(bytes.clone());
    let packed = wire::Rows::decode(bytes);
    if let Ok(packed) = &packed {
        straight(packed);
        for row in packed.packed() {
            let key = wire::key_of(row);
            if let Ok(submission) = pb::Submission::decode(row) {
                let same = key == submission.key || !attributes_have_their_type(row);
                assert!(same, "{key:?} is not the key {:?}", submission.key);
                _ = dovetail_wire::submission(submission);
            }
        }
    }
    let Ok(plain) = plain else { return };
    let packed = packed.expect("what prost reads can be packed");
    assert_eq!(packed.len(), plain.rows.len());
    let unpacked = packed.unpacked().expect("what prost reads can be unpacked");
    assert!(same(&unpacked, &plain.rows), "{unpacked:?} are not {:?}", plain.rows);
    let again = wire::Rows::decode(packed.encode_to_vec().as_slice()).expect("what was encoded can be read");
    assert_eq!((again, packed.encoded_len()), (packed.clone(), packed.encode_to_vec().len()));
}

/// Rows that are read straight into columns say what their messages say.
fn straight(rows: &wire::Rows) {
    let types = [
        ("i", AttributeType::Int),
        ("d", AttributeType::Double),
        ("s", AttributeType::String),
        ("f", AttributeType::Bool),
        ("l", AttributeType::StringList),
    ];
    let schema = Schema::new(types.map(|(name, of)| (name.to_owned(), of))).expect("a schema");
    let Some((columns, clients)) = dovetail_wire::row_columns(rows, &schema) else { return };
    assert_eq!(clients.keys.len(), rows.len());
    for (index, row) in rows.packed().enumerate() {
        let row = pb::Submission::decode(row).expect("what is read straight is a message");
        let row = dovetail_wire::submission(row).expect("and a submission");
        let read = Row::from_values(columns.iter().map(|column| column.get(index)));
        let named = Row::from_named(&schema, row.attributes).expect("of the schema");
        // As text: a double that is no number equals none.
        assert_eq!(format!("{read:?}"), format!("{named:?}"));
        let part = clients.get(index);
        assert_eq!((&*part.key, &part.payload), (&*row.key, &row.payload));
        assert_eq!(&*part.idempotency_key, &*row.idempotency_key);
        assert_eq!(clients.ttls_ms.is_some().then_some(part.ttl_ms), row.ttl_ms);
    }
}

/// Whether each attribute of a row is a message on the wire. Of a map prost takes any wire type for that, and so reads
/// other fields behind it than who skips it.
fn attributes_have_their_type(mut row: &[u8]) -> bool {
    while !row.is_empty() {
        let Ok((tag, wire_type)) = encoding::decode_key(&mut row) else { return false };
        let wrong = tag == 2 && wire_type != encoding::WireType::LengthDelimited;
        if wrong || encoding::skip_field(wire_type, tag, &mut row, encoding::DecodeContext::default()).is_err() {
            return false;
        }
    }
    true
}

/// Equal, even where a double is no number, and in whatever order a map is.
fn same(some: &[pb::Submission], others: &[pb::Submission]) -> bool {
    let said = |row: &pb::Submission| {
        let pb::Submission { key, attributes, payload, ttl_ms, idempotency_key } = row;
        let mut attributes: Vec<_> = attributes.iter().map(|(name, value)| format!("{name:?} {value:?}")).collect();
        attributes.sort();
        (key.clone(), attributes, payload.clone(), *ttl_ms, idempotency_key.clone())
    };
    some.iter().map(said).eq(others.iter().map(said))
}

fn columns(bytes: Bytes) {
    let plain = PlainColumns::decode(bytes.clone());
    let read = wire::Columns::decode(bytes);
    if let Ok(mut plain) = plain {
        let read = read.as_ref().expect("what prost reads can be read");
        // One too many says that there are too many.
        plain.attributes.truncate(ATTRIBUTES_MAX + 1);
        let encoded = plain.encode_to_vec();
        assert_eq!(read.encode_to_vec(), encoded);
        assert_eq!(read.encoded_len(), encoded.len());
    }
    let Ok(read) = read else { return };
    let Ok(columns) = dovetail_wire::SubmittedColumns::read(read) else { return };
    let attributes: Vec<_> = columns.attributes().map(|(name, kind)| (name.to_owned(), kind)).collect();
    for index in 0..columns.count() {
        assert!(columns.payload(index).len() <= columns.clients().payload(index).len());
        _ = (columns.key(index), columns.ttl_ms(index), columns.idempotency_key(index));
        for (column, (name, kind)) in attributes.iter().enumerate() {
            let value = columns.value(column, index);
            assert!(value.is_none() || kind.is_some(), "{name} has a value of no kind");
            assert_eq!(value.is_some(), columns.column(column).has(index), "{name} of {index}");
        }
    }
}

fn whole(bytes: Bytes) {
    let Ok(request) = pb::SubmitRequest::decode(bytes) else { return };
    let encoded = request.encode_to_vec();
    assert_eq!(encoded.len(), request.encoded_len());
    pb::SubmitRequest::decode(encoded.as_slice()).expect("what was encoded can be read");
}

/// A batch of three, as rows, as columns, and as a message.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    use pb::{column::Values, value::Kind};
    let row = |key: &str| pb::Submission {
        key: key.to_owned(),
        attributes: [
            ("i", Kind::IntValue(7)),
            ("d", Kind::DoubleValue(0.5)),
            ("s", Kind::StringValue("x".into())),
            ("f", Kind::BoolValue(true)),
            ("l", Kind::StringListValue(pb::StringList { values: vec!["a".into(), "b".into()] })),
        ]
        .map(|(name, kind)| (name.to_owned(), pb::Value { kind: Some(kind) }))
        .into(),
        payload: vec![1, 2, 3].into(),
        ttl_ms: Some(1000),
        idempotency_key: "once".into(),
    };
    let rows = wire::Rows::of(&[row("ada"), row("bob"), pb::Submission::default()]);
    let ends = |ends: &[u32]| Bytes::from(ends.iter().flat_map(|end| end.to_le_bytes()).collect::<Vec<u8>>());
    let text = |text: &'static str, at: &[u32]| pb::TextColumn { text: text.into(), ends: ends(at) };
    let attribute = |name: &str, values: Values| pb::AttributeColumn {
        name: name.to_owned(),
        column: Some(pb::Column { present: vec![0b11].into(), values: Some(values) }),
    };

    let lists = pb::TextListColumn { entries: Some(text("xyz", &[1, 3])), ends: ends(&[1, 2]) };
    let columns = wire::Columns {
        count: 2,
        keys: Some(text("adabob", &[3, 6])),
        attributes: vec![
            attribute("i", Values::Ints(vec![1; 16].into())),
            attribute("d", Values::Doubles(vec![2; 16].into())),
            attribute("f", Values::Bools(vec![0, 1].into())),
            attribute("s", Values::Strings(text("éx", &[2, 3]))),
            attribute("l", Values::StringLists(lists)),
        ],
        payloads: Some(pb::BytesColumn { bytes: vec![9; 4].into(), ends: ends(&[4, 4]) }),
        ttls_ms: vec![1; 16].into(),
        idempotency_keys: Some(text("once", &[0, 4])),
    };
    let whole = pb::SubmitRequest {
        batch: Some(pb::submit_request::Batch::Columns(columns.clone())),
        pool: "pool".into(),
        ..Default::default()
    };
    let seed = |name: &str, which: u8, bytes: Vec<u8>| (name.to_owned(), [vec![which], bytes].concat());
    vec![
        seed("rows", 0, rows.encode_to_vec()),
        seed("columns", 1, columns.encode_to_vec()),
        seed("request", 2, whole.encode_to_vec()),
    ]
}
