//! The first walk over a block: what is where, and how much of it.

use super::cases::Case;
use super::dense::{Dense, Numbers};
use super::{Block, Select, Stop};
use crate::label_table::Label;
use crate::versions;

/// Rows of a strip. Blocks are walked strip by strip, each through all its planes, so that what two planes of it need
/// stays in the nearer caches. A power of two.
pub const STRIP: usize = 32;

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

    /// Index of a row in the order of the walk.
    #[inline(always)]
    fn row(&self, z: usize, y: usize) -> usize {
        let first = y & !(STRIP - 1);
        first * self.depth + z * STRIP.min(self.rows - first) + (y - first)
    }

    /// The rows of all strips.
    pub fn strips(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let rows = self.rows;
        (0..rows).step_by(STRIP).map(move |first| first..(first + STRIP).min(rows))
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
    planes: Planes<D>,
    /// For every row, in the order of the walk, its words for x, y, z: bit `x` is set where the two ends of the edge
    /// differ.
    masks: Vec<u64>,
    /// The numbers at the low and the high end of these edges, in the order of the walk, axis by axis.
    pub ends: Vec<[D; 2]>,
    /// The surfaces in the cells, in the order of the walk.
    pub groups: Vec<Group<D>>,
    /// For every row, in the order of the walk, the end of its groups.
    pub group_ends: Vec<usize>,
}

/// One surface in one cell.
#[derive(Debug, Clone, Copy)]
pub struct Group<D> {
    /// The number of the label.
    pub number: D,
    /// Which corners are inside: none if it is there for its step only.
    pub case: u8,
    /// How much further in the row the cell is than that of the group before; the first counts from the row's start.
    pub step: u8,
}

/// Cases in which neither the inside nor the outside falls into parts that do not share an edge of the cell.
const CONNECTED: [bool; 256] = {
    let mut connected = [false; 256];
    let mut case = 0;
    while case < 256 {
        connected[case] = is_connected(case) && is_connected(255 - case);
        case += 1;
    }
    connected
};

const fn is_connected(corners: usize) -> bool {
    let mut reached = corners & corners.wrapping_neg();
    let mut steps = 0;
    while steps < 8 {
        // Along x, y and z, to either side.
        let along_x = (reached & 0x55) << 1 | (reached & 0xaa) >> 1;
        let along_y = (reached & 0x33) << 2 | (reached & 0xcc) >> 2;
        let along_z = (reached & 0x0f) << 4 | (reached & 0xf0) >> 4;
        reached |= (along_x | along_y | along_z) & corners;
        steps += 1;
    }
    reached == corners
}

/// What each object has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub vertices: usize,
    pub faces: usize,
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
    survey.ends.clear();
    survey.groups.clear();
    survey.group_ends.clear();
    let extent = Extent::of(block);
    let Extent { width, rows, depth, words, .. } = extent;
    let [_, nz, ny, nx] = block.labels.shape();
    if nx * ny * nz == 0 || width == 1 || rows == 1 || depth == 1 {
        // No cells: vertices would have no triangles.
        survey.extent = Extent::default();
        return Ok(());
    }
    survey.extent = extent;
    survey.masks.resize(depth * rows * AXES * words, 0);
    survey.planes.reset(extent);
    let triangles: [u8; 256] = std::array::from_fn(|case| cases[case].triangles);
    for strip in extent.strips() {
        for z in 0..depth {
            survey.planes.number(block, extent, z, strip.clone(), numbers, select)?;
            counts.resize(numbers.labels().len(), Count::default());
            for y in strip.clone() {
                survey.edges(z, y, counts);
                if y > 0 && z > 0 {
                    survey.cells(z, y, &triangles, counts);
                }
                survey.group_ends.push(survey.groups.len());
            }
        }
    }
    if counts.iter().skip(1).any(|count| u32::try_from(count.vertices).is_err()) {
        return Err(Stop::Vertices);
    }
    Ok(())
}

/// The numbers of the voxels of two planes of a strip, and of the row before it.
#[derive(Debug, Default)]
struct Planes<D> {
    stride: usize,
    /// How many are read from the first voxel of a row on: to the end of its last word and one further.
    reach: usize,
    numbers: Vec<D>,
}

impl<D: Dense> Planes<D> {
    fn reset(&mut self, extent: Extent) {
        self.reach = 64 * extent.words + 1;
        // Rows begin at whole registers.
        self.stride = self.reach.next_multiple_of(16);
        // Only where there are voxels is written below, so the background around them is cleared here.
        self.numbers.clear();
        self.numbers.resize(2 * (STRIP + 1) * self.stride, D::default());
    }

    /// Where a row of the strip, or the last of the strip before, begins; so do the rows of the strips before and
    /// after, which are not there at the same time.
    #[inline(always)]
    fn first(&self, z: usize, y: usize, strip_first: usize) -> usize {
        ((z & 1) * (STRIP + 1) + (y + 1 - strip_first)) * self.stride
    }

    #[inline(always)]
    fn row(&self, z: usize, y: usize, strip_first: usize) -> &[D] {
        &self.numbers[self.first(z, y, strip_first)..][..self.reach]
    }

    /// Numbers the voxels of a plane of a strip.
    #[inline(always)]
    fn number<T: Label>(
        &mut self,
        block: &Block<'_, T>,
        extent: Extent,
        z: usize,
        strip: std::ops::Range<usize>,
        numbers: &mut Numbers,
        select: &Select<'_>,
    ) -> Result<(), Stop> {
        let [_, nz, ny, nx] = block.labels.shape();
        let [left, top, front] = extent.pads;
        let voxel = |at: usize, pad: usize, size: usize| at.checked_sub(pad).filter(|&at| at < size);
        for y in strip.start.saturating_sub(1)..strip.end {
            let first = self.first(z, y, strip.start) + left;
            let (Some(voxel_z), Some(voxel_y)) = (voxel(z, front, nz), voxel(y, top, ny)) else {
                self.numbers[first..][..nx].fill(D::default());
                continue;
            };
            let row = block.labels.row(0, voxel_z, voxel_y);
            // The row above, or the one before where that belongs to another strip.
            let known = if voxel_y > 0 && y >= strip.start {
                Some((self.first(z, y - 1, strip.start), block.labels.row(0, voxel_z, voxel_y - 1)))
            } else if voxel_z > 0 {
                Some((self.first(z - 1, y, strip.start), block.labels.row(0, voxel_z - 1, voxel_y)))
            } else {
                None
            };
            let Some((known_first, known_row)) = known else {
                numbers.first_row(row, &mut self.numbers[first..][..nx], select)?;
                continue;
            };
            let known_first = known_first + left;
            let [known, out] = self
                .numbers
                .get_disjoint_mut([known_first..known_first + nx, first..first + nx])
                .expect("two rows of the planes");
            numbers.row(row, (known_row, known), out, select)?;
        }
        Ok(())
    }
}

/// Eight words of which the same bit is wanted.
#[cfg(target_arch = "x86_64")]
struct Columns([std::arch::x86_64::__m128i; 4]);

#[cfg(target_arch = "x86_64")]
impl Columns {
    #[inline(always)]
    fn new(words: [u64; 8]) -> Columns {
        let pairs = words.as_chunks::<2>().0;
        // SAFETY: SSE2 is part of x86-64.
        Columns(std::array::from_fn(|i| unsafe {
            std::arch::x86_64::_mm_set_epi64x(pairs[i][1] as i64, pairs[i][0] as i64)
        }))
    }

    /// The bit of all words, that of the first lowest.
    #[inline(always)]
    fn get(&self, bit: usize) -> u8 {
        use std::arch::x86_64::{_mm_castsi128_ps, _mm_cvtsi32_si128, _mm_movemask_ps, _mm_shuffle_ps, _mm_sll_epi64};
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            // The bit is moved to the sign.
            let by = _mm_cvtsi32_si128(63 - bit as i32);
            let [a, b, c, d] = self.0.map(|pair| _mm_castsi128_ps(_mm_sll_epi64(pair, by)));
            let (low, high) = (_mm_shuffle_ps::<0xdd>(a, b), _mm_shuffle_ps::<0xdd>(c, d));
            (_mm_movemask_ps(low) | _mm_movemask_ps(high) << 4) as u8
        }
    }
}

/// Eight words of which the same bit is wanted.
#[cfg(not(target_arch = "x86_64"))]
struct Columns([u64; 8]);

#[cfg(not(target_arch = "x86_64"))]
impl Columns {
    fn new(words: [u64; 8]) -> Columns {
        Columns(words)
    }

    /// The bit of all words, that of the first lowest.
    #[inline(always)]
    fn get(&self, bit: usize) -> u8 {
        self.0.iter().enumerate().fold(0, |bits, (i, word)| bits | ((word >> bit & 1) as u8) << i)
    }
}

impl<D: Dense> Survey<D> {
    /// How much memory it has.
    pub fn bytes(&self) -> usize {
        self.planes.numbers.capacity() * size_of::<D>()
            + self.masks.capacity() * size_of::<u64>()
            + self.ends.capacity() * size_of::<[D; 2]>()
            + self.groups.capacity() * size_of::<Group<D>>()
            + self.group_ends.capacity() * size_of::<usize>()
    }

    /// The words of a row for an axis.
    #[inline(always)]
    pub fn mask(&self, z: usize, y: usize, axis: usize) -> &[u64] {
        let words = self.extent.words;
        &self.masks[(self.extent.row(z, y) * AXES + axis) * words..][..words]
    }

    /// Finds the edges of a row that have two different ends, and counts their vertices: one for either end.
    #[inline(always)]
    fn edges(&mut self, z: usize, y: usize, counts: &mut [Count]) {
        let Extent { width, words, .. } = self.extent;
        let strip = y & !(STRIP - 1);
        let row = self.planes.row(z, y, strip);
        // The first row and plane have no neighbour: compared with themselves they have no edges.
        let neighbours = [
            (row, &row[1..], width - 1),
            (if y > 0 { self.planes.row(z, y - 1, strip) } else { row }, row, width),
            (if z > 0 { self.planes.row(z - 1, y, strip) } else { row }, row, width),
        ];
        for (axis, (low, high, end)) in neighbours.into_iter().enumerate() {
            let masks = &mut self.masks[(self.extent.row(z, y) * AXES + axis) * words..][..words];
            let blocks = low.as_chunks::<64>().0.iter().zip(high.as_chunks::<64>().0);
            for (word, (mask, (low, high))) in masks.iter_mut().zip(blocks).enumerate() {
                let mut bits = D::differ(low, high) & Extent::below(word, end);
                *mask = bits;
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize & 63;
                    bits &= bits - 1;
                    let ends = [low[bit], high[bit]];
                    self.ends.push(ends);
                    for number in ends {
                        counts[number.index()].vertices += 1;
                    }
                }
            }
        }
    }

    /// Finds the surfaces in the cells before a row, in y and in z, and counts their triangles.
    #[inline(always)]
    fn cells(&mut self, z: usize, y: usize, triangles: &[u8; 256], counts: &mut [Count]) {
        let mut groups = std::mem::take(&mut self.groups);
        let strip = y & !(STRIP - 1);
        let along_x = [(z - 1, y - 1), (z - 1, y), (z, y - 1), (z, y)].map(|(z, y)| self.mask(z, y, 0));
        let along_y = [z - 1, z].map(|z| self.mask(z, y, 1));
        let along_z = [y - 1, y].map(|y| self.mask(z, y, 2));
        let rows = [(z - 1, y - 1), (z - 1, y), (z, y - 1), (z, y)].map(|(z, y)| self.planes.row(z, y, strip));
        let mut last = 0;
        for word in 0..self.extent.words {
            let x = along_x.map(|mask| mask[word]);
            let y = along_y.map(|mask| mask[word]);
            let z = along_z.map(|mask| mask[word]);
            // A cell whose four rows are equal at its low x, and each to its neighbour there, is uniform.
            let cells = (x[0] | x[1] | x[2] | x[3] | y[0] | y[1] | z[0]) & Extent::below(word, self.extent.width - 1);
            if cells == 0 {
                continue;
            }
            let rows: [&[D; 65]; 4] =
                std::array::from_fn(|i| rows[i][64 * word..].first_chunk().expect("rows reach one further"));

            // If there are two labels, corners differ from the first where a path of edges crosses between them an odd
            // number of times; and if this is so along every edge, the corners of a connected part are equal.
            let next = |mask: &[u64]| mask[word] >> 1 | mask.get(word + 1).map_or(0, |next| next << 63);
            let (c1, c2, c4) = (x[0], y[0], z[0]);
            let (c3, c5, c6) = (c2 ^ x[1], c4 ^ x[2], c4 ^ y[1]);
            let c7 = c6 ^ x[3];
            let odd = (c1 ^ c3 ^ next(along_y[0]))
                | (c5 ^ c7 ^ next(along_y[1]))
                | (c1 ^ c5 ^ next(along_z[0]))
                | (c2 ^ c6 ^ z[1])
                | (c3 ^ c7 ^ next(along_z[1]));
            let planes = Columns::new([0, c1, c2, c3, c4, c5, c6, c7]);
            let mut left = cells;
            while left != 0 {
                let bit = left.trailing_zeros() as usize & 63;
                left &= left - 1;
                let mut step = 64 * word + bit - last;
                last += step;
                while step > u8::MAX as usize {
                    groups.push(Group { number: D::default(), case: 0, step: u8::MAX });
                    step -= u8::MAX as usize;
                }
                let mut step = step as u8;
                let mut add = |number: D, case: u8| {
                    counts[number.index()].faces += usize::from(triangles[usize::from(case)]);
                    groups.push(Group { number, case, step });
                    step = 0;
                };
                let case = planes.get(bit);
                if odd >> bit & 1 == 0 && CONNECTED[usize::from(case)] {
                    let other = case.trailing_zeros() as usize & 7;
                    for (number, case) in [(rows[0][bit], !case), (rows[other / 2][bit + other % 2], case)] {
                        if number != D::default() {
                            add(number, case);
                        }
                    }
                    continue;
                }
                let cell = D::cell(rows.map(|row| [row[bit], row[bit + 1]]));
                let mut corners = !D::default().corners(cell);
                while corners != 0 {
                    let first = corners.trailing_zeros() as usize & 7;
                    let number = rows[first / 2][bit + first % 2];
                    let case = number.corners(cell);
                    corners &= !case;
                    add(number, case);
                }
            }
        }
        self.groups = groups;
    }
}
