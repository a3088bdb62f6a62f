//! The mkpasswd program: everything is in the library, see `nats_server::cli::mkpasswd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nats_server::cli::mkpasswd::run(std::env::args_os().skip(1))
}
