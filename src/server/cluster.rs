//! Being part of a cluster: from the options to the listener for routes and its loop.

use super::{Server, StartError, told_address};
use crate::base::address::{self, join};
use crate::broker::Broker;
use crate::loops::cluster::{ClusterLoop, Place, Site, client_urls};
use crate::loops::inbox::Mail;
use crate::net::listen::{Acceptor, listen};
use crate::net::tls::PeerTls;
use crate::options::Options;
use crate::os::interfaces;
use log::{info, warn};
use mio::Poll;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

/// A listener for routes.
pub(super) struct Bound {
    acceptor: Acceptor,
    tls: Option<Arc<PeerTls>>,
    pub(super) at: SocketAddr,
}

/// Listens for routes, if the options ask for that.
pub(super) fn bind(options: &Options) -> Result<Option<Bound>, StartError> {
    let Some(own) = options.cluster.as_ref().filter(|_| options.is_clustered()) else {
        return Ok(None);
    };
    let tls = load_tls(options)?;
    let port = u16::try_from(own.port).unwrap_or(0);
    let at = |e| StartError::Routes(join(&own.host, port), e);
    let listener = listen(&own.host, port).map_err(at)?;
    let addr = listener.local_addr().map_err(at)?;
    info!(
        "Listening for route connections on {}",
        join(&own.host, addr.port())
    );
    Ok(Some(Bound {
        acceptor: Acceptor::new(listener),
        tls,
        at: addr,
    }))
}

/// TLS with other servers, if the options ask for that.
pub(super) fn load_tls(options: &Options) -> Result<Option<Arc<PeerTls>>, StartError> {
    let Some(own) = options.cluster.as_ref().and_then(|own| own.tls.as_ref()) else {
        return Ok(None);
    };
    let tls = PeerTls::load(own).map_err(StartError::Tls)?;
    for warning in tls.listener().warnings() {
        warn!("TLS of routes: {warning}");
    }
    if own.insecure {
        warn!("TLS certificates of other servers are not checked, as the options ask for");
    }
    Ok(Some(Arc::new(tls)))
}

/// What others are told of a server with these options, whose real addresses for routes and for
/// clients are these.
fn place(options: &Options, at: SocketAddr, clients: SocketAddr) -> Place {
    let own = options.cluster.clone().unwrap_or_default();
    let advertised = own.advertise.as_deref();
    let told = advertised.and_then(|text| address::advertised(text, at.port()).ok());
    Place {
        url: told
            .as_ref()
            .map(|(host, port)| format!("nats-route://{}/", join(host, *port))),
        host: told
            .as_ref()
            .map_or(own.host.clone(), |(host, _)| host.clone()),
        port: told.map_or(at.port(), |(_, port)| port),
        client_urls: match &options.client_advertise {
            Some(_) => {
                let (host, port) = told_address(options, clients.port());
                vec![join(&host, port)]
            }
            None => client_urls(clients, &interfaces::addresses().unwrap_or_default()),
        },
    }
}

impl Server {
    /// Tells the loop of the cluster what other options make of it, before it gets those.
    pub(super) fn renew_cluster(&self, options: &Options, tls: Option<Arc<PeerTls>>) {
        if let (Some(inbox), Some(at)) = (&self.peers.cluster, self.cluster_addr) {
            let place = place(options, at, self.addr);
            super::send(inbox, Mail::Site(Box::new(Site { place, tls })));
        }
    }

    /// Starts the loop of the cluster.
    pub(super) fn start_cluster(
        &mut self,
        (poll, bound): (Poll, Bound),
        loops: usize,
        seed: u64,
    ) -> Result<(), StartError> {
        let facts = self.facts.clone();
        let site = Site {
            place: place(&facts.options, bound.at, self.addr),
            tls: bound.tls,
        };
        let broker = Broker::of_cluster(facts.clone(), loops, seed);
        let peers = self.peers.clone();
        if let Some(journal) = facts.accounts.journal() {
            let peers = peers.clone();
            journal.set_bell(move || {
                if let Some(inbox) = &peers.cluster
                    && let Err(e) = inbox.ring()
                {
                    log::error!("Error waking the loop of the cluster: {e}");
                }
            });
        }
        let listening = (bound.acceptor, site);
        let cluster = ClusterLoop::new(poll, peers, broker, facts, listening, !seed)
            .map_err(StartError::Loop)?;
        let thread = thread::Builder::new()
            .name("cluster".into())
            .spawn(move || cluster.run())
            .map_err(StartError::Loop)?;
        self.cluster = Some(thread);
        Ok(())
    }
}
