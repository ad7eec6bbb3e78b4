//! The built pages: the demo, and the stock client bundle. They are part of the binary.

use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{Embed, EmbeddedFile};
use trunkline_protocol::Code;

use super::failure;

/// `scripts/build` makes this folder; a build without it serves no pages.
#[derive(Embed)]
#[folder = "pages/dist"]
#[allow_missing = true]
struct Dist;

/// The demo talks to the host that it came from, and to nobody else.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; frame-ancestors 'self'";

/// Whether the pages were there when this was built.
pub fn are_built() -> bool {
    Dist::get("index.html").is_some()
}

pub(super) async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

pub(super) async fn file(Path(path): Path<String>, headers: HeaderMap) -> Response {
    serve(&path, &headers)
}

/// `/socket.io/socket.io.js` and its like.
pub(super) async fn client_bundle(Path(file): Path<String>, headers: HeaderMap) -> Response {
    serve(&format!("socket.io/{file}"), &headers)
}

fn serve(path: &str, asked: &HeaderMap) -> Response {
    let Some(file) = Dist::get(path) else {
        return failure(Code::NotFound, "there is nothing here");
    };
    let tag = entity_tag(&file);
    if asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    // Names of assets hold a hash of what is in them; the others may change with the next release.
    let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, file.metadata.mimetype().to_owned()),
        (header::CACHE_CONTROL, caching.to_owned()),
        (header::ETAG, tag),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, file.data.into_owned()).into_response()
}

fn entity_tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}
