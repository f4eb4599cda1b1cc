//! Pieces of an object become one mesh: vertices on open edges that have the same position are the same vertex.
//!
//! Only vertices on open edges are joined. Inside a piece two sheets may touch in a point; joining them there would
//! make edges that more than two faces share.

use std::collections::HashMap;

use crate::mesh::Mesh;
use crate::{Error, Result};

/// Vertices that hang together by faces: union-find.
struct Components {
    parent: Vec<u32>,
}

impl Components {
    fn new(vertices: usize) -> Components {
        Components { parent: (0..vertices as u32).collect() }
    }

    fn root(&mut self, mut v: u32) -> u32 {
        while self.parent[v as usize] != v {
            self.parent[v as usize] = self.parent[self.parent[v as usize] as usize];
            v = self.parent[v as usize];
        }
        v
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        // the lower number wins, so that roots do not depend on the order of the faces
        let (low, high) = (a.min(b), a.max(b));
        self.parent[high as usize] = low;
    }
}

/// Marks the vertices on open edges: where the faces around a vertex, passed in order, do not come back to their start.
///
/// Each face that turns around a vertex from `a` to `b` adds a number of `a` and takes away one of `b`; around closed
/// fans the sum is zero. The numbers are 64 bits of a hash, so that a sum that is zero by chance does not occur.
///
/// # Errors
/// [`Error::Argument`] if a face names a vertex that is not there.
pub fn open_vertices(mesh: &Mesh) -> Result<Vec<bool>> {
    let mut sums = vec![0u64; mesh.positions.len()];
    for &[a, b, c] in &mesh.faces {
        if let Some(v) = [a, b, c].into_iter().find(|&v| v as usize >= sums.len()) {
            return Err(Error::Argument(format!("a face names vertex {v}, but there are only {}", sums.len())));
        }
        let [ha, hb, hc] = [a, b, c].map(number_of);
        sums[a as usize] = sums[a as usize].wrapping_add(hb).wrapping_sub(hc);
        sums[b as usize] = sums[b as usize].wrapping_add(hc).wrapping_sub(ha);
        sums[c as usize] = sums[c as usize].wrapping_add(ha).wrapping_sub(hb);
    }
    Ok(sums.into_iter().map(|sum| sum != 0).collect())
}

/// 64 well-mixed bits for a vertex (the finaliser of SplitMix64, Steele et al. 2014).
#[inline]
fn number_of(vertex: u32) -> u64 {
    let mut x = u64::from(vertex).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Edges `(low, high)`, each once, with how often faces pass them upward minus downward; the closed ones have 0.
fn edge_balance(mesh: &Mesh) -> Result<Vec<((u32, u32), i32)>> {
    let vertices = mesh.positions.len();
    let mut edges = Vec::with_capacity(mesh.faces.len() * 3);
    for face in &mesh.faces {
        for k in 0..3 {
            let (a, b) = (face[k], face[(k + 1) % 3]);
            if a as usize >= vertices {
                return Err(Error::Argument(format!("a face names vertex {a}, but there are only {vertices}")));
            }
            edges.push(if a < b { (a, b, 1) } else { (b, a, -1) });
        }
    }
    edges.sort_unstable();
    let mut out: Vec<((u32, u32), i32)> = Vec::with_capacity(edges.len() / 2);
    for (a, b, direction) in edges {
        match out.last_mut() {
            Some((edge, balance)) if *edge == (a, b) => *balance += direction,
            _ => out.push(((a, b), direction)),
        }
    }
    Ok(out)
}

/// Number of edges that are not balanced: 0 if the mesh is closed.
///
/// # Errors
/// [`Error::Argument`] if a face names a vertex that is not there.
pub fn open_edges(mesh: &Mesh) -> Result<usize> {
    Ok(edge_balance(mesh)?.iter().filter(|(_, balance)| *balance != 0).count())
}

/// Pieces put together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Welded {
    pub mesh: Mesh,
    /// Vertices that several pieces share, ascending.
    pub seams: Vec<u32>,
}

/// Puts pieces together.
///
/// Positions on open edges are compared exactly, so the pieces must be on one lattice. The order of vertices and
/// faces follows the order of the pieces.
///
/// # Errors
/// [`Error::Argument`] if a face names a vertex that is not there, or there are more than 2^32 - 1 vertices.
pub fn weld(pieces: &[Mesh]) -> Result<Welded> {
    let vertices: usize = pieces.iter().map(|piece| piece.positions.len()).sum();
    if vertices >= u32::MAX as usize {
        return Err(Error::Argument(format!("{vertices} vertices are too many for one mesh")));
    }
    if let [only] = pieces {
        return Ok(Welded { mesh: only.clone(), seams: Vec::new() });
    }
    let mut mesh = Mesh {
        positions: Vec::with_capacity(vertices),
        faces: Vec::with_capacity(pieces.iter().map(|piece| piece.faces.len()).sum()),
    };
    let mut shared = Vec::new();
    let mut seams: HashMap<[i32; 3], u32> = HashMap::new();
    let mut number = Vec::new();
    for piece in pieces {
        let open = open_vertices(piece)?;
        number.clear();
        for (position, &open) in piece.positions.iter().zip(&open) {
            let next = mesh.positions.len() as u32;
            let v = if open { *seams.entry(*position).or_insert(next) } else { next };
            if v == next {
                mesh.positions.push(*position);
            } else {
                shared.push(v);
            }
            number.push(v);
        }
        mesh.faces.extend(piece.faces.iter().map(|face| face.map(|v| number[v as usize])));
    }
    shared.sort_unstable();
    shared.dedup();
    Ok(Welded { mesh, seams: shared })
}

/// Removes closed components with a negative volume: the walls of cavities. Returns how many went.
///
/// # Errors
/// [`Error::Argument`] if a face names a vertex that is not there.
pub fn fill_cavities(welded: &mut Welded) -> Result<usize> {
    let Welded { mesh, seams } = welded;
    let open = open_vertices(mesh)?;
    let mut components = Components::new(mesh.positions.len());
    for face in &mesh.faces {
        components.join(face[0], face[1]);
        components.join(face[1], face[2]);
    }
    let mut volume = vec![0i128; mesh.positions.len()];
    let mut is_open = vec![false; mesh.positions.len()];
    for face in &mesh.faces {
        let root = components.root(face[0]) as usize;
        volume[root] += mesh.face_volume6(face);
        is_open[root] |= face.iter().any(|&v| open[v as usize]);
    }
    let cavity = |root: usize| volume[root] < 0 && !is_open[root];
    let gone = (0..volume.len()).filter(|&root| cavity(root)).count();
    if gone > 0 {
        mesh.faces.retain(|face| !cavity(components.root(face[0]) as usize));
        let number = mesh.drop_unused_vertices();
        seams.retain_mut(|v| {
            *v = number[*v as usize];
            *v != u32::MAX
        });
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The surface of a box of unit-independent corners, faces outward (or inward).
    fn cuboid(low: [i32; 3], high: [i32; 3], outward: bool) -> Mesh {
        let positions = (0..8).map(|i| [0, 1, 2].map(|d| if i >> d & 1 == 1 { high[d] } else { low[d] })).collect();
        let mut faces = vec![
            [0, 2, 1],
            [1, 2, 3],
            [4, 5, 6],
            [5, 7, 6],
            [0, 1, 4],
            [1, 5, 4],
            [2, 6, 3],
            [3, 6, 7],
            [0, 4, 2],
            [2, 4, 6],
            [1, 3, 5],
            [3, 7, 5],
        ];
        if !outward {
            for face in &mut faces {
                face.swap(0, 1);
            }
        }
        Mesh { positions, faces }
    }

    #[test]
    fn a_box_cut_in_two_is_closed_again() {
        let whole = cuboid([0; 3], [4; 3], true);
        let mut left = cuboid([0; 3], [2, 4, 4], true);
        let mut right = cuboid([2, 0, 0], [4, 4, 4], true);
        let on = |mesh: &Mesh, face: &[u32; 3]| face.iter().all(|&v| mesh.positions[v as usize][0] == 2);
        let (l, r) = (left.clone(), right.clone());
        left.faces.retain(|face| !on(&l, face));
        right.faces.retain(|face| !on(&r, face));
        assert_eq!(open_edges(&left).unwrap(), 4);
        let welded = weld(&[left, right]).unwrap();
        assert_eq!(open_edges(&welded.mesh).unwrap(), 0);
        assert_eq!(welded.mesh.positions.len(), 12);
        assert_eq!(welded.mesh.volume6(), whole.volume6());
        let shared: Vec<_> = welded.seams.iter().map(|&v| welded.mesh.positions[v as usize]).collect();
        assert_eq!(shared.len(), 4);
        assert!(shared.iter().all(|p| p[0] == 2));
    }

    #[test]
    fn closed_pieces_that_touch_stay_apart() {
        let pieces = [cuboid([0; 3], [2; 3], true), cuboid([2; 3], [4; 3], true)];
        let welded = weld(&pieces).unwrap();
        assert_eq!((welded.mesh.positions.len(), welded.seams.len()), (16, 0));
    }

    #[test]
    fn cavities_are_filled_and_islands_in_them_stay() {
        let shells = [cuboid([0; 3], [10; 3], true), cuboid([2; 3], [8; 3], false), cuboid([4; 3], [6; 3], true)];
        let mut welded = weld(&shells).unwrap();
        welded.seams = vec![7, 9, 17];
        assert_eq!(fill_cavities(&mut welded).unwrap(), 1);
        let mesh = welded.mesh;
        assert_eq!(welded.seams, [7, 9], "the second shell is gone, and the third has moved up");
        assert_eq!(mesh.volume6(), 6 * (1000 + 8));
        assert_eq!((mesh.positions.len(), mesh.faces.len()), (16, 24));
    }

    #[test]
    fn a_face_without_its_vertex_is_an_error() {
        let mesh = Mesh { positions: vec![[0; 3]], faces: vec![[0, 0, 1]] };
        assert!(open_edges(&mesh).is_err());
    }
}
