//! Little-endian integers in slices, and checksums, as every file here has them. Panics where the slice is too short.

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().expect("sixteen bytes"))
}

/// Whether a checksum is what it should be. Always, where a fuzzer makes what is read: it would not get past one
/// (fuzz/README.md).
pub(crate) fn agrees(found: u32, expected: u32) -> bool {
    cfg!(fuzzing) || found == expected
}
