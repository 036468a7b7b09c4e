//! How long a token lives: what the answer says, and what the token says of itself.
//!
//! Pure. A JWT's life is a difference of two times of the server's clock, so that ours does not matter. No signature is checked, for a token's own word is only ever used to distrust it sooner.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// The life of `token` according to `expires_in` (RFC 6749 §5.1: seconds, here as any number or a text of one), shortened
/// by the token's own `exp` and `iat` if it is a JWT that has both (RFC 7519 §4.1), and at most 30 days. Where the answer
/// had a `Date`, `server_now`, a token that was handed out before is as old as it is.
///
/// 15 minutes are assumed where `expires_in` is missing or not a number. `None` for a life of nothing or less.
pub(super) fn lifetime(
    expires_in: Option<&Value>,
    token: &str,
    server_now: Option<DateTime<Utc>>,
) -> Option<Duration> {
    let stated = expires_in.and_then(seconds).unwrap_or(ASSUMED);
    let seconds = jwt_life(token, server_now).map_or(stated, |own| own.min(stated));
    let lifetime = Duration::from_secs_f64(seconds.clamp(0.0, LONGEST));
    (!lifetime.is_zero()).then_some(lifetime)
}

fn seconds(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|seconds| seconds.is_finite())
}

fn jwt_life(token: &str, server_now: Option<DateTime<Utc>>) -> Option<f64> {
    let mut parts = token.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let mut json = Zeroizing::new(vec![0; claims.len()]);
    let json = Base64UrlUnpadded::decode(claims.trim_end_matches('='), &mut json).ok()?;
    let Claims { exp, iat } = serde_json::from_slice(json).ok()?;
    // A `Date` is whole seconds, and clocks within one service differ a little: what looks fresh is fresh.
    let age = server_now.map_or(0.0, |now| f64::from(i32::try_from(now.timestamp()).unwrap_or(0)) - iat);
    Some(exp - iat - if age > FRESH { age } else { 0.0 })
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    iat: f64,
}

/// In seconds: how old a token may be that was made for this answer.
const FRESH: f64 = 60.0;
/// 15 minutes, in seconds.
const ASSUMED: f64 = 15.0 * 60.0;
/// 30 days, in seconds.
const LONGEST: f64 = 30.0 * 24.0 * 60.0 * 60.0;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const DAYS_30: f64 = LONGEST;

    #[rstest]
    #[case(json!(86400), Some(86400.0))]
    #[case(json!(86400.0), Some(86400.0))]
    #[case(json!("86400"), Some(86400.0))]
    #[case(json!(" 86400.5 "), Some(86400.5))]
    #[case(json!(0.25), Some(0.25))]
    #[case(json!(null), Some(900.0))]
    #[case(json!("soon"), Some(900.0))]
    #[case(json!("NaN"), Some(900.0))]
    #[case(json!("inf"), Some(900.0))]
    #[case(json!([60]), Some(900.0))]
    #[case(json!(u64::MAX), Some(DAYS_30))]
    #[case(json!(f64::MAX), Some(DAYS_30))]
    #[case(json!(2_592_001), Some(DAYS_30))]
    #[case(json!(0), None)]
    #[case(json!(-0.0), None)]
    #[case(json!(-1), None)]
    #[case(json!("-86400"), None)]
    #[case(json!(f64::MIN), None)]
    #[case(json!(f64::MIN_POSITIVE), None)]
    fn expires_in_may_be_any_kind_of_number(#[case] expires_in: Value, #[case] seconds: Option<f64>) {
        assert_eq!(lifetime(Some(&expires_in), "opaque", None), seconds.map(Duration::from_secs_f64));
    }

    #[test]
    fn a_missing_expires_in_is_a_quarter_of_an_hour() {
        assert_eq!(lifetime(None, "opaque", None), Some(Duration::from_secs(15 * 60)));
    }

    #[rstest]
    #[case::shorter(r#"{"iat":1000,"exp":1060}"#, Some(60))]
    #[case::skewed_clocks_do_not_matter(r#"{"iat":99999999999,"exp":100000000059}"#, Some(60))]
    #[case::never_longer(r#"{"iat":0,"exp":999999}"#, Some(3600))]
    #[case::fractions(r#"{"iat":0.5,"exp":60.5}"#, Some(60))]
    #[case::no_iat(r#"{"exp":1}"#, Some(3600))]
    #[case::no_exp(r#"{"iat":1}"#, Some(3600))]
    #[case::texts(r#"{"iat":"1","exp":"2"}"#, Some(3600))]
    #[case::not_json("claims", Some(3600))]
    #[case::already_over(r#"{"iat":1060,"exp":1000}"#, None)]
    #[case::infinite(r#"{"iat":-1.7e308,"exp":1.7e308}"#, Some(3600))]
    fn a_jwt_may_shorten_its_life(#[case] claims: &str, #[case] seconds: Option<u64>) {
        let mut encoded = [0; 128];
        let encoded = Base64UrlUnpadded::encode(claims.as_bytes(), &mut encoded).unwrap();
        let token = format!("e30.{encoded}.c2ln");
        assert_eq!(lifetime(Some(&json!(3600)), &token, None), seconds.map(Duration::from_secs));
    }

    #[rstest]
    #[case::made_for_this_answer(1_030, Some(3600))]
    #[case::handed_out_before(1_900, Some(2700))]
    #[case::over(5_000, None)]
    fn a_jwt_that_was_handed_out_before_is_as_old_as_it_is(
        #[case] server_now: i64,
        #[case] seconds: Option<u64>,
    ) {
        let mut encoded = [0; 128];
        let encoded = Base64UrlUnpadded::encode(br#"{"iat":1000,"exp":4600}"#, &mut encoded).unwrap();
        let server_now = DateTime::from_timestamp(server_now, 0);
        let life = lifetime(Some(&json!(86_400)), &format!("e30.{encoded}.c2ln"), server_now);
        assert_eq!(life, seconds.map(Duration::from_secs));
    }

    #[rstest]
    #[case("a.b")]
    #[case("..")]
    #[case("a.%.c")]
    #[case("a.e30=.c")]
    fn what_only_looks_like_a_jwt_is_opaque(#[case] token: &str) {
        assert_eq!(lifetime(Some(&json!(3600)), token, None), Some(Duration::from_secs(3600)));
    }
}
