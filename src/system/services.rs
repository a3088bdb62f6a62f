//! The subjects on which the server listens in the system account.

use crate::broker::events::connections_subjects;
use crate::monitor::request::{AccountEndpoint, Endpoint};

/// A service of the system account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// A document of monitoring about the server.
    Document(Endpoint),
    /// The server's name, address and key.
    Idz,
    /// A profile of the process.
    Profile,
    /// Read the configuration again.
    Reload,
    /// Disconnect a client.
    Kick,
    /// Tell a client to go elsewhere.
    LameDuck,
    /// A document about one account.
    Account(AccountEndpoint),
    /// Figures of accounts.
    AccountsStatz,
    /// Who a client is, for itself.
    UserInfo,
    /// How many subscriptions there are on a subject.
    Subscribers,
    /// Another server tells how many clients it has in an account.
    Elsewhere,
    /// Another server ends.
    Ends,
}

/// What a server is asked for by its name or by all servers' name.
const DOCUMENTS: &[(&str, Endpoint)] = &[
    ("STATSZ", Endpoint::Statsz),
    ("VARZ", Endpoint::Varz),
    ("SUBSZ", Endpoint::Subsz),
    ("CONNZ", Endpoint::Connz),
    ("ROUTEZ", Endpoint::Routez),
    ("GATEWAYZ", Endpoint::Gatewayz),
    ("LEAFZ", Endpoint::Leafz),
    ("ACCOUNTZ", Endpoint::Accountz),
    ("JSZ", Endpoint::Jsz),
    ("HEALTHZ", Endpoint::Healthz),
    ("EXPVARZ", Endpoint::Expvarz),
    ("IPQUEUESZ", Endpoint::Ipqueuesz),
    ("RAFTZ", Endpoint::Raftz),
];

const ACCOUNT_DOCUMENTS: &[(&str, AccountEndpoint)] = &[
    ("SUBSZ", AccountEndpoint::Subsz),
    ("CONNZ", AccountEndpoint::Connz),
    ("LEAFZ", AccountEndpoint::Leafz),
    ("JSZ", AccountEndpoint::Jsz),
    ("INFO", AccountEndpoint::Info),
    ("STATZ", AccountEndpoint::Statz),
    ("CONNS", AccountEndpoint::Conns),
];

/// All subjects, and the service on each, for the server with the key `id`, which may be part of a
/// cluster.
pub fn table(id: &str, is_clustered: bool) -> Vec<(String, Service)> {
    let mut table = vec![(
        "$SYS.REQ.SERVER.PING".into(),
        Service::Document(Endpoint::Statsz),
    )];
    let mut server = |name: &str, service| {
        table.push((format!("$SYS.REQ.SERVER.{id}.{name}"), service));
        if !matches!(service, Service::Reload | Service::Kick | Service::LameDuck) {
            table.push((format!("$SYS.REQ.SERVER.PING.{name}"), service));
        }
    };
    for (name, endpoint) in DOCUMENTS {
        server(name, Service::Document(*endpoint));
    }
    server("IDZ", Service::Idz);
    server("PROFILEZ", Service::Profile);
    server("RELOAD", Service::Reload);
    server("KICK", Service::Kick);
    server("LDM", Service::LameDuck);
    for (name, endpoint) in ACCOUNT_DOCUMENTS {
        table.push((
            format!("$SYS.REQ.ACCOUNT.*.{name}"),
            Service::Account(*endpoint),
        ));
    }
    table.push(("$SYS.REQ.ACCOUNT.PING.STATZ".into(), Service::AccountsStatz));
    table.push(("$SYS.REQ.USER.*.INFO".into(), Service::UserInfo));
    table.push(("$SYS.DEBUG.SUBSCRIBERS".into(), Service::Subscribers));
    if is_clustered {
        for subject in connections_subjects("*") {
            table.push((subject, Service::Elsewhere));
        }
        table.push(("$SYS.SERVER.*.SHUTDOWN".into(), Service::Ends));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn subjects_are_valid_and_listed_once() {
        let alone = table("NX", false).len();
        let table = table("NX", true);
        assert_eq!(table.len(), alone + 3);
        let subjects: HashSet<_> = table.iter().map(|(subject, _)| subject).collect();
        assert_eq!(subjects.len(), table.len());
        for (subject, _) in &table {
            assert!(crate::subject::is_valid(subject.as_bytes()), "{subject}");
        }
        let of = |subject: &str| table.iter().find(|(s, _)| s == subject).map(|(_, s)| *s);
        assert_eq!(of("$SYS.REQ.SERVER.NX.KICK"), Some(Service::Kick));
        assert_eq!(of("$SYS.REQ.SERVER.PING.KICK"), None);
        assert_eq!(of("$SYS.REQ.SERVER.PING.IDZ"), Some(Service::Idz));
    }
}
