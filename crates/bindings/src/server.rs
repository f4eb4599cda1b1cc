//! `DataServer`: the HTTP server, and handlers in Python.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use precast_server::{
    Config, FileMount, Handler, HandlerBody, HandlerRequest, HandlerResponse, HeaderValue, Mount, Mounted, NamedRule,
    Place, Rule, Rules, Server,
};
use pyo3::exceptions::{PyOSError, PyStopIteration, PyValueError};
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

/// A function of Python that answers requests.
struct Callable(Py<PyAny>);

impl Handler for Callable {
    fn answer(&self, request: HandlerRequest) -> Result<HandlerResponse, String> {
        // the interpreter may be at its end
        let answered = Python::try_attach(|py| self.call(py, request).map_err(|error| told(py, &error)));
        answered.unwrap_or_else(|| Err("the program has ended".into()))
    }
}

impl Callable {
    fn call(&self, py: Python<'_>, request: HandlerRequest) -> PyResult<HandlerResponse> {
        let HandlerRequest { method, path, query, headers, body } = request;
        let arguments = (method, path, query, headers, PyBytes::new(py, &body));
        let (status, headers, body): (u16, Vec<(String, String)>, Bound<'_, PyAny>) =
            self.0.bind(py).call1(arguments)?.extract()?;
        let body = match body.cast::<PyBytes>() {
            Ok(bytes) => HandlerBody::Bytes(bytes.as_bytes().to_vec()),
            Err(_) => {
                let pieces = Pieces(Some(body.try_iter()?.into_any().unbind()));
                HandlerBody::Stream(Box::new(move || pieces.next()))
            }
        };
        Ok(HandlerResponse { status, headers, body })
    }
}

/// An iterator of Python that returns the pieces of a body.
struct Pieces(Option<Py<PyAny>>);

impl Pieces {
    fn next(&self) -> Option<io::Result<Vec<u8>>> {
        let iterator = self.0.as_ref()?;
        Python::try_attach(|py| {
            let item = iterator.bind(py).call_method0("__next__");
            match item.and_then(|item| Ok(item.cast::<PyBytes>()?.as_bytes().to_vec())) {
                Ok(bytes) => Some(Ok(bytes)),
                Err(error) if error.is_instance_of::<PyStopIteration>(py) => None,
                Err(error) => Some(Err(io::Error::other(told(py, &error)))),
            }
        })
        .flatten()
    }
}

impl Drop for Pieces {
    /// Lets go now, not when Python happens to be entered again: a generator cleans up then.
    fn drop(&mut self) {
        if let Some(iterator) = self.0.take() {
            Python::try_attach(|py| iterator.drop_ref(py));
        }
    }
}

/// Prints a fault of a handler, as Python does for its threads, and returns what the client is told.
fn told(py: Python<'_>, error: &PyErr) -> String {
    error.print(py);
    "the handler failed".into()
}
