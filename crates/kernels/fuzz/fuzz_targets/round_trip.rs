#![no_main]
//! What is encoded comes back, whatever the labels, the block and the instruction set.

mod common;

use precast_kernels::compressed_segmentation::{Encoder, Label, Level, decode_with};
use precast_kernels::view::{View, ViewMut};

fn check<T: Label>(labels: &[T], shape: [usize; 4], block: [usize; 3]) {
    let view = View::contiguous(labels, shape).unwrap();
    let mut first: Option<Vec<u8>> = None;
    for &level in Level::supported() {
        let mut bytes = Vec::new();
        Encoder::with_level(level).encode(view, block, &mut bytes).unwrap();
        let mut out = vec![T::default(); labels.len()];
        decode_with(level, &bytes, block, &mut ViewMut::contiguous(&mut out, shape).unwrap()).unwrap();
        assert_eq!(out, labels, "{level:?}");
        assert_eq!(first.get_or_insert_with(|| bytes.clone()), &bytes, "{level:?} differs");
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((shape, block, bytes)) = common::split(data) else { return };
    let Some((&spread, bytes)) = bytes.split_first() else { return };
    if bytes.is_empty() {
        return;
    }
    // Few bytes make many voxels: they repeat, and each holds for a run.
    let run = 1 + usize::from(spread % 16);
    let count = shape.iter().product::<usize>();
    let labels = (0..count).map(|i| u64::from(bytes[i / run % bytes.len()]) * (1 + (i as u64 >> (spread / 16))));
    let labels: Vec<u64> = labels.map(|label| label.rotate_right(u32::from(spread) & 63)).collect();
    check(&labels, shape, block);
    check(&labels.iter().map(|&label| label as u32).collect::<Vec<_>>(), shape, block);
});
