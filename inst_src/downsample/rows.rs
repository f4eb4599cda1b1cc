//! Factors of one and two: whole rows of cells at once.

use super::cells::{Cell, Voxel};
use super::{Job, Task};
use crate::simd::prefetch;
use crate::versions;

const PREFETCH: usize = 8192;

versions!(
    /// Factor one along x.
    pub(super) fn ones [T: Voxel, C: Cell<T>] [T, C] (job: &Job<'_, T>, task: &mut Task<'_, T>) {
        run::<T, C, 1>(job, task);
    }
);
versions!(
    /// Factor two along x.
    pub(super) fn pairs [T: Voxel, C: Cell<T>] [T, C] (job: &Job<'_, T>, task: &mut Task<'_, T>) {
        run::<T, C, 2>(job, task);
    }
);

#[inline(always)]
fn run<T: Voxel, C: Cell<T>, const FX: usize>(job: &Job<'_, T>, task: &mut Task<'_, T>) {
    let mut cell = Vec::new();
    let last = job.source.shape()[0] * job.axes[1].cells * job.axes[2].cells - 1;
    let [along_x, along_y, along_z] = job.axes;
    let whole = along_x.whole();
    let first_voxel = if whole.is_empty() { 0 } else { whole.start * FX - along_x.lacking };
    // Rows of small blocks are too short for the processor to foresee the next one.
    let reach = {
        let [_, _, _, x] = job.source.shape();
        let bytes = (x * size_of::<T>()).max(1) * along_y.factor * along_z.factor;
        if bytes <= 8 * PREFETCH { (PREFETCH / bytes).max(1) } else { 0 }
    };
    for (i, out) in task.rows.iter_mut().enumerate() {
        if reach > 0 {
            let [c, z, y] = job.position((task.first + i + reach).min(last));
            for z in along_z.voxels(z) {
                for y in along_y.voxels(y) {
                    prefetch(job.source.row(c, z, y));
                }
            }
        }
        let [c, z, y] = job.position(task.first + i);
        let (zs, ys) = (along_z.voxels(z), along_y.voxels(y));
        let row = |z, y| job.source.row(c, z, y)[first_voxel..].as_chunks::<FX>().0;
        let (z0, y0, z1, y1) = (zs.start, ys.start, zs.end - 1, ys.end - 1);
        let middle = &mut out[whole.clone()];
        match (zs.len(), ys.len()) {
            (1, 1) => C::row([row(z0, y0)], middle),
            (1, _) => C::row([row(z0, y0), row(z0, y1)], middle),
            (_, 1) => C::row([row(z0, y0), row(z1, y0)], middle),
            _ => C::row([row(z0, y0), row(z0, y1), row(z1, y0), row(z1, y1)], middle),
        }
        for j in (0..whole.start).chain(whole.end..along_x.cells) {
            out[j] = job.plain_cell::<C>([c, z, y], j, &mut cell);
        }
    }
}
