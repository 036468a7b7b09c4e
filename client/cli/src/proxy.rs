//! Which proxy leads to a host: `HTTPS_PROXY`, else `ALL_PROXY`, unless `NO_PROXY` names the host.
//!
//! Plain http leads to this machine only, and never through a proxy. A pure rule; nothing is connected to here.

use std::net::IpAddr;

/// The proxy for a host over TLS, by the environment that `variable` reads.
pub(crate) fn for_host(host: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let first = |names: [&str; 2]| {
        names.into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()))
    };
    if first(["NO_PROXY", "no_proxy"]).is_some_and(|exceptions| is_excepted(host, &exceptions)) {
        return None;
    }
    first(["HTTPS_PROXY", "https_proxy"]).or_else(|| first(["ALL_PROXY", "all_proxy"]))
}

/// As curl has it: a name stands for itself and all below it, with or without a leading dot; `*` stands for all.
fn is_excepted(host: &str, exceptions: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let is_address = host.parse::<IpAddr>().is_ok();
    exceptions.split(',').map(|exception| exception.trim().to_ascii_lowercase()).any(|exception| {
        let name = exception.trim_start_matches("*.").trim_start_matches('.');
        match host.strip_suffix(name) {
            _ if exception == "*" => true,
            _ if name.is_empty() => false,
            Some("") => true,
            Some(above) => !is_address && above.ends_with('.'),
            None => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn proxy(host: &str, environment: &[(&str, &str)]) -> Option<String> {
        for_host(host, |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_proxy_for_https_comes_first() {
        let host = "acme.procurify.com";
        assert_eq!(proxy(host, &[]), None);
        assert_eq!(proxy(host, &[("ALL_PROXY", "a"), ("https_proxy", "b")]).as_deref(), Some("b"));
        assert_eq!(proxy(host, &[("HTTPS_PROXY", ""), ("all_proxy", "a")]).as_deref(), Some("a"));
        assert_eq!(proxy(host, &[("HTTP_PROXY", "a")]), None);
    }

    #[rstest]
    #[case("procurify.com", true)]
    #[case(".procurify.com", true)]
    #[case("*.procurify.com", true)]
    #[case("localhost, ACME.Procurify.com", true)]
    #[case("*", true)]
    #[case("rify.com", false)]
    #[case("globex.procurify.com", false)]
    #[case("", false)]
    #[case(",.", false)]
    fn exceptions_name_a_host_or_all_below_one(#[case] exceptions: &str, #[case] excepted: bool) {
        assert_eq!(is_excepted("acme.procurify.com", exceptions), excepted);
    }

    #[test]
    fn an_address_is_only_itself() {
        assert!(is_excepted("127.0.0.1", "127.0.0.1"));
        assert!(is_excepted("[::1]", "::1"));
        assert!(!is_excepted("10.0.0.1", "0.0.1"));
        assert!(!is_excepted("127.0.0.1", "0.1"));
    }
}
