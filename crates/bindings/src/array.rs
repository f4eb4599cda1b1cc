//! NumPy arrays as the kernels' views.

use numpy::{PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use precast_kernels::view::{View, ViewMut};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Shape `(c, z, y, x)` and strides in elements of a 3-D or 4-D array whose rows are contiguous.
pub fn layout(array: &Bound<'_, PyUntypedArray>) -> PyResult<([usize; 4], [usize; 3])> {
    let shape = array.shape();
    let strides = array.strides();
    let item = array.dtype().itemsize() as isize;
    let lead = match shape.len() {
        3 => 1,
        4 => 0,
        n => {
            return Err(PyValueError::new_err(format!(
                "an array of shape (z, y, x) or (c, z, y, x) is needed, not {n}-D"
            )));
        }
    };
    let mut full = [1usize; 4];
    let mut steps = [0usize; 3];
    // The strides of an array without elements mean nothing.
    let empty = shape.contains(&0);
    for (axis, &extent) in shape.iter().enumerate() {
        full[axis + lead] = extent;
        let stride = strides[axis];
        if empty {
            continue;
        }
        if extent > 1 && (stride < 0 || stride % item != 0) {
            return Err(PyValueError::new_err("strides must be whole, non-negative numbers of elements"));
        }
        let step = if extent > 1 { (stride / item) as usize } else { 0 };
        if axis + lead < 3 {
            steps[axis + lead] = step;
        } else if extent > 1 && step != 1 {
            return Err(PyValueError::new_err("the last axis (x) must be contiguous"));
        }
    }
    Ok((full, steps))
}

/// Number of elements from the first to the last that the layout reaches.
fn span(shape: [usize; 4], strides: [usize; 3]) -> usize {
    if shape.contains(&0) {
        return 0;
    }
    (0..3).map(|axis| (shape[axis] - 1) * strides[axis]).sum::<usize>() + shape[3]
}

/// The kernels' read-only view of an array.
///
/// The array must outlive the call and must not be written meanwhile: the same
/// contract as for every function that releases the interpreter lock.
pub fn view<'a, T: numpy::Element>(array: &'a Bound<'_, PyArrayDyn<T>>) -> PyResult<View<'a, T>> {
    let (shape, strides) = layout(array.as_untyped())?;
    if !array.data().is_aligned() {
        return Err(PyValueError::new_err("the array is not aligned to its dtype"));
    }
    let len = span(shape, strides);
    // SAFETY: NumPy guarantees that every element of the layout is readable; strides are non-negative, so
    // all of them lie in `[data, data + span)` and the pointer is aligned (checked above).
    let data: &[T] = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(array.data(), len) } };
    View::new(data, shape, strides).map_err(crate::error::to_python)
}

/// The kernels' writable view of an array; the caller hands over exclusive use for the call.
pub fn view_mut<'a, T: numpy::Element>(array: &'a Bound<'_, PyArrayDyn<T>>) -> PyResult<ViewMut<'a, T>> {
    let (shape, strides) = layout(array.as_untyped())?;
    if !array.data().is_aligned() {
        return Err(PyValueError::new_err("the array is not aligned to its dtype"));
    }
    if array.try_readwrite().is_err() {
        return Err(PyValueError::new_err("the output array is read-only or in use"));
    }
    let len = span(shape, strides);
    // SAFETY: as in `view`; the array is writeable (checked above) and used by nobody else during the call.
    let data: &mut [T] = if len == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(array.data(), len) } };
    ViewMut::new(data, shape, strides).map_err(crate::error::to_python)
}

/// The error for a dtype that a kernel does not take.
pub fn unsupported(array: &Bound<'_, PyUntypedArray>, allowed: &str) -> PyErr {
    PyTypeError::new_err(format!("dtype {} is not supported here; allowed: {allowed}", array.dtype()))
}

/// Runs `$body` with `$typed` bound to the array downcast to the first listed type that it has.
///
/// `dispatch!(array, "allowed text", [u8, u16], |typed| body)`
#[macro_export]
macro_rules! dispatch {
    ($array:expr, $allowed:expr, [$($t:ty),+ $(,)?], |$typed:ident| $body:expr) => {{
        let untyped: &Bound<'_, numpy::PyUntypedArray> = $array;
        $(
            if let Ok($typed) = untyped.cast::<numpy::PyArrayDyn<$t>>() {
                $body
            } else
        )+
        {
            Err($crate::array::unsupported(untyped, $allowed))
        }
    }};
}
