//! TLS to Redis.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, crypto,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// The files that a URL names.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Trusts the authorities in `ca`, else those of the machine.
pub(crate) fn config(files: &Files) -> Result<Arc<ClientConfig>, String> {
    let roots = match &files.ca {
        Some(path) => roots_of(path)?,
        None => roots_of_the_machine()?,
    };
    // Named, so that another user of rustls in this program can't leave it ambiguous which one is meant.
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be used: {error}"))?
        .with_root_certificates(roots);
    let config = match (&files.cert, &files.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, &error))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|error| format!("cert {} and key {} don't work: {error}", cert.display(), key.display()))?
        }
        _ => return Err("cert and key come together: one of them is missing".to_owned()),
    };
    Ok(Arc::new(config))
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unreadable("ca", path, &error))?;
    }
    Ok(roots)
}

fn roots_of_the_machine() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some machines have certificates that rustls does not take; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this machine has no certificate authorities: install ca-certificates, or name yours with ?ca=FILE".into(),
        );
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable("certificates", path, &error))?;
    let certificates: Vec<_> =
        read.collect::<Result<_, _>>().map_err(|error| unreadable("certificates", path, &error))?;
    if certificates.is_empty() {
        return Err(format!("{} has no certificate in PEM format", path.display()));
    }
    Ok(certificates)
}

fn unreadable(what: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{what} can't be read from {}: {error}", path.display())
}
