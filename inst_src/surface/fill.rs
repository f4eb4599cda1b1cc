//! The second walk over a block: vertices and triangles, written where they belong.

use super::Surfaces;
use super::cases::{Case, MOST, ends};
use super::dense::Dense;
use super::survey::{AXES, Count, Survey, ungroup};
use crate::versions;

/// Where the next vertex and the next triangle of an object go.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    /// Index of the vertex in its object.
    vertex: u32,
    /// Index of the object's first position.
    positions: usize,
    face: usize,
    /// The end of the object's triangles.
    end: usize,
}

/// The vertices on the edges of two planes: for either parity of z, for every axis and row pairs, of the vertex of
/// the low and of the high end's label. Only those of edges with different ends are meaningful.
#[derive(Debug, Clone, Copy)]
struct Slots {
    rows: usize,
    /// Slots in a row.
    stride: usize,
}

impl Slots {
    #[inline(always)]
    fn first(&self, z: usize, y: usize, axis: usize) -> usize {
        (((z & 1) * AXES + axis) * self.rows + y) * self.stride
    }
}

versions! {
    /// The surfaces by ascending label; `labels` are those of the numbers.
    pub fn fill [D: Dense] [D] (
        survey: &Survey<D>,
        start: [i32; 3],
        cases: &[Case; 256],
        labels: &[u64],
        counts: &[Count],
        slots: &mut Vec<u32>,
    ) -> Surfaces {
        let (mut surfaces, mut next) = layout(labels, counts);
        walk(survey, start, cases, slots, &mut surfaces, &mut next);
        surfaces
    }
}

/// Room for the surfaces, and where those of each number begin.
fn layout(labels: &[u64], counts: &[Count]) -> (Surfaces, Vec<Next>) {
    let mut order: Vec<usize> = (1..counts.len()).filter(|&number| counts[number].faces > 0).collect();
    order.sort_unstable_by_key(|&number| labels[number]);
    let mut surfaces = Surfaces { ids: order.iter().map(|&number| labels[number]).collect(), ..Default::default() };
    let mut next = vec![Next::default(); counts.len()];
    let mut end = Count::default();
    for &number in &order {
        surfaces.vertex_offsets.push(end.vertices);
        surfaces.face_offsets.push(end.faces);
        next[number] =
            Next { vertex: 0, positions: end.vertices, face: end.faces, end: end.faces + counts[number].faces };
        end.vertices += counts[number].vertices;
        end.faces += counts[number].faces;
    }
    surfaces.vertex_offsets.push(end.vertices);
    surfaces.face_offsets.push(end.faces);
    // One more: the end of edges in the background is written there.
    surfaces.positions = vec![[0; 3]; end.vertices + 1];
    next[0].positions = end.vertices;
    surfaces.faces = vec![[0; 3]; end.faces];
    (surfaces, next)
}

#[inline(always)]
fn walk<D: Dense>(
    survey: &Survey<D>,
    start: [i32; 3],
    cases: &[Case; 256],
    slots: &mut Vec<u32>,
    surfaces: &mut Surfaces,
    next: &mut [Next],
) {
    let extent = survey.extent;
    let layout = Slots { rows: extent.rows, stride: 2 * extent.width };
    slots.resize(2 * AXES * extent.rows * layout.stride, 0);
    // Twice the first voxel of the padded block.
    let origin: [i32; 3] = std::array::from_fn(|axis| 2 * (start[axis] - extent.pads[axis] as i32));
    let mut done = 0;
    for z in 0..extent.depth {
        for y in 0..extent.rows {
            let low = [origin[0], origin[1] + 2 * y as i32, origin[2] + 2 * z as i32];
            vertices(survey, [z, y], low, layout, slots, &mut surfaces.positions, next);
            let end = survey.ends[extent.row(z, y)];
            if done < end {
                triangles(&survey.groups[done..end], [z, y], layout, cases, slots, &mut surfaces.faces, next);
            }
            done = end;
        }
    }
    surfaces.positions.pop();
}

/// Writes the vertices on the edges of a row; `low` is twice its first voxel.
#[inline(always)]
fn vertices<D: Dense>(
    survey: &Survey<D>,
    [z, y]: [usize; 2],
    low: [i32; 3],
    layout: Slots,
    slots: &mut [u32],
    positions: &mut [[i32; 3]],
    next: &mut [Next],
) {
    let row = survey.row(z, y);
    let neighbours =
        [(row, &row[1..]), (survey.row(z, y.saturating_sub(1)), row), (survey.row(z.saturating_sub(1), y), row)];
    for (axis, (near, far)) in neighbours.into_iter().enumerate() {
        // From voxel 0: half a voxel further across the edge; along it, x is the high side and y and z the low one.
        let mut middle = low.map(|corner| corner + 1);
        middle[axis] = if axis == 0 { low[0] + 2 } else { low[axis] };
        let slots = &mut slots[layout.first(z, y, axis)..][..layout.stride];
        for (word, &mask) in survey.mask(z, y, axis).iter().enumerate() {
            let mut bits = mask;
            while bits != 0 {
                let x = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let position = [middle[0] + 2 * x as i32, middle[1], middle[2]];
                for (side, number) in [near[x], far[x]].into_iter().enumerate() {
                    let next = &mut next[number.index()];
                    slots[2 * x + side] = next.vertex;
                    positions[next.positions + next.vertex as usize] = position;
                    next.vertex += u32::from(number != D::default());
                }
            }
        }
    }
}

/// Writes the triangles of the cells before a row, in y and in z.
#[inline(always)]
fn triangles(
    groups: &[u64],
    [z, y]: [usize; 2],
    layout: Slots,
    cases: &[Case; 256],
    slots: &[u32],
    faces: &mut [[u32; 3]],
    next: &mut [Next],
) {
    // Where the vertex of each corner of a triangle lies for the cell at x = 0.
    let places: [usize; 32] = std::array::from_fn(|corner| {
        let (edge, side) = (corner / 2 % 12, corner % 2);
        let low = ends(edge)[0];
        let (x, y, z) = (low & 1, y - 1 + (low >> 1 & 1), z - 1 + (low >> 2));
        // Edges along y and z belong to their high end.
        let first = match edge / 4 {
            0 => layout.first(z, y, 0),
            1 => layout.first(z, y + 1, 1),
            _ => layout.first(z + 1, y, 2),
        };
        first + 2 * x + side
    });
    for &group in groups {
        let (case, x, number) = ungroup(group);
        let case = &cases[usize::from(case)];
        let next = &mut next[number];
        let count = usize::from(case.triangles);
        let triangle = |t: usize| {
            let corners: &[u8; 3] = &case.corners.as_chunks::<3>().0[t];
            corners.map(|corner| slots[places[usize::from(corner & 31)] + 2 * x])
        };
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
