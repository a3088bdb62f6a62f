//! `/metrics`: the figures for Prometheus, in its text format or as OpenMetrics. Not in the
//! reference.
//!
//! [`FAMILIES`] lists all metrics; the manual page has the same list. Names, labels and meanings
//! stay as they are once they are released. Figures of accounts are those of the first
//! [`ACCOUNTS_MAX`] accounts by age, and those of streams and consumers have bounds as well, so that a server with very many tenants does not make more
//! series than Prometheus likes.

use super::Answer;
use super::figures::{Figures, memory_by_purpose};
use super::links::{Links, RouteRow};
use super::source::{Source, Vitals};
use super::varz;
use crate::broker::Facts;
use crate::jetstream::api::info::{ConsumerInfo, StreamState};
use crate::jetstream::report::Question;
use crate::options::VERSION;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Accounts that have figures of their own here.
pub const ACCOUNTS_MAX: usize = 1000;

/// Connections with other servers of which there are metrics.
const ROUTES_MAX: usize = 1000;

/// Streams, and consumers, that have figures of their own here: the first by account and name.
pub const STREAMS_MAX: usize = 1000;
pub const CONSUMERS_MAX: usize = 1000;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the server runs.
    Counter,
    Gauge,
}

/// A metric with all its labels.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// Names of labels.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $name:literal $kind:ident [$($label:literal)*] $help:literal;)*) => {
        $(const $constant: Family = Family {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All metrics, in the order in which they are told.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD_INFO = "nats_server_build_info" Gauge ["version" "build" "server_id" "server_name"]
        "Which server this is; always 1.";
    START = "process_start_time_seconds" Gauge []
        "When the server was started, in seconds since 1970.";
    CPU = "process_cpu_seconds_total" Counter []
        "CPU time used.";
    RESIDENT = "process_resident_memory_bytes" Gauge []
        "Memory in use, as the system counts it.";
    CORES = "nats_server_cores" Gauge []
        "Cores that the process may use.";
    CONFIG_LOADED = "nats_server_config_load_timestamp_seconds" Gauge []
        "When the configuration in force was read, in seconds since 1970.";
    TLS_EXPIRY = "nats_server_tls_certificate_expiry_timestamp_seconds" Gauge []
        "End of validity of the certificate for clients; only with TLS.";
    LAME_DUCK = "nats_server_lame_duck" Gauge []
        "Whether the server is about to end in lame duck mode: 1 or 0.";
    MESSAGES = "nats_server_messages_total" Counter ["direction"]
        "Messages from clients (in) and to them (out).";
    BYTES = "nats_server_bytes_total" Counter ["direction"]
        "Payloads and headers of these messages.";
    CONNECTIONS = "nats_server_connections" Gauge ["kind"]
        "Connections at present, by kind: client, route, leafnode.";
    CONNECTIONS_MAX = "nats_server_connections_limit" Gauge []
        "Clients that may be connected at a time.";
    ACCEPTED = "nats_server_connections_accepted_total" Counter []
        "Connections of clients that were ever accepted.";
    CLOSED = "nats_server_connections_closed_total" Counter ["reason"]
        "Connections of clients that were closed, by reason as in connz.";
    SUBSCRIPTIONS = "nats_server_subscriptions" Gauge []
        "Subscriptions at present.";
    SLOW = "nats_server_slow_consumers_total" Counter ["kind"]
        "Connections closed since they did not read what was sent to them.";
    STALE = "nats_server_stale_connections_total" Counter ["kind"]
        "Connections closed since they did not answer.";
    STALLS = "nats_server_producer_stalls_total" Counter []
        "How often a client was not read from, as all its subscribers were behind.";
    ACCOUNTS = "nats_server_accounts" Gauge []
        "Accounts.";
    ACCOUNT_CONNECTIONS = "nats_server_account_connections" Gauge ["account"]
        "Clients at present, by account.";
    ACCOUNT_SUBSCRIPTIONS = "nats_server_account_subscriptions" Gauge ["account"]
        "Subscriptions at present, by account.";
    ACCOUNT_MESSAGES = "nats_server_account_messages_total" Counter ["account" "direction"]
        "Messages from clients (in) and to them (out), by account.";
    ACCOUNT_BYTES = "nats_server_account_bytes_total" Counter ["account" "direction"]
        "Payloads and headers of these messages, by account.";
    ACCOUNT_SLOW = "nats_server_account_slow_consumers_total" Counter ["account"]
        "Slow consumers, by account.";
    LOOPS = "nats_server_loops" Gauge []
        "Loops that serve clients.";
    LOOPS_ANSWERED = "nats_server_loops_answered" Gauge []
        "Loops whose figures are in this answer.";
    LOOP_BUSY = "nats_server_loop_busy_seconds_total" Counter ["loop"]
        "Time that a loop was at work, and neither slept nor looked out for what comes next.";
    LOOP_TURNS = "nats_server_loop_turns_total" Counter ["loop"]
        "Turns of a loop.";
    LOOP_MAIL = "nats_server_loop_mailbox_items" Gauge ["loop"]
        "What waits in a loop's mailbox.";
    MEMORY = "nats_server_memory_bytes" Gauge ["purpose"]
        "Bytes that the loops hold, about, by purpose.";
    CACHE_ENTRIES = "nats_server_route_cache_entries" Gauge []
        "Subjects whose subscribers are remembered.";
    CACHE_LOOKUPS = "nats_server_route_cache_lookups_total" Counter []
        "Look-ups of a subject's subscribers.";
    CACHE_HITS = "nats_server_route_cache_hits_total" Counter []
        "Look-ups that were answered from memory.";
    ROUTE_MESSAGES = "nats_server_route_messages_total" Counter ["remote" "rid" "account" "direction"]
        "Messages from another server of the cluster (in) and to it (out), by connection.";
    ROUTE_BYTES = "nats_server_route_bytes_total" Counter ["remote" "rid" "account" "direction"]
        "Payloads and headers of these messages.";
    ROUTE_PENDING = "nats_server_route_pending_bytes" Gauge ["remote" "rid" "account"]
        "What waits to be written to another server.";
    ROUTE_SUBSCRIPTIONS = "nats_server_route_subscriptions" Gauge ["remote" "rid" "account"]
        "What another server has told that its clients listen to.";
    ROUTE_RTT = "nats_server_route_rtt_seconds" Gauge ["remote" "rid" "account"]
        "How long a ping took to be answered; only when one was.";
    JS_BYTES = "nats_server_jetstream_bytes" Gauge ["storage"]
        "Bytes of messages in streams, by storage: file, memory.";
    JS_RESERVED = "nats_server_jetstream_reserved_bytes" Gauge ["storage"]
        "Bytes that are reserved for streams.";
    JS_LIMIT = "nats_server_jetstream_limit_bytes" Gauge ["storage"]
        "Bytes that all streams may have.";
    JS_STREAMS = "nats_server_jetstream_streams" Gauge []
        "Streams.";
    JS_CONSUMERS = "nats_server_jetstream_consumers" Gauge []
        "Consumers.";
    JS_MESSAGES = "nats_server_jetstream_messages" Gauge []
        "Messages in streams.";
    JS_LOST = "nats_server_jetstream_lost_messages" Gauge []
        "Messages of streams that were lost to damage.";
    JS_REQUESTS = "nats_server_jetstream_api_requests_total" Counter []
        "Requests to the API of JetStream.";
    JS_ERRORS = "nats_server_jetstream_api_errors_total" Counter []
        "Requests to this API that were refused.";
    JS_JOURNAL_FAILED = "nats_server_jetstream_journal_failed" Gauge []
        "Whether the commit journal has failed, so that streams are synced one by one: 0 or 1.";
    STREAM_MESSAGES = "nats_server_stream_messages" Gauge ["account" "stream"]
        "Messages in a stream.";
    STREAM_BYTES = "nats_server_stream_bytes" Gauge ["account" "stream"]
        "Bytes of these messages.";
    STREAM_SUBJECTS = "nats_server_stream_subjects" Gauge ["account" "stream"]
        "Subjects of these messages.";
    STREAM_LAST = "nats_server_stream_last_sequence" Gauge ["account" "stream"]
        "The last sequence of a stream.";
    STREAM_LOST = "nats_server_stream_lost_messages" Gauge ["account" "stream"]
        "Messages of a stream that were lost to damage.";
    STREAM_CONSUMERS = "nats_server_stream_consumers" Gauge ["account" "stream"]
        "Consumers of a stream.";
    CONSUMER_PENDING = "nats_server_consumer_pending_messages" Gauge ["account" "stream" "consumer"]
        "Messages that wait to be delivered.";
    CONSUMER_ACK_PENDING = "nats_server_consumer_ack_pending_messages" Gauge ["account" "stream" "consumer"]
        "Messages that were delivered and wait to be acknowledged.";
    CONSUMER_REDELIVERED = "nats_server_consumer_redelivered_messages" Gauge ["account" "stream" "consumer"]
        "Those of them that were delivered more than once.";
    CONSUMER_WAITING = "nats_server_consumer_waiting_pulls" Gauge ["account" "stream" "consumer"]
        "Pull requests that wait for messages.";
    CONSUMER_DELIVERED = "nats_server_consumer_delivered_sequence" Gauge ["account" "stream" "consumer"]
        "How many deliveries there were.";
    CONSUMER_FLOOR = "nats_server_consumer_ack_floor_stream_sequence" Gauge ["account" "stream" "consumer"]
        "The sequence in the stream up to which all is acknowledged.";
    HTTP_REQUESTS = "nats_server_http_requests_total" Counter ["path"]
        "Requests to the monitoring port, by path.";
}

/// The content type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type of Prometheus' own text format.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics, in one form or the other.
pub fn answer(source: &dyn Source, open_metrics: bool) -> Answer {
    let (facts, vitals) = (source.facts(), source.vitals());
    let figures = Figures::of(source);
    let mut page = Page {
        open_metrics,
        out: String::with_capacity(16 << 10),
    };
    page.process(&facts, &vitals);
    let links = source.links(false);
    page.clients(&links, &facts, &vitals, &figures);
    page.routes(&links);
    page.accounts(&facts, &figures);
    page.insides(&vitals, &figures);
    page.jetstream(source);
    page.requests(&vitals);
    if open_metrics {
        page.out.push_str("# EOF\n");
    }
    Answer {
        status: 200,
        content_type: if open_metrics {
            OPEN_METRICS
        } else {
            PROMETHEUS
        },
        body: page.out.into_bytes(),
    }
}

/// What is written so far.
struct Page {
    open_metrics: bool,
    out: String,
}

/// A number, as it is written.
struct Number(String);

impl From<u64> for Number {
    fn from(n: u64) -> Number {
        Number(n.to_string())
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Number {
        Number(n.to_string())
    }
}

impl From<bool> for Number {
    fn from(yes: bool) -> Number {
        Number(u8::from(yes).to_string())
    }
}

impl From<Duration> for Number {
    fn from(time: Duration) -> Number {
        Number(time.as_secs_f64().to_string())
    }
}

impl From<SystemTime> for Number {
    fn from(time: SystemTime) -> Number {
        time.duration_since(UNIX_EPOCH).unwrap_or_default().into()
    }
}

impl Page {
    fn process(&mut self, facts: &Facts, vitals: &Vitals) {
        let build = env!("CARGO_PKG_VERSION");
        let labels = [VERSION, build, &facts.id, &facts.name];
        self.family(BUILD_INFO, [(&labels[..], true)]);
        self.single(START, vitals.start);
        self.single(CPU, vitals.cpu);
        self.single(RESIDENT, vitals.resident_bytes);
        self.single(CORES, vitals.cores);
        self.single(CONFIG_LOADED, vitals.config.loaded);
        if let Some(end) = vitals.tls_not_after {
            self.single(TLS_EXPIRY, end);
        }
        self.single(LAME_DUCK, vitals.lame_duck);
    }

    fn clients(&mut self, links: &Links, facts: &Facts, vitals: &Vitals, figures: &Figures) {
        let (received, sent) = (figures.received, figures.sent);
        self.family(
            MESSAGES,
            [(&["in"][..], received.msgs), (&["out"], sent.msgs)],
        );
        self.family(
            BYTES,
            [(&["in"][..], received.bytes), (&["out"], sent.bytes)],
        );
        let connections = [
            (&["client"][..], figures.connections),
            (&["route"], links.routes.len()),
            (&["leafnode"], links.leafs.len()),
        ];
        self.family(CONNECTIONS, connections);
        self.single(CONNECTIONS_MAX, facts.options.max_connections);
        self.single(ACCEPTED, vitals.accepted);
        let closed = figures.closed.iter();
        let mut closed: Vec<_> = closed.map(|(why, n)| (why.to_string(), *n)).collect();
        closed.sort();
        self.family_of(CLOSED, closed.iter().map(|(why, n)| ([why.as_str()], *n)));
        self.single(SUBSCRIPTIONS, varz::subscriptions(facts));
        self.family(SLOW, [(&["client"][..], figures.slow_consumers)]);
        self.family(STALE, [(&["client"][..], figures.stale_connections)]);
        self.single(STALLS, figures.stalls);
    }

    /// The connections with other servers of the cluster.
    fn routes(&mut self, links: &Links) {
        let shown = links.routes.iter().take(ROUTES_MAX);
        let shown: Vec<_> = shown.map(|row| (row.rid.to_string(), row)).collect();
        fn name<'a>((rid, row): &'a (String, &'a RouteRow)) -> [&'a str; 3] {
            [&row.remote_name, rid, &row.account]
        }
        let flow = |of: fn(&RouteRow) -> [u64; 2]| {
            let both = shown.iter().flat_map(move |route| {
                let [remote, rid, account] = name(route);
                let [received, sent] = of(route.1);
                let labels = |way| [remote, rid, account, way];
                [(labels("in"), received), (labels("out"), sent)]
            });
            both.collect::<Vec<_>>()
        };
        self.family_of(ROUTE_MESSAGES, flow(|row| [row.in_msgs, row.out_msgs]));
        self.family_of(ROUTE_BYTES, flow(|row| [row.in_bytes, row.out_bytes]));
        let pending = shown
            .iter()
            .map(|route| (name(route), route.1.pending_size));
        self.family_of(ROUTE_PENDING, pending);
        let subs = shown
            .iter()
            .map(|route| (name(route), route.1.subscriptions));
        self.family_of(ROUTE_SUBSCRIPTIONS, subs);
        let rtt = shown
            .iter()
            .filter_map(|route| Some((name(route), route.1.rtt?.0)));
        self.family_of(ROUTE_RTT, rtt);
    }

    fn accounts(&mut self, facts: &Facts, figures: &Figures) {
        self.single(ACCOUNTS, facts.accounts.iter().count());
        let shown = facts.accounts.iter().take(ACCOUNTS_MAX);
        let shown: Vec<_> = shown
            .map(|tenant| {
                let account = &tenant.account;
                let subscriptions = account.interest.len();
                (
                    &*account.name,
                    figures.account(account.number),
                    subscriptions,
                )
            })
            .collect();
        let accounts = || shown.iter();
        let connections = accounts().map(|(name, f, _)| ([*name], f.connections));
        self.family_of(ACCOUNT_CONNECTIONS, connections);
        let subscriptions = accounts().map(|(name, _, n)| ([*name], *n));
        self.family_of(ACCOUNT_SUBSCRIPTIONS, subscriptions);
        let msgs = accounts().flat_map(|(name, f, _)| {
            [
                ([*name, "in"], f.received.msgs),
                ([*name, "out"], f.sent.msgs),
            ]
        });
        self.family_of(ACCOUNT_MESSAGES, msgs);
        let bytes = accounts().flat_map(|(name, f, _)| {
            [
                ([*name, "in"], f.received.bytes),
                ([*name, "out"], f.sent.bytes),
            ]
        });
        self.family_of(ACCOUNT_BYTES, bytes);
        let slow = accounts().map(|(name, f, _)| ([*name], f.slow_consumers));
        self.family_of(ACCOUNT_SLOW, slow);
    }

    fn insides(&mut self, vitals: &Vitals, figures: &Figures) {
        self.single(LOOPS, vitals.loops);
        self.single(LOOPS_ANSWERED, figures.loads.len());
        let named = figures
            .loads
            .iter()
            .map(|load| (load.number.to_string(), load));
        let loads: Vec<_> = named.collect();
        let loads = || loads.iter().map(|(name, load)| ([name.as_str()], *load));
        self.family_of(LOOP_BUSY, loads().map(|(name, load)| (name, load.busy)));
        self.family_of(LOOP_TURNS, loads().map(|(name, load)| (name, load.turns)));
        self.family_of(LOOP_MAIL, loads().map(|(name, load)| (name, load.mail)));
        let memory = memory_by_purpose(&figures.memory);
        self.family_of(MEMORY, memory.map(|(purpose, bytes)| ([purpose], bytes)));
        self.single(CACHE_ENTRIES, figures.cache.entries);
        self.single(CACHE_LOOKUPS, figures.cache.lookups);
        self.single(CACHE_HITS, figures.cache.hits);
    }

    fn jetstream(&mut self, source: &dyn Source) {
        let asked = Question {
            accounts: true,
            streams: true,
            consumers: true,
            limit: usize::MAX,
            at_most: Some((STREAMS_MAX, CONSUMERS_MAX)),
            ..Question::default()
        };
        let Some(report) = source.jetstream(&asked) else {
            return;
        };
        let sums = report.sums;
        for (family, file, memory) in [
            (JS_BYTES, sums.storage, sums.memory),
            (JS_RESERVED, sums.reserved_storage, sums.reserved_memory),
            (JS_LIMIT, report.max_storage, report.max_memory),
        ] {
            self.family(family, [(&["file"][..], file), (&["memory"], memory)]);
        }
        self.single(JS_STREAMS, sums.streams);
        self.single(JS_CONSUMERS, sums.consumers);
        self.single(JS_MESSAGES, sums.messages);
        self.single(JS_LOST, sums.lost);
        self.single(JS_REQUESTS, sums.requests);
        self.single(JS_ERRORS, sums.refusals);
        self.single(JS_JOURNAL_FAILED, u64::from(report.journal_error.is_some()));
        let accounts = report.accounts.iter();
        let streams: Vec<_> = accounts
            .flat_map(|account| account.streams.iter().map(|own| (&*account.name, own)))
            .collect();
        type OfState = fn(&StreamState) -> u64;
        let of_streams: [(Family, OfState); 5] = [
            (STREAM_MESSAGES, |state| state.messages),
            (STREAM_BYTES, |state| state.bytes),
            (STREAM_SUBJECTS, |state| state.num_subjects),
            (STREAM_LAST, |state| state.last_seq),
            (STREAM_CONSUMERS, |state| state.consumer_count),
        ];
        for (family, value) in of_streams {
            let all = streams.iter().map(|(account, stream)| {
                let name = &*stream.info.config.name;
                ([*account, name], value(&stream.info.state))
            });
            self.family_of(family, all);
        }
        let lost = streams.iter().map(|(account, stream)| {
            let name = &*stream.info.config.name;
            ([*account, name], stream.lost)
        });
        self.family_of(STREAM_LOST, lost);
        let streams = streams.iter();
        let consumers: Vec<_> = streams
            .flat_map(|(account, stream)| stream.consumers.iter().map(|own| (*account, own)))
            .collect();
        type OfConsumer = fn(&ConsumerInfo) -> u64;
        let of_consumers: [(Family, OfConsumer); 6] = [
            (CONSUMER_PENDING, |info| info.num_pending),
            (CONSUMER_ACK_PENDING, |info| info.num_ack_pending),
            (CONSUMER_REDELIVERED, |info| info.num_redelivered),
            (CONSUMER_WAITING, |info| info.num_waiting),
            (CONSUMER_DELIVERED, |info| info.delivered.consumer_seq),
            (CONSUMER_FLOOR, |info| info.ack_floor.stream_seq),
        ];
        for (family, value) in of_consumers {
            let all = consumers.iter().map(|(account, info)| {
                let names = [*account, &*info.stream_name, &*info.name];
                (names, value(info))
            });
            self.family_of(family, all);
        }
    }

    fn requests(&mut self, vitals: &Vitals) {
        let requests = vitals.http.requests.iter();
        self.family_of(
            HTTP_REQUESTS,
            requests.map(|(path, n)| ([path.as_str()], *n)),
        );
    }

    fn single<N: Into<Number>>(&mut self, family: Family, value: N) {
        self.family_of(family, [([], value)]);
    }

    fn family<N: Into<Number>, const M: usize>(
        &mut self,
        family: Family,
        samples: [(&[&str], N); M],
    ) {
        self.head(family);
        for (labels, value) in samples {
            self.sample(family, labels, value.into());
        }
    }

    fn family_of<'a, N: Into<Number>, const L: usize>(
        &mut self,
        family: Family,
        samples: impl IntoIterator<Item = ([&'a str; L], N)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            self.head(family);
        }
        for (labels, value) in samples {
            self.sample(family, &labels, value.into());
        }
    }

    fn head(&mut self, family: Family) {
        let Family {
            name, kind, help, ..
        } = family;
        // OpenMetrics names a counter without the ending that its samples have.
        let name = match self.open_metrics {
            true => name.strip_suffix("_total").unwrap_or(name),
            false => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        for line in [
            format!("# HELP {name} {help}\n"),
            format!("# TYPE {name} {kind}\n"),
        ] {
            self.out.push_str(&line);
        }
    }

    fn sample(&mut self, family: Family, labels: &[&str], Number(value): Number) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        self.out.push_str(family.name);
        for (at, (name, value)) in family.labels.iter().zip(labels).enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            let written = write!(self.out, "{name}=\"{}\"", escaped(value));
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.out.push(' ');
        self.out.push_str(&value);
        self.out.push('\n');
    }
}

/// The value of a label: backslashes, quotes and new lines are escaped.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, at, facts, route};
    use super::*;
    use crate::jetstream::report::{AccountReport, Report, StreamReport, Sums};
    use std::collections::HashSet;

    const PAGE: &str = include_str!("../../man/nats-server.8");

    fn page(fake: &Fake, open_metrics: bool) -> String {
        let answer = answer(fake, open_metrics);
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).unwrap()
    }

    /// The name and the labels of a sample, as they are written, and its value.
    fn sample(line: &str) -> (&str, &str, f64) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.find('{').unwrap_or(series.len());
        (&series[..name], series, value.parse().unwrap())
    }

    /// The rules of the text formats, of names, and those that `promtool check metrics` has.
    fn check(text: &str, open_metrics: bool) {
        let mut seen = HashSet::new();
        let mut families = HashSet::new();
        let mut current: Option<(&str, &str)> = None;
        let lines: Vec<_> = text.lines().collect();
        assert!(text.ends_with('\n') && !text.contains('\r'));
        for (at, line) in lines.iter().enumerate() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(families.insert(name), "{name} is told twice");
                assert!(!help.is_empty() && !help.contains('\\'), "{line}");
                let kind = lines[at + 1]
                    .strip_prefix(&format!("# TYPE {name} "))
                    .unwrap();
                current = Some((name, kind));
            } else if line.starts_with("# TYPE ") {
                assert!(lines[at - 1].starts_with("# HELP "), "{line}");
            } else if *line == "# EOF" {
                assert!(open_metrics && at + 1 == lines.len());
            } else {
                let (name, series, value) = sample(line);
                let (family, kind) = current.unwrap();
                let total = if open_metrics { "_total" } else { "" };
                let want = match kind {
                    "counter" => format!("{family}{total}"),
                    _ => family.to_owned(),
                };
                assert_eq!(name, want);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                    "{name}"
                );
                assert!(seen.insert(series.to_owned()), "{series} is told twice");
                assert!(value.is_finite() && value >= 0.0, "{line}");
            }
        }
        assert_eq!(open_metrics, text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn both_formats_keep_to_their_rules() {
        let mut fake = Fake::new();
        fake.vitals.tls_not_after = Some(at(0));
        fake.jetstream = Some(streams());
        fake.links.routes.push(route());
        for open_metrics in [false, true] {
            let text = page(&fake, open_metrics);
            check(&text, open_metrics);
            for family in FAMILIES {
                let samples = text.lines().filter(|l| !l.starts_with('#'));
                let found = samples.map(sample).any(|(name, ..)| name == family.name);
                assert!(found, "{} is missing", family.name);
            }
        }
        assert_eq!(answer(&fake, false).content_type, PROMETHEUS);
        assert_eq!(answer(&fake, true).content_type, OPEN_METRICS);
    }

    /// A stream with a consumer.
    fn streams() -> Report {
        let consumer = ConsumerInfo {
            stream_name: "S".into(),
            name: "C".into(),
            num_pending: 7,
            ..ConsumerInfo::default()
        };
        let mut stream = StreamReport {
            consumers: vec![consumer],
            ..StreamReport::default()
        };
        stream.info.config.name = "S".into();
        stream.info.state.messages = 5;
        let account = AccountReport {
            name: "A".into(),
            streams: vec![stream],
            ..AccountReport::default()
        };
        let sums = Sums {
            storage: 100,
            streams: 1,
            ..Sums::default()
        };
        Report {
            max_memory: 11,
            sums,
            accounts: vec![account],
            ..Report::default()
        }
    }

    #[test]
    fn figures_and_labels() {
        let mut fake = Fake::new();
        fake.jetstream = Some(streams());
        fake.links.routes.push(route());
        fake.deaf = vec![0];
        let text = page(&fake, false);
        for line in [
            "nats_server_build_info{version=\"2.15.0\",build=\"0.1.0\",server_id=\"NSERVER\",server_name=\"a<b>\"} 1",
            "process_start_time_seconds 1795629205.5",
            "process_cpu_seconds_total 1.25",
            "nats_server_messages_total{direction=\"in\"} 6",
            "nats_server_bytes_total{direction=\"out\"} 80",
            "nats_server_connections{kind=\"client\"} 4",
            "nats_server_connections_closed_total{reason=\"Client Closed\"} 2",
            "nats_server_connections_closed_total{reason=\"Parse Error\"} 3",
            "nats_server_slow_consumers_total{kind=\"client\"} 3",
            "nats_server_account_messages_total{account=\"A\",direction=\"out\"} 4",
            "nats_server_account_subscriptions{account=\"B\"} 1",
            "nats_server_loops 3",
            "nats_server_loops_answered 2",
            "nats_server_loop_busy_seconds_total{loop=\"2\"} 0.25",
            "nats_server_loop_mailbox_items{loop=\"1\"} 1",
            "nats_server_memory_bytes{purpose=\"outbound\"} 2",
            "nats_server_route_cache_hits_total 2",
            "nats_server_connections{kind=\"route\"} 1",
            "nats_server_route_messages_total{remote=\"x\",rid=\"4\",account=\"A\",direction=\"out\"} 2",
            "nats_server_route_bytes_total{remote=\"x\",rid=\"4\",account=\"A\",direction=\"in\"} 3",
            "nats_server_route_pending_bytes{remote=\"x\",rid=\"4\",account=\"A\"} 7",
            "nats_server_route_rtt_seconds{remote=\"x\",rid=\"4\",account=\"A\"} 0.002",
            "nats_server_jetstream_bytes{storage=\"file\"} 100",
            "nats_server_jetstream_limit_bytes{storage=\"memory\"} 11",
            "nats_server_stream_messages{account=\"A\",stream=\"S\"} 5",
            "nats_server_consumer_pending_messages{account=\"A\",stream=\"S\",consumer=\"C\"} 7",
            "nats_server_http_requests_total{path=\"/varz\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("loop=\"0\""));
    }

    #[test]
    fn hostile_names_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
        let mut made = facts("");
        made.name = "x\"} 1\n# EOF\n".into();
        check(&page(&Fake::with(made), true), true);
    }

    #[test]
    fn accounts_are_bounded() {
        let mut config = String::from("accounts {\n");
        for n in 0..ACCOUNTS_MAX + 50 {
            writeln!(config, "T{n} {{}}").unwrap();
        }
        config.push('}');
        let text = page(&Fake::with(facts(&config)), false);
        let lines = text.lines();
        let shown = lines.filter(|l| l.starts_with("nats_server_account_connections{"));
        assert_eq!(shown.count(), ACCOUNTS_MAX);
        assert!(text.contains(&format!("nats_server_accounts {}\n", ACCOUNTS_MAX + 52)));
    }

    #[test]
    fn the_manual_page_lists_all_metrics_and_paths() {
        let page = PAGE.replace('\n', " ");
        for family in FAMILIES {
            let labels = match family.labels {
                [] => String::new(),
                labels => format!(" Ar {}", labels.join(" ")),
            };
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let item = format!(".It Sy {}{labels} Pq {kind} {}", family.name, family.help);
            assert!(page.contains(&item), "{item}");
        }
        for path in super::super::PATHS {
            let listed = PAGE.lines().filter(|l| l.starts_with(".It Pa /"));
            let mut listed = listed.flat_map(|l| l.split([' ', ',']));
            assert!(listed.any(|word| word == *path), "{path}");
        }
    }
}
