//! Tests that the manual page and the sample of all keys say the same as the table of keys.

use super::{Options, documented};
use crate::config::{self, Document, Environment};
use std::path::Path;

const PAGE: &str = include_str!("../../man/nats-server.conf.5");
const SAMPLE: &str = include_str!("../../configs/complete.conf");

/// The page's entry for a key, `.It Ic KEY , ALIAS Ar TYPE Pq reload`, and the lines below it.
#[derive(Debug)]
struct Item<'p> {
    names: Vec<&'p str>,
    types: Vec<&'p str>,
    live: bool,
    text: String,
}

fn items() -> Vec<Item<'static>> {
    let item = |item: &'static str| {
        let (head, text) = item.split_once('\n').unwrap();
        let (head, live) = match head.strip_suffix(" Pq reload") {
            Some(head) => (head, true),
            None => (head, false),
        };
        let (names, types) = head.split_once(" Ar ").unwrap();
        let end = text.find("\n.El").unwrap_or(text.len());
        Item {
            names: names.split(" , ").collect(),
            types: types.split(" | ").collect(),
            live,
            text: text[..end].replace('\n', " "),
        }
    };
    PAGE.split("\n.It Ic ").skip(1).map(item).collect()
}

/// What the page calls a value.
fn types(wants: &str) -> &'static [&'static str] {
    match wants {
        "true or false" => &["boolean"],
        "a whole number" => &["number", "size"],
        "text or a list of texts" => &["text", "list"],
        "a map of texts" => &["map"],
        "a port or host:port" => &["port", "host:port"],
        wants if wants.starts_with("a duration") => &["duration"],
        _ => &["text"],
    }
}

#[test]
fn the_page_has_an_entry_for_each_key_and_no_other() {
    let items = items();
    let mut written = items.iter().map(|i| i.names.clone()).collect::<Vec<_>>();
    let mut known = documented().map(|k| k.names.to_vec()).collect::<Vec<_>>();
    written.sort_unstable();
    known.sort_unstable();
    assert_eq!(written, known);
}

#[test]
fn the_page_states_type_default_and_reload() {
    let items = items();
    for key in documented() {
        let item = items.iter().find(|item| item.names == key.names).unwrap();
        let types = types(&key.wants);
        assert!(item.types.iter().all(|t| types.contains(t)), "{item:?}");
        assert!(types[0] != "text" || item.types == types, "{item:?}");
        assert_eq!(item.live, key.live, "{item:?}");
        let default = format!(" Default: {}.", key.default);
        assert!(item.text.ends_with(&default), "{item:?}");
    }
}

/// No other files, and no variables.
struct Alone;

impl Environment for Alone {
    fn read(&self, path: &Path, _: usize) -> Result<Vec<u8>, String> {
        Err(path.display().to_string())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

fn apply(text: &str) -> (Document, Options) {
    let document = config::parse("complete.conf", text, &Alone).unwrap();
    let mut options = Options::default();
    let found = options.apply("complete.conf", &document);
    assert_eq!((found.errors, found.warnings), (vec![], vec![]));
    assert_eq!(options.check(), Ok(()));
    (document, options)
}

#[test]
fn the_sample_of_all_keys_states_the_defaults() {
    let (_, options) = apply(SAMPLE);
    assert_eq!(options, Options::default());
}

#[test]
fn the_sample_of_all_keys_has_every_key_and_alias() {
    let off = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
        _ => line,
    };
    let all = SAMPLE.lines().map(off).collect::<Vec<_>>().join("\n");
    let (document, _) = apply(&all);
    let comments = SAMPLE.lines().filter(|line| line.starts_with("# "));
    let comments = comments.collect::<Vec<_>>().join(" ");
    let words = comments.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    let words = words.collect::<Vec<_>>();
    for key in documented() {
        assert!(document.root.get(key.names[0]).is_some(), "{key:?}");
        for alias in &key.names[1..] {
            assert!(words.contains(alias), "{alias}");
        }
    }
    assert_eq!(document.root.len(), documented().count());
}
