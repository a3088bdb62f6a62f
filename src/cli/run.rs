//! The run of the program: from arguments to exit code.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::panic;
use std::path::Path;
use std::process::{self, ExitCode};

use log::{error, info, warn};

use super::command::{Command, CommandError, parse};
use super::help;
use super::pid_file::PidFile;
use super::ports_file::{Ports, PortsFile, urls};
use crate::base::text::PlainError;
use crate::logging;
use crate::options::{Options, VERSION};
use crate::os::signals::{Signal, Signals};
use crate::os::{interfaces, limits, malloc};
use crate::server::Server;

/// Does what the arguments ask for, and returns the exit code: 0 after a clean stop, after help and
/// version, and, as in the reference, after a mistake in the arguments; 1 after every other error.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args) {
        Ok(Command::Version) => print(&format!("nats-server: v{VERSION}\n")),
        Ok(Command::Help) => print(&help::text()),
        Ok(Command::Signal(request)) => {
            if let Err(error) = request.carry_out() {
                complain(&CommandError::Signal(error));
                return ExitCode::FAILURE;
            }
        }
        Ok(Command::Serve(options)) => return serve(*options),
        Err(error @ CommandError::Usage(_)) => {
            complain(&error);
            print(&help::text());
        }
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs a server until a signal ends it.
fn serve(options: Options) -> ExitCode {
    malloc::tune();
    limits::raise_open_files();
    // Before any other thread starts: what comes early waits its turn instead of killing.
    let signals = Signals::install();
    let log = match logging::init(&options.log) {
        Ok(log) => log,
        Err(error) => {
            complain(&format_args!("nats-server: {error}"));
            return ExitCode::FAILURE;
        }
    };
    end_on_panic();
    info!("Starting nats-server");
    info!("  Version:  {VERSION}");
    info!("  Build:    {}", env!("CARGO_PKG_VERSION"));

    let outcome = match signals {
        Ok(signals) => serve_until_signal(options, signals),
        Err(error) => Err(format!("Error handling signals: {error}")),
    };
    if let Err(reason) = &outcome {
        logging::fatal(reason);
    }
    drop(log);
    if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn serve_until_signal(options: Options, mut signals: Signals) -> Result<(), String> {
    let pid_path = options.pid_file.clone();
    let ports_dir = options.ports_file_dir.clone();
    let server = Server::start(options).map_err(|error| error.to_string())?;
    // Only now: a server that found its port taken leaves the file of the one that runs.
    let pid_file = match pid_path.as_deref().map(PidFile::write).transpose() {
        Ok(file) => file,
        Err(error) => {
            server.shutdown();
            return Err(error.to_string());
        }
    };
    let ports_file = ports_dir.and_then(|dir| write_ports(&dir, server.addr()));
    info!("Server is ready");

    while !ends(signals.wait()) {}
    info!("Initiating Shutdown...");
    server.shutdown();
    drop(ports_file);
    drop(pid_file);
    info!("Server Exiting..");
    Ok(())
}

/// Writes the ports file. As in the reference, a server that cannot do that says so and runs.
fn write_ports(dir: &Path, listening: SocketAddr) -> Option<PortsFile> {
    let interfaces = interfaces::addresses().unwrap_or_else(|e| {
        warn!("Error listing network interfaces: {}", PlainError(&e));
        Vec::new()
    });
    let ports = Ports {
        nats: urls("nats", listening, &interfaces),
        ..Ports::default()
    };
    PortsFile::write(dir, &ports)
        .inspect_err(|e| error!("{e}"))
        .ok()
}

/// Makes a panic, which is a bug of ours, end the process at once: with one of its loops gone, a
/// server would only look alive, and whoever supervises it could not tell.
fn end_on_panic() {
    panic::set_hook(Box::new(|info| {
        logging::fatal(format_args!("Internal error: {info}"));
        logging::flush();
        process::exit(1);
    }));
}

/// Whether `signal` ends the server.
fn ends(signal: Signal) -> bool {
    info!("Trapped \"{signal}\" signal");
    match signal {
        Signal::Interrupt | Signal::Terminate | Signal::Quit => return true,
        Signal::Hangup => warn!("Reloading the configuration is not supported yet"),
        Signal::User1 => warn!("Reopening the log is not supported yet"),
        Signal::User2 => warn!("Lame duck mode is not supported yet"),
    }
    false
}

/// Writes to stdout. Whoever closed it does not want the rest, so that is no error.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Writes a line to stderr.
fn complain(error: &dyn Display) {
    let _ = writeln!(io::stderr(), "{error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_signals_end_the_server() {
        for signal in [Signal::Interrupt, Signal::Terminate, Signal::Quit] {
            assert!(ends(signal), "{signal}");
        }
        for signal in [Signal::Hangup, Signal::User1, Signal::User2] {
            assert!(!ends(signal), "{signal}");
        }
    }
}
