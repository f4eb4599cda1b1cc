//! `draco_encode`, `draco_decode`: one mesh at a time.

use std::cell::RefCell;

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2};
use precast_kernels::draco::{Scratch, decode, encode};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bytes::Bytes;
use crate::error::to_python;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The rows of an array of shape (n, 3).
fn triples<'a, T: numpy::Element>(array: &'a PyReadonlyArray2<'_, T>, what: &str) -> PyResult<&'a [[T; 3]]> {
    let values = array.as_slice().map_err(|error| PyValueError::new_err(format!("{what}: {error}")))?;
    match values.as_chunks::<3>() {
        (rows, []) if values.is_empty() || array.as_array().ncols() == 3 => Ok(rows),
        _ => Err(PyValueError::new_err(format!("{what} must have the shape (n, 3)"))),
    }
}

/// Triples as an array of shape (n, 3).
fn array<T: numpy::Element>(py: Python<'_>, rows: Vec<[T; 3]>) -> PyResult<Bound<'_, PyArray2<T>>> {
    let len = rows.len();
    PyArray1::from_vec(py, rows.into_flattened()).reshape([len, 3])
}

#[pyfunction]
pub fn draco_encode<'py>(
    py: Python<'py>,
    positions: PyReadonlyArray2<'py, i32>,
    faces: PyReadonlyArray2<'py, u32>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (positions, faces) = (triples(&positions, "positions")?, triples(&faces, "faces")?);
    let bytes =
        py.detach(|| SCRATCH.with_borrow_mut(|scratch| encode(positions, faces, scratch))).map_err(to_python)?;
    Ok(PyBytes::new(py, &bytes))
}

#[pyfunction]
#[expect(clippy::type_complexity, reason = "a pair of arrays")]
pub fn draco_decode<'py>(
    py: Python<'py>,
    data: Bytes,
    max_faces: usize,
    max_vertices: usize,
) -> PyResult<(Bound<'py, PyArray2<i32>>, Bound<'py, PyArray2<u32>>)> {
    let data = data.as_slice();
    let mesh = py.detach(|| decode(data, max_faces, max_vertices)).map_err(to_python)?;
    Ok((array(py, mesh.positions)?, array(py, mesh.faces)?))
}
