//! Labels to bytes.

use super::label::Label;
use super::simd::{Level, Portable, Simd, prefetch, with_simd};
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

/// Voxels that are handled together: eight words of masks. A block of 8 x 8 x 8 is one strip.
const STRIP: usize = 512;

/// One bit for each voxel of a strip, in the order of the packed indices.
type Mask = [u64; STRIP / 64];

/// Which voxels of a block have which label.
#[derive(Default)]
struct Masks<T> {
    /// The block itself, as if it were whole, filled up to whole strips: the low halves of its labels.
    low: Vec<[u32; STRIP]>,
    /// The high halves, if the labels differ there.
    high: Vec<[u32; STRIP]>,
    /// Whether they do. Labels mostly do not, and then half of the comparisons suffice.
    wide: bool,
    /// What all high halves are if they do not differ.
    common_high: u32,
    /// The voxels that exist and whose label is not known yet.
    open: Vec<Mask>,
    /// For each label, in the order of their first voxels, where it is: as many masks as there are strips.
    equal: Vec<Mask>,
    labels: Vec<T>,
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

/// A strip as the rows of a block of 8 x 8 x 8.
#[inline(always)]
fn rows(strip: &mut [u32; STRIP]) -> &mut [[u32; 8]; 64] {
    let (rows, _) = strip.as_chunks_mut::<8>();
    rows.try_into().expect("a strip has 64 rows")
}

impl<T: Label> Masks<T> {
    /// Copies a whole block of 8 x 8 x 8 into consecutive memory, where comparisons need not heed its shape, unless all
    /// of its voxels are `label`, its first: then the result is true.
    #[inline(always)]
    fn stage_whole(&mut self, chunk: View<'_, T>, region: Region, label: T) -> bool {
        let Region { channel, start: [x, y, z], .. } = region;
        self.make_room(STRIP);
        let [_, step_z, step_y] = chunk.strides();
        let voxels = chunk.from_voxel([channel, z, y, x]);
        let differing = T::low_halves(voxels, [step_z, step_y], label, rows(&mut self.low[0]));
        if differing == [0, 0] {
            return true;
        }
        self.wide = differing[1] != 0;
        self.common_high = label.halves()[1];
        if self.wide {
            T::high_halves(voxels, [step_z, step_y], rows(&mut self.high[0]));
        }
        self.open[0] = [u64::MAX; STRIP / 64];
        false
    }

    /// Copies a block of any extent, whose rows would be groups of eight if it were whole.
    fn stage_part(&mut self, chunk: View<'_, T>, region: Region, block: [usize; 3]) {
        let Region { channel, start: [x, y, z], extent: [nx, ny, nz] } = region;
        self.make_room(block.iter().product());
        self.wide = T::WORDS == 2;
        self.common_high = 0;
        let (low, high) = (self.low.as_flattened_mut(), self.high.as_flattened_mut());
        let open = self.open.as_flattened_mut();
        open.fill(0);
        for k in 0..nz {
            for j in 0..ny {
                let at = block[0] * (j + block[1] * k);
                let row = &chunk.row(channel, z + k, y + j)[x..x + nx];
                for ((low, high), label) in low[at..].iter_mut().zip(&mut high[at..]).zip(row) {
                    [*low, *high] = label.halves();
                }
                for (i, n) in (0..nx).step_by(8).map(|i| (at + i, (nx - i).min(8))) {
                    open[i / 64] |= (0xff >> (8 - n)) << (i % 64);
                }
            }
        }
    }

    #[inline(always)]
    fn make_room(&mut self, voxels: usize) {
        let strips = voxels.div_ceil(STRIP);
        self.labels.clear();
        if self.low.len() != strips {
            self.low.resize(strips, [0; STRIP]);
            self.high.resize(strips, [0; STRIP]);
            self.open.resize(strips, Mask::default());
            self.equal.resize(FEW * strips, Mask::default());
        }
    }

    /// Finds the labels of the open voxels, and the mask of each. False if that makes more than [`FEW`]. Calls `ask`
    /// once for each label.
    #[inline(always)]
    fn find_labels<S: Simd>(&mut self, simd: S, mut ask: impl FnMut()) -> bool {
        let strips = self.low.len();
        let low = self.low.as_flattened().as_chunks::<64>().0;
        let high = self.high.as_flattened().as_chunks::<64>().0;
        let open = self.open.as_flattened_mut();
        let mut first = 0;
        loop {
            // The first open voxel has the next label.
            match open[first..].iter().position(|&word| word != 0) {
                Some(closed) => first += closed,
                None => return true,
            }
            if self.labels.len() == FEW {
                return false;
            }
            let voxel = open[first].trailing_zeros() as usize;
            let halves = [low[first][voxel], if self.wide { high[first][voxel] } else { self.common_high }];
            let equal = self.equal[self.labels.len() * strips..][..strips].as_flattened_mut();
            equal[..first].fill(0);
            ask();
            for word in first..low.len() {
                let mut mask = simd.equal_mask(&low[word], halves[0]);
                if self.wide {
                    mask &= simd.equal_mask(&high[word], halves[1]);
                }
                equal[word] = mask & open[word];
                open[word] &= !mask;
            }
            self.labels.push(T::join(halves));
        }
    }

    /// Sorts the labels and appends the packed index of each voxel to `out`, for whole strips.
    #[inline(always)]
    fn pack(&mut self, out: &mut Vec<u8>) {
        let strips = self.low.len();
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
        for (slot, (label, _)) in self.labels.iter_mut().zip(&*order) {
            *slot = *label;
        }
        for strip in 0..strips {
            // Bit b of the index of every voxel; index 0 needs no bits, and unused positions get none.
            let mut planes = [Mask::default(); 4];
            for (rank, (_, number)) in order.iter().enumerate().skip(1) {
                let equal = &self.equal[number * strips + strip];
                for (bit, plane) in planes.iter_mut().enumerate() {
                    let choice = 0u64.wrapping_sub((rank >> bit & 1) as u64);
                    for i in 0..plane.len() {
                        plane[i] |= equal[i] & choice;
                    }
                }
            }
            match bits_for(order.len()) {
                0 => {}
                1 => push_words(&planes[0], out),
                2 => push_words(&interleave2(&planes), out),
                _ => push_words(&interleave4(&planes), out),
            }
        }
    }
}

/// Appends little-endian words.
#[inline(always)]
fn push_words<const N: usize>(words: &[u64; N], out: &mut Vec<u8>) {
    let mut bytes = [[0; 8]; N];
    for i in 0..N {
        bytes[i] = words[i].to_le_bytes();
    }
    out.extend_from_slice(bytes.as_flattened());
}

/// Indices of two bits from their bit planes.
#[inline(always)]
fn interleave2(planes: &[Mask; 4]) -> [u64; STRIP / 32] {
    let mut out = [0; STRIP / 32];
    for i in 0..STRIP / 64 {
        for part in 0..2 {
            let bits = |p: usize| spread2(planes[p][i] >> (32 * part)) << p;
            out[2 * i + part] = bits(0) | bits(1);
        }
    }
    out
}

/// Indices of four bits from their bit planes.
#[inline(always)]
fn interleave4(planes: &[Mask; 4]) -> [u64; STRIP / 16] {
    let mut out = [0; STRIP / 16];
    for i in 0..STRIP / 64 {
        for part in 0..4 {
            let bits = |p: usize| spread4(planes[p][i] >> (16 * part)) << p;
            out[4 * i + part] = bits(0) | bits(1) | bits(2) | bits(3);
        }
    }
    out
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
