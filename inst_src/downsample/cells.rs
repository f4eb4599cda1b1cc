//! The voxel types and what each method makes of one cell.

/// A voxel type that can be reduced.
pub trait Voxel: Copy + Default + PartialEq + PartialOrd + Send + Sync + 'static {
    /// Neutral value of [`Voxel::lower`].
    const HIGHEST: Self;
    /// Neutral value of [`Voxel::higher`].
    const LOWEST: Self;
    /// What stands for a value when values are counted: equal for equal values, ordered as they are.
    type Key: Voxel + Ord;
    /// Holds the exact sum of a cell; for floats, the sum in double precision.
    type Sum: Copy;

    /// The key of this value.
    fn key(self) -> Self::Key;
    /// The value with this key.
    fn value(key: Self::Key) -> Self;
    /// The sum of no voxel.
    fn nothing() -> Self::Sum;
    /// `sum` with one voxel more.
    fn add(self, sum: Self::Sum) -> Self::Sum;
    /// The mean of `count` voxels, rounded half to even.
    fn mean(sum: Self::Sum, count: u64) -> Self;
    /// Holds the sum of at most eight voxels.
    type Small: Copy + Default;
    /// `sum` with one or two neighbours along x more.
    fn add_small<const FX: usize>(sum: Self::Small, pair: [Self; FX]) -> Self::Small;
    /// The mean of 1, 2, 4 or 8 voxels, rounded half to even.
    fn small_mean(sum: Self::Small, count: u32) -> Self;
    /// A number of at most eight voxels as a voxel, so that counts have the lanes of values.
    fn count(n: u8) -> Self;
    /// `self + 1` for such a number.
    fn one_more(self) -> Self;

    /// The lower of two; `self` if it is not greater or not a number.
    #[inline(always)]
    fn lower(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    /// The higher of two; `self` if it is not less or not a number.
    #[inline(always)]
    fn higher(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

macro_rules! integer {
    ($type:ty, bits $bits:ty, sum $sum:ty, small $small:ty) => {
        impl Voxel for $type {
            const HIGHEST: Self = <$type>::MAX;
            const LOWEST: Self = <$type>::MIN;
            type Key = $type;
            type Sum = $sum;
            type Small = $small;

            #[inline(always)]
            fn key(self) -> $type {
                self
            }
            #[inline(always)]
            fn value(key: $type) -> $type {
                key
            }
            #[inline(always)]
            fn nothing() -> $sum {
                0
            }
            #[inline(always)]
            fn add(self, sum: $sum) -> $sum {
                sum + <$sum>::from(self)
            }
            #[inline(always)]
            fn mean(sum: $sum, count: u64) -> $type {
                let count = count as $sum;
                let (down, rest) = (sum.div_euclid(count), sum.rem_euclid(count));
                let up = 2 * rest > count || (2 * rest == count && down & 1 == 1);
                (down + <$sum>::from(up)) as $type
            }
            #[inline(always)]
            fn add_small<const FX: usize>(sum: $small, pair: [$type; FX]) -> $small {
                if FX == 1 {
                    return sum + <$small>::from(pair[0]);
                }
                // Two neighbours are one word in memory. Taken apart by shifts they stay in their vector lane,
                // where loads of every other voxel would need shuffles.
                let word = <$small>::from(pair[0] as $bits) | (<$small>::from(pair[FX - 1]) << <$type>::BITS);
                sum + ((word << <$type>::BITS) >> <$type>::BITS) + (word >> <$type>::BITS)
            }
            #[inline(always)]
            fn small_mean(sum: $small, count: u32) -> $type {
                let shift = count.trailing_zeros();
                if shift == 0 {
                    return sum as $type;
                }
                // Half of the divisor, less one, plus the lowest bit that stays: ties go to even.
                // The shift rounds down for negative sums too.
                ((sum + (1 << (shift - 1)) - 1 + ((sum >> shift) & 1)) >> shift) as $type
            }
            #[inline(always)]
            fn count(n: u8) -> $type {
                n as $type
            }
            #[inline(always)]
            fn one_more(self) -> $type {
                self.wrapping_add(1)
            }
        }
    };
}

// The sum of up to 2^32 voxels fits 64 bits for types of up to 32 bits.
integer!(u8, bits u8, sum u64, small u16);
integer!(i8, bits u8, sum i64, small i16);
integer!(u16, bits u16, sum u64, small u32);
integer!(i16, bits u16, sum i64, small i32);
integer!(u32, bits u32, sum u64, small u64);
integer!(i32, bits u32, sum i64, small i64);
integer!(u64, bits u64, sum u128, small u128);
integer!(i64, bits u64, sum i128, small i128);

impl Voxel for f32 {
    const HIGHEST: f32 = f32::INFINITY;
    const LOWEST: f32 = f32::NEG_INFINITY;
    type Key = i32;
    type Sum = f64;
    type Small = f64;

    #[inline(always)]
    fn key(self) -> i32 {
        // Negative numbers are ordered backwards by their bits; every NaN is the highest, both zeros are zero.
        let bits = self.to_bits() as i32;
        let ordered = if bits < 0 { bits ^ i32::MAX } else { bits };
        let number = if self == 0.0 { 0 } else { ordered };
        if self.is_nan() { i32::MAX } else { number }
    }
    #[inline(always)]
    fn value(key: i32) -> f32 {
        let bits = if key < 0 { key ^ i32::MAX } else { key };
        if key == i32::MAX { f32::NAN } else { f32::from_bits(bits as u32) }
    }
    #[inline(always)]
    fn nothing() -> f64 {
        0.0
    }
    #[inline(always)]
    fn add(self, sum: f64) -> f64 {
        sum + f64::from(self)
    }
    #[inline(always)]
    fn mean(sum: f64, count: u64) -> f32 {
        let mean = (sum / count as f64) as f32;
        // The bits of a computed NaN depend on the processor.
        if mean.is_nan() { f32::NAN } else { mean }
    }
    #[inline(always)]
    fn add_small<const FX: usize>(sum: f64, pair: [f32; FX]) -> f64 {
        // One after the other, as in `add`: the order decides the last bit.
        let sum = sum + f64::from(pair[0]);
        if FX == 1 { sum } else { sum + f64::from(pair[FX - 1]) }
    }
    #[inline(always)]
    fn small_mean(sum: f64, count: u32) -> f32 {
        // Multiplying by a power of two is as exact as dividing.
        let mean = (sum * (1.0 / f64::from(count))) as f32;
        if mean.is_nan() { f32::NAN } else { mean }
    }
    #[inline(always)]
    fn count(n: u8) -> f32 {
        f32::from(n)
    }
    #[inline(always)]
    fn one_more(self) -> f32 {
        self + 1.0
    }
}

/// A method: what it makes of one cell.
pub trait Cell<T: Voxel>: 'static {
    /// One cell of at least one voxel, x fastest.
    fn any(cell: &mut [T]) -> T;

    /// One cell of 1, 2, 4 or 8 voxels, without branches.
    fn small<const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> T;

    /// A row of cells; each row of the source has at least as many as `out`.
    #[inline(always)]
    fn row<const FX: usize, const N: usize>(rows: [&[[T; FX]]; N], out: &mut [T]) {
        let n = out.len();
        // Vector code for bytes takes 64 cells and more at a time, so that a short row would end up in the
        // compiler's scalar remainder. Blocks of a fixed length have none; the last overlaps the one before.
        if size_of::<T>() == 1 && n >= 64 {
            let mut at = 0;
            while at < n {
                let from = at.min(n - 64);
                Self::cells(rows.map(|row| &row[from..from + 64]), &mut out[from..from + 64]);
                at = from + 64;
            }
        } else {
            Self::cells(rows.map(|row| &row[..n]), out);
        }
    }

    /// A row of cells from rows of the same length.
    #[inline(always)]
    fn cells<const FX: usize, const N: usize>(rows: [&[[T; FX]]; N], out: &mut [T]) {
        for (i, value) in out.iter_mut().enumerate() {
            let mut cell = [[T::default(); FX]; N];
            for (pair, row) in cell.iter_mut().zip(&rows) {
                *pair = row[i];
            }
            *value = Self::small(cell);
        }
    }
}

/// See [`super::Method::Mean`].
pub struct Mean;
/// See [`super::Method::Min`].
pub struct Min;
/// See [`super::Method::Max`].
pub struct Max;
/// See [`super::Method::Stride`].
pub struct Stride;
/// See [`super::Method::Majority`].
pub struct Majority;
/// See [`super::Method::SparseMajority`].
pub struct SparseMajority;

impl<T: Voxel> Cell<T> for Mean {
    #[inline(always)]
    fn any(cell: &mut [T]) -> T {
        T::mean(cell.iter().fold(T::nothing(), |sum, value| value.add(sum)), cell.len() as u64)
    }
    #[inline(always)]
    fn small<const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> T {
        let sum = cell.into_iter().fold(T::Small::default(), |sum, pair| T::add_small(sum, pair));
        T::small_mean(sum, (FX * N) as u32)
    }
    #[inline(always)]
    fn row<const FX: usize, const N: usize>(rows: [&[[T; FX]]; N], out: &mut [T]) {
        // Row after row into sums of a fixed number of cells: plain vector additions. Given a whole cell at a
        // time, the compiler makes vectors of the cell instead of the row.
        const BLOCK: usize = 64;
        let mut blocks = out.chunks_exact_mut(BLOCK);
        let mut at = 0;
        for block in &mut blocks {
            let mut sums = [T::Small::default(); BLOCK];
            for row in rows {
                for (sum, pair) in sums.iter_mut().zip(&row[at..at + BLOCK]) {
                    *sum = T::add_small(*sum, *pair);
                }
            }
            for (value, sum) in block.iter_mut().zip(sums) {
                *value = T::small_mean(sum, (FX * N) as u32);
            }
            at += BLOCK;
        }
        let rest = blocks.into_remainder();
        Self::cells(rows.map(|row| &row[at..at + rest.len()]), rest);
    }
}

impl<T: Voxel> Cell<T> for Min {
    #[inline(always)]
    fn any(cell: &mut [T]) -> T {
        cell.iter().fold(T::HIGHEST, |least, &value| least.lower(value))
    }
    #[inline(always)]
    fn small<const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> T {
        let mut least = T::HIGHEST;
        for pair in cell {
            for value in pair {
                least = least.lower(value);
            }
        }
        least
    }
}

impl<T: Voxel> Cell<T> for Max {
    #[inline(always)]
    fn any(cell: &mut [T]) -> T {
        cell.iter().fold(T::LOWEST, |most, &value| most.higher(value))
    }
    #[inline(always)]
    fn small<const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> T {
        let mut most = T::LOWEST;
        for pair in cell {
            for value in pair {
                most = most.higher(value);
            }
        }
        most
    }
}

impl<T: Voxel> Cell<T> for Stride {
    #[inline(always)]
    fn any(cell: &mut [T]) -> T {
        cell[0]
    }
    #[inline(always)]
    fn small<const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> T {
        cell[0][0]
    }
}

impl<T: Voxel> Cell<T> for Majority {
    #[inline(always)]
    fn any(cell: &mut [T]) -> T {
        most_frequent(cell)
    }
    #[inline(always)]
    fn small<const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> T {
        let s = sorted(cell);
        T::value(match FX * N {
            1 | 2 => s[0],
            // Two equal in the middle are a majority or beat three different ones. Otherwise only the two
            // lowest or the two highest can be equal, and the lowest win against a tie or nothing.
            4 => {
                let edge = if (s[2] == s[3]) & (s[0] != s[1]) { s[2] } else { s[0] };
                if s[1] == s[2] { s[1] } else { edge }
            }
            n => longest_run::<T::Key, false>(s, n),
        })
    }
}

impl<T: Voxel> Cell<T> for SparseMajority {
    #[inline(always)]
    fn any(cell: &mut [T]) -> T {
        // The order of the rest does not matter: it is sorted.
        let mut kept = 0;
        for i in 0..cell.len() {
            if cell[i] != T::default() {
                cell.swap(i, kept);
                kept += 1;
            }
        }
        if kept == 0 { T::default() } else { most_frequent(&mut cell[..kept]) }
    }
    #[inline(always)]
    fn small<const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> T {
        T::value(longest_run::<T::Key, true>(sorted(cell), FX * N))
    }
}

/// The most frequent of at least one value, of several the lowest.
fn most_frequent<T: Voxel>(cell: &mut [T]) -> T {
    let first = cell[0].key();
    // All the same is the most common case.
    if cell.iter().all(|value| value.key() == first) {
        return T::value(first);
    }
    cell.sort_unstable_by_key(|value| value.key());
    let (mut best, mut longest) = (first, 0);
    for run in cell.chunk_by(|a, b| a.key() == b.key()) {
        if run.len() > longest {
            (best, longest) = (run[0].key(), run.len());
        }
    }
    T::value(best)
}

/// The keys of the 1, 2, 4 or 8 voxels of a cell in ascending order, by a sorting network; the rest is filler.
#[inline(always)]
fn sorted<T: Voxel, const FX: usize, const N: usize>(cell: [[T; FX]; N]) -> [T::Key; 8] {
    let mut s = [T::Key::default(); 8];
    for (i, value) in cell.as_flattened().iter().enumerate() {
        s[i] = value.key();
    }
    let mut order = |i: usize, j: usize| (s[i], s[j]) = (s[i].lower(s[j]), s[i].higher(s[j]));
    match FX * N {
        1 => {}
        2 => order(0, 1),
        4 => {
            for (i, j) in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)] {
                order(i, j);
            }
        }
        // Batcher's odd-even merge of 8 values: 19 comparisons.
        _ => {
            for (i, j) in [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (1, 2), (5, 6)] {
                order(i, j);
            }
            for (i, j) in [(0, 4), (1, 5), (2, 6), (3, 7), (2, 4), (3, 5), (1, 2), (3, 4), (5, 6)] {
                order(i, j);
            }
        }
    }
    s
}

/// The value of the longest run, the first of several, in the first `n` of `s`.
#[inline(always)]
fn longest_run<T: Voxel, const SPARSE: bool>(s: [T; 8], n: usize) -> T {
    let counted = |value: T, run: T| if SPARSE && value == T::default() { T::count(0) } else { run };
    let mut best = s[0];
    let mut longest = counted(s[0], T::count(1));
    let mut run = T::count(1);
    for i in 1..n {
        run = if s[i] == s[i - 1] { run.one_more() } else { T::count(1) };
        let here = counted(s[i], run);
        best = if here > longest { s[i] } else { best };
        longest = longest.higher(here);
    }
    best
}
