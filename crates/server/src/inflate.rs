//! Objects that are stored packed, for clients that must have them as they are.

use crate::encoding::Encoding;
use brotli_decompressor::Decompressor;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// What is inflated in one go. Nearly every object fits.
pub const AT_ONCE: usize = 4 << 20;
const SCRATCH: usize = 64 << 10;

/// Reads the inflated bytes of a file from front to back.
pub struct Inflater(Box<dyn Read + Send>);

impl Inflater {
    pub fn open(path: &Path, encoding: Encoding) -> io::Result<Self> {
        Ok(Self::new(File::open(path)?, encoding))
    }

    pub fn new(file: File, encoding: Encoding) -> Self {
        Self(match encoding {
            Encoding::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(SCRATCH, file))),
            Encoding::Brotli => Box::new(Decompressor::new(file, SCRATCH)),
        })
    }

    /// Reads `limit` bytes, or fewer where the end is nearer.
    pub fn take(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Read::by_ref(&mut self.0).take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Passes over `count` bytes, or fewer where the end is nearer; returns how many.
    pub fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut scratch = vec![0; SCRATCH];
        let mut passed = 0;
        while passed < count {
            let most = scratch.len().min(usize::try_from(count - passed).unwrap_or(usize::MAX));
            match self.0.read(&mut scratch[..most])? {
                0 => break,
                got => passed += got as u64,
            }
        }
        Ok(passed)
    }
}
