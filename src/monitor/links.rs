//! Links to other servers: the rows of routez, gatewayz and leafz.

use super::connz::SubscriptionDetail;
use super::go_json::{Age, RoundTrip, Stamp, is_none};
use crate::conn::client::Traffic;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// All links of a server.
#[derive(Clone, Debug, Default)]
pub struct Links {
    pub routes: Vec<RouteRow>,
    /// The cluster, if there is one.
    pub cluster: Option<ClusterState>,
    /// Servers that there are routes to.
    pub remotes: usize,
    pub gateways: Gateways,
    pub leafs: Vec<LeafRow>,
    /// Messages that ever came over links, and went over them; those that are gone included.
    pub received: Traffic,
    pub sent: Traffic,
}

/// What has become of what is configured of a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    pub name: String,
    /// The port that it listens on for other servers.
    pub port: u16,
}

/// A connection to another server of the cluster. Servers may have several with each other.
#[derive(Clone, Debug, Serialize)]
pub struct RouteRow {
    pub rid: u64,
    pub remote_id: String,
    pub remote_name: String,
    pub did_solicit: bool,
    pub is_configured: bool,
    pub ip: IpAddr,
    pub port: u16,
    pub start: Stamp,
    pub last_activity: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<RoundTrip>,
    pub uptime: Age,
    pub idle: Age,
    pub pending_size: usize,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub subscriptions: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions_list_detail: Vec<SubscriptionDetail>,
    /// The account that it is for, if it is for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
}

/// The way to other clusters, and those from them.
#[derive(Clone, Debug, Default)]
pub struct Gateways {
    /// This server's own, if it has one.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// By the name of the other cluster.
    pub outbound: BTreeMap<String, GatewayRow>,
    pub inbound: BTreeMap<String, Vec<GatewayRow>>,
}

/// A connection between clusters.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayRow {
    pub configured: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<GatewayAccount>,
}

/// What is known of an account's interest on the other side.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayAccount {
    pub name: String,
    pub interest_mode: String,
    #[serde(skip_serializing_if = "is_none")]
    pub no_interest_count: usize,
    #[serde(skip_serializing_if = "is_none")]
    pub num_subs: usize,
    #[serde(skip_serializing_if = "is_none")]
    pub num_queue_subs: usize,
}

/// A leaf node that is connected, or that this one is connected to.
#[derive(Clone, Debug, Serialize)]
pub struct LeafRow {
    pub id: u64,
    pub name: String,
    pub is_spoke: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub is_isolated: bool,
    pub account: String,
    pub ip: IpAddr,
    pub port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<RoundTrip>,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub subscriptions: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
}
