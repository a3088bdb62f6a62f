//! Completions for shells, made from the table of flags, and the test that the files which are
//! shipped are up to date.

use super::flags::{FLAGS, Flag, Takes};
use super::signal::SignalCommand;

/// What a shell offers behind a flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Offer {
    /// The flag is a switch.
    Nothing,
    Files,
    Directories,
    Signals,
    /// The flag takes a value that cannot be guessed. Holds the placeholder.
    Value(&'static str),
}

fn offer(flag: &Flag) -> Offer {
    match flag.takes {
        Takes::Switch => Offer::Nothing,
        Takes::Path("dir") => Offer::Directories,
        Takes::Path(_) => Offer::Files,
        Takes::Text(_) if flag.long == ["signal"] => Offer::Signals,
        Takes::Text(name) | Takes::Number(name) => Offer::Value(name),
    }
}

fn dashed_names(flag: &Flag) -> Vec<String> {
    flag.names().map(|name| flag.dashed(name)).collect()
}

fn signals() -> String {
    SignalCommand::ALL.map(SignalCommand::name).join(" ")
}

/// The completion for bash, 4 or newer.
fn bash() -> String {
    let pattern = |wanted: fn(Offer) -> bool| {
        let flags = FLAGS.iter().filter(|flag| wanted(offer(flag)));
        flags.flat_map(Flag::names).collect::<Vec<_>>().join(" | ")
    };
    let flags = FLAGS.iter().flat_map(dashed_names).collect::<Vec<_>>();
    format!(
        r#"# Completion of nats-server for bash, made from its table of flags.

_nats_server() {{
    local word=$2 flag=$3 inline=

    # A value behind an equals sign is a word of its own where that sign breaks words.
    if [[ $word == -*=* ]]; then
        flag=${{word%%=*}} word=${{word#*=}} inline=yes
    elif [[ $word == = ]]; then
        word='' inline=yes
    elif [[ $flag == = ]]; then
        flag=${{COMP_WORDS[COMP_CWORD - 2]}} inline=yes
    fi
    local prefix=
    [[ $2 == -*=* ]] && prefix=$flag=

    COMPREPLY=()
    if [[ $flag == -* ]]; then
        flag=${{flag#-}}
        case ${{flag#-}} in
            {files})
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -P "$prefix" -- "$word")
                return
                ;;
            {directories})
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -d -P "$prefix" -- "$word")
                return
                ;;
            {signal_names})
                mapfile -t COMPREPLY < <(compgen -W '{signals}' -P "$prefix" -- "$word")
                return
                ;;
            {values})
                return
                ;;
        esac
        if [[ $inline ]]; then
            mapfile -t COMPREPLY < <(compgen -W 'true false' -P "$prefix" -- "$word")
            return
        fi
    elif [[ $inline ]]; then
        # The PID file behind "-sl stop=".
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W '{flags}' -- "$word")
}}

complete -F _nats_server nats-server
"#,
        files = pattern(|offer| offer == Offer::Files),
        directories = pattern(|offer| offer == Offer::Directories),
        signal_names = pattern(|offer| offer == Offer::Signals),
        values = pattern(|offer| matches!(offer, Offer::Value(_))),
        signals = signals(),
        flags = flags.join(" "),
    )
}

/// The completion for zsh.
fn zsh() -> String {
    let specs = FLAGS.iter().map(|flag| {
        let names = dashed_names(flag);
        let (equals, behind) = match offer(flag) {
            Offer::Nothing => ("", String::new()),
            Offer::Files => ("=", ":file:_files".into()),
            Offer::Directories => ("=", ":directory:_files -/".into()),
            Offer::Signals => ("=", format!(":signal:({})", signals())),
            Offer::Value(name) => ("=", format!(":{}: ", zsh_escaped(name))),
        };
        let others = names.join(" ");
        let help = zsh_escaped(flag.help);
        let spec = |name: &String| format!("    '({others}){name}{equals}[{help}]{behind}'");
        names.iter().map(spec).collect::<Vec<_>>().join(" \\\n")
    });
    let specs = specs.collect::<Vec<_>>().join(" \\\n");
    format!(
        "#compdef nats-server\n\
         # Completion of nats-server for zsh, made from its table of flags.\n\n\
         _arguments \\\n{specs}\n"
    )
}

/// A text for a specification in single quotes, where colons and brackets divide the parts.
fn zsh_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\'' => escaped.push_str("'\\''"),
            ':' | '[' | ']' | '\\' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// The completion for fish.
fn fish() -> String {
    let mut text = String::from(
        "# Completion of nats-server for fish, made from its table of flags.\n\n\
         complete -c nats-server -f\n",
    );
    for flag in FLAGS.iter() {
        text += "complete -c nats-server";
        for name in flag.names() {
            let kind = match name.len() {
                1 => "-s",
                _ if flag.short.contains(&name) => "-o",
                _ => "-l",
            };
            text += &format!(" {kind} {name}");
        }
        text += &match offer(flag) {
            Offer::Nothing => String::new(),
            Offer::Files => " -r -F".into(),
            Offer::Directories => " -x -a '(__fish_complete_directories)'".into(),
            Offer::Signals => format!(" -x -a '{}'", signals()),
            Offer::Value(_) => " -x".into(),
        };
        let help = flag.help.replace('\\', "\\\\").replace('\'', "\\'");
        text += &format!(" -d '{help}'\n");
    }
    text
}

mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    use super::*;

    fn shipped(name: &str) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        root.join("packaging/completions").join(name)
    }

    /// The output of a command, or `None` if it is not installed.
    fn output(command: &mut Command) -> Option<Output> {
        match command.output() {
            Ok(output) => Some(output),
            Err(error) => {
                eprintln!("skipped: {command:?}: {error}");
                None
            }
        }
    }

    #[test]
    fn the_shipped_files_are_what_the_table_gives() {
        for (name, text) in [
            ("nats-server.bash", bash()),
            ("_nats-server", zsh()),
            ("nats-server.fish", fish()),
        ] {
            let path = shipped(name);
            if std::env::var_os("REWRITE_COMPLETIONS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let same = fs::read_to_string(&path).is_ok_and(|shipped| shipped == text);
            assert!(
                same,
                "{} is out of date: REWRITE_COMPLETIONS=1 cargo test --lib completions",
                path.display()
            );
        }
    }

    #[test]
    fn shells_can_read_them() {
        for (shell, name) in [
            ("bash", "nats-server.bash"),
            ("zsh", "_nats-server"),
            ("fish", "nats-server.fish"),
        ] {
            let Some(output) = output(Command::new(shell).arg("-n").arg(shipped(name))) else {
                continue;
            };
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{shell}: {output:?}"
            );
        }
    }

    /// What bash offers for the last of these words, which are as bash divides them.
    fn offered(words: &[&str]) -> Option<Vec<String>> {
        let script = r#"
            compopt() { :; }
            source "$1"
            shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _nats_server nats-server "${@: -1}" "${@: -2:1}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]);
        command.arg(shipped("nats-server.bash")).args(words);
        let output = output(command.current_dir(env!("CARGO_MANIFEST_DIR")))?;
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        Some(lines.map(str::to_owned).collect())
    }

    #[test]
    fn bash_offers_what_fits() {
        for (words, expected) in [
            (
                &["nats-server", "--por"][..],
                &["--port", "--ports_file_dir"][..],
            ),
            (&["nats-server", "-D", "--debu"], &["--debug"]),
            (&["nats-server", "-sl", "re"], &["reopen", "reload"]),
            (&["nats-server", "--signal", "=", "q"], &["quit"]),
            (&["nats-server", "--signal=q"], &["--signal=quit"]),
            (
                &["nats-server", "-sl", "stop", "=", "Cargo.t"],
                &["Cargo.toml"],
            ),
            (&["nats-server", "-P", "Cargo.t"], &["Cargo.toml"]),
            (&["nats-server", "--pid=Cargo.t"], &["--pid=Cargo.toml"]),
            (&["nats-server", "--ports_file_dir", "sr"], &["src"]),
            (&["nats-server", "--ports_file_dir", "Cargo.t"], &[]),
            (&["nats-server", "-p", ""], &[]),
            (&["nats-server", "-D", "=", "t"], &["true"]),
            (&["nats-server", "-D", "="], &["true", "false"]),
            (&["nats-server", "zzz"], &[]),
        ] {
            let Some(offers) = offered(words) else { return };
            assert_eq!(offers, expected, "{words:?}");
        }
        let all = offered(&["nats-server", "-D", ""]).unwrap();
        assert_eq!(all.len(), FLAGS.iter().flat_map(Flag::names).count());
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(zsh_escaped("it's [a:b]"), "it'\\''s \\[a\\:b\\]");
    }
}
