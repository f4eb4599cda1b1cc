//! What the targets share: the first bytes of the input choose a shape and a block.

use precast_kernels::compressed_segmentation::{Label, Level, decode_with};
use precast_kernels::view::ViewMut;

/// Shape `(c, z, y, x)`, block `[x, y, z]` and the rest of the input.
pub fn split(data: &[u8]) -> Option<([usize; 4], [usize; 3], &[u8])> {
    let (head, rest) = data.split_first_chunk::<5>()?;
    let edge = |byte: u8| 1 + usize::from(byte % 20);
    let shape = [1 + usize::from(head[0] % 3), edge(head[1]), edge(head[2]), edge(head[3])];
    let blocks = [[8, 8, 8], [8, 8, 8], [16, 4, 8], [4, 4, 4], [3, 5, 7], [1, 1, 1], [32, 32, 32], [8, 1, 1]];
    Some((shape, blocks[usize::from(head[4]) % blocks.len()], rest))
}

/// Decodes with every instruction set, which must agree.
pub fn decode<T: Label>(data: &[u8]) {
    let Some((shape, block, bytes)) = split(data) else { return };
    let mut first: Option<Option<Vec<T>>> = None;
    for &level in Level::supported() {
        let mut out = vec![T::default(); shape.iter().product()];
        let mut view = ViewMut::contiguous(&mut out, shape).unwrap();
        let labels = decode_with(level, bytes, block, &mut view).ok().map(|()| out);
        assert_eq!(first.get_or_insert_with(|| labels.clone()), &labels, "{level:?} differs");
    }
}
