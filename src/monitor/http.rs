//! A request as those see it who answer it, and what they answer.

use super::path;

/// What somebody asks for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Request {
    /// The path with `%` sequences decoded and the base path taken off. It begins with `/`.
    pub path: String,
    /// Names and values behind the `?`, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The header Accept-Encoding as it came, empty if it did not.
    pub accept_encoding: String,
    /// The header Accept, likewise.
    pub accept: String,
}

/// What a client accepts: its headers as they came, empty if they did not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Accepted {
    /// Accept-Encoding.
    pub encoding: String,
    /// Accept.
    pub types: String,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    pub content_type: &'static str,
    /// Further headers, without those about the connection and the length. What is not ASCII, or
    /// would end a line, is left out.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Who answers requests. Called on a thread for that, which may be held for a moment; never on a
/// poll loop. Several may be called at a time.
pub trait Handler: Send + Sync {
    fn handle(&self, request: &Request) -> Response;
}

/// The content type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// The content type of a page.
pub const HTML: &str = "text/html; charset=utf-8";

impl Request {
    /// The value of the first parameter with this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        pairs
            .find(|(own, _)| own == name)
            .map(|(_, value)| &**value)
    }

    /// Whether the body may be compressed with gzip.
    pub fn accepts_gzip(&self) -> bool {
        self.accept_encoding.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let refused = weight.is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
            named && !refused
        })
    }

    /// The request's path and query in the one form that [`Request::from_target`] reads back: ASCII
    /// without blanks.
    pub fn target(&self) -> String {
        let mut target = String::new();
        path::encode(&self.path, true, &mut target);
        for (i, (name, value)) in self.query.iter().enumerate() {
            target.push(if i == 0 { '?' } else { '&' });
            path::encode(name, false, &mut target);
            target.push('=');
            path::encode(value, false, &mut target);
        }
        target
    }

    /// Reads what [`Request::target`] has written.
    pub fn from_target(target: &str, accepted: &Accepted) -> Option<Request> {
        let (escaped, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Request {
            path: path::decode(escaped)?,
            query: path::parse_query(query),
            accept_encoding: accepted.encoding.clone(),
            accept: accepted.types.clone(),
        })
    }
}

impl Response {
    /// A text with a status.
    pub fn text(status: u16, text: impl Into<String>) -> Response {
        Response {
            status,
            content_type: TEXT,
            headers: Vec::new(),
            body: text.into().into_bytes(),
        }
    }

    /// The answer to a path that leads nowhere, as Go has it.
    pub fn not_found() -> Response {
        Response {
            headers: vec![("X-Content-Type-Options", "nosniff".into())],
            ..Response::text(404, "404 page not found\n")
        }
    }

    /// Sends the client elsewhere, to a location in its encoded form.
    pub fn redirect(location: String) -> Response {
        let shown = location
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;");
        let body = format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n");
        Response {
            status: 307,
            content_type: HTML,
            headers: vec![("Location", location)],
            body: body.into_bytes(),
        }
    }

    /// The whole response as it is sent; without its body if the request was HEAD. `date` is the
    /// value of that header, and `connection` that of the other.
    pub fn encode(&self, head_only: bool, date: &str, connection: Option<&str>) -> Vec<u8> {
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nDate: {date}\r\nContent-Length: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        for (name, value) in self
            .headers
            .iter()
            .filter(|(_, value)| is_header_value(value))
        {
            out.extend([name, ": ", value, "\r\n"]);
        }
        if let Some(connection) = connection {
            out.extend(["Connection: ", connection, "\r\n"]);
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        if !head_only {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// Whether a header's value can be sent.
pub fn is_header_value(value: &str) -> bool {
    value.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~'))
}

/// The words behind a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_encoded_form() {
        let pairs = [("a", "1"), ("b c", "&=%ü;"), ("", ""), ("a", "2")];
        let request = Request {
            path: "/a b/ü%2f?#/".into(),
            query: pairs.map(|(n, v)| (n.into(), v.into())).into(),
            accept_encoding: "gzip".into(),
            accept: "*/*".into(),
        };
        let target = request.target();
        assert!(target.bytes().all(|b| b.is_ascii_graphic()), "{target}");
        let accepted = Accepted {
            encoding: "gzip".into(),
            types: "*/*".into(),
        };
        assert_eq!(Request::from_target(&target, &accepted), Some(request));
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let request = Request::from_target("/x?a=1&a=2&b", &Accepted::default()).unwrap();
        let found = ["a", "b", "c"].map(|name| request.parameter(name));
        assert_eq!(found, [Some("1"), Some(""), None]);
    }

    #[test]
    fn compression_has_to_be_accepted() {
        for (header, accepts) in [
            ("", false),
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip; q=0, identity", false),
            ("gzip;q=0.0", false),
            ("xgzip", false),
        ] {
            let accept_encoding = header.into();
            let request = Request {
                accept_encoding,
                ..Request::default()
            };
            assert_eq!(request.accepts_gzip(), accepts, "{header}");
        }
    }

    #[test]
    fn responses_are_written_out() {
        let mut response = Response::not_found();
        response.headers.push(("Bad", "a\r\nb: c".into()));
        let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Date: D\r\nContent-Length: 19\r\nX-Content-Type-Options: nosniff\r\n\r\n";
        let text = |head_only, connection| {
            String::from_utf8(response.encode(head_only, "D", connection)).unwrap()
        };
        assert_eq!(text(true, None), head);
        assert_eq!(text(false, None), format!("{head}404 page not found\n"));
        assert!(text(true, Some("close")).ends_with("nosniff\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_redirect_does_not_trust_where_it_leads() {
        let response = Response::redirect("/a\"<x>&b".into());
        let body = String::from_utf8(response.body).unwrap();
        assert!(
            body.starts_with("<a href=\"/a&#34;&lt;x&gt;&amp;b\">"),
            "{body}"
        );
    }
}
