//! `morton_codes`, `morton_cells`, `murmurhash3_x86_128`: keys of chunks and shards.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use precast_kernels::morton::MortonGrid;
use precast_kernels::murmur;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_python;

#[pyfunction]
pub fn morton_codes<'py>(
    py: Python<'py>,
    cells: PyReadonlyArray2<'py, u64>,
    grid: Vec<u64>,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let grid = MortonGrid::new(&grid).map_err(to_python)?;
    if cells.shape()[1] != grid.rank() {
        return Err(PyValueError::new_err(format!(
            "cells have {} indices, the grid has {} dimensions",
            cells.shape()[1],
            grid.rank()
        )));
    }
    let cells = cells.as_slice()?;
    let encode = || cells.chunks_exact(grid.rank()).map(|cell| grid.encode(cell)).collect::<Result<Vec<u64>, _>>();
    Ok(PyArray1::from_vec(py, py.detach(encode).map_err(to_python)?))
}

#[pyfunction]
pub fn morton_cells<'py>(
    py: Python<'py>,
    codes: PyReadonlyArray1<'py, u64>,
    grid: Vec<u64>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let grid = MortonGrid::new(&grid).map_err(to_python)?;
    let codes = codes.as_slice()?;
    let mut cells = vec![0; codes.len() * grid.rank()];
    py.detach(|| {
        let mut pairs = codes.iter().zip(cells.chunks_exact_mut(grid.rank()));
        pairs.try_for_each(|(code, cell)| grid.decode(*code, cell))
    })
    .map_err(to_python)?;
    PyArray1::from_vec(py, cells).reshape([codes.len(), grid.rank()])
}

#[pyfunction]
pub fn murmurhash3_x86_128<'py>(
    py: Python<'py>,
    keys: PyReadonlyArray1<'py, u64>,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let keys = keys.as_slice()?;
    let hashes = py.detach(|| keys.iter().map(|&key| murmur::murmurhash3_x86_128(key)).collect());
    Ok(PyArray1::from_vec(py, hashes))
}
