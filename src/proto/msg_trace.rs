//! Message tracing: what the headers of a message ask for, and the event that tells where it went.

use super::encoding::{ACCEPT_ENCODING, Encoding};
use super::headers::Picked;
use super::server_info::ServerInfo;
use crate::base::limits::TRACE_HEADER_BYTES;
use crate::base::text::Rfc3339;
use memchr::memchr;
use memchr::memmem::{self, Finder};
use serde::{Serialize, Serializer};
use std::sync::LazyLock;
use std::time::SystemTime;

/// The subject on which the event is told. Only in this case.
pub const DEST: &str = "Nats-Trace-Dest";

/// A destination that means that nothing is to be told.
pub const DISABLED: &str = "trace disabled";

/// Whether the message is to reach nobody.
const ONLY: &str = "Nats-Trace-Only";

/// How a message came here, by which of the servers' deliveries: `1.2` is the second one of the server
/// that the first one led to.
pub const HOP: &str = "Nats-Trace-Hop";

/// The account in which the event is to be told, which servers tell each other.
const ORIGIN_ACCOUNT: &str = "Nats-Trace-Origin-Account";

/// The header by which those who trace requests over many programs tell each other
/// (<https://www.w3.org/TR/trace-context/>). In any case.
const TRACE_PARENT: &str = "traceparent";

/// The first line of headers without a status; others are not looked into.
const VERSION: &[u8] = b"NATS/1.0\r\n";

/// Names and values in a header block, as the reference reads them where messages are traced: a
/// name is all up to the next colon, what is empty does not count.
fn fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = block.strip_prefix(VERSION).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let colon = memchr(b':', rest)?;
            let (name, after) = (&rest[..colon], &rest[colon + 1..]);
            let end = memmem::find(after, b"\r\n")?;
            let value = after[..end].trim_ascii();
            rest = &after[end + 2..];
            if !name.is_empty() && !value.is_empty() {
                return Some((name, value));
            }
        }
    })
}

/// Whether headers may ask for the message to be traced; `parents`: whether [`TRACE_PARENT`] does.
/// For those that do not, this is all that is looked at.
#[inline]
pub fn is_mentioned(block: &[u8], parents: bool) -> bool {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(DEST));
    FINDER.find(block).is_some() || parents && names_parent(block)
}

/// Whether a line begins with [`TRACE_PARENT`].
fn names_parent(block: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', block).any(|lf| {
        let line = block.get(lf + 1..lf + 1 + TRACE_PARENT.len());
        line.is_some_and(|line| line.eq_ignore_ascii_case(TRACE_PARENT.as_bytes()))
    })
}

/// Whether the value of [`TRACE_PARENT`] says that the request is traced: the last of its four
/// parts is an odd number of two digits. As in the reference it has a sign, so that 80 is none.
pub fn is_sampled(parent: &[u8]) -> bool {
    let parts: Vec<&[u8]> = parent.split(|b| *b == b'-').collect();
    let [_, _, _, flags] = parts[..] else {
        return false;
    };
    let digits = flags.len() == 2 && flags.iter().all(u8::is_ascii_hexdigit);
    let flags = str::from_utf8(flags).ok().filter(|_| digits);
    flags.is_some_and(|f| i8::from_str_radix(f, 16).is_ok_and(|n| n & 1 == 1))
}

/// What headers ask for.
#[derive(Default, Debug, PartialEq)]
pub struct Asked<'a> {
    /// Where the event is to be told.
    pub dest: Option<&'a [u8]>,
    /// Whether the message is to reach nobody.
    pub only: bool,
    /// Whether it claims to come from another server.
    pub claims_origin: bool,
    /// Whether those who trace requests over many programs ask for it.
    pub sampled: bool,
    /// How it came here.
    pub hop: Option<&'a [u8]>,
    /// How the event is to be encoded.
    pub encoding: Option<Encoding>,
}

impl<'a> Asked<'a> {
    /// What a header block asks for. Of headers by the same name, the first one counts.
    pub fn of(block: &'a [u8]) -> Asked<'a> {
        let mut asked = Asked::default();
        let (mut only, mut encoding) = (None, None);
        for (name, value) in fields(block) {
            if name == DEST.as_bytes() {
                asked.dest.get_or_insert(value);
            } else if name == ONLY.as_bytes() {
                only.get_or_insert(value);
            } else if name == HOP.as_bytes() {
                asked.hop.get_or_insert(value);
            } else if name == ORIGIN_ACCOUNT.as_bytes() {
                asked.claims_origin = true;
            } else if name == ACCEPT_ENCODING.as_bytes() {
                encoding.get_or_insert(value);
            } else if name.eq_ignore_ascii_case(TRACE_PARENT.as_bytes()) {
                asked.sampled |= is_sampled(value);
            }
        }
        let yes = |value: &[u8]| {
            let is = |word: &&str| value.eq_ignore_ascii_case(word.as_bytes());
            ["1", "true", "on"].iter().any(is)
        };
        asked.only = only.is_some_and(yes);
        asked.encoding = encoding.map(Encoding::accepted);
        asked
    }
}

/// The headers as the event shows them, as many as it holds.
pub fn shown(block: &[u8]) -> Picked {
    let (mut picked, mut held) = (Picked::new(), 0);
    for (name, value) in fields(block) {
        held += name.len() + value.len();
        if held > TRACE_HEADER_BYTES {
            break;
        }
        let values = picked.entry(text(name)).or_default();
        values.push(text(value));
    }
    picked
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a message comes from or goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Client = 0,
    /// Another server of the cluster.
    Router = 1,
    /// The server itself.
    System = 3,
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(*self as u8)
    }
}

/// When something happened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stamp(pub SystemTime);

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Rfc3339(self.0))
    }
}

/// What happened to a message, one thing. Empty texts are left out, those with `to` aside.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum Step {
    /// It came in.
    #[serde(rename = "in")]
    Ingress {
        ts: Stamp,
        kind: Kind,
        cid: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        #[serde(rename = "acc")]
        account: String,
        #[serde(rename = "subj")]
        subject: String,
        /// Why it went no further.
        #[serde(skip_serializing_if = "String::is_empty")]
        error: String,
    },
    /// Its subject was mapped.
    #[serde(rename = "sm")]
    Mapping { ts: Stamp, to: String },
    /// It went to an account that imports the stream.
    #[serde(rename = "se")]
    StreamExport {
        ts: Stamp,
        #[serde(rename = "acc")]
        account: String,
        to: String,
    },
    /// It went to the account of a service, or back from there.
    #[serde(rename = "si")]
    ServiceImport {
        ts: Stamp,
        #[serde(rename = "acc")]
        account: String,
        from: String,
        to: String,
    },
    /// It went out, or should have.
    #[serde(rename = "eg")]
    Egress {
        ts: Stamp,
        kind: Kind,
        cid: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        /// How it gets to another server.
        #[serde(skip_serializing_if = "String::is_empty")]
        hop: String,
        /// The account, if it is not the one that the message came from.
        #[serde(rename = "acc", skip_serializing_if = "String::is_empty")]
        account: String,
        #[serde(rename = "sub", skip_serializing_if = "String::is_empty")]
        subject: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        queue: String,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: &'static str,
    },
}

impl Step {
    /// Bytes that it takes, about.
    pub fn weight(&self) -> usize {
        const FRAME: usize = 150;
        let texts: &[&str] = match self {
            Step::Ingress {
                name,
                account,
                subject,
                error,
                ..
            } => &[name, account, subject, error],
            Step::Mapping { to, .. } => &[to],
            Step::StreamExport { account, to, .. } => &[account, to],
            Step::ServiceImport {
                account, from, to, ..
            } => &[account, from, to],
            Step::Egress {
                name,
                account,
                subject,
                queue,
                error,
                ..
            } => &[name, account, subject, queue, error],
        };
        FRAME + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

/// Why a subscription did not get a message. The texts are the reference's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    NoEcho,
    Denied,
    SubscriptionClosed,
    ClientClosed,
    Slow,
    /// It was only to be traced, which the other server does not know.
    CannotTrace,
    /// It did get it, and does not tell what becomes of it.
    Untold,
}

impl Refusal {
    pub fn text(self) -> &'static str {
        match self {
            Refusal::NoEcho => "Not delivered because of no echo",
            Refusal::Denied => "Not delivered because subscription denies this subject",
            Refusal::SubscriptionClosed => "Not delivered because subscription is closed",
            Refusal::ClientClosed => "Not delivered because client is closed",
            Refusal::CannotTrace => "Not delivered because remote does not support message tracing",
            Refusal::Untold => {
                "Message delivered but remote does not support message tracing so no trace event \
                 generated from there"
            }
            Refusal::Slow => "Not delivered because fast producer not stalled and consumer is slow",
        }
    }
}

/// The text where there were more deliveries than an event holds.
pub const LEFT_OUT: &str = "The rest is left out";

/// What became of a message in one server, with the reference's JSON fields in their order
/// (`MsgTraceEvent` in `msgtrace.go`, 2.15).
#[derive(Debug, Serialize)]
pub struct TraceEvent<'a> {
    pub server: ServerInfo<'a>,
    pub request: Request<'a>,
    /// Deliveries to other servers, which tell what became of it there.
    #[serde(skip_serializing_if = "is_none")]
    pub hops: u32,
    #[serde(rename = "events")]
    pub steps: &'a [Step],
}

/// The message.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    #[serde(skip_serializing_if = "Picked::is_empty")]
    pub header: &'a Picked,
    /// Bytes of headers and body.
    #[serde(rename = "msgsize", skip_serializing_if = "is_zero")]
    pub size: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none(n: &u32) -> bool {
    *n == 0
}

impl TraceEvent<'_> {
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has text keys and no value that fails")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn block(lines: &str) -> String {
        format!("NATS/1.0\r\n{lines}\r\n")
    }

    const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

    #[test]
    fn what_headers_ask_for() {
        let to = |dest: &'static str| Asked {
            dest: Some(dest.as_bytes()),
            ..Asked::default()
        };
        let only = |only| Asked { only, ..to("t") };
        for (lines, want) in [
            ("Nats-Trace-Dest: t\r\n", to("t")),
            ("Nats-Trace-Dest:  t.u \t\r\nA: b\r\n", to("t.u")),
            (
                "A: b\r\nNats-Trace-Dest:t\r\nNats-Trace-Dest: u\r\n",
                to("t"),
            ),
            ("nats-trace-dest: t\r\n", Asked::default()),
            ("X-Nats-Trace-Dest: t\r\n", Asked::default()),
            ("X: Nats-Trace-Dest: t\r\n", Asked::default()),
            ("Nats-Trace-Dest : t\r\n", Asked::default()),
            (" Nats-Trace-Dest: t\r\n", Asked::default()),
            ("Nats-Trace-Dest: \r\n", Asked::default()),
            // A line without a colon becomes a part of the next name.
            (
                "A: b\r\nnonsense\r\nNats-Trace-Dest: t\r\n",
                Asked::default(),
            ),
            (
                "Nats-Trace-Dest: t\r\nNats-Trace-Only: true\r\n",
                only(true),
            ),
            ("Nats-Trace-Dest: t\r\nNats-Trace-Only: ON\r\n", only(true)),
            ("Nats-Trace-Dest: t\r\nNats-Trace-Only: 1\r\n", only(true)),
            (
                "Nats-Trace-Dest: t\r\nNats-Trace-Only: yes\r\n",
                only(false),
            ),
            (
                "Nats-Trace-Dest: t\r\nNats-Trace-Only: no\r\nNats-Trace-Only: 1\r\n",
                only(false),
            ),
            (
                "Nats-Trace-Dest: t\r\nNats-Trace-Origin-Account: A\r\n",
                Asked {
                    claims_origin: true,
                    ..to("t")
                },
            ),
            (
                "Nats-Trace-Dest: t\r\nAccept-Encoding: snappy\r\n",
                Asked {
                    encoding: Some(Encoding::Snappy),
                    ..to("t")
                },
            ),
            ("Nats-Trace-Dest: t\r\naccept-encoding: gzip\r\n", to("t")),
            (
                PARENT,
                Asked {
                    sampled: true,
                    ..Asked::default()
                },
            ),
        ] {
            assert_eq!(Asked::of(block(lines).as_bytes()), want, "{lines}");
        }
        for block in [
            "NATS/1.0 503\r\nNats-Trace-Dest: t\r\n\r\n",
            "NATS/1.0\nNats-Trace-Dest: t\n\n",
            "Nats-Trace-Dest: t\r\n\r\n",
            "NATS/1.0\r\nNats-Trace-Dest: t",
            "",
        ] {
            assert_eq!(Asked::of(block.as_bytes()), Asked::default(), "{block}");
        }
    }

    #[test]
    fn parents_ask_for_it_with_an_odd_number() {
        for (value, want) in [
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                true,
            ),
            ("00-1-2-0b", true),
            ("00-1-2-7f", true),
            ("00-1-2-00", false),
            ("00-1-2-81", false),
            ("00-1-2-ff", false),
            ("00-1-2-1", false),
            ("00-1-2-+1", false),
            ("00-1-2-01-x", false),
            ("00-1-01", false),
            ("", false),
        ] {
            assert_eq!(is_sampled(value.as_bytes()), want, "{value}");
        }
    }

    #[test]
    fn a_glance_finds_all_that_asks() {
        for (lines, parents, want) in [
            ("A: b\r\n", true, false),
            ("A: b\r\nNats-Trace-Dest: t\r\n", false, true),
            (PARENT, false, false),
            (PARENT, true, true),
            ("A: b\r\nTraceParent: x\r\n", true, true),
            ("A: traceparent\r\n", true, false),
        ] {
            assert_eq!(
                is_mentioned(block(lines).as_bytes(), parents),
                want,
                "{lines}"
            );
        }
    }

    #[test]
    fn headers_are_shown_up_to_a_bound() {
        let lines = "A: b\r\na: c\r\nA:\td \u{e9} \r\nB:\r\n";
        let shown_as = serde_json::to_string(&shown(block(lines).as_bytes())).unwrap();
        assert_eq!(shown_as, r#"{"A":["b","d é"],"a":["c"]}"#);
        let many = "x: y\r\n".repeat(TRACE_HEADER_BYTES);
        let picked = shown(block(&many).as_bytes());
        assert_eq!(picked["x"].len(), TRACE_HEADER_BYTES / 2);
    }

    #[test]
    fn the_event_has_the_fields_of_the_reference() {
        let ts = Stamp(SystemTime::UNIX_EPOCH);
        let texts = |s: &str| s.to_owned();
        let steps = [
            Step::Ingress {
                ts,
                kind: Kind::Client,
                cid: 4,
                name: texts(""),
                account: texts("A"),
                subject: texts("s"),
                error: texts("no"),
            },
            Step::Mapping { ts, to: texts("") },
            Step::StreamExport {
                ts,
                account: texts("B"),
                to: texts("t"),
            },
            Step::ServiceImport {
                ts,
                account: texts("C"),
                from: texts("f"),
                to: texts("t"),
            },
            Step::Egress {
                ts,
                kind: Kind::Client,
                cid: 5,
                name: texts("n"),
                hop: String::new(),
                account: texts("B"),
                subject: texts("s.*"),
                queue: texts("q"),
                error: Refusal::NoEcho.text(),
            },
            Step::Egress {
                ts,
                kind: Kind::System,
                cid: 0,
                name: texts(""),
                hop: String::new(),
                account: texts(""),
                subject: texts(""),
                queue: texts(""),
                error: "",
            },
        ];
        let metadata = BTreeMap::new();
        let server = ServerInfo {
            name: "n",
            host: "h",
            id: "NX",
            cluster: String::new(),
            domain: "",
            version: "v",
            tags: &[],
            metadata: &metadata,
            jetstream: false,
            flags: 0,
            seq: 1,
            time: SystemTime::UNIX_EPOCH,
        };
        let header = shown(b"NATS/1.0\r\nNats-Trace-Dest: t\r\n\r\n");
        let request = Request {
            header: &header,
            size: 9,
        };
        let event = TraceEvent {
            server,
            request,
            hops: 0,
            steps: &steps,
        };
        let json = String::from_utf8(event.json()).unwrap();
        let (_, rest) = json
            .split_once(r#""time":"1970-01-01T00:00:00Z"},"#)
            .unwrap();
        let want = r#""request":{"header":{"Nats-Trace-Dest":["t"]},"msgsize":9},"events":[{"type":"in","ts":"1970-01-01T00:00:00Z","kind":0,"cid":4,"acc":"A","subj":"s","error":"no"},{"type":"sm","ts":"1970-01-01T00:00:00Z","to":""},{"type":"se","ts":"1970-01-01T00:00:00Z","acc":"B","to":"t"},{"type":"si","ts":"1970-01-01T00:00:00Z","acc":"C","from":"f","to":"t"},{"type":"eg","ts":"1970-01-01T00:00:00Z","kind":0,"cid":5,"name":"n","acc":"B","sub":"s.*","queue":"q","error":"Not delivered because of no echo"},{"type":"eg","ts":"1970-01-01T00:00:00Z","kind":3,"cid":0}]}"#;
        assert_eq!(rest, want);
        for step in &steps {
            assert!(serde_json::to_vec(step).unwrap().len() <= step.weight());
        }
    }

    proptest! {
        #[test]
        fn a_glance_misses_nothing(
            lines in proptest::collection::vec("[ -~\r\n]{0,12}|Nats-Trace-Dest ?: x|[tT]raceparent: 0-0-0-01", 0..6),
        ) {
            let block = block(&(lines.join("\r\n") + "\r\n"));
            let asked = Asked::of(block.as_bytes());
            let mentioned = is_mentioned(block.as_bytes(), true);
            prop_assert!(mentioned || asked.dest.is_none() && !asked.sampled);
        }
    }
}
