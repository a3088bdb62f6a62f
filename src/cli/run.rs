//! The run of the program: from arguments to exit code.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use super::command::{Command, CommandError, parse};
use super::configure::Disk;
use super::help;
use super::serve::serve;
use super::store;
use crate::options::{COMMIT, VERSION};
use crate::proto::info::TOOLCHAIN;

/// Does what the arguments ask for, and returns the exit code: 0 after a clean stop, after help and
/// version, and, as in the reference, after a mistake in the arguments; 1 after every other error;
/// those of a look at a store are told in the manual page.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args, &Disk) {
        Ok(Command::Version) => print(&format!("nats-server: v{VERSION}\n")),
        Ok(Command::BuildInfo) => print(&build_info()),
        Ok(Command::Help) => print(&help::text()),
        Ok(Command::HelpConfig) => print(&help::keys()),
        Ok(Command::HelpTls) => print(&help::tls()),
        Ok(Command::Signal(request)) => {
            if let Err(error) = request.carry_out() {
                complain(&CommandError::Signal(error));
                return ExitCode::FAILURE;
            }
        }
        Ok(Command::Valid { file, trouble }) => {
            for rule in trouble {
                complain(&format_args!(
                    "nats-server: a server will not start with it: {rule}"
                ));
            }
            complain(&format_args!(
                "nats-server: configuration file {} is valid ({})",
                file.path.display(),
                file.digest
            ));
        }
        Ok(Command::StoreCheck(dir)) => return store::check(&dir),
        Ok(Command::StoreDump(dir)) => return store::dump(&dir),
        Ok(Command::Serve(setup)) => {
            if !serve(*setup) {
                return ExitCode::FAILURE;
            }
        }
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

/// What `--build-info` shows. It is not part of the version's line, which scripts compare as a whole.
fn build_info() -> String {
    let commit = COMMIT.unwrap_or("not set");
    let build = env!("CARGO_PKG_VERSION");
    let target = env!("NATS_SERVER_TARGET");
    format!(
        "version: {VERSION}\nbuild: {build}\ncommit: {commit}\ntarget: {target}\n\
         toolchain: {TOOLCHAIN}\n"
    )
}

/// Writes to stdout. Whoever closed it does not want the rest, so that is no error.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Writes a line to stderr.
pub(super) fn complain(error: &dyn Display) {
    let _ = writeln!(io::stderr(), "{error}");
}
