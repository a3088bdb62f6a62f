//! The figures of all loops together.

use super::source::Source;
use crate::broker::survey::{AccountTotals, CacheTotals, Load, Memory, Question, Report, Totals};
use crate::conn::client::Traffic;
use crate::proto::error::CloseReason;
use std::collections::BTreeMap;

/// The sums of what the loops have told.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub received: Traffic,
    pub sent: Traffic,
    pub connections: usize,
    pub slow_consumers: u64,
    pub stale_connections: u64,
    pub stalls: u64,
    /// Closed connections by reason, each once.
    pub closed: Vec<(CloseReason, u64)>,
    /// By the account's number.
    pub accounts: BTreeMap<u32, AccountTotals>,
    pub memory: Memory,
    pub cache: CacheTotals,
    /// Of each loop that has answered.
    pub loads: Vec<Load>,
}

impl Figures {
    /// Asks all loops.
    pub fn of(source: &dyn Source) -> Figures {
        let mut figures = Figures::default();
        for report in source.ask(Question::Totals) {
            if let Report::Totals(totals) = report {
                figures.add(&totals);
            }
        }
        figures
    }

    fn add(&mut self, totals: &Totals) {
        self.received.add(totals.received);
        self.sent.add(totals.sent);
        self.connections += totals.connections;
        self.slow_consumers += totals.slow_consumers;
        self.stale_connections += totals.stale_connections;
        self.stalls += totals.stalls;
        for (reason, count) in &totals.closed {
            match self.closed.iter_mut().find(|(known, _)| known == reason) {
                Some((_, sum)) => *sum += count,
                None => self.closed.push((*reason, *count)),
            }
        }
        for account in &totals.accounts {
            let sum = self.accounts.entry(account.account).or_default();
            sum.account = account.account;
            sum.connections += account.connections;
            sum.connections_ever += account.connections_ever;
            sum.subscriptions += account.subscriptions;
            sum.received.add(account.received);
            sum.sent.add(account.sent);
            sum.slow_consumers += account.slow_consumers;
        }
        self.memory = sum_of_memory(self.memory, totals.memory);
        let cache = &mut self.cache;
        cache.entries += totals.cache.entries;
        cache.hits += totals.cache.hits;
        cache.lookups += totals.cache.lookups;
        cache.fan_out_max = cache.fan_out_max.max(totals.cache.fan_out_max);
        cache.fan_out_sum += totals.cache.fan_out_sum;
        self.loads.push(totals.load);
    }

    /// The figures of an account; none of them if nothing was told of it.
    pub fn account(&self, number: u32) -> AccountTotals {
        self.accounts.get(&number).cloned().unwrap_or_default()
    }
}

fn sum_of_memory(a: Memory, b: Memory) -> Memory {
    Memory {
        outbound: a.outbound + b.outbound,
        inbound: a.inbound + b.inbound,
        subscriptions: a.subscriptions + b.subscriptions,
        routes: a.routes + b.routes,
        read_buffers: a.read_buffers + b.read_buffers,
        connections: a.connections + b.connections,
        closed: a.closed + b.closed,
    }
}

/// The purposes that memory is held for, and how many bytes for each.
pub fn memory_by_purpose(memory: &Memory) -> [(&'static str, usize); 7] {
    [
        ("closed", memory.closed),
        ("connections", memory.connections),
        ("inbound", memory.inbound),
        ("outbound", memory.outbound),
        ("read_buffers", memory.read_buffers),
        ("routes", memory.routes),
        ("subscriptions", memory.subscriptions),
    ]
}
