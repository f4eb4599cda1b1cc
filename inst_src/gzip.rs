//! gzip (RFC 1952) through libdeflate.
//!
//! What is written is one member with no name, modification time 0 and operating system 255 ("unknown"),
//! so equal input gives equal bytes everywhere. What is read must be one member and nothing else:
//! browsers reject more.

use crate::{Error, Result};
use std::ptr::NonNull;

/// Deflate cannot expand a byte to more than this many.
const MAX_EXPANSION: usize = 1032;

/// Header and trailer of the shortest member.
const MIN_MEMBER: usize = 18;

/// Compresses at one level; keep one per thread.
pub struct Compressor {
    inner: libdeflater::Compressor,
    buffer: Vec<u8>,
}

impl Compressor {
    /// A compressor for `level`: 0 (store only), 1 (fast) to 12 (small).
    ///
    /// # Errors
    /// [`Error::Argument`] for any other level.
    pub fn new(level: i32) -> Result<Self> {
        let level = libdeflater::CompressionLvl::new(level)
            .map_err(|_| Error::Argument(format!("gzip level {level} does not exist; allowed are 0 to 12")))?;
        Ok(Compressor { inner: libdeflater::Compressor::new(level), buffer: Vec::new() })
    }

    /// One gzip member that holds `data`.
    ///
    /// # Errors
    /// [`Error::Limit`] if libdeflate cannot compress into its own upper bound, which it promises not to happen.
    pub fn compress(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        let bound = self.inner.gzip_compress_bound(data.len());
        if self.buffer.len() < bound {
            self.buffer = vec![0; bound];
        }
        let size = self
            .inner
            .gzip_compress(data, &mut self.buffer)
            .map_err(|error| Error::Limit(format!("libdeflate could not compress {} bytes: {error}", data.len())))?;
        Ok(self.buffer[..size].to_vec())
    }
}

/// Decompresses; keep one per thread.
pub struct Decompressor {
    // libdeflater's own type does not tell where the member ended.
    inner: NonNull<libdeflate_sys::libdeflate_decompressor>,
}

// SAFETY: a libdeflate decompressor is plain memory that belongs to no thread; `&mut self` keeps calls apart.
unsafe impl Send for Decompressor {}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from `libdeflate_alloc_decompressor` and is freed once.
        unsafe { libdeflate_sys::libdeflate_free_decompressor(self.inner.as_ptr()) }
    }
}

impl Decompressor {
    /// A decompressor.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is no memory for it.
    pub fn new() -> Result<Self> {
        // SAFETY: the function has no preconditions.
        let inner = unsafe { libdeflate_sys::libdeflate_alloc_decompressor() };
        let inner = NonNull::new(inner).ok_or_else(|| Error::Limit("no memory for a gzip decompressor".into()))?;
        Ok(Decompressor { inner })
    }

    /// The contents of the one gzip member that `data` is.
    ///
    /// Memory grows with what is really decompressed: the size that the trailer claims only helps to guess
    /// the first buffer, which is no larger than `max_size` or than so many bytes can ever expand to.
    ///
    /// # Errors
    /// [`Error::Format`] if `data` is not exactly one gzip member or holds more than `max_size` bytes.
    pub fn decompress(&mut self, data: &[u8], max_size: usize) -> Result<Vec<u8>> {
        if data.len() < MIN_MEMBER {
            return Err(Error::Format(format!(
                "{} bytes are too few for gzip data, which has at least {MIN_MEMBER}",
                data.len()
            )));
        }
        let trailer = data.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size)) as usize;
        let possible = max_size.min(data.len().saturating_mul(MAX_EXPANSION));
        let mut out = vec![0; trailer.min(possible)];
        loop {
            let (status, read, written) = self.attempt(data, &mut out);
            match status {
                libdeflate_sys::libdeflate_result_LIBDEFLATE_SUCCESS if read == data.len() => {
                    out.truncate(written);
                    return Ok(out);
                }
                libdeflate_sys::libdeflate_result_LIBDEFLATE_SUCCESS => {
                    return Err(Error::Format(format!(
                        "{} bytes follow the gzip member, which ends at byte {read}; one member and nothing else is allowed",
                        data.len() - read
                    )));
                }
                libdeflate_sys::libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE if out.len() < possible => {
                    // The trailer lied, or is not one. Start again with more; the old contents are of no use.
                    let size = out.len().saturating_mul(2).clamp(1024.min(possible), possible);
                    out = vec![0; size];
                }
                libdeflate_sys::libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE => {
                    return Err(Error::Format(format!(
                        "the gzip data hold more than the {max_size} bytes allowed here"
                    )));
                }
                _ => {
                    return Err(Error::Format(format!(
                        "{} bytes are not valid gzip data: the header, the compressed data or the checksum is wrong",
                        data.len()
                    )));
                }
            }
        }
    }

    /// Status, bytes read and bytes written.
    fn attempt(&mut self, data: &[u8], out: &mut [u8]) -> (libdeflate_sys::libdeflate_result, usize, usize) {
        let (mut read, mut written) = (0, 0);
        // SAFETY: the decompressor is valid; both buffers are given with their lengths; the counts outlive the call.
        let status = unsafe {
            libdeflate_sys::libdeflate_gzip_decompress_ex(
                self.inner.as_ptr(),
                data.as_ptr().cast(),
                data.len(),
                out.as_mut_ptr().cast(),
                out.len(),
                &raw mut read,
                &raw mut written,
            )
        };
        (status, read, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..5000u32).flat_map(|i| (i * i / 7).to_le_bytes()).collect()
    }

    #[test]
    fn members_are_reproducible_and_come_back_at_every_level() {
        let data = text();
        for level in 0..=12 {
            let packed = Compressor::new(level).unwrap().compress(&data).unwrap();
            assert_eq!(packed[..4], [0x1f, 0x8b, 8, 0], "magic, deflate, no flags");
            assert_eq!(packed[4..8], [0; 4], "modification time");
            assert_eq!(packed[9], 255, "operating system");
            assert_eq!(Decompressor::new().unwrap().decompress(&packed, data.len()).unwrap(), data);
        }
        assert!(Compressor::new(13).is_err() && Compressor::new(-1).is_err());
    }

    #[test]
    fn an_empty_member_is_legal() {
        let packed = Compressor::new(6).unwrap().compress(&[]).unwrap();
        assert!(Decompressor::new().unwrap().decompress(&packed, 0).unwrap().is_empty());
    }

    #[test]
    fn the_size_bound_holds_to_the_byte() {
        let data = vec![7; 100_000];
        let packed = Compressor::new(9).unwrap().compress(&data).unwrap();
        let mut reader = Decompressor::new().unwrap();
        assert_eq!(reader.decompress(&packed, 100_000).unwrap(), data);
        assert!(matches!(reader.decompress(&packed, 99_999), Err(Error::Format(text)) if text.contains("99999")));
        assert!(reader.decompress(&packed, 0).is_err());
    }

    #[test]
    fn anything_but_one_member_is_refused() {
        let packed = Compressor::new(6).unwrap().compress(&text()).unwrap();
        let mut reader = Decompressor::new().unwrap();
        let mut twice = packed.clone();
        twice.extend_from_slice(&packed);
        let mut trailing = packed.clone();
        trailing.push(0);
        for bytes in [&twice, &trailing] {
            assert!(matches!(reader.decompress(bytes, 1 << 20), Err(Error::Format(text)) if text.contains("follow")));
        }
        for end in 0..packed.len() {
            assert!(reader.decompress(&packed[..end], 1 << 20).is_err(), "cut at {end}");
        }
        for at in packed.len() - 8..packed.len() {
            let mut wrong = packed.clone();
            wrong[at] ^= 0x10;
            assert!(reader.decompress(&wrong, 1 << 20).is_err(), "changed checksum or size at {at}");
        }
    }

    #[test]
    fn a_false_size_allocates_no_more_than_the_data_can_hold() {
        // Claims 4 GiB; allocating and clearing that would take seconds and fail on small machines.
        let mut packed = Compressor::new(6).unwrap().compress(b"short").unwrap();
        let end = packed.len();
        packed[end - 4..].fill(0xff);
        assert!(Decompressor::new().unwrap().decompress(&packed, usize::MAX).is_err());
    }
}
