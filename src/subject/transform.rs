//! Subject transforms: a subject that a source pattern matches becomes another one.
//!
//! The destination is a subject in whose tokens functions may stand, such as `$1` or
//! `{{partition(10,1)}}`: see `call.rs`. Its meaning, and the texts of errors, are those of the Go
//! server's `subject_transform.go` (2.15), and so an index below 1 stands for the subject's first
//! token. Other than there, negative numbers of partitions are errors, and a strict transform can
//! be undone whatever its source is.
//!
//! Results are made of the bytes of the destination and of the subject, and of dots and digits.
//! They may have empty tokens, as when nothing is left of a token that is split, or when a
//! function is given an empty one; such subjects reach nobody.

mod call;
#[cfg(test)]
mod tests;

use self::call::{Function, Side};
use super::pattern::matches;
use super::{is_valid, is_wildcard_token};
use crate::base::rng::Rng;
use std::fmt;

/// Why there is no such transform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransformError {
    fault: Fault,
    /// The part of the destination that is wrong; empty if it is all of it.
    token: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    BadSubject,
    BadDestination,
    UnknownFunction,
    IndexOutOfRange,
    NotEnoughArguments,
    TooManyArguments,
    InvalidArgument,
    NotForImports,
    NotAllWildcards,
}

impl TransformError {
    fn new(fault: Fault, token: impl Into<String>) -> TransformError {
        let token = token.into();
        TransformError { fault, token }
    }
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.fault {
            Fault::BadSubject => return f.write_str("invalid subject"),
            Fault::BadDestination => "invalid mapping destination: invalid transform",
            Fault::UnknownFunction => "invalid mapping destination: unknown function",
            Fault::IndexOutOfRange => "invalid mapping destination: wildcard index out of range",
            Fault::NotEnoughArguments => {
                "invalid mapping destination: not enough arguments passed to the function"
            }
            Fault::TooManyArguments => {
                "invalid mapping destination: too many arguments passed to the function"
            }
            Fault::InvalidArgument => {
                "invalid mapping destination: function argument is invalid or in the wrong format"
            }
            Fault::NotForImports => {
                "invalid mapping destination: the only mapping function allowed for import \
                 transforms is {{Wildcard()}}"
            }
            Fault::NotAllWildcards => {
                "invalid mapping destination: not using all of the token wildcard(s)"
            }
        })?;
        match self.token.as_str() {
            "" => Ok(()),
            token => write!(f, " in {token}"),
        }
    }
}

impl std::error::Error for TransformError {}

/// What makes a subject of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transform {
    source: Box<[u8]>,
    /// The tokens of the result, a final `>` aside; `None`: the subject stays as it is.
    pieces: Option<Vec<Piece>>,
    /// Where the source ends in `>`: the number of the subject's first token that it stands for,
    /// from 0. That token and what follows it end the result.
    rest: Option<usize>,
}

/// A token of the destination.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    function: Function,
    /// The subject's tokens that the function is given, from 0.
    tokens: Box<[usize]>,
}

impl Transform {
    /// The transform of `source` to `destination`. No source means `>`. No destination means that
    /// subjects which match stay as they are.
    ///
    /// A `strict` one, which imports and exports need, can be undone: the only functions in it are
    /// wildcards, and each wildcard of the source is used.
    ///
    /// # Errors
    /// What is wrong with the destination, or that source and destination do not go together: both
    /// end in `>` or neither does, and there is no `*` in the destination.
    pub fn new(source: &str, destination: &str, strict: bool) -> Result<Transform, TransformError> {
        let bad = || TransformError::new(Fault::BadSubject, "");
        let source = if source.is_empty() { ">" } else { source };
        if !is_printable(source) || !is_valid(source.as_bytes()) {
            return Err(bad());
        }
        let head: Vec<&str> = source.split('.').filter(|token| *token != ">").collect();
        let has_rest = source.split('.').any(|token| token == ">");
        let rest = has_rest.then_some(head.len());
        if destination.is_empty() {
            return Ok(Transform {
                source: source.as_bytes().into(),
                pieces: None,
                rest,
            });
        }
        let mut tokens: Vec<&str> = destination.split('.').collect();
        if has_rest != (tokens.last() == Some(&">")) {
            return Err(bad());
        }
        if has_rest {
            tokens.pop();
        }
        if tokens
            .iter()
            .any(|t| is_wildcard_token(t.as_bytes()) || t.is_empty())
        {
            return Err(bad());
        }
        let wildcards: Vec<usize> = (0..head.len()).filter(|at| head[*at] == "*").collect();
        let is_literal = wildcards.is_empty() && !has_rest;
        let mut pieces = Vec::with_capacity(tokens.len());
        for token in tokens {
            pieces.push(piece(token, &wildcards, is_literal, strict)?);
        }
        let unused = |at: &usize| !pieces.iter().any(|piece| piece.tokens.contains(at));
        if strict && wildcards.iter().any(unused) {
            return Err(TransformError::new(Fault::NotAllWildcards, destination));
        }
        Ok(Transform {
            source: source.as_bytes().into(),
            pieces: Some(pieces),
            rest,
        })
    }

    /// The transform of a configured mapping, such as those of accounts and streams. It must have a
    /// destination, and what is wrong with that is told more precisely (as by the Go server's
    /// `ValidateMapping`).
    ///
    /// # Errors
    /// As for [`Transform::new`].
    pub fn for_mapping(source: &str, destination: &str) -> Result<Transform, TransformError> {
        let mut ended = false;
        for token in destination.split('.') {
            if token.is_empty() || ended {
                return Err(TransformError::new(Fault::BadDestination, token));
            }
            match call::name(token) {
                Some("") => return Err(TransformError::new(Fault::UnknownFunction, token)),
                Some(_) => {}
                None if is_printable(token) => ended = token == ">",
                None => return Err(TransformError::new(Fault::BadDestination, "")),
            }
        }
        Transform::new(source, destination, false)
    }

    /// Writes what becomes of `subject` to `out`, in place of what is there. `false` if the source
    /// does not match it, or if there is a byte below 0x21 in it; `out` is empty then.
    pub fn apply(&self, subject: &[u8], rng: &mut Rng, out: &mut Vec<u8>) -> bool {
        out.clear();
        if !matches(&self.source, subject) || subject.iter().any(|byte| *byte < 0x21) {
            return false;
        }
        let Some(pieces) = &self.pieces else {
            out.extend_from_slice(subject);
            return true;
        };
        for (n, piece) in pieces.iter().enumerate() {
            if n > 0 {
                out.push(b'.');
            }
            piece.write(subject, rng, out);
        }
        if let Some(first) = self.rest {
            if !pieces.is_empty() {
                out.push(b'.');
            }
            out.extend_from_slice(&subject[token_start(subject, first)..]);
        }
        true
    }

    /// The pattern of the subjects that are transformed.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// A pattern that matches every result which is a valid subject: the destination with `*`
    /// where functions are, or `>` from the first on that may give several tokens.
    pub fn destination_pattern(&self) -> Vec<u8> {
        let Some(pieces) = &self.pieces else {
            return self.source.to_vec();
        };
        let mut pattern = Vec::new();
        for piece in pieces {
            match &piece.function {
                Function::Literal(token) => pattern.extend_from_slice(token),
                function if function.gives_one_token() => pattern.push(b'*'),
                _ => {
                    pattern.push(b'>');
                    return pattern;
                }
            }
            pattern.push(b'.');
        }
        match self.rest {
            Some(_) => pattern.push(b'>'),
            None => drop(pattern.pop()),
        }
        pattern
    }

    /// The transform that undoes this one: from its destination's pattern to its source. `None` if
    /// there is none, because a function loses something or a wildcard is used more than once or
    /// not at all. A strict transform has one unless it uses a wildcard twice.
    pub fn reverse(&self) -> Option<Transform> {
        let Some(pieces) = &self.pieces else {
            return Some(self.clone());
        };
        let is_plain = |f: &Function| matches!(f, Function::Literal(_) | Function::Wildcard);
        if !pieces.iter().all(|piece| is_plain(&piece.function)) {
            return None;
        }
        let head = self.source.split(|b| *b == b'.').filter(|t| *t != b">");
        let mut reversed = Vec::new();
        for (n, token) in head.enumerate() {
            let mut users = (0..pieces.len()).filter(|at| pieces[*at].tokens.contains(&n));
            reversed.push(match (users.next(), users.next()) {
                (Some(user), None) => Piece {
                    function: Function::Wildcard,
                    tokens: [user].into(),
                },
                (None, _) if token != b"*" => Piece {
                    function: Function::Literal(token.into()),
                    tokens: [].into(),
                },
                _ => return None,
            });
        }
        Some(Transform {
            source: self.destination_pattern().into(),
            pieces: Some(reversed),
            rest: self.rest.map(|_| pieces.len()),
        })
    }
}

/// What the `token` of a destination stands for. `wildcards` are the places of the source's.
fn piece(
    token: &str,
    wildcards: &[usize],
    is_literal: bool,
    strict: bool,
) -> Result<Piece, TransformError> {
    let fault = |fault| TransformError::new(fault, token);
    let (function, indexes) = call::parse(token).map_err(fault)?;
    match function {
        Function::Literal(_) if !is_printable(token) => {
            return Err(TransformError::new(Fault::BadSubject, ""));
        }
        Function::Literal(_) | Function::Wildcard => {}
        _ if strict => return Err(fault(Fault::NotForImports)),
        Function::Random(_) => {}
        // The Go server does not look at the indexes here, either.
        Function::Partition(_) if is_literal => {
            let tokens = [].into();
            return Ok(Piece { function, tokens });
        }
        _ => {}
    }
    if is_literal && !indexes.is_empty() {
        return Err(fault(Fault::IndexOutOfRange));
    }
    let place = |index: &i64| {
        let place = match usize::try_from(*index) {
            Ok(index) if index > 0 => wildcards.get(index - 1).copied(),
            _ => (!strict).then_some(0),
        };
        let text = || format!("{token}: [{index}]");
        place.ok_or_else(|| TransformError::new(Fault::IndexOutOfRange, text()))
    };
    let tokens = indexes.iter().map(place).collect::<Result<_, _>>()?;
    Ok(Piece { function, tokens })
}

/// Whether there are neither blanks nor control characters in the text.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x21)
}

impl Piece {
    fn write(&self, subject: &[u8], rng: &mut Rng, out: &mut Vec<u8>) {
        let given = |n: usize| token(subject, self.tokens[n]);
        match &self.function {
            Function::Literal(token) => out.extend_from_slice(token),
            Function::Wildcard => out.extend_from_slice(given(0)),
            Function::Partition(count) => {
                let mut hash = Fnv::NEW;
                if self.tokens.is_empty() {
                    hash.add(subject);
                }
                for n in 0..self.tokens.len() {
                    hash.add(given(n));
                }
                write_number(hash.0.checked_rem(*count).unwrap_or(0), out);
            }
            Function::Random(count) => {
                let number = rng.below(usize::try_from(*count).unwrap_or(usize::MAX));
                write_number(u32::try_from(number).expect("it is below a u32"), out);
            }
            Function::Split(separator) => split(given(0), separator, out),
            Function::SplitFrom(side, at) => {
                let token = given(0);
                match cut(token, *side, *at) {
                    Some(at) => write_parts([&token[..at], &token[at..]].into_iter(), out),
                    None => out.extend_from_slice(token),
                }
            }
            Function::SliceFrom(side, size) => {
                let token = given(0);
                match cut(token, *side, *size) {
                    None => out.extend_from_slice(token),
                    Some(_) => {
                        let first = match side {
                            Side::Left => 0,
                            Side::Right => token.len() % size,
                        };
                        let (first, others) = token.split_at(first);
                        let first = (!first.is_empty()).then_some(first);
                        write_parts(first.into_iter().chain(others.chunks(*size)), out);
                    }
                }
            }
            Function::Part(side, size) => {
                let token = given(0);
                out.extend_from_slice(match (cut(token, *side, *size), side) {
                    (None, _) => token,
                    (Some(at), Side::Left) => &token[..at],
                    (Some(at), Side::Right) => &token[at..],
                });
            }
        }
    }
}

/// Where the bytes of `token` part when `count` of them are taken from one side; `None` if there
/// is nothing on one of the sides then.
fn cut(token: &[u8], side: Side, count: usize) -> Option<usize> {
    (count > 0 && count < token.len()).then(|| match side {
        Side::Left => count,
        Side::Right => token.len() - count,
    })
}

/// Writes what is between the separators, with dots; between characters if there is no separator.
fn split(token: &[u8], separator: &[u8], out: &mut Vec<u8>) {
    if separator.is_empty() {
        let parts = token.utf8_chunks().flat_map(|chunk| {
            let valid = chunk.valid();
            let characters = valid
                .char_indices()
                .map(move |(at, c)| &valid.as_bytes()[at..][..c.len_utf8()]);
            characters.chain(chunk.invalid().chunks(1))
        });
        return write_parts(parts, out);
    }
    let mut start = 0;
    let cuts = memchr::memmem::find_iter(token, separator).chain([token.len()]);
    let mut parts = cuts
        .map(|end| {
            let part = &token[start..end];
            start = end + separator.len();
            part
        })
        .enumerate()
        .peekable();
    while let Some((n, part)) = parts.next() {
        out.extend_from_slice(part);
        let is_before_more = parts.peek().is_some_and(|(_, next)| !next.is_empty());
        // A single separator in front is dropped, but of several one dot stays, as in the Go
        // server; the result's first token is empty then.
        if is_before_more && !(n == 0 && part.is_empty()) {
            out.push(b'.');
        }
    }
}

fn write_parts<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (n, part) in parts.enumerate() {
        if n > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(part);
    }
}

fn write_number(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Where the token with this number begins, from 0; the subject's end if it has no such token.
fn token_start(subject: &[u8], number: usize) -> usize {
    match number {
        0 => 0,
        _ => memchr::memchr_iter(b'.', subject)
            .nth(number - 1)
            .map_or(subject.len(), |dot| dot + 1),
    }
}

fn token(subject: &[u8], number: usize) -> &[u8] {
    super::first_token(&subject[token_start(subject, number)..])
}

/// The FNV-1a hash of 32 bits.
struct Fnv(u32);

impl Fnv {
    const NEW: Fnv = Fnv(0x811c_9dc5);

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}
