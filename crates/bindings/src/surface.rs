//! `extract_surface`.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyUntypedArray};
use precast_kernels::surface::{Block, Scratch, Select, Surfaces, extract};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::view;
use crate::dispatch;
use crate::error::to_python;

/// Ids, where the vertices and the faces of each begin (and the end of the last), positions, faces.
type Arrays<'py> = (
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray2<i32>>,
    Bound<'py, PyArray2<u32>>,
);

/// The surfaces of all labels of a block: of `only` these or of all but the `excluded` ones, where one is given.
#[pyfunction]
pub fn extract_surface<'py>(
    data: &Bound<'py, PyUntypedArray>,
    start: [i32; 3],
    closed: [[bool; 2]; 3],
    only: Option<PyReadonlyArray1<'py, u64>>,
    excluded: Option<PyReadonlyArray1<'py, u64>>,
) -> PyResult<Arrays<'py>> {
    let py = data.py();
    let select = match (&only, &excluded) {
        (None, None) => Select::All,
        (Some(ids), None) => Select::Only(slice(ids)?),
        (None, Some(ids)) => Select::Except(slice(ids)?),
        (Some(_), Some(_)) => return Err(PyValueError::new_err("either only or excluded can be given, not both")),
    };
    let surfaces: Surfaces = dispatch!(data, "uint32, uint64", [u32, u64], |typed| {
        let block = Block { labels: view(typed)?, start, closed };
        py.detach(|| extract(block, &select, &mut Scratch::default())).map_err(to_python)
    })?;
    let offsets = |offsets: Vec<usize>| PyArray1::from_vec(py, offsets.into_iter().map(|at| at as u64).collect());
    Ok((
        PyArray1::from_vec(py, surfaces.ids),
        offsets(surfaces.vertex_offsets),
        offsets(surfaces.face_offsets),
        rows(py, surfaces.positions)?,
        rows(py, surfaces.faces)?,
    ))
}

fn slice<'a>(ids: &'a PyReadonlyArray1<'_, u64>) -> PyResult<&'a [u64]> {
    ids.as_slice().map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The triples as an array of three columns, without a copy.
fn rows<T: numpy::Element>(py: Python<'_>, values: Vec<[T; 3]>) -> PyResult<Bound<'_, PyArray2<T>>> {
    let len = values.len();
    PyArray1::from_vec(py, values.into_flattened()).reshape([len, 3])
}
