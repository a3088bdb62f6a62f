//! routez: connections to the other servers of the cluster.

use super::go_json::Stamp;
use super::links::RouteRow;
use super::query::Query;
use super::source::Source;
use super::{Answer, Refused};
use serde::Serialize;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub subscriptions: bool,
    pub detail: bool,
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Routez {
    server_id: String,
    server_name: String,
    now: Stamp,
    num_routes: usize,
    routes: Vec<RouteRow>,
}

pub(super) fn answer(source: &dyn Source, query: Query<'_>) -> Result<Answer, Refused> {
    let (subscriptions, detail) = query.subscriptions()?;
    let options = Options {
        subscriptions,
        detail,
    };
    Ok(super::document(&document(source, &options)))
}

/// The document.
pub(super) fn document(source: &dyn Source, options: &Options) -> Routez {
    let facts = source.facts();
    let mut routes = source.links(options.subscriptions || options.detail).routes;
    for route in &mut routes {
        if !options.detail {
            route.subscriptions_list_detail.clear();
        }
        if !options.subscriptions || options.detail {
            route.subscriptions_list.clear();
        }
    }
    Routez {
        server_id: facts.id.clone(),
        server_name: facts.name.clone(),
        now: Stamp(source.vitals().now),
        num_routes: routes.len(),
        routes,
    }
}
