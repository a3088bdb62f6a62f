//! Where things stand in the configuration, and how that is shown.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter, Write};
use std::sync::{Arc, OnceLock};

/// A place in one of the texts of a [`Sources`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    file: u32,
    offset: u32,
}

impl Position {
    /// `offset` is in bytes. Both are bounded far below 4 Gi by what is read at all.
    pub(super) fn new(file: usize, offset: usize) -> Position {
        Position {
            file: u32::try_from(file).unwrap_or(u32::MAX),
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        }
    }
}

/// A [`Position`] as people count. Shows as `FILE:LINE:COLUMN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The texts that a configuration was read from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Arc<Source>>);

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    text: Arc<str>,
    /// Where lines start; made when first asked for.
    lines: OnceLock<Vec<u32>>,
}

impl Sources {
    /// Adds a text and gives the number of its file.
    pub(super) fn add(&mut self, name: &str, text: Arc<str>) -> usize {
        self.0.push(Arc::new(Source {
            name: name.into(),
            text,
            lines: OnceLock::new(),
        }));
        self.0.len() - 1
    }

    /// File, line and column of a position. One that belongs to other sources gives an unknown
    /// file.
    pub fn place(&self, at: Position) -> Place {
        match self.line(at) {
            Some((source, line, before, _)) => Place {
                file: source.name.clone(),
                line,
                column: before.chars().count() + 1,
            },
            None => Place {
                file: "?".into(),
                line: 1,
                column: 1,
            },
        }
    }

    /// The number of the line that a position is in, from 1.
    pub(super) fn line_number(&self, at: Position) -> usize {
        self.line(at).map_or(1, |(_, number, ..)| number)
    }

    /// A fault with its place, and the line it is about:
    ///
    /// ```text
    /// /etc/nats.conf:3:7: expected a value
    ///    3 | port:
    ///      |       ^
    /// ```
    ///
    /// The last line has no line end.
    pub fn show(&self, fault: &Fault) -> String {
        let headline = match fault.at {
            Some(at) => format!("{}: {}", self.place(at), fault.text),
            None => fault.text.clone(),
        };
        let mut shown = String::new();
        for (i, line) in headline.split('\n').enumerate() {
            if i > 0 {
                shown.push('\n');
            }
            printable(line, &mut shown);
        }
        if let Some(at) = fault.at {
            let _ = write!(shown, "\n{}", self.snippet(at));
        }
        shown
    }

    /// The line that a position is in, with its number, and below it a caret under the position.
    ///
    /// Of a long line, only the surroundings of the position are shown. Characters that do not
    /// print are replaced, and what may be a password or another secret is left out: messages end
    /// up in logs.
    pub fn snippet(&self, at: Position) -> String {
        let Some((_, number, before, after)) = self.line(at) else {
            return String::new();
        };
        // Lines can be as long as the whole text.
        let before = &before[before.ceil_char_boundary(before.len().saturating_sub(LOOK_BACK))..];
        let after = &after[..after.floor_char_boundary(LOOK_AHEAD)];
        let (before, after) = without_secret(before, after);
        let (before, after) = (&*before, &*after);
        let mut line = format!("{number:>4} | ");
        let margin = line.chars().count() - 2;
        // How much of the line fits on a screen, on both sides of the position.
        const BEFORE: usize = 64;
        const AFTER: usize = 32;
        let mut shown = String::new();
        if let Some((cut, _)) = before.char_indices().rev().nth(BEFORE) {
            shown.push_str("...");
            printable(&before[cut..], &mut shown);
        } else {
            printable(before, &mut shown);
        }
        let caret = shown.chars().count();
        match after.char_indices().nth(AFTER) {
            Some((cut, _)) => {
                printable(&after[..cut], &mut shown);
                shown.push_str("...");
            }
            None => printable(after, &mut shown),
        }
        line.push_str(&shown);
        let _ = write!(line, "\n{:margin$}| {:caret$}^", "", "");
        line
    }

    /// The source of a position, the number of its line, and that line up to and from there.
    fn line(&self, at: Position) -> Option<(&Source, usize, &str, &str)> {
        let source = self.0.get(usize::try_from(at.file).ok()?)?;
        let lines = source.lines();
        let line = lines.partition_point(|start| *start <= at.offset);
        let start = usize::try_from(*lines.get(line.checked_sub(1)?)?).ok()?;
        let offset = usize::try_from(at.offset).ok()?;
        let before = source.text.get(start..offset)?;
        let end = lines.get(line).and_then(|next| usize::try_from(*next).ok());
        let after = source.text.get(offset..end.unwrap_or(source.text.len()))?;
        Some((source, line, before, after.trim_end_matches(['\r', '\n'])))
    }
}

impl Source {
    fn lines(&self) -> &[u32] {
        self.lines.get_or_init(|| {
            let ends = memchr::memchr_iter(b'\n', self.text.as_bytes());
            let starts = ends.map(|end| u32::try_from(end + 1).unwrap_or(u32::MAX));
            std::iter::once(0).chain(starts).collect()
        })
    }
}

/// How far around a position, in bytes, a secret is looked for.
const LOOK_BACK: usize = 8 << 10;
const LOOK_AHEAD: usize = 1 << 10;

/// Words whose values are secrets. So is the value of each word that holds `pass`.
const SECRET_KEYS: [&str; 11] = [
    "auth",
    "ek",
    "encryption_key",
    "jwt",
    "key",
    "nkey",
    "prev_ek",
    "prev_encryption_key",
    "prev_key",
    "seed",
    "token",
];

/// What stands for a secret and all that follows it.
const REDACTED: &str = "[REDACTED]";

/// A line, cut in two somewhere, without the value of the first secret in it and all behind that.
fn without_secret<'a>(before: &'a str, after: &'a str) -> (Cow<'a, str>, Cow<'a, str>) {
    let line = format!("{before}{after}");
    match secret_at(&line) {
        None => (before.into(), after.into()),
        Some(at) if at < before.len() => (format!("{}{REDACTED}", &before[..at]).into(), "".into()),
        Some(at) => {
            let kept = &after[..at - before.len()];
            (before.into(), format!("{kept}{REDACTED}").into())
        }
    }
}

/// Where the first secret of a line starts: behind a word that names one, or the user in a URL.
fn secret_at(line: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut word_at = 0;
    let mut found = None;
    for (end, _) in line
        .match_indices(|c| !is_word(c))
        .chain([(line.len(), "")])
    {
        let word = line[word_at..end].to_ascii_lowercase();
        if word.contains("pass") || SECRET_KEYS.contains(&&*word) {
            let value = line[end..].find(|c| !matches!(c, ' ' | '\t' | ':' | '=' | '"' | '\''));
            found = value.map(|value| end + value);
            break;
        }
        word_at = end + line[end..].chars().next().map_or(0, char::len_utf8);
    }
    let url = line.find("://").map(|at| at + 3);
    let user = url.filter(|at| line[*at..].contains('@'));
    found.into_iter().chain(user).min()
}

/// Appends text as it may go to a terminal, with tabs four columns wide.
fn printable(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '\t' => to.push_str("    "),
            // The standard library knows what prints: what does not, it shows as an escape.
            '"' | '\'' | '\\' => to.push(c),
            _ if c.escape_debug().nth(1).is_some() => to.push(char::REPLACEMENT_CHARACTER),
            _ => to.push(c),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub at: Option<Position>,
    pub text: String,
}

impl Fault {
    pub fn new(at: impl Into<Option<Position>>, text: impl Into<String>) -> Fault {
        let (at, text) = (at.into(), text.into());
        Fault { at, text }
    }
}

/// All that is wrong with a configuration. Shows every fault with its place and line.
#[derive(Clone, Debug)]
pub struct Report {
    pub faults: Vec<Fault>,
    pub sources: Sources,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            f.write_str(&self.sources.show(fault))?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// By place, so that reports read from top to bottom; faults without one come first.
pub(super) fn by_place(a: &Fault, b: &Fault) -> Ordering {
    a.at.cmp(&b.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let shown = |line: &str, at: usize| {
            let mut sources = Sources::default();
            let file = sources.add("a.conf", line.into());
            sources.snippet(Position::new(file, at))
        };
        for (line, at, want) in [
            ("port: x", 0, "port: x"),
            ("passenger: s3cret", 0, "passenger: [REDACTED]"),
            ("password: s3cret", 0, "password: [REDACTED]"),
            ("password: s3cret", 10, "password: [REDACTED]"),
            ("password: s3cret", 16, "password: [REDACTED]"),
            (
                "{user: a, Pass = \"s3cret\"} b",
                1,
                "{user: a, Pass = \"[REDACTED]",
            ),
            ("token s3cret", 3, "token [REDACTED]"),
            (
                "routes: [nats://u:s3cret@h:1, x]",
                2,
                "routes: [nats://[REDACTED]",
            ),
            ("url: nats://h:1", 2, "url: nats://h:1"),
            (
                "k\u{e4}se: 1, key: s3cret",
                0,
                "k\u{e4}se: 1, key: [REDACTED]",
            ),
            ("password", 0, "password"),
        ] {
            let snippet = shown(line, at);
            assert_eq!(
                snippet.lines().next(),
                Some(&*format!("   1 | {want}")),
                "{line} {at}"
            );
            assert!(!snippet.contains("s3cret"), "{snippet}");
        }
    }
}
