//! The metadata that the server keeps itself: which level of the API a stream or consumer needs,
//! and, in answers, what level and version the server has.

use super::consumer_config::ConsumerConfig;
use super::policy::{AckPolicy, PersistMode, PriorityPolicy};
use super::stream_config::{Metadata, StreamConfig};

/// The level that is needed; kept with the configuration.
pub const REQUIRED_LEVEL: &str = "_nats.req.level";
/// The server's version; only ever shown.
pub const SERVER_VERSION: &str = "_nats.ver";
/// The server's level; only ever shown.
pub const SERVER_LEVEL: &str = "_nats.level";

/// The level that a stream needs.
pub fn stream_level(config: &StreamConfig) -> u16 {
    if config.allow_batched {
        4
    } else if config.allow_msg_counter
        || config.allow_atomic
        || config.allow_msg_schedules
        || config.persist_mode == PersistMode::Async
    {
        2
    } else {
        u16::from(config.allow_msg_ttl || config.subject_delete_marker_ttl.0 > 0)
    }
}

/// The level that a consumer needs.
pub fn consumer_level(config: &ConsumerConfig) -> u16 {
    if config.ack_policy == AckPolicy::FlowControl {
        return 4;
    }
    let paused = config.pause_until.is_some_and(|until| !until.is_zero());
    let grouped = config.priority_policy != PriorityPolicy::None
        || !config.priority_timeout.is_zero()
        || !config.priority_groups.is_empty();
    u16::from(paused || grouped)
}

/// Makes metadata say what level is needed, and takes out what is only ever shown.
pub fn set_required(metadata: &mut Metadata, level: u16) {
    remove_shown(metadata);
    metadata.insert(REQUIRED_LEVEL.into(), level.to_string());
}

/// Makes metadata need the level that the metadata of an earlier configuration does, so that both
/// can be compared.
pub fn copy_required(metadata: &mut Metadata, earlier: &Metadata) {
    remove_shown(metadata);
    match earlier.get(REQUIRED_LEVEL) {
        Some(level) => metadata.insert(REQUIRED_LEVEL.into(), level.clone()),
        None => metadata.remove(REQUIRED_LEVEL),
    };
}

/// Adds what is only ever shown.
pub fn show(metadata: &mut Metadata, version: &str) {
    metadata.insert(SERVER_VERSION.into(), version.into());
    metadata.insert(SERVER_LEVEL.into(), super::LEVEL.to_string());
}

/// Whether this server has the level that metadata ask for.
pub fn is_supported(metadata: &Metadata) -> bool {
    match metadata.get(REQUIRED_LEVEL).map(String::as_str) {
        None | Some("") => true,
        Some(level) => level
            .parse::<i64>()
            .is_ok_and(|level| level <= super::LEVEL.into()),
    }
}

/// Bytes of all keys and values.
pub(super) fn len(metadata: &Metadata) -> usize {
    metadata
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

fn remove_shown(metadata: &mut Metadata) {
    metadata.remove(SERVER_VERSION);
    metadata.remove(SERVER_LEVEL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Nanos, Time};

    #[test]
    fn levels_follow_from_what_is_used() {
        let plain = StreamConfig::default();
        assert_eq!(stream_level(&plain), 0);
        let mut config = plain.clone();
        config.subject_delete_marker_ttl = Nanos::from_secs(1);
        assert_eq!(stream_level(&config), 1);
        config.persist_mode = PersistMode::Async;
        assert_eq!(stream_level(&config), 2);
        config.allow_batched = true;
        assert_eq!(stream_level(&config), 4);
        let mut config = ConsumerConfig::default();
        assert_eq!(consumer_level(&config), 0);
        config.pause_until = Some(Time::ZERO);
        assert_eq!(consumer_level(&config), 0);
        config.pause_until = Some(Time::from_unix(1, 0));
        assert_eq!(consumer_level(&config), 1);
        config.ack_policy = AckPolicy::FlowControl;
        assert_eq!(consumer_level(&config), 4);
    }

    #[test]
    fn what_is_shown_is_not_kept() {
        let mut metadata = Metadata::from([("a".to_owned(), "b".to_owned())]);
        set_required(&mut metadata, 1);
        let kept = metadata.clone();
        show(&mut metadata, "2.15.0");
        assert_eq!(metadata[SERVER_LEVEL], "5");
        set_required(&mut metadata, 1);
        assert_eq!(metadata, kept);
        copy_required(&mut metadata, &Metadata::new());
        assert_eq!(metadata.len(), 1);
        copy_required(&mut metadata, &kept);
        assert_eq!(metadata, kept);
    }

    #[test]
    fn levels_beyond_the_server_are_not_supported() {
        let of = |level: &str| Metadata::from([(REQUIRED_LEVEL.to_owned(), level.to_owned())]);
        assert!(is_supported(&Metadata::new()) && is_supported(&of("")) && is_supported(&of("5")));
        assert!(!is_supported(&of("6")) && !is_supported(&of("x")));
    }
}
