//! Messages that are read directly: the answers are the messages themselves.

use super::{Node, decode};
use crate::jetstream::api::request::MsgGetRequest;
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::{GetError, Incoming, Locator, Stream};
use crate::store::file::ReadBuffer;
use crate::store::types::{StreamSeq, Timestamp};
use std::fmt::Write;

const PREFIX: &str = "$JS.API.DIRECT.GET.";

/// Bytes that one request may bring, unless it asks for fewer.
const BATCH_BYTES: usize = 64 << 20;

/// Why there is no message, as a status.
enum Refusal {
    Empty,
    Malformed,
    Bad,
    Level,
    NotFound,
    NoResults,
    TooMany,
    Failed(String),
}

impl Refusal {
    fn headers(&self) -> String {
        let status = match self {
            Refusal::Empty => "408 Empty Request",
            Refusal::Malformed => "408 Malformed Request",
            Refusal::Bad => "408 Bad Request",
            Refusal::Level => "412 Required Api Level",
            Refusal::NotFound => "404 Message Not Found",
            Refusal::NoResults => "404 No Results",
            Refusal::TooMany => "413 Too Many Results",
            Refusal::Failed(error) => &format!("500 {}", error.replace(['\r', '\n'], " ")),
        };
        format!("NATS/1.0 {status}\r\n\r\n")
    }
}

impl From<GetError> for Refusal {
    fn from(error: GetError) -> Refusal {
        match error {
            GetError::NotFound => Refusal::NotFound,
            GetError::TooMany => Refusal::TooMany,
            GetError::Store(error) => Refusal::Failed(error.to_string()),
        }
    }
}

/// The stream that a request is for, and the subject whose last message is asked for, if its own subject
/// says that.
pub(super) fn last_by_subject(subject: &[u8]) -> Option<(&str, &[u8])> {
    let subject = std::str::from_utf8(subject).ok()?;
    let (name, subject) = subject.strip_prefix(PREFIX)?.split_once('.')?;
    Some((name, subject.as_bytes()))
}

impl Node {
    /// Answers a request to read messages of an account's stream. Where there is no such stream,
    /// or it is not to be read like that, the answer is that of a subject without listeners.
    pub(super) fn direct_get<O: Out>(&mut self, account: u32, message: &Incoming<'_>, out: &mut O) {
        let Some(reply) = message.reply else { return };
        let subject = std::str::from_utf8(message.subject).unwrap_or_default();
        let rest = subject.strip_prefix(PREFIX).unwrap_or_default();
        let (name, by_subject) = match rest.split_once('.') {
            Some((name, subject)) => (name, Some(subject)),
            None => (rest, None),
        };
        let strict = self.identity.options.strict;
        let own = self.find(account, name).filter(|at| {
            let stream = self.streams[*at].stream();
            stream.is_some_and(|stream| stream.config.allow_direct)
        });
        let at = own.or_else(|| self.mirror_of(account, name));
        let Some(stream) = at.and_then(|at| self.open_stream(at)) else {
            if let Some(tenant) = self.tenants.get(account) {
                let headers = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
                let message = Outgoing::status(reply, headers.as_bytes());
                out.send(&tenant.account, &message);
            }
            return;
        };
        if let Err(refusal) = get(stream, by_subject, message, strict, out) {
            let headers = refusal.headers();
            let message = Outgoing::status(reply, headers.as_bytes());
            out.send(&stream.account, &message);
        }
        if stream.has_damage() {
            // It is told of, though nothing else happens to the stream.
            self.dirty.extend(at);
        }
    }
}

fn get<O: Out>(
    stream: &mut Stream,
    by_subject: Option<&str>,
    message: &Incoming<'_>,
    strict: bool,
    out: &mut O,
) -> Result<(), Refusal> {
    let reply = message.reply.unwrap_or_default();
    if super::requests::needs_more(message.headers) {
        return Err(Refusal::Level);
    }
    let is_empty = message.payload.trim_ascii().is_empty();
    if let (true, Some(subject)) = (is_empty, by_subject.filter(|subject| !subject.is_empty())) {
        // Such are most requests.
        return Ok(stream.send_last(subject.as_bytes(), reply, out)?);
    }
    let mut asked = match (is_empty, by_subject) {
        (true, None) => return Err(Refusal::Empty),
        (true, Some(_)) => MsgGetRequest::default(),
        (false, _) => {
            let decoded = decode::read(message.payload, strict);
            decoded.map_err(|_| Refusal::Malformed)?
        }
    };
    if let Some(subject) = by_subject {
        asked = MsgGetRequest {
            last_by_subj: subject.to_owned(),
            no_hdr: asked.no_hdr,
            ..MsgGetRequest::default()
        };
    }
    check(&asked)?;
    let mut buffer = ReadBuffer::default();
    if !asked.multi_last.is_empty() {
        return get_multi(stream, &asked, reply, out);
    }
    let mut from = StreamSeq(asked.seq);
    if let Some(time) = asked.start_time {
        let at = stream.first_at(Timestamp(time.unix_nanos()));
        from = at.map_err(|e| Refusal::Failed(e.to_string()))?;
    }
    if asked.batch > 0 {
        return get_batch(stream, &asked, from, reply, out);
    }
    let locator = if !asked.last_by_subj.is_empty() {
        Locator::LastOn(asked.last_by_subj.as_bytes())
    } else if !asked.next_by_subj.is_empty() {
        Locator::NextOn(asked.next_by_subj.as_bytes(), from)
    } else if asked.start_time.is_some() {
        Locator::NextOn(b"", from)
    } else {
        Locator::Sequence(from)
    };
    let got = stream.get(locator, &mut buffer)?;
    stream.send_direct(reply, &got, None, asked.no_hdr, out);
    Ok(())
}

/// Whether a request asks for one thing.
fn check(asked: &MsgGetRequest) -> Result<(), Refusal> {
    let (seq, time) = (asked.seq > 0, asked.start_time.is_some());
    let last = !asked.last_by_subj.is_empty();
    let next = !asked.next_by_subj.is_empty();
    let multi = !asked.multi_last.is_empty();
    if !(seq || time || last || next || multi) {
        return Err(Refusal::Empty);
    }
    let conflict = seq && (last || time)
        || time && last
        || last && (next || multi || asked.batch > 0)
        || next && multi
        || asked.up_to_seq > 0 && asked.up_to_time.is_some();
    match conflict {
        true => Err(Refusal::Bad),
        false => Ok(()),
    }
}

fn get_batch<O: Out>(
    stream: &mut Stream,
    asked: &MsgGetRequest,
    from: StreamSeq,
    reply: &[u8],
    out: &mut O,
) -> Result<(), Refusal> {
    let mut buffer = ReadBuffer::default();
    let subject = asked.next_by_subj.as_bytes();
    let mut pending = stream.count(subject, from);
    let mut left = usize::try_from(asked.max_bytes).unwrap_or(0);
    if left == 0 {
        left = BATCH_BYTES;
    }
    let (mut at, mut last, mut sent) = (from, StreamSeq(0), 0);
    while sent < asked.batch {
        let got = match stream.get(Locator::NextOn(subject, at), &mut buffer) {
            Ok(got) => got,
            Err(GetError::NotFound) if sent > 0 => break,
            Err(error) => return Err(error.into()),
        };
        let record = &got.record;
        let bytes = record.subject.len() + record.headers.len() + record.payload.len();
        if sent > 0 && bytes > left {
            break;
        }
        left = left.saturating_sub(bytes);
        pending = pending.saturating_sub(1);
        let sequence = record.sequence;
        stream.send_direct(reply, &got, Some((pending, last)), asked.no_hdr, out);
        (last, at) = (sequence, sequence.next());
        sent += 1;
        if left == 0 {
            break;
        }
    }
    end(stream, reply, pending, last, None, out);
    Ok(())
}

fn get_multi<O: Out>(
    stream: &mut Stream,
    asked: &MsgGetRequest,
    reply: &[u8],
    out: &mut O,
) -> Result<(), Refusal> {
    let mut upto = match asked.up_to_seq {
        0 => stream.visible(),
        seq => StreamSeq(seq).min(stream.visible()),
    };
    if let Some(time) = asked.up_to_time {
        let next = stream.first_at(Timestamp(time.unix_nanos()));
        upto = next.map_err(|e| Refusal::Failed(e.to_string()))?.previous();
    }
    let all = stream.last_on_each(&asked.multi_last, upto)?;
    let all: Vec<StreamSeq> = all.into_iter().filter(|s| s.0 >= asked.seq).collect();
    if all.is_empty() {
        return Err(Refusal::NoResults);
    }
    let max = usize::try_from(asked.batch).ok().filter(|n| *n > 0);
    let (mut last, mut sent) = (StreamSeq(0), 0);
    let mut left = usize::try_from(asked.max_bytes).ok().filter(|n| *n > 0);
    let left = left.get_or_insert(BATCH_BYTES);
    let mut buffer = ReadBuffer::default();
    for sequence in &all {
        if max.is_some_and(|max| sent >= max) {
            break;
        }
        let Ok(got) = stream.get(Locator::Sequence(*sequence), &mut buffer) else {
            continue;
        };
        let record = &got.record;
        let bytes = record.subject.len() + record.headers.len() + record.payload.len();
        if sent > 0 && bytes > *left {
            break;
        }
        *left = left.saturating_sub(bytes);
        sent += 1;
        let pending = (all.len() - sent) as u64;
        stream.send_direct(reply, &got, Some((pending, last)), asked.no_hdr, out);
        last = *sequence;
    }
    let pending = (all.len() - sent) as u64;
    end(stream, reply, pending, last, Some(upto), out);
    Ok(())
}

/// Says that these were all.
fn end<O: Out>(
    stream: &Stream,
    reply: &[u8],
    pending: u64,
    last: StreamSeq,
    upto: Option<StreamSeq>,
    out: &mut O,
) {
    let mut headers = format!(
        "NATS/1.0 204 EOB\r\nNats-Num-Pending: {pending}\r\nNats-Last-Sequence: {}\r\n",
        last.0
    );
    if let Some(upto) = upto {
        let _ = write!(headers, "Nats-UpTo-Sequence: {}\r\n", upto.0);
    }
    headers.push_str("\r\n");
    let message = Outgoing::status(reply, headers.as_bytes());
    out.send(&stream.account, &message);
}
