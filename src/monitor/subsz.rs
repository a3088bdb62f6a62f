//! subsz: subscriptions, and how the memory of routes does.

use super::connz::{SubscriptionDetail, page};
use super::figures::Figures;
use super::go_json::Stamp;
use super::query::Query;
use super::{Refused, Source};
use crate::accounts::Tenant;
use crate::broker::survey::{CacheTotals, Question, Report, SubscriptionsQuestion};
use crate::subject;
use serde::Serialize;
use std::sync::Arc;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub offset: i64,
    pub limit: i64,
    /// Whether the subscriptions are told one by one.
    pub subscriptions: bool,
    /// The account; empty: all of them.
    pub account: String,
    /// A subject that the subscriptions must match; empty: any.
    pub test: String,
}

impl Options {
    /// What a query asks.
    ///
    /// # Errors
    /// A parameter is not as it has to be.
    pub(super) fn of_query(query: Query<'_>) -> Result<Options, Refused> {
        Ok(Options {
            subscriptions: query.boolean("subs")?,
            offset: query.int("offset")?,
            limit: query.int("limit")?,
            test: query.text("test").into(),
            account: query.text("acc").into(),
        })
    }
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Subsz {
    server_id: String,
    now: Stamp,
    #[serde(flatten)]
    stats: SublistStats,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubscriptionDetail>,
}

/// How subscriptions and the memory of routes do. What the loops remember of routes is not counted
/// by account, so it is zero for a single one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct SublistStats {
    num_subscriptions: usize,
    num_cache: usize,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: f64,
    max_fanout: usize,
    avg_fanout: f64,
}

impl SublistStats {
    /// Those of some accounts.
    pub(super) fn new<'a>(
        accounts: impl IntoIterator<Item = &'a Arc<Tenant>>,
        cache: &CacheTotals,
    ) -> SublistStats {
        let (mut subscriptions, mut inserts) = (0, 0);
        for tenant in accounts {
            let interest = &tenant.account.interest;
            subscriptions += interest.len();
            inserts += interest.inserted();
        }
        // They change while they are read.
        let inserts = inserts.max(subscriptions as u64);
        SublistStats {
            num_subscriptions: subscriptions,
            num_cache: cache.entries,
            num_inserts: inserts,
            num_removes: inserts - subscriptions as u64,
            num_matches: cache.lookups,
            cache_hit_rate: ratio(cache.hits, cache.lookups),
            max_fanout: cache.fan_out_max,
            avg_fanout: ratio(cache.fan_out_sum as u64, cache.entries as u64),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "nobody reads so many digits")]
fn ratio(part: u64, of: u64) -> f64 {
    match of {
        0 => 0.0,
        _ => part as f64 / of as f64,
    }
}

/// The document.
///
/// # Errors
/// The subject to be matched is none to publish to.
pub(super) fn document(source: &dyn Source, options: &Options) -> Result<Subsz, Refused> {
    let test = options.test.as_str();
    if !test.is_empty() && !subject::is_literal(test.as_bytes()) {
        let text = format!("invalid test subject, must be valid publish subject: {test}");
        return Err(Refused(text));
    }
    let (offset, limit) = page(options.offset, options.limit);
    let facts = source.facts();
    let account = Some(options.account.as_str()).filter(|name| !name.is_empty());
    let tenant = account.map(|name| facts.accounts.named(name));
    let stats = match tenant {
        Some(None) => SublistStats::default(),
        Some(Some(tenant)) => SublistStats::new([tenant], &CacheTotals::default()),
        None => SublistStats::new(facts.accounts.iter(), &Figures::of(source).cache),
    };
    let mut subsz = Subsz {
        server_id: facts.id.clone(),
        now: Stamp(source.vitals().now),
        stats,
        total: 0,
        offset,
        limit,
        subscriptions_list: Vec::new(),
    };
    if options.subscriptions && !matches!(tenant, Some(None)) {
        let question = SubscriptionsQuestion {
            within: None,
            queue: None,
            account: account.map(str::to_owned),
            test: Some(test.as_bytes().to_vec()).filter(|test| !test.is_empty()),
            pick: offset.saturating_add(limit),
        };
        let mut rows = Vec::new();
        let mut to_skip = offset;
        for report in source.ask(Question::Subscriptions(Arc::new(question))) {
            let Report::Subscriptions(report) = report else {
                continue;
            };
            // The loops' subscriptions lie one loop's behind the other's.
            subsz.total += report.matching;
            let room = limit - rows.len();
            rows.extend(report.rows.into_iter().skip(to_skip).take(room));
            to_skip = to_skip.saturating_sub(report.matching);
        }
        let rows = rows.into_iter();
        subsz.subscriptions_list = rows.map(|row| SubscriptionDetail::new(row, true)).collect();
    }
    Ok(subsz)
}
