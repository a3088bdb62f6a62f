//! Subjects with wildcards, compared with each other, and the rewriting of subjects that match
//! one pattern into subjects that match another.

use crate::subject;
use std::fmt;

/// Whether every subject that matches `narrow` matches `wide`, too. Both are valid.
pub(super) fn is_subset(narrow: &str, wide: &str) -> bool {
    let mut tokens = narrow.split('.');
    for wanted in wide.split('.') {
        let Some(token) = tokens.next() else {
            return false;
        };
        match (token, wanted) {
            (_, ">") => return true,
            (">", _) => return false,
            (_, "*") => {}
            (token, wanted) if token == wanted => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// The pattern of the subjects that match both patterns, which are valid; none if no subject does.
pub(super) fn intersection(one: &str, two: &str) -> Option<String> {
    let mut out = String::new();
    let (mut a, mut b) = (one.split('.'), two.split('.'));
    loop {
        let (x, y) = (a.next(), b.next());
        let token = match (x, y) {
            (None, None) => return Some(out),
            (None, _) | (_, None) => return None,
            (Some(">"), Some(y)) => {
                push(&mut out, y);
                b.for_each(|token| push(&mut out, token));
                return Some(out);
            }
            (Some(x), Some(">")) => {
                push(&mut out, x);
                a.for_each(|token| push(&mut out, token));
                return Some(out);
            }
            (Some("*"), Some(y)) => y,
            (Some(x), Some("*")) => x,
            (Some(x), Some(y)) if x == y => x,
            _ => return None,
        };
        push(&mut out, token);
    }
}

fn push(out: &mut String, token: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(token);
}

/// Why one pattern cannot be rewritten into another. The texts are the reference's.
#[derive(Debug, PartialEq)]
pub(super) enum BadMapping {
    /// One of the patterns is invalid, or one has a `>` and the other has not.
    Subject,
    /// A token that looks like a function and is none.
    Function(String),
    /// A function other than `wildcard`.
    NotForImports(String),
    /// A number beyond those of the wildcards.
    OutOfRange(String),
    /// A wildcard of the source that the destination does not use.
    Unused(String),
}

impl fmt::Display for BadMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, token) = match self {
            BadMapping::Subject => return f.write_str("invalid subject"),
            BadMapping::Function(token) => ("unknown function", token),
            BadMapping::NotForImports(token) => (
                "the only mapping function allowed for import transforms is {{Wildcard()}}",
                token,
            ),
            BadMapping::OutOfRange(token) => ("wildcard index out of range", token),
            BadMapping::Unused(token) => ("not using all of the token wildcard(s)", token),
        };
        write!(f, "invalid mapping destination: {what} in {token}")
    }
}

/// Makes of a subject that matches one pattern the one that corresponds to it by another.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapper(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Same,
    Always(Box<str>),
    Parts(Box<[Part]>),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(Box<str>),
    /// The token at this place of the subject.
    Token(usize),
    /// The tokens from this place on.
    Rest(usize),
}

/// A token of a pattern in which `$1` and `{{wildcard(1)}}` stand for a wildcard.
enum Token<'a> {
    Literal(&'a str),
    /// A `*`.
    Next,
    /// The wildcard with this number, from 1.
    Numbered(usize),
    Rest,
}

fn token(text: &str) -> Result<Token<'_>, BadMapping> {
    match text {
        "*" => return Ok(Token::Next),
        ">" => return Ok(Token::Rest),
        _ => {}
    }
    if let Some(number) = text.strip_prefix('$')
        && let Ok(number) = number.parse()
    {
        return Ok(Token::Numbered(number));
    }
    let Some(function) = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")) else {
        return Ok(Token::Literal(text));
    };
    let function = function.trim();
    let call = function.strip_suffix(')').and_then(|f| f.split_once('('));
    match call {
        Some(("wildcard" | "Wildcard", number)) => match number.trim().parse() {
            Ok(number) => Ok(Token::Numbered(number)),
            Err(_) => Err(BadMapping::OutOfRange(text.to_owned())),
        },
        Some((name, _)) if is_function(name) => Err(BadMapping::NotForImports(text.to_owned())),
        _ => Err(BadMapping::Function(text.to_owned())),
    }
}

fn is_function(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "partition",
        "random",
        "split",
        "splitfromleft",
        "splitfromright",
        "slicefromleft",
        "slicefromright",
        "left",
        "right",
    ];
    NAMES.contains(&name.to_ascii_lowercase().as_str())
}

/// A pattern with plain wildcards where `pattern` has numbered ones.
pub(super) fn plain(pattern: &str) -> String {
    let tokens = pattern.split('.').map(|text| match token(text) {
        Ok(Token::Numbered(number)) if number > 0 => "*",
        _ => text,
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// Where the wildcards of `source` come from in `numbered`: a row of places for each.
fn places(numbered: &str) -> Result<(Vec<Option<usize>>, bool), BadMapping> {
    let (mut places, mut rest, mut next) = (Vec::new(), false, 0);
    for (place, text) in numbered.split('.').enumerate() {
        let number = match token(text)? {
            Token::Literal(_) => continue,
            Token::Rest => {
                rest = true;
                continue;
            }
            Token::Next => {
                next += 1;
                next
            }
            Token::Numbered(number) => number,
        };
        let out_of_range = || BadMapping::OutOfRange(format!("{text}: [{number}]"));
        let index = number.checked_sub(1).ok_or_else(out_of_range)?;
        if index > numbered.len() {
            return Err(out_of_range());
        }
        if places.len() <= index {
            places.resize(index + 1, None);
        }
        places[index].get_or_insert(place);
    }
    Ok((places, rest))
}

impl Mapper {
    /// From `source`, which has plain wildcards, to `destination`, where `*` stand for them in
    /// their order, or `$1`, `$2` in any. All wildcards are to be used.
    pub(super) fn forwards(source: &str, destination: &str) -> Result<Mapper, BadMapping> {
        Mapper::new(source, destination, destination)
    }

    /// From `source`, in which the wildcards may have numbers, to `destination`, whose plain
    /// wildcards they are.
    pub(super) fn backwards(source: &str, destination: &str) -> Result<Mapper, BadMapping> {
        Mapper::new(source, destination, source)
    }

    /// `faulty` is the pattern that somebody wrote to fit the other.
    fn new(source: &str, destination: &str, faulty: &str) -> Result<Mapper, BadMapping> {
        if source == destination {
            return Ok(Mapper(Kind::Same));
        }
        let valid = |pattern: &str| subject::is_valid(pattern.as_bytes());
        if !valid(source) || !valid(destination) {
            return Err(BadMapping::Subject);
        }
        let (from, rest_from) = places(source)?;
        let (to, rest_to) = places(destination)?;
        if to.is_empty() && !rest_to && faulty == source {
            // Whatever is asked here is the same question there.
            return Ok(Mapper(Kind::Always(destination.into())));
        }
        if rest_from != rest_to {
            return Err(BadMapping::Subject);
        }
        let (own, other) = if faulty == source {
            (&from, &to)
        } else {
            (&to, &from)
        };
        if own.len() > other.len() {
            let number = own.len();
            let place = own.last().copied().flatten().unwrap_or_default();
            let token = faulty.split('.').nth(place).unwrap_or_default();
            return Err(BadMapping::OutOfRange(format!("{token}: [{number}]")));
        }
        if own.len() < other.len() || own.contains(&None) {
            return Err(BadMapping::Unused(faulty.to_owned()));
        }
        if to.is_empty() && !rest_to {
            return Ok(Mapper(Kind::Always(destination.into())));
        }
        let (mut parts, mut next) = (Vec::new(), 0);
        for text in destination.split('.') {
            let wildcard = |number: usize| {
                let place = number.checked_sub(1).and_then(|at| *from.get(at)?);
                place.ok_or_else(|| BadMapping::OutOfRange(text.to_owned()))
            };
            parts.push(match token(text)? {
                Token::Literal(text) => Part::Literal(text.into()),
                Token::Rest => Part::Rest(source.split('.').count() - 1),
                Token::Next => {
                    next += 1;
                    Part::Token(wildcard(next)?)
                }
                Token::Numbered(number) => Part::Token(wildcard(number)?),
            });
        }
        Ok(Mapper(Kind::Parts(parts.into())))
    }

    /// Appends what becomes of a subject that matches the source; of a pattern that is part of
    /// it, as well.
    pub fn apply(&self, subject: &[u8], out: &mut Vec<u8>) {
        let parts = match &self.0 {
            Kind::Same => return out.extend_from_slice(subject),
            Kind::Always(text) => return out.extend_from_slice(text.as_bytes()),
            Kind::Parts(parts) => parts,
        };
        let start = out.len();
        for part in parts {
            if out.len() > start {
                out.push(b'.');
            }
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Token(at) => {
                    let token = subject.split(|b| *b == b'.').nth(*at);
                    out.extend_from_slice(token.unwrap_or_default());
                }
                Part::Rest(at) => {
                    let mut tokens = subject.splitn(at + 1, |b| *b == b'.');
                    out.extend_from_slice(tokens.nth(*at).unwrap_or_default());
                }
            }
        }
    }

    /// What becomes of a pattern that is part of the source.
    pub(super) fn map(&self, pattern: &str) -> String {
        let mut out = Vec::new();
        self.apply(pattern.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(source: &str, destination: &str, subject: &str) -> Result<String, String> {
        let mapper = Mapper::forwards(source, destination).map_err(|e| e.to_string())?;
        Ok(mapper.map(subject))
    }

    #[test]
    fn subjects_are_rewritten() {
        for (source, destination, subject, want) in [
            ("a.*", "a.*", "a.x", "a.x"),
            ("a.>", "p.a.>", "a.x.y", "p.a.x.y"),
            ("a.*.*", "b.$2.$1", "a.x.y", "b.y.x"),
            ("a.*.*", "b.*.*", "a.x.y", "b.x.y"),
            ("a.*", "{{wildcard(1)}}.z", "a.x", "x.z"),
            ("a.*.b.>", "$1.>", "a.x.b.c.d", "x.c.d"),
            ("a", "b", "a", "b"),
            (">", "p.>", "a.b", "p.a.b"),
        ] {
            assert_eq!(
                map(source, destination, subject),
                Ok(want.to_owned()),
                "{source}"
            );
        }
        let back = Mapper::backwards("my.$2.$3.$1", "req.*.*.*").unwrap();
        assert_eq!(back.map("my.b.c.a"), "req.a.b.c");
        let always = Mapper::backwards("my.*", "req").unwrap();
        assert_eq!(always.map("my.x"), "req");
    }

    #[test]
    fn bad_mappings_are_refused() {
        let bad = |source, destination| map(source, destination, "").unwrap_err();
        let head = "invalid mapping destination: ";
        for (source, destination, want) in [
            ("a.*", "b", "not using all of the token wildcard(s) in b"),
            ("a.*", "b.$2", "wildcard index out of range in $2: [2]"),
            ("a.*", "b.$0", "wildcard index out of range in $0: [0]"),
            ("a", "b.*", "wildcard index out of range in *: [1]"),
            (
                "a.*.*",
                "b.$1.$1",
                "not using all of the token wildcard(s) in b.$1.$1",
            ),
            ("a.*", "b.{{nope(1)}}", "unknown function in {{nope(1)}}"),
        ] {
            assert_eq!(bad(source, destination), format!("{head}{want}"));
        }
        assert_eq!(bad("a.>", "b"), "invalid subject");
        assert_eq!(bad("a.*", "b."), "invalid subject");
        assert!(bad("a.*", "b.{{random(3)}}").contains("only mapping function allowed"));
        assert!(bad("a.*", "b.$99999999999999999999").contains("not using all"));
        assert!(bad("a.*", "b.$4000000000").contains("out of range"));
    }

    fn pattern() -> impl Strategy<Value = String> {
        let token = prop_oneof![Just("a"), Just("b"), Just("*")];
        let tokens = proptest::collection::vec(token, 1..4);
        (tokens, any::<bool>()).prop_map(|(tokens, rest)| {
            let text = tokens.join(".");
            if rest { text + ".>" } else { text }
        })
    }

    fn literal() -> impl Strategy<Value = String> {
        let token = prop_oneof![Just("a"), Just("b"), Just("c")];
        proptest::collection::vec(token, 1..6).prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn an_intersection_matches_what_both_do(one in pattern(), two in pattern(), s in literal()) {
            let both = is_subset(&s, &one) && is_subset(&s, &two);
            let met = intersection(&one, &two);
            prop_assert_eq!(met.as_ref().is_some_and(|m| is_subset(&s, m)), both);
            if let Some(met) = met {
                prop_assert!(is_subset(&met, &one) && is_subset(&met, &two));
            }
        }

        #[test]
        fn mapping_there_and_back_changes_nothing(one in pattern()) {
            let mut fill = "cdefgh".chars();
            let s: String = one.chars().map(|c| match c {
                '*' | '>' => fill.next().unwrap(),
                c => c,
            }).collect();
            let wildcards = one.split('.').filter(|t| *t == "*").count();
            let mut two: Vec<String> = (1..=wildcards).rev().map(|n| format!("${n}")).collect();
            two.push("z".into());
            if one.ends_with('>') {
                two.push(">".into());
            }
            let two = two.join(".");
            let there = Mapper::forwards(&one, &two).unwrap().map(&s);
            prop_assert!(is_subset(&there, &plain(&two)));
            prop_assert_eq!(Mapper::backwards(&two, &one).unwrap().map(&there), s);
        }
    }
}
