//! Interned strings, each with the number of its uses.
//!
//! Invariants: strings.I1 a symbol is 1 or more, and stays its string's while that is in use; strings.I2 a string whose
//! last use is released is freed at once, and its symbol is given to the next new one, so that symbols stay small
//! (signatures take them modulo 64); strings.I3 it takes the secret to choose strings that collide.

use hashbrown::HashTable;

use crate::filter::SYMBOL_UNKNOWN;
use crate::growth::push;
use crate::secret::Secret;

/// The strings of the waiting elements, and the literals of the plan.
#[derive(Debug)]
pub(crate) struct Strings {
    secret: Secret,
    /// By symbol, from 1 on. Not beside their uses, where four bytes of every entry would be padding.
    texts: Vec<Box<str>>,
    /// Uses; of a free entry, the next free one, plus one.
    uses: Vec<u32>,
    /// By the string's hash. An entry's number, from 0.
    table: HashTable<u32>,
    /// The first free entry, plus one; 0 for none.
    free: u32,
    text_bytes: usize,
}

impl Strings {
    pub(crate) fn new(secret: Secret) -> Strings {
        let (texts, uses) = (Vec::new(), Vec::new());
        Strings { secret, texts, uses, table: HashTable::new(), free: 0, text_bytes: 0 }
    }

    /// The string's symbol, with one more use.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let secret = self.secret;
        let hash = secret.text(text);
        if let Some(&index) = self.table.find(hash, |&index| &*self.texts[index as usize] == text) {
            self.uses[index as usize] += 1;
            return index + 1;
        }
        let index = match self.free {
            0 => {
                push(&mut self.texts, text.into());
                push(&mut self.uses, 1);
                self.texts.len() as u32 - 1
            }
            free => {
                self.free = std::mem::replace(&mut self.uses[free as usize - 1], 1);
                self.texts[free as usize - 1] = text.into();
                free - 1
            }
        };
        assert!(index < SYMBOL_UNKNOWN - 1, "fewer strings than symbols");
        self.text_bytes += text.len();
        let texts = &self.texts;
        self.table.insert_unique(hash, index, |&index| secret.text(&texts[index as usize]));
        index + 1
    }

    /// One use less of a symbol; 0, which is no string's, has none.
    pub(crate) fn release(&mut self, symbol: u32) {
        let Some(index) = symbol.checked_sub(1) else { return };
        let uses = &mut self.uses[index as usize];
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        *uses = std::mem::replace(&mut self.free, symbol);
        let text = std::mem::take(&mut self.texts[index as usize]);
        self.text_bytes -= text.len();
        match self.table.find_entry(self.secret.text(&text), |&other| other == index) {
            Ok(found) => drop(found.remove()),
            Err(_) => unreachable!("an interned string is in the table"),
        }
    }

    /// The symbol of a string, or [`SYMBOL_UNKNOWN`].
    pub(crate) fn find(&self, text: &str) -> u32 {
        match self.table.find(self.secret.text(text), |&index| &*self.texts[index as usize] == text) {
            Some(&index) => index + 1,
            None => SYMBOL_UNKNOWN,
        }
    }

    /// A symbol's string.
    pub(crate) fn text(&self, symbol: u32) -> &str {
        &self.texts[symbol as usize - 1]
    }

    /// How many strings are in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Gives back what a past peak needed, as far as symbols in use allow.
    pub(crate) fn shrink(&mut self) {
        let (secret, texts) = (self.secret, &self.texts);
        self.table.shrink_to_fit(|&index| secret.text(&texts[index as usize]));
        if self.table.is_empty() {
            *self = Strings::new(secret);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let entries = self.texts.capacity() * size_of::<Box<str>>() + self.uses.capacity() * size_of::<u32>();
        entries + self.table.allocation_size() + self.text_bytes
    }
}
