//! `encode_chunks`, `decode_compressed_segmentation`: chunks of a slab.

use numpy::{PyArrayDyn, PyUntypedArray};
use precast_kernels::chunks::{ChunkCodec, Element, Encoding};
use precast_kernels::compressed_segmentation;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::array::{view, view_mut};
use crate::bytes::Bytes;
use crate::dispatch;
use crate::error::to_python;

#[pyfunction]
pub fn encode_chunks<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyUntypedArray>,
    chunk_size: [usize; 3],
    block_size: Option<[usize; 3]>,
    gzip_level: Option<i32>,
    skip_zero: bool,
    threads: usize,
) -> PyResult<Bound<'py, PyList>> {
    let encoding = block_size.map_or(Encoding::Raw, Encoding::CompressedSegmentation);
    let codec = ChunkCodec { encoding, gzip_level, skip_zero };
    dispatch!(
        data,
        "uint8, int8, uint16, int16, uint32, int32, uint64, float32",
        [u8, i8, u16, i16, u32, i32, u64, f32],
        |typed| encode(py, typed, chunk_size, codec, threads)
    )
}

fn encode<'py, T: numpy::Element + Element>(
    py: Python<'py>,
    data: &Bound<'py, PyArrayDyn<T>>,
    chunk_size: [usize; 3],
    codec: ChunkCodec,
    threads: usize,
) -> PyResult<Bound<'py, PyList>> {
    let source = view(data)?;
    let chunks =
        py.detach(|| precast_kernels::chunks::encode_chunks(source, chunk_size, codec, threads)).map_err(to_python)?;
    // one at a time, so that a chunk never exists twice for longer than its own copy
    let list = PyList::empty(py);
    for chunk in chunks {
        match chunk {
            Some(bytes) => list.append(PyBytes::new(py, &bytes))?,
            None => list.append(py.None())?,
        }
    }
    Ok(list)
}

#[pyfunction]
pub fn decode_compressed_segmentation(
    py: Python<'_>,
    data: Bytes,
    block_size: [usize; 3],
    out: &Bound<'_, PyUntypedArray>,
) -> PyResult<()> {
    let data = data.as_slice();
    dispatch!(out, "uint32, uint64", [u32, u64], |typed| {
        let mut target = view_mut(typed)?;
        py.detach(|| compressed_segmentation::decode(data, block_size, &mut target)).map_err(to_python)
    })
}

#[pyfunction]
pub fn compressed_segmentation_worst_case_words(
    chunk_size: [usize; 3],
    block_size: [usize; 3],
    itemsize: usize,
) -> PyResult<u64> {
    if itemsize != 4 && itemsize != 8 {
        return Err(PyValueError::new_err(format!("labels have 4 or 8 bytes, not {itemsize}")));
    }
    compressed_segmentation::worst_case_words(chunk_size, block_size, itemsize / 4).map_err(to_python)
}
