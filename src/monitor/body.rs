//! The body of a request, which nobody needs: how far it goes, so that it can be thrown away.

use super::head::Fault;
use crate::base::limits::{MONITOR_BODY, MONITOR_LINE};
use httparse::{InvalidChunkSize, Status};

/// What is still to come of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// Bytes that were thrown away so far, of which there is a limit.
    seen: usize,
    rest: Rest,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    /// So many bytes.
    Sized(usize),
    /// The line that has a chunk's size.
    ChunkSize,
    /// The rest of a chunk, and the end of line behind it.
    Chunk(usize),
    /// Lines up to an empty one.
    Trailers,
    Nothing,
}

impl Body {
    /// A body of this many bytes.
    pub fn sized(len: usize) -> Body {
        let rest = match len {
            0 => Rest::Nothing,
            len => Rest::Sized(len),
        };
        Body { seen: 0, rest }
    }

    /// A body that comes in chunks.
    pub fn chunked() -> Body {
        Body {
            seen: 0,
            rest: Rest::ChunkSize,
        }
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        self.rest == Rest::Nothing
    }

    /// How many of these bytes belong to the body. It is [`Body::is_over`] then, or more bytes than
    /// were left have to come.
    ///
    /// # Errors
    /// The chunks are broken, or too large.
    pub fn skip(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some(n) = self.step(&bytes[at..])? {
            at += n;
            self.seen += n;
            if self.seen > MONITOR_BODY {
                return Err(Fault::BodyTooLarge);
            }
        }
        Ok(at)
    }

    /// Goes past the next part; None if more has to come first.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match self.rest {
            Rest::Nothing => Ok(None),
            Rest::Sized(_) | Rest::Chunk(_) if bytes.is_empty() => Ok(None),
            Rest::Sized(left) => {
                let n = left.min(bytes.len());
                *self = Body {
                    seen: self.seen,
                    ..Body::sized(left - n)
                };
                Ok(Some(n))
            }
            Rest::ChunkSize => match httparse::parse_chunk_size(bytes) {
                Ok(Status::Complete((n, 0))) => {
                    self.rest = Rest::Trailers;
                    Ok(Some(n))
                }
                Ok(Status::Complete((n, size))) => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    if size > MONITOR_BODY {
                        return Err(Fault::BodyTooLarge);
                    }
                    self.rest = Rest::Chunk(size + 2);
                    Ok(Some(n))
                }
                Ok(Status::Partial) if bytes.len() < MONITOR_LINE => Ok(None),
                Ok(Status::Partial) | Err(InvalidChunkSize) => Err(Fault::Malformed),
            },
            Rest::Chunk(left) => {
                let n = left.min(bytes.len());
                // The last two bytes of it are the end of a line.
                let ends = left - n..left;
                for (i, byte) in [(2, b'\r'), (1, b'\n')] {
                    if ends.contains(&(i - 1)) && bytes[left - i] != byte {
                        return Err(Fault::Malformed);
                    }
                }
                self.rest = match left - n {
                    0 => Rest::ChunkSize,
                    left => Rest::Chunk(left),
                };
                Ok(Some(n))
            }
            Rest::Trailers => {
                let line = bytes.iter().position(|b| *b == b'\n');
                match line {
                    Some(end) => {
                        if matches!(bytes[..end], [] | [b'\r']) {
                            self.rest = Rest::Nothing;
                        }
                        Ok(Some(end + 1))
                    }
                    None if bytes.len() < MONITOR_LINE => Ok(None),
                    None => Err(Fault::Malformed),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Skips a body that comes in pieces of `step` bytes, with all that was left before each; gives
    /// its length.
    fn skip(mut body: Body, bytes: &[u8], step: usize) -> Result<Option<usize>, Fault> {
        let (mut at, mut end) = (0, 0);
        while !body.is_over() {
            if end == bytes.len() {
                return Ok(None);
            }
            end = (end + step).min(bytes.len());
            at += body.skip(&bytes[at..end])?;
        }
        Ok(Some(at))
    }

    #[test]
    fn bodies_end_where_they_say() {
        let chunks = b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
        for step in 1..chunks.len() {
            let bytes = [&chunks[..], b"GET /"].concat();
            assert_eq!(skip(Body::chunked(), &bytes, step), Ok(Some(chunks.len())));
            assert_eq!(skip(Body::sized(7), &bytes, step), Ok(Some(7)));
            let cut = &chunks[..chunks.len() - 1];
            assert_eq!(skip(Body::chunked(), cut, step), Ok(None));
        }
        assert!(Body::sized(0).is_over());
    }

    #[test]
    fn broken_and_large_bodies_are_refused() {
        let long = "x".repeat(MONITOR_LINE);
        for (text, fault) in [
            ("x\r\n", Fault::Malformed),
            ("1\r\nab\r\n", Fault::Malformed),
            ("1\r\na\r\r", Fault::Malformed),
            ("ffff1\r\n", Fault::BodyTooLarge),
            ("ffffffffffffffff\r\n", Fault::BodyTooLarge),
            (&format!("0\r\n{long}"), Fault::Malformed),
            (&format!("1;{long}"), Fault::Malformed),
            (
                &"1\r\na\r\n".repeat(MONITOR_BODY / 6 + 1),
                Fault::BodyTooLarge,
            ),
        ] {
            for step in [1, 2, 3, 1000] {
                let skipped = skip(Body::chunked(), text.as_bytes(), step);
                let shown = &text[..text.len().min(20)];
                assert_eq!(skipped, Err(fault), "{shown}, {step} at a time");
            }
        }
    }
}
