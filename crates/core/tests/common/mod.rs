//! Transcripts: a script, and below each of its lines what came of it, marked with `>`.

use dovetail_core::{ElementId, EventId, Retirement, ShardId, SliceId};

/// Gives every line of the script to `step`, and holds the transcript against the one that was written down.
pub fn check(transcript: &str, mut step: impl FnMut(&[&str]) -> Vec<String>) {
    let expected: Vec<&str> = transcript.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut found = Vec::new();
    for line in expected.iter().filter(|line| !line.starts_with('>')) {
        found.push((*line).to_owned());
        let words: Vec<&str> = line.split_whitespace().collect();
        found.extend(step(&words).into_iter().map(|outcome| format!("> {outcome}").trim_end().to_owned()));
    }
    assert!(found == expected, "expected:\n{}\nfound:\n{}", expected.join("\n"), found.join("\n"));
}

/// The number of `x7`, `e7`, `g7` or `s7`.
pub fn number(word: &str) -> u64 {
    word.trim_start_matches(char::is_alphabetic).parse().unwrap_or_else(|_| panic!("{word:?} has no number"))
}

#[allow(dead_code, reason = "not every test file needs it")]
pub fn event(word: &str) -> EventId {
    EventId(number(word))
}

#[allow(dead_code, reason = "not every test file needs it")]
pub fn element(word: &str) -> ElementId {
    ElementId(number(word))
}

#[allow(dead_code, reason = "not every test file needs it")]
pub fn shard(word: &str) -> ShardId {
    ShardId(u32::try_from(number(word)).unwrap())
}

#[allow(dead_code, reason = "not every test file needs it")]
pub fn slice(word: &str) -> SliceId {
    SliceId(u32::try_from(number(word)).unwrap())
}

/// `x5 e5 e2` is a match, `x5 e2` a withdrawal.
#[allow(dead_code, reason = "not every test file needs it")]
pub fn retirement(words: &[&str]) -> Retirement {
    Retirement { x: event(words[0]), element: element(words[1]), anchor: words.get(2).map(|word| element(word)) }
}
