use rust_decimal::Decimal;

/// Reads the binary form of a `numeric`, exactly; `None` if it is no number, or none that a
/// `Decimal` holds.
///
/// The form is that of `numeric_send` in PostgreSQL's `src/backend/utils/adt/numeric.c`: how many
/// digits to the base of 10,000 follow, the power of the first of them, the sign, and how many
/// decimal places are shown.
pub(super) fn decode(bytes: &[u8]) -> Option<Decimal> {
    const POSITIVE: u16 = 0x0000;
    const NEGATIVE: u16 = 0x4000;
    let mut words = bytes
        .chunks_exact(2)
        .map(|word| u16::from_be_bytes([word[0], word[1]]));
    let mut header = || words.next();
    let (digits, weight, sign, shown) = (header()?, header()?, header()?, header()?);
    if sign != POSITIVE && sign != NEGATIVE {
        return None;
    }
    let mut mantissa = 0_i128;
    for _ in 0..digits {
        mantissa = mantissa
            .checked_mul(10_000)?
            .checked_add(i128::from(words.next()?))?;
    }
    // The mantissa counts the units of the last digit.
    let weight = i64::from(weight.cast_signed());
    let mut places = 4 * (i64::from(digits) - 1 - weight);
    let shown = i64::from(shown);
    // What is behind the places that are shown is nothing but zeros, and so may be what is before.
    let is_too_long = |mantissa: i128| mantissa.unsigned_abs() >= 1 << 96;
    while mantissa != 0
        && (places > shown || places > 0 && is_too_long(mantissa))
        && mantissa % 10 == 0
    {
        mantissa /= 10;
        places -= 1;
    }
    if mantissa == 0 {
        places = 0;
    }
    while places < 0 {
        mantissa = mantissa.checked_mul(10)?;
        places += 1;
    }
    if sign == NEGATIVE {
        mantissa = -mantissa;
    }
    let scale = u32::try_from(places).ok()?;
    let mut decimal = Decimal::try_from_i128_with_scale(mantissa, scale).ok()?;
    // As many places as are shown, if they fit: `1.50` stays `1.50`.
    let shown = u32::try_from(shown).ok()?.min(Decimal::MAX_SCALE);
    decimal.rescale(shown.max(scale));
    Some(decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what the server would send.
    fn sent(digits: &[u16], weight: i16, sign: u16, shown: u16) -> Vec<u8> {
        let count = u16::try_from(digits.len()).unwrap();
        [count, weight.cast_unsigned(), sign, shown]
            .iter()
            .chain(digits)
            .flat_map(|word| word.to_be_bytes())
            .collect()
    }

    #[test]
    fn numbers_are_read_exactly() {
        let read = |digits: &[u16], weight, sign, shown| {
            decode(&sent(digits, weight, sign, shown)).map(|decimal| decimal.to_string())
        };
        assert_eq!(read(&[], 0, 0, 0).unwrap(), "0");
        assert_eq!(read(&[], 0, 0, 2).unwrap(), "0.00");
        assert_eq!(read(&[1, 5000], 0, 0, 2).unwrap(), "1.50");
        assert_eq!(
            read(&[1, 5000], 0, 0x4000, 40).unwrap(),
            format!("-1.5{}", "0".repeat(27))
        );
        assert_eq!(read(&[12], 1, 0, 0).unwrap(), "120000");
        // 123456789012.123456789012345670 has thirty digits, of which one is a zero too many.
        let padded = [1234, 5678, 9012, 1234, 5678, 9012, 3456, 7000];
        assert_eq!(
            read(&padded, 2, 0, 18).unwrap(),
            "123456789012.12345678901234567"
        );
        assert_eq!(
            read(&[1], -7, 0, 28).unwrap(),
            format!("0.{}1", "0".repeat(27))
        );
        let largest = [7, 9228, 1625, 1426, 4337, 5935, 4395, 335];
        assert_eq!(read(&largest, 7, 0, 0).unwrap(), Decimal::MAX.to_string(),);
    }

    #[test]
    fn numbers_of_too_many_digits_are_refused_and_not_rounded() {
        // One more than the largest, one digit too many, a place too small.
        assert_eq!(
            decode(&sent(
                &[7, 9228, 1625, 1426, 4337, 5935, 4395, 336],
                7,
                0,
                0
            )),
            None
        );
        assert_eq!(
            decode(&sent(
                &[9, 2345, 6789, 123, 4567, 8901, 2345, 6789],
                0,
                0,
                28
            )),
            None
        );
        assert_eq!(decode(&sent(&[1000], -8, 0, 29)), None);
        assert_eq!(decode(&sent(&[9999; 20], 19, 0, 0)), None);
        for sign in [0xC000, 0xD000, 0xF000] {
            assert_eq!(decode(&sent(&[], 0, sign, 0)), None);
        }
        assert_eq!(decode(&[0, 1, 0, 0]), None);
        assert_eq!(decode(&sent(&[1], 0, 0, 0)[..8]), None);
    }
}
