//! Points in time, as the vocabulary writes them: ISO 8601, UTC, milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::fmt::temporal::DateTimePrinter;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    since_epoch_ms(SystemTime::now())
}

/// Milliseconds since 1970 at `time`.
pub(crate) fn since_epoch_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `2026-01-01T00:00:00.000Z`. What lies outside of the calendar becomes 1970.
pub(crate) fn iso(ms: i64) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// The reverse of [`iso`]; 0 for what is no time.
pub(crate) fn ms_of_iso(text: &str) -> i64 {
    text.parse().map_or(0, jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_always() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_767_225_600_007), "2026-01-01T00:00:00.007Z");
        assert_eq!(iso(i64::MAX), "1970-01-01T00:00:00.000Z");
        assert_eq!(ms_of_iso("2026-01-01T00:00:00.007Z"), 1_767_225_600_007);
        assert_eq!(ms_of_iso("yesterday"), 0);
    }
}
