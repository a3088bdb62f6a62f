//! The grammar: one pass over a text by recursive descent, of bounded depth.

use super::load::{Loader, Stop, too_deep};
use super::source::Position;
use super::value::{Entry, Kind, Map, Value};
use super::word::{Word, classify, digits, self_contained, shortened};
use crate::base::limits::CONFIG_DEPTH;
use std::path::{Path, PathBuf};

/// Reads one text.
pub(super) struct Reader<'r, 'e> {
    loader: &'r mut Loader<'e>,
    text: &'r str,
    file: usize,
    /// Where included files are.
    dir: PathBuf,
    /// The next byte to look at, always at the start of a character.
    at: usize,
    /// How many maps, arrays and braces around entries are open.
    depth: usize,
    /// The maps being read, from the outside in: the scopes of variables.
    maps: Vec<Map>,
}

/// What entries stand in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Text,
    /// Braces around entries that make no map of their own.
    Braces,
    Map,
}

type Parsed<T> = Result<T, Stop>;

impl<'r, 'e> Reader<'r, 'e> {
    /// A reader of `text`, what is in which is `depth` levels deep.
    pub(super) fn new(
        loader: &'r mut Loader<'e>,
        text: &'r str,
        file: usize,
        dir: Option<&Path>,
        depth: usize,
    ) -> Reader<'r, 'e> {
        Reader {
            loader,
            text,
            file,
            dir: dir.unwrap_or(Path::new("")).to_owned(),
            at: 0,
            depth,
            maps: Vec::new(),
        }
    }

    /// Reads the text as a file. After an error, [`Reader::into_map`] has what came before.
    pub(super) fn document(&mut self) -> Parsed<()> {
        self.maps.push(Map::default());
        self.entries(Within::Text, 0)
    }

    /// The outermost map.
    pub(super) fn into_map(self) -> Map {
        self.maps.into_iter().next().unwrap_or_default()
    }

    /// Reads the text as one value. A blank text is the empty string.
    pub(super) fn lone_value(&mut self) -> Parsed<Value> {
        self.skip(|c| c == ' ' || c == '\t');
        let value = match self.peek() {
            None => Value {
                kind: Kind::Text(String::new()),
                at: self.position(self.at),
            },
            Some(_) => self.value()?,
        };
        self.skip_blank();
        if matches!(self.peek(), Some(b',' | b';')) {
            self.at += 1;
            self.skip_blank();
        }
        match self.peek() {
            None => Ok(value),
            Some(_) => self.stop(self.at, "there is more than one value: quote text"),
        }
    }

    /// Reads entries up to the end of the text, or over the brace that closes them. `open` is
    /// where they began.
    fn entries(&mut self, within: Within, open: usize) -> Parsed<()> {
        loop {
            self.skip_blank();
            match self.peek() {
                None if within == Within::Text => return Ok(()),
                None => return self.stop(open, "this '{' is never closed"),
                Some(b'}') => {
                    self.at += 1;
                    if within != Within::Text {
                        return Ok(());
                    }
                    // One too many is forgiven at the end, as in the reference.
                    let brace = self.at - 1;
                    self.skip_blank();
                    match self.peek() {
                        None => return Ok(()),
                        Some(_) => return self.stop(brace, "no '{' belongs to this '}'"),
                    }
                }
                Some(b'{') if within != Within::Map => {
                    let brace = self.at;
                    self.at += 1;
                    self.deeper(brace, |r| r.entries(Within::Braces, brace))?;
                    self.skip_blank();
                    if matches!(self.peek(), Some(b',' | b';')) {
                        self.at += 1;
                    }
                }
                Some(_) => {
                    self.entry(within)?;
                    self.entry_end(within)?;
                }
            }
        }
    }

    /// What must come between entries: a new line, a comma, a semicolon or the closing brace.
    fn entry_end(&mut self, within: Within) -> Parsed<()> {
        let new_line = self.skip_blank();
        match self.peek() {
            None => {}
            Some(b',' | b';') => self.at += 1,
            Some(b'}') if within != Within::Text || new_line => {}
            // A brace too many is forgiven behind a value, as in the reference.
            Some(b'}') => self.at += 1,
            Some(_) if new_line => {}
            Some(_) => {
                let text = format!(
                    "expected a new line, ',' or ';' after the value, got {}",
                    self.next_shown()
                );
                return self.stop(self.at, text);
            }
        }
        Ok(())
    }

    fn entry(&mut self, within: Within) -> Parsed<()> {
        let key_at = self.at;
        let (key, quoted) = self.key()?;
        let blank = self.rest().starts_with(char::is_whitespace);
        if !quoted && blank && key.eq_ignore_ascii_case("include") {
            return self.include();
        }
        self.skip(char::is_whitespace);
        if matches!(self.peek(), Some(b'=' | b':')) {
            self.at += 1;
            // Inside of a map the value may be on the next line.
            let lines = within == Within::Map;
            self.skip(|c| c.is_whitespace() && (lines || !is_line_end(c)));
        }
        if matches!(
            self.peek(),
            None | Some(b'\n' | b'\r' | b',' | b';' | b'}' | b']')
        ) {
            let text = match self.line_of(key_at) == self.line_of(self.at) {
                true => "expected a value".to_owned(),
                false => format!("expected a value for '{}'", shortened(&key)),
            };
            return self.stop(self.at, text);
        }
        let value = self.value()?;
        self.insert(Entry {
            key,
            key_at: self.position(key_at),
            value,
            used: false,
        });
        Ok(())
    }

    /// Reads a key. There are no escapes in quoted ones.
    fn key(&mut self) -> Parsed<(String, bool)> {
        let start = self.at;
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => {
                let rest = &self.text.as_bytes()[start + 1..];
                let Some(len) = memchr::memchr(quote, rest) else {
                    return self.stop(start, "the closing quote of this key is missing");
                };
                self.at = start + len + 2;
                Ok((self.text[start + 1..=start + len].to_owned(), true))
            }
            None | Some(b'=' | b':' | b',' | b';' | b'{' | b']') => {
                let text = format!("expected a key, got {}", self.next_shown());
                self.stop(start, text)
            }
            Some(b'/') => self.stop(start, "a key that begins with '/' must be quoted"),
            Some(_) => {
                self.skip(|c| !c.is_whitespace() && c != '=' && c != ':');
                let key = &self.text[start..self.at];
                match key.find('{') {
                    Some(brace) => self.stop(
                        start + brace,
                        "'{' must stand apart from the key, or the key in quotes",
                    ),
                    None => Ok((key.to_owned(), false)),
                }
            }
        }
    }

    /// Reads the rest of an include and adds the keys of that file.
    fn include(&mut self) -> Parsed<()> {
        self.skip(|c| c == ' ' || c == '\t');
        let start = self.at;
        let path = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => {
                let rest = &self.text.as_bytes()[start + 1..];
                let Some(len) = memchr::memchr(quote, rest) else {
                    return self.stop(start, "the closing quote is missing");
                };
                self.at = start + len + 2;
                &self.text[start + 1..=start + len]
            }
            Some(b'=' | b':' | b'[' | b'{' | b'(' | b'\\' | b'-' | b'0'..=b'9') => {
                let text = format!(
                    "include needs the name of a file, in quotes if it begins with {}",
                    self.next_shown()
                );
                return self.stop(start, text);
            }
            _ => {
                let ends = |c| is_line_end(c) || matches!(c, ' ' | '\t' | ';' | '}' | '\'');
                self.skip(|c| !ends(c));
                let end = self.at;
                if self.peek() == Some(b'\'') {
                    self.at += 1;
                }
                &self.text[start..end]
            }
        };
        let at = self.position(start);
        let included = self.loader.include(at, &self.dir, path, self.depth);
        for entry in included.into_entries() {
            self.insert(entry);
        }
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        if let Some(map) = self.maps.last_mut() {
            map.insert(entry);
        }
    }

    /// Reads a value; there must be a character.
    fn value(&mut self) -> Parsed<Value> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'[') => {
                self.at += 1;
                self.deeper(start, |r| r.array(start))?
            }
            Some(b'{') => {
                self.at += 1;
                self.maps.push(Map::default());
                self.deeper(start, |r| r.entries(Within::Map, start))?;
                Kind::Map(self.maps.pop().unwrap_or_default())
            }
            Some(b'\'') => {
                let rest = &self.text.as_bytes()[start + 1..];
                let Some(len) = memchr::memchr(b'\'', rest) else {
                    return self.stop(start, "the closing quote is missing");
                };
                self.at = start + len + 2;
                Kind::Text(self.text[start + 1..=start + len].to_owned())
            }
            Some(b'"') => Kind::Text(self.quoted()?),
            Some(b'(') => Kind::Text(self.block()?),
            Some(b'.') => return self.stop(start, "text that begins with '.' must be quoted"),
            _ => self.word()?,
        };
        Ok(Value {
            kind,
            at: self.position(start),
        })
    }

    /// Reads the elements of an array and its end. `open` is where it began.
    fn array(&mut self, open: usize) -> Parsed<Kind> {
        let mut values = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                None => return self.stop(open, "this '[' is never closed"),
                Some(b']') => break,
                Some(b',' | b';' | b'}') => {
                    let text = format!("expected a value or ']', got {}", self.next_shown());
                    return self.stop(self.at, text);
                }
                Some(_) => values.push(self.value()?),
            }
            let new_line = self.skip_blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                None | Some(b']') => {}
                Some(_) if new_line => {}
                Some(_) => {
                    let text = format!(
                        "expected a new line, ',' or ']' after the value, got {}",
                        self.next_shown()
                    );
                    return self.stop(self.at, text);
                }
            }
        }
        self.at += 1;
        Ok(Kind::Array(values))
    }

    /// Reads a string in double quotes.
    fn quoted(&mut self) -> Parsed<String> {
        let open = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let Some(len) = memchr::memchr2(b'"', b'\\', rest) else {
                return self.stop(open, "the closing quote is missing");
            };
            text.extend_from_slice(&rest[..len]);
            self.at += len;
            if rest[len] == b'"' {
                self.at += 1;
                return Ok(self.utf8(open, text));
            }
            text.push(self.escape()?);
        }
    }

    /// Reads a backslash and what belongs to it.
    fn escape(&mut self) -> Parsed<u8> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let byte = match bytes.get(start + 1) {
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
                let both = digit(start + 2).zip(digit(start + 3));
                let Some(byte) = both.and_then(|(a, b)| u8::try_from(a << 4 | b).ok()) else {
                    return self.stop(start, "expected two hexadecimal digits after '\\x'");
                };
                self.at = start + 4;
                return Ok(byte);
            }
            _ => {
                return self.stop(
                    start,
                    "unknown escape: there are \\xHH, \\t, \\n, \\r, \\\" and \\\\",
                );
            }
        };
        self.at = start + 2;
        Ok(byte)
    }

    /// Text that escapes were in. `start` is where it began.
    fn utf8(&mut self, start: usize, text: Vec<u8>) -> String {
        String::from_utf8(text).unwrap_or_else(|_| {
            self.fault(start, "the escapes in this text do not make UTF-8");
            String::new()
        })
    }

    /// Reads a string in parentheses: the lines up to one that is just `)`.
    fn block(&mut self) -> Parsed<String> {
        let open = self.at;
        let text = &self.text[open + 1..];
        for (end, _) in text.match_indices("\n)") {
            let after = &text[end + 2..];
            if after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n") {
                self.at = open + 1 + end + 2;
                return Ok(text[..=end].to_owned());
            }
        }
        self.stop(
            open,
            "this '(' is never closed: that takes a line with just ')'",
        )
    }

    /// Reads a bare word, up to a blank or what may follow a value.
    fn word(&mut self) -> Parsed<Kind> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let own = self_contained(&bytes[start..]);
        if own > 0 && (bytes[start + own..].starts_with(b"#") || self.comment_at(start + own)) {
            self.at = start + own;
            return Ok(self.meaning(start));
        }
        // What makes text of a number is part of it, whatever it is.
        self.at += digits(&bytes[start..]);
        if self.at > start {
            let first = self.rest().chars().next();
            self.at += first.filter(|c| !ends_word(*c)).map_or(0, char::len_utf8);
        }
        let mut text: Option<Vec<u8>> = None;
        loop {
            let from = self.at;
            self.skip(|c| !ends_word(c) && c != '\\' && c != '\'');
            if let Some(text) = &mut text {
                text.extend_from_slice(&bytes[from..self.at]);
            }
            match self.peek() {
                Some(b'\\') => {
                    let mut so_far = text.unwrap_or_else(|| bytes[start..self.at].to_vec());
                    so_far.push(self.escape()?);
                    text = Some(so_far);
                }
                // As in the reference, a quote ends the word and makes it text.
                Some(b'\'') => {
                    let so_far = text.unwrap_or_else(|| bytes[start..self.at].to_vec());
                    self.at += 1;
                    return Ok(Kind::Text(self.utf8(start, so_far)));
                }
                _ => break,
            }
        }
        Ok(match text {
            Some(text) => Kind::Text(self.utf8(start, text)),
            None => self.meaning(start),
        })
    }

    /// What the bare word from `start` to here stands for. A fault is recorded if it is nothing.
    fn meaning(&mut self, start: usize) -> Kind {
        let nothing = Kind::Text(String::new());
        match classify(&self.text[start..self.at]) {
            Word::Value(kind) => kind,
            Word::Variable(name) => self.variable(start, name).unwrap_or(nothing),
            Word::Bad(text) => {
                self.fault(start, text);
                nothing
            }
        }
    }

    fn variable(&mut self, start: usize, name: &str) -> Option<Kind> {
        let at = self.position(start);
        for map in self.maps.iter_mut().rev() {
            if let Some(entry) = map.get_mut(name) {
                entry.used = true;
                return self.loader.copied(at, &entry.value, self.depth);
            }
        }
        let line = self.line_of(start);
        self.loader.variable(at, line, name, self.depth)
    }

    /// Runs `read` one level deeper. `open` is where that level begins.
    fn deeper<T>(&mut self, open: usize, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == CONFIG_DEPTH {
            return self.stop(open, too_deep());
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Skips white space, line ends and comments; whether there was a line end among it.
    fn skip_blank(&mut self) -> bool {
        let mut new_line = false;
        loop {
            let start = self.at;
            self.skip(char::is_whitespace);
            new_line |= self.text[start..self.at].contains(is_line_end);
            if self.peek() != Some(b'#') && !self.comment_at(self.at) {
                return new_line;
            }
            self.skip(|c| !is_line_end(c));
        }
    }

    fn comment_at(&self, at: usize) -> bool {
        self.text.as_bytes()[at..].starts_with(b"//")
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !what(c)).unwrap_or(rest.len());
    }

    fn rest(&self) -> &'r str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What comes next, for messages.
    fn next_shown(&self) -> String {
        match self.rest().chars().next() {
            Some('\'') => "\"'\"".to_owned(),
            Some(c) => format!("'{}'", c.escape_debug()),
            None => "the end of the text".to_owned(),
        }
    }

    /// The number of the line that an offset is in.
    fn line_of(&self, at: usize) -> usize {
        self.loader.line_number(self.position(at))
    }

    fn position(&self, at: usize) -> Position {
        Position::new(self.file, at)
    }

    fn fault(&mut self, at: usize, text: impl Into<String>) {
        let at = self.position(at);
        self.loader.fault(at, text);
    }

    fn stop<T>(&mut self, at: usize, text: impl Into<String>) -> Parsed<T> {
        self.fault(at, text);
        Err(Stop)
    }
}

fn is_line_end(c: char) -> bool {
    c == '\n' || c == '\r'
}

fn ends_word(c: char) -> bool {
    is_line_end(c) || matches!(c, ' ' | '\t' | ',' | ';' | ']' | '}')
}
