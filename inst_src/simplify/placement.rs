//! The last touch: every vertex goes where its planes meet best.

use super::geometry::{Vec3, add, area_vector, dot, is_sliver, looks_along, scale, sub};
use super::work::{Frame, Work};

impl Work {
    /// Moves merged vertices to the least value of their planes, on multiples of the snapping step.
    ///
    /// A vertex stays where it is if no face may turn over otherwise, or if nothing is gained.
    pub fn settle(&mut self, frame: &Frame) {
        for v in 0..self.vertices.len() as u32 {
            let flags = self.flags[v as usize];
            if flags.locked || !flags.changed || !flags.near || self.rings.of(v).is_empty() {
                continue;
            }
            let (vertex, from) = (self.vertices[v as usize], self.places[v as usize].at);
            let Some(offset) = vertex.planes.minimum() else { continue };
            for share in [1.0, 0.5] {
                let Some(spot) = frame.nearest(add(from, scale(offset, share))) else { continue };
                let position = frame.place(spot);
                let offset = sub(position, from);
                let value = vertex.planes.value(offset);
                if value < vertex.planes.here() && self.may_move(v, position) {
                    self.vertices[v as usize].planes.shift(offset);
                    self.places[v as usize].at = position;
                    self.spots[v as usize] = spot;
                    break;
                }
            }
        }
    }

    fn may_move(&self, v: u32, position: Vec3) -> bool {
        let from = self.places[v as usize].at;
        self.faces_of(v).all(|(n, p)| {
            let [b, c] = [n, p].map(|w| self.places[w as usize].at);
            let old = area_vector([from, b, c]);
            let new = area_vector([position, b, c]);
            looks_along(new, old, 0.2)
                && dot(new, self.reference([v, n, p])) > 0.0
                && !is_sliver([position, b, c], new)
        })
    }
}
