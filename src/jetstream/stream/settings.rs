//! What consumers of a stream are to do, by configurations that were checked.

use crate::jetstream::api::{ConsumerConfig, StreamConfig};
use crate::jetstream::consumer::{Settings, Site};

/// Bytes that may be sent at once where messages have no limit of their own.
const BURST: u64 = 1 << 20;

/// What a consumer of a stream is to do. `place` is the domain, and the account's hash, if subjects of
/// acknowledgements begin with them.
pub(super) fn settings(
    stream: &StreamConfig,
    config: &ConsumerConfig,
    place: Option<&(String, String)>,
) -> Settings {
    let message_bytes_max = u64::try_from(stream.max_msg_size).ok();
    let site = Site {
        stream: &stream.name,
        retention: stream.retention,
        message_bytes_max: message_bytes_max.filter(|max| *max > 0).unwrap_or(BURST),
        domain: place.map(|(domain, account)| (&**domain, &**account)),
    };
    Settings::of(&config.name, config, &site).unwrap_or_else(|_| {
        // Filters were checked, so this is a configuration that somebody else wrote.
        log::error!("Consumer {} has invalid filters", config.name);
        Settings::new(&stream.name, &config.name)
    })
}
