//! The keys that a configuration file may have: one table, which checking, applying, the manual
//! page and the suggestions for misspelt keys all read.
//!
//! [`ready`] holds the keys that are applied, each with what it sets; [`later`] those of features
//! that this server does not have yet. A key moves from one to the other with its feature.
//! [`blocks`] holds the keys inside of blocks that are applied.

pub(super) mod blocks;
mod later;
mod ready;

use super::Options;
use super::file::Check;
use crate::config::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A key under all its names.
pub(super) struct Key {
    /// The name in the manual, then its aliases; in lower case, as case does not matter.
    pub(super) names: &'static [&'static str],
    pub(super) what: What,
}

/// What becomes of a key's value.
pub(super) enum What {
    /// It is applied.
    Ready {
        set: Set,
        /// The value without the key, as the manual has it.
        default: &'static str,
    },
    /// It is applied with the block that it stands in.
    Part(Takes),
    /// It is refused, unless it turns the feature off.
    Later(Takes),
    /// It is a number, and refused unless it is zero, for this reason.
    Never(&'static str),
}

/// What a key's value has to be, and what it sets.
pub(super) enum Set {
    Bool(fn(&mut Options, bool)),
    /// A number of things, or of bytes, between these two, both included. Where zero means
    /// something else, the setter knows.
    Int(i64, i64, fn(&mut Options, i64)),
    /// A duration, text such as `1m30s`; or, with a warning, a number of seconds.
    Time(fn(&mut Options, Duration)),
    /// A duration that cannot be a number, and its minimum.
    LongTime(Duration, fn(&mut Options, Duration)),
    Text(fn(&mut Options, String)),
    /// Text without white space.
    Name(fn(&mut Options, String)),
    /// One of these words.
    Word(&'static [&'static str], fn(&mut Options, &str)),
    /// One text, or a list of them.
    Texts(fn(&mut Options, Vec<String>)),
    /// A map of texts.
    Pairs(fn(&mut Options, BTreeMap<String, String>)),
    /// A port, or `host:port`, where the host may be empty.
    Listen(fn(&mut Options, String, i32)),
    /// A value with parts, which is checked for what it has to be before it is read.
    Block(Takes, fn(&mut Options, &Value, &mut Check<'_>)),
}

/// What a value has to be, for keys inside of blocks and for those that are not applied yet.
pub(super) enum Takes {
    Bool,
    Int,
    Text,
    /// Text that may be a secret, so it is not shown. A number is none: 007 is read as 7.
    Credential,
    /// A duration, or a number of seconds.
    Time,
    /// That, or the word `always`.
    TimeOrAlways,
    /// A port, or `host:port`.
    Listen,
    /// One text, or a list of them.
    Texts,
    /// A map with these keys.
    Block(&'static [Key]),
    /// A list of maps with these keys.
    Blocks(&'static [Key]),
    /// A map of names that are chosen freely, each to one of these.
    Each(&'static Takes),
    /// A map of names that are chosen freely.
    Free,
    /// A subject, a list of them, or a map with these keys.
    Subjects(&'static [Key]),
    /// One of these.
    Either(&'static [Takes]),
}

impl Key {
    /// The key of that name, in whatever case, among `keys`.
    pub(super) fn find<'k>(keys: impl IntoIterator<Item = &'k Key>, name: &str) -> Option<&'k Key> {
        let is = |own: &&'static str| own.eq_ignore_ascii_case(name);
        keys.into_iter().find(|key| key.names.iter().any(is))
    }

    pub(super) fn name(&self) -> &'static str {
        self.names[0]
    }
}

/// All keys at the top of a file.
pub(super) fn top() -> impl Iterator<Item = &'static Key> {
    ready::KEYS.iter().chain(later::KEYS)
}

impl Set {
    /// What the value has to be, in words.
    pub(super) fn wants(&self) -> String {
        match self {
            Set::Bool(_) => Takes::Bool.wants(),
            Set::Int(..) => Takes::Int.wants(),
            Set::Time(_) => Takes::Time.wants(),
            Set::LongTime(..) => "a duration such as \"2m\"".into(),
            Set::Text(_) | Set::Name(_) => Takes::Text.wants(),
            Set::Word(words, _) => words.join(", "),
            Set::Texts(_) => Takes::Texts.wants(),
            Set::Pairs(_) => "a map of texts".into(),
            Set::Listen(_) => Takes::Listen.wants(),
            Set::Block(takes, _) => takes.wants(),
        }
    }
}

impl Takes {
    /// What the value has to be, in words.
    pub(super) fn wants(&self) -> String {
        match self {
            Takes::Bool => "true or false".into(),
            Takes::Int => "a whole number".into(),
            Takes::Text => "text".into(),
            Takes::Credential => "text in quotes".into(),
            Takes::Time | Takes::TimeOrAlways => "a duration such as \"10s\"".into(),
            Takes::Listen => "a port or host:port".into(),
            Takes::Texts => "text or a list of texts".into(),
            Takes::Block(_) | Takes::Each(_) | Takes::Free => "a map".into(),
            Takes::Blocks(_) => "a list of maps".into(),
            Takes::Subjects(_) => "a subject, a list of subjects or a map".into(),
            Takes::Either(takes) => {
                let all = takes.iter().map(Takes::wants).collect::<Vec<_>>();
                all.join(", or ")
            }
        }
    }
}

/// A key as operators are told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Documented {
    /// The key and its aliases.
    pub names: &'static [&'static str],
    /// What its value has to be.
    pub wants: String,
    /// What holds without it.
    pub default: &'static str,
    /// Whether it can change while the server runs.
    pub live: bool,
}

/// All keys that are applied.
pub fn documented() -> impl Iterator<Item = Documented> {
    ready::KEYS.iter().filter_map(|key| match &key.what {
        What::Ready { set, default } => Some(Documented {
            names: key.names,
            wants: set.wants(),
            default,
            // `listen` and its like stand for a host and a port.
            live: super::reload::is_live(key.name()).unwrap_or(false),
        }),
        What::Part(_) | What::Later(_) | What::Never(_) => None,
    })
}

/// All names of the keys of features to come.
#[cfg(test)]
pub(super) fn later_names() -> Vec<&'static str> {
    later::KEYS
        .iter()
        .filter(|key| matches!(key.what, What::Later(_)))
        .flat_map(|key| key.names)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_used_twice_and_all_are_in_lower_case() {
        fn check(keys: &[&Key]) {
            let mut names = keys.iter().flat_map(|key| key.names).collect::<Vec<_>>();
            assert!(names.iter().all(|name| **name == name.to_lowercase()));
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{names:?}");
            for key in keys {
                match &key.what {
                    What::Later(takes)
                    | What::Part(takes)
                    | What::Ready {
                        set: Set::Block(takes, _),
                        ..
                    } => nested(takes),
                    What::Ready { .. } | What::Never(_) => {}
                }
            }
        }
        fn nested(takes: &Takes) {
            match takes {
                Takes::Block(keys) | Takes::Blocks(keys) | Takes::Subjects(keys) => {
                    check(&keys.iter().collect::<Vec<_>>());
                }
                Takes::Each(takes) => nested(takes),
                Takes::Either(takes) => takes.iter().for_each(nested),
                _ => {}
            }
        }
        check(&top().collect::<Vec<_>>());
    }

    #[test]
    fn every_key_that_is_applied_is_compared_on_reload() {
        for key in documented() {
            let compared = super::super::reload::is_live(key.names[0]).is_some();
            let pair = matches!(key.names, ["listen" | "https"]);
            assert!(compared || pair, "{key:?}");
        }
    }
}
