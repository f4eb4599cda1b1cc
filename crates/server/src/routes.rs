//! What others put under paths of their own beside the datasets.

use crate::body::{Body, Part};
use crate::config::Rules;
use crate::respond;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
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

/// Where a handler puts its answer, on whatever thread and when it has it. Dropped without one, the client is told so.
pub struct Reply(oneshot::Sender<Response<Body>>);

impl Reply {
    /// Answers with all of the body. An error says what is wrong with the head; the client is told of a failure then.
    pub fn whole(self, status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Result<(), String> {
        self.send(head(status, headers, Body::new([Part::Bytes(body.into())])))
    }

    /// Answers with a body that comes piece by piece, until what is returned is dropped.
    pub fn begin(self, status: u16, headers: Vec<(String, String)>) -> Result<Pieces, String> {
        let (pieces, receiver) = mpsc::channel(4);
        self.send(head(status, headers, Body::new([Part::Stream(receiver)])))?;
        Ok(Pieces(pieces))
    }

    /// Tells the client that the handler failed.
    pub fn fail(self) {
        let _ = self.send(Err("the handler failed".into()));
    }

    fn send(self, answer: Result<Response<Body>, String>) -> Result<(), String> {
        let (response, outcome) = match answer {
            Ok(response) => (response, Ok(())),
            Err(text) => (respond::failed("the handler failed"), Err(text)),
        };
        // whether anybody still listens shows when pieces are sent
        let _ = self.0.send(response);
        outcome
    }
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Taken,
    /// There is no room for it yet.
    Full,
    /// Nobody listens any more.
    Gone,
}

/// The pieces of a body, as they come.
#[derive(Clone)]
pub struct Pieces(mpsc::Sender<io::Result<Vec<u8>>>);

impl Pieces {
    /// Sends a piece if the client has taken most of those before, and never waits. An empty piece only asks.
    pub fn send(&self, piece: &[u8]) -> Sent {
        if self.0.is_closed() {
            Sent::Gone
        } else if piece.is_empty() {
            Sent::Taken
        } else if self.0.capacity() == 0 {
            Sent::Full
        } else {
            self.put(Ok(piece.to_vec()))
        }
    }

    /// Cuts the answer off, so that the client sees that it is not complete; again, if there is no room for that yet.
    pub fn cut(&self) -> Sent {
        self.put(Err(io::Error::other("the handler failed")))
    }

    fn put(&self, piece: io::Result<Vec<u8>>) -> Sent {
        match self.0.try_send(piece) {
            Ok(()) => Sent::Taken,
            Err(TrySendError::Full(_)) => Sent::Full,
            Err(TrySendError::Closed(_)) => Sent::Gone,
        }
    }
}

/// Answers requests.
pub trait Handler: Send + Sync {
    /// Answers, now or later. It is called on a thread of its own.
    fn answer(&self, request: HandlerRequest, reply: Reply);
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

/// Handlers that are being called. They may run in a language that ends before this server's threads do.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    running: AtomicUsize,
    over: AtomicBool,
}

struct Call(Arc<Calls>);

impl Calls {
    fn begin(self: &Arc<Self>) -> Option<Call> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let call = Call(Arc::clone(self));
        (!self.over.load(Ordering::SeqCst)).then_some(call)
    }

    /// No more calls, and a wait for those that are running: they are short.
    pub(crate) fn end(&self, most: Duration) {
        self.over.store(true, Ordering::SeqCst);
        let began = Instant::now();
        while self.running.load(Ordering::SeqCst) > 0 && began.elapsed() < most {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets a handler answer.
pub(crate) async fn answer(mount: Arc<Mount>, request: HandlerRequest, calls: &Arc<Calls>) -> Response<Body> {
    let (tell, told) = oneshot::channel();
    let Some(call) = calls.begin() else { return respond::failed("the server is being closed") };
    // not one of the threads that read files: a handler may have to wait for long
    let spawned = thread::Builder::new().name("precast-handler".into()).spawn(move || {
        let _call = call;
        if let Mounted::Handler(handler) = &mount.what {
            handler.answer(request, Reply(tell));
        }
    });
    match spawned {
        Ok(_) => told.await.unwrap_or_else(|_| respond::failed("the handler did not answer")),
        Err(error) => respond::failed(&format!("no thread: {error}")),
    }
}

fn head(status: u16, headers: Vec<(String, String)>, body: Body) -> Result<Response<Body>, String> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("{name:?}: {error}"))?;
        let value = HeaderValue::from_str(&value).map_err(|error| format!("{name}: {error}"))?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}
