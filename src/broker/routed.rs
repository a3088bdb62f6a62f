//! Messages that come from other servers. They go to this server's own subscribers only: whoever has
//! others sends to them itself.

use super::commands::shares;
use super::delivery::{NOBODY, Origin};
use super::exchange::{Journey, renamed};
use super::message::Message;
use super::{Broker, Facts, Source, Turn, Wire};
use crate::accounts::Account;
use crate::accounts::interest::LoopId;
use crate::base::limits::SHARE_MANY;
use crate::proto::client::Publish;
use crate::proto::route::{Queues, Routed};
use crate::routing::cache::RouteCache;
use crate::routing::route::Route;
use bytes::Bytes;
use std::sync::Arc;

impl Broker {
    /// A broker without clients, for the loop of the cluster.
    pub fn of_cluster(facts: Arc<Facts>, loops: usize, seed: u64) -> Broker {
        let remembers = !facts.options.disable_sublist_cache;
        Broker {
            routes: RouteCache::of_own_subscribers(remembers),
            ..Broker::new(facts, LoopId::CLUSTER, loops, seed)
        }
    }

    /// Delivers a message of another server in this account. Gives the number of deliveries.
    pub fn publish_routed<S: Source, W: Wire>(
        &mut self,
        account: &Arc<Account>,
        routed: &Routed<'_>,
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let publish = &routed.publish;
        let route = self
            .routes
            .route(&self.facts.accounts, account, publish.subject);
        if route.is_empty() && route.beyond().is_none() {
            return 0;
        }
        let route = route.clone();
        let fan_out = route.fan_out();
        let shared = (publish.size() >= SHARE_MANY && shares(publish, fan_out, source))
            .then(|| source.share(publish.payload));
        let shared = shared.as_ref();
        let mut delivered = self.deliver_routed(&route, routed.queues, publish, shared, turn);
        if route.beyond().is_some() {
            delivered += self.routed_beyond(account, &route, routed, shared, turn);
        }
        delivered
    }

    fn deliver_routed<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        queues: Queues<'_>,
        publish: &Publish<'_>,
        shared: Option<&Bytes>,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let message = Message::new(publish, shared, &mut self.scratch);
        let groups = queues.iter().filter_map(|name| route.group_named(name));
        let outcome = self.delivery.deliver_routed(route, groups, &message, turn);
        outcome.delivered
    }

    /// Delivers a message in the accounts that import it as a stream, and as an answer in the one
    /// that asked for it. Requests to services were made where they were published.
    #[cold]
    fn routed_beyond<W: Wire>(
        &mut self,
        account: &Arc<Account>,
        route: &Arc<Route>,
        routed: &Routed<'_>,
        shared: Option<&Bytes>,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let publish = &routed.publish;
        let Some(beyond) = route.beyond() else {
            return 0;
        };
        let mut delivered = 0;
        for branch in beyond.branches.iter().filter(|b| !b.route.is_empty()) {
            let there = renamed(publish, &branch.subject, publish.reply);
            delivered += self.deliver_routed(&branch.route, routed.queues, &there, shared, turn);
        }
        if beyond.answers {
            let nobody = Origin {
                slot: NOBODY,
                skip: NOBODY,
            };
            let mut journey = Journey::new(nobody, None);
            delivered += self.answer(account, publish, shared, &mut journey, turn);
        }
        delivered
    }
}
