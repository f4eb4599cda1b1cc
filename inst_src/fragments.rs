//! A mesh cut into the cells of a grid: the fragments of one level of detail.
//!
//! Positions are whole steps from the grid's origin. A cell is `width` steps wide, so that its quantised positions run
//! from 0 to `width`; on coarser levels it is also cut at `middle` steps, between its octants. Where an edge meets a
//! plane, one vertex is made for all faces at that edge, and planes are met in ascending order whatever the face: the
//! parts of a closed mesh close exactly against each other.

use std::collections::HashMap;

use crate::mesh::Mesh;
use crate::{Error, Result};

/// The cells of one level of detail.
#[derive(Debug, Clone, Copy)]
pub struct Cells {
    /// Steps of a cell along every axis: `2^bits - 1`.
    pub width: i32,
    /// Position of the plane between octants inside a cell: `2^(bits - 1)`; none on the finest level.
    pub middle: Option<i32>,
    /// Cells along x, y, z. Positions run from 0 to `width * count`.
    pub count: [u32; 3],
    /// Vertices nearer to a plane than this many steps are moved onto it first, so that no slivers are cut off.
    pub snap: i32,
    /// New vertices lie on multiples of this many steps, as far as the edge that they are on allows.
    pub round: i32,
}

impl Cells {
    fn check(&self, mesh: &Mesh) -> Result<()> {
        if self.width < 1 || self.round < 1 || self.snap < 0 || self.count.contains(&0) {
            return Err(Error::Argument(format!("no such cells: {self:?}")));
        }
        if self.middle.is_some_and(|middle| middle <= 0 || middle >= self.width) {
            return Err(Error::Argument(format!("the middle of a cell lies inside it: {self:?}")));
        }
        let ends = self.count.map(|n| i64::from(n) * i64::from(self.width));
        if ends.iter().any(|&end| end > i64::from(i32::MAX)) {
            return Err(Error::Argument(format!("{:?} cells of {} steps are too many", self.count, self.width)));
        }
        let outside = |p: &[i32; 3]| (0..3).any(|d| p[d] < 0 || i64::from(p[d]) > ends[d]);
        if let Some(p) = mesh.positions.iter().find(|p| outside(p)) {
            return Err(Error::Argument(format!("the vertex {p:?} lies outside {:?} cells", self.count)));
        }
        if let Some(face) = mesh.faces.iter().find(|face| face.iter().any(|&v| v as usize >= mesh.positions.len())) {
            return Err(Error::Argument(format!("the face {face:?} names a vertex that is not there")));
        }
        Ok(())
    }

    /// The lowest plane above `x`.
    #[inline]
    fn next_plane(&self, x: i32) -> i32 {
        let start = x.div_euclid(self.width) * self.width;
        match self.middle {
            Some(middle) if x - start < middle => start + middle,
            _ => start.saturating_add(self.width),
        }
    }

    /// `x`, or the nearest plane if it is nearer than `snap`.
    #[inline]
    fn snapped(&self, x: i32, count: u32) -> i32 {
        let start = x.div_euclid(self.width) * self.width;
        let end = count as i32 * self.width;
        [Some(start), self.middle.map(|middle| start + middle), Some(end.min(start.saturating_add(self.width)))]
            .into_iter()
            .flatten()
            .filter(|&plane| (plane - x).abs() < self.snap)
            .min_by_key(|&plane| (plane - x).abs())
            .unwrap_or(x)
    }
}

/// What lies in one cell.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// x, y, z of the cell.
    pub cell: [u32; 3],
    /// Bit `x + 2 y + 4 z` is set if a face lies in that octant; 0 where octants are not told apart.
    pub octants: u8,
    /// Positions from 0 to `width`, relative to the cell.
    pub mesh: Mesh,
}

/// Plain Morton code of a cell: bit i of x, y, z becomes bit 3i, 3i + 1, 3i + 2.
fn morton(cell: [u32; 3]) -> u64 {
    let spread = |v: u32| (0..21).fold(0u64, |code, bit| code | u64::from(v >> bit & 1) << (3 * bit));
    spread(cell[0]) | spread(cell[1]) << 1 | spread(cell[2]) << 2
}

/// Cuts a mesh into the fragments of one level, in Z-curve order; cells without faces have none.
///
/// # Errors
/// [`Error::Argument`] if the cells cannot be or a vertex lies outside them.
pub fn cut(mesh: &Mesh, cells: &Cells) -> Result<Vec<Fragment>> {
    cells.check(mesh)?;
    let mut mesh = mesh.clone();
    for position in &mut mesh.positions {
        for (x, &count) in position.iter_mut().zip(&cells.count) {
            *x = cells.snapped(*x, count);
        }
    }
    if mesh.bounds().is_some_and(|(low, high)| (0..3).any(|d| cells.next_plane(low[d]) < high[d])) {
        for axis in 0..3 {
            cut_axis(&mut mesh, cells, axis);
        }
    }
    contract_equal_neighbours(&mut mesh);
    Ok(distribute(&mesh, cells))
}

/// Cuts every face at every plane across `axis`.
fn cut_axis(mesh: &mut Mesh, cells: &Cells, axis: usize) {
    let mut on_edge: HashMap<(u32, u32), u32> = HashMap::new();
    let mut done = Vec::with_capacity(mesh.faces.len());
    let mut waiting = Vec::new();
    let positions = &mut mesh.positions;
    for &face in &mesh.faces {
        waiting.push(face);
        while let Some(face) = waiting.pop() {
            let x = face.map(|v| positions[v as usize][axis]);
            let low = x[0].min(x[1]).min(x[2]);
            let high = x[0].max(x[1]).max(x[2]);
            let plane = cells.next_plane(low);
            if plane >= high {
                done.push(face);
                continue;
            }
            let mut meet = |a: u32, b: u32| {
                // from the lower side, whichever face asks
                let (a, b) = if positions[a as usize][axis] < plane { (a, b) } else { (b, a) };
                *on_edge.entry((a, b)).or_insert_with(|| {
                    let vertex = between(positions[a as usize], positions[b as usize], axis, plane, cells.round);
                    positions.push(vertex);
                    positions.len() as u32 - 1
                })
            };
            // turn the face so that its first corner is alone on its side, or on the plane
            let side = x.map(|x| (x - plane).signum());
            if let Some(k) = side.iter().position(|&s| s == 0) {
                let [a, b, c] = [face[k], face[(k + 1) % 3], face[(k + 2) % 3]];
                let m = meet(b, c);
                let (first, second) = ([a, b, m], [a, m, c]);
                let (lower, upper) = if side[(k + 1) % 3] < 0 { (first, second) } else { (second, first) };
                done.push(lower);
                waiting.push(upper);
            } else {
                let alone = (0..3).find(|&k| side[k] != side[(k + 1) % 3] && side[k] != side[(k + 2) % 3]).unwrap_or(0);
                let [a, b, c] = [face[alone], face[(alone + 1) % 3], face[(alone + 2) % 3]];
                let (ab, ac) = (meet(a, b), meet(a, c));
                let tip = [a, ab, ac];
                let rest = if shorter(positions, (ab, c), (b, ac)) {
                    [[ab, b, c], [ab, c, ac]]
                } else {
                    [[ab, b, ac], [b, c, ac]]
                };
                if side[alone] < 0 {
                    done.push(tip);
                    waiting.extend(rest);
                } else {
                    done.extend(rest);
                    waiting.push(tip);
                }
            }
        }
    }
    mesh.faces = done;
}

/// Whether the first pair of vertices is at most as far apart as the second.
fn shorter(positions: &[[i32; 3]], first: (u32, u32), second: (u32, u32)) -> bool {
    let length = |(a, b): (u32, u32)| -> i128 {
        let (p, q) = (positions[a as usize], positions[b as usize]);
        (0..3).map(|d| (i128::from(p[d]) - i128::from(q[d])).pow(2)).sum()
    };
    length(first) <= length(second)
}

/// Where the edge from `a`, below the plane, to `b`, above it, meets it.
fn between(a: [i32; 3], b: [i32; 3], axis: usize, plane: i32, round: i32) -> [i32; 3] {
    let whole = i64::from(b[axis]) - i64::from(a[axis]);
    let part = i64::from(plane) - i64::from(a[axis]);
    [0, 1, 2].map(|d| {
        if d == axis {
            return plane;
        }
        let (from, to) = (i64::from(a[d]), i64::from(b[d]));
        let exact = i128::from(to - from) * i128::from(part);
        let step = i128::from(round) * i128::from(whole);
        // from + exact / whole to the nearest multiple of `round`, half up, but never beyond the edge's ends
        let multiple = (2 * (i128::from(from) * i128::from(whole) + exact) + step).div_euclid(2 * step);
        let value = (multiple as i64) * i64::from(round);
        value.clamp(from.min(to), from.max(to)) as i32
    })
}

/// Makes one vertex of two that an edge joins although they have the same position, and drops faces that vanish so.
fn contract_equal_neighbours(mesh: &mut Mesh) {
    let mut parent: Vec<u32> = Vec::new();
    fn root(parent: &[u32], mut v: u32) -> u32 {
        while parent[v as usize] != v {
            v = parent[v as usize];
        }
        v
    }
    for face in &mesh.faces {
        for k in 0..3 {
            let (a, b) = (face[k], face[(k + 1) % 3]);
            if mesh.positions[a as usize] == mesh.positions[b as usize] {
                if parent.is_empty() {
                    parent = (0..mesh.positions.len() as u32).collect();
                }
                let (a, b) = (root(&parent, a), root(&parent, b));
                parent[a.max(b) as usize] = a.min(b);
            }
        }
    }
    if parent.is_empty() {
        return;
    }
    for face in &mut mesh.faces {
        *face = face.map(|v| root(&parent, v));
    }
    mesh.faces.retain(|face| face[0] != face[1] && face[1] != face[2] && face[2] != face[0]);
}

/// Sorts the faces into their cells.
fn distribute(mesh: &Mesh, cells: &Cells) -> Vec<Fragment> {
    let mut order: Vec<(u64, u32, [u32; 3], u8)> = Vec::with_capacity(mesh.faces.len());
    for (f, face) in mesh.faces.iter().enumerate() {
        let corner = face.map(|v| mesh.positions[v as usize]);
        let mut cell = [0; 3];
        let mut octant = 0;
        for d in 0..3 {
            let low = corner[0][d].min(corner[1][d]).min(corner[2][d]);
            // a face within the last plane belongs to the last cell
            cell[d] = ((low / cells.width) as u32).min(cells.count[d] - 1);
            let high = corner[0][d].max(corner[1][d]).max(corner[2][d]) - cell[d] as i32 * cells.width;
            octant |= u8::from(cells.middle.is_some_and(|middle| high > middle)) << d;
        }
        order.push((morton(cell), f as u32, cell, octant));
    }
    order.sort_unstable_by_key(|&(code, f, ..)| (code, f));
    let mut fragments: Vec<Fragment> = Vec::new();
    let mut number: Vec<(u32, u32)> = vec![(u32::MAX, 0); mesh.positions.len()];
    let mut start = 0;
    while start < order.len() {
        let (code, _, cell, _) = order[start];
        let stop = start + order[start..].iter().take_while(|entry| entry.0 == code).count();
        let mut fragment = Fragment { cell, octants: 0, mesh: Mesh::default() };
        let origin = cell.map(|c| c as i32 * cells.width);
        for &(_, f, _, octant) in &order[start..stop] {
            fragment.octants |= u8::from(cells.middle.is_some()) << octant;
            let face = mesh.faces[f as usize].map(|v| {
                let slot = &mut number[v as usize];
                if slot.0 != start as u32 {
                    *slot = (start as u32, fragment.mesh.positions.len() as u32);
                    let p = mesh.positions[v as usize];
                    fragment.mesh.positions.push([0, 1, 2].map(|d| p[d] - origin[d]));
                }
                slot.1
            });
            fragment.mesh.faces.push(face);
        }
        fragments.push(fragment);
        start = stop;
    }
    fragments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weld::open_edges;
    use std::collections::BTreeMap;

    /// A sphere made of a subdivided octahedron, on whole steps.
    fn sphere(centre: [i32; 3], radius: f64, rounds: usize) -> Mesh {
        let mut points: Vec<[f64; 3]> = Vec::new();
        for d in 0..3 {
            for sign in [1.0, -1.0] {
                let mut p = [0.0; 3];
                p[d] = sign;
                points.push(p);
            }
        }
        let mut faces: Vec<[u32; 3]> =
            vec![[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]];
        for _ in 0..rounds {
            let mut middle = HashMap::new();
            let mut next = Vec::new();
            for [a, b, c] in faces {
                let mut half = |a: u32, b: u32| {
                    *middle.entry((a.min(b), a.max(b))).or_insert_with(|| {
                        let (p, q) = (points[a as usize], points[b as usize]);
                        let sum = [0, 1, 2].map(|d| p[d] + q[d]);
                        let length = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
                        points.push(sum.map(|v| v / length));
                        points.len() as u32 - 1
                    })
                };
                let (ab, bc, ca) = (half(a, b), half(b, c), half(c, a));
                next.extend([[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]]);
            }
            faces = next;
        }
        let positions = points.iter().map(|p| [0, 1, 2].map(|d| centre[d] + (p[d] * radius).round() as i32)).collect();
        Mesh { positions, faces }
    }

    /// The fragments put together again by position.
    fn join(fragments: &[Fragment], cells: &Cells) -> Mesh {
        let mut at = BTreeMap::new();
        let mut mesh = Mesh::default();
        for fragment in fragments {
            for face in &fragment.mesh.faces {
                mesh.faces.push(face.map(|v| {
                    let p = fragment.mesh.positions[v as usize];
                    let p = [0, 1, 2].map(|d| p[d] + fragment.cell[d] as i32 * cells.width);
                    *at.entry(p).or_insert_with(|| {
                        mesh.positions.push(p);
                        mesh.positions.len() as u32 - 1
                    })
                }));
            }
        }
        mesh
    }

    fn levels() -> impl Iterator<Item = Cells> {
        [(1023, None), (1023, Some(512)), (255, Some(128)), (4095, None)].into_iter().flat_map(|(width, middle)| {
            [(0, 1), (3, 1), (20, 8)].map(|(snap, round)| Cells {
                width,
                middle,
                count: [5000 / width as u32 + 1; 3],
                snap,
                round,
            })
        })
    }

    #[test]
    fn parts_stay_in_their_cells_and_octants_and_close_against_each_other() {
        let whole = sphere([2400, 2450, 2500], 2000.0, 5);
        for cells in levels() {
            let fragments = cut(&whole, &cells).unwrap();
            assert!(fragments.windows(2).all(|pair| morton(pair[0].cell) < morton(pair[1].cell)));
            for fragment in &fragments {
                for face in &fragment.mesh.faces {
                    for d in 0..3 {
                        let q = face.map(|v| fragment.mesh.positions[v as usize][d]);
                        assert!(q.iter().all(|q| (0..=cells.width).contains(q)), "{q:?} {cells:?}");
                        if let Some(middle) = cells.middle {
                            assert!(q.iter().all(|&q| q <= middle) || q.iter().all(|&q| q >= middle), "{q:?}");
                        }
                    }
                }
            }
            let joined = join(&fragments, &cells);
            assert_eq!(open_edges(&joined).unwrap(), 0, "{cells:?}");
            let change = (joined.volume6() - whole.volume6()) as f64 / whole.volume6() as f64;
            assert!(change.abs() < 0.01, "{change} {cells:?}");
        }
    }

    #[test]
    fn a_mesh_within_one_cell_is_left_alone() {
        let whole = sphere([500; 3], 300.0, 3);
        let cells = Cells { width: 1023, middle: None, count: [1; 3], snap: 8, round: 4 };
        let fragments = cut(&whole, &cells).unwrap();
        assert_eq!(fragments.len(), 1);
        assert_eq!(fragments[0].mesh.faces.len(), whole.faces.len());
        assert_eq!(fragments[0].mesh.volume6(), whole.volume6());
        assert_eq!(fragments[0].octants, 0);
    }

    #[test]
    fn octants_are_told() {
        let cells = Cells { width: 1023, middle: Some(512), count: [1; 3], snap: 0, round: 1 };
        let low = cut(&sphere([200; 3], 100.0, 1), &cells).unwrap();
        assert_eq!(low[0].octants, 1);
        let high = cut(&sphere([800, 200, 800], 100.0, 1), &cells).unwrap();
        assert_eq!(high[0].octants, 1 << 5);
        assert_eq!(cut(&sphere([512; 3], 100.0, 2), &cells).unwrap()[0].octants, 255);
    }

    #[test]
    fn vertices_near_a_plane_come_to_lie_on_it() {
        let cells = Cells { width: 1000, middle: Some(500), count: [3; 3], snap: 10, round: 1 };
        for (x, expected) in
            [(0, 0), (9, 0), (10, 10), (491, 500), (490, 490), (509, 500), (510, 510), (1992, 2000), (2999, 3000)]
        {
            assert_eq!(cells.snapped(x, 3), expected, "{x}");
        }
    }

    #[test]
    fn what_lies_outside_is_an_error() {
        let cells = Cells { width: 100, middle: None, count: [1; 3], snap: 0, round: 1 };
        assert!(cut(&sphere([50; 3], 60.0, 0), &cells).is_err());
        let bad = Mesh { positions: vec![[0; 3]], faces: vec![[0, 1, 2]] };
        assert!(cut(&bad, &cells).is_err());
    }
}
