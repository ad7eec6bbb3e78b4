//! Small JSON requests to servers of the operator's: key sets, hooks.

use std::time::Duration;

use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};

/// How long an answer may take, from the connection to its last byte.
const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// Why there is no usable answer. Trying again later may help with each.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {DEADLINE:?}")]
    TooSlow,
    #[error("could not be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("the answer could not be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the request could not be made")]
    Impossible(#[source] http::Error),
}

/// An HTTP client that keeps its connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fetcher(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Fetcher {
    /// With the machine's certificate authorities; without any of them only `http://` works.
    pub(super) fn new() -> Self {
        let provider = rustls::crypto::ring::default_provider;
        let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider()).or_else(|error| {
            tracing::warn!(%error, "no certificate authorities were found, https:// can't be used");
            let versions = ClientConfig::builder_with_provider(provider().into()).with_safe_default_protocol_versions();
            versions.map(|config| {
                let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(config)
            })
        });
        let builder = builder.expect("ring has the default protocol versions");
        Self(Client::builder(TokioExecutor::new()).build(builder.https_or_http().enable_http1().build()))
    }

    pub(super) async fn get(&self, uri: &Uri) -> Result<(StatusCode, Bytes), FetchError> {
        self.send(Method::GET, uri, Bytes::new()).await
    }

    pub(super) async fn post(&self, uri: &Uri, json: Vec<u8>) -> Result<(StatusCode, Bytes), FetchError> {
        self.send(Method::POST, uri, json.into()).await
    }

    async fn send(&self, method: Method, uri: &Uri, body: Bytes) -> Result<(StatusCode, Bytes), FetchError> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(FetchError::Impossible)?;
        let answer = async {
            let response = self.0.request(request).await.map_err(FetchError::Unreachable)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(FetchError::Unreadable)?;
            Ok((parts.status, body.to_bytes()))
        };
        tokio::time::timeout(DEADLINE, answer).await.map_err(|_| FetchError::TooSlow)?
    }
}
