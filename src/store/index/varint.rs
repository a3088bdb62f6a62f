//! Numbers in as few bytes as they need: seven bits a byte, the lowest first, the top bit set in
//! all bytes but the last.

use std::fmt;

/// Bytes that are not what they should be: cut short, a number out of its range, or an order that
/// is broken. Says what was being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Appends `n`, in one byte up to ten.
#[inline]
pub fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(low_byte(n) | 0x80);
        n >>= 7;
    }
    out.push(low_byte(n));
}

/// Appends the difference from `from` to `to`, in few bytes when they are near each other.
#[inline]
pub fn put_step(out: &mut Vec<u8>, from: u64, to: u64) {
    let step = to.wrapping_sub(from);
    // The sign moves to the lowest bit, so that small steps back are small numbers, too.
    put(out, step << 1 ^ (step >> 63).wrapping_neg());
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the functions of this module wrote, from bytes that nobody vouches for.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader that stands before the first of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next number, which is part of `what`.
    ///
    /// # Errors
    /// If the bytes end, or the number has more than 64 bits.
    #[inline]
    pub fn number(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut n = 0;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if i == 9 && bits > 1 {
                break;
            }
            n |= bits << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(n);
            }
        }
        Err(Malformed(what))
    }

    /// The number that [`put_step`] wrote with the same `from`.
    ///
    /// # Errors
    /// As [`Reader::number`].
    #[inline]
    pub fn step(&mut self, from: u64, what: &'static str) -> Result<u64, Malformed> {
        let n = self.number(what)?;
        let step = n >> 1 ^ (n & 1).wrapping_neg();
        Ok(from.wrapping_add(step))
    }

    /// The next number, as a length that is no larger than `max`.
    ///
    /// # Errors
    /// As [`Reader::number`], and if the length is too large.
    #[inline]
    pub fn length(&mut self, max: usize, what: &'static str) -> Result<usize, Malformed> {
        let n = usize::try_from(self.number(what)?).map_err(|_| Malformed(what))?;
        if n > max {
            return Err(Malformed(what));
        }
        Ok(n)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The bytes that [`put_bytes`] wrote, no more than `max`.
    ///
    /// # Errors
    /// If there are fewer, or the length is too large.
    pub fn bytes(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let n = self.length(max, what)?;
        self.take(n, what)
    }

    /// The next byte.
    ///
    /// # Errors
    /// If there is none.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.take(1, what)?[0])
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// If something is left.
    pub fn finish(self, what: &'static str) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed(what))
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
fn low_byte(n: u64) -> u8 {
    n as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_as_expected() {
        for (n, len) in [(0, 1), (127, 1), (128, 2), (1 << 14, 3), (u64::MAX, 10)] {
            let mut out = Vec::new();
            put(&mut out, n);
            assert_eq!(out.len(), len, "{n}");
        }
        for (from, to, len) in [
            (7, 7, 1),
            (7, 0, 1),
            (0, 63, 1),
            (0, 64, 2),
            (1, u64::MAX, 1),
        ] {
            let mut out = Vec::new();
            put_step(&mut out, from, to);
            assert_eq!(out.len(), len, "{from} to {to}");
        }
    }

    #[test]
    fn what_is_cut_short_or_too_large_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0xff; 11]] {
            assert!(Reader::new(bytes).number("number").is_err(), "{bytes:?}");
        }
        let mut largest = [0xff; 10];
        largest[9] = 1;
        assert_eq!(Reader::new(&largest).number("number"), Ok(u64::MAX));
        largest[9] = 2;
        assert!(Reader::new(&largest).number("number").is_err());
        assert_eq!(Reader::new(&[3, 1, 2]).bytes(9, "x"), Err(Malformed("x")));
        assert_eq!(
            Reader::new(&[3, 1, 2, 3]).bytes(2, "x"),
            Err(Malformed("x"))
        );
        assert!(Reader::new(&[0]).finish("x").is_err());
    }

    proptest! {
        #[test]
        fn numbers_come_back(n: u64, from: u64, to: u64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put(&mut out, n);
            put_step(&mut out, from, to);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number("n"), Ok(n));
            prop_assert_eq!(reader.step(from, "step"), Ok(to));
            prop_assert_eq!(reader.bytes(bytes.len(), "bytes"), Ok(&bytes[..]));
            prop_assert!(reader.finish("end").is_ok());
        }
    }
}
