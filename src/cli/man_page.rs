//! Tests that the manual page and the table of flags say the same.

use super::flags::FLAGS;
use crate::options::Options;

const PAGE: &str = include_str!("../../man/nats-server.8");

/// The flags for which the page has an entry: the word behind each `Fl`, which adds one dash.
fn documented() -> Vec<&'static str> {
    let items = PAGE.lines().filter_map(|line| line.strip_prefix(".It "));
    let words = items.flat_map(|item| item.split(' ').zip(item.split(' ').skip(1)));
    words
        .filter(|(macro_name, _)| *macro_name == "Fl")
        .map(|(_, name)| name)
        .collect()
}

#[test]
fn the_page_has_an_entry_for_each_flag() {
    let documented = documented();
    for flag in FLAGS {
        for name in flag.names() {
            // The macro brings one dash; a long name is written with its second one.
            let found = documented.contains(&&flag.dashed(name)[1..]);
            assert!(found, "{name}");
        }
    }
}

#[test]
fn every_entry_is_a_flag() {
    let names = FLAGS
        .iter()
        .flat_map(|flag| flag.names())
        .collect::<Vec<_>>();
    for word in documented() {
        assert!(names.contains(&word.trim_start_matches('-')), "{word}");
    }
}

#[test]
fn the_page_states_the_defaults() {
    let default = Options::default();
    for value in [default.host, default.port.to_string()] {
        assert!(PAGE.contains(&value), "{value}");
    }
}
