//! gatewayz: connections between clusters.

use super::go_json::{Stamp, is_none};
use super::links::GatewayRow;
use super::query::Query;
use super::source::Source;
use super::{Answer, Refused};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    /// The only other cluster to tell of; empty: all.
    pub name: String,
    /// Whether accounts are told of.
    pub accounts: bool,
    /// The only account to tell of.
    pub account: String,
    pub subscriptions: bool,
    pub detail: bool,
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Gatewayz {
    server_id: String,
    now: Stamp,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    #[serde(skip_serializing_if = "is_none")]
    port: u16,
    outbound_gateways: BTreeMap<String, GatewayRow>,
    inbound_gateways: BTreeMap<String, Vec<GatewayRow>>,
}

pub(super) fn answer(source: &dyn Source, query: Query<'_>) -> Result<Answer, Refused> {
    let (subscriptions, detail) = query.subscriptions()?;
    let options = Options {
        name: query.text("gw_name").into(),
        accounts: query.boolean("accs")?,
        account: query.text("acc_name").into(),
        subscriptions,
        detail,
    };
    Ok(super::document(&document(source, &options)))
}

/// The document.
pub(super) fn document(source: &dyn Source, options: &Options) -> Gatewayz {
    let mut gateways = source.links(false).gateways;
    let wanted = |name: &String| options.name.is_empty() || *name == options.name;
    gateways.outbound.retain(|name, _| wanted(name));
    gateways.inbound.retain(|name, _| wanted(name));
    let inbound = gateways.inbound.values_mut().flatten();
    for row in gateways.outbound.values_mut().chain(inbound) {
        match options.account.as_str() {
            "" if options.accounts => {}
            "" => row.accounts.clear(),
            name => row.accounts.retain(|account| account.name == name),
        }
    }
    Gatewayz {
        server_id: source.facts().id.clone(),
        now: Stamp(source.vitals().now),
        name: gateways.name,
        host: gateways.host,
        port: gateways.port,
        outbound_gateways: gateways.outbound,
        inbound_gateways: gateways.inbound,
    }
}
