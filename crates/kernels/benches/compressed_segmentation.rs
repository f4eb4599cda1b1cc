//! Throughput of compressed_segmentation on one thread, for each instruction set of the processor.
//!
//! `cargo bench --bench compressed_segmentation -- LABELS EDGE`: LABELS is a file of raw little-endian uint32
//! labels that fill a cube of EDGE voxels. Without arguments a synthetic cube of tilted cells is used.
//! Every time is the best of several; decoded labels are compared before any time counts.

use precast_kernels::compressed_segmentation::{Encoder, Label, Level, decode_with};
use precast_kernels::view::{View, ViewMut};
use std::time::Instant;

const REPEATS: usize = 7;

fn best(mut work: impl FnMut()) -> f64 {
    (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn synthetic(edge: usize) -> Vec<u32> {
    let cell = |i: usize| {
        let (x, y, z) = (i % edge, i / edge % edge, i / edge / edge);
        ((x + y / 3) / 19 + 40 * ((y + z / 2) / 17) + 1600 * ((z + x / 4) / 23)) as u32
    };
    (0..edge * edge * edge).map(cell).collect()
}

fn measure<T: Label>(name: &str, labels: &[T], edge: usize) {
    let volume = View::contiguous(labels, [1, edge, edge, edge]).unwrap();
    let voxels = labels.len() as f64 / 1e6;
    let mut copy = labels.to_vec();
    let time = best(|| copy.copy_from_slice(std::hint::black_box(labels)));
    println!("{name} copy of the voxels                   {:7.0} Mvoxel/s", voxels / time);
    let time = best(|| {
        assert!(std::hint::black_box(labels).iter().max() != Some(&T::default()));
    });
    println!("{name} reading the voxels                   {:7.0} Mvoxel/s", voxels / time);
    for size in [64, 128] {
        let starts: Vec<[usize; 4]> = (0..edge)
            .step_by(size)
            .flat_map(|z| (0..edge).step_by(size).map(move |y| (z, y)))
            .flat_map(|(z, y)| (0..edge).step_by(size).map(move |x| [0, z, y, x]))
            .collect();
        let shape =
            |start: &[usize; 4]| [1, size.min(edge - start[1]), size.min(edge - start[2]), size.min(edge - start[3])];
        for &level in Level::supported() {
            let mut encoder = Encoder::with_level(level);
            let mut out = Vec::new();
            let mut encoded = Vec::new();
            for start in &starts {
                out.clear();
                encoder.encode(volume.part(*start, shape(start)).unwrap(), [8; 3], &mut out).unwrap();
                encoded.push(out.clone());
            }
            let encode = best(|| {
                for start in &starts {
                    out.clear();
                    encoder.encode(volume.part(*start, shape(start)).unwrap(), [8; 3], &mut out).unwrap();
                }
            });
            let mut chunk = vec![T::default(); size * size * size];
            for (start, bytes) in starts.iter().zip(&encoded) {
                let shape = shape(start);
                decode_with(level, bytes, [8; 3], &mut ViewMut::contiguous(&mut chunk, shape).unwrap()).unwrap();
                let part = volume.part(*start, shape).unwrap();
                for (z, y) in (0..shape[1]).flat_map(|z| (0..shape[2]).map(move |y| (z, y))) {
                    assert_eq!(part.row(0, z, y), &chunk[(z * shape[2] + y) * shape[3]..][..shape[3]]);
                }
            }
            let decode = best(|| {
                for (start, bytes) in starts.iter().zip(&encoded) {
                    decode_with(level, bytes, [8; 3], &mut ViewMut::contiguous(&mut chunk, shape(start)).unwrap())
                        .unwrap();
                }
            });
            let bytes: usize = encoded.iter().map(Vec::len).sum();
            println!(
                "{name} {size:3}^3 {level:?}: encode {:6.0} Mvoxel/s, decode {:6.0} Mvoxel/s, {bytes} bytes",
                voxels / encode,
                voxels / decode
            );
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (labels, edge) = match arguments.as_slice() {
        [file, edge] => {
            let bytes = std::fs::read(file).expect("the file of labels is readable");
            let edge: usize = edge.parse().expect("EDGE is a number of voxels");
            let labels: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            assert_eq!(labels.len(), edge * edge * edge, "LABELS must fill a cube of EDGE voxels");
            (labels, edge)
        }
        [] => (synthetic(256), 256),
        _ => panic!("usage: compressed_segmentation [LABELS EDGE]"),
    };
    measure("uint32", &labels, edge);
    let wide: Vec<u64> = labels.iter().map(|&label| u64::from(label)).collect();
    measure("uint64", &wide, edge);
}
