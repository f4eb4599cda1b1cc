//! Pieces, welding, cutting and measuring of meshes.

use std::cell::RefCell;

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray,
    PyUntypedArrayMethods,
};
use precast_kernels::fragments::{Cells, cut};
use precast_kernels::mesh::Mesh;
use precast_kernels::pieces::{Scratch, mesh_block as mesh};
use precast_kernels::simplify::Options;
use precast_kernels::surface::{Block, Select};
use precast_kernels::weld::{fill_cavities, open_vertices, weld};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::view;
use crate::dispatch;
use crate::error::to_python;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

type Positions<'py> = Bound<'py, PyArray2<i32>>;
type Faces<'py> = Bound<'py, PyArray2<u32>>;
type MeshArrays<'py> = (PyReadonlyArray2<'py, i32>, PyReadonlyArray2<'py, u32>);

/// A mesh from arrays of shape `(n, 3)`.
pub fn to_mesh(positions: &PyReadonlyArray2<'_, i32>, faces: &PyReadonlyArray2<'_, u32>) -> PyResult<Mesh> {
    Ok(Mesh { positions: triples(positions, "positions")?, faces: triples(faces, "faces")? })
}

fn triples<T: numpy::Element + Copy>(array: &PyReadonlyArray2<'_, T>, name: &str) -> PyResult<Vec<[T; 3]>> {
    if array.shape()[1] != 3 {
        return Err(PyValueError::new_err(format!("{name} must have the shape (n, 3)")));
    }
    let flat = array
        .as_slice()
        .map_err(|_| PyValueError::new_err(format!("{name} must be contiguous; pass numpy.ascontiguousarray")))?;
    Ok(flat.as_chunks::<3>().0.to_vec())
}

/// An array of shape `(n, 3)`.
pub fn rows<T: numpy::Element>(py: Python<'_>, triples: Vec<[T; 3]>) -> PyResult<Bound<'_, PyArray2<T>>> {
    let count = triples.len();
    triples.into_flattened().into_pyarray(py).reshape([count, 3])
}

/// What `mesh_block` gives: ids, offsets of vertices and faces, positions, faces, errors, full faces, failures.
type PieceArrays<'py> = (
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<u64>>,
    Positions<'py>,
    Faces<'py>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<u64>>,
    Vec<(u64, String)>,
);

/// The simplified surfaces of the labels of a block.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the face of a Python function with named arguments")]
pub fn mesh_block<'py>(
    py: Python<'py>,
    labels: &Bound<'py, PyUntypedArray>,
    start: [i32; 3],
    closed: [[bool; 2]; 3],
    ids: Option<PyReadonlyArray1<'py, u64>>,
    keep: PyReadonlyArray1<'py, u64>,
    units: i32,
    unit_nm: [f64; 3],
    max_error_nm: f64,
    max_rms_nm: f64,
    patch: u32,
    snap: [u32; 3],
) -> PyResult<PieceArrays<'py>> {
    let options = Options { unit_nm, max_error_nm, max_rms_nm, target_faces: 0, patch, snap };
    let keep = keep.as_slice()?;
    let chosen = ids.as_ref().map(|ids| ids.as_slice()).transpose()?;
    let select = match chosen {
        None => Select::All,
        Some(ids) => Select::Only(ids),
    };
    let pieces = dispatch!(labels, "uint32, uint64", [u32, u64], |typed| {
        let block = Block { labels: view(typed)?, start, closed };
        py.detach(|| SCRATCH.with_borrow_mut(|scratch| mesh(block, &select, units, keep, &options, scratch)))
            .map_err(to_python)
    })?;
    Ok((
        pieces.ids.into_pyarray(py),
        pieces.vertex_offsets.into_pyarray(py),
        pieces.face_offsets.into_pyarray(py),
        rows(py, pieces.positions)?,
        rows(py, pieces.faces)?,
        pieces.errors_nm.into_pyarray(py),
        pieces.full_faces.into_pyarray(py),
        pieces.failures,
    ))
}

/// Positions, faces, filled cavities, vertices on seams.
type WeldedArrays<'py> = (Positions<'py>, Faces<'py>, usize, Bound<'py, PyArray1<u32>>);

/// One mesh of several.
#[pyfunction]
pub fn weld_meshes<'py>(py: Python<'py>, pieces: Vec<MeshArrays<'py>>, fill: bool) -> PyResult<WeldedArrays<'py>> {
    let meshes = pieces.iter().map(|(positions, faces)| to_mesh(positions, faces)).collect::<PyResult<Vec<_>>>()?;
    let (welded, filled) = py
        .detach(|| {
            let mut welded = weld(&meshes)?;
            let filled = if fill { fill_cavities(&mut welded)? } else { 0 };
            Ok((welded, filled))
        })
        .map_err(to_python)?;
    let mesh = welded.mesh;
    Ok((rows(py, mesh.positions)?, rows(py, mesh.faces)?, filled, welded.seams.into_pyarray(py)))
}

/// What `cut_mesh` gives: cells, octants, offsets of vertices and faces, positions, faces.
type FragmentArrays<'py> = (
    Bound<'py, PyArray2<u32>>,
    Bound<'py, PyArray1<u8>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<u64>>,
    Positions<'py>,
    Faces<'py>,
);

/// The fragments of one level.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the face of a Python function with named arguments")]
pub fn cut_mesh<'py>(
    py: Python<'py>,
    positions: PyReadonlyArray2<'py, i32>,
    faces: PyReadonlyArray2<'py, u32>,
    width: i32,
    middle: Option<i32>,
    count: [u32; 3],
    snap: i32,
    round: i32,
) -> PyResult<FragmentArrays<'py>> {
    let mesh = to_mesh(&positions, &faces)?;
    let cells = Cells { width, middle, count, snap, round };
    let fragments = py.detach(|| cut(&mesh, &cells)).map_err(to_python)?;
    let mut vertex_offsets = vec![0];
    let mut face_offsets = vec![0];
    let mut all = Mesh::default();
    for fragment in &fragments {
        all.positions.extend_from_slice(&fragment.mesh.positions);
        all.faces.extend_from_slice(&fragment.mesh.faces);
        vertex_offsets.push(all.positions.len() as u64);
        face_offsets.push(all.faces.len() as u64);
    }
    Ok((
        rows(py, fragments.iter().map(|fragment| fragment.cell).collect())?,
        fragments.iter().map(|fragment| fragment.octants).collect::<Vec<_>>().into_pyarray(py),
        vertex_offsets.into_pyarray(py),
        face_offsets.into_pyarray(py),
        rows(py, all.positions)?,
        rows(py, all.faces)?,
    ))
}

/// Area, enclosed volume in cubic units, and the number of vertices on open edges.
#[pyfunction]
pub fn measure_mesh(
    py: Python<'_>,
    positions: PyReadonlyArray2<'_, i32>,
    faces: PyReadonlyArray2<'_, u32>,
    unit: [f64; 3],
) -> PyResult<(f64, f64, usize)> {
    let mesh = to_mesh(&positions, &faces)?;
    py.detach(|| {
        let open = open_vertices(&mesh)?.into_iter().filter(|&open| open).count();
        Ok((mesh.area(unit), mesh.volume6() as f64 / 6.0, open))
    })
    .map_err(to_python)
}
