//! The unfinished front of a command, kept between reads. A connection that is not in the middle
//! of a command owns nothing here.

/// What was read of a command that is not complete.
#[derive(Default)]
pub struct Inbound {
    bytes: Vec<u8>,
    /// Bytes of the whole command, once its control line has told.
    total: Option<usize>,
}

impl Inbound {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory held.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Keeps the front of a command, whose whole length may be known.
    pub fn keep(&mut self, bytes: &[u8], total: Option<usize>) {
        debug_assert!(self.bytes.is_empty());
        self.bytes.extend_from_slice(bytes);
        self.total = total;
    }

    /// What a look at the kept bytes told: how much of their front matters, and how long the
    /// whole command is.
    pub fn note(&mut self, keep: usize, total: Option<usize>) {
        self.bytes.truncate(keep);
        self.total = total;
    }

    /// Takes from `data` what the command may need: up to its end if that is known, else up to
    /// and with the end of the line. Gives the bytes taken.
    ///
    /// Memory grows with what has come, not with what was announced.
    pub fn feed(&mut self, data: &[u8]) -> usize {
        let n = match self.total {
            Some(total) => (total - self.bytes.len()).min(data.len()),
            None => memchr::memchr(b'\n', data).map_or(data.len(), |lf| lf + 1),
        };
        if let Some(total) = self.total
            && self.bytes.capacity() < total
            && self.bytes.len() + n > total / 4
        {
            self.bytes.reserve_exact(total - self.bytes.len());
        }
        self.bytes.extend_from_slice(&data[..n]);
        n
    }

    /// Gives up what was kept, for a command that is complete.
    pub fn take(&mut self) -> Vec<u8> {
        self.total = None;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_up_to_the_line_and_then_up_to_the_end() {
        let mut i = Inbound::default();
        i.keep(b"PUB fo", None);
        assert_eq!(i.feed(b"o 5\r\nhello\r\nPING\r\n"), 5);
        assert_eq!(i.bytes(), b"PUB foo 5\r\n");
        i.note(11, Some(18));
        assert_eq!(i.feed(b"hel"), 3);
        assert_eq!(i.feed(b"lo\r\nPING\r\n"), 4);
        assert_eq!(i.take(), b"PUB foo 5\r\nhello\r\n");
        assert!(i.is_empty() && i.held() == 0);
    }

    #[test]
    fn memory_follows_what_came_not_what_was_announced() {
        let mut i = Inbound::default();
        i.keep(b"PUB foo 1000000\r\n", Some(1_000_019));
        i.feed(&[b'x'; 1000]);
        assert!(i.held() < 10_000);
    }
}
