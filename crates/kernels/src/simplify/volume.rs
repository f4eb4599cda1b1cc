//! No object may vanish or turn inside out.

use super::work::{Fan, Fine, NONE, Work};

/// Closed components of the input with at most so many faces keep their volume within `SMALL_CHANGE`.
const SMALL: u32 = 128;
const SMALL_CHANGE: f64 = 0.3;

#[derive(Default)]
pub struct Volumes {
    component: Vec<u32>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    before: f64,
    after: f64,
    faces: u32,
    open: bool,
    spoilt: bool,
}

fn find(parent: &mut [u32], mut v: u32) -> u32 {
    while parent[v as usize] != v {
        let above = parent[parent[v as usize] as usize];
        parent[v as usize] = above;
        v = above;
    }
    v
}

impl Volumes {
    /// Marks the clusters of components whose volume is no longer theirs; whether there are any.
    pub fn check(&mut self, fine: &Fine, work: &mut Work) -> bool {
        let n = work.vertices.len();
        self.component.clear();
        self.component.extend(0..n as u32);
        for &[a, b, c] in &work.faces {
            if a == NONE {
                continue;
            }
            for (v, w) in [(a, b), (b, c)] {
                let (r, s) = (find(&mut self.component, v), find(&mut self.component, w));
                self.component[r.max(s) as usize] = r.min(s);
            }
        }
        for v in 0..n {
            self.component[v] = self.component[self.component[v] as usize];
        }
        self.parts.clear();
        self.parts.resize(n, Part::default());
        for face in &fine.mesh.faces {
            let id = self.component[work.rep[face[0] as usize] as usize];
            let part = &mut self.parts[id as usize];
            part.faces += 1;
            part.before += volume6(face.map(|v| fine.positions[v as usize]));
        }
        for f in 0..work.faces.len() {
            if work.faces[f][0] != NONE {
                let id = self.component[work.faces[f][0] as usize];
                self.parts[id as usize].after += volume6(work.triangle(f));
            }
        }
        for v in 0..n {
            if matches!(work.fans[v], Fan::Open | Fan::Odd) {
                self.parts[self.component[v] as usize].open = true;
            }
        }
        let mut found = false;
        for part in &mut self.parts {
            let turned = part.before != 0.0 && part.after * part.before <= 0.0;
            let changed = part.faces <= SMALL && (part.after - part.before).abs() > SMALL_CHANGE * part.before.abs();
            part.spoilt = part.faces > 0 && !part.open && (turned || changed);
            found |= part.spoilt;
        }
        if !found {
            return false;
        }
        let mut marked = false;
        for v in 0..n as u32 {
            if self.parts[self.component[v as usize] as usize].spoilt {
                marked |= work.mark(v);
            }
        }
        marked
    }
}

/// Six times the signed volume between a triangle and the origin.
fn volume6(triangle: [[f32; 3]; 3]) -> f64 {
    let [a, b, c] = triangle.map(|p| p.map(f64::from));
    a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
}
