//! The measured distance between input and output, both ways.
//!
//! Every distance is to some place on the other surface that is known to be near, so it is never too small; a search
//! goes on only as long as the distance would raise the maximum.

use std::ops::Range;

use super::geometry::{Vec3, add, cross, distance2, dot, scale, sub, triangle2};
use super::rings::Fan;
use super::work::{Fine, NONE, Work};

/// Share of the squared bound below which a first pass does not ask for more: the maximum is usually above it.
const FLOOR: f32 = 0.25;

#[derive(Default)]
pub struct Distances {
    /// The input's vertices by what stands for them, and where they are.
    roots: Vec<u32>,
    first_member: Vec<u32>,
    members: Vec<u32>,
    places: Points,
    /// The input's faces around its vertices.
    first_face: Vec<u32>,
    faces: Vec<u32>,
    linked: bool,
    /// Vertices of the output for which a measurement looked farther than the surroundings of a change reach.
    walked: Vec<u32>,
    /// The greatest squared distance within the bound, of all measurements since `start`.
    pub kept: f32,
}

/// Triangles around a vertex are looked at so many at a time.
const LANES: usize = 4;
/// Vertices with more faces are measured to one face after the other.
const MOST_FACES: usize = 24;

/// Where clusters are large, as on planes, what is nearest may be several edges away: so many are gone at most.
const STEPS: usize = 64;

/// The triangles around a vertex, relative to it: what a linear function says of the foot of a perpendicular.
struct Umbrella {
    /// Gradients of the two barycentric coordinates, and the unit normal; NaN where there is no triangle.
    rows: [[[f32; LANES]; 9]; MOST_FACES / LANES],
    groups: usize,
}

impl Umbrella {
    fn new() -> Self {
        Self { rows: [[[f32::NAN; LANES]; 9]; MOST_FACES / LANES], groups: 0 }
    }

    fn set(&mut self, work: &Work, v: u32) {
        let (ring, at) = (work.rings.of(v), work.places[v as usize].at);
        let closed = work.flags[v as usize].fan == Fan::Closed;
        self.groups = 0;
        if ring.len() > MOST_FACES || ring.is_empty() {
            return;
        }
        self.groups = ring.len().div_ceil(LANES);
        self.rows[..self.groups].fill([[f32::NAN; LANES]; 9]);
        let arm = |w: u32| sub(work.places[w as usize].at, at);
        let mut c = arm(ring[0]);
        for k in 0..if closed { ring.len() } else { ring.len() - 1 } {
            let b = c;
            c = arm(ring[if k + 1 < ring.len() { k + 1 } else { 0 }]);
            let normal = cross(b, c);
            let area2 = dot(normal, normal);
            if area2 > 0.0 {
                let parts = [
                    scale(cross(c, normal), 1.0 / area2),
                    scale(cross(normal, b), 1.0 / area2),
                    scale(normal, 1.0 / area2.sqrt()),
                ];
                for (row, &value) in parts.as_flattened().iter().enumerate() {
                    self.rows[k / LANES][row][k % LANES] = value;
                }
            }
        }
    }

    /// Least squared distance along a perpendicular that meets its triangle.
    #[inline(always)]
    fn perpendicular2(&self, offset: Vec3) -> f32 {
        let mut best = [f32::INFINITY; LANES];
        for rows in &self.rows[..self.groups] {
            let along = |row: usize, l: usize| {
                rows[row][l] * offset[0] + rows[row + 1][l] * offset[1] + rows[row + 2][l] * offset[2]
            };
            for (l, best) in best.iter_mut().enumerate() {
                let (beta, gamma, height) = (along(0, l), along(3, l), along(6, l));
                let inside = (beta >= 0.0) & (gamma >= 0.0) & (beta + gamma <= 1.0);
                let height2 = if inside { height * height } else { f32::INFINITY };
                *best = if height2 < *best { height2 } else { *best };
            }
        }
        best.iter().fold(f32::INFINITY, |a, &b| a.min(b))
    }
}

/// Positions, each coordinate apart: several are looked at at once.
#[derive(Default)]
struct Points([Vec<f32>; 3]);

impl Points {
    fn gather(&mut self, positions: &[Vec3], members: &[u32]) {
        let [x, y, z] = &mut self.0;
        x.clear();
        y.clear();
        z.clear();
        for &member in members {
            let position = positions[member as usize];
            x.push(position[0]);
            y.push(position[1]);
            z.push(position[2]);
        }
    }

    #[inline(always)]
    fn at(&self, k: usize) -> Vec3 {
        [self.0[0][k], self.0[1][k], self.0[2][k]]
    }

    /// Squared distance from the nearest of a range.
    #[inline(always)]
    fn nearest2(&self, range: Range<usize>, place: Vec3) -> f32 {
        let [x, y, z] = self.0.each_ref().map(|axis| &axis[range.clone()]);
        let mut best = [f32::INFINITY; LANES];
        let lower = |best: &mut f32, k: usize| {
            let distance = distance2([x[k], y[k], z[k]], place);
            *best = if distance < *best { distance } else { *best };
        };
        let whole = x.len() / LANES * LANES;
        for k in (0..whole).step_by(LANES) {
            for (l, best) in best.iter_mut().enumerate() {
                lower(best, k + l);
            }
        }
        for k in whole..x.len() {
            lower(&mut best[0], k);
        }
        best.iter().fold(f32::INFINITY, |a, &b| a.min(b))
    }
}

/// Sorts the numbers of `items` by their key: those with key `k` come to lie at `first[k]..first[k + 1]`, those with
/// `NONE` nowhere.
fn group(keys: usize, items: impl Iterator<Item = u32> + Clone, first: &mut Vec<u32>, list: &mut Vec<u32>) {
    first.clear();
    first.resize(keys + 2, 0);
    let mut total = 0;
    for key in items.clone().filter(|&key| key != NONE) {
        first[key as usize + 2] += 1;
        total += 1;
    }
    for k in 2..first.len() {
        first[k] += first[k - 1];
    }
    list.clear();
    list.resize(total, 0);
    for (number, key) in items.enumerate().filter(|item| item.1 != NONE) {
        let slot = &mut first[key as usize + 1];
        list[*slot as usize] = number as u32;
        *slot += 1;
    }
    first.pop();
}

impl Distances {
    /// Another input.
    pub fn start(&mut self) {
        self.linked = false;
        self.walked.clear();
        self.kept = 0.0;
    }

    /// The greatest squared distance to or from where the mesh is `near` a change; clusters on which more than `bound`
    /// depends are marked.
    ///
    /// `exact` searches the input's faces where its vertices alone say more than the maximum so far.
    pub fn measure(&mut self, fine: &Fine, work: &mut Work, bound: f32, exact: bool) -> f32 {
        for v in self.walked.drain(..) {
            work.flags[v as usize].near = true;
        }
        work.spread();
        self.roots.clear();
        self.roots.extend(work.rep.iter().map(|&rep| work.root[rep as usize]));
        // what is far from every change is not looked at
        let keys = self.roots.iter().map(|&root| if work.flags[root as usize].near { root } else { NONE });
        group(work.vertices.len(), keys, &mut self.first_member, &mut self.members);
        self.places.gather(fine.positions, &self.members);
        let (before, floor) = (self.kept, if exact { FLOOR * bound } else { 0.0 });
        let greatest = self.measure_above(fine, work, floor.max(before), bound, exact);
        if self.kept > floor || floor == 0.0 {
            return greatest;
        }
        self.kept = before;
        self.measure_above(fine, work, before, bound, exact)
    }

    /// The same, where no more is asked for than that it is below `floor`.
    fn measure_above(&mut self, fine: &Fine, work: &mut Work, floor: f32, bound: f32, exact: bool) -> f32 {
        let mut greatest = self.measure_input(work, floor, bound);
        for f in 0..work.faces.len() {
            let face = work.faces[f];
            let flags = |v: u32| work.flags[v as usize];
            // a change is farther from the rim of what is near than a measurement looks
            if face[0] == NONE || !face.iter().all(|&v| flags(v).near) || !face.iter().any(|&v| flags(v).changed) {
                continue;
            }
            let [a, b, c] = work.triangle(face);
            let centre = scale(add(add(a, b), c), 1.0 / 3.0);
            greatest = greatest.max(self.measure_output(fine, work, centre, &face, greatest, bound, exact));
            for k in 0..3 {
                let [from, to] = [face[k], face[(k + 1) % 3]];
                // the other face at the edge, if there is one, runs the other way
                if from < to || work.flags[from as usize].locked && work.flags[to as usize].locked {
                    let middle = scale(add([a, b, c][k], [b, c, a][k]), 0.5);
                    greatest =
                        greatest.max(self.measure_output(fine, work, middle, &[from, to], greatest, bound, exact));
                }
            }
        }
        for v in 0..work.vertices.len() as u32 {
            if work.flags[v as usize].changed && work.flags[v as usize].near && !work.rings.of(v).is_empty() {
                let position = work.places[v as usize].at;
                greatest = greatest.max(self.measure_output(fine, work, position, &[v], greatest, bound, exact));
            }
        }
        greatest
    }

    fn measure_input(&mut self, work: &mut Work, floor: f32, bound: f32) -> f32 {
        let mut greatest = floor;
        let mut umbrella = Umbrella::new();
        for v in 0..work.vertices.len() as u32 {
            let range = self.first_member[v as usize] as usize..self.first_member[v as usize + 1] as usize;
            if range.is_empty() || !work.flags[v as usize].changed || !work.flags[v as usize].near {
                continue;
            }
            umbrella.set(work, v);
            let at = work.places[v as usize].at;
            for k in range {
                let position = self.places.at(k);
                let offset = sub(position, at);
                let mut nearest = dot(offset, offset);
                let enough = greatest.min(bound);
                if nearest > enough {
                    nearest = nearest.min(umbrella.perpendicular2(offset));
                }
                if nearest > enough {
                    search(work, position, v, enough, &mut nearest);
                }
                if nearest > enough {
                    for &n in work.rings.of(v) {
                        search(work, position, n, enough, &mut nearest);
                    }
                }
                if nearest > bound {
                    self.walked.push(v);
                    let end = walk(work, position, v);
                    search(work, position, end, enough, &mut nearest);
                    for &n in work.rings.of(end) {
                        search(work, position, n, enough, &mut nearest);
                    }
                }
                if nearest > bound {
                    work.mark(v);
                } else {
                    self.kept = self.kept.max(nearest);
                }
                greatest = greatest.max(nearest);
            }
        }
        greatest
    }

    /// Squared distance from a place on a face, or an edge, or a vertex of the output to the input.
    #[allow(clippy::too_many_arguments)]
    fn measure_output(
        &mut self,
        fine: &Fine,
        work: &mut Work,
        place: Vec3,
        corners: &[u32],
        enough: f32,
        bound: f32,
        exact: bool,
    ) -> f32 {
        let enough = enough.min(bound);
        let (mut nearest, mut closest) = (f32::INFINITY, 0..0);
        for &corner in corners {
            let range = self.first_member[corner as usize] as usize..self.first_member[corner as usize + 1] as usize;
            let distance = self.places.nearest2(range.clone(), place);
            if distance < nearest {
                (nearest, closest) = (distance, range);
                if nearest <= enough {
                    self.kept = self.kept.max(nearest);
                    return nearest;
                }
            }
        }
        if exact {
            let index = closest.into_iter().find(|&k| distance2(self.places.at(k), place) == nearest);
            let member = self.members[index.expect("the nearest is one of them")];
            nearest = self.search_faces(fine, place, member, nearest);
            if nearest > bound {
                let end = self.walk_input(fine, place, member);
                nearest = self.search_faces(fine, place, end, nearest);
            }
        }
        if nearest > bound {
            work.mark_one(corners);
        } else {
            self.kept = self.kept.max(nearest);
        }
        nearest
    }

    /// From a vertex of the input along its edges to where no neighbour is nearer.
    fn walk_input(&self, fine: &Fine, place: Vec3, mut vertex: u32) -> u32 {
        for _ in 0..STEPS {
            let range = self.first_face[vertex as usize] as usize..self.first_face[vertex as usize + 1] as usize;
            let around = self.faces[range].iter().flat_map(|&corner| fine.mesh.faces[(corner / 3) as usize]);
            let mut next = (vertex, distance2(fine.positions[vertex as usize], place));
            for n in around {
                let distance = distance2(fine.positions[n as usize], place);
                if distance < next.1 {
                    next = (n, distance);
                }
            }
            if next.0 == vertex {
                break;
            }
            vertex = next.0;
        }
        vertex
    }

    /// Squared distance to the input's faces around a vertex and around those at the far ends of these.
    fn search_faces(&mut self, fine: &Fine, place: Vec3, vertex: u32, mut nearest: f32) -> f32 {
        if !self.linked {
            let n = fine.positions.len();
            group(n, fine.mesh.faces.iter().flatten().copied(), &mut self.first_face, &mut self.faces);
            self.linked = true;
        }
        let range = self.first_face[vertex as usize] as usize..self.first_face[vertex as usize + 1] as usize;
        for &corner in &self.faces[range] {
            let face = fine.mesh.faces[(corner / 3) as usize];
            nearest = nearest.min(triangle2(place, face.map(|v| fine.positions[v as usize])));
        }
        nearest
    }
}

/// From a vertex of the output along its edges to where no neighbour is nearer.
fn walk(work: &Work, position: Vec3, mut vertex: u32) -> u32 {
    for _ in 0..STEPS {
        let mut next = (vertex, distance2(work.places[vertex as usize].at, position));
        for &n in work.rings.of(vertex) {
            let distance = distance2(work.places[n as usize].at, position);
            if distance < next.1 {
                next = (n, distance);
            }
        }
        if next.0 == vertex {
            break;
        }
        vertex = next.0;
    }
    vertex
}

/// Lowers `nearest` by the distances to the faces around a vertex, until it is low enough.
#[inline]
fn search(work: &Work, position: Vec3, vertex: u32, enough: f32, nearest: &mut f32) {
    for (n, p) in work.faces_of(vertex) {
        if *nearest <= enough {
            return;
        }
        *nearest = nearest.min(triangle2(position, work.triangle([vertex, n, p])));
    }
}
