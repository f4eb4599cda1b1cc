//! `DataServer`: the HTTP server, and handlers in Python.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use precast_server::{
    Config, FileMount, Handler, HandlerRequest, HeaderValue, Mount, Mounted, NamedRule, Pieces, Place, Rule, Rules,
    Sent, Server,
};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[derive(FromPyObject)]
struct RuleLike {
    content_type: String,
    cache_control: String,
    whole: bool,
}

#[derive(FromPyObject)]
struct RulesLike {
    names: Vec<(String, RuleLike)>,
    suffixes: Vec<(String, RuleLike)>,
    other: RuleLike,
}

type PlaceLike = (Vec<String>, PathBuf);

#[derive(FromPyObject)]
struct Settings {
    secret: Option<String>,
    datasets: Vec<PlaceLike>,
    files: Vec<PlaceLike>,
    rules: RulesLike,
    ranged_types: Vec<String>,
    hosts: HashSet<String>,
    any_address: bool,
    exposed_headers: String,
    verbose: bool,
}

fn header(text: &str) -> PyResult<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| PyValueError::new_err(format!("{text:?}: {error}")))
}

fn rule(like: RuleLike) -> PyResult<Rule> {
    let (content_type, cache_control) = (header(&like.content_type)?, header(&like.cache_control)?);
    Ok(Rule { content_type, cache_control, whole: like.whole })
}

fn named(items: Vec<(String, RuleLike)>) -> PyResult<Vec<NamedRule>> {
    items.into_iter().map(|(name, like)| Ok(NamedRule { name, rule: rule(like)? })).collect()
}

fn rules(like: RulesLike) -> PyResult<Rules> {
    Ok(Rules { names: named(like.names)?, suffixes: named(like.suffixes)?, other: rule(like.other)? })
}

fn places(items: Vec<PlaceLike>) -> Vec<Place> {
    items.into_iter().map(|(segments, root)| Place { segments, root }).collect()
}

fn os_error(error: &io::Error) -> PyErr {
    PyOSError::new_err((error.raw_os_error().unwrap_or(0), error.to_string()))
}

/// A running server; see `precast.hosting.server`.
#[pyclass(frozen, module = "precast._native")]
pub struct DataServer {
    server: Mutex<Option<Server>>,
    address: SocketAddr,
}

impl DataServer {
    fn lock(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, py: Python<'_>, mount: Mount) -> PyResult<()> {
        py.detach(|| self.lock().as_ref().map(|server| server.mount(mount)))
            .ok_or_else(|| PyValueError::new_err("the server is closed"))
    }
}

#[pymethods]
impl DataServer {
    #[new]
    fn new(py: Python<'_>, address: IpAddr, port: u16, threads: usize, settings: Settings) -> PyResult<DataServer> {
        let config = Config {
            secret: settings.secret,
            datasets: places(settings.datasets),
            files: places(settings.files),
            rules: rules(settings.rules)?,
            ranged_types: settings.ranged_types,
            hosts: settings.hosts,
            any_address: settings.any_address,
            exposed_headers: header(&settings.exposed_headers)?,
            verbose: settings.verbose,
        };
        let started = py.detach(|| Server::start(config, SocketAddr::new(address, port), threads));
        let server = started.map_err(|error| os_error(&error))?;
        let address = server.address();
        Ok(DataServer { server: Mutex::new(Some(server)), address })
    }

    #[getter]
    fn port(&self) -> u16 {
        self.address.port()
    }

    fn mount(&self, py: Python<'_>, segments: Vec<String>, handler: Py<PyAny>) -> PyResult<()> {
        self.add(py, Mount { segments, what: Mounted::Handler(Box::new(Callable(handler))) })
    }

    fn mount_files(
        &self,
        py: Python<'_>,
        segments: Vec<String>,
        root: PathBuf,
        rules_like: RulesLike,
        index: String,
    ) -> PyResult<()> {
        let files = FileMount { root, rules: rules(rules_like)?, index };
        self.add(py, Mount { segments, what: Mounted::Files(files) })
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.lock().take()));
    }
}

/// Where Python puts the answer to one request.
#[pyclass(frozen, module = "precast._native")]
pub struct Reply(Mutex<State>);

enum State {
    Open(precast_server::Reply),
    Begun(Pieces),
    Over,
}

impl Reply {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> PyResult<precast_server::Reply> {
        match std::mem::replace(&mut *self.lock(), State::Over) {
            State::Open(reply) => Ok(reply),
            _ => Err(PyValueError::new_err("the request has its answer")),
        }
    }
}

#[pymethods]
impl Reply {
    fn whole(&self, status: u16, headers: Vec<(String, String)>, body: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.open()?.whole(status, headers, body.as_bytes().to_vec()).map_err(PyValueError::new_err)
    }

    fn begin(&self, status: u16, headers: Vec<(String, String)>) -> PyResult<()> {
        let pieces = self.open()?.begin(status, headers).map_err(PyValueError::new_err)?;
        *self.lock() = State::Begun(pieces);
        Ok(())
    }

    /// Returns false when nobody listens any more, and None if there is no room yet.
    ///
    /// Never lets go of the interpreter: at its end it ends threads that want it back, which must not be in here.
    fn send(&self, piece: &Bound<'_, PyBytes>) -> Option<bool> {
        match &*self.lock() {
            State::Begun(pieces) => room(pieces.send(piece.as_bytes())),
            _ => Some(false),
        }
    }

    fn end(&self) {
        *self.lock() = State::Over;
    }

    /// Returns None if there is no room yet to tell the client.
    fn fail(&self) -> Option<bool> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Open(reply) => reply.fail(),
            State::Begun(pieces) => {
                let told = room(pieces.cut());
                if told.is_none() {
                    *state = State::Begun(pieces);
                }
                return told;
            }
            State::Over => {}
        }
        Some(true)
    }
}

fn room(sent: Sent) -> Option<bool> {
    match sent {
        Sent::Taken => Some(true),
        Sent::Full => None,
        Sent::Gone => Some(false),
    }
}

/// A function of Python that is given requests and sees to it that they are answered. It must return soon: this thread
/// is not one of Python's, and could not be in it when the interpreter ends.
struct Callable(Py<PyAny>);

impl Handler for Callable {
    fn answer(&self, request: HandlerRequest, reply: precast_server::Reply) {
        let HandlerRequest { method, path, query, headers, body } = request;
        // nothing happens if the interpreter is at its end
        Python::try_attach(|py| {
            let given = Py::new(py, Reply(Mutex::new(State::Open(reply)))).and_then(|reply| {
                self.0.bind(py).call1((method, path, query, headers, PyBytes::new(py, &body), reply))
            });
            if let Err(error) = given {
                error.print(py);
            }
        });
    }
}
