//! What the dates in an answer's header mean: how long to stay away, and how far apart the two clocks are.
//!
//! Pure. A date is compared with the answer's own `Date`, so that only the server's clock is involved; with ours only
//! where the server does not tell the time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// `Retry-After` (RFC 9110 §10.2.3) in seconds or as any of the three HTTP dates, at most a day. A time that is
/// past, or no time at all, is `None`.
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER.as_str())?;
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    until(http_date(value)?, headers, now)
}

/// `x-ratelimit-reset`, the unix time at which the limit is lifted, at most a day ahead.
pub(super) fn ratelimit_reset(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let reset = text(headers, "x-ratelimit-reset")?.parse().ok()?;
    until(DateTime::from_timestamp_secs(reset)?, headers, now)
}

/// How far the server's clock is ahead of `now`.
pub(super) fn server_ahead(headers: &HeaderMap, now: DateTime<Utc>) -> Option<TimeDelta> {
    date(headers).map(|date| date - now)
}

fn until(then: DateTime<Utc>, headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let wait = then - date(headers).unwrap_or(now);
    wait.to_std().ok().map(|wait| wait.min(LONGEST))
}

fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    http_date(text(headers, DATE.as_str())?)
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text).ok().map(DateTime::from)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A day: longer silence costs more than a question.
const LONGEST: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 §5.6.7.
    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_secs(784_111_777).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[rstest]
    #[case("0", Some(0))]
    #[case(" 120 ", Some(120))]
    #[case("14400", Some(4 * 3600))]
    #[case("99999999", Some(24 * 3600))]
    #[case("99999999999999999999999999", Some(24 * 3600))]
    #[case("Sun, 06 Nov 1994 08:50:37 GMT", Some(60))]
    #[case("Sunday, 06-Nov-94 08:50:37 GMT", Some(60))]
    #[case("Sun Nov  6 08:50:37 1994", Some(60))]
    #[case("Fri, 31 Dec 9999 23:59:59 GMT", Some(24 * 3600))]
    #[case("Sun, 06 Nov 1994 08:49:36 GMT", None)]
    #[case("-1", None)]
    #[case("1.5", None)]
    #[case("", None)]
    #[case("later", None)]
    fn retry_after_in_all_its_forms(#[case] value: &str, #[case] seconds: Option<u64>) {
        let headers = headers(&[("retry-after", value)]);
        assert_eq!(retry_after(&headers, now()), seconds.map(Duration::from_secs));
    }

    #[rstest]
    #[case("784111837", Some(60))]
    #[case("9999999999", Some(24 * 3600))]
    #[case("784111776", None)]
    #[case("60", None)]
    #[case("-1", None)]
    #[case("9223372036854775807", None)]
    fn a_rate_limit_is_lifted_at_a_unix_time(#[case] value: &str, #[case] seconds: Option<u64>) {
        let headers = headers(&[("x-ratelimit-reset", value)]);
        assert_eq!(ratelimit_reset(&headers, now()), seconds.map(Duration::from_secs));
    }

    #[test]
    fn dates_are_compared_with_the_servers_own_clock() {
        let headers = headers(&[
            ("date", "Sun, 06 Nov 1994 09:49:37 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 09:50:37 GMT"),
            ("x-ratelimit-reset", "784115379"),
        ]);
        assert_eq!(retry_after(&headers, now()), Some(Duration::from_secs(60)));
        assert_eq!(ratelimit_reset(&headers, now()), Some(Duration::from_secs(2)));
        assert_eq!(server_ahead(&headers, now()), Some(TimeDelta::hours(1)));
    }

    #[test]
    fn a_server_that_does_not_tell_the_time_has_no_skew() {
        assert_eq!(server_ahead(&headers(&[("date", "yesterday")]), now()), None);
    }
}
