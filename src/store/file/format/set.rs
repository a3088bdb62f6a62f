//! Runs of sequences, in few bytes: what a delete names.

/// Appends runs, each a first and a last number, in order and apart from each other.
pub fn encode_runs(runs: impl IntoIterator<Item = (u64, u64)>, out: &mut Vec<u8>) {
    let mut next = 0;
    for (first, last) in runs {
        debug_assert!(first >= next && last >= first, "runs are in order");
        encode_varint(first - next, out);
        encode_varint(last - first, out);
        next = last + 1;
    }
}

/// Reads runs again; `None` if the bytes are none, or the numbers not in order.
pub fn decode_runs(mut bytes: &[u8], mut each: impl FnMut(u64, u64)) -> Option<()> {
    let mut next = 0u64;
    while !bytes.is_empty() {
        let first = next.checked_add(decode_varint(&mut bytes)?)?;
        let last = first.checked_add(decode_varint(&mut bytes)?)?;
        each(first, last);
        next = last.checked_add(1)?;
    }
    Some(())
}

fn encode_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

fn decode_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        n |= part << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_come_back(steps in prop::collection::vec(any::<(u32, u32)>(), 0..50)) {
            let mut next = 0u64;
            let mut runs = vec![];
            for (gap, len) in steps {
                let first = next + u64::from(gap);
                let last = first + u64::from(len);
                runs.push((first, last));
                next = last + 1;
            }
            let mut bytes = vec![];
            encode_runs(runs.iter().copied(), &mut bytes);
            let mut back = vec![];
            prop_assert!(decode_runs(&bytes, |first, last| back.push((first, last))).is_some());
            prop_assert_eq!(back, runs);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_runs(&bytes, |first, last| assert!(first <= last));
        }
    }
}
