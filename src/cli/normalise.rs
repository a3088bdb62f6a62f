//! Brings arguments into one form: every flag under its keys, every value an argument of its own.
//!
//! The rules are those of Go's flag package, which operators of the reference know: one dash or
//! two, `-flag value` or `-flag=value`, switches take a value only behind `=`, and the first
//! argument that is no flag ends them.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};

use super::flags::{Flag, Takes};
use crate::base::text::quoted;

/// Arguments in their normal form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Normal {
    /// Pairs of a key (see [`super::flags::key`]) and its value, in the order typed. Switches have
    /// `true` or `false`, numbers are decimal. Behind the pairs comes the first free word, if any.
    pub(super) args: Vec<OsString>,
}

/// What is wrong with the arguments, in the words of Go's flag package. Names are without dashes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UsageError {
    /// No flag has this name.
    NotDefined(String),
    /// The argument starts like a flag and cannot be one.
    BadSyntax(String),
    /// The flag came last and lacks its value.
    NeedsArgument(String),
    /// The value of a switch is no truth value.
    BadBoolean { name: String, value: String },
    /// The value does not fit the flag.
    BadValue {
        name: String,
        value: String,
        reason: &'static str,
    },
}

impl Display for UsageError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::NotDefined(name) => {
                write!(f, "flag provided but not defined: -{name}")
            }
            UsageError::BadSyntax(argument) => write!(f, "bad flag syntax: {argument}"),
            UsageError::NeedsArgument(name) => write!(f, "flag needs an argument: -{name}"),
            UsageError::BadBoolean { name, value } => {
                let value = quoted(value.as_bytes());
                write!(f, "invalid boolean value {value} for -{name}: parse error")
            }
            UsageError::BadValue {
                name,
                value,
                reason,
            } => {
                let value = quoted(value.as_bytes());
                write!(f, "invalid value {value} for flag -{name}: {reason}")
            }
        }
    }
}

impl std::error::Error for UsageError {}

/// The normal form of `args`, which do not include the program's own name.
pub(super) fn normalise(args: impl IntoIterator<Item = OsString>) -> Result<Normal, UsageError> {
    let mut normal = Normal::default();
    let mut args = args.into_iter();
    while let Some(argument) = args.next() {
        if argument == "--" {
            normal.args.extend(args.next());
            break;
        }
        let bytes = argument.as_encoded_bytes();
        if bytes.len() < 2 || bytes[0] != b'-' {
            normal.args.push(argument);
            break;
        }
        let (name, inline) = split(&argument)?;
        let flag = Flag::find(&name).ok_or_else(|| UsageError::NotDefined(name.clone()))?;
        let value = match (flag.takes, inline) {
            (Takes::Switch, inline) => switch(&name, &inline.unwrap_or("true".into()))?,
            (_, Some(inline)) => inline,
            (_, None) => args
                .next()
                .ok_or_else(|| UsageError::NeedsArgument(name.clone()))?,
        };
        let value = check(flag, &name, value)?;
        let keys = flag.keys.iter();
        normal
            .args
            .extend(keys.flat_map(|key| [key.into(), value.clone()]));
    }
    Ok(normal)
}

/// The name of a flag, and what follows `=`.
fn split(argument: &OsStr) -> Result<(String, Option<OsString>), UsageError> {
    let text = argument.to_string_lossy();
    let bare = text
        .strip_prefix("--")
        .or_else(|| text.strip_prefix('-'))
        .unwrap_or(&text);
    if bare.is_empty() || bare.starts_with(['-', '=']) {
        return Err(UsageError::BadSyntax(text.into_owned()));
    }
    let Some((name, value)) = bare.split_once('=') else {
        return Ok((bare.into(), None));
    };
    if argument.to_str().is_none() {
        // Cutting what is no text takes knowledge of the system; as an argument of its own the
        // value is taken as it is.
        let reason = "no UTF-8 text; give the value as an argument of its own";
        return Err(UsageError::BadValue {
            name: name.into(),
            value: value.into(),
            reason,
        });
    }
    Ok((name.into(), Some(value.into())))
}

fn switch(name: &str, value: &OsStr) -> Result<OsString, UsageError> {
    match value.to_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok("true".into()),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok("false".into()),
        _ => Err(UsageError::BadBoolean {
            name: name.into(),
            value: value.to_string_lossy().into_owned(),
        }),
    }
}

/// The value in its normal form if the flag can have it.
fn check(flag: &Flag, name: &str, value: OsString) -> Result<OsString, UsageError> {
    let bad = |reason| UsageError::BadValue {
        name: name.into(),
        value: value.to_string_lossy().into_owned(),
        reason,
    };
    match flag.takes {
        Takes::Switch | Takes::Path(_) => Ok(value),
        Takes::Text(_) if value.to_str().is_none() => Err(bad("no UTF-8 text")),
        Takes::Text(_) => Ok(value),
        Takes::Number(_) => integer(&value.to_string_lossy())
            .map(|n| n.to_string().into())
            .map_err(bad),
    }
}

/// A signed integer: decimal, or with the prefix `0x`, `0o`, `0` or `0b` hexadecimal, octal or
/// binary.
fn integer(text: &str) -> Result<i64, &'static str> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err("parse error");
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|_| "value out of range")
}

#[cfg(test)]
mod tests {
    use super::super::flags::key;
    use super::*;

    fn normal(args: &[&str]) -> Result<Normal, UsageError> {
        normalise(args.iter().map(OsString::from))
    }

    fn gives(args: &[&str], expected: &[&str]) {
        let normal = normal(args).unwrap();
        assert_eq!(normal.args, own(expected), "{args:?}");
    }

    fn own(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    fn fails(args: &[&str], text: &str) {
        assert_eq!(
            normal(args).map_err(|e| e.to_string()),
            Err(text.into()),
            "{args:?}"
        );
    }

    #[test]
    fn dashes_names_and_equals_signs_are_alike() {
        for args in [
            &["-p", "4000"][..],
            &["--p", "4000"],
            &["-port", "4000"],
            &["--port", "4000"],
            &["-p=4000"],
            &["--port=4000"],
            &["-p", "+4000"],
            &["-p", "0xFA0"],
            &["-p", "07640"],
        ] {
            gives(args, &[key::PORT, "4000"]);
        }
        for name in ["-n", "-name", "--name", "--server_name"] {
            gives(&[name, "a=b"], &[key::NAME, "a=b"]);
        }
        gives(&["-p", "-1"], &[key::PORT, "-1"]);
        gives(&["-n="], &[key::NAME, ""]);
    }

    #[test]
    fn values_may_look_like_flags() {
        gives(
            &["-n", "-v", "-a", "--"],
            &[key::NAME, "-v", key::HOST, "--"],
        );
    }

    #[test]
    fn switches_take_a_value_behind_the_equals_sign_only() {
        gives(&["-D"], &[key::DEBUG, "true"]);
        gives(
            &["-D=1", "--trace=F"],
            &[key::DEBUG, "true", key::TRACE, "false"],
        );
        gives(&["-D", "false"], &[key::DEBUG, "true", "false"]);
        fails(
            &["-D=maybe"],
            "invalid boolean value \"maybe\" for -D: parse error",
        );
        fails(&["-D="], "invalid boolean value \"\" for -D: parse error");
    }

    #[test]
    fn combined_switches_set_all_they_stand_for() {
        gives(&["-VV"], &[key::TRACE, "true", key::TRACE_VERBOSE, "true"]);
        gives(&["-DV"], &[key::DEBUG, "true", key::TRACE, "true"]);
        let all = [
            key::DEBUG,
            "true",
            key::TRACE,
            "true",
            key::TRACE_VERBOSE,
            "true",
        ];
        gives(&["-DVV"], &all);
    }

    #[test]
    fn the_first_free_word_ends_the_flags() {
        gives(&["help", "-v"], &["help"]);
        gives(&["-D", "--", "-v", "x"], &[key::DEBUG, "true", "-v"]);
        gives(&["-"], &["-"]);
        gives(&[""], &[""]);
        gives(&["--"], &[]);
        gives(&[], &[]);
    }

    #[test]
    fn mistakes_are_told_in_familiar_words() {
        fails(&["--bogus"], "flag provided but not defined: -bogus");
        fails(&["-v", "-hx=3"], "flag provided but not defined: -hx");
        fails(&["---p"], "bad flag syntax: ---p");
        fails(&["-=3"], "bad flag syntax: -=3");
        fails(&["-a"], "flag needs an argument: -a");
        for value in ["x", "", " 1", "1x", "0x", "--1", "1=2", "09"] {
            let text = format!("invalid value \"{value}\" for flag -p: parse error");
            fails(&["-p", value], &text);
        }
        let text = "invalid value \"9223372036854775808\" for flag -p: value out of range";
        fails(&["-p", "9223372036854775808"], text);
    }

    #[test]
    fn flags_of_clusters_are_read() {
        let read = normal(&["-D", "--connect_retries", "5", "-cluster_listen", "x"]).unwrap();
        let retries = [key::CONNECT_RETRIES, "5", key::CLUSTER, "x"];
        assert_eq!(
            read.args,
            own(&[&[key::DEBUG, "true"][..], &retries].concat())
        );
        let text = "invalid value \"x\" for flag -connect_retries: parse error";
        fails(&["-connect_retries", "x"], text);
    }

    #[test]
    #[cfg(unix)]
    fn file_names_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"/run/\xff".to_vec());
        let args = normalise(["-P".into(), odd.clone()]).unwrap().args;
        assert_eq!(args, [key::PID_FILE.into(), odd.clone()]);
        assert!(matches!(
            normalise(["-n".into(), odd]),
            Err(UsageError::BadValue { .. })
        ));
        let joined = OsString::from_vec(b"-P=/run/\xff".to_vec());
        assert!(matches!(
            normalise([joined]),
            Err(UsageError::BadValue { .. })
        ));
    }
}
