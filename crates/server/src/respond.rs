//! Answers that are not about an object.

use crate::body::{Body, Part};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// Returns an answer that says in words what is wrong; it is never kept by a cache.
pub fn words(status: StatusCode, text: &str) -> Response<Body> {
    let text = format!("{}: {text}\n", status.canonical_reason().unwrap_or("error"));
    let length = text.len();
    let mut response = Response::new(Body::new([Part::Bytes(text.into())]));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub fn not_found() -> Response<Body> {
    words(StatusCode::NOT_FOUND, "there is no such object here")
}

pub fn method_not_allowed() -> Response<Body> {
    let mut response = words(StatusCode::METHOD_NOT_ALLOWED, "objects can only be read");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

pub fn failed(text: &str) -> Response<Body> {
    words(StatusCode::INTERNAL_SERVER_ERROR, text)
}
