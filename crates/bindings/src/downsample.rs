//! `downsample`: reduction by whole factors.

use numpy::{PyArrayDyn, PyUntypedArray};
use precast_kernels::downsample::Method;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::array::{view, view_mut};
use crate::dispatch;
use crate::error::to_python;

const NAMES: [(&str, Method); 6] = [
    ("mean", Method::Mean),
    ("min", Method::Min),
    ("max", Method::Max),
    ("stride", Method::Stride),
    ("majority", Method::Majority),
    ("majority_sparse", Method::SparseMajority),
];

/// Reduces `data` into `out`.
#[pyfunction]
pub fn downsample(
    data: &Bound<'_, PyUntypedArray>,
    out: &Bound<'_, PyUntypedArray>,
    start: [i64; 3],
    factors: [usize; 3],
    method: &str,
    threads: usize,
) -> PyResult<()> {
    let Some((_, method)) = NAMES.into_iter().find(|(name, _)| *name == method) else {
        let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        return Err(PyValueError::new_err(format!("unknown method {method:?}; allowed: {}", names.join(", "))));
    };
    dispatch!(
        data,
        "int8 to int64, uint8 to uint64, float32",
        [u8, i8, u16, i16, u32, i32, u64, i64, f32],
        |typed| run(typed, out, start, factors, method, threads)
    )
}

fn run<T: numpy::Element + precast_kernels::downsample::Voxel>(
    data: &Bound<'_, PyArrayDyn<T>>,
    out: &Bound<'_, PyUntypedArray>,
    start: [i64; 3],
    factors: [usize; 3],
    method: Method,
    threads: usize,
) -> PyResult<()> {
    let out =
        out.cast::<PyArrayDyn<T>>().map_err(|_| PyTypeError::new_err("the output must have the dtype of the data"))?;
    let (source, target) = (view(data)?, view_mut(out)?);
    data.py()
        .detach(|| precast_kernels::downsample::downsample(source, start, factors, method, target, threads))
        .map_err(to_python)
}
