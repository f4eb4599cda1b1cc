//! No object may vanish or turn inside out.

use super::geometry::{area_vector, dot};
use super::rings::Fan;
use super::work::{NONE, Work, find};

/// Closed components of the input with at most so many vertices keep their volume within `SMALL_CHANGE`.
const SMALL: u32 = 64;
const SMALL_CHANGE: f64 = 0.3;

#[derive(Default)]
pub struct Volumes {
    component: Vec<u32>,
    parts: Vec<Part>,
}

/// A component, with six times its volume.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    before: f64,
    after: f64,
    /// Six times its area.
    area: f64,
    members: u32,
    open: bool,
    spoilt: bool,
}

impl Volumes {
    /// Finds the components, and keeps collapses in small ones within a part of their thickness.
    pub fn start(&mut self, work: &mut Work) {
        let n = work.vertices.len();
        self.component.clear();
        self.component.extend(0..n as u32);
        for &[a, b, c] in work.faces.iter().filter(|face| face[0] != NONE) {
            for (v, w) in [(a, b), (b, c)] {
                let (r, s) = (find(&mut self.component, v), find(&mut self.component, w));
                self.component[r.max(s) as usize] = r.min(s);
            }
        }
        self.parts.clear();
        for v in 0..n {
            let above = self.component[v] as usize;
            // parents come before their children, and hold the number of their part by then
            self.component[v] = if above == v {
                self.parts.push(Part::default());
                self.parts.len() as u32 - 1
            } else {
                self.component[above]
            };
            let vertex = &mut work.vertices[v];
            vertex.part = self.component[v];
            let part = &mut self.parts[vertex.part as usize];
            part.before += f64::from(vertex.volume);
            part.area += f64::from(vertex.planes.weight);
            part.members += vertex.members;
            part.open |= matches!(work.flags[v].fan, Fan::Open | Fan::Odd);
        }
        for (vertex, place) in work.vertices.iter().zip(&mut work.places) {
            let part = &self.parts[vertex.part as usize];
            if !part.open && part.members <= SMALL {
                let thickness = SMALL_CHANGE * part.before / part.area;
                place.limit = place.limit.min((thickness * thickness) as f32);
            }
        }
    }

    /// Finds the volumes as they are now.
    pub fn measure(&mut self, work: &Work) {
        for part in &mut self.parts {
            part.after = 0.0;
        }
        for &face in &work.faces {
            if face[0] != NONE {
                let triangle = work.triangle(face);
                let volume = dot(area_vector(triangle), triangle[0]);
                self.parts[work.vertices[face[0] as usize].part as usize].after += f64::from(volume);
            }
        }
    }

    /// How far all faces of a component would have to move outward to give it back the volume that it had.
    pub fn gap(&self, part: u32) -> f32 {
        let part = &self.parts[part as usize];
        if part.area > 0.0 { ((part.before - part.after) / part.area) as f32 } else { 0.0 }
    }

    /// Marks the clusters of components whose volume is no longer theirs; whether there are any.
    pub fn check(&mut self, work: &mut Work) -> bool {
        self.measure(work);
        let mut found = false;
        for part in &mut self.parts {
            let turned = part.before != 0.0 && part.after * part.before <= 0.0;
            let change = (part.after - part.before).abs();
            let shrunk = part.members <= SMALL && change > SMALL_CHANGE * part.before.abs();
            part.spoilt = !part.open && (turned || shrunk);
            found |= part.spoilt;
        }
        if !found {
            return false;
        }
        let mut marked = false;
        for v in 0..work.vertices.len() as u32 {
            if self.parts[work.vertices[v as usize].part as usize].spoilt {
                marked |= work.mark(v);
            }
        }
        marked
    }
}
