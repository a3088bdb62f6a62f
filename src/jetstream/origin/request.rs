//! What a link asks of the API where its origin is, and the answers.

use crate::jetstream::api::request::ConsumerCreateRequest;
use crate::jetstream::api::stream_check::short_hash;
use crate::jetstream::api::stream_config::StreamSource;
use crate::jetstream::api::subjects::{PREFIX, REQUIRED_LEVEL};
use crate::jetstream::api::{AckPolicy, ApiError, ConsumerConfig, DeliverPolicy, headers};
use crate::json::{Nanos, Time};
use std::fmt::Write;

/// How often a consumer of a link says that it is there.
const HEARTBEAT: Nanos = Nanos::from_secs(1);

/// After how long without a listener it goes.
const INACTIVE: Nanos = Nanos::from_secs(10);

/// As good as never.
const ACK_WAIT: Nanos = Nanos::from_secs(22 * 60 * 60);

/// The stream that a link belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub stream: &'a str,
    pub account: &'a str,
    /// The server's domain, if it has one.
    pub domain: Option<&'a str>,
}

/// Whether a stream is the image of another, or takes messages from several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Mirror,
    Source,
}

/// Where messages are to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    First,
    Sequence(u64),
    Time(Time),
}

/// The level of the API that an origin is asked to have; older servers refuse what they do not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Tells which incarnation of the stream it is.
    Identity,
    /// Makes consumers for links: those that last where messages wait for them.
    Sourcing,
    /// Knows nothing of links.
    Plain,
}

impl Level {
    /// The level that is asked for first.
    pub fn first(kind: Kind) -> Level {
        match kind {
            Kind::Mirror => Level::Sourcing,
            Kind::Source => Level::Identity,
        }
    }

    /// The next lower one.
    pub fn lower(self) -> Option<Level> {
        match self {
            Level::Identity => Some(Level::Sourcing),
            Level::Sourcing => Some(Level::Plain),
            Level::Plain => None,
        }
    }
}

/// The name of a stream's consumers at an origin. Where a stream has several sources with one name,
/// all but one of them have names of their own.
pub fn consumer_name(owner: &Owner<'_>, kind: Kind, index_name: Option<&str>) -> String {
    let mut id = format!("{} {}", owner.stream, owner.account);
    if let Some(domain) = owner.domain {
        id = format!("{id} {domain}");
    }
    let mut hash = short_hash(&id);
    match kind {
        Kind::Mirror => format!("JS_MIRROR_{hash}"),
        Kind::Source => {
            // The reference hashes twice here.
            if let Some(index_name) = index_name {
                hash = format!("{hash} {index_name}");
            }
            format!("JS_SRC_{}", short_hash(&hash))
        }
    }
}

/// A subject of the API of an origin.
pub fn subject(source: &StreamSource, rest: &str) -> String {
    let prefix = match &source.external {
        Some(external) if !external.api_prefix.is_empty() => &external.api_prefix,
        _ => PREFIX,
    };
    format!("{prefix}.{rest}").replace("..", ".")
}

/// Where a consumer is to deliver; `token` tells it from others.
pub fn deliver_subject(source: &StreamSource, kind: Kind, token: &str) -> String {
    let letter = match kind {
        Kind::Mirror => 'M',
        Kind::Source => 'S',
    };
    match &source.external {
        Some(external) if !external.deliver_prefix.is_empty() => {
            format!("{}.{letter}.{token}", external.deliver_prefix).replace("..", ".")
        }
        _ => format!("$JS.{letter}.{token}"),
    }
}

/// The subjects of messages that are wanted; none for all.
fn filters(source: &StreamSource) -> Vec<String> {
    match source.filter_subject.is_empty() {
        false => vec![source.filter_subject.clone()],
        true => {
            let mut transforms = source.subject_transforms.iter();
            let sources = transforms.clone().map(|t| t.source.clone());
            match transforms.any(|t| t.source.is_empty()) {
                true => vec![],
                false => sources.collect(),
            }
        }
    }
}

/// A request: its subject, headers and body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub subject: String,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
}

/// What the request for a consumer is made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub owner: Owner<'a>,
    pub kind: Kind,
    pub source: &'a StreamSource,
    pub name: &'a str,
    pub deliver: &'a str,
    pub start: Start,
    pub level: Level,
    /// The incarnation of the stream that is expected; empty for any.
    pub identity: &'a str,
}

impl Wanted<'_> {
    /// The request for it.
    pub fn request(&self) -> Asked {
        let config = self.config();
        let mut rest = format!("CONSUMER.CREATE.{}", self.source.name);
        if !config.filter_subject.is_empty() {
            let _ = write!(rest, ".{}.{}", config.name, config.filter_subject);
        }
        let asked = ConsumerCreateRequest {
            stream_name: self.source.name.clone(),
            config,
            ..ConsumerCreateRequest::default()
        };
        Asked {
            subject: subject(self.source, &rest),
            headers: self.headers(),
            body: crate::json::compact(&asked),
        }
    }

    /// The request that a consumer of that name begins anew behind what was acknowledged.
    pub fn reset(&self) -> Asked {
        let rest = format!("CONSUMER.RESET.{}.{}", self.source.name, self.name);
        Asked {
            subject: subject(self.source, &rest),
            headers: match self.kind {
                Kind::Mirror => vec![],
                Kind::Source => self.headers(),
            },
            body: vec![],
        }
    }

    fn headers(&self) -> Vec<u8> {
        let level = match self.level {
            Level::Identity => 5,
            Level::Sourcing => 4,
            Level::Plain => return vec![],
        };
        let mut block = format!("NATS/1.0\r\n{REQUIRED_LEVEL}: {level}\r\n");
        if self.level == Level::Identity {
            let name = headers::STREAM_IDENTITY;
            let _ = write!(block, "{name}: {}\r\n", self.identity);
        }
        block.push_str("\r\n");
        block.into_bytes()
    }

    fn config(&self) -> ConsumerConfig {
        let what = match self.kind {
            Kind::Mirror => "mirror",
            Kind::Source => "src",
        };
        let mut metadata = crate::jetstream::api::Metadata::new();
        let Owner {
            stream,
            account,
            domain,
        } = self.owner;
        let mut note = |key: &str, value: &str| {
            metadata.insert(format!("_nats.{what}.{key}"), value.to_owned());
        };
        note("stream", stream);
        note("acc", account);
        if let Some(domain) = domain {
            note("domain", domain);
        }
        let mut filters = filters(self.source);
        let filter_subject = match filters.len() {
            1 => filters.remove(0),
            _ => String::new(),
        };
        let (deliver_policy, opt_start_seq, opt_start_time) = match self.start {
            Start::First => (DeliverPolicy::All, 0, None),
            Start::Sequence(sequence) => (DeliverPolicy::ByStartSequence, sequence, None),
            Start::Time(time) => (DeliverPolicy::ByStartTime, 0, Some(time)),
        };
        ConsumerConfig {
            name: self.name.to_owned(),
            deliver_policy,
            opt_start_seq,
            opt_start_time,
            ack_policy: AckPolicy::None,
            ack_wait: ACK_WAIT,
            max_deliver: 1,
            filter_subject,
            filter_subjects: filters,
            flow_control: true,
            deliver_subject: self.deliver.to_owned(),
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: INACTIVE,
            direct: true,
            sourcing: self.level != Level::Plain,
            metadata,
            ..ConsumerConfig::default()
        }
    }
}

/// The request to delete a consumer that was made for a link.
pub fn deletion(source: &StreamSource, name: &str) -> Asked {
    let rest = format!("CONSUMER.DELETE.{}.{name}", source.name);
    Asked {
        subject: subject(source, &rest),
        headers: vec![],
        body: vec![],
    }
}

/// A consumer that an origin has made, or begun anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    pub name: String,
    pub deliver: String,
    /// Whether it takes acknowledgements by flow control.
    pub acks_by_flow: bool,
    /// The last message that it will not deliver.
    pub delivered: u64,
}

#[derive(serde::Deserialize)]
struct Answer {
    error: Option<Refusal>,
    #[serde(default)]
    name: String,
    config: Option<Config>,
    #[serde(default)]
    delivered: Delivered,
}

#[derive(serde::Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u16,
    #[serde(default)]
    description: String,
}

#[derive(serde::Deserialize)]
struct Config {
    #[serde(default)]
    deliver_subject: String,
    #[serde(default)]
    ack_policy: String,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Delivered {
    stream_seq: u64,
}

/// Reads an answer.
///
/// # Errors
/// What the origin said; none if it cannot be understood.
pub fn answer(body: &[u8]) -> Result<Made, Option<ApiError>> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| None)?;
    if let Some(refusal) = answer.error {
        return Err(Some(ApiError::Other {
            code: refusal.code,
            err_code: refusal.err_code,
            description: refusal.description,
        }));
    }
    let config = answer.config.ok_or(None)?;
    if answer.name.is_empty() {
        return Err(None);
    }
    Ok(Made {
        name: answer.name,
        deliver: config.deliver_subject,
        acks_by_flow: config.ack_policy == "flow_control",
        delivered: answer.delivered.stream_seq,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::api::stream_config::{ExternalStream, SubjectTransform};

    fn source(filter: &str) -> StreamSource {
        StreamSource {
            name: "O".into(),
            filter_subject: filter.into(),
            ..StreamSource::default()
        }
    }

    const OWNER: Owner<'static> = Owner {
        stream: "S",
        account: "$G",
        domain: None,
    };

    fn wanted<'a>(kind: Kind, source: &'a StreamSource, start: Start) -> Wanted<'a> {
        Wanted {
            owner: OWNER,
            kind,
            source,
            name: "N",
            deliver: "$JS.M.x",
            start,
            level: Level::first(kind),
            identity: "",
        }
    }

    #[test]
    fn requests_are_those_of_the_reference() {
        let plain = source("");
        let asked = wanted(Kind::Mirror, &plain, Start::Sequence(8)).request();
        assert_eq!(asked.subject, "$JS.API.CONSUMER.CREATE.O");
        assert_eq!(
            asked.headers,
            b"NATS/1.0\r\nNats-Required-Api-Level: 4\r\n\r\n"
        );
        // As a server of version 2.15 sends it, but for the names.
        let want = concat!(
            r#"{"stream_name":"O","config":{"name":"N","deliver_policy":"by_start_sequence","#,
            r#""opt_start_seq":8,"ack_policy":"none","ack_wait":79200000000000,"max_deliver":1,"#,
            r#""replay_policy":"instant","flow_control":true,"deliver_subject":"$JS.M.x","#,
            r#""idle_heartbeat":1000000000,"inactive_threshold":10000000000,"num_replicas":0,"#,
            r#""direct":true,"sourcing":true,"metadata":{"_nats.mirror.acc":"$G","#,
            r#""_nats.mirror.stream":"S"}},"action":""}"#
        );
        assert_eq!(String::from_utf8(asked.body).unwrap(), want);
        let filtered = source("a.*");
        let asked = wanted(Kind::Source, &filtered, Start::First).request();
        assert_eq!(asked.subject, "$JS.API.CONSUMER.CREATE.O.N.a.*");
        let headers = "NATS/1.0\r\nNats-Required-Api-Level: 5\r\nNats-Stream-Identity: \r\n\r\n";
        assert_eq!(String::from_utf8(asked.headers).unwrap(), headers);
    }

    #[test]
    fn transforms_are_filters() {
        let transform = |source: &str| SubjectTransform {
            source: source.into(),
            destination: String::new(),
        };
        let mut several = source("");
        several.subject_transforms = vec![transform("a"), transform("b")];
        let asked = wanted(Kind::Source, &several, Start::First).request();
        assert_eq!(asked.subject, "$JS.API.CONSUMER.CREATE.O");
        let body = String::from_utf8(asked.body).unwrap();
        assert!(body.contains(r#""filter_subjects":["a","b"]"#), "{body}");
        several.subject_transforms.pop();
        let asked = wanted(Kind::Source, &several, Start::First).request();
        assert_eq!(asked.subject, "$JS.API.CONSUMER.CREATE.O.N.a");
    }

    #[test]
    fn other_accounts_have_other_subjects() {
        let mut other = source("");
        other.external = Some(ExternalStream {
            api_prefix: "ACC.API".into(),
            deliver_prefix: "deliver".into(),
        });
        let asked = wanted(Kind::Mirror, &other, Start::First).request();
        assert_eq!(asked.subject, "ACC.API.CONSUMER.CREATE.O");
        let asked = wanted(Kind::Mirror, &other, Start::First).reset();
        assert_eq!(asked.subject, "ACC.API.CONSUMER.RESET.O.N");
        assert!(asked.headers.is_empty() && asked.body.is_empty());
        assert_eq!(deliver_subject(&other, Kind::Source, "x1"), "deliver.S.x1");
        assert_eq!(deletion(&other, "N").subject, "ACC.API.CONSUMER.DELETE.O.N");
        assert_eq!(deliver_subject(&source(""), Kind::Mirror, "x1"), "$JS.M.x1");
    }

    #[test]
    fn names_last() {
        let name = consumer_name(&OWNER, Kind::Mirror, None);
        assert_eq!(name, format!("JS_MIRROR_{}", short_hash("S $G")));
        let domain = Owner {
            domain: Some("d"),
            ..OWNER
        };
        let name = consumer_name(&domain, Kind::Mirror, None);
        assert_eq!(name, format!("JS_MIRROR_{}", short_hash("S $G d")));
        let one = consumer_name(&OWNER, Kind::Source, None);
        let two = consumer_name(&OWNER, Kind::Source, Some("O a >"));
        assert!(one.starts_with("JS_SRC_") && one != two);
    }

    #[test]
    fn answers() {
        let made = answer(
            br#"{"type":"x","stream_name":"O","name":"N-1","config":{"name":"N-1",
            "deliver_subject":"d","ack_policy":"none","new_field":1},
            "delivered":{"consumer_seq":0,"stream_seq":7}}"#,
        );
        let want = Made {
            name: "N-1".into(),
            deliver: "d".into(),
            acks_by_flow: false,
            delivered: 7,
        };
        assert_eq!(made, Ok(want));
        let refused =
            answer(br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#);
        let error = refused.unwrap_err().unwrap();
        assert_eq!(error.err_code(), 10059);
        for wrong in ["", "{}", r#"{"name":"x"}"#, "[1]"] {
            assert_eq!(answer(wrong.as_bytes()), Err(None), "{wrong}");
        }
    }
}
