//! From a request to its answer.

use crate::body::Body;
use crate::config::Config;
use crate::routes::{Calls, HandlerRequest, Mount, Mounted};
use crate::{files, host, respond, routes, target};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_LENGTH, HeaderName, HeaderValue, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use tokio::task::spawn_blocking;

/// The largest body of a request that a handler is given.
const BODY_BYTES: usize = 16 << 20;
const ICON: &str = "/favicon.ico";
const PRIVATE_NETWORK_ASKED: HeaderName = HeaderName::from_static("access-control-request-private-network");
const PRIVATE_NETWORK_GRANTED: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What all connections share.
pub struct Shared {
    pub config: Config,
    /// Whether each dataset lies on a local file system.
    pub local: Vec<bool>,
    pub mounts: RwLock<Vec<Arc<Mount>>>,
    pub(crate) calls: Arc<Calls>,
}

/// Answers a request; every answer can be read from pages of any origin.
pub async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let began = Instant::now();
    let told = shared.config.verbose.then(|| {
        let range = request.headers().get(RANGE).map(|value| format!(" {:?}", value)).unwrap_or_default();
        format!("{} {}{range}", request.method(), request.uri())
    });
    let mut response = route(&shared, request).await;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, shared.config.exposed_headers.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(told) = told {
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).unwrap_or("-");
        let ms = began.elapsed().as_secs_f64() * 1e3;
        // nobody may be reading it; that is no reason not to answer
        let _ = writeln!(std::io::stderr(), "{told} -> {} {length} {ms:.1} ms", response.status().as_u16());
    }
    response
}

async fn route(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match host::check(&shared.config, &parts.uri, &parts.headers) {
        Ok(()) => {}
        Err(host::Refusal::Malformed) => {
            return respond::words(StatusCode::BAD_REQUEST, "the request must name one host");
        }
        Err(host::Refusal::Foreign) => {
            let text = "this server does not answer to that host name; --allow-host adds one";
            return respond::words(StatusCode::MISDIRECTED_REQUEST, text);
        }
    }
    if parts.method == Method::OPTIONS {
        return preflight(&parts);
    }
    if parts.uri.path() == ICON {
        // every browser asks for it, wherever the page is; that it is missing would be told as an error
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return response;
    }
    let Some(segments) = target::segments(parts.uri.path()) else { return respond::not_found() };
    let mut path = segments.as_slice();
    if let Some(secret) = &shared.config.secret {
        match path.split_first() {
            Some((first, rest)) if first == secret => path = rest,
            _ => return respond::not_found(),
        }
    }
    if let Some((mount, rest)) = mounted(shared, path) {
        return through_mount(shared, mount, rest, parts, body).await;
    }
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return respond::method_not_allowed();
    }
    if !target::is_key(path) {
        return respond::not_found();
    }
    if let Some(place) = shared.config.files.iter().find(|place| place.segments == path) {
        let (shared, root) = (Arc::clone(shared), place.root.clone());
        return blocking(move || files::of_file(&shared.config, &parts.method, &parts.headers, &root)).await;
    }
    for (place, &local) in shared.config.datasets.iter().zip(&shared.local) {
        if let Some(key) = path.strip_prefix(place.segments.as_slice())
            && !key.is_empty()
        {
            let quick = || files::of_dataset_at_once(&shared.config, &parts.method, &parts.headers, &place.root, key);
            if let Some(response) = local.then(quick).flatten() {
                return response;
            }
            let (shared, root, key) = (Arc::clone(shared), place.root.clone(), key.to_vec());
            let work = move || files::of_dataset(&shared.config, &parts.method, &parts.headers, &root, &key);
            return blocking(work).await;
        }
    }
    respond::not_found()
}

fn preflight(parts: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Range, If-Range, If-Match, If-None-Match, Cache-Control, Pragma"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    if parts.headers.contains_key(PRIVATE_NETWORK_ASKED) {
        headers.insert(PRIVATE_NETWORK_GRANTED, HeaderValue::from_static("true"));
    }
    response
}

async fn blocking(work: impl FnOnce() -> Response<Body> + Send + 'static) -> Response<Body> {
    spawn_blocking(work).await.unwrap_or_else(|error| respond::failed(&error.to_string()))
}

/// Returns the mount with the longest path that a request is under, and the rest of the request's path.
fn mounted(shared: &Shared, path: &[String]) -> Option<(Arc<Mount>, Vec<String>)> {
    let mounts = shared.mounts.read().unwrap_or_else(PoisonError::into_inner);
    let fitting = mounts.iter().filter_map(|mount| mount.rest(path).map(|rest| (mount, rest)));
    fitting.max_by_key(|(mount, _)| mount.segments.len()).map(|(mount, rest)| (Arc::clone(mount), rest.to_vec()))
}

async fn through_mount(
    shared: &Shared,
    mount: Arc<Mount>,
    rest: Vec<String>,
    parts: Parts,
    body: Incoming,
) -> Response<Body> {
    match &mount.what {
        Mounted::Files(_) => {
            if parts.method != Method::GET && parts.method != Method::HEAD {
                return respond::method_not_allowed();
            }
            blocking(move || file_of_mount(&mount, &parts, rest)).await
        }
        Mounted::Handler(_) => {
            if body.size_hint().lower() > BODY_BYTES as u64 {
                return respond::words(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
            }
            let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
                return respond::words(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or did not come");
            };
            let headers = parts.headers.iter();
            let request = HandlerRequest {
                method: parts.method.to_string(),
                path: rest.join("/"),
                query: parts.uri.query().unwrap_or("").to_owned(),
                headers: headers
                    .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                    .collect(),
                body: body.to_bytes().to_vec(),
            };
            routes::answer(mount, request, &shared.calls).await
        }
    }
}

fn file_of_mount(mount: &Mount, parts: &Parts, mut key: Vec<String>) -> Response<Body> {
    let Mounted::Files(files) = &mount.what else { return respond::not_found() };
    if key == [String::new()] {
        key = vec![files.index.clone()];
    }
    if !target::is_key(&key) {
        return respond::not_found();
    }
    let root: &Path = &files.root;
    files::of_mount(&files.rules, &parts.method, &parts.headers, root, &key)
}
