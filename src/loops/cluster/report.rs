//! What monitoring is told of the connections with other servers.

use super::ClusterLoop;
use super::conn::Phase;
use crate::base::clock::{self, Mono};
use crate::base::limits::ROUTE_LISTED;
use crate::cluster::remote::RemoteSub;
use crate::json::write::{Age, RoundTrip, Stamp};
use crate::monitor::links::{ClusterState, Links, RouteRow};
use crate::proto::compression::Agreed;

impl ClusterLoop {
    /// All connections, in the order of their numbers, with what the servers listen to if it is asked
    /// for.
    pub(super) fn links(&mut self, subscriptions: bool, now: Mono) -> Links {
        let wall = clock::wall();
        let at = |then: Mono| Stamp(wall - now.since(then));
        let mut links = Links {
            cluster: Some(ClusterState {
                name: self.mesh.cluster().into(),
                port: self.listening,
            }),
            remotes: self.mesh.peers().count(),
            received: self.past.0,
            sent: self.past.1,
            ..Links::default()
        };
        for token in self.conns.tokens() {
            let Some(conn) = self.conns.get_mut(token).filter(|c| c.phase == Phase::Open) else {
                continue;
            };
            let link = conn.link;
            let Some(info) = self.mesh.info(link) else {
                continue;
            };
            links.received.add(conn.received);
            links.sent.add(conn.sent);
            let text = |sub: &RemoteSub| String::from_utf8_lossy(sub.subject()).into_owned();
            let listed = match subscriptions {
                true => self.remote.of(link).take(ROUTE_LISTED).map(text).collect(),
                false => Vec::new(),
            };
            links.routes.push(RouteRow {
                rid: link.0,
                remote_id: info.server_id.clone(),
                remote_name: info.server_name.clone(),
                did_solicit: self.mesh.is_solicited(link),
                is_configured: self.mesh.is_configured(link),
                ip: conn.addr.ip().to_canonical(),
                port: conn.addr.port(),
                start: at(conn.opened),
                last_activity: at(conn.keepalive.last_in()),
                rtt: conn.keepalive.rtt().map(RoundTrip),
                uptime: Age(now.since(conn.opened)),
                idle: Age(now.since(conn.keepalive.last_in())),
                pending_size: conn.pending(),
                in_msgs: conn.received.msgs,
                out_msgs: conn.sent.msgs,
                in_bytes: conn.received.bytes,
                out_bytes: conn.sent.bytes,
                subscriptions: self.remote.count(link),
                subscriptions_list: listed,
                subscriptions_list_detail: Vec::new(),
                account: conn
                    .lane
                    .account()
                    .map_or(String::new(), |name| name.to_string()),
                compression: conn.agreed.map_or("", Agreed::name).into(),
            });
        }
        links.routes.sort_by_key(|row| row.rid);
        links
    }
}
