use super::super::Accounts;
use super::*;
use crate::base::clock::mono;
use crate::options::security::Sampling;
use proptest::prelude::*;

/// Accounts in a short form, one a line: a name, then `stream SUBJECT` and `service SUBJECT` for
/// exports, `get ACCOUNT SUBJECT [to TO]` and `ask ACCOUNT SUBJECT [to TO]` for imports, with
/// semicolons between all of these; `traced` at the end of one allows tracing.
pub(crate) fn options(text: &str) -> Options {
    let accounts = text.lines().filter(|line| !line.trim().is_empty());
    let accounts = accounts.map(|line| {
        let mut parts = line.split(';').map(str::trim);
        let mut account = AccountOptions {
            name: parts.next().unwrap().to_owned(),
            ..AccountOptions::default()
        };
        for part in parts.filter(|part| !part.is_empty()) {
            let words: Vec<&str> = part.split(' ').collect();
            let after = |word| {
                let at = words.iter().position(|w| *w == word)?;
                Some(words[at + 1].to_owned())
            };
            let (export, import) = match words[0] {
                "stream" => (Some(ExportKind::Stream), None),
                "service" => (Some(service(ResponseType::Singleton)), None),
                "streamed" => (Some(service(ResponseType::Streamed)), None),
                "get" => {
                    let kind = ImportKind::Stream {
                        prefix: after("prefix"),
                        to: after("to"),
                        allow_trace: words.contains(&"traced"),
                    };
                    (None, Some(kind))
                }
                "ask" => {
                    let share = words.contains(&"share");
                    let to = after("to");
                    (None, Some(ImportKind::Service { to, share }))
                }
                other => panic!("{other}?"),
            };
            account.exports.extend(export.map(|kind| Export {
                subject: words[1].to_owned(),
                accounts: after("for").map(|names| names.split(',').map(Into::into).collect()),
                account_token_position: after("position").map(|n| n.parse().unwrap()),
                kind: with_extras(kind, after("latency"), words.contains(&"traced")),
            }));
            account.imports.extend(import.map(|kind| Import {
                account: words[1].to_owned(),
                subject: words[2].to_owned(),
                kind,
            }));
        }
        account
    });
    Options {
        accounts: accounts.collect(),
        ..Options::default()
    }
}

fn service(response_type: ResponseType) -> ExportKind {
    ExportKind::Service {
        response_type,
        response_threshold: None,
        latency: None,
        allow_trace: false,
    }
}

fn with_extras(mut kind: ExportKind, subject: Option<String>, traced: bool) -> ExportKind {
    if let ExportKind::Service {
        latency,
        allow_trace,
        ..
    } = &mut kind
    {
        *allow_trace = traced;
        *latency = subject.map(|subject| Latency {
            subject,
            sampling: Sampling::Percent(100),
        });
    }
    kind
}

fn faults(text: &str) -> Vec<String> {
    Accounts::new(&options(text), None, 1)
        .err()
        .unwrap_or_default()
}

#[test]
fn what_is_wrong_is_told_all_at_once() {
    let faults = faults(
        "A; stream s.*; stream p.* for C; stream t.* position 2; stream u position 1; stream v..w; \
             stream x for Z; service svc.*; service priv for C; service l latency svc.1; \
             service m latency no.*; streamed n latency lat; service t.* position 2
         B; get Z s.1; get A q; get A p.1; get A t.C; get A t.*; get A s.1 prefix x.*; \
             get A s.* to y; get A s.*; get A s.*; get A s.2 prefix x to y; get A s.2 to a..b; \
             ask Z svc.1; ask A nope; ask A priv; ask A svc.* to z.$2; ask A svc.1; ask A svc.1; \
             ask A svc.1 to a..b; ask A t.C; ask A t.B
         C; get A p.1; ask A priv; get A t.C; get A t.> to b",
    );
    let want = [
        r#"Error adding stream export "u": sublist: invalid subject"#,
        r#"Error adding stream export "v..w": sublist: invalid subject"#,
        r#""Z" account not defined for stream export"#,
        r#"Error adding service latency sampling for "l" on subject "svc.1": invalid publish subject"#,
        r#"Error adding service latency sampling for "m" on subject "no.*": invalid publish subject"#,
        r#"Error adding service latency sampling for "n" on subject "lat": bad service response type"#,
        r#""Z" account not defined for stream import"#,
        r#"Error adding stream import "q": stream import not authorized"#,
        r#"Error adding stream import "p.1": stream import not authorized"#,
        r#"Error adding stream import "t.C": stream import not authorized"#,
        r#"Error adding stream import "t.*": stream import not authorized"#,
        r#"Error adding stream import "s.1": stream import prefix can not contain wildcard tokens"#,
        r#"Error adding stream import "s.*": failed to create mapping transform for stream import subject from "s.*" to "y": invalid mapping destination: not using all of the token wildcard(s) in y"#,
        r#"Error adding stream import "s.*": stream import already exists"#,
        "Stream import can not have a 'prefix' and a 'to' property",
        r#"Error adding stream import "s.2": sublist: invalid subject"#,
        r#""Z" account not defined for service import"#,
        r#"Error adding service import "nope": service import not authorized"#,
        r#"Error adding service import "priv": service import not authorized"#,
        r#"Error adding service import "svc.*": failed to create mapping transform for service import subject from "z.$2" to "svc.*": invalid mapping destination: wildcard index out of range in $2: [2]"#,
        r#"Duplicate service import subject "svc.1", previously used in import for account "A", subject "svc.1""#,
        r#"Error adding service import "svc.1": sublist: invalid subject"#,
        r#"Error adding service import "t.C": service import not authorized"#,
        r#"Error adding stream import "t.>": stream import not authorized"#,
    ];
    let mut missing: Vec<&str> = want.to_vec();
    missing.retain(|text| !faults.iter().any(|fault| fault == text));
    assert_eq!(missing, Vec::<&str>::new(), "{faults:#?}");
    assert_eq!(faults.len(), want.len(), "{faults:#?}");
}

#[test]
fn latency_needs_a_system_account() {
    let mut options = options("A; service s latency l");
    assert!(Accounts::new(&options, None, 1).is_ok());
    options.no_system_account = true;
    let text = r#"Error adding service latency sampling for "s": system account not setup"#;
    assert_eq!(Accounts::new(&options, None, 1).err().unwrap(), [text]);
}

/// The reference's own cases.
#[test]
fn cycles_are_found() {
    for (cycle, text) in [
        (
            true,
            "A; service help; ask B help\nB; service help; ask A help",
        ),
        (true, "A; service *; ask B help\nB; service help; ask A *"),
        (
            true,
            "A; service *; ask B help\nB; service help; ask C help\nC; service *; ask A *",
        ),
        (
            true,
            "A; stream strm; get B strm\nB; stream strm; get A strm",
        ),
        (
            true,
            "A; stream *; get B bar\nB; stream bar; get A foo to bar",
        ),
        (
            false,
            "A; stream foo; get B bar\nB; stream bar; get C baz to bar\n\
             C; stream baz; get A foo to bar",
        ),
        (
            true,
            "A; service a; ask B b to a\nB; service b; ask A a to b",
        ),
        (
            false,
            "A; service *; ask B help\nB; service help; ask C nohelp\nC; service *; ask A *",
        ),
        (
            false,
            "A; service h; ask B h\nB; service h; ask C h\nC; service h; ask D h\nD; service h",
        ),
        (false, "A; service echo; ask A echo"),
        (
            false,
            "A; service help; get B help\nB; stream help; ask A help",
        ),
    ] {
        let faults = faults(text);
        let found = faults.iter().any(|f| f.ends_with("import forms a cycle"));
        assert_eq!(
            (found, faults.is_empty()),
            (cycle, !cycle),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn chains_are_bounded() {
    let chain = |length: usize| {
        let account = |i: usize| format!("A{i}; service *; ask A{} foo\n", i + 1);
        let last = format!("A{length}; service *");
        faults(&((0..length).map(account).collect::<String>() + &last))
    };
    assert_eq!(chain(60), Vec::<String>::new());
    let found = chain(80);
    assert!(
        found[0].ends_with("search cycle depth exhausted"),
        "{found:?}"
    );
}

#[test]
fn patterns_that_grow_do_not_take_for_ever() {
    // What goes round between B and C gets longer, in two ways, each time.
    let start = mono();
    let found = faults(
        "A; service >; ask B >\n\
         B; service >; ask C b.> to >; ask C c.> to >\n\
         C; service >; ask B b.> to >; ask B c.> to >",
    );
    assert!(!found.is_empty());
    assert!(mono().since(start) < Duration::from_secs(20));
}

#[test]
fn a_large_mesh_is_built_quickly() {
    const ACCOUNTS: usize = 60;
    let mut text = String::new();
    for i in 0..ACCOUNTS {
        text += &format!("A{i}; service svc.{i}; stream str.{i}.*");
        for j in (0..ACCOUNTS).filter(|j| *j != i) {
            text += &format!("; ask A{j} svc.{j}; get A{j} str.{j}.* to from.{j}.$1");
        }
        text += "\n";
    }
    let accounts = Accounts::new(&options(&text), None, 1).unwrap();
    let exchange = &accounts.named("A7").unwrap().exchange;
    assert_eq!(exchange.services(b"svc.8").count(), 1);
    assert_eq!(exchange.services(b"svc.7").count(), 0);
    assert_eq!(exchange.streams(b"str.7.x").count(), ACCOUNTS - 1);
    let mut there = Vec::new();
    let share = exchange.streams(b"str.7.x").next().unwrap();
    share.mapper.apply(b"str.7.x", &mut there);
    assert_eq!(there, b"from.7.x");
}

fn part() -> impl Strategy<Value = String> {
    let subject = prop_oneof!["a", "b", "\\*", ">", "a\\.b", "a\\.\\*", "a\\.>", "\\*\\.b"];
    let to = prop_oneof!["a", "b", "a\\.\\*", "c\\.\\$1", ">", "a\\.>"];
    let kind = prop_oneof!["stream", "service", "get", "ask"];
    (kind, "[A-D]", subject, proptest::option::of(to)).prop_map(|(kind, account, subject, to)| {
        let to = to.map_or(String::new(), |to| format!(" to {to}"));
        match kind.as_str() {
            "stream" | "service" => format!("{kind} {subject}"),
            _ => format!("{kind} {account} {subject}{to}"),
        }
    })
}

proptest! {
    #[test]
    fn no_graph_that_is_accepted_leads_back(
        parts in proptest::collection::vec((0..4usize, part()), 0..24),
    ) {
        let mut lines = ["A", "B", "C", "D"].map(String::from);
        for line in &mut lines {
            *line += "; stream >; service >";
        }
        for (at, part) in parts {
            lines[at] += &format!("; {part}");
        }
        let Ok(accounts) = Accounts::new(&options(&lines.join("\n")), None, 1) else {
            return Ok(());
        };
        // A message on any subject comes back to no account but by an import from itself.
        for name in ["A", "B", "C", "D"] {
            for subject in ["a", "b", "a.b", "b.b", "c.a", "a.b.c"] {
                let mut ways = vec![(accounts.named(name).unwrap(), subject.as_bytes().to_vec(), 0)];
                while let Some((tenant, subject, hops)) = ways.pop() {
                    prop_assert!(hops <= 4, "{lines:?}: {name} {subject:?}");
                    for import in tenant.exchange.services(&subject) {
                        let number = import.exporter.number;
                        if number == tenant.account.number {
                            continue;
                        }
                        prop_assert!(import.exporter.name.as_ref() != name, "{lines:?}");
                        let mut there = Vec::new();
                        import.mapper.apply(&subject, &mut there);
                        ways.push((accounts.tenant(number).unwrap(), there, hops + 1));
                    }
                }
            }
        }
    }
}
