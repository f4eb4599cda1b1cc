//! Half-edge collapses in passes: a vertex goes where one of its neighbours is, if the surface stays the same.

use super::geometry::{area_vector, dot, is_sliver, looks_along, sub};
use super::work::{NONE, Work, around};

/// Vertices with more neighbours than this neither vanish nor take up others.
const MOST_NEIGHBOURS: usize = 20;
/// A collapse may not leave a vertex with more neighbours than this.
const MOST_AFTER: u32 = 12;
/// Share of a squared edge length, times the weight, that is added to the cost: flat regions begin with short edges.
const LENGTH_TERM: f32 = 1e-3;
/// One of so many candidates is allowed to go in a pass.
const PASS_SHARE: usize = 3;

#[derive(Default)]
pub struct Collapser {
    /// Least cost at which a vertex may vanish; infinite if it cannot, NaN if it is to be found anew.
    cost: Vec<f32>,
    /// The neighbour to which that cost belongs.
    best: Vec<u32>,
    mark: Vec<u32>,
    stamp: u32,
    histogram: Vec<u32>,
    live: Vec<u32>,
}

/// The neighbours of a vertex inside a surface, with the cost of going there.
struct Ring {
    neighbours: [u32; MOST_NEIGHBOURS],
    cost: [f32; MOST_NEIGHBOURS],
    len: usize,
}

impl Collapser {
    /// Collapses until at most `target` faces are left or nothing cheaper than the limits is.
    ///
    /// After a rebuild only what is `fresh` goes, if `all` is false.
    pub fn run(&mut self, work: &mut Work, target: usize, all: bool) {
        let n = work.vertices.len();
        self.cost.clear();
        self.cost.resize(n, f32::NAN);
        self.best.clear();
        self.best.resize(n, NONE);
        self.mark.clear();
        self.mark.resize(n, 0);
        self.stamp = 0;
        self.live.clear();
        self.live.extend((0..n as u32).filter(|&v| {
            let v = v as usize;
            !work.flags[v].locked && work.count[v] > 0 && (all || work.fresh[v])
        }));
        let mut faces = work.live_faces();
        while faces > target {
            let threshold = self.plan(work, (faces - target).div_ceil(2));
            if threshold < 0.0 {
                break;
            }
            for k in 0..self.live.len() {
                let v = self.live[k];
                // a cost that was forgotten in this pass compares false
                if self.cost[v as usize] <= threshold && self.try_vertex(work, v, threshold) {
                    faces -= 2;
                    if faces <= target {
                        break;
                    }
                }
            }
            self.live.retain(|&v| work.parent[v as usize] == v);
        }
    }

    /// The cost up to which the coming pass goes; negative if nothing can go.
    fn plan(&mut self, work: &Work, wanted: usize) -> f32 {
        const SHIFT: u32 = 31 - 12;
        self.histogram.clear();
        self.histogram.resize(1 << 12, 0);
        let mut candidates = 0;
        for &v in &self.live {
            let cost = &mut self.cost[v as usize];
            if cost.is_nan() {
                (*cost, self.best[v as usize]) = evaluate(work, v).map_or((f32::INFINITY, NONE), |ring| ring.least());
            }
            if *cost < f32::INFINITY {
                candidates += 1;
                // non-negative floats sort like their bits
                self.histogram[(cost.to_bits() >> SHIFT) as usize] += 1;
            }
        }
        let allowed = (candidates / PASS_SHARE).max(64).min(wanted);
        let mut sum = 0;
        for (bin, &count) in self.histogram.iter().enumerate() {
            sum += count as usize;
            if count > 0 && (sum >= allowed || sum == candidates) {
                return f32::from_bits(((bin as u32 + 1) << SHIFT) - 1);
            }
        }
        -1.0
    }

    fn try_vertex(&mut self, work: &mut Work, u: u32, threshold: f32) -> bool {
        let Some(mut ring) = evaluate(work, u) else {
            self.cost[u as usize] = f32::INFINITY;
            return false;
        };
        if self.stamp == u32::MAX {
            self.mark.fill(0);
            self.stamp = 0;
        }
        self.stamp += 1;
        for &n in &ring.neighbours[..ring.len] {
            self.mark[n as usize] = self.stamp;
        }
        loop {
            let mut best = 0;
            for k in 1..ring.len {
                if ring.cost[k] < ring.cost[best] {
                    best = k;
                }
            }
            let cost = ring.cost[best];
            if cost > threshold {
                // what is dearer may do in a later pass
                self.cost[u as usize] = cost;
                self.best[u as usize] = ring.neighbours[best];
                return false;
            }
            let v = ring.neighbours[best];
            if self.keeps_surface(work, u, v) && keeps_shape(work, u, v) {
                self.collapse(work, u, v);
                for &n in &ring.neighbours[..ring.len] {
                    // the others may miss a new neighbour that is better: that only delays them
                    if self.best[n as usize] == u || self.cost[n as usize] == f32::INFINITY {
                        self.cost[n as usize] = f32::NAN;
                    }
                }
                return true;
            }
            ring.cost[best] = f32::INFINITY;
        }
    }

    /// The link condition: the only neighbours that `u` and `v` share are across their common edge.
    fn keeps_surface(&self, work: &Work, u: u32, v: u32) -> bool {
        let corners = work.corners_of(v);
        if corners.len() > 4 * MOST_NEIGHBOURS || work.count[u as usize] + work.count[v as usize] > MOST_AFTER + 4 {
            return false;
        }
        let (mut across, mut found) = ([NONE; 2], 0);
        for &corner in corners {
            let (n, p) = around(corner);
            let (n, p) = (work.at(n), work.at(p));
            if n == u || p == u {
                if found == 2 {
                    return false;
                }
                across[found] = if n == u { p } else { n };
                found += 1;
            }
        }
        if found != 2 || across[0] == across[1] {
            return false;
        }
        for &corner in corners {
            let (n, p) = around(corner);
            let (n, p) = (work.at(n), work.at(p));
            if n == u || p == u {
                continue;
            }
            let shares = [n, p].map(|w| self.mark[w as usize] == self.stamp);
            let known = [n, p].map(|w| w == across[0] || w == across[1]);
            if (shares[0] && !known[0]) || (shares[1] && !known[1]) || (known[0] && known[1]) {
                return false;
            }
        }
        true
    }

    fn collapse(&mut self, work: &mut Work, u: u32, v: u32) {
        let (ui, vi) = (u as usize, v as usize);
        let start = work.corners.len();
        for k in 0..work.count[vi] {
            let corner = work.corners[(work.first[vi] + k) as usize];
            if !work.faces[(corner / 3) as usize].contains(&u) {
                work.corners.push(corner);
            }
        }
        for k in 0..work.count[ui] {
            let corner = work.corners[(work.first[ui] + k) as usize];
            let face = &mut work.faces[(corner / 3) as usize];
            if !face.contains(&v) {
                face[(corner % 3) as usize] = v;
                work.corners.push(corner);
                continue;
            }
            let third = face.iter().copied().find(|&w| w != u && w != v).expect("faces have three vertices");
            *face = [NONE; 3];
            let first = work.first[third as usize] as usize;
            let list = &mut work.corners[first..first + work.count[third as usize] as usize];
            let place = list.iter().position(|&c| c / 3 == corner / 3).expect("a face is listed at its vertices");
            let last = list.len() - 1;
            list.swap(place, last);
            work.count[third as usize] -= 1;
        }
        work.first[vi] = start as u32;
        work.count[vi] = (work.corners.len() - start) as u32;
        work.count[ui] = 0;
        work.merge(u, v);
        self.cost[vi] = f32::NAN;
    }
}

impl Ring {
    fn least(&self) -> (f32, u32) {
        let mut best = 0;
        for k in 1..self.len {
            if self.cost[k] < self.cost[best] {
                best = k;
            }
        }
        (self.cost[best], self.neighbours[best])
    }
}

/// What it costs to move a vertex to each of its neighbours.
#[inline]
fn evaluate(work: &Work, u: u32) -> Option<Ring> {
    let corners = work.corners_of(u);
    if corners.len() > MOST_NEIGHBOURS || corners.is_empty() {
        return None;
    }
    let (planes, place) = (&work.vertices[u as usize].planes, work.places[u as usize]);
    let mut ring =
        Ring { neighbours: [0; MOST_NEIGHBOURS], cost: [f32::INFINITY; MOST_NEIGHBOURS], len: corners.len() };
    for (k, &corner) in corners.iter().enumerate() {
        let n = work.at(around(corner).0);
        let other = work.places[n as usize];
        let offset = sub(other.at, place.at);
        let value = planes.value(offset);
        ring.neighbours[k] = n;
        // the neighbour's own planes are within the limits where it is
        if value <= place.limit.min(other.limit) * planes.weight {
            ring.cost[k] = value + LENGTH_TERM * planes.weight * dot(offset, offset);
        }
    }
    Some(ring)
}

/// Whether no face that follows `u` to `v` turns over or becomes a needle.
fn keeps_shape(work: &Work, u: u32, v: u32) -> bool {
    let target = work.places[v as usize].at;
    for &corner in work.corners_of(u) {
        let f = (corner / 3) as usize;
        let face = work.faces[f];
        if face.contains(&v) {
            continue;
        }
        let mut triangle = work.triangle(f);
        let old = area_vector(triangle);
        triangle[(corner % 3) as usize] = target;
        let new = area_vector(triangle);
        let reference = work.reference(face);
        if !looks_along(new, old, 0.2) || dot(new, reference) <= 0.0 || is_sliver(triangle, new) {
            return false;
        }
    }
    true
}
