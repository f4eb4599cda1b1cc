//! `extract_surface`.

use std::cell::Cell;

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray2, PyUntypedArray};
use precast_kernels::surface::{Block, Contents, Scratch, Select, plan};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::view;
use crate::dispatch;
use crate::error::to_python;

/// Memory that is kept from call to call of a thread is at most so many bytes.
const KEPT: usize = 64 << 20;

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

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
    // Taken, not borrowed: Python may run other code of this thread in between.
    let mut scratch = SCRATCH.take();
    let arrays = dispatch!(data, "uint32, uint64", [u32, u64], |typed| {
        let block = Block { labels: view(typed)?, start, closed };
        let plan = py.detach(|| plan(block, &select, &mut scratch)).map_err(to_python)?;
        // NumPy has its large arrays in large pages, which makes writing them the first time much cheaper.
        let positions = PyArray2::<i32>::zeros(py, [plan.vertices(), 3], false);
        let faces = PyArray2::<u32>::zeros(py, [plan.faces(), 3], false);
        let (mut to_positions, mut to_faces) = (positions.readwrite(), faces.readwrite());
        let rooms = (triples(&mut to_positions)?, triples(&mut to_faces)?);
        let Contents { ids, vertex_offsets, face_offsets } =
            py.detach(|| plan.write(rooms.0, rooms.1)).map_err(to_python)?;
        drop((to_positions, to_faces));
        let offsets = |offsets: Vec<usize>| PyArray1::from_vec(py, offsets.into_iter().map(|at| at as u64).collect());
        Ok((PyArray1::from_vec(py, ids), offsets(vertex_offsets), offsets(face_offsets), positions, faces))
    });
    if scratch.bytes() <= KEPT {
        SCRATCH.set(scratch);
    }
    arrays
}

fn slice<'a>(ids: &'a PyReadonlyArray1<'_, u64>) -> PyResult<&'a [u64]> {
    ids.as_slice().map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The rows of an array of three columns.
fn triples<'a, T: numpy::Element>(array: &'a mut PyReadwriteArray2<'_, T>) -> PyResult<&'a mut [[T; 3]]> {
    let flat = array.as_slice_mut().map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(flat.as_chunks_mut().0)
}
