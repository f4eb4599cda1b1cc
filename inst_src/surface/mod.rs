//! The surfaces of all labels of a block, in one pass: marching cubes on each label's own binary mask.
//!
//! Between the centres of eight neighbouring voxels lies a cell; where its corners differ, surfaces pass through it.
//! A vertex lies half-way between two neighbouring voxels of different labels, once for either label. The surface of
//! a label is closed (but see [`Block::closed`]), looks outward, and is a manifold: voxels that touch in an edge or a
//! corner only are separated by it.
//!
//! Positions are absolute, in half voxels: voxel `i` spans `2 i` to `2 i + 2`, so that its centre is `2 i + 1` and the
//! vertex between voxels `i` and `i + 1` lies at `2 i + 2`.
//!
//! Labels are numbered in the order in which they appear; rows that repeat the row above are copied. Bit masks per
//! row say where neighbours differ; only there are vertices and cells, so uniform space costs next to nothing. A first
//! walk ([`survey`]) lists the surfaces in the cells and counts what each object has; a second ([`fill`]) writes
//! vertices and triangles straight to their places.

mod cases;
mod dense;
mod fill;
mod survey;
#[cfg(test)]
mod tests;

use std::ops::Range;

use cases::Case;
use dense::Numbers;
use survey::{Count, MOST_WIDE, Survey};

use crate::label_table::Label;
use crate::simd::Level;
use crate::view::View;
use crate::{Error, Result};

/// Which labels get a surface; 0 never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select<'a> {
    /// Every label.
    All,
    /// These, ascending.
    Only(&'a [u64]),
    /// All but these, ascending.
    Except(&'a [u64]),
}

impl Select<'_> {
    fn contains(&self, label: u64) -> bool {
        match self {
            Select::All => true,
            Select::Only(ids) => ids.binary_search(&label).is_ok(),
            Select::Except(ids) => ids.binary_search(&label).is_err(),
        }
    }
}

/// A part of a volume of labels.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a, T> {
    /// The voxels, one channel.
    pub labels: View<'a, T>,
    /// Absolute coordinates of the first voxel, x, y, z.
    pub start: [i32; 3],
    /// For x, y, z and the low and the high side of each: whether background lies beyond the view, so that surfaces
    /// close half a voxel outside the last voxel centre. Otherwise another block continues there, and surfaces end
    /// in the plane through the outermost voxel centres: blocks that share one layer of voxels fit together, every
    /// triangle of the volume belongs to exactly one of them.
    pub closed: [[bool; 2]; 3],
}

/// The surfaces of the labels that have triangles in a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surfaces {
    /// The labels, ascending.
    pub ids: Vec<u64>,
    /// Where the positions of each object begin, and the end of the last.
    pub vertex_offsets: Vec<usize>,
    /// Where the faces of each object begin, and the end of the last.
    pub face_offsets: Vec<usize>,
    /// x, y, z in half voxels.
    pub positions: Vec<[i32; 3]>,
    /// Three indices into the positions of the object, counter-clockwise as seen from outside.
    pub faces: Vec<[u32; 3]>,
}

/// The surface of one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surface<'a> {
    pub id: u64,
    pub positions: &'a [[i32; 3]],
    pub faces: &'a [[u32; 3]],
}

impl Surfaces {
    /// The surface at index `i` of [`Surfaces::ids`].
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, i: usize) -> Surface<'_> {
        let range = |offsets: &[usize]| -> Range<usize> { offsets[i]..offsets[i + 1] };
        Surface {
            id: self.ids[i],
            positions: &self.positions[range(&self.vertex_offsets)],
            faces: &self.faces[range(&self.face_offsets)],
        }
    }

    /// All surfaces by ascending id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Surface<'_>> {
        (0..self.ids.len()).map(|i| self.get(i))
    }
}

/// Memory that is kept from block to block: at its first use most of it costs more than the work.
#[derive(Debug)]
pub struct Scratch {
    cases: Box<[Case; 256]>,
    numbers: Numbers,
    counts: Vec<Count>,
    narrow: Survey<u16>,
    wide: Survey<u32>,
    slots: Vec<u32>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            cases: cases::cases(),
            numbers: Numbers::default(),
            counts: Vec::new(),
            narrow: Survey::default(),
            wide: Survey::default(),
            slots: Vec::new(),
        }
    }
}

/// The surfaces of the selected labels of a block. The order of vertices and faces depends on the block alone.
///
/// # Errors
/// [`Error::Argument`] for several channels, selected ids that do not ascend, or a block whose positions do not fit
/// 32 bits: voxels must lie from -2^30 to below 2^30 - 1. [`Error::Limit`] for more than 2^32 vertices or 2^29 labels.
pub fn extract<T: Label>(block: Block<'_, T>, select: &Select<'_>, scratch: &mut Scratch) -> Result<Surfaces> {
    extract_at(Level::best(), block, select, scratch)
}

fn extract_at<T: Label>(
    level: Level,
    block: Block<'_, T>,
    select: &Select<'_>,
    scratch: &mut Scratch,
) -> Result<Surfaces> {
    check(&block, select)?;
    let Scratch { cases, numbers, counts, narrow, wide, slots } = scratch;
    let done = match survey::survey(level, &block, select, cases, numbers, counts, narrow) {
        // Rare: a block of noise, or a huge one.
        Err(Stop::Labels) => survey::survey(level, &block, select, cases, numbers, counts, wide)
            .map(|()| fill::fill(level, wide, block.start, cases, numbers.labels(), counts, slots)),
        done => done.map(|()| fill::fill(level, narrow, block.start, cases, numbers.labels(), counts, slots)),
    };
    done.map_err(|stop| match stop {
        Stop::Labels => Error::Limit("a block has more than 2^29 labels".into()),
        Stop::Vertices => Error::Limit("an object has more than 2^32 vertices in a block".into()),
    })
}

/// Why a block cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// More labels than the numbers can tell apart.
    Labels,
    /// More vertices than an index of 32 bits can tell apart.
    Vertices,
}

fn check<T>(block: &Block<'_, T>, select: &Select<'_>) -> Result<()> {
    let [channels, depth, height, width] = block.labels.shape();
    if channels != 1 {
        return Err(Error::Argument(format!("labels have one channel, got {channels}")));
    }
    for (start, size) in block.start.into_iter().zip([width, height, depth]) {
        // Twice the end, and twice the voxel before the start, are representable.
        let end = i64::try_from(size).ok().and_then(|size| size.checked_add(i64::from(start)));
        if start < -(1 << 30) || end.is_none_or(|end| end > (1 << 30) - 1) {
            return Err(Error::Argument(format!(
                "voxels must lie from -2^30 to below 2^30 - 1, but a block of {size} begins at {start}"
            )));
        }
    }
    if width > MOST_WIDE - 2 {
        return Err(Error::Limit(format!("a block is at most 2^27 - 2 voxels wide, got {width}")));
    }
    if let Select::Only(ids) | Select::Except(ids) = select
        && !ids.is_sorted_by(|a, b| a < b)
    {
        return Err(Error::Argument("selected ids must ascend".into()));
    }
    Ok(())
}
