//! The nats-server program: everything is in the library, see `nats_server::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nats_server::cli::run(std::env::args_os().skip(1))
}
