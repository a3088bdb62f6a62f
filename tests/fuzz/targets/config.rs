//! Whatever stands in a configuration, it is read or refused in its place, and what was read can
//! be printed and read back.
//!
//! An input is the main file and up to two files that it can include, `a` and `b`, with NUL bytes
//! between them. The variables are `A`, the text of the file `a`, and `B`, that of `b`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::config::{Environment, load, parse, print};
use std::path::Path;

struct Files<'a>(Vec<&'a [u8]>);

impl Environment for Files<'_> {
    fn read(&self, path: &Path, max: usize) -> Result<Vec<u8>, String> {
        let names = ["main", "a", "b"];
        let i = names.iter().position(|name| Path::new(name) == path);
        match i.and_then(|i| self.0.get(i)) {
            Some(bytes) if bytes.len() <= max => Ok(bytes.to_vec()),
            Some(_) => Err("too large".to_owned()),
            None => Err("no such file".to_owned()),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        let i = ["A", "B"].iter().position(|n| *n == name)?;
        String::from_utf8(self.0.get(i + 1)?.to_vec()).ok()
    }
}

fuzz_target!(|data: &[u8]| {
    let files = Files(data.splitn(3, |b| *b == 0).collect());
    match load(Path::new("main"), &files) {
        Ok(document) => {
            let text = print(&document.root);
            let again = match parse("printed", &text, &files) {
                Ok(again) => again,
                Err(report) => panic!("{report}"),
            };
            assert_eq!(print(&again.root), text);
            assert_eq!(again.digest(), document.digest());
        }
        Err(report) => {
            assert!(!report.faults.is_empty());
            let shown = report.to_string();
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
});
