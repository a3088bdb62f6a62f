//! Tests that the manual page and the sample of all keys say the same as the table of keys.

use super::keys::{Key, Takes, What, blocks};
use super::{OptionError, Options, documented};
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

/// The sections of the page that describe what is inside of blocks, each with its keys.
const BLOCKS: &[(&str, &[Key])] = &[
    ("Authorization", blocks::AUTHORIZATION),
    ("Users", blocks::USER),
    ("Permissions", blocks::PERMISSIONS),
    ("Responses", blocks::RESPONSES),
    ("Accounts", blocks::ACCOUNT),
    ("Account limits", blocks::ACCOUNT_LIMITS),
    ("Account JetStream", blocks::ACCOUNT_JETSTREAM),
    ("Feature flags", blocks::FEATURE_FLAGS),
    ("JetStream", blocks::JETSTREAM),
    ("JetStream limits", blocks::JETSTREAM_LIMITS),
    ("Cluster", blocks::CLUSTER),
    ("Cluster authorization", blocks::CLUSTER_AUTHORIZATION),
    ("JetStream batches", blocks::JETSTREAM_BATCH),
    ("Exports", blocks::EXPORT),
    ("Imports", blocks::IMPORT),
    ("Mappings", blocks::DESTINATION),
    ("TLS", blocks::TLS),
];

/// What of a cluster takes a restart.
const FIXED_OF_CLUSTER: &[&str] = &["listen", "host", "port"];

/// Small blocks, and the section in which their keys are mentioned.
const MENTIONED: &[(&str, &[Key])] = &[
    ("Permissions", blocks::ALLOW_DENY),
    ("Exports", blocks::LATENCY),
    ("Imports", blocks::SOURCE),
    ("Accounts", blocks::MSG_TRACE),
    ("TLS", blocks::CERTIFICATE),
    ("Users, accounts and TLS", blocks::PROXIES),
    ("Users, accounts and TLS", blocks::PROXY),
];

fn section(title: &str) -> &'static str {
    let start = format!("\n.Ss {title}\n");
    let (_, text) = PAGE.split_once(&*start).unwrap();
    let ends = ["\n.Ss ", "\n.Sh "].map(|end| text.find(end));
    let end = ends.into_iter().flatten().min().unwrap();
    &text[..end]
}

/// The items for keys at the top of a file.
fn items() -> Vec<Item<'static>> {
    let blocks = BLOCKS.iter().map(|(title, _)| section(title).as_ptr());
    let blocks = blocks.collect::<Vec<_>>();
    let sections = PAGE.split("\n.Ss ").skip(1);
    let bodies = sections.filter_map(|text| text.split_once('\n'));
    let others = bodies.filter(|(_, body)| !blocks.contains(&body.as_ptr()));
    others.flat_map(|(_, body)| items_of(body)).collect()
}

fn items_of(section: &'static str) -> Vec<Item<'static>> {
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
    let starts = section.split("\n.It Ic ");
    starts.skip(1).map(item).collect()
}

/// What the page calls a value.
fn types(wants: &str) -> &'static [&'static str] {
    match wants {
        "true or false" => &["boolean"],
        "a whole number" => &["number", "size"],
        "text or a list of texts" => &["text", "list"],
        "a map of texts" | "a map" => &["map"],
        "a map, or text or a list of texts" => &["map", "text", "list"],
        "true or false, or text, or a map" => &["boolean", "text", "map"],
        "a port or host:port" => &["port", "host:port"],
        wants if wants.starts_with("a duration") => &["duration"],
        _ => &["text"],
    }
}

/// What the page calls a value in a block.
fn types_of(takes: &Takes) -> Vec<&'static str> {
    match takes {
        Takes::Subjects(_) => vec!["text", "list", "map"],
        Takes::Blocks(_) => vec!["list"],
        Takes::Either(all) => all.iter().flat_map(types_of).collect(),
        Takes::Int => vec!["number"],
        takes => types(&takes.wants()).to_vec(),
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

#[test]
fn the_page_has_an_entry_for_each_key_of_each_block() {
    for (title, keys) in BLOCKS {
        let items = items_of(section(title));
        let mut written = items.iter().map(|i| i.names.clone()).collect::<Vec<_>>();
        let mut known = Vec::new();
        for key in *keys {
            let What::Part(takes) = &key.what else {
                continue;
            };
            known.push(key.names.to_vec());
            let item = items.iter().find(|item| item.names == key.names);
            let item = item.unwrap_or_else(|| panic!("{title}: {:?}", key.names));
            let mut types = item.types.clone();
            if types_of(takes).contains(&"number") {
                types
                    .iter_mut()
                    .for_each(|t| *t = t.replace("size", "number").leak());
            }
            assert_eq!(types, types_of(takes), "{item:?}");
            let fixed = title.starts_with("JetStream")
                || *title == "Feature flags"
                || (*title == "Cluster" && FIXED_OF_CLUSTER.contains(&key.name()))
                || key.name() == "connection_rate_limit";
            assert_eq!(item.live, !fixed, "{item:?}");
        }
        written.sort_unstable();
        known.sort_unstable();
        assert_eq!(written, known, "{title}");
    }
    for (title, keys) in MENTIONED {
        for name in keys.iter().flat_map(|key| key.names) {
            assert!(
                section(title).contains(&format!("\n.Ic {name}")),
                "{title}: {name}"
            );
        }
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
    // All of it is shown together, though one part of it does not go with another yet.
    let broken = options.check().err().unwrap_or_default();
    let known = |error: &OptionError| *error == OptionError::JetStreamInCluster;
    assert!(broken.iter().all(known), "{broken:?}");
    (document, options)
}

#[test]
fn the_sample_of_all_keys_states_the_defaults() {
    let (_, options) = apply(SAMPLE);
    assert_eq!(options, Options::default());
}

#[test]
fn the_sample_of_all_keys_has_every_key_and_alias() {
    // A comment has one blank behind the #, what is switched off has none, or more inside of a
    // block.
    let is_comment = |line: &&str| line.starts_with("# ") && !line.starts_with("#  ");
    let off = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !is_comment(&line) => key,
        _ => line,
    };
    let all = SAMPLE.lines().map(off).collect::<Vec<_>>().join("\n");
    let (document, _) = apply(&all);
    let comments = SAMPLE.lines().filter(is_comment);
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
    let words = all.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    let words = words.collect::<Vec<_>>();
    for (title, keys) in BLOCKS.iter().chain(MENTIONED) {
        let parts = keys.iter().filter(|key| matches!(key.what, What::Part(_)));
        for key in parts {
            assert!(words.contains(&key.name()), "{title}: {}", key.name());
        }
    }
}
