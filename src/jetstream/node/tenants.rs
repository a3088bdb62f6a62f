//! The accounts that may have streams.

use super::listeners::{Listener, Listeners};
use crate::accounts::{Account, Accounts};
use crate::jetstream::api::info::AccountLimits;
use crate::jetstream::api::limits::{Ledger, Tiers};
use crate::jetstream::consumer::Waiters;
use crate::jetstream::stream::Gauge;
use crate::options::jetstream::AccountJetStream;
use crate::store::types::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// Subjects on which accounts ask for messages and acknowledge them, and who listens there.
type Subjects = [(&'static [u8], fn(u32) -> Listener); 6];
const SUBJECTS: Subjects = [
    (b"$JS.API.DIRECT.GET.*", Listener::Direct),
    (b"$JS.API.DIRECT.GET.*.>", Listener::Direct),
    (b"$JS.API.CONSUMER.MSG.NEXT.*.*", Listener::Next),
    (b"$JS.API.CONSUMER.RESET.*.*", Listener::Reset),
    (b"$JS.ACK.>", Listener::Ack),
    (b"$JS.FC.>", Listener::Flow),
];

/// Those accounts.
#[derive(Default)]
pub(super) struct Tenants {
    by_number: HashMap<u32, Tenant>,
    numbers: HashMap<Box<str>, u32>,
    /// All accounts, those without streams as well.
    accounts: HashMap<Box<str>, Arc<Account>>,
}

/// One of them.
pub(super) struct Tenant {
    pub(super) account: Arc<Account>,
    pub(super) limits: AccountJetStream,
    listening: Vec<u32>,
    /// Requests to the API.
    pub(super) requests: super::Figures,
    /// What its streams take.
    pub(super) ledger: Ledger,
    /// Bytes that its streams have in memory and in files.
    pub(super) gauges: [Arc<Gauge>; 2],
    /// Requests that wait at its consumers, and when those of clients that are gone were looked for
    /// last as there were too many.
    pub(super) waiters: Arc<Waiters>,
    pub(super) relieved_at: Timestamp,
}

impl Tenants {
    pub(super) fn renew(&mut self, accounts: &Accounts, listeners: &mut Listeners) {
        self.numbers.clear();
        let all = accounts.iter().map(|tenant| &tenant.account);
        self.accounts = all
            .map(|account| (account.name.clone(), account.clone()))
            .collect();
        let mut old = std::mem::take(&mut self.by_number);
        for tenant in accounts.iter() {
            let Some(limits) = tenant.jetstream else {
                continue;
            };
            let account = &tenant.account;
            let own = old.remove(&account.number);
            let tiers = Tiers::flat(told(&limits));
            let listening = match &own {
                Some(own) => own.listening.clone(),
                None => {
                    let number = account.number;
                    let listen = |(subject, listener): &(&[u8], fn(u32) -> Listener)| {
                        listeners.listen(account, subject, listener(number))
                    };
                    SUBJECTS.iter().filter_map(listen).collect()
                }
            };
            let gauges = match &own {
                Some(own) => own.gauges.clone(),
                None => [(); 2].map(|()| Arc::new(Gauge::new(None))),
            };
            let waiters = own.as_ref().map(|own| own.waiters.clone());
            gauges[0].set_max(limits.max_memory);
            gauges[1].set_max(limits.max_storage);
            self.numbers.insert(account.name.clone(), account.number);
            self.by_number.insert(
                account.number,
                Tenant {
                    account: account.clone(),
                    limits,
                    listening,
                    gauges,
                    waiters: waiters.unwrap_or_default(),
                    relieved_at: own.as_ref().map_or(Timestamp(0), |own| own.relieved_at),
                    requests: own.as_ref().map(|own| own.requests).unwrap_or_default(),
                    ledger: match own {
                        Some(own) => {
                            let mut ledger = own.ledger;
                            ledger.tiers = tiers;
                            ledger
                        }
                        None => Ledger::new(tiers),
                    },
                },
            );
        }
        for slot in old.into_values().flat_map(|tenant| tenant.listening) {
            listeners.leave(slot);
        }
    }

    /// An account by its name, with streams or without.
    pub(super) fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(name)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Tenant> {
        self.by_number.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Tenant> {
        self.by_number.get_mut(&number)
    }

    /// The numbers and names of all, in the order of the names.
    pub(super) fn sorted(&self) -> Vec<(u32, String)> {
        let all = self.numbers.iter();
        let mut all: Vec<_> = all
            .map(|(name, number)| (*number, name.to_string()))
            .collect();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    }

    pub(super) fn named(&self, name: &str) -> Option<&Tenant> {
        self.get(*self.numbers.get(name)?)
    }
}

/// The limits as the API tells them.
pub(super) fn told(limits: &AccountJetStream) -> AccountLimits {
    let bytes = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
    let many = |n: Option<u32>| n.map_or(-1, i64::from);
    AccountLimits {
        max_memory: bytes(limits.max_memory),
        max_storage: bytes(limits.max_storage),
        max_streams: many(limits.max_streams),
        max_consumers: many(limits.max_consumers),
        max_ack_pending: many(limits.max_ack_pending),
        memory_max_stream_bytes: bytes(limits.memory_max_stream_bytes),
        storage_max_stream_bytes: bytes(limits.storage_max_stream_bytes),
        max_bytes_required: limits.max_bytes_required,
    }
}
