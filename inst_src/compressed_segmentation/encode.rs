//! Labels to bytes.

use super::label::Label;
use super::masks::{Masks, Region};
use super::simd::{Portable, Simd, with_simd};
use super::tables::{Numbering, TableIndex};
use super::{OFFSET_LIMIT, bits_for, block_grid, check_block, index_words};
use crate::simd::{Level, prefetch};
use crate::view::View;
use crate::{Error, Result};

/// Encodes chunks; holds the scratch memory that they need, so one serves many chunks of any size.
pub struct Encoder<T> {
    level: Level,
    tables: TableIndex,
    masks: Masks<T>,
    numbering: Numbering<T>,
    numbers: Vec<u16>,
    ranks: Vec<u16>,
    packed: Vec<u64>,
}

/// The channel that is being written.
struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where the channel starts in `bytes`.
    start: usize,
    /// The header of the next block.
    header: usize,
}

impl<T: Label> Default for Encoder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Label> Encoder<T> {
    /// An encoder for the best instructions that the processor has.
    #[must_use]
    pub fn new() -> Self {
        Self::with_level(Level::best())
    }

    /// An encoder for `level`, or the best level below it that the processor has. The bytes are the same for all.
    #[must_use]
    pub fn with_level(level: Level) -> Self {
        Encoder {
            level,
            tables: TableIndex::default(),
            masks: Masks::default(),
            numbering: Numbering::default(),
            numbers: Vec::new(),
            ranks: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Appends the encoded `chunk` to `out`; `block` is `[x, y, z]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty chunk, a zero block edge or a block of more than
    /// [`MAX_BLOCK_VOXELS`](super::MAX_BLOCK_VOXELS) voxels; [`Error::Limit`] if the labels are so many that an offset
    /// reaches [`OFFSET_LIMIT`]. `out` is then as it was.
    pub fn encode(&mut self, chunk: View<'_, T>, block: [usize; 3], out: &mut Vec<u8>) -> Result<()> {
        check_block(block)?;
        if chunk.shape().contains(&0) {
            return Err(Error::Argument(format!(
                "a chunk of shape {:?} (c, z, y, x) is empty and cannot be encoded",
                chunk.shape()
            )));
        }
        let before = out.len();
        let level = self.level;
        let (encoder, bytes) = (self, &mut *out);
        let result = with_simd!(level, encode_chunk::<T>(
            encoder: &mut Encoder<T>, chunk: View<'_, T>, block: [usize; 3], bytes: &mut Vec<u8>,
        ) -> Result<()>);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }
}

#[inline(always)]
fn encode_chunk<S: Simd, T: Label>(
    simd: S,
    encoder: &mut Encoder<T>,
    chunk: View<'_, T>,
    block: [usize; 3],
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let channels = chunk.shape()[0];
    let first = bytes.len();
    bytes.resize(first + 4 * channels, 0);
    for channel in 0..channels {
        let start = bytes.len();
        let word = u32::try_from((start - first) / 4).map_err(|_| {
            Error::Limit(format!(
                "channel {channel} would start beyond the 16 GiB that a chunk can address; use smaller chunks"
            ))
        })?;
        bytes[first + 4 * channel..][..4].copy_from_slice(&word.to_le_bytes());
        if block == [8, 8, 8] {
            // Known edges let the compiler unroll the loops over rows.
            encode_channel(simd, encoder, chunk, channel, [8, 8, 8], bytes)?;
        } else {
            encode_channel(simd, encoder, chunk, channel, block, bytes)?;
        }
    }
    Ok(())
}

#[inline(always)]
fn encode_channel<S: Simd, T: Label>(
    simd: S,
    encoder: &mut Encoder<T>,
    chunk: View<'_, T>,
    channel: usize,
    block: [usize; 3],
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let [_, depth, height, width] = chunk.shape();
    let grid = block_grid(chunk.shape(), block);
    let start = bytes.len();
    let headers = grid.iter().fold(1usize, |product, &n| product.saturating_mul(n));
    if headers >= OFFSET_LIMIT / 2 {
        return Err(limit(channel, 2 * headers));
    }
    bytes.resize(start + 8 * headers, 0);
    let mut out = Output { bytes, start, header: start };
    encoder.tables.clear();
    // Neighbouring uniform blocks mostly have the same label; this spares them the hash table.
    let mut last_uniform: Option<(T, u32)> = None;
    for bz in 0..grid[2] {
        for by in 0..grid[1] {
            // The rows of the next blocks are asked for while these blocks are encoded, in the order of memory: the
            // processor does not foresee so many strides by itself. A few at a time, so that the requests do not
            // fill its queues and hold up the work.
            let next = if by + 1 < grid[1] { [bz, by + 1] } else { [bz + 1, 0] };
            let [z, y] = [next[0] * block[2], next[1] * block[1]];
            let [nz, ny] = [block[2].min(depth.saturating_sub(z)), block[1].min(height - y)];
            let mut coming = (z..z + nz).flat_map(|z| (y..y + ny).map(move |y| (z, y)));
            let share = (nz * ny).div_ceil(grid[0]);
            for bx in 0..grid[0] {
                let mut due = share;
                let mut ask = |rows: usize| {
                    let rows = rows.min(due);
                    due -= rows;
                    for (z, y) in coming.by_ref().take(rows) {
                        prefetch(chunk.row(channel, z, y));
                    }
                };
                ask(share / 4);
                let origin = [bx * block[0], by * block[1], bz * block[2]];
                let extent = [
                    block[0].min(width - origin[0]),
                    block[1].min(height - origin[1]),
                    block[2].min(depth - origin[2]),
                ];
                let region = Region { channel, start: origin, extent };
                let few = if !block[0].is_multiple_of(8) {
                    false
                } else if block == [8, 8, 8] && extent[0].min(extent[1]).min(extent[2]) == 8 {
                    let label = chunk.row(channel, origin[2], origin[1])[origin[0]];
                    let uniform = encoder.masks.stage_whole(chunk, region, label);
                    ask(share / 4);
                    if uniform {
                        ask(share);
                        let end = out.end();
                        let table = match last_uniform {
                            Some((known, table)) if known == label => table,
                            _ => out.table(&mut encoder.tables, &[label]),
                        };
                        last_uniform = Some((label, table));
                        out.header(channel, 0, table, end)?;
                        continue;
                    }
                    encoder.masks.find_labels(simd, || ask(share / 8))
                } else {
                    encoder.masks.stage_part(chunk, region, block);
                    encoder.masks.find_labels(simd, || ask(share / 8))
                };
                ask(share);
                if few {
                    let indices = out.bytes.len();
                    encoder.masks.pack(out.bytes);
                    out.finish_block(channel, block, indices, &encoder.masks.labels, &mut encoder.tables)?;
                } else {
                    encoder.number_voxels(chunk, region, block, &mut out)?;
                }
            }
        }
    }
    Ok(())
}

impl<T: Label> Encoder<T> {
    /// Encodes a block of any shape and any number of labels.
    fn number_voxels(
        &mut self,
        chunk: View<'_, T>,
        region: Region,
        block: [usize; 3],
        out: &mut Output<'_>,
    ) -> Result<()> {
        let Region { channel, start: [x, y, z], extent: [nx, ny, nz] } = region;
        self.numbering.clear(nx * ny * nz);
        self.numbers.clear();
        let mut last = chunk.row(channel, z, y)[x];
        let mut number = self.numbering.number(last) as u16;
        for k in 0..nz {
            for j in 0..ny {
                for &label in &chunk.row(channel, z + k, y + j)[x..x + nx] {
                    if label != last {
                        last = label;
                        // A block has at most 2^16 voxels, so numbers fit.
                        number = self.numbering.number(label) as u16;
                    }
                    self.numbers.push(number);
                }
            }
        }
        let labels = &mut self.numbering.labels;
        labels.sort_unstable();
        self.ranks.resize(labels.len(), 0);
        self.masks.labels.clear();
        for (rank, &(label, number)) in labels.iter().enumerate() {
            self.ranks[number as usize] = rank as u16;
            self.masks.labels.push(label);
        }
        let bits = bits_for(labels.len()) as usize;
        self.packed.clear();
        self.packed.resize((block.iter().product::<usize>() * bits).div_ceil(64), 0);
        if bits > 0 {
            let mut numbers = self.numbers.iter();
            for k in 0..nz {
                for j in 0..ny {
                    let position = block[0] * (j + block[1] * k);
                    for (p, &number) in (position..position + nx).zip(numbers.by_ref()) {
                        self.packed[p * bits / 64] |= u64::from(self.ranks[number as usize]) << (p * bits % 64);
                    }
                }
            }
        }
        let indices = out.bytes.len();
        out.bytes.extend(self.packed.iter().flat_map(|word| word.to_le_bytes()));
        out.finish_block(channel, block, indices, &self.masks.labels, &mut self.tables)
    }
}

impl Output<'_> {
    /// Words written since the start of the channel.
    #[inline(always)]
    fn end(&self) -> usize {
        (self.bytes.len() - self.start) / 4
    }

    /// Completes a block whose indices are the bytes from `indices` on, possibly with too many zeros at the end.
    #[inline(always)]
    fn finish_block<T: Label>(
        &mut self,
        channel: usize,
        block: [usize; 3],
        indices: usize,
        labels: &[T],
        tables: &mut TableIndex,
    ) -> Result<()> {
        let bits = bits_for(labels.len());
        self.bytes.truncate(indices + 4 * index_words(block.iter().product(), bits));
        let table = self.table(tables, labels);
        self.header(channel, bits, table, (indices - self.start) / 4)
    }

    /// Offset of the table of `labels`, which is appended if the channel does not have it yet.
    #[inline(always)]
    fn table<T: Label>(&mut self, tables: &mut TableIndex, labels: &[T]) -> u32 {
        // The end may lie beyond the limit only for the block whose header then fails.
        let end = self.end() as u32;
        let table = tables.find_or_insert(labels, &self.bytes[self.start..], end);
        if table == end {
            labels.iter().for_each(|label| label.push(self.bytes));
        }
        table
    }

    #[inline(always)]
    fn header(&mut self, channel: usize, bits: u32, table: u32, indices: usize) -> Result<()> {
        let furthest = indices.max(table as usize);
        if furthest >= OFFSET_LIMIT {
            return Err(limit(channel, furthest));
        }
        let header = &mut self.bytes[self.header..self.header + 8];
        header[..4].copy_from_slice(&(table | bits << 24).to_le_bytes());
        header[4..].copy_from_slice(&(indices as u32).to_le_bytes());
        self.header += 8;
        Ok(())
    }
}

#[cold]
fn limit(channel: usize, words: usize) -> Error {
    Error::Limit(format!(
        "channel {channel} of the chunk needs an offset of {words} words, but the format has 24 bits for it (at most {}); \
         use a smaller chunk size",
        OFFSET_LIMIT - 1
    ))
}
