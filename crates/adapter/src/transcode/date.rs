//! Dates as JavaScript prints them.

/// A JavaScript date reaches 100,000,000 days to either side of 1970.
const MAX_MILLIS: i64 = 8_640_000_000_000_000;
const DAY: i64 = 86_400_000;

/// A point in time in UTC, in the proleptic Gregorian calendar.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    /// 0 is Sunday.
    weekday: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
}

/// As `Date.prototype.toISOString`; `None` outside what a JavaScript date can hold.
pub(crate) fn iso(millis: i64) -> Option<String> {
    let Civil { year, month, day, hour, minute, second, millis, .. } = civil(millis)?;
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{}{:06}", if year < 0 { '-' } else { '+' }, year.abs()),
    };
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// As `String(new Date(…))` on a server whose clock runs on UTC.
pub(crate) fn text(millis: i64) -> Option<String> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Civil { year, month, day, weekday, hour, minute, second, .. } = civil(millis)?;
    let weekday = DAYS.get(usize::try_from(weekday).ok()?)?;
    let month = MONTHS.get(usize::try_from(month - 1).ok()?)?;
    Some(format!(
        "{weekday} {month} {day:02} {year:04} {hour:02}:{minute:02}:{second:02} GMT+0000 (Coordinated Universal Time)"
    ))
}

fn civil(millis: i64) -> Option<Civil> {
    if !(-MAX_MILLIS..=MAX_MILLIS).contains(&millis) {
        return None;
    }
    let days = millis.div_euclid(DAY);
    let rest = millis.rem_euclid(DAY);
    // Years counted from 1 March of year 0 in eras of 400, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Some(Civil {
        year: era * 400 + year_of_era + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * from_march + 2) / 5 + 1,
        weekday: (days + 4).rem_euclid(7),
        hour: rest / 3_600_000,
        minute: rest / 60_000 % 60,
        second: rest / 1_000 % 60,
        millis: rest % 1_000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_javascript_prints_them() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (MAX_MILLIS, "+275760-09-13T00:00:00.000Z"),
            (-MAX_MILLIS, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(iso(millis).as_deref(), Some(expected));
        }
        assert_eq!(iso(MAX_MILLIS + 1), None);
        assert_eq!(iso(i64::MIN), None);
    }

    #[test]
    fn the_long_form_has_the_weekday() {
        assert_eq!(
            text(1_795_167_267_389).as_deref(),
            Some("Fri Nov 20 2026 09:34:27 GMT+0000 (Coordinated Universal Time)")
        );
    }
}
