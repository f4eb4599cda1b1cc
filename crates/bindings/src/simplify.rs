//! `simplify_mesh`: fewer triangles within a distance.

use numpy::{PyArray2, PyReadonlyArray2};
use precast_kernels::simplify::{Options, Scratch, simplify};
use pyo3::prelude::*;

use crate::error::to_python;
use crate::meshes::{rows, to_mesh};

/// Positions, faces, and the distance in nm.
type Reduced<'py> = (Bound<'py, PyArray2<i32>>, Bound<'py, PyArray2<u32>>, f64);

/// Reduces a mesh.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the face of a Python function with named arguments")]
pub fn simplify_mesh<'py>(
    py: Python<'py>,
    positions: PyReadonlyArray2<'py, i32>,
    faces: PyReadonlyArray2<'py, u32>,
    unit_nm: [f64; 3],
    max_error_nm: f64,
    max_rms_nm: f64,
    target_faces: usize,
    patch: u32,
    snap: [u32; 3],
) -> PyResult<Reduced<'py>> {
    let mesh = to_mesh(&positions, &faces)?;
    let options = Options { unit_nm, max_error_nm, max_rms_nm, target_faces, patch, snap };
    let reduced = py.detach(|| simplify(&mesh, &options, &mut Scratch::default())).map_err(to_python)?;
    Ok((rows(py, reduced.mesh.positions)?, rows(py, reduced.mesh.faces)?, reduced.error_nm))
}
