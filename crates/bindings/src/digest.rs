//! `voxel_digest` and `format_digest`.

use numpy::PyUntypedArray;
use precast_kernels::digest::{Lanes, Place, finish};
use pyo3::prelude::*;

use crate::array::view;
use crate::dispatch;
use crate::error::to_python;

/// The share of a block in the digest of its volume; the voxels are given by their bits, as unsigned integers.
#[pyfunction]
pub fn voxel_digest(
    data: &Bound<'_, PyUntypedArray>,
    start: [u64; 3],
    size: [u64; 3],
    threads: usize,
) -> PyResult<(u64, u64)> {
    dispatch!(data, "uint8, uint16, uint32, uint64", [u8, u16, u32, u64], |typed| {
        let voxels = view(typed)?;
        data.py()
            .detach(|| precast_kernels::digest::voxel_digest(voxels, Place { start, size }, threads))
            .map(|[first, second]| (first, second))
            .map_err(to_python)
    })
}

/// The printed form.
#[pyfunction]
pub fn format_digest(lanes: Lanes, size: [u64; 3], channels: u64, dtype: &str) -> PyResult<String> {
    finish(lanes, size, channels, dtype).map_err(to_python)
}
