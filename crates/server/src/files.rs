//! Answers that are about an object. Everything here but what says otherwise blocks.

use crate::body::{Body, Part};
use crate::conditions::{self, Outcome};
use crate::config::{Config, Rule};
use crate::encoding::Encoding;
use crate::inflate::{AT_ONCE, Inflater};
use crate::quick;
use crate::range::{self, Wanted};
use crate::respond;
use crate::target::{self, Found};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, RANGE, VARY,
};
use hyper::{Method, Response, StatusCode};
use std::fs::{self, File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The largest `info` of meshes that is looked into.
const INFO_BYTES: u64 = 1 << 20;

/// Answers a `GET` or `HEAD` for the object `key` of a dataset.
pub fn of_dataset(
    config: &Config,
    method: &Method,
    headers: &HeaderMap,
    root: &Path,
    key: &[String],
) -> Response<Body> {
    if !is_complete(root) {
        return respond::words(
            StatusCode::NOT_FOUND,
            "this dataset has no info (it is not complete yet, or none at all)",
        );
    }
    let Some(name) = key.last() else { return respond::not_found() };
    let rule = config.rules.of(name);
    // objects are not known by the names of their packed forms
    let found = if Encoding::ends(name) { Ok(None) } else { target::find(root, key) };
    answer(method, headers, found, |found| {
        let ranged = !rule.whole || found.packed.is_some() && is_ranged(config, name, &found.path);
        (rule, !ranged)
    })
}

/// Answers a `GET` or `HEAD` for an object of a dataset if that takes no waiting; the only thing here that never blocks.
pub fn of_dataset_at_once(
    config: &Config,
    method: &Method,
    headers: &HeaderMap,
    root: &Path,
    key: &[String],
) -> Option<Response<Body>> {
    let name = key.last().filter(|name| !Encoding::ends(name))?;
    if !quick::exists(&root.join("info")) {
        return None;
    }
    // the key has no dots at the beginning of its parts, and no links are followed: this cannot lead anywhere else
    let mut path = root.to_owned();
    path.extend(key);
    let file = quick::open(&path)?;
    let facts = file.metadata().ok().filter(Metadata::is_file)?;
    let rule = config.rules.of(name);
    let object = Object { found: Found { path, packed: None }, file, facts, rule, encodable: false };
    // whatever went wrong will go wrong again, and is told then
    object.answer(method, headers, Body::primed_at_once).ok()
}

/// Answers a `GET` or `HEAD` for one file.
pub fn of_file(config: &Config, method: &Method, headers: &HeaderMap, path: &Path) -> Response<Body> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let found = Ok(path.is_file().then(|| Found { path: path.to_owned(), packed: None }));
    answer(method, headers, found, |_| (config.rules.of(&name), true))
}

/// Answers a `GET` or `HEAD` for a file below a directory that is no dataset.
pub fn of_mount(
    rules: &crate::config::Rules,
    method: &Method,
    headers: &HeaderMap,
    root: &Path,
    key: &[String],
) -> Response<Body> {
    let rule = rules.of(key.last().map_or("", String::as_str));
    answer(method, headers, target::find(root, key), |_| (rule, rule.whole))
}

fn is_complete(root: &Path) -> bool {
    let suffixes = ["", Encoding::Gzip.suffix(), Encoding::Brotli.suffix()];
    suffixes.iter().any(|end| fs::metadata(root.join(format!("info{end}"))).is_ok_and(|found| found.is_file()))
}

/// Returns whether a file holds fragments of a mesh, which are read by ranges: known by the `info` beside it.
fn is_ranged(config: &Config, name: &str, path: &Path) -> bool {
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let mut text = Vec::new();
    let plain = path.with_file_name("info");
    let packed = |encoding: Encoding| {
        Inflater::open(&path.with_file_name(format!("info{}", encoding.suffix())), encoding)
            .and_then(|mut inflater| inflater.take(INFO_BYTES as usize))
    };
    let read = match File::open(&plain) {
        Ok(file) => file.take(INFO_BYTES).read_to_end(&mut text).map(|_| ()),
        Err(_) => packed(Encoding::Gzip).or_else(|_| packed(Encoding::Brotli)).map(|bytes| text = bytes),
    };
    let text = String::from_utf8_lossy(&text);
    read.is_ok() && config.ranged_types.iter().any(|kind| text.contains(&format!("\"{kind}\"")))
}

fn answer<'a>(
    method: &Method,
    headers: &HeaderMap,
    found: io::Result<Option<Found>>,
    rule: impl FnOnce(&Found) -> (&'a Rule, bool),
) -> Response<Body> {
    let opened = found.and_then(|found| match found {
        None => Ok(None),
        Some(found) => open(found),
    });
    let attempt = match opened {
        Ok(None) => return respond::not_found(),
        Ok(Some((found, file, facts))) => {
            let (rule, encodable) = rule(&found);
            Object { found, file, facts, rule, encodable }.answer(method, headers, Body::primed)
        }
        Err(error) => Err(error),
    };
    attempt.unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => respond::words(StatusCode::FORBIDDEN, "the file may not be read"),
        _ => respond::failed(&format!("reading failed: {error}")),
    })
}

fn open(found: Found) -> io::Result<Option<(Found, File, Metadata)>> {
    match File::open(&found.path) {
        Ok(file) => {
            let facts = file.metadata()?;
            Ok(Some((found, file, facts)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

struct Object<'a> {
    found: Found,
    file: File,
    facts: Metadata,
    rule: &'a Rule,
    encodable: bool,
}

/// Where the bytes of a representation come from.
enum Content {
    File(Arc<File>, u64),
    Bytes(Bytes),
    Inflated(PathBuf, Encoding, u64),
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::File(_, length) | Self::Inflated(_, _, length) => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn part(&self, start: u64, end: u64) -> Part {
        match self {
            Self::File(file, _) => Part::File { file: Arc::clone(file), start, end },
            Self::Bytes(bytes) => Part::Bytes(bytes.slice(start as usize..end as usize)),
            Self::Inflated(path, encoding, _) => Part::Inflated { path: path.clone(), encoding: *encoding, start, end },
        }
    }
}

impl Object<'_> {
    /// `primed` reads the first piece of the body, or fails.
    fn answer(
        self,
        method: &Method,
        headers: &HeaderMap,
        primed: fn(Body) -> io::Result<Body>,
    ) -> io::Result<Response<Body>> {
        // a range is one of the bytes as they are: of an encoding it would be of no use to anybody
        let range = (method == Method::GET).then(|| headers.get(RANGE)).flatten();
        let as_stored = self.encodable && range.is_none();
        let encoded = self.found.packed.filter(|encoding| as_stored && conditions::takes(headers, *encoding));
        let etag = etag(&self.facts, encoded);
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(CACHE_CONTROL, self.rule.cache_control.clone());
        if self.found.packed.is_some() {
            out.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        out.insert(ETAG, HeaderValue::from_str(&etag).map_err(io::Error::other)?);
        match conditions::evaluate(headers, &etag) {
            Outcome::Proceed => {}
            Outcome::NotModified => {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(response);
            }
            Outcome::Failed => {
                return Ok(respond::words(StatusCode::PRECONDITION_FAILED, "the object is another one by now"));
            }
        }
        out.insert(CONTENT_TYPE, self.rule.content_type.clone());
        if let Some(encoding) = encoded {
            out.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.coding()));
        }
        let content = self.content(encoded.is_some())?;
        let length = content.length();
        let single_line = headers.get_all(RANGE).iter().nth(1).is_none();
        let wanted = match range.filter(|_| conditions::range_allowed(headers, &etag)) {
            None => Wanted::Whole,
            Some(value) if single_line => range::parse(value.as_bytes(), length),
            Some(_) => Wanted::Unsatisfiable,
        };
        match wanted {
            Wanted::Whole => {
                out.insert(CONTENT_LENGTH, length.into());
                if method == Method::GET {
                    *response.body_mut() = primed(Body::new([content.part(0, length)]))?;
                }
            }
            Wanted::Unsatisfiable => return Ok(unsatisfiable(length)),
            Wanted::Parts(parts) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let body = partial(&mut response, &content, &parts)?;
                *response.body_mut() = primed(body)?;
            }
        }
        Ok(response)
    }

    fn content(self, encoded: bool) -> io::Result<Content> {
        let Some(encoding) = self.found.packed.filter(|_| !encoded) else {
            return Ok(Content::File(Arc::new(self.file), self.facts.len()));
        };
        let mut inflater = Inflater::new(self.file, encoding);
        let bytes = inflater.take(AT_ONCE)?;
        if bytes.len() < AT_ONCE {
            return Ok(Content::Bytes(bytes.into()));
        }
        // nothing but reading it to its end tells how long it is
        let length = bytes.len() as u64 + inflater.skip(u64::MAX)?;
        Ok(Content::Inflated(self.found.path, encoding, length))
    }
}

fn unsatisfiable(length: u64) -> Response<Body> {
    let mut response = respond::words(StatusCode::RANGE_NOT_SATISFIABLE, "there are no such bytes");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response
}

/// Sets the headers of an answer with some ranges and returns its body.
fn partial(response: &mut Response<Body>, content: &Content, parts: &[(u64, u64)]) -> io::Result<Body> {
    let length = content.length();
    let range = |&(start, end): &(u64, u64)| format!("bytes {start}-{}/{length}", end - 1);
    let body = if let [part] = parts {
        let value = HeaderValue::from_str(&range(part)).map_err(io::Error::other)?;
        response.headers_mut().insert(CONTENT_RANGE, value);
        Body::new([content.part(part.0, part.1)])
    } else {
        let boundary =
            format!("precast-{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1));
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut all = Vec::new();
        for part in parts {
            let head = format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {}\r\n\r\n", range(part));
            all.push(Part::Bytes(head.into()));
            all.push(content.part(part.0, part.1));
        }
        all.push(Part::Bytes(format!("\r\n--{boundary}--\r\n").into()));
        let kind = format!("multipart/byteranges; boundary={boundary}");
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_str(&kind).map_err(io::Error::other)?);
        Body::new(all)
    };
    if let Some(length) = body.length() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok(body)
}

/// Returns a strong entity tag: it is another one when the file was written anew, and for each encoding.
fn etag(facts: &Metadata, encoded: Option<Encoding>) -> String {
    let changed = facts.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    #[cfg(unix)]
    let which = std::os::unix::fs::MetadataExt::ino(facts);
    #[cfg(not(unix))]
    let which = 0;
    let encoding = encoded.map(|encoding| format!("-{}", encoding.coding())).unwrap_or_default();
    format!("\"{:x}-{:x}-{which:x}{encoding}\"", changed.as_nanos(), facts.len())
}
