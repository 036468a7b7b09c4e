//! How a credential stands, in a word.

use chrono::{DateTime, Utc};
use procurify_token_protocol::{Activity, CredentialStatus, TokenStatus};

/// How it is, in words.
pub(crate) fn state(status: &CredentialStatus, now: DateTime<Utc>) -> &'static str {
    let is_valid = valid_token(status, now).is_some();
    match status.activity {
        Activity::Barred if is_valid => "rejected, token valid",
        Activity::Barred => "rejected",
        Activity::BackingOff if is_valid => "failing, token valid",
        Activity::BackingOff => "failing",
        Activity::Requesting => "requesting",
        Activity::Resting if is_valid => "ok",
        Activity::Resting => "no token",
    }
}

/// The token that is held, if it is alive.
pub(crate) fn valid_token(status: &CredentialStatus, now: DateTime<Utc>) -> Option<&TokenStatus> {
    status.token.as_ref().filter(|token| token.expires_at > now)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use chrono::TimeDelta;
    use procurify_token_protocol::{
        Audience, BodyEncoding, BudgetStatus, FailureCode, FailureReport, Fingerprint, TokenUrl,
    };

    pub(crate) fn status() -> CredentialStatus {
        let base = "https://acme.procurify.com".parse().unwrap();
        CredentialStatus {
            name: "acme".parse().unwrap(),
            description: "nightly".parse().unwrap(),
            client_id: "id".parse().unwrap(),
            token_url: TokenUrl::below(&base),
            base_url: base,
            audience: Audience::default(),
            body_encoding: BodyEncoding::Json,
            added_at: DateTime::UNIX_EPOCH,
            staged: false,
            previous: true,
            token: Some(TokenStatus {
                fingerprint: Fingerprint::from_bytes([1; 8]),
                issued_at: DateTime::UNIX_EPOCH,
                expires_at: DateTime::UNIX_EPOCH + TimeDelta::hours(24),
            }),
            activity: Activity::Resting,
            next_attempt_at: None,
            last_failure: Some(FailureReport {
                code: FailureCode::THROTTLED,
                http_status: Some(429),
                request_id: None,
                at: DateTime::UNIX_EPOCH,
                attempts: 1,
                message: "m".into(),
                advice: String::new(),
            }),
            budget: BudgetStatus { issued_in_hour: 1, per_hour: 6, issued_in_day: 2, per_day: 24 },
        }
    }
}
