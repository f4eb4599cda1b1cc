//! What others put under paths of their own beside the datasets.

use crate::body::{Body, Part};
use crate::config::Rules;
use crate::respond;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use tokio::sync::{mpsc, oneshot};

/// A request as a handler sees it.
#[derive(Debug)]
pub struct HandlerRequest {
    pub method: String,
    /// Decoded, below the path of the mount.
    pub path: String,
    /// As it was sent.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A handler's answer.
pub struct HandlerResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: HandlerBody,
}

/// All of a body, or what returns it piece by piece until None.
pub enum HandlerBody {
    Bytes(Vec<u8>),
    Stream(Box<dyn FnMut() -> Option<io::Result<Vec<u8>>> + Send>),
}

/// Answers requests, each on a thread of its own.
pub trait Handler: Send + Sync {
    /// Answers; an error is told to the client as a failure of the server.
    fn answer(&self, request: HandlerRequest) -> Result<HandlerResponse, String>;
}

/// Files of a directory that is no dataset.
pub struct FileMount {
    /// Absolute.
    pub root: PathBuf,
    pub rules: Rules,
    /// The file that stands for the directory itself.
    pub index: String,
}

/// What answers under a path.
pub enum Mounted {
    Handler(Box<dyn Handler>),
    Files(FileMount),
}

/// A path and what answers there.
pub struct Mount {
    /// Decoded segments; none is the page at the root.
    pub segments: Vec<String>,
    pub what: Mounted,
}

impl Mount {
    /// Returns what is left of a path below the mount. The page at the root answers for nothing else.
    pub(crate) fn rest<'a>(&self, segments: &'a [String]) -> Option<&'a [String]> {
        if self.segments.is_empty() {
            return (segments == [String::new()]).then_some(segments);
        }
        segments.strip_prefix(self.segments.as_slice())
    }
}

/// Lets a handler answer.
pub(crate) async fn answer(mount: Arc<Mount>, request: HandlerRequest) -> Response<Body> {
    let (tell, told) = oneshot::channel();
    // not one of the threads that read files: a stream of events may last as long as the server
    let spawned = thread::Builder::new().name("precast-handler".into()).spawn(move || {
        let Mounted::Handler(handler) = &mount.what else { return };
        let (head, stream) = match handler.answer(request).and_then(head) {
            Ok(parts) => parts,
            Err(text) => (respond::failed(&text), None),
        };
        if tell.send(head).is_ok()
            && let Some((mut next, pieces)) = stream
        {
            while !pieces.is_closed()
                && let Some(piece) = next()
            {
                // an empty piece only gives the chance to notice that nobody listens any more
                if !matches!(&piece, Ok(bytes) if bytes.is_empty()) && pieces.blocking_send(piece).is_err() {
                    break;
                }
            }
        }
    });
    match spawned {
        Ok(_) => told.await.unwrap_or_else(|_| respond::failed("the handler did not answer")),
        Err(error) => respond::failed(&format!("no thread: {error}")),
    }
}

type Stream = (Box<dyn FnMut() -> Option<io::Result<Vec<u8>>> + Send>, mpsc::Sender<io::Result<Vec<u8>>>);

fn head(answer: HandlerResponse) -> Result<(Response<Body>, Option<Stream>), String> {
    let (body, stream) = match answer.body {
        HandlerBody::Bytes(bytes) => (Body::new([Part::Bytes(bytes.into())]), None),
        HandlerBody::Stream(next) => {
            let (pieces, receiver) = mpsc::channel(4);
            (Body::new([Part::Stream(receiver)]), Some((next, pieces)))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(|error| error.to_string())?;
    for (name, value) in answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("{name:?}: {error}"))?;
        let value = HeaderValue::from_str(&value).map_err(|error| format!("{name}: {error}"))?;
        response.headers_mut().append(name, value);
    }
    Ok((response, stream))
}
