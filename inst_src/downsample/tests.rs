//! Degenerate and exact cases, and every level and path against the plain one. Values for whole volumes are
//! compared with TensorStore from Python.

use super::*;
use crate::digest::mix;

/// Runs `method` at `level`, through the row kernels where they apply.
fn reduce<T: Voxel>(
    data: &[T],
    shape: [usize; 4],
    start: [i64; 3],
    factors: [usize; 3],
    method: Method,
    level: Level,
) -> Vec<T> {
    let source = View::contiguous(data, shape).unwrap();
    let axes = axes_of(&source, start, factors).unwrap();
    let cells = [shape[0], axes[2].cells, axes[1].cells, axes[0].cells];
    let mut out = vec![T::default(); cells.iter().product()];
    let job = Job { source, axes, level };
    job.run(method, ViewMut::contiguous(&mut out, cells).unwrap(), 1).unwrap();
    out
}

fn row<T: Voxel>(data: &[T], start: i64, factor: usize, method: Method) -> Vec<T> {
    reduce(data, [1, 1, 1, data.len()], [start, 0, 0], [factor, 1, 1], method, Level::best())
}

#[test]
fn cells_are_aligned_to_multiples_of_the_factor() {
    for (start, expected) in
        [(-3, vec![1, 2, 4, 6]), (-1, vec![1, 2, 4, 6]), (0, vec![1, 3, 5, 7]), (3, vec![1, 2, 4, 6])]
    {
        assert_eq!(row(&[1u16, 2, 3, 4, 5, 6, 7], start, 2, Method::Stride), expected, "start {start}");
    }
    let axis = Axis::new(-7, 5, 4).unwrap();
    assert_eq!((axis.first, axis.cells), (-2, 2));
    assert_eq!([axis.voxels(0), axis.voxels(1)], [0..3, 3..5]);
    assert_eq!(axis.whole(), 1..1);
}

#[test]
fn whole_cells_are_those_with_all_voxels() {
    for start in -9..9 {
        for size in 1..12 {
            for factor in 1..6 {
                let axis = Axis::new(start, size, factor).unwrap();
                let whole: Vec<usize> = (0..axis.cells).filter(|&i| axis.voxels(i).len() == factor).collect();
                assert_eq!(axis.whole().collect::<Vec<_>>(), whole, "{start} {size} {factor}");
                assert_eq!((0..axis.cells).flat_map(|i| axis.voxels(i)).collect::<Vec<_>>(), Vec::from_iter(0..size));
                assert_eq!(
                    axis.first + axis.cells as i64,
                    (start + size as i64 + factor as i64 - 1).div_euclid(factor as i64)
                );
            }
        }
    }
}

#[test]
fn means_round_half_to_even() {
    assert_eq!(row(&[0u8, 1, 1, 2, 2, 3, 255, 254], 0, 2, Method::Mean), [0, 2, 2, 254]);
    assert_eq!(row(&[0i8, -1, -1, -2, -2, -3, -128, -127], 0, 2, Method::Mean), [0, -2, -2, -128]);
    assert_eq!(row(&[u64::MAX, u64::MAX - 1, u64::MAX, u64::MAX], 0, 2, Method::Mean), [u64::MAX - 1, u64::MAX]);
    assert_eq!(row(&[i64::MIN, i64::MIN, i64::MAX, i64::MAX], 0, 2, Method::Mean), [i64::MIN, i64::MAX]);
    assert_eq!(row(&[1u16, 1, 2, 1, 2, 2], 0, 3, Method::Mean), [1, 2]);
    // In single precision the ones would be lost.
    assert_eq!(row(&[1e8f32, 1.0, -1e8, 1.0], 0, 4, Method::Mean), [0.5]);
    assert_eq!(reduce(&[1e8f32, 1.0, -1e8, 1.0], [1, 1, 2, 2], [0; 3], [2, 2, 1], Method::Mean, Level::best()), [0.5]);
    assert_eq!(row(&[f32::MAX; 4], 0, 2, Method::Mean), [f32::MAX; 2]);
}

#[test]
fn nan_is_kept_by_the_mean_and_ignored_by_min_and_max() {
    let data = [f32::NAN, 1.0, 2.0, f32::NAN, f32::NAN, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let mean = row(&data, 0, 2, Method::Mean);
    assert!(mean.iter().all(|v| v.to_bits() == f32::NAN.to_bits()), "{mean:?}");
    assert_eq!(row(&data, 0, 2, Method::Min), [1.0, 2.0, f32::INFINITY, f32::NEG_INFINITY]);
    assert_eq!(row(&data, 0, 2, Method::Max), [1.0, 2.0, f32::NEG_INFINITY, f32::INFINITY]);
    assert_eq!(row(&data, 0, 2, Method::Majority)[..2], [1.0, 2.0]);
    assert!(row(&data, 0, 2, Method::Majority)[2].is_nan());
    for method in Method::ALL {
        let copy = reduce(&data, [1, 1, 1, 8], [1, 1, 1], [1, 2, 3], method, Level::best());
        assert_eq!(copy.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), data.map(f32::to_bits));
    }
    for method in [Method::Majority, Method::SparseMajority] {
        assert!(row(&[f32::NAN, 1.0, -f32::NAN, f32::INFINITY], 0, 4, method)[0].is_nan());
        assert_eq!(row(&[f32::NAN, 2.0, -2.0, f32::NEG_INFINITY], 0, 4, method), [f32::NEG_INFINITY]);
    }
    assert_eq!(row(&[0.0f32, -0.0, -0.0, -0.0], 0, 4, Method::Majority)[0].to_bits(), 0);
}

#[test]
fn majority_takes_the_lowest_of_several() {
    for cell in [[7u32, 3, 7, 3], [3, 7, 7, 3], [9, 8, 3, 5], [3, 3, 7, 7], [0, 3, 3, 9]] {
        assert_eq!(row(&cell, 0, 4, Method::Majority), [3]);
        assert_eq!(reduce(&cell, [1, 1, 2, 2], [0; 3], [2, 2, 1], Method::Majority, Level::best()), [3]);
    }
    for (cell, expected) in [([0u32, 0, 0, 5], 5), ([0, 6, 5, 0], 5), ([0; 4], 0), ([0, 6, 6, 5], 6)] {
        assert_eq!(row(&cell, 0, 4, Method::SparseMajority), [expected]);
        assert_eq!(reduce(&cell, [1, 2, 1, 2], [0; 3], [2, 1, 2], Method::SparseMajority, Level::best()), [expected]);
    }
    assert_eq!(row(&[-1i8, 0, 0, -1], 0, 4, Method::SparseMajority), [-1]);
}

/// Every level, on data with many ties, against the plain path.
fn levels_agree<T: Voxel>(make: impl Fn(u64) -> T) {
    for shape in [[1, 3, 5, 2], [2, 4, 3, 31], [1, 2, 4, 71], [1, 3, 3, 300]] {
        for range in [2, 4, 200] {
            let n = shape.iter().product::<usize>() as u64;
            let data: Vec<T> = (0..n).map(|i| make(mix(i) % range)).collect();
            for factors in [[2, 2, 1], [2, 2, 2], [2, 1, 2], [2, 1, 1], [1, 2, 1], [1, 2, 2], [1, 1, 1]] {
                for start in [[0; 3], [1, 1, 1]] {
                    for method in Method::ALL {
                        let plain = plain(&data, shape, start, factors, method);
                        for &level in Level::supported() {
                            let fast = reduce(&data, shape, start, factors, method, level);
                            assert!(fast == plain, "{level:?} {method:?} {shape:?} {factors:?} {start:?}");
                        }
                    }
                }
            }
        }
    }
}

fn plain<T: Voxel>(data: &[T], shape: [usize; 4], start: [i64; 3], factors: [usize; 3], method: Method) -> Vec<T> {
    let source = View::contiguous(data, shape).unwrap();
    let axes = axes_of(&source, start, factors).unwrap();
    let job = Job { source, axes, level: Level::Portable };
    let mut out = vec![T::default(); shape[0] * axes[2].cells * axes[1].cells * axes[0].cells];
    let mut task = Task { first: 0, rows: out.chunks_exact_mut(axes[0].cells).collect() };
    let method = if factors == [1; 3] { Method::Stride } else { method };
    match method {
        Method::Mean => job.plain::<Mean>(&mut task),
        Method::Min => job.plain::<Min>(&mut task),
        Method::Max => job.plain::<Max>(&mut task),
        Method::Stride => job.plain::<Stride>(&mut task),
        Method::Majority => job.plain::<Majority>(&mut task),
        Method::SparseMajority => job.plain::<SparseMajority>(&mut task),
    }
    out
}

#[test]
fn every_level_and_path_agrees() {
    levels_agree(|v| v as u8);
    levels_agree(|v| v as i8);
    levels_agree(|v| (v * 257) as u16);
    levels_agree(|v| (v as i16) * -77);
    levels_agree(|v| (v as u32) << 24 | v as u32);
    levels_agree(|v| (v as i32) << 24);
    levels_agree(|v| v << 60 | v);
    levels_agree(|v| (v << 60 | v) as i64);
    levels_agree(|v| v as f32 / 3.0 - 10.0);
}

#[test]
fn threads_and_strides_of_the_output_do_not_matter() {
    let shape = [2, 9, 11, 13];
    let data: Vec<u32> = (0..shape.iter().product::<usize>() as u64).map(|i| mix(i) as u32 % 3).collect();
    let expected = reduce(&data, shape, [1, 0, 0], [2, 2, 2], Method::Majority, Level::best());
    let source = View::contiguous(&data, shape).unwrap();
    // Channels innermost of the three, a gap after every row.
    let cells = [2, 5, 6, 7];
    let mut out = vec![u32::MAX; 5 * 6 * 2 * 10];
    let view = ViewMut::new(&mut out, cells, [10, 120, 20]).unwrap();
    downsample(source, [1, 0, 0], [2, 2, 2], Method::Majority, view, 3).unwrap();
    let view = View::new(&out, cells, [10, 120, 20]).unwrap();
    for (i, row) in expected.chunks_exact(7).enumerate() {
        assert_eq!(view.row(i / 30, i / 6 % 5, i % 6), row);
    }
    assert_eq!(out.iter().filter(|&&v| v == u32::MAX).count(), out.len() - expected.len());
}

#[test]
fn nothing_becomes_nothing() {
    for shape in [[0, 1, 1, 1], [1, 0, 3, 3], [1, 3, 0, 3], [1, 3, 3, 0]] {
        for method in Method::ALL {
            assert_eq!(reduce::<u8>(&[], shape, [1, 1, 1], [2, 2, 2], method, Level::best()), []);
        }
    }
}

#[test]
fn bad_arguments_are_refused() {
    let data = [0u8; 8];
    let source = View::contiguous(&data, [1, 2, 2, 2]).unwrap();
    let mut out = [0u8; 8];
    let refuse = |factors, start, shape, strides, out: &mut [u8]| {
        let view = ViewMut::new(out, shape, strides).unwrap();
        assert!(matches!(downsample(source, start, factors, Method::Mean, view, 1), Err(Error::Argument(_))));
    };
    refuse([0, 1, 1], [0; 3], [1, 2, 2, 2], [8, 4, 2], &mut out);
    refuse([MAX_FACTOR + 1, 1, 1], [0; 3], [1, 2, 2, 1], [8, 4, 2], &mut out);
    refuse([2, 2, 2], [i64::MIN, 0, 0], [1, 1, 1, 1], [1, 1, 1], &mut out);
    refuse([2, 2, 2], [1, 0, 0], [1, 1, 1, 1], [1, 1, 1], &mut out);
    // Rows that overlap.
    refuse([1, 1, 1], [0; 3], [1, 2, 2, 2], [8, 4, 1], &mut out);
}
