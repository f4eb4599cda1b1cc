#![no_main]
//! Decoding of any bytes as a Draco mesh; what is decoded can be encoded and decoded again.

use precast_kernels::draco::{Scratch, decode, encode};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(mesh) = decode(data, 1 << 16, 1 << 16) else { return };
    assert!(mesh.faces.iter().flatten().all(|&vertex| (vertex as usize) < mesh.positions.len()));
    // it may have no proper face, or coordinates too far apart
    if let Ok(bytes) = encode(&mesh.positions, &mesh.faces, &mut Scratch::default()) {
        decode(&bytes, 1 << 16, 3 << 16).unwrap();
    }
});
