//! What all connections share, and the handle by which it is looked at and changed.
//!
//! Nothing listens or answers here.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::clock::{self, Clock};
use crate::config::{Application, Config};
use crate::domain::Domain;
use crate::jwt::Signer;
use crate::knobs::Knobs;
use crate::ledger::Ledger;
use crate::sandbox::StartError;
use crate::tls::Authority;

/// A handle to look at a sandbox and to change how it behaves. It outlives the sandbox harmlessly.
#[derive(Clone, Debug)]
pub struct Controls {
    house: Arc<House>,
    http: SocketAddr,
    https: SocketAddr,
}

/// What all connections share.
pub(crate) struct House {
    domains: HashMap<String, Domain>,
    ca_pem: String,
    pub(crate) tls: TlsAcceptor,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    pub(crate) signer: Signer,
}

/// What was to be controlled does not exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ControlError {
    /// No such domain.
    #[error("the sandbox has no such domain")]
    UnknownDomain,
    /// No such client in this domain.
    #[error("the domain has no such client")]
    UnknownClient,
}

impl Controls {
    pub(crate) fn new(house: Arc<House>, http: SocketAddr, https: SocketAddr) -> Self {
        Self { house, http, https }
    }

    /// The certificate that clients have to trust.
    pub fn ca_pem(&self) -> &str {
        &self.house.ca_pem
    }

    /// For `HTTPS_PROXY`: `http://127.0.0.1:PORT`.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The plain-HTTP door, which is also the proxy.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// The TLS door.
    pub fn https_addr(&self) -> SocketAddr {
        self.https
    }

    /// `https://localhost:PORT/d/DOMAIN`, the domain's base URL without the proxy.
    pub fn base_url(&self, domain: &str) -> String {
        format!("https://localhost:{}/d/{domain}", self.https.port())
    }

    /// `http://127.0.0.1:PORT/d/DOMAIN`, the domain's base URL without proxy and TLS.
    pub fn plain_base_url(&self, domain: &str) -> String {
        format!("http://{}/d/{domain}", self.http)
    }

    /// What was asked so far.
    pub fn ledger(&self) -> &Ledger {
        &self.house.ledger
    }

    /// How the domain behaves now.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn knobs(&self, domain: &str) -> Result<Knobs, ControlError> {
        Ok(self.domain(domain)?.knobs())
    }

    /// Makes the domain behave so from the next request on. Bursts and the token quota start anew.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn set(&self, domain: &str, knobs: Knobs) -> Result<(), ControlError> {
        self.domain(domain)?.set_knobs(knobs);
        Ok(())
    }

    /// Sets the knobs the domain was configured with.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn clear(&self, domain: &str) -> Result<(), ControlError> {
        self.domain(domain)?.clear_knobs();
        Ok(())
    }

    /// The domain's applications.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn clients(&self, domain: &str) -> Result<Vec<Application>, ControlError> {
        Ok(self.domain(domain)?.applications())
    }

    /// Adds an application, or replaces the one with this client id, which rotates its secret.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn put_client(&self, domain: &str, client: Application) -> Result<(), ControlError> {
        let domain = self.domain(domain)?;
        domain.put_application(client, domain.skewed(clock::now()));
        Ok(())
    }

    /// Deletes an application. Its issued tokens live on.
    ///
    /// # Errors
    /// There is no such domain, or no such client.
    pub fn remove_client(&self, domain: &str, client_id: &str) -> Result<(), ControlError> {
        let removed = self.domain(domain)?.remove_application(client_id);
        removed.then_some(()).ok_or(ControlError::UnknownClient)
    }

    /// Makes the API refuse every token issued so far.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn revoke(&self, domain: &str) -> Result<(), ControlError> {
        self.domain(domain)?.revoke();
        Ok(())
    }

    /// Everything as at the start: ledger, knobs, clients, tokens, vendors. Time does not go back,
    /// so outage windows still count from the start.
    pub fn reset(&self) {
        self.house.domains.values().for_each(Domain::reset);
        self.house.ledger.reset();
    }

    pub(crate) fn house(&self) -> &House {
        &self.house
    }

    fn domain(&self, name: &str) -> Result<&Domain, ControlError> {
        self.house.domain(name).ok_or(ControlError::UnknownDomain)
    }
}

impl House {
    pub(crate) fn build(config: Config) -> Result<Self, StartError> {
        let domains = config.into_domains()?;
        let authority = Arc::new(Authority::new(domains.keys().cloned().collect())?);
        Ok(Self {
            domains: domains.into_iter().map(|(name, domain)| (name, Domain::new(domain))).collect(),
            ca_pem: authority.ca_pem(),
            tls: TlsAcceptor::from(Arc::new(authority.into_server_config()?)),
            ledger: Ledger::default(),
            clock: Clock::start(),
            signer: Signer::new(),
        })
    }

    pub(crate) fn domain(&self, name: &str) -> Option<&Domain> {
        self.domains.get(name)
    }
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").finish_non_exhaustive()
    }
}
