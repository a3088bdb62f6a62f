//! leafz: leaf nodes.

use super::go_json::Stamp;
use super::links::LeafRow;
use super::query::Query;
use super::source::Source;
use super::{Answer, Refused};
use serde::Serialize;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub subscriptions: bool,
    /// The only account to tell of; empty: all.
    pub account: String,
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Leafz {
    server_id: String,
    now: Stamp,
    leafnodes: usize,
    leafs: Vec<LeafRow>,
}

pub(super) fn answer(source: &dyn Source, query: Query<'_>) -> Result<Answer, Refused> {
    let options = Options {
        subscriptions: query.boolean("subs")?,
        account: query.text("acc").into(),
    };
    Ok(super::document(&document(source, &options)))
}

/// The document.
pub(super) fn document(source: &dyn Source, options: &Options) -> Leafz {
    let mut leafs = source.links(false).leafs;
    leafs.retain(|leaf| options.account.is_empty() || leaf.account == options.account);
    if !options.subscriptions {
        leafs
            .iter_mut()
            .for_each(|leaf| leaf.subscriptions_list.clear());
    }
    Leafz {
        server_id: source.facts().id.clone(),
        now: Stamp(source.vitals().now),
        leafnodes: leafs.len(),
        leafs,
    }
}
