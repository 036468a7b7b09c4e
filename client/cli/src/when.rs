//! Points and lengths of time in words. Times are UTC, so that a log and a colleague elsewhere agree with them.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// RFC 3339 to the second: `2026-03-01T12:00:00Z`.
pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The point, and how far away it is: `2026-03-01T12:00:00Z, in 3 h 12 min`.
pub(crate) fn stamp_and_distance(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{}, {}", stamp(at), distance(at, now))
}

/// `in 3 h 12 min`, `2 min ago` or `now`.
pub(crate) fn distance(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let gap = at - now;
    match (gap.abs().to_std().unwrap_or_default(), gap < TimeDelta::zero()) {
        (gap, _) if gap < SECOND => "now".to_owned(),
        (gap, false) => format!("in {}", span(gap)),
        (gap, true) => format!("{} ago", span(gap)),
    }
}

/// Its two largest units, rounded down: `3 h 12 min`.
pub(crate) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => two(minutes, "min", seconds % 60, "s"),
        (0, _, _) => two(hours, "h", minutes, "min"),
        _ => two(days, "d", hours, "h"),
    }
}

fn two(major: u64, major_unit: &str, minor: u64, minor_unit: &str) -> String {
    match minor {
        0 => format!("{major} {major_unit}"),
        _ => format!("{major} {major_unit} {minor} {minor_unit}"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0 s")]
    #[case(59, "59 s")]
    #[case(60, "1 min")]
    #[case(61, "1 min 1 s")]
    #[case(3599, "59 min 59 s")]
    #[case(3600, "1 h")]
    #[case(11_579, "3 h 12 min")]
    #[case(86_400, "1 d")]
    #[case(93_600, "1 d 2 h")]
    fn spans_have_at_most_two_units(#[case] seconds: u64, #[case] words: &str) {
        assert_eq!(span(Duration::from_secs(seconds)), words);
    }

    #[rstest]
    #[case(0, "now")]
    #[case(90, "in 1 min 30 s")]
    #[case(-90, "1 min 30 s ago")]
    fn distances_point_forward_and_back(#[case] seconds: i64, #[case] words: &str) {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(distance(now + TimeDelta::seconds(seconds), now), words);
    }

    #[test]
    fn a_stamp_is_utc_to_the_second() {
        let at = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1999);
        assert_eq!(stamp_and_distance(at, at), "1970-01-01T00:00:01Z, now");
    }
}
