//! The chunk encoding `compressed_segmentation` of the precomputed format.
//!
//! A chunk is a whole number of little-endian 32-bit words:
//!
//! ```text
//! word 0 .. C-1     channel table: where each channel starts, in words from the start of the chunk
//! per channel       block headers, then per block its packed indices and its table of labels;
//!                   all offsets count words from the start of the channel
//! block header      word 0: bits 0..23 offset of the table, bits 24..31 bits per index (0 1 2 4 8 16 32)
//!                   word 1: offset of the packed indices
//! index of a voxel  position p = x + bx*(y + by*z) in the block; bits p*bits .. from the least significant
//!                   end of the words; also in blocks that the chunk cuts off, with the full bx, by
//! table             labels of 1 word (`u32`) or 2 words, low word first (`u64`)
//! ```
//!
//! Blocks are numbered with x fastest. [`Encoder`] writes what the reference writers write: the
//! smallest width, ascending tables, one table for all blocks of a channel with the same labels, and
//! per block its indices before its table. [`decode`] reads every arrangement that the format allows.

mod decode;
mod encode;
mod label;
mod masks;
mod simd;
mod tables;

pub use crate::simd::Level;
pub use decode::{decode, decode_with};
pub use encode::Encoder;
pub use label::Label;

use crate::{Error, Result};

/// Offsets of tables have 24 bits, and readers keep no more of the offsets of indices.
pub const OFFSET_LIMIT: usize = 1 << 24;

/// The largest block whose indices never need more than 16 bits. Viewers cannot draw 32.
pub const MAX_BLOCK_VOXELS: usize = 1 << 16;

/// The smallest legal width for `distinct` different labels.
pub(crate) fn bits_for(distinct: usize) -> u32 {
    match distinct {
        0..=1 => 0,
        2 => 1,
        3..=4 => 2,
        5..=16 => 4,
        17..=256 => 8,
        257..=65536 => 16,
        _ => 32,
    }
}

/// Words that the indices of a block of `voxels` take.
pub(crate) fn index_words(voxels: usize, bits: u32) -> usize {
    (voxels * bits as usize).div_ceil(32)
}

/// Number of voxels of a block that can be written.
fn check_block(block: [usize; 3]) -> Result<usize> {
    block
        .iter()
        .try_fold(1usize, |product, &edge| product.checked_mul(edge))
        .filter(|voxels| (1..=MAX_BLOCK_VOXELS).contains(voxels))
        .ok_or_else(|| {
            Error::Argument(format!(
                "block size {block:?} (x, y, z) cannot be used: every edge must be at least 1 and the product at most \
                 {MAX_BLOCK_VOXELS}; [8, 8, 8] suits every reader"
            ))
        })
}

/// The most words that one channel of a chunk can need, whatever its labels are.
///
/// `chunk` and `block` are `[x, y, z]` in voxels, `label_words` is [`Label::WORDS`]. A chunk can always be
/// encoded if the result is below [`OFFSET_LIMIT`]. The result saturates.
///
/// # Errors
/// [`Error::Argument`] if an edge is zero or the block has more than [`MAX_BLOCK_VOXELS`] voxels.
pub fn worst_case_words(chunk: [usize; 3], block: [usize; 3], label_words: usize) -> Result<u64> {
    let voxels = check_block(block)?;
    if chunk.contains(&0) {
        return Err(Error::Argument(format!("chunk size {chunk:?} (x, y, z) cannot be used: an edge is zero")));
    }
    // Per axis: how many blocks are whole, and the extent of the one that the chunk cuts off, if any.
    let kinds = |axis: usize| {
        let (whole, rest) = (chunk[axis] / block[axis], chunk[axis] % block[axis]);
        [(whole, block[axis]), (usize::from(rest > 0), rest)]
    };
    let mut total = 0u64;
    for (nz, z) in kinds(2) {
        for (ny, y) in kinds(1) {
            for (nx, x) in kinds(0) {
                let blocks = (nx as u64).saturating_mul(ny as u64).saturating_mul(nz as u64);
                let distinct = x * y * z;
                let words = 2 + index_words(voxels, bits_for(distinct)) + distinct * label_words;
                total = total.saturating_add(blocks.saturating_mul(words as u64));
            }
        }
    }
    Ok(total)
}

/// Number of blocks per axis, `[x, y, z]`, for a chunk of `shape` `(c, z, y, x)`.
fn block_grid(shape: [usize; 4], block: [usize; 3]) -> [usize; 3] {
    [shape[3].div_ceil(block[0]), shape[2].div_ceil(block[1]), shape[1].div_ceil(block[2])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_matches_chunks_of_distinct_labels() {
        for (chunk, block) in
            [([5, 9, 8], [8, 8, 8]), ([16, 16, 16], [8, 8, 8]), ([7, 3, 2], [2, 2, 2]), ([3, 1, 1], [4, 4, 4])]
        {
            let shape = [1, chunk[2], chunk[1], chunk[0]];
            let labels: Vec<u64> = (0..chunk.iter().product::<usize>() as u64).map(|i| i << 33).collect();
            let view = crate::view::View::contiguous(&labels, shape).unwrap();
            let mut out = Vec::new();
            Encoder::new().encode(view, block, &mut out).unwrap();
            assert_eq!(out.len() as u64 / 4 - 1, worst_case_words(chunk, block, 2).unwrap(), "{chunk:?} {block:?}");
        }
    }

    #[test]
    fn the_limit_lies_between_the_documented_sizes() {
        let words = |edge| worst_case_words([edge; 3], [8; 3], 2).unwrap();
        assert!(words(176) < OFFSET_LIMIT as u64);
        assert!(words(192) >= OFFSET_LIMIT as u64);
        assert_eq!(worst_case_words([usize::MAX; 3], [1; 3], 2).unwrap(), u64::MAX);
        assert!(worst_case_words([64; 3], [64, 64, 32], 1).is_err());
        assert!(worst_case_words([64; 3], [0, 8, 8], 1).is_err());
        assert!(worst_case_words([0, 1, 1], [8; 3], 1).is_err());
    }
}
