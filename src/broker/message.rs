//! A message on its way to its subscribers, in the form in which a MSG line is put together.

use crate::base::text::push_decimal;
use crate::proto::client::{Canonical, Publish};
use bytes::Bytes;

/// Bytes of a MSG line besides subject, reply and payload, at most.
const LINE_REST: usize = 64;

/// The parts of a message. What differs between subscribers is the sid alone, which comes
/// behind the first `head_len` bytes of `line`.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The head: a verb of three or four letters, which is replaced by MSG or HMSG, the subject, and the
    /// blanks after both. Then `[reply ]sizes CRLF`, where batches look for the reply, and maybe the payload
    /// and its CRLF. What goes to other servers, and to no batch any more, may have the head alone.
    pub line: &'a [u8],
    /// Bytes of the verb, the subject, and the blanks.
    pub head_len: usize,
    /// The payload and its CRLF, if they are neither in the line nor shared.
    pub body: &'a [u8],
    /// Headers and body with the CRLF behind them, if they are worth sharing.
    pub shared: Option<&'a Bytes>,
    pub reply: Option<&'a [u8]>,
    /// Headers and body with the CRLF behind them.
    pub payload: &'a [u8],
    /// Bytes of the headers, if the message has any.
    pub header_len: Option<usize>,
}

/// A message that the server itself publishes.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// The subject that subscribers are shown.
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    /// A whole block, or nothing.
    pub headers: &'a [u8],
    pub body: &'a [u8],
}

impl Own<'_> {
    /// Bytes of the headers, if the message has any.
    pub fn header_len(&self) -> Option<usize> {
        (!self.headers.is_empty()).then_some(self.headers.len())
    }

    /// Appends the message as a [line](Message::line) with all that is in it. Gives the bytes of its
    /// head, and those before the payload.
    pub fn write(&self, out: &mut Vec<u8>) -> (usize, usize) {
        let start = out.len();
        let payload_len = self.headers.len() + self.body.len();
        let reply_len = self.reply.map_or(0, <[u8]>::len);
        out.reserve(self.subject.len() + reply_len + payload_len + LINE_REST);
        let verb = match self.header_len() {
            Some(_) => &b"HMSG "[..],
            None => &b"MSG "[..],
        };
        out.extend_from_slice(verb);
        out.extend_from_slice(self.subject);
        out.push(b' ');
        let head_len = out.len() - start;
        arguments(out, self.reply, self.header_len(), payload_len);
        let line_len = out.len() - start;
        for part in [self.headers, self.body, b"\r\n"] {
            out.extend_from_slice(part);
        }
        (head_len, line_len)
    }
}

impl<'a> Message<'a> {
    /// A published message; `scratch` takes what has to be written anew.
    pub fn new(publish: &Publish<'a>, shared: Option<&'a Bytes>, scratch: &'a mut Vec<u8>) -> Self {
        let Publish {
            subject,
            reply,
            header_len,
            payload,
            ..
        } = *publish;
        let (line, head_len, body) = match publish.canonical {
            Some(Canonical { command, head_len }) if shared.is_none() => {
                (command, head_len, &b""[..])
            }
            Some(Canonical { command, head_len }) => (
                &command[..command.len() - payload.len()],
                head_len,
                &b""[..],
            ),
            None => {
                scratch.clear();
                scratch.extend_from_slice(if header_len.is_some() {
                    b"HMSG "
                } else {
                    b"MSG "
                });
                scratch.extend_from_slice(subject);
                scratch.push(b' ');
                let head_len = scratch.len();
                arguments(scratch, reply, header_len, payload.len() - 2);
                let body = if shared.is_some() { b"" } else { payload };
                (&scratch[..], head_len, body)
            }
        };
        Message {
            line,
            head_len,
            body,
            shared,
            reply,
            payload,
            header_len,
        }
    }

    /// A message that the server itself publishes, put together in `scratch`.
    pub fn compose(own: &Own<'a>, scratch: &'a mut Vec<u8>) -> Self {
        scratch.clear();
        let (head_len, line_len) = own.write(scratch);
        let line = &scratch[..];
        Message {
            line,
            head_len,
            body: b"",
            shared: None,
            reply: own.reply,
            payload: &line[line_len..],
            header_len: own.header_len(),
        }
    }

    /// A published message without headers that has the canonical form.
    pub fn plain(publish: &Publish<'a>) -> Option<Self> {
        let Canonical { command, head_len } = publish.canonical?;
        let Publish { reply, payload, .. } = *publish;
        Some(Message {
            line: command,
            head_len,
            body: b"",
            shared: None,
            reply,
            payload,
            header_len: None,
        })
    }

    /// Bytes of headers and body.
    #[inline]
    pub fn size(&self) -> usize {
        self.payload.len() - 2
    }

    pub fn subject(&self) -> &'a [u8] {
        let verb = if self.header_len.is_some() { 5 } else { 4 };
        &self.line[verb..self.head_len - 1]
    }

    /// The message as a client sees it that does not understand headers: their bytes are gone.
    pub fn without_headers<'b>(&self, scratch: &'b mut Vec<u8>) -> Message<'b>
    where
        'a: 'b,
    {
        let body = &self.payload[self.header_len.unwrap_or(0)..];
        scratch.clear();
        scratch.extend_from_slice(b"MSG ");
        scratch.extend_from_slice(self.subject());
        scratch.push(b' ');
        let head_len = scratch.len();
        arguments(scratch, self.reply, None, body.len() - 2);
        Message {
            line: scratch,
            head_len,
            body,
            shared: None,
            reply: self.reply,
            payload: body,
            header_len: None,
        }
    }

    /// The arguments of the MSG line as traces show them.
    pub fn arguments(&self, sid: &[u8]) -> Vec<u8> {
        let mut out = [self.subject(), b" ", sid, b" "].concat();
        arguments(&mut out, self.reply, self.header_len, self.size());
        out.truncate(out.len() - 2);
        out
    }
}

/// Appends `[reply ][header size ]size CRLF`.
fn arguments(out: &mut Vec<u8>, reply: Option<&[u8]>, header_len: Option<usize>, size: usize) {
    if let Some(reply) = reply {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    if let Some(header_len) = header_len {
        push_decimal(out, header_len as u64);
        out.push(b' ');
    }
    push_decimal(out, size as u64);
    out.extend_from_slice(b"\r\n");
}
