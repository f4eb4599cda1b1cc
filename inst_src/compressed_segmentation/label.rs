//! The two types of labels that the encoding knows.

use super::simd::Simd;

/// A label: `u32` or `u64`.
pub trait Label: Voxel {
    /// 32-bit words that a label takes in a table.
    const WORDS: usize;
}

/// What the kernels need of a label. In a private module, so that nobody else can implement it.
pub trait Voxel: Copy + Ord + Default + Send + Sync + std::fmt::Debug + 'static {
    /// The label as 64 bits, for hashing.
    fn widen(self) -> u64;

    /// Appends the little-endian bytes.
    fn push(self, out: &mut Vec<u8>);

    /// Reads from exactly `4 * WORDS` bytes.
    fn read(bytes: &[u8]) -> Self;

    /// The low and the high 32 bits.
    fn halves(self) -> [u32; 2];

    /// The opposite of [`halves`](Self::halves).
    fn join(halves: [u32; 2]) -> Self;

    /// Copies the low halves of a block of 8 x 8 x 8 at the start of `voxels`, where rows are `step_y` and planes
    /// `step_z` apart. Bits of the result, low and high half, are set where any label differs from `label`.
    fn low_halves(voxels: &[Self], steps: [usize; 2], label: Self, low: &mut [[u32; 8]; 64]) -> [u32; 2];

    /// The same for the high halves, without the comparison.
    fn high_halves(voxels: &[Self], steps: [usize; 2], high: &mut [[u32; 8]; 64]);

    /// A table of labels in the form in which `S` looks them up.
    type Table<S: Simd>: Copy;

    /// Prepares a table. It must be periodic: entry `i` equals entry `i mod 2^BITS`.
    fn table<S: Simd>(simd: S, entries: &[Self; 16]) -> Self::Table<S>;

    /// Eight labels from eight packed indices of `BITS` (1, 2 or 4) bits, first index lowest.
    fn look_up<S: Simd, const BITS: u32>(simd: S, table: Self::Table<S>, indices: u32, out: &mut [Self; 8]);
}

/// Calls `visit` for the 64 rows of a block of 8 x 8 x 8.
#[inline(always)]
fn for_rows<T>(voxels: &[T], [step_z, step_y]: [usize; 2], mut visit: impl FnMut(usize, &[T; 8])) {
    let fits = step_z.checked_mul(7).and_then(|z| step_y.checked_mul(7)?.checked_add(z)?.checked_add(8));
    assert!(fits.is_some_and(|end| end <= voxels.len()), "the block does not lie in the buffer");
    for k in 0..8 {
        for j in 0..8 {
            // SAFETY: the last row, at 7 * step_z + 7 * step_y, ends in the buffer (checked above), and so do all before.
            let row = unsafe { &*voxels.as_ptr().add(k * step_z + j * step_y).cast::<[T; 8]>() };
            visit(8 * k + j, row);
        }
    }
}

macro_rules! label {
    ($t:ty, $words:expr, $Table:ident, $table:ident, $look_up:ident) => {
        impl Label for $t {
            const WORDS: usize = $words;
        }

        impl Voxel for $t {
            #[inline(always)]
            fn widen(self) -> u64 {
                u64::from(self)
            }

            #[inline(always)]
            fn push(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                let mut own = [0; 4 * $words];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }

            #[inline(always)]
            fn halves(self) -> [u32; 2] {
                [self as u32, (u64::from(self) >> 32) as u32]
            }

            #[inline(always)]
            fn join([low, high]: [u32; 2]) -> Self {
                (u64::from(high) << 32 | u64::from(low)) as Self
            }

            #[inline(always)]
            fn low_halves(voxels: &[Self], steps: [usize; 2], label: Self, low: &mut [[u32; 8]; 64]) -> [u32; 2] {
                let mut differing = [0; 8];
                for_rows(voxels, steps, |i, row| {
                    for x in 0..8 {
                        low[i][x] = row[x] as u32;
                        if $words == 2 {
                            differing[x] |= row[x] ^ label;
                        }
                    }
                });
                if $words == 1 {
                    // A second pass over consecutive memory is faster than narrow rows in the first.
                    return [low.as_flattened().iter().fold(0, |bits, voxel| bits | voxel ^ label as u32), 0];
                }
                differing.iter().fold(0, |bits, more| bits | more).halves()
            }

            #[inline(always)]
            fn high_halves(voxels: &[Self], steps: [usize; 2], high: &mut [[u32; 8]; 64]) {
                for_rows(voxels, steps, |i, row| {
                    for x in 0..8 {
                        high[i][x] = row[x].halves()[1];
                    }
                });
            }

            type Table<S: Simd> = S::$Table;

            #[inline(always)]
            fn table<S: Simd>(simd: S, entries: &[Self; 16]) -> S::$Table {
                simd.$table(entries)
            }

            #[inline(always)]
            fn look_up<S: Simd, const BITS: u32>(simd: S, table: S::$Table, indices: u32, out: &mut [Self; 8]) {
                simd.$look_up::<BITS>(table, indices, out);
            }
        }
    };
}

label!(u32, 1, Table32, table_u32, look_up_u32);
label!(u64, 2, Table64, table_u64, look_up_u64);
