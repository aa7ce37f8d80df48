//! Times as people read them: date and time of day, in UTC.

use std::time::{Duration, UNIX_EPOCH};

/// The last millisecond of the year 9999: what is later is shown as that.
const LAST_MS: u64 = 253_402_300_799_999;

/// `2026-11-29 19:12:03.042`, of milliseconds since 1970.
pub fn date_time(ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS));
    // RFC 3339 has a T between the two, and says that it is UTC, which our headings do.
    humantime::format_rfc3339_millis(time).to_string().replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_stands_before_the_time_of_day() {
        assert_eq!(date_time(1_700_000_000_042), "2023-11-14 22:13:20.042");
        assert_eq!(date_time(0), "1970-01-01 00:00:00.000");
        assert_eq!(date_time(u64::MAX), "9999-12-31 23:59:59.999");
    }
}
