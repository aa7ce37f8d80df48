//! A machine's state as canonical text, made from its derived `Debug`.
//!
//! The compiler writes every field of a machine into its derived `Debug`, a new field as well; that is what makes the
//! text complete. What iterates in no order (hash maps and sets) is sorted, and a few fields are left out that no
//! decision reads. What a machine prints by hand is not covered: a `Table` of anchors. The caller appends its ids; rows
//! and arrivals follow from the ids and the log. [`super::machines::Machines::audit`] checks all this from the outside.

/// Fields that are left out: counters for people, buffers that every search fills anew, and what never changes in a
/// run.
const LEFT_OUT: [&str; 8] =
    ["accepted", "stats", "waits", "found", "rule_errors", "placement", "definition", "planted"];

/// The canonical form of a `Debug` text.
pub(super) fn canonical(debug: &str) -> String {
    let mut reader = Reader { bytes: debug.as_bytes(), at: 0 };
    let text = reader.value();
    assert_eq!(reader.at, debug.len(), "a debug text is one value");
    text
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// Reads up to a comma or a closing bracket of the level above.
    fn value(&mut self) -> String {
        let mut text = String::new();
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b',' | b'}' | b']' | b')' => break,
                b'{' | b'[' | b'(' => self.group(byte, &mut text),
                b'"' => self.string(&mut text),
                _ => {
                    text.push(char::from(byte));
                    self.at += 1;
                }
            }
        }
        text
    }

    fn string(&mut self, text: &mut String) {
        let from = self.at;
        self.at += 1;
        while self.bytes[self.at] != b'"' {
            self.at += if self.bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        text.push_str(&String::from_utf8_lossy(&self.bytes[from..self.at]));
    }

    fn group(&mut self, open: u8, text: &mut String) {
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            while self.bytes[self.at] == b' ' || self.bytes[self.at] == b',' {
                self.at += 1;
            }
            if matches!(self.bytes[self.at], b'}' | b']' | b')') {
                break;
            }
            let entry = self.value();
            let left_out =
                LEFT_OUT.iter().any(|name| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
            if !left_out {
                entries.push(entry.trim_end().to_owned());
            }
        }
        let close = self.bytes[self.at];
        self.at += 1;
        // Fields of a struct have names, and entries of sets and maps no order: sorting loses nothing.
        if open == b'{' {
            entries.sort_unstable();
        }
        text.push(char::from(open));
        text.push_str(&entries.join(","));
        text.push(char::from(close));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "read by its Debug")]
    struct Machine {
        accepted: u64,
        dead: HashMap<u64, (u8, &'static str)>,
        queue: Vec<Option<HashSet<u64>>>,
        mark: u64,
    }

    fn machine(accepted: u64, dead: &[u64], queue: &[&[u64]], mark: u64) -> String {
        let dead = dead.iter().map(|&id| (id, (1, "a \"}, (quote")));
        let queue = queue.iter().map(|set| Some(set.iter().copied().collect()));
        canonical(&format!("{:?}", Machine { accepted, dead: dead.collect(), queue: queue.collect(), mark }))
    }

    #[test]
    fn hash_order_and_counters_make_no_difference_and_all_else_does() {
        let base = machine(1, &[1, 2, 3, 4, 5, 6, 7], &[&[1, 2, 3], &[4]], 9);
        assert_eq!(base, machine(2, &[7, 6, 5, 4, 3, 2, 1], &[&[3, 2, 1], &[4]], 9));
        let others = [
            machine(1, &[1, 2, 3, 4, 5, 6], &[&[1, 2, 3], &[4]], 9),
            machine(1, &[1, 2, 3, 4, 5, 6, 7], &[&[4], &[1, 2, 3]], 9),
            machine(1, &[1, 2, 3, 4, 5, 6, 7], &[&[1, 2], &[3, 4]], 9),
            machine(1, &[1, 2, 3, 4, 5, 6, 7], &[&[1, 2, 3], &[4]], 8),
        ];
        assert!(others.iter().all(|other| *other != base), "{base}\n{others:#?}");
    }
}
