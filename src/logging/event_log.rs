//! The event log of Windows as the place of the log.

use std::io;

use super::error::LogError;
use super::format::Label;
use super::sink::{Records, Sink, Voice};
use crate::base::text::PlainError;
use crate::os::event_log::{EventLog, Kind};

/// What the reference calls itself there.
const SOURCE: &str = "NATS-Server";

/// The open log.
pub(super) struct Events(EventLog);

impl Events {
    pub(super) fn open() -> Result<Events, LogError> {
        let log = EventLog::open(SOURCE);
        let log = log.map_err(|e| LogError::EventLog(PlainError(&e).to_string()))?;
        Ok(Events(log))
    }
}

impl Sink for Events {
    fn write(&mut self, records: &mut Records<'_>, _: &Voice) -> io::Result<()> {
        while records.left() > 0 {
            let record = records.next();
            let text = String::from_utf8_lossy(record);
            let (kind, id) = event(&text);
            self.0.report(kind, id, text.trim_end_matches('\n'))?;
            records.advance(record.len());
        }
        Ok(())
    }

    fn recover(&mut self) -> io::Result<bool> {
        self.0 = EventLog::open(SOURCE)?;
        Ok(false)
    }

    fn place(&self) -> Option<String> {
        Some("event log".into())
    }
}

/// The kind and the number of the event that a line `pid[7][NOTICE]: ...` is, which are the
/// reference's.
fn event(line: &str) -> (Kind, u32) {
    let word = line.split(['[', ']']).nth(3);
    let label = Label::ALL.iter().find(|label| Some(label.word()) == word);
    match label {
        Some(Label::Err) => (Kind::Error, 2),
        Some(Label::Dbg) => (Kind::Information, 3),
        Some(Label::Trc) => (Kind::Information, 4),
        Some(Label::Ftl) => (Kind::Error, 5),
        Some(Label::Inf | Label::Wrn) | None => (Kind::Information, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_events_of_the_reference() {
        for (line, is) in [
            ("pid[7][NOTICE]: [ERROR] is quoted", (Kind::Information, 1)),
            ("pid[7][WARN]: x", (Kind::Information, 1)),
            ("pid[7][ERROR]: x", (Kind::Error, 2)),
            ("pid[7][DEBUG]: x", (Kind::Information, 3)),
            ("pid[7][TRACE]: x", (Kind::Information, 4)),
            ("pid[7][FATAL]: x", (Kind::Error, 5)),
            ("", (Kind::Information, 1)),
        ] {
            assert_eq!(event(line), is, "{line}");
        }
    }
}
