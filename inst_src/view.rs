//! Borrowed four-dimensional arrays, `(c, z, y, x)`, with contiguous rows.

use crate::{Error, Result};

/// Checks that every element that a shape and strides can reach lies in `len` elements.
fn check(len: usize, shape: [usize; 4], strides: [usize; 3]) -> Result<()> {
    if shape.contains(&0) {
        return Ok(());
    }
    let mut last = shape[3] - 1;
    for axis in 0..3 {
        last = (shape[axis] - 1)
            .checked_mul(strides[axis])
            .and_then(|step| last.checked_add(step))
            .ok_or_else(|| Error::Argument(format!("strides {strides:?} overflow for shape {shape:?}")))?;
    }
    if last >= len {
        return Err(Error::Argument(format!(
            "a view of shape {shape:?} with strides {strides:?} needs {} elements, but the buffer has {len}",
            last + 1
        )));
    }
    Ok(())
}

/// A read-only view. Strides count elements; the stride of x is one.
#[derive(Debug)]
pub struct View<'a, T> {
    data: &'a [T],
    shape: [usize; 4],
    strides: [usize; 3],
}

// Derived implementations would demand `T: Copy` for what is only a reference.
impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// A view over `data` with `shape` `(c, z, y, x)` and `strides` of c, z and y in elements.
    ///
    /// # Errors
    /// [`Error::Argument`] if an element would lie outside `data`.
    pub fn new(data: &'a [T], shape: [usize; 4], strides: [usize; 3]) -> Result<Self> {
        check(data.len(), shape, strides)?;
        Ok(View { data, shape, strides })
    }

    /// A view over C-contiguous `data`.
    ///
    /// # Errors
    /// [`Error::Argument`] if `data` is shorter than the shape.
    pub fn contiguous(data: &'a [T], shape: [usize; 4]) -> Result<Self> {
        let [_, z, y, x] = shape;
        Self::new(data, shape, [z * y * x, y * x, x])
    }

    /// Extent as `(c, z, y, x)`.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Strides of c, z and y in elements.
    #[must_use]
    pub fn strides(&self) -> [usize; 3] {
        self.strides
    }

    /// The row of x at `(c, z, y)`.
    #[inline]
    #[must_use]
    pub fn row(&self, c: usize, z: usize, y: usize) -> &'a [T] {
        let start = c * self.strides[0] + z * self.strides[1] + y * self.strides[2];
        &self.data[start..start + self.shape[3]]
    }

    /// The buffer from the voxel at `start` `(c, z, y, x)` on, for kernels that step through it by the strides.
    ///
    /// # Panics
    /// If the voxel lies outside the buffer.
    #[inline]
    #[must_use]
    pub fn from_voxel(&self, start: [usize; 4]) -> &'a [T] {
        &self.data[start[0] * self.strides[0] + start[1] * self.strides[1] + start[2] * self.strides[2] + start[3]..]
    }

    /// The part `[start, start + shape)` of this view, both `(c, z, y, x)`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the part does not lie inside.
    pub fn part(&self, start: [usize; 4], shape: [usize; 4]) -> Result<View<'a, T>> {
        for axis in 0..4 {
            if start[axis].checked_add(shape[axis]).is_none_or(|end| end > self.shape[axis]) {
                return Err(Error::Argument(format!(
                    "the part {start:?} + {shape:?} does not lie inside {:?}",
                    self.shape
                )));
            }
        }
        let offset = if shape.contains(&0) {
            0
        } else {
            start[0] * self.strides[0] + start[1] * self.strides[1] + start[2] * self.strides[2] + start[3]
        };
        View::new(&self.data[offset..], shape, self.strides)
    }
}

/// A view that can be written. Strides count elements; the stride of x is one.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    data: &'a mut [T],
    shape: [usize; 4],
    strides: [usize; 3],
}

impl<'a, T> ViewMut<'a, T> {
    /// As [`View::new`].
    ///
    /// # Errors
    /// [`Error::Argument`] if an element would lie outside `data`.
    pub fn new(data: &'a mut [T], shape: [usize; 4], strides: [usize; 3]) -> Result<Self> {
        check(data.len(), shape, strides)?;
        Ok(ViewMut { data, shape, strides })
    }

    /// A view over C-contiguous `data`.
    ///
    /// # Errors
    /// [`Error::Argument`] if `data` is shorter than the shape.
    pub fn contiguous(data: &'a mut [T], shape: [usize; 4]) -> Result<Self> {
        let [_, z, y, x] = shape;
        Self::new(data, shape, [z * y * x, y * x, x])
    }

    /// Extent as `(c, z, y, x)`.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Strides of c, z and y in elements.
    #[must_use]
    pub fn strides(&self) -> [usize; 3] {
        self.strides
    }

    /// The row of x at `(c, z, y)`.
    #[inline]
    pub fn row_mut(&mut self, c: usize, z: usize, y: usize) -> &mut [T] {
        let start = c * self.strides[0] + z * self.strides[1] + y * self.strides[2];
        &mut self.data[start..start + self.shape[3]]
    }

    /// The buffer from the first element on, for kernels that divide it among threads.
    #[must_use]
    pub fn into_slice(self) -> &'a mut [T] {
        self.data
    }
}
