//! Bytes-like objects as slices.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The bytes of a contiguous buffer of unsigned bytes: `bytes`, `bytearray`, `memoryview`, an array of uint8.
///
/// The buffer must not be written during the call: the same contract as for every function that releases the
/// interpreter lock.
pub struct Bytes(PyBuffer<u8>);

impl Bytes {
    /// The bytes, in order.
    pub fn as_slice(&self) -> &[u8] {
        if self.0.len_bytes() == 0 {
            return &[];
        }
        // SAFETY: the buffer is contiguous (checked on extraction), holds `len_bytes` bytes and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.0.buf_ptr().cast(), self.0.len_bytes()) }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Bytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::<u8>::get(&object).map_err(|_| {
            PyTypeError::new_err(format!(
                "bytes, bytearray or a memoryview of bytes is needed, not {}",
                object.get_type()
            ))
        })?;
        if !buffer.is_c_contiguous() {
            return Err(PyTypeError::new_err("the bytes must be contiguous; pass bytes(view)"));
        }
        Ok(Bytes(buffer))
    }
}
