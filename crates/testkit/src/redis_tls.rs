//! A redis-server that speaks TLS, with certificates of the test's own.

use crate::redis::{RedisServer, free_port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A server with a plain port, for the test itself, and one with TLS that asks for a client certificate.
#[derive(Debug)]
pub struct RedisTls {
    server: RedisServer,
    port: u16,
    files: Files,
}

#[derive(Debug)]
struct Files {
    directory: TempDir,
}

impl RedisTls {
    /// Starts it. Whoever connects with TLS needs a certificate of the same authority.
    ///
    /// # Panics
    /// When redis-server was built without TLS.
    pub async fn start() -> Self {
        let files = Files::make();
        let port = free_port().to_string();
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| files.path(name).display().to_string());
        let options = [
            ["--tls-port", &port],
            ["--tls-ca-cert-file", &ca],
            ["--tls-cert-file", &cert],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "yes"],
        ];
        let server = RedisServer::start_with(&options.concat()).await;
        Self { server, port: port.parse().expect("it was a port"), files }
    }

    /// `rediss://…` for a user and password (`""` for the default user), with the certificates.
    pub fn url(&self, user: &str, password: &str) -> String {
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| self.files.path(name).display().to_string());
        format!("{}&cert={cert}&key={key}", self.url_without_certificate(user, password))
    }

    /// The same, but for the client's certificate: the server refuses it.
    pub fn url_without_certificate(&self, user: &str, password: &str) -> String {
        let access = if password.is_empty() { String::new() } else { format!("{user}:{password}@") };
        format!("rediss://{access}127.0.0.1:{}/?ca={}", self.port, self.ca().display())
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.files.path("ca.pem")
    }

    /// The port that speaks TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server, reachable without TLS on its own port.
    pub fn server(&self) -> &RedisServer {
        &self.server
    }
}

impl Files {
    fn make() -> Self {
        let directory = TempDir::with_prefix("redis-tls-").expect("a temporary directory");
        let mut params = CertificateParams::default();
        // Not the same as the server's, or that would be taken for its own issuer.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let new_key = || KeyPair::generate().expect("a key can be made");
        let ca = CertifiedIssuer::self_signed(params, new_key()).expect("an authority can be made");
        let key = new_key();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let params = CertificateParams::new(names).expect("the names are valid");
        let cert = params.signed_by(&key, &ca).expect("the authority signs");
        let files = Self { directory };
        files.write("ca.pem", &ca.pem());
        files.write("cert.pem", &cert.pem());
        files.write("key.pem", &key.serialize_pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path: &Path = &self.path(name);
        std::fs::write(path, text).expect("the temporary directory can be written to");
    }
}
