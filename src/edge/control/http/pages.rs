//! What is behind the HTTP door: each path, and what it answers.
//!
//! Prevents that this door can do something that the others cannot, or otherwise: documents go to the same functions.
//! Never trusts a length or a name: bodies are bounded in size and time, addresses are read as everywhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Extension, FromRequest, Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::StatusCode;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPECT, HeaderMap,
    HeaderValue, IF_NONE_MATCH, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use tokio::time::timeout;

use super::gate::{Gate, is_sha1};
use super::stream::Caller;
use super::{metrics, stream};
use crate::edge::control::deeds::{Denied, Management};
use crate::edge::control::follow;
use crate::edge::control::frame::MAX_DOCUMENT;
use crate::edge::control::peers::{self, Peer};
use crate::edge::control::rpc;
use crate::edge::control::table::Right;
use crate::edge::control::values::address;
use crate::presence::avatar::{AVATAR_MAX, media};
use crate::types::Aor;

/// What every page needs.
struct House<M> {
    management: Arc<M>,
    gate: Gate,
    /// For a request's body.
    patience: Duration,
}

type Shared<M> = State<Arc<House<M>>>;

/// All paths. Nobody gets further than `gate`.
pub(super) fn routes<M: Management>(management: Arc<M>, gate: Gate, patience: Duration) -> Router {
    let house = Arc::new(House { management, gate, patience });
    Router::new()
        .route("/rpc", post(json_rpc::<M>))
        .route("/mi", post(|house: Shared<M>, request| as_peer(house, Peer::OpenSips, request)))
        .route("/RPC", post(|house: Shared<M>, request| as_peer(house, Peer::Kamailio, request)))
        .route("/metrics", get(prometheus::<M>))
        .route("/healthz", get(|| async { plain(StatusCode::OK, "ok") }))
        .route("/readyz", get(ready::<M>))
        .route("/avatar/{whose}", get(picture::<M>).put(set_picture::<M>).delete(remove_picture::<M>))
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "no such page") })
        .layer(from_fn_with_state(house.clone(), enter::<M>))
        .with_state(house)
}

/// Bytes of a body that are read although nobody wants them.
const SKIPPED_MAX: usize = 64 * 1024;

/// In and out: who may not is told so; what all answers have in common.
async fn enter<M: Management>(State(house): Shared<M>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let mut response = match house.gate.admits(&head) {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err((status, why)) => {
            tracing::debug!(%status, why, "HTTP: refused");
            // Who is still sending when we close may lose the answer: what is short is taken first. Who asks before
            // he sends (RFC 9110 §10.1.1) need not send at all.
            if !head.headers.contains_key(EXPECT) {
                let _ = timeout(house.patience, to_bytes(body, SKIPPED_MAX)).await;
            }
            plain(status, why)
        }
    };
    let status = response.status();
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"imcd\""));
    }
    // Nothing of ours is a page, whatever a browser takes it for.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

/// The whole body. An answer, if it is too long or too slow.
async fn whole(mut request: Request, max: usize, patience: Duration) -> Result<Bytes, Response> {
    let too_long = || plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("at most {max} bytes"));
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > max as u64) {
        return Err(too_long());
    }
    DefaultBodyLimit::max(max).apply(&mut request);
    match timeout(patience, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(why)) if why.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_long()),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the body is cut off or badly chunked")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

fn json(status: StatusCode, document: impl Into<Body>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], document.into()).into_response()
}

async fn json_rpc<M: Management>(
    State(house): Shared<M>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let body = match whole(request, MAX_DOCUMENT, house.patience).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    if let Some(asked) = follow::asked(&body, || house.management.default_domain()) {
        return match follow::start(&*house.management, asked).await {
            (answer, Some(heard)) => stream::told(answer, heard, caller),
            (answer, None) => json(StatusCode::OK, answer),
        };
    }
    match rpc::answer(&*house.management, Right::Manage, &body).await {
        Some(document) => json(StatusCode::OK, document),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// As the HTTP door of `peer` answers: OpenSIPS's `mi_http`, Kamailio's `jsonrpcs` behind `xhttp`.
async fn as_peer<M: Management>(State(house): Shared<M>, peer: Peer, request: Request) -> Response {
    let body = match whole(request, MAX_DOCUMENT, house.patience).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    if body.is_empty() {
        return plain(StatusCode::BAD_REQUEST, "a JSON-RPC document is expected");
    }
    match peers::answer(&*house.management, Right::Manage, peer, &body).await {
        Some(document) => json(status(peer, &document), document),
        // Of them, OpenSIPS alone does not answer a notification; its words for that are these.
        None => StatusCode::ACCEPTED.into_response(),
    }
}

/// Kamailio says with HTTP too that it failed, by the code of the error; OpenSIPS has failed only inside the document.
fn status(peer: Peer, document: &[u8]) -> StatusCode {
    if peer != Peer::Kamailio || !document.starts_with(b"{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"error\":") {
        return StatusCode::OK;
    }
    let told: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let code = told["error"]["code"].as_u64().filter(|code| (400..600).contains(code));
    let status = code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    // What it has no answer to at all, such as what is no JSON.
    status.unwrap_or(StatusCode::BAD_REQUEST)
}

async fn prometheus<M: Management>(State(house): Shared<M>) -> Response {
    match house.management.server_stats().await {
        Ok(stats) => {
            let page = metrics::page(&stats, &house.management.vitals());
            (StatusCode::OK, [(CONTENT_TYPE, metrics::MEDIA)], page).into_response()
        }
        Err(denied) => refused(denied),
    }
}

async fn ready<M: Management>(State(house): Shared<M>) -> Response {
    match house.management.vitals().ready {
        true => plain(StatusCode::OK, "ready"),
        false => plain(StatusCode::SERVICE_UNAVAILABLE, "the store takes no writes"),
    }
}

fn refused(denied: Denied) -> Response {
    match denied {
        Denied::NotFound(what) => plain(StatusCode::NOT_FOUND, &what),
        Denied::Refused(what) => plain(StatusCode::FORBIDDEN, &what),
        Denied::Fault(fault) => {
            tracing::error!(%fault, "management command failed");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "Server error, see the log")
        }
    }
}

// ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────

/// A picture by its hash, for everybody who knows that: it stands in the presence document of whoever may be seen.
/// Or an account's, for management.
async fn picture<M: Management>(
    State(house): Shared<M>,
    Path(whose): Path<String>,
    headers: HeaderMap,
) -> Response {
    let management = &house.management;
    let found = if is_sha1(&whose) {
        let sha1 = whose.to_ascii_lowercase();
        // What has this hash is this picture for ever.
        management.avatar_find(sha1).await.map(|found| (found, "public, max-age=31536000, immutable"))
    } else {
        match address(&whose, &management.default_domain()) {
            Some(who) => management.avatar_get(who).await.map(|found| (found, "private, no-cache")),
            None => return plain(StatusCode::BAD_REQUEST, NO_ADDRESS),
        }
    };
    let ((info, data), keep) = match found {
        Ok(found) => found,
        Err(denied) => return refused(denied),
    };
    let tag = format!("\"{}\"", info.sha1);
    let same = headers.get(IF_NONE_MATCH).is_some_and(|known| names(known, &tag));
    let kept = [(CACHE_CONTROL, keep.to_owned()), (ETAG, tag)];
    if same {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (StatusCode::OK, kept, [(CONTENT_TYPE, info.media)], data).into_response()
}

const NO_ADDRESS: &str = "expected an address such as alice@example.org";

/// Whether If-None-Match has this tag (RFC 9110 §13.1.2).
fn names(known: &HeaderValue, tag: &str) -> bool {
    let Ok(known) = known.to_str() else { return false };
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Whose picture is to be changed. A hash is nobody.
fn owner(whose: &str, default_domain: &str) -> Result<Aor, NoOwner> {
    if is_sha1(whose) {
        return Err(NoOwner::Hash);
    }
    address(whose, default_domain).ok_or(NoOwner::NoAddress)
}

enum NoOwner {
    Hash,
    NoAddress,
}

impl IntoResponse for NoOwner {
    fn into_response(self) -> Response {
        match self {
            NoOwner::Hash => {
                let allow = [(ALLOW, "GET, HEAD")];
                (StatusCode::METHOD_NOT_ALLOWED, allow, "a hash is looked at only\n").into_response()
            }
            NoOwner::NoAddress => plain(StatusCode::BAD_REQUEST, NO_ADDRESS),
        }
    }
}

async fn set_picture<M: Management>(
    State(house): Shared<M>,
    Path(whose): Path<String>,
    request: Request,
) -> Response {
    let data = match whole(request, AVATAR_MAX, house.patience).await {
        Ok(data) => data,
        Err(response) => return response,
    };
    let who = match owner(&whose, &house.management.default_domain()) {
        Ok(who) => who,
        Err(no) => return no.into_response(),
    };
    if media(&data).is_none() {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected a PNG, JPEG, GIF or WebP");
    }
    match house.management.avatar_set(who, data.to_vec()).await {
        Ok(info) => json(StatusCode::OK, serde_json::to_vec(&info).unwrap_or_default()),
        Err(denied) => refused(denied),
    }
}

async fn remove_picture<M: Management>(State(house): Shared<M>, Path(whose): Path<String>) -> Response {
    let who = match owner(&whose, &house.management.default_domain()) {
        Ok(who) => who,
        Err(no) => return no.into_response(),
    };
    match house.management.avatar_remove(who).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(denied) => refused(denied),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kamailio_fails_by_http_too() {
        let document =
            |content: &str| format!("{{\n\t\"jsonrpc\":\t\"2.0\",\n\t{content},\n\t\"id\":\t7\n}}");
        let error = |code: &str| document(&format!("\"error\":\t{{\"code\":\t{code}}}"));
        let result = document("\"result\":\t[\"error\"]");
        for (peer, document, expected) in [
            (Peer::Kamailio, result.clone(), 200),
            (Peer::Kamailio, error("500"), 500),
            (Peer::Kamailio, error("404"), 404),
            (Peer::Kamailio, error("-32700"), 400),
            (Peer::Kamailio, error("200"), 400),
            (Peer::Kamailio, error("70000"), 400),
            (Peer::OpenSips, error("500"), 200),
            (Peer::OpenSips, result, 200),
        ] {
            assert_eq!(status(peer, document.as_bytes()), expected, "{peer:?} {document}");
        }
    }

    #[test]
    fn a_known_tag_is_known_in_every_spelling() {
        let names = |known: &str| names(&HeaderValue::from_str(known).unwrap(), "\"ab\"");
        assert!(["\"ab\"", "W/\"ab\"", "\"x\", \"ab\"", "*", " \"ab\" "].into_iter().all(names));
        assert!(!["", "ab", "\"abc\"", "\"x\"", "**"].into_iter().any(names));
    }
}
