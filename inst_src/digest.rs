//! The voxel digest: one hash of the decoded voxels of a volume.
//!
//! It depends on the voxels alone: not on chunks, encoding, sharding, threads or
//! order of work, because it is a sum over voxels. Digests of disjoint blocks
//! add up to that of the volume. It tells accidents apart, not adversaries.
//! `docs/voxel-digest.md` has the same definition in other words, with examples.
//!
//! # Definition
//! All arithmetic is modulo 2^64. For the voxel at channel `c` and `(x, y, z)`
//! from the first voxel of a volume of `(X, Y, Z)` voxels, let
//! `r = (c·Z + z)·Y + y` and `v` its bits as an unsigned integer, zero-extended.
//! With `mix` the output function of splitmix64, there are two lanes, `l = 0, 1`:
//!
//! ```text
//! D_l    = Σ b_l(r) · a_l(x) · h(v)
//! a_l(x) = mix(4·(x + 1) + l)     | 1
//! b_l(r) = mix(4·(r + 1) + 2 + l) | 1
//! h(v)   = v ^ ((K · (v >> 32)) >> 32),     K = 0xff51afd7ed558ccd
//! ```
//!
//! * Weights are odd and `h` is a bijection with `h(0) = 0`: a single changed
//!   voxel always changes both lanes, and zero adds nothing.
//! * `h(v) = v` below 2^32: labels have equal lanes as uint32 and uint64. Above,
//!   it carries the high bits into the low ones. Without that, two labels that
//!   differ in bit 63 alone could be swapped unseen: 2^63 times any odd weight
//!   is 2^63.
//!
//! The printed form mixes in shape and type, see [`finish`].

use crate::parallel::map_indexed;
use crate::simd::Level;
use crate::versions;
use crate::view::View;
use crate::{Error, Result};

/// The two sums.
pub type Lanes = [u64; 2];

const K: u64 = 0xff51_afd7_ed55_8ccd;

/// The output function of splitmix64 (Steele, Lea and Flood 2014; constants by Stafford, "variant 13").
#[inline(always)]
#[must_use]
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[inline(always)]
fn a(lane: u64, x: u64) -> u64 {
    mix(x.wrapping_add(1).wrapping_mul(4).wrapping_add(lane)) | 1
}

#[inline(always)]
fn b(lane: u64, r: u64) -> u64 {
    mix(r.wrapping_add(1).wrapping_mul(4).wrapping_add(2 + lane)) | 1
}

/// `h` of the definition.
#[inline(always)]
fn h(v: u64) -> u64 {
    v ^ ((v >> 32).wrapping_mul(K) >> 32)
}

/// Weights of a stretch of x for both lanes, in the form that suits the type. Unused forms are empty.
#[derive(Debug, Default)]
pub struct Weights {
    /// For types of 64 bits: `a` itself.
    whole: [Vec<u64>; 2],
    /// For types of 32 bits: `[a_0 low, a_0 high, a_1 low, a_1 high]`, halves of 32 bits.
    halves: [Vec<u32>; 4],
    /// For narrower types: four signed digits of 16 bits for each lane, `a = Σ digit_k · 2^(16 k)`.
    digits: [Vec<i16>; 8],
}

impl Weights {
    fn whole(from: u64, len: usize) -> Weights {
        let of = |lane| (from..from + len as u64).map(|x| a(lane, x)).collect();
        Weights { whole: [of(0), of(1)], ..Weights::default() }
    }

    fn halves(from: u64, len: usize) -> Weights {
        let [first, second] = Weights::whole(from, len).whole;
        let low = |a: &[u64]| a.iter().map(|&a| a as u32).collect();
        let high = |a: &[u64]| a.iter().map(|&a| (a >> 32) as u32).collect();
        Weights { halves: [low(&first), high(&first), low(&second), high(&second)], ..Weights::default() }
    }

    fn digits(from: u64, len: usize) -> Weights {
        let mut weights = Weights::default();
        for (lane, column) in Weights::whole(from, len).whole.into_iter().enumerate() {
            for mut a in column {
                for digit in &mut weights.digits[4 * lane..4 * lane + 4] {
                    let low = a as i16;
                    digit.push(low);
                    // A negative digit takes one from the next; beyond 64 bits that is lost.
                    a = a.wrapping_sub(i64::from(low) as u64) >> 16;
                }
            }
        }
        weights
    }
}

/// A voxel type, by the width of its bits.
pub trait Bits: Copy + Send + Sync + 'static {
    /// The weights of `len` voxels from `from` on.
    fn weights(from: u64, len: usize) -> Weights;
    /// `Σ a_l(x) · h(v)` over a row with these weights.
    fn row(row: &[Self], weights: &Weights) -> Lanes
    where
        Self: Sized;
}

impl Bits for u8 {
    fn weights(from: u64, len: usize) -> Weights {
        Weights::digits(from, len)
    }
    #[inline(always)]
    fn row(row: &[u8], weights: &Weights) -> Lanes {
        bytes(row, weights, i32::from)
    }
}

impl Bits for u16 {
    fn weights(from: u64, len: usize) -> Weights {
        Weights::digits(from, len)
    }
    #[inline(always)]
    fn row(row: &[u16], weights: &Weights) -> Lanes {
        let low = bytes(row, weights, |v| i32::from(v & 0xff));
        let high = bytes(row, weights, |v| i32::from(v >> 8));
        [low[0].wrapping_add(high[0] << 8), low[1].wrapping_add(high[1] << 8)]
    }
}

impl Bits for u32 {
    fn weights(from: u64, len: usize) -> Weights {
        Weights::halves(from, len)
    }
    #[inline(always)]
    fn row(row: &[u32], weights: &Weights) -> Lanes {
        let n = row.len();
        let [a, b, c, d] = weights.halves.each_ref().map(|half| &half[..n]);
        let mut sums = [0u64; 4];
        for i in 0..n {
            let v = u64::from(row[i]);
            sums[0] = sums[0].wrapping_add(v * u64::from(a[i]));
            sums[1] = sums[1].wrapping_add(v * u64::from(b[i]));
            sums[2] = sums[2].wrapping_add(v * u64::from(c[i]));
            sums[3] = sums[3].wrapping_add(v * u64::from(d[i]));
        }
        [sums[0].wrapping_add(sums[1] << 32), sums[2].wrapping_add(sums[3] << 32)]
    }
}

impl Bits for u64 {
    fn weights(from: u64, len: usize) -> Weights {
        Weights::whole(from, len)
    }
    #[inline(always)]
    fn row(row: &[u64], weights: &Weights) -> Lanes {
        let n = row.len();
        let [a, b] = weights.whole.each_ref().map(|a| &a[..n]);
        let mut sums = [0u64; 2];
        for i in 0..n {
            let v = h(row[i]);
            sums[0] = sums[0].wrapping_add(v.wrapping_mul(a[i]));
            sums[1] = sums[1].wrapping_add(v.wrapping_mul(b[i]));
        }
        sums
    }
}

/// `Σ a_l(x) · byte(v)` over a row, `byte` from 0 to 255, by products of 16 bits.
#[inline(always)]
fn bytes<T: Copy>(row: &[T], weights: &Weights, byte: impl Fn(T) -> i32 + Copy) -> Lanes {
    // 256 · 255 · 2^15 < 2^31: the sum over a stretch cannot overflow 32 bits, in any order.
    const STRETCH: usize = 256;
    let mut lanes = [0u64; 2];
    let mut add = |row: &[T], at: usize| {
        let digits = weights.digits.each_ref().map(|digit| &digit[at..at + row.len()]);
        let mut sums = [0i32; 8];
        for (i, &v) in row.iter().enumerate() {
            for k in 0..8 {
                sums[k] += byte(v) * i32::from(digits[k][i]);
            }
        }
        for (k, &sum) in sums.iter().enumerate() {
            let shifted = (i64::from(sum) as u64) << (16 * (k % 4));
            lanes[k / 4] = lanes[k / 4].wrapping_add(shifted);
        }
    };
    let mut stretches = row.chunks_exact(STRETCH);
    let mut at = 0;
    for stretch in &mut stretches {
        add(stretch, at);
        at += STRETCH;
    }
    add(stretches.remainder(), at);
    lanes
}

/// Where a block lies in its volume, x, y, z.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The block's first voxel, from the volume's first voxel.
    pub start: [u64; 3],
    /// Extent of the volume.
    pub size: [u64; 3],
}

/// The share of a block, with all channels of its volume, in the volume's digest.
///
/// # Errors
/// [`Error::Argument`] if the block does not lie inside the volume.
pub fn voxel_digest<T: Bits>(data: View<'_, T>, place: Place, threads: usize) -> Result<Lanes> {
    let [channels, depth, height, width] = data.shape();
    for (axis, extent) in [width, height, depth].into_iter().enumerate() {
        if place.start[axis].checked_add(extent as u64).is_none_or(|end| end > place.size[axis]) {
            return Err(Error::Argument(format!(
                "a block of (x, y, z) = {:?} at {:?} does not lie inside a volume of {:?}",
                [width, height, depth],
                place.start,
                place.size
            )));
        }
    }
    let weights = T::weights(place.start[0], width);
    let planes = channels * depth;
    let parts = map_indexed(
        planes,
        threads,
        || (),
        |(), i| plane::<T>(Level::best(), data, [i / depth, i % depth], place, &weights),
    );
    Ok(parts.into_iter().fold([0; 2], add))
}

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]
}

versions!(
    /// The plane at (c, z).
    fn plane [T: Bits] [T] (data: View<'_, T>, at: [usize; 2], place: Place, weights: &Weights) -> Lanes {
        let [c, z] = at;
        let plane = (c as u64).wrapping_mul(place.size[2]).wrapping_add(place.start[2] + z as u64);
        let first = plane.wrapping_mul(place.size[1]).wrapping_add(place.start[1]);
        let mut lanes = [0; 2];
        for y in 0..data.shape()[2] {
            let r = first.wrapping_add(y as u64);
            let sums = T::row(data.row(c, z, y), weights);
            lanes = add(lanes, [sums[0].wrapping_mul(b(0, r)), sums[1].wrapping_mul(b(1, r))]);
        }
        lanes
    }
);

/// The printed digest of a volume: `voxels1:` and 32 hexadecimal digits, those of lane 0 first.
///
/// ```text
/// s_l = l + 1;  for w in X, Y, Z, C, T:  s_l = mix(s_l ^ w);  printed_l = mix(D_l ^ s_l)
/// ```
/// `C` is the number of channels and `T` the name of the type as in `info`
/// (`uint8`), its ASCII bytes as a little-endian number.
///
/// # Errors
/// [`Error::Argument`] for a name of more than 8 bytes.
pub fn finish(lanes: Lanes, size: [u64; 3], channels: u64, dtype: &str) -> Result<String> {
    let mut name = [0; 8];
    name.get_mut(..dtype.len())
        .ok_or_else(|| Error::Argument(format!("a data type's name has at most 8 bytes, got {dtype:?}")))?
        .copy_from_slice(dtype.as_bytes());
    let words = [size[0], size[1], size[2], channels, u64::from_le_bytes(name)];
    let print = |lane: usize| mix(lanes[lane] ^ words.iter().fold(lane as u64 + 1, |s, w| mix(s ^ w)));
    Ok(format!("voxels1:{:016x}{:016x}", print(0), print(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word.
    fn plain(data: &[u64], shape: [usize; 4]) -> Lanes {
        let [_, depth, height, width] = shape;
        let mut lanes = [0u64; 2];
        for (i, &v) in data.iter().enumerate() {
            let (x, r) = ((i % width) as u64, (i / width) as u64);
            assert!(r < (shape[0] * depth * height) as u64);
            for (lane, sum) in lanes.iter_mut().enumerate() {
                let weight = a(lane as u64, x).wrapping_mul(b(lane as u64, r));
                *sum = sum.wrapping_add(weight.wrapping_mul(h(v)));
            }
        }
        lanes
    }

    fn noise(n: usize) -> Vec<u64> {
        (1..=n as u64).map(mix).collect()
    }

    fn whole<T: Bits>(data: &[T], shape: [usize; 4], threads: usize) -> Lanes {
        let place = Place { start: [0; 3], size: [shape[3] as u64, shape[2] as u64, shape[1] as u64] };
        voxel_digest(View::contiguous(data, shape).unwrap(), place, threads).unwrap()
    }

    #[test]
    fn every_width_and_row_length_follows_the_definition() {
        for width in (1..70).chain([255, 256, 257, 511, 513, 1000]) {
            let shape = [2, 2, 2, width];
            let long = noise(8 * width);
            let cut = |bits: u32| long.iter().map(|v| v >> (64 - bits)).collect::<Vec<_>>();
            assert_eq!(whole(&long, shape, 1), plain(&long, shape));
            let v: Vec<u32> = cut(32).iter().map(|&v| v as u32).collect();
            assert_eq!(whole(&v, shape, 2), plain(&cut(32), shape));
            let v: Vec<u16> = cut(16).iter().map(|&v| v as u16).collect();
            assert_eq!(whole(&v, shape, 1), plain(&cut(16), shape));
            let v: Vec<u8> = cut(8).iter().map(|&v| v as u8).collect();
            assert_eq!(whole(&v, shape, 3), plain(&cut(8), shape));
        }
    }

    #[test]
    fn every_level_agrees_on_the_largest_values() {
        let (bytes, words) = (vec![u8::MAX; 1031], vec![u16::MAX; 1031]);
        let (ints, longs) = (vec![u32::MAX; 1031], vec![u64::MAX; 1031]);
        let shape = [1, 1, 1, 1031];
        let place = Place { start: [0; 3], size: [1031, 1, 1] };
        fn at<T: Bits>(level: Level, data: &[T], shape: [usize; 4], place: Place) -> Lanes {
            plane::<T>(level, View::contiguous(data, shape).unwrap(), [0, 0], place, &T::weights(0, shape[3]))
        }
        for &level in Level::supported() {
            assert_eq!(at(level, &bytes, shape, place), plain(&[0xff; 1031], shape), "{level:?}");
            assert_eq!(at(level, &words, shape, place), plain(&[0xffff; 1031], shape), "{level:?}");
            assert_eq!(at(level, &ints, shape, place), plain(&[0xffff_ffff; 1031], shape), "{level:?}");
            assert_eq!(at(level, &longs, shape, place), plain(&[u64::MAX; 1031], shape), "{level:?}");
        }
    }

    #[test]
    fn digits_make_up_the_weight() {
        let (weights, plain) = (Weights::digits(5, 300), Weights::whole(5, 300));
        for lane in 0..2 {
            for i in 0..300 {
                let sum = (0..4).fold(0u64, |sum, k| {
                    sum.wrapping_add((i64::from(weights.digits[4 * lane + k][i]) as u64) << (16 * k))
                });
                assert_eq!(sum, plain.whole[lane][i]);
            }
        }
    }

    #[test]
    fn swaps_of_labels_that_differ_in_high_bits_show() {
        for bits in [1u64 << 63, 1 << 62, 1 << 63 | 1 << 31, 1 << 32, 3 << 62] {
            let (one, other) = (0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef ^ bits);
            let shape = [1, 1, 1, 2];
            assert_ne!(whole(&[one, other], shape, 1), whole(&[other, one], shape, 1), "{bits:x}");
        }
    }

    #[test]
    fn known_values() {
        // splitmix64 with seed 0 gives these first two outputs; mix(n) is output n.
        assert_eq!([mix(1), mix(2)], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        assert_eq!(whole::<u8>(&[], [1, 0, 4, 4], 2), [0, 0]);
        assert_eq!(h(0xffff_ffff), 0xffff_ffff);
        assert!(finish([0, 0], [1, 1, 1], 1, "complex128").is_err());
    }

    #[test]
    fn blocks_outside_the_volume_are_refused() {
        let view = View::contiguous(&[0u8; 8], [1, 2, 2, 2]).unwrap();
        let place = Place { start: [1, 0, 0], size: [2, 2, 2] };
        assert!(matches!(voxel_digest(view, place, 1), Err(Error::Argument(_))));
        let place = Place { start: [u64::MAX, 0, 0], size: [u64::MAX, 2, 2] };
        assert!(matches!(voxel_digest(view, place, 1), Err(Error::Argument(_))));
    }
}
