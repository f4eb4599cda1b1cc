//! Bodies of answers: bytes, pieces of files, inflated files, and what a handler says in its own time.

use crate::encoding::Encoding;
use crate::inflate::Inflater;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinHandle, spawn_blocking};

/// What is read from a file at once: a connection holds two or three of these at most.
pub const PIECE: usize = 128 << 10;
/// Less than this is read into memory of its own.
const SMALL: usize = 16 << 10;

/// Some of a body.
pub enum Part {
    Bytes(Bytes),
    /// Bytes of a file from `start` up to `end`.
    File {
        file: Arc<File>,
        start: u64,
        end: u64,
    },
    /// Inflated bytes of a file from `start` up to `end`.
    Inflated {
        path: PathBuf,
        encoding: Encoding,
        start: u64,
        end: u64,
    },
    /// Whatever comes, of a length that nobody knows.
    Stream(Receiver<io::Result<Vec<u8>>>),
    Inflating(Box<Inflater>, u64),
}

impl Part {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { start, end, .. } | Self::Inflated { start, end, .. } => Some(end - start),
            Self::Inflating(_, left) => Some(*left),
            Self::Stream(_) => None,
        }
    }

    /// Takes the first piece off; None in place of the rest where nothing is left. Blocks.
    fn split(self) -> io::Result<(Bytes, Option<Self>)> {
        match self {
            Self::File { file, start, end } => {
                let next = end.min(start + PIECE as u64);
                let bytes = read_at(&file, start, (next - start) as usize)?;
                Ok((bytes, (next < end).then_some(Self::File { file, start: next, end })))
            }
            Self::Inflated { path, encoding, start, end } => {
                let mut inflater = Inflater::open(&path, encoding)?;
                inflater.skip(start)?;
                Self::Inflating(Box::new(inflater), end - start).split()
            }
            Self::Inflating(mut inflater, left) => {
                let wanted = left.min(PIECE as u64) as usize;
                let bytes = inflater.take(wanted)?;
                if bytes.len() < wanted {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let left = left - wanted as u64;
                Ok((bytes.into(), (left > 0).then_some(Self::Inflating(inflater, left))))
            }
            Self::Bytes(bytes) => Ok((bytes, None)),
            Self::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

type Split = io::Result<(Bytes, Option<Part>)>;

/// A body in parts, the next of which is being read.
#[derive(Default)]
pub struct Body {
    parts: VecDeque<Part>,
    reading: Option<JoinHandle<Split>>,
}

impl Body {
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let parts = parts.into_iter().filter(|part| part.length() != Some(0)).collect();
        Self { parts, reading: None }
    }

    /// Reads the first piece now, because this thread may block, and the one that sends may not.
    pub fn primed(mut self) -> io::Result<Self> {
        if matches!(self.parts.front(), Some(Part::File { .. } | Part::Inflated { .. })) {
            let (bytes, rest) = self.parts.pop_front().map_or(Ok((Bytes::new(), None)), Part::split)?;
            self.put_back(rest);
            self.parts.push_front(Part::Bytes(bytes));
        }
        Ok(self)
    }

    /// Reads the first piece now if that takes no waiting, else fails with `WouldBlock`.
    pub fn primed_at_once(mut self) -> io::Result<Self> {
        if let Some(part) = self.parts.pop_front() {
            match part {
                Part::Bytes(_) => self.parts.push_front(part),
                part => match at_once(part) {
                    Ok(Ok((bytes, rest))) => {
                        self.put_back(rest);
                        self.parts.push_front(Part::Bytes(bytes));
                    }
                    _ => return Err(io::ErrorKind::WouldBlock.into()),
                },
            }
        }
        Ok(self)
    }

    /// The number of bytes, if it is known.
    pub fn length(&self) -> Option<u64> {
        self.parts.iter().map(Part::length).sum()
    }

    fn put_back(&mut self, rest: Option<Part>) {
        if let Some(rest) = rest {
            self.parts.push_front(rest);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let done = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                let (bytes, rest) = done.map_err(io::Error::other)??;
                self.put_back(rest);
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match self.parts.pop_front() {
                None => return Poll::Ready(None),
                Some(Part::Bytes(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Part::Stream(mut receiver)) => {
                    let next = receiver.poll_recv(context);
                    if !matches!(next, Poll::Ready(None)) {
                        self.parts.push_front(Part::Stream(receiver));
                    }
                    match ready!(next) {
                        None => {}
                        Some(item) => return Poll::Ready(Some(item.map(|bytes| Frame::data(bytes.into())))),
                    }
                }
                Some(part) => match at_once(part)? {
                    Ok((bytes, rest)) => {
                        self.put_back(rest);
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    Err(part) => self.reading = Some(spawn_blocking(|| part.split())),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.reading, self.length()) {
            (None, Some(length)) => SizeHint::with_exact(length),
            _ => SizeHint::default(),
        }
    }
}

/// Takes the first piece off if it lies in the system's memory, so that reading it does not block; else returns the part.
fn at_once(part: Part) -> io::Result<Result<(Bytes, Option<Part>), Part>> {
    let Part::File { file, start, end } = part else { return Ok(Err(part)) };
    let next = end.min(start + PIECE as u64);
    let mut buffer = Buffer::new((next - start) as usize);
    if !fill_at_once(&file, buffer.as_mut(), start)? {
        return Ok(Err(Part::File { file, start, end }));
    }
    Ok(Ok((Bytes::from_owner(buffer), (next < end).then_some(Part::File { file, start: next, end }))))
}

/// Fills a buffer if that takes no waiting for the disk; returns whether it did.
#[cfg(target_os = "linux")]
fn fill_at_once(file: &File, bytes: &mut [u8], start: u64) -> io::Result<bool> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let count = bytes.len();
    match preadv2(file, &mut [io::IoSliceMut::new(bytes)], start, ReadWriteFlags::NOWAIT) {
        Ok(got) => Ok(got == count),
        // not in memory, or not to be known on this file system
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn fill_at_once(_: &File, _: &mut [u8], _: u64) -> io::Result<bool> {
    Ok(false)
}

/// Buffers that were sent and can be filled again: getting fresh memory from the system costs more than reading into it.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// Spare buffers that are kept: 8 MiB of them.
const MOST_SPARE: usize = 64;

/// Memory that goes back to the spare buffers when it has been sent.
struct Buffer {
    bytes: Vec<u8>,
    count: usize,
}

impl Buffer {
    /// Returns a buffer of `count` bytes, at most [`PIECE`], of whatever value.
    fn new(count: usize) -> Self {
        if count < SMALL {
            return Self { bytes: vec![0; count], count };
        }
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { bytes: spare.unwrap_or_else(|| vec![0; PIECE]), count }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.count]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() == PIECE {
            let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < MOST_SPARE {
                spare.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

/// Reads exactly `count` bytes. A file that has become shorter is an error: the client was told how many would come.
fn read_at(file: &File, start: u64, count: usize) -> io::Result<Bytes> {
    let mut buffer = Buffer::new(count);
    fill(file, buffer.as_mut(), start)?;
    Ok(Bytes::from_owner(buffer))
}

#[cfg(unix)]
fn fill(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(windows)]
fn fill(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[filled..], start + filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => filled += got,
        }
    }
    Ok(())
}
