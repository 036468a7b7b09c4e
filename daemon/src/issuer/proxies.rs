//! Which proxy a request goes through, if any.
//!
//! Decides and nothing else; `connect.rs` talks to the proxy.

use std::ffi::OsString;
use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::SetupError;

/// The proxy for token requests and the hosts that are reached without it.
///
/// `Debug` shows the proxy's address without its user name and password.
#[derive(Debug)]
pub struct Proxies(Matcher);

impl Proxies {
    /// Every request goes straight to its host.
    pub fn none() -> Self {
        Self(Matcher::builder().build())
    }

    /// What `HTTPS_PROXY` or `ALL_PROXY` and `NO_PROXY` say, in capitals or, where those are unset or empty, in small
    /// letters. The rules for `NO_PROXY` are curl's.
    ///
    /// # Errors
    /// [`SetupError::Proxy`] for a proxy that cannot be used: going around it unasked could leak the request.
    pub fn from_env() -> Result<Self, SetupError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// [`Self::from_env`] with the environment in the hands of the caller.
    ///
    /// # Errors
    /// [`SetupError::Proxy`], as there.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SetupError> {
        // What is not Unicode is kept as something that no proxy or host matches.
        let first = |names: &[&str]| {
            let texts = names.iter().filter_map(|name| variable(name));
            texts.map(|text| text.to_string_lossy().into_owned()).find(|text| !text.is_empty())
        };
        let Some(proxy) = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) else {
            return Ok(Self::none());
        };
        let exceptions = first(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let matcher = |exceptions| Matcher::builder().https(proxy.as_str()).no(exceptions).build();
        let somewhere = Uri::from_static("https://acme.procurify.com");
        match matcher(String::new()).intercept(&somewhere) {
            Some(proxy) if is_supported(&proxy) => Ok(Self(matcher(exceptions))),
            _ => Err(SetupError::Proxy),
        }
    }

    /// The proxy towards `target`. This machine is reached without one: to a proxy, `localhost` is itself.
    pub(super) fn towards(&self, target: &Uri) -> Option<Intercept> {
        if is_this_machine(target) { None } else { self.0.intercept(target) }
    }
}

fn is_supported(proxy: &Intercept) -> bool {
    matches!(proxy.uri().scheme_str(), Some("http" | "https" | "socks5" | "socks5h"))
}

fn is_this_machine(target: &Uri) -> bool {
    let host = target.host().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, SetupError> {
        Proxies::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    fn towards(variables: &[(&str, &str)], target: &'static str) -> Option<String> {
        let proxy = proxies(variables).unwrap().towards(&Uri::from_static(target))?;
        Some(proxy.uri().to_string())
    }

    const ACME: &str = "https://acme.procurify.com/oauth/token";

    #[rstest]
    #[case(&[], None)]
    #[case(&[("HTTPS_PROXY", "http://p:3128")], Some("http://p:3128/"))]
    #[case(&[("https_proxy", "p:3128")], Some("http://p:3128/"))]
    #[case(&[("ALL_PROXY", "socks5h://p:1080")], Some("socks5h://p:1080/"))]
    #[case(&[("all_proxy", "https://p")], Some("https://p/"))]
    #[case(&[("HTTPS_PROXY", ""), ("all_proxy", "http://all")], Some("http://all/"))]
    #[case(&[("HTTPS_PROXY", "http://a"), ("https_proxy", "http://b"), ("ALL_PROXY", "http://c")], Some("http://a/"))]
    #[case(&[("HTTP_PROXY", "http://p")], None)]
    #[case(&[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "example.com,.procurify.com")], None)]
    #[case(&[("HTTPS_PROXY", "http://p"), ("no_proxy", "*")], None)]
    #[case(&[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "example.com")], Some("http://p/"))]
    fn the_environment_is_read_as_curl_reads_it(
        #[case] variables: &[(&str, &str)],
        #[case] proxy: Option<&str>,
    ) {
        assert_eq!(towards(variables, ACME).as_deref(), proxy);
    }

    #[rstest]
    #[case("http://127.0.0.1:8080/oauth/token")]
    #[case("http://[::1]:8080/oauth/token")]
    #[case("http://localhost:8080/oauth/token")]
    #[case("https://localhost:8443/oauth/token")]
    fn this_machine_is_reached_without_a_proxy(#[case] target: &'static str) {
        assert_eq!(towards(&[("ALL_PROXY", "http://p")], target), None);
    }

    #[rstest]
    #[case("socks4://p:1080")]
    #[case("ftp://p")]
    #[case("http://")]
    #[case("no proxy")]
    fn an_unusable_proxy_is_no_setup(#[case] proxy: &str) {
        assert!(matches!(proxies(&[("HTTPS_PROXY", proxy)]), Err(SetupError::Proxy)));
    }

    #[test]
    fn the_password_of_a_proxy_is_not_shown() {
        let proxies = proxies(&[("HTTPS_PROXY", "http://user:canary@p:3128")]).unwrap();
        let proxy = proxies.towards(&Uri::from_static(ACME)).unwrap();
        assert!(proxy.basic_auth().is_some());
        assert!(!format!("{proxies:?}").contains("canary"));
    }
}
