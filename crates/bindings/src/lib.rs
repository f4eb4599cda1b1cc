//! `precast._native`: the kernels for Python. One file per kernel; no algorithms here.

mod array;
mod error;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
