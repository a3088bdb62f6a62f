//! Binds the listeners for monitoring and starts their loop.

use super::{MonitorAddr, StartError};
use crate::base::address::join;
use crate::loops::monitor::{Monitor, Site};
use crate::monitor::http::Handler;
use crate::net::listen::listen;
use crate::net::tls::{ServerTls, TlsError};
use crate::options::Options;
use crate::options::tls::TlsOptions;
use log::info;
use mio::net::TcpListener;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A listener for monitoring that nobody serves yet. Requests that come in wait.
pub(super) struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    /// Whether it speaks TLS.
    secure: bool,
}

impl Bound {
    pub(super) fn addr(&self) -> MonitorAddr {
        MonitorAddr {
            scheme: scheme(self.secure),
            addr: self.addr,
        }
    }
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// Listens for monitoring, if that is configured.
///
/// # Errors
/// The address cannot be listened on.
pub(super) fn bind(options: &Options) -> Result<Option<Bound>, StartError> {
    let (port, secure) = match (options.http_port, options.https_port) {
        (0, 0) => return Ok(None),
        (0, port) => (port, true),
        (port, _) => (port, false),
    };
    let host = options.monitor_host();
    let number = u16::try_from(port.max(0)).unwrap_or(0);
    let failed = |e: io::Error| StartError::Monitor(join(host, number), e);
    let listener = listen(host, number).map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let at = join(host, addr.port());
    info!("Starting {} monitor on {at}", scheme(secure));
    Ok(Some(Bound {
        listener,
        addr,
        secure,
    }))
}

/// TLS as monitoring speaks it, if it does: with the server's own certificates, and without asking
/// for those of clients.
///
/// # Errors
/// Those of loading it.
pub(super) fn load_tls(options: &Options) -> Result<Option<Arc<ServerTls>>, TlsError> {
    let Some(tls) = options.tls.as_ref().filter(|_| options.https_port != 0) else {
        return Ok(None);
    };
    let own = TlsOptions {
        verify: false,
        verify_and_map: false,
        pinned_certs: Default::default(),
        connection_rate_limit: 0,
        ..tls.clone()
    };
    ServerTls::load(&own).map(Arc::new).map(Some)
}

/// Starts serving what was bound.
///
/// # Errors
/// The system lacks descriptors or threads.
pub(super) fn start(
    bound: Bound,
    tls: Option<Arc<ServerTls>>,
    base_path: &str,
    handler: Arc<dyn Handler>,
) -> io::Result<Monitor> {
    Monitor::start(vec![Site {
        listener: bound.listener,
        tls: tls.filter(|_| bound.secure),
        base_path: base_path.into(),
        handler,
    }])
}
