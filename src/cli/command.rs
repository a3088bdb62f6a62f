//! What the arguments ask for.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use super::args::Args;
use super::configure::{ConfigureError, Setup, UsedFile, configure};
use super::normalise::{UsageError, normalise};
use super::signal::{SignalError, SignalRequest};
use crate::base::text::quoted;
use crate::config::Environment;
use crate::options::OptionError;

/// What to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Show the version and end.
    Version,
    /// Show what the program was built from and for, and end.
    BuildInfo,
    /// Show the help text and end.
    Help,
    /// Show the keys of a configuration file and end.
    HelpConfig,
    /// Show how TLS is configured and end.
    HelpTls,
    /// Signal servers that run already, and end.
    Signal(SignalRequest),
    /// Say that a configuration file is valid, and end.
    Valid {
        file: UsedFile,
        /// Rules between options that are broken nevertheless.
        trouble: Vec<OptionError>,
    },
    /// Check the streams in a directory, and end.
    StoreCheck(PathBuf),
    /// Show the records of the stream in a directory, and end.
    StoreDump(PathBuf),
    /// Run a server.
    Serve(Box<Setup>),
}

/// Why nothing can be done. Shown, it is one line, or one for each broken rule.
#[derive(Debug)]
pub(super) enum CommandError {
    /// The arguments cannot be understood; the help text will help.
    Usage(UsageError),
    /// The first free word is no command.
    Word(String),
    /// No signal can be sent.
    Signal(SignalError),
    /// A configuration is to be checked, but none is named.
    NothingToCheck,
    /// There are no options.
    Configure(ConfigureError),
}

impl Display for CommandError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Usage(error) => error.fmt(f),
            CommandError::Word(word) => {
                write!(
                    f,
                    "nats-server: unrecognized command: {}",
                    quoted(word.as_bytes())
                )
            }
            CommandError::Signal(error) => write!(f, "nats-server: {error}"),
            CommandError::NothingToCheck => f.write_str(
                "nats-server: must specify [-c, --config] option to check configuration file \
                 syntax",
            ),
            CommandError::Configure(error) => write!(f, "nats-server: {error}"),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<UsageError> for CommandError {
    fn from(error: UsageError) -> CommandError {
        CommandError::Usage(error)
    }
}

impl From<ConfigureError> for CommandError {
    fn from(error: ConfigureError) -> CommandError {
        match error {
            ConfigureError::Usage(error) => CommandError::Usage(error),
            error => CommandError::Configure(error),
        }
    }
}

/// Understands the arguments, which do not include the program's own name, and the configuration
/// file that they name.
pub(super) fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: &dyn Environment,
) -> Result<Command, CommandError> {
    let args =
        Args::collect(normalise(args)?).expect("a normal form has a fitting value behind each key");
    if args.version == Some(true) {
        return Ok(Command::Version);
    }
    if args.build_info == Some(true) {
        return Ok(Command::BuildInfo);
    }
    if args.help == Some(true) {
        return Ok(Command::Help);
    }
    if args.help_config == Some(true) {
        return Ok(Command::HelpConfig);
    }
    if args.help_tls == Some(true) {
        return Ok(Command::HelpTls);
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
    if let Some(dir) = args.store_check {
        return Ok(Command::StoreCheck(dir.into()));
    }
    if let Some(dir) = args.store_dump {
        return Ok(Command::StoreDump(dir.into()));
    }
    if args.check == Some(true) {
        let Setup {
            options,
            file,
            warnings,
            ..
        } = configure(args, env)?;
        let file = file.ok_or(CommandError::NothingToCheck)?;
        if !warnings.is_empty() {
            return Err(ConfigureError::File(warnings.join("\n")).into());
        }
        crate::server::check(&options).map_err(ConfigureError::Server)?;
        // As in the reference, rules between options do not count here; but they are told.
        let trouble = options.check().err().unwrap_or_default();
        return Ok(Command::Valid { file, trouble });
    }
    Ok(Command::Serve(Box::new(configure(args, env)?.checked()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tls::{CertificateFiles, TlsOptions};
    use crate::options::{LogFormat, LogOptions, Options};
    use std::path::Path;

    /// Files by name, and no variables.
    struct Files(&'static [(&'static str, &'static str)]);

    impl Environment for Files {
        fn read(&self, path: &Path, _: usize) -> Result<Vec<u8>, String> {
            let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
            let (_, text) = found.ok_or_else(|| format!("open {}: not here", path.display()))?;
            Ok(text.as_bytes().to_vec())
        }

        fn variable(&self, _: &str) -> Option<String> {
            None
        }
    }

    const FILES: Files = Files(&[
        (
            "a.conf",
            "port: 5, debug: true, logtime: false, server_name: file, pid_file: f",
        ),
        ("odd.conf", "ping_interval: 5"),
        (
            "bad.conf",
            "port: x\nping_interval: 5\nhotst: y\nmax_payload: 2147483648",
        ),
        ("rules.conf", "max_payload: 10mb\nmax_pending: 1mb\n"),
        ("empty.conf", ""),
        ("user.conf", "authorization {user: file, password: p}"),
        ("users.conf", "authorization {users: [{user: file}]}"),
        (
            "tls.conf",
            "tls {cert_file: f, key_file: f, ca_file: f, verify: true, timeout: 7}",
        ),
    ]);

    fn command(line: &str) -> Result<Command, String> {
        let args = line.split_whitespace().map(OsString::from);
        parse(args, &FILES).map_err(|error| error.to_string())
    }

    fn served(line: &str) -> Options {
        match command(line) {
            Ok(Command::Serve(setup)) => setup.options,
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
            "--no_advertise -v",
            "-p 1 -v",
        ] {
            assert!(matches!(command(line), Ok(Command::Version)), "{line}");
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
            assert!(matches!(command(line), Ok(Command::Help)), "{line}");
        }
        assert!(matches!(command("--build-info"), Ok(Command::BuildInfo)));
        assert!(command("-v --bogus").is_err());
        assert!(matches!(command("-h=false -v"), Ok(Command::Version)));
    }

    #[test]
    fn flags_become_options() {
        assert_eq!(served(""), Options::default());
        let options = served(
            "-a ::1 -p -1 --name west -DVV -P /run/n.pid --loops 3 --logtime=false -logtime_utc \
             --ports_file_dir /run --client_advertise h:1 -l log -s -r udp://h \
             --log_size_limit 9 --max_traced_msg_len 8 --log_format json",
        );
        let expected = Options {
            host: "::1".into(),
            port: -1,
            server_name: Some("west".into()),
            pid_file: Some("/run/n.pid".into()),
            ports_file_dir: Some("/run".into()),
            client_advertise: Some("h:1".into()),
            loops: Some(3),
            log: LogOptions {
                debug: true,
                trace: true,
                trace_verbose: true,
                logtime: false,
                logtime_utc: true,
                file: Some("log".into()),
                syslog: true,
                remote_syslog: Some("udp://h".into()),
                size_limit: 9,
                max_traced_msg_len: 8,
                format: LogFormat::Json,
                ..LogOptions::default()
            },
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn who_may_connect_can_be_typed() {
        let own = |line: &str| served(line).authorization;
        let user = own("--user u --pass p");
        assert_eq!(
            (user.user.as_deref(), user.password, user.token),
            (Some("u"), Some("p".into()), None)
        );
        assert_eq!(own("--auth t").token, Some("t".into()));
        // Over the file, one by one; a token in place of the only user.
        let other = own("-c user.conf --pass q");
        assert_eq!(
            (other.user.as_deref(), other.password),
            (Some("file"), Some("q".into()))
        );
        let token = own("-c user.conf --auth t");
        assert_eq!((token.user, token.password), (None, None));
        assert_eq!(token.token, Some("t".into()));
        assert_eq!(
            own("-c user.conf --user= --pass= --auth="),
            Default::default()
        );
        for (line, text) in [
            ("--user a --auth b", "Cannot have a user/pass and token"),
            (
                "-c users.conf --user a",
                "Can not have a single user/pass and a users array",
            ),
            (
                "-c users.conf --auth a",
                "Can not have a token and a users array",
            ),
        ] {
            assert_eq!(command(line).unwrap_err(), format!("nats-server: {text}"));
        }
    }

    #[test]
    fn what_is_typed_in_secret_is_not_shown() {
        let Ok(Command::Serve(setup)) = command("--user u --pass s3cret --auth=") else {
            panic!();
        };
        assert!(!format!("{setup:?}").contains("s3cret"));
        let error = command("--pass s3cret --auth s4cret --user u").unwrap_err();
        assert!(!error.contains("cret"), "{error}");
    }

    #[test]
    fn certificates_can_be_typed() {
        let files = CertificateFiles {
            cert_file: "c".into(),
            key_file: "k".into(),
        };
        let typed = served("--tls --tlscert c --tlskey k").tls.unwrap();
        let expected = TlsOptions {
            certs: vec![files.clone()],
            ..TlsOptions::default()
        };
        assert_eq!(typed, expected);
        let verified = served("--tlscert c --tlskey k --tlsverify --tlscacert a")
            .tls
            .unwrap();
        assert!(verified.verify && verified.ca_file == Some("a".into()));
        // The file keeps its say on what no flag is about.
        let over = served("-c tls.conf --tlscert c --tlskey k").tls.unwrap();
        assert_eq!(
            (&over.certs, over.verify, over.ca_file),
            (&vec![files], false, None)
        );
        assert_eq!(over.timeout.as_secs(), 7);
        assert!(served("-c tls.conf").tls.unwrap().verify);
        for line in [
            "-c tls.conf --tls=false",
            "--tls=false --tlscert c --tlskey k",
        ] {
            assert_eq!(served(line).tls, None, "{line}");
        }
        let text = "nats-server: TLS Server certificate must be present and valid";
        for line in [
            "--tls",
            "--tlsverify",
            "--tlskey k",
            "--tlscert= --tlskey k",
            "-c tls.conf --tls",
        ] {
            assert_eq!(command(line).unwrap_err(), text, "{line}");
        }
        assert_eq!(
            command("--tlscert c").unwrap_err(),
            "nats-server: TLS Server private key must be present and valid"
        );
        assert!(matches!(command("--help_tls --tls"), Ok(Command::HelpTls)));
    }

    #[test]
    fn signals_come_before_all_that_a_server_needs() {
        for line in [
            "-sl stop=1",
            "--signal=stop=1 -c x -p 70000",
            "-sl x -signal stop=1",
        ] {
            let request: crate::cli::signal::SignalRequest = "stop=1".parse().unwrap();
            let Ok(Command::Signal(asked)) = command(line) else {
                panic!("{line}");
            };
            assert_eq!(asked, request, "{line}");
        }
        assert!(matches!(command("-sl stop=1 -v"), Ok(Command::Version)));
        let unknown = "nats-server: unknown signal \"bogus\"";
        assert_eq!(command("-sl bogus").unwrap_err(), unknown);
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
                "--routes nats://a:1",
                "nats-server: Solicited routes require cluster capabilities, e.g. --cluster.",
            ),
            (
                "--cluster nats://u@a:1",
                "invalid value \"...\" for flag -cluster: expected cluster password to be set",
            ),
            (
                "-js --cluster nats://127.0.0.1:-1",
                "nats-server: jetstream: not supported yet in a cluster",
            ),
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
                 loops 900 must be between 1 and 256",
            ),
        ] {
            assert_eq!(command(line).unwrap_err(), text, "{line}");
        }
        let spaced = parse(["-n".into(), "a b".into()], &FILES).unwrap_err();
        assert_eq!(
            spaced.to_string(),
            "nats-server: server name cannot contain spaces"
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = served("-c a.conf");
        assert_eq!(
            (file.port, file.log.debug, file.log.logtime),
            (5, true, false)
        );
        assert_eq!(file.server_name.as_deref(), Some("file"));
        let both = served("-c a.conf -p 6 -D=false -T -n= -P=");
        assert_eq!(
            (both.port, both.log.debug, both.log.logtime),
            (6, false, true)
        );
        assert_eq!((both.server_name, both.pid_file), (None, None));
        assert_eq!(served("-c a.conf -p 0").port, 4222);
        assert_eq!(served("-c odd.conf").ping_interval.as_secs(), 5);
    }

    #[test]
    fn a_file_is_checked_without_a_server() {
        let valid = |line: &str| match command(line) {
            Ok(Command::Valid { file, trouble }) => (file.digest, trouble.len()),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(valid("-t -c a.conf").1, 0);
        let digest = "sha256:b1d186263b3341d6e83468f17543aca893349a12e945a9a538fb31b727b34fdd";
        assert_eq!(valid("-c rules.conf -t"), (digest.into(), 1));
        assert_eq!(
            command("-c rules.conf").unwrap_err(),
            "nats-server: max_payload (10485760) cannot be higher than max_pending (1048576)"
        );
        for (line, text) in [
            ("-t", "must specify [-c, --config] option"),
            ("-t -c none", "nats-server: open none: not here"),
            (
                "-t -c empty.conf",
                "empty.conf: config has no values or is empty",
            ),
            (
                "-t -c odd.conf",
                "nats-server: odd.conf:1:1: invalid use of field \"ping_interval\": \
                 ping_interval should be converted to a duration",
            ),
        ] {
            let error = command(line).unwrap_err();
            assert!(error.contains(text), "{line}: {error}");
        }
    }

    #[test]
    fn every_fault_of_a_file_is_told_the_odd_ones_first() {
        let error = command("-c bad.conf").unwrap_err();
        let heads = error.lines().filter(|line| line.contains("bad.conf:"));
        assert_eq!(
            heads.collect::<Vec<_>>(),
            [
                "nats-server: bad.conf:2:1: invalid use of field \"ping_interval\": \
                 ping_interval should be converted to a duration",
                "bad.conf:1:1: port: expected a whole number, but got text",
                "bad.conf:3:1: unknown field \"hotst\", did you mean \"host\"?",
                "bad.conf:4:1: max_payload: 2147483648 is out of range, it must be between 0 and \
                 2147483647",
            ]
        );
    }
}
