//! `gzip_compress`, `gzip_decompress`: one member at a time.

use precast_kernels::gzip::{Compressor, Decompressor};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bytes::Bytes;
use crate::error::to_python;

#[pyfunction]
pub fn gzip_compress<'py>(py: Python<'py>, data: Bytes, level: i32) -> PyResult<Bound<'py, PyBytes>> {
    let data = data.as_slice();
    let packed = py.detach(|| Compressor::new(level)?.compress(data)).map_err(to_python)?;
    Ok(PyBytes::new(py, &packed))
}

#[pyfunction]
pub fn gzip_decompress<'py>(py: Python<'py>, data: Bytes, max_size: usize) -> PyResult<Bound<'py, PyBytes>> {
    let data = data.as_slice();
    let bytes = py.detach(|| Decompressor::new()?.decompress(data, max_size)).map_err(to_python)?;
    Ok(PyBytes::new(py, &bytes))
}
