//! What is in a store, told without changing anything: `--store-check` and `--store-dump`.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::run::complain;
use crate::base::text::{Rfc3339, quoted};
use crate::store::LogError;
use crate::store::check::{self, Dumped, StreamReport};
use crate::store::disk::{Disk, OsReadDisk};
use crate::store::stream::TTL_NEVER;

/// The exit code where nothing could be looked at.
const NOTHING: u8 = 2;

/// What is in the directory that is configured.
const DIRECTORY: &str = "jetstream";

/// Checks all streams of a store, or one. The exit code is 0 if all is whole, 1 if something is
/// damaged, 2 if there is nothing to check.
pub(super) fn check(dir: &Path) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    // The directory that is configured has another one in it.
    let inner = dir.join(DIRECTORY);
    let dir = match disk().list(&inner) {
        Ok(_) => &inner,
        Err(_) => dir,
    };
    let report = check::check(&disk(), dir, &mut |stream| {
        // Whoever closed it does not want the rest.
        let _ = tell(&mut out, stream);
    });
    let report = match report {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    for dir in report.remains {
        let _ = writeln!(out, "{}: removed by the next start", dir.display());
    }
    let (streams, damaged) = (report.streams, report.damaged);
    let _ = writeln!(out, "{streams} streams, {damaged} of them damaged");
    let _ = out.flush();
    ExitCode::from(u8::from(damaged > 0))
}

/// Shows the records of a stream, one a line. The exit code is that of [`check`].
pub(super) fn dump(dir: &Path) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut is_whole = true;
    let dumped = check::dump(&disk(), dir, &mut |record| {
        is_whole &= matches!(record, Dumped::Record(_));
        let _ = show(&mut out, &record);
    });
    let _ = out.flush();
    match dumped {
        Ok(()) => ExitCode::from(u8::from(!is_whole)),
        Err(error) => fail(&error),
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsReadDisk)
}

fn fail(error: &LogError) -> ExitCode {
    complain(&format_args!("nats-server: {error}"));
    ExitCode::from(NOTHING)
}

fn tell(out: &mut dyn Write, stream: &StreamReport) -> io::Result<()> {
    write!(out, "{}", stream.dir.display())?;
    if let Some((account, name)) = &stream.names {
        let (account, name) = (quoted(account.as_bytes()), quoted(name.as_bytes()));
        write!(out, ": stream {name} of account {account}")?;
    }
    writeln!(out)?;
    if let Some(state) = &stream.state {
        writeln!(
            out,
            "  {} messages of {} bytes on {} subjects, first {}, last {}",
            state.messages, state.bytes, state.subjects, state.first, state.last
        )?;
        writeln!(
            out,
            "  {} deleted, {} lost, {} consumers",
            state.deleted, state.lost, stream.consumers
        )?;
    }
    let (segments, records) = (stream.segments, stream.records);
    writeln!(out, "  {records} records in {segments} segments")?;
    for note in &stream.notes {
        writeln!(out, "  {note}")?;
    }
    for damage in &stream.damage {
        writeln!(out, "  DAMAGED: {damage}")?;
    }
    Ok(())
}

fn show(out: &mut dyn Write, record: &Dumped<'_>) -> io::Result<()> {
    let record = match record {
        Dumped::Lost(first, last) => return writeln!(out, "{first} to {last}: damaged or missing"),
        Dumped::Record(record) => record,
    };
    let time = UNIX_EPOCH + Duration::from_nanos(record.timestamp.0);
    let kind = check::kind_name(record.kind);
    let (headers, payload) = (record.headers.len(), record.payload.len());
    write!(
        out,
        "{} seq {} {} {kind} {} headers {headers} payload {payload}",
        record.index,
        record.sequence,
        Rfc3339(time),
        quoted(record.subject)
    )?;
    match record.ttl_s {
        0 => {}
        TTL_NEVER => write!(out, " ttl never")?,
        seconds => write!(out, " ttl {seconds}s")?,
    }
    if record.erased {
        write!(out, " erased")?;
    }
    writeln!(out)
}
