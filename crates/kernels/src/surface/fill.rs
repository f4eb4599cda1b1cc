//! The second walk over a block: vertices and triangles, written where they belong.

use super::cases::{Case, MOST, ends};
use super::dense::Dense;
use super::survey::{AXES, Group, STRIP, Survey};
use crate::versions;

/// Where the next vertex and the next triangle of an object go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Next {
    /// Index of the vertex in its object.
    pub vertex: u32,
    /// Index of the object's first position.
    pub positions: usize,
    pub face: usize,
    /// The end of the object's triangles.
    pub end: usize,
}

/// Which vertices lie on the edges of a strip.
#[derive(Debug, Default)]
pub struct Slots {
    /// Slots of a row: one for every axis and voxel.
    row: usize,
    /// For either parity of z, for the row before the strip and those of the strip: the vertices of the labels at the
    /// low and at the high end. Only those of edges with different ends are meaningful.
    planes: Vec<[u32; 2]>,
    /// The last row of the strip before in every plane.
    border: Vec<[u32; 2]>,
    /// For either parity of z the cases.
    places: [Vec<Places>; 2],
}

/// The triangles of a case in one cell.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Places {
    triangles: usize,
    /// For every corner of the triangles, how much further the vertex lies than the slots of the cell's first row.
    corners: [usize; 3 * MOST],
}

impl Slots {
    /// Rows of a plane.
    const ROWS: usize = STRIP + 1;

    /// How much memory they have.
    pub fn bytes(&self) -> usize {
        (self.planes.capacity() + self.border.capacity()) * size_of::<[u32; 2]>()
    }

    fn reset(&mut self, width: usize, depth: usize, cases: &[Case; 256]) {
        self.row = AXES * width;
        self.planes.resize(2 * Slots::ROWS * self.row, [0; 2]);
        self.border.resize(depth * self.row, [0; 2]);
        for (parity, places) in self.places.iter_mut().enumerate() {
            // Edges along y and z belong to their high end.
            let corners: [usize; 24] = std::array::from_fn(|corner| {
                let (edge, side) = (corner / 2, corner % 2);
                let axis = edge / 4;
                let low = ends(edge)[0] | if axis > 0 { 1 << axis } else { 0 };
                let (x, y, z) = (low & 1, low >> 1 & 1, low >> 2);
                // The cell before a plane of z: its high end has the parity of z.
                let plane = if z == 1 { parity } else { 1 - parity };
                2 * ((plane * Slots::ROWS + y) * self.row + axis * width + x) + side
            });
            places.clear();
            places.extend(cases.iter().map(|case| Places {
                triangles: usize::from(case.triangles),
                corners: case.corners.map(|corner| corners[usize::from(corner)]),
            }));
        }
    }

    /// Where the slots of a row of a strip, or of the last of the strip before, begin.
    #[inline(always)]
    fn first(&self, z: usize, y: usize, strip: usize) -> usize {
        ((z & 1) * Slots::ROWS + y + 1 - strip) * self.row
    }
}

/// Where all surfaces go.
pub struct Room<'a> {
    pub positions: &'a mut [[i32; 3]],
    pub faces: &'a mut [[u32; 3]],
}

versions! {
    /// Writes the vertices and the triangles; `next` says for every number where they go.
    pub fn fill [D: Dense] [D] (
        survey: &Survey<D>,
        start: [i32; 3],
        cases: &[Case; 256],
        slots: &mut Slots,
        next: &mut [Next],
        room: Room<'_>,
    ) {
        walk(survey, start, cases, slots, next, room)
    }
}

#[inline(always)]
fn walk<D: Dense>(
    survey: &Survey<D>,
    start: [i32; 3],
    cases: &[Case; 256],
    slots: &mut Slots,
    next: &mut [Next],
    Room { positions, faces }: Room<'_>,
) {
    let extent = survey.extent;
    slots.reset(extent.width, extent.depth, cases);
    // Twice the first voxel of the padded block. That of the lowest background does not fit, but no vertex lies there:
    // what wraps around here comes back.
    let origin: [i32; 3] = std::array::from_fn(|axis| (start[axis] - extent.pads[axis] as i32).wrapping_mul(2));
    let (mut done, mut row) = (0, 0);
    let mut edges = survey.ends.iter();
    for strip in extent.strips() {
        for z in 0..extent.depth {
            let border = z * slots.row..(z + 1) * slots.row;
            if strip.start > 0 {
                let first = slots.first(z, strip.start - 1, strip.start);
                slots.planes[first..first + slots.row].copy_from_slice(&slots.border[border.clone()]);
            }
            for y in strip.clone() {
                let low = [origin[0], origin[1].wrapping_add(2 * y as i32), origin[2].wrapping_add(2 * z as i32)];
                let first = slots.first(z, y, strip.start);
                let here = &mut slots.planes[first..first + slots.row];
                vertices(survey, &mut edges, [z, y], low, here, positions, next);
                let end = survey.group_ends[row];
                row += 1;
                if done < end {
                    let first = slots.first(0, y - 1, strip.start);
                    let (places, slots) = (&slots.places[z & 1], slots.planes[first..].as_flattened());
                    triangles(&survey.groups[done..end], places, slots, faces, next);
                }
                done = end;
            }
            let first = slots.first(z, strip.end - 1, strip.start);
            slots.border[border].copy_from_slice(&slots.planes[first..first + slots.row]);
        }
    }
}

/// Writes the vertices on the edges of a row; `low` is twice its first voxel.
#[inline(always)]
fn vertices<D: Dense>(
    survey: &Survey<D>,
    edges: &mut std::slice::Iter<'_, [D; 2]>,
    [z, y]: [usize; 2],
    low: [i32; 3],
    slots: &mut [[u32; 2]],
    positions: &mut [[i32; 3]],
    next: &mut [Next],
) {
    for (axis, slots) in slots.chunks_exact_mut(survey.extent.width).enumerate() {
        // From voxel 0: half a voxel further across the edge; along it, x is the high side and y and z the low one.
        let mut middle = low.map(|corner| corner.wrapping_add(1));
        middle[axis] = if axis == 0 { low[0].wrapping_add(2) } else { low[axis] };
        for (word, &mask) in survey.mask(z, y, axis).iter().enumerate() {
            let mut bits = mask;
            while bits != 0 {
                let x = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let position = [middle[0].wrapping_add(2 * x as i32), middle[1], middle[2]];
                let Some(ends) = edges.next() else { return };
                slots[x] = ends.map(|number| {
                    if number == D::default() {
                        return 0;
                    }
                    let next = &mut next[number.index()];
                    let vertex = next.vertex;
                    positions[next.positions + vertex as usize] = position;
                    next.vertex += 1;
                    vertex
                });
            }
        }
    }
}

/// Writes the triangles of the cells before a row, in y and in z.
#[inline(always)]
fn triangles<D: Dense>(
    groups: &[Group<D>],
    places: &[Places],
    slots: &[u32],
    faces: &mut [[u32; 3]],
    next: &mut [Next],
) {
    let Some(places) = places.first_chunk::<256>() else { return };
    let mut x = 0;
    for group in groups {
        x += 2 * usize::from(group.step);
        let places = &places[usize::from(group.case)];
        let next = &mut next[group.number.index()];
        let count = places.triangles;
        let triangle = |t: usize| [0, 1, 2].map(|corner| slots[places.corners[3 * t + corner] + x]);
        if next.end - next.face >= MOST {
            // Most have two: the processor guesses better what is always done, and what is too much is written over.
            let faces: &mut [[u32; 3]] = &mut faces[next.face..][..MOST];
            faces[0] = triangle(0);
            faces[1] = triangle(1);
            if count > 2 {
                faces[2] = triangle(2);
                faces[3] = triangle(3);
                faces[4] = triangle(4);
            }
        } else {
            for (t, face) in faces[next.face..][..count].iter_mut().enumerate() {
                *face = triangle(t);
            }
        }
        next.face += count;
    }
}
