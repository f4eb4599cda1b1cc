use super::*;

/// A torus on the lattice, with `n` times `m` vertices.
fn torus(n: u32, m: u32, big: f64, small: f64) -> Mesh {
    let mut mesh = Mesh::default();
    for i in 0..n {
        for j in 0..m {
            let (u, v) = (f64::from(i) / f64::from(n), f64::from(j) / f64::from(m));
            let (u, v) = (u * std::f64::consts::TAU, v * std::f64::consts::TAU);
            let ring = big + small * v.cos();
            mesh.positions.push([ring * u.cos(), ring * u.sin(), small * v.sin()].map(|x| x.round() as i32));
            let at = |i: u32, j: u32| (i % n) * m + j % m;
            mesh.faces.push([at(i, j), at(i + 1, j), at(i + 1, j + 1)]);
            mesh.faces.push([at(i, j), at(i + 1, j + 1), at(i, j + 1)]);
        }
    }
    mesh
}

/// A flat square of `n` times `n` cells with an edge of 16.
fn sheet(n: u32) -> Mesh {
    let mut mesh = Mesh::default();
    for y in 0..=n {
        for x in 0..=n {
            mesh.positions.push([16 * x as i32, 16 * y as i32, 0]);
        }
    }
    for y in 0..n {
        for x in 0..n {
            let at = |x: u32, y: u32| y * (n + 1) + x;
            mesh.faces.push([at(x, y), at(x + 1, y), at(x + 1, y + 1)]);
            mesh.faces.push([at(x, y), at(x + 1, y + 1), at(x, y + 1)]);
        }
    }
    mesh
}

fn octahedron() -> Mesh {
    Mesh {
        positions: vec![[8, 0, 0], [-8, 0, 0], [0, 8, 0], [0, -8, 0], [0, 0, 8], [0, 0, -8]],
        faces: vec![[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]],
    }
}

/// Both meshes, the second moved.
fn join(a: &Mesh, b: &Mesh, offset: [i32; 3]) -> Mesh {
    let mut mesh = a.clone();
    let first = a.positions.len() as u32;
    mesh.positions.extend(b.positions.iter().map(|p| std::array::from_fn::<_, 3, _>(|k| p[k] + offset[k])));
    mesh.faces.extend(b.faces.iter().map(|face| face.map(|v| v + first)));
    mesh
}

fn options(max_error_nm: f64, target_faces: usize, patch: u32) -> Options {
    Options { unit_nm: [2.0, 2.0, 2.5], max_error_nm, max_rms_nm: f64::INFINITY, target_faces, patch, snap: [4; 3] }
}

fn reduce(mesh: &Mesh, options: &Options) -> Simplified {
    simplify(mesh, options, None, &mut Scratch::default()).unwrap()
}

/// Vertices minus edges plus faces; edges that occur once; whether no directed edge occurs twice.
fn euler(mesh: &Mesh) -> (i64, usize, bool) {
    let mut directed: Vec<_> = mesh.faces.iter().flat_map(|&[a, b, c]| [(a, b), (b, c), (c, a)]).collect();
    directed.sort_unstable();
    let distinct = directed.windows(2).all(|pair| pair[0] != pair[1]);
    let open = directed.iter().filter(|&&(a, b)| directed.binary_search(&(b, a)).is_err()).count();
    let edges = (directed.len() + open) / 2;
    let used: std::collections::BTreeSet<_> = mesh.faces.iter().flatten().collect();
    (used.len() as i64 - edges as i64 + mesh.faces.len() as i64, open, distinct)
}

#[test]
fn a_torus_stays_a_torus_within_the_bound() {
    let mesh = torus(96, 48, 400.0, 150.0);
    for patch in [0, 32, 48] {
        for bound in [10.0, 40.0, f64::INFINITY] {
            let got = reduce(&mesh, &options(bound, if bound.is_finite() { 0 } else { 460 }, patch));
            assert_eq!(euler(&got.mesh), (0, 0, true), "patch {patch}, bound {bound}");
            assert!(got.error_nm > 0.0 && got.error_nm <= bound);
            assert!(got.mesh.faces.len() < mesh.faces.len() / 2, "{} faces", got.mesh.faces.len());
            let ratio = got.mesh.volume6() as f64 / mesh.volume6() as f64;
            assert!((0.9..1.1).contains(&ratio), "volume ratio {ratio}");
        }
    }
}

#[test]
fn the_target_is_met() {
    let mesh = torus(96, 48, 400.0, 150.0);
    for target in [4000, 1000, 300] {
        let got = reduce(&mesh, &options(f64::INFINITY, target, 48));
        assert!(got.mesh.faces.len() <= target && got.mesh.faces.len() * 100 >= target * 95);
    }
}

#[test]
fn open_edges_stay_exactly() {
    let mesh = sheet(40);
    for patch in [0, 32] {
        let got = reduce(&mesh, &options(5.0, 0, patch));
        assert_eq!(euler(&got.mesh), (1, 160, true));
        let border = |p: &&[i32; 3]| p[0] == 0 || p[1] == 0 || p[0] == 640 || p[1] == 640;
        let sorted = |mesh: &Mesh| {
            let mut spots: Vec<_> = mesh.positions.iter().filter(border).copied().collect();
            spots.sort_unstable();
            spots
        };
        assert_eq!(sorted(&got.mesh), sorted(&mesh));
        // the 160 vertices on the border alone need 158 faces
        assert!(got.mesh.faces.len() <= 800, "{} faces", got.mesh.faces.len());
        assert!(got.error_nm < 0.1);
    }
}

#[test]
fn small_and_nested_objects_stay() {
    let shell = {
        let mut inner = torus(48, 24, 200.0, 30.0);
        inner.faces.iter_mut().for_each(|face| face.swap(0, 1));
        inner
    };
    let mesh = join(&join(&torus(96, 48, 200.0, 120.0), &shell, [0; 3]), &octahedron(), [1000, 1000, 1000]);
    let got = reduce(&mesh, &options(f64::INFINITY, 60, 48));
    assert_eq!(euler(&got.mesh), (2, 0, true));
    let alone = reduce(&octahedron(), &options(f64::INFINITY, 1, 0));
    let ratio = alone.mesh.volume6() as f64 / octahedron().volume6() as f64;
    assert!((0.7..1.3).contains(&ratio), "volume ratio {ratio}");
}

#[test]
fn what_is_no_surface_is_left_alone() {
    // a third face on an edge, a face twice, a face with a corner twice, a vertex without faces
    let mut mesh = sheet(8);
    mesh.positions.push([0, 0, 500]);
    mesh.positions.push([900, 0, 500]);
    mesh.faces.extend([[0, 1, 81], [40, 41, 50], [40, 41, 50], [3, 3, 5], [7, 7, 7]]);
    for patch in [0, 32] {
        let got = reduce(&mesh, &options(5.0, 0, patch));
        assert!(got.mesh.faces.iter().all(|&[a, b, c]| a != b && b != c && c != a));
        assert_eq!(euler(&got.mesh).1, euler(&Mesh { faces: mesh.faces[..131].to_vec(), ..mesh.clone() }).1);
    }
}

#[test]
fn scratch_leaves_no_trace() {
    let mut scratch = Scratch::default();
    let (large, small) = (torus(96, 48, 400.0, 150.0), torus(20, 10, 100.0, 40.0));
    let first = simplify(&small, &options(20.0, 0, 32), None, &mut scratch).unwrap();
    simplify(&large, &options(40.0, 0, 48), None, &mut scratch).unwrap();
    assert_eq!(simplify(&small, &options(20.0, 0, 32), None, &mut scratch).unwrap(), first);
}

#[test]
fn unusable_arguments_are_refused() {
    let mesh = octahedron();
    let good = options(1.0, 0, 0);
    for bad in [
        Options { unit_nm: [0.0, 1.0, 1.0], ..good.clone() },
        Options { unit_nm: [f64::NAN, 1.0, 1.0], ..good.clone() },
        Options { max_error_nm: -1.0, ..good.clone() },
        Options { max_error_nm: f64::NAN, ..good.clone() },
        Options { max_rms_nm: -1.0, ..good.clone() },
        Options { snap: [3, 1, 1], ..good.clone() },
    ] {
        assert!(matches!(simplify(&mesh, &bad, None, &mut Scratch::default()), Err(Error::Argument(_))), "{bad:?}");
    }
    let hole = Mesh { faces: vec![[0, 1, 6]], ..mesh };
    assert!(simplify(&hole, &good, None, &mut Scratch::default()).is_err());
}

#[test]
fn coordinates_at_the_ends_of_the_range_do_no_harm() {
    let mesh = Mesh {
        positions: octahedron()
            .positions
            .iter()
            .map(|p| {
                p.map(|x| {
                    if x > 0 {
                        i32::MAX
                    } else if x < 0 {
                        i32::MIN
                    } else {
                        0
                    }
                })
            })
            .collect(),
        faces: octahedron().faces,
    };
    for bound in [1.0, f64::INFINITY] {
        assert_eq!(euler(&reduce(&mesh, &options(bound, 0, 1)).mesh), (2, 0, true));
    }
}

#[test]
fn nothing_changes_far_from_where_it_may() {
    let mesh = torus(96, 48, 400.0, 150.0);
    let options = options(40.0, 0, 32);
    let near = Near { vertices: &[0, 1], edges: 6 };
    let got = simplify(&mesh, &options, Some(near), &mut Scratch::default()).unwrap();
    assert_eq!(euler(&got.mesh), (0, 0, true));
    assert!(got.mesh.faces.len() < mesh.faces.len() - 50);
    // vertices are numbered around the tube: 48 to a ring
    let (kept, before): (std::collections::BTreeSet<_>, _) = (got.mesh.positions.into_iter().collect(), &mesh.positions);
    assert!(before[48 * 7..48 * 90].iter().all(|spot| kept.contains(spot)));
    let nowhere = Near { vertices: &[], edges: 6 };
    assert_eq!(simplify(&mesh, &options, Some(nowhere), &mut Scratch::default()).unwrap().mesh, mesh);
    let missing = Near { vertices: &[1 << 20], edges: 6 };
    assert!(simplify(&mesh, &options, Some(missing), &mut Scratch::default()).is_err());
}
