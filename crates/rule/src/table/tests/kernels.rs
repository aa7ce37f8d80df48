//! Every level of the processor against the plain loops. That these are right is what the model shows.

use super::model::Random;
use super::shapes::{column, schema};
use crate::expr::End;
use crate::filter::{Asked, Bound, Node, Operand, Probe, Store, Sum};
use crate::strings::Strings;
use crate::table::Secret;
use crate::table::block::Block;
use crate::table::kernel::{Scan, VectorLevel};
use crate::table::layout::{Lane, Layout, Root, Shape};
use crate::table::query::Query;
use crate::{Row, Side};

const WORDS: [u32; 16] = [
    0,
    1,
    63,
    64,
    65,
    i32::MIN as u32,
    i32::MIN as u32 + 1,
    i32::MAX as u32,
    u32::MAX,
    f32::NAN.to_bits(),
    f32::INFINITY.to_bits(),
    f32::NEG_INFINITY.to_bits(),
    (-0.0f32).to_bits(),
    1.0f32.to_bits(),
    (1u64 << 60).cast_signed() as f32 as u32,
    1 << 30,
];

fn word(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => WORDS[random.below(16) as usize],
        1 => random.below(80) as u32,
        2 => ((random.below(2_000) as f32) / 100.0 - 10.0).to_bits(),
        _ => random.below(1 << 32) as u32,
    }
}

/// A layout with one column of every store that has words, and a bit; `root` is asked.
fn layout(root: Node) -> Layout {
    let schema = schema();
    let columns =
        [("n", Store::Int), ("x", Store::Double), ("y", Store::Double), ("tags", Store::Set), ("ok", Store::Bit)];
    let sum = |columns: &[usize], squared| Sum { columns: columns.into(), squared };
    Layout::new(&Shape {
        keyed: false,
        columns: columns.map(|(name, store)| column(&schema, name, store)).into(),
        sums: vec![sum(&[1, 2], true), sum(&[0, 1, 2, 1, 2], false), sum(&[0, 2], true), sum(&[1, 2, 1, 2], true)],
        roots: [root.clone(), root],
        ask: Box::new(|_, _, _, _| ()),
        exact: None,
        ordered: Box::default(),
    })
}

fn block(layout: &Layout, random: &mut Random, lanes: usize) -> Block {
    let mut block = Block::new(layout, lanes);
    for at in 0..block.capacity().min(lanes) {
        let mut double = || if random.below(9) == 0 { f32::NAN } else { random.below(2_000) as f32 / 100.0 - 10.0 };
        let doubles = [double().to_bits(), double().to_bits()];
        let words = vec![word(random), doubles[0], doubles[1], word(random), word(random)];
        let bits = vec![random.below(2) == 0];
        block.push(
            layout,
            at as u32,
            at as u64,
            &Lane { words, bits, reach: vec![1e3; 4], wild: random.below(50) == 0 },
        );
        if random.below(6) == 0 {
            block.live &= !(1 << at);
        }
    }
    block
}

fn bound(random: &mut Random) -> (Bound, Operand) {
    let float = |random: &mut Random| match f32::from_bits(word(random)) {
        float if float.is_nan() => 0.0,
        float => float,
    };
    let set = u64::from(word(random)) << 32 | u64::from(word(random));
    match random.below(12) {
        0 => (Bound::Never, Operand::Probe),
        1 => (Bound::Always, Operand::Probe),
        2 => (Bound::Bit, Operand::Column(4)),
        3 => {
            (Bound::Int { low: (word(random) as i32).max(i32::MIN + 1), high: word(random) as i32 }, Operand::Column(0))
        }
        4 => (Bound::IntNot(word(random) as i32), Operand::Column(0)),
        5 => (Bound::Double { low: float(random), high: float(random) }, Operand::Column(1)),
        6 => (Bound::Symbol(word(random).max(1)), Operand::Column(0)),
        7 => (Bound::SymbolNot(word(random)), Operand::Column(0)),
        8 => (Bound::SymbolIn(set), Operand::Column(0)),
        9 => (Bound::Set(set), Operand::Column(3)),
        _ => (Bound::Sum { from: 0, limit: random.below(400) as f64 }, Operand::Sum(random.below(4) as usize)),
    }
}

/// A random tree over the leaves.
fn node(random: &mut Random, leaves: &[Node]) -> Node {
    if leaves.len() == 1 {
        return leaves[0].clone();
    }
    let at = 1 + random.below(leaves.len() as u64 - 1) as usize;
    let parts = [node(random, &leaves[..at]), node(random, &leaves[at..])];
    if random.below(2) == 0 { Node::All(parts.into()) } else { Node::Any(parts.into()) }
}

/// Miri is some thousand times slower.
const ROUNDS: u32 = if cfg!(miri) { 100 } else { 20_000 };

#[test]
fn every_level_finds_what_plain_loops_find() {
    let mut random = Random(0x5EED);
    let mut survivors = 0u32;
    for round in 0..ROUNDS {
        let count = if round % 3 == 0 { 1 } else { 1 + random.below(4) as usize };
        let bounds: Vec<(Bound, Operand)> = (0..count).map(|_| bound(&mut random)).collect();
        let leaves: Vec<Node> = (0..count).map(|at| Node::Leaf { bound: at, of: bounds[at].1 }).collect();
        let root = if round % 2 == 0 { Node::All(leaves.into()) } else { node(&mut random, &leaves) };
        let layout = layout(root);
        let lanes = [3, 16, 17, 32, 64][random.below(5) as usize];
        let blocks = [block(&layout, &mut random, lanes)];
        let mut query = Query::default();
        let plain = random.below(2) == 0;
        let values: Vec<f64> = (0..10).map(|_| random.below(2_000) as f64 / 100.0 - 10.0).collect();
        let shape = Shape {
            keyed: false,
            columns: vec![],
            sums: vec![],
            roots: [Node::All(Box::default()), Node::All(Box::default())],
            exact: None,
            ordered: Box::default(),
            ask: Box::new(move |_, _, _, asked: &mut Asked| {
                asked.bounds = bounds.iter().map(|&(bound, _)| bound).collect();
                asked.points = values[..5].to_vec();
                asked.weights = values[5..].iter().map(|value| if plain { 1.0 } else { value.abs() }).collect();
            }),
        };
        let row = Row::from_values([]);
        let probe = Probe { side: Side { row: &row, waited_ms: 0 }, oldest_waited_ms: 0 };
        query.ask(&layout, &shape, End::A, &probe, &Strings::new(Secret([1, 2])));
        let scan = Scan { layout: &layout, root: layout.root(End::A), query: &query };
        let expected = scan.next(VectorLevel::Scalar, &blocks);
        for level in VectorLevel::all() {
            let found = scan.next(level, &blocks);
            assert_eq!(found, expected, "{level:?}: {:?} of {blocks:?}", query.bounds());
        }
        survivors += expected.map_or(0, |(_, mask)| mask.count_ones());
        assert!(
            matches!(layout.root(End::A), Root::Everything)
                || blocks[0].live | expected.map_or(0, |e| e.1) == blocks[0].live
        );
    }
    assert!(survivors > ROUNDS * 5 / 2, "the cases are not all alike: {survivors}");
}
