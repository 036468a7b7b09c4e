//! The way to a token URL: proxy, name, connection, certificate.

use procurify_token_protocol::{Area, FailureCode, Finding, Severity, TokenUrl};

use crate::issuer::Reach;

/// What was found on the way to a token URL.
pub fn way(url: &TokenUrl, reach: &Reach) -> Finding {
    let through = match &reach.proxy {
        Some(proxy) => format!(" through the proxy {proxy}"),
        None => String::new(),
    };
    let host = host_of(url);
    let (severity, found, mend) = match &reach.outcome {
        Ok(_) => (Severity::Fine, format!("answers{through}, and its certificate is trusted"), String::new()),
        Err(FailureCode::NAME_NOT_RESOLVED) => (
            Severity::Problem,
            "its name cannot be resolved".to_owned(),
            format!("getent hosts {host}; for what the credential says: procurify-token list"),
        ),
        Err(FailureCode::PROXY) => (
            Severity::Problem,
            format!("cannot be reached{through}"),
            "check HTTPS_PROXY and NO_PROXY in the daemon's environment, and restart it: procurify-token stop".to_owned(),
        ),
        Err(FailureCode::UNTRUSTED) => (
            Severity::Problem,
            format!("answers{through}, and its certificate is not trusted"),
            "see whether this machine's clock is right: date -u; if a proxy of yours opens TLS, name its CA in the configuration ([issuer] extra-ca) and restart the daemon".to_owned(),
        ),
        Err(FailureCode::TIMED_OUT) => {
            (Severity::Problem, format!("did not answer{through} in time"), format!("curl -sSI https://{host}/"))
        }
        Err(_) => (
            Severity::Problem,
            format!("cannot be reached{through}, or breaks off"),
            format!("curl -sSI https://{host}/"),
        ),
    };
    let subject = host.to_owned();
    Finding { severity, area: Area::Network, subject, found, mend }
}

/// Host and port of a URL.
pub(crate) fn host_of(url: &TokenUrl) -> &str {
    let rest = url.as_str().split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_says_what_to_type() {
        let url: TokenUrl = "https://acme.procurify.com:8443/oauth/token".parse().unwrap();
        for code in [
            FailureCode::NAME_NOT_RESOLVED,
            FailureCode::NOT_CONNECTED,
            FailureCode::TIMED_OUT,
            FailureCode::PROXY,
            FailureCode::UNTRUSTED,
        ] {
            let found = way(&url, &Reach { proxy: None, outcome: Err(code) });
            assert!(found.severity == Severity::Problem && !found.mend.is_empty(), "{found:?}");
            assert_eq!(found.subject, "acme.procurify.com:8443");
        }
        let found = way(&url, &Reach { proxy: Some("http://p:1".to_owned()), outcome: Ok(None) });
        assert!(found.severity == Severity::Fine && found.found.contains("through the proxy http://p:1"));
    }
}
