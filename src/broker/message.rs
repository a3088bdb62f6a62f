//! A message on its way to its subscribers, in the form in which a MSG line is put together.

use crate::base::text::push_decimal;
use crate::proto::client::Publish;
use bytes::Bytes;

/// About the bytes of a MSG line behind the subject, and of the line end behind the payload.
const LINE_REST: usize = 128;

/// The parts of a message. What differs between subscribers is the sid alone, which comes
/// between `head` and `tail`.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// A verb of three or four letters, the subject, and the blanks after both. The verb is
    /// replaced by MSG or HMSG.
    pub head: &'a [u8],
    /// `[reply ]sizes CRLF`, and the payload and its CRLF, unless they are shared. In two pieces,
    /// of which the second may be empty.
    pub tail: (&'a [u8], &'a [u8]),
    /// Headers and body with the CRLF behind them, if they are worth sharing.
    pub shared: Option<&'a Bytes>,
    pub reply: Option<&'a [u8]>,
    /// Headers and body with the CRLF behind them.
    pub payload: &'a [u8],
    /// Bytes of the headers, if the message has any.
    pub header_len: Option<usize>,
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
        let (head, tail) = match publish.canonical {
            Some((head, tail)) if shared.is_none() => (head, (tail, &b""[..])),
            Some((head, tail)) => (head, (&tail[..tail.len() - payload.len()], &b""[..])),
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
                let (head, line) = scratch.split_at(head_len);
                (
                    head,
                    (line, if shared.is_some() { &b""[..] } else { payload }),
                )
            }
        };
        Message {
            head,
            tail,
            shared,
            reply,
            payload,
            header_len,
        }
    }

    /// A message that the server itself publishes, put together in `scratch`.
    pub fn compose(
        subject: &[u8],
        reply: Option<&'a [u8]>,
        (headers, body): (&[u8], &[u8]),
        scratch: &'a mut Vec<u8>,
    ) -> Self {
        let header_len = (!headers.is_empty()).then_some(headers.len());
        let (verb, payload_len) = match header_len {
            Some(_) => (&b"HMSG "[..], headers.len() + body.len()),
            None => (&b"MSG "[..], body.len()),
        };
        scratch.clear();
        scratch.reserve(verb.len() + subject.len() + payload_len + LINE_REST);
        scratch.extend_from_slice(verb);
        scratch.extend_from_slice(subject);
        scratch.push(b' ');
        let head_len = scratch.len();
        arguments(scratch, reply, header_len, payload_len);
        let line_len = scratch.len();
        for part in [headers, body, b"\r\n"] {
            scratch.extend_from_slice(part);
        }
        let (head, tail) = scratch.split_at(head_len);
        Message {
            head,
            tail: (tail, b""),
            shared: None,
            reply,
            payload: &tail[line_len - head_len..],
            header_len,
        }
    }

    /// A published message without headers that has the canonical form.
    pub fn plain(publish: &Publish<'a>) -> Option<Self> {
        let (head, tail) = publish.canonical?;
        let Publish { reply, payload, .. } = *publish;
        let (tail, header_len) = ((tail, &b""[..]), None);
        Some(Message {
            head,
            tail,
            shared: None,
            reply,
            payload,
            header_len,
        })
    }

    /// Bytes of headers and body.
    #[inline]
    pub fn size(&self) -> usize {
        self.payload.len() - 2
    }

    pub fn subject(&self) -> &'a [u8] {
        let verb = if self.header_len.is_some() { 5 } else { 4 };
        &self.head[verb..self.head.len() - 1]
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
        let (head, line) = scratch.split_at(head_len);
        let tail = (line, body);
        Message {
            head,
            tail,
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
