//! statsz: what a server tells of itself from time to time, and when it is asked who is there.

use super::accstatz::Data;
use super::figures::Figures;
use super::go_json::{Stamp, is_none};
use super::source::Source;
use super::varz::{self, ByKind};
use crate::conn::client::Traffic;
use serde::Serialize;

/// The document, which stands beside the server's own name in events and answers.
#[derive(Debug, Serialize)]
pub struct Statsz {
    start: Stamp,
    mem: u64,
    cores: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: usize,
    sent: Data,
    sent_to_clients: Data,
    received: Data,
    received_from_clients: Data,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "is_none")]
    slow_consumer_stats: ByKind,
    #[serde(skip_serializing_if = "is_none")]
    stale_connections: u64,
    #[serde(skip_serializing_if = "is_none")]
    stale_connection_stats: ByKind,
    #[serde(skip_serializing_if = "is_none")]
    stalled_clients: u64,
    active_servers: usize,
    gomaxprocs: usize,
}

/// The document; `servers` are those known to be there, this one included.
pub fn document(source: &dyn Source, servers: usize) -> Statsz {
    let (facts, vitals, links) = (source.facts(), source.vitals(), source.links(false));
    let figures = Figures::of(source);
    let active = figures.accounts.values().filter(|a| a.connections > 0);
    Statsz {
        start: Stamp(vitals.start),
        mem: vitals.resident_bytes,
        cores: vitals.cores,
        cpu: vitals.cpu_percent,
        connections: figures.connections,
        total_connections: vitals.accepted,
        active_accounts: active.count(),
        subscriptions: varz::subscriptions(&facts),
        sent: both(figures.sent, links.sent),
        sent_to_clients: figures.sent.into(),
        received: both(figures.received, links.received),
        received_from_clients: figures.received.into(),
        slow_consumers: figures.slow_consumers,
        slow_consumer_stats: ByKind::clients(figures.slow_consumers),
        stale_connections: figures.stale_connections,
        stale_connection_stats: ByKind::clients(figures.stale_connections),
        stalled_clients: figures.stalls,
        active_servers: servers,
        gomaxprocs: vitals.loops,
    }
}

fn both(mut a: Traffic, b: Traffic) -> Data {
    a.add(b);
    a.into()
}
