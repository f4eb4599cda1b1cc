//! The 256 ways in which a surface can pass through a cell, derived from the cube.
//!
//! Corner `c` of a cell lies at `(c & 1, c >> 1 & 1, c >> 2)`; bit `c` of a case says that it is inside. Edge
//! `4 a + k` runs along axis `a`; bits 0 and 1 of `k` are its places along the next two axes (cyclically). A
//! crossed edge carries one vertex of the surface, in its middle.

/// The triangles of one case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Case {
    /// Number of triangles, at most [`MOST`].
    pub triangles: u8,
    /// Three per triangle: twice the edge, plus one if the inside is the edge's high end.
    pub corners: [u8; 3 * MOST],
}

/// Most triangles of a case.
pub const MOST: usize = 5;

/// The two corners of an edge, low end first.
pub const fn ends(edge: usize) -> [usize; 2] {
    let (axis, place) = (edge / 4, edge % 4);
    let low = (place & 1) << ((axis + 1) % 3) | (place >> 1) << ((axis + 2) % 3);
    [low, low | 1 << axis]
}

/// The edge between two neighbouring corners.
fn edge_between(a: usize, b: usize) -> usize {
    let axis = (a ^ b).trailing_zeros() as usize;
    4 * axis + (a >> ((axis + 1) % 3) & 1) + 2 * (a >> ((axis + 2) % 3) & 1)
}

/// The corners of the six faces, counter-clockwise as seen from outside the cell.
fn faces() -> [[usize; 4]; 6] {
    std::array::from_fn(|face| {
        let (axis, high) = (face / 2, face % 2);
        let (u, v) = (1 << ((axis + 1) % 3), 1 << ((axis + 2) % 3));
        let around = if high == 1 { [0, u, u | v, v] } else { [0, v, u | v, u] };
        around.map(|corner| corner | high << axis)
    })
}

/// Twice the position of an edge's middle in its cell.
fn middle(edge: usize) -> [i32; 3] {
    let [low, high] = ends(edge);
    std::array::from_fn(|axis| ((low >> axis & 1) + (high >> axis & 1)) as i32)
}

/// The polygons of a case: closed walks over the crossed edges, counter-clockwise as seen from the outside of the
/// surface.
///
/// On each face, every run of inside corners links the edge by which the walk around the face enters it to the edge
/// by which it leaves. Neighbouring faces walk their common edge in opposite directions, so every crossed edge is
/// entered on one face and left on the other, and the links close to cycles. Two diagonal inside corners are two
/// runs, so a face separates them. That is decided by the face alone: the two cells beside it agree.
fn polygons(case: usize) -> Vec<Vec<usize>> {
    let inside = |corner: usize| case >> corner & 1 == 1;
    let mut next = [None; 12];
    for around in faces() {
        for i in 0..4 {
            if inside(around[i]) || !inside(around[(i + 1) % 4]) {
                continue;
            }
            let enter = edge_between(around[i], around[(i + 1) % 4]);
            let run = (1..4).take_while(|n| inside(around[(i + n) % 4])).count();
            next[enter] = Some(edge_between(around[(i + run) % 4], around[(i + run + 1) % 4]));
        }
    }
    let mut polygons = Vec::new();
    for first in 0..12 {
        let mut polygon = Vec::new();
        let mut edge = first;
        while let Some(following) = next[edge].take() {
            polygon.push(edge);
            edge = following;
        }
        if !polygon.is_empty() {
            polygons.push(polygon);
        }
    }
    polygons
}

/// Whether two edges lie on one face of the cell: a line between their middles could be one in the next cell too.
fn share_a_face(a: [i32; 3], b: [i32; 3]) -> bool {
    (0..3).any(|axis| a[axis] == b[axis] && a[axis] != 1)
}

/// The triangulation of a polygon with the least sum of squared lengths of its diagonals, of which none may lie in a
/// face of the cell: there the next cell could have the same, and four triangles would meet in one edge.
fn triangulate(polygon: &[usize]) -> Vec<[usize; 3]> {
    const FORBIDDEN: i32 = 1000;
    let n = polygon.len();
    let diagonal = |i: usize, j: usize| {
        if j - i == 1 || j - i == n - 1 {
            return 0;
        }
        let (a, b) = (middle(polygon[i]), middle(polygon[j]));
        let square = (0..3).map(|axis| (a[axis] - b[axis]).pow(2)).sum::<i32>();
        square + if share_a_face(a, b) { FORBIDDEN } else { 0 }
    };
    // Of the part of the polygon from i to j: the least sum, and the corner that makes a triangle with both.
    let mut best = [[(0, 0); 12]; 12];
    for width in 2..n {
        for i in 0..n - width {
            let j = i + width;
            best[i][j] = (i + 1..j)
                .map(|k| (best[i][k].0 + best[k][j].0 + diagonal(i, k) + diagonal(k, j), k))
                .min()
                .unwrap_or_default();
        }
    }
    let mut triangles = Vec::new();
    let mut parts = vec![(0, n - 1)];
    while let Some((i, j)) = parts.pop() {
        if j - i > 1 {
            let k = best[i][j].1;
            triangles.push([polygon[i], polygon[k], polygon[j]]);
            parts.extend([(k, j), (i, k)]);
        }
    }
    triangles
}

/// All cases.
pub fn cases() -> Box<[Case; 256]> {
    let mut cases = Box::new([Case::default(); 256]);
    for (inside, case) in cases.iter_mut().enumerate() {
        let triangles = polygons(inside).iter().flat_map(|polygon| triangulate(polygon)).collect::<Vec<_>>();
        case.triangles = triangles.len() as u8;
        for (to, &edge) in case.corners.iter_mut().zip(triangles.as_flattened()) {
            *to = (2 * edge + (inside >> ends(edge)[1] & 1)) as u8;
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_corner_is_one_triangle_that_looks_away_from_it() {
        let cases = cases();
        // The middles of the three edges at corner 0, which is their low end: x, y, z is counter-clockwise.
        assert_eq!((cases[1].triangles, &cases[1].corners[..3]), (1, &[0, 8, 16][..]));
        assert_eq!(cases[0xfe].triangles, 1);
        assert_eq!((cases[0].triangles, cases[0xff].triangles), (0, 0));
    }

    #[test]
    fn every_crossed_edge_is_used_and_only_those() {
        for (inside, case) in cases().iter().enumerate() {
            let used = &case.corners[..3 * case.triangles as usize];
            for edge in 0..12 {
                let [low, high] = ends(edge).map(|corner| inside >> corner & 1);
                let expected = (low != high).then_some((2 * edge + high) as u8);
                let found = used.iter().find(|&&corner| corner as usize / 2 == edge).copied();
                assert_eq!(found, expected, "case {inside}, edge {edge}");
            }
        }
    }

    #[test]
    fn triangles_fit_and_no_inner_edge_lies_in_a_face() {
        for (inside, case) in cases().iter().enumerate() {
            let polygons = polygons(inside);
            let expected: usize = polygons.iter().map(|polygon| polygon.len() - 2).sum();
            assert!(expected <= MOST && expected == case.triangles as usize, "case {inside}: {expected}");
            for polygon in polygons {
                let n = polygon.len();
                for triangle in triangulate(&polygon) {
                    for (a, b) in [(0, 1), (1, 2), (2, 0)].map(|(a, b)| (triangle[a], triangle[b])) {
                        let at = |edge| polygon.iter().position(|&other| other == edge).unwrap();
                        let apart = at(a).abs_diff(at(b));
                        assert!(apart == 1 || apart == n - 1 || !share_a_face(middle(a), middle(b)), "case {inside}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_face_is_left_by_the_lines_by_which_its_neighbour_enters() {
        // The directed lines in the face between two cells, seen from either, are opposite for all corner states.
        let cases = cases();
        for axis in 0..3 {
            let lines = |inside: usize, high: usize| {
                let case = cases[inside];
                let mut lines = Vec::new();
                for triangle in case.corners[..3 * case.triangles as usize].as_chunks::<3>().0 {
                    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
                        let (a, b) = (middle(triangle[a] as usize / 2), middle(triangle[b] as usize / 2));
                        if a[axis] == 2 * high as i32 && b[axis] == a[axis] {
                            let flat = |mut p: [i32; 3]| {
                                p[axis] = 0;
                                p
                            };
                            lines.push((flat(a), flat(b)));
                        }
                    }
                }
                lines.sort_unstable();
                lines
            };
            for left in 0..256usize {
                for right in 0..256usize {
                    let agree = (0..8).all(|c| c >> axis & 1 == 1 || left >> (c | 1 << axis) & 1 == right >> c & 1);
                    if agree {
                        let mut opposite: Vec<_> = lines(right, 0).into_iter().map(|(a, b)| (b, a)).collect();
                        opposite.sort_unstable();
                        assert_eq!(lines(left, 1), opposite, "cases {left} and {right} along axis {axis}");
                    }
                }
            }
        }
    }
}
