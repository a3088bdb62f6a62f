//! Being part of a cluster: from the options to the listener for routes and its loop.

use super::{Server, StartError, told_address};
use crate::base::address::{self, join};
use crate::broker::Broker;
use crate::loops::cluster::{ClusterLoop, Place, client_urls};
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
    let tls = own.tls.as_ref().map(PeerTls::load).transpose();
    let tls = tls.map_err(StartError::Tls)?;
    for warning in tls.iter().flat_map(|tls| tls.listener().warnings()) {
        warn!("TLS of routes: {warning}");
    }
    if own.tls.as_ref().is_some_and(|tls| tls.insecure) {
        warn!("TLS certificates of other servers are not checked, as the options ask for");
    }
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
        tls: tls.map(Arc::new),
        at: addr,
    }))
}

impl Server {
    /// Starts the loop of the cluster.
    pub(super) fn start_cluster(
        &mut self,
        (poll, bound): (Poll, Bound),
        loops: usize,
        seed: u64,
    ) -> Result<(), StartError> {
        let facts = self.facts.clone();
        let own = facts.options.cluster.clone().unwrap_or_default();
        let advertised = own.advertise.as_deref();
        let told = advertised.and_then(|text| address::advertised(text, bound.at.port()).ok());
        let place = Place {
            url: told
                .as_ref()
                .map(|(host, port)| format!("nats-route://{}/", join(host, *port))),
            host: told
                .as_ref()
                .map_or(own.host.clone(), |(host, _)| host.clone()),
            port: told.map_or(bound.at.port(), |(_, port)| port),
            client_urls: match &facts.options.client_advertise {
                Some(_) => {
                    let (host, port) = told_address(&facts.options, self.addr.port());
                    vec![join(&host, port)]
                }
                None => client_urls(self.addr, &interfaces::addresses().unwrap_or_default()),
            },
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
        let listening = (bound.acceptor, place, bound.tls);
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
