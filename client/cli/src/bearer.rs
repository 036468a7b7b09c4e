//! The forms in which a token or a recovery code leaves the command. The only room that opens one.
//!
//! A token consists of the characters of RFC 6750 §2.1 and an address of visible ASCII without quotes that matter
//! here, so only the shell needs quoting.

use chrono::{DateTime, Utc};
use procurify_token_client::TokenGrant;
use procurify_token_protocol::{AccessToken, CredentialName, RecoveryCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::text::shell_quoted;
use crate::when;

/// The header that Procurify wants beside `Authorization`.
pub(crate) const CLIENT_HEADER: (&str, &str) = ("X-Procurify-Client", "api");

/// The value of the `Authorization` header (RFC 6750 §2.1).
pub(crate) fn authorization(token: &AccessToken) -> Zeroizing<String> {
    Zeroizing::new(format!("Bearer {}", open(token)))
}

/// What `exec` and `--env` hand over.
pub(crate) fn variables(name: &CredentialName, grant: &TokenGrant) -> [(&'static str, Zeroizing<String>); 3] {
    [
        ("PROCURIFY_TOKEN", Zeroizing::new(open(&grant.token).to_owned())),
        ("PROCURIFY_DOMAIN", Zeroizing::new(name.domain().to_string())),
        ("PROCURIFY_BASE_URL", Zeroizing::new(grant.base_url.to_string())),
    ]
}

/// The token alone, on its line.
pub(crate) fn bare(grant: &TokenGrant) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", open(&grant.token)))
}

/// Both headers, a line each, for `curl -H @-`.
pub(crate) fn headers(grant: &TokenGrant) -> Zeroizing<String> {
    let (name, value) = CLIENT_HEADER;
    Zeroizing::new(format!("Authorization: {}\n{name}: {value}\n", *authorization(&grant.token)))
}

/// Both headers as options in a file for `curl -K -`.
pub(crate) fn curl_config(grant: &TokenGrant) -> Zeroizing<String> {
    let (name, value) = CLIENT_HEADER;
    let authorization = authorization(&grant.token);
    Zeroizing::new(format!("header = \"Authorization: {}\"\nheader = \"{name}: {value}\"\n", *authorization))
}

/// Lines for a shell to evaluate; `suffix` ends the name of each variable.
pub(crate) fn exports(name: &CredentialName, grant: &TokenGrant, suffix: &str) -> Zeroizing<String> {
    let mut lines = Zeroizing::new(String::with_capacity(20 * 1024));
    for (variable, value) in variables(name, grant) {
        let quoted = Zeroizing::new(shell_quoted(&value));
        for part in ["export ", variable, suffix, "=", &quoted, "\n"] {
            lines.push_str(part);
        }
    }
    lines
}

/// The end of the names of a credential's variables, beside those of others: `_ACME_REPORTING`.
pub(crate) fn variable_suffix(name: &CredentialName) -> String {
    format!("_{}", name.as_str().replace(['/', '-'], "_").to_ascii_uppercase())
}

/// Both headers and the certificates of the daemon's configuration as options of curl, in a file that it is to read.
pub(crate) fn curl_options(grant: &TokenGrant, extra_ca: Option<&str>) -> Zeroizing<String> {
    let mut options = curl_config(grant);
    if let Some(path) = extra_ca {
        let quoted = path.replace('\\', r"\\").replace('"', "\\\"");
        let whole = Zeroizing::new(format!("{}cacert = \"{quoted}\"\n", *options));
        options = whole;
    }
    options
}

/// One JSON object, on its line.
pub(crate) fn json(name: &CredentialName, grant: &TokenGrant, now: DateTime<Utc>) -> Zeroizing<String> {
    let (token, domain) = (&grant.token, name.domain());
    let form = Form {
        name: name.as_str(),
        domain: domain.as_str(),
        base_url: grant.base_url.as_str(),
        access_token: open(token),
        token_type: "Bearer",
        expires_at: when::stamp(token.expires_at()),
        expires_in: (token.expires_at() - now).num_seconds().max(0),
        fingerprint: token.fingerprint().to_string(),
    };
    let mut line = serde_json::to_string(&form).expect("a struct of texts and numbers is always JSON");
    line.push('\n');
    Zeroizing::new(line)
}

/// A recovery code, to be shown once.
#[expect(clippy::disallowed_methods, reason = "a recovery code is for its owner to write down")]
pub(crate) fn recovery_code(code: &RecoveryCode) -> &str {
    code.secret().expose_secret()
}

/// Whether what was typed back is what was shown.
pub(crate) fn is_same_code(typed: &RecoveryCode, shown: &RecoveryCode) -> bool {
    recovery_code(typed) == recovery_code(shown)
}

#[derive(Serialize)]
struct Form<'a> {
    name: &'a str,
    domain: &'a str,
    base_url: &'a str,
    access_token: &'a str,
    token_type: &'a str,
    expires_at: String,
    expires_in: i64,
    fingerprint: String,
}

#[expect(clippy::disallowed_methods, reason = "handing a token to the caller is what the command is for")]
fn open(token: &AccessToken) -> &str {
    token.secret().expose_secret()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use procurify_token_protocol::Fingerprint;

    fn grant() -> TokenGrant {
        let expires_at = DateTime::UNIX_EPOCH + TimeDelta::seconds(90);
        let token =
            AccessToken::new("abc.def==".into(), Fingerprint::from_bytes([1; 8]), expires_at).unwrap();
        TokenGrant { token: token.into(), base_url: "https://acme.procurify.com".parse().unwrap() }
    }

    #[test]
    fn variables_of_several_credentials_tell_whose_they_are() {
        let name: CredentialName = "acme-2/reporting".parse().unwrap();
        let exports = exports(&name, &grant(), &variable_suffix(&name));
        assert!(exports.starts_with("export PROCURIFY_TOKEN_ACME_2_REPORTING='abc.def=='\n"), "{}", *exports);
    }

    #[test]
    fn each_form_is_exactly_what_its_reader_wants() {
        let (name, grant) = ("acme/reporting".parse().unwrap(), grant());
        assert_eq!(*bare(&grant), "abc.def==\n");
        assert_eq!(*headers(&grant), "Authorization: Bearer abc.def==\nX-Procurify-Client: api\n");
        assert_eq!(
            *curl_config(&grant),
            "header = \"Authorization: Bearer abc.def==\"\nheader = \"X-Procurify-Client: api\"\n"
        );
        assert_eq!(
            *exports(&name, &grant, ""),
            "export PROCURIFY_TOKEN='abc.def=='\nexport PROCURIFY_DOMAIN='acme'\n\
             export PROCURIFY_BASE_URL='https://acme.procurify.com'\n"
        );
        assert_eq!(
            *json(&name, &grant, DateTime::UNIX_EPOCH),
            "{\"name\":\"acme/reporting\",\"domain\":\"acme\",\"base_url\":\"https://acme.procurify.com\",\
             \"access_token\":\"abc.def==\",\"token_type\":\"Bearer\",\"expires_at\":\"1970-01-01T00:01:30Z\",\
             \"expires_in\":90,\"fingerprint\":\"0101010101010101\"}\n"
        );
    }
}
