//! A box of voxels as the encoded chunks of its grid.

use crate::compressed_segmentation::{Encoder, Label};
use crate::gzip::Compressor;
use crate::parallel::map_indexed;
use crate::view::View;
use crate::{Error, Result};

/// How the voxels of a chunk become bytes, before gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Little-endian, x fastest and the channel slowest.
    Raw,
    /// [`crate::compressed_segmentation`] with a block of `[x, y, z]`.
    CompressedSegmentation([usize; 3]),
}

/// How chunks are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkCodec {
    /// From voxels to bytes.
    pub encoding: Encoding,
    /// Level of gzip, 0 to 12, or none.
    pub gzip_level: Option<i32>,
    /// Leave out chunks in which every bit is zero.
    pub skip_zero: bool,
}

/// A type of voxel that can be stored.
pub trait Element: Copy + Send + Sync {
    /// The encoder of labels of this type; `()` for types that are none.
    type Labels: EncodeLabels<Self>;

    /// Appends the little-endian bytes of `row`.
    fn append(row: &[Self], out: &mut Vec<u8>);

    /// Whether every bit of every voxel is zero. Negative zero is not: it must come back as it was.
    fn all_zero(row: &[Self]) -> bool;
}

/// Encodes labels, or refuses what are none.
pub trait EncodeLabels<T> {
    /// Scratch memory for one thread.
    fn new() -> Self;

    /// As [`Encoder::encode`].
    ///
    /// # Errors
    /// As [`Encoder::encode`]; [`Error::Argument`] if `T` is no type of label.
    fn encode(&mut self, chunk: View<'_, T>, block: [usize; 3], out: &mut Vec<u8>) -> Result<()>;
}

impl<T: Label> EncodeLabels<T> for Encoder<T> {
    fn new() -> Self {
        Encoder::new()
    }

    fn encode(&mut self, chunk: View<'_, T>, block: [usize; 3], out: &mut Vec<u8>) -> Result<()> {
        Encoder::encode(self, chunk, block, out)
    }
}

impl<T> EncodeLabels<T> for () {
    fn new() -> Self {}

    fn encode(&mut self, _: View<'_, T>, _: [usize; 3], _: &mut Vec<u8>) -> Result<()> {
        Err(Error::Argument(format!(
            "compressed_segmentation holds uint32 or uint64 labels, not {}; convert the labels or use encoding raw",
            std::any::type_name::<T>()
        )))
    }
}

macro_rules! element {
    ($($t:ty: $labels:ty, |$bits:ident| $word:expr;)+) => {$(
        impl Element for $t {
            type Labels = $labels;

            fn append(row: &[Self], out: &mut Vec<u8>) {
                const SIZE: usize = size_of::<$t>();
                let start = out.len();
                out.resize(start + SIZE * row.len(), 0);
                for (bytes, voxel) in out[start..].as_chunks_mut::<SIZE>().0.iter_mut().zip(row) {
                    *bytes = voxel.to_le_bytes();
                }
            }

            fn all_zero(row: &[Self]) -> bool {
                // Without an early end in the loop, so that it becomes vector instructions; rows are short.
                row.iter().fold(0, |all, &$bits| all | $word) == 0
            }
        }
    )+};
}

element! {
    u8: (), |v| v;
    i8: (), |v| v;
    u16: (), |v| v;
    i16: (), |v| v;
    i32: (), |v| v;
    u32: Encoder<u32>, |v| v;
    u64: Encoder<u64>, |v| v;
    f32: (), |v| v.to_bits();
}

/// What a thread keeps from chunk to chunk.
struct Scratch<L> {
    labels: L,
    gzip: Option<Compressor>,
    bytes: Vec<u8>,
}

/// Cuts `data` into chunks of `chunk_size` `[x, y, z]` from its first voxel on and encodes each.
///
/// The result has x fastest, then y, then z; the last chunks along an axis are cut off where the data end.
/// `None` stands for a chunk that `skip_zero` leaves out. The bytes do not depend on `threads`.
///
/// # Errors
/// [`Error::Argument`] for empty data, a zero chunk edge, a level of gzip that does not exist, or what
/// [`Encoder::encode`] refuses; [`Error::Limit`] if a chunk has too many labels. The first chunk that fails counts.
pub fn encode_chunks<T: Element>(
    data: View<'_, T>,
    chunk_size: [usize; 3],
    codec: ChunkCodec,
    threads: usize,
) -> Result<Vec<Option<Vec<u8>>>> {
    let shape = data.shape();
    if shape.contains(&0) || chunk_size.contains(&0) {
        return Err(Error::Argument(format!(
            "data of shape {shape:?} (c, z, y, x) cannot be cut into chunks of {chunk_size:?} (x, y, z): an edge is zero"
        )));
    }
    // So that a level that does not exist is reported even if every chunk is left out.
    codec.gzip_level.map(Compressor::new).transpose()?;
    let [nx, ny, nz] = [0, 1, 2].map(|axis| shape[3 - axis].div_ceil(chunk_size[axis]));
    let make = || Scratch {
        labels: T::Labels::new(),
        gzip: codec.gzip_level.and_then(|level| Compressor::new(level).ok()),
        bytes: Vec::new(),
    };
    let work = |scratch: &mut Scratch<T::Labels>, i: usize| {
        let cell = [i % nx, i / nx % ny, i / nx / ny];
        encode_chunk(scratch, chunk_at(data, chunk_size, cell)?, codec).map_err(|error| match error {
            Error::Limit(text) => Error::Limit(format!("chunk {cell:?} (x, y, z): {text}")),
            other => other,
        })
    };
    map_indexed(nx * ny * nz, threads, make, work).into_iter().collect()
}

fn chunk_at<T>(data: View<'_, T>, size: [usize; 3], cell: [usize; 3]) -> Result<View<'_, T>> {
    let shape = data.shape();
    let start = [0, 1, 2].map(|axis| cell[axis] * size[axis]);
    let extent = [0, 1, 2].map(|axis| size[axis].min(shape[3 - axis] - start[axis]));
    data.part([0, start[2], start[1], start[0]], [shape[0], extent[2], extent[1], extent[0]])
}

fn encode_chunk<T: Element>(
    scratch: &mut Scratch<T::Labels>,
    chunk: View<'_, T>,
    codec: ChunkCodec,
) -> Result<Option<Vec<u8>>> {
    let [channels, depth, height, _] = chunk.shape();
    let rows =
        || (0..channels).flat_map(move |c| (0..depth).flat_map(move |z| (0..height).map(move |y| chunk.row(c, z, y))));
    if codec.skip_zero && rows().all(T::all_zero) {
        return Ok(None);
    }
    let bytes = &mut scratch.bytes;
    bytes.clear();
    match codec.encoding {
        Encoding::Raw => {
            bytes.reserve_exact(chunk.shape().iter().product::<usize>() * size_of::<T>());
            rows().for_each(|row| T::append(row, bytes));
        }
        Encoding::CompressedSegmentation(block) => scratch.labels.encode(chunk, block, bytes)?,
    }
    let encoded = match &mut scratch.gzip {
        Some(gzip) => gzip.compress(bytes)?,
        None if codec.encoding == Encoding::Raw => std::mem::take(bytes),
        None => bytes.to_vec(),
    };
    Ok(Some(encoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: ChunkCodec = ChunkCodec { encoding: Encoding::Raw, gzip_level: None, skip_zero: false };

    #[test]
    fn raw_chunks_are_cut_off_and_little_endian_with_x_fastest() {
        // Two channels of 2 x 1 x 3 (z, y, x).
        let data: Vec<u16> = (0..12).map(|i| i + 0x100).collect();
        let view = View::contiguous(&data, [2, 2, 1, 3]).unwrap();
        let chunks = encode_chunks(view, [2, 2, 1], RAW, 2).unwrap();
        let voxels = |chunk: &Option<Vec<u8>>| chunk.as_ref().unwrap().iter().step_by(2).copied().collect::<Vec<u8>>();
        assert_eq!(
            chunks.iter().map(voxels).collect::<Vec<_>>(),
            [vec![0, 1, 6, 7], vec![2, 8], vec![3, 4, 9, 10], vec![5, 11]]
        );
        assert!(chunks.iter().flatten().all(|chunk| chunk.iter().skip(1).step_by(2).all(|&high| high == 1)));
    }

    #[test]
    fn only_chunks_without_a_single_bit_are_left_out() {
        let data = [0.0f32, -0.0, 0.0, 0.0];
        let view = View::contiguous(&data, [1, 1, 1, 4]).unwrap();
        let chunks = encode_chunks(view, [2, 1, 1], ChunkCodec { skip_zero: true, ..RAW }, 1).unwrap();
        assert_eq!(chunks, [Some(vec![0, 0, 0, 0, 0, 0, 0, 0x80]), None]);
    }

    #[test]
    fn refusals_name_the_reason() {
        let data = [0i32; 8];
        let view = View::contiguous(&data, [1, 2, 2, 2]).unwrap();
        let labels = ChunkCodec { encoding: Encoding::CompressedSegmentation([8; 3]), ..RAW };
        assert!(matches!(encode_chunks(view, [2; 3], labels, 1), Err(Error::Argument(text)) if text.contains("i32")));
        let level = ChunkCodec { gzip_level: Some(99), skip_zero: true, ..RAW };
        assert!(matches!(encode_chunks(view, [2; 3], level, 1), Err(Error::Argument(text)) if text.contains("99")));
        assert!(encode_chunks(view, [0, 2, 2], RAW, 1).is_err());
    }
}
