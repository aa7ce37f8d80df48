//! The bytes of a checkpoint: a header, chunks, a footer. Pure functions over slices; all integers little-endian.
//!
//! ```text
//! header, 40                     magic 8 | crc 4 | version 4 | log id 16 | through 8
//! chunk header, 8, then bytes    crc 4 | length 4
//! footer, 28                     crc 4 | FFFFFFFF | chunks 8 | bytes 8: of all chunks | sum 4
//! ```
//!
//! The checksum of chunk and footer is CRC-32C of everything after it, started from log id, `through` and offset: what
//! belongs to another checkpoint or place does not check here. The footer's sum is of all chunks' checksums, in order:
//! it need not find damage, only say that they are the same chunks.

use crate::integers::{agrees, u32_at, u64_at, u128_at};

pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const CHUNK_HEADER_BYTES: usize = 8;
pub(crate) const FOOTER_BYTES: usize = 28;

const MAGIC: [u8; 8] = *b"DOVETCKP";
/// Where a chunk has its length, a footer has this.
const FOOTER_MARK: u32 = u32::MAX;

/// Odd, so that multiplying by it loses nothing.
const SPREAD: u32 = 0x9e37_79b1;

/// Largest chunk a checkpoint takes.
pub const CHUNK_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(CHUNK_BYTES_MAX < FOOTER_MARK as usize, "a length must never look like a footer");

/// Where every checksum in a checkpoint starts from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointSeed(u32);

impl CheckpointSeed {
    fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        // Two places of one file share a start only by chance, and then the sum still tells them apart.
        let place = offset as u32 ^ ((offset >> 32) as u32).wrapping_mul(SPREAD);
        crc32c::crc32c_append(self.0 ^ place, bytes)
    }
}

/// What a checkpoint says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub log_id: u128,
    pub through: u64,
}

/// Why a header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointHeaderError {
    Version(u32),
    Damaged(&'static str),
}

impl Header {
    pub fn seed(&self) -> CheckpointSeed {
        CheckpointSeed(crc32c::crc32c_append(crc32c::crc32c(&self.log_id.to_le_bytes()), &self.through.to_le_bytes()))
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.through.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointHeaderError> {
        if bytes.len() < HEADER_BYTES {
            return Err(CheckpointHeaderError::Damaged("the file ends inside its header"));
        }
        if bytes[..8] != MAGIC {
            return Err(CheckpointHeaderError::Damaged("not a checkpoint: the magic bytes are missing"));
        }
        if !agrees(u32_at(bytes, 8), crc32c::crc32c(&bytes[12..HEADER_BYTES])) {
            return Err(CheckpointHeaderError::Damaged("the checksum of the checkpoint's header does not match"));
        }
        match u32_at(bytes, 12) {
            VERSION => Ok(Self { log_id: u128_at(bytes, 16), through: u64_at(bytes, 32) }),
            version => Err(CheckpointHeaderError::Version(version)),
        }
    }
}

/// What has gone by: the writer puts it into the footer, the reader compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub chunks: u64,
    /// Without headers.
    pub bytes: u64,
    sum: u32,
}

impl Totals {
    fn add(&mut self, checksum: u32, bytes: usize) {
        self.chunks += 1;
        self.bytes += bytes as u64;
        self.sum = (self.sum.rotate_left(5) ^ checksum).wrapping_mul(SPREAD);
    }

    /// Length of a file of these chunks; None when no file is that long.
    pub fn file_bytes(&self) -> Option<u64> {
        let headers = self.chunks.checked_mul(CHUNK_HEADER_BYTES as u64)?;
        headers.checked_add(self.bytes)?.checked_add((HEADER_BYTES + FOOTER_BYTES) as u64)
    }
}

/// Appends the chunk that will stand at `offset` to `out`.
pub(crate) fn encode_chunk(seed: CheckpointSeed, offset: u64, bytes: &[u8], totals: &mut Totals, out: &mut Vec<u8>) {
    assert!(bytes.len() <= CHUNK_BYTES_MAX, "the writer refuses larger chunks");
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
    let checksum = seed.checksum(offset, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    totals.add(checksum, bytes.len());
}

/// Appends the footer that will stand at `offset` to `out`.
pub(crate) fn encode_footer(seed: CheckpointSeed, offset: u64, totals: &Totals, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&FOOTER_MARK.to_le_bytes());
    out.extend_from_slice(&totals.chunks.to_le_bytes());
    out.extend_from_slice(&totals.bytes.to_le_bytes());
    out.extend_from_slice(&totals.sum.to_le_bytes());
    let checksum = seed.checksum(offset, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// What a chunk header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A chunk that is this long, its header included. Not verified yet.
    Chunk(usize),
    Footer,
}

/// Reads the chunk header at the start of `bytes`.
pub(crate) fn next(bytes: &[u8]) -> Result<Next, &'static str> {
    match u32_at(bytes, 4) {
        FOOTER_MARK => Ok(Next::Footer),
        length if length as usize <= CHUNK_BYTES_MAX => Ok(Next::Chunk(CHUNK_HEADER_BYTES + length as usize)),
        _ => Err("a chunk's length is above every limit"),
    }
}

/// Verifies the chunk that is exactly `bytes`, at `offset`, and counts it.
pub(crate) fn verify_chunk(
    seed: CheckpointSeed,
    offset: u64,
    bytes: &[u8],
    totals: &mut Totals,
) -> Result<(), &'static str> {
    let checksum = u32_at(bytes, 0);
    if !agrees(checksum, seed.checksum(offset, &bytes[4..])) {
        return Err("the checksum of a chunk does not match");
    }
    totals.add(checksum, bytes.len() - CHUNK_HEADER_BYTES);
    Ok(())
}

/// Reads the footer that is exactly `bytes`, at `offset`.
pub(crate) fn decode_footer(seed: CheckpointSeed, offset: u64, bytes: &[u8]) -> Result<Totals, &'static str> {
    if u32_at(bytes, 4) != FOOTER_MARK || !agrees(u32_at(bytes, 0), seed.checksum(offset, &bytes[4..])) {
        return Err("no intact footer where the checkpoint ends");
    }
    Ok(Totals { chunks: u64_at(bytes, 8), bytes: u64_at(bytes, 16), sum: u32_at(bytes, 24) })
}
