//! Binds the listeners for monitoring and starts their loop.

use super::profiling::{MemorySource, Profiles};
use super::{HttpAddr, StartError};
use crate::base::address::join;
use crate::loops::monitor::{Monitor, Site};
use crate::monitor::http::Handler;
use crate::net::listen::{adopt, listen};
use crate::net::tls::{ServerTls, TlsError};
use crate::options::Options;
use crate::options::tls::TlsOptions;
use log::info;
use mio::net::TcpListener;
use std::io;
use std::sync::Arc;

/// A listener that nobody serves yet. Requests that come in wait.
pub(super) struct Bound {
    listener: TcpListener,
    pub(super) at: HttpAddr,
}

/// Listens for profiling, if that is configured.
///
/// # Errors
/// The address cannot be listened on.
pub(super) fn bind_profiling(options: &Options) -> Result<Option<Bound>, StartError> {
    if options.prof_port == 0 {
        return Ok(None);
    }
    let bound = bind_to("http", &options.host, options.prof_port);
    let bound = bound.map_err(|(at, e)| StartError::Profiling(at, e))?;
    info!("profiling port: {}", bound.at.addr.port());
    Ok(Some(bound))
}

/// Listens for monitoring, if that is configured; on this socket, if there is one.
///
/// # Errors
/// The address cannot be listened on, or there is a socket and monitoring is not configured.
pub(super) fn bind(
    options: &Options,
    socket: Option<std::net::TcpListener>,
) -> Result<Option<Bound>, StartError> {
    let (port, scheme) = match (options.http_port, options.https_port) {
        (0, 0) => match socket.map(|socket| socket.local_addr()) {
            None => return Ok(None),
            Some(at) => {
                let at = at.map_or_else(|e| e.to_string(), |at| at.to_string());
                let error =
                    "the service manager has a socket for monitoring, which is not configured";
                return Err(StartError::Monitor(at, io::Error::other(error)));
            }
        },
        (0, port) => (port, "https"),
        (port, _) => (port, "http"),
    };
    let host = options.monitor_host();
    let bound = match socket {
        Some(socket) => take(scheme, socket).map_err(|e| (host.to_owned(), e)),
        None => bind_to(scheme, host, port),
    };
    let bound = bound.map_err(|(at, e)| StartError::Monitor(at, e))?;
    let at = join(host, bound.at.addr.port());
    info!("Starting {scheme} monitor on {at}");
    Ok(Some(bound))
}

fn bind_to(scheme: &'static str, host: &str, port: i32) -> Result<Bound, (String, io::Error)> {
    let port = u16::try_from(port.max(0)).unwrap_or(0);
    let failed = |e: io::Error| (join(host, port), e);
    let listener = listen(host, port).map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let at = HttpAddr { scheme, addr };
    Ok(Bound { listener, at })
}

fn take(scheme: &'static str, socket: std::net::TcpListener) -> io::Result<Bound> {
    let listener = adopt(socket)?;
    let addr = listener.local_addr()?;
    let at = HttpAddr { scheme, addr };
    Ok(Bound { listener, at })
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

/// What is to be served where.
pub(super) struct Sites {
    pub(super) monitoring: Option<Bound>,
    pub(super) profiling: Option<Bound>,
    /// For monitoring, if it speaks TLS.
    pub(super) tls: Option<Arc<ServerTls>>,
}

impl Sites {
    /// Starts serving what was bound, if anything.
    ///
    /// # Errors
    /// The system lacks descriptors or threads.
    pub(super) fn start(
        self,
        options: &Options,
        pages: Arc<dyn Handler>,
        memory: MemorySource,
    ) -> io::Result<Option<Monitor>> {
        let monitoring = self.monitoring.map(|bound| Site {
            listener: bound.listener,
            tls: self.tls,
            base_path: options.http_base_path.clone(),
            handler: pages,
        });
        let profiling = self.profiling.map(|bound| Site {
            listener: bound.listener,
            tls: None,
            base_path: String::new(),
            handler: Arc::new(Profiles { memory }),
        });
        let sites = monitoring.into_iter().chain(profiling).collect::<Vec<_>>();
        if sites.is_empty() {
            return Ok(None);
        }
        Monitor::start(sites).map(Some)
    }
}
