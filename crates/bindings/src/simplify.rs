//! `simplify_mesh`: fewer triangles within a distance.

use std::cell::RefCell;

use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use precast_kernels::simplify::{Near, Options, Scratch, simplify};
use pyo3::prelude::*;

use crate::error::to_python;
use crate::meshes::{rows, to_mesh};

/// Larger meshes give their memory back: about 250 bytes per face.
const KEPT_FACES: usize = 200_000;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

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
    near: Option<PyReadonlyArray1<'py, u32>>,
    edges: usize,
) -> PyResult<Reduced<'py>> {
    let mesh = to_mesh(&positions, &faces)?;
    let options = Options { unit_nm, max_error_nm, max_rms_nm, target_faces, patch, snap };
    let vertices = near.as_ref().map(|near| near.as_slice()).transpose()?;
    let near = vertices.map(|vertices| Near { vertices, edges });
    let reduce = |scratch: &mut Scratch| simplify(&mesh, &options, near, scratch);
    let reduced = py
        .detach(|| match mesh.faces.len() {
            ..=KEPT_FACES => SCRATCH.with_borrow_mut(reduce),
            _ => reduce(&mut Scratch::default()),
        })
        .map_err(to_python)?;
    Ok((rows(py, reduced.mesh.positions)?, rows(py, reduced.mesh.faces)?, reduced.error_nm))
}
