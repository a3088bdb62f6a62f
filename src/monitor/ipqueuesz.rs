//! ipqueuesz: what waits between the parts of the server.

use super::figures::Figures;
use super::source::Source;
use serde::Serialize;
use std::collections::BTreeMap;

/// A queue.
#[derive(Debug, Serialize)]
pub(super) struct Queue {
    pending: usize,
}

/// The document: the mailboxes of the client loops by the names of their threads, those with
/// something in them or with `all` all of them, whose names have `filter` in them.
pub(super) fn document(source: &dyn Source, all: bool, filter: &str) -> BTreeMap<String, Queue> {
    let loads = Figures::of(source).loads;
    let queues = loads.iter().map(|load| {
        let name = format!("clients-{} mail", load.number);
        (name, Queue { pending: load.mail })
    });
    queues
        .filter(|(name, queue)| (all || queue.pending > 0) && name.contains(filter))
        .collect()
}
