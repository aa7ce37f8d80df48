//! One attribute of many elements, in columns, as messages and the log have it.
//!
//! Only views: a column is checked by whoever reads it in, and so are its texts, which are UTF-8.

/// One attribute of many elements, by row.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a> {
    /// Which rows have the attribute: a bit each, the lowest of the first byte first. Empty when all have it.
    pub present: &'a [u8],
    /// By row, also of those that do not have the attribute.
    pub values: CellValues<'a>,
}

/// The values of a column.
#[derive(Clone, Copy, Debug)]
pub enum CellValues<'a> {
    /// No row has the attribute.
    None,
    /// Little-endian.
    Ints(&'a [[u8; 8]]),
    /// Little-endian. NaN is a missing attribute.
    Doubles(&'a [[u8; 8]]),
    /// 0 or 1.
    Bools(&'a [u8]),
    /// Texts, and where each ends in them, little-endian.
    Texts {
        /// One after the other. UTF-8.
        text: &'a [u8],
        /// By row.
        ends: &'a [[u8; 4]],
    },
    /// Lists of texts, of which nothing can be read here.
    Lists,
}

impl Cells<'_> {
    /// Whether a row has the attribute.
    #[inline]
    pub(crate) fn has(&self, row: usize) -> bool {
        self.present.get(row / 8).is_none_or(|bits| bits >> (row % 8) & 1 == 1)
    }
}

/// The text of a row.
#[inline]
pub(crate) fn text_of<'a>(text: &'a [u8], ends: &[[u8; 4]], row: usize) -> &'a [u8] {
    let end = |row: usize| u32::from_le_bytes(ends[row]) as usize;
    &text[row.checked_sub(1).map_or(0, end)..end(row)]
}
