//! The text that `--help` shows, made from the table of flags. Laid out as the reference's, so
//! that operators find their way.

use super::flags::{FLAGS, Flag, Group, Takes};
use crate::options::documented;
use crate::options::tls::{CIPHER_SUITES, CURVES};

/// The column in which descriptions start.
const DESCRIPTION_COLUMN: usize = 37;

/// The whole text: all available flags by group, from an empty first line to a last newline.
pub(super) fn text() -> String {
    let mut text = String::from("\nUsage: nats-server [options]\n");
    for group in Group::ALL {
        let lines: String = FLAGS
            .iter()
            .filter(|flag| flag.group == group)
            .map(entry)
            .collect();
        if !lines.is_empty() {
            text += &format!("\n{} Options:\n{lines}", group.title());
        }
    }
    text
}

/// The keys of a configuration file, as `--help_config` shows them.
pub(super) fn keys() -> String {
    let mut text = String::from(
        "\nKeys of a configuration file, with what they take, their default, and whether a reload \
         changes them.\nnats-server.conf(5) says more.\n\n",
    );
    for key in documented() {
        let (names, reload) = (key.names.join(", "), if key.live { "yes" } else { "no" });
        text += &format!("    {names}\n        {}", key.wants);
        text += &format!(" (default: {}; reload: {reload})\n", key.default);
    }
    text
}

/// How TLS is configured, as `--help_tls` shows it.
pub(super) fn tls() -> String {
    let mut text = String::from(
        "\nTLS is configured in the tls block of a configuration file:\n\n    \
         tls {\n        \
         cert_file: \"./certs/server-cert.pem\"\n        \
         key_file: \"./certs/server-key.pem\"\n        \
         ca_file: \"./certs/ca.pem\"\n        \
         verify: true\n        \
         cipher_suites: [\"TLS_AES_128_GCM_SHA256\"]\n        \
         curve_preferences: [\"X25519\", \"CurveP256\"]\n    }\n\n\
         nats-server.conf(5) says more.\n",
    );
    for (title, names) in [
        ("cipher suites", CIPHER_SUITES),
        ("curve preferences", CURVES),
    ] {
        text += &format!("\nAvailable {title}:\n");
        for name in names {
            text += &format!("    {name}\n");
        }
    }
    text
}

/// A flag's names and its description, in one line or two.
fn entry(flag: &Flag) -> String {
    let placeholder = match flag.takes {
        Takes::Switch => String::new(),
        Takes::Number(name) | Takes::Text(name) | Takes::Path(name) => format!(" <{name}>"),
    };
    let short = flag
        .short
        .iter()
        .map(|name| format!("-{name}"))
        .collect::<Vec<_>>()
        .join(", ");
    let long = flag
        .long
        .iter()
        .map(|name| format!("--{name}"))
        .collect::<Vec<_>>();
    let separator = if flag.short.is_empty() || long.is_empty() {
        ""
    } else {
        ","
    };
    let first = format!("    {:<4}", format!("{short}{separator}"));
    let names = format!("{first}{}{placeholder}", long.join(", "));
    if names.len() + 1 < DESCRIPTION_COLUMN || long.len() < 2 {
        return described(&names, flag.help);
    }
    let (last, others) = long
        .split_last()
        .map_or(("", &[][..]), |(l, o)| (l.as_str(), o));
    let names = format!("        {last}{placeholder}");
    format!(
        "{first}{}\n{}",
        others.join(", "),
        described(&names, flag.help)
    )
}

fn described(names: &str, help: &str) -> String {
    format!("{names:<0$} {help}\n", DESCRIPTION_COLUMN - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_familiar_one() {
        let text = text();
        for line in [
            "\nUsage: nats-server [options]\n\nServer Options:\n",
            "    -a, --addr, --net <host>         Address to listen on (default: 0.0.0.0)\n",
            "    -n, --name\n        --server_name <server_name>  Name of this server",
            "        --loops <n>                  Number of client loops",
            "\n\nLogging Options:\n    -l, --log <file>                 File to log to\n",
            "    -T, --logtime                    Start log lines",
            "    -DVV                             Log debug lines and the protocol, that",
            "\n\nCommon Options:\n    -h, --help                       Show this text\n",
        ] {
            assert!(text.contains(line), "{line}\nnot in\n{text}");
        }
        assert!(text.ends_with(" Show how TLS is configured\n"), "{text}");
    }

    #[test]
    fn every_flag_is_shown() {
        let text = text();
        let words = text.split([' ', ',', '\n']).collect::<Vec<_>>();
        for flag in FLAGS {
            for name in flag.names() {
                assert!(words.contains(&&*flag.dashed(name)), "{name}");
            }
        }
    }

    #[test]
    fn keys_are_shown_with_all_there_is_to_know() {
        let entry =
            "    max_connections, max_conn\n        a whole number (default: 65536; reload: yes)\n";
        assert!(keys().contains(entry), "{}", keys());
    }

    #[test]
    fn the_example_of_tls_is_valid_and_all_names_are_listed() {
        use crate::config::{Nothing, parse};
        let text = tls();
        let block = &text[text.find("tls {").unwrap()..text.find("\n\nnats-server.conf").unwrap()];
        let document = parse("tls.conf", block, &Nothing).unwrap();
        let found = crate::options::Options::default().apply("tls.conf", &document);
        assert!(found.errors.is_empty(), "{found:?}");
        for name in CIPHER_SUITES.iter().chain(CURVES) {
            assert!(text.contains(&format!("\n    {name}\n")), "{name}");
        }
    }

    #[test]
    fn no_line_is_too_wide() {
        assert!(text().lines().all(|line| line.len() <= 105));
    }
}
