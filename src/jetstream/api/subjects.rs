//! The subjects of the API: what is asked for, of which stream or consumer, and what is to be in
//! the body of such a request.

use super::errors::ApiError;
use crate::json::decode::{self, Decode, Decoded};

/// What a subject below `$JS.API` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    AccountInfo,
    StreamCreate(&'a str),
    StreamUpdate(&'a str),
    StreamNames,
    StreamList,
    StreamInfo(&'a str),
    StreamDelete(&'a str),
    StreamPurge(&'a str),
    StreamSnapshot(&'a str),
    StreamRestore(&'a str),
    StreamPeerRemove(&'a str),
    StreamPeerEvacuate(&'a str),
    StreamCancelMove(&'a str),
    StreamLeaderStepDown(&'a str),
    MsgGet(&'a str),
    MsgDelete(&'a str),
    ConsumerCreate(ConsumerTarget<'a>),
    ConsumerNames(&'a str),
    ConsumerList(&'a str),
    ConsumerInfo(Consumer<'a>),
    ConsumerDelete(Consumer<'a>),
    ConsumerPause(Consumer<'a>),
    ConsumerUnpin(Consumer<'a>),
    ConsumerLeaderStepDown(Consumer<'a>),
    ConsumerPeerRemove(Consumer<'a>),
    ConsumerPeerEvacuate(Consumer<'a>),
    /// Served by the consumer, not by the API.
    ConsumerReset(Consumer<'a>),
    /// Served by the consumer, not by the API.
    ConsumerNext(Consumer<'a>),
    /// Served by the stream, not by the API.
    DirectGet(&'a str),
    /// The last message on a subject, served by the stream.
    DirectGetLast {
        stream: &'a str,
        subject: &'a str,
    },
    MetaLeaderStepDown,
    MetaRescue,
    ServerRemove,
    ServerEvacuate,
    AccountPurge(&'a str),
    AccountStreamMove {
        account: &'a str,
        stream: &'a str,
    },
    AccountStreamCancelMove {
        account: &'a str,
        stream: &'a str,
    },
}

/// A consumer of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consumer<'a> {
    pub stream: &'a str,
    pub consumer: &'a str,
}

/// The consumer that is to be made, in one of three forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerTarget<'a> {
    /// `CONSUMER.CREATE.<stream>`: one that need not have a name.
    Ephemeral { stream: &'a str },
    /// `CONSUMER.DURABLE.CREATE.<stream>.<consumer>`
    Durable { stream: &'a str, consumer: &'a str },
    /// `CONSUMER.CREATE.<stream>.<consumer>[.<filter>]`
    Named {
        stream: &'a str,
        consumer: &'a str,
        filter: Option<&'a str>,
    },
}

impl<'a> ConsumerTarget<'a> {
    pub fn stream(&self) -> &'a str {
        match self {
            ConsumerTarget::Ephemeral { stream }
            | ConsumerTarget::Durable { stream, .. }
            | ConsumerTarget::Named { stream, .. } => stream,
        }
    }

    /// The consumer that the subject names.
    pub fn consumer(&self) -> Option<&'a str> {
        match self {
            ConsumerTarget::Ephemeral { .. } => None,
            ConsumerTarget::Durable { consumer, .. } | ConsumerTarget::Named { consumer, .. } => {
                Some(consumer)
            }
        }
    }
}

/// What subjects of the API begin with.
pub const PREFIX: &str = "$JS.API";

/// Reads a subject; `None` if nobody serves it.
pub fn parse(subject: &str) -> Option<Request<'_>> {
    let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
    let tokens: Vec<&str> = rest.splitn(TOKENS_MAX, '.').collect();
    if tokens.iter().any(|token| token.is_empty()) {
        return None;
    }
    Some(match tokens[..] {
        ["INFO"] => Request::AccountInfo,
        ["STREAM", ref tokens @ ..] => return stream(tokens),
        ["CONSUMER", ref tokens @ ..] => return consumer(tokens, rest),
        ["DIRECT", "GET", stream] => Request::DirectGet(stream),
        ["DIRECT", "GET", stream, ..] => Request::DirectGetLast {
            stream,
            subject: behind(rest, 3)?,
        },
        ["META", "LEADER", "STEPDOWN"] => Request::MetaLeaderStepDown,
        ["META", "RESCUE"] => Request::MetaRescue,
        ["SERVER", "REMOVE"] => Request::ServerRemove,
        ["SERVER", "EVACUATE"] => Request::ServerEvacuate,
        ["ACCOUNT", "PURGE", account] => Request::AccountPurge(account),
        ["ACCOUNT", "STREAM", "MOVE", account, stream] => {
            Request::AccountStreamMove { account, stream }
        }
        ["ACCOUNT", "STREAM", "CANCEL_MOVE", account, stream] => {
            Request::AccountStreamCancelMove { account, stream }
        }
        _ => return None,
    })
}

/// As many tokens as are looked at; the last one is all that follows.
const TOKENS_MAX: usize = 6;

fn stream<'a>(tokens: &[&'a str]) -> Option<Request<'a>> {
    Some(match *tokens {
        ["NAMES"] => Request::StreamNames,
        ["LIST"] => Request::StreamList,
        ["CREATE", stream] => Request::StreamCreate(stream),
        ["UPDATE", stream] => Request::StreamUpdate(stream),
        ["INFO", stream] => Request::StreamInfo(stream),
        ["DELETE", stream] => Request::StreamDelete(stream),
        ["PURGE", stream] => Request::StreamPurge(stream),
        ["SNAPSHOT", stream] => Request::StreamSnapshot(stream),
        ["RESTORE", stream] => Request::StreamRestore(stream),
        ["CANCEL_MOVE", stream] => Request::StreamCancelMove(stream),
        ["MSG", "GET", stream] => Request::MsgGet(stream),
        ["MSG", "DELETE", stream] => Request::MsgDelete(stream),
        ["PEER", "REMOVE", stream] => Request::StreamPeerRemove(stream),
        ["PEER", "EVACUATE", stream] => Request::StreamPeerEvacuate(stream),
        ["LEADER", "STEPDOWN", stream] => Request::StreamLeaderStepDown(stream),
        _ => return None,
    })
}

fn consumer<'a>(tokens: &[&'a str], rest: &'a str) -> Option<Request<'a>> {
    let of = |stream, consumer| Consumer { stream, consumer };
    Some(match *tokens {
        ["CREATE", stream] => Request::ConsumerCreate(ConsumerTarget::Ephemeral { stream }),
        ["CREATE", stream, consumer] => Request::ConsumerCreate(ConsumerTarget::Named {
            stream,
            consumer,
            filter: None,
        }),
        ["CREATE", stream, consumer, ..] => Request::ConsumerCreate(ConsumerTarget::Named {
            stream,
            consumer,
            filter: behind(rest, 4),
        }),
        ["DURABLE", "CREATE", stream, consumer] => {
            Request::ConsumerCreate(ConsumerTarget::Durable { stream, consumer })
        }
        ["NAMES", stream] => Request::ConsumerNames(stream),
        ["LIST", stream] => Request::ConsumerList(stream),
        ["INFO", stream, consumer] => Request::ConsumerInfo(of(stream, consumer)),
        ["DELETE", stream, consumer] => Request::ConsumerDelete(of(stream, consumer)),
        ["PAUSE", stream, consumer] => Request::ConsumerPause(of(stream, consumer)),
        ["UNPIN", stream, consumer] => Request::ConsumerUnpin(of(stream, consumer)),
        ["RESET", stream, consumer] => Request::ConsumerReset(of(stream, consumer)),
        ["MSG", "NEXT", stream, consumer] => Request::ConsumerNext(of(stream, consumer)),
        ["LEADER", "STEPDOWN", stream, consumer] => {
            Request::ConsumerLeaderStepDown(of(stream, consumer))
        }
        ["PEER", "REMOVE", stream, consumer] => Request::ConsumerPeerRemove(of(stream, consumer)),
        ["PEER", "EVACUATE", stream, consumer] => {
            Request::ConsumerPeerEvacuate(of(stream, consumer))
        }
        _ => return None,
    })
}

/// What stands behind so many tokens; none if a token of it is empty.
fn behind(subject: &str, tokens: usize) -> Option<&str> {
    let rest = subject.splitn(tokens + 1, '.').nth(tokens)?;
    rest.split('.')
        .all(|token| !token.is_empty())
        .then_some(rest)
}

/// What is to be in the body of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyRule {
    /// It is not looked at.
    Ignored,
    /// It has to be [`is_empty`], or the request is refused with 10038.
    Empty,
    /// It must not be [`is_empty`], or the request is refused with 10003.
    Needed,
    /// It is read if it [`is_json`], and counts as missing otherwise.
    Optional,
    /// It is read; nothing at all is an empty object.
    Read,
    /// It is read as one JSON document, which has to be there.
    Document,
}

impl BodyRule {
    /// Reads a body by this rule; `None` if there is nothing to be read.
    ///
    /// # Errors
    /// 10038, 10003 and 10025.
    pub fn read<T: Decode>(
        self,
        body: &[u8],
        strict: bool,
    ) -> Result<Option<Decoded<T>>, ApiError> {
        match self {
            BodyRule::Ignored => return Ok(None),
            BodyRule::Empty if is_empty(body) => return Ok(None),
            BodyRule::Empty => return Err(ApiError::NotEmptyRequest),
            BodyRule::Needed if is_empty(body) => return Err(ApiError::BadRequest),
            BodyRule::Optional if !is_json(body) => return Ok(None),
            BodyRule::Document => {
                let value = decode::document(body).map_err(ApiError::invalid_json)?;
                let warning = None;
                return Ok(Some(Decoded { value, warning }));
            }
            BodyRule::Needed | BodyRule::Optional | BodyRule::Read => {}
        }
        decode::request(body, strict)
            .map(Some)
            .map_err(ApiError::invalid_json)
    }
}

impl Request<'_> {
    /// What is to be in the body.
    pub fn body_rule(&self) -> BodyRule {
        match self {
            Request::StreamCreate(_) | Request::StreamUpdate(_) | Request::ConsumerCreate(_) => {
                BodyRule::Read
            }
            Request::StreamDelete(_) | Request::ConsumerDelete(_) => BodyRule::Empty,
            Request::MsgGet(_)
            | Request::MsgDelete(_)
            | Request::StreamSnapshot(_)
            | Request::StreamRestore(_)
            | Request::StreamPeerRemove(_)
            | Request::StreamPeerEvacuate(_)
            | Request::ConsumerPeerRemove(_)
            | Request::ConsumerPeerEvacuate(_)
            | Request::ServerRemove
            | Request::ServerEvacuate
            | Request::MetaRescue => BodyRule::Needed,
            Request::StreamNames
            | Request::StreamList
            | Request::StreamInfo(_)
            | Request::StreamPurge(_)
            | Request::StreamLeaderStepDown(_)
            | Request::ConsumerNames(_)
            | Request::ConsumerList(_)
            | Request::ConsumerPause(_)
            | Request::ConsumerLeaderStepDown(_)
            | Request::MetaLeaderStepDown => BodyRule::Optional,
            Request::ConsumerUnpin(_) => BodyRule::Document,
            Request::ConsumerReset(_)
            | Request::ConsumerNext(_)
            | Request::DirectGet(_)
            | Request::DirectGetLast { .. }
            | Request::AccountStreamMove { .. } => BodyRule::Read,
            Request::AccountInfo
            | Request::ConsumerInfo(_)
            | Request::StreamCancelMove(_)
            | Request::AccountPurge(_)
            | Request::AccountStreamCancelMove { .. } => BodyRule::Ignored,
        }
    }

    /// Whether a request only asks, and so waits behind those that change something.
    pub fn only_asks(&self) -> bool {
        matches!(
            self,
            Request::AccountInfo
                | Request::StreamNames
                | Request::StreamList
                | Request::StreamInfo(_)
                | Request::ConsumerNames(_)
                | Request::ConsumerList(_)
                | Request::ConsumerInfo(_)
                | Request::MsgGet(_)
        )
    }
}

/// Whether a body is an object without anything in it, or nothing at all.
pub fn is_empty(body: &[u8]) -> bool {
    use crate::json::scan;
    if body.is_empty() {
        return true;
    }
    let Ok(found) = scan::value(body, 0) else {
        return false;
    };
    scan::is_blank(body, found.end)
        && body[found.start] == b'{'
        && scan::members(&body[found]).next().is_none()
}

/// Whether a body looks like JSON that a request can be.
pub fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// The header that says which level of the API a client needs at least.
pub const REQUIRED_LEVEL: &str = "Nats-Required-Api-Level";

/// Whether the value of [`REQUIRED_LEVEL`] asks for more than there is.
pub fn is_beyond_level(value: &[u8]) -> bool {
    let level = str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    !value.is_empty() && level.is_none_or(|level| level > i64::from(super::LEVEL))
}

/// The subjects under which a domain's API is found, and those that they stand for.
pub fn domain_mappings(domain: &str) -> Vec<(String, String)> {
    let below = [
        "STREAM.>",
        "CONSUMER.>",
        "DIRECT.>",
        "META.>",
        "SERVER.>",
        "ACCOUNT.>",
    ];
    let api = ["INFO"]
        .iter()
        .chain(&below)
        .map(|rest| (*rest, format!("{PREFIX}.{rest}")));
    let others = ["$KV.>", "$OBJ.>"]
        .iter()
        .map(|rest| (*rest, (*rest).to_owned()));
    let prefixed = |(rest, to)| (format!("$JS.{domain}.API.{rest}"), to);
    api.chain(others).map(prefixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn subjects_are_read() {
        let consumer = Consumer {
            stream: "S",
            consumer: "C",
        };
        for (rest, want) in [
            ("INFO", Some(Request::AccountInfo)),
            ("STREAM.CREATE.S", Some(Request::StreamCreate("S"))),
            ("STREAM.MSG.GET.S", Some(Request::MsgGet("S"))),
            (
                "STREAM.LEADER.STEPDOWN.S",
                Some(Request::StreamLeaderStepDown("S")),
            ),
            ("CONSUMER.INFO.S.C", Some(Request::ConsumerInfo(consumer))),
            (
                "CONSUMER.MSG.NEXT.S.C",
                Some(Request::ConsumerNext(consumer)),
            ),
            (
                "CONSUMER.CREATE.S",
                Some(Request::ConsumerCreate(ConsumerTarget::Ephemeral {
                    stream: "S",
                })),
            ),
            (
                "CONSUMER.CREATE.S.C",
                Some(Request::ConsumerCreate(ConsumerTarget::Named {
                    stream: "S",
                    consumer: "C",
                    filter: None,
                })),
            ),
            (
                "CONSUMER.CREATE.S.C.a.*.b.c.>",
                Some(Request::ConsumerCreate(ConsumerTarget::Named {
                    stream: "S",
                    consumer: "C",
                    filter: Some("a.*.b.c.>"),
                })),
            ),
            (
                "CONSUMER.DURABLE.CREATE.S.C",
                Some(Request::ConsumerCreate(ConsumerTarget::Durable {
                    stream: "S",
                    consumer: "C",
                })),
            ),
            ("DIRECT.GET.S", Some(Request::DirectGet("S"))),
            (
                "DIRECT.GET.S.a.b.c.d.e",
                Some(Request::DirectGetLast {
                    stream: "S",
                    subject: "a.b.c.d.e",
                }),
            ),
            (
                "ACCOUNT.STREAM.MOVE.A.S",
                Some(Request::AccountStreamMove {
                    account: "A",
                    stream: "S",
                }),
            ),
            ("STREAM.CREATE", None),
            ("STREAM.CREATE.S.T", None),
            ("STREAM.CREATE.", None),
            ("CONSUMER.DURABLE.CREATE.S", None),
            ("CONSUMER.DURABLE.CREATE.S.C.D", None),
            ("CONSUMER.INFO.S.C.D", None),
            ("DIRECT.GET.S.a..b.c.d.e", None),
            ("BOGUS", None),
            ("", None),
        ] {
            let subject = format!("$JS.API.{rest}");
            assert_eq!(parse(&subject), want, "{rest}");
        }
        assert_eq!(parse("$JS.API"), None);
        assert_eq!(parse("$JS.APIX.INFO"), None);
    }

    #[test]
    fn empty_bodies_are_found() {
        for body in ["", "{}", " { } ", "{\n}"] {
            assert!(is_empty(body.as_bytes()), "{body}");
        }
        for body in [" ", "[]", "null", "{} x", "{\"a\":1}", "x", "{"] {
            assert!(!is_empty(body.as_bytes()), "{body}");
        }
        assert!(is_json(b" {") && is_json(b"[") && !is_json(b"x") && !is_json(b" "));
    }

    #[test]
    fn bodies_are_read_by_their_rule() {
        use super::super::request::{ConsumerUnpinRequest, StreamPurgeRequest};
        let of = |rule: BodyRule, body: &str| {
            let read = rule.read::<StreamPurgeRequest>(body.as_bytes(), true);
            read.map(|read| read.map(|read| read.value.seq))
                .map_err(|error| error.err_code())
        };
        for (rule, body, want) in [
            (BodyRule::Ignored, "x", Ok(None)),
            (BodyRule::Empty, "{}", Ok(None)),
            (BodyRule::Empty, "x", Err(10038)),
            (BodyRule::Needed, "", Err(10003)),
            (BodyRule::Needed, r#"{"seq":5}"#, Ok(Some(5))),
            (BodyRule::Needed, "x", Err(10025)),
            (BodyRule::Optional, "x", Ok(None)),
            (BodyRule::Optional, r#"{"seq":5}"#, Ok(Some(5))),
            (BodyRule::Optional, "[]", Err(10025)),
            (BodyRule::Read, "", Ok(Some(0))),
            (BodyRule::Read, r#"{"bogus":5}"#, Err(10025)),
            (BodyRule::Document, r#"{"bogus":5}"#, Ok(Some(0))),
            (BodyRule::Document, "", Err(10025)),
        ] {
            assert_eq!(of(rule, body), want, "{rule:?} {body}");
        }
        let unpin = parse("$JS.API.CONSUMER.UNPIN.S.C").unwrap().body_rule();
        let read = unpin
            .read::<ConsumerUnpinRequest>(b"{}", true)
            .unwrap()
            .unwrap();
        let error = read.value.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid JSON: consumer group not specified"
        );
    }

    #[test]
    fn levels_are_compared() {
        for (value, beyond) in [
            ("", false),
            ("0", false),
            ("5", false),
            ("+5", false),
            ("-1", false),
            ("6", true),
            ("x", true),
            ("1.5", true),
            ("99999999999999999999", true),
        ] {
            assert_eq!(is_beyond_level(value.as_bytes()), beyond, "{value}");
        }
    }

    #[test]
    fn a_domain_has_an_api_of_its_own() {
        let mappings = domain_mappings("D");
        let has = |from: &str, to: &str| mappings.contains(&(from.to_owned(), to.to_owned()));
        assert!(has("$JS.D.API.INFO", "$JS.API.INFO"));
        assert!(has("$JS.D.API.CONSUMER.>", "$JS.API.CONSUMER.>"));
        assert!(has("$JS.D.API.$KV.>", "$KV.>"));
        assert_eq!(mappings.len(), 9);
    }

    proptest! {
        #[test]
        fn any_subject_is_judged(rest in "[A-Z.]{0,24}|(STREAM|CONSUMER|DIRECT)(\\.[A-Z]{0,6}){0,8}") {
            let _ = parse(&format!("$JS.API.{rest}"));
        }
    }
}
