//! Paths and queries of URLs, read and cleaned as Go's library does.

use super::http::{Accepted, Request, Response};

/// Where a request's target leads.
#[derive(PartialEq, Eq, Debug)]
pub enum Route {
    /// To somebody who answers.
    Request(Request),
    /// Nowhere, or elsewhere.
    Answer(Response),
}

/// Finds out where a path, still encoded, and a query lead, for a site below `base`, which is
/// [`clean`], or empty for one at the top. As in the reference, paths with `//`, `.` or `..` are
/// redirected, and nothing but the base itself, without a slash behind, is its home page.
pub fn route(base: &str, escaped: &str, query: &str, accepted: &Accepted) -> Route {
    let cleaned = clean(escaped);
    if cleaned != escaped {
        let mut location = String::new();
        encode_again(&cleaned, &mut location);
        if !query.is_empty() {
            location.push('?');
            encode_again(query, &mut location);
        }
        return Route::Answer(Response::redirect(location));
    }
    let nowhere = || Route::Answer(Response::not_found());
    // A slash that is encoded is part of a name, and no path has such names.
    if escaped.to_ascii_lowercase().contains("%2f") {
        return nowhere();
    }
    let Some(decoded) = decode(escaped) else {
        return nowhere();
    };
    let path = match decoded.strip_prefix(base) {
        Some("") => "/",
        Some("/") if !base.is_empty() => return nowhere(),
        Some(path) if path.starts_with('/') => path,
        _ => return nowhere(),
    };
    Route::Request(Request {
        path: path.into(),
        query: parse_query(query),
        accept_encoding: accepted.encoding.clone(),
        accept: accepted.types.clone(),
    })
}

/// A path in its shortest form: from the top, without empty parts, `.` and `..`. A slash at its end
/// stays.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut cleaned = String::with_capacity(path.len() + 1);
    for part in &parts {
        cleaned.extend(["/", part]);
    }
    if cleaned.is_empty() || path.ends_with('/') {
        cleaned.push('/');
    }
    cleaned
}

/// The base path that is configured, as [`route`] takes it.
pub fn base(configured: &str) -> String {
    let cleaned = clean(configured);
    cleaned.trim_end_matches('/').to_owned()
}

/// Replaces `%` sequences; None if one is broken. What is no UTF-8 then becomes a replacement
/// character.
pub fn decode(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (high, low) = (hex(*after.first()?)?, hex(*after.get(1)?)?);
            bytes.push(high << 4 | low);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    let text = String::from_utf8(bytes);
    Some(text.unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// The pairs of a query. As in Go, those with a semicolon or a broken sequence are left out.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&');
    let pairs = pairs.filter(|pair| !pair.is_empty() && !pair.contains(';'));
    let decoded = |text: &str| decode(&text.replace('+', " "));
    pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Adds a text with all but plain characters, and slashes if they are to `keep_slashes`, encoded.
pub(super) fn encode(text: &str, keep_slashes: bool, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if keep_slashes => out.push('/'),
            byte => push_encoded(byte, out),
        }
    }
}

/// Adds a text that is encoded already, with whatever no URL may contain encoded now.
fn encode_again(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' => out.push(char::from(byte)),
            byte => push_encoded(byte, out),
        }
    }
}

fn push_encoded(byte: u8, out: &mut String) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, cleaned) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("a", "/a"),
            ("/a/", "/a/"),
            ("/a//b", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/.", "/a"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        for (configured, base_path) in [
            ("", ""),
            ("/", ""),
            ("foo", "/foo"),
            ("/foo/", "/foo"),
            ("a b/../c/", "/c"),
            ("//x", "/x"),
        ] {
            assert_eq!(base(configured), base_path, "{configured}");
        }
    }

    fn led(base: &str, path: &str) -> String {
        match route(base, path, "q=1", &Accepted::default()) {
            Route::Request(request) => request.path,
            Route::Answer(response) => match response.headers.first() {
                Some(("Location", to)) => format!("{} {to}", response.status),
                _ => response.status.to_string(),
            },
        }
    }

    #[test]
    fn paths_lead_where_they_do_in_the_reference() {
        for (path, to) in [
            ("/", "/"),
            ("/varz", "/varz"),
            ("/varz/", "/varz/"),
            ("/v%61rz", "/varz"),
            ("/a%2Fb", "404"),
            ("//varz", "307 /varz?q=1"),
            ("/a/../varz", "307 /varz?q=1"),
            ("/a/../ü", "307 /%C3%BC?q=1"),
        ] {
            assert_eq!(led("", path), to, "{path}");
        }
        for (path, to) in [
            ("/", "404"),
            ("/varz", "404"),
            ("/foo", "/"),
            ("/foo/", "404"),
            ("/foo/varz", "/varz"),
            ("/foo/varz/", "/varz/"),
            ("/foobar", "404"),
            ("/foo//varz", "307 /foo/varz?q=1"),
        ] {
            assert_eq!(led("/foo", path), to, "{path}");
        }
    }

    #[test]
    fn queries_are_taken_apart() {
        let text = "a=1&&b=x+y%20z&c&d;e=1&f=%zz&%67=%ff&a=";
        let pairs = parse_query(text);
        let pairs = pairs.iter().map(|(n, v)| (&**n, &**v)).collect::<Vec<_>>();
        let want = [
            ("a", "1"),
            ("b", "x y z"),
            ("c", ""),
            ("g", "\u{fffd}"),
            ("a", ""),
        ];
        assert_eq!(pairs, want);
    }
}
