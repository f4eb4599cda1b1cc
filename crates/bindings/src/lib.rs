//! `precast._native`: the kernels for Python. One file per kernel; no algorithms here.

mod array;
mod digest;
mod downsample;
mod error;
mod label_table;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(digest::format_digest, module)?)?;
    module.add_function(wrap_pyfunction!(digest::voxel_digest, module)?)?;
    module.add_function(wrap_pyfunction!(downsample::downsample, module)?)?;
    module.add_class::<label_table::LabelTable>()?;
    Ok(())
}
