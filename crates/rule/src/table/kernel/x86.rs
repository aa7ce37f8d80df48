//! AVX2 and AVX-512.
//!
//! Loads are of whole [`CacheLine`]s, which are aligned and as long as a register of AVX-512, or two of AVX2.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::scan::{Lines, Scan, next, split, tree};
use crate::filter::INT_MISSING;
use crate::table::block::{Block, CacheLine};
use crate::table::layout::{Terms, Tree};

/// Never made: its functions are called by [`next_avx512`] and below only.
struct Avx512;
/// Never made: its functions are called by [`next_avx2`] and below only.
struct Avx2;

/// The scan for AVX-512. The level was detected, or there would be no [`Level::Avx512`](super::Level).
#[inline]
pub(super) fn next_avx512(scan: &Scan<'_>, blocks: &[Block]) -> Option<(usize, u64)> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,bmi1,bmi2,popcnt,lzcnt")]
    fn compiled(scan: &Scan<'_>, blocks: &[Block]) -> Option<(usize, u64)> {
        next::<Avx512>(scan, blocks)
    }
    // SAFETY: `Level::all` has found these features, and nothing else makes the level.
    unsafe { compiled(scan, blocks) }
}

/// The scan for AVX2. The level was detected, or there would be no [`Level::Avx2`](super::Level).
#[inline]
pub(super) fn next_avx2(scan: &Scan<'_>, blocks: &[Block]) -> Option<(usize, u64)> {
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
    fn compiled(scan: &Scan<'_>, blocks: &[Block]) -> Option<(usize, u64)> {
        next::<Avx2>(scan, blocks)
    }
    // SAFETY: `Level::all` has found these features, and nothing else makes the level.
    unsafe { compiled(scan, blocks) }
}

impl Lines for Avx512 {
    #[inline(always)]
    fn int_range(line: &CacheLine, low: i32, high: i32) -> u32 {
        // SAFETY: see `Avx512`.
        unsafe {
            let (cells, low, high) = (ints512(line), _mm512_set1_epi32(low), _mm512_set1_epi32(high));
            u32::from(_mm512_mask_cmple_epi32_mask(_mm512_cmpge_epi32_mask(cells, low), cells, high))
        }
    }

    #[inline(always)]
    fn double_range(line: &CacheLine, low: f32, high: f32) -> u32 {
        // SAFETY: see `Avx512`.
        unsafe {
            let (cells, low, high) = (floats512(line), _mm512_set1_ps(low), _mm512_set1_ps(high));
            let above = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(cells, low);
            u32::from(_mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(above, cells, high))
        }
    }

    #[inline(always)]
    fn equal(line: &CacheLine, word: u32) -> u32 {
        // SAFETY: see `Avx512`.
        unsafe { u32::from(_mm512_cmpeq_epi32_mask(ints512(line), _mm512_set1_epi32(word as i32))) }
    }

    #[inline(always)]
    fn neither(line: &CacheLine, one: u32, other: u32) -> u32 {
        // SAFETY: see `Avx512`.
        unsafe {
            let cells = ints512(line);
            let some = _mm512_cmpneq_epi32_mask(cells, _mm512_set1_epi32(one as i32));
            u32::from(_mm512_mask_cmpneq_epi32_mask(some, cells, _mm512_set1_epi32(other as i32)))
        }
    }

    #[inline(always)]
    fn within(line: &CacheLine, set: u64) -> u32 {
        // SAFETY: see `Avx512`.
        unsafe {
            let cells = ints512(line);
            let upper = _mm512_test_epi32_mask(cells, _mm512_set1_epi32(32));
            let halves = _mm512_mask_set1_epi32(_mm512_set1_epi32(set as i32), upper, (set >> 32) as i32);
            let bits = _mm512_srlv_epi32(halves, _mm512_and_si512(cells, _mm512_set1_epi32(31)));
            let there = _mm512_test_epi32_mask(cells, cells);
            u32::from(_mm512_mask_test_epi32_mask(there, bits, _mm512_set1_epi32(1)))
        }
    }

    #[inline(always)]
    fn shares(low: &CacheLine, high: &CacheLine, set: u64) -> u32 {
        // SAFETY: see `Avx512`.
        unsafe {
            let low = _mm512_test_epi32_mask(ints512(low), _mm512_set1_epi32(set as i32));
            let high = _mm512_test_epi32_mask(ints512(high), _mm512_set1_epi32((set >> 32) as i32));
            u32::from(low | high)
        }
    }

    #[inline(always)]
    fn sum<const LINES: usize, const SQUARED: bool>(
        block: &Block,
        terms: &Terms,
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64 {
        // SAFETY: see `Avx512`.
        unsafe {
            let most = _mm512_set1_ps(limit);
            let mut sums = [_mm512_setzero_ps(); LINES];
            let split = split(terms.columns.len());
            for (term, (&(strip, int), &point)) in terms.columns.iter().zip(points).enumerate() {
                if term == split {
                    let mut some = 0;
                    for sum in &sums {
                        some |= _mm512_cmp_ps_mask::<_CMP_LE_OQ>(*sum, most);
                    }
                    if some == 0 {
                        return 0;
                    }
                }
                let (cells, point) = (block.strip::<LINES>(strip), _mm512_set1_ps(point));
                let weight = _mm512_set1_ps(weights[term]);
                for (sum, line) in sums.iter_mut().zip(cells) {
                    let value = if int { converted512(line) } else { floats512(line) };
                    let off = _mm512_sub_ps(value, point);
                    let off = if SQUARED { _mm512_mul_ps(off, off) } else { _mm512_abs_ps(off) };
                    *sum = _mm512_fmadd_ps(off, weight, *sum);
                }
            }
            let mut all = 0;
            for (at, sum) in sums.iter().enumerate() {
                all |= u64::from(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(*sum, most)) << (16 * at);
            }
            all
        }
    }

    #[inline(always)]
    fn run<const LINES: usize, const SQUARED: bool, const PLAIN: bool>(
        strips: &[[CacheLine; LINES]],
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64 {
        // SAFETY: see `Avx512`.
        unsafe {
            let most = _mm512_set1_ps(limit);
            let mut sums = [_mm512_setzero_ps(); LINES];
            let split = split(strips.len());
            let (first, last) = strips.split_at(split);
            let (first_points, last_points) = points.split_at(split);
            let (first_weights, last_weights) = weights.split_at(split);
            add512::<LINES, SQUARED, PLAIN>(&mut sums, first, first_points, first_weights);
            if !last.is_empty() {
                let mut some = 0;
                for sum in &sums {
                    some |= _mm512_cmp_ps_mask::<_CMP_LE_OQ>(*sum, most);
                }
                if some == 0 {
                    return 0;
                }
                add512::<LINES, SQUARED, PLAIN>(&mut sums, last, last_points, last_weights);
            }
            let mut all = 0;
            for (at, sum) in sums.iter().enumerate() {
                all |= u64::from(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(*sum, most)) << (16 * at);
            }
            all
        }
    }

    #[inline(always)]
    fn prefetch(line: &CacheLine) {
        // SAFETY: a hint about memory that is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const line.0).cast()) }
    }

    #[inline(always)]
    fn tree<const LINES: usize>(scan: &Scan<'_>, root: &Tree, block: &Block, lanes: u64) -> u64 {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,bmi1,bmi2,popcnt,lzcnt")]
        fn compiled<const LINES: usize>(scan: &Scan<'_>, root: &Tree, block: &Block, lanes: u64) -> u64 {
            tree::<Avx512, LINES>(scan, root, block, lanes)
        }
        // SAFETY: see `Avx512`.
        unsafe { compiled::<LINES>(scan, root, block, lanes) }
    }
}

/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn ints512(line: &CacheLine) -> __m512i {
    // SAFETY: a line is 64 bytes, aligned to as many.
    unsafe { _mm512_load_si512((&raw const line.0).cast()) }
}

/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn floats512(line: &CacheLine) -> __m512 {
    // SAFETY: a line is 64 bytes, aligned to as many.
    unsafe { _mm512_load_ps((&raw const line.0).cast()) }
}

/// Ints as floats, missing ones as NaN.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn converted512(line: &CacheLine) -> __m512 {
    // SAFETY: the caller's.
    unsafe {
        let cells = ints512(line);
        let missing = _mm512_cmpeq_epi32_mask(cells, _mm512_set1_epi32(INT_MISSING));
        _mm512_mask_blend_ps(missing, _mm512_cvtepi32_ps(cells), _mm512_set1_ps(f32::NAN))
    }
}

/// Adds terms to sums.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn add512<const LINES: usize, const SQUARED: bool, const PLAIN: bool>(
    sums: &mut [__m512; LINES],
    strips: &[[CacheLine; LINES]],
    points: &[f32],
    weights: &[f32],
) {
    // SAFETY: the caller's.
    unsafe {
        for ((strip, &point), &weight) in strips.iter().zip(points).zip(weights) {
            let (point, weight) = (_mm512_set1_ps(point), _mm512_set1_ps(weight));
            for (sum, line) in sums.iter_mut().zip(strip) {
                let off = _mm512_sub_ps(point, floats512(line));
                let off = if SQUARED { off } else { _mm512_abs_ps(off) };
                *sum = match (SQUARED, PLAIN) {
                    (true, true) => _mm512_fmadd_ps(off, off, *sum),
                    (true, false) => _mm512_fmadd_ps(_mm512_mul_ps(off, off), weight, *sum),
                    (false, true) => _mm512_add_ps(off, *sum),
                    (false, false) => _mm512_fmadd_ps(off, weight, *sum),
                };
            }
        }
    }
}

/// A mask of 16 from two of 8. No closure, or it would not be compiled for the level.
macro_rules! both {
    ($halves:expr, |$half:ident| $mask:expr) => {{
        let halves = $halves;
        let low = {
            let $half = halves[0];
            $mask
        };
        let $half = halves[1];
        low | $mask << 8
    }};
}

impl Lines for Avx2 {
    #[inline(always)]
    fn int_range(line: &CacheLine, low: i32, high: i32) -> u32 {
        // SAFETY: see `Avx2`.
        unsafe {
            let (low, high) = (_mm256_set1_epi32(low), _mm256_set1_epi32(high));
            both!(ints256(line), |cells| {
                !ones(_mm256_or_si256(_mm256_cmpgt_epi32(low, cells), _mm256_cmpgt_epi32(cells, high))) & 0xFF
            })
        }
    }

    #[inline(always)]
    fn double_range(line: &CacheLine, low: f32, high: f32) -> u32 {
        // SAFETY: see `Avx2`.
        unsafe {
            let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
            both!(floats256(line), |cells| {
                let (above, below) =
                    (_mm256_cmp_ps::<_CMP_GE_OQ>(cells, low), _mm256_cmp_ps::<_CMP_LE_OQ>(cells, high));
                signs(_mm256_and_ps(above, below))
            })
        }
    }

    #[inline(always)]
    fn equal(line: &CacheLine, word: u32) -> u32 {
        // SAFETY: see `Avx2`.
        unsafe {
            let word = _mm256_set1_epi32(word as i32);
            both!(ints256(line), |cells| ones(_mm256_cmpeq_epi32(cells, word)))
        }
    }

    #[inline(always)]
    fn neither(line: &CacheLine, one: u32, other: u32) -> u32 {
        // SAFETY: see `Avx2`.
        unsafe {
            let (one, other) = (_mm256_set1_epi32(one as i32), _mm256_set1_epi32(other as i32));
            both!(ints256(line), |cells| {
                !ones(_mm256_or_si256(_mm256_cmpeq_epi32(cells, one), _mm256_cmpeq_epi32(cells, other))) & 0xFF
            })
        }
    }

    #[inline(always)]
    fn within(line: &CacheLine, set: u64) -> u32 {
        // SAFETY: see `Avx2`.
        unsafe {
            let (low, high) = (_mm256_set1_epi32(set as i32), _mm256_set1_epi32((set >> 32) as i32));
            let (upper, rest) = (_mm256_set1_epi32(32), _mm256_set1_epi32(31));
            both!(ints256(line), |cells| {
                let halves = _mm256_blendv_epi8(low, high, _mm256_cmpeq_epi32(_mm256_and_si256(cells, upper), upper));
                let bits = _mm256_srlv_epi32(halves, _mm256_and_si256(cells, rest));
                let missing = _mm256_cmpeq_epi32(cells, _mm256_setzero_si256());
                // The bit asked for becomes the sign.
                ones(_mm256_andnot_si256(missing, _mm256_slli_epi32::<31>(bits)))
            })
        }
    }

    #[inline(always)]
    fn shares(low: &CacheLine, high: &CacheLine, set: u64) -> u32 {
        // SAFETY: see `Avx2`.
        unsafe {
            let (set_low, set_high) = (_mm256_set1_epi32(set as i32), _mm256_set1_epi32((set >> 32) as i32));
            let (low, high) = (ints256(low), ints256(high));
            let none = both!([0, 1], |at| {
                let shared = _mm256_or_si256(_mm256_and_si256(low[at], set_low), _mm256_and_si256(high[at], set_high));
                ones(_mm256_cmpeq_epi32(shared, _mm256_setzero_si256()))
            });
            !none & 0xFFFF
        }
    }

    #[inline(always)]
    fn sum<const LINES: usize, const SQUARED: bool>(
        block: &Block,
        terms: &Terms,
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64 {
        // SAFETY: see `Avx2`.
        unsafe {
            let most = _mm256_set1_ps(limit);
            let mut sums = [[_mm256_setzero_ps(); 2]; LINES];
            let split = split(terms.columns.len());
            for (term, (&(strip, int), &point)) in terms.columns.iter().zip(points).enumerate() {
                if term == split {
                    let mut some = _mm256_setzero_ps();
                    for sum in sums.as_flattened() {
                        some = _mm256_or_ps(some, _mm256_cmp_ps::<_CMP_LE_OQ>(*sum, most));
                    }
                    if signs(some) == 0 {
                        return 0;
                    }
                }
                let (cells, point) = (block.strip::<LINES>(strip), _mm256_set1_ps(point));
                let weight = _mm256_set1_ps(weights[term]);
                for (sums, line) in sums.iter_mut().zip(cells) {
                    let values = if int { converted256(line) } else { floats256(line) };
                    for (sum, value) in sums.iter_mut().zip(values) {
                        let off = _mm256_sub_ps(value, point);
                        let off =
                            if SQUARED { _mm256_mul_ps(off, off) } else { _mm256_andnot_ps(_mm256_set1_ps(-0.0), off) };
                        *sum = _mm256_fmadd_ps(off, weight, *sum);
                    }
                }
            }
            let mut all = 0;
            for (at, sums) in sums.iter().enumerate() {
                let some = both!(sums, |sum| signs(_mm256_cmp_ps::<_CMP_LE_OQ>(sum, most)));
                all |= u64::from(some) << (16 * at);
            }
            all
        }
    }

    #[inline(always)]
    fn run<const LINES: usize, const SQUARED: bool, const PLAIN: bool>(
        strips: &[[CacheLine; LINES]],
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64 {
        // SAFETY: see `Avx2`.
        unsafe {
            let most = _mm256_set1_ps(limit);
            let mut sums = [[_mm256_setzero_ps(); 2]; LINES];
            let split = split(strips.len());
            let (first, last) = strips.split_at(split);
            let (first_points, last_points) = points.split_at(split);
            let (first_weights, last_weights) = weights.split_at(split);
            add256::<LINES, SQUARED, PLAIN>(&mut sums, first, first_points, first_weights);
            if !last.is_empty() {
                let mut some = _mm256_setzero_ps();
                for sum in sums.as_flattened() {
                    some = _mm256_or_ps(some, _mm256_cmp_ps::<_CMP_LE_OQ>(*sum, most));
                }
                if signs(some) == 0 {
                    return 0;
                }
                add256::<LINES, SQUARED, PLAIN>(&mut sums, last, last_points, last_weights);
            }
            let mut all = 0;
            for (at, sums) in sums.iter().enumerate() {
                let some = both!(sums, |sum| signs(_mm256_cmp_ps::<_CMP_LE_OQ>(sum, most)));
                all |= u64::from(some) << (16 * at);
            }
            all
        }
    }

    #[inline(always)]
    fn prefetch(line: &CacheLine) {
        // SAFETY: a hint about memory that is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const line.0).cast()) }
    }

    #[inline(always)]
    fn tree<const LINES: usize>(scan: &Scan<'_>, root: &Tree, block: &Block, lanes: u64) -> u64 {
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
        fn compiled<const LINES: usize>(scan: &Scan<'_>, root: &Tree, block: &Block, lanes: u64) -> u64 {
            tree::<Avx2, LINES>(scan, root, block, lanes)
        }
        // SAFETY: see `Avx2`.
        unsafe { compiled::<LINES>(scan, root, block, lanes) }
    }
}

/// Adds terms to sums.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn add256<const LINES: usize, const SQUARED: bool, const PLAIN: bool>(
    sums: &mut [[__m256; 2]; LINES],
    strips: &[[CacheLine; LINES]],
    points: &[f32],
    weights: &[f32],
) {
    // SAFETY: the caller's.
    unsafe {
        for ((strip, &point), &weight) in strips.iter().zip(points).zip(weights) {
            let (point, weight) = (_mm256_set1_ps(point), _mm256_set1_ps(weight));
            for (sums, line) in sums.iter_mut().zip(strip) {
                for (sum, value) in sums.iter_mut().zip(floats256(line)) {
                    let off = _mm256_sub_ps(point, value);
                    let off = if SQUARED { off } else { _mm256_andnot_ps(_mm256_set1_ps(-0.0), off) };
                    *sum = match (SQUARED, PLAIN) {
                        (true, true) => _mm256_fmadd_ps(off, off, *sum),
                        (true, false) => _mm256_fmadd_ps(_mm256_mul_ps(off, off), weight, *sum),
                        (false, true) => _mm256_add_ps(off, *sum),
                        (false, false) => _mm256_fmadd_ps(off, weight, *sum),
                    };
                }
            }
        }
    }
}

/// The sign bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn ones(lanes: __m256i) -> u32 {
    // SAFETY: the caller's.
    unsafe { signs(_mm256_castsi256_ps(lanes)) }
}

/// The sign bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn signs(lanes: __m256) -> u32 {
    // SAFETY: the caller's.
    unsafe { _mm256_movemask_ps(lanes) as u32 }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn ints256(line: &CacheLine) -> [__m256i; 2] {
    let from: *const __m256i = (&raw const line.0).cast();
    // SAFETY: a line is 64 bytes, aligned to as many.
    unsafe { [_mm256_load_si256(from), _mm256_load_si256(from.add(1))] }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn floats256(line: &CacheLine) -> [__m256; 2] {
    let from: *const f32 = (&raw const line.0).cast();
    // SAFETY: a line is 64 bytes, aligned to as many.
    unsafe { [_mm256_load_ps(from), _mm256_load_ps(from.add(8))] }
}

/// Ints as floats, missing ones as NaN.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn converted256(line: &CacheLine) -> [__m256; 2] {
    // SAFETY: the caller's.
    unsafe {
        let [low, high] = ints256(line);
        [converted(low), converted(high)]
    }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn converted(cells: __m256i) -> __m256 {
    // SAFETY: the caller's.
    unsafe {
        let missing = _mm256_cmpeq_epi32(cells, _mm256_set1_epi32(INT_MISSING));
        // All ones is a NaN.
        _mm256_or_ps(_mm256_cvtepi32_ps(cells), _mm256_castsi256_ps(missing))
    }
}
