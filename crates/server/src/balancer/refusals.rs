//! Why rows of a batch are refused: all of them, in few bytes.
//!
//! A batch of which every row is refused takes 131 kB; its refusals with their texts took 12 MB. So a text is made at
//! once, and only for the first ones; of each row the reason is kept, and the element that is in the way. Invariant:
//! refusals.M1 refusals take 24 bytes each and [`TEXTS_BYTES`] together, whatever was refused.

use dovetail::{pb, reason::Reason, text};

use super::{errors, refused::RowRefused};

/// About the most bytes of text that the refusals of one batch have.
pub(super) const TEXTS_BYTES: usize = 64 << 10;
/// Most bytes that an answer takes for each row while it waits to be read: its id, and why it was refused.
pub(super) const ROW_BYTES: usize = size_of::<u64>() + size_of::<Refused>();
/// Longest text of one, about.
const TEXT_BYTES: usize = 1_280;

/// Refused rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    rows: Vec<Refused>,
    texts: Vec<String>,
    text_bytes: usize,
    /// The first that came, with all that is known of it.
    first: Option<Box<RowRefused>>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    row: u32,
    reason: Reason,
    /// Which of the texts, from 1; 0 for none.
    text: u32,
    holder: u64,
}

impl Refusals {
    /// A row is refused.
    pub(super) fn push(&mut self, row: u32, why: RowRefused) {
        let mut text = 0;
        if self.text_bytes < TEXTS_BYTES {
            let message = text::cut_message(why.to_string());
            self.text_bytes += message.len();
            self.texts.push(message);
            text = u32::try_from(self.texts.len()).unwrap_or_default();
        }
        let holder = errors::row_holder(&why).unwrap_or_default();
        self.rows.push(Refused { row, reason: errors::row_reason(&why), text, holder });
        self.first.get_or_insert_with(|| Box::new(why));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Puts them in the order of their rows.
    pub(super) fn sort(&mut self) {
        self.rows.sort_unstable_by_key(|refused| refused.row);
    }

    /// The first that came.
    pub(super) fn into_first(self) -> Option<RowRefused> {
        self.first.map(|why| *why)
    }

    /// As sent, and whether some are without their text.
    pub(super) fn pb(mut self) -> (Vec<pb::Refusal>, bool) {
        let left_out = self.rows.iter().any(|refused| refused.text == 0);
        let refusal = |&Refused { row, reason, text, holder }: &Refused| pb::Refusal {
            row,
            code: reason.code().into(),
            message: (text as usize).checked_sub(1).map_or_else(String::new, |at| std::mem::take(&mut self.texts[at])),
            reason: reason.into(),
            holder,
        };
        (self.rows.iter().map(refusal).collect(), left_out)
    }
}

/// The most bytes that the answer to a batch of so many rows takes.
pub(super) fn answer_bytes(rows: usize) -> usize {
    rows * ROW_BYTES + (rows * TEXT_BYTES).min(TEXTS_BYTES + TEXT_BYTES)
}

#[cfg(test)]
mod tests {
    use dovetail_core::{ElementId, ledger::SubmitError};

    use super::*;

    fn waiting() -> RowRefused {
        let key = "k".repeat(256);
        SubmitError::KeyWaiting { pool: "p".repeat(64), key, element: ElementId(u64::MAX) }.into()
    }

    #[test]
    fn refusals_are_all_told_and_take_no_more_than_they_may() {
        let mut refusals = Refusals::default();
        for row in (0..65_536).rev() {
            refusals.push(row, waiting());
        }
        refusals.sort();
        assert!(refusals.rows.len() * 24 + refusals.text_bytes <= answer_bytes(65_536));
        let (sent, left_out) = refusals.pb();
        assert!(left_out && sent.is_sorted_by_key(|refusal| refusal.row) && sent.len() == 65_536);
        assert!(sent.iter().all(|refusal| (refusal.code, refusal.holder) == (6, u64::MAX)));
        assert!(sent[0].message.is_empty() && sent[65_535].message.contains("is waiting in pool"), "as they came");
    }

    #[test]
    fn a_few_have_their_texts() {
        let mut refusals = Refusals::default();
        refusals.push(3, SubmitError::UnknownPool("none".to_owned()).into());
        refusals.push(1, waiting());
        refusals.sort();
        let (sent, left_out) = refusals.pb();
        assert!(!left_out);
        assert_eq!(sent[1].message, "pool \"none\" is not defined");
    }
}
