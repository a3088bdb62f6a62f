//! The log: the sink behind the `log` facade.
//!
//! A line is formatted by the thread that logs it and goes through a bounded queue to one writer
//! thread, so that a loop never waits for a terminal, a disk or a syslog server. When the writer
//! falls behind, debug and trace lines are dropped first; what is dropped is counted and said.
//! Arguments that come from a peer are quoted where they are logged: in text, they are written as
//! they are.
//!
//! The rest of the server uses the macros of `log`; `debug!` and `trace!` cost a comparison while
//! they are off. Only lines of this crate are shown, whose targets start with its name.
//!
//! [`apply`] and [`reopen`] change the log while it runs. A change travels through the queue, so
//! each line is written as the options said when it was logged.

mod error;
mod event_log;
mod file;
mod format;
mod json;
mod queue;
mod sink;
mod stamp;
mod syslog;
#[cfg(test)]
mod testing;
mod writer;

pub use error::LogError;

use std::cell::RefCell;
use std::fmt::{Arguments, Display, Write as _};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::base::clock;
use crate::options::LogOptions;
use crate::os::{event_log::EXISTS as HAS_EVENT_LOG, service};
use event_log::Events;
use file::{Limits, LogFile};
use format::{Identity, Label, Style, Syslog};
use queue::{Change, Queue, Route, Weight};
use sink::{Sink, Stream, Voice};
use syslog::{Address, Daemon};
use writer::Writer;

/// The target of a line that tells why the server ends: `error!(target: FATAL, ...)` is labelled
/// FTL instead of ERR.
pub const FATAL: &str = "nats_server::fatal";

/// Targets of this crate start with its name; libraries' lines are not shown.
const OWN_TARGETS: &str = "nats_server";

/// How long [`LogHandle::flush`] waits for the writer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a line's buffer that a thread keeps for its next line.
const LINE_KEPT_MAX: usize = 8 << 10;

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts the log as the options say. To be called once in a process, before anything is logged.
///
/// # Errors
/// The file cannot be opened, the syslog server not be reached, the writer thread not be started;
/// or the log was started before.
pub fn init(options: &LogOptions) -> Result<LogHandle, LogError> {
    let (logger, writer) = Logger::new(options)?;
    let handle = LogHandle {
        queue: Arc::clone(&logger.queue),
    };
    let level = logger.level_max();
    LOGGER.set(logger).map_err(|_| LogError::Twice)?;
    let logger = LOGGER.get().ok_or(LogError::Twice)?;
    log::set_logger(logger).map_err(|_| LogError::Twice)?;
    writer.start().map_err(LogError::Thread)?;
    log::set_max_level(level);
    Ok(handle)
}

/// Changes the running log to what the options say: levels, time, form and place. Lines that this
/// thread logged before are written as before, lines that it logs from now on as now said.
///
/// May wait for some seconds, for a syslog server to be connected to.
///
/// # Errors
/// The new file cannot be opened, or the new syslog server not be reached; or the log has not been
/// written for long. Nothing is changed then.
pub fn apply(options: &LogOptions) -> Result<(), LogError> {
    let logger = LOGGER.get().ok_or(LogError::NotStarted)?;
    logger.apply(options)?;
    log::set_max_level(logger.level_max());
    Ok(())
}

/// Opens the log file again under its name, since it may have been moved, and logs that it was
/// done. If the log is not written to a file, logs that instead.
///
/// # Errors
/// The file cannot be opened, and the one that is open stays in use; or the log has not been
/// written for long.
pub fn reopen() -> Result<(), LogError> {
    let logger = LOGGER.get().ok_or(LogError::NotStarted)?;
    log::info!("{}", logger.reopen()?);
    Ok(())
}

/// Logs the reason why the server cannot go on, labelled FTL. The caller flushes and ends.
pub fn fatal(reason: impl Display) {
    log::error!(target: FATAL, "{reason}");
}

/// Waits until all lines logged so far are written, two seconds at most, if there is a log.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.queue.wait_written(FLUSH_PATIENCE);
    }
}

/// The running log. Flushes when dropped.
pub struct LogHandle {
    queue: Arc<Queue>,
}

impl LogHandle {
    /// Waits until all lines logged so far are written, two seconds at most. Whether they are.
    pub fn flush(&self) -> bool {
        self.queue.wait_written(FLUSH_PATIENCE)
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Where the options want the lines.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    Stderr,
    File(PathBuf, Limits),
    Syslog(Address),
    Events,
}

impl Target {
    fn of(options: &LogOptions) -> Result<Target, LogError> {
        let limits = Limits {
            size: options.size_limit,
            files: options.max_num,
        };
        Ok(match (&options.file, &options.remote_syslog) {
            (Some(path), _) => Target::File(path.clone(), limits),
            (None, Some(url)) => Target::Syslog(Address::parse(url)?),
            // Nobody sees what a service of Windows writes to stderr.
            (None, None) if options.syslog || service::is_hosted() => match HAS_EVENT_LOG {
                true => Target::Events,
                false => Target::Syslog(Address::local()?),
            },
            (None, None) => Target::Stderr,
        })
    }

    fn open(&self) -> Result<Box<dyn Sink>, LogError> {
        Ok(match self {
            Target::Stderr => Box::new(Stream(io::stderr())),
            Target::File(path, limits) => match LogFile::open(path, *limits) {
                Ok(file) => Box::new(file),
                Err(source) => {
                    let path = path.clone();
                    return Err(LogError::File { path, source });
                }
            },
            Target::Syslog(address) => Box::new(Daemon::connect(address)?),
            Target::Events => Box::new(Events::open()?),
        })
    }

    fn style(&self, options: &LogOptions) -> Style {
        match self {
            Target::Stderr => Style::new(options, None, io::stderr().is_terminal()),
            Target::File(..) => Style::new(options, None, false),
            Target::Syslog(address) => Style::new(options, Some(address.form()), false),
            Target::Events => Style::new(options, Some(Syslog::Events), false),
        }
    }

    /// Whether both are the same file, though maybe with other limits.
    fn is_same_file(&self, other: &Target) -> bool {
        matches!((self, other), (Target::File(one, _), Target::File(two, _)) if one == two)
    }
}

struct Logger {
    debug: AtomicBool,
    trace: AtomicBool,
    identity: Arc<Identity>,
    queue: Arc<Queue>,
    /// Where the lines go, and how, since the last change.
    current: Mutex<(Target, Style)>,
}

/// What a thread needs for its next line.
struct Scratch {
    text: String,
    line: String,
    /// The style that was in force for the last line.
    style: Style,
}

impl Scratch {
    const fn new() -> Scratch {
        Scratch {
            text: String::new(),
            line: String::new(),
            style: Style::PLAIN,
        }
    }
}

impl Logger {
    /// The log, and its writer, which is not started yet.
    fn new(options: &LogOptions) -> Result<(Logger, Writer), LogError> {
        let target = Target::of(options)?;
        let style = target.style(options);
        let sink = target.open()?;
        let logger = Logger {
            debug: AtomicBool::new(options.debug),
            trace: AtomicBool::new(options.trace),
            identity: Arc::new(Identity::own()),
            queue: Arc::new(Queue::new(style)),
            current: Mutex::new((target, style)),
        };
        let writer = logger.writer(style, sink);
        Ok((logger, writer))
    }

    fn writer(&self, style: Style, sink: Box<dyn Sink>) -> Writer {
        let voice = Voice {
            identity: Arc::clone(&self.identity),
            style,
        };
        Writer::new(Arc::clone(&self.queue), voice, sink)
    }

    /// The filter of the facade. It knows no trace without debug, so [`Log::enabled`] looks again.
    fn level_max(&self) -> LevelFilter {
        let is_on = |level: &AtomicBool| level.load(Ordering::Relaxed);
        match (is_on(&self.trace), is_on(&self.debug)) {
            (true, _) => LevelFilter::Trace,
            (false, true) => LevelFilter::Debug,
            (false, false) => LevelFilter::Info,
        }
    }

    fn apply(&self, options: &LogOptions) -> Result<(), LogError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (old_target, old_style) = &*current;
        let target = Target::of(options)?;
        let style = target.style(options);
        if (&target, &style) != (old_target, old_style) {
            let route = if target == *old_target {
                Route::Stays
            } else if target.is_same_file(old_target) {
                Route::Renewed(target.open()?)
            } else {
                Route::Moves(target.open()?)
            };
            self.change(style, route)?;
            *current = (target, style);
        }
        self.debug.store(options.debug, Ordering::Relaxed);
        self.trace.store(options.trace, Ordering::Relaxed);
        Ok(())
    }

    /// Opens the file again; what is to be logged about it.
    fn reopen(&self) -> Result<&'static str, LogError> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (target, style) = &*current;
        if !matches!(target, Target::File(..)) {
            return Ok("File log re-open ignored, not a file logger");
        }
        self.change(*style, Route::Renewed(target.open()?))?;
        Ok("File log re-opened")
    }

    fn change(&self, style: Style, route: Route) -> Result<(), LogError> {
        self.queue
            .change(Change { style, route })
            .map_err(|_| LogError::Stuck)
    }

    fn push(&self, label: Label, weight: Weight, args: Arguments) {
        thread_local! {
            static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
        }
        // A value that logs while it is being formatted finds the buffers taken.
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.push_with(&mut scratch, label, weight, args),
            Err(_) => self.push_with(&mut Scratch::new(), label, weight, args),
        });
    }

    fn push_with(&self, scratch: &mut Scratch, label: Label, weight: Weight, args: Arguments) {
        let Scratch { text, line, style } = scratch;
        text.clear();
        // Writing to a string fails only where a value's own formatting does; the text then ends
        // early.
        let _ = text.write_fmt(args);
        let now = clock::wall();
        loop {
            line.clear();
            style.line(line, &self.identity, now, label, text);
            match self.queue.push(line.as_bytes(), weight, *style) {
                Ok(()) => break,
                Err(in_force) => *style = in_force,
            }
        }
        text.shrink_to(LINE_KEPT_MAX);
        line.shrink_to(LINE_KEPT_MAX);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let level_on = match metadata.level() {
            Level::Error | Level::Warn | Level::Info => true,
            Level::Debug => self.debug.load(Ordering::Relaxed),
            Level::Trace => self.trace.load(Ordering::Relaxed),
        };
        level_on && metadata.target().starts_with(OWN_TARGETS)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (label, weight) = match record.level() {
            Level::Error if record.target() == FATAL => (Label::Ftl, Weight::Event),
            Level::Error => (Label::Err, Weight::Event),
            Level::Warn => (Label::Wrn, Weight::Event),
            Level::Info => (Label::Inf, Weight::Event),
            Level::Debug => (Label::Dbg, Weight::Detail),
            Level::Trace => (Label::Trc, Weight::Detail),
        };
        self.push(label, weight, *record.args());
    }

    fn flush(&self) {
        self.queue.wait_written(FLUSH_PATIENCE);
    }
}

#[cfg(test)]
mod tests;
