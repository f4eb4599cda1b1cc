//! Clusters are taken apart where the map of vertices does harm, and what hangs on them is mended there alone.

use super::work::{Fine, Flags, NONE, Vertex, Work};

/// How a cluster is taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Care {
    /// The share of their limit within which its parts may merge again; zero: never.
    pub share: f32,
    /// Whether all its merges are undone; otherwise the later half.
    pub all: bool,
}

/// What is due after so many times; the last for all that follow.
fn of(care: &[Care], times: u8) -> Care {
    care[usize::from(times).min(care.len() - 1)]
}

/// Numbers of vertices, each once, in the order in which they came.
#[derive(Default)]
pub struct Once {
    pub list: Vec<u32>,
    seen: Vec<bool>,
}

impl Once {
    pub fn start(&mut self, n: usize) {
        self.list.clear();
        self.seen.clear();
        self.seen.resize(n, false);
    }

    fn add(&mut self, v: u32) {
        if !std::mem::replace(&mut self.seen[v as usize], true) {
            self.list.push(v);
        }
    }
}

/// What taking apart needs.
#[derive(Default)]
pub struct Splitter {
    /// Faces before any merge whose image may have changed.
    loose: Vec<u32>,
    /// Vertices whose faces before any merge changed.
    worn: Once,
    /// Corners of new faces, each with the next around the same vertex.
    chain: Vec<(u32, u32)>,
    cluster: Vec<u32>,
    merges: Vec<u32>,
}

impl Work {
    /// Takes patches apart until what is left is the same surface.
    pub fn repair(&mut self, fine: &Fine, care: &[Care]) {
        loop {
            self.find_faults();
            if !self.flags.iter().any(|flags| flags.dissolve) {
                return;
            }
            self.split(fine, care);
        }
    }

    /// Splits the marked clusters: undoes the later half of the merges, or all, and takes patches that nothing has
    /// merged into apart. What comes of it may merge again with `care`: that share of the limit, or never if it is
    /// zero.
    pub fn split(&mut self, fine: &Fine, care: &[Care]) {
        let before = self.vertices.len();
        self.flags.iter_mut().for_each(|flags| flags.fresh = false);
        self.touched.start(before);
        let mut splitter = std::mem::take(&mut self.splitter);
        splitter.loose.clear();
        splitter.worn.start(before);
        let mut broken = false;
        for v in 0..before {
            if !self.flags[v].dissolve {
                continue;
            }
            if self.nodes[v].last == NONE {
                broken = true;
                self.discard_faces(v, &mut splitter.worn);
            } else {
                self.undo(v as u32, care, &mut splitter);
            }
        }
        if broken {
            self.break_patches(fine, care, before, &mut splitter);
        }
        for &f in &splitter.loose {
            let (f, base) = (f as usize, self.base[f as usize]);
            if base[0] == NONE {
                continue;
            }
            let [a, b, c] = base.map(|v| self.root_of(v));
            let distinct = a != b && b != c && c != a;
            let old = std::mem::replace(&mut self.faces[f], if distinct { [a, b, c] } else { [NONE; 3] });
            for v in old.into_iter().chain(self.faces[f]) {
                if v != NONE {
                    self.touched.add(v);
                }
            }
        }
        let (nodes, home) = (&self.nodes, &self.home_count);
        self.touched.list.retain(|&v| nodes[v as usize].parent == v && (home[v as usize] > 0 || (v as usize) < before));
        for k in 0..self.touched.list.len() {
            let v = self.touched.list[k];
            self.gather(v, &mut splitter.cluster);
            self.arrange(v, &splitter.cluster);
        }
        self.splitter = splitter;
    }

    /// The faces of a patch that is to be broken are made anew.
    fn discard_faces(&mut self, v: usize, worn: &mut Once) {
        let first = self.home_first[v] as usize;
        for k in first..first + self.home_count[v] as usize {
            let f = (self.corners[k] / 3) as usize;
            for w in std::mem::replace(&mut self.base[f], [NONE; 3]) {
                if w != NONE {
                    worn.add(w);
                }
            }
            for w in std::mem::replace(&mut self.faces[f], [NONE; 3]) {
                if w != NONE {
                    self.touched.add(w);
                }
            }
        }
        self.touched.add(v as u32);
    }

    /// Undoes the later half of the merges into a vertex, or all.
    fn undo(&mut self, v: u32, care: &[Care], splitter: &mut Splitter) {
        let splits = self.flags[v as usize].splits;
        let Care { share, all } = of(care, splits);
        self.gather(v, &mut splitter.cluster);
        for &b in &splitter.cluster {
            let first = self.home_first[b as usize] as usize;
            let corners = &self.corners[first..first + self.home_count[b as usize] as usize];
            splitter.loose.extend(corners.iter().map(|&corner| corner / 3));
        }
        let (merges, mut at) = (&mut splitter.merges, self.nodes[v as usize].last);
        merges.clear();
        while at != NONE {
            merges.push(at);
            at = self.merges[at as usize].previous;
        }
        merges.reverse();
        let kept = if all { 0 } else { merges.len() / 2 };
        let target = v as usize;
        let was = self.saved[self.nodes[target].save as usize];
        (self.vertices[target], self.places[target]) = (was.vertex, was.place);
        (self.spots[target], self.flags[target]) = (was.spot, was.flags);
        for &merge in &merges[..kept] {
            self.add_up(self.merges[merge as usize].gone, v);
        }
        self.nodes[target].last = if kept > 0 { merges[kept - 1] } else { NONE };
        for &merge in &splitter.merges[kept..] {
            let gone = self.merges[merge as usize].gone;
            self.nodes[gone as usize].parent = gone;
            self.refresh(gone, share, splits);
        }
        self.refresh(v, share, splits);
    }

    fn refresh(&mut self, v: u32, share: f32, splits: u8) {
        self.touched.add(v);
        self.places[v as usize].limit *= share;
        let flags = &mut self.flags[v as usize];
        flags.fresh = true;
        flags.near = true;
        flags.locked |= share == 0.0;
        flags.dissolve = false;
        flags.splits = flags.splits.max(splits.saturating_add(1));
    }

    /// Gives the members of the patches that are still marked back their own vertices.
    fn break_patches(&mut self, fine: &Fine, care: &[Care], before: usize, splitter: &mut Splitter) {
        for v in 0..fine.positions.len() {
            let was = self.rep[v] as usize;
            if self.flags[was].dissolve {
                self.rep[v] = self.vertices.len() as u32;
                let splits = self.flags[was].splits;
                let share = of(care, splits).share;
                let (limit, part) = (self.places[was].limit * share, self.vertices[was].part);
                self.push(fine, v, limit, part);
                let flags = self.flags.last_mut().expect("just pushed");
                flags.locked = share == 0.0;
                flags.splits = splits.saturating_add(1);
            }
        }
        let n = self.vertices.len();
        self.grow(n);
        self.touched.seen.resize(n, false);
        splitter.worn.seen.resize(n, false);
        for v in 0..before {
            if self.flags[v].dissolve {
                self.flags[v] = Flags::default();
                self.vertices[v] = Vertex { part: self.vertices[v].part, ..Vertex::default() };
                self.places[v].normal = [0.0; 3];
            }
        }
        let old = self.base.len();
        for &face in &fine.mesh.faces {
            let [a, b, c] = face.map(|v| self.rep[v as usize]);
            if a.max(b).max(c) >= before as u32 {
                self.add_face(fine, face, [a, b, c], before as u32);
                if a != b && b != c && c != a {
                    self.base.push([a, b, c]);
                }
            }
        }
        self.faces.resize(self.base.len(), [NONE; 3]);
        splitter.loose.extend(old as u32..self.base.len() as u32);
        splitter.chain.clear();
        for f in (old..self.base.len()).rev() {
            for (k, v) in self.base[f].into_iter().enumerate() {
                let link = splitter.chain.len() as u32;
                splitter.chain.push(((3 * f + k) as u32, std::mem::replace(&mut self.next[v as usize], link)));
                splitter.worn.add(v);
            }
        }
        for &v in &splitter.worn.list {
            let (v, start) = (v as usize, self.corners.len());
            let first = self.home_first[v] as usize;
            for k in first..first + self.home_count[v] as usize {
                let corner = self.corners[k];
                if self.base[(corner / 3) as usize][0] != NONE {
                    self.corners.push(corner);
                }
            }
            let mut at = std::mem::replace(&mut self.next[v], NONE);
            while at != NONE {
                let (corner, next) = splitter.chain[at as usize];
                self.corners.push(corner);
                at = next;
            }
            (self.home_first[v], self.home_count[v]) = (start as u32, (self.corners.len() - start) as u32);
            self.touched.add(self.root_of(v as u32));
        }
    }

    /// Everything that has merged into a vertex, and the vertex itself.
    fn gather(&self, v: u32, cluster: &mut Vec<u32>) {
        cluster.clear();
        cluster.push(v);
        let mut done = 0;
        while done < cluster.len() {
            let mut at = self.nodes[cluster[done] as usize].last;
            while at != NONE {
                let merge = &self.merges[at as usize];
                cluster.push(merge.gone);
                at = merge.previous;
            }
            done += 1;
        }
    }

    fn root_of(&self, mut v: u32) -> u32 {
        while self.nodes[v as usize].parent != v {
            v = self.nodes[v as usize].parent;
        }
        v
    }

    /// Faces that are left.
    pub fn live_faces(&self) -> usize {
        self.faces.iter().filter(|face| face[0] != NONE).count()
    }
}
