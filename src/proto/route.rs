//! What servers of a cluster send each other, parsed in place as in [`super::client`]: one complete
//! operation at a time from the front of a buffer, and no state. And the writers of the same.
//!
//! The verbs are those of the reference's routes (`server/route.go` at 2.15): `RS+` and `RS-` for
//! interest, `RMSG` and `HMSG` for messages, each with the account in front. Verbs of leaf nodes,
//! `LS+`, `LS-` and `LMSG`, are only sent to servers that announced that they know them, which this
//! one does not, so they are errors.

use super::client::{Canonical, Partial, Publish};
use super::scan;

/// What bounds a route's commands.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in the argument part of a control line.
    pub control_line_max: usize,
    /// Bytes in a message, headers included.
    pub payload_max: usize,
    /// Whether lines name the account; they do not where a connection is for one only. Its name is
    /// empty then.
    pub names_account: bool,
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

/// One operation of another server.
#[derive(Debug, PartialEq)]
pub enum Op<'a> {
    Message(Routed<'a>),
    Subscribe(Subject<'a>, Option<Queue<'a>>),
    Unsubscribe(Subject<'a>, Option<&'a [u8]>),
    Connect(&'a [u8]),
    Info(&'a [u8]),
    Ping,
    Pong,
    /// A +OK, or what only means something between clusters.
    Ignored,
    /// The peer reports an error, with this text.
    Error(&'a [u8]),
}

/// A subject in an account.
#[derive(Debug, PartialEq, Clone, Copy)]
pub struct Subject<'a> {
    pub account: &'a [u8],
    pub subject: &'a [u8],
}

/// A queue group and how many members it has at the peer.
#[derive(Debug, PartialEq, Clone, Copy)]
pub struct Queue<'a> {
    pub name: &'a [u8],
    pub weight: u32,
}

/// A message for an account, as it stands in the buffer.
#[derive(Debug, PartialEq, Clone, Copy)]
pub struct Routed<'a> {
    pub account: &'a [u8],
    pub queues: Queues<'a>,
    /// The message as if a client had published it.
    pub publish: Publish<'a>,
}

/// The queue groups of which a member is to get a message, as they stand in the line.
#[derive(Debug, PartialEq, Clone, Copy, Default)]
pub struct Queues<'a>(&'a [u8]);

impl<'a> Queues<'a> {
    /// The names one after the other.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        arguments(self.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Violation {
    /// No such operation.
    UnknownOperation,
    /// A control line over the limit.
    ControlLine,
    /// A message over the limit, of this many bytes.
    Payload(usize),
    /// Arguments that make no sense, of this verb.
    Arguments(&'static str),
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Violation::UnknownOperation => f.write_str("Unknown Protocol Operation"),
            Violation::ControlLine => f.write_str("maximum control line exceeded"),
            Violation::Payload(size) => write!(f, "maximum message payload exceeded: {size} bytes"),
            Violation::Arguments(verb) => write!(f, "processing of {verb} arguments failed"),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Rmsg,
    Hmsg,
    SubPlus,
    SubMinus,
    Connect,
    Info,
    Ping,
    Pong,
    Ok,
    Err,
    /// `A+` and `A-`, which routes do not use.
    Account,
}

/// Verbs, with whether anything but a blank may follow them.
const VERBS: [(&[u8], Verb, bool); 12] = [
    (b"RMSG", Verb::Rmsg, false),
    (b"HMSG", Verb::Hmsg, false),
    (b"RS+", Verb::SubPlus, false),
    (b"RS-", Verb::SubMinus, false),
    (b"PING", Verb::Ping, true),
    (b"PONG", Verb::Pong, true),
    (b"INFO", Verb::Info, true),
    (b"CONNECT", Verb::Connect, true),
    (b"+OK", Verb::Ok, true),
    (b"-ERR", Verb::Err, false),
    (b"A+", Verb::Account, false),
    (b"A-", Verb::Account, false),
];

/// Looks at the front of `data` for one operation.
pub fn parse<'a>(data: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let (verb, verb_len) = match head(data) {
        Ok(Some(found)) => found,
        Ok(None) => return Parsed::Partial(Partial::Line),
        Err(violation) => return Parsed::Bad(violation),
    };
    let rest = &data[verb_len..];
    let lf = memchr::memchr(b'\n', rest);
    let line = &rest[..lf.unwrap_or(rest.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if matches!(verb, Verb::Ping | Verb::Pong | Verb::Ok) {
        let op = match verb {
            Verb::Ping => Op::Ping,
            Verb::Pong => Op::Pong,
            _ => Op::Ignored,
        };
        return match lf {
            Some(lf) => Parsed::Op(op, verb_len + lf + 1),
            None => Parsed::Partial(Partial::Keep(verb_len)),
        };
    }
    if line.len() > limits.control_line_max {
        return Parsed::Bad(Violation::ControlLine);
    }
    let Some(lf) = lf else {
        return Parsed::Partial(Partial::Line);
    };
    let used = verb_len + lf + 1;
    let args = line.trim_ascii();
    let op = match verb {
        Verb::Rmsg | Verb::Hmsg => return message(data, verb, line, used, limits),
        Verb::SubPlus => subscribe(args, limits).ok_or(Violation::Arguments("RS+")),
        Verb::SubMinus => unsubscribe(args, limits).ok_or(Violation::Arguments("RS-")),
        Verb::Connect => Ok(Op::Connect(args)),
        Verb::Info => Ok(Op::Info(args)),
        Verb::Err => Ok(Op::Error(args)),
        Verb::Ping | Verb::Pong | Verb::Ok | Verb::Account => Ok(Op::Ignored),
    };
    match op {
        Ok(op) => Parsed::Op(op, used),
        Err(violation) => Parsed::Bad(violation),
    }
}

/// The verb in front of the data and its length; none if there is not enough of it yet.
fn head(data: &[u8]) -> Result<Option<(Verb, usize)>, Violation> {
    for (name, verb, lenient) in VERBS {
        let front = &data[..data.len().min(name.len())];
        if !front.eq_ignore_ascii_case(&name[..front.len()]) {
            continue;
        }
        return match data.get(name.len()) {
            None => Ok(None),
            Some(b' ' | b'\t') => Ok(Some((verb, name.len()))),
            Some(_) if lenient => Ok(Some((verb, name.len()))),
            Some(_) => Err(Violation::UnknownOperation),
        };
    }
    Err(Violation::UnknownOperation)
}

/// The arguments of a line.
fn arguments(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|b| *b == b' ' || *b == b'\t')
        .filter(|arg| !arg.is_empty())
}

/// The account, which is empty where lines do not name it, and the other arguments.
fn account<'a>(args: &'a [u8], limits: &Limits) -> Option<(&'a [u8], &'a [u8])> {
    match limits.names_account {
        true => first(args),
        false => Some((b"", args)),
    }
}

/// `account subject [queue weight]`.
fn subscribe<'a>(args: &'a [u8], limits: &Limits) -> Option<Op<'a>> {
    let (account, rest) = account(args, limits)?;
    let mut parts = [&b""[..]; 3];
    let n = scan::split(rest, &mut parts);
    let [subject, name, weight] = parts;
    if args.contains(&b'\r') {
        return None;
    }
    let queue = match n {
        1 => None,
        3 => {
            // A peer that tells of a group without members still has it.
            let weight = scan::size(weight)?.max(1);
            let weight = u32::try_from(weight).ok()?;
            Some(Queue { name, weight })
        }
        _ => return None,
    };
    Some(Op::Subscribe(Subject { account, subject }, queue))
}

/// `account subject [queue]`.
fn unsubscribe<'a>(args: &'a [u8], limits: &Limits) -> Option<Op<'a>> {
    let (account, rest) = account(args, limits)?;
    let mut parts = [&b""[..]; 2];
    let n = scan::split(rest, &mut parts);
    let [subject, queue] = parts;
    let queue = match n {
        1 => None,
        2 => Some(queue),
        _ => return None,
    };
    Some(Op::Unsubscribe(Subject { account, subject }, queue))
}

/// `account subject [reply] size`, `account subject + reply queue... size` or
/// `account subject | queue... size`; with headers, their size comes before the whole.
fn message<'a>(
    data: &'a [u8],
    verb: Verb,
    line: &'a [u8],
    line_len: usize,
    limits: &Limits,
) -> Parsed<'a> {
    let headers = verb == Verb::Hmsg;
    let bad = Parsed::Bad(Violation::Arguments(if headers { "HMSG" } else { "RMSG" }));
    let Some(args) = Args::read(line, headers, limits.names_account) else {
        return bad;
    };
    if args.size > limits.payload_max {
        return Parsed::Bad(Violation::Payload(args.size));
    }
    let end = line_len + args.size + 2;
    for (at, want) in [(end - 2, b'\r'), (end - 1, b'\n')] {
        if data.get(at).is_some_and(|b| *b != want) {
            return Parsed::Bad(Violation::UnknownOperation);
        }
    }
    if data.len() < end {
        return Parsed::Partial(Partial::Payload(end));
    }
    // Where the line has single blanks and no queue groups, the message ends as a MSG line does,
    // and in front of the subject stands the account, whose last bytes become the verb.
    let verb_len = 4;
    let named = args.account.len() + usize::from(limits.names_account);
    let subject_at = verb_len + 1 + named;
    let tail_at = subject_at + args.subject.len() + 1;
    let tidy_len = tail_at
        + args.reply.map_or(0, |reply| reply.len() + 1)
        + args.sizes_len
        + usize::from(headers)
        + 2;
    let is_least = tidy_len == line_len && data[..line_len].ends_with(b"\r\n");
    let tidy = is_least && args.queues.is_empty() && !line.contains(&b'\t');
    let head_len = if headers { 5 } else { 4 };
    let canonical = tidy.then(|| Canonical {
        command: &data[subject_at - head_len..end],
        head_len: tail_at + head_len - subject_at,
    });
    let publish = Publish {
        args: line.trim_ascii(),
        subject: args.subject,
        reply: args.reply,
        header_len: args.header_len,
        payload: &data[line_len..end],
        canonical,
    };
    let routed = Routed {
        account: args.account,
        queues: args.queues,
        publish,
    };
    Parsed::Op(Op::Message(routed), end)
}

/// What a line says of a message.
struct Args<'a> {
    account: &'a [u8],
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    queues: Queues<'a>,
    header_len: Option<usize>,
    size: usize,
    /// Bytes of the digits of the sizes.
    sizes_len: usize,
}

impl<'a> Args<'a> {
    fn read(line: &'a [u8], headers: bool, names_account: bool) -> Option<Args<'a>> {
        if line.contains(&b'\r') {
            return None;
        }
        let (line, total) = last(line)?;
        let size = scan::size(total)?;
        let mut sizes_len = total.len();
        let (mut front, mut header_len) = (line, None);
        if headers {
            let (rest, digits) = last(line)?;
            let len = scan::size(digits).filter(|len| *len <= size)?;
            sizes_len += digits.len();
            (front, header_len) = (rest, Some(len));
        }
        let (account, front) = match names_account {
            true => first(front)?,
            false => (&b""[..], front),
        };
        let (subject, mut front) = first(front)?;
        let (mut reply, mut queues) = (None, Queues::default());
        if let Some((mark, rest)) = first(front) {
            match (mark, rest.trim_ascii()) {
                // Alone, even a mark is a reply.
                (mark, b"") => reply = Some(mark),
                (b"+", rest) => {
                    let (named, rest) = first(rest)?;
                    reply = Some(named);
                    front = rest;
                    queues = Queues(front.trim_ascii());
                }
                (b"|", rest) => queues = Queues(rest),
                _ => return None,
            }
        }
        Some(Args {
            account,
            subject,
            reply,
            queues,
            header_len,
            size,
            sizes_len,
        })
    }
}

/// The first argument, and what follows it.
fn first(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let end = line
        .iter()
        .position(|b| *b == b' ' || *b == b'\t')
        .unwrap_or(line.len());
    (end > 0).then(|| line.split_at(end))
}

/// What comes before the last argument, and that.
fn last(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_end();
    let start = line
        .iter()
        .rposition(|b| *b == b' ' || *b == b'\t')
        .map_or(0, |at| at + 1);
    (start < line.len()).then(|| line.split_at(start))
}

/// Appends what is before the arguments that follow the subject. The account is left out if its name
/// is empty.
fn write_front(out: &mut Vec<u8>, verb: &[u8], to: &Subject<'_>) {
    out.extend_from_slice(verb);
    if !to.account.is_empty() {
        out.extend_from_slice(to.account);
        out.push(b' ');
    }
    out.extend_from_slice(to.subject);
}

/// Appends interest in a subject, by a queue group with that many members if there is one.
pub fn write_subscribe(out: &mut Vec<u8>, to: &Subject<'_>, queue: Option<Queue<'_>>) {
    write_front(out, b"RS+ ", to);
    if let Some(Queue { name, weight }) = queue {
        out.push(b' ');
        out.extend_from_slice(name);
        out.push(b' ');
        write_number(out, weight as usize);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of interest in a subject.
pub fn write_unsubscribe(out: &mut Vec<u8>, to: &Subject<'_>, queue: Option<&[u8]>) {
    write_front(out, b"RS- ", to);
    if let Some(name) = queue {
        out.push(b' ');
        out.extend_from_slice(name);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line of a message, which its payload is to follow: `size` bytes of headers and body,
/// of which the first `header_len` are headers, and CRLF.
pub fn write_message<'q>(
    out: &mut Vec<u8>,
    to: &Subject<'_>,
    reply: Option<&'q [u8]>,
    queues: impl IntoIterator<Item = &'q [u8]>,
    (header_len, size): (Option<usize>, usize),
) {
    let verb: &[u8] = if header_len.is_some() {
        b"HMSG "
    } else {
        b"RMSG "
    };
    write_front(out, verb, to);
    out.push(b' ');
    let mut queues = queues.into_iter().peekable();
    let grouped = queues.peek().is_some();
    match (grouped, reply) {
        (true, Some(_)) => out.extend_from_slice(b"+ "),
        (true, None) => out.extend_from_slice(b"| "),
        (false, _) => {}
    }
    for part in reply.into_iter().chain(queues) {
        out.extend_from_slice(part);
        out.push(b' ');
    }
    if let Some(len) = header_len {
        write_number(out, len);
        out.push(b' ');
    }
    write_number(out, size);
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, mut n: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(n % 10).unwrap_or(0);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        control_line_max: 256,
        payload_max: 64,
        names_account: true,
    };

    fn op(data: &[u8]) -> Op<'_> {
        match parse(data, &LIMITS) {
            Parsed::Op(op, used) if used == data.len() => op,
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(data)),
        }
    }

    fn routed(data: &[u8]) -> Routed<'_> {
        match op(data) {
            Op::Message(routed) => routed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn interest() {
        let to = Subject {
            account: b"$G",
            subject: b"a.*",
        };
        assert_eq!(op(b"RS+ $G a.*\r\n"), Op::Subscribe(to, None));
        let queue = Queue {
            name: b"q",
            weight: 3,
        };
        assert_eq!(op(b"rs+  $G\ta.* q 3 \n"), Op::Subscribe(to, Some(queue)));
        assert_eq!(op(b"RS- $G a.*\r\n"), Op::Unsubscribe(to, None));
        assert_eq!(op(b"RS- $G a.* q\r\n"), Op::Unsubscribe(to, Some(b"q")));
        for bad in [
            "RS+ $G\r\n",
            "RS+ $G a q\r\n",
            "RS+ $G a q x\r\n",
            "RS+ $G a q 1 2\r\n",
            "RS- $G\r\n",
            "RS- $G a q 1\r\n",
        ] {
            let parsed = parse(bad.as_bytes(), &LIMITS);
            assert!(
                matches!(parsed, Parsed::Bad(Violation::Arguments(_))),
                "{bad:?}"
            );
        }
    }

    fn halves<'a>(publish: &Publish<'a>) -> Option<(&'a [u8], &'a [u8])> {
        let canonical = publish.canonical?;
        Some(canonical.command.split_at(canonical.head_len))
    }

    #[test]
    fn messages() {
        let plain = routed(b"RMSG $G a.b 2\r\nhi\r\n");
        assert_eq!(plain.account, b"$G");
        assert_eq!(plain.publish.subject, b"a.b");
        assert_eq!((plain.publish.reply, plain.publish.size()), (None, 2));
        assert!(plain.queues.is_empty());
        let (head, tail) = halves(&plain.publish).unwrap();
        assert_eq!((head, tail), (&b" $G a.b "[..], &b"2\r\nhi\r\n"[..]));
        let reply = routed(b"RMSG acc a r 0\r\n\r\n");
        assert_eq!(reply.publish.reply, Some(&b"r"[..]));
        let headers = routed(b"HMSG A a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        assert_eq!(headers.publish.header_len, Some(12));
        let (head, tail) = halves(&headers.publish).unwrap();
        assert_eq!((head.len(), &head[4..]), (7, &b" a "[..]));
        assert!(tail.starts_with(b"r 12 14\r\n"));
        let queues = routed(b"RMSG $G a + r q1 q2 2\r\nhi\r\n");
        assert_eq!(queues.publish.reply, Some(&b"r"[..]));
        assert_eq!(queues.queues.iter().collect::<Vec<_>>(), [b"q1", b"q2"]);
        assert_eq!(queues.publish.canonical, None);
        let no_reply = routed(b"RMSG $G a | q 2\r\nhi\r\n");
        assert_eq!(no_reply.publish.reply, None);
        assert_eq!(no_reply.queues.iter().collect::<Vec<_>>(), [b"q"]);
        let untidy = routed(b"RMSG  $G a 2\r\nhi\r\n");
        assert_eq!(untidy.publish.canonical, None);
        // A blank too much makes up for a return too few, but only in length.
        for line in [&b"RMSG $G a 2\nhi\r\n"[..], b"RMSG  $G a 2\nhi\r\n"] {
            assert_eq!(routed(line).publish.canonical, None);
        }
    }

    #[test]
    fn messages_that_make_no_sense() {
        for bad in [
            "RMSG $G 2\r\n",
            "RMSG $G a x\r\n",
            "RMSG $G a r s 2\r\n",
            "HMSG $G a 2\r\n",
            "HMSG $G a 3 2\r\n",
            "RMSG \r\n",
        ] {
            let parsed = parse(bad.as_bytes(), &LIMITS);
            assert!(
                matches!(parsed, Parsed::Bad(Violation::Arguments(_))),
                "{bad:?}: {parsed:?}"
            );
        }
        let parsed = parse(b"RMSG $G a 65\r\n", &LIMITS);
        assert_eq!(parsed, Parsed::Bad(Violation::Payload(65)));
        let parsed = parse(b"RMSG $G a 2\r\nhiX", &LIMITS);
        assert_eq!(parsed, Parsed::Bad(Violation::UnknownOperation));
        let long = [b"RS+ ", &[b'x'; 300][..]].concat();
        assert_eq!(parse(&long, &LIMITS), Parsed::Bad(Violation::ControlLine));
    }

    #[test]
    fn strangers_are_noticed_at_once() {
        for bad in [
            "GET / HTTP/1.1\r\n",
            "PUB a 1\r\n",
            "SUB a 1\r\n",
            "LS+ x $G a\r\n",
            "LMSG x",
            "\0",
            "RS* a",
            "RMSGX",
        ] {
            let parsed = parse(bad.as_bytes(), &LIMITS);
            assert_eq!(parsed, Parsed::Bad(Violation::UnknownOperation), "{bad:?}");
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(op(b"PING\r\n"), Op::Ping);
        assert_eq!(op(b"PONG\r\n"), Op::Pong);
        assert_eq!(op(b"+OK\r\n"), Op::Ignored);
        assert_eq!(op(b"A- acc\r\n"), Op::Ignored);
        assert_eq!(op(b"INFO {\"a\":1} \r\n"), Op::Info(b"{\"a\":1}"));
        assert_eq!(op(b"CONNECT {}\r\n"), Op::Connect(b"{}"));
        assert_eq!(op(b"-ERR 'x'\r\n"), Op::Error(b"'x'"));
    }

    fn token() -> impl Strategy<Value = Vec<u8>> {
        proptest::string::string_regex("[a-zA-Z0-9$_+|-]{1,6}")
            .unwrap()
            .prop_map(String::into_bytes)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_wherever_it_is_cut(
            account in token(),
            subject in token(),
            reply in proptest::option::of(token()),
            queues in proptest::collection::vec(token(), 0..4),
            headers in proptest::option::of(0usize..8),
            body in proptest::collection::vec(any::<u8>(), 8..16),
        ) {
            let to = Subject { account: &account, subject: &subject };
            let names = queues.iter().map(|q| &q[..]);
            let mut out = Vec::new();
            write_message(&mut out, &to, reply.as_deref(), names, (headers, body.len()));
            out.extend_from_slice(&body);
            out.extend_from_slice(b"\r\n");
            for cut in 0..out.len() {
                prop_assert!(matches!(parse(&out[..cut], &LIMITS), Parsed::Partial(_)));
            }
            let found = routed(&out);
            prop_assert_eq!((found.account, found.publish.subject), (&account[..], &subject[..]));
            prop_assert_eq!(found.publish.reply, reply.as_deref());
            prop_assert!(found.queues.iter().eq(queues.iter().map(|q| &q[..])));
            prop_assert_eq!(found.publish.header_len, headers);
            prop_assert_eq!(&found.publish.payload[..body.len()], &body[..]);
            if let Some((head, tail)) = halves(&found.publish) {
                let verb = if headers.is_some() { 5 } else { 4 };
                prop_assert_eq!(&head[verb..head.len() - 1], &subject[..]);
                prop_assert!(tail.ends_with(&out[out.len() - body.len() - 2..]));
            } else {
                prop_assert!(!queues.is_empty());
            }
        }

        #[test]
        fn interest_is_read_as_it_was_written(
            account in token(),
            subject in token(),
            queue in proptest::option::of((token(), 1u32..1000)),
        ) {
            let to = Subject { account: &account, subject: &subject };
            let queue = queue.as_ref().map(|(name, weight)| Queue { name, weight: *weight });
            let mut out = Vec::new();
            write_subscribe(&mut out, &to, queue);
            prop_assert_eq!(op(&out), Op::Subscribe(to, queue));
            out.clear();
            let name = queue.map(|q| q.name);
            write_unsubscribe(&mut out, &to, name);
            prop_assert_eq!(op(&out), Op::Unsubscribe(to, name));
        }

        #[test]
        fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..64), verb in 0usize..12) {
            let _ = parse(&data, &LIMITS);
            let line = [VERBS[verb].0, b" ", &data[..], b"\r\n"].concat();
            let _ = parse(&line, &LIMITS);
        }
    }
}
