//! Durations as people write them: `500ms`, `5s`, `2m`, `1h`, `1m30s`.

use std::time::Duration;

/// Why text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not numbers with units.
    #[error("{0:?} is not a duration, such as 500ms, 5s, 2m, 1h or 1m30s")]
    Form(String),
    /// More milliseconds than 64 bits hold.
    #[error("{0:?} is too long")]
    Overflow(String),
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration in whole milliseconds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Form(text.to_owned()));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let Some(&(_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::Form(text.to_owned()));
        };
        if number.is_empty() {
            return Err(DurationError::Form(text.to_owned()));
        }
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        total =
            part.and_then(|part| total.checked_add(part)).ok_or_else(|| DurationError::Overflow(text.to_owned()))?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Writes milliseconds so that [`parse`] reads them back: `90000` is `1m30s`.
pub fn format_ms(mut ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if ms >= factor {
            text.push_str(&format!("{}{unit}", ms / factor));
            ms %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_written_back() {
        for (text, ms) in [("500ms", 500), ("5s", 5000), ("2m", 120_000), ("1h", 3_600_000), ("1m30s", 90_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)));
            assert_eq!(format_ms(ms), text);
        }
        assert_eq!(parse("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(format_ms(0), "0s");
    }

    #[test]
    fn other_text_is_refused_and_shown() {
        for text in ["", "5", "s", "5 s", "-5s", "1.5s", "5w", "5s5"] {
            assert_eq!(parse(text), Err(DurationError::Form(text.to_owned())));
        }
        let long = "99999999999999999d";
        assert_eq!(parse(long), Err(DurationError::Overflow(long.to_owned())));
    }
}
