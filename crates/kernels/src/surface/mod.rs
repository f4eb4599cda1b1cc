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
//! vertices and triangles straight to their places. Both go strip by strip of rows, each through all its planes: what
//! two planes of a strip need stays in the nearer caches. The numbers of voxels are kept of two planes only.

mod cases;
mod dense;
mod fill;
mod survey;
#[cfg(test)]
mod tests;

use std::ops::Range;

use cases::Case;
use dense::Numbers;
use fill::{Next, Room, Slots};
use survey::{Count, Survey};

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
    slots: Slots,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            cases: cases::cases(),
            numbers: Numbers::default(),
            counts: Vec::new(),
            narrow: Survey::default(),
            wide: Survey::default(),
            slots: Slots::default(),
        }
    }
}

impl Scratch {
    /// How many bytes are kept, but for some thousands.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.numbers.bytes()
            + self.counts.capacity() * size_of::<Count>()
            + self.narrow.bytes()
            + self.wide.bytes()
            + self.slots.bytes()
    }
}

/// The surfaces of the selected labels of a block. The order of vertices and faces depends on the block alone.
///
/// # Errors
/// [`Error::Argument`] for several channels, selected ids that do not ascend, or a block whose positions do not fit
/// 32 bits: voxels must lie from -2^30 to below 2^30 - 1. [`Error::Limit`] for more than 2^32 vertices of an object or
/// 2^32 labels.
pub fn extract<T: Label>(block: Block<'_, T>, select: &Select<'_>, scratch: &mut Scratch) -> Result<Surfaces> {
    extract_at(Level::best(), block, select, scratch)
}

fn extract_at<T: Label>(
    level: Level,
    block: Block<'_, T>,
    select: &Select<'_>,
    scratch: &mut Scratch,
) -> Result<Surfaces> {
    let plan = plan_at(level, block, select, scratch)?;
    let mut positions = vec![[0; 3]; plan.vertices()];
    let mut faces = vec![[0; 3]; plan.faces()];
    let Contents { ids, vertex_offsets, face_offsets } = plan.write(&mut positions, &mut faces)?;
    Ok(Surfaces { ids, vertex_offsets, face_offsets, positions, faces })
}

/// Which surfaces there are, and how large they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// As in [`Surfaces`].
    pub ids: Vec<u64>,
    /// As in [`Surfaces`].
    pub vertex_offsets: Vec<usize>,
    /// As in [`Surfaces`].
    pub face_offsets: Vec<usize>,
}

/// The surfaces of a block, found but not yet written: for callers that have memory of their own for them.
#[derive(Debug)]
pub struct Plan<'s> {
    level: Level,
    start: [i32; 3],
    contents: Contents,
    next: Vec<Next>,
    cases: &'s [Case; 256],
    survey: Found<'s>,
    slots: &'s mut Slots,
}

#[derive(Debug)]
enum Found<'s> {
    Narrow(&'s Survey<u16>),
    Wide(&'s Survey<u32>),
}

/// Finds the surfaces of the selected labels of a block.
///
/// # Errors
/// As for [`extract`].
pub fn plan<'s, T: Label>(block: Block<'_, T>, select: &Select<'_>, scratch: &'s mut Scratch) -> Result<Plan<'s>> {
    plan_at(Level::best(), block, select, scratch)
}

fn plan_at<'s, T: Label>(
    level: Level,
    block: Block<'_, T>,
    select: &Select<'_>,
    scratch: &'s mut Scratch,
) -> Result<Plan<'s>> {
    check(&block, select)?;
    let Scratch { cases, numbers, counts, narrow, wide, slots } = scratch;
    let found = match survey::survey(level, &block, select, cases, numbers, counts, narrow) {
        // Rare: a block of noise, or a huge one.
        Err(Stop::Labels) => {
            survey::survey(level, &block, select, cases, numbers, counts, wide).map(|()| Found::Wide(wide))
        }
        done => done.map(|()| Found::Narrow(narrow)),
    };
    let survey = found.map_err(|stop| match stop {
        Stop::Labels => Error::Limit("a block has more than 2^32 labels".into()),
        Stop::Vertices => Error::Limit("an object has more than 2^32 vertices in a block".into()),
    })?;
    let (contents, next) = lay_out(numbers.labels(), counts);
    Ok(Plan { level, start: block.start, contents, next, cases, survey, slots })
}

/// The order of the surfaces, and where those of each number begin.
fn lay_out(labels: &[u64], counts: &[Count]) -> (Contents, Vec<Next>) {
    let mut order: Vec<usize> = (1..counts.len()).filter(|&number| counts[number].faces > 0).collect();
    order.sort_unstable_by_key(|&number| labels[number]);
    let mut contents = Contents { ids: order.iter().map(|&number| labels[number]).collect(), ..Contents::default() };
    let mut next = vec![Next::default(); counts.len()];
    let mut end = Count::default();
    for &number in &order {
        contents.vertex_offsets.push(end.vertices);
        contents.face_offsets.push(end.faces);
        next[number] =
            Next { vertex: 0, positions: end.vertices, face: end.faces, end: end.faces + counts[number].faces };
        end.vertices += counts[number].vertices;
        end.faces += counts[number].faces;
    }
    contents.vertex_offsets.push(end.vertices);
    contents.face_offsets.push(end.faces);
    (contents, next)
}

impl Plan<'_> {
    /// Number of vertices of all surfaces.
    #[must_use]
    pub fn vertices(&self) -> usize {
        self.contents.vertex_offsets.last().copied().unwrap_or(0)
    }

    /// Number of faces of all surfaces.
    #[must_use]
    pub fn faces(&self) -> usize {
        self.contents.face_offsets.last().copied().unwrap_or(0)
    }

    /// Writes the positions and the faces of all surfaces, each behind the one before.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is not as much room as [`Plan::vertices`] and [`Plan::faces`] say.
    pub fn write(self, positions: &mut [[i32; 3]], faces: &mut [[u32; 3]]) -> Result<Contents> {
        if positions.len() != self.vertices() || faces.len() != self.faces() {
            return Err(Error::Argument("positions and faces must be as many as were planned".into()));
        }
        let Plan { level, start, contents, mut next, cases, survey, slots } = self;
        let room = Room { positions, faces };
        match survey {
            Found::Narrow(survey) => fill::fill(level, survey, start, cases, slots, &mut next, room),
            Found::Wide(survey) => fill::fill(level, survey, start, cases, slots, &mut next, room),
        }
        Ok(contents)
    }
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
    if let Select::Only(ids) | Select::Except(ids) = select
        && !ids.is_sorted_by(|a, b| a < b)
    {
        return Err(Error::Argument("selected ids must ascend".into()));
    }
    Ok(())
}
