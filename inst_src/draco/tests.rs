//! Exact bytes, and meshes that come back.

use super::*;
use crate::mesh::Mesh;

/// Triangles by their positions, each from its least corner on, sorted.
fn triangles(mesh: &Mesh) -> Vec<[[i32; 3]; 3]> {
    let mut triangles: Vec<_> = mesh
        .faces
        .iter()
        .filter(|[a, b, c]| a != b && b != c && c != a)
        .map(|face| {
            let [a, b, c] = face.map(|v| mesh.positions[v as usize]);
            [[a, b, c], [b, c, a], [c, a, b]].into_iter().min().unwrap()
        })
        .collect();
    triangles.sort_unstable();
    triangles
}

fn round_trip(mesh: &Mesh, scratch: &mut Scratch) -> Vec<u8> {
    let bytes = encode(&mesh.positions, &mesh.faces, scratch).unwrap();
    assert_eq!(encode(&mesh.positions, &mesh.faces, &mut Scratch::default()).unwrap(), bytes, "scratch leaves a trace");
    let decoded = decode(&bytes, mesh.faces.len(), 3 * mesh.faces.len()).unwrap();
    assert_eq!(triangles(&decoded), triangles(mesh));
    bytes
}

/// Numbers that look random.
fn numbers(mut seed: u64) -> impl FnMut(u32) -> u32 {
    move |below| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((seed >> 33) % u64::from(below)) as u32
    }
}

/// A grid with wrapped edges: a torus.
fn torus(width: u32, height: u32) -> Mesh {
    let at = |x: u32, y: u32| (y % height) * width + x % width;
    let mut mesh = Mesh::default();
    for y in 0..height {
        for x in 0..width {
            mesh.positions.push([x as i32 * 10, y as i32 * 10, (x * y % 7) as i32]);
            mesh.faces.push([at(x, y), at(x + 1, y), at(x + 1, y + 1)]);
            mesh.faces.push([at(x, y), at(x + 1, y + 1), at(x, y + 1)]);
        }
    }
    mesh
}

#[test]
fn one_triangle_is_the_known_stream() {
    let hex = "445241434f020201010000000301000100000107ff011101ff000001000603000001010101\
               000913551507ad2a03f56f81c81428c71500c0020a000000dc000000";
    let expected: Vec<u8> =
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    let positions = [[10, 20, 30], [110, 20, 30], [10, 220, 30]];
    assert_eq!(encode(&positions, &[[0, 1, 2]], &mut Scratch::default()).unwrap(), expected);
    let mesh = decode(&expected, 1, 3).unwrap();
    assert_eq!(triangles(&mesh), [positions]);
}

#[test]
fn a_tetrahedron_has_one_inner_start() {
    let mesh = Mesh {
        positions: vec![[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 5]],
        faces: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
    };
    let bytes = round_trip(&mesh, &mut Scratch::default());
    // standard coding, V, F, seams, symbols, splits, events; symbols E, R, C; one start, inside
    assert_eq!(bytes[11..24], [0, 4, 4, 0, 3, 0, 0, 1, 0x2f, 1, 1, 0x10, 1]);
}

#[test]
fn random_meshes_come_back() {
    let mut scratch = Scratch::default();
    for seed in 0..600 {
        let mut random = numbers(seed);
        let mut mesh = match seed % 4 {
            0 => torus(3 + random(20), 3 + random(20)),
            // a soup: edges of many faces, faces twice and mirrored
            1 => {
                let vertices = 3 + random(if seed % 8 == 1 { 8 } else { 200 });
                let faces = 1 + random(300);
                Mesh {
                    positions: (0..vertices).map(|_| std::array::from_fn(|_| random(1000) as i32 - 500)).collect(),
                    faces: (0..faces).map(|_| std::array::from_fn(|_| random(vertices))).collect(),
                }
            }
            // holes
            2 => {
                let mut mesh = torus(3 + random(30), 3 + random(30));
                mesh.faces.retain(|_| random(5) > 0);
                mesh
            }
            // a vertex with more than 64 faces, and others glued to it
            _ => {
                let mut mesh = torus(12, 12);
                for vertex in mesh.faces.iter_mut().flatten() {
                    *vertex = if random(3) == 0 { 0 } else { *vertex };
                }
                mesh
            }
        };
        for i in (1..mesh.faces.len()).rev() {
            mesh.faces.swap(i, random(i as u32 + 1) as usize);
            mesh.faces[i].rotate_left(random(3) as usize);
        }
        if !triangles(&mesh).is_empty() {
            round_trip(&mesh, &mut scratch);
        }
    }
}

#[test]
fn large_coordinates_come_back() {
    let mut random = numbers(1);
    for bound in [1 << 30, 1 << 20] {
        for sign in [1, -1] {
            let mut mesh = torus(9, 9);
            for value in mesh.positions.iter_mut().flatten() {
                *value = sign * random(bound as u32) as i32;
            }
            round_trip(&mesh, &mut Scratch::default());
        }
    }
}

#[test]
fn unusable_meshes_are_refused() {
    let refused = |positions: &[[i32; 3]], faces: &[[u32; 3]]| {
        assert!(matches!(encode(positions, faces, &mut Scratch::default()), Err(Error::Argument(_))));
    };
    let positions = [[0, 0, 0], [1, 0, 0], [0, 1, 0]];
    refused(&positions, &[[0, 1, 3]]);
    refused(&positions, &[[0, 1, 2], [3, 3, 0]]);
    refused(&positions, &[[0, 0, 1]]);
    refused(&positions, &[]);
    refused(&[[0, 0, 0], [1 << 30, 0, 0], [0, 1, 0]], &[[0, 1, 2]]);
    refused(&[[i32::MIN, 0, 0], [i32::MAX, 0, 0], [0, 1, 0]], &[[0, 1, 2]]);
    refused(&[[i32::MAX, 0, 0], [i32::MAX - 1, 0, 0], [i32::MAX - 2, 1, 0]], &[[0, 1, 2]]);
    // the widest ranges that there are
    for offset in [0, -(1 << 29), -(1 << 30)] {
        let positions = [[0, 9, 0], [(1 << 30) - 1, 0, 0], [7, 8, 9]].map(|p: [i32; 3]| p.map(|value| value + offset));
        round_trip(&Mesh { positions: positions.to_vec(), faces: vec![[0, 1, 2]] }, &mut Scratch::default());
    }
}

#[test]
fn every_cut_is_noticed() {
    for mesh in [torus(8, 9), torus(40, 40)] {
        let bytes = encode(&mesh.positions, &mesh.faces, &mut Scratch::default()).unwrap();
        for length in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..length], 1 << 20, 1 << 20), Err(Error::Format(_))), "{length}");
        }
    }
}

#[test]
fn damage_does_no_harm() {
    let mesh = torus(12, 17);
    let bytes = encode(&mesh.positions, &mesh.faces, &mut Scratch::default()).unwrap();
    for place in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[place] ^ 1, bytes[place] ^ 4] {
            let mut bytes = bytes.clone();
            bytes[place] = value;
            match decode(&bytes, 4096, 4096) {
                Ok(mesh) => assert!(mesh.faces.iter().flatten().all(|&v| (v as usize) < mesh.positions.len())),
                Err(error) => assert!(matches!(error, Error::Format(_))),
            }
        }
    }
}

#[test]
fn much_damage_does_no_harm() {
    let mut random = numbers(7);
    for round in 0..20_000u32 {
        let mut mesh = torus(3 + round % 7, 3 + round % 5);
        mesh.faces.retain(|_| random(4) > 0);
        let Ok(mut bytes) = encode(&mesh.positions, &mesh.faces, &mut Scratch::default()) else { continue };
        for _ in 0..1 + random(4) {
            let place = random(bytes.len() as u32) as usize;
            bytes[place] = random(256) as u8;
        }
        if let Ok(mesh) = decode(&bytes, 4096, 4096) {
            assert!(mesh.faces.iter().flatten().all(|&v| (v as usize) < mesh.positions.len()));
        }
    }
}

#[test]
fn limits_hold() {
    let mesh = torus(8, 8);
    let bytes = encode(&mesh.positions, &mesh.faces, &mut Scratch::default()).unwrap();
    assert!(decode(&bytes, 128, 64).is_ok());
    assert!(decode(&bytes, 127, 64).is_err());
    assert!(decode(&bytes, 128, 63).is_err());
}
