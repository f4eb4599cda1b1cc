//! The measured distance between input and output, both ways.
//!
//! Every distance is to some place on the other surface that is known to be near, so it is never too small; a search
//! goes on only as long as the distance would raise the maximum.

use super::geometry::{Vec3, add, distance2, scale, triangle2};
use super::work::{Fine, NONE, Work, around};

#[derive(Default)]
pub struct Distances {
    /// The input's vertices by what stands for them.
    first_member: Vec<u32>,
    members: Vec<u32>,
    /// The input's faces around its vertices.
    first_face: Vec<u32>,
    faces: Vec<u32>,
    linked: bool,
    /// The greatest squared distance within the bound.
    pub kept: f32,
}

/// Sorts the numbers of `items` by their key: those with key `k` come to lie at `first[k]..first[k + 1]`.
fn group(keys: usize, items: impl Iterator<Item = u32> + Clone, first: &mut Vec<u32>, list: &mut Vec<u32>) {
    first.clear();
    first.resize(keys + 2, 0);
    let mut total = 0;
    for key in items.clone() {
        first[key as usize + 2] += 1;
        total += 1;
    }
    for k in 2..first.len() {
        first[k] += first[k - 1];
    }
    list.clear();
    list.resize(total, 0);
    for (number, key) in items.enumerate() {
        let slot = &mut first[key as usize + 1];
        list[*slot as usize] = number as u32;
        *slot += 1;
    }
    first.pop();
}

impl Distances {
    /// The greatest squared distance to or from where the mesh is `near` a change; clusters on which more than `bound`
    /// depends are marked.
    ///
    /// `exact` searches the input's faces where its vertices alone say more than the maximum so far.
    pub fn measure(&mut self, fine: &Fine, work: &mut Work, bound: f32, exact: bool) -> f32 {
        self.kept = 0.0;
        work.spread();
        self.linked = false;
        let mut greatest = self.measure_input(fine, work, bound);
        let stands_for = work.rep.iter().map(|&rep| work.root[rep as usize]);
        group(work.vertices.len(), stands_for, &mut self.first_member, &mut self.members);
        for f in 0..work.faces.len() {
            let face = work.faces[f];
            let looks = |v: u32| work.flags[v as usize].changed && work.near[v as usize];
            if face[0] == NONE || !face.iter().any(|&v| looks(v)) {
                continue;
            }
            let [a, b, c] = work.triangle(f);
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
            if work.flags[v as usize].changed && work.near[v as usize] && work.count[v as usize] > 0 {
                let position = work.places[v as usize].at;
                greatest = greatest.max(self.measure_output(fine, work, position, &[v], greatest, bound, exact));
            }
        }
        greatest
    }

    fn measure_input(&mut self, fine: &Fine, work: &mut Work, bound: f32) -> f32 {
        let mut greatest = 0f32;
        for (v, &position) in fine.positions.iter().enumerate() {
            let rep = work.stands_for(v);
            if !work.flags[rep as usize].changed || !work.near[rep as usize] {
                continue;
            }
            let mut nearest = distance2(position, work.places[rep as usize].at);
            let enough = greatest.min(bound);
            search(work, position, rep, enough, &mut nearest);
            if nearest > enough {
                for k in 0..work.count[rep as usize] {
                    let corner = work.corners[(work.first[rep as usize] + k) as usize];
                    search(work, position, work.at(around(corner).0), enough, &mut nearest);
                }
            }
            if nearest > bound {
                work.mark(rep);
            } else {
                self.kept = self.kept.max(nearest);
            }
            greatest = greatest.max(nearest);
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
        let (mut nearest, mut vertex) = (f32::INFINITY, NONE);
        for &corner in corners {
            let range = self.first_member[corner as usize] as usize..self.first_member[corner as usize + 1] as usize;
            for &member in &self.members[range] {
                let distance = distance2(place, fine.positions[member as usize]);
                if distance < nearest {
                    (nearest, vertex) = (distance, member);
                    if nearest <= enough {
                        self.kept = self.kept.max(nearest);
                        return nearest;
                    }
                }
            }
        }
        if exact {
            nearest = self.search_faces(fine, place, vertex, nearest);
        }
        if nearest > bound {
            for &corner in corners {
                work.mark(corner);
            }
        } else {
            self.kept = self.kept.max(nearest);
        }
        nearest
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

/// Lowers `nearest` by the distances to the faces around a vertex, until it is low enough.
#[inline]
fn search(work: &Work, position: Vec3, vertex: u32, enough: f32, nearest: &mut f32) {
    for &corner in work.corners_of(vertex) {
        if *nearest <= enough {
            return;
        }
        *nearest = nearest.min(triangle2(position, work.triangle((corner / 3) as usize)));
    }
}
