//! Reduction of a volume by whole factors: mean, min, max, stride, majority.
//!
//! # Rules
//! Cells are aligned to global multiples of the factor, not to the first voxel
//! of the block: along each axis, the block `[start, start + size)` becomes
//! `[floor(start / f), ceil((start + size) / f))`, and a cell that sticks out of
//! the block at either end is computed from its voxels inside alone. The values
//! are those of TensorStore's `downsample` driver:
//!
//! * **mean**: integers exactly, rounded half to even; float32 as the sum in
//!   double precision, voxel after voxel with x fastest, divided in double
//!   precision by the number of voxels and rounded to float32. NaN propagates,
//!   always as the same quiet NaN. (TensorStore adds float32 in float32.)
//! * **min**, **max**: NaN is ignored; a cell of NaN alone gives `+inf` and
//!   `-inf`, the neutral values, so that repeating the reduction is consistent.
//! * **stride**: the first voxel in bounds along every axis, on the same cells
//!   as the other methods. (TensorStore's stride has no partial first cell.)
//! * **majority**: the most frequent value, of several the lowest. For float32,
//!   NaN is one value, above all numbers, and both zeros are `+0`. (TensorStore
//!   leaves majority among NaN to chance.)
//! * **sparse majority**: the same without counting zero; zero if nothing else.
//! * If every axis has a factor of one or a single voxel, all methods copy, NaN too.
//!
//! # How
//! Factors of one and two go through row kernels that reduce whole rows of
//! cells without a branch, so that the compiler turns them into vector code for
//! every [`Level`]; partial cells at the ends of y and z are the same
//! kernels with fewer rows, and at most two partial cells per row are left to
//! the plain path, which serves every other factor.

mod cells;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Mutex;

use crate::parallel::map_indexed;
use crate::simd::Level;
use crate::view::{View, ViewMut};
use crate::{Error, Result};

pub use cells::Voxel;
use cells::{Cell, Majority, Max, Mean, Min, SparseMajority, Stride};

/// How the voxels of a cell become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Arithmetic mean.
    Mean,
    /// Lowest value.
    Min,
    /// Highest value.
    Max,
    /// First voxel in bounds.
    Stride,
    /// Most frequent value, of several the lowest.
    Majority,
    /// Most frequent value other than zero.
    SparseMajority,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 6] =
        [Method::Mean, Method::Min, Method::Max, Method::Stride, Method::Majority, Method::SparseMajority];
}

/// The largest factor, so that no position overflows.
pub const MAX_FACTOR: usize = i32::MAX as usize;

/// The cells of one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Coordinate of the first cell.
    pub first: i64,
    /// Number of cells; none for an axis without voxels.
    pub cells: usize,
    factor: usize,
    /// Voxels that the first cell lacks at its low end.
    lacking: usize,
    size: usize,
}

impl Axis {
    /// Divides the voxels `[start, start + size)` into cells of `factor`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a factor of zero or above [`MAX_FACTOR`], or coordinates beyond 2^62.
    pub fn new(start: i64, size: usize, factor: usize) -> Result<Axis> {
        const FAR: u64 = 1 << 62;
        if factor == 0 || factor > MAX_FACTOR {
            return Err(Error::Argument(format!("a factor must be from 1 to {MAX_FACTOR}, got {factor}")));
        }
        if start.unsigned_abs() > FAR || size as u64 > FAR {
            return Err(Error::Argument(format!("start {start} and size {size} must lie within ±2^62")));
        }
        let lacking = start.rem_euclid(factor as i64) as usize;
        let cells = if size == 0 { 0 } else { (lacking + size).div_ceil(factor) };
        Ok(Axis { first: start.div_euclid(factor as i64), cells, factor, lacking, size })
    }

    /// The voxels of cell `i`, counted from the first voxel of the block.
    #[inline(always)]
    fn voxels(&self, i: usize) -> Range<usize> {
        let end = (i + 1) * self.factor - self.lacking;
        end.saturating_sub(self.factor)..end.min(self.size)
    }

    /// The cells that have all their voxels.
    #[inline(always)]
    fn whole(&self) -> Range<usize> {
        let low = usize::from(self.lacking > 0);
        let high = (self.lacking + self.size) / self.factor;
        low.min(self.cells)..high.max(low).min(self.cells)
    }
}

/// The cells of x, y and z for a block at `start` (x, y, z) with `size` (x, y, z).
///
/// # Errors
/// As [`Axis::new`].
pub fn domain(start: [i64; 3], size: [usize; 3], factors: [usize; 3]) -> Result<[Axis; 3]> {
    Ok([
        Axis::new(start[0], size[0], factors[0])?,
        Axis::new(start[1], size[1], factors[1])?,
        Axis::new(start[2], size[2], factors[2])?,
    ])
}

/// Reduces `source`, whose first voxel lies at `start` (x, y, z), into `out`.
///
/// `out` has the channels of `source` and the cells of [`domain`]; the result
/// does not depend on `threads`.
///
/// # Errors
/// [`Error::Argument`] if a factor is out of range, if `out` has another shape,
/// or if rows of `out` overlap.
pub fn downsample<T: Voxel>(
    source: View<'_, T>,
    start: [i64; 3],
    factors: [usize; 3],
    method: Method,
    out: ViewMut<'_, T>,
    threads: usize,
) -> Result<()> {
    let job = Job { source, axes: axes_of(&source, start, factors)?, level: Level::best() };
    job.run(method, out, threads)
}

fn axes_of<T>(source: &View<'_, T>, start: [i64; 3], factors: [usize; 3]) -> Result<[Axis; 3]> {
    let [_, z, y, x] = source.shape();
    domain(start, [x, y, z], factors)
}

/// A reduction without its method and output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a, T> {
    source: View<'a, T>,
    axes: [Axis; 3],
    level: Level,
}

/// Output rows that one thread computes in one go, from row number `first` on.
struct Task<'o, T> {
    first: usize,
    rows: Vec<&'o mut [T]>,
}

impl<T: Voxel> Job<'_, T> {
    fn run(self, method: Method, out: ViewMut<'_, T>, threads: usize) -> Result<()> {
        let [x, y, z] = self.axes;
        let shape = [self.source.shape()[0], z.cells, y.cells, x.cells];
        if out.shape() != shape {
            return Err(Error::Argument(format!(
                "the output must have the shape (c, z, y, x) = {shape:?}, not {:?}",
                out.shape()
            )));
        }
        // Enough tasks to even out the threads, few enough that their cost does not show.
        let rows = shape[0] * shape[1] * shape[2];
        let step = if threads <= 1 { rows } else { rows.div_ceil(threads.saturating_mul(8)).max(8) };
        let mut tasks = Vec::new();
        let mut lines = split_rows(out)?.into_iter();
        for first in (0..rows).step_by(step.max(1)) {
            tasks.push(Mutex::new(Task { first, rows: lines.by_ref().take(step).collect() }));
        }
        map_indexed(
            tasks.len(),
            threads,
            || (),
            |(), i| {
                if let Ok(mut task) = tasks[i].lock() {
                    self.task(method, &mut task);
                }
            },
        );
        Ok(())
    }

    fn task(&self, method: Method, task: &mut Task<'_, T>) {
        // Nothing to reduce.
        let method =
            if self.axes.iter().all(|axis| axis.factor == 1 || axis.size == 1) { Method::Stride } else { method };
        match method {
            Method::Mean => self.task_of::<Mean>(task),
            Method::Min => self.task_of::<Min>(task),
            Method::Max => self.task_of::<Max>(task),
            Method::Stride => self.task_of::<Stride>(task),
            Method::Majority => self.task_of::<Majority>(task),
            Method::SparseMajority => self.task_of::<SparseMajority>(task),
        }
    }

    fn task_of<C: Cell<T>>(&self, task: &mut Task<'_, T>) {
        let [x, y, z] = self.axes.map(|axis| axis.factor);
        match x {
            1 if y <= 2 && z <= 2 => rows::ones::<T, C>(self.level, self, task),
            2 if y <= 2 && z <= 2 => rows::pairs::<T, C>(self.level, self, task),
            _ => self.plain::<C>(task),
        }
    }

    /// Position (c, z, y) of an output row.
    #[inline(always)]
    fn position(&self, row: usize) -> [usize; 3] {
        let [_, y, z] = self.axes;
        [row / (z.cells * y.cells), row / y.cells % z.cells, row % y.cells]
    }

    /// Any factor: each cell is gathered and reduced by itself.
    fn plain<C: Cell<T>>(&self, task: &mut Task<'_, T>) {
        let mut cell = Vec::new();
        for (i, out) in task.rows.iter_mut().enumerate() {
            let row = self.position(task.first + i);
            for (j, value) in out.iter_mut().enumerate() {
                *value = self.plain_cell::<C>(row, j, &mut cell);
            }
        }
    }

    /// The cell `j` of the output row at (c, z, y), gathered into `cell`.
    #[inline(always)]
    fn plain_cell<C: Cell<T>>(&self, [c, z, y]: [usize; 3], j: usize, cell: &mut Vec<T>) -> T {
        let along_x = self.axes[0].voxels(j);
        cell.clear();
        for z in self.axes[2].voxels(z) {
            for y in self.axes[1].voxels(y) {
                cell.extend_from_slice(&self.source.row(c, z, y)[along_x.clone()]);
            }
        }
        C::any(cell)
    }
}

/// The rows of a view in the order of (c, z, y), each to be written on its own.
///
/// # Errors
/// [`Error::Argument`] if rows overlap, as in a broadcast array.
fn split_rows<T>(view: ViewMut<'_, T>) -> Result<Vec<&mut [T]>> {
    let (shape, strides) = (view.shape(), view.strides());
    let [channels, depth, height, width] = shape;
    if shape.contains(&0) {
        return Ok(Vec::new());
    }
    let mut places = Vec::with_capacity(channels * depth * height);
    for c in 0..channels {
        for z in 0..depth {
            for y in 0..height {
                places.push((c * strides[0] + z * strides[1] + y * strides[2], places.len()));
            }
        }
    }
    // Nearly always in order already, which the sort finds out in one pass.
    places.sort_unstable();
    let mut rest = view.into_slice();
    let mut consumed = 0;
    let mut rows = Vec::with_capacity(places.len());
    for (at, number) in places {
        let skip = at.checked_sub(consumed).ok_or_else(|| {
            Error::Argument(format!("rows of an output of shape {shape:?} and strides {strides:?} overlap"))
        })?;
        let (row, after) = rest.split_at_mut(skip).1.split_at_mut(width);
        rows.push((number, row));
        rest = after;
        consumed = at + width;
    }
    rows.sort_unstable_by_key(|(number, _)| *number);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
