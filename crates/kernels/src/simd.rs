//! Which vector instructions the processor offers beyond the compiled baseline.
//!
//! Kernels are written once in plain Rust, inlined into functions that are
//! compiled for each level, and called through [`Level`]. Every level computes
//! the same integers, and the same floating-point operations in the same order,
//! so that results do not depend on the machine.

/// A set of vector instructions that a kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the target guarantees: SSE2 on x86-64.
    Portable,
    /// AVX2, and BMI1, BMI2 and LZCNT, which every processor with AVX2 has.
    Avx2,
    /// AVX-512 F, BW, DQ and VL on top of that.
    Avx512,
}

impl Level {
    /// Every level that this processor can run, from slow to fast.
    #[must_use]
    pub fn supported() -> &'static [Level] {
        #[cfg(target_arch = "x86_64")]
        {
            // The standard library caches the processor's answer: this costs a load and a test.
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx512 {
                return &[Level::Portable, Level::Avx2, Level::Avx512];
            }
            if avx2 {
                return &[Level::Portable, Level::Avx2];
            }
        }
        &[Level::Portable]
    }

    /// The best level of this processor.
    #[must_use]
    pub fn best() -> Level {
        *Level::supported().last().unwrap_or(&Level::Portable)
    }

    /// This level, or the best below it that the processor has.
    #[must_use]
    pub fn available(self) -> Level {
        self.min(Level::best())
    }
}

/// Asks for a row that is read soon.
#[inline(always)]
pub fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(64 / size_of::<T>().clamp(1, 64)) {
        // SAFETY: a prefetch reads nothing and cannot fault; SSE is part of x86-64.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

/// Bit `i` is set where the two differ.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn differ_u32(a: &[u32; 16], b: &[u32; 16]) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi32, _mm_loadu_si128};
    let (a, b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
    let equal = std::array::from_fn(|i| {
        // SAFETY: 16 readable bytes of any alignment each; SSE2 is part of x86-64.
        unsafe { _mm_cmpeq_epi32(_mm_loadu_si128(a[i].as_ptr().cast()), _mm_loadu_si128(b[i].as_ptr().cast())) }
    });
    !lanes(equal) & 0xffff
}

/// Bit `i` is set where the two differ.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn differ_u64(a: &[u64; 16], b: &[u64; 16]) -> u32 {
    use std::arch::x86_64::{
        _mm_and_ps, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_loadu_si128, _mm_shuffle_ps,
    };
    let (a, b) = (a.as_chunks::<2>().0, b.as_chunks::<2>().0);
    let equal = std::array::from_fn(|i| {
        // SAFETY: 16 readable bytes of any alignment each; SSE2 is part of x86-64.
        unsafe {
            let [first, second] = [2 * i, 2 * i + 1].map(|i| {
                let (a, b) = (_mm_loadu_si128(a[i].as_ptr().cast()), _mm_loadu_si128(b[i].as_ptr().cast()));
                _mm_castsi128_ps(_mm_cmpeq_epi32(a, b))
            });
            // Low halves and high halves.
            let (low, high) = (_mm_shuffle_ps::<0x88>(first, second), _mm_shuffle_ps::<0xdd>(first, second));
            _mm_castps_si128(_mm_and_ps(low, high))
        }
    });
    !lanes(equal) & 0xffff
}

/// One bit for each of 16 lanes of ones or zeros.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn lanes([a, b, c, d]: [std::arch::x86_64::__m128i; 4]) -> u32 {
    use std::arch::x86_64::{_mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32};
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d))) as u32 }
}

/// Bit `i` is set where the two differ.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn differ_u32(a: &[u32; 16], b: &[u32; 16]) -> u32 {
    a.iter().zip(b).enumerate().fold(0, |bits, (i, (a, b))| bits | u32::from(a != b) << i)
}

/// Bit `i` is set where the two differ.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn differ_u64(a: &[u64; 16], b: &[u64; 16]) -> u32 {
    a.iter().zip(b).enumerate().fold(0, |bits, (i, (a, b))| bits | u32::from(a != b) << i)
}

/// Defines a function that is compiled for every [`Level`] and runs the one that it is given.
///
/// `versions!(fn name [T: A, C: B] [T, C] (x: X, y: Y) -> R { body })` defines
/// `name::<T, C>(level, x, y) -> R`. What the body calls must be `#[inline(always)]`,
/// or it keeps the instructions of the baseline.
#[macro_export]
macro_rules! versions {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$($generics:tt)*] [$($use:tt)*]
     ($($arg:ident : $kind:ty),* $(,)?) $(-> $ret:ty)? { $($body:tt)* }) => {
        $(#[$meta])*
        $vis fn $name<$($generics)*>(level: $crate::simd::Level, $($arg: $kind),*) $(-> $ret)? {
            #[inline(always)]
            fn portable<$($generics)*>($($arg: $kind),*) $(-> $ret)? { $($body)* }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
            fn avx2<$($generics)*>($($arg: $kind),*) $(-> $ret)? { portable::<$($use)*>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512<$($generics)*>($($arg: $kind),*) $(-> $ret)? { portable::<$($use)*>($($arg),*) }
            // A caller cannot make us run instructions that the processor lacks.
            match level.available() {
                // SAFETY: `best` found these instructions on this processor.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512::<$($use)*>($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2::<$($use)*>($($arg),*) },
                _ => portable::<$($use)*>($($arg),*),
            }
        }
    };
}
