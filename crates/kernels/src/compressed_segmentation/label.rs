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

    /// Bit `i` is set where voxel `i` is `value`.
    fn equal_mask<S: Simd>(simd: S, voxels: &[Self; 64], value: Self) -> u64;

    /// A table of labels in the form in which `S` looks them up.
    type Table<S: Simd>: Copy;

    /// Prepares a table. It must be periodic: entry `i` equals entry `i mod 2^BITS`.
    fn table<S: Simd>(simd: S, entries: &[Self; 16]) -> Self::Table<S>;

    /// Eight labels from eight packed indices of `BITS` (1, 2 or 4) bits, first index lowest.
    fn look_up<S: Simd, const BITS: u32>(simd: S, table: Self::Table<S>, indices: u32, out: &mut [Self; 8]);
}

macro_rules! label {
    ($t:ty, $words:expr, $mask:ident, $Table:ident, $table:ident, $look_up:ident) => {
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
            fn equal_mask<S: Simd>(simd: S, voxels: &[Self; 64], value: Self) -> u64 {
                simd.$mask(voxels, value)
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

label!(u32, 1, equal_mask_u32, Table32, table_u32, look_up_u32);
label!(u64, 2, equal_mask_u64, Table64, table_u64, look_up_u64);
