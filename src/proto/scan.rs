//! Finding the ends of tokens and lines, eight bytes at a time.

/// The index of the first byte below 0x21 (blanks, tabs, line ends and other control bytes),
/// or `data.len()` if there is none.
#[inline]
pub fn token_end(data: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    while let Some(word) = data.get(at..at + 8) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        let word = u64::from_le_bytes(bytes);
        // A byte's top bit is set where the byte is below 0x21. Borrows only reach bytes above a
        // true hit, so the lowest hit is exact.
        let hit = word.wrapping_sub(LOW * 0x21) & !word & (LOW * 0x80);
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    data[at..]
        .iter()
        .position(|b| *b < 0x21)
        .map_or(data.len(), |i| at + i)
}

/// A size as the protocol writes it: one to nine digits, nothing else.
#[inline]
pub fn size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut n = 0usize;
    for b in digits {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        n = n * 10 + usize::from(d);
    }
    Some(n)
}

/// Splits a line's arguments at blanks and tabs into `out`; gives how many there are in all,
/// which may be more than fit.
#[inline]
pub fn split<'a, const N: usize>(line: &'a [u8], out: &mut [&'a [u8]; N]) -> usize {
    let mut n = 0;
    for arg in line
        .split(|b| *b == b' ' || *b == b'\t')
        .filter(|a| !a.is_empty())
    {
        if let Some(slot) = out.get_mut(n) {
            *slot = arg;
        }
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        assert_eq!(size(b"0"), Some(0));
        assert_eq!(size(b"00012"), Some(12));
        assert_eq!(size(b"999999999"), Some(999_999_999));
        for bad in [&b""[..], b"1000000000", b"-1", b"+1", b"1a", b" 1", b"0x1"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn split_counts_past_what_fits() {
        let mut out = [&b""[..]; 2];
        assert_eq!(split(b"  a \t b  c", &mut out), 3);
        assert_eq!(out, [&b"a"[..], b"b"]);
        assert_eq!(split(b" \t ", &mut out), 0);
    }

    proptest! {
        #[test]
        fn token_end_is_the_first_low_byte(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let naive = data.iter().position(|b| *b < 0x21).unwrap_or(data.len());
            prop_assert_eq!(token_end(&data), naive);
        }
    }
}
