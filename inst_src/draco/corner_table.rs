//! Which corner faces which across an edge, and the vertices of a surface in the sense of the format: one per fan.
//!
//! A corner is a number: four times its face plus 0, 1 or 2. Vertex and opposite of a corner then sit in one record
//! of 32 bytes per face, found without a division; the fourth places of the record hold the face's own state.

use crate::error::{Error, Result};

/// No corner, no vertex, no symbol.
pub(super) const NONE: u32 = u32::MAX;

/// Bit of [`Face::mark`]: the connectivity has been written.
pub(super) const WRITTEN: u32 = 1;
/// Bit of [`Face::mark`]: the face has been passed on the way that orders the values.
pub(super) const PASSED: u32 = 2;

/// Most faces, so that every corner has a number below [`NONE`].
pub(super) const MAX_FACES: usize = 1 << 29;

/// The corner after this one in its face, counter-clockwise.
pub(super) fn next(corner: u32) -> u32 {
    if corner & 3 == 2 { corner - 2 } else { corner + 1 }
}

/// The corner before this one in its face.
pub(super) fn prev(corner: u32) -> u32 {
    if corner & 3 == 0 { corner + 2 } else { corner - 1 }
}

/// A face: vertices and opposite corners of its corners 0, 1, 2; in the fourth places `mark` and `symbol`.
#[repr(align(32))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    vertices: [u32; 4],
    opposites: [u32; 4],
}

impl Face {
    pub(super) fn new(vertices: [u32; 3]) -> Face {
        let [a, b, c] = vertices;
        Face { vertices: [a, b, c, 0], opposites: [NONE; 4] }
    }

    /// The three vertices.
    pub(super) fn vertices(&self) -> [u32; 3] {
        [self.vertices[0], self.vertices[1], self.vertices[2]]
    }

    /// What has been done with the face: [`WRITTEN`], [`PASSED`].
    pub(super) fn mark(&mut self) -> &mut u32 {
        &mut self.vertices[3]
    }

    /// Number of the symbol S that the face was written with, or [`NONE`].
    pub(super) fn symbol(&mut self) -> &mut u32 {
        &mut self.opposites[3]
    }
}

/// Faces with their corners; every corner handed to the methods must be one of them, unless they say otherwise.
pub(super) trait Corners {
    fn faces(&self) -> &[Face];
    fn faces_mut(&mut self) -> &mut [Face];

    fn vertex(&self, corner: u32) -> u32 {
        self.faces()[(corner >> 2) as usize].vertices[(corner & 3) as usize]
    }

    fn set_vertex(&mut self, corner: u32, vertex: u32) {
        self.faces_mut()[(corner >> 2) as usize].vertices[(corner & 3) as usize] = vertex;
    }

    /// The corner that faces this one across the edge between its neighbours, or [`NONE`].
    fn opposite(&self, corner: u32) -> u32 {
        self.faces()[(corner >> 2) as usize].opposites[(corner & 3) as usize]
    }

    fn set_opposite(&mut self, corner: u32, opposite: u32) {
        self.faces_mut()[(corner >> 2) as usize].opposites[(corner & 3) as usize] = opposite;
    }

    fn right(&self, corner: u32) -> u32 {
        self.opposite(next(corner))
    }

    fn left(&self, corner: u32) -> u32 {
        self.opposite(prev(corner))
    }

    /// The corner of the same vertex in the next face around it, or [`NONE`]; of [`NONE`], [`NONE`].
    fn swing_left(&self, corner: u32) -> u32 {
        if corner == NONE {
            return NONE;
        }
        let opposite = self.opposite(next(corner));
        if opposite == NONE { NONE } else { next(opposite) }
    }

    /// As [`Corners::swing_left`], the other way round.
    fn swing_right(&self, corner: u32) -> u32 {
        if corner == NONE {
            return NONE;
        }
        let opposite = self.opposite(prev(corner));
        if opposite == NONE { NONE } else { prev(opposite) }
    }

    fn mark(&self, corner: u32) -> u32 {
        self.faces()[(corner >> 2) as usize].vertices[3]
    }

    /// Whether there is no face at this corner, which may be [`NONE`], or it has the mark.
    fn closed(&self, corner: u32, mark: u32) -> bool {
        corner == NONE || self.mark(corner) & mark != 0
    }
}

impl Corners for [Face] {
    fn faces(&self) -> &[Face] {
        self
    }

    fn faces_mut(&mut self) -> &mut [Face] {
        self
    }
}

/// One fan of faces around a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vertex {
    pub(super) position: [i32; 3],
    /// Whether the fan is open: the vertex lies on the border of the surface.
    pub(super) boundary: bool,
    /// Whether its position has been handed to the entropy coder.
    pub(super) emitted: bool,
}

/// A corner as seen from its vertex.
#[derive(Debug, Clone, Copy, Default)]
struct Spoke {
    next: u32,
    prev: u32,
    corner: u32,
}

/// Most corners of a vertex that are matched by comparing each with each.
const SMALL: usize = 64;

/// The surface of a mesh; buffers are used again from mesh to mesh.
#[derive(Debug, Default)]
pub(super) struct CornerTable {
    pub(super) faces: Vec<Face>,
    pub(super) vertices: Vec<Vertex>,
    /// Edges at each vertex, doubled, plus 1 if it is on the border: what the traversal starts from.
    pub(super) valences: Vec<i32>,
    ends: Vec<u32>,
    spokes: Vec<Spoke>,
    links: Links,
}

/// The spokes of one vertex that are joined: to the left neighbour of each.
#[derive(Debug, Default)]
struct Links {
    /// Index of the spoke to the left, or [`NONE`].
    left: Vec<u32>,
    /// Whether there is a spoke to the right.
    entered: Vec<bool>,
    by_next: Vec<(u32, u32)>,
    by_prev: Vec<(u32, u32)>,
}

impl CornerTable {
    /// Join the faces, and split every vertex into one per fan.
    ///
    /// Faces with a repeated index are left out. Two half-edges are joined if they run in opposite directions; if
    /// there are several of the one or the other, the first with the first, and so on. Two faces with the same three
    /// vertices are not joined: a decoder refuses a closed surface of two faces.
    pub(super) fn build(&mut self, positions: &[[i32; 3]], faces: &[[u32; 3]]) -> Result<()> {
        self.collect(positions.len(), faces)?;
        self.vertices.clear();
        self.valences.clear();
        let spokes = std::mem::take(&mut self.spokes);
        let mut nexts = [NONE; SMALL];
        let mut start = 0;
        for (vertex, &position) in positions.iter().enumerate() {
            let end = self.ends[vertex] as usize;
            let around = &spokes[start..end];
            start = end;
            if around.is_empty() {
            } else if around.len() <= SMALL {
                self.small(around, position, &mut nexts);
            } else {
                self.large(around, position);
            }
        }
        self.spokes = spokes;
        Ok(())
    }

    /// Sort the corners of all proper faces by vertex, in the order of the faces.
    fn collect(&mut self, positions: usize, faces: &[[u32; 3]]) -> Result<()> {
        if faces.len() > MAX_FACES || positions >= NONE as usize {
            return Err(Error::Argument(format!(
                "a mesh of {} faces and {positions} vertices is too large: at most {MAX_FACES} faces",
                faces.len()
            )));
        }
        self.faces.clear();
        self.faces.reserve(faces.len());
        self.ends.clear();
        self.ends.resize(positions, 0);
        let mut lookup = |vertex: u32| match self.ends.get_mut(vertex as usize) {
            Some(count) => {
                *count += 1;
                Ok(())
            }
            None => Err(Error::Argument(format!("a face names vertex {vertex}, but there are {positions}"))),
        };
        for &[a, b, c] in faces {
            if a != b && b != c && c != a {
                lookup(a)?;
                lookup(b)?;
                lookup(c)?;
                self.faces.push(Face::new([a, b, c]));
            } else if a.max(b).max(c) as usize >= positions {
                lookup(a.max(b).max(c))?;
            }
        }
        if self.faces.is_empty() {
            return Err(Error::Argument("the mesh has no face with three different vertices".into()));
        }
        let mut sum = 0;
        for count in &mut self.ends {
            sum += std::mem::replace(count, sum);
        }
        // every entry below is written, so what is left of an earlier mesh does no harm
        self.spokes.resize(3 * self.faces.len(), Spoke::default());
        for (face, corner) in self.faces.iter().zip((0u32..).step_by(4)) {
            let [a, b, c] = face.vertices();
            for (vertex, next, prev, corner) in [(a, b, c, corner), (b, c, a, corner + 1), (c, a, b, corner + 2)] {
                let place = &mut self.ends[vertex as usize];
                self.spokes[*place as usize] = Spoke { next, prev, corner };
                *place += 1;
            }
        }
        Ok(())
    }

    /// Join the corners of one vertex by comparing each with each, eight at a time.
    fn small(&mut self, spokes: &[Spoke], position: [i32; 3], nexts: &mut [u32; SMALL]) {
        let padded = spokes.len().next_multiple_of(8);
        for (place, spoke) in nexts.iter_mut().zip(spokes) {
            *place = spoke.next;
        }
        nexts[spokes.len()..padded].fill(NONE);
        let mut left = [0u8; SMALL];
        let mut joined = 0u64;
        let mut entered = 0u64;
        let mut used = 0u64;
        for (i, spoke) in spokes.iter().enumerate() {
            let mut matches = 0u64;
            for (group, shift) in nexts[..padded].as_chunks::<8>().0.iter().zip((0u32..).step_by(8)) {
                let mut bits = 0u32;
                for (lane, &next) in group.iter().enumerate() {
                    bits |= u32::from(next == spoke.prev) << lane;
                }
                matches |= u64::from(bits) << shift;
            }
            matches &= !used;
            if matches == 0 {
                continue;
            }
            let j = matches.trailing_zeros() as usize;
            used |= 1 << j;
            if spokes[j].prev == spoke.next {
                continue;
            }
            left[i] = j as u8;
            joined |= 1 << i;
            entered |= 1 << j;
            self.faces.set_opposite(next(spoke.corner), prev(spokes[j].corner));
        }
        let all = u64::MAX >> (64 - spokes.len());
        if joined == all {
            // the usual case: one closed fan
            let vertex = self.vertices.len() as u32;
            let mut count = 0;
            let mut i = 0;
            loop {
                self.faces.set_vertex(spokes[i].corner, vertex);
                count += 1;
                i = usize::from(left[i]);
                if i == 0 {
                    break;
                }
            }
            if count == spokes.len() {
                self.add(position, count, false);
                return;
            }
        }
        self.links.left.clear();
        self.links.entered.clear();
        for (i, &left) in left[..spokes.len()].iter().enumerate() {
            self.links.left.push(if joined >> i & 1 == 1 { u32::from(left) } else { NONE });
            self.links.entered.push(entered >> i & 1 == 1);
        }
        self.fans(spokes, position);
    }

    /// Join the many corners of one vertex by sorting.
    fn large(&mut self, spokes: &[Spoke], position: [i32; 3]) {
        let Links { left, entered, by_next, by_prev } = &mut self.links;
        by_next.clear();
        by_prev.clear();
        by_next.extend(spokes.iter().zip(0u32..).map(|(spoke, i)| (spoke.next, i)));
        by_prev.extend(spokes.iter().zip(0u32..).map(|(spoke, i)| (spoke.prev, i)));
        by_next.sort_unstable();
        by_prev.sort_unstable();
        left.clear();
        left.resize(spokes.len(), NONE);
        entered.clear();
        entered.resize(spokes.len(), false);
        let mut candidates = by_next.iter().peekable();
        for &(vertex, i) in by_prev.iter() {
            while candidates.next_if(|candidate| candidate.0 < vertex).is_some() {}
            let Some(&(_, j)) = candidates.next_if(|candidate| candidate.0 == vertex) else { continue };
            let (from, to) = (spokes[i as usize], spokes[j as usize]);
            if to.prev == from.next {
                continue;
            }
            left[i as usize] = j;
            entered[j as usize] = true;
            self.faces.set_opposite(next(from.corner), prev(to.corner));
        }
        self.fans(spokes, position);
    }

    /// Make a vertex of every open and then of every closed fan in the links.
    fn fans(&mut self, spokes: &[Spoke], position: [i32; 3]) {
        let mut left = std::mem::take(&mut self.links.left);
        let entered = std::mem::take(&mut self.links.entered);
        for open in [true, false] {
            for first in 0..spokes.len() {
                // a spoke that has been passed points to itself
                if left[first] == first as u32 || (open && entered[first]) {
                    continue;
                }
                let vertex = self.vertices.len() as u32;
                let mut count = 0;
                let mut i = first as u32;
                while i != NONE && left[i as usize] != i {
                    self.faces.set_vertex(spokes[i as usize].corner, vertex);
                    count += 1;
                    i = std::mem::replace(&mut left[i as usize], i);
                }
                self.add(position, count, open);
            }
        }
        self.links.left = left;
        self.links.entered = entered;
    }

    fn add(&mut self, position: [i32; 3], faces: usize, boundary: bool) {
        self.vertices.push(Vertex { position, boundary, emitted: false });
        self.valences.push(((faces as i32 + i32::from(boundary)) << 1) | i32::from(boundary));
    }
}
