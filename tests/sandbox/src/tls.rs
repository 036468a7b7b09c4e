//! The sandbox's own certificate authority and the certificates it signs.
//!
//! One TLS configuration serves every door: the certificate follows the name the client asks for
//! (SNI). Everything is made at start and forgotten at the end; no private key leaves memory.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign::any_ecdsa_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};

use crate::doors::domain_of;

/// The authority, and the certificates it has signed so far.
pub(crate) struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
    /// One key for all leaves: making keys is slow, and these guard nothing.
    leaf: KeyPair,
    leaf_signer: Arc<dyn SigningKey>,
    local: Arc<CertifiedKey>,
    domains: HashSet<String>,
    signed: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

/// The authority could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A key or a protocol version was not accepted.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

impl Authority {
    /// A fresh authority. It signs for `localhost` and the loopback addresses, and for the hosts
    /// of these domains.
    pub(crate) fn new(domains: HashSet<String>) -> Result<Self, TlsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Procurify sandbox (test only)");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let leaf = KeyPair::generate()?;
        let leaf_signer = any_ecdsa_type(&PrivateKeyDer::Pkcs8(leaf.serialize_der().into()))?;
        let local = certify(&ca, &leaf, &["localhost", "127.0.0.1", "::1"])?;
        Ok(Self {
            local: Arc::new(CertifiedKey::new(vec![local], Arc::clone(&leaf_signer))),
            ca,
            leaf,
            leaf_signer,
            domains,
            signed: Mutex::default(),
        })
    }

    /// The certificate clients have to trust.
    pub(crate) fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    pub(crate) fn into_server_config(self: Arc<Self>) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn for_host(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        domain_of(host).filter(|domain| self.domains.contains(*domain))?;
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = signed.get(host) {
            return Some(Arc::clone(known));
        }
        let certificate = certify(&self.ca, &self.leaf, &[host]).ok()?;
        let key = Arc::new(CertifiedKey::new(vec![certificate], Arc::clone(&self.leaf_signer)));
        signed.insert(host.to_owned(), Arc::clone(&key));
        Some(key)
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|host| self.for_host(host));
        Some(named.unwrap_or_else(|| Arc::clone(&self.local)))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn certify(
    ca: &CertifiedIssuer<'static, KeyPair>,
    key: &KeyPair,
    names: &[&str],
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    // Not the host: a long one would exceed the 64 characters of a common name.
    params.distinguished_name.push(DnType::CommonName, "Procurify sandbox");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.signed_by(key, ca)?.into())
}
