#![no_main]
//! The triangles of any mesh come back, with their positions and their orientation.

use precast_kernels::draco::{Scratch, decode, encode};
use precast_kernels::mesh::Mesh;

/// Triangles by position, each from its least corner on, sorted.
fn triangles(mesh: &Mesh) -> Vec<[[i32; 3]; 3]> {
    let proper = mesh.faces.iter().filter(|[a, b, c]| a != b && b != c && c != a);
    let mut triangles: Vec<_> = proper
        .map(|face| {
            let [a, b, c] = face.map(|vertex| mesh.positions[vertex as usize]);
            [[a, b, c], [b, c, a], [c, a, b]].into_iter().min().unwrap()
        })
        .collect();
    triangles.sort_unstable();
    triangles
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&[size, shape, scale], rest)) = data.split_first_chunk::<3>() else { return };
    // few vertices make edges of many faces; a torus to begin with makes handles
    let width = 3 + u32::from(size % 16);
    let height = 3 + u32::from(size / 16);
    let count = width * height;
    let mut mesh = Mesh::default();
    for vertex in 0..count {
        let noise = rest.get(vertex as usize).map_or(0, |&byte| i32::from(byte as i8));
        let (x, y) = (vertex % width, vertex / width);
        mesh.positions.push([x as i32, y as i32, noise].map(|value| value << (scale % 20)));
        if shape & 1 == 1 {
            let at = |x: u32, y: u32| y % height * width + x % width;
            mesh.faces.push([at(x, y), at(x + 1, y), at(x + 1, y + 1)]);
            mesh.faces.push([at(x, y), at(x + 1, y + 1), at(x, y + 1)]);
        }
    }
    for chunk in rest.chunks_exact(3) {
        let face = [chunk[0], chunk[1], chunk[2]].map(|byte| u32::from(byte) % count);
        if shape & 2 == 2 && !mesh.faces.is_empty() {
            // take faces away
            let index = (face[0] as usize * 251 + face[1] as usize) % mesh.faces.len();
            mesh.faces.swap_remove(index);
        } else {
            mesh.faces.push(face);
        }
    }
    let expected = triangles(&mesh);
    if expected.is_empty() {
        return;
    }
    let bytes = encode(&mesh.positions, &mesh.faces, &mut Scratch::default()).unwrap();
    let decoded = decode(&bytes, mesh.faces.len(), 3 * mesh.faces.len()).unwrap();
    assert_eq!(triangles(&decoded), expected);
});
