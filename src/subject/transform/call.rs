//! The functions that may stand in a token of a destination.
//!
//! | function | gives, for the token T that wildcard `n` stands for |
//! |---|---|
//! | `$n`, `{{wildcard(n)}}` | T |
//! | `{{partition(b,n...)}}` | the hash of these tokens, or of the whole subject, modulo b |
//! | `{{random(b)}}` | a number below b; 0 if that is 0 |
//! | `{{split(n,sep)}}` | what is between the separators in T |
//! | `{{splitfromleft(n,k)}}`, `{{splitfromright(n,k)}}` | T, cut k bytes from that side |
//! | `{{slicefromleft(n,k)}}`, `{{slicefromright(n,k)}}` | T, cut into pieces of k bytes |
//! | `{{left(n,k)}}`, `{{right(n,k)}}` | k bytes of T |
//!
//! The first letter of each word in a name may be either case. Blanks may stand around names and
//! numbers.

use super::Fault;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Function {
    /// No function, but the token itself.
    Literal(Box<[u8]>),
    Wildcard,
    Partition(u32),
    Random(u32),
    Split(Box<[u8]>),
    SplitFrom(Side, usize),
    SliceFrom(Side, usize),
    Part(Side, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Left,
    Right,
}

impl Function {
    /// Whether the result is never more than one token.
    pub(super) fn gives_one_token(&self) -> bool {
        use Function::{Literal, Part, Partition, Random, SliceFrom, Split, SplitFrom, Wildcard};
        match self {
            Literal(_) | Wildcard | Partition(_) | Random(_) | Part(..) => true,
            Split(_) | SplitFrom(..) | SliceFrom(..) => false,
        }
    }
}

/// The names of functions, in capital letters where these may be small, too.
const NAMES: [(&str, &str); 10] = [
    ("Wildcard", "wildcard"),
    ("Partition", "partition"),
    ("SplitFromLeft", "splitfromleft"),
    ("SplitFromRight", "splitfromright"),
    ("SliceFromLeft", "slicefromleft"),
    ("SliceFromRight", "slicefromright"),
    ("Right", "right"),
    ("Left", "left"),
    ("Split", "split"),
    ("Random", "random"),
];

/// The name of the function that is called in `token`, in small letters: empty if there is no such
/// function, `None` if the token does not look like a call.
pub(super) fn name(token: &str) -> Option<&'static str> {
    let call = inside(token)?;
    Some(name_and_arguments(call).map_or("", |(name, _)| name))
}

/// The function that `token` calls, and the indexes of the wildcards that it is given, from 1 but
/// unchecked.
///
/// # Errors
/// There is no such function, or its arguments are wrong.
pub(super) fn parse(token: &str) -> Result<(Function, Vec<i64>), Fault> {
    let literal = || (Function::Literal(token.as_bytes().into()), Vec::new());
    if let Some(index) = token.strip_prefix('$') {
        // Other subjects begin with a dollar sign, too.
        let call = index.parse().map(|index| (Function::Wildcard, vec![index]));
        return Ok(call.unwrap_or_else(|_| literal()));
    }
    let Some(call) = inside(token) else {
        return Ok(literal());
    };
    let (name, arguments) = name_and_arguments(call).ok_or(Fault::UnknownFunction)?;
    let arguments: Vec<&str> = arguments
        .split(',')
        .enumerate()
        .map(|(n, text)| match n {
            0 => text,
            _ => text.trim_start_matches(is_blank),
        })
        .collect();
    let side = |left| if left { Side::Left } else { Side::Right };
    match name {
        "wildcard" => match arguments[..] {
            [""] => Err(Fault::NotEnoughArguments),
            [index] => Ok((Function::Wildcard, vec![number(index)?])),
            _ => Err(Fault::TooManyArguments),
        },
        "partition" => {
            let count = count(arguments[0])?;
            let tokens = arguments[1..].iter().map(|index| number(index));
            Ok((
                Function::Partition(count),
                tokens.collect::<Result<_, _>>()?,
            ))
        }
        "random" => match arguments[..] {
            [limit] => Ok((Function::Random(count(limit)?), Vec::new())),
            _ => Err(Fault::NotEnoughArguments),
        },
        "split" => {
            let [index, separator] = two(&arguments)?;
            let index = number(index)?;
            if separator.contains([' ', '.']) {
                return Err(Fault::InvalidArgument);
            }
            Ok((Function::Split(separator.as_bytes().into()), vec![index]))
        }
        name => {
            let [index, size] = two(&arguments)?;
            let index = number(index)?;
            let size = i32::try_from(number(size)?).map_err(|_| Fault::InvalidArgument)?;
            // Nothing is cut by less than one byte.
            let size = usize::try_from(size).unwrap_or(0);
            let side = side(name.ends_with("left"));
            let function = match name {
                "splitfromleft" | "splitfromright" => Function::SplitFrom(side, size),
                "slicefromleft" | "slicefromright" => Function::SliceFrom(side, size),
                _ => Function::Part(side, size),
            };
            Ok((function, vec![index]))
        }
    }
}

/// What stands between the braces of a call.
fn inside(token: &str) -> Option<&str> {
    let call = token.strip_prefix("{{")?.strip_suffix("}}")?;
    (!call.is_empty()).then_some(call)
}

fn name_and_arguments(call: &str) -> Option<(&'static str, &str)> {
    let call = call.trim_matches(is_blank).strip_suffix(')')?;
    let (called, arguments) = call.split_once('(')?;
    let called = called.trim_end_matches(is_blank);
    let (_, name) = NAMES.iter().find(|(capital, _)| is_name(called, capital))?;
    Some((name, arguments))
}

/// Whether `called` is the name `capital`, but for capital letters that are small ones in it.
fn is_name(called: &str, capital: &str) -> bool {
    called.len() == capital.len()
        && called
            .bytes()
            .zip(capital.bytes())
            .all(|(a, b)| a == b || b.is_ascii_uppercase() && a == b.to_ascii_lowercase())
}

fn two<'a>(arguments: &[&'a str]) -> Result<[&'a str; 2], Fault> {
    match *arguments {
        [first, second] => Ok([first, second]),
        [] | [_] => Err(Fault::NotEnoughArguments),
        _ => Err(Fault::TooManyArguments),
    }
}

fn number(text: &str) -> Result<i64, Fault> {
    let number = text.trim_matches(' ').parse();
    number.map_err(|_| Fault::InvalidArgument)
}

/// A number from 0 to 2^31 - 1.
fn count(text: &str) -> Result<u32, Fault> {
    let count = i32::try_from(number(text)?).ok();
    count
        .and_then(|n| n.try_into().ok())
        .ok_or(Fault::InvalidArgument)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{c}' | '\r')
}
