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
    let codes: Result<Vec<u64>, _> = cells.chunks_exact(grid.rank()).map(|cell| grid.encode(cell)).collect();
    Ok(PyArray1::from_vec(py, codes.map_err(to_python)?))
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
    for (code, cell) in codes.iter().zip(cells.chunks_exact_mut(grid.rank())) {
        grid.decode(*code, cell).map_err(to_python)?;
    }
    PyArray1::from_vec(py, cells).reshape([codes.len(), grid.rank()])
}

#[pyfunction]
pub fn murmurhash3_x86_128<'py>(
    py: Python<'py>,
    keys: PyReadonlyArray1<'py, u64>,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let keys = keys.as_slice()?;
    Ok(PyArray1::from_vec(py, keys.iter().map(|&key| murmur::murmurhash3_x86_128(key)).collect()))
}
