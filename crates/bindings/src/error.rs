//! Kernel errors as Python exceptions. `precast.kernels` turns them into precast's own.

use precast_kernels::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyOverflowError, PyValueError};

pyo3::create_exception!(_native, FormatError, PyValueError, "Bytes that were read do not follow the format.");

/// `Limit` becomes `OverflowError`, `Format` this module's `FormatError`, which is a `ValueError`, and `Argument` a
/// plain `ValueError`.
pub fn to_python(error: Error) -> PyErr {
    match error {
        Error::Limit(text) => PyOverflowError::new_err(text),
        Error::Format(text) => FormatError::new_err(text),
        Error::Argument(text) => PyValueError::new_err(text),
    }
}
