//! Times and durations as text, and the milliseconds they are stored as.
//!
//! A timestamp is RFC 3339, read by jiff: with an offset, whatever is finer than a millisecond cut off towards the
//! past, and a leap second read as the second before it. A duration is what CEL's `duration` takes, and days.
//! Arithmetic is checked: no text is read as another value than it says.

use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::{Pieces, PiecesOffset};

use crate::excerpt::excerpt;

/// Why text is no time or no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not RFC 3339, or a day or hour there is not.
    #[error("{text:?} is not a time of RFC 3339, such as \"2026-01-01T00:00:00Z\"")]
    Timestamp {
        /// The text as given.
        text: String,
    },
    /// A time without saying of which zone.
    #[error("{text:?} has no offset: end it with \"Z\" for UTC, or with one such as \"+02:00\"")]
    Offset {
        /// The text as given.
        text: String,
    },
    /// Not numbers with units.
    #[error("{text:?} is not a duration, such as \"250ms\", \"5s\", \"1.5h\" or \"1h30m\"")]
    Duration {
        /// The text as given.
        text: String,
    },
    /// Not a whole number of milliseconds.
    #[error("{text:?} is finer than a millisecond")]
    Fine {
        /// The text as given.
        text: String,
    },
    /// More milliseconds than an int holds.
    #[error("{text:?} is too long: a duration is an int of milliseconds, at most 9223372036854775807")]
    Long {
        /// The text as given.
        text: String,
    },
}

/// The start of 1970, from which timestamps count.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Milliseconds since 1970 of an RFC 3339 time, of the years 0 to 9999.
///
/// # Errors
/// When the text is none, or has no offset.
pub fn parse_timestamp(text: &str) -> Result<i64, TimeError> {
    let text = text.trim();
    let refused = || TimeError::Timestamp { text: excerpt(text) };
    let pieces = Pieces::parse(text).map_err(|_| refused())?;
    let time = pieces.time().ok_or_else(refused)?;
    let offset = match pieces.offset() {
        Some(PiecesOffset::Zulu) => 0,
        Some(PiecesOffset::Numeric(offset)) => i64::from(offset.offset().seconds()),
        _ => return Err(TimeError::Offset { text: excerpt(text) }),
    };
    if pieces.date().year() < 0 {
        return Err(refused());
    }
    let nanos = pieces.date().to_datetime(time).duration_since(EPOCH).as_nanos();
    let ms = nanos.div_euclid(1_000_000) - i128::from(offset) * 1_000;
    i64::try_from(ms).map_err(|_| refused())
}

/// A timestamp as RFC 3339 in UTC, which [`parse_timestamp`] reads back; none outside the years 0 to 9999.
#[must_use]
pub fn format_timestamp(ms: i64) -> Option<String> {
    let at = EPOCH.checked_add(jiff::SignedDuration::from_millis(ms)).ok()?;
    (at.year() >= 0).then(|| format!("{at}Z"))
}

/// Units of a duration in nanoseconds, longest first.
const UNITS: [(&str, i128); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Milliseconds of a duration: an optional sign, and numbers with units, as in `1h30m`, `-1.5s` or `250ms`; or `0`.
///
/// # Errors
/// When the text is none, is no whole number of milliseconds, or does not fit an int.
pub fn parse_duration(text: &str) -> Result<i64, TimeError> {
    let text = text.trim();
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let refused = || TimeError::Duration { text: excerpt(text) };
    if rest.is_empty() {
        return Err(refused());
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() && rest != "0" {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
        nanos = part(number, *unit, text)?.checked_add(nanos).ok_or_else(|| TimeError::Long { text: excerpt(text) })?;
        rest = after;
    }
    if nanos % 1_000_000 != 0 {
        return Err(TimeError::Fine { text: excerpt(text) });
    }
    let ms = nanos / 1_000_000;
    i64::try_from(if negative { -ms } else { ms }).map_err(|_| TimeError::Long { text: excerpt(text) })
}

/// The nanoseconds of `number` units.
fn part(number: &str, unit: i128, text: &str) -> Result<i128, TimeError> {
    let long = || TimeError::Long { text: excerpt(text) };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(TimeError::Duration { text: excerpt(text) });
    }
    let fraction = fraction.trim_end_matches('0');
    // A nanosecond of a day has 14 digits; finer ones are refused whatever follows.
    if fraction.len() > 18 {
        return Err(TimeError::Fine { text: excerpt(text) });
    }
    let digits = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
    let whole = digits(whole).and_then(|whole| whole.checked_mul(unit)).ok_or_else(long)?;
    let scale = 10_i128.pow(fraction.len() as u32);
    // Below 10^18 times 10^14: far from the 10^38 that fit.
    let parts = digits(fraction).ok_or_else(long)? * unit;
    if parts % scale != 0 {
        return Err(TimeError::Fine { text: excerpt(text) });
    }
    whole.checked_add(parts / scale).ok_or_else(long)
}

/// A duration as CEL writes it, which [`parse_duration`] reads back: `1h30m`, `-1s500ms`.
#[must_use]
pub fn format_duration(ms: i64) -> String {
    let mut left = ms.unsigned_abs();
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = if ms < 0 { "-".to_owned() } else { String::new() };
    for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= factor {
            text.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR: i64 = 1_767_225_600_000;

    #[test]
    fn times_of_rfc_3339_are_milliseconds_since_1970() {
        for (text, ms) in [
            ("2026-01-01T00:00:00Z", NEW_YEAR),
            (" 2026-01-01t00:00:00z ", NEW_YEAR),
            ("2026-01-01 00:00:00Z", NEW_YEAR),
            ("2026-01-01T02:00:00+02:00", NEW_YEAR),
            ("2025-12-31T18:30:00-05:30", NEW_YEAR),
            ("2026-01-01T00:00:00-00:00", NEW_YEAR),
            ("2026-01-01T00:00:00.25Z", NEW_YEAR + 250),
            ("2026-01-01T00:00:00.123456789Z", NEW_YEAR + 123),
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.9999Z", -1),
            ("1969-12-31T23:59:59Z", -1_000),
            // Leap days and leap seconds.
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            // What people write for "always" and "never".
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("9999-12-31T23:59:59-23:59", 253_402_300_799_000 + 86_340_000),
        ] {
            assert_eq!(parse_timestamp(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_and_shown() {
        for text in [
            "",
            "now",
            "2026-01-01",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00+99:00",
            "-000001-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "99999999999999999999-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z and more",
            "1767225600000",
        ] {
            assert_eq!(parse_timestamp(text), Err(TimeError::Timestamp { text: text.to_owned() }), "{text}");
        }
        let local = "2026-01-01T00:00:00";
        assert_eq!(parse_timestamp(local), Err(TimeError::Offset { text: local.to_owned() }));
        let long = "9".repeat(100_000);
        assert!(parse_timestamp(&long).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn a_timestamp_is_shown_so_that_it_reads_back() {
        for (ms, text) in [
            (NEW_YEAR, "2026-01-01T00:00:00Z"),
            (NEW_YEAR + 250, "2026-01-01T00:00:00.25Z"),
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(format_timestamp(ms).as_deref(), Some(text), "{ms}");
            assert_eq!(parse_timestamp(text), Ok(ms), "{text}");
        }
        for ms in [i64::MIN, -62_167_219_200_001, 253_402_300_800_000, i64::MAX] {
            assert_eq!(format_timestamp(ms), None, "{ms}");
        }
    }

    #[test]
    fn durations_are_whole_milliseconds() {
        for (text, ms) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5_000),
            ("+5s", 5_000),
            ("-5s", -5_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("1.250000000000000000000000s", 1_250),
            ("-1m0.001s", -60_001),
            ("2d", 172_800_000),
            ("3000us", 3),
            ("3000µs", 3),
            ("1500us500000ns", 2),
            ("9223372036854775807ms", i64::MAX),
            ("-9223372036854775808ms", i64::MIN),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_and_shown() {
        for text in ["", "-", "5", "s", "5 s", "--5s", "1h-5s", "5w", ".s", "1..5s", "1.5.5s", "5s5", "1e3s", "é"] {
            assert_eq!(parse_duration(text), Err(TimeError::Duration { text: text.to_owned() }), "{text}");
        }
        for text in ["1us", "0.0001s", "1.0005s", "0.0000000000000000001d", "999999ns"] {
            assert_eq!(parse_duration(text), Err(TimeError::Fine { text: text.to_owned() }), "{text}");
        }
        let long = "9".repeat(60);
        for text in ["9223372036854775808ms", "-9223372036854775809ms", "300000000y".replace('y', "000000d").as_str()] {
            assert_eq!(parse_duration(text), Err(TimeError::Long { text: text.to_owned() }), "{text}");
        }
        assert!(matches!(parse_duration(&format!("{long}d")), Err(TimeError::Long { .. })));
        let many = "99999999999999999999999999999999999999ns".repeat(20);
        assert!(matches!(parse_duration(&many), Err(TimeError::Long { .. })));
    }

    #[test]
    fn a_duration_is_shown_so_that_it_reads_back() {
        for (ms, text) in [
            (0, "0s"),
            (90_000, "1m30s"),
            (-1_500, "-1s500ms"),
            (129_600_000, "36h"),
            (i64::MAX, "2562047788015h12m55s807ms"),
            (i64::MIN, "-2562047788015h12m55s808ms"),
        ] {
            assert_eq!(format_duration(ms), text);
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
    }
}
