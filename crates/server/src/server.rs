//! Connections, and the threads behind them.

use crate::config::Config;
use crate::routes::{Mount, Mounted};
use crate::service::{self, Shared};
use crate::{quick, target};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long a connection may be without a request, or a request's head may take.
    idle: Duration,
    /// How long a client may take nothing of what is sent to it.
    stalled: Duration,
}

const PATIENCE: Patience = Patience { idle: Duration::from_secs(75), stalled: Duration::from_secs(75) };
/// How long answers that are on their way are waited for at the end.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long handlers that are being called are waited for after that.
const LAST_CALLS: Duration = Duration::from_secs(5);
const BACKLOG: u32 = 1024;
/// Bytes that wait to be sent on a connection before no more are read from the file.
const BUFFER: usize = 64 << 10;
const READERS: usize = 64;

/// A running server; dropping it stops it.
pub struct Server {
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Server {
    /// Binds an address, and starts to answer; port 0 is any that is free.
    pub fn start(config: Config, address: SocketAddr, threads: usize) -> io::Result<Self> {
        Self::start_with(config, address, threads, PATIENCE)
    }

    fn start_with(mut config: Config, address: SocketAddr, threads: usize, patience: Patience) -> io::Result<Self> {
        for place in &mut config.datasets {
            place.root = target::true_path(&place.root);
        }
        let local = config.datasets.iter().map(|place| quick::is_local(&place.root)).collect();
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(READERS)
            .thread_name("precast-server")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(async { bind(address) })?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { config, local, mounts: RwLock::default(), calls: Arc::default() });
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(accept(listener, Arc::clone(&shared), stopped, patience));
        Ok(Self { runtime: Some(runtime), stop, shared, address })
    }

    /// The address that it answers at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets something else answer under a path, in place of what answered there.
    pub fn mount(&self, mut mount: Mount) {
        if let Mounted::Files(files) = &mut mount.what {
            files.root = target::true_path(&files.root);
        }
        let mut mounts = self.shared.mounts.write().unwrap_or_else(PoisonError::into_inner);
        mounts.retain(|other| other.segments != mount.segments);
        mounts.push(Arc::new(mount));
    }

    /// Stops: no new connections, a moment for the answers that are on their way, then the end of all.
    pub fn stop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.stop.send_replace(true);
        runtime.block_on(async {
            let _ = timeout(FAREWELL, self.stop.closed()).await;
        });
        runtime.shutdown_background();
        self.shared.calls.end(LAST_CALLS);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // on Windows this would let another program take the port over
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>, patience: Patience) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until(&mut stopped) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, Arc::clone(&shared), stopped.clone(), patience));
            }
            // mostly too many open files: others have to go first
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    // in this order: who stops the server waits for the receivers, and may want the port again at once
    drop(listener);
    drop(stopped);
}

async fn until(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|&over| over).await;
}

async fn converse(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>, patience: Patience) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(service::answer(shared, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.idle)
        .max_buf_size(BUFFER)
        .serve_connection(Patient::new(stream, patience.stalled), service);
    tokio::pin!(connection);
    // what goes wrong here is the client's affair: it went away, or spoke something else than HTTP
    let over = tokio::select! {
        _ = connection.as_mut() => true,
        () = until(&mut stopped) => false,
    };
    if !over {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(FAREWELL, connection).await;
    }
}

/// A connection that is given up when its client takes nothing for long.
struct Patient {
    stream: TokioIo<TcpStream>,
    stalled: Duration,
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Patient {
    fn new(stream: TcpStream, stalled: Duration) -> Self {
        Self { stream: TokioIo::new(stream), stalled, deadline: Box::pin(sleep(stalled)), waiting: false }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        if !self.waiting {
            self.waiting = true;
            let until = Instant::now() + self.stalled;
            self.deadline.as_mut().reset(until);
        }
        self.deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{Patience, Server};
    use crate::{Config, HeaderValue, Place, Rule, Rules};
    use std::collections::HashSet;
    use std::fs::{self, File};
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::path::{Path, PathBuf};
    use std::thread;
    use std::time::Duration;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(3600);
    const MOMENT: Duration = Duration::from_millis(10);
    /// Of moments: a minute.
    const MANY: usize = 6000;
    const REQUEST: &[u8] = b"GET /data/info HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// More than sockets of both sides keep.
    const LARGE: u64 = 64 << 20;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("precast-server-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("info"), b"{}").unwrap();
        File::create(path.join("large")).unwrap().set_len(LARGE).unwrap();
        path
    }

    fn serve(root: &Path, patience: Patience) -> Server {
        let plain = Rule {
            content_type: HeaderValue::from_static("text/plain"),
            cache_control: HeaderValue::from_static("no-cache"),
            whole: false,
        };
        let config = Config {
            secret: None,
            datasets: vec![Place { segments: vec!["data".into()], root: root.into() }],
            files: vec![],
            rules: Rules { names: vec![], suffixes: vec![], other: plain },
            ranged_types: vec![],
            hosts: HashSet::from(["localhost".into()]),
            any_address: false,
            exposed_headers: HeaderValue::from_static("ETag"),
            verbose: false,
        };
        Server::start_with(config, SocketAddr::from(([127, 0, 0, 1], 0)), 2, patience).unwrap()
    }

    fn connect(server: &Server) -> TcpStream {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Asks for the info and reads the answer, which ends with it.
    fn ask(stream: &mut TcpStream) {
        stream.write_all(REQUEST).unwrap();
        let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"\r\n\r\n{}") {
            let count = stream.read(&mut piece).unwrap();
            assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }

    /// Waits until the server closes, and returns what it said before.
    fn rest(stream: &mut TcpStream) -> Vec<u8> {
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        said
    }

    #[test]
    fn connections_without_a_request_are_closed_before_and_after_one() {
        let root = folder("idle");
        let server = serve(&root, Patience { idle: SHORT, stalled: LONG });
        let (mut silent, mut once) = (connect(&server), connect(&server));
        ask(&mut once);
        for stream in [&mut silent, &mut once] {
            let said = rest(stream);
            assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&said));
        }
        ask(&mut connect(&server));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_head_that_comes_too_slowly_is_given_up_and_holds_up_nobody() {
        let root = folder("slow");
        let server = serve(&root, Patience { idle: SHORT, stalled: LONG });
        let mut slow = connect(&server);
        slow.write_all(b"GET /data/info HTTP/1.1\r\nHost: localhost\r\nX: ").unwrap();
        let mut probe = slow.try_clone().unwrap();
        let closed = thread::spawn(move || rest(&mut probe));
        // every byte comes in time, but not the whole head
        let mut sent = 0;
        while !closed.is_finished() && sent < MANY {
            let _ = slow.write_all(b"x");
            sent += 1;
            ask(&mut connect(&server));
            thread::sleep(MOMENT);
        }
        assert!(sent < MANY);
        let said = closed.join().unwrap();
        assert!(!said.starts_with(b"HTTP/1.1 200 "));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up_and_holds_up_nobody() {
        let root = folder("stalled");
        let server = serve(&root, Patience { idle: LONG, stalled: SHORT });
        let mut patient = connect(&server);
        ask(&mut patient);
        let mut stalled = connect(&server);
        stalled.write_all(b"GET /data/large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        // that the other side is gone is seen by sending, without taking anything
        let mut sent = 0;
        while stalled.write_all(b"\r\n").is_ok() && sent < MANY {
            sent += 1;
            ask(&mut connect(&server));
            thread::sleep(MOMENT);
        }
        assert!(sent < MANY);
        assert!((rest(&mut stalled).len() as u64) < LARGE);
        // a connection that only waits is another matter
        ask(&mut patient);
        fs::remove_dir_all(root).unwrap();
    }
}
