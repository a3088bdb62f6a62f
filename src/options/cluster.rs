//! What a server is told about the cluster that it is part of.

use super::security::Permissions;
use super::tls::TlsOptions;
use super::{Secret, WriteTimeout};
use crate::base::address;
use crate::proto::compression::Compression;
use std::time::Duration;

/// The address to listen on for routes where none is given.
pub const CLUSTER_HOST_DEFAULT: &str = "0.0.0.0";

/// The default of [`ClusterOptions::pool_size`].
pub const ROUTE_POOL_SIZE_DEFAULT: u32 = 3;

/// Being one of the servers of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterOptions {
    /// The cluster's name, without spaces; made up if `None`.
    pub name: Option<String>,
    /// Host name or address to listen on for routes.
    pub host: String,
    /// Port for routes, 1 to 65535. -1 lets the system pick one; 0: there is no cluster.
    pub port: i32,
    /// Servers to connect to, whatever happens.
    pub routes: Vec<RouteUrl>,
    /// What other servers have to know to connect to this one.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// How long they have for it; two seconds if `None`.
    pub auth_timeout: Option<Duration>,
    /// TLS with other servers, both of which show a certificate.
    pub tls: Option<TlsOptions>,
    /// Subjects of which other servers are told that this one's subscribers listen to them (to import
    /// is to publish here), and of which they may tell it (to export is to subscribe); all if `None`.
    pub permissions: Option<Permissions>,
    /// `host` or `host:port` that other servers are told instead of the address listened on.
    pub advertise: Option<String>,
    /// Whether clients are not told of the other servers.
    pub no_advertise: bool,
    /// How often connecting to a server that another told of is tried again.
    pub connect_retries: u32,
    /// Whether each attempt to connect waits longer than the one before.
    pub connect_backoff: bool,
    /// Connections with each other server, over which accounts are spread, up to
    /// [`ROUTE_POOL_MAX`](crate::base::limits::ROUTE_POOL_MAX); zero: one for everything.
    pub pool_size: u32,
    /// Accounts that have a connection of their own with each server, besides the server's own.
    pub accounts: Vec<String>,
    /// Whether what goes to other servers is compressed.
    pub compression: Compression,
    /// Time between two pings of a route, which the server's own interval and 30 seconds bound.
    pub ping_interval: Option<Duration>,
    /// Pings that may be unanswered when the next is due; the server's own if `None`.
    pub ping_max: Option<u32>,
    /// Time that writing to a route may make no progress before it is closed; the server's own if
    /// `None`.
    pub write_deadline: Option<Duration>,
    /// What becomes of a route to which not all could be written in that time.
    pub write_timeout: WriteTimeout,
}

impl Default for ClusterOptions {
    fn default() -> ClusterOptions {
        ClusterOptions {
            name: None,
            host: CLUSTER_HOST_DEFAULT.into(),
            port: 0,
            routes: Vec::new(),
            user: None,
            password: None,
            auth_timeout: None,
            tls: None,
            permissions: None,
            advertise: None,
            no_advertise: false,
            connect_retries: 0,
            connect_backoff: false,
            pool_size: ROUTE_POOL_SIZE_DEFAULT,
            accounts: Vec::new(),
            compression: Compression::Accept,
            ping_interval: None,
            ping_max: None,
            write_deadline: None,
            write_timeout: WriteTimeout::Retry,
        }
    }
}

/// Where another server can be reached. Its credentials are never shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteUrl {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<Secret>,
}

impl RouteUrl {
    /// Reads `scheme://[user[:password]@]host:port`, of which the scheme may be anything.
    ///
    /// # Errors
    /// What is wrong, without what may be secret.
    pub fn parse(text: &str) -> Result<RouteUrl, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        if scheme.is_empty() {
            return Err("it must begin with nats-route:// or nats://".into());
        }
        if !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Err("first path segment in URL cannot contain colon".into());
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = &rest[..end];
        let (credentials, at) = match authority.rsplit_once('@') {
            Some((credentials, at)) => (Some(credentials), at),
            None => (None, authority),
        };
        let (host, port) = address::split(at).map_err(|e| e.to_string())?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.ok_or("the port is not a number between 1 and 65535")?;
        if host.is_empty() {
            return Err("missing host".into());
        }
        let (mut user, mut password) = (None, None);
        if let Some(credentials) = credentials {
            let (name, secret) = match credentials.split_once(':') {
                Some((name, secret)) => (name, Some(secret)),
                None => (credentials, None),
            };
            let plain = |text: &str| decode(text).ok_or("invalid URL escape");
            user = Some(plain(name)?).filter(|name| !name.is_empty());
            password = secret.map(plain).transpose()?.map(Secret::from);
        }
        Ok(RouteUrl {
            host: host.into(),
            port,
            user,
            password,
        })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        address::join(&self.host, self.port)
    }

    /// Whether this is the same place, whoever asks.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host.eq_ignore_ascii_case(host)
    }
}

/// Text with `%41` for an A.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

/// The default of [`ClusterOptions::ping_interval`], and the most that holds for routes.
pub const ROUTE_PING_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_routes() {
        let url = RouteUrl::parse("nats-route://u%40x:p:w@example.org:6222/").unwrap();
        assert_eq!((&*url.host, url.port), ("example.org", 6222));
        assert_eq!(url.user.as_deref(), Some("u@x"));
        assert_eq!(url.password.unwrap().reveal(), "p:w");
        let url = RouteUrl::parse("nats://[::1]:1").unwrap();
        assert_eq!((url.address(), &url.user), ("[::1]:1".into(), &None));
        assert!(url.is_at("::1", 1) && !url.is_at("::1", 2));
        for bad in [
            "",
            "a:1",
            "nats://",
            "nats://a",
            "nats://a:0",
            "nats://a:-1",
            "nats://:1",
            "nats://%zz@a:1",
            "na ts://a:1",
        ] {
            assert!(RouteUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
