//! The few vector operations of the encoding, for each instruction set, behind one trait.
//!
//! The types are tokens: one exists only where the processor has its instructions, so their
//! methods are sound to call. The kernels are generic over the token and are compiled once per
//! instruction set inside a function that enables it ([`with_simd!`]).

/// The operations; see `label::Voxel` for what each does.
pub trait Simd: Copy {
    type Table32: Copy;
    type Table64: Copy;

    /// Bit `i` is set where voxel `i` is `value`.
    fn equal_mask(self, voxels: &[u32; 64], value: u32) -> u64;
    fn table_u32(self, entries: &[u32; 16]) -> Self::Table32;
    fn table_u64(self, entries: &[u64; 16]) -> Self::Table64;
    fn look_up_u32<const BITS: u32>(self, table: Self::Table32, indices: u32, out: &mut [u32; 8]);
    fn look_up_u64<const BITS: u32>(self, table: Self::Table64, indices: u32, out: &mut [u64; 8]);
}

/// Calls `$function::<T, S>(simd, args..)` compiled for the level: the generic function must be `#[inline(always)]`.
macro_rules! with_simd {
    ($level:expr, $function:ident::<$t:ident>($($name:ident: $type:ty),* $(,)?) -> $result:ty) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use $crate::compressed_segmentation::simd::{Avx2, Avx512};

            #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
            fn avx2<$t: Label>(simd: Avx2, $($name: $type),*) -> $result {
                $function(simd, $($name),*)
            }

            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt")]
            fn avx512<$t: Label>(simd: Avx512, $($name: $type),*) -> $result {
                $function(simd, $($name),*)
            }

            match $level.available() {
                // SAFETY: `available` returns a level only if the processor has all of its instructions.
                Level::Avx512 => unsafe { avx512::<$t>(Avx512::detected(), $($name),*) },
                // SAFETY: as above.
                Level::Avx2 => unsafe { avx2::<$t>(Avx2::detected(), $($name),*) },
                Level::Portable => $function(Portable, $($name),*),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = $level;
            $function(Portable, $($name),*)
        }
    }};
}
pub(super) use with_simd;

/// Plain code.
#[derive(Clone, Copy)]
pub struct Portable;

#[inline(always)]
fn look_up_plain<T: Copy, const BITS: u32>(table: &[T; 16], indices: u32, out: &mut [T; 8]) {
    let low = (1u32 << BITS) - 1;
    for (i, label) in out.iter_mut().enumerate() {
        *label = table[(indices >> (i as u32 * BITS) & low) as usize];
    }
}

#[inline(always)]
fn mask_plain(voxels: &[u32; 8], value: u32) -> u8 {
    voxels.iter().enumerate().fold(0, |mask, (i, &voxel)| mask | u8::from(voxel == value) << i)
}

impl Simd for Portable {
    type Table32 = [u32; 16];
    type Table64 = [u64; 16];

    #[inline(always)]
    fn equal_mask(self, voxels: &[u32; 64], value: u32) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| mask_plain(&voxels.as_chunks::<8>().0[i], value)))
    }

    #[inline(always)]
    fn table_u32(self, entries: &[u32; 16]) -> [u32; 16] {
        *entries
    }

    #[inline(always)]
    fn table_u64(self, entries: &[u64; 16]) -> [u64; 16] {
        *entries
    }

    #[inline(always)]
    fn look_up_u32<const BITS: u32>(self, table: [u32; 16], indices: u32, out: &mut [u32; 8]) {
        look_up_plain::<u32, BITS>(&table, indices, out);
    }

    #[inline(always)]
    fn look_up_u64<const BITS: u32>(self, table: [u64; 16], indices: u32, out: &mut [u64; 8]) {
        look_up_plain::<u64, BITS>(&table, indices, out);
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Simd, look_up_plain};
    use std::arch::x86_64::*;

    /// Proof that the processor has AVX2, BMI1 and BMI2.
    #[derive(Clone, Copy)]
    pub struct Avx2(());

    /// Proof that the processor has AVX-512 F, BW, DQ, VL and what [`Avx2`] proves.
    #[derive(Clone, Copy)]
    pub struct Avx512(());

    impl Avx2 {
        /// # Safety
        /// The processor must have AVX2, BMI1 and BMI2.
        #[inline(always)]
        pub unsafe fn detected() -> Self {
            Avx2(())
        }
    }

    impl Avx512 {
        /// # Safety
        /// The processor must have AVX2, BMI1, BMI2 and AVX-512 F, BW, DQ and VL.
        #[inline(always)]
        pub unsafe fn detected() -> Self {
            Avx512(())
        }
    }

    /// How far to shift the packed indices of `BITS` bits for each of eight lanes.
    const fn shifts(bits: i32) -> [i32; 8] {
        [0, bits, 2 * bits, 3 * bits, 4 * bits, 5 * bits, 6 * bits, 7 * bits]
    }

    impl Simd for Avx2 {
        type Table32 = (__m256i, __m256i);
        type Table64 = (__m256i, [u64; 16]);

        #[inline(always)]
        fn equal_mask(self, voxels: &[u32; 64], value: u32) -> u64 {
            let mut mask = 0;
            for (i, group) in voxels.as_chunks::<32>().0.iter().enumerate() {
                // SAFETY: the token proves AVX2; the loads cover the 32 voxels of the group.
                let bits = unsafe {
                    let value = _mm256_set1_epi32(value.cast_signed());
                    let at = |j: usize| _mm256_cmpeq_epi32(_mm256_loadu_si256(group.as_ptr().add(8 * j).cast()), value);
                    let low = _mm256_packs_epi32(at(0), at(1));
                    let high = _mm256_packs_epi32(at(2), at(3));
                    // Packing works within halves of the register; put the groups of four back in order.
                    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                    let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
                    _mm256_movemask_epi8(bytes).cast_unsigned()
                };
                mask |= u64::from(bits) << (32 * i);
            }
            mask
        }

        #[inline(always)]
        fn table_u32(self, entries: &[u32; 16]) -> Self::Table32 {
            // SAFETY: the token proves AVX2; the loads cover the 16 entries.
            unsafe { (_mm256_loadu_si256(entries.as_ptr().cast()), _mm256_loadu_si256(entries[8..].as_ptr().cast())) }
        }

        #[inline(always)]
        fn table_u64(self, entries: &[u64; 16]) -> Self::Table64 {
            // SAFETY: the token proves AVX2; the load covers the first four of 16 entries.
            (unsafe { _mm256_loadu_si256(entries.as_ptr().cast()) }, *entries)
        }

        #[inline(always)]
        fn look_up_u32<const BITS: u32>(self, (low, high): Self::Table32, indices: u32, out: &mut [u32; 8]) {
            // SAFETY: the token proves AVX2; the load and the store cover eight lanes of arrays of eight.
            unsafe {
                let shifts = _mm256_loadu_si256(shifts(BITS as i32).as_ptr().cast());
                let lanes = _mm256_srlv_epi32(_mm256_set1_epi32(indices.cast_signed()), shifts);
                // The permutation reads three bits of a lane; what lies above does not matter, as the table is periodic.
                let mut labels = _mm256_permutevar8x32_epi32(low, lanes);
                if BITS == 4 {
                    let upper = _mm256_permutevar8x32_epi32(high, lanes);
                    let choice = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(lanes));
                    labels = _mm256_castps_si256(_mm256_blendv_ps(
                        _mm256_castsi256_ps(labels),
                        _mm256_castsi256_ps(upper),
                        choice,
                    ));
                }
                _mm256_storeu_si256(out.as_mut_ptr().cast(), labels);
            }
        }

        #[inline(always)]
        fn look_up_u64<const BITS: u32>(self, (first, all): Self::Table64, indices: u32, out: &mut [u64; 8]) {
            if BITS == 4 {
                return look_up_plain::<u64, BITS>(&all, indices, out);
            }
            for (half, labels) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                // SAFETY: the token proves AVX2; the store covers the four labels of the half.
                unsafe {
                    let b = BITS as i32;
                    let shifts = _mm256_setr_epi32(0, 0, b, b, 2 * b, 2 * b, 3 * b, 3 * b);
                    // A label is a pair of 32-bit lanes, 2*index and 2*index + 1; two index bits suffice, as above.
                    let doubled = (indices >> (4 * BITS * half as u32)) << 1;
                    let lanes = _mm256_srlv_epi32(_mm256_set1_epi32(doubled.cast_signed()), shifts);
                    let even = _mm256_and_si256(lanes, _mm256_set1_epi32(!1));
                    let pairs = _mm256_or_si256(even, _mm256_set1_epi64x(1 << 32));
                    _mm256_storeu_si256(labels.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(first, pairs));
                }
            }
        }
    }

    impl Simd for Avx512 {
        type Table32 = (__m256i, __m256i);
        type Table64 = (__m512i, __m512i);

        #[inline(always)]
        fn equal_mask(self, voxels: &[u32; 64], value: u32) -> u64 {
            // SAFETY: the token proves AVX-512F and BW; the four loads cover the 64 voxels.
            unsafe {
                let value = _mm512_set1_epi32(value.cast_signed());
                let at = |i: usize| {
                    let mask = _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(voxels.as_ptr().add(16 * i).cast()), value);
                    u32::from(mask)
                };
                // Joined in mask registers: the compiler's own way from there to one word is long.
                let low = _mm512_kunpackw(at(1), at(0));
                let high = _mm512_kunpackw(at(3), at(2));
                _mm512_kunpackd(high.into(), low.into())
            }
        }

        #[inline(always)]
        fn table_u32(self, entries: &[u32; 16]) -> Self::Table32 {
            // SAFETY: the token proves AVX2; the loads cover the 16 entries.
            unsafe { (_mm256_loadu_si256(entries.as_ptr().cast()), _mm256_loadu_si256(entries[8..].as_ptr().cast())) }
        }

        #[inline(always)]
        fn table_u64(self, entries: &[u64; 16]) -> Self::Table64 {
            // SAFETY: the token proves AVX-512F; the loads cover the 16 entries.
            unsafe { (_mm512_loadu_si512(entries.as_ptr().cast()), _mm512_loadu_si512(entries[8..].as_ptr().cast())) }
        }

        #[inline(always)]
        fn look_up_u32<const BITS: u32>(self, (low, high): Self::Table32, indices: u32, out: &mut [u32; 8]) {
            // SAFETY: the token proves AVX2 and AVX-512VL; the load and the store cover arrays of eight.
            unsafe {
                let shifts = _mm256_loadu_si256(shifts(BITS as i32).as_ptr().cast());
                let lanes = _mm256_srlv_epi32(_mm256_set1_epi32(indices.cast_signed()), shifts);
                // The permutations read three or four bits of a lane; the table is periodic, so the rest does not matter.
                let labels = if BITS == 4 {
                    _mm256_permutex2var_epi32(low, lanes, high)
                } else {
                    _mm256_permutevar8x32_epi32(low, lanes)
                };
                _mm256_storeu_si256(out.as_mut_ptr().cast(), labels);
            }
        }

        #[inline(always)]
        fn look_up_u64<const BITS: u32>(self, (low, high): Self::Table64, indices: u32, out: &mut [u64; 8]) {
            // SAFETY: the token proves AVX-512F; the load and the store cover arrays of eight.
            unsafe {
                let shifts = _mm512_cvtepu32_epi64(_mm256_loadu_si256(shifts(BITS as i32).as_ptr().cast()));
                let lanes = _mm512_srlv_epi64(_mm512_set1_epi64(i64::from(indices)), shifts);
                let labels = if BITS == 4 {
                    _mm512_permutex2var_epi64(low, lanes, high)
                } else {
                    _mm512_permutexvar_epi64(lanes, low)
                };
                _mm512_storeu_si512(out.as_mut_ptr().cast(), labels);
            }
        }
    }
}
