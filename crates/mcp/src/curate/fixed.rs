//! Binary logarithms in whole numbers, so that every node computes the same.
//!
//! What the logarithms of a platform's floating point differ in, two nodes could decide
//! differently: which version a principal has, or which of two tools ranks first.

/// The bits behind the point.
pub(super) const FRACTION_BITS: u32 = 32;
/// The logarithm of 2.
pub(super) const ONE: u64 = 1 << FRACTION_BITS;

/// Returns log2(x) in units of 2⁻³², rounded down; 0 for 0 as for 1.
pub(super) fn log2(x: u64) -> u64 {
    let Some(exponent) = x.checked_ilog2() else { return 0 };
    // The mantissa with 63 bits behind the point: from 1 to below 2.
    let mut mantissa = u128::from(x << (63 - exponent));
    let mut fraction = 0;
    for bit in (0..FRACTION_BITS).rev() {
        mantissa = (mantissa * mantissa) >> 63;
        if mantissa >> 64 != 0 {
            fraction |= 1 << bit;
            mantissa >>= 1;
        }
    }
    (u64::from(exponent) << FRACTION_BITS) | fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_of_two_have_whole_logarithms() {
        for exponent in 0..64 {
            assert_eq!(log2(1 << exponent), exponent * ONE);
        }
        assert_eq!(log2(0), 0);
        assert_eq!(log2(u64::MAX), 64 * ONE - 1);
    }

    proptest! {
        #[test]
        fn logarithms_grow_and_are_right_to_a_billionth(x in 1u64..u64::MAX) {
            #[expect(clippy::cast_precision_loss, reason = "the comparison allows for it")]
            let (ours, theirs) = (log2(x) as f64 / ONE as f64, (x as f64).log2());
            prop_assert!((ours - theirs).abs() < 1e-9, "{} {}", ours, theirs);
            prop_assert!(log2(x) <= log2(x + 1));
        }
    }
}
