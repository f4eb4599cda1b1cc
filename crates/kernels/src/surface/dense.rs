//! Labels as small consecutive numbers, so that a cell fits into a register and tables are arrays.

use super::{Select, Stop};
use crate::label_table::{Label, spread};

/// A consecutive number of a label; 0 is what has no surface.
pub trait Dense: Copy + Default + PartialEq {
    /// The highest number.
    const MAX: usize;
    fn of(index: usize) -> Self;
    fn index(self) -> usize;
    /// Bit `i` is set where the two differ.
    fn differ(a: &[Self; 64], b: &[Self; 64]) -> u64;
    /// The numbers at the corners of a cell.
    type Cell: Copy;
    /// A cell of pairs along x: of the lower row of the lower plane, its higher row, and those of the higher plane.
    fn cell(pairs: [[Self; 2]; 4]) -> Self::Cell;
    /// Bit `i` is set where corner `i` is `self`.
    fn corners(self, cell: Self::Cell) -> u8;
}

impl Dense for u16 {
    const MAX: usize = u16::MAX as usize;

    #[inline(always)]
    fn of(index: usize) -> u16 {
        index as u16
    }

    #[inline(always)]
    fn index(self) -> usize {
        usize::from(self)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn differ(a: &[u16; 64], b: &[u16; 64]) -> u64 {
        use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16};
        let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
        let equal = |i: usize| {
            // SAFETY: SSE2 is part of x86-64.
            let mask = unsafe {
                let [low, high] = [2 * i, 2 * i + 1].map(|i| _mm_cmpeq_epi16(register(&a[i]), register(&b[i])));
                _mm_movemask_epi8(_mm_packs_epi16(low, high))
            };
            (mask as u64) << (16 * i)
        };
        !(equal(0) | equal(1) | equal(2) | equal(3))
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn differ(a: &[u16; 64], b: &[u16; 64]) -> u64 {
        differ_plain(a, b)
    }

    #[cfg(target_arch = "x86_64")]
    type Cell = std::arch::x86_64::__m128i;
    #[cfg(not(target_arch = "x86_64"))]
    type Cell = [u16; 8];

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn cell(pairs: [[u16; 2]; 4]) -> Self::Cell {
        let [a, b, c, d] = pairs.map(|[low, high]| (u32::from(low) | u32::from(high) << 16) as i32);
        // SAFETY: SSE2 is part of x86-64.
        unsafe { std::arch::x86_64::_mm_set_epi32(d, c, b, a) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn cell(pairs: [[u16; 2]; 4]) -> Self::Cell {
        cell_plain(pairs)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn corners(self, cell: Self::Cell) -> u8 {
        use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16};
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let equal = _mm_cmpeq_epi16(cell, _mm_set1_epi16(self as i16));
            _mm_movemask_epi8(_mm_packs_epi16(equal, equal)) as u8
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn corners(self, cell: Self::Cell) -> u8 {
        corners_plain(self, cell)
    }
}

/// For blocks of more labels than 16 bits can number.
impl Dense for u32 {
    // The highest marks a free place in the table of numbers.
    const MAX: usize = u32::MAX as usize - 1;

    #[inline(always)]
    fn of(index: usize) -> u32 {
        index as u32
    }

    #[inline(always)]
    fn index(self) -> usize {
        self as usize
    }

    #[inline(always)]
    fn differ(a: &[u32; 64], b: &[u32; 64]) -> u64 {
        differ_plain(a, b)
    }

    type Cell = [u32; 8];

    #[inline(always)]
    fn cell(pairs: [[u32; 2]; 4]) -> [u32; 8] {
        cell_plain(pairs)
    }

    #[inline(always)]
    fn corners(self, cell: [u32; 8]) -> u8 {
        corners_plain(self, cell)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn register(values: &[u16; 8]) -> std::arch::x86_64::__m128i {
    // SAFETY: 16 readable bytes of any alignment; SSE2 is part of x86-64.
    unsafe { std::arch::x86_64::_mm_loadu_si128(values.as_ptr().cast()) }
}

#[inline(always)]
fn differ_plain<D: PartialEq>(a: &[D; 64], b: &[D; 64]) -> u64 {
    a.iter().zip(b).enumerate().fold(0, |mask, (i, (a, b))| mask | u64::from(a != b) << i)
}

#[inline(always)]
fn cell_plain<D: Copy>([[a, b], [c, d], [e, f], [g, h]]: [[D; 2]; 4]) -> [D; 8] {
    [a, b, c, d, e, f, g, h]
}

#[inline(always)]
fn corners_plain<D: PartialEq>(id: D, cell: [D; 8]) -> u8 {
    cell.iter().enumerate().fold(0, |mask, (i, corner)| mask | u8::from(*corner == id) << i)
}

/// Which number each label of the block has, in the order in which they appear.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Label and number by open addressing; [`FREE`] marks a free slot. The length is a power of two.
    slots: Vec<(u64, u32)>,
    used: usize,
    /// The label of each number; the one of 0 is 0.
    labels: Vec<u64>,
}

const FREE: u32 = u32::MAX;

impl Numbers {
    /// Forgets the labels of the block before.
    pub fn reset(&mut self) {
        self.slots.clear();
        self.slots.resize(256, (0, FREE));
        self.used = 0;
        self.labels.clear();
        self.labels.push(0);
    }

    /// How much memory they have.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u64, u32)>() + self.labels.capacity() * size_of::<u64>()
    }

    /// The label of each number.
    pub fn labels(&self) -> &[u64] {
        &self.labels
    }

    #[inline(never)]
    fn number<D: Dense>(&mut self, label: u64, select: &Select<'_>) -> Result<D, Stop> {
        let mask = self.slots.len() - 1;
        let mut slot = spread(label) & mask;
        loop {
            match self.slots[slot] {
                (_, FREE) => break,
                (other, number) if other == label => return Ok(D::of(number as usize)),
                _ => slot = (slot + 1) & mask,
            }
        }
        let number = if select.contains(label) { self.labels.len() } else { 0 };
        if number > D::MAX {
            return Err(Stop::Labels);
        }
        if number > 0 {
            self.labels.push(label);
        }
        self.slots[slot] = (label, number as u32);
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            self.grow();
        }
        Ok(D::of(number))
    }

    #[cold]
    fn grow(&mut self) {
        let len = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![(0, FREE); len]);
        for entry in old.into_iter().filter(|entry| entry.1 != FREE) {
            let mut slot = spread(entry.0) & (len - 1);
            while self.slots[slot].1 != FREE {
                slot = (slot + 1) & (len - 1);
            }
            self.slots[slot] = entry;
        }
    }

    /// Writes the numbers of a row of labels, of which none is known yet.
    pub fn first_row<T: Label, D: Dense>(&mut self, row: &[T], out: &mut [D], select: &Select<'_>) -> Result<(), Stop> {
        let mut last = (0, D::default());
        for (label, out) in row.iter().zip(out) {
            let id = label.id();
            if id != last.0 {
                last = (id, if id == 0 { D::default() } else { self.number(id, select)? });
            }
            *out = last.1;
        }
        Ok(())
    }

    /// Writes the numbers of a row of labels. `above` is another row and its numbers: where they agree, as they
    /// mostly do, nothing is looked up.
    #[inline(always)]
    pub fn row<T: Label, D: Dense>(
        &mut self,
        row: &[T],
        above: (&[T], &[D]),
        out: &mut [D],
        select: &Select<'_>,
    ) -> Result<(), Stop> {
        const STEP: usize = 16;
        let mut last = (0, D::default());
        let mut one = |label: T| {
            let id = label.id();
            if id != last.0 {
                last = (id, if id == 0 { D::default() } else { self.number(id, select)? });
            }
            Ok(last.1)
        };
        out.copy_from_slice(above.1);
        let (steps, rest) = row.as_chunks::<STEP>();
        let (labels, label_rest) = above.0.as_chunks::<STEP>();
        let (outs, out_rest) = out.as_chunks_mut::<STEP>();
        for ((step, labels), out) in steps.iter().zip(labels).zip(outs) {
            let mut bits = T::differ(step, labels);
            while bits != 0 {
                let i = bits.trailing_zeros() as usize % STEP;
                bits &= bits - 1;
                out[i] = one(step[i])?;
            }
        }
        for ((&label, &above), out) in rest.iter().zip(label_rest).zip(out_rest) {
            if label != above {
                *out = one(label)?;
            }
        }
        Ok(())
    }
}
