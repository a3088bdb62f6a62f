//! Where monitoring gets its figures from: the loops, which are asked, the facts that they go by,
//! and the process.

use crate::base::clock::{self, Mono};
use crate::base::limits::SURVEY_PATIENCE;
use crate::broker::Facts;
use crate::broker::survey::{Question, Report, Survey, Totals};
use crate::jetstream;
use crate::loops::client::Peers;
use crate::loops::inbox::Mail;
use crate::monitor::Source;
use crate::monitor::links::Links;
use crate::monitor::source::{ConfigVitals, HttpVitals, ThreadVitals, Vitals};
use crate::net::tls::ServerTls;
use crate::os::vitals;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, SystemTime};

/// How often the CPU in use is measured, at most.
const CPU_INTERVAL: Duration = Duration::from_millis(500);

/// Everything that monitoring can ask of a running server.
pub struct Figures {
    peers: Arc<Peers>,
    facts: RwLock<Arc<Facts>>,
    start: SystemTime,
    cores: usize,
    listener: SocketAddr,
    lame_duck: AtomicBool,
    /// Whether clients are not served yet, as streams are being opened.
    recovering: AtomicBool,
    /// Whether clients are no longer served.
    ended: AtomicBool,
    http: Mutex<HttpVitals>,
    config: Mutex<ConfigVitals>,
    cpu: Mutex<CpuMeter>,
    tls_not_after: Mutex<Option<SystemTime>>,
    /// What each loop told last of itself, as sums over all loops must not shrink when one of them
    /// is late with an answer.
    totals: Mutex<Vec<Option<Totals>>>,
}

/// Measures the CPU in use of late.
struct CpuMeter {
    at: Mono,
    used: Duration,
    percent: f64,
}

impl Figures {
    pub(super) fn new(
        peers: Arc<Peers>,
        facts: Arc<Facts>,
        listener: SocketAddr,
        cores: usize,
    ) -> Figures {
        let start = clock::wall();
        let loops = peers.inboxes.len();
        Figures {
            peers,
            facts: RwLock::new(facts),
            start,
            cores,
            listener,
            lame_duck: AtomicBool::new(false),
            recovering: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            http: Mutex::default(),
            config: Mutex::new(ConfigVitals {
                loaded: start,
                digest: String::new(),
            }),
            cpu: Mutex::new(CpuMeter {
                at: Mono::ZERO,
                used: Duration::ZERO,
                percent: 0.0,
            }),
            tls_not_after: Mutex::default(),
            totals: Mutex::new(vec![None; loops]),
        }
    }

    /// Other facts are in force.
    pub(super) fn renew(&self, facts: Arc<Facts>) {
        *self.facts.write().expect(NO_PANIC) = facts;
    }

    /// A configuration was read, with this digest.
    pub(super) fn note_config(&self, digest: &str) {
        *lock(&self.config) = ConfigVitals {
            loaded: clock::wall(),
            digest: digest.into(),
        };
    }

    /// Lame duck mode was entered.
    pub(super) fn note_lame_duck(&self) {
        self.lame_duck.store(true, Ordering::Relaxed);
    }

    /// Clients are served with these certificates, or with none.
    pub(super) fn note_tls(&self, tls: Option<&ServerTls>) {
        *lock(&self.tls_not_after) = tls.and_then(ServerTls::not_after);
    }

    /// Streams are being opened, or all of them are.
    pub(super) fn note_recovering(&self, recovering: bool) {
        self.recovering.store(recovering, Ordering::Relaxed);
    }

    /// Clients are no longer served.
    pub(super) fn note_end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Where monitoring itself listens.
    pub(super) fn note_http(&self, change: impl FnOnce(&mut HttpVitals)) {
        change(&mut lock(&self.http));
    }

    /// Counts a request over HTTP, if there is such a path.
    pub(super) fn count_request(&self, path: &str) {
        if let Some(count) = lock(&self.http).requests.get_mut(path) {
            *count += 1;
        }
    }

    /// Whether every client loop answers within [`SURVEY_PATIENCE`].
    pub fn is_alive(&self) -> bool {
        let reports = self.put(&Question::Totals);
        reports.into_iter().all(|report| report.is_some())
    }

    /// Puts a question to each client loop, and waits for their answers together.
    fn put(&self, question: &Question) -> Vec<Option<Report>> {
        let deadline = clock::mono() + SURVEY_PATIENCE;
        let mut answers = Vec::new();
        for inbox in &self.peers.inboxes {
            let (answer, receiver) = channel();
            let question = question.clone();
            let sent = inbox.send(Mail::Survey(Survey { question, answer }));
            if let Err(e) = sent {
                log::error!("Error waking a client loop: {e}");
            }
            answers.push(receiver);
        }
        let wait = |answer: Receiver<Report>| {
            let left = deadline.since(clock::mono());
            answer.recv_timeout(left).ok()
        };
        answers.into_iter().map(wait).collect()
    }

    fn cpu_percent(&self) -> (f64, Duration) {
        let used = vitals::cpu_time().unwrap_or_default();
        let now = clock::mono();
        let mut meter = lock(&self.cpu);
        let passed = now.since(meter.at);
        if passed >= CPU_INTERVAL {
            let spent = used.saturating_sub(meter.used);
            meter.percent = 100.0 * spent.as_secs_f64() / passed.as_secs_f64();
            (meter.at, meter.used) = (now, used);
        }
        (meter.percent, used)
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(NO_PANIC)
}

impl Source for Figures {
    fn facts(&self) -> Arc<Facts> {
        self.facts.read().expect(NO_PANIC).clone()
    }

    fn vitals(&self) -> Vitals {
        let (cpu_percent, cpu) = self.cpu_percent();
        let ended = self.ended.load(Ordering::Relaxed) || self.recovering.load(Ordering::Relaxed);
        Vitals {
            start: self.start,
            now: clock::wall(),
            cpu_percent,
            cpu,
            resident_bytes: vitals::resident_bytes().unwrap_or(0),
            cores: self.cores,
            loops: self.peers.inboxes.len(),
            listener: (!ended).then_some(self.listener),
            lame_duck: self.lame_duck.load(Ordering::Relaxed),
            accepted: self.peers.accepted.load(Ordering::Relaxed),
            http: lock(&self.http).clone(),
            config: lock(&self.config).clone(),
            tls_not_after: *lock(&self.tls_not_after),
            // Other arguments may be secrets, such as a password.
            command_line: std::env::args().take(1).collect(),
        }
    }

    fn ask(&self, question: Question) -> Vec<Report> {
        let totals = matches!(question, Question::Totals);
        let mut reports = Vec::new();
        for (at, report) in self.put(&question).into_iter().enumerate() {
            if !totals {
                reports.extend(report);
                continue;
            }
            let mut known = lock(&self.totals);
            if let Some(Report::Totals(totals)) = report {
                known[at] = Some(*totals);
            }
            reports.extend(
                known[at]
                    .clone()
                    .map(|totals| Report::Totals(Box::new(totals))),
            );
        }
        reports
    }

    fn jetstream(&self, asked: &jetstream::report::Question) -> Option<jetstream::report::Report> {
        let inbox = &self.peers.jetstream.as_ref()?.inbox;
        let (answer, receiver) = channel();
        if let Err(e) = inbox.send(Mail::Report(Box::new(asked.clone()), answer)) {
            log::error!("Error waking the loop of JetStream: {e}");
        }
        receiver.recv_timeout(SURVEY_PATIENCE).ok()
    }

    fn links(&self, subscriptions: bool) -> Links {
        let Some(inbox) = &self.peers.cluster else {
            return Links::default();
        };
        let (answer, receiver) = channel();
        if let Err(e) = inbox.send(Mail::Links(subscriptions, answer)) {
            log::error!("Error waking the loop of the cluster: {e}");
        }
        receiver.recv_timeout(SURVEY_PATIENCE).unwrap_or_default()
    }

    fn threads(&self) -> Vec<ThreadVitals> {
        let threads = vitals::threads().into_iter();
        threads
            .map(|thread| ThreadVitals {
                id: thread.id,
                name: thread.name,
                state: thread.state.into(),
                cpu: thread.cpu,
            })
            .collect()
    }
}
