//! The filter over blocks: 64 lanes at a time, into a mask.
//!
//! The [`scan`] is written once. Each level of the processor has its own copy of the whole of it, compiled for it, so
//! that the choice is made once per scan and not per block.

mod scalar;
mod scan;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use scan::Scan;

use crate::table::block::Block;
use crate::table::layout::Root;
use scalar::Scalar;

/// What the processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VectorLevel {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl VectorLevel {
    /// Every level this processor has, the best last.
    pub(super) fn all() -> Vec<VectorLevel> {
        let mut levels = vec![VectorLevel::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            let bits = is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("lzcnt");
            let avx2 = bits && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            levels.extend(avx2.then_some(VectorLevel::Avx2));
            levels.extend((avx2 && avx512).then_some(VectorLevel::Avx512));
        }
        levels
    }

    pub(super) fn best() -> VectorLevel {
        *VectorLevel::all().last().expect("scalar is always there")
    }
}

impl Scan<'_> {
    /// The first block in which something survives, and what does.
    #[inline]
    pub(super) fn next(&self, level: VectorLevel, blocks: &[Block]) -> Option<(usize, u64)> {
        if let Root::Everything = self.root {
            return blocks.iter().position(|block| !block.is_dead()).map(|at| (at, blocks[at].live));
        }
        match level {
            VectorLevel::Scalar => scan::next::<Scalar>(self, blocks),
            #[cfg(target_arch = "x86_64")]
            VectorLevel::Avx2 => x86::next_avx2(self, blocks),
            #[cfg(target_arch = "x86_64")]
            VectorLevel::Avx512 => x86::next_avx512(self, blocks),
        }
    }
}
