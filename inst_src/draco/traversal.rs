//! Edgebreaker: the connectivity as one symbol per face, in the order of a walk over the surface.

use super::corner_table::{CornerTable, Corners, NONE, WRITTEN, next, prev};

/// The next face is to the right, its tip is new.
pub(super) const C: u8 = 0;
/// The walk splits: right first, left later.
pub(super) const S: u8 = 1;
/// Closed to the left.
pub(super) const L: u8 = 2;
/// Closed to the right.
pub(super) const R: u8 = 3;
/// Closed on both sides.
pub(super) const E: u8 = 4;

/// Lists that the symbols are spread over by the valence of the vertex ahead: 2 and less, 3, ... 7 and more.
pub(super) const CONTEXTS: usize = 6;

/// The list for a valence.
pub(super) fn context(valence: i32) -> usize {
    (valence.clamp(2, 7) - 2) as usize
}

/// A face that touches one that had split the walk: the surface has a handle or a second border there.
#[derive(Debug, Clone, Copy)]
pub(super) struct SplitEvent {
    /// Number of the symbol at which it is seen.
    pub(super) source: u32,
    /// Number of the symbol S.
    pub(super) split: u32,
    /// Whether it lies to the right.
    pub(super) right: bool,
}

/// What the walk over a surface gives; buffers are used again.
#[derive(Debug, Default)]
pub(super) struct Traversal {
    /// The corner by which each face was entered, by symbol.
    pub(super) corners: Vec<u32>,
    pub(super) symbols: Vec<u8>,
    /// All symbols but the last, spread over the lists.
    pub(super) contexts: [Vec<u8>; CONTEXTS],
    /// Per component, whether its first face lies inside, so that it has no symbol.
    pub(super) interior: Vec<bool>,
    /// The corners of those first faces.
    pub(super) interior_corners: Vec<u32>,
    pub(super) events: Vec<SplitEvent>,
    /// Number of symbols S.
    pub(super) splits: u32,
    stack: Vec<u32>,
    renamed: Vec<(u32, u32)>,
}

impl Traversal {
    /// Walk over all faces.
    pub(super) fn run(&mut self, table: &mut CornerTable) {
        self.corners.clear();
        self.symbols.clear();
        self.contexts.iter_mut().for_each(Vec::clear);
        self.interior.clear();
        self.interior_corners.clear();
        self.events.clear();
        self.splits = 0;
        self.renamed.clear();
        for face in 0..table.faces.len() as u32 {
            if !table.faces.closed(4 * face, WRITTEN) {
                let start = self.start(table, face);
                self.component(table, start);
            }
        }
        for (corner, vertex) in self.renamed.drain(..).rev() {
            table.faces.set_vertex(corner, vertex);
        }
    }

    /// Choose the corner that a component is entered by.
    fn start(&mut self, table: &mut CornerTable, face: u32) -> u32 {
        let faces = &mut table.faces[..];
        for corner in [4 * face, 4 * face + 1, 4 * face + 2] {
            if faces.opposite(corner) == NONE {
                self.interior.push(false);
                return corner;
            }
            if table.vertices[faces.vertex(corner) as usize].boundary {
                let mut last = corner;
                loop {
                    let right = faces.swing_right(last);
                    if right == NONE {
                        self.interior.push(false);
                        return prev(last);
                    }
                    last = right;
                }
            }
        }
        self.interior.push(true);
        *faces[face as usize].mark() |= WRITTEN;
        for vertex in faces[face as usize].vertices() {
            table.valences[vertex as usize] |= 1;
        }
        self.interior_corners.push(4 * face + 1);
        faces.opposite(4 * face + 1)
    }

    fn component(&mut self, table: &mut CornerTable, start: u32) {
        let CornerTable { faces, valences, .. } = table;
        let faces = &mut faces[..];
        self.stack.clear();
        self.stack.push(start);
        while let Some(&top) = self.stack.last() {
            if faces.closed(top, WRITTEN) {
                self.stack.pop();
                continue;
            }
            let mut corner = top;
            loop {
                let face = &mut faces[(corner >> 2) as usize];
                *face.mark() |= WRITTEN;
                let (tip, ahead, behind) =
                    (faces.vertex(corner), faces.vertex(next(corner)) as usize, faces.vertex(prev(corner)) as usize);
                if let Some(&previous) = self.symbols.last() {
                    self.contexts[context(valences[ahead] >> 1)].push(previous);
                }
                self.corners.push(corner);
                let tip_valence = &mut valences[tip as usize];
                let (right, left) = (faces.right(corner), faces.left(corner));
                if *tip_valence & 1 == 0 {
                    *tip_valence |= 1;
                    valences[ahead] -= 2;
                    valences[behind] -= 2;
                    self.symbols.push(C);
                    corner = right;
                    continue;
                }
                match (faces.closed(right, WRITTEN), faces.closed(left, WRITTEN)) {
                    (true, true) => {
                        *tip_valence -= 4;
                        valences[ahead] -= 4;
                        valences[behind] -= 4;
                        self.touch(faces, right, true);
                        self.touch(faces, left, false);
                        self.symbols.push(E);
                        self.stack.pop();
                        break;
                    }
                    (true, false) => {
                        *tip_valence -= 2;
                        valences[ahead] -= 2;
                        valences[behind] -= 4;
                        self.touch(faces, right, true);
                        self.symbols.push(R);
                        corner = left;
                    }
                    (false, true) => {
                        *tip_valence -= 2;
                        valences[ahead] -= 4;
                        valences[behind] -= 2;
                        self.touch(faces, left, false);
                        self.symbols.push(L);
                        corner = right;
                    }
                    (false, false) => {
                        valences[ahead] -= 2;
                        valences[behind] -= 2;
                        self.split(faces, valences, tip, left, right);
                        *faces[(corner >> 2) as usize].symbol() = self.symbols.len() as u32;
                        self.symbols.push(S);
                        self.splits += 1;
                        *self.stack.last_mut().expect("the corner that the walk began with") = left;
                        self.stack.push(right);
                        break;
                    }
                }
            }
        }
    }

    /// Note a closed neighbour that had split the walk.
    fn touch(&mut self, faces: &mut [super::corner_table::Face], neighbour: u32, right: bool) {
        if neighbour != NONE {
            let split = *faces[(neighbour >> 2) as usize].symbol();
            if split != NONE {
                self.events.push(SplitEvent { source: self.symbols.len() as u32, split, right });
            }
        }
    }

    /// Give the faces to the right of a splitting face a tip of their own, which only the valences need.
    fn split(
        &mut self,
        faces: &mut [super::corner_table::Face],
        valences: &mut Vec<i32>,
        tip: u32,
        left: u32,
        right: u32,
    ) {
        let mut count = 1;
        let mut corner = left;
        while !faces.closed(corner, WRITTEN) {
            count += 1;
            corner = faces.opposite(next(corner));
        }
        valences[tip as usize] = count << 1 | 1;
        let fresh = valences.len() as u32;
        count = 1;
        corner = right;
        while !faces.closed(corner, WRITTEN) {
            count += 1;
            self.renamed.push((next(corner), tip));
            faces.set_vertex(next(corner), fresh);
            corner = faces.opposite(prev(corner));
        }
        valences.push(count << 1 | 1);
    }
}
