//! What a client sends, parsed in place: one complete operation at a time from the front of a
//! buffer. The parser keeps no state, so a command may be cut at any byte: whoever calls keeps
//! the unfinished front and calls again when more has come.
//!
//! Rules (<https://docs.nats.io/reference/reference-protocols/nats-protocol>): verbs in either
//! case, arguments separated by blanks or tabs, lines ended by CRLF or a bare LF, payloads followed
//! by exactly CRLF.

use super::scan;

/// What bounds a client's commands.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in the argument part of a control line.
    pub control_line_max: usize,
    /// Bytes in a message, headers included.
    pub payload_max: usize,
    /// Whether the client announced headers in its CONNECT.
    pub headers: bool,
}

/// The outcome of looking at the front of a buffer.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// An operation and how many bytes it took.
    Op(Op<'a>, usize),
    /// Not all of it is there yet.
    Partial(Partial),
    /// The connection cannot go on.
    Bad(Violation),
}

/// What is known of an unfinished command.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Partial {
    /// Its line is not complete.
    Line,
    /// Its line is not complete and the rest of it means nothing: only so many bytes of its
    /// front need to be kept.
    Keep(usize),
    /// Its payload is not complete; the command takes this many bytes in all.
    Payload(usize),
}

/// One operation of a client.
#[derive(Debug, PartialEq)]
pub enum Op<'a> {
    Publish(Publish<'a>),
    Subscribe {
        args: &'a [u8],
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    Unsubscribe {
        args: &'a [u8],
        sid: &'a [u8],
        /// Deliveries after which the subscription ends; none: at once.
        max: Option<u64>,
    },
    Connect(&'a [u8]),
    Ping,
    Pong,
    /// What only servers send each other; from a client it must at least be readable.
    Info(&'a [u8]),
    /// A +OK, which means nothing when a client sends it.
    Ignored,
    /// The client reports an error, with this text.
    Error(&'a [u8]),
}

/// A published message, as it stands in the buffer.
#[derive(Debug, PartialEq, Clone, Copy)]
pub struct Publish<'a> {
    /// The arguments of the control line.
    pub args: &'a [u8],
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    /// Size of the header part, if it was an HPUB.
    pub header_len: Option<usize>,
    /// Headers and body, with the CRLF that ends them.
    pub payload: &'a [u8],
    /// The whole command, where it has the form in which a MSG line ends with the same bytes.
    pub canonical: Option<Canonical<'a>>,
}

/// A command with single blanks and CRLF: all that comes behind its subject stands in MSG lines, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Canonical<'a> {
    pub command: &'a [u8],
    /// Bytes of the verb, the subject, and the blanks behind both.
    pub head_len: usize,
}

impl<'a> Canonical<'a> {
    /// The verb, the subject, and the blanks behind both.
    pub fn head(&self) -> &'a [u8] {
        &self.command[..self.head_len]
    }
}

impl Publish<'_> {
    /// Bytes of headers and body.
    #[inline]
    pub fn size(&self) -> usize {
        self.payload.len() - 2
    }
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Clone)]
pub enum Violation {
    /// No such operation; answered with an error. Holds the offset of the offending byte.
    UnknownOperation { at: usize },
    /// A control line over the limit, answered with an error. Holds its length so far.
    ControlLine(usize),
    /// A message over the limit, answered with an error.
    Payload {
        verb: Verb,
        size: usize,
        args: Box<[u8]>,
    },
    /// An argument count or size that makes no sense; closed without an answer.
    Arguments {
        verb: Verb,
        what: Fault,
        args: Box<[u8]>,
    },
    /// HPUB from a client that did not announce headers; closed without an answer.
    HeadersNotSupported,
}

/// What is wrong with a command's arguments.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Fault {
    Count,
    HeaderSize,
    Size,
    HeaderOverTotal,
    /// A carriage return inside an argument, which would break the line it is forwarded in.
    CarriageReturn,
}

/// A verb with arguments.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Verb {
    Pub,
    Hpub,
    Sub,
    Unsub,
    Connect,
    Info,
    Err,
    Ping,
    Pong,
    Ok,
}

/// Looks at the front of `data` for one operation.
#[inline]
pub fn parse<'a>(data: &'a [u8], limits: &Limits) -> Parsed<'a> {
    if let Some((op, used)) = plain_publish(data, limits) {
        return Parsed::Op(Op::Publish(op), used);
    }
    if let Some((op, used)) = plain_interest(data, limits) {
        return Parsed::Op(op, used);
    }
    general(data, limits)
}

/// The common case: a complete `PUB subject [reply] size` with single blanks and CRLF.
#[inline(always)]
fn plain_publish<'a>(data: &'a [u8], limits: &Limits) -> Option<(Publish<'a>, usize)> {
    let verb = data.first_chunk::<4>()?;
    if u32::from_le_bytes(*verb) | 0x2020_2020 != u32::from_le_bytes(*b"pub ") || verb[3] != b' ' {
        return None;
    }
    let subject_end = 4 + scan::token_end(&data[4..]);
    if subject_end == 4 || *data.get(subject_end)? != b' ' {
        return None;
    }
    let second = subject_end + 1;
    let (size, line_end, reply) = match short_size(&data[second..]) {
        Some((size, len)) => (size, second + len, None),
        None => {
            let reply_end = second + scan::token_end(&data[second..]);
            if reply_end == second || *data.get(reply_end)? != b' ' {
                return None;
            }
            let (size, len) = short_size(&data[reply_end + 1..])?;
            (size, reply_end + 1 + len, Some(&data[second..reply_end]))
        }
    };
    let body = line_end + 2;
    let end = body + size + 2;
    if size > limits.payload_max
        || line_end - 4 > limits.control_line_max
        || data.len() < end
        || data[end - 2] != b'\r'
        || data[end - 1] != b'\n'
    {
        return None;
    }
    let publish = Publish {
        args: &data[4..line_end],
        subject: &data[4..subject_end],
        reply,
        header_len: None,
        payload: &data[body..end],
        canonical: Some(Canonical {
            command: &data[..end],
            head_len: second,
        }),
    };
    Some((publish, end))
}

/// The other common case: `SUB subject [queue] sid` or `UNSUB sid`, as tidy.
#[inline]
fn plain_interest<'a>(data: &'a [u8], limits: &Limits) -> Option<(Op<'a>, usize)> {
    const SUB: u32 = u32::from_le_bytes(*b"sub ");
    const UNSUB: u32 = u32::from_le_bytes(*b"unsu");
    let verb = u32::from_le_bytes(*data.first_chunk::<4>()?) | 0x2020_2020;
    let args_at = match verb {
        SUB if data[3] == b' ' => 4,
        UNSUB if data.get(4)?.eq_ignore_ascii_case(&b'b') && *data.get(5)? == b' ' => 6,
        _ => return None,
    };
    let (mut ends, mut n, mut at) = ([0; 3], 0, args_at);
    let end = loop {
        let end = at + scan::token_end(&data[at..]);
        if end == at || n == ends.len() {
            return None;
        }
        ends[n] = end;
        n += 1;
        match *data.get(end)? {
            b' ' => at = end + 1,
            b'\r' if *data.get(end + 1)? == b'\n' => break end,
            _ => return None,
        }
    };
    let args = &data[args_at..end];
    if args.len() > limits.control_line_max {
        return None;
    }
    let token = |i: usize| &data[if i == 0 { args_at } else { ends[i - 1] + 1 }..ends[i]];
    let op = match (verb, n) {
        (UNSUB, 1) => Op::Unsubscribe {
            args,
            sid: token(0),
            max: None,
        },
        (SUB, 2) => Op::Subscribe {
            args,
            subject: token(0),
            queue: None,
            sid: token(1),
        },
        (SUB, 3) => Op::Subscribe {
            args,
            subject: token(0),
            queue: Some(token(1)),
            sid: token(2),
        },
        _ => return None,
    };
    Some((op, end + 2))
}

/// A size of up to nine digits that CRLF follows at once, and how many digits it has.
#[inline(always)]
fn short_size(data: &[u8]) -> Option<(usize, usize)> {
    let mut n = 0usize;
    for (i, b) in data.iter().take(10).enumerate() {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return (i > 0 && *b == b'\r' && data.get(i + 1) == Some(&b'\n')).then_some((n, i));
        }
        n = n * 10 + usize::from(d);
    }
    None
}

impl Verb {
    /// Whether anything but a blank may follow the verb: what comes up to the line's end is
    /// nobody's business then, or (CONNECT, INFO) is the argument at once.
    fn lenient(self) -> bool {
        matches!(
            self,
            Verb::Ping | Verb::Pong | Verb::Ok | Verb::Connect | Verb::Info
        )
    }

    /// The verb as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Pub => "PUB",
            Verb::Hpub => "HPUB",
            Verb::Sub => "SUB",
            Verb::Unsub => "UNSUB",
            Verb::Connect => "CONNECT",
            Verb::Info => "INFO",
            Verb::Err => "-ERR",
            Verb::Ping => "PING",
            Verb::Pong => "PONG",
            Verb::Ok => "+OK",
        }
    }
}

/// What the front of the data says of its verb.
enum Head {
    Verb(Verb, usize),
    Incomplete,
    Unknown(usize),
}

fn head(data: &[u8]) -> Head {
    let at = |i: usize| data.get(i).map(u8::to_ascii_lowercase);
    let (name, verb): (&[u8], Verb) = match (at(0), at(1)) {
        (None, _) | (Some(b'p'), None) => return Head::Incomplete,
        (Some(b'p'), Some(b'u')) => (b"pub", Verb::Pub),
        (Some(b'p'), Some(b'i')) => (b"ping", Verb::Ping),
        (Some(b'p'), Some(b'o')) => (b"pong", Verb::Pong),
        (Some(b'p'), Some(_)) => return Head::Unknown(1),
        (Some(b'h'), _) => (b"hpub", Verb::Hpub),
        (Some(b's'), _) => (b"sub", Verb::Sub),
        (Some(b'u'), _) => (b"unsub", Verb::Unsub),
        (Some(b'c'), _) => (b"connect", Verb::Connect),
        (Some(b'i'), _) => (b"info", Verb::Info),
        (Some(b'+'), _) => (b"+ok", Verb::Ok),
        (Some(b'-'), _) => (b"-err", Verb::Err),
        _ => return Head::Unknown(0),
    };
    let same = data
        .iter()
        .zip(name)
        .take_while(|(a, b)| a.eq_ignore_ascii_case(b))
        .count();
    if same < name.len() {
        return if same == data.len() {
            Head::Incomplete
        } else {
            Head::Unknown(same)
        };
    }
    match data.get(same) {
        None => Head::Incomplete,
        Some(b' ' | b'\t') => Head::Verb(verb, same),
        Some(_) if verb.lenient() => Head::Verb(verb, same),
        Some(_) => Head::Unknown(same),
    }
}

/// Every form of every operation.
fn general<'a>(data: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let (verb, verb_len) = match head(data) {
        Head::Verb(verb, len) => (verb, len),
        Head::Incomplete => return Parsed::Partial(Partial::Line),
        Head::Unknown(at) => return Parsed::Bad(Violation::UnknownOperation { at }),
    };
    let line = memchr::memchr(b'\n', &data[verb_len..]).map(|at| verb_len + at);
    if matches!(verb, Verb::Ping | Verb::Pong | Verb::Ok) {
        let op = match verb {
            Verb::Ping => Op::Ping,
            Verb::Pong => Op::Pong,
            _ => Op::Ignored,
        };
        return match line {
            Some(lf) => Parsed::Op(op, lf + 1),
            None => Parsed::Partial(Partial::Keep(verb_len)),
        };
    }
    let args_at = verb_len
        + data[verb_len..]
            .iter()
            .position(|b| *b != b' ' && *b != b'\t')
            .unwrap_or_else(|| data.len() - verb_len);
    let Some(lf) = line else {
        // The line may have been cut between its CR and its LF.
        let so_far = data.len() - args_at - usize::from(data[args_at..].ends_with(b"\r"));
        if so_far > limits.control_line_max {
            return Parsed::Bad(Violation::ControlLine(so_far));
        }
        if args_at == data.len() {
            // Any number of blanks is one blank.
            return Parsed::Partial(Partial::Keep((verb_len + 1).min(data.len())));
        }
        return Parsed::Partial(Partial::Line);
    };
    let args = &data[args_at.min(lf)..lf];
    let args = args.strip_suffix(b"\r").unwrap_or(args);
    if args.len() > limits.control_line_max {
        return Parsed::Bad(Violation::ControlLine(args.len()));
    }
    let used = lf + 1;
    match verb {
        Verb::Pub | Verb::Hpub => publish(data, verb, args, used, limits),
        Verb::Sub => subscribe(args, used),
        Verb::Unsub => unsubscribe(args, used),
        Verb::Connect => Parsed::Op(Op::Connect(args), used),
        Verb::Err => Parsed::Op(Op::Error(args), used),
        Verb::Info => Parsed::Op(Op::Info(args), used),
        Verb::Ping | Verb::Pong | Verb::Ok => Parsed::Op(Op::Ignored, used),
    }
}

fn fault(verb: Verb, what: Fault, args: &[u8]) -> Parsed<'static> {
    Parsed::Bad(Violation::Arguments {
        verb,
        what,
        args: args.into(),
    })
}

fn publish<'a>(
    data: &'a [u8],
    verb: Verb,
    args: &'a [u8],
    line_len: usize,
    limits: &Limits,
) -> Parsed<'a> {
    let headers = verb == Verb::Hpub;
    if headers && !limits.headers {
        return Parsed::Bad(Violation::HeadersNotSupported);
    }
    if args.contains(&b'\r') {
        return fault(verb, Fault::CarriageReturn, args);
    }
    let mut parts = [&b""[..]; 4];
    let n = scan::split(args, &mut parts);
    let sizes = 1 + usize::from(headers);
    let reply = match n.checked_sub(sizes) {
        Some(1) => None,
        Some(2) => Some(parts[1]),
        _ => return fault(verb, Fault::Count, args),
    };
    let header_len = match headers.then(|| scan::size(parts[n - 2])) {
        Some(None) => return fault(verb, Fault::HeaderSize, args),
        Some(some) => some,
        None => None,
    };
    let Some(size) = scan::size(parts[n - 1]) else {
        return fault(verb, Fault::Size, args);
    };
    if header_len.is_some_and(|h| h > size) {
        return fault(verb, Fault::HeaderOverTotal, args);
    }
    if size > limits.payload_max {
        let args = args.into();
        return Parsed::Bad(Violation::Payload { verb, size, args });
    }
    let end = line_len + size + 2;
    for (at, want) in [(end - 2, b'\r'), (end - 1, b'\n')] {
        if data.get(at).is_some_and(|b| *b != want) {
            return Parsed::Bad(Violation::UnknownOperation { at });
        }
    }
    if data.len() < end {
        return Parsed::Partial(Partial::Payload(end));
    }
    let subject = parts[0];
    let canonical = canonical(data, subject, args, line_len, end);
    let payload = &data[line_len..end];
    let publish = Publish {
        args,
        subject,
        reply,
        header_len,
        payload,
        canonical,
    };
    Parsed::Op(Op::Publish(publish), end)
}

/// The command, if it has the canonical form; see [`Publish::canonical`].
fn canonical<'a>(
    data: &'a [u8],
    subject: &[u8],
    args: &[u8],
    line_len: usize,
    end: usize,
) -> Option<Canonical<'a>> {
    let verb_len = data.iter().position(|b| *b == b' ')?;
    let line = &data[..line_len];
    let single = !line.contains(&b'\t')
        && !line.windows(2).any(|w| w == b"  ")
        && line.ends_with(b"\r\n")
        && !args.ends_with(b" ")
        && verb_len + 1 + args.len() + 2 == line_len;
    single.then(|| Canonical {
        command: &data[..end],
        head_len: verb_len + 1 + subject.len() + 1,
    })
}

fn subscribe(args: &[u8], used: usize) -> Parsed<'_> {
    let mut parts = [&b""[..]; 3];
    let (subject, queue, sid) = match scan::split(args, &mut parts) {
        2 => (parts[0], None, parts[1]),
        3 => (parts[0], Some(parts[1]), parts[2]),
        _ => return fault(Verb::Sub, Fault::Count, args),
    };
    if queue.unwrap_or_default().contains(&b'\r') || sid.contains(&b'\r') {
        return fault(Verb::Sub, Fault::CarriageReturn, args);
    }
    Parsed::Op(
        Op::Subscribe {
            args,
            subject,
            queue,
            sid,
        },
        used,
    )
}

fn unsubscribe(args: &[u8], used: usize) -> Parsed<'_> {
    let mut parts = [&b""[..]; 2];
    let max = match scan::split(args, &mut parts) {
        1 => None,
        2 => scan::size(parts[1]).filter(|n| *n > 0).map(|n| n as u64),
        _ => return fault(Verb::Unsub, Fault::Count, args),
    };
    Parsed::Op(
        Op::Unsubscribe {
            args,
            sid: parts[0],
            max,
        },
        used,
    )
}

impl Violation {
    /// The command that could be read but not accepted, if that is what happened.
    pub fn command(&self) -> Option<(Verb, &[u8])> {
        match self {
            Violation::Payload { verb, args, .. } | Violation::Arguments { verb, args, .. } => {
                Some((*verb, args))
            }
            _ => None,
        }
    }

    /// A line for the log; `data` is what was parsed, for the snippet.
    pub fn describe(&self, data: &[u8], limits: &Limits) -> String {
        use crate::base::text::quoted;
        const SNIPPET: usize = 32;
        let snip = |from: usize| {
            let from = from.min(data.len());
            data[from..data.len().min(from + SNIPPET)].to_vec()
        };
        match self {
            Violation::UnknownOperation { at } => {
                format!(
                    "Client parser ERROR, i={at}: proto='{}...'",
                    quoted(&snip(*at))
                )
            }
            Violation::ControlLine(len) => format!(
                "maximum control line exceeded: {len} vs {} (snip: {}...)",
                limits.control_line_max,
                quoted(&snip(0))
            ),
            Violation::Payload { size, .. } => {
                format!("maximum payload exceeded: {size} vs {}", limits.payload_max)
            }
            Violation::Arguments { verb, what, args } => {
                let what = match what {
                    Fault::Count => "wrong number of arguments",
                    Fault::HeaderSize => "bad or missing header size",
                    Fault::Size => "bad or missing size",
                    Fault::HeaderOverTotal => "header size larger than total size",
                    Fault::CarriageReturn => "carriage return inside an argument",
                };
                format!("{} parse error, {what}: {}", verb.name(), quoted(args))
            }
            Violation::HeadersNotSupported => "message headers not supported".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        control_line_max: 64,
        payload_max: 100,
        headers: true,
    };

    fn op(data: &[u8]) -> Op<'_> {
        match parse(data, &LIMITS) {
            Parsed::Op(op, used) => {
                assert_eq!(used, data.len(), "all of {data:?}");
                op
            }
            other => panic!("{other:?}"),
        }
    }

    fn bad(data: &[u8]) -> Violation {
        match parse(data, &LIMITS) {
            Parsed::Bad(v) => v,
            other => panic!("{other:?} for {:?}", String::from_utf8_lossy(data)),
        }
    }

    fn published(data: &[u8]) -> Publish<'_> {
        match op(data) {
            Op::Publish(p) => p,
            other => panic!("{other:?}"),
        }
    }

    fn halves<'a>(publish: &Publish<'a>) -> Option<(&'a [u8], &'a [u8])> {
        let canonical = publish.canonical?;
        Some(canonical.command.split_at(canonical.head_len))
    }

    #[test]
    fn plain_publish_keeps_its_halves() {
        let p = published(b"PUB foo.bar 5\r\nhello\r\n");
        assert_eq!((p.subject, p.reply, p.size()), (&b"foo.bar"[..], None, 5));
        assert_eq!(p.payload, b"hello\r\n");
        assert_eq!(p.args, b"foo.bar 5");
        assert_eq!(
            halves(&p),
            Some((&b"PUB foo.bar "[..], &b"5\r\nhello\r\n"[..]))
        );
        let p = published(b"pub foo inbox.1 0\r\n\r\n");
        assert_eq!((p.reply, p.size()), (Some(&b"inbox.1"[..]), 0));
        assert_eq!(
            halves(&p),
            Some((&b"pub foo "[..], &b"inbox.1 0\r\n\r\n"[..]))
        );
    }

    #[test]
    fn numeric_reply_is_a_reply() {
        assert_eq!(published(b"PUB foo 12 2\r\nhi\r\n").reply, Some(&b"12"[..]));
    }

    #[test]
    fn untidy_publish_means_the_same() {
        for line in [
            &b"PUB\tfoo\t2\r\nhi\r\n"[..],
            b"PUB   foo   2\r\nhi\r\n",
            b"PUB foo 2\nhi\r\n",
            b"pUb foo 2 \r\nhi\r\n",
            b"PUB foo 000000002\nhi\r\n",
        ] {
            let p = published(line);
            assert_eq!(
                (p.subject, p.reply, p.payload),
                (&b"foo"[..], None, &b"hi\r\n"[..])
            );
        }
        assert_eq!(published(b"PUB  foo 2\r\nhi\r\n").canonical, None);
        assert_eq!(published(b"PUB foo 2\nhi\r\n").canonical, None);
        assert_eq!(published(b"PUB foo 2 \r\nhi\r\n").canonical, None);
    }

    #[test]
    fn header_publish() {
        let p = published(b"HPUB foo bar 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        assert_eq!((p.subject, p.reply), (&b"foo"[..], Some(&b"bar"[..])));
        assert_eq!((p.header_len, p.size()), (Some(12), 14));
        let both = (
            &b"HPUB foo "[..],
            &b"bar 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"[..],
        );
        assert_eq!(halves(&p), Some(both));
        let none = Limits {
            headers: false,
            ..LIMITS
        };
        let line = b"HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
        assert_eq!(
            parse(line, &none),
            Parsed::Bad(Violation::HeadersNotSupported)
        );
    }

    #[test]
    fn subscriptions() {
        let args = &b"foo.* workers 17"[..];
        let (subject, sid) = (&b"foo.*"[..], &b"17"[..]);
        let want = Op::Subscribe {
            args,
            subject,
            queue: Some(b"workers"),
            sid,
        };
        assert_eq!(op(b"SUB foo.* workers 17\r\n"), want);
        let want = Op::Subscribe {
            args: b"foo a1",
            subject: b"foo",
            queue: None,
            sid: b"a1",
        };
        assert_eq!(op(b"sub foo a1\n"), want);
        let want = |max| Op::Unsubscribe {
            args: b"7 5",
            sid: b"7",
            max,
        };
        assert_eq!(op(b"UNSUB 7 5\r\n"), want(Some(5)));
        let want = Op::Unsubscribe {
            args: b"7 x",
            sid: b"7",
            max: None,
        };
        assert_eq!(op(b"UNSUB 7 x\r\n"), want);
    }

    #[test]
    fn the_rest() {
        assert_eq!(op(b"PING\r\n"), Op::Ping);
        assert_eq!(op(b"ping what ever\n"), Op::Ping);
        assert_eq!(op(b"PONG\r\n"), Op::Pong);
        assert_eq!(op(b"+OK\r\n"), Op::Ignored);
        assert_eq!(op(b"INFO {}\r\n"), Op::Info(b"{}"));
        assert_eq!(op(b"CONNECT {\"a\":1}\r\n"), Op::Connect(b"{\"a\":1}"));
        assert_eq!(op(b"CONNECT{}\r\n"), Op::Connect(b"{}"));
        assert_eq!(op(b"CONNECT\r\n"), Op::Connect(b""));
        assert_eq!(op(b"-ERR 'x y'\r\n"), Op::Error(b"'x y'"));
    }

    #[test]
    fn unknown_operations_are_refused_at_the_first_wrong_byte() {
        for (data, at) in [
            (&b"X"[..], 0),
            (b"\r\n", 0),
            (b"PINX", 3),
            (b"PUX", 2),
            (b"PUBX", 3),
            (b"PUB\r\n", 3),
            (b"MSG foo 1 2\r\n", 0),
            (b"SUBS", 3),
            (b"-ERRX", 4),
            (b"PUB foo 2\r\nhixx", 13),
            (b"PUB foo 2\r\nhi\rx", 14),
            (b"PUB foo 2\r\nhi\n", 13),
        ] {
            assert_eq!(bad(data), Violation::UnknownOperation { at }, "{data:?}");
        }
    }

    #[test]
    fn arguments_that_make_no_sense() {
        let cases: [(&[u8], Verb, Fault); 14] = [
            (b"PUB foo\r\n", Verb::Pub, Fault::Count),
            (b"PUB \r\n", Verb::Pub, Fault::Count),
            (b"PUB a b c 1\r\n", Verb::Pub, Fault::Count),
            (b"PUB foo -1\r\n", Verb::Pub, Fault::Size),
            (b"PUB foo 1x\r\n", Verb::Pub, Fault::Size),
            (b"PUB foo 1234567890\r\n", Verb::Pub, Fault::Size),
            (b"PUB f\roo 1\r\n", Verb::Pub, Fault::CarriageReturn),
            (b"HPUB foo 5\r\n", Verb::Hpub, Fault::Count),
            (b"HPUB foo x 5\r\n", Verb::Hpub, Fault::HeaderSize),
            (b"HPUB foo 5 x\r\n", Verb::Hpub, Fault::Size),
            (b"HPUB foo 6 5\r\n", Verb::Hpub, Fault::HeaderOverTotal),
            (b"SUB foo\r\n", Verb::Sub, Fault::Count),
            (b"SUB a b c d\r\n", Verb::Sub, Fault::Count),
            (b"UNSUB \r\n", Verb::Unsub, Fault::Count),
        ];
        for (data, want_verb, want) in cases {
            match bad(data) {
                Violation::Arguments { verb, what, .. } => {
                    assert_eq!((verb, what), (want_verb, want), "{data:?}");
                }
                other => panic!("{other:?} for {data:?}"),
            }
        }
    }

    #[test]
    fn limits() {
        let args = b"foo 101".as_slice().into();
        let (verb, size) = (Verb::Pub, 101);
        assert_eq!(
            bad(b"PUB foo 101\r\n"),
            Violation::Payload { verb, size, args }
        );
        assert!(matches!(
            op(&[&b"PUB foo 100\r\n"[..], &[b'x'; 100], b"\r\n"].concat()),
            Op::Publish(_)
        ));
        let long = [b"SUB ".as_slice(), &[b'x'; 65]].concat();
        assert_eq!(bad(&long), Violation::ControlLine(65));
        let line = [b"SUB ".as_slice(), &[b'x'; 62], b" 1\r\n"].concat();
        assert!(matches!(op(&line), Op::Subscribe { .. }));
        let line = [b"SUB ".as_slice(), &[b'x'; 63], b" 1\r\n"].concat();
        assert_eq!(bad(&line), Violation::ControlLine(65));
        let line = [b"PUB ".as_slice(), &[b'x'; 64], b" 0\r\n\r\n"].concat();
        assert_eq!(bad(&line), Violation::ControlLine(66));
    }

    #[test]
    fn endless_lines_without_meaning_keep_little() {
        let partial = |data: &[u8]| match parse(data, &LIMITS) {
            Parsed::Partial(p) => p,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            partial(&[b"PING ".as_slice(), &[b'x'; 5000]].concat()),
            Partial::Keep(4)
        );
        assert_eq!(
            partial(&[b"PUB".as_slice(), &[b' '; 5000]].concat()),
            Partial::Keep(4)
        );
        assert_eq!(partial(b"PUB foo 5\r\nhe"), Partial::Payload(18));
        assert_eq!(partial(b"PUB fo"), Partial::Line);
        assert_eq!(partial(b""), Partial::Line);
    }

    /// What a stream of bytes comes to: operations and how it ended.
    fn outcome(chunks: &[&[u8]]) -> (Vec<String>, Option<String>) {
        let (mut stash, mut ops) = (Vec::new(), Vec::new());
        for chunk in chunks {
            stash.extend_from_slice(chunk);
            loop {
                match parse(&stash, &LIMITS) {
                    Parsed::Op(op, used) => {
                        ops.push(match op {
                            Op::Publish(p) => {
                                format!(
                                    "{:?}",
                                    Publish {
                                        canonical: None,
                                        ..p
                                    }
                                )
                            }
                            other => format!("{other:?}"),
                        });
                        stash.drain(..used);
                    }
                    Parsed::Partial(Partial::Keep(n)) => {
                        stash.truncate(n);
                        break;
                    }
                    Parsed::Partial(_) => break,
                    Parsed::Bad(v) => {
                        let kind = match v {
                            Violation::UnknownOperation { .. } => "unknown".into(),
                            Violation::ControlLine(_) => "line".into(),
                            other => format!("{other:?}"),
                        };
                        return (ops, Some(kind));
                    }
                }
            }
        }
        (ops, None)
    }

    const SESSIONS: [&[u8]; 5] = [
        b"CONNECT {\"verbose\":false}\r\nPING\r\nSUB foo.* q 1\r\nPUB foo.x 5\r\nhello\r\nUNSUB 1 4\n",
        b"hpub a b 3 5\r\nabcde\r\nPUB\ta  0\n\r\npong  \r\nUNSUB  9\r\n+OK\r\n-ERR 'x'\r\nPUB a b 3\r\n\r\n\n\r\n",
        b"PUB foo 3\r\nabcd\r\nPING\r\n",
        b"SUB xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx 1\r\nPING\r\n",
        b"PING xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nBAD\r\n",
    ];

    #[test]
    fn every_split_point_gives_the_same_operations() {
        for session in SESSIONS {
            let whole = outcome(&[session]);
            for cut in 0..=session.len() {
                assert_eq!(
                    outcome(&[&session[..cut], &session[cut..]]),
                    whole,
                    "cut at {cut}"
                );
            }
            let bytes: Vec<&[u8]> = session.chunks(1).collect();
            assert_eq!(outcome(&bytes), whole);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_operations(
            words in proptest::collection::vec(prop_oneof![
                Just(b"PUB foo 2\r\nhi\r\n".to_vec()), Just(b"PUB ".to_vec()), Just(b"\r\n".to_vec()),
                Just(b"HPUB a 1 2\r\n".to_vec()), Just(b"SUB a b c\r\n".to_vec()), Just(b" ".to_vec()),
                Just(b"UNSUB 1\r\n".to_vec()), Just(b"PING\r\n".to_vec()), Just(b"CONNECT {}".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..12),
            ], 0..12),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let data = words.concat();
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(data.len() + 1)).collect();
            at.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in at {
                chunks.push(&data[from..cut]);
                from = cut;
            }
            chunks.push(&data[from..]);
            prop_assert_eq!(outcome(&chunks), outcome(&[&data]));
        }
    }
}
