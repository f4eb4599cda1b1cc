//! The walk over the planes of a block, and the streams of vertices and triangles that it writes.

use super::cases::{Case, MOST, ends};
use super::dense::{Dense, Numbers};
use super::{Block, Select, Stop, Surfaces};
use crate::label_table::Label;
use crate::versions;

/// What is held of a block: two planes of numbers, and for each of their rows where neighbours differ and which
/// vertices lie there.
///
/// Planes include a layer of background on every closed side.
#[derive(Debug, Default)]
pub struct March<D> {
    /// Rows of numbers, zero beyond the width.
    planes: [Vec<D>; 2],
    /// Rows of words: bit `x` is set where the edge from voxel `x` has two different ends.
    masks: Vec<u64>,
    /// Rows of pairs: the vertex of the low and of the high end's label on the edge from voxel `x`. Only those with a
    /// set bit are meaningful.
    slots: Vec<u32>,
}

/// Vertices and triangles in the order of the walk.
#[derive(Debug, Default)]
pub struct Streams {
    /// Vertices and triangles of each number; those of number 0 mean nothing.
    objects: Vec<Object>,
    vertices: Vec<Vertex>,
    vertex_count: usize,
    faces: Vec<[u32; 3]>,
    face_count: usize,
    /// Number and count of triangles that follow each other: `number << 3 | count`.
    groups: Vec<u32>,
    group_count: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Object {
    vertices: u32,
    faces: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Vertex {
    number: u32,
    position: [i32; 3],
}

/// Extents of the padded block.
#[derive(Debug, Clone, Copy)]
struct Extent {
    width: usize,
    rows: usize,
    /// Words in a row of bits.
    words: usize,
    /// Numbers in a row: whole words, and one more to look at the neighbour.
    stride: usize,
}

/// Kinds of rows: edges along x and y of the planes of either parity, and edges between the planes.
const KINDS: usize = 5;
const ALONG_X: usize = 0;
const ALONG_Y: usize = 2;
const ALONG_Z: usize = 4;

impl Extent {
    /// Index of the row of kind `kind` at `y`.
    #[inline(always)]
    fn row(&self, kind: usize, y: usize) -> usize {
        kind * self.rows + y
    }

    #[inline(always)]
    fn words(&self, kind: usize, y: usize) -> std::ops::Range<usize> {
        let first = self.row(kind, y) * self.words;
        first..first + self.words
    }

    #[inline(always)]
    fn slots(&self, kind: usize, y: usize) -> std::ops::Range<usize> {
        let first = self.row(kind, y) * 2 * self.width;
        first..first + 2 * self.width
    }

    /// The bits of word `word` that belong to voxels with a neighbour on the high side.
    #[inline(always)]
    fn inner(&self, word: usize) -> u64 {
        match self.width - 1 - 64 * word {
            left if left < 64 => (1 << left) - 1,
            _ => u64::MAX,
        }
    }
}

versions! {
    /// Walks over a block and leaves the surfaces in the streams.
    pub fn run [T: Label, D: Dense] [T, D] (
        block: &Block<'_, T>,
        select: &Select<'_>,
        cases: &[Case; 256],
        numbers: &mut Numbers,
        streams: &mut Streams,
        march: &mut March<D>,
    ) -> Result<(), Stop> {
        walk(block, select, cases, numbers, streams, march)
    }
}

#[inline(always)]
fn walk<T: Label, D: Dense>(
    block: &Block<'_, T>,
    select: &Select<'_>,
    cases: &[Case; 256],
    numbers: &mut Numbers,
    streams: &mut Streams,
    march: &mut March<D>,
) -> Result<(), Stop> {
    let [_, nz, ny, nx] = block.labels.shape();
    numbers.reset();
    streams.reset();
    if nx == 0 || ny == 0 || nz == 0 {
        return Ok(());
    }
    let pads = block.closed.map(|sides| sides.map(usize::from));
    let [width, rows, depth] = std::array::from_fn(|axis| [nx, ny, nz][axis] + pads[axis][0] + pads[axis][1]);
    if width == 1 || rows == 1 || depth == 1 {
        // No cells: vertices would have no triangles.
        return Ok(());
    }
    let words = width.div_ceil(64);
    let extent = Extent { width, rows, words, stride: 64 * words + 1 };
    march.reset(&extent);
    // Twice the first voxel of the padded block.
    let origin: [i32; 3] = std::array::from_fn(|axis| 2 * (block.start[axis] - pads[axis][0] as i32));
    for z in 0..depth {
        march.planes.swap(0, 1);
        match z.checked_sub(pads[2][0]).filter(|&z| z < nz) {
            Some(voxel_z) => {
                march.number(block, voxel_z, [pads[0][0], pads[1][0]], &extent, numbers, select)?;
            }
            None => march.planes[1].fill(D::default()),
        }
        streams.objects.resize(numbers.labels().len(), Object::default());
        for y in 0..rows {
            let at = [origin[0], origin[1] + 2 * y as i32, origin[2] + 2 * z as i32];
            march.edges([y, z], at, &extent, streams);
            if y > 0 && z > 0 {
                march.cells([y, z], &extent, cases, streams);
            }
        }
        if u32::try_from(streams.vertex_count).is_err() {
            return Err(Stop::Vertices);
        }
    }
    Ok(())
}

impl<D: Dense> March<D> {
    fn reset(&mut self, extent: &Extent) {
        for plane in &mut self.planes {
            plane.clear();
            plane.resize(extent.rows * extent.stride, D::default());
        }
        self.masks.resize(KINDS * extent.rows * extent.words, 0);
        self.slots.resize(KINDS * extent.rows * 2 * extent.width, 0);
    }

    /// Numbers the voxels of a plane.
    #[inline(always)]
    fn number<T: Label>(
        &mut self,
        block: &Block<'_, T>,
        z: usize,
        pads: [usize; 2],
        extent: &Extent,
        numbers: &mut Numbers,
        select: &Select<'_>,
    ) -> Result<(), Stop> {
        let [_, _, height, width] = block.labels.shape();
        let [below, plane] = &mut self.planes;
        let place = |y: usize| {
            let first = (y + pads[1]) * extent.stride + pads[0];
            first..first + width
        };
        // The padding of a plane that was full of background, or of nothing, is zero and stays so.
        for y in 0..height {
            let row = block.labels.row(0, z, y);
            let (done, rest) = plane.split_at_mut(place(y).start);
            let out = &mut rest[..width];
            match (y.checked_sub(1), z.checked_sub(1)) {
                (Some(above), _) => {
                    numbers.row(row, (block.labels.row(0, z, above), &done[place(above)]), out, select)?;
                }
                (None, Some(before)) => {
                    numbers.row(row, (block.labels.row(0, before, y), &below[place(y)]), out, select)?;
                }
                (None, None) => numbers.first_row(row, out, select)?,
            }
        }
        Ok(())
    }

    /// Finds the edges of a row of voxels that have two different ends, and makes their vertices.
    #[inline(always)]
    fn edges(&mut self, [y, z]: [usize; 2], at: [i32; 3], extent: &Extent, streams: &mut Streams) {
        let [below, plane] = &self.planes;
        let parity = z & 1;
        let row = &plane[y * extent.stride..][..extent.stride];
        // The middle of the edge from voxel 0 along x, of the edge to it along y and of the one along z.
        let kinds = [
            (ALONG_X + parity, row, &row[1..], [at[0] + 2, at[1] + 1, at[2] + 1]),
            (ALONG_Y + parity, above(plane, y, extent), row, [at[0] + 1, at[1], at[2] + 1]),
            (ALONG_Z, &below[y * extent.stride..][..extent.stride], row, [at[0] + 1, at[1] + 1, at[2]]),
        ];
        for (kind, low, high, middle) in kinds {
            if (kind == ALONG_Z && z == 0) || (kind == ALONG_Y + parity && y == 0) {
                continue;
            }
            streams.reserve_vertices(2 * extent.width);
            let masks = &mut self.masks[extent.words(kind, y)];
            let slots = &mut self.slots[extent.slots(kind, y)];
            let blocks = low.as_chunks::<64>().0.iter().zip(high.as_chunks::<64>().0);
            for (word, (mask, (low, high))) in masks.iter_mut().zip(blocks).enumerate() {
                let mut bits = D::differ(low, high);
                if kind == ALONG_X + parity {
                    bits &= extent.inner(word);
                }
                *mask = bits;
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let x = 64 * word + bit;
                    let position = [middle[0] + 2 * x as i32, middle[1], middle[2]];
                    slots[2 * x] = streams.vertex(low[bit].index(), position);
                    slots[2 * x + 1] = streams.vertex(high[bit].index(), position);
                }
            }
        }
    }

    /// Makes the triangles of the cells below a row of voxels, in y and in z.
    #[inline(always)]
    fn cells(&self, [y, z]: [usize; 2], extent: &Extent, cases: &[Case; 256], streams: &mut Streams) {
        let kind = |along: usize, dz: usize| along + ((z + 1 + dz) & 1);
        let mask = |kind: usize, y: usize| &self.masks[extent.words(kind, y)];
        // A cell whose rows are equal at its low x, and each equal to its neighbour, is uniform.
        let masks = [
            mask(kind(ALONG_X, 0), y - 1),
            mask(kind(ALONG_X, 0), y),
            mask(kind(ALONG_X, 1), y - 1),
            mask(kind(ALONG_X, 1), y),
            mask(kind(ALONG_Y, 0), y),
            mask(kind(ALONG_Y, 1), y),
            mask(ALONG_Z, y - 1),
        ];
        let [below, plane] = &self.planes;
        let rows = [
            above(below, y, extent),
            &below[y * extent.stride..][..extent.stride],
            above(plane, y, extent),
            &plane[y * extent.stride..][..extent.stride],
        ];
        // Where the vertex of each corner of a triangle lies for the cell at x = 0.
        let places: [usize; 24] = std::array::from_fn(|corner| {
            let (edge, side) = (corner / 2, corner % 2);
            let low = ends(edge)[0];
            let [dx, dy, dz] = [low & 1, low >> 1 & 1, low >> 2];
            let range = match edge / 4 {
                0 => extent.slots(kind(ALONG_X, dz), y - 1 + dy),
                1 => extent.slots(kind(ALONG_Y, dz), y),
                _ => extent.slots(ALONG_Z, y - 1 + dy),
            };
            range.start + 2 * dx + side
        });
        for word in 0..extent.words {
            let mut bits = masks.iter().fold(0, |bits, mask| bits | mask[word]) & extent.inner(word);
            while bits != 0 {
                let x = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let cell = std::array::from_fn(|corner| rows[corner / 2][x + corner % 2]);
                let mut left = !D::default().corners(&cell);
                streams.reserve_faces();
                while left != 0 {
                    let number = cell[left.trailing_zeros() as usize & 7];
                    let inside = number.corners(&cell);
                    left &= !inside;
                    let case = &cases[usize::from(inside)];
                    streams.triangles(number.index(), case, |corner| self.slots[places[corner] + 2 * x]);
                }
            }
        }
    }
}

/// The row above `y`; for the first any row, which nobody looks at.
#[inline(always)]
fn above<'a, D>(plane: &'a [D], y: usize, extent: &Extent) -> &'a [D] {
    &plane[y.saturating_sub(1) * extent.stride..][..extent.stride]
}

impl Streams {
    fn reset(&mut self) {
        self.objects.clear();
        (self.vertex_count, self.face_count, self.group_count) = (0, 0, 0);
    }

    #[inline(always)]
    fn reserve_vertices(&mut self, more: usize) {
        if self.vertices.len() - self.vertex_count < more {
            grow(&mut self.vertices, more);
        }
    }

    /// Room for the triangles of a cell.
    #[inline(always)]
    fn reserve_faces(&mut self) {
        if self.faces.len() - self.face_count < 8 * MOST {
            grow(&mut self.faces, 8 * MOST);
        }
        if self.groups.len() - self.group_count < 8 {
            grow(&mut self.groups, 8);
        }
    }

    /// Adds a vertex to an object and returns its index there.
    #[inline(always)]
    fn vertex(&mut self, number: usize, position: [i32; 3]) -> u32 {
        let object = &mut self.objects[number];
        let index = object.vertices;
        object.vertices = index.wrapping_add(1);
        // Background is written too, and overwritten by the next.
        self.vertices[self.vertex_count] = Vertex { number: number as u32, position };
        self.vertex_count += usize::from(number != 0);
        index
    }

    #[inline(always)]
    fn triangles(&mut self, number: usize, case: &Case, vertex: impl Fn(usize) -> u32) {
        let count = usize::from(case.triangles);
        let corners = case.corners.as_chunks::<3>().0;
        let faces = &mut self.faces[self.face_count..][..count];
        for (face, corners) in faces.iter_mut().zip(corners) {
            *face = corners.map(|corner| vertex(usize::from(corner)));
        }
        self.face_count += count;
        self.groups[self.group_count] = (number as u32) << 3 | count as u32;
        self.group_count += 1;
        self.objects[number].faces += count;
    }

    /// The surfaces by ascending label; `labels` are those of the numbers.
    pub fn collect(&mut self, labels: &[u64]) -> Surfaces {
        let mut order: Vec<usize> = (1..self.objects.len()).filter(|&number| self.objects[number].faces > 0).collect();
        order.sort_unstable_by_key(|&number| labels[number]);
        let mut surfaces = Surfaces { ids: order.iter().map(|&number| labels[number]).collect(), ..Default::default() };
        // Where the next vertex and the next face of each number go.
        let mut next = vec![(0, 0); self.objects.len()];
        let mut end = (0, 0);
        for &number in &order {
            surfaces.vertex_offsets.push(end.0);
            surfaces.face_offsets.push(end.1);
            next[number] = end;
            end.0 += self.objects[number].vertices as usize;
            end.1 += self.objects[number].faces;
        }
        surfaces.vertex_offsets.push(end.0);
        surfaces.face_offsets.push(end.1);
        surfaces.positions = vec![[0; 3]; end.0];
        surfaces.faces = vec![[0; 3]; end.1];
        for vertex in &self.vertices[..self.vertex_count] {
            let at = &mut next[vertex.number as usize].0;
            surfaces.positions[*at] = vertex.position;
            *at += 1;
        }
        let mut done = 0;
        for group in &self.groups[..self.group_count] {
            let (number, count) = ((group >> 3) as usize, (group & 7) as usize);
            let at = &mut next[number].1;
            surfaces.faces[*at..*at + count].copy_from_slice(&self.faces[done..done + count]);
            done += count;
            *at += count;
        }
        surfaces
    }
}

#[cold]
fn grow<T: Copy + Default>(values: &mut Vec<T>, more: usize) {
    values.resize((values.len() * 2).max(values.len() + more).max(1 << 12), T::default());
}
