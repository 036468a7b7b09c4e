//! The names of things: domains, credential names, client ids, descriptions.
//!
//! Every type here is parsed once at the edge of the program and is right from then on. This room knows the grammar of
//! names and nothing of what they name.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::pattern::text_conversions;

/// The subdomain of a Procurify customer: `acme` for `https://acme.procurify.com`.
///
/// Grammar: `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$` (a lower-case DNS label, RFC 1035 §2.3.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

impl Domain {
    /// Reads a domain from what people paste: `https://Acme.procurify.com/`, `acme.procurify.com` or `acme`.
    ///
    /// # Errors
    /// Anything that could name another host: user-info, a port, a foreign suffix (`acme.procurify.com.evil.com`).
    pub fn from_pasted(pasted: &str) -> Result<Self, NameError> {
        let text = pasted.trim().to_ascii_lowercase();
        let is_url = text.contains("://");
        let host = text.strip_prefix("https://").unwrap_or(&text);
        let host = match host.split_once(['/', '?', '#']) {
            Some((host, rest)) if is_url || rest.is_empty() => host,
            Some(_) => return Err(NameError::Domain),
            None => host,
        };
        match host.strip_suffix(".procurify.com") {
            Some(label) => label.parse(),
            None if is_url => Err(NameError::ForeignHost),
            None => host.parse(),
        }
    }

    /// The domain as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_dns_label(text) { Ok(Self(text.into())) } else { Err(NameError::Domain) }
    }
}

/// The name of one credential: `acme`, or `acme/reporting` where a domain has several applications.
///
/// Procurify has no scopes, so least privilege means several users, each with an application of its own. Both parts
/// follow the grammar of [`Domain`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialName(Arc<str>);

impl CredentialName {
    /// Reads a name from what people type or paste: `acme`, `acme/reporting`, `Acme.procurify.com/reporting`, or the
    /// address of any page of the web application.
    ///
    /// # Errors
    /// [`NameError`] where neither reading gives a name.
    pub fn from_pasted(pasted: &str) -> Result<Self, NameError> {
        let text = pasted.trim();
        match text.split_once('/') {
            Some((domain, label)) if !text.contains("://") && !label.is_empty() => {
                let domain = Domain::from_pasted(domain)?;
                format!("{domain}/{}", label.to_ascii_lowercase()).parse()
            }
            _ => Domain::from_pasted(text).map(Self::from),
        }
    }

    /// The domain that the credential's tokens are for.
    pub fn domain(&self) -> Domain {
        Domain(match self.0.split_once('/') {
            Some((domain, _)) => domain.into(),
            None => Arc::clone(&self.0),
        })
    }

    /// The part behind the slash, where there is one.
    pub fn label(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, label)| label)
    }

    /// The name as written, at most 127 bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Domain> for CredentialName {
    fn from(domain: Domain) -> Self {
        Self(domain.0)
    }
}

impl FromStr for CredentialName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (domain, label) = match text.split_once('/') {
            Some((domain, label)) => (domain, Some(label)),
            None => (text, None),
        };
        match (is_dns_label(domain), label.is_none_or(is_dns_label)) {
            (true, true) => Ok(Self(text.into())),
            (true, false) => Err(NameError::Label),
            (false, _) => Err(NameError::Domain),
        }
    }
}

/// The public half of client credentials (RFC 6749 §2.2): 1 to 512 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The identifier as Procurify showed it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if (1..=MAX_CLIENT_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::ClientId)
        }
    }
}

/// What a person wrote about a credential: at most 200 characters, none of them a control character.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Description(String);

impl Description {
    /// The text as written, possibly empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Description {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.chars().count() <= MAX_DESCRIPTION && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Description)
        }
    }
}

/// Which audience a token request names: 1 to 512 visible ASCII characters, a name and not a host to call
/// (`procurify.md`, "Token request").
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Audience(Arc<str>);

impl Audience {
    /// The audience as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Audience {
    /// `https://api.procurify.com/`, as documented, trailing slash included.
    fn default() -> Self {
        static DOCUMENTED: LazyLock<Arc<str>> = LazyLock::new(|| DOCUMENTED_AUDIENCE.into());
        Self(Arc::clone(&DOCUMENTED))
    }
}

impl FromStr for Audience {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // Nearly everybody's, so it is shared.
        if text == DOCUMENTED_AUDIENCE {
            Ok(Self::default())
        } else if (1..=MAX_CLIENT_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Audience)
        }
    }
}

/// Why a text is not a name. None of them repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not a domain.
    #[error(
        "not a Procurify domain: write the first part of https://DOMAIN.procurify.com (a-z, 0-9 and inner hyphens)"
    )]
    Domain,
    /// An address of another service.
    #[error("this address is not one of Procurify's: only https://DOMAIN.procurify.com is")]
    ForeignHost,
    /// The part behind the slash is not a label.
    #[error("the label behind the slash may hold a-z, 0-9 and inner hyphens, at most 63 of them")]
    Label,
    /// Not a client id.
    #[error("a client id is 1 to 512 visible ASCII characters without spaces")]
    ClientId,
    /// Not a description.
    #[error("a description is at most 200 characters on one line")]
    Description,
    /// Not an audience.
    #[error("an audience is 1 to 512 visible ASCII characters without spaces")]
    Audience,
    /// Right but for its form, where a program wrote it.
    #[error("the text is not in the form in which programs write it")]
    Untidy,
}

text_conversions!(NameError: Domain, CredentialName, ClientId, Description, Audience);

fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| is_alphanumeric(b) || *b == b'-')
        && bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
}

const DOCUMENTED_AUDIENCE: &str = "https://api.procurify.com/";
const MAX_CLIENT_ID: usize = 512;
const MAX_DESCRIPTION: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("acme", "acme")]
    #[case(" Acme ", "acme")]
    #[case("acme.procurify.com", "acme")]
    #[case("acme.procurify.com/", "acme")]
    #[case("https://Acme.procurify.com/", "acme")]
    #[case("https://acme.procurify.com/#/settings/integrations", "acme")]
    #[case("a-1", "a-1")]
    fn pasted_domains_are_normalised(#[case] pasted: &str, #[case] domain: &str) {
        assert_eq!(Domain::from_pasted(pasted).unwrap().as_str(), domain);
    }

    #[rstest]
    #[case("")]
    #[case("-acme")]
    #[case("acme-")]
    #[case("ac me")]
    #[case("acme.procurify.com.evil.com")]
    #[case("https://acme.procurify.com.evil.com/")]
    #[case("https://acme.procurify.com@evil.com/")]
    #[case("https://evil.com/acme.procurify.com")]
    #[case("https://user:pw@acme.procurify.com/")]
    #[case("https://acme.procurify.com:8443/")]
    #[case("acme.procurify.com:8443")]
    #[case("http://acme.procurify.com/")]
    #[case("https://x.acme.procurify.com/")]
    #[case("acme\n.procurify.com")]
    #[case("äcme")]
    fn what_could_name_another_host_is_no_domain(#[case] pasted: &str) {
        assert!(Domain::from_pasted(pasted).is_err());
    }

    #[test]
    fn a_domain_has_at_most_63_characters() {
        assert!("a".repeat(63).parse::<Domain>().is_ok());
        assert!("a".repeat(64).parse::<Domain>().is_err());
    }

    #[rstest]
    #[case("acme", "acme", None)]
    #[case("Acme/Reporting", "acme", Some("reporting"))]
    #[case("acme.procurify.com/reporting", "acme", Some("reporting"))]
    #[case("https://acme.procurify.com/settings", "acme", None)]
    fn pasted_names_split_into_domain_and_label(
        #[case] pasted: &str,
        #[case] domain: &str,
        #[case] label: Option<&str>,
    ) {
        let name = CredentialName::from_pasted(pasted).unwrap();
        assert_eq!((name.domain().as_str(), name.label()), (domain, label));
    }

    #[rstest]
    #[case("acme/", NameError::Label)]
    #[case("acme/a/b", NameError::Label)]
    #[case("/reporting", NameError::Domain)]
    #[case("Acme", NameError::Domain)]
    fn strict_names_refuse_the_rest(#[case] text: &str, #[case] error: NameError) {
        assert_eq!(text.parse::<CredentialName>(), Err(error));
    }

    #[test]
    fn a_client_id_or_description_holds_no_control_character() {
        assert!("abc\r\nX: y".parse::<ClientId>().is_err());
        assert!("two\nlines".parse::<Description>().is_err());
        assert!("Größe 1".parse::<Description>().is_ok());
    }
}
