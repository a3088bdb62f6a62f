//! Keeps the source tree in the shape that the crate's documentation draws: who imports whom,
//! which calls have few homes, how long a file gets, and that links between documents lead
//! somewhere.
//!
//! The checks read the text of the sources; a small scanner takes comments, literals and test code
//! out first. That is less exact than a compiler and much simpler.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A module at the top of the crate, its layer, and the modules of its own layer that it may use.
/// Modules of lower layers may always be used, save [`CLOSED`] ones.
type Module = (&'static str, u8, &'static [&'static str]);

#[rustfmt::skip]
const MODULES: &[Module] = &[
    ("base", 0, &[]),
    ("json", 1, &[]),
    ("proto", 1, &[]),
    ("subject", 1, &[]),
    ("nkey", 1, &[]),
    ("config", 1, &[]),
    ("store", 1, &["subject"]),
    ("options", 2, &[]),
    ("accounts", 2, &["options"]),
    ("auth", 2, &["options", "accounts"]),
    ("jetstream", 2, &["options", "accounts"]),
    ("conn", 2, &["options", "accounts", "auth"]),
    ("routing", 2, &["options", "accounts", "auth", "conn"]),
    ("cluster", 2, &["options", "accounts"]),
    ("broker", 2, &["options", "accounts", "auth", "conn", "routing"]),
    ("monitor", 2, &["options", "accounts", "auth", "conn", "routing", "broker", "jetstream"]),
    ("system", 2, &["options", "accounts", "auth", "conn", "routing", "broker", "monitor", "jetstream"]),
    ("os", 3, &[]),
    ("net", 3, &["os"]),
    ("logging", 3, &["os"]),
    ("loops", 4, &[]),
    ("server", 5, &[]),
    ("cli", 5, &["server"]),
    ("main", 5, &["server", "cli"]),
    ("bin", 5, &["cli"]),
    ("lib", 5, &["server", "cli"]),
];

/// Modules that only some others may use, and who those are.
const CLOSED: &[(&str, &[&str])] = &[("loops", &["server"])];

/// The highest layer that has no socket, file or clock.
const PURE: u8 = 2;

/// The one file of the pure layers that reads the clock.
const CLOCK: &str = "base/clock.rs";

/// Those files of the pure layers that use the file system: the real disk of the store, and its
/// maps.
const DISK: &[&str] = &["store/disk.rs", "store/file/map.rs"];

/// Where code may differ between systems: the module for that, and the store's ways to the disk, which
/// may not use it.
const SYSTEMS: &[&str] = &[
    "base/prefetch.rs",
    "os/",
    "store/disk.rs",
    "store/file/map.rs",
    "store/file/regions.rs",
];

/// Lines of a file outside its tests.
const LINES_MAX: usize = 900;

/// What must not stand anywhere in the sources, comments included.
#[rustfmt::skip]
const BANNED: &[&str] = &["todo!", "unimplemented!", "FIXME", ".await", "async fn", "tokio"];

#[test]
fn sources_keep_to_their_layers() {
    report(sources().iter().flat_map(layer_faults));
}

#[test]
fn pure_layers_do_no_io_and_read_no_clock() {
    report(sources().iter().flat_map(purity_faults));
}

#[test]
fn sources_hold_nothing_unfinished_and_nothing_async() {
    report(sources().iter().flat_map(banned_faults));
}

#[test]
fn systems_differ_in_few_places() {
    report(sources().iter().flat_map(system_faults));
}

#[test]
fn files_stay_short() {
    report(sources().iter().flat_map(length_faults));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = root();
    report(files(&root, "md").iter().flat_map(|path| {
        let text = fs::read_to_string(path).expect("a listed file can be read");
        let name = relative(path, &root);
        broken_links(&text, |link| path.with_file_name(link).exists())
            .into_iter()
            .map(move |(line, link)| format!("{name}:{line}: no such file: {link}"))
    }));
}

/// A source file: its path below src/, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let (path, text) = (path.to_owned(), text.to_owned());
        Source { path, text }
    }

    /// The module at the top of the crate that this file belongs to.
    fn module(&self) -> &str {
        let end = self.path.find('/').unwrap_or(self.path.len() - 3);
        &self.path[..end]
    }

    /// How many modules deep the file is.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        match self.path.as_str() {
            "lib.rs" | "main.rs" => 0,
            path if path.ends_with("/mod.rs") => parts - 1,
            _ => parts,
        }
    }

    /// The paths in the file's code, with their lines; those in tests do not count.
    fn paths(&self) -> Vec<(usize, String)> {
        paths(&self.code())
    }

    /// The text without comments, literals and tests, whose lines stay.
    fn code(&self) -> String {
        let mut code = without_comments(&self.text);
        for test in test_items(&code) {
            let blank = "\n".repeat(code[test.clone()].matches('\n').count());
            let len = test.len();
            code.replace_range(test, &format!("{blank:<len$}"));
        }
        code
    }

    fn fault(&self, line: usize, what: &str) -> String {
        format!("src/{}:{line}: {what}", self.path)
    }
}

fn layer_faults(file: &Source) -> Vec<String> {
    let own = file.module();
    let Some(rules) = module(own) else {
        return vec![file.fault(
            1,
            &format!("{own} is in no layer: give it one in tests/tidy.rs"),
        )];
    };
    let mut faults = Vec::new();
    for (line, path) in file.paths() {
        if let Some(used) = used_module(&path, file.depth())
            && used != own
            && !may_use(rules, used)
        {
            faults.push(file.fault(line, &format!("{own} may not use {used}")));
        }
    }
    faults
}

fn module(name: &str) -> Option<Module> {
    MODULES.iter().copied().find(|(m, ..)| *m == name)
}

fn may_use((own, layer, siblings): Module, used: &str) -> bool {
    let Some((_, used_layer, _)) = module(used) else {
        return false;
    };
    let closed = CLOSED
        .iter()
        .any(|(module, users)| *module == used && !users.contains(&own));
    !closed && (used_layer < layer || used_layer == layer && siblings.contains(&used))
}

/// The module at the top of the crate that a path names, for a file `depth` modules deep.
fn used_module(path: &str, depth: usize) -> Option<&str> {
    let mut parts = path.split("::").peekable();
    let mut supers = 0;
    while parts.next_if_eq(&"super").is_some() {
        supers += 1;
    }
    let first = parts.next()?;
    match (first, supers) {
        ("crate" | "nats_server", 0) => parts.next(),
        // A path that goes up as many steps as the file is deep starts over at the top.
        (name, 1..) if supers >= depth => module(name).map(|_| name),
        _ => None,
    }
}

fn purity_faults(file: &Source) -> Vec<String> {
    if module(file.module()).is_none_or(|(_, layer, _)| layer > PURE) {
        return vec![];
    }
    let paths = file.paths().into_iter();
    paths
        .filter(|(_, path)| is_impure(path, &file.path))
        .map(|(line, path)| file.fault(line, &format!("{path} in a pure layer")))
        .collect()
}

fn is_impure(path: &str, file: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    match parts[..] {
        ["std", "fs", ..] => !DISK.contains(&file),
        ["mio", ..] | ["std", "net", "*"] => true,
        ["std", "net", name, ..] if name.starts_with("Tcp") || name.starts_with("Udp") => true,
        [.., "thread", "sleep"] => true,
        [.., "Instant" | "SystemTime", "now"] => file != CLOCK,
        _ => false,
    }
}

fn system_faults(file: &Source) -> Vec<String> {
    if SYSTEMS.iter().any(|home| file.path.starts_with(home)) {
        return vec![];
    }
    let code = file.code();
    let lines = code.lines().enumerate().filter(|(_, line)| {
        let mut conditions = line.split("cfg").skip(1);
        conditions.any(|rest| {
            let names = rest.trim_start_matches("_attr").trim_start_matches('!');
            let words = names.strip_prefix('(').unwrap_or_default();
            words
                .split(|c| !is_word(c))
                .any(|word| ["unix", "windows"].contains(&word) || word.starts_with("target_"))
        })
    });
    lines
        .map(|(i, _)| file.fault(i + 1, "what differs between systems belongs into os/"))
        .collect()
}

fn banned_faults(file: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        for banned in BANNED.iter().filter(|b| line.contains(**b)) {
            faults.push(file.fault(i + 1, &format!("{banned} has no place here")));
        }
    }
    faults
}

fn length_faults(file: &Source) -> Option<String> {
    let code = without_comments(&file.text);
    let lines_of = |text: &str| text.matches('\n').count();
    let tests: usize = test_items(&code)
        .into_iter()
        .map(|t| lines_of(&code[t]))
        .sum();
    let lines = lines_of(&code) - tests;
    (lines > LINES_MAX).then(|| {
        let what = format!("{lines} lines outside tests: look for the second idea in them");
        file.fault(1, &what)
    })
}

/// Links to files that do not exist, with their lines.
fn broken_links(text: &str, exists: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
    let mut broken = Vec::new();
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let links = line.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            let target = link.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !elsewhere && !exists(target) {
                broken.push((i + 1, target.to_owned()));
            }
        }
    }
    broken
}

/// Replaces comments and literals by blanks. Line ends stay, and so do the lengths of all parts.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let in_word = out.ends_with(is_word);
        let hidden = hidden_len(rest, in_word);
        let (taken, after) = rest.split_at(hidden.max(c.len_utf8()));
        if hidden > 0 {
            out.extend(taken.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
        } else {
            out.push(c);
        }
        rest = after;
    }
    out
}

/// Bytes of the comment or literal that `text` begins with; 0 if it begins with something else.
fn hidden_len(text: &str, in_word: bool) -> usize {
    let or_all = |end: Option<usize>| end.unwrap_or(text.len());
    if text.starts_with("//") {
        return or_all(text.find('\n'));
    }
    if text.starts_with("/*") {
        return block_comment_len(text);
    }
    let raw = text.strip_prefix('b').unwrap_or(text).strip_prefix('r');
    if let Some(raw) = raw.filter(|_| !in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(inside) = raw[hashes..].strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = text.len() - inside.len();
            return or_all(inside.find(&end).map(|n| start + n + end.len()));
        }
    }
    if text.starts_with('"') {
        return quoted_len(text, '"');
    }
    // A quote begins a character, or the name of a lifetime or a label, which is left alone.
    let mut next = text.strip_prefix('\'').unwrap_or_default().chars();
    match (next.next(), next.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_len(text, '\''),
        _ => 0,
    }
}

/// Block comments nest.
fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(two) = text.as_bytes().get(at..at + 2) {
        match two {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    text.len()
}

/// Bytes of the literal at the front of `text`, with its quotes.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the items are that are compiled for tests only.
fn test_items(code: &str) -> Vec<Range<usize>> {
    const TEST: &str = "#[cfg(test)]";
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(start) = code[from..].find(TEST).map(|n| from + n) {
        let item = start + TEST.len();
        from = item + item_len(&code[item..]);
        items.push(start..from);
    }
    items
}

/// Bytes of the item at the front: up to its semicolon, or to the brace that closes it.
fn item_len(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    code.len()
}

/// All paths in the code, with their lines. Groups are written out: `a::{b, c::d}` gives `a::b`
/// and `a::c::d`.
fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut scan = Scan { code, at: 0 };
    while scan.at < code.len() {
        if scan.word().is_some() {
            scan.tree("", &mut found);
        } else {
            scan.skip();
        }
    }
    let line = |at: usize| 1 + code[..at].matches('\n').count();
    found.into_iter().map(|(at, p)| (line(at), p)).collect()
}

/// A place in some code.
struct Scan<'a> {
    code: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// The word, or the star, that comes next.
    fn word(&self) -> Option<&'a str> {
        let rest = &self.code[self.at..];
        match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
            0 => rest.get(..1).filter(|s| *s == "*"),
            len => Some(&rest[..len]),
        }
    }

    fn skip(&mut self) {
        let next = self.code[self.at..].chars().next();
        self.at += next.map_or(0, char::len_utf8);
    }

    /// Goes past `text`, and blanks before it, if it comes next.
    fn eat(&mut self, text: &str) -> bool {
        let next = self.code[self.at..].trim_start();
        let there = next.starts_with(text);
        if there {
            self.at = self.code.len() - next.len() + text.len();
        }
        there
    }

    /// Reads a path, or a group of them, that goes on from `parent`.
    fn tree(&mut self, parent: &str, found: &mut Vec<(usize, String)>) {
        self.eat("");
        let start = self.at;
        let mut path = parent.to_owned();
        while let Some(word) = self.word() {
            path.push_str(word);
            self.at += word.len();
            if !self.eat("::") {
                break;
            }
            path.push_str("::");
            if self.eat("{") {
                return self.group(&path, found);
            }
            self.eat("");
        }
        if path != parent {
            found.push((start, path));
        }
    }

    fn group(&mut self, parent: &str, found: &mut Vec<(usize, String)>) {
        while self.at < self.code.len() && !self.eat("}") {
            let before = self.at;
            self.tree(parent, found);
            if !self.eat(",") && self.at == before {
                self.skip();
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut sources = Vec::new();
    for path in files(&src, "rs") {
        let name = relative(&path, &src);
        if !is_test_file(&name) {
            let text = fs::read_to_string(path).expect("a listed file can be read");
            sources.push(Source::new(&name, &text));
        }
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// Whether a file is a `tests` module, or in one.
fn is_test_file(path: &str) -> bool {
    path.split('/').any(|p| p == "tests" || p == "tests.rs")
}

fn relative(path: &Path, root: &Path) -> String {
    let path = path
        .strip_prefix(root)
        .expect("it was found below the root");
    path.to_string_lossy().replace('\\', "/")
}

/// All files below `dir` with this ending, in order, without what tools leave there.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the tree can be read") {
        let path = entry.expect("the tree can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let made = matches!(&*name, "target" | "node_modules" | "corpus" | "venv");
        if path.is_dir() && !made && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn report(faults: impl IntoIterator<Item = String>) {
    let mut all = String::new();
    for fault in faults {
        writeln!(all, "  {fault}").expect("a string takes everything");
    }
    assert!(all.is_empty(), "\n{all}");
}

/// The checks themselves, against sources that are wrong.
mod checks {
    use super::*;

    #[test]
    fn imports_upwards_and_sideways_are_found() {
        for (path, text) in [
            ("base/text.rs", "use crate::proto::scan;"),
            ("proto/client.rs", "use crate::{base::text, subject};"),
            ("options/mod.rs", "fn f() -> crate::accounts::Account {}"),
            (
                "conn/client.rs",
                "use crate::base;\nuse crate::broker::Broker;",
            ),
            ("routing/route.rs", "use super::super::broker::Broker;"),
            ("auth/mod.rs", "use super::broker::Broker;"),
            ("os/mod.rs", "use crate::logging;"),
            ("net/mod.rs", "use crate::loops::client;"),
            ("cli/run.rs", "use crate::loops::client::ClientLoop;"),
            ("main.rs", "use nats_server::loops;"),
            ("server/mod.rs", "#[cfg(test)]\nuse a::b;\nuse crate::cli;"),
            ("base/mod.rs", "use crate::Reexport;"),
            ("unheard/of.rs", ""),
        ] {
            let file = Source::new(path, text);
            assert_eq!(layer_faults(&file).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn faults_name_their_line() {
        let text = "/* a\nb */\n#[cfg(test)]\nmod tests {\n    use x;\n}\nuse crate::broker;\n";
        let faults = layer_faults(&Source::new("base/x.rs", text));
        assert_eq!(faults, ["src/base/x.rs:7: base may not use broker"]);
    }

    #[test]
    fn imports_downwards_are_fine() {
        for (path, text) in [
            (
                "proto/client.rs",
                "use crate::{base::text, proto::scan};\nuse super::scan;",
            ),
            (
                "broker/mod.rs",
                "use crate::routing::cache;\nuse super::batch;",
            ),
            ("logging/mod.rs", "use crate::os::local_time;"),
            ("net/buffer.rs", "impl crate::broker::Source for X {}"),
            ("cli/args.rs", "use super::super::server::Server;"),
            ("main.rs", "use nats_server::cli;"),
            (
                "base/a.rs",
                "// crate::cli\n/* /* x */ crate::cli */ f(\"\\\"crate::cli\");",
            ),
            (
                "base/b.rs",
                "#[cfg(test)]\n#[allow(x)]\nmod tests { use crate::broker; }",
            ),
            ("base/c.rs", "f(br#\"\"crate::cli\"#, '\"'); // crate::os"),
        ] {
            let file = Source::new(path, text);
            assert_eq!(layer_faults(&file), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn code_that_differs_between_systems_is_found() {
        for text in [
            "#[cfg(unix)]\nfn f() {}",
            "fn f() { if cfg!(windows) {} }",
            "#[cfg(all(not(test), target_os = \"linux\"))]\nfn f() {}",
            "#[cfg_attr(not(windows), allow(dead_code))]\nfn f() {}",
        ] {
            assert_eq!(
                system_faults(&Source::new("net/x.rs", text)).len(),
                1,
                "{text}"
            );
            assert_eq!(
                system_faults(&Source::new("os/x.rs", text)),
                [""; 0],
                "{text}"
            );
        }
        for text in [
            "#[cfg(debug_assertions)]\nfn f() {}",
            "fn f() { unix(); cfgs(windows); }",
            "// #[cfg(unix)]",
            "#[cfg(test)]\nmod tests { #[cfg(unix)]\nfn f() {} }",
        ] {
            assert_eq!(
                system_faults(&Source::new("net/x.rs", text)),
                [""; 0],
                "{text}"
            );
        }
    }

    #[test]
    fn io_and_clocks_in_pure_layers_are_found() {
        for text in [
            "use mio::Poll;",
            "use std::{fs::File, io};",
            "use std::net::{SocketAddr, TcpStream};",
            "use std::net::*;",
            "fn f() { std::fs::read(\"x\"); }",
            "fn f() { Instant::now(); }",
            "fn f() { std::time::SystemTime::now(); }",
            "fn f() { std::thread\n    ::sleep(D); }",
            "fn f<'a>(x: &'a u8) { let c = '\\''; thread::sleep(D) }",
        ] {
            let file = Source::new("broker/x.rs", text);
            assert_eq!(purity_faults(&file).len(), 1, "{text}");
            let file = Source::new("net/x.rs", text);
            assert_eq!(purity_faults(&file), [""; 0], "{text}");
        }
        let disk = Source::new("store/disk.rs", "use std::fs::File;");
        assert_eq!(purity_faults(&disk), [""; 0]);
        let clock = Source::new("base/clock.rs", "fn f() { Instant::now(); }");
        assert_eq!(purity_faults(&clock), [""; 0]);
        let fine = "use std::net::{IpAddr, SocketAddr};\nuse std::time::Instant;\n// mio";
        assert_eq!(purity_faults(&Source::new("conn/x.rs", fine)), [""; 0]);
    }

    #[test]
    fn unfinished_and_async_code_is_found() {
        for text in [
            "todo!()",
            "x.await",
            "async fn f() {}",
            "// FIXME",
            "use tokio;",
        ] {
            assert_eq!(banned_faults(&Source::new("os/x.rs", text)).len(), 1);
        }
        assert!(banned_faults(&Source::new("os/x.rs", "let awaited = 1;")).is_empty());
    }

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(LINES_MAX);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}");
        let fine = Source::new("os/x.rs", &format!("{long}{tests}"));
        assert_eq!(length_faults(&fine), None);
        let over = Source::new("os/x.rs", &format!("{tests}{long}\nfn g() {{}}"));
        assert!(length_faults(&over).is_some());
    }

    #[test]
    fn broken_links_are_found() {
        let text = "[a](a.md) [b](b.md#x), [c](#y) [d](https://e/f.md)\n```\n[e](e.md)\n```\n";
        let broken = broken_links(text, |link| link == "a.md");
        assert_eq!(broken, [(1, "b.md".to_owned())]);
    }

    #[test]
    fn paths_are_written_out() {
        let found = paths("use a::{b, c::{self, d}, e::*};\nx::y(z)");
        let found: Vec<&str> = found.iter().map(|(_, path)| path.as_str()).collect();
        let want = [
            "use",
            "a::b",
            "a::c::self",
            "a::c::d",
            "a::e::*",
            "x::y",
            "z",
        ];
        assert_eq!(found, want);
    }
}
