//! The knobs: every way in which a domain can be told to behave oddly.
//!
//! Pure data with kebab-case names, the same in the library and at the control endpoint. What a
//! knob does is done in `faults.rs`, `domain.rs`, `token.rs` and `api.rs`.
//!
//! Items marked *inferred* imitate behaviour that nobody has confirmed against the live service.

use serde::{Deserialize, Serialize};

/// How one domain behaves. The default is a domain in good health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches, each independent of the others")]
pub struct Knobs {
    /// Milliseconds to wait before every answer, token endpoint and API alike.
    pub latency_ms: u64,
    /// What every token request meets instead of an answer.
    pub fault: Option<Fault>,
    /// What every API call meets instead of an answer.
    pub api_fault: Option<Fault>,
    /// The next token requests meet this, then all is well again.
    pub burst: Option<Burst>,
    /// Times at which token endpoint and API are both down.
    pub outages: Vec<Outage>,
    /// *Inferred:* after so many tokens issued since the knobs were set, the domain answers 429
    /// until they are set again or the sandbox is reset.
    pub token_quota: Option<u64>,
    /// The `expires_in` of an answer.
    pub expires_in: ExpiresIn,
    /// The `token_type` of an answer.
    pub token_type: TokenType,
    /// The `scope` of an answer.
    pub scope: Scope,
    /// The `access_token` of an answer.
    pub token: Token,
    /// Hand the client's last token out again instead of issuing another.
    pub same_token: bool,
    /// Seconds by which the domain's clock is wrong: `Date`, the JWT's times and the expiry of
    /// tokens follow it. Cut to a hundred years either way.
    pub date_skew_s: i64,
    /// The audience a token request must name.
    pub audience: String,
    /// Accept a token request that names no audience, as one published sample does.
    pub audience_optional: bool,
    /// Serve the token endpoint at `/api/v3/oauth/token` too.
    pub api_v3_token: bool,
    /// How wrong credentials are answered.
    pub rejection: Rejection,
    /// *Inferred:* seconds for which the old secret still works after a rotation.
    pub rotation_grace_s: u32,
    /// The user's role lacks the permission: vendors are answered 403, `users/me` still works.
    pub api_forbidden: bool,
    /// How a page of vendors says where the next one is.
    pub pages: Pages,
}

/// What a request meets instead of an answer. No token is issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Never answer.
    Hang,
    /// Reset the connection (RST).
    Reset,
    /// Promise more body than is sent, then close the connection.
    TruncatedBody,
    /// A valid answer behind a great deal of white space.
    #[serde(rename_all = "kebab-case")]
    OversizedBody {
        /// How many bytes of white space; 2 MiB when not given.
        #[serde(default = "two_mebibytes")]
        bytes: u64,
        /// Chunked, so that no length is announced.
        #[serde(default)]
        chunked: bool,
    },
    /// Send the client elsewhere.
    Redirect {
        /// The `Location`.
        to: String,
        /// The status; anything that is not 3xx becomes 307.
        #[serde(default = "temporary_redirect")]
        status: u16,
    },
    /// 401 with the observed body that echoes client id and secret.
    #[serde(rename = "wrapper-401")]
    Wrapper401,
    /// 401 `invalid_client` (RFC 6749 §5.2).
    #[serde(rename = "invalid-client-401")]
    InvalidClient401,
    /// *Inferred:* 401 `access_denied`, as Auth0 answers wrong credentials.
    #[serde(rename = "access-denied-401")]
    AccessDenied401,
    /// *Inferred:* 403 `access_denied`, as Auth0 answers a wrong audience.
    #[serde(rename = "access-denied-403")]
    AccessDenied403,
    /// *Inferred:* 429 `too_many_requests`.
    #[serde(rename = "throttled-429", rename_all = "kebab-case")]
    Throttled429 {
        /// The `Retry-After`, if any.
        #[serde(default)]
        retry_after: Option<RetryAfter>,
        /// Seconds from now that `x-ratelimit-reset` names, if any; the header is a unix time.
        #[serde(default)]
        ratelimit_reset_s: Option<i64>,
    },
    /// *Inferred:* 502 with an HTML page.
    #[serde(rename = "bad-gateway-html-502")]
    BadGatewayHtml502,
    /// *Inferred:* 504 with an HTML page.
    #[serde(rename = "gateway-timeout-html-504")]
    GatewayTimeoutHtml504,
    /// 503 with `Retry-After`, if any.
    #[serde(rename = "service-unavailable-503", rename_all = "kebab-case")]
    ServiceUnavailable503 {
        /// The `Retry-After`, if any.
        #[serde(default)]
        retry_after: Option<RetryAfter>,
    },
    /// 200 with an HTML page, as a captive portal sends.
    #[serde(rename = "html-200")]
    Html200,
    /// 200 with an OAuth error in the body.
    #[serde(rename = "error-in-200")]
    ErrorIn200,
    /// 404 with an HTML page.
    #[serde(rename = "not-found-404")]
    NotFound404,
    /// 400 with an OAuth error of choice.
    #[serde(rename = "bad-request-400")]
    BadRequest400 {
        /// The error code, for example `invalid_request`.
        error: String,
    },
}

/// A `Retry-After` value (RFC 9110 §10.2.3): seconds, or a moment some seconds from now in one of
/// the three forms of an HTTP date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// `Sun, 06 Nov 1994 08:49:37 GMT`, so many seconds from now.
    ImfDate(i64),
    /// `Sunday, 06-Nov-94 08:49:37 GMT`, so many seconds from now.
    Rfc850Date(i64),
    /// `Sun Nov  6 08:49:37 1994`, so many seconds from now.
    Asctime(i64),
    /// Any text.
    Text(String),
}

/// A run of failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Burst {
    /// How many token requests fail, counted from when the knobs were set.
    pub count: u32,
    /// How they fail.
    pub fault: Fault,
}

/// A time of failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outage {
    /// First second, counted from the sandbox's start.
    #[serde(default)]
    pub from_s: u64,
    /// The second at which it is over; `None` lasts until the knobs are cleared.
    #[serde(default)]
    pub to_s: Option<u64>,
    /// What requests meet meanwhile.
    pub fault: Fault,
}

/// The `expires_in` member; its schema type is *number*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiresIn {
    /// An integer, which may be zero, negative or huge.
    Seconds(i64),
    /// A float, such as `86400.0` or `1e300`.
    Float(f64),
    /// A string.
    Text(String),
    /// No such member.
    Missing,
}

/// The `token_type` member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenType {
    /// This text: `Bearer`, `bearer`, `mac`, ….
    Named(String),
    /// No such member.
    Missing,
}

/// The `scope` member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The domain and the user's e-mail, as documented.
    Own,
    /// The documented form, but naming this domain.
    OtherDomain(String),
    /// Any text.
    Text(String),
    /// No such member.
    Missing,
}

/// The `access_token` member. The odd ones count as issued but open nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Token {
    /// A signed JWT.
    Signed,
    /// A JWT with a line break and a header behind it.
    ControlCharacters,
    /// An empty string.
    Empty,
    /// No such member.
    Missing,
}

/// How a page says where the next one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pages {
    /// By its address, as documented.
    Linked,
    /// *Inferred:* by no more than its own number and how many there are.
    Numbered,
    /// By an address at this origin, which is somebody else's.
    At(String),
}

/// How wrong credentials are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// As [`Fault::Wrapper401`]: observed.
    #[serde(rename = "wrapper-401")]
    Wrapper401,
    /// As [`Fault::InvalidClient401`]: named by another source.
    #[serde(rename = "invalid-client-401")]
    InvalidClient401,
    /// As [`Fault::AccessDenied401`]: *inferred*.
    #[serde(rename = "access-denied-401")]
    AccessDenied401,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            fault: None,
            api_fault: None,
            burst: None,
            outages: Vec::new(),
            token_quota: None,
            expires_in: ExpiresIn::Seconds(DAY_S),
            token_type: TokenType::Named("Bearer".to_owned()),
            scope: Scope::Own,
            token: Token::Signed,
            same_token: false,
            date_skew_s: 0,
            audience: AUDIENCE.to_owned(),
            audience_optional: false,
            api_v3_token: false,
            rejection: Rejection::Wrapper401,
            rotation_grace_s: 0,
            api_forbidden: false,
            pages: Pages::Linked,
        }
    }
}

impl Knobs {
    /// Good health, but for `fault` at the token endpoint.
    pub fn failing(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// Good health after the next `count` token requests met `fault`.
    pub fn failing_at_first(count: u32, fault: Fault) -> Self {
        Self { burst: Some(Burst { count, fault }), ..Self::default() }
    }
}

impl Fault {
    /// A large body, announced or chunked.
    pub fn oversized(chunked: bool) -> Self {
        Self::OversizedBody { bytes: two_mebibytes(), chunked }
    }

    /// A temporary redirect.
    pub fn redirect(to: &str) -> Self {
        Self::Redirect { to: to.to_owned(), status: temporary_redirect() }
    }

    /// The kebab-case name, as the ledger shows it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::TruncatedBody => "truncated-body",
            Self::OversizedBody { .. } => "oversized-body",
            Self::Redirect { .. } => "redirect",
            Self::Wrapper401 => "wrapper-401",
            Self::InvalidClient401 => "invalid-client-401",
            Self::AccessDenied401 => "access-denied-401",
            Self::AccessDenied403 => "access-denied-403",
            Self::Throttled429 { .. } => "throttled-429",
            Self::BadGatewayHtml502 => "bad-gateway-html-502",
            Self::GatewayTimeoutHtml504 => "gateway-timeout-html-504",
            Self::ServiceUnavailable503 { .. } => "service-unavailable-503",
            Self::Html200 => "html-200",
            Self::ErrorIn200 => "error-in-200",
            Self::NotFound404 => "not-found-404",
            Self::BadRequest400 { .. } => "bad-request-400",
        }
    }
}

impl Outage {
    pub(crate) fn covers(&self, second: u64) -> bool {
        self.from_s <= second && self.to_s.is_none_or(|end| second < end)
    }
}

impl ExpiresIn {
    /// Seconds for which the sandbox itself honours the token; a day where nothing else is said.
    #[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates, as wanted")]
    pub(crate) fn honoured_s(&self) -> i64 {
        match self {
            Self::Seconds(seconds) => *seconds,
            Self::Float(seconds) => *seconds as i64,
            Self::Text(text) => text.parse::<f64>().map_or(DAY_S, |seconds| seconds as i64),
            Self::Missing => DAY_S,
        }
    }
}

fn two_mebibytes() -> u64 {
    2 * 1024 * 1024
}

fn temporary_redirect() -> u16 {
    307
}

/// The documented audience; it is a name, not a host to call.
pub const AUDIENCE: &str = "https://api.procurify.com/";

const DAY_S: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_fault_is_read_back_under_its_ledger_name() {
        let faults = [
            Fault::Hang,
            Fault::Reset,
            Fault::TruncatedBody,
            Fault::oversized(true),
            Fault::redirect("https://elsewhere.example/"),
            Fault::Wrapper401,
            Fault::InvalidClient401,
            Fault::AccessDenied401,
            Fault::AccessDenied403,
            Fault::Throttled429 { retry_after: Some(RetryAfter::ImfDate(60)), ratelimit_reset_s: Some(60) },
            Fault::BadGatewayHtml502,
            Fault::GatewayTimeoutHtml504,
            Fault::ServiceUnavailable503 { retry_after: None },
            Fault::Html200,
            Fault::ErrorIn200,
            Fault::NotFound404,
            Fault::BadRequest400 { error: "invalid_request".to_owned() },
        ];
        for fault in faults {
            let written = serde_json::to_value(&fault).unwrap();
            let name = match &written {
                serde_json::Value::String(name) => name.clone(),
                object => object.as_object().unwrap().keys().next().unwrap().clone(),
            };
            assert_eq!(name, fault.name());
            assert_eq!(serde_json::from_value::<Fault>(written).unwrap(), fault);
        }
    }

    #[test]
    fn names_are_kebab_case_and_unknown_ones_are_refused() {
        let knobs: Knobs = serde_json::from_str(
            r#"{"latency-ms":5,"fault":{"throttled-429":{"retry-after":{"seconds":30}}},
                "expires-in":{"text":"60"},"outages":[{"from-s":3,"fault":"hang"}]}"#,
        )
        .unwrap();
        assert_eq!(knobs.expires_in.honoured_s(), 60);
        assert!(knobs.outages[0].covers(3) && !knobs.outages[0].covers(2));
        assert_eq!(knobs.audience, AUDIENCE);
        assert!(serde_json::from_str::<Knobs>(r#"{"latency_ms":5}"#).is_err());
    }

    #[test]
    fn an_outage_ends_when_it_says() {
        let outage = Outage { from_s: 1, to_s: Some(3), fault: Fault::Hang };
        assert_eq!([0, 1, 2, 3].map(|s| outage.covers(s)), [false, true, true, false]);
    }
}
