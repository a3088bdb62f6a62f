//! What is logged, in which form, and where to.

use std::path::PathBuf;

/// Everything that can be set about the log. All of it but `size_limit` and `max_num` can change
/// while the server runs.
///
/// Where the lines go: to `file` if it is given, else to `remote_syslog`, else to the system's
/// log if `syslog` is on, else to stderr.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// Whether debug lines are logged.
    pub debug: bool,
    /// Whether the protocol is logged, line by line.
    pub trace: bool,
    /// Whether the protocol of the system account is logged too. Means nothing without `trace`.
    pub trace_verbose: bool,
    /// Whether only the headers of traced messages are logged, not what follows them.
    pub trace_headers: bool,
    /// Bytes of a traced message that are logged at most; 0 is unlimited.
    pub max_traced_msg_len: usize,
    /// Whether log lines start with date and time.
    pub logtime: bool,
    /// Whether that time is UTC instead of local time.
    pub logtime_utc: bool,
    /// The form of a line. Not in the reference.
    pub format: LogFormat,
    /// The file that lines are appended to.
    pub file: Option<PathBuf>,
    /// Bytes from which on the file is rotated; 0 is never.
    pub size_limit: u64,
    /// Log files that are kept, the one in use included; 0 is all of them.
    pub max_num: usize,
    /// Whether lines go to the system's log: syslog, or the Windows event log.
    pub syslog: bool,
    /// The syslog server: `udp://host:514`, `tcp://host:514` or `unix:///path`.
    pub remote_syslog: Option<String>,
}

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// `[PID] YYYY/MM/DD HH:MM:SS.ffffff [INF] text`, as in the reference.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            debug: false,
            trace: false,
            trace_verbose: false,
            trace_headers: false,
            max_traced_msg_len: 0,
            logtime: true,
            logtime_utc: false,
            format: LogFormat::Text,
            file: None,
            size_limit: 0,
            max_num: 0,
            syslog: false,
            remote_syslog: None,
        }
    }
}
