//! accstatz: the figures of accounts.

use super::figures::Figures;
use super::go_json::Stamp;
use super::source::Source;
use crate::accounts::Tenant;
use crate::conn::client::Traffic;
use serde::Serialize;

/// The document.
#[derive(Debug, Serialize)]
pub struct Accstatz {
    server_id: String,
    now: Stamp,
    account_statz: Vec<AccountStat>,
}

/// The figures of an account.
#[derive(Clone, Debug, Serialize)]
pub struct AccountStat {
    acc: String,
    name: String,
    conns: usize,
    leafnodes: usize,
    total_conns: usize,
    num_subscriptions: usize,
    sent: DataStats,
    received: DataStats,
    slow_consumers: u64,
}

impl AccountStat {
    /// Clients and leafnodes that are connected.
    pub fn connections(&self) -> usize {
        self.total_conns
    }
}

/// Messages and bytes, and how many of them with other servers.
#[derive(Clone, Debug, Default, Serialize)]
struct DataStats {
    msgs: u64,
    bytes: u64,
    gateways: Data,
    routes: Data,
    leafs: Data,
}

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Data {
    msgs: u64,
    bytes: u64,
}

impl From<Traffic> for Data {
    fn from(traffic: Traffic) -> Data {
        Data {
            msgs: traffic.msgs,
            bytes: traffic.bytes,
        }
    }
}

impl From<Traffic> for DataStats {
    fn from(traffic: Traffic) -> DataStats {
        DataStats {
            msgs: traffic.msgs,
            bytes: traffic.bytes,
            ..DataStats::default()
        }
    }
}

/// The document: accounts with connections, and with `unused` those without. `names` are the
/// accounts to tell of, in that order, as far as they exist; `None`: all.
pub fn document(source: &dyn Source, names: Option<&[String]>, unused: bool) -> Accstatz {
    let facts = source.facts();
    let figures = Figures::of(source);
    let tenants: Vec<_> = match names {
        None => facts.accounts.iter().collect(),
        Some(names) => {
            let named = names.iter().map(|name| facts.accounts.named(name));
            named.flatten().collect()
        }
    };
    let stats = tenants.into_iter().map(|t| stat(source, t, &figures));
    Accstatz {
        server_id: facts.id.clone(),
        now: Stamp(source.vitals().now),
        account_statz: stats.filter(|s| unused || s.total_conns > 0).collect(),
    }
}

/// The figures of one account; `None` if it does not exist.
pub fn of_account(source: &dyn Source, account: &str) -> Option<AccountStat> {
    let facts = source.facts();
    let tenant = facts.accounts.named(account)?;
    Some(stat(source, tenant, &Figures::of(source)))
}

fn stat(source: &dyn Source, tenant: &Tenant, figures: &Figures) -> AccountStat {
    let name = tenant.account.name.to_string();
    let links = source.links(false);
    let leafs = links.leafs.iter().filter(|leaf| leaf.account == name);
    let leafs = leafs.count();
    let figures = figures.account(tenant.account.number);
    AccountStat {
        acc: name.clone(),
        name,
        conns: figures.connections,
        leafnodes: leafs,
        total_conns: figures.connections + leafs,
        num_subscriptions: tenant.account.interest.len(),
        sent: figures.sent.into(),
        received: figures.received.into(),
        slow_consumers: figures.slow_consumers,
    }
}
