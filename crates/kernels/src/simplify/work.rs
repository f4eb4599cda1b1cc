//! The mesh that is being reduced, and the map from the input's vertices to it.

use super::geometry::{Vec3, add, area_vector, cross, dot, is_sliver, scale, sub};
use super::quadric::{Plane, Quadric};
use super::rings::{Fan, Rings};
use super::split::{Once, Splitter};
use crate::mesh::Mesh;

pub const NONE: u32 = u32::MAX;

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

/// What is needed of a vertex's neighbours: kept apart, so that many fit the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
pub struct Place {
    pub at: Vec3,
    /// Greatest mean squared distance to the planes that a collapse may lead to.
    pub limit: f32,
    /// Sum of the area vectors of the input's faces that it stands for.
    pub normal: Vec3,
}

/// What else the reduction knows of a vertex.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub struct Vertex {
    pub planes: Quadric,
    /// Vertices of the input that it stands for.
    pub members: u32,
    /// The component that it belongs to.
    pub part: u32,
    /// Six times the volume under its share of the input's faces, before any merge.
    pub volume: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    pub fan: Fan,
    /// Stays where it is and does not vanish.
    pub locked: bool,
    /// Stands for more than one vertex of the input, or was moved.
    pub changed: bool,
    /// Its cluster is to be taken apart.
    pub dissolve: bool,
    /// How often what it stands for has been taken apart.
    pub splits: u8,
    /// Touched by the last split.
    pub fresh: bool,
    /// A face may have changed here since the last measurement, or may be the nearest to something no more.
    pub near: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Self { fan: Fan::Empty, locked: false, changed: false, dissolve: false, splits: 0, fresh: true, near: true }
    }
}

/// A vertex in the trees of merges.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// What it has merged into, or itself.
    pub parent: u32,
    /// The last merge into it.
    pub last: u32,
    /// What it was before the first of these.
    pub save: u32,
}

/// One collapse.
#[derive(Debug, Clone, Copy)]
pub struct Merge {
    pub gone: u32,
    /// The merge before it into the same target.
    pub previous: u32,
}

/// A vertex as it was before the first merge into it: what later merges added can be added again.
#[derive(Debug, Clone, Copy)]
pub struct Saved {
    pub vertex: Vertex,
    pub place: Place,
    pub spot: [i32; 3],
    pub flags: Flags,
}

/// A mesh whose every vertex stands for a cluster of the input's.
///
/// Vertices of the input belong to vertices here (`rep`), which are patches or the input's vertices themselves; these
/// merge in turn, and form trees (`nodes`). The faces are the input's faces with each corner replaced by the root of
/// what it belongs to, without those of which two corners fall together. So merges can be undone in one place, and the
/// rest stays as it is.
#[derive(Default)]
pub struct Work {
    pub vertices: Vec<Vertex>,
    pub places: Vec<Place>,
    pub spots: Vec<[i32; 3]>,
    pub flags: Vec<Flags>,
    pub rings: Rings,
    /// Not up to date while vertices merge; see `remap`.
    pub faces: Vec<[u32; 3]>,
    /// What each of the input's vertices belongs to.
    pub rep: Vec<u32>,
    /// The faces before any merge, in the order of `faces`; those that were made anew are all `NONE`.
    pub base: Vec<[u32; 3]>,
    pub nodes: Vec<Node>,
    pub root: Vec<u32>,
    /// Merges in their order.
    pub merges: Vec<Merge>,
    pub saved: Vec<Saved>,
    /// Whether faults are mended by taking every cluster apart that has to do with them.
    pub thorough: bool,
    /// Corners (three times the face plus the place in it) around each vertex before any merge:
    /// `corners[home_first..home_first + home_count]`.
    pub home_first: Vec<u32>,
    pub home_count: Vec<u32>,
    pub corners: Vec<u32>,
    /// Vertices around which faces changed since they were last checked.
    pub touched: Once,
    pub splitter: Splitter,
    /// Sums of the members' offsets, while patches are made.
    pub sums: Vec<Vec3>,
    /// All `NONE` between uses.
    pub next: Vec<u32>,
    wave: Vec<u32>,
    pairs: Vec<(u32, u32)>,
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
    ///
    /// Patches whose planes do not meet within `patch_limit` are given up: their members stay as they are.
    pub fn start(&mut self, fine: &Fine, frame: &Frame, limit: f32, patch_limit: f32) {
        let n = fine.positions.len();
        self.next.clear();
        self.next.resize(n, NONE);
        self.clear();
        let mut merged = false;
        for v in 0..n {
            let root = self.rep[v] as usize;
            if self.next[root] == NONE {
                self.next[root] = self.vertices.len() as u32;
                self.push(fine, v, limit, 0);
                self.vertices.last_mut().expect("just pushed").members = 0;
                self.sums.push([0.0; 3]);
            } else {
                merged = true;
            }
            let id = self.next[root];
            self.rep[v] = id;
            let id = id as usize;
            // relative to the first member, for the sake of single precision
            self.sums[id] = add(self.sums[id], sub(fine.positions[v], self.places[id].at));
            self.vertices[id].members += 1;
        }
        self.next.clear();
        self.add_planes(fine, 0);
        if merged {
            self.place_patches(fine, frame, patch_limit);
        }
        self.base.clear();
        let rep = &self.rep;
        let mapped = fine.mesh.faces.iter().map(|face| face.map(|v| rep[v as usize]));
        self.base.extend(mapped.filter(|&[a, b, c]| a != b && b != c && c != a));
        self.faces.clone_from(&self.base);
        self.link();
        let n = self.vertices.len();
        self.grow(n);
        self.touched.start(n);
        self.touched.list.extend(0..n as u32);
        for v in 0..n as u32 {
            self.arrange(v, &[v]);
        }
    }

    fn clear(&mut self) {
        self.vertices.clear();
        self.places.clear();
        self.spots.clear();
        self.flags.clear();
        self.nodes.clear();
        self.merges.clear();
        self.saved.clear();
        self.sums.clear();
        self.rings.start();
    }

    /// Room for what is known of `n` vertices beyond what `push` sets.
    pub fn grow(&mut self, n: usize) {
        self.home_first.resize(n, 0);
        self.home_count.resize(n, 0);
        self.next.resize(n, NONE);
        self.rings.grow(n);
    }

    pub fn push(&mut self, fine: &Fine, v: usize, limit: f32, part: u32) {
        self.nodes.push(Node { parent: self.vertices.len() as u32, last: NONE, save: NONE });
        self.places.push(Place { at: fine.positions[v], limit, normal: [0.0; 3] });
        self.vertices.push(Vertex { members: 1, part, ..Vertex::default() });
        self.spots.push(fine.mesh.positions[v]);
        self.flags.push(Flags::default());
    }

    /// The vertex `gone` merges into `target`, whose place it takes.
    pub fn merge(&mut self, gone: u32, target: u32) {
        let t = target as usize;
        let previous = std::mem::replace(&mut self.nodes[t].last, self.merges.len() as u32);
        if previous == NONE {
            self.nodes[t].save = self.saved.len() as u32;
            let (vertex, place, spot, flags) = (self.vertices[t], self.places[t], self.spots[t], self.flags[t]);
            self.saved.push(Saved { vertex, place, spot, flags });
        }
        self.merges.push(Merge { gone, previous });
        self.nodes[gone as usize].parent = target;
        self.add_up(gone, target);
        self.flags[t].near = true;
    }

    /// What `gone` stands for is from now on for `target` to stand for.
    pub fn add_up(&mut self, gone: u32, target: u32) {
        let (g, t) = (gone as usize, target as usize);
        let was = self.places[g];
        let place = &mut self.places[t];
        let mut planes = self.vertices[g].planes;
        planes.shift(sub(place.at, was.at));
        place.limit = place.limit.min(was.limit);
        place.normal = add(place.normal, was.normal);
        let members = self.vertices[g].members;
        let vertex = &mut self.vertices[t];
        vertex.planes = planes.plus(&vertex.planes);
        vertex.members += members;
        self.flags[t].changed = true;
        self.flags[t].splits = self.flags[t].splits.max(self.flags[g].splits);
    }

    /// Adds the planes of the input's faces to vertices from `fresh` on.
    pub fn add_planes(&mut self, fine: &Fine, fresh: u32) {
        for face in &fine.mesh.faces {
            let mapped = face.map(|v| self.rep[v as usize]);
            if mapped.iter().any(|&v| v >= fresh) {
                self.add_face(fine, *face, mapped, fresh);
            }
        }
    }

    /// Adds the plane of one of the input's faces to the vertices that stand for its corners, from `fresh` on.
    #[inline(always)]
    pub fn add_face(&mut self, fine: &Fine, face: [u32; 3], [a, b, c]: [u32; 3], fresh: u32) {
        let [p, q, r] = face.map(|v| fine.positions[v as usize]);
        let Some(plane) = Plane::new(cross(sub(q, p), sub(r, p))) else { return };
        if a >= fresh {
            self.vertices[a as usize].volume += dot(plane.area, p);
            // once for every vertex, as often as it has a corner
            let times = 1.0 + f32::from(u8::from(b == a)) + f32::from(u8::from(c == a));
            self.add_plane(a, p, &plane, times);
        }
        if b != a && b >= fresh {
            self.add_plane(b, p, &plane, if b == c { 2.0 } else { 1.0 });
        }
        if c != a && c != b && c >= fresh {
            self.add_plane(c, p, &plane, 1.0);
        }
    }

    #[inline(always)]
    fn add_plane(&mut self, v: u32, point: Vec3, plane: &Plane, times: f32) {
        let place = &mut self.places[v as usize];
        place.normal = add(place.normal, scale(plane.area, times));
        let offset = sub(point, place.at);
        self.vertices[v as usize].planes.add_plane(plane, offset, times);
    }

    /// Finds the corners around every vertex.
    fn link(&mut self) {
        let n = self.vertices.len();
        self.home_count.clear();
        self.home_count.resize(n, 0);
        for face in &self.base {
            for &v in face {
                self.home_count[v as usize] += 1;
            }
        }
        self.home_first.clear();
        let mut total = 0;
        self.home_first.extend(self.home_count.iter().map(|&count| {
            total += count;
            total - count
        }));
        self.corners.clear();
        self.corners.resize(total as usize, 0);
        for (f, face) in self.base.iter().enumerate() {
            for (k, &v) in face.iter().enumerate() {
                let slot = &mut self.home_first[v as usize];
                self.corners[*slot as usize] = (3 * f + k) as u32;
                *slot += 1;
            }
        }
        for (first, &count) in self.home_first.iter_mut().zip(&self.home_count) {
            *first -= count;
        }
    }

    /// The corners around a vertex before any merge.
    #[inline(always)]
    pub fn home(&self, v: u32) -> &[u32] {
        let first = self.home_first[v as usize] as usize;
        &self.corners[first..first + self.home_count[v as usize] as usize]
    }

    /// Sees how the faces lie around a vertex, into which all of `cluster` has merged.
    pub fn arrange(&mut self, v: u32, cluster: &[u32]) {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.clear();
        for &b in cluster {
            for &corner in self.home(b) {
                let face = self.faces[(corner / 3) as usize];
                if face[0] != NONE {
                    let (n, p) = around(corner);
                    pairs.push((face[(n % 3) as usize], face[(p % 3) as usize]));
                }
            }
        }
        self.flags[v as usize].fan = self.rings.arrange(v, &pairs);
        self.pairs = pairs;
    }

    /// The other corners of the faces around a vertex; none if it is odd.
    #[inline(always)]
    pub fn faces_of(&self, v: u32) -> impl Iterator<Item = (u32, u32)> {
        let ring = self.rings.of(v);
        let close = self.flags[v as usize].fan == Fan::Closed && !ring.is_empty();
        let last = close.then(|| (ring[ring.len() - 1], ring[0]));
        ring.windows(2).map(|pair| (pair[0], pair[1])).chain(last)
    }

    #[inline(always)]
    pub fn triangle(&self, [a, b, c]: [u32; 3]) -> [Vec3; 3] {
        [self.places[a as usize].at, self.places[b as usize].at, self.places[c as usize].at]
    }

    /// Where the input's faces look that the corners of a face stand for.
    #[inline(always)]
    pub fn reference(&self, [a, b, c]: [u32; 3]) -> Vec3 {
        let [a, b, c] = [&self.places[a as usize], &self.places[b as usize], &self.places[c as usize]];
        add(add(a.normal, b.normal), c.normal)
    }

    /// Marks clusters around touched vertices whose merging spoilt the surface.
    ///
    /// If every vertex has a single fan with all its neighbours distinct, and at least three faces if it is closed,
    /// then the map has done nothing but contract discs, and the surface is still the same.
    pub fn find_faults(&mut self) {
        let all = self.touched.list.len() == self.vertices.len();
        for k in 0..self.touched.list.len() {
            let v = self.touched.list[k];
            let changed = self.flags[v as usize].changed;
            let good = match self.flags[v as usize].fan {
                Fan::Closed => true,
                Fan::Open | Fan::Empty => !changed,
                Fan::Odd => false,
            };
            if !good {
                self.mark(v);
                if !changed {
                    for k in 0..self.home_count[v as usize] {
                        let corner = self.corners[(self.home_first[v as usize] + k) as usize];
                        let face = self.faces[(corner / 3) as usize];
                        for w in face.into_iter().filter(|&w| w != NONE) {
                            self.mark(w);
                        }
                    }
                }
            }
            // among those that did not change nothing has happened; every face is looked at once
            if all || !self.flags[v as usize].fresh {
                continue;
            }
            let len = self.rings.of(v).len();
            for k in 0..if self.flags[v as usize].fan == Fan::Open { len - 1 } else { len } {
                let ring = self.rings.of(v);
                let face = [v, ring[k], ring[if k + 1 < len { k + 1 } else { 0 }]];
                let looks = |w: u32| w < v && self.flags[w as usize].fresh && !self.rings.of(w).is_empty();
                if !looks(face[1]) && !looks(face[2]) {
                    self.find_fault(face);
                }
            }
        }
        if all {
            for f in 0..self.faces.len() {
                if self.faces[f][0] != NONE {
                    self.find_fault(self.faces[f]);
                }
            }
        }
    }

    /// Marks the corners of a face that turned over or became a needle.
    #[inline]
    fn find_fault(&mut self, face: [u32; 3]) {
        if face.iter().any(|&v| self.flags[v as usize].changed) {
            let triangle = self.triangle(face);
            let area = area_vector(triangle);
            if dot(area, self.reference(face)) <= 0.0 || is_sliver(triangle, area) {
                self.mark_one(&face);
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

    /// Marks the largest of some clusters, unless one of them is marked already.
    pub fn mark_one(&mut self, corners: &[u32]) {
        if self.thorough {
            corners.iter().for_each(|&v| {
                self.mark(v);
            });
            return;
        }
        if corners.iter().any(|&v| self.flags[v as usize].dissolve) {
            return;
        }
        let changed = corners.iter().filter(|&&v| self.flags[v as usize].changed);
        if let Some(&largest) = changed.max_by_key(|&&v| self.vertices[v as usize].members) {
            self.mark(largest);
        }
    }

    /// Locks what is not inside a surface; nothing merges into what is odd.
    pub fn lock_edges(&mut self) {
        for (flags, place) in self.flags.iter_mut().zip(&mut self.places) {
            flags.locked |= flags.fan != Fan::Closed;
            if flags.fan == Fan::Odd {
                place.limit = -1.0;
            }
        }
    }

    /// Locks what is more than so many edges from some vertices, none of which have merged.
    pub fn lock_far(&mut self, near: &[u32], edges: usize) {
        let mut close = vec![false; self.vertices.len()];
        let mut wave = near.to_vec();
        near.iter().for_each(|&v| close[v as usize] = true);
        let mut first = 0;
        for _ in 0..edges {
            let last = wave.len();
            for k in first..last {
                for &n in self.rings.of(wave[k]) {
                    if !std::mem::replace(&mut close[n as usize], true) {
                        wave.push(n);
                    }
                }
            }
            first = last;
        }
        for (flags, close) in self.flags.iter_mut().zip(close) {
            flags.locked |= !close;
        }
    }

    /// Finds the roots and the faces after collapses.
    pub fn remap(&mut self) {
        self.root.clear();
        self.root.extend(0..self.nodes.len() as u32);
        // what a vertex has merged into merges later, if at all
        for merge in self.merges.iter().rev() {
            let gone = merge.gone as usize;
            self.root[gone] = self.root[self.nodes[gone].parent as usize];
        }
        let root = &self.root;
        for (face, base) in self.faces.iter_mut().zip(&self.base) {
            if base[0] != NONE {
                let [a, b, c] = base.map(|v| root[v as usize]);
                *face = if a != b && b != c && c != a { [a, b, c] } else { [NONE; 3] };
            }
        }
    }

    /// Spreads `near` to the neighbours of neighbours, as far as a measurement looks.
    pub fn spread(&mut self) {
        if self.flags.iter().all(|flags| flags.near) {
            return;
        }
        self.wave.clear();
        self.wave.extend((0..self.flags.len() as u32).filter(|&v| self.flags[v as usize].near));
        let mut first = 0;
        for _ in 0..3 {
            let last = self.wave.len();
            for k in first..last {
                for &n in self.rings.of(self.wave[k]) {
                    if !std::mem::replace(&mut self.flags[n as usize].near, true) {
                        self.wave.push(n);
                    }
                }
            }
            first = last;
        }
    }
}
