//! The thread that writes the log, and what it does when it cannot.
//!
//! Lines that cannot be written are kept and tried again, with growing pauses, while the queue
//! takes more until it is full. What is lost in the end is counted, and told in the log once there
//! is one again; a long outage is told on stderr, once.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::format::Label;
use super::queue::{Ahead, Batch, Change, Queue, Route};
use super::sink::{Records, Sink, Voice};
use crate::base::clock::{self, Mono};
use crate::base::text::{GoDuration, PlainError};

/// The first pause after a failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long the log cannot be written before stderr is told.
const COMPLAIN_AFTER: Duration = Duration::from_secs(2);

/// The writer's side of the queue.
pub(super) struct Writer {
    queue: Arc<Queue>,
    voice: Voice,
    sink: Box<dyn Sink>,
    /// Where it is told that the log cannot be written.
    stderr: Box<dyn Write + Send>,
    complain_after: Duration,
    /// Lines lost and not yet told.
    lost: u64,
    /// An outage that stderr knows of, and that the log is still to be told of.
    told: Option<(Duration, io::Error)>,
}

/// The log cannot be written at the moment.
struct Outage {
    since: Mono,
    pause: Duration,
    error: io::Error,
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, voice: Voice, sink: Box<dyn Sink>) -> Writer {
        Writer {
            queue,
            voice,
            sink,
            stderr: Box::new(io::stderr()),
            complain_after: COMPLAIN_AFTER,
            lost: 0,
            told: None,
        }
    }

    /// Starts the thread, which writes for as long as the process lives.
    pub(super) fn start(mut self) -> io::Result<()> {
        let run = move || {
            let mut batch = Batch::default();
            loop {
                batch = self.queue.take(batch);
                self.write_batch(&mut batch);
            }
        };
        thread::Builder::new()
            .name("log".into())
            .spawn(run)
            .map(drop)
    }

    fn write_batch(&mut self, batch: &mut Batch) {
        let mut change = batch.change.take();
        let mut records = batch.records();
        self.write(&mut records, &mut change);
        self.lost += batch.dropped + records.left() as u64;
        if records.left() == 0 {
            self.tell(&mut change);
        }
        if let Some(change) = change {
            self.make(change);
            self.tell(&mut None);
        }
    }

    /// Writes the records, until it is done or given up: because it cannot succeed any more, or
    /// because the log moves to another place. What is left of the records is lost then.
    ///
    /// `change` is what comes behind the records. If it renews the place, it is made as soon as
    /// the place makes trouble.
    fn write(&mut self, records: &mut Records, change: &mut Option<Change>) {
        let mut outage: Option<Outage> = None;
        while let Err(error) = self.attempt(records, outage.is_some()) {
            if self.sink.is_final(&error) {
                return;
            }
            let pause = match &mut outage {
                // The first time it may help at once to open the file again, or to connect again.
                None => {
                    outage = Some(Outage {
                        since: clock::mono(),
                        pause: PAUSE_MIN,
                        error,
                    });
                    Duration::ZERO
                }
                Some(outage) => {
                    outage.error = error;
                    let pause = outage.pause;
                    outage.pause = (pause * 2).min(PAUSE_MAX);
                    pause
                }
            };
            if let Some(outage) = &outage {
                self.complain(outage);
            }
            let ahead = match change.take() {
                None => self.queue.wait_change(pause),
                Some(own) if own.may_come_early() => Ahead::Early(own),
                Some(own) => {
                    *change = Some(own);
                    Ahead::Moves
                }
            };
            match ahead {
                Ahead::Early(change) => {
                    if matches!(change.route, Route::Renewed(_)) {
                        records.rewind();
                    }
                    self.make(change);
                }
                Ahead::Moves if !pause.is_zero() => {
                    self.told = None;
                    return;
                }
                Ahead::Moves | Ahead::Quiet => {}
            }
        }
        if let (Some(outage), Some((lasted, _))) = (outage, &mut self.told) {
            *lasted = clock::mono().since(outage.since);
        }
    }

    fn attempt(&mut self, records: &mut Records, recover: bool) -> io::Result<()> {
        if recover && !self.sink.recover()? {
            records.rewind();
        }
        self.sink.write(records, &self.voice)
    }

    /// Tells stderr of the outage, once it lasts.
    fn complain(&mut self, outage: &Outage) {
        let lasted = clock::mono().since(outage.since);
        if self.told.is_some() || lasted < self.complain_after {
            return;
        }
        let Some(place) = self.sink.place() else {
            return;
        };
        let reason = PlainError(&outage.error).to_string();
        let text = format!("Unable to write the log to {place} ({reason}), will try again");
        let mut voice = self.voice.clone();
        voice.style.syslog = None;
        // There is nobody left to tell that stderr cannot be written either.
        let _ = self
            .stderr
            .write_all(voice.line(Label::Err, &text).as_bytes());
        self.told = Some((lasted, io::Error::other(reason)));
    }

    /// Tells the log what happened to it.
    fn tell(&mut self, change: &mut Option<Change>) {
        if let Some((lasted, error)) = self.told.take() {
            let lasted = GoDuration(Duration::from_millis(
                u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            ));
            let text = format!("The log could not be written for {lasted} ({error})");
            self.say(&text, change);
        }
        // More may be lost, or may have to be told, while this is written.
        let lost = self.lost;
        if lost > 0 && self.say(&format!("{lost} log lines dropped"), change) {
            self.lost -= lost;
        }
    }

    /// Writes a warning; whether that could be done.
    fn say(&mut self, text: &str, change: &mut Option<Change>) -> bool {
        let mut batch = Batch::default();
        batch.push(self.voice.line(Label::Wrn, text).as_bytes());
        let mut records = batch.records();
        self.write(&mut records, change);
        records.left() == 0
    }

    fn make(&mut self, change: Change) {
        self.voice.style = change.style;
        match change.route {
            Route::Stays => {}
            Route::Renewed(sink) | Route::Moves(sink) => self.sink = sink,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::format::Style;
    use super::super::queue::Weight;
    use super::super::sink::write_some;
    use super::super::testing::voice;
    use super::*;

    /// Takes so many bytes and fails then, until somebody makes more room.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<Room>>);

    #[derive(Default)]
    struct Room {
        text: Vec<u8>,
        free: usize,
        failures: usize,
    }

    impl Disk {
        fn with(free: usize) -> Disk {
            let disk = Disk::default();
            disk.0.lock().unwrap().free = free;
            disk
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().text.clone()).unwrap()
        }

        fn failures(&self) -> usize {
            self.0.lock().unwrap().failures
        }

        fn make_room(&self) {
            self.0.lock().unwrap().free = usize::MAX;
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.0.lock().unwrap();
            if room.free == 0 {
                room.failures += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let len = bytes.len().min(room.free);
            room.free -= len;
            room.text.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {
        fn write(&mut self, records: &mut Records<'_>, _: &Voice) -> io::Result<()> {
            while records.left() > 0 {
                let len = write_some(self, records.rest())?;
                records.advance(len);
            }
            Ok(())
        }

        fn place(&self) -> Option<String> {
            Some("the disk".into())
        }
    }

    struct Log {
        queue: Arc<Queue>,
        stderr: Disk,
    }

    impl Log {
        fn on(disk: &Disk, complain_after: Duration) -> Log {
            let queue = Arc::new(Queue::new(Style::PLAIN));
            let stderr = Disk::with(usize::MAX);
            let mut writer = Writer::new(Arc::clone(&queue), voice(), Box::new(disk.clone()));
            writer.stderr = Box::new(stderr.clone());
            writer.complain_after = complain_after;
            writer.start().unwrap();
            Log { queue, stderr }
        }

        fn line(&self, line: &str) {
            self.queue
                .push(line.as_bytes(), Weight::Event, Style::PLAIN)
                .unwrap();
        }

        fn change(&self, route: Route) {
            let style = Style::PLAIN;
            self.queue.change(Change { style, route }).unwrap();
        }

        fn wait(&self) {
            assert!(self.queue.wait_written(Duration::from_secs(20)));
        }
    }

    fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..20_000 {
            if done() {
                return;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        panic!("{what}: not within 20 s");
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_short_outage_loses_nothing_and_tears_nothing() {
        let disk = Disk::with(6);
        let log = Log::on(&disk, LONG);
        log.line("one\n");
        log.line("two\n");
        wait_until("failures", || disk.failures() > 2);
        log.line("three\n");
        disk.make_room();
        log.wait();
        assert_eq!(disk.text(), "one\ntwo\nthree\n");
        assert_eq!(log.stderr.text(), "");
    }

    #[test]
    fn a_long_outage_is_told_once_on_stderr_and_afterwards_in_the_log() {
        let disk = Disk::with(0);
        let log = Log::on(&disk, Duration::ZERO);
        log.line("one\n");
        wait_until("failures", || disk.failures() > 3);
        // Four MiB wait at most, with what is being written.
        let long = format!("{}\n", "x".repeat((1 << 20) - 1));
        for _ in 0..6 {
            log.line(&long);
        }
        disk.make_room();
        log.wait();
        let complaint = "[7] [ERR] Unable to write the log to the disk (no storage space), will \
                         try again\n";
        assert_eq!(log.stderr.text(), complaint);
        let text = disk.text().replace(&long, "");
        let (first, text) = text.split_once('\n').unwrap();
        let (outage, text) = text.split_once('\n').unwrap();
        assert_eq!(first, "one");
        assert!(
            outage.starts_with("[7] [WRN] The log could not be written for "),
            "{outage}"
        );
        assert!(outage.ends_with("s (no storage space)"), "{outage}");
        assert_eq!(text, "[7] [WRN] 3 log lines dropped\n");

        disk.0.lock().unwrap().free = 0;
        log.line("two\n");
        wait_until("another complaint", || {
            log.stderr.text() == complaint.repeat(2)
        });
    }

    #[test]
    fn a_place_that_cannot_be_written_is_left_without_delay() {
        let (broken, disk) = (Disk::with(6), Disk::with(usize::MAX));
        let log = Log::on(&broken, LONG);
        log.line("one\n");
        log.line("two\n");
        wait_until("failures", || broken.failures() > 5);
        log.line("three\n");
        log.change(Route::Moves(Box::new(disk.clone())));
        log.line("four\n");
        log.wait();
        assert_eq!(broken.text(), "one\ntw");
        assert_eq!(disk.text(), "[7] [WRN] 2 log lines dropped\nfour\n");
    }

    #[test]
    fn a_place_that_is_renewed_gets_what_could_not_be_written() {
        let (broken, disk) = (Disk::with(6), Disk::with(usize::MAX));
        let log = Log::on(&broken, LONG);
        log.line("one\n");
        log.line("two\n");
        wait_until("failures", || broken.failures() > 5);
        log.line("three\n");
        log.change(Route::Renewed(Box::new(disk.clone())));
        log.line("four\n");
        log.wait();
        assert_eq!(disk.text(), "two\nthree\nfour\n");
    }

    #[test]
    fn a_change_behind_the_lines_that_fail_counts_too() {
        let (broken, disk) = (Disk::with(0), Disk::with(usize::MAX));
        let log = Log::on(&Disk::with(usize::MAX), LONG);
        // All of this is waiting when the writer comes to the second place.
        log.change(Route::Moves(Box::new(broken)));
        log.line("lost\n");
        log.change(Route::Moves(Box::new(disk.clone())));
        log.line("kept\n");
        log.wait();
        assert_eq!(disk.text(), "[7] [WRN] 1 log lines dropped\nkept\n");
    }
}
