//! `simplify_mesh`: fewer triangles within a distance.

use numpy::{IntoPyArray, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use precast_kernels::mesh::Mesh;
use precast_kernels::simplify::{Options, Scratch, simplify};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_python;

/// Positions, faces, and the distance in nm.
type Reduced<'py> = (Bound<'py, PyArray2<i32>>, Bound<'py, PyArray2<u32>>, f64);

/// Reduces a mesh.
#[pyfunction]
#[pyo3(signature = (positions, faces, unit_nm, max_error_nm, target_faces, patch, snap))]
#[allow(clippy::too_many_arguments)]
pub fn simplify_mesh<'py>(
    py: Python<'py>,
    positions: PyReadonlyArray2<'py, i32>,
    faces: PyReadonlyArray2<'py, u32>,
    unit_nm: [f64; 3],
    max_error_nm: f64,
    target_faces: usize,
    patch: u32,
    snap: [u32; 3],
) -> PyResult<Reduced<'py>> {
    let mesh = Mesh { positions: triples(&positions, "positions")?, faces: triples(&faces, "faces")? };
    let options = Options { unit_nm, max_error_nm, target_faces, patch, snap };
    let reduced = py.detach(|| simplify(&mesh, &options, &mut Scratch::default())).map_err(to_python)?;
    Ok((rows(py, reduced.mesh.positions)?, rows(py, reduced.mesh.faces)?, reduced.error_nm))
}

fn triples<T: numpy::Element + Copy>(array: &PyReadonlyArray2<'_, T>, name: &str) -> PyResult<Vec<[T; 3]>> {
    if array.shape()[1] != 3 {
        return Err(PyValueError::new_err(format!("{name} must have the shape (n, 3)")));
    }
    let view = array.as_array();
    Ok(view.outer_iter().map(|row| [row[0], row[1], row[2]]).collect())
}

fn rows<T: numpy::Element>(py: Python<'_>, triples: Vec<[T; 3]>) -> PyResult<Bound<'_, PyArray2<T>>> {
    let count = triples.len();
    triples.into_flattened().into_pyarray(py).reshape([count, 3])
}
