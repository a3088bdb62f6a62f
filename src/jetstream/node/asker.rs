//! Who asks: what stands in the header that a request to the API comes with.

use crate::json::Time;
use crate::proto::client_info::ClientInfo;
use std::time::{Duration, UNIX_EPOCH};

/// The header's JSON, as far as others are told of it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Header {
    start: String,
    host: String,
    id: u64,
    acc: String,
    svc: String,
    user: String,
    name: String,
    lang: String,
    ver: String,
    rtt: u64,
    server: String,
    cluster: String,
    kind: String,
    client_type: String,
}

/// The client that a header tells of; one of which nothing is known if it cannot be read.
pub(super) fn client(header: &[u8]) -> ClientInfo {
    let found: Header = serde_json::from_slice(header).unwrap_or_default();
    let start = Time::parse(&found.start).ok().filter(|at| !at.is_zero());
    ClientInfo {
        start: start.map(|at| UNIX_EPOCH + Duration::from_nanos(at.unix_nanos())),
        host: found.host,
        id: found.id,
        account: found.acc,
        service: found.svc,
        user: found.user,
        name: found.name,
        lang: found.lang,
        version: found.ver,
        rtt: Duration::from_nanos(found.rtt),
        server: found.server,
        cluster: found.cluster,
        stop: None,
        kind: known(
            &found.kind,
            &["Client", "Leafnode", "JetStream", "Account", "System"],
        ),
        client_type: known(&found.client_type, &["nats", "mqtt", "websocket"]),
    }
}

fn known(word: &str, words: &[&'static str]) -> &'static str {
    let found = words.iter().find(|known| **known == word);
    found.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_of_as_it_was() {
        let header = br#"{"start":"2026-01-02T03:04:05.5Z","host":"127.0.0.1","id":7,"acc":"A","name":"n","lang":"go","ver":"1.2","rtt":1500,"server":"s","kind":"Client","client_type":"nats","later":1}"#;
        let told = serde_json::to_string(&client(header)).unwrap();
        assert_eq!(
            told.as_bytes(),
            [&header[..header.len() - 11], b"}"].concat()
        );
        assert_eq!(client(b"?"), ClientInfo::default());
    }
}
