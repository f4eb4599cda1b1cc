//! Kernel errors as Python exceptions. `precast.kernels` turns them into precast's own.

use precast_kernels::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyOverflowError, PyValueError};

/// `Limit` becomes `OverflowError`, everything else `ValueError`.
pub fn to_python(error: Error) -> PyErr {
    match error {
        Error::Limit(text) => PyOverflowError::new_err(text),
        Error::Argument(text) | Error::Format(text) => PyValueError::new_err(text),
    }
}
