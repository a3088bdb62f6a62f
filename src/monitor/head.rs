//! The head of a request: read whole, and refused with the status that says what is wrong with it.

use super::body::Body;
use super::http::{Accepted, Response};
use crate::base::limits::{MONITOR_BODY, MONITOR_HEAD, MONITOR_HEADERS};
use httparse::{EMPTY_HEADER, Header, Status};

/// What a request's head says.
#[derive(PartialEq, Eq, Debug)]
pub struct Head {
    /// Whether the answer goes without its body.
    pub head_only: bool,
    /// The path, still encoded, from its first slash on.
    pub path: String,
    /// What stands behind the question mark, still encoded.
    pub query: String,
    pub accepted: Accepted,
    /// Whether the client speaks HTTP/1.0.
    pub old: bool,
    /// Whether the connection may be used again.
    pub keeps_alive: bool,
    /// Whether the client waits for leave to send the body.
    pub asks_leave: bool,
    /// What follows the head.
    pub body: Body,
}

/// What is wrong with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is none, or what it says does not go together.
    Malformed,
    /// It is HTTP/1.1 without the header Host, or with several.
    Host,
    /// Its head is longer than a head may be.
    HeadTooLarge,
    /// Its body is longer than anybody needs one to be.
    BodyTooLarge,
    /// It is encoded in a way that is not known.
    Encoding,
    /// It expects something that is not known.
    Expectation,
    /// It is written in another version of HTTP.
    Version,
    /// It is not complete after all the time it had.
    TooSlow,
}

impl Fault {
    /// The answer, after which the connection is closed.
    pub fn response(self) -> Response {
        let (status, text) = match self {
            Fault::Malformed => (400, "400 Bad Request"),
            Fault::Host => (400, "400 Bad Request: missing required Host header"),
            Fault::TooSlow => (408, "408 Request Timeout"),
            Fault::BodyTooLarge => (413, "413 Request Entity Too Large"),
            Fault::Expectation => (417, "417 Expectation Failed"),
            Fault::HeadTooLarge => (431, "431 Request Header Fields Too Large"),
            Fault::Encoding => (501, "501 Not Implemented: Unsupported transfer encoding"),
            Fault::Version => (505, "505 HTTP Version Not Supported"),
        };
        Response::text(status, text)
    }
}

/// Reads the head of a request; gives it with its length, or None if more of it has to come.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
    let mut headers = [EMPTY_HEADER; MONITOR_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let window = &bytes[..bytes.len().min(MONITOR_HEAD)];
    let len = match request.parse(window) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if bytes.len() >= MONITOR_HEAD => return Err(Fault::HeadTooLarge),
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(Fault::Version),
        Err(_) => return Err(Fault::Malformed),
    };
    let old = request.version == Some(0);
    let (path, query) = split(request.path.unwrap_or_default()).ok_or(Fault::Malformed)?;
    let headers = Headers(request.headers);
    match headers.values("host").count() {
        1 => {}
        0 if old => {}
        _ => return Err(Fault::Host),
    }
    let head = Head {
        head_only: request.method == Some("HEAD"),
        path: path.into(),
        query: query.into(),
        accepted: Accepted {
            encoding: headers.first("accept-encoding").unwrap_or_default().into(),
            types: headers.first("accept").unwrap_or_default().into(),
        },
        old,
        keeps_alive: match old {
            true => headers.has_word("connection", "keep-alive"),
            false => !headers.has_word("connection", "close"),
        },
        asks_leave: headers.asks_leave(old)?,
        body: headers.body()?,
    };
    Ok(Some((head, len)))
}

/// The path and the query of a target, which may be a whole URL. None for other forms, and for
/// broken sequences in the path.
fn split(target: &str) -> Option<(&str, &str)> {
    let target = match target.split_once("://") {
        Some(("http" | "https", rest)) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            &rest[end..]
        }
        _ if target.starts_with('/') => target,
        _ => return None,
    };
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    super::path::decode(path)?;
    Some((if path.is_empty() { "/" } else { path }, query))
}

struct Headers<'h, 'b>(&'h [Header<'b>]);

impl Headers<'_, '_> {
    fn values(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let of_name = self
            .0
            .iter()
            .filter(move |h| h.name.eq_ignore_ascii_case(name));
        of_name.map(|h| h.value.trim_ascii())
    }

    fn first(&self, name: &'static str) -> Option<&str> {
        str::from_utf8(self.values(name).next()?).ok()
    }

    fn has_word(&self, name: &'static str, word: &str) -> bool {
        let lists = self
            .values(name)
            .filter_map(|value| str::from_utf8(value).ok());
        let mut words = lists.flat_map(|list| list.split(',')).map(str::trim);
        words.any(|own| own.eq_ignore_ascii_case(word))
    }

    fn asks_leave(&self, old: bool) -> Result<bool, Fault> {
        match self.first("expect") {
            None | Some("") => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("100-continue") => Ok(!old),
            Some(_) => Err(Fault::Expectation),
        }
    }

    fn body(&self) -> Result<Body, Fault> {
        let mut encodings = self.values("transfer-encoding");
        let encoding = encodings.next();
        if encodings.next().is_some() {
            return Err(Fault::Encoding);
        }
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(Fault::Malformed);
        }
        match (encoding, length) {
            (None, None) => Ok(Body::sized(0)),
            // Who says both may be about to smuggle something past whoever looks at one.
            (Some(_), Some(_)) => Err(Fault::Malformed),
            (Some(encoding), None) if encoding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Body::chunked())
            }
            (Some(_), None) => Err(Fault::Encoding),
            (None, Some(length)) => {
                let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
                let text = str::from_utf8(length).ok().filter(|_| digits);
                let text = text.ok_or(Fault::Malformed)?;
                match text.parse::<usize>() {
                    Ok(length) if length <= MONITOR_BODY => Ok(Body::sized(length)),
                    _ => Err(Fault::BodyTooLarge),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<Head, Fault> {
        match parse(text.as_bytes()) {
            Ok(Some((head, len))) => {
                assert_eq!(len, text.len());
                Ok(head)
            }
            Ok(None) => panic!("incomplete: {text}"),
            Err(fault) => Err(fault),
        }
    }

    fn with(headers: &str) -> Result<Head, Fault> {
        whole(&format!("GET /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n"))
    }

    #[test]
    fn a_head_is_complete_or_not() {
        let text = "GET /varz?a=1 HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Ok(None), "{end}");
        }
        let head = Head {
            head_only: false,
            path: "/varz".into(),
            query: "a=1".into(),
            accepted: Accepted {
                encoding: "gzip".into(),
                types: String::new(),
            },
            old: false,
            keeps_alive: true,
            asks_leave: false,
            body: Body::sized(0),
        };
        let more = format!("{text}GET /next");
        assert_eq!(parse(more.as_bytes()), Ok(Some((head, text.len()))));
    }

    #[test]
    fn connections_are_kept_as_the_version_has_it() {
        for (version, connection, keeps) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: Foo, CLOSE\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
            assert_eq!(whole(&text).unwrap().keeps_alive, keeps, "{text}");
        }
    }

    #[test]
    fn targets_have_several_forms() {
        for (target, path, query) in [
            ("/", "/", ""),
            ("/a%20b?x=?&y", "/a%20b", "x=?&y"),
            ("/a#b?c", "/a", ""),
            ("http://h:1/a?b", "/a", "b"),
            ("https://h", "/", ""),
            ("http://h?b", "/", "b"),
        ] {
            let head = whole(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap();
            assert_eq!((&*head.path, &*head.query), (path, query), "{target}");
        }
        for target in ["*", "h:80", "x", "/%", "/%zz", "/%1"] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(whole(&text), Err(Fault::Malformed), "{target}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_status() {
        for (text, fault) in [
            ("GET / HTTP/1.1\r\n\r\n", Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Fault::Host),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Fault::Version),
            ("\x16\x03\x01\x02\x00\x01\r\n\r\n", Fault::Malformed),
            ("INFO\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Fault::Malformed),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(fault), "{text}");
        }
        for (headers, fault) in [
            (
                "Content-Length: 1\r\nContent-Length: 2\r\n",
                Fault::Malformed,
            ),
            ("Content-Length: -1\r\n", Fault::Malformed),
            ("Content-Length: +1\r\n", Fault::Malformed),
            (
                "Content-Length: 99999999999999999999\r\n",
                Fault::BodyTooLarge,
            ),
            ("Content-Length: 65537\r\n", Fault::BodyTooLarge),
            ("Transfer-Encoding: gzip\r\n", Fault::Encoding),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
                Fault::Malformed,
            ),
            ("Expect: miracles\r\n", Fault::Expectation),
        ] {
            assert_eq!(with(headers), Err(fault), "{headers}");
        }
        assert_eq!(with("Content-Length: 5\r\n").unwrap().body, Body::sized(5));
        let leave = with("Expect: 100-Continue\r\nTransfer-Encoding: Chunked\r\n").unwrap();
        assert_eq!((leave.asks_leave, leave.body), (true, Body::chunked()));
    }

    #[test]
    fn a_head_has_a_limit() {
        let line = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
        let fill = "x".repeat(MONITOR_HEAD - line.len() - 4);
        assert!(whole(&format!("{line}{fill}\r\n\r\n")).is_ok());
        for text in [
            format!("{line}x{fill}\r\n\r\n"),
            format!("GET /{}", "x".repeat(MONITOR_HEAD)),
            format!("{line}\r\n{}", "a:b\r\n".repeat(MONITOR_HEADERS)),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Fault::HeadTooLarge));
        }
    }

    #[test]
    fn every_fault_closes_with_a_status_of_its_own_kind() {
        let all = [
            (Fault::Malformed, 400),
            (Fault::Host, 400),
            (Fault::TooSlow, 408),
            (Fault::BodyTooLarge, 413),
            (Fault::Expectation, 417),
            (Fault::HeadTooLarge, 431),
            (Fault::Encoding, 501),
            (Fault::Version, 505),
        ];
        for (fault, status) in all {
            let response = fault.response();
            assert_eq!(response.status, status);
            let text = String::from_utf8(response.body).unwrap();
            let reason = super::super::http::reason(status);
            assert!(text.starts_with(&format!("{status} {reason}")), "{text}");
        }
    }
}
