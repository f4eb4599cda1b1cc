//! The mesh that is being reduced, and the map from the input's vertices to it.

use super::geometry::{Vec3, add, area_vector, cross, dot, is_sliver, scale, sub};
use super::quadric::Quadric;
use super::split::{Once, Splitter};
use crate::mesh::Mesh;

pub const NONE: u32 = u32::MAX;

/// Open fans with more faces count as odd, which is always safe: to find where they start takes quadratic time.
const LONGEST_CHAIN: usize = 256;

/// The input with positions in floating point: what everything is measured against.
pub struct Fine<'a> {
    pub mesh: &'a Mesh,
    pub positions: &'a [Vec3],
}

/// From the integer lattice to lengths in which a voxel is about one.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub centre: [i32; 3],
    pub unit: Vec3,
    pub snap: [i64; 3],
}

impl Frame {
    #[inline(always)]
    pub fn place(&self, spot: [i32; 3]) -> Vec3 {
        std::array::from_fn(|k| (i64::from(spot[k]) - i64::from(self.centre[k])) as f32 * self.unit[k])
    }

    /// The multiple of the snapping step next to a position, if the integers reach that far.
    #[inline]
    pub fn nearest(&self, position: Vec3) -> Option<[i32; 3]> {
        let mut spot = [0; 3];
        for k in 0..3 {
            let exact = f64::from(position[k] / self.unit[k]) + f64::from(self.centre[k]);
            let step = self.snap[k] as f64;
            let rounded = (exact / step).round() * step;
            if !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&rounded) {
                return None;
            }
            spot[k] = rounded as i32;
        }
        Some(spot)
    }
}

/// How the faces lie around a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// There are none.
    Empty,
    /// One cycle of at least three: inside a surface.
    Closed,
    /// One chain: on an open edge.
    Open,
    /// Anything else.
    Odd,
}

/// What is needed of a vertex's neighbours: kept apart, so that many fit the cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(16))]
pub struct Place {
    pub at: Vec3,
    /// Greatest mean squared distance to the planes that a collapse may lead to.
    pub limit: f32,
}

/// What else the reduction knows of a vertex.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Vertex {
    /// Sum of the area vectors of the input's faces that it stands for.
    pub normal: Vec3,
    pub planes: Quadric,
    /// Vertices of the input that it stands for.
    pub members: u32,
    /// The component that it belongs to.
    pub part: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// Stays where it is and does not vanish.
    pub locked: bool,
    /// Stands for more than one vertex of the input, or was moved.
    pub changed: bool,
    /// Its cluster is to be taken apart.
    pub dissolve: bool,
}

/// One collapse, with all that it takes to undo it as long as it is the last into its target.
pub struct Merge {
    pub gone: u32,
    /// The merge before it into the same target.
    pub previous: u32,
    pub vertex: Vertex,
    pub place: Place,
    pub spot: [i32; 3],
    pub flags: Flags,
}

/// A mesh whose every vertex stands for a cluster of the input's.
///
/// Vertices of the input belong to vertices here (`rep`), which are patches or the input's vertices themselves; these
/// merge in turn, and form trees (`parent`). The faces are at every moment the input's faces with each corner replaced
/// by the root of what it belongs to, without those of which two corners fall together. So merges can be undone in one
/// place, and the rest stays as it is.
#[derive(Default)]
pub struct Work {
    pub vertices: Vec<Vertex>,
    pub places: Vec<Place>,
    /// Six times the volume under the share of the input's faces that a vertex has before any merge.
    pub volumes: Vec<f32>,
    pub spots: Vec<[i32; 3]>,
    pub flags: Vec<Flags>,
    pub fans: Vec<Fan>,
    pub faces: Vec<[u32; 3]>,
    /// What each of the input's vertices belongs to.
    pub rep: Vec<u32>,
    /// The faces before any merge, in the order of `faces`; those that were made anew are all `NONE`.
    pub base: Vec<[u32; 3]>,
    pub parent: Vec<u32>,
    pub root: Vec<u32>,
    /// Merges in their order, and the last into every vertex.
    pub merges: Vec<Merge>,
    pub last: Vec<u32>,
    /// Corners (three times the face plus the place in it) around each vertex: `corners[first..first + count]`.
    pub first: Vec<u32>,
    pub count: Vec<u32>,
    pub corners: Vec<u32>,
    /// The same before any merge: a part of `corners` whose order alone changes.
    pub home_first: Vec<u32>,
    pub home_count: Vec<u32>,
    /// Vertices around which faces changed since they were last checked.
    pub touched: Once,
    pub splitter: Splitter,
    /// Touched by the last split.
    pub fresh: Vec<bool>,
    /// Where a face may have changed since the last measurement, or may be the nearest to something no more.
    pub near: Vec<bool>,
    /// Sums of the members' offsets, while patches are made.
    pub sums: Vec<Vec3>,
    /// All `NONE` between uses.
    pub next: Vec<u32>,
    wave: Vec<u32>,
}

/// The root of a tree of parents, which is shortened on the way.
pub fn find(parent: &mut [u32], mut v: u32) -> u32 {
    while parent[v as usize] != v {
        let above = parent[parent[v as usize] as usize];
        parent[v as usize] = above;
        v = above;
    }
    v
}

#[inline(always)]
pub fn around(corner: u32) -> (u32, u32) {
    match corner % 3 {
        0 => (corner + 1, corner + 2),
        1 => (corner + 1, corner - 1),
        _ => (corner - 2, corner - 1),
    }
}

impl Work {
    /// One vertex for every patch; `rep` holds a member of its patch for every vertex of the input.
    pub fn start(&mut self, fine: &Fine, limit: f32) {
        self.vertices.clear();
        self.places.clear();
        self.volumes.clear();
        self.spots.clear();
        self.flags.clear();
        self.fresh.clear();
        self.near.clear();
        self.parent.clear();
        self.last.clear();
        self.merges.clear();
        self.sums.clear();
        self.next.clear();
        self.next.resize(fine.positions.len(), NONE);
        for v in 0..fine.positions.len() {
            let root = self.rep[v] as usize;
            if self.next[root] == NONE {
                self.next[root] = self.vertices.len() as u32;
                self.push(fine, v, limit, 0);
                self.vertices.last_mut().expect("just pushed").members = 0;
                self.sums.push([0.0; 3]);
            }
            self.rep[v] = self.next[root];
            let id = self.next[root] as usize;
            // relative to the first member, for the sake of single precision
            self.sums[id] = add(self.sums[id], sub(fine.positions[v], self.places[id].at));
            self.vertices[id].members += 1;
        }
        self.base.clear();
        self.map_base(fine, 0);
        self.faces.clone_from(&self.base);
        self.link();
        self.home_first.clone_from(&self.first);
        self.home_count.clone_from(&self.count);
        let n = self.vertices.len();
        self.fans.clear();
        self.fans.resize(n, Fan::Empty);
        self.next.clear();
        self.next.resize(n, NONE);
        self.touched.list.clear();
        self.touched.list.extend(0..n as u32);
    }

    pub fn push(&mut self, fine: &Fine, v: usize, limit: f32, part: u32) {
        self.parent.push(self.vertices.len() as u32);
        self.last.push(NONE);
        self.volumes.push(0.0);
        self.places.push(Place { at: fine.positions[v], limit });
        self.vertices.push(Vertex { normal: [0.0; 3], planes: Quadric::default(), members: 1, part });
        self.spots.push(fine.mesh.positions[v]);
        self.flags.push(Flags::default());
        self.fresh.push(true);
        self.near.push(true);
    }

    /// The vertex `gone` merges into `target`, whose place it takes.
    pub fn merge(&mut self, gone: u32, target: u32) {
        let t = target as usize;
        let previous = std::mem::replace(&mut self.last[t], self.merges.len() as u32);
        let (vertex, place, spot, flags) = (self.vertices[t], self.places[t], self.spots[t], self.flags[t]);
        self.merges.push(Merge { gone, previous, vertex, place, spot, flags });
        self.parent[gone as usize] = target;
        let was = self.places[gone as usize];
        let gone = &self.vertices[gone as usize];
        let mut planes = gone.planes;
        planes.shift(sub(place.at, was.at));
        self.places[t].limit = place.limit.min(was.limit);
        let sum = Vertex {
            normal: add(vertex.normal, gone.normal),
            planes: planes.plus(&vertex.planes),
            members: vertex.members + gone.members,
            part: vertex.part,
        };
        self.vertices[t] = sum;
        self.flags[t].changed = true;
        self.near[t] = true;
    }

    /// Adds the faces between patches, and the planes, of vertices from `fresh` on.
    pub fn map_base(&mut self, fine: &Fine, fresh: u32) {
        for &[i, j, k] in &fine.mesh.faces {
            let (a, b, c) = (self.rep[i as usize], self.rep[j as usize], self.rep[k as usize]);
            if a < fresh && b < fresh && c < fresh {
                continue;
            }
            if a != b && b != c && c != a {
                self.base.push([a, b, c]);
            }
            let (p, q, r) = (fine.positions[i as usize], fine.positions[j as usize], fine.positions[k as usize]);
            let area = cross(sub(q, p), sub(r, p));
            let length2 = dot(area, area);
            if length2 == 0.0 {
                continue;
            }
            let inverse = 1.0 / length2.sqrt();
            if a >= fresh {
                self.volumes[a as usize] += dot(area, p);
            }
            // once for every vertex, as often as it has a corner
            let times = 1.0 + f32::from(u8::from(b == a)) + f32::from(u8::from(c == a));
            if a >= fresh {
                self.add_plane(a, p, area, inverse, times);
            }
            if b != a && b >= fresh {
                self.add_plane(b, p, area, inverse, if b == c { 2.0 } else { 1.0 });
            }
            if c != a && c != b && c >= fresh {
                self.add_plane(c, p, area, inverse, 1.0);
            }
        }
    }

    #[inline(always)]
    fn add_plane(&mut self, v: u32, point: Vec3, area: Vec3, inverse: f32, times: f32) {
        let offset = sub(point, self.places[v as usize].at);
        let vertex = &mut self.vertices[v as usize];
        vertex.planes.add_plane(area, inverse, offset, times);
        vertex.normal = add(vertex.normal, scale(area, times));
    }

    /// Finds the corners around every vertex.
    pub fn link(&mut self) {
        let n = self.vertices.len();
        self.count.clear();
        self.count.resize(n, 0);
        for face in &self.faces {
            for &v in face {
                self.count[v as usize] += 1;
            }
        }
        self.first.clear();
        self.first.resize(n, 0);
        let mut total = 0;
        for (first, &count) in self.first.iter_mut().zip(&self.count) {
            *first = total;
            total += count;
        }
        self.corners.clear();
        self.corners.resize(total as usize, 0);
        for (f, face) in self.faces.iter().enumerate() {
            for (k, &v) in face.iter().enumerate() {
                let slot = &mut self.first[v as usize];
                self.corners[*slot as usize] = (3 * f + k) as u32;
                *slot += 1;
            }
        }
        for (first, &count) in self.first.iter_mut().zip(&self.count) {
            *first -= count;
        }
    }

    #[inline(always)]
    pub fn corners_of(&self, v: u32) -> &[u32] {
        let first = self.first[v as usize] as usize;
        &self.corners[first..first + self.count[v as usize] as usize]
    }

    #[inline(always)]
    pub fn at(&self, corner: u32) -> u32 {
        self.faces[(corner / 3) as usize][(corner % 3) as usize]
    }

    #[inline(always)]
    pub fn triangle(&self, f: usize) -> [Vec3; 3] {
        let [a, b, c] = self.faces[f];
        [self.places[a as usize].at, self.places[b as usize].at, self.places[c as usize].at]
    }

    /// Where the input's faces look that the corners of a face stand for.
    #[inline(always)]
    pub fn reference(&self, [a, b, c]: [u32; 3]) -> Vec3 {
        let [a, b, c] = [&self.vertices[a as usize], &self.vertices[b as usize], &self.vertices[c as usize]];
        add(add(a.normal, b.normal), c.normal)
    }

    /// Sees how the faces lie around every touched vertex.
    pub fn find_fans(&mut self) {
        for &v in &self.touched.list {
            let first = self.first[v as usize] as usize;
            let corners = &self.corners[first..first + self.count[v as usize] as usize];
            let faces = &self.faces;
            let pair = |corner: u32| {
                let (n, p) = around(corner);
                let face = faces[(corner / 3) as usize];
                (face[(n % 3) as usize], face[(p % 3) as usize])
            };
            self.fans[v as usize] = fan_of(corners, pair, &mut self.next);
        }
    }

    /// Marks clusters around touched vertices whose merging spoilt the surface.
    ///
    /// If every vertex has a single fan with all its neighbours distinct, and at least three faces if it is closed,
    /// then the map has done nothing but contract discs, and the surface is still the same.
    pub fn find_faults(&mut self) {
        for k in 0..self.touched.list.len() {
            let v = self.touched.list[k];
            let (changed, first) = (self.flags[v as usize].changed, self.first[v as usize] as usize);
            let range = first..first + self.count[v as usize] as usize;
            let good = match self.fans[v as usize] {
                Fan::Closed => true,
                Fan::Open | Fan::Empty => !changed,
                Fan::Odd => false,
            };
            if !good {
                self.mark(v);
                if !changed {
                    for k in range.clone() {
                        let (n, p) = around(self.corners[k]);
                        self.mark(self.at(n));
                        self.mark(self.at(p));
                    }
                }
            }
            // among those that did not change nothing has happened; every face is looked at once
            if !self.fresh[v as usize] {
                continue;
            }
            for k in range {
                let f = (self.corners[k] / 3) as usize;
                let face = self.faces[f];
                if !face.iter().any(|&v| self.flags[v as usize].changed)
                    || face.iter().any(|&w| w < v && self.fresh[w as usize])
                {
                    continue;
                }
                let triangle = self.triangle(f);
                let area = area_vector(triangle);
                if dot(area, self.reference(face)) <= 0.0 || is_sliver(triangle, area) {
                    for v in face {
                        self.mark(v);
                    }
                }
            }
        }
    }

    /// Marks the cluster of a vertex to be taken apart, if it is one.
    #[inline]
    pub fn mark(&mut self, v: u32) -> bool {
        let flags = &mut self.flags[v as usize];
        flags.dissolve |= flags.changed;
        flags.changed
    }

    /// Locks what is not inside a surface.
    pub fn lock_edges(&mut self) {
        for (flags, &fan) in self.flags.iter_mut().zip(&self.fans) {
            flags.locked |= fan != Fan::Closed;
        }
    }

    /// Finds the roots after collapses.
    pub fn resolve(&mut self) {
        self.root.clear();
        for v in 0..self.parent.len() as u32 {
            let mut root = v;
            while self.parent[root as usize] != root {
                root = self.parent[root as usize];
            }
            self.root.push(root);
        }
    }

    /// Spreads `near` to the neighbours of neighbours, as far as a measurement looks.
    pub fn spread(&mut self) {
        if self.near.iter().all(|&near| near) {
            return;
        }
        for _ in 0..3 {
            self.wave.clear();
            for face in &self.faces {
                if face[0] != NONE && face.iter().any(|&v| self.near[v as usize]) {
                    self.wave.extend_from_slice(face);
                }
            }
            for &v in &self.wave {
                self.near[v as usize] = true;
            }
        }
    }
}

/// `next` is all `NONE` before and after.
fn fan_of(corners: &[u32], pair: impl Fn(u32) -> (u32, u32), next: &mut [u32]) -> Fan {
    let Some(&start) = corners.first() else { return Fan::Empty };
    for &corner in corners {
        let (n, p) = pair(corner);
        next[n as usize] = p;
    }
    let walk = |next: &[u32], from: u32| {
        let (mut at, mut steps) = (from, 0);
        while steps < corners.len() {
            at = next[at as usize];
            if at == NONE {
                break;
            }
            steps += 1;
            if at == from {
                break;
            }
        }
        (at, steps)
    };
    let from = pair(start).0;
    let (end, steps) = walk(next, from);
    let mut fan = Fan::Odd;
    if end == from {
        if steps == corners.len() && steps >= 3 {
            fan = Fan::Closed;
        }
    } else if corners.len() <= LONGEST_CHAIN {
        // a chain starts at the one neighbour that no face ends with
        let mut starts = corners.iter().map(|&c| pair(c).0).filter(|&n| corners.iter().all(|&c| pair(c).1 != n));
        if let (Some(first), None) = (starts.next(), starts.next()) {
            let (last, steps) = walk(next, first);
            // all steps taken without meeting a neighbour twice, and nothing follows the last
            if last != NONE && steps == corners.len() && next[last as usize] == NONE {
                fan = Fan::Open;
            }
        }
    }
    for &corner in corners {
        next[pair(corner).0 as usize] = NONE;
    }
    fan
}
