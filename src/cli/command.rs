//! What the arguments ask for.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use super::args::Args;
use super::normalise::{UsageError, normalise};
use super::signal::{SignalError, SignalRequest};
use crate::base::text::quoted;
use crate::options::{LogOptions, OptionError, Options};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Show the version and end.
    Version,
    /// Show the help text and end.
    Help,
    /// Signal servers that run already, and end.
    Signal(SignalRequest),
    /// Run a server.
    Serve(Box<Options>),
}

/// Why nothing can be done. Shown, it is one line, or one for each broken rule.
#[derive(Debug)]
pub(super) enum CommandError {
    /// The arguments cannot be understood; the help text will help.
    Usage(UsageError),
    /// A flag is refused because what it asks for does not exist yet.
    NotYet(String),
    /// The first free word is no command.
    Word(String),
    /// No signal can be sent.
    Signal(SignalError),
    /// The arguments break rules of the options.
    Options(Vec<OptionError>),
}

impl Display for CommandError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Usage(error) => error.fmt(f),
            CommandError::NotYet(flag) => {
                write!(f, "nats-server: flag {flag} is not supported yet")
            }
            CommandError::Word(word) => {
                write!(
                    f,
                    "nats-server: unrecognized command: {}",
                    quoted(word.as_bytes())
                )
            }
            CommandError::Signal(error) => write!(f, "nats-server: {error}"),
            CommandError::Options(errors) => {
                let lines = errors.iter().map(|error| format!("nats-server: {error}"));
                f.write_str(&lines.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

impl std::error::Error for CommandError {}

impl From<UsageError> for CommandError {
    fn from(error: UsageError) -> CommandError {
        CommandError::Usage(error)
    }
}

/// Understands the arguments, which do not include the program's own name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, CommandError> {
    let args =
        Args::collect(normalise(args)?).expect("a normal form has a fitting value behind each key");
    if args.version == Some(true) {
        return Ok(Command::Version);
    }
    if args.help == Some(true) {
        return Ok(Command::Help);
    }
    if let Some(word) = &args.word {
        let word = word.to_string_lossy();
        return match &*word.to_lowercase() {
            "version" => Ok(Command::Version),
            "help" => Ok(Command::Help),
            _ => Err(CommandError::Word(word.into_owned())),
        };
    }
    // As in the reference, nothing else counts then.
    if let Some(text) = args.signal.as_deref().filter(|text| !text.is_empty()) {
        let request = text.parse().map_err(CommandError::Signal)?;
        return Ok(Command::Signal(request));
    }
    if let Some(flag) = args.not_yet {
        return Err(CommandError::NotYet(flag));
    }
    let options = options(args)?;
    options.check().map_err(CommandError::Options)?;
    Ok(Command::Serve(Box::new(options)))
}

/// The defaults with what was typed. As in the reference, an empty text or the port 0 asks for
/// the default.
fn options(args: Args) -> Result<Options, CommandError> {
    let default = Options::default();
    let set = |text: &String| !text.is_empty();
    Ok(Options {
        host: args.host.filter(set).unwrap_or(default.host),
        port: narrow("p", args.port)?
            .filter(|port| *port != 0)
            .unwrap_or(default.port),
        server_name: args.name.filter(set),
        pid_file: args
            .pid_file
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        ports_file_dir: args
            .ports_file_dir
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from),
        loops: narrow("loops", args.loops)?,
        log: LogOptions {
            debug: args.debug.unwrap_or(default.log.debug),
            trace: args.trace.unwrap_or(default.log.trace),
            trace_verbose: args.trace_verbose.unwrap_or(default.log.trace_verbose),
            logtime: args.logtime.unwrap_or(default.log.logtime),
            logtime_utc: args.logtime_utc.unwrap_or(default.log.logtime_utc),
            ..default.log
        },
        ..default
    })
}

/// The number as the options hold it.
fn narrow<T: TryFrom<i64>>(name: &str, number: Option<i64>) -> Result<Option<T>, UsageError> {
    let Some(number) = number else {
        return Ok(None);
    };
    T::try_from(number)
        .map(Some)
        .map_err(|_| UsageError::BadValue {
            name: name.into(),
            value: number.to_string(),
            reason: "value out of range",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    fn served(line: &str) -> Options {
        match command(line) {
            Ok(Command::Serve(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn version_and_help_come_before_all_but_mistakes() {
        for line in [
            "-v",
            "--version",
            "version",
            "Version",
            "-v -h",
            "-v extra",
            "-js -v",
            "-p 1 -v",
        ] {
            assert_eq!(command(line), Ok(Command::Version), "{line}");
        }
        for line in [
            "-h",
            "--help",
            "help",
            "HELP",
            "help extra",
            "-h extra",
            "-h -c x",
        ] {
            assert_eq!(command(line), Ok(Command::Help), "{line}");
        }
        assert!(command("-v --bogus").is_err());
        assert_eq!(command("-h=false -v"), Ok(Command::Version));
    }

    #[test]
    fn flags_become_options() {
        assert_eq!(served(""), Options::default());
        let options = served(
            "-a ::1 -p -1 --name west -DVV -P /run/n.pid --loops 3 --logtime=false -logtime_utc \
             --ports_file_dir /run",
        );
        let expected = Options {
            host: "::1".into(),
            port: -1,
            server_name: Some("west".into()),
            pid_file: Some("/run/n.pid".into()),
            ports_file_dir: Some("/run".into()),
            loops: Some(3),
            log: LogOptions {
                debug: true,
                trace: true,
                trace_verbose: true,
                logtime: false,
                logtime_utc: true,
                ..LogOptions::default()
            },
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn signals_come_before_all_that_a_server_needs() {
        for line in [
            "-sl stop=1",
            "--signal=stop=1 -c x -p 70000",
            "-sl x -signal stop=1",
        ] {
            let request = "stop=1".parse().unwrap();
            assert_eq!(command(line), Ok(Command::Signal(request)), "{line}");
        }
        assert_eq!(command("-sl stop=1 -v"), Ok(Command::Version));
        let unknown = "nats-server: unknown signal \"bogus\"";
        assert_eq!(command("-sl bogus"), Err(unknown.into()));
    }

    #[test]
    fn empty_values_ask_for_the_default() {
        assert_eq!(
            served("-a 1.1.1.1 -a= -p 1 -p 0 -n x -n= -P x -P= --ports_file_dir= -sl="),
            Options::default()
        );
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        for (line, text) in [
            ("extra help", "nats-server: unrecognized command: \"extra\""),
            ("-D false", "nats-server: unrecognized command: \"false\""),
            (
                "-D --http_port 8222",
                "nats-server: flag --http_port is not supported yet",
            ),
            ("-n a -c x -js", "nats-server: flag -c is not supported yet"),
            (
                "-p 4294967296",
                "invalid value \"4294967296\" for flag -p: value out of range",
            ),
            (
                "--loops -1",
                "invalid value \"-1\" for flag -loops: value out of range",
            ),
            (
                "--loops 0",
                "nats-server: loops 0 must be between 1 and 256",
            ),
            (
                "-p 70000 --loops 900",
                "nats-server: port 70000 must be between 1 and 65535, or -1 for a random port\n\
                 nats-server: loops 900 must be between 1 and 256",
            ),
        ] {
            assert_eq!(command(line), Err(text.into()), "{line}");
        }
        let spaced = parse(["-n".into(), "a b".into()]).map_err(|error| error.to_string());
        assert_eq!(
            spaced,
            Err("nats-server: server name cannot contain spaces".into())
        );
    }
}
