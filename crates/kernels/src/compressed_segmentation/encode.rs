//! Labels to bytes.

use super::label::Label;
use super::simd::{Level, Portable, Simd, with_simd};
use super::tables::{Numbering, TableIndex};
use super::{OFFSET_LIMIT, bits_for, block_grid, check_block, index_words};
use crate::view::View;
use crate::{Error, Result};

/// Blocks with more labels than this are numbered voxel by voxel.
const FEW: usize = 16;

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

/// Which voxels of a block have which label, 64 voxels to a word, in the order of the packed indices.
#[derive(Default)]
struct Masks<T> {
    /// The block itself, as if it were whole.
    voxels: Vec<[T; 64]>,
    /// The voxels that exist and whose label is not known yet.
    open: Vec<u64>,
    /// One mask for each label in the order of their first voxels.
    equal: Vec<u64>,
    labels: Vec<T>,
    planes: Vec<u64>,
}

/// A block of a chunk: where it starts and how much of it exists, both `[x, y, z]`.
#[derive(Clone, Copy)]
struct Region {
    channel: usize,
    start: [usize; 3],
    extent: [usize; 3],
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
            Error::Limit(format!("channel {channel} would start beyond the 16 GiB that a chunk can address; use smaller chunks"))
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
    let headers = grid.iter().product::<usize>();
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
            for bx in 0..grid[0] {
                let origin = [bx * block[0], by * block[1], bz * block[2]];
                let extent = [
                    block[0].min(width - origin[0]),
                    block[1].min(height - origin[1]),
                    block[2].min(depth - origin[2]),
                ];
                let region = Region { channel, start: origin, extent };
                let label = chunk.row(channel, origin[2], origin[1])[origin[0]];
                if extent == block && block[0].is_multiple_of(8) && is_uniform(chunk, Region { extent: block, ..region }, label) {
                    let end = out.end();
                    let table = match last_uniform {
                        Some((known, table)) if known == label => table,
                        _ => out.table(&mut encoder.tables, &[label]),
                    };
                    last_uniform = Some((label, table));
                    out.header(channel, 0, table, end)?;
                    continue;
                }
                let few = block[0].is_multiple_of(8)
                    && encoder.masks.find_labels(simd, chunk, region, block);
                if few {
                    encoder.masks.pack(&mut encoder.packed);
                    out.block(channel, block, &encoder.packed, &encoder.masks.labels, &mut encoder.tables)?;
                } else {
                    encoder.number_voxels(chunk, region, block, &mut out)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether all voxels of a whole block, whose rows are groups of eight, are `label`.
#[inline(always)]
fn is_uniform<T: Label>(chunk: View<'_, T>, region: Region, label: T) -> bool {
    let Region { channel, start: [x, y, z], extent: [nx, ny, nz] } = region;
    for k in 0..nz {
        // One test for each plane: early enough for blocks of several labels, rare enough for the others.
        let mut differing = [T::default(); 8];
        for j in 0..ny {
            for group in chunk.row(channel, z + k, y + j)[x..x + nx].as_chunks::<8>().0 {
                T::compare(group, label, &mut differing);
            }
        }
        if differing != [T::default(); 8] {
            return false;
        }
    }
    true
}

impl<T: Label> Masks<T> {
    /// Finds the labels of a block whose rows are groups of eight, and the mask of each. False if they are not [`FEW`].
    #[inline(always)]
    fn find_labels<S: Simd>(&mut self, simd: S, chunk: View<'_, T>, region: Region, block: [usize; 3]) -> bool {
        self.stage(chunk, region, block);
        let words = self.voxels.len();
        if self.equal.len() < FEW * words {
            self.equal.resize(FEW * words, 0);
        }
        self.labels.clear();
        let mut first = 0;
        loop {
            while self.open[first] == 0 {
                first += 1;
                if first == words {
                    return true;
                }
            }
            if self.labels.len() == FEW {
                return false;
            }
            let label = self.voxels[first][self.open[first].trailing_zeros() as usize];
            let equal = &mut self.equal[self.labels.len() * words..][..words];
            equal[..first].fill(0);
            for ((voxels, open), equal) in self.voxels.iter().zip(&mut self.open).zip(equal).skip(first) {
                let mask = T::equal_mask(simd, voxels, label);
                *equal = mask & *open;
                *open &= !mask;
            }
            self.labels.push(label);
        }
    }

    /// Copies a block into consecutive memory, where comparisons need not heed its shape.
    #[inline(always)]
    fn stage(&mut self, chunk: View<'_, T>, region: Region, block: [usize; 3]) {
        let Region { channel, start: [x, y, z], extent: [nx, ny, nz] } = region;
        let voxels = block.iter().product::<usize>();
        let words = voxels.div_ceil(64);
        self.voxels.resize(words, [T::default(); 64]);
        self.open.resize(words, 0);
        let whole = region.extent == block && voxels.is_multiple_of(64);
        self.open.fill(if whole { u64::MAX } else { 0 });
        let groups = self.voxels.as_flattened_mut().as_chunks_mut::<8>().0;
        for k in 0..nz {
            for j in 0..ny {
                let row = &chunk.row(channel, z + k, y + j)[x..x + nx];
                let at = block[0] / 8 * (j + block[1] * k);
                let (full, rest) = row.as_chunks::<8>();
                groups[at..at + full.len()].copy_from_slice(full);
                if !whole {
                    groups[at + full.len()..].iter_mut().take(1).for_each(|group| group[..rest.len()].copy_from_slice(rest));
                    for (i, n) in (0..nx).step_by(8).map(|i| (at + i / 8, (nx - i).min(8))) {
                        self.open[i / 8] |= (0xff >> (8 - n)) << (8 * (i % 8));
                    }
                }
            }
        }
    }

    /// Sorts the labels and packs the index of each voxel into `packed`.
    #[inline(always)]
    fn pack(&mut self, packed: &mut Vec<u64>) {
        let words = self.voxels.len();
        let bits = bits_for(self.labels.len()) as usize;
        let mut order = [(T::default(), 0usize); FEW];
        let order = &mut order[..self.labels.len()];
        for (slot, (number, &label)) in order.iter_mut().zip(self.labels.iter().enumerate()) {
            *slot = (label, number);
        }
        for i in 1..order.len() {
            let mut j = i;
            while j > 0 && order[j].0 < order[j - 1].0 {
                order.swap(j, j - 1);
                j -= 1;
            }
        }
        self.planes.clear();
        self.planes.resize(bits * words, 0);
        for (rank, &(label, number)) in order.iter().enumerate() {
            self.labels[rank] = label;
            let equal = &self.equal[number * words..][..words];
            for (bit, plane) in self.planes.chunks_exact_mut(words).enumerate() {
                if rank >> bit & 1 == 1 {
                    plane.iter_mut().zip(equal).for_each(|(plane, equal)| *plane |= equal);
                }
            }
        }
        packed.clear();
        packed.resize(bits * words, 0);
        match bits {
            1 => packed.copy_from_slice(&self.planes),
            2 => {
                let (p0, p1) = self.planes.split_at(words);
                for (out, (a, b)) in packed.as_chunks_mut::<2>().0.iter_mut().zip(p0.iter().zip(p1)) {
                    *out = [spread2(*a) | spread2(*b) << 1, spread2(a >> 32) | spread2(b >> 32) << 1];
                }
            }
            4 => {
                let planes = &self.planes;
                for (i, out) in packed.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let plane = |p: usize, q: usize| spread4(planes[p * words + i] >> (16 * q)) << p;
                    for (q, out) in out.iter_mut().enumerate() {
                        *out = plane(0, q) | plane(1, q) | plane(2, q) | plane(3, q);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The low 32 bits, with one zero bit above each.
#[inline(always)]
fn spread2(bits: u64) -> u64 {
    let mut x = bits & 0xffff_ffff;
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// The low 16 bits, with three zero bits above each.
#[inline(always)]
fn spread4(bits: u64) -> u64 {
    let mut x = bits & 0xffff;
    x = (x | x << 24) & 0x0000_00ff_0000_00ff;
    x = (x | x << 12) & 0x000f_000f_000f_000f;
    x = (x | x << 6) & 0x0303_0303_0303_0303;
    (x | x << 3) & 0x1111_1111_1111_1111
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
        out.block(channel, block, &self.packed, &self.masks.labels, &mut self.tables)
    }
}

impl Output<'_> {
    /// Words written since the start of the channel.
    #[inline(always)]
    fn end(&self) -> usize {
        (self.bytes.len() - self.start) / 4
    }

    /// Appends the indices and, unless the channel has it, the table of a block, and fills its header.
    #[inline(always)]
    fn block<T: Label>(
        &mut self,
        channel: usize,
        block: [usize; 3],
        packed: &[u64],
        labels: &[T],
        tables: &mut TableIndex,
    ) -> Result<()> {
        let bits = bits_for(labels.len());
        let indices = self.end();
        let at = self.bytes.len();
        self.bytes.resize(at + 4 * index_words(block.iter().product(), bits), 0);
        for (bytes, word) in self.bytes[at..].chunks_mut(8).zip(packed) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
        let table = self.table(tables, labels);
        self.header(channel, bits, table, indices)
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
