//! The best loops we can write by hand for the same tests: columns of the smallest type, 64 lanes at a time, compiled
//! for what the processor has. A programmer who knows the rule would write this.

use dovetail_rule::{Row, Value};

use crate::cases::{Case, LIMIT};

const LANES: usize = 64;
/// Of a point's lanes, so many have their sums in registers.
const PART: usize = 32;

/// The columns of a case, in whole blocks; the lanes left over satisfy nothing.
pub enum Columns {
    Ints(Vec<i32>),
    Symbols(Vec<u32>),
    Sets(Vec<u64>),
    Points(Vec<[[f32; LANES]; 8]>),
    Texts(Vec<Box<str>>),
}

/// What a search asks.
pub enum Probe {
    Int(i32),
    Symbol(u32),
    Set(u64),
    Point([f32; 8]),
    Text(Box<str>),
}

impl Columns {
    pub fn new(case: Case, rows: &[Row]) -> Columns {
        let probes = rows.iter().map(|row| Probe::new(case, row));
        let padded = rows.len().next_multiple_of(LANES);
        let mut columns = match case {
            Case::IntBand => Columns::Ints(Vec::with_capacity(padded)),
            Case::StringInequality => Columns::Symbols(Vec::with_capacity(padded)),
            Case::SetIntersection => Columns::Sets(Vec::with_capacity(padded)),
            Case::Distance => Columns::Points(vec![[[f32::INFINITY; LANES]; 8]; padded / LANES]),
            Case::Residual => Columns::Texts(Vec::with_capacity(rows.len())),
        };
        for (at, probe) in probes.enumerate() {
            match (&mut columns, probe) {
                (Columns::Ints(ints), Probe::Int(int)) => ints.push(int),
                (Columns::Symbols(symbols), Probe::Symbol(symbol)) => symbols.push(symbol),
                (Columns::Sets(sets), Probe::Set(set)) => sets.push(set),
                (Columns::Texts(texts), Probe::Text(text)) => texts.push(text),
                (Columns::Points(blocks), Probe::Point(point)) => {
                    let block = &mut blocks[at / LANES];
                    block.iter_mut().zip(point).for_each(|(column, x)| column[at % LANES] = x);
                }
                _ => unreachable!("columns are of the probes' case"),
            }
        }
        match &mut columns {
            Columns::Ints(ints) => ints.resize(padded, i32::MAX),
            Columns::Symbols(symbols) => symbols.resize(padded, 1),
            Columns::Sets(sets) => sets.resize(padded, 0),
            Columns::Points(_) | Columns::Texts(_) => {}
        }
        columns
    }

    /// Where the anchors are that satisfy.
    pub fn search(&self, probe: &Probe, found: &mut Vec<usize>) {
        found.clear();
        match (self, probe) {
            (Columns::Ints(ints), &Probe::Int(int)) => best::ints(ints, int, found),
            (Columns::Symbols(symbols), &Probe::Symbol(symbol)) => best::symbols(symbols, symbol, found),
            (Columns::Sets(sets), &Probe::Set(set)) => best::sets(sets, set, found),
            (Columns::Points(blocks), Probe::Point(point)) => best::points(blocks, point, found),
            (Columns::Texts(texts), Probe::Text(text)) => {
                found.extend(texts.iter().enumerate().filter(|(_, name)| name.contains(&**text)).map(|(at, _)| at));
            }
            _ => unreachable!("a probe is of the columns' case"),
        }
    }

    /// Bytes that a search reads for each anchor.
    pub fn bytes_each(&self) -> usize {
        match self {
            Columns::Ints(_) | Columns::Symbols(_) => 4,
            Columns::Sets(_) => 8,
            Columns::Points(_) => 32,
            Columns::Texts(texts) => size_of::<Box<str>>() + texts.first().map_or(0, |text| text.len()),
        }
    }
}

impl Probe {
    pub fn new(case: Case, row: &Row) -> Probe {
        match (case, row.values()[0].as_ref().expect("nothing is missing")) {
            (Case::Distance, _) => Probe::Point(std::array::from_fn(|k| match row.values()[k] {
                Some(Value::Double(x)) => x as f32,
                _ => unreachable!("a point has eight doubles"),
            })),
            (_, Value::Int(int)) => Probe::Int(*int as i32),
            (Case::StringInequality, Value::String(_)) => Probe::Symbol(1),
            (_, Value::String(text)) => Probe::Text(text.clone()),
            (_, Value::StringList(list)) => {
                let bit = |entry: &str| 1 << entry.trim_start_matches("mode").parse::<u32>().expect("a number");
                Probe::Set(list.iter().fold(0, |set, entry| set | bit(entry)))
            }
            _ => unreachable!("no such attribute"),
        }
    }
}

/// Finds lanes block by block: `$any` says whether a lane satisfies, without a branch, so that the compiler makes
/// vectors of it.
macro_rules! each_block {
    ($blocks:expr, $found:expr, |$block:ident, $lane:ident| $satisfies:expr) => {
        for (at, $block) in $blocks.iter().enumerate() {
            let mut any = 0u32;
            for $lane in 0..LANES {
                any |= u32::from($satisfies);
            }
            if any != 0 {
                $found.extend((0..LANES).filter(|&$lane| $satisfies).map(|lane| at * LANES + lane));
            }
        }
    };
}

#[inline(always)]
fn ints(ints: &[i32], int: i32, found: &mut Vec<usize>) {
    let blocks: &[[i32; LANES]] = ints.as_chunks().0;
    // One comparison for both ends of the band.
    let low = int - 25;
    each_block!(blocks, found, |block, lane| (block[lane].wrapping_sub(low) as u32) <= 50);
}

#[inline(always)]
fn symbols(symbols: &[u32], symbol: u32, found: &mut Vec<usize>) {
    let blocks: &[[u32; LANES]] = symbols.as_chunks().0;
    each_block!(blocks, found, |block, lane| block[lane] != symbol);
}

#[inline(always)]
fn sets(sets: &[u64], set: u64, found: &mut Vec<usize>) {
    let blocks: &[[u64; LANES]] = sets.as_chunks().0;
    for (at, block) in blocks.iter().enumerate() {
        let any = block.iter().fold(0, |any, one| any | (one & set));
        if any != 0 {
            found.extend((0..LANES).filter(|&lane| block[lane] & set != 0).map(|lane| at * LANES + lane));
        }
    }
}

#[inline(always)]
fn points<const FUSED: bool>(blocks: &[[[f32; LANES]; 8]], point: &[f32; 8], found: &mut Vec<usize>) {
    for (at, block) in blocks.iter().enumerate() {
        for part in (0..LANES).step_by(PART) {
            let mut sums = [0f32; PART];
            for (column, x) in block.iter().zip(point) {
                let column: &[f32; PART] = column[part..part + PART].try_into().expect("as long as a part");
                for lane in 0..PART {
                    let off = column[lane] - x;
                    sums[lane] = if FUSED { off.mul_add(off, sums[lane]) } else { off * off + sums[lane] };
                }
            }
            let any = sums.iter().fold(0, |any, &sum| any | u32::from(sum < LIMIT));
            if any != 0 {
                found.extend((0..PART).filter(|&lane| sums[lane] < LIMIT).map(|lane| at * LANES + part + lane));
            }
        }
    }
}

#[inline(always)]
fn read(words: &[[u64; LANES]]) -> u64 {
    let mut sums = [0; LANES];
    for block in words {
        sums.iter_mut().zip(block).for_each(|(sum, word)| *sum ^= word);
    }
    sums.iter().fold(0, |all, sum| all ^ sum)
}

/// The same functions, compiled for what the processor has.
mod best {
    #![allow(unsafe_code, reason = "calls what was compiled for AVX2 where that was found")]

    use super::LANES;

    macro_rules! best {
        ($($name:ident: $loops:expr, $avx2:expr, ($($argument:ident: $of:ty),*) -> $out:ty;)*) => {$(
            pub fn $name($($argument: $of),*) -> $out {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
                    fn compiled($($argument: $of),*) -> $out {
                        $avx2($($argument),*)
                    }
                    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                        // SAFETY: the features were found; who has them has the others too.
                        return unsafe { compiled($($argument),*) };
                    }
                }
                $loops($($argument),*)
            }
        )*};
    }

    best! {
        ints: super::ints, super::ints, (ints: &[i32], int: i32, found: &mut Vec<usize>) -> ();
        symbols: super::symbols, super::symbols, (symbols: &[u32], symbol: u32, found: &mut Vec<usize>) -> ();
        sets: super::sets, super::sets, (sets: &[u64], set: u64, found: &mut Vec<usize>) -> ();
        points: super::points::<false>, super::points::<true>,
            (blocks: &[[[f32; LANES]; 8]], point: &[f32; 8], found: &mut Vec<usize>) -> ();
        read: super::read, super::read, (words: &[[u64; LANES]]) -> u64;
    }
}

/// As many bytes as a search reads, and nothing to do with them but to read them: what memory allows.
pub struct Stream(Vec<[u64; LANES]>);

impl Stream {
    pub fn new(bytes: usize) -> Stream {
        let block = |at: u64| std::array::from_fn(|lane| at ^ lane as u64);
        Stream((0..bytes.div_ceil(size_of::<[u64; LANES]>()) as u64).map(block).collect())
    }

    pub fn read(&self) -> u64 {
        best::read(&self.0)
    }
}
