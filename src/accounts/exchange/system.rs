//! What every account may ask the system account without importing it, as in the reference: about
//! its own connections and figures, and a client about itself.

use super::{Exchange, Mapper, Rule, Rules, ServiceExport, ServiceImport, THRESHOLD};
use crate::accounts::Account;
use crate::options::security::ResponseType;
use std::sync::Arc;

/// The services that the system account exports of itself: the subject, how answers come, and
/// which token must be the importing account's name.
pub const EXPORTS: &[(&str, ResponseType, Option<usize>)] = &[
    ("$SYS.REQ.ACCOUNT.*.CONNZ", ResponseType::Streamed, Some(4)),
    ("$SYS.REQ.ACCOUNT.*.STATZ", ResponseType::Streamed, Some(4)),
    ("$SYS.DEBUG.SUBSCRIBERS", ResponseType::Singleton, None),
    ("$SYS.REQ.USER.*.INFO", ResponseType::Singleton, None),
];

/// The services that every account has of it: the subject of a request, the place of the export in
/// [`EXPORTS`], and whether it is told who asks. The wildcard of the export stands for the account.
pub const IMPORTS: &[(&str, usize, bool)] = &[
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", 0, false),
    ("$SYS.REQ.SERVER.PING.CONNZ", 0, false),
    ("$SYS.REQ.ACCOUNT.PING.STATZ", 1, false),
    ("$SYS.REQ.USER.INFO", 3, true),
];

/// The one that the system account has of itself.
pub const DIRECT: &str = "$SYS.REQ.USER.INFO";

fn export(system: &Account, at: usize) -> ServiceExport {
    let (subject, response_type, _) = EXPORTS[at];
    ServiceExport {
        account: system.number,
        subject: subject.into(),
        response_type,
        threshold: THRESHOLD,
        latency: None,
        allow_trace: false,
    }
}

/// Adds those exports to the rules of the system account, save where it exports the same itself.
pub(super) fn export_services(rules: &mut Rules, system: &Account) {
    for (at, (subject, _, position)) in EXPORTS.iter().enumerate() {
        if !rules.covers(subject) {
            rules.insert(Rule {
                subject: (*subject).to_owned(),
                accounts: None,
                position: *position,
                service: Some(Arc::new(export(system, at))),
            });
        }
    }
}

/// Adds those imports to an account, save where it imports the same itself.
pub(in crate::accounts) fn import_services(
    exchange: &mut Exchange,
    account: &Account,
    system: &Arc<Account>,
    seed: u64,
) {
    let is_system = account.number == system.number;
    for (subject, at, share) in IMPORTS {
        let direct = *subject == DIRECT;
        let mut there = exchange.services(subject.as_bytes());
        if (is_system && !direct) || there.any(|import| import.exporter.number == system.number) {
            continue;
        }
        drop(there);
        let to = EXPORTS[*at].0.replacen('*', &account.name, 1);
        // A name with blanks or wildcards in it makes no subject.
        let Ok(mapper) = Mapper::backwards(subject, &to) else {
            continue;
        };
        let import = ServiceImport {
            exporter: system.clone(),
            mapper,
            export: Arc::new(export(system, *at)),
            share: *share,
        };
        exchange.services.insert(subject, Arc::new(import), seed);
    }
}

/// The subjects of requests to JetStream, all of which the system account serves.
const JETSTREAM: &str = "$JS.API.>";

/// Those of them that accounts ask there. Others they ask in themselves: for messages.
const JETSTREAM_REQUESTS: &[&str] = &[
    "$JS.API.INFO",
    "$JS.API.STREAM.>",
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.DURABLE.>",
    "$JS.API.CONSUMER.NAMES.*",
    "$JS.API.CONSUMER.LIST.*",
    "$JS.API.CONSUMER.INFO.*.*",
    "$JS.API.CONSUMER.DELETE.*.*",
    "$JS.API.CONSUMER.PAUSE.*.*",
    "$JS.API.CONSUMER.UNPIN.*.*",
    "$JS.API.CONSUMER.LEADER.>",
    "$JS.API.CONSUMER.PEER.>",
    "$JS.API.META.>",
    "$JS.API.SERVER.>",
    "$JS.API.ACCOUNT.>",
];

/// Lets an account ask JetStream.
pub(in crate::accounts) fn import_jetstream(
    exchange: &mut Exchange,
    account: &Account,
    system: &Arc<Account>,
    seed: u64,
) {
    if account.number == system.number {
        return;
    }
    let export = Arc::new(ServiceExport {
        account: system.number,
        subject: JETSTREAM.into(),
        response_type: ResponseType::Singleton,
        threshold: THRESHOLD,
        latency: None,
        allow_trace: false,
    });
    for subject in JETSTREAM_REQUESTS {
        let Ok(mapper) = Mapper::backwards(subject, subject) else {
            continue;
        };
        let import = ServiceImport {
            exporter: system.clone(),
            mapper,
            export: export.clone(),
            share: true,
        };
        exchange.services.insert(subject, Arc::new(import), seed);
    }
}
