//! Reading files and what they include, variables of the environment, and the bounds on it all.

use super::read::Reader;
use super::source::{Fault, Position, Report, Sources, by_place};
use super::value::{Document, Kind, Map, Value};
use super::{Environment, word};
use crate::base::limits::{
    CONFIG_BYTES, CONFIG_COPIES, CONFIG_DEPTH, CONFIG_FAULTS, CONFIG_INCLUDE_DEPTH, CONFIG_INCLUDES,
};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Reads a configuration file.
pub fn load(path: &Path, env: &dyn Environment) -> Result<Document, Report> {
    let mut loader = Loader::new(env);
    let root = match env.read(path, CONFIG_BYTES) {
        Ok(bytes) => loader.file(path, bytes, 0),
        Err(text) => {
            loader.fault(None, text);
            Map::default()
        }
    };
    loader.end(root)
}

/// Reads a configuration from a text, as if it were in a file called `name`.
pub fn parse(name: &str, text: &str, env: &dyn Environment) -> Result<Document, Report> {
    let mut loader = Loader::new(env);
    let root = loader.file(Path::new(name), text.as_bytes().to_vec(), 0);
    loader.end(root)
}

/// A fault was recorded that ends the reading of the text at hand.
#[derive(Debug)]
pub(super) struct Stop;

/// What the texts of one configuration have in common.
pub(super) struct Loader<'e> {
    env: &'e dyn Environment,
    sources: Sources,
    faults: Vec<Fault>,
    /// How many faults are not in `faults`, being too many.
    more_faults: usize,
    /// Of texts that may still be read.
    bytes_left: usize,
    /// How much more variables may stand for; `None` once that was too little.
    copies_left: Option<usize>,
    includes_left: usize,
    /// The files being read, each included by the one before.
    open: Vec<PathBuf>,
    /// The environment variables being read, each in the value of the one before.
    resolving: Vec<String>,
    /// What environment variables stand for, or why not.
    variables: HashMap<String, Result<Value, String>>,
    /// A text was not read to its end: what is missing elsewhere may have been there.
    incomplete: bool,
}

impl<'e> Loader<'e> {
    fn new(env: &'e dyn Environment) -> Loader<'e> {
        Loader {
            env,
            sources: Sources::default(),
            faults: Vec::new(),
            more_faults: 0,
            bytes_left: CONFIG_BYTES,
            copies_left: Some(CONFIG_COPIES),
            includes_left: CONFIG_INCLUDES,
            open: Vec::new(),
            resolving: Vec::new(),
            variables: HashMap::new(),
            incomplete: false,
        }
    }

    fn end(mut self, root: Map) -> Result<Document, Report> {
        if self.faults.is_empty() {
            let sources = self.sources;
            return Ok(Document { root, sources });
        }
        self.faults.sort_by(by_place);
        if self.more_faults > 0 {
            let text = format!("{} more errors are not shown", self.more_faults);
            self.faults.push(Fault::new(None, text));
        }
        Err(Report {
            faults: self.faults,
            sources: self.sources,
        })
    }

    pub(super) fn fault(&mut self, at: impl Into<Option<Position>>, text: impl Into<String>) {
        if self.faults.len() < CONFIG_FAULTS {
            self.faults.push(Fault::new(at, text));
        } else {
            self.more_faults += 1;
        }
    }

    pub(super) fn line_number(&self, at: Position) -> usize {
        self.sources.line_number(at)
    }

    /// Reads a file's bytes, as far as they go. What is in it is `depth` levels deep.
    fn file(&mut self, path: &Path, bytes: Vec<u8>, depth: usize) -> Map {
        let name = path.display().to_string();
        if bytes.len() > self.bytes_left {
            let mib = CONFIG_BYTES >> 20;
            self.fault(
                None,
                format!("{name}: the configuration has over {mib} MiB"),
            );
            self.incomplete = true;
            return Map::default();
        }
        self.bytes_left -= bytes.len();
        let bad = bytes.utf8_chunks().next().and_then(|chunk| {
            let at = chunk.valid().len();
            let byte = chunk.invalid().first()?;
            Some((at, format!("the text is not UTF-8: byte 0x{byte:02x}")))
        });
        let nul = || Some((memchr::memchr(0, &bytes)?, "a NUL byte".to_owned()));
        let bad = bad.or_else(nul);
        let text = String::from_utf8_lossy(&bytes);
        let mark = if text.starts_with('\u{feff}') { 3 } else { 0 };
        let text: Arc<str> = text[mark..].into();
        let file = self.sources.add(&name, text.clone());
        if let Some((at, what)) = bad {
            self.fault(Position::new(file, at.saturating_sub(mark)), what);
            self.incomplete = true;
            return Map::default();
        }
        self.open.push(clean(path));
        let mut reader = Reader::new(self, &text, file, path.parent(), depth);
        let done = reader.document();
        let map = reader.into_map();
        self.incomplete |= done.is_err();
        self.open.pop();
        map
    }

    /// Reads an included file. `path` is as written, `dir` that of the file that says so.
    ///
    /// As in the reference, a path that begins with a slash is relative, too.
    pub(super) fn include(&mut self, at: Position, dir: &Path, path: &str, depth: usize) -> Map {
        let full = clean(&joined(dir, path));
        let text = if path.is_empty() {
            "include needs the name of a file".to_owned()
        } else if let Some(i) = self.open.iter().position(|p| *p == full) {
            let mut text = "files include each other:".to_owned();
            for p in &self.open[i..] {
                let _ = write!(text, " {} ->", p.display());
            }
            format!("{text} {}", full.display())
        } else if self.open.len() > CONFIG_INCLUDE_DEPTH {
            format!("includes are nested more than {CONFIG_INCLUDE_DEPTH} levels deep")
        } else if self.includes_left == 0 {
            format!("more than {CONFIG_INCLUDES} files are included")
        } else {
            self.includes_left -= 1;
            match self.env.read(&full, self.bytes_left) {
                Ok(bytes) => return self.file(&full, bytes, depth),
                Err(text) => format!("cannot include '{path}': {text}"),
            }
        };
        self.fault(at, text);
        self.incomplete = true;
        Map::default()
    }

    /// What an environment variable stands for. `line` is where it was asked for.
    pub(super) fn variable(
        &mut self,
        at: Position,
        line: usize,
        name: &str,
        depth: usize,
    ) -> Option<Kind> {
        if !self.variables.contains_key(name) {
            let value = self.environment(name, line, depth);
            self.variables.insert(name.to_owned(), value);
        }
        // Taken out, since copying needs all of `self`.
        let value = self.variables.remove(name)?;
        let kind = match &value {
            Ok(value) => self.copied(at, value, depth),
            Err(text) => {
                if !text.is_empty() {
                    self.fault(at, text.clone());
                }
                None
            }
        };
        self.variables.insert(name.to_owned(), value);
        kind
    }

    /// Reads the value of an environment variable. No text means that the fault is not worth
    /// telling.
    fn environment(&mut self, name: &str, line: usize, depth: usize) -> Result<Value, String> {
        let shown = word::shortened(name);
        let failed = |why: &str| {
            format!("variable reference for '{shown}' on line {line} could not be parsed: {why}")
        };
        if self.resolving.iter().any(|n| n == name) {
            return Err(failed(&format!("variable reference cycle for '{shown}'")));
        }
        if self.resolving.len() == CONFIG_INCLUDE_DEPTH {
            let why = format!("variables stand for each other over {CONFIG_INCLUDE_DEPTH} times");
            return Err(failed(&why));
        }
        let Some(text) = self.env.variable(name) else {
            if self.incomplete {
                return Err(String::new());
            }
            return Err(format!(
                "variable reference for '{shown}' on line {line} can not be found"
            ));
        };
        if text.len() > self.bytes_left || text.contains('\0') {
            return Err(failed("it is too long or has a NUL byte"));
        }
        self.bytes_left -= text.len();
        let text: Arc<str> = text.into();
        let file = self.sources.add(&format!("${name}"), text.clone());
        self.resolving.push(name.to_owned());
        let before = std::mem::take(&mut self.faults);
        let value = Reader::new(self, &text, file, None, depth).lone_value();
        let faults = std::mem::replace(&mut self.faults, before);
        self.resolving.pop();
        match (faults.first(), value) {
            (None, Ok(value)) => Ok(value),
            (fault, _) => Err(failed(fault.map_or("it is no value", |f| &f.text))),
        }
    }

    /// A copy of a value that a variable stands for, if it is not too much.
    pub(super) fn copied(&mut self, at: Position, value: &Value, depth: usize) -> Option<Kind> {
        let mut left = self.copies_left?;
        match weigh(&value.kind, depth, &mut left) {
            Ok(()) => {
                self.copies_left = Some(left);
                Some(value.kind.clone())
            }
            Err(text) => {
                self.copies_left = None;
                self.fault(at, text);
                None
            }
        }
    }
}

/// Takes from `left` what copying a value costs, which then is `depth` levels deep.
fn weigh(kind: &Kind, depth: usize, left: &mut usize) -> Result<(), String> {
    let bytes = |text: &str| 1 + text.len() / 64;
    let take = |left: &mut usize, n: usize| match left.checked_sub(n) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err("variables stand for too much: the configuration is too large".to_owned()),
    };
    let inside = depth + 1;
    match kind {
        Kind::Array(_) | Kind::Map(_) if inside > CONFIG_DEPTH => Err(too_deep()),
        Kind::Array(values) => {
            take(left, 1)?;
            values.iter().try_for_each(|v| weigh(&v.kind, inside, left))
        }
        Kind::Map(map) => {
            take(left, 1)?;
            map.iter().try_for_each(|e| {
                take(left, bytes(&e.key))?;
                weigh(&e.value.kind, inside, left)
            })
        }
        Kind::Text(text) => take(left, bytes(text)),
        _ => take(left, 1),
    }
}

pub(super) fn too_deep() -> String {
    format!("maps and arrays are nested more than {CONFIG_DEPTH} levels deep")
}

/// `path` below `dir`, also if it is absolute.
fn joined(dir: &Path, path: &str) -> PathBuf {
    let below = |c: &Component<'_>| !matches!(c, Component::Prefix(_) | Component::RootDir);
    let mut full = dir.to_owned();
    full.extend(Path::new(path).components().filter(below));
    full
}

/// A path without `.` and, as far as names come before it, without `..`.
fn clean(path: &Path) -> PathBuf {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.iter().collect()
}
