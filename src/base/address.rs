//! `host:port` in the forms that configurations and flags have it.

use std::fmt::{self, Display, Formatter};

/// Why a text is no `host:port`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressError {
    /// There is no colon, or nothing but an IPv6 address.
    MissingPort,
    /// The port is no number that a port can have.
    Port,
    /// There are brackets where none can be, or an IPv6 address without any.
    Malformed,
}

impl Display for AddressError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::MissingPort => "missing port",
            AddressError::Port => "the port is not a number between -1 and 65535",
            AddressError::Malformed => "not of the form host:port or [host]:port",
        })
    }
}

impl std::error::Error for AddressError {}

/// Splits `host:port`, `[host]:port` or `:port`; the host is without its brackets. The port is -1
/// to 65535, where -1 and 0 have a meaning of their own to whoever asks.
///
/// # Errors
/// See [`AddressError`].
pub fn split(text: &str) -> Result<(&str, i32), AddressError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(AddressError::Malformed)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, port),
            None if rest.is_empty() => return Err(AddressError::MissingPort),
            None => return Err(AddressError::Malformed),
        }
    } else {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::MissingPort)?;
        if host.contains(':') {
            return Err(AddressError::Malformed);
        }
        (host, port)
    };
    if host.contains(['[', ']']) {
        return Err(AddressError::Malformed);
    }
    let port = port.trim().parse().map_err(|_| AddressError::Port)?;
    if !(-1..=65535).contains(&port) {
        return Err(AddressError::Port);
    }
    Ok((host.trim(), port))
}

/// The host and port of an address that is told to others: `host`, `host:port`, `[host]` or
/// `[host]:port`. Where the port is missing, 0 or -1, it is `default`.
///
/// # Errors
/// See [`AddressError`]; a missing port is none.
pub fn advertised(text: &str, default: u16) -> Result<(String, u16), AddressError> {
    let (host, port) = match split(text) {
        Ok((host, port)) => (host, port),
        Err(AddressError::MissingPort) => {
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            (bare.unwrap_or(text), 0)
        }
        Err(error) => return Err(error),
    };
    let port = u16::try_from(port).ok().filter(|port| *port != 0);
    Ok((host.into(), port.unwrap_or(default)))
}

/// `HOST:PORT`, with IPv6 addresses in brackets.
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_come_apart() {
        for (text, host, port) in [
            ("localhost:4222", "localhost", 4222),
            (":4222", "", 4222),
            ("0.0.0.0:-1", "0.0.0.0", -1),
            ("[::1]:80", "::1", 80),
            ("[::]:0", "::", 0),
        ] {
            assert_eq!(split(text), Ok((host, port)), "{text}");
        }
        for (text, error) in [
            ("localhost", AddressError::MissingPort),
            ("[::1]", AddressError::MissingPort),
            ("", AddressError::MissingPort),
            ("a:", AddressError::Port),
            ("a:b", AddressError::Port),
            ("a:65536", AddressError::Port),
            ("a:-2", AddressError::Port),
            ("::1:80", AddressError::Malformed),
            ("[::1]80", AddressError::Malformed),
            ("[::1", AddressError::Malformed),
            ("a]:1", AddressError::Malformed),
        ] {
            assert_eq!(split(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_advertised_port_may_be_left_out() {
        for (text, host, port) in [
            ("example.org", "example.org", 4222),
            ("example.org:80", "example.org", 80),
            ("example.org:-1", "example.org", 4222),
            ("[fe80::1]", "fe80::1", 4222),
            ("[fe80::1]:7", "fe80::1", 7),
        ] {
            assert_eq!(advertised(text, 4222), Ok((host.into(), port)), "{text}");
        }
        assert_eq!(advertised("a:b", 1), Err(AddressError::Port));
    }

    #[test]
    fn addresses_are_written_as_urls_have_them() {
        assert_eq!(join("0.0.0.0", 4222), "0.0.0.0:4222");
        assert_eq!(join("::1", 1), "[::1]:1");
    }
}
