//! The first, large step: vertices that are connected within a block of a lattice become one.

use super::geometry::sub;
use super::work::{Fine, Frame, Vertex, Work, find};
use crate::mesh::Mesh;

/// What finding the patches needs.
#[derive(Default)]
pub struct Patches {
    /// Block of every vertex, or `ALONE`.
    block: Vec<u32>,
    /// Vertices minus edges plus faces, at the root of every patch.
    euler: Vec<i32>,
    balance: Vec<u32>,
}

/// Block of vertices that belong to no patch. Blocks have 31 bits.
const ALONE: u32 = u32::MAX;

/// A number for every vertex that is as good as random.
#[inline(always)]
fn scatter(v: u32) -> u32 {
    // an odd factor and a shifted xor are both one to one: different vertices, different numbers
    let v = v.wrapping_mul(0x9E37_79B1);
    (v ^ (v >> 15)).wrapping_mul(0x85EB_CA77)
}

impl Patches {
    /// Fills `rep` with a member of the patch of every vertex, and counts the patches. Every patch is a disc, as far as
    /// its mesh is a surface.
    pub fn find(&mut self, mesh: &Mesh, edge: u32, rep: &mut Vec<u32>) -> usize {
        let n = mesh.positions.len();
        rep.clear();
        rep.extend(0..n as u32);
        if edge == 0 {
            return n;
        }
        // Around a vertex inside a surface every neighbour begins one face and ends another; on an open edge, one
        // neighbour only begins and another only ends, and the difference of two numbers is not zero.
        self.balance.clear();
        self.balance.resize(n, 0);
        for &[a, b, c] in &mesh.faces {
            let [x, y, z] = [a, b, c].map(scatter);
            self.balance[a as usize] = self.balance[a as usize].wrapping_add(y.wrapping_sub(z));
            self.balance[b as usize] = self.balance[b as usize].wrapping_add(z.wrapping_sub(x));
            self.balance[c as usize] = self.balance[c as usize].wrapping_add(x.wrapping_sub(y));
        }
        // blocks that are 1024 apart share a number; no edge is that long, and if one is, the patch is merely large
        let power = edge.is_power_of_two().then(|| edge.trailing_zeros());
        self.block.clear();
        self.block.extend(mesh.positions.iter().zip(&self.balance).map(|(spot, &balance)| {
            if balance != 0 {
                return ALONE;
            }
            let [x, y, z] = spot.map(|v| match power {
                Some(shift) => (v >> shift) as u32 & 1023,
                None => i64::from(v).div_euclid(i64::from(edge)) as u32 & 1023,
            });
            x | y << 10 | z << 20
        }));
        self.euler.clear();
        self.euler.resize(n, 1);
        for face in &mesh.faces {
            let [a, b, c] = face.map(|v| self.block[v as usize]);
            let mut inside = 0;
            for (from, to, same) in [(face[0], face[1], a == b), (face[1], face[2], b == c), (face[2], face[0], c == a)]
            {
                if !same || self.block[from as usize] == ALONE {
                    continue;
                }
                inside += 1;
                // every edge inside a surface occurs once in each direction
                if from < to {
                    self.euler[from as usize] -= 1;
                    let (r, s) = (find(rep, from), find(rep, to));
                    rep[r.max(s) as usize] = r.min(s);
                }
            }
            if inside == 3 {
                self.euler[face[0] as usize] += 1;
            }
        }
        // roots have the lowest number of their patch: one pass makes every vertex point to its root
        for v in 0..n {
            let root = rep[rep[v] as usize];
            rep[v] = root;
            if root as usize != v {
                self.euler[root as usize] += self.euler[v];
            }
        }
        let mut count = 0;
        for (v, root) in rep.iter_mut().enumerate() {
            if self.euler[*root as usize] != 1 {
                *root = v as u32;
            }
            count += usize::from(*root as usize == v);
        }
        count
    }
}

impl Work {
    /// Puts every patch where its planes meet best, on the snapping lattice; gives those up whose planes are farther
    /// from there than the limit.
    pub fn place_patches(&mut self, fine: &Fine, frame: &Frame, limit: f32) {
        let (fresh, mut broken) = (self.vertices.len(), false);
        for v in 0..fresh {
            let size = self.vertices[v].members;
            if size < 2 {
                continue;
            }
            let (vertex, place) = (&mut self.vertices[v], &mut self.places[v]);
            let centre = self.sums[v].map(|x| x / size as f32);
            let mut planes = vertex.planes;
            planes.shift(centre);
            let reach = planes.minimum().unwrap_or_default();
            let spot = frame.nearest(std::array::from_fn(|k| place.at[k] + centre[k] + reach[k]));
            let position = spot.map_or(place.at, |spot| frame.place(spot));
            vertex.planes.shift(sub(position, place.at));
            let flags = &mut self.flags[v];
            flags.dissolve = spot.is_none() || vertex.planes.here() > limit * vertex.planes.weight;
            if let (Some(spot), false) = (spot, flags.dissolve) {
                flags.changed = true;
                place.at = position;
                self.spots[v] = spot;
            }
            broken |= flags.dissolve;
        }
        if !broken {
            return;
        }
        // every member for itself; the patch is left without any
        for v in 0..fine.positions.len() {
            let id = self.rep[v];
            if !self.flags[id as usize].dissolve {
                continue;
            }
            let limit = self.places[id as usize].limit;
            self.rep[v] = self.vertices.len() as u32;
            self.push(fine, v, limit, 0);
        }
        for v in 0..fresh {
            if std::mem::take(&mut self.flags[v].dissolve) {
                (self.vertices[v], self.places[v].normal) = (Vertex::default(), [0.0; 3]);
            }
        }
        self.add_planes(fine, fresh as u32);
    }
}
