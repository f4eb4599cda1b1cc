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

/// How long a connection may be without a request, or a request's head may take.
const IDLE: Duration = Duration::from_secs(75);
/// How long a client may take nothing of what is sent to it.
const STALLED: Duration = Duration::from_secs(75);
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
    pub fn start(mut config: Config, address: SocketAddr, threads: usize) -> io::Result<Self> {
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
        runtime.spawn(accept(listener, Arc::clone(&shared), stopped));
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

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until(&mut stopped) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, Arc::clone(&shared), stopped.clone()));
            }
            // mostly too many open files: others have to go first
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn until(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|&over| over).await;
}

async fn converse(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(service::answer(shared, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(BUFFER)
        .serve_connection(Patient::new(stream), service);
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
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Patient {
    fn new(stream: TcpStream) -> Self {
        Self { stream: TokioIo::new(stream), deadline: Box::pin(sleep(STALLED)), waiting: false }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        if !self.waiting {
            self.waiting = true;
            self.deadline.as_mut().reset(Instant::now() + STALLED);
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
