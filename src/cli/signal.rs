//! What `--signal` asks for: a signal to servers that run already.

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use crate::base::text::{PlainError, quoted};
use crate::os::processes::{self, ProcessId};
use crate::os::service::{self, ControlError};
use crate::os::signals::Signal;

/// The program whose processes are looked for.
const PROGRAM: &str = "nats-server";

/// Bytes of a PID file that are read; an id has ten digits at most.
const PID_FILE_MAX: u64 = 64;

/// An argument of `--signal`: `COMMAND`, or `COMMAND=WHOM`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SignalRequest {
    command: SignalCommand,
    /// A process id, a path of a PID file, or digits followed by a star; on Windows the name of a service.
    /// Empty without any.
    whom: String,
}

/// What a running server is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SignalCommand {
    /// Enter lame duck mode: send the clients away, then end.
    LameDuck,
    /// End at once, without cleaning up.
    Stop,
    /// Close all connections and end.
    Quit,
    /// End, unless lame duck mode does that already.
    Terminate,
    /// Open the log file anew.
    Reopen,
    /// Read the configuration again.
    Reload,
}

/// Which processes are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    /// The only server that runs.
    Single,
    One(ProcessId),
    /// All servers whose ids start with these digits.
    StartingWith(String),
}

/// Why a signal was not sent, or not to everybody.
#[derive(Debug)]
pub(super) enum SignalError {
    /// There is no such command.
    Unknown(String),
    /// What follows a second equals sign.
    Parameters(Vec<String>),
    /// Neither an id, nor digits and a star, nor the path of a file with an id.
    InvalidPid(String),
    /// The PID file is there and cannot be read.
    PidFile(String, io::Error),
    /// The processes cannot be listed.
    Unresolved,
    /// No server runs.
    NoneRunning,
    /// Servers run, but none has an id that starts with these digits.
    NoneStartingWith(String),
    /// Several servers run; one is to be chosen.
    SeveralRunning(Vec<ProcessId>),
    /// A service was not told.
    Service(ControlError),
    /// The system refused to signal these.
    Refused(SignalCommand, Vec<(ProcessId, io::Error)>),
}

impl SignalCommand {
    /// All commands, in the order of the help text.
    pub(super) const ALL: [SignalCommand; 6] = [
        SignalCommand::LameDuck,
        SignalCommand::Stop,
        SignalCommand::Quit,
        SignalCommand::Terminate,
        SignalCommand::Reopen,
        SignalCommand::Reload,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            SignalCommand::LameDuck => "ldm",
            SignalCommand::Stop => "stop",
            SignalCommand::Quit => "quit",
            SignalCommand::Terminate => "term",
            SignalCommand::Reopen => "reopen",
            SignalCommand::Reload => "reload",
        }
    }

    /// The signal that stands for it; none for what ends a server by force.
    fn signal(self) -> Option<Signal> {
        match self {
            SignalCommand::Stop => None,
            SignalCommand::LameDuck => Some(Signal::User2),
            SignalCommand::Quit => Some(Signal::Interrupt),
            SignalCommand::Terminate => Some(Signal::Terminate),
            SignalCommand::Reopen => Some(Signal::User1),
            SignalCommand::Reload => Some(Signal::Hangup),
        }
    }

    fn send(self, id: ProcessId) -> io::Result<()> {
        match self.signal() {
            Some(signal) => processes::send(id, signal),
            None => processes::kill(id),
        }
    }

    fn unknown(self) -> SignalError {
        SignalError::Unknown(self.name().into())
    }
}

impl FromStr for SignalRequest {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<SignalRequest, SignalError> {
        let mut parts = text.split('=').map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let whom = parts.next().unwrap_or_default();
        let rest = parts.collect::<Vec<_>>();
        if !rest.is_empty() {
            return Err(SignalError::Parameters(rest));
        }
        match SignalCommand::ALL.into_iter().find(|c| c.name() == name) {
            Some(command) => Ok(SignalRequest { command, whom }),
            None => Err(SignalError::Unknown(name)),
        }
    }
}

impl SignalRequest {
    /// Finds out who is meant, and signals them.
    pub(super) fn carry_out(&self) -> Result<(), SignalError> {
        if service::BY_NAME {
            return self.tell_service();
        }
        let target = target(&self.whom, read_pid_file)?;
        let chosen = match &target {
            Target::One(id) => vec![*id],
            Target::Single | Target::StartingWith(_) => {
                let running = processes::running(PROGRAM).map_err(|_| SignalError::Unresolved)?;
                choose(&target, running)?
            }
        };
        let send = |id| self.command.send(id).err().map(|error| (id, error));
        let refused = chosen.into_iter().filter_map(send).collect::<Vec<_>>();
        if refused.is_empty() {
            Ok(())
        } else {
            Err(SignalError::Refused(self.command, refused))
        }
    }
}

impl SignalRequest {
    /// Where servers are known by the names of their services, `WHOM` is such a name.
    fn tell_service(&self) -> Result<(), SignalError> {
        let name = match &*self.whom {
            "" => service::NAME,
            name => name,
        };
        // As in the reference, nothing is ended by force.
        let signal = match self.command {
            SignalCommand::Stop => Signal::Interrupt,
            other => other.signal().ok_or_else(|| other.unknown())?,
        };
        match service::send(name, signal) {
            Err(ControlError::NoControl) => Err(self.command.unknown()),
            outcome => outcome.map_err(SignalError::Service),
        }
    }
}

fn read_pid_file(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(PID_FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Who is meant. As in the reference, a file that can be read comes before an id.
fn target(
    whom: &str,
    read: impl FnOnce(&str) -> io::Result<String>,
) -> Result<Target, SignalError> {
    if whom.is_empty() {
        return Ok(Target::Single);
    }
    let id = |text: &str| {
        let id = text.trim().parse().map(Target::One);
        id.map_err(|_| SignalError::InvalidPid(text.trim().into()))
    };
    let unread = match read(whom) {
        Ok(text) => return id(&text),
        Err(error) => error,
    };
    if let Some(digits) = whom.strip_suffix('*') {
        let valid = digits.is_empty() || digits.parse::<ProcessId>().is_ok();
        return if valid {
            Ok(Target::StartingWith(digits.into()))
        } else {
            Err(SignalError::InvalidPid(digits.into()))
        };
    }
    match id(whom) {
        Err(_) if unread.kind() != io::ErrorKind::NotFound => {
            Err(SignalError::PidFile(whom.into(), unread))
        }
        outcome => outcome,
    }
}

/// Those among the running servers that are meant, at least one.
fn choose(target: &Target, mut running: Vec<ProcessId>) -> Result<Vec<ProcessId>, SignalError> {
    if let Target::One(id) = target {
        return Ok(vec![*id]);
    }
    if running.is_empty() {
        return Err(SignalError::NoneRunning);
    }
    if let Target::StartingWith(digits) = target {
        running.retain(|id| id.to_string().starts_with(digits));
        if running.is_empty() {
            return Err(SignalError::NoneStartingWith(digits.clone()));
        }
    } else if running.len() > 1 {
        return Err(SignalError::SeveralRunning(running));
    }
    Ok(running)
}

impl Display for SignalError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SignalError::Unknown(name) => write!(f, "unknown signal {}", quoted(name.as_bytes())),
            SignalError::Parameters(rest) => {
                write!(f, "invalid signal parameters: [{}]", rest.join(" "))
            }
            SignalError::InvalidPid(text) => write!(f, "invalid pid: {text}"),
            SignalError::PidFile(path, error) => {
                let error = PlainError(error);
                write!(f, "cannot read pid file: open {path}: {error}")
            }
            SignalError::Service(error) => error.fmt(f),
            SignalError::Unresolved => f.write_str("unable to resolve pid, try providing one"),
            SignalError::NoneRunning => write!(f, "no {PROGRAM} processes running"),
            SignalError::NoneStartingWith(digits) => {
                write!(
                    f,
                    "no {PROGRAM} process has a pid that starts with {digits}"
                )
            }
            SignalError::SeveralRunning(ids) => {
                write!(f, "multiple {PROGRAM} processes running:")?;
                ids.iter().try_for_each(|id| write!(f, "\n{id}"))
            }
            SignalError::Refused(command, refused) => {
                let command = quoted(command.name().as_bytes());
                let line = |(id, error): &(ProcessId, io::Error)| {
                    format!("signal {command} {id}: {}", PlainError(error))
                };
                let lines = refused.iter().map(line).collect::<Vec<_>>();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for SignalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SignalError::PidFile(_, error) => Some(error),
            SignalError::Service(error) => Some(error),
            SignalError::Refused(_, refused) => refused.first().map(|(_, error)| error as _),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ProcessId {
        number.to_string().parse().unwrap()
    }

    fn absent(_: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn meant(whom: &str) -> Result<Target, String> {
        target(whom, absent).map_err(|error| error.to_string())
    }

    fn chosen(whom: &str, running: &[u32]) -> Result<Vec<ProcessId>, String> {
        let target = target(whom, absent).unwrap();
        let running = running.iter().copied().map(id).collect();
        choose(&target, running).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_are_a_command_and_perhaps_somebody() {
        for command in SignalCommand::ALL {
            for whom in ["", "12", "12*", "/run/n.pid"] {
                let text = format!("{}={whom}", command.name());
                let request = text.parse::<SignalRequest>().unwrap();
                assert_eq!((request.command, &*request.whom), (command, whom));
            }
            let request = command.name().parse::<SignalRequest>().unwrap();
            assert_eq!((request.command, &*request.whom), (command, ""));
        }
        for (text, error) in [
            ("invalid=123", "unknown signal \"invalid\""),
            ("Stop", "unknown signal \"Stop\""),
            ("=1", "unknown signal \"\""),
            ("stop=1=2=3", "invalid signal parameters: [2 3]"),
            ("stop==1", "invalid signal parameters: [1]"),
        ] {
            let refused = text.parse::<SignalRequest>().unwrap_err();
            assert_eq!(refused.to_string(), error);
        }
    }

    #[test]
    fn somebody_is_an_id_or_the_start_of_one() {
        assert_eq!(meant(""), Ok(Target::Single));
        assert_eq!(meant("123"), Ok(Target::One(id(123))));
        assert_eq!(meant("*"), Ok(Target::StartingWith(String::new())));
        assert_eq!(meant("12*"), Ok(Target::StartingWith("12".into())));
        for (whom, told) in [
            ("abc", "abc"),
            ("/run/absent.pid", "/run/absent.pid"),
            ("0", "0"),
            ("-1", "-1"),
            ("-1*", "-1"),
            ("0*", "0"),
            ("12**", "12*"),
            ("*12", "*12"),
            ("99999999999", "99999999999"),
        ] {
            assert_eq!(meant(whom), Err(format!("invalid pid: {told}")), "{whom}");
        }
    }

    #[test]
    fn files_come_before_ids_and_hold_one() {
        let holds = |whom: &str, text: &str| {
            target(whom, |_| Ok(text.into())).map_err(|error| error.to_string())
        };
        assert_eq!(holds("/run/n.pid", "123"), Ok(Target::One(id(123))));
        assert_eq!(holds("77", "123\n"), Ok(Target::One(id(123))));
        for text in ["", "12*", "1 2", "pid"] {
            assert_eq!(holds("77", text), Err(format!("invalid pid: {text}")));
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_told_apart_from_mistakes() {
        let denied = |whom: &str| {
            target(whom, |_| Err(io::ErrorKind::PermissionDenied.into()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(denied("123"), Ok(Target::One(id(123))));
        let error = denied("/root/x").unwrap_err();
        assert_eq!(
            error,
            "cannot read pid file: open /root/x: permission denied"
        );
    }

    #[test]
    fn the_only_server_needs_no_id() {
        assert_eq!(chosen("", &[123]), Ok(vec![id(123)]));
        let none = "no nats-server processes running";
        assert_eq!(chosen("", &[]), Err(none.into()));
        let several = "multiple nats-server processes running:\n123\n456";
        assert_eq!(chosen("", &[123, 456]), Err(several.into()));
    }

    #[test]
    fn a_star_means_all_that_start_so() {
        let running = [123, 124, 456];
        assert_eq!(chosen("12*", &running), Ok(vec![id(123), id(124)]));
        assert_eq!(chosen("456*", &running), Ok(vec![id(456)]));
        assert_eq!(chosen("*", &running).map(|ids| ids.len()), Ok(3));
        assert_eq!(
            chosen("*", &[]),
            Err("no nats-server processes running".into())
        );
        assert_eq!(
            chosen("9*", &running),
            Err("no nats-server process has a pid that starts with 9".into())
        );
    }

    #[test]
    fn an_id_is_taken_as_it_is() {
        assert_eq!(chosen("9", &[123, 456]), Ok(vec![id(9)]));
    }

    #[test]
    fn refusals_are_told_one_a_line() {
        let refused = [(7, 3), (8, 1)].map(|(n, os)| (id(n), io::Error::from_raw_os_error(os)));
        let error = SignalError::Refused(SignalCommand::Stop, refused.into());
        let text = error.to_string();
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("signal \"stop\" 7: "), "{text}");
        assert!(lines[1].starts_with("signal \"stop\" 8: "), "{text}");
    }
}
