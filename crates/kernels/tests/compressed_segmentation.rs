//! Every instruction set against a plain reading of the format, and hostile bytes.

use precast_kernels::compressed_segmentation::{Encoder, Label, Level, decode_with};
use precast_kernels::view::{View, ViewMut};
use precast_kernels::{Error, Result};

/// A small generator of reproducible noise (xorshift64*).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn decode<T: Label>(level: Level, bytes: &[u8], block: [usize; 3], shape: [usize; 4]) -> Result<Vec<T>> {
    let mut out = vec![T::default(); shape.iter().product()];
    decode_with(level, bytes, block, &mut ViewMut::contiguous(&mut out, shape)?)?;
    Ok(out)
}

/// Decodes one voxel after the other, straight from the description of the format; panics on invalid bytes.
fn decode_plainly(bytes: &[u8], block: [usize; 3], shape: [usize; 4], words: usize) -> Vec<u64> {
    let word = |i: usize| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap());
    let grid: Vec<usize> = (0..3).map(|axis| shape[3 - axis].div_ceil(block[axis])).collect();
    let mut out = Vec::new();
    for c in 0..shape[0] {
        let start = word(c) as usize;
        for z in 0..shape[1] {
            for y in 0..shape[2] {
                for x in 0..shape[3] {
                    let n = x / block[0] + grid[0] * (y / block[1] + grid[1] * (z / block[2]));
                    let (table, bits) = (word(start + 2 * n) & 0xff_ffff, word(start + 2 * n) >> 24);
                    let p = x % block[0] + block[0] * (y % block[1] + block[1] * (z % block[2]));
                    let bit = p * bits as usize;
                    let index = if bits == 0 {
                        0
                    } else {
                        let packed = word(start + word(start + 2 * n + 1) as usize + bit / 32);
                        (u64::from(packed) >> (bit % 32) & ((1 << bits) - 1)) as usize
                    };
                    let at = start + table as usize + index * words;
                    out.push(u64::from(word(at)) | if words == 2 { u64::from(word(at + 1)) << 32 } else { 0 });
                }
            }
        }
    }
    out
}

fn check_all<T: Label>(labels: &[T], shape: [usize; 4], block: [usize; 3], wide: impl Fn(T) -> u64) -> Vec<u8> {
    let view = View::contiguous(labels, shape).unwrap();
    let mut expected: Option<Vec<u8>> = None;
    for &level in Level::supported() {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::with_level(level);
        encoder.encode(view, block, &mut bytes).unwrap();
        let mut again = Vec::new();
        encoder.encode(view, block, &mut again).unwrap();
        assert_eq!(bytes, again, "used scratch memory changes nothing");
        assert_eq!(decode::<T>(level, &bytes, block, shape).unwrap(), labels, "{level:?} {shape:?} {block:?}");
        let plain = decode_plainly(&bytes, block, shape, T::WORDS);
        assert_eq!(plain, labels.iter().map(|&label| wide(label)).collect::<Vec<_>>(), "{level:?} {shape:?} {block:?}");
        assert_eq!(*expected.get_or_insert_with(|| bytes.clone()), bytes, "{level:?} writes what the others write");
    }
    expected.unwrap()
}

#[test]
fn every_width_block_and_extent_comes_back() {
    let mut noise = Noise(1);
    let shapes = [[1, 8, 8, 8], [1, 16, 9, 17], [2, 5, 8, 31], [1, 1, 1, 1], [3, 2, 3, 70], [1, 33, 16, 24]];
    let blocks =
        [[8, 8, 8], [8, 8, 1], [16, 4, 8], [4, 4, 4], [3, 5, 7], [64, 32, 32], [1, 1, 1], [8, 1, 1], [24, 8, 8]];
    for shape in shapes {
        for block in blocks {
            for distinct in [1, 2, 3, 4, 5, 16, 17, 256, 257, 70_000] {
                let voxels: usize = shape.iter().product();
                // Low halves that are equal for several labels, and labels above 2^63.
                let label = |id: u64| ((id % 3) << 62) | ((id / 3) << 30) | (id % 5);
                let wide: Vec<u64> = (0..voxels).map(|_| label(noise.below(distinct))).collect();
                let narrow: Vec<u32> = wide.iter().map(|&id| (id >> 30) as u32 ^ id as u32).collect();
                check_all(&wide, shape, block, |label| label);
                check_all(&narrow, shape, block, u64::from);
            }
        }
    }
}

#[test]
fn each_number_of_labels_gets_the_smallest_width() {
    for (distinct, bits) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8), (257, 16), (512, 16)] {
        let labels: Vec<u32> = (0..512).map(|i| i % distinct + 7).collect();
        let bytes = check_all(&labels, [1, 8, 8, 8], [8; 3], u64::from);
        assert_eq!(u32::from(bytes[7]), bits, "{distinct} labels");
        assert_eq!(bytes.len(), 4 * (1 + 2 + 16 * bits as usize + distinct as usize), "{distinct} labels");
    }
    let labels: Vec<u32> = (0..65536).rev().collect();
    let bytes = check_all(&labels, [1, 32, 32, 64], [64, 32, 32], u64::from);
    assert_eq!((bytes.len(), bytes[7]), (4 * (3 + 32768 + 65536), 16));
}

#[test]
fn strided_chunks_of_a_slab_are_read_in_place() {
    let mut noise = Noise(5);
    let slab: Vec<u32> = (0..2 * 20 * 30 * 40).map(|i| (i / 11 % 7) as u32 + (noise.below(50) == 0) as u32).collect();
    let view = View::contiguous(&slab, [2, 20, 30, 40]).unwrap();
    let part = view.part([0, 3, 5, 9], [2, 16, 17, 24]).unwrap();
    let mut copy = Vec::new();
    for (c, z, y) in (0..2).flat_map(|c| (0..16).flat_map(move |z| (0..17).map(move |y| (c, z, y)))) {
        copy.extend_from_slice(part.row(c, z, y));
    }
    let expected = check_all(&copy, [2, 16, 17, 24], [8; 3], u64::from);
    for &level in Level::supported() {
        let mut bytes = Vec::new();
        Encoder::with_level(level).encode(part, [8; 3], &mut bytes).unwrap();
        assert_eq!(bytes, expected);
        let mut target = vec![u32::MAX; slab.len()];
        let strides = [20 * 30 * 40, 30 * 40, 40];
        let start = 3 * strides[1] + 5 * strides[2] + 9;
        let mut out = ViewMut::new(&mut target[start..], [2, 16, 17, 24], strides).unwrap();
        decode_with(level, &bytes, [8; 3], &mut out).unwrap();
        let target = View::contiguous(&target, [2, 20, 30, 40]).unwrap();
        for (z, y) in (0..20).flat_map(|z| (0..30).map(move |y| (z, y))) {
            let inside = (3..19).contains(&z) && (5..22).contains(&y);
            let row = target.row(1, z, y);
            assert!(
                row[..9].iter().chain(&row[33..]).all(|&label| label == u32::MAX),
                "nothing beside the chunk changes"
            );
            assert_eq!(inside, row[9..33] == view.row(1, z, y)[9..33]);
        }
    }
}

#[test]
fn offsets_beyond_24_bits_are_refused_and_leave_no_bytes() {
    // 192^3 distinct labels of 64 bits need 17.7 million words.
    let labels: Vec<u64> = (0..192u64.pow(3)).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let view = View::contiguous(&labels, [1, 192, 192, 192]).unwrap();
    let mut out = vec![1, 2, 3];
    let error = Encoder::new().encode(view, [8; 3], &mut out).unwrap_err();
    assert!(matches!(error, Error::Limit(text) if text.contains("24 bits")));
    assert_eq!(out, [1, 2, 3]);
    // The largest documented safe size succeeds with the same labels.
    let part = view.part([0; 4], [1, 176, 176, 176]).unwrap();
    Encoder::new().encode(part, [8; 3], &mut out).unwrap();
}

#[test]
fn what_writers_do_not_write_is_read_too() {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    for &level in Level::supported() {
        // The table before the indices, gaps, descending order, a duplicate, more bits than needed.
        let bytes = words(&[1, 0x0200_0003, 8, 0xdead_beef, 9, 5, 9, 1, 0xffff_ffff, 0b11_01_00_10]);
        assert_eq!(decode::<u32>(level, &bytes, [2, 2, 1], [1, 1, 2, 2]).unwrap(), [9, 9, 5, 1]);
        // 32 bits for each index, for one word of labels and for two.
        let bytes = words(&[1, 0x2000_0004, 2, 1, 0, 77, 88]);
        assert_eq!(decode::<u32>(level, &bytes, [2, 1, 1], [1, 1, 1, 2]).unwrap(), [88, 77]);
        assert!(decode::<u64>(level, &bytes, [2, 1, 1], [1, 1, 1, 2]).is_err(), "the table has one label of 64 bits");
        let bytes = words(&[1, 0x2000_0004, 2, 0, 0, 77, 88]);
        assert_eq!(decode::<u64>(level, &bytes, [2, 1, 1], [1, 1, 1, 2]).unwrap(), [88 << 32 | 77; 2]);
        // Unused positions of a cut-off block may hold anything: only x = 0 exists, and the table has one label.
        let mut chunk = vec![1, 0x0100_0012, 2];
        chunk.extend([0xfefe_fefe; 16]);
        chunk.push(5);
        assert_eq!(decode::<u32>(level, &words(&chunk), [8; 3], [1, 8, 8, 1]).unwrap(), [5; 64]);
        assert!(decode::<u32>(level, &words(&chunk), [8; 3], [1, 8, 8, 2]).is_err(), "now the second label is missed");
        chunk[1] += 1;
        assert!(decode::<u32>(level, &words(&chunk), [8; 3], [1, 8, 8, 1]).is_err(), "a table at the end of the chunk");
        // Two channels that share one table behind both: offsets may point past the next channel.
        let bytes = words(&[2, 4, 4, 0, 2, 0, 0x77]);
        assert_eq!(decode::<u32>(level, &bytes, [2, 1, 1], [2, 1, 1, 2]).unwrap(), [0x77; 4]);
    }
}

#[test]
fn damaged_chunks_never_panic_and_levels_agree() {
    let mut noise = Noise(9);
    for (shape, block) in [([1, 16, 16, 16], [8, 8, 8]), ([2, 9, 7, 13], [8, 8, 8]), ([1, 6, 6, 6], [4, 4, 4])] {
        let voxels: usize = shape.iter().product();
        for distinct in [1, 2, 5, 40, 400] {
            let labels: Vec<u64> = (0..voxels).map(|_| noise.below(distinct) << 31).collect();
            let mut bytes = Vec::new();
            Encoder::new().encode(View::contiguous(&labels, shape).unwrap(), block, &mut bytes).unwrap();
            for _ in 0..300 {
                let mut damaged = bytes.clone();
                for _ in 0..=noise.below(4) {
                    let at = noise.below(damaged.len() as u64) as usize;
                    // Early words hold offsets and widths, so half of the damage goes there.
                    let at = if noise.below(2) == 0 { at % 64.min(damaged.len()) } else { at };
                    damaged[at] = noise.next() as u8;
                }
                damaged.truncate(damaged.len() - (noise.below(3) * noise.below(9)) as usize);
                let results = Level::supported().iter().map(|&level| decode::<u64>(level, &damaged, block, shape));
                let results: Vec<_> = results.collect();
                assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "levels agree on damaged bytes");
                assert!(results[0].is_ok() || matches!(results[0], Err(Error::Format(_))));
                let _ = decode::<u32>(Level::best(), &damaged, block, shape);
            }
            for end in 0..bytes.len().min(200) {
                assert!(
                    matches!(decode::<u64>(Level::best(), &bytes[..end], block, shape), Err(Error::Format(_))),
                    "{end}"
                );
            }
            let cut = &bytes[..bytes.len() - 4];
            assert!(matches!(decode::<u64>(Level::best(), cut, block, shape), Err(Error::Format(_))));
        }
    }
}

#[test]
fn arguments_that_cannot_be_used_are_named() {
    let labels = [0u32; 8];
    let view = View::contiguous(&labels, [1, 2, 2, 2]).unwrap();
    for block in [[0, 8, 8], [64, 64, 32], [usize::MAX, 2, 2]] {
        let error = Encoder::new().encode(view, block, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Argument(text) if text.contains(&format!("{block:?}"))));
    }
    let empty = View::contiguous(&labels, [1, 0, 2, 2]).unwrap();
    assert!(matches!(Encoder::new().encode(empty, [8; 3], &mut Vec::new()), Err(Error::Argument(_))));
    for block in [[0, 8, 8], [usize::MAX, 2, 2]] {
        assert!(matches!(decode::<u32>(Level::best(), &[0; 64], block, [1, 2, 2, 2]), Err(Error::Argument(_))));
    }
    assert!(matches!(decode::<u32>(Level::best(), &[0; 64], [8; 3], [1, 2, 0, 2]), Err(Error::Argument(_))));
}
