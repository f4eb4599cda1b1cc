//! Bytes to labels.

use super::block_grid;
use super::label::Label;
use super::simd::{Portable, Simd, with_simd};
use crate::simd::Level;
use crate::view::ViewMut;
use crate::{Error, Result};

/// One block of the chunk that is decoded.
#[derive(Clone, Copy)]
struct Block<'a> {
    channel: usize,
    /// `[x, y, z]`: first voxel, existing extent, and full size.
    start: [usize; 3],
    extent: [usize; 3],
    size: [usize; 3],
    bits: u32,
    /// The packed indices of the full size.
    indices: &'a [u8],
    /// The table and whatever follows it, whole labels only.
    table: &'a [u8],
}

/// Decodes `bytes` into all of `out`; `block` is `[x, y, z]`.
///
/// Reads every arrangement that the format allows: tables and indices in any order, with gaps and
/// shared, wider indices than needed, 32 bits, and blocks of any size. Allocates nothing.
///
/// # Errors
/// [`Error::Argument`] for an empty output or a block whose voxels cannot be counted; [`Error::Format`] if the
/// bytes do not hold a chunk of this shape. `out` may then be partly written.
pub fn decode<T: Label>(bytes: &[u8], block: [usize; 3], out: &mut ViewMut<'_, T>) -> Result<()> {
    decode_with(Level::best(), bytes, block, out)
}

/// [`decode`] with the instructions of `level`, or the best level below it that the processor has.
///
/// # Errors
/// As [`decode`].
pub fn decode_with<T: Label>(level: Level, bytes: &[u8], block: [usize; 3], out: &mut ViewMut<'_, T>) -> Result<()> {
    if out.shape().contains(&0) {
        return Err(Error::Argument(format!("a chunk of shape {:?} (c, z, y, x) is empty", out.shape())));
    }
    // 32 bits for each voxel of a block must be countable.
    let countable = block.iter().try_fold(32usize, |product, &edge| product.checked_mul(edge)).is_some_and(|n| n > 0);
    if !countable {
        return Err(Error::Argument(format!("block size {block:?} (x, y, z) cannot be used")));
    }
    with_simd!(level, decode_chunk::<T>(bytes: &[u8], block: [usize; 3], out: &mut ViewMut<'_, T>) -> Result<()>)
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let at = 4 * index;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn decode_chunk<S: Simd, T: Label>(simd: S, bytes: &[u8], block: [usize; 3], out: &mut ViewMut<'_, T>) -> Result<()> {
    let channels = out.shape()[0];
    if !bytes.len().is_multiple_of(4) {
        return Err(Error::Format(format!(
            "the chunk has {} bytes, which is not a whole number of words",
            bytes.len()
        )));
    }
    let words = bytes.len() / 4;
    if words < channels {
        return Err(Error::Format(format!("the chunk ends in its table of {channels} channels, after {words} words")));
    }
    let mut previous = channels;
    for channel in 0..channels {
        let start = word(bytes, channel) as usize;
        if (channel == 0 && start != channels) || start < previous || start > words {
            return Err(Error::Format(format!(
                "channel {channel} of {channels} starts at word {start}, but the chunk has {words} words, the first channel \
                 follows the channel table and the others ascend"
            )));
        }
        previous = start;
        // A channel may refer to what follows it: readers let it run to the end of the chunk.
        let data = &bytes[4 * start..];
        if block == [8, 8, 8] {
            // Known edges let the compiler unroll the loops over rows.
            decode_channel(simd, data, channel, [8, 8, 8], out)?;
        } else {
            decode_channel(simd, data, channel, block, out)?;
        }
    }
    Ok(())
}

#[inline(always)]
fn decode_channel<S: Simd, T: Label>(
    simd: S,
    data: &[u8],
    channel: usize,
    size: [usize; 3],
    out: &mut ViewMut<'_, T>,
) -> Result<()> {
    let [_, depth, height, width] = out.shape();
    let grid = block_grid(out.shape(), size);
    let words = data.len() / 4;
    let blocks = grid[0].saturating_mul(grid[1]).saturating_mul(grid[2]);
    if blocks > words / 2 {
        return Err(Error::Format(format!(
            "channel {channel} has {words} words, too few for the headers of {blocks} blocks"
        )));
    }
    let mut headers = data.as_chunks::<8>().0.iter();
    for bz in 0..grid[2] {
        for by in 0..grid[1] {
            for bx in 0..grid[0] {
                let start = [bx * size[0], by * size[1], bz * size[2]];
                let extent =
                    [size[0].min(width - start[0]), size[1].min(height - start[1]), size[2].min(depth - start[2])];
                let header = headers.next().map_or(0, |header| u64::from_le_bytes(*header));
                let table = header as usize & 0xff_ffff;
                let bits = header as u32 >> 24;
                let fail =
                    |what: String| Error::Format(format!("block ({bx}, {by}, {bz}) of channel {channel}: {what}"));
                if !matches!(bits, 0 | 1 | 2 | 4 | 8 | 16 | 32) {
                    return Err(fail(format!("{bits} bits per index; allowed are 0, 1, 2, 4, 8, 16 and 32")));
                }
                if table + T::WORDS > words {
                    return Err(fail(format!("its table lies at word {table} of {words}")));
                }
                let length = (size.iter().product::<usize>() * bits as usize).div_ceil(32);
                let at = if bits == 0 { 0 } else { (header >> 32) as usize };
                if at + length > words {
                    return Err(fail(format!("its indices lie at word {at}, {length} words long, of {words}")));
                }
                let block = Block {
                    channel,
                    start,
                    extent,
                    size,
                    bits,
                    indices: &data[4 * at..4 * (at + length)],
                    table: &data[4 * table..],
                };
                let missing = if extent == size {
                    // The same with an extent that the compiler knows.
                    decode_block(simd, Block { extent: size, ..block }, out)
                } else {
                    decode_block(simd, block, out)
                };
                if let Some(index) = missing {
                    return Err(fail(format!(
                        "index {index} lies beyond the end of its table at word {table} of {words}"
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Decodes one block; returns an index that the table does not have, if there is one.
#[inline(always)]
fn decode_block<S: Simd, T: Label>(simd: S, block: Block<'_>, out: &mut ViewMut<'_, T>) -> Option<usize> {
    match block.bits {
        0 => {
            let label = T::read(&block.table[..4 * T::WORDS]);
            let Block { channel, start: [x, y, z], extent: [nx, ny, nz], .. } = block;
            for k in 0..nz {
                for j in 0..ny {
                    out.row_mut(channel, z + k, y + j)[x..x + nx].fill(label);
                }
            }
            None
        }
        1 if block.size[0].is_multiple_of(8) => decode_groups::<S, T, 1>(simd, block, out),
        2 if block.size[0].is_multiple_of(8) => decode_groups::<S, T, 2>(simd, block, out),
        4 if block.size[0].is_multiple_of(8) => decode_groups::<S, T, 4>(simd, block, out),
        _ => decode_voxels(block, out),
    }
}

/// Decodes eight voxels at a time, for rows of whole groups of eight and at most 16 labels.
#[inline(always)]
fn decode_groups<S: Simd, T: Label, const BITS: u32>(
    simd: S,
    block: Block<'_>,
    out: &mut ViewMut<'_, T>,
) -> Option<usize> {
    let size = 1usize << BITS;
    let mut entries = [T::default(); 16];
    let stored = block.table.chunks_exact(4 * T::WORDS).take(size);
    let present = stored.len();
    for (entry, label) in entries.iter_mut().zip(stored) {
        *entry = T::read(label);
    }
    if present < size {
        // The table is cut short by the end of the channel, which is legal if nobody misses the rest.
        let missing = find_missing(block, present);
        if missing.is_some() {
            return missing;
        }
    }
    for i in size..16 {
        entries[i] = entries[i - size];
    }
    let table = T::table(simd, &entries);
    let Block { channel, start: [x, y, z], extent: [nx, ny, nz], .. } = block;
    let bytes = BITS as usize;
    let row_bytes = block.size[0] / 8 * bytes;
    for k in 0..nz {
        for j in 0..ny {
            let packed = &block.indices[row_bytes * (j + block.size[1] * k)..][..row_bytes];
            let (groups, rest) = out.row_mut(channel, z + k, y + j)[x..x + nx].as_chunks_mut::<8>();
            let mut packed = packed.chunks_exact(bytes);
            for (group, packed) in groups.iter_mut().zip(packed.by_ref()) {
                T::look_up::<S, BITS>(simd, table, group_word(packed), group);
            }
            if let Some(packed) = packed.next()
                && !rest.is_empty()
            {
                let mut group = [T::default(); 8];
                T::look_up::<S, BITS>(simd, table, group_word(packed), &mut group);
                rest.copy_from_slice(&group[..rest.len()]);
            }
        }
    }
    None
}

/// The packed indices of eight voxels: one, two or four bytes.
#[inline(always)]
fn group_word(packed: &[u8]) -> u32 {
    match *packed {
        [a] => u32::from(a),
        [a, b] => u32::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// The index of the voxel at `position` in its block.
#[inline(always)]
fn index_at(block: Block<'_>, position: usize) -> usize {
    let bit = position * block.bits as usize;
    let word = word(block.indices, bit / 32);
    let mask = if block.bits == 32 { u32::MAX } else { (1 << block.bits) - 1 };
    (word >> (bit % 32) & mask) as usize
}

/// An index of an existing voxel that is not below `present`.
#[cold]
fn find_missing(block: Block<'_>, present: usize) -> Option<usize> {
    let [nx, ny, nz] = block.extent;
    let rows = (0..nz).flat_map(|k| (0..ny).map(move |j| block.size[0] * (j + block.size[1] * k)));
    rows.flat_map(|row| row..row + nx).map(|position| index_at(block, position)).find(|&index| index >= present)
}

/// Decodes voxel by voxel, for any block and any width.
fn decode_voxels<T: Label>(block: Block<'_>, out: &mut ViewMut<'_, T>) -> Option<usize> {
    let Block { channel, start: [x, y, z], extent: [nx, ny, nz], .. } = block;
    let size = 4 * T::WORDS;
    for k in 0..nz {
        for j in 0..ny {
            let position = block.size[0] * (j + block.size[1] * k);
            for (i, label) in out.row_mut(channel, z + k, y + j)[x..x + nx].iter_mut().enumerate() {
                let index = index_at(block, position + i);
                match index.checked_mul(size).and_then(|at| block.table.get(at..at.checked_add(size)?)) {
                    Some(bytes) => *label = T::read(bytes),
                    None => return Some(index),
                }
            }
        }
    }
    None
}
