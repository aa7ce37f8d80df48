//! Messages: random bytes, messages with the fields of their type and values from everyday to extreme, good messages,
//! and all of these with a few bytes changed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dovetail::pb;
use dovetail_sim::rng::Rng;
use prost::Message as _;

use super::schema::{Field, FieldKind, MessageSchema, Method};
use crate::workload::ChaosPool;

/// No message is nested deeper.
const DEPTH_MAX: usize = 8;
/// Serials of elements, which their keys are made of: few, so that keys come again.
const SERIALS: u64 = 2_000;
/// Names of pools that are drawn.
const POOLS: u64 = 16;

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Who nodes say they are, encoded.
    pub peers: Vec<Vec<u8>>,
    pub slices: u32,
    pub shards: u32,
    /// About the newest event there is.
    pub newest: Arc<AtomicU64>,
}

/// Draws messages from a generator.
#[derive(Debug)]
pub struct Draw<'a> {
    pub rng: Rng,
    pub schema: &'a MessageSchema,
    pub known: &'a Known,
}

impl Draw<'_> {
    /// A request for a method.
    pub fn request(&mut self, method: &Method) -> Vec<u8> {
        if self.rng.chance(80) {
            let most = if self.rng.chance(20) { 300_000 } else { 80 };
            return self.bytes(most);
        }
        let good = if self.rng.chance(500) { self.good(method) } else { None };
        let (mut bytes, intact) = match good {
            Some(bytes) => (bytes, 350),
            None => (self.message(&method.input, 0), 500),
        };
        if !self.rng.chance(intact) {
            for _ in 0..self.rng.range(1, 5) {
                self.mutate(&mut bytes);
            }
        }
        bytes
    }

    /// Random bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.rng.index(most + 1);
        (0..count).map(|_| self.rng.bits() as u8).collect()
    }

    /// A message that is as it should be, for calls that need one to get anywhere.
    fn good(&mut self, method: &Method) -> Option<Vec<u8>> {
        let (pool, serial) = (self.pool(), self.rng.below(SERIALS));
        let seed = self.rng.below(4);
        let of = self.rng.pick(&ChaosPool::ALL);
        let element = |serial| pb::Submission { ttl_ms: Some(2_000), ..of.element(seed, serial) };
        Some(match method.name.as_str() {
            "DefinePool" => {
                let definition = pb::PoolDefinition { name: pool, ..of.definition() };
                pb::DefinePoolRequest { pool: Some(definition) }.encode_to_vec()
            }
            "SubmitOne" => {
                let mut bytes = pb::SubmitOneRequest { pool, element: None }.encode_to_vec();
                delimited(2, &in_order(element(serial)), &mut bytes);
                bytes
            }
            "Submit" => {
                let (number, batch) = if self.rng.chance(500) {
                    let mut rows = Vec::new();
                    for serial in serial..serial + self.rng.range(1, 4) {
                        delimited(1, &in_order(element(serial)), &mut rows);
                    }
                    (2, rows)
                } else {
                    (3, columns(serial).encode_to_vec())
                };
                let mut bytes = pb::SubmitRequest { pool, batch: None, ..Default::default() }.encode_to_vec();
                delimited(number, &batch, &mut bytes);
                bytes
            }
            _ => return None,
        })
    }

    fn pool(&mut self) -> String {
        format!("p{}", self.rng.below(POOLS))
    }

    fn message(&mut self, name: &str, depth: usize) -> Vec<u8> {
        if name == ".dovetail.node.v1.Peer" && !self.known.peers.is_empty() && self.rng.chance(800) {
            return self.known.peers[self.rng.index(self.known.peers.len())].clone();
        }
        let mut out = Vec::new();
        let schema = self.schema;
        let fields = schema.fields(name);
        // A draw for each choice between fields.
        let chosen = self.rng.bits();
        for field in fields {
            let among: Vec<&Field> = fields.iter().filter(|other| other.oneof == field.oneof).collect();
            let there = match field.oneof {
                Some(_) if among.len() > 1 => among[chosen as usize % among.len()].number == field.number,
                _ => self.rng.chance(800),
            };
            let times = match (there, field.repeated) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) if self.rng.chance(10) => self.rng.range(60, 300),
                (true, true) => self.rng.below(4),
            };
            for _ in 0..times {
                self.field(name, field, depth, &mut out);
            }
        }
        out
    }

    fn field(&mut self, within: &str, field: &Field, depth: usize, out: &mut Vec<u8>) {
        let tag = |wire: u64| u64::from(field.number) << 3 | wire;
        let mut plain = |wire: u64, value: &[u8]| {
            varint(tag(wire), out);
            out.extend(value);
        };
        match &field.kind {
            FieldKind::Varint => plain(0, &varint_of(self.number(&field.name))),
            FieldKind::Bool => plain(0, &[self.rng.below(2) as u8]),
            FieldKind::Choice(among) => {
                let number = if among.is_empty() || self.rng.chance(150) {
                    self.extreme()
                } else {
                    among[self.rng.index(among.len())]
                };
                plain(0, &varint_of(number));
            }
            FieldKind::Fixed32 => plain(5, &(self.extreme() as u32).to_le_bytes()),
            FieldKind::Fixed64 => plain(1, &self.extreme().to_le_bytes()),
            FieldKind::Double => plain(1, &self.double().to_le_bytes()),
            kind @ (FieldKind::Text | FieldKind::Bytes | FieldKind::Message(_)) => {
                let value = match kind {
                    FieldKind::Text => self.text(within, &field.name).into_bytes(),
                    FieldKind::Message(name) if depth < DEPTH_MAX => self.message(name, depth + 1),
                    _ => self.column(),
                };
                varint(tag(2), out);
                varint(value.len() as u64, out);
                out.extend(value);
            }
        }
    }

    /// Bytes of a column, or any.
    fn column(&mut self) -> Vec<u8> {
        match self.rng.below(4) {
            0 => self.bytes(40),
            1 => (0..self.rng.below(6)).flat_map(|_| self.extreme().to_le_bytes()).collect(),
            2 => (0..self.rng.below(6) as u32).flat_map(|number| (3 * number).to_le_bytes()).collect(),
            _ => vec![0xFF; self.rng.index(20)],
        }
    }

    fn number(&mut self, name: &str) -> u64 {
        if self.rng.chance(300) {
            return self.extreme();
        }
        match name {
            "wait_ms" => self.rng.below(20),
            "slice" | "slices" => self.rng.below(u64::from(self.known.slices) + 1),
            "shard" | "index" => self.rng.below(u64::from(self.known.shards) + 1),
            "page_size" | "nearest" | "count" => self.rng.below(50),
            // Mostly of what there is, and mostly of what came last.
            _ => {
                let newest = self.known.newest.load(Ordering::Relaxed) + 20;
                let back = if self.rng.chance(700) { newest.min(500) } else { newest };
                newest - self.rng.below(back)
            }
        }
    }

    fn extreme(&mut self) -> u64 {
        const EDGES: [u64; 16] = [
            0,
            1,
            2,
            63,
            64,
            127,
            128,
            i32::MAX as u64,
            1 << 31,
            u32::MAX as u64,
            1 << 32,
            1 << 53,
            i64::MAX as u64,
            1 << 63,
            u64::MAX - 1,
            u64::MAX,
        ];
        if self.rng.chance(200) { self.rng.bits() } else { self.rng.pick(&EDGES) }
    }

    fn double(&mut self) -> f64 {
        let some = f64::from_bits(self.rng.bits());
        self.rng.pick(&[0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324, some])
    }

    fn text(&mut self, within: &str, name: &str) -> String {
        if self.rng.chance(200) {
            return self.odd_text();
        }
        let attribute = within.ends_with("AttributesEntry") || within.ends_with(".Attribute");
        match name {
            "key" | "name" if attribute => {
                self.rng.pick(&["serial", "region", "role", "skill", "modes", "waited", "x"]).to_owned()
            }
            "pool" | "name" => self.pool(),
            "rule" => self
                .rng
                .pick(&[
                    "a.region == b.region",
                    "abs(a.skill - b.skill) <= 12",
                    "a.modes.intersects(b.modes) || a.role != b.role",
                    "true",
                    "a.x / b.x > 0 && (a.region.contains(b.region) ? a.skill < 3 : b.skill < 3)",
                    "a.serial == b.serial && min(a.waited, b.waited) > 100",
                    "a.",
                    "((((((((((1))))))))))",
                ])
                .to_owned(),
            "key" => crate::workload::key(self.rng.below(SERIALS)),
            "page_token" => String::new(),
            "file_containing_symbol" => "dovetail.v1.MatchService".to_owned(),
            _ => format!("t{}", self.rng.below(100)),
        }
    }

    fn odd_text(&mut self) -> String {
        let length = self.rng.pick(&[1, 63, 64, 65, 255, 256, 257, 1_024, 5_000]);
        let length = if self.rng.chance(10) { 200_000 } else { length };
        match self.rng.below(8) {
            0 => String::new(),
            1 => "\0".to_owned(),
            2 => "\u{202E}\u{200F}\u{FFFD}\u{10FFFF}".to_owned(),
            3 => "é".repeat(length / 2),
            4 => "*".to_owned(),
            5 => "\"\\\n\r\t'".repeat(1 + length / 60),
            _ => "x".repeat(length),
        }
    }

    /// Changes a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            *bytes = self.bytes(12);
            return;
        }
        let (one, other) = (self.rng.index(bytes.len()), self.rng.index(bytes.len() + 1));
        let (from, to) = (one.min(other), one.max(other));
        match self.rng.below(8) {
            0 => bytes[one] ^= 1 << self.rng.below(8),
            1 => bytes[one] = self.rng.pick(&[0, 1, 0x7F, 0x80, 0xFF]),
            2 => bytes[one] = self.rng.bits() as u8,
            3 => bytes.truncate(other),
            4 => drop(bytes.drain(from..to)),
            5 => {
                let again = bytes[from..to].to_vec();
                bytes.splice(one..one, again);
            }
            // The largest number there is on the wire.
            6 => drop(bytes.splice(one..=one, varint_of(u64::MAX))),
            _ => {
                let some = self.bytes(20);
                bytes.splice(one..one, some);
            }
        }
    }
}

/// Encoded with its attributes in the order of their names: a map has another one each time.
fn in_order(mut element: pb::Submission) -> Vec<u8> {
    let mut attributes: Vec<_> = element.attributes.drain().collect();
    attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut bytes = element.encode_to_vec();
    for attribute in attributes {
        // Messages that follow each other are one.
        let one = pb::Submission { attributes: [attribute].into(), ..pb::Submission::default() };
        bytes.extend(one.encode_to_vec());
    }
    bytes
}

/// A field that has a length.
fn delimited(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend(bytes);
}

/// A batch for the pool that is split by key, as columns.
fn columns(serial: u64) -> pb::Columns {
    let serials = [serial, serial + 1];
    let numbers = |numbers: [u64; 2]| numbers.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>();
    let column = |name: &str, values| pb::AttributeColumn {
        name: name.to_owned(),
        column: Some(pb::Column { present: vec![0b11].into(), values: Some(values) }),
    };
    let (mut text, mut ends) = (String::new(), Vec::new());
    for serial in serials {
        text.push_str(&crate::workload::key(serial));
        ends.extend((text.len() as u32).to_le_bytes());
    }
    pb::Columns {
        count: 2,
        keys: Some(pb::TextColumn { text: text.into(), ends: ends.into() }),
        attributes: vec![
            column("serial", pb::column::Values::Ints(numbers(serials).into())),
            column("role", pb::column::Values::Ints(numbers([0, 1]).into())),
        ],
        ttls_ms: numbers([2_000, 2_000]).into(),
        ..pb::Columns::default()
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_of(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(number, &mut bytes);
    bytes
}

/// Whether these bytes are no message of any type: a tag or a length that is none, or an end before the end of a field.
pub fn is_broken(mut bytes: &[u8]) -> bool {
    fn number(bytes: &mut &[u8]) -> Option<u64> {
        let mut found: u64 = 0;
        for place in 0..10 {
            let (&byte, rest) = bytes.split_first()?;
            *bytes = rest;
            // The tenth has the highest bit alone.
            if place == 9 && byte > 1 {
                return None;
            }
            found |= u64::from(byte & 0x7F) << (7 * place);
            if byte < 0x80 {
                return Some(found);
            }
        }
        None
    }
    fn field(bytes: &mut &[u8]) -> Option<()> {
        let tag = number(bytes)?;
        if tag > u64::from(u32::MAX) || tag >> 3 == 0 {
            return None;
        }
        let skip = match tag & 7 {
            0 => number(bytes).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(number(bytes)?).ok()?,
            5 => 4,
            // Groups may be skipped, and nested; nothing here looks into one.
            3 | 4 => bytes.len(),
            _ => return None,
        };
        *bytes = bytes.get(skip..)?;
        Some(())
    }
    while !bytes.is_empty() {
        if field(&mut bytes).is_none() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_whole_is_a_message_and_what_is_cut_short_is_none() {
        let (schema, known) = (MessageSchema::new(), Known::default());
        let mut draw = Draw { rng: Rng::new(1), schema: &schema, known: &known };
        for method in &schema.methods {
            for _ in 0..200 {
                let bytes = draw.message(&method.input, 0);
                assert!(!is_broken(&bytes), "{} {bytes:?}", method.path());
            }
        }
        let bytes = pb::GetPoolRequest { name: "pool".into() }.encode_to_vec();
        assert!(!is_broken(&bytes) && is_broken(&bytes[..3]) && is_broken(&[0xFF; 10]) && is_broken(&[7]));
    }

    #[test]
    fn good_requests_are_read_by_whoever_serves_them() {
        let (schema, known) = (MessageSchema::new(), Known::default());
        let mut draw = Draw { rng: Rng::new(2), schema: &schema, known: &known };
        let submit = schema.methods.iter().find(|method| method.name == "Submit").expect("there is one");
        for _ in 0..100 {
            let bytes = draw.good(submit).expect("it has one");
            let request = pb::SubmitRequest::decode(bytes.as_slice()).expect("it is one");
            if let Some(pb::submit_request::Batch::Columns(columns)) = request.batch {
                dovetail_wire::SubmittedColumns::read(columns).expect("they are columns");
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_messages() {
        let (schema, known) = (MessageSchema::new(), Known::default());
        let drawn = |seed| {
            let mut draw = Draw { rng: Rng::new(seed), schema: &schema, known: &known };
            schema.methods.iter().map(|method| draw.request(method)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert!((3..200).all(|seed| drawn(seed) == drawn(seed)));
        assert_ne!(drawn(1), drawn(2));
    }
}
