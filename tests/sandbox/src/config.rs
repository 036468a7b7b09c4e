//! What a sandbox is started with: domains, their applications, ports.
//!
//! Words in, valid types out. Nothing here listens or answers.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::knobs::Knobs;

/// Everything a sandbox needs to start. The default serves `acme` and `globex` on free ports.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domains that exist; no others can be added later.
    pub domains: Vec<DomainConfig>,
    /// Port of the plain-HTTP door and CONNECT proxy; 0 takes a free one.
    pub http_port: u16,
    /// Port of the TLS door; 0 takes a free one.
    pub https_port: u16,
}

/// One Procurify domain.
#[derive(Clone, Debug)]
pub struct DomainConfig {
    /// `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, checked when the sandbox starts.
    pub name: String,
    /// The API applications its users created.
    pub applications: Vec<Application>,
    /// How it behaves at first, and again after its knobs are cleared.
    pub knobs: Knobs,
    /// How many vendors it has before anybody creates one.
    pub vendors: usize,
}

/// One API application: its client credentials and the user it acts as.
///
/// `Debug` leaves the secret out, though it is a fake one: tests plant canaries in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Application {
    /// The client ID.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
    /// E-mail of the user who created it; every call is made as that user.
    pub email: String,
    /// Whether that user is a superuser.
    #[serde(default)]
    pub superuser: bool,
    /// Whether that user is active. An inactive user's application gets no token.
    #[serde(default = "yes")]
    pub active: bool,
}

/// `--domain NAME` or `--domain NAME:ID:SECRET:EMAIL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainFlag {
    /// The domain's name.
    pub domain: String,
    /// The application to add to it.
    pub application: Application,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The name does not follow Procurify's grammar for domains.
    #[error("{0:?} is not a domain: use a to z, 0 to 9 and inner hyphens, at most 63 of them")]
    BadDomain(String),
    /// Two domains have the same name.
    #[error("domain {0:?} is configured twice")]
    Twice(String),
    /// The `--domain` flag has some other number of parts.
    #[error("write NAME or NAME:ID:SECRET:EMAIL")]
    BadFlag,
}

impl Config {
    /// The named domains, each with [`Application::of`] and 45 vendors, on free ports.
    pub fn of(names: &[&str]) -> Self {
        Self {
            domains: names.iter().copied().map(DomainConfig::named).collect(),
            http_port: 0,
            https_port: 0,
        }
    }

    /// What the program's flags ask for: the flagged domains (or `acme` and `globex` when there
    /// are none), then `many` domains `load-00001`, `load-00002`, ….
    pub fn from_flags(flags: Vec<DomainFlag>, many: u32) -> Self {
        let mut config = if flags.is_empty() { Self::default() } else { Self::of(&[]) };
        for DomainFlag { domain, application } in flags {
            match config.domains.iter_mut().find(|known| known.name == domain) {
                Some(known) => known.applications.push(application),
                None => config
                    .domains
                    .push(DomainConfig { applications: vec![application], ..DomainConfig::named(&domain) }),
            }
        }
        let load = (1..=many).map(|n| DomainConfig::named(&format!("load-{n:05}")));
        config.domains.extend(load);
        config
    }

    pub(crate) fn into_domains(self) -> Result<HashMap<String, DomainConfig>, ConfigError> {
        let mut domains = HashMap::with_capacity(self.domains.len());
        for domain in self.domains {
            if !is_domain(&domain.name) {
                return Err(ConfigError::BadDomain(domain.name));
            }
            if domains.contains_key(&domain.name) {
                return Err(ConfigError::Twice(domain.name));
            }
            domains.insert(domain.name.clone(), domain);
        }
        Ok(domains)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::of(&["acme", "globex"])
    }
}

impl DomainConfig {
    /// A well-behaved domain with one application, [`Application::of`] its name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            applications: vec![Application::of(name)],
            knobs: Knobs::default(),
            vendors: 45,
        }
    }
}

impl Application {
    /// The documented fake credentials: client id `sandbox-NAME`, secret `sandbox-NAME-secret`,
    /// e-mail `integration@NAME.example`; an active user who is no superuser.
    pub fn of(domain: &str) -> Self {
        Self {
            client_id: format!("sandbox-{domain}"),
            client_secret: format!("sandbox-{domain}-secret"),
            email: format!("integration@{domain}.example"),
            superuser: false,
            active: true,
        }
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("client_id", &self.client_id)
            .field("email", &self.email)
            .field("superuser", &self.superuser)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl FromStr for DomainFlag {
    type Err = ConfigError;

    fn from_str(flag: &str) -> Result<Self, ConfigError> {
        let parts: Vec<&str> = flag.split(':').collect();
        let (domain, application) = match parts[..] {
            [domain] => (domain, Application::of(domain)),
            [domain, id, secret, email] => (
                domain,
                Application {
                    client_id: id.to_owned(),
                    client_secret: secret.to_owned(),
                    email: email.to_owned(),
                    ..Application::of(domain)
                },
            ),
            _ => return Err(ConfigError::BadFlag),
        };
        if !is_domain(domain) {
            return Err(ConfigError::BadDomain(domain.to_owned()));
        }
        Ok(Self { domain: domain.to_owned(), application })
    }
}

fn is_domain(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_names_a_domain_or_spells_out_its_application() {
        let short: DomainFlag = "acme".parse().unwrap();
        assert_eq!(short.application, Application::of("acme"));
        let long: DomainFlag = "acme:id:s3:a@b.example".parse().unwrap();
        assert_eq!(long.application.client_secret, "s3");
        assert_eq!("acme:id".parse::<DomainFlag>(), Err(ConfigError::BadFlag));
        assert!(matches!("-x".parse::<DomainFlag>(), Err(ConfigError::BadDomain(_))));
    }

    #[test]
    fn flags_replace_the_default_domains_and_many_adds_to_them() {
        let names = |config: Config| config.domains.into_iter().map(|d| d.name).collect::<Vec<_>>();
        assert_eq!(names(Config::from_flags(vec![], 2)), ["acme", "globex", "load-00001", "load-00002"]);
        let twice = vec!["x:a:b:c".parse().unwrap(), "x:d:e:f".parse().unwrap()];
        let config = Config::from_flags(twice, 0);
        assert_eq!(config.domains.len(), 1);
        assert_eq!(config.domains[0].applications.len(), 2);
    }

    #[test]
    fn names_are_checked_at_the_door() {
        for bad in ["", "Acme", "a.b", "a-", "acme\n", &"x".repeat(64)] {
            assert!(matches!(Config::of(&[bad]).into_domains(), Err(ConfigError::BadDomain(_))), "{bad:?}");
        }
        assert!(matches!(Config::of(&["a", "a"]).into_domains(), Err(ConfigError::Twice(_))));
    }

    #[test]
    fn debug_keeps_the_secret() {
        assert!(!format!("{:?}", Config::default()).contains("-secret"));
    }
}
