//! Connecting to other servers: on threads of its own, since names have to be looked up, which waits.

use crate::base::limits::{ROUTE_DIAL, ROUTE_DIALS};
use crate::cluster::mesh::TargetId;
use crate::loops::client::Peers;
use crate::loops::inbox::Mail;
use crate::options::cluster::RouteUrl;
use log::{debug, error};
use std::collections::VecDeque;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// The outcome of an attempt to connect.
pub struct Dialled {
    pub target: TargetId,
    /// `host:port`, for the log.
    pub address: String,
    pub outcome: io::Result<TcpStream>,
}

/// Attempts that wait, and how many are under way.
#[derive(Default)]
pub(super) struct Dials {
    waiting: VecDeque<(TargetId, RouteUrl)>,
    running: usize,
}

impl Dials {
    pub(super) fn push(&mut self, target: TargetId, url: RouteUrl) {
        self.waiting.push_back((target, url));
    }

    /// An attempt is over.
    pub(super) fn ended(&mut self) {
        self.running -= 1;
    }

    /// Begins as many attempts as may be.
    pub(super) fn start(&mut self, peers: &Arc<Peers>) {
        while self.running < ROUTE_DIALS
            && let Some((target, url)) = self.waiting.pop_front()
        {
            self.running += 1;
            let (peers, address) = (peers.clone(), url.address());
            let work = {
                let (peers, address) = (peers.clone(), address.clone());
                move || {
                    debug!("Trying to connect to route on {address}");
                    let outcome = connect(&url);
                    tell(&peers, target, address, outcome);
                }
            };
            if let Err(e) = thread::Builder::new().name("dial".into()).spawn(work) {
                tell(&peers, target, address, Err(e));
            }
        }
    }
}

/// Tries all addresses of a server, one after the other.
fn connect(url: &RouteUrl) -> io::Result<TcpStream> {
    let host = &url.host;
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("lookup {host}: no such host"),
    );
    for addr in (&**host, url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, ROUTE_DIAL) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn tell(peers: &Peers, target: TargetId, address: String, outcome: io::Result<TcpStream>) {
    let dialled = Dialled {
        target,
        address,
        outcome,
    };
    if let Some(inbox) = &peers.cluster
        && let Err(e) = inbox.send(Mail::Dialled(Box::new(dialled)))
    {
        error!("Error waking the loop of the cluster: {e}");
    }
}
