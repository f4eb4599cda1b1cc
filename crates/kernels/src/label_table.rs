//! What every label of a volume occupies: voxel count, bounding box, coordinate sums.
//!
//! All entries are exact integers, and those of a union of blocks are sums,
//! minima and maxima of those of the blocks, so that a table does not depend on
//! how the volume was divided, in which order and by how many threads.
//!
//! Rows are taken apart into runs of one label; a run costs one look-up, none if
//! it has the label of the run before.

use crate::parallel::map_indexed;
use crate::view::View;
use crate::{Error, Result};

/// What one label occupies. Coordinates are x, y, z from the volume's first voxel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The label, never zero.
    pub id: u64,
    /// Number of voxels.
    pub voxels: u64,
    /// Lowest coordinate per axis.
    pub min: [u32; 3],
    /// One above the highest coordinate per axis: the box is half-open.
    pub max: [u32; 3],
    /// Sum of the coordinates per axis; over `voxels`, plus one half, it is the centroid.
    pub sum: [u64; 3],
}

impl Entry {
    const fn new(id: u64) -> Entry {
        Entry { id, voxels: 0, min: [u32::MAX; 3], max: [0; 3], sum: [0; 3] }
    }

    /// Adds another part of the same label; whether a sum overflowed.
    #[inline]
    fn merge(&mut self, other: &Entry) -> bool {
        let mut over = false;
        let mut add = |to: &mut u64, more: u64| {
            let (sum, carry) = to.overflowing_add(more);
            *to = sum;
            over |= carry;
        };
        add(&mut self.voxels, other.voxels);
        for axis in 0..3 {
            add(&mut self.sum[axis], other.sum[axis]);
            self.min[axis] = self.min[axis].min(other.min[axis]);
            self.max[axis] = self.max[axis].max(other.max[axis]);
        }
        over
    }
}

/// A label voxel.
pub trait Label: Copy + PartialEq + Send + Sync {
    /// The label as 64 bits.
    fn id(self) -> u64;
    /// Bit `i` is set where the two differ.
    fn differ(a: &[Self; 16], b: &[Self; 16]) -> u32;
}

impl Label for u32 {
    #[inline(always)]
    fn differ(a: &[u32; 16], b: &[u32; 16]) -> u32 {
        crate::simd::differ_u32(a, b)
    }

    #[inline(always)]
    fn id(self) -> u64 {
        u64::from(self)
    }
}

impl Label for u64 {
    #[inline(always)]
    fn differ(a: &[u64; 16], b: &[u64; 16]) -> u32 {
        crate::simd::differ_u64(a, b)
    }

    #[inline(always)]
    fn id(self) -> u64 {
        self
    }
}

/// Entries of all labels seen so far, found by an open-addressing hash table.
#[derive(Debug, Clone, Default)]
pub struct LabelTable {
    entries: Vec<Entry>,
    /// Index into `entries` plus one, zero for a free slot; the length is a power of two.
    slots: Vec<u32>,
}

/// Voxels below which another thread costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 18;

impl LabelTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> LabelTable {
        LabelTable::default()
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no label was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the block `labels`, one channel, whose first voxel lies at `start` (x, y, z).
    ///
    /// # Errors
    /// [`Error::Argument`] for several channels or a block that reaches coordinate 2^32 - 1;
    /// [`Error::Limit`] if a coordinate sum exceeds 64 bits (a label of 2^32 voxels cannot)
    /// or at 2^32 - 1 labels; after that the table is of no use.
    pub fn update<T: Label>(&mut self, labels: View<'_, T>, start: [u32; 3], threads: usize) -> Result<()> {
        let [channels, depth, height, width] = labels.shape();
        if channels != 1 {
            return Err(Error::Argument(format!("labels have one channel, got {channels}")));
        }
        for (start, size) in start.into_iter().zip([width, height, depth]) {
            if (start as usize).checked_add(size).is_none_or(|end| end > u32::MAX as usize) {
                return Err(Error::Argument(format!(
                    "coordinates must stay below 2^32 - 1, but a block of {size} begins at {start}"
                )));
            }
        }
        let threads = threads.min(depth * height * width / WORTH_A_THREAD).min(depth).max(1);
        if threads == 1 {
            return self.scan(labels, start);
        }
        let parts = map_indexed(
            threads,
            threads,
            || (),
            |(), i| {
                let (from, to) = (depth * i / threads, depth * (i + 1) / threads);
                let mut table = LabelTable::new();
                let part = labels.part([0, from, 0, 0], [1, to - from, height, width])?;
                table.scan(part, [start[0], start[1], start[2] + from as u32])?;
                Ok(table)
            },
        );
        parts.into_iter().try_for_each(|part: Result<LabelTable>| self.merge(part?.entries.iter()))
    }

    /// Adds entries of other tables.
    ///
    /// # Errors
    /// [`Error::Limit`] as for [`LabelTable::update`].
    pub fn merge<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<()> {
        let mut over = false;
        for entry in entries {
            let at = self.find(entry.id)?;
            over |= self.entries[at].merge(entry);
        }
        if over { Err(overflow()) } else { Ok(()) }
    }

    /// The entries by ascending id; the table is empty afterwards.
    #[must_use]
    pub fn take(&mut self) -> Vec<Entry> {
        self.slots = Vec::new();
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by_key(|entry| entry.id);
        entries
    }

    fn scan<T: Label>(&mut self, labels: View<'_, T>, start: [u32; 3]) -> Result<()> {
        let [_, depth, height, width] = labels.shape();
        if width == 0 {
            return Ok(());
        }
        let mut last = (0, 0);
        let mut over = false;
        for z in 0..depth {
            for y in 0..height {
                let row = labels.row(0, z, y);
                let (y, z) = (start[1] + y as u32, start[2] + z as u32);
                let mut begin = 0;
                while begin < width {
                    let value = row[begin];
                    let end = begin + run(&row[begin..], value);
                    let id = value.id();
                    if id != 0 {
                        if id != last.0 {
                            last = (id, self.find(id)?);
                        }
                        let (x0, x1) = (start[0] + begin as u32, start[0] + end as u32);
                        let voxels = (end - begin) as u64;
                        over |= self.entries[last.1].merge(&Entry {
                            id,
                            voxels,
                            min: [x0, y, z],
                            max: [x1, y + 1, z + 1],
                            // Of x0 to x1 - 1; one of the two factors is even.
                            sum: [
                                voxels * (u64::from(x0) + u64::from(x1) - 1) / 2,
                                voxels * u64::from(y),
                                voxels * u64::from(z),
                            ],
                        });
                    }
                    begin = end;
                }
            }
        }
        if over { Err(overflow()) } else { Ok(()) }
    }

    /// Index of the entry of `id`, which is added if missing.
    #[inline]
    fn find(&mut self, id: u64) -> Result<usize> {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow()?;
        }
        let mask = self.slots.len() - 1;
        let mut slot = spread(id) & mask;
        loop {
            match self.slots[slot] {
                0 => {
                    self.entries.push(Entry::new(id));
                    self.slots[slot] = self.entries.len() as u32;
                    return Ok(self.entries.len() - 1);
                }
                index if self.entries[index as usize - 1].id == id => return Ok(index as usize - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    #[cold]
    fn grow(&mut self) -> Result<()> {
        let len = (self.slots.len() * 2).max(64);
        if len > 1 << 32 {
            return Err(Error::Limit(format!("more than {} labels", self.entries.len())));
        }
        self.slots.clear();
        self.slots.resize(len, 0);
        for (i, entry) in self.entries.iter().enumerate() {
            let mut slot = spread(entry.id) & (len - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (len - 1);
            }
            self.slots[slot] = i as u32 + 1;
        }
        Ok(())
    }
}

/// Length of the run of `value` at the beginning of `row`.
#[inline(always)]
fn run<T: Label>(row: &[T], value: T) -> usize {
    // Eight at a time without a branch inside: vector code on every machine.
    let mut n = 0;
    for eight in row.as_chunks::<8>().0 {
        if eight.iter().fold(true, |same, &v| same & (v == value)) {
            n += 8;
        } else {
            break;
        }
    }
    n + row[n..].iter().take_while(|&&v| v == value).count()
}

/// Spreads ids, which are often consecutive or share their low bits, over the table.
#[inline(always)]
pub(crate) fn spread(id: u64) -> usize {
    let mixed = (id ^ (id >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize
}

fn overflow() -> Error {
    Error::Limit("the coordinate sums of a label exceed 64 bits".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(data: &[u64], shape: [usize; 3], start: [u32; 3]) -> Vec<Entry> {
        let mut table = LabelTable::new();
        let view = View::contiguous(data, [1, shape[0], shape[1], shape[2]]).unwrap();
        table.update(view, start, 1).unwrap();
        table.take()
    }

    #[test]
    fn counts_boxes_and_sums_are_exact() {
        let data = [0, 7, 7, u64::MAX, 7, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(
            table(&data, [2, 2, 3], [10, 20, 30]),
            [
                // At (11, 20, 30), (12, 20, 30), (11, 21, 30) and (12, 20, 31).
                Entry { id: 7, voxels: 4, min: [11, 20, 30], max: [13, 22, 32], sum: [46, 81, 121] },
                Entry { id: u64::MAX, voxels: 1, min: [10, 21, 30], max: [11, 22, 31], sum: [10, 21, 30] },
            ]
        );
    }

    #[test]
    fn runs_of_any_length_and_position() {
        for width in 1..40 {
            for cut in 0..=width {
                let row: Vec<u64> = (0..width).map(|x| if x < cut { 5 } else { 6 }).collect();
                let entries = table(&row, [1, 1, width], [0; 3]);
                let voxels: Vec<_> = entries.iter().map(|e| (e.id, e.voxels)).collect();
                let expected: Vec<_> =
                    [(5, cut as u64), (6, (width - cut) as u64)].into_iter().filter(|e| e.1 > 0).collect();
                assert_eq!(voxels, expected, "width {width}, cut {cut}");
            }
        }
    }

    #[test]
    fn threads_and_division_do_not_matter() {
        let shape = [64, 96, 128];
        let data: Vec<u32> = (0..64 * 96 * 128u32).map(|i| (i / 37).wrapping_mul(0x9e37_79b9) >> 20).collect();
        let view = View::contiguous(&data, [1, 64, 96, 128]).unwrap();
        let whole = |threads| {
            let mut table = LabelTable::new();
            table.update(view, [1, 2, 3], threads).unwrap();
            table.take()
        };
        let expected = whole(1);
        assert_eq!(whole(3), expected);
        let mut table = LabelTable::new();
        for x in [(64, 64), (0, 64)] {
            let part = view.part([0, 0, 0, x.0], [1, shape[0], shape[1], x.1]).unwrap();
            table.update(part, [1 + x.0 as u32, 2, 3], 1).unwrap();
        }
        assert_eq!(table.take(), expected);
        assert!(table.is_empty());
    }

    #[test]
    fn ids_that_collide_are_kept_apart() {
        // The same slot in any table: spread() looks at the folded halves alone.
        let data: Vec<u64> = (1..2000u64).map(|i| i << 32 | i).chain(1..2000).collect();
        let entries = table(&data, [1, 1, data.len()], [0; 3]);
        assert_eq!(entries.len(), data.len());
        assert!(entries.iter().all(|entry| entry.voxels == 1));
    }

    #[test]
    fn overflow_and_bad_arguments_are_errors() {
        let view = View::contiguous(&[1u32, 1], [1, 1, 1, 2]).unwrap();
        let mut table = LabelTable::new();
        assert!(matches!(table.update(view, [u32::MAX - 1, 0, 0], 1), Err(Error::Argument(_))));
        table.update(view, [u32::MAX - 2, 0, 0], 1).unwrap();
        let two = View::contiguous(&[1u32, 1], [2, 1, 1, 1]).unwrap();
        assert!(matches!(table.update(two, [0; 3], 1), Err(Error::Argument(_))));
        let huge = Entry { sum: [u64::MAX, 0, 0], ..Entry::new(1) };
        assert!(matches!(table.merge([&huge]), Err(Error::Limit(_))));
    }
}
