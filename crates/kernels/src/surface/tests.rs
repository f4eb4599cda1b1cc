//! The extraction against what is known of surfaces.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::mesh::Mesh;

const CLOSED: [[bool; 2]; 3] = [[true; 2]; 3];

/// Surfaces of a C-contiguous block `(z, y, x)`, the same at every level of instructions.
fn surfaces<T: Label>(data: &[T], shape: [usize; 3], start: [i32; 3], closed: [[bool; 2]; 3]) -> Surfaces {
    let labels = View::contiguous(data, [1, shape[0], shape[1], shape[2]]).unwrap();
    let block = Block { labels, start, closed };
    let mut scratch = Scratch::default();
    let first = extract_at(Level::Portable, block, &Select::All, &mut scratch).unwrap();
    for &level in Level::supported() {
        assert_eq!(extract_at(level, block, &Select::All, &mut scratch).unwrap(), first);
    }
    first
}

fn whole<T: Label>(data: &[T], shape: [usize; 3]) -> Surfaces {
    surfaces(data, shape, [0; 3], CLOSED)
}

fn solid(shape: [usize; 3], inside: impl Fn([i64; 3]) -> bool) -> Vec<u32> {
    let mut data = Vec::new();
    for z in 0..shape[0] as i64 {
        for y in 0..shape[1] as i64 {
            data.extend((0..shape[2] as i64).map(|x| u32::from(inside([x, y, z]))));
        }
    }
    data
}

/// Noise whose labels repeat along the rows.
fn noise(count: usize, labels: u64, seed: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut last = 0;
    (0..count)
        .map(|_| {
            if draw() % 3 > 0 {
                last = draw() % labels;
            }
            // Wide ids in no order.
            last.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
        .collect()
}

/// Checks one closed surface and returns its Euler number.
fn euler(surface: Surface<'_>) -> i64 {
    let mut edges = HashSet::new();
    let mut fans: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
    for &[a, b, c] in surface.faces {
        for (from, to, across) in [(a, b, c), (b, c, a), (c, a, b)] {
            assert_ne!(from, to);
            assert!(edges.insert((from, to)), "edge {from} to {to} of {} is there twice", surface.id);
            fans.entry(from).or_default().push((to, across));
        }
        let [a, b, c] = [a, b, c].map(|v| surface.positions[v as usize].map(i64::from));
        let side = |p: [i64; 3]| -> [i64; 3] { std::array::from_fn(|i| p[i] - a[i]) };
        let (u, v) = (side(b), side(c));
        assert_ne!([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]], [0; 3]);
    }
    assert!(edges.iter().all(|&(from, to)| edges.contains(&(to, from))), "{} has an open edge", surface.id);
    // Around every vertex there is one fan.
    assert_eq!(fans.len(), surface.positions.len(), "an unused vertex");
    for fan in fans.values() {
        let next: HashMap<u32, u32> = fan.iter().copied().collect();
        let (mut at, mut steps) = (next[&fan[0].0], 1);
        while at != fan[0].0 {
            at = next[&at];
            steps += 1;
        }
        assert_eq!(steps, fan.len(), "a vertex of {} with several fans", surface.id);
    }
    let places: HashSet<_> = surface.positions.iter().collect();
    assert_eq!(places.len(), surface.positions.len(), "two vertices in one place");
    surface.positions.len() as i64 - edges.len() as i64 / 2 + surface.faces.len() as i64
}

/// Six times the volume in cubic half voxels.
fn volume6(surface: Surface<'_>) -> i128 {
    Mesh { positions: surface.positions.to_vec(), faces: surface.faces.to_vec() }.volume6()
}

/// The triangles by place, each beginning with its lowest corner.
fn triangles(all: &[Surfaces]) -> Vec<(u64, [[i32; 3]; 3])> {
    let mut triangles = Vec::new();
    for surface in all.iter().flat_map(Surfaces::iter) {
        for face in surface.faces {
            let mut corners = face.map(|v| surface.positions[v as usize]);
            let lowest = (0..3).min_by_key(|&i| corners[i]).unwrap();
            corners.rotate_left(lowest);
            triangles.push((surface.id, corners));
        }
    }
    triangles.sort_unstable();
    triangles
}

#[test]
fn a_voxel_is_an_octahedron_around_its_centre() {
    let all = whole(&[7u32], [1, 1, 1]);
    assert_eq!((&all.ids[..], &all.vertex_offsets[..], &all.face_offsets[..]), (&[7][..], &[0, 6][..], &[0, 8][..]));
    let mut positions = all.positions.clone();
    positions.sort_unstable();
    assert_eq!(positions, [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 2], [1, 2, 1], [2, 1, 1]]);
    assert_eq!(euler(all.get(0)), 2);
    // An octahedron of radius 1: 4/3.
    assert_eq!(volume6(all.get(0)), 8);
}

#[test]
fn a_box_lacks_its_chamfer() {
    for [nx, ny, nz] in [[1, 1, 1], [2, 2, 2], [5, 1, 1], [7, 7, 1], [3, 4, 5], [70, 2, 9], [130, 1, 3]] {
        let all = surfaces(&vec![9u64; nx * ny * nz], [nz, ny, nx], [-3, 10, 1000], CLOSED);
        assert_eq!(all.ids, [9]);
        assert_eq!(euler(all.get(0)), 2);
        // In half voxels the box has edges 2n. Along each of its twelve edges a prism of legs 1, 1 is missing over
        // the n - 1 steps from centre to centre; each corner keeps of its cube of edge 1 a tetrahedron of 1/6.
        let [x, y, z] = [nx, ny, nz].map(|n| n as i128);
        let missing = 4 * (x - 1 + y - 1 + z - 1) * 2 * 3 + 8 * 5;
        assert_eq!(volume6(all.get(0)), 6 * 8 * x * y * z - missing);
        let low: [i32; 3] = std::array::from_fn(|axis| all.positions.iter().map(|p| p[axis]).min().unwrap());
        let high: [i32; 3] = std::array::from_fn(|axis| all.positions.iter().map(|p| p[axis]).max().unwrap());
        assert_eq!(low, [-6, 20, 2000]);
        assert_eq!(high, [2 * (nx as i32 - 3), 2 * (ny as i32 + 10), 2 * (nz as i32 + 1000)]);
    }
}

#[test]
fn spheres_and_tori_have_their_euler_number_and_volume() {
    let ball = solid([25, 25, 25], |p| p.iter().map(|c| (c - 12).pow(2)).sum::<i64>() <= 100);
    let all = whole(&ball, [25, 25, 25]);
    assert_eq!(euler(all.get(0)), 2);
    let voxels = ball.iter().filter(|&&v| v > 0).count() as f64;
    assert!((volume6(all.get(0)) as f64 / 48.0 / voxels - 1.0).abs() < 0.01);

    let torus = solid([11, 31, 31], |[x, y, z]| {
        let ring = (((x - 15).pow(2) + (y - 15).pow(2)) as f64).sqrt() - 10.0;
        ring * ring + ((z - 5) as f64).powi(2) <= 16.0
    });
    assert_eq!(euler(whole(&torus, [11, 31, 31]).get(0)), 0);

    // A shell has an inner surface that looks into the hollow: its volume is that of the outer less that of the inner.
    let shell = solid([9, 9, 9], |p| p.iter().any(|&c| !(2..7).contains(&c)));
    let all = whole(&shell, [9, 9, 9]);
    assert_eq!(euler(all.get(0)), 4);
    // The hollow is chamfered like a box of its size.
    let block = |n: i128| 48 * n.pow(3) - 72 * (n - 1) - 40;
    assert_eq!(volume6(all.get(0)), block(9) - block(5));
}

#[test]
fn what_touches_in_an_edge_or_a_corner_is_apart() {
    let edge = solid([1, 2, 2], |[x, y, _]| x == y);
    assert_eq!(euler(whole(&edge, [1, 2, 2]).get(0)), 4);
    let corner = solid([2, 2, 2], |[x, y, z]| x == y && y == z);
    assert_eq!(euler(whole(&corner, [2, 2, 2]).get(0)), 4);
    // A checkerboard is as many octahedra as it has voxels.
    let board = solid([6, 6, 6], |[x, y, z]| (x + y + z) % 2 == 0);
    let all = whole(&board, [6, 6, 6]);
    assert_eq!(euler(all.get(0)), 2 * 108);
    assert_eq!(volume6(all.get(0)), 8 * 108);
    assert_eq!(all.faces.len(), 8 * 108);
}

#[test]
fn sheets_of_one_voxel_have_two_sides() {
    let sheet = solid([5, 20, 20], |[_, _, z]| z == 2);
    let all = whole(&sheet, [5, 20, 20]);
    assert_eq!(euler(all.get(0)), 2);
    let frame = solid([3, 9, 9], |[x, y, z]| z == 1 && (x != 4 || y != 4));
    assert_eq!(euler(whole(&frame, [3, 9, 9]).get(0)), 0);
}

#[test]
fn far_apart_in_a_row() {
    let mut data = vec![0u32; 900];
    (data[100], data[899]) = (5, 5);
    let all = whole(&data, [1, 1, 900]);
    assert_eq!((euler(all.get(0)), volume6(all.get(0))), (4, 16));
    let mut xs: Vec<i32> = all.positions.iter().map(|p| p[0]).collect();
    xs.sort_unstable();
    assert_eq!(xs, [200, 201, 201, 201, 201, 202, 1798, 1799, 1799, 1799, 1799, 1800]);
}

#[test]
fn noise_is_closed_and_manifold() {
    for (seed, (shape, labels)) in [
        ([12, 11, 10], 2),
        ([12, 11, 10], 3),
        ([9, 9, 70], 2),
        ([5, 8, 130], 5),
        ([8, 8, 8], 300),
        ([1, 20, 20], 2),
        ([20, 1, 20], 3),
        ([20, 20, 1], 3),
        // Several strips.
        ([7, 70, 9], 3),
    ]
    .into_iter()
    .enumerate()
    {
        let data = noise(shape.iter().product(), labels, seed as u64);
        let all = surfaces(&data, shape, [5, -6, 7], CLOSED);
        let present: HashSet<u64> = data.iter().copied().filter(|&id| id != 0).collect();
        assert_eq!(all.ids.len(), present.len());
        assert!(all.ids.is_sorted() && all.ids.iter().all(|id| present.contains(id)));
        for surface in all.iter() {
            euler(surface);
            assert!(volume6(surface) > 0);
        }
    }
}

#[test]
fn blocks_fit_together() {
    let shape = [9, 12, 70];
    let data = noise(shape.iter().product(), 4, 99);
    let view = View::contiguous(&data, [1, shape[0], shape[1], shape[2]]).unwrap();
    let expected = triangles(&[surfaces(&data, shape, [100, 200, -300], CLOSED)]);
    let cuts = [[0, 4, 9], [0, 1, 12], [0, 64, 70]];
    let mut parts = Vec::new();
    let mut scratch = Scratch::default();
    for i in 0..8 {
        let side = [i >> 2, i >> 1 & 1, i & 1];
        let from: [usize; 3] = std::array::from_fn(|axis| cuts[axis][side[axis]]);
        let to: [usize; 3] = std::array::from_fn(|axis| cuts[axis][side[axis] + 1]);
        // One layer more than the block owns, if there is one.
        let end: [usize; 3] = std::array::from_fn(|axis| (to[axis] + 1).min(shape[axis]));
        let size: [usize; 3] = std::array::from_fn(|axis| end[axis] - from[axis]);
        let labels = view.part([0, from[0], from[1], from[2]], [1, size[0], size[1], size[2]]).unwrap();
        let start = [100 + from[2] as i32, 200 + from[1] as i32, from[0] as i32 - 300];
        let closed = [2, 1, 0].map(|axis| [side[axis] == 0, side[axis] == 1]);
        parts.push(extract(Block { labels, start, closed }, &Select::All, &mut scratch).unwrap());
    }
    assert_eq!(triangles(&parts), expected);
    for part in &parts {
        for surface in part.iter() {
            let used: HashSet<u32> = surface.faces.as_flattened().iter().copied().collect();
            assert_eq!(used.len(), surface.positions.len(), "a vertex without a triangle");
        }
    }
}

#[test]
fn open_sides_end_at_the_voxel_centres() {
    let all = surfaces(&[5u32; 27], [3, 3, 3], [0; 3], [[false, true], [true; 2], [true; 2]]);
    assert_eq!(all.positions.iter().map(|p| p[0]).min(), Some(1));
    assert_eq!(all.positions.iter().map(|p| p[0]).max(), Some(6));
    // Full of one label, open all around: no surface. One layer, open across: no cell.
    assert_eq!(surfaces(&[5u32; 27], [3, 3, 3], [0; 3], [[false; 2]; 3]).ids, []);
    assert_eq!(surfaces(&[5u32, 6, 7, 8], [1, 2, 2], [0; 3], [[true; 2], [true; 2], [false; 2]]).ids, []);
}

#[test]
fn selected_labels_are_as_if_alone() {
    let data = noise(8 * 9 * 10, 6, 5);
    let all = whole(&data, [8, 9, 10]);
    let view = View::contiguous(&data, [1, 8, 9, 10]).unwrap();
    let block = Block { labels: view, start: [0; 3], closed: CLOSED };
    let mut scratch = Scratch::default();
    let mut pick = |select| extract(block, &select, &mut scratch).unwrap();
    let two = [all.ids[1], all.ids[3]];
    let only = pick(Select::Only(&two));
    assert_eq!(only.ids, two);
    assert_eq!(only.get(0), all.get(1));
    assert_eq!(only.get(1), all.get(3));
    let except = pick(Select::Except(&two));
    assert_eq!(except.ids.len(), all.ids.len() - 2);
    assert_eq!(except.get(1), all.get(2));
    assert_eq!(
        pick(Select::Only(&[])),
        Surfaces { vertex_offsets: vec![0], face_offsets: vec![0], ..pick(Select::Only(&[])) }
    );
    assert_eq!(pick(Select::Only(&[0, 12345])).faces, [[0u32; 3]; 0]);
}

#[test]
fn more_labels_than_16_bits_number() {
    let shape = [42, 41, 40];
    let data: Vec<u64> = (1..=42 * 41 * 40).map(|i: u64| i << 20).collect();
    let all = whole(&data, shape);
    assert_eq!(all.ids, data);
    assert!(all.iter().all(|surface| surface.positions.len() == 6 && surface.faces.len() == 8));
    // The wide numbers give what the narrow ones do.
    let data = noise(10 * 9 * 8, 4, 1);
    let view = View::contiguous(&data, [1, 10, 9, 8]).unwrap();
    let block = Block { labels: view, start: [0; 3], closed: CLOSED };
    let mut scratch = Scratch::default();
    let expected = whole(&data, [10, 9, 8]);
    for &level in Level::supported() {
        let Scratch { cases, numbers, counts, wide, slots, .. } = &mut scratch;
        survey::survey(level, &block, &Select::All, cases, numbers, counts, wide).unwrap();
        let (contents, mut next) = lay_out(numbers.labels(), counts);
        let mut positions = vec![[0; 3]; expected.positions.len()];
        let mut faces = vec![[0; 3]; expected.faces.len()];
        fill::fill(level, wide, [0; 3], cases, slots, &mut next, Room { positions: &mut positions, faces: &mut faces });
        assert_eq!(
            (contents.ids, positions, faces),
            (expected.ids.clone(), expected.positions.clone(), expected.faces.clone())
        );
    }
}

#[test]
fn coordinates_reach_the_limits_and_no_further() {
    let view = View::contiguous(&[1u32], [1; 4]).unwrap();
    let mut scratch = Scratch::default();
    let mut at = |start| extract(Block { labels: view, start, closed: CLOSED }, &Select::All, &mut scratch);
    let (low, high) = (-(1 << 30), (1 << 30) - 2);
    let surfaces = at([low, high, 0]).unwrap();
    assert_eq!(surfaces.positions.iter().map(|p| p[0]).min(), Some(i32::MIN));
    assert_eq!(surfaces.positions.iter().map(|p| p[1]).max(), Some(i32::MAX - 1));
    assert_eq!(volume6(surfaces.get(0)), 8);
    assert!(matches!(at([low - 1, 0, 0]), Err(Error::Argument(_))));
    assert!(matches!(at([0, 0, high + 1]), Err(Error::Argument(_))));
}

#[test]
fn bad_arguments_are_errors_and_nothing_is_nothing() {
    let mut scratch = Scratch::default();
    let two = View::contiguous(&[1u32, 1], [2, 1, 1, 1]).unwrap();
    let block = |labels| Block { labels, start: [0; 3], closed: CLOSED };
    assert!(matches!(extract(block(two), &Select::All, &mut scratch), Err(Error::Argument(_))));
    let one = View::contiguous(&[1u32, 1], [1, 1, 1, 2]).unwrap();
    assert!(matches!(extract(block(one), &Select::Only(&[2, 1]), &mut scratch), Err(Error::Argument(_))));
    assert!(matches!(extract(block(one), &Select::Except(&[1, 1]), &mut scratch), Err(Error::Argument(_))));
    for shape in [[1, 0, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]] {
        let none = View::<u32>::contiguous(&[], shape).unwrap();
        let surfaces = extract(block(none), &Select::All, &mut scratch).unwrap();
        assert_eq!((surfaces.ids.len(), surfaces.vertex_offsets), (0, vec![0]));
    }
}
