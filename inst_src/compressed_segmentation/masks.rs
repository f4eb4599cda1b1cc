//! The labels of a block as bit masks: where at most 16 labels are, found by comparing the whole block.

use super::bits_for;
use super::label::Label;
use super::simd::Simd;
use crate::view::View;

/// Blocks with more labels than this are numbered voxel by voxel.
const FEW: usize = 16;

/// Voxels that are handled together: eight words of masks. A block of 8 x 8 x 8 is one strip.
const STRIP: usize = 512;

/// One bit for each voxel of a strip, in the order of the packed indices.
type Mask = [u64; STRIP / 64];

/// Which voxels of a block have which label.
#[derive(Default)]
pub(super) struct Masks<T> {
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
    pub(super) labels: Vec<T>,
}

/// A block of a chunk: where it starts and how much of it exists, both `[x, y, z]`.
#[derive(Clone, Copy)]
pub(super) struct Region {
    pub(super) channel: usize,
    pub(super) start: [usize; 3],
    pub(super) extent: [usize; 3],
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
    pub(super) fn stage_whole(&mut self, chunk: View<'_, T>, region: Region, label: T) -> bool {
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
    pub(super) fn stage_part(&mut self, chunk: View<'_, T>, region: Region, block: [usize; 3]) {
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
    pub(super) fn find_labels<S: Simd>(&mut self, simd: S, mut ask: impl FnMut()) -> bool {
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
    pub(super) fn pack(&mut self, out: &mut Vec<u8>) {
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
