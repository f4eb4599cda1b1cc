//! `LabelTable`: what every label occupies.

use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArray};
use precast_kernels::label_table::{Entry, LabelTable as Table};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::view;
use crate::dispatch;
use crate::error::to_python;

/// Words of 64 bits of an entry in the exchange with Python.
const WORDS: usize = 8;

/// A table of labels; calls from several threads take turns.
#[pyclass(frozen, module = "precast._native")]
pub struct LabelTable {
    table: Mutex<Table>,
}

impl LabelTable {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl LabelTable {
    #[new]
    fn new() -> LabelTable {
        LabelTable { table: Mutex::default() }
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().len())
    }

    fn update(&self, data: &Bound<'_, PyUntypedArray>, start: [u32; 3], threads: usize) -> PyResult<()> {
        dispatch!(data, "uint32, uint64", [u32, u64], |typed| {
            let labels = view(typed)?;
            data.py().detach(|| self.lock().update(labels, start, threads)).map_err(to_python)
        })
    }

    fn merge(&self, records: PyReadonlyArray2<'_, u64>) -> PyResult<()> {
        let words = records.as_slice().map_err(|error| PyValueError::new_err(error.to_string()))?;
        let (entries, rest) = words.as_chunks::<WORDS>();
        if !rest.is_empty() {
            return Err(PyValueError::new_err("label records have the wrong length"));
        }
        let entries = entries.iter().map(unpack).collect::<PyResult<Vec<_>>>()?;
        records.py().detach(|| self.lock().merge(&entries)).map_err(to_python)
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let words = py.detach(|| {
            let entries = self.lock().take();
            entries.iter().flat_map(pack).collect::<Vec<_>>()
        });
        let len = words.len() / WORDS;
        PyArray1::from_vec(py, words).reshape([len, WORDS])
    }
}

/// An entry in the memory layout of `precast.kernels.LABEL_DTYPE`, little-endian on every machine.
fn pack(entry: &Entry) -> [u64; WORDS] {
    let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let ([x0, y0, z0], [x1, y1, z1], [x, y, z]) = (entry.min, entry.max, entry.sum);
    [entry.id, entry.voxels, two(x0, y0), two(z0, x1), two(y1, z1), x, y, z].map(u64::to_le)
}

fn unpack(words: &[u64; WORDS]) -> PyResult<Entry> {
    let [id, voxels, a, b, c, x, y, z] = words.map(u64::from_le);
    let two = |word: u64| [word as u32, (word >> 32) as u32];
    let ([x0, y0], [z0, x1], [y1, z1]) = (two(a), two(b), two(c));
    let entry = Entry { id, voxels, min: [x0, y0, z0], max: [x1, y1, z1], sum: [x, y, z] };
    if id == 0 || voxels == 0 || (0..3).any(|axis| entry.min[axis] >= entry.max[axis]) {
        return Err(PyValueError::new_err(format!(
            "not a record of a label: id {id}, {voxels} voxels, box {:?} to {:?}",
            entry.min, entry.max
        )));
    }
    Ok(entry)
}
