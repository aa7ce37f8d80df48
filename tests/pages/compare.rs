//! Whether a program printed what a page says.
//!
//! A line `...` of the page stands for any number of lines, and `…` within a line for any text. Blanks count as one.
//! What differs from run to run is alike for both: times, durations, rates, ports that were free, the build; and every
//! number, where the page says that they vary.

use std::sync::LazyLock;

use regex::{NoExpand, Regex};

static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        (r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z?", "<time>"),
        (r"\b[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?", "<time>"),
        (r"\b1[0-9]{12}\b", "<time>"),
        (r"\([0-9,]+/s\)", "<rate>"),
        (r"\b([0-9]+(\.[0-9]+)? ?(ms|us|s|min|m|h|d)\b)+", "<duration>"),
        (r"\b[0-9]+(\.[0-9]+)?(h|m|s)([0-9]+(ms|m|s))+\b", "<duration>"),
        (r"(127(\.[0-9]+){3}):[0-9]{5}\b", "<address>"),
        (r"\b0\.1\.0 \([^)]*\)", "0.1.0"),
        (r"[ \t]+", " "),
    ];
    // Words of ASCII: the tables of Unicode are not compiled in.
    let compiled = |pattern: &str| Regex::new(&pattern.replace(r"\b", r"(?-u:\b)")).unwrap();
    patterns.into_iter().map(|(pattern, with)| (compiled(pattern), with)).collect()
});

static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-?[0-9]+(\.[0-9]+)?").unwrap());

fn normal(line: &str, numbers_vary: bool) -> String {
    let mut line = line.trim_end().to_owned();
    for (pattern, with) in &*VARYING {
        line = pattern.replace_all(&line, NoExpand(with)).into_owned();
    }
    if numbers_vary {
        line = NUMBER.replace_all(&line, NoExpand("<number>")).into_owned();
    }
    line
}

/// Whether `printed` is what `expected` says.
pub fn matches(expected: &[String], printed: &str, numbers_vary: bool) -> bool {
    // Blank lines at the end are there for the eye.
    let length = expected.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    let expected: Vec<_> = expected[..length].iter().map(|line| pattern(line, numbers_vary)).collect();
    let printed: Vec<String> = printed.trim_end().lines().map(|line| normal(line, numbers_vary)).collect();
    lines_match(&expected, &printed)
}

/// What a line has to be; `None` for any number of lines.
fn pattern(line: &str, numbers_vary: bool) -> Option<Regex> {
    if line == "..." {
        return None;
    }
    let parts: Vec<String> = normal(line, numbers_vary).split('…').map(regex::escape).collect();
    Some(Regex::new(&format!("^{}$", parts.join(".*"))).unwrap())
}

fn lines_match(expected: &[Option<Regex>], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((None, rest)) => (0..=printed.len()).any(|from| lines_match(rest, &printed[from..])),
        Some((Some(line), rest)) => {
            printed.split_first().is_some_and(|(first, printed)| line.is_match(first) && lines_match(rest, printed))
        }
    }
}

#[test]
fn what_varies_is_alike_and_the_rest_is_not() {
    let check = |expected: &str, printed: &str, numbers_vary| {
        let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        matches(&expected, printed, numbers_vary)
    };
    assert!(check("took 0.0 s (76,407/s)", "took 12.5 s (9/s)", false));
    assert!(check("at 2026-11-29 10:52:54.963  x", "at 2027-01-01 00:00:00.000 x", false));
    assert!(check("waits 3s851ms", "waits 12s", false));
    assert!(check("a\n...\nz", "a\nz", false) && check("a\n...\nz", "a\nb\nc\nz\n", false));
    assert!(check("id … of pool", "id 17 (x) of pool", false));
    assert!(check("127.0.0.1:33765", "127.0.0.1:44444", false) && !check("127.0.0.1:7400", "127.0.0.1:7401", false));
    assert!(check("7 of 9", "8 of 10", true) && !check("7 of 9", "8 of 9", false));
    assert!(!check("a\n...", "b", false) && !check("a", "a\nb", false) && !check("a\nb", "a", false));
}
