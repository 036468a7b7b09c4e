//! Reading a token request: content type, body, members. Whether the credentials are right is
//! decided in `domain.rs`.

use std::collections::HashMap;

use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use serde::Deserialize;

use crate::ledger::{BodyEncoding, Refusal};

/// What was sent, whether or not it is complete.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct Submission {
    pub(crate) grant_type: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) audience: Option<String>,
}

/// A complete client-credentials request; only the audience may be missing.
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) audience: Option<String>,
}

impl Submission {
    /// Reads the request as far as its method and content type are right.
    pub(crate) async fn read(parts: &Parts, body: Incoming) -> Result<Self, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::WrongMethod);
        }
        let encoding = body_encoding(parts);
        if encoding == BodyEncoding::Other {
            return Err(Refusal::UnsupportedMediaType);
        }
        let body = read_bounded(body, 64 * 1024).await.map_err(|error| match error {
            Unreadable::TooLarge => Refusal::BodyTooLarge,
            Unreadable::Broken => Refusal::Malformed,
        })?;
        match encoding {
            BodyEncoding::Form => Ok(Self::from_form(&body)),
            _ => serde_json::from_slice(&body).map_err(|_| Refusal::Malformed),
        }
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, Refusal> {
        let member = |value: &Option<String>| {
            let value = value.as_ref().filter(|value| !value.is_empty());
            value.cloned().ok_or(Refusal::MissingMember)
        };
        let grant_type = member(&self.grant_type)?;
        let credentials = Credentials {
            client_id: member(&self.client_id)?,
            client_secret: member(&self.client_secret)?,
            audience: member(&self.audience).ok(),
        };
        if grant_type != "client_credentials" {
            return Err(Refusal::UnsupportedGrantType);
        }
        Ok(credentials)
    }

    fn from_form(body: &[u8]) -> Self {
        let mut members = pairs(body);
        Self {
            grant_type: members.remove("grant_type"),
            client_id: members.remove("client_id"),
            client_secret: members.remove("client_secret"),
            audience: members.remove("audience"),
        }
    }
}

/// A body that could not be had.
pub(crate) enum Unreadable {
    TooLarge,
    Broken,
}

pub(crate) async fn read_bounded(body: Incoming, limit: usize) -> Result<Bytes, Unreadable> {
    let collected = Limited::new(body, limit).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() { Unreadable::TooLarge } else { Unreadable::Broken }
    })
}

pub(crate) fn body_encoding(parts: &Parts) -> BodyEncoding {
    let value = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        BodyEncoding::Json
    } else if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        BodyEncoding::Form
    } else {
        BodyEncoding::Other
    }
}

/// The pairs of a form or query, percent-decoded. Of a name given twice the last counts.
pub(crate) fn pairs(form: &[u8]) -> HashMap<String, String> {
    form.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            (decoded(name), decoded(value.get(1..).unwrap_or_default()))
        })
        .collect()
}

/// Undoes `application/x-www-form-urlencoded`; a `%` without two digits stands for itself.
fn decoded(mut text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        text = rest;
        match (first, rest) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, rest @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    text = rest;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_and_nothing_in_it_is_fatal() {
        let members = pairs(b"a=https%3A%2F%2Fx%2f&b=1+2&&c&d=%zz%4&a%20=%ff");
        assert_eq!(members["a"], "https://x/");
        assert_eq!(members["b"], "1 2");
        assert_eq!(members["c"], "");
        assert_eq!(members["d"], "%zz%4");
        assert_eq!(members["a "], "\u{fffd}");
    }

    #[test]
    fn all_members_but_the_audience_are_needed() {
        let submission = Submission::from_form(b"grant_type=client_credentials&client_id=i");
        assert!(matches!(submission.credentials(), Err(Refusal::MissingMember)));
        let submission = Submission::from_form(b"grant_type=password&client_id=i&client_secret=s");
        assert!(matches!(submission.credentials(), Err(Refusal::UnsupportedGrantType)));
    }
}
