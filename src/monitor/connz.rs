//! connz: connections, open and closed.

use super::go_json::{Age, RoundTrip, Stamp, is_none};
use super::query::Query;
use super::{Refused, Source};
use crate::accounts::GLOBAL;
use crate::broker::survey::{
    ConnectionRow, ConnectionsQuestion, ConnectionsReport, Detail, Question, Report, Sort, State,
    SubscriptionRow,
};
use serde::{Serialize, Serializer};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// Rows that are told if nothing else is asked.
const LIMIT: usize = 1024;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The reference's name of an order; empty: by number.
    pub sort: String,
    /// Whether it is told who the clients are.
    pub auth: bool,
    /// Whether their subscriptions are told, and whether with everything about them.
    pub subscriptions: bool,
    pub detail: bool,
    pub offset: i64,
    pub limit: i64,
    /// The only connection to tell of; 0: all.
    pub cid: u64,
    pub mqtt_client: String,
    /// 0: open; 1: closed; 2: both.
    pub state: i64,
    pub user: String,
    pub account: String,
    /// A subject that one of the client's subscriptions must match.
    pub filter_subject: String,
}

/// The document.
#[derive(Debug, Serialize)]
pub struct Connz {
    server_id: String,
    now: Stamp,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    /// `null` if the account is not there.
    connections: Option<Vec<Connection>>,
}

#[derive(Debug, Serialize)]
struct Connection {
    cid: u64,
    kind: &'static str,
    r#type: &'static str,
    ip: IpAddr,
    port: u16,
    start: Stamp,
    last_activity: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    rtt: RoundTrip,
    uptime: Age,
    idle: Age,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_none")]
    stalls: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    tls_version: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tls_cipher_suite: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_peer_certs: Vec<Certificate>,
    #[serde(skip_serializing_if = "is_none")]
    tls_first: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    authorized_user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubscriptionDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name_tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Proxy>,
}

#[derive(Debug, Serialize)]
struct Certificate {
    #[serde(skip_serializing_if = "String::is_empty")]
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    spki_sha256: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cert_sha256: String,
}

#[derive(Debug, Serialize)]
struct Proxy {
    key: String,
}

/// A subscription, as connz and subsz tell of it.
#[derive(Clone, Debug, Serialize)]
pub struct SubscriptionDetail {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    account: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    account_tag: Option<Arc<str>>,
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    qgroup: String,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "is_none")]
    max: u64,
    cid: u64,
}

#[allow(clippy::ref_option, reason = "serde asks for it")]
fn shared<S: Serializer>(text: &Option<Arc<str>>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text.as_deref().unwrap_or_default())
}

impl SubscriptionDetail {
    /// A subscription with, or without, the account that it is in.
    pub fn new(row: SubscriptionRow, with_account: bool) -> SubscriptionDetail {
        let account = with_account.then_some(row.account);
        SubscriptionDetail {
            account_tag: account.clone(),
            account,
            subject: row.subject,
            qgroup: row.queue,
            sid: row.sid,
            msgs: row.msgs,
            max: row.max,
            cid: row.cid,
        }
    }
}

impl Options {
    /// What a query asks.
    ///
    /// # Errors
    /// A parameter is not as it has to be.
    pub(super) fn of_query(query: Query<'_>) -> Result<Options, Refused> {
        let auth = query.boolean("auth")?;
        let (subscriptions, detail) = query.subscriptions()?;
        Ok(Options {
            sort: query.text("sort").into(),
            auth,
            subscriptions,
            detail,
            offset: query.int("offset")?,
            limit: query.int("limit")?,
            cid: query.unsigned("cid")?,
            mqtt_client: query.text("mqtt_client").into(),
            state: state_named(query.text("state"))?,
            user: query.text("user").into(),
            account: query.text("acc").into(),
            filter_subject: String::new(),
        })
    }

    /// Where the page begins, and how long it is.
    fn page(&self) -> (usize, usize) {
        let (offset, limit) = page(self.offset, self.limit);
        match self.cid {
            0 => (offset, limit),
            _ => (offset, 1),
        }
    }

    fn state(&self) -> Option<State> {
        match self.state {
            0 => Some(State::Open),
            1 => Some(State::Closed),
            2 => Some(State::All),
            _ => None,
        }
    }
}

/// Where a page begins, and how long it is: what is not above zero is as good as nothing.
pub(super) fn page(offset: i64, limit: i64) -> (usize, usize) {
    let positive = |n: i64| usize::try_from(n).ok().filter(|n| *n > 0);
    (
        positive(offset).unwrap_or(0),
        positive(limit).unwrap_or(LIMIT),
    )
}

fn state_named(name: &str) -> Result<i64, Refused> {
    match name.to_ascii_lowercase().as_str() {
        "" | "open" => Ok(0),
        "closed" => Ok(1),
        "any" | "all" => Ok(2),
        _ => Err(Refused(format!("Error decoding state for {name}"))),
    }
}

fn sort_named(name: &str) -> Option<Sort> {
    Some(match name {
        "" | "cid" => Sort::Cid,
        "start" => Sort::Start,
        "subs" => Sort::Subs,
        "pending" => Sort::Pending,
        "msgs_to" => Sort::MsgsTo,
        "msgs_from" => Sort::MsgsFrom,
        "bytes_to" => Sort::BytesTo,
        "bytes_from" => Sort::BytesFrom,
        "last" => Sort::Last,
        "idle" => Sort::Idle,
        "uptime" => Sort::Uptime,
        "stop" => Sort::Stop,
        "reason" => Sort::Reason,
        "rtt" => Sort::Rtt,
        _ => return None,
    })
}

/// The document.
///
/// # Errors
/// There is no such order, or it means nothing for these connections.
pub fn document(source: &dyn Source, options: &Options) -> Result<Connz, Refused> {
    let refused = |text: String| Err(Refused(text));
    let Some(sort) = sort_named(&options.sort) else {
        return refused(format!("invalid sorting option: {}", options.sort));
    };
    let state = options.state();
    if matches!(sort, Sort::Stop | Sort::Reason) && state != Some(State::Closed) {
        let sort = &options.sort;
        return refused(format!("sort by {sort} only valid on closed connections"));
    }
    if !options.filter_subject.is_empty() && options.account.is_empty() {
        return refused("filter by subject only valid with account filtering".into());
    }
    let (offset, limit) = options.page();
    let (facts, vitals) = (source.facts(), source.vitals());
    let mut connz = Connz {
        server_id: facts.id.clone(),
        now: Stamp(vitals.now),
        num_connections: 0,
        total: 0,
        offset,
        limit,
        connections: Some(Vec::new()),
    };
    if !options.account.is_empty() && facts.accounts.named(&options.account).is_none() {
        connz.server_id = String::new();
        connz.connections = None;
        return Ok(connz);
    }
    let Some(state) = state else {
        return Ok(connz);
    };
    // Nobody is an MQTT client here.
    let any = options.mqtt_client.is_empty();
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let question = ConnectionsQuestion {
        state,
        sort,
        pick: if any { offset.saturating_add(limit) } else { 0 },
        cid: Some(options.cid).filter(|cid| *cid > 0),
        user: some(&options.user),
        account: some(&options.account),
        subject: some(&options.filter_subject).map(String::into_bytes),
        subscriptions: match (options.subscriptions, options.detail) {
            (_, true) => Detail::Everything,
            (true, false) => Detail::Subjects,
            (false, false) => Detail::Nothing,
        },
    };
    let reports = source.ask(Question::Connections(Arc::new(question)));
    let reports = reports.into_iter().filter_map(|report| match report {
        Report::Connections(report) => Some(report),
        _ => None,
    });
    let (total, rows) = merged(reports, offset, if any { limit } else { 0 });
    let rows = rows.into_iter();
    let rows: Vec<_> = rows
        .map(|row| Connection::new(row, options, vitals.now))
        .collect();
    connz.total = total;
    connz.num_connections = rows.len();
    connz.connections = Some(rows);
    Ok(connz)
}

/// A page of what several loops have told, and how many connections there are.
fn merged(
    reports: impl Iterator<Item = ConnectionsReport>,
    offset: usize,
    limit: usize,
) -> (usize, Vec<ConnectionRow>) {
    let (mut total, mut rows) = (0, Vec::new());
    for report in reports {
        total += report.matching;
        rows.extend(report.rows);
    }
    rows.sort_by_key(|row| (row.key, row.cid));
    let page = rows.into_iter().skip(offset).take(limit);
    (total, page.collect())
}

impl Connection {
    fn new(row: ConnectionRow, options: &Options, now: SystemTime) -> Connection {
        let auth = options.auth;
        let if_auth = |text: String| if auth { text } else { String::new() };
        let until = row.end.map_or(now, |(at, _)| at);
        let (subjects, details) = match options.detail {
            true => (Vec::new(), row.list),
            false => (row.list, Vec::new()),
        };
        let peer = row.tls.as_ref().and_then(|tls| tls.peer.clone());
        Connection {
            cid: row.cid,
            kind: "Client",
            r#type: "nats",
            ip: row.addr.ip().to_canonical(),
            port: row.addr.port(),
            start: Stamp(row.start),
            last_activity: Stamp(row.last_activity),
            stop: row.end.map(|(at, _)| Stamp(at)),
            reason: row.end.map(|(_, reason)| reason.to_string()),
            rtt: RoundTrip(row.rtt.unwrap_or_default()),
            uptime: Age::between(row.start, until),
            idle: Age::between(row.last_activity, until),
            pending_bytes: row.pending,
            in_msgs: row.received.msgs,
            out_msgs: row.sent.msgs,
            in_bytes: row.received.bytes,
            out_bytes: row.sent.bytes,
            stalls: row.stalls,
            subscriptions: row.subscriptions,
            name: row.name,
            lang: row.lang,
            version: row.version,
            tls_version: row.tls.as_ref().map_or("", |tls| tls.version),
            tls_cipher_suite: row.tls.as_ref().map_or("", |tls| tls.cipher),
            tls_peer_certs: peer
                .filter(|_| auth)
                .map(|peer| Certificate {
                    subject: peer.subject,
                    spki_sha256: peer.spki_sha256,
                    cert_sha256: peer.cert_sha256,
                })
                .into_iter()
                .collect(),
            tls_first: row.tls.as_ref().is_some_and(|tls| tls.first),
            authorized_user: if_auth(row.user),
            // The account that everybody is in is not worth a word.
            account: match row.account == GLOBAL {
                true => String::new(),
                false => if_auth(row.account.clone()),
            },
            subscriptions_list: subjects.into_iter().map(|row| row.subject).collect(),
            subscriptions_list_detail: details
                .into_iter()
                .map(|row| SubscriptionDetail::new(row, auth))
                .collect(),
            name_tag: if_auth(row.account),
            proxy: Some(row.proxy)
                .filter(|key| !key.is_empty())
                .map(|key| Proxy { key }),
        }
    }
}
