//! What the kernels need of SIMD registers beyond `pulp`: transposes, and the sums of many registers at once.

use pulp::Simd;

/// The most f32 lanes a register has on any supported instruction set.
pub(super) const MAX_LANES: usize = 16;

/// Transposes the square held by the first `S::F32_LANES` registers: lane `l` of register `r` goes to lane `r` of
/// register `l`.
#[inline(always)]
pub(super) fn transpose<S: Simd>(simd: S, rows: &mut [S::f32s; MAX_LANES]) {
    let _ = simd;
    #[cfg(target_arch = "x86_64")]
    {
        if is::<S, pulp::x86::V4>() {
            // SAFETY: `simd` is a `V4` token, which exists only where the CPU has AVX-512F.
            unsafe { x86::transpose_512::<S>(rows) };
            return;
        }
        if is::<S, pulp::x86::V3>() {
            // SAFETY: `simd` is a `V3` token, which exists only where the CPU has AVX2.
            unsafe { x86::transpose_256::<S>(rows) };
            return;
        }
    }
    let mut square = [0f32; MAX_LANES * MAX_LANES];
    for (row, register) in rows.iter().take(S::F32_LANES).enumerate() {
        for (lane, &value) in lanes::<S>(register).iter().enumerate() {
            square[lane * S::F32_LANES + row] = value;
        }
    }
    let (registers, _) = S::as_simd_f32s(&square);
    rows[..S::F32_LANES].copy_from_slice(&registers[..S::F32_LANES]);
}

/// Lane `r` of the result is the sum over the lanes of register `r`, for the first `S::F32_LANES` registers.
#[inline(always)]
pub(super) fn sum_each<S: Simd>(simd: S, registers: &[S::f32s; MAX_LANES]) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    {
        if is::<S, pulp::x86::V4>() {
            // SAFETY: `simd` is a `V4` token, which exists only where the CPU has AVX-512F.
            return unsafe { x86::sum_each_512::<S>(registers) };
        }
        if is::<S, pulp::x86::V3>() {
            // SAFETY: `simd` is a `V3` token, which exists only where the CPU has AVX2.
            return unsafe { x86::sum_each_256::<S>(registers) };
        }
    }
    let mut sums = [0f32; MAX_LANES];
    for (sum, &register) in sums.iter_mut().zip(registers).take(S::F32_LANES) {
        *sum = simd.reduce_sum_f32s(register);
    }
    S::as_simd_f32s(&sums).0[0]
}

#[inline(always)]
fn lanes<S: Simd>(register: &S::f32s) -> &[f32] {
    pulp::bytemuck::cast_slice(std::slice::from_ref(register))
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn is<S: 'static, T: 'static>() -> bool {
    std::any::TypeId::of::<S>() == std::any::TypeId::of::<T>()
}

/// Squares of 16 × 16 and 8 × 8 in registers: interleave singles, then pairs, then whole 128-bit lanes.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute_copy;

    use pulp::Simd;

    use super::MAX_LANES;

    /// # Safety
    ///
    /// `S` is `pulp::x86::V4`.
    #[inline(always)]
    pub(super) unsafe fn transpose_512<S: Simd>(rows: &mut [S::f32s; MAX_LANES]) {
        // SAFETY: `S::f32s` is 16 floats, any bit pattern of which is a `__m512` and the reverse; AVX-512F is there.
        unsafe {
            let mut a = [_mm512_setzero_ps(); 16];
            for (a, row) in a.iter_mut().zip(rows.iter()) {
                *a = transmute_copy(row);
            }
            let mut b = a;
            for i in 0..8 {
                b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..4 {
                for half in 0..2 {
                    let low = _mm512_castps_pd(b[4 * i + half]);
                    let high = _mm512_castps_pd(b[4 * i + 2 + half]);
                    a[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
                    a[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
                }
            }
            // Register 4 i + c now holds, per 128-bit lane q, column 4 q + c of the rows 4 i .. 4 i + 4.
            for c in 0..4 {
                let even_low = _mm512_shuffle_f32x4::<0x88>(a[c], a[4 + c]);
                let odd_low = _mm512_shuffle_f32x4::<0xdd>(a[c], a[4 + c]);
                let even_high = _mm512_shuffle_f32x4::<0x88>(a[8 + c], a[12 + c]);
                let odd_high = _mm512_shuffle_f32x4::<0xdd>(a[8 + c], a[12 + c]);
                rows[c] = transmute_copy(&_mm512_shuffle_f32x4::<0x88>(even_low, even_high));
                rows[8 + c] = transmute_copy(&_mm512_shuffle_f32x4::<0xdd>(even_low, even_high));
                rows[4 + c] = transmute_copy(&_mm512_shuffle_f32x4::<0x88>(odd_low, odd_high));
                rows[12 + c] = transmute_copy(&_mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high));
            }
        }
    }

    /// # Safety
    ///
    /// `S` is `pulp::x86::V3`.
    #[inline(always)]
    pub(super) unsafe fn transpose_256<S: Simd>(rows: &mut [S::f32s; MAX_LANES]) {
        // SAFETY: `S::f32s` is 8 floats, any bit pattern of which is a `__m256` and the reverse; AVX2 is there.
        unsafe {
            let mut a = [_mm256_setzero_ps(); 8];
            for (a, row) in a.iter_mut().zip(rows.iter()) {
                *a = transmute_copy(row);
            }
            let mut b = a;
            for i in 0..4 {
                b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..2 {
                for half in 0..2 {
                    let low = _mm256_castps_pd(b[4 * i + half]);
                    let high = _mm256_castps_pd(b[4 * i + 2 + half]);
                    a[4 * i + 2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
                    a[4 * i + 2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
                }
            }
            for c in 0..4 {
                rows[c] = transmute_copy(&_mm256_permute2f128_ps::<0x20>(a[c], a[4 + c]));
                rows[4 + c] = transmute_copy(&_mm256_permute2f128_ps::<0x31>(a[c], a[4 + c]));
            }
        }
    }

    /// # Safety
    ///
    /// `S` is `pulp::x86::V4`.
    #[inline(always)]
    pub(super) unsafe fn sum_each_512<S: Simd>(registers: &[S::f32s; MAX_LANES]) -> S::f32s {
        // SAFETY: `S::f32s` is 16 floats, any bit pattern of which is a `__m512` and the reverse; AVX-512F is there.
        unsafe {
            let mut fours = [_mm512_setzero_ps(); 4];
            for (i, four) in fours.iter_mut().enumerate() {
                let a: __m512 = transmute_copy(&registers[4 * i]);
                let b: __m512 = transmute_copy(&registers[4 * i + 1]);
                let c: __m512 = transmute_copy(&registers[4 * i + 2]);
                let d: __m512 = transmute_copy(&registers[4 * i + 3]);
                let ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
                let cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
                *four = _mm512_add_ps(
                    _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
                );
            }
            let low = halves_512(fours[0], fours[1]);
            let high = halves_512(fours[2], fours[3]);
            transmute_copy(&halves_512(low, high))
        }
    }

    /// Adds neighbouring 128-bit lanes, those of `a` first.
    ///
    /// # Safety
    ///
    /// The CPU has AVX-512F.
    #[inline(always)]
    unsafe fn halves_512(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller guarantees AVX-512F.
        unsafe { _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b)) }
    }

    /// # Safety
    ///
    /// `S` is `pulp::x86::V3`.
    #[inline(always)]
    pub(super) unsafe fn sum_each_256<S: Simd>(registers: &[S::f32s; MAX_LANES]) -> S::f32s {
        // SAFETY: `S::f32s` is 8 floats, any bit pattern of which is a `__m256` and the reverse; AVX2 is there.
        unsafe {
            let mut fours = [_mm256_setzero_ps(); 2];
            for (i, four) in fours.iter_mut().enumerate() {
                let a: __m256 = transmute_copy(&registers[4 * i]);
                let b: __m256 = transmute_copy(&registers[4 * i + 1]);
                let c: __m256 = transmute_copy(&registers[4 * i + 2]);
                let d: __m256 = transmute_copy(&registers[4 * i + 3]);
                *four = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            }
            transmute_copy(&_mm256_add_ps(
                _mm256_permute2f128_ps::<0x20>(fours[0], fours[1]),
                _mm256_permute2f128_ps::<0x31>(fours[0], fours[1]),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::kernel::levels;

    struct Check;

    impl WithSimd for Check {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let n = S::F32_LANES;
            let numbers: Vec<f32> = (0..n * n).map(|i| i as f32).collect();
            let mut rows = [simd.splat_f32s(0.0); MAX_LANES];
            rows[..n].copy_from_slice(S::as_simd_f32s(&numbers).0);
            let sums = sum_each(simd, &rows);
            for (row, &sum) in lanes::<S>(&sums).iter().enumerate() {
                assert_eq!(sum, numbers[row * n..(row + 1) * n].iter().sum::<f32>());
            }
            transpose(simd, &mut rows);
            for (row, register) in rows[..n].iter().enumerate() {
                for (lane, &value) in lanes::<S>(register).iter().enumerate() {
                    assert_eq!(value, (lane * n + row) as f32);
                }
            }
        }
    }

    #[test]
    fn squares_are_transposed_and_registers_summed_on_every_instruction_set() {
        levels().into_iter().for_each(|level| level.dispatch(Check));
    }
}
