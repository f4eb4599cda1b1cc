//! Half-edge collapses in passes: a vertex goes where one of its neighbours is, if the surface stays the same.

use super::geometry::{Vec3, add, cross, dot, is_sliver, looks_along, sub};
use super::rings::Fan;
use super::work::{NONE, Work};

/// Vertices with more neighbours than this neither vanish nor take up others.
const MOST_NEIGHBOURS: usize = 20;
/// A collapse may not leave a vertex with more neighbours than this.
const MOST_AFTER: usize = 12;
/// Share of a squared edge length, times the weight, that is added to the cost: flat regions begin with short edges.
const LENGTH_TERM: f32 = 1e-3;
/// One of so many candidates is allowed to go in a pass.
const PASS_SHARE: usize = 2;
/// Of the costs that are to be found anew, one in so many tells where a pass ends.
const SAMPLE: usize = 8;
/// Below so many, all of them do.
const FEW: usize = 2048;

#[derive(Default)]
pub struct Collapser {
    best: Vec<Best>,
    mark: Vec<u32>,
    stamp: u32,
    histogram: Vec<u32>,
    live: Vec<u32>,
    ring: Ring,
}

/// The cheapest way for a vertex to vanish.
#[derive(Debug, Clone, Copy)]
struct Best {
    /// Infinite if it cannot, NaN if it is to be found anew.
    cost: f32,
    /// The neighbour to which that cost belongs.
    to: u32,
}

const UNKNOWN: Best = Best { cost: f32::NAN, to: NONE };
const NEVER: Best = Best { cost: f32::INFINITY, to: NONE };

/// Multiple of the vector width.
const ROOM: usize = MOST_NEIGHBOURS.next_multiple_of(4);

/// The neighbours of a vertex inside a surface, with the cost of going there. What is beyond `len` is left over.
#[derive(Default)]
struct Ring {
    len: usize,
    neighbours: [u32; ROOM],
    /// Where they are, relative to the vertex.
    offset: [[f32; ROOM]; 3],
    /// The lower of their limits and the vertex's.
    limit: [f32; ROOM],
    cost: [f32; ROOM],
}

impl Collapser {
    /// Collapses until at most `target` faces are left or nothing cheaper than the limits is.
    ///
    /// After a rebuild only what is `fresh` goes, if `all` is false.
    pub fn run(&mut self, work: &mut Work, target: usize, all: bool) {
        let n = work.vertices.len();
        self.best.clear();
        self.best.resize(n, UNKNOWN);
        self.mark.clear();
        self.mark.resize(n, 0);
        self.stamp = 0;
        self.live.clear();
        self.live.extend((0..n as u32).filter(|&v| {
            let i = v as usize;
            !work.flags[i].locked && !work.rings.of(v).is_empty() && (all || work.flags[i].fresh)
        }));
        work.rings.compact();
        let mut faces = work.live_faces();
        while faces > target {
            let threshold = self.plan(work, (faces - target).div_ceil(2));
            if threshold < 0.0 {
                break;
            }
            let mut kept = 0;
            for k in 0..self.live.len() {
                let v = self.live[k];
                // what is not known is found now
                let dear = self.best[v as usize].cost > threshold;
                if !dear && faces > target && self.try_vertex(work, v, threshold) {
                    faces -= 2;
                } else {
                    self.live[kept] = v;
                    kept += 1;
                }
            }
            self.live.truncate(kept);
        }
    }

    /// The cost up to which the coming pass goes; negative if nothing can go.
    fn plan(&mut self, work: &Work, wanted: usize) -> f32 {
        let sample = if self.live.len() > FEW { SAMPLE } else { 1 };
        let threshold = self.threshold(work, wanted, sample);
        // the sample may have missed all that can go
        if threshold < 0.0 && sample > 1 { self.threshold(work, wanted, 1) } else { threshold }
    }

    fn threshold(&mut self, work: &Work, wanted: usize, sample: usize) -> f32 {
        const SHIFT: u32 = 31 - 12;
        self.histogram.clear();
        self.histogram.resize(1 << 12, 0);
        let (mut candidates, mut unknown) = (0, 0);
        for k in 0..self.live.len() {
            let v = self.live[k];
            let mut best = self.best[v as usize];
            let mut times = 1;
            if best.cost.is_nan() {
                unknown += 1;
                if unknown % sample != 0 {
                    continue;
                }
                best = if self.ring.fill(work, v) { self.ring.least() } else { NEVER };
                self.best[v as usize] = best;
                times = sample;
            }
            if best.cost < f32::INFINITY {
                candidates += times;
                // non-negative floats sort like their bits
                self.histogram[(best.cost.to_bits() >> SHIFT) as usize] += times as u32;
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
        if !self.ring.fill(work, u) {
            self.best[u as usize] = NEVER;
            return false;
        }
        let mut marked = false;
        loop {
            let best = self.ring.least();
            if best.cost > threshold {
                // what is dearer may do in a later pass
                self.best[u as usize] = best;
                return false;
            }
            if !std::mem::replace(&mut marked, true) {
                self.mark_ring();
            }
            let (k, ring) = (self.ring.place(best.to), &self.ring);
            if self.keeps_surface(work, k) && ring.keeps_shape(work, u, k) {
                let neighbours = &ring.neighbours[..ring.len];
                work.rings.collapse(u, best.to, neighbours, k);
                work.merge(u, best.to);
                for &n in neighbours {
                    // the others may miss a new neighbour that is better: that only delays them
                    let known = &mut self.best[n as usize];
                    if known.to == u || known.cost == f32::INFINITY {
                        *known = UNKNOWN;
                    }
                }
                self.best[best.to as usize] = UNKNOWN;
                return true;
            }
            self.ring.cost[k] = f32::INFINITY;
        }
    }

    fn mark_ring(&mut self) {
        if self.stamp == u32::MAX {
            self.mark.fill(0);
            self.stamp = 0;
        }
        self.stamp += 1;
        for &n in &self.ring.neighbours[..self.ring.len] {
            self.mark[n as usize] = self.stamp;
        }
    }

    /// The link condition: the only neighbours that a vertex shares with its `k`th are across their common edge. None
    /// of the rings that are to shrink may become too short.
    fn keeps_surface(&self, work: &Work, k: usize) -> bool {
        let len = self.ring.len;
        let v = self.ring.neighbours[k];
        let other = work.rings.of(v);
        if other.len() > 4 * MOST_NEIGHBOURS || len + other.len() > MOST_AFTER + 4 {
            return false;
        }
        let shared = other.iter().filter(|&&w| self.mark[w as usize] == self.stamp).count();
        if shared != 2 {
            return false;
        }
        let [a, b] = [k + 1, k + len - 1].map(|i| self.ring.neighbours[if i < len { i } else { i - len }]);
        [v, a, b].iter().all(|&w| match work.flags[w as usize].fan {
            Fan::Closed => work.rings.of(w).len() > 3,
            _ => true,
        })
    }
}

impl Ring {
    /// Finds what it costs to move a vertex to each of its neighbours; whether that can be.
    #[inline]
    fn fill(&mut self, work: &Work, u: u32) -> bool {
        let ring = work.rings.of(u);
        let len = ring.len();
        if len > MOST_NEIGHBOURS || len == 0 {
            return false;
        }
        let (planes, place) = (&work.vertices[u as usize].planes, work.places[u as usize]);
        self.len = len;
        for (k, &n) in ring.iter().enumerate() {
            let other = &work.places[n as usize];
            self.neighbours[k] = n;
            let offset = sub(other.at, place.at);
            for (axis, x) in self.offset.iter_mut().zip(offset) {
                axis[k] = x;
            }
            self.limit[k] = other.limit.min(place.limit);
        }
        let [x, y, z] = &self.offset;
        for k in 0..len.next_multiple_of(4).min(ROOM) {
            let offset = [x[k], y[k], z[k]];
            let value = planes.value(offset);
            let cost = value + LENGTH_TERM * planes.weight * dot(offset, offset);
            // the neighbour's own planes are within the limits where it is
            self.cost[k] = if value <= self.limit[k] * planes.weight { cost } else { f32::INFINITY };
        }
        true
    }

    #[inline]
    fn least(&self) -> Best {
        let mut best = 0;
        for k in 1..self.len {
            if self.cost[k] < self.cost[best] {
                best = k;
            }
        }
        Best { cost: self.cost[best], to: self.neighbours[best] }
    }

    fn place(&self, n: u32) -> usize {
        self.neighbours[..self.len].iter().position(|&w| w == n).expect("the least is one of them")
    }

    #[inline(always)]
    fn at(&self, k: usize) -> Vec3 {
        [self.offset[0][k], self.offset[1][k], self.offset[2][k]]
    }

    /// Whether no face that follows the vertex to its `k`th neighbour turns over or becomes a needle.
    fn keeps_shape(&self, work: &Work, u: u32, k: usize) -> bool {
        let turned = |i: usize| if k + i < self.len { k + i } else { k + i - self.len };
        let target = self.at(k);
        let normal = |i: usize| work.places[self.neighbours[i] as usize].normal;
        let own = work.places[u as usize].normal;
        let mut next = turned(1);
        let (mut to, mut turn) = (self.at(next), normal(next));
        for i in 2..self.len {
            let (from, before) = (to, turn);
            next = turned(i);
            (to, turn) = (self.at(next), normal(next));
            let old = cross(from, to);
            let new = cross(sub(from, target), sub(to, target));
            let reference = add(own, add(before, turn));
            if !looks_along(new, old, 0.2) || dot(new, reference) <= 0.0 || is_sliver([target, from, to], new) {
                return false;
            }
        }
        true
    }
}
