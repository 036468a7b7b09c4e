//! Whom to trust: what the system trusts, and one more CA if a person names it.
//!
//! The ring provider is named explicitly and never installed for the process: who else uses rustls is not our concern.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::SetupError;

/// TLS 1.2 or 1.3 towards servers that the system or the CAs in the PEM file `extra_ca` vouch for. Reads the system's
/// trust, so make one and keep it.
pub(super) fn connector(extra_ca: Option<&Path>) -> Result<TlsConnector, SetupError> {
    let extra_roots = extra_ca.map_or(Ok(Vec::new()), certificates)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = if cfg!(windows) && extra_roots.is_empty() {
        // Windows would verify beside what it trusts by itself, and older versions of it could not.
        Verifier::new(provider.clone())?
    } else {
        Verifier::new_with_extra_roots(extra_roots, provider.clone())?
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is resumed would tie the requests of two credentials together, to save a round trip a day.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let pem = fs::read(path).map_err(|source| SetupError::UnreadableCa { path: path.to_owned(), source })?;
    let certificates =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    let are_good = certificates.iter().all(|certificate| roots.add(certificate.clone()).is_ok());
    if are_good && !roots.is_empty() {
        Ok(certificates)
    } else {
        Err(SetupError::NotACa { path: path.to_owned() })
    }
}
