//! Where the documents get everything from that is not theirs: whoever runs the server implements
//! [`Source`].

use super::links::Links;
use crate::broker::Facts;
use crate::broker::survey::{Question, Report};
use crate::jetstream;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A running server, as far as it is told of.
pub trait Source {
    /// What all loops know at present.
    fn facts(&self) -> Arc<Facts>;

    /// How the process does.
    fn vitals(&self) -> Vitals;

    /// The answers of the loops to a question, in the order of the loops. It takes a bounded time;
    /// loops that did not answer by then are missing, so what is made of the answers is of the
    /// others alone. Totals that a loop gave before are better than none, as sums of them are
    /// taken for counters.
    fn ask(&self, question: Question) -> Vec<Report>;

    /// The threads of the process.
    fn threads(&self) -> Vec<ThreadVitals>;

    /// What there is to be told of JetStream; `None` if it is not there, or does not answer in time.
    fn jetstream(&self, _asked: &jetstream::report::Question) -> Option<jetstream::report::Report> {
        None
    }

    /// Links to other servers, with the subjects that these listen to if `subscriptions` says so.
    fn links(&self, _subscriptions: bool) -> Links {
        Links::default()
    }
}

/// How the process does, and what it was told at its start.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// When the server was started, and the present.
    pub start: SystemTime,
    pub now: SystemTime,
    /// CPU in use of late, in percent of one core, and used since the process began.
    pub cpu_percent: f64,
    pub cpu: Duration,
    /// Bytes of memory in use, as the system counts them.
    pub resident_bytes: u64,
    /// Cores that the process may use.
    pub cores: usize,
    /// Client loops that there are.
    pub loops: usize,
    /// Where clients connect to; `None` before the server listens, and when it has stopped to.
    pub listener: Option<SocketAddr>,
    /// Whether lame duck mode was entered.
    pub lame_duck: bool,
    /// Connections that were ever accepted.
    pub accepted: u64,
    pub http: HttpVitals,
    pub config: ConfigVitals,
    /// When the certificate of the listener for clients ends to be valid.
    pub tls_not_after: Option<SystemTime>,
    /// The program and its arguments, without secrets.
    pub command_line: Vec<String>,
}

/// The monitoring endpoints over HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpVitals {
    /// The host to listen on, as configured.
    pub host: String,
    /// The ports in use; 0: none.
    pub port: u16,
    pub https_port: u16,
    /// What stands before the paths, as configured.
    pub base_path: String,
    /// Requests by path.
    pub requests: BTreeMap<String, u64>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct ConfigVitals {
    /// When it was read; the server's start without a file.
    pub loaded: SystemTime,
    /// `sha256:` and a number in hexadecimal; empty without a file.
    pub digest: String,
}

/// A thread.
#[derive(Clone, Debug)]
pub struct ThreadVitals {
    pub id: u64,
    pub name: String,
    /// What the system says it is at: running, sleeping, ...
    pub state: String,
    /// CPU that it has used.
    pub cpu: Duration,
}
