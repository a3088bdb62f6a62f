//! Tar archives as the Go server wrote them before 2.15: files, with a header of POSIX (ustar) or
//! with one of those that say more (pax) before it.

use super::Fault;

const BLOCK: usize = 512;

/// Bytes of a name, and of what a header that says more may have.
const NAME_MAX: usize = 4 << 10;
const MORE_MAX: u64 = 64 << 10;

/// What an archive consists of.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::jetstream) enum Part {
    /// A file of so many bytes begins.
    Begin(String, u64),
    /// Bytes of the file.
    Bytes(Vec<u8>),
    /// The file has ended.
    End,
}

/// Reads an archive that comes in pieces.
#[derive(Debug, Default)]
pub(in crate::jetstream) struct Reader {
    held: Vec<u8>,
    at: usize,
    place: Place,
    /// What the next file's header does not say itself.
    path: Option<String>,
    size: Option<u64>,
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Header,
    /// So many bytes of a file are to come, and then so many that fill the last block.
    File {
        left: u64,
        fill: u64,
    },
    /// The same of what says more, of all files or of the next.
    More {
        size: u64,
        counts: bool,
    },
    Fill(u64),
}

/// How many bytes fill the last block of so many.
fn fill(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

impl Reader {
    /// Takes bytes.
    pub(in crate::jetstream) fn feed(&mut self, bytes: &[u8]) {
        self.held.drain(..self.at);
        self.at = 0;
        self.held.extend_from_slice(bytes);
    }

    /// Whether the end of the archive has come.
    pub(in crate::jetstream) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What comes next, as soon as it has come.
    ///
    /// # Errors
    /// If this is no archive of plain files.
    pub(in crate::jetstream) fn next_part(&mut self) -> Result<Option<Part>, Fault> {
        loop {
            let rest = &self.held[self.at..];
            match self.place {
                // What follows the end is of no interest.
                _ if self.ended => {
                    self.at = self.held.len();
                    return Ok(None);
                }
                Place::Header => {
                    let Some(header) = rest.first_chunk::<BLOCK>() else {
                        return Ok(None);
                    };
                    let header = *header;
                    self.at += BLOCK;
                    if let Some(part) = self.header(&header)? {
                        return Ok(Some(part));
                    }
                }
                Place::File { left: 0, fill } => {
                    self.place = Place::Fill(fill);
                    return Ok(Some(Part::End));
                }
                Place::File { left, fill } => {
                    let take = usize::try_from(left).map_or(rest.len(), |n| n.min(rest.len()));
                    if take == 0 {
                        return Ok(None);
                    }
                    let bytes = rest[..take].to_vec();
                    self.at += take;
                    let left = left - take as u64;
                    self.place = Place::File { left, fill };
                    return Ok(Some(Part::Bytes(bytes)));
                }
                Place::More { size, counts } => {
                    let len = usize::try_from(size).unwrap_or(usize::MAX);
                    let Some(records) = rest.get(..len) else {
                        return Ok(None);
                    };
                    if counts {
                        let (path, size) = more(records)?;
                        self.path = path.or(self.path.take());
                        self.size = size.or(self.size);
                    }
                    self.at += len;
                    self.place = Place::Fill(fill(size));
                }
                Place::Fill(0) => self.place = Place::Header,
                Place::Fill(left) => {
                    let take = usize::try_from(left).map_or(rest.len(), |n| n.min(rest.len()));
                    if take == 0 {
                        return Ok(None);
                    }
                    self.at += take;
                    self.place = Place::Fill(left - take as u64);
                }
            }
        }
    }

    /// Takes a header; gives the file that begins with it.
    fn header(&mut self, header: &[u8; BLOCK]) -> Result<Option<Part>, Fault> {
        if header.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let (before, after) = (&header[..148], &header[156..]);
        let sum: u64 = before.iter().chain(after).map(|b| u64::from(*b)).sum();
        if octal(&header[148..156])? != sum + 8 * u64::from(b' ') {
            return Err(Fault::new("a header of the archive is damaged"));
        }
        let size = octal(&header[124..136])?;
        match header[156] {
            kind @ (b'x' | b'g') => {
                if size > MORE_MAX {
                    return Err(Fault::new("a header of the archive is too large"));
                }
                let counts = kind == b'x';
                self.place = Place::More { size, counts };
                Ok(None)
            }
            b'0' | 0 => {
                let size = self.size.take().unwrap_or(size);
                let own = || {
                    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
                    match prefix.is_empty() {
                        true => name,
                        false => format!("{prefix}/{name}"),
                    }
                };
                let name = self.path.take().unwrap_or_else(own);
                let fill = fill(size);
                self.place = Place::File { left: size, fill };
                Ok(Some(Part::Begin(name, size)))
            }
            _ => Err(Fault::new("unexpected content")),
        }
    }
}

/// What records of the form `length key=value` say of the path and the size.
fn more(mut records: &[u8]) -> Result<(Option<String>, Option<u64>), Fault> {
    let bad = || Fault::new("a header of the archive is damaged");
    let (mut path, mut size) = (None, None);
    while !records.is_empty() {
        let blank = records.iter().position(|b| *b == b' ').ok_or_else(bad)?;
        let len = std::str::from_utf8(&records[..blank]).ok();
        let len: usize = len.and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        let record = records.get(blank + 1..len).ok_or_else(bad)?;
        records = &records[len..];
        let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
        let record = std::str::from_utf8(record).map_err(|_| bad())?;
        match record.split_once('=').ok_or_else(bad)? {
            ("path", value) if value.len() > NAME_MAX => return Err(bad()),
            ("path", value) => path = Some(value.to_owned()),
            ("size", value) => size = Some(value.parse().map_err(|_| bad())?),
            _ => {}
        }
    }
    Ok((path, size))
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    let field = &field[..end.unwrap_or(field.len())];
    String::from_utf8_lossy(field).into_owned()
}

fn octal(field: &[u8]) -> Result<u64, Fault> {
    let text = text(field);
    let digits = text.trim();
    match digits.is_empty() {
        true => Ok(0),
        false => u64::from_str_radix(digits, 8)
            .map_err(|_| Fault::new("a header of the archive is damaged")),
    }
}

#[cfg(test)]
pub(in crate::jetstream) mod tests {
    use super::*;

    /// Appends a file, or something else of that kind.
    pub(in crate::jetstream) fn put(out: &mut Vec<u8>, kind: u8, name: &str, bytes: &[u8]) {
        let mut header = [0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }

    fn all(bytes: &[u8], piece: usize) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let mut reader = Reader::default();
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some(part) = reader.next_part()? {
                match part {
                    Part::Begin(name, _) => files.push((name, Vec::new())),
                    Part::Bytes(bytes) => files.last_mut().unwrap().1.extend(bytes),
                    Part::End => {}
                }
            }
        }
        assert!(reader.has_ended());
        Ok(files)
    }

    #[test]
    fn files_come_back_in_whatever_pieces() {
        let long = "x".repeat(300);
        let mut bytes = Vec::new();
        put(&mut bytes, b'0', "meta.inf", b"{}");
        put(&mut bytes, b'g', "all", b"9 a=b.c\n\n");
        let record = format!(" path={long}\n");
        let len = record.len() + 3;
        put(
            &mut bytes,
            b'x',
            "more",
            format!("{len}{record}").as_bytes(),
        );
        put(&mut bytes, b'0', "short", &[7; 1000]);
        put(&mut bytes, b'0', "empty", b"");
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        for piece in [1, 100, 513, bytes.len()] {
            let files = all(&bytes, piece).unwrap();
            let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, ["meta.inf", &long, "empty"]);
            assert_eq!(files[1].1, [7; 1000]);
        }
    }

    #[test]
    fn only_files_are_taken() {
        for kind in [b'1', b'2', b'3', b'5', b'L', b'S'] {
            let mut bytes = Vec::new();
            put(&mut bytes, kind, "link", b"");
            assert!(all(&bytes, 100).is_err(), "{kind}");
        }
        let mut bytes = Vec::new();
        put(&mut bytes, b'0', "file", b"x");
        bytes[3] ^= 1;
        assert!(all(&bytes, 100).is_err(), "a wrong sum");
        let mut bytes = Vec::new();
        put(&mut bytes, b'x', "more", b"99 path=x\n");
        assert!(all(&bytes, 100).is_err(), "a record without an end");
    }
}
