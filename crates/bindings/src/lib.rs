//! `precast._native`: the kernels for Python. One file per kernel; no algorithms here.

mod addressing;
mod array;
mod bytes;
mod chunks;
mod digest;
mod downsample;
mod draco;
mod error;
mod gzip;
mod label_table;
mod meshes;
mod server;
mod simplify;
mod surface;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // NumPy's interface is looked up on first use, and an interrupt in that moment would be a panic: use it now
    drop(numpy::PyArray1::<u8>::zeros(module.py(), 0, false));
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("FormatError", module.py().get_type::<error::FormatError>())?;
    module.add_function(wrap_pyfunction!(addressing::morton_codes, module)?)?;
    module.add_function(wrap_pyfunction!(addressing::morton_cells, module)?)?;
    module.add_function(wrap_pyfunction!(addressing::murmurhash3_x86_128, module)?)?;
    module.add_function(wrap_pyfunction!(chunks::encode_chunks, module)?)?;
    module.add_function(wrap_pyfunction!(chunks::decode_compressed_segmentation, module)?)?;
    module.add_function(wrap_pyfunction!(chunks::compressed_segmentation_worst_case_words, module)?)?;
    module.add_function(wrap_pyfunction!(gzip::gzip_compress, module)?)?;
    module.add_function(wrap_pyfunction!(gzip::gzip_decompress, module)?)?;
    module.add_function(wrap_pyfunction!(digest::format_digest, module)?)?;
    module.add_function(wrap_pyfunction!(digest::voxel_digest, module)?)?;
    module.add_function(wrap_pyfunction!(downsample::downsample, module)?)?;
    module.add_function(wrap_pyfunction!(surface::extract_surface, module)?)?;
    module.add_function(wrap_pyfunction!(meshes::mesh_block, module)?)?;
    module.add_function(wrap_pyfunction!(meshes::weld_meshes, module)?)?;
    module.add_function(wrap_pyfunction!(meshes::cut_mesh, module)?)?;
    module.add_function(wrap_pyfunction!(meshes::measure_mesh, module)?)?;
    module.add_function(wrap_pyfunction!(simplify::simplify_mesh, module)?)?;
    module.add_function(wrap_pyfunction!(draco::draco_encode, module)?)?;
    module.add_function(wrap_pyfunction!(draco::draco_decode, module)?)?;
    module.add_class::<label_table::LabelTable>()?;
    module.add_class::<server::DataServer>()?;
    module.add_class::<server::Reply>()?;
    Ok(())
}
