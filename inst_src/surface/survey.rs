//! The first walk over a block: what is where, and how much of it.

use super::cases::Case;
use super::dense::{Dense, Numbers};
use super::{Block, Select, Stop};
use crate::label_table::Label;
use crate::versions;

/// Extents of a block with a layer of background on every closed side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    pub width: usize,
    pub rows: usize,
    pub depth: usize,
    /// Words of bits in a row.
    pub words: usize,
    /// Layers of background on the low sides of x, y, z.
    pub pads: [usize; 3],
}

impl Extent {
    fn of<T>(block: &Block<'_, T>) -> Extent {
        let [_, nz, ny, nx] = block.labels.shape();
        let pads = block.closed.map(|sides| sides.map(usize::from));
        let [width, rows, depth] = std::array::from_fn(|axis| [nx, ny, nz][axis] + pads[axis][0] + pads[axis][1]);
        Extent { width, rows, depth, words: width.div_ceil(64), pads: pads.map(|sides| sides[0]) }
    }

    /// Index of a row.
    #[inline(always)]
    pub fn row(&self, z: usize, y: usize) -> usize {
        z * self.rows + y
    }

    /// The bits of a word that lie below `end` in the row.
    #[inline(always)]
    fn below(word: usize, end: usize) -> u64 {
        match end - 64 * word {
            left if left < 64 => (1 << left) - 1,
            _ => u64::MAX,
        }
    }
}

/// Along which axis an edge runs from its voxel; those along y and z run towards lower coordinates.
pub const AXES: usize = 3;

/// What the first walk leaves.
#[derive(Debug, Default)]
pub struct Survey<D> {
    pub extent: Extent,
    /// The numbers of all voxels, row by row, and some more to read words beyond the end.
    pub numbers: Vec<D>,
    /// For every row its words for x, y, z: bit `x` is set where the two ends of the edge differ.
    pub masks: Vec<u64>,
    /// One surface in one cell: see [`group`]. In the order of rows, then of x.
    pub groups: Vec<u64>,
    /// For every row the end of its groups.
    pub ends: Vec<usize>,
}

/// What each object has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub vertices: usize,
    pub faces: usize,
}

/// Most bits of a cell's x.
const X_BITS: u32 = 27;
/// The widest block.
pub const MOST_WIDE: usize = 1 << X_BITS;

/// A surface in a cell: its case, the cell's x, the number of its label.
#[inline(always)]
fn group(case: u8, x: usize, number: usize) -> u64 {
    u64::from(case) | (x as u64) << 8 | (number as u64) << (8 + X_BITS)
}

/// The case, the cell's x, and the number of the label.
#[inline(always)]
pub fn ungroup(group: u64) -> (u8, usize, usize) {
    (group as u8, (group >> 8) as usize & (MOST_WIDE - 1), (group >> (8 + X_BITS)) as usize)
}

versions! {
    /// Numbers the labels of a block and counts the vertices and triangles of each.
    pub fn survey [T: Label, D: Dense] [T, D] (
        block: &Block<'_, T>,
        select: &Select<'_>,
        cases: &[Case; 256],
        numbers: &mut Numbers,
        counts: &mut Vec<Count>,
        survey: &mut Survey<D>,
    ) -> Result<(), Stop> {
        walk(block, select, cases, numbers, counts, survey)
    }
}

#[inline(always)]
fn walk<T: Label, D: Dense>(
    block: &Block<'_, T>,
    select: &Select<'_>,
    cases: &[Case; 256],
    numbers: &mut Numbers,
    counts: &mut Vec<Count>,
    survey: &mut Survey<D>,
) -> Result<(), Stop> {
    numbers.reset();
    counts.clear();
    counts.push(Count::default());
    survey.groups.clear();
    survey.ends.clear();
    survey.extent = Extent::of(block);
    let Extent { width, rows, depth, words, pads } = survey.extent;
    let [_, nz, ny, nx] = block.labels.shape();
    if nx * ny * nz == 0 || width == 1 || rows == 1 || depth == 1 {
        // No cells: vertices would have no triangles.
        survey.extent = Extent::default();
        return Ok(());
    }
    survey.masks.resize(depth * rows * AXES * words, 0);
    // Only rows that hold voxels are written below, so the padding must be cleared of the block before.
    survey.numbers.clear();
    survey.numbers.resize(depth * rows * width + 65, D::default());
    for z in 0..depth {
        if let Some(voxel_z) = z.checked_sub(pads[2]).filter(|&z| z < nz) {
            survey.number(block, voxel_z, numbers, select)?;
        }
        counts.resize(numbers.labels().len(), Count::default());
        for y in 0..rows {
            survey.edges(z, y, counts);
            if y > 0 && z > 0 {
                survey.cells(z, y, cases, counts);
            }
            survey.ends.push(survey.groups.len());
        }
    }
    if counts.iter().skip(1).any(|count| u32::try_from(count.vertices).is_err()) {
        return Err(Stop::Vertices);
    }
    Ok(())
}

impl<D: Dense> Survey<D> {
    /// The numbers from the first voxel of a row on, to the end of its last word and one further.
    #[inline(always)]
    pub fn row(&self, z: usize, y: usize) -> &[D] {
        &self.numbers[self.extent.row(z, y) * self.extent.width..][..64 * self.extent.words + 1]
    }

    /// The words of a row for an axis.
    #[inline(always)]
    pub fn mask(&self, z: usize, y: usize, axis: usize) -> &[u64] {
        let words = self.extent.words;
        &self.masks[(self.extent.row(z, y) * AXES + axis) * words..][..words]
    }

    /// Numbers the voxels of a plane.
    #[inline(always)]
    fn number<T: Label>(
        &mut self,
        block: &Block<'_, T>,
        z: usize,
        numbers: &mut Numbers,
        select: &Select<'_>,
    ) -> Result<(), Stop> {
        let [_, _, height, width] = block.labels.shape();
        let Extent { pads, .. } = self.extent;
        let place = |z: usize, y: usize| self.extent.row(z + pads[2], y + pads[1]) * self.extent.width + pads[0];
        for y in 0..height {
            let row = block.labels.row(0, z, y);
            let (done, rest) = self.numbers.split_at_mut(place(z, y));
            let out = &mut rest[..width];
            let above = match (y, z) {
                (0, 0) => {
                    numbers.first_row(row, out, select)?;
                    continue;
                }
                (0, _) => (z - 1, 0),
                _ => (z, y - 1),
            };
            let known = &done[place(above.0, above.1)..][..width];
            numbers.row(row, (block.labels.row(0, above.0, above.1), known), out, select)?;
        }
        Ok(())
    }

    /// Finds the edges of a row that have two different ends, and counts their vertices: one for either end.
    #[inline(always)]
    fn edges(&mut self, z: usize, y: usize, counts: &mut [Count]) {
        let Extent { width, words, .. } = self.extent;
        let mut masks = std::mem::take(&mut self.masks);
        let row = self.row(z, y);
        // The first row and plane have no neighbour: compared with themselves they have no edges.
        let neighbours = [
            (row, &row[1..], width - 1),
            (self.row(z, y.saturating_sub(1)), row, width),
            (self.row(z.saturating_sub(1), y), row, width),
        ];
        for (axis, (low, high, end)) in neighbours.into_iter().enumerate() {
            let masks = &mut masks[(self.extent.row(z, y) * AXES + axis) * words..][..words];
            let blocks = low.as_chunks::<64>().0.iter().zip(high.as_chunks::<64>().0);
            for (word, (mask, (low, high))) in masks.iter_mut().zip(blocks).enumerate() {
                let mut bits = D::differ(low, high) & Extent::below(word, end);
                *mask = bits;
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize & 63;
                    bits &= bits - 1;
                    counts[low[bit].index()].vertices += 1;
                    counts[high[bit].index()].vertices += 1;
                }
            }
        }
        self.masks = masks;
    }

    /// Finds the surfaces in the cells before a row, in y and in z, and counts their triangles.
    #[inline(always)]
    fn cells(&mut self, z: usize, y: usize, cases: &[Case; 256], counts: &mut [Count]) {
        let mut groups = std::mem::take(&mut self.groups);
        // A cell whose four rows are equal at its low x, and each to its neighbour there, is uniform.
        let masks = [
            self.mask(z - 1, y - 1, 0),
            self.mask(z - 1, y, 0),
            self.mask(z, y - 1, 0),
            self.mask(z, y, 0),
            self.mask(z - 1, y, 1),
            self.mask(z, y, 1),
            self.mask(z, y - 1, 2),
        ];
        let rows = [self.row(z - 1, y - 1), self.row(z - 1, y), self.row(z, y - 1), self.row(z, y)];
        for word in 0..self.extent.words {
            let mut bits =
                masks.iter().fold(0, |bits, mask| bits | mask[word]) & Extent::below(word, self.extent.width - 1);
            if bits == 0 {
                continue;
            }
            let rows: [&[D; 65]; 4] =
                std::array::from_fn(|i| rows[i][64 * word..].first_chunk().expect("rows reach one further"));
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize & 63;
                bits &= bits - 1;
                let cell = std::array::from_fn(|corner| rows[corner / 2][bit + corner % 2]);
                let mut left = !D::default().corners(&cell);
                while left != 0 {
                    let number = cell[left.trailing_zeros() as usize & 7];
                    let inside = number.corners(&cell);
                    left &= !inside;
                    counts[number.index()].faces += usize::from(cases[usize::from(inside)].triangles);
                    groups.push(group(inside, 64 * word + bit, number.index()));
                }
            }
        }
        self.groups = groups;
    }
}
