//! Streams that are made and changed by requests: which of them are allowed.

use super::consumer_config::ConsumerConfig;
use super::errors::ApiError;
use super::policy::{DiscardPolicy, RetentionPolicy};
use super::request::StreamConfigRequest;
use super::stream_check::{Surroundings, complete};
use super::stream_config::{StreamConfig, StreamSource};
use super::{metadata, names};
use crate::json::Nanos;
use crate::subject::is_valid;
use crate::subject::transform::Transform;

/// What a request to make a stream comes to.
#[derive(Clone, PartialEq, Debug)]
pub enum Creation {
    /// A stream that there is not yet.
    New(Box<StreamConfig>),
    /// The stream there is, which is just so.
    Same,
}

/// Checks a request to make the stream that the subject names.
///
/// # Errors
/// The first rule that is broken.
pub fn create(
    mut request: StreamConfigRequest,
    subject_name: &str,
    around: &Surroundings<'_>,
) -> Result<Creation, ApiError> {
    let config = &mut request.config;
    let level = metadata::stream_level(config);
    metadata::set_required(&mut config.metadata, level);
    if subject_name != config.name {
        return Err(ApiError::StreamMismatch);
    }
    if names::is_path(subject_name) {
        return Err(ApiError::StreamNameContainsPathSeparators);
    }
    if config.sealed {
        return bad("stream configuration for create can not be sealed");
    }
    if config.mirror_direct && config.mirror.is_none() {
        return bad("stream has no mirror but does have mirror direct");
    }
    let existing = around.streams.stream(&config.name);
    around.ledger.check_streams(config, existing)?;
    around
        .ledger
        .check_stream(config, existing, around.server)?;
    let mut config = complete(config, request.pedantic, around)?;
    if config.num_replicas > 1 {
        return Err(ApiError::StreamReplicasNotSupported);
    }
    if let Some(existing) = existing {
        metadata::copy_required(&mut config.metadata, &existing.metadata);
        return match config == *existing {
            true => Ok(Creation::Same),
            false => Err(ApiError::StreamNameExist),
        };
    }
    around.ledger.check_stream(&config, None, around.server)?;
    check_origins(&config)?;
    if config
        .subjects
        .iter()
        .any(|subject| around.streams.is_taken(subject, &config.name))
    {
        return Err(ApiError::StreamSubjectOverlap);
    }
    Ok(Creation::New(Box::new(config)))
}

/// Checks a request to restore the stream that the subject names, and says how it is to be
/// configured.
///
/// # Errors
/// The first rule that is broken.
pub fn restore(
    mut config: StreamConfig,
    subject_name: &str,
    around: &Surroundings<'_>,
) -> Result<StreamConfig, ApiError> {
    if config.name.is_empty() {
        config.name = subject_name.into();
    }
    if subject_name != config.name {
        return Err(ApiError::StreamMismatch);
    }
    if names::is_path(subject_name) {
        return Err(ApiError::StreamNameContainsPathSeparators);
    }
    let config = complete(&config, false, around)?;
    let existing = around.streams.stream(&config.name);
    around.ledger.check_streams(&config, existing)?;
    around
        .ledger
        .check_stream(&config, existing, around.server)?;
    if existing.is_some() {
        return Err(ApiError::StreamNameExistRestoreFailed);
    }
    if config.num_replicas > 1 {
        return Err(ApiError::StreamReplicasNotSupported);
    }
    check_origins(&config)?;
    if config
        .subjects
        .iter()
        .any(|subject| around.streams.is_taken(subject, &config.name))
    {
        return Err(ApiError::StreamSubjectOverlap);
    }
    Ok(config)
}

/// Checks a request to change the stream that the subject names, as far as that does not need the
/// stream: what is wrong with the request itself is told before it is said that there is none.
///
/// # Errors
/// The first rule that is broken.
pub fn check_update_request(
    request: &StreamConfigRequest,
    subject_name: &str,
    around: &Surroundings<'_>,
) -> Result<StreamConfig, ApiError> {
    let mut config = complete(&request.config, request.pedantic, around)?;
    if subject_name != config.name {
        return Err(ApiError::StreamMismatch);
    }
    let level = metadata::stream_level(&config);
    metadata::set_required(&mut config.metadata, level);
    Ok(config)
}

/// Checks what became of [`check_update_request`] against the stream there is and its consumers,
/// and says how it is to be configured then.
///
/// # Errors
/// The first rule that is broken.
pub fn update<'c>(
    old: &StreamConfig,
    new: &StreamConfig,
    pedantic: bool,
    consumers: impl Iterator<Item = (&'c str, &'c ConsumerConfig)>,
    around: &Surroundings<'_>,
) -> Result<StreamConfig, ApiError> {
    let mut config = complete(new, pedantic, around)?;
    check_fixed(old, &config)?;
    if config.sealed {
        config.max_age = Nanos::ZERO;
        config.discard = DiscardPolicy::New;
        config.deny_delete = true;
        config.deny_purge = true;
        config.allow_rollup_hdrs = false;
    }
    around.ledger.check_update(old, &config, around.server)?;
    check_consumers(old, &config, consumers)?;
    if config
        .subjects
        .iter()
        .any(|subject| around.streams.is_taken(subject, &config.name))
    {
        return Err(ApiError::StreamSubjectOverlap);
    }
    Ok(config)
}

/// What can not be changed, or in one direction only.
fn check_fixed(old: &StreamConfig, new: &StreamConfig) -> Result<(), ApiError> {
    if new.name != old.name {
        return bad("stream configuration name must match original");
    }
    if new.num_replicas > 1 {
        return Err(ApiError::StreamReplicasNotSupported);
    }
    if new.storage != old.storage {
        return bad("stream configuration update can not change storage type");
    }
    let queue = |config: &StreamConfig| config.retention == RetentionPolicy::WorkQueue;
    if queue(new) != queue(old) {
        return bad(
            "stream configuration update can not change retention policy to/from workqueue",
        );
    }
    if old.sealed && !new.sealed {
        return bad("stream configuration update can not unseal a sealed stream");
    }
    if old.deny_delete && !new.deny_delete {
        return bad("stream configuration update can not cancel deny message deletes");
    }
    if old.deny_purge && !new.deny_purge {
        return bad("stream configuration update can not cancel deny purge");
    }
    if new.mirror.is_some() && new.mirror != old.mirror {
        return Err(ApiError::StreamMirrorNotUpdatable);
    }
    if old.allow_msg_ttl && !new.allow_msg_ttl {
        return bad("message TTL status can not be disabled");
    }
    if old.allow_msg_counter != new.allow_msg_counter {
        return bad("stream configuration update can not change message counter setting");
    }
    if old.allow_msg_schedules && !new.allow_msg_schedules {
        return bad("message schedules can not be disabled");
    }
    if old.persist_mode != new.persist_mode {
        return bad("stream configuration update can not change persist mode");
    }
    Ok(())
}

/// Consumers that new limits for them would not allow.
fn check_consumers<'c>(
    old: &StreamConfig,
    new: &StreamConfig,
    consumers: impl Iterator<Item = (&'c str, &'c ConsumerConfig)>,
) -> Result<(), ApiError> {
    let (before, after) = (old.consumer_limits, new.consumer_limits);
    let (threshold, pending) = (after.inactive_threshold, after.max_ack_pending);
    let changed = (threshold.0 > 0 && threshold != before.inactive_threshold)
        || (pending > 0 && pending != before.max_ack_pending);
    if !changed {
        return Ok(());
    }
    let violated = |config: &ConsumerConfig| {
        (threshold.0 > 0 && config.inactive_threshold > threshold)
            || (pending > 0 && config.max_ack_pending > pending)
    };
    let mut found: Vec<&str> = consumers
        .filter(|(_, config)| violated(config))
        .map(|(name, _)| name)
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    found.sort_unstable();
    let err = format!("change to limits violates consumers: {}", found.join(", "));
    Err(ApiError::StreamUpdate { err })
}

/// Filters and transforms of the streams that messages come from.
fn check_origins(config: &StreamConfig) -> Result<(), ApiError> {
    if let Some(mirror) = &config.mirror {
        check_origin(mirror, true)?;
    }
    config
        .sources
        .iter()
        .try_for_each(|source| check_origin(source, false))
}

fn check_origin(source: &StreamSource, mirror: bool) -> Result<(), ApiError> {
    let (what, colon) = if mirror {
        ("mirror", "")
    } else {
        ("source", ":")
    };
    let filter = &source.filter_subject;
    let refused = |err: String| Err(ApiError::StreamCreate { err });
    if source.subject_transforms.is_empty() {
        if !filter.is_empty() && !is_valid(filter.as_bytes()) {
            return refused(format!(
                "subject filter '{filter}' for the {what}{colon} invalid subject"
            ));
        }
        return Ok(());
    }
    for transform in &source.subject_transforms {
        let (from, to) = (&transform.source, &transform.destination);
        if to.is_empty() {
            continue;
        }
        if let Err(error) = Transform::new(from, to, false) {
            return refused(format!(
                "subject transform from '{from}' to '{to}' for the {what}: {error}"
            ));
        }
    }
    Ok(())
}

fn bad<T>(what: &str) -> Result<T, ApiError> {
    Err(ApiError::invalid_config(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::api::info::AccountLimits;
    use crate::jetstream::api::limits::{Ledger, ServerStorage, Tiers};
    use crate::jetstream::api::stream_check::Streams;
    use crate::json::decode::request;
    use crate::subject::pattern::overlaps;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct There(BTreeMap<String, StreamConfig>);

    impl Streams for There {
        fn stream(&self, name: &str) -> Option<&StreamConfig> {
            self.0.get(name)
        }

        fn is_taken(&self, subject: &str, except: &str) -> bool {
            let others = self.0.values().filter(|stream| stream.name != except);
            let meets = |other: &String| overlaps(other.as_bytes(), subject.as_bytes());
            others.flat_map(|stream| &stream.subjects).any(meets)
        }
    }

    const SERVER: ServerStorage = ServerStorage {
        max_memory: 1 << 40,
        max_storage: 1 << 40,
        reserved_memory: 0,
        reserved_storage: 0,
    };

    fn around<'a>(there: &'a There, ledger: &'a Ledger) -> Surroundings<'a> {
        Surroundings {
            streams: there,
            ledger,
            server: &SERVER,
            duplicate_window_max: Nanos::ZERO,
        }
    }

    fn ledger() -> Ledger {
        Ledger::new(Tiers::flat(AccountLimits::UNLIMITED))
    }

    fn read(text: &str) -> StreamConfigRequest {
        request(text.as_bytes(), true).unwrap().value
    }

    fn asked(text: &str, there: &There) -> Result<Creation, ApiError> {
        create(read(text), "S", &around(there, &ledger()))
    }

    fn made(text: &str, there: &There) -> StreamConfig {
        match asked(text, there) {
            Ok(Creation::New(config)) => *config,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(rest: &str) -> (u16, String) {
        let text = format!(r#"{{"name":"S"{rest}}}"#);
        let error = asked(&text, &There::default()).unwrap_err();
        (error.err_code(), error.to_string())
    }

    /// Byte for byte what a Go server made of it, without what it only shows.
    #[test]
    fn what_was_not_said_is_completed() {
        let config = made(r#"{"name":"S","subjects":["s.>"]}"#, &There::default());
        let json = String::from_utf8(crate::json::compact(&config)).unwrap();
        let want = concat!(
            r#"{"name":"S","subjects":["s.\u003e"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"#,
            r#""max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","#,
            r#""storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"none","#,
            r#""allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"#,
            r#""deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"#,
            r#""metadata":{"_nats.req.level":"0"}}"#,
        );
        assert_eq!(json, want);
        let config = made(
            r#"{"name":"S","max_age":1000000000,"placement":{}}"#,
            &There::default(),
        );
        assert_eq!(config.duplicate_window, Nanos::from_secs(1));
        assert_eq!(
            (config.subjects, config.placement),
            (vec!["S".to_owned()], None)
        );
        let text = r#"{"name":"S","subject_delete_marker_ttl":1000000000,"deny_purge":true}"#;
        let config = made(text, &There::default());
        assert!(config.allow_msg_ttl && config.allow_rollup_hdrs && !config.deny_purge);
        assert_eq!(config.metadata["_nats.req.level"], "1");
        let text = r#"{"name":"S","subjects":["a"],"subject_transform":{"src":"a","dest":"b"},
            "republish":{"dest":">"}}"#;
        let republish = made(text, &There::default()).republish.unwrap();
        assert_eq!(
            (republish.source.as_str(), republish.destination.as_str()),
            ("b", "b")
        );
    }

    #[test]
    fn rules_are_told_of() {
        for (rest, code, text) in [
            (
                r#","sealed":true"#,
                10052,
                "stream configuration for create can not be sealed",
            ),
            (
                r#","mirror_direct":true"#,
                10052,
                "stream has no mirror but does have mirror direct",
            ),
            (r#","num_replicas":6"#, 10052, "maximum replicas is 5"),
            (
                r#","num_replicas":-1"#,
                10133,
                "replicas count cannot be negative",
            ),
            (
                r#","num_replicas":3"#,
                10074,
                "replicas > 1 not supported in non-clustered mode",
            ),
            (r#","max_age":-1"#, 10052, "max age can not be negative"),
            (r#","max_age":5"#, 10052, "max age needs to be >= 100ms"),
            (
                r#","duplicate_window":-1"#,
                10052,
                "duplicates window can not be negative",
            ),
            (
                r#","duplicate_window":5"#,
                10052,
                "duplicates window needs to be >= 100ms",
            ),
            (
                r#","max_age":100000000,"duplicate_window":200000000"#,
                10052,
                "duplicates window can not be larger then max age",
            ),
            (
                r#","deny_purge":true,"allow_rollup_hdrs":true"#,
                10052,
                "roll-ups require the purge permission",
            ),
            (
                r#","allow_msg_counter":true,"discard":"new""#,
                10052,
                "counter stream cannot use discard new",
            ),
            (
                r#","discard_new_per_subject":true"#,
                10052,
                "discard new per subject requires discard new policy to be set",
            ),
            (
                r#","discard_new_per_subject":true,"discard":"new""#,
                10052,
                "discard new per subject requires max msgs per subject > 0",
            ),
            (
                r#","subject_delete_marker_ttl":5"#,
                10052,
                "subject delete marker TTL must be at least 1 second",
            ),
            (
                r#","persist_mode":"async","storage":"memory""#,
                10052,
                "async persist mode is only supported on file storage",
            ),
            (
                r#","mirror":{"name":"O"},"first_seq":5"#,
                10143,
                "stream mirrors can not have first sequence configured",
            ),
            (
                r#","mirror":{"name":"O"},"subjects":["a"]"#,
                10034,
                "stream mirrors can not contain subjects",
            ),
            (
                r#","mirror":{"name":"a.b"}"#,
                10142,
                "mirrored stream name is invalid",
            ),
            (
                r#","mirror":{"name":"O","filter_subject":"a","subject_transforms":[{"src":"a"}]}"#,
                10150,
                "mirror with multiple subject transforms cannot also have a single subject filter",
            ),
            (
                r#","mirror":{"name":"O","subject_transforms":[{"src":"a"},{"src":"*"}]}"#,
                10152,
                "mirror subject filters can not overlap",
            ),
            (
                r#","mirror":{"name":"O","filter_subject":"a..b"}"#,
                10049,
                "subject filter 'a..b' for the mirror invalid subject",
            ),
            (
                r#","sources":[{"name":""}]"#,
                10141,
                "sourced stream name is invalid",
            ),
            (
                r#","sources":[null]"#,
                10141,
                "sourced stream name is invalid",
            ),
            (
                r#","sources":[{"name":"A"},{"name":"A"}]"#,
                10140,
                "duplicate source configuration detected",
            ),
            (
                r#","sources":[{"name":"A","subject_transforms":[{"src":"a..b","dest":""}]}]"#,
                10145,
                "source transform source: invalid subject a..b",
            ),
            (r#","sources":[{"name":"S"}]"#, 10052, "detected cycle"),
            (
                r#","sources":[{"name":"A","external":{"api":"$JS.API","deliver":""}}]"#,
                10021,
                "stream external api prefix $JS.API must not overlap with $JS.API",
            ),
            (
                r#","sources":[{"name":"A","external":{"api":"x","deliver":"d.*"}}]"#,
                10024,
                "stream external delivery prefix d.* must not contain wildcards",
            ),
            (r#","subjects":["a..b"]"#, 10052, "invalid subject"),
            (
                r#","subjects":["a","a"]"#,
                10052,
                r#"subject "a" overlaps with "a""#,
            ),
            (
                r#","subjects":["a.*","a.b"]"#,
                10052,
                r#"subject "a.*" overlaps with "a.b""#,
            ),
            (
                r#","subjects":[">"]"#,
                10052,
                "capturing all subjects requires no-ack to be true",
            ),
            (
                r#","subjects":["$JS.API.>"]"#,
                10052,
                "subjects that overlap with jetstream api require no-ack to be true",
            ),
            (
                r#","subjects":["*.A"]"#,
                10052,
                "subjects that overlap with jetstream api require no-ack to be true",
            ),
            (
                r#","subjects":["$SYS.SERVER.>"]"#,
                10052,
                "subjects that overlap with system api require no-ack to be true",
            ),
            (
                r#","republish":{"src":">","dest":"S"}"#,
                10052,
                "stream configuration for republish destination forms a cycle",
            ),
            (
                r#","subject_transform":{"src":"a..b","dest":"c"}"#,
                10155,
                "stream transform source: invalid subject a..b",
            ),
            (
                r#","placement":{"preferred":"x"}"#,
                10052,
                "preferred server not permitted in placement",
            ),
        ] {
            assert_eq!(refused(rest), (code, text.to_owned()), "{rest}");
        }
        for rest in [
            r#","subjects":["$JS.EVENT.>"]"#,
            r#","subjects":["$SYS.ACCOUNT.*.CONNECT"]"#,
            r#","subjects":[">"],"no_ack":true"#,
            r#","sources":[{"name":"A"},{"name":"A","filter_subject":"x"}]"#,
        ] {
            made(&format!(r#"{{"name":"S"{rest}}}"#), &There::default());
        }
        let there = There::default();
        let other = create(read(r#"{"name":"T"}"#), "S", &around(&there, &ledger()));
        assert_eq!(other, Err(ApiError::StreamMismatch));
        let path = create(read(r#"{"name":"a/b"}"#), "a/b", &around(&there, &ledger()));
        assert_eq!(path, Err(ApiError::StreamNameContainsPathSeparators));
        let named = create(read(r#"{"name":"a b"}"#), "a b", &around(&there, &ledger()));
        let text = "stream name is required and can not contain '.', '*', '>', '\\', '/'";
        assert_eq!(named.unwrap_err().to_string(), text);
        let none = create(
            read(r#"{"name":"S"}"#),
            "S",
            &around(&there, &Ledger::default()),
        );
        assert_eq!(none, Err(ApiError::NoLimits));
    }

    #[test]
    fn what_would_be_adjusted_is_refused_in_pedantic_mode() {
        for (rest, code, text) in [
            (
                r#","max_msgs":-2"#,
                10157,
                "pedantic mode: max_msgs must be set to -1",
            ),
            (
                r#","max_msg_size":-2"#,
                10157,
                "pedantic mode: max_msg_size must be set to -1",
            ),
            (
                r#","max_age":1000000000"#,
                10157,
                "pedantic mode: duplicate window cannot be bigger than max age",
            ),
            (
                r#","subject_delete_marker_ttl":1000000000"#,
                10052,
                "subject delete marker cannot be set if message TTLs are disabled",
            ),
            (
                r#","republish":{"dest":"x"}"#,
                10157,
                "pedantic mode: republish source can not be empty",
            ),
        ] {
            let refused = refused(&format!(r#"{rest},"pedantic":true"#));
            assert_eq!(refused, (code, text.to_owned()), "{rest}");
        }
    }

    #[test]
    fn the_same_stream_can_be_made_again_and_no_other() {
        let mut there = There::default();
        let text = r#"{"name":"S","subjects":["s.>"]}"#;
        there.0.insert("S".into(), made(text, &there));
        assert_eq!(asked(text, &there), Ok(Creation::Same));
        let other = asked(r#"{"name":"S","subjects":["s.>"],"max_msgs":5}"#, &there);
        assert_eq!(other, Err(ApiError::StreamNameExist));
        let beside = create(
            read(r#"{"name":"T","subjects":["s.*"]}"#),
            "T",
            &around(&there, &ledger()),
        );
        assert_eq!(beside, Err(ApiError::StreamSubjectOverlap));
    }

    /// Each code that the configuration of a mirror or of sources can lead to, in the order of the
    /// reference. `JSMirrorWithStartSeqAndTimeErr` and `JSMirrorWithSubjectFiltersErr` (10032, 10033)
    /// are in its table, but nothing leads to them any more.
    #[test]
    fn rules_for_origins_are_told_of() {
        let mut there = There::default();
        for (name, max_msg_size, subject) in [("O", 100, "o.>"), ("W", -1, ">")] {
            let origin = StreamConfig {
                name: name.into(),
                max_msg_size,
                subjects: vec![subject.into()],
                ..StreamConfig::default()
            };
            there.0.insert(name.into(), origin);
        }
        let consumer = r#""consumer":{"name":"c","deliver_subject":"d"}"#;
        for (rest, code) in [
            (r#""mirror":{"name":"O"},"first_seq":5"#.to_owned(), 10143),
            (r#""mirror":{"name":"O"},"subjects":["s"]"#.into(), 10034),
            (r#""mirror":{"name":"O"},"sources":[{"name":"P"}]"#.into(), 10031),
            (r#""mirror":{"name":"O"},"allow_msg_counter":true"#.into(), 10173),
            (r#""mirror":{"name":"O"},"allow_atomic":true"#.into(), 10198),
            (r#""mirror":{"name":"O"},"allow_batched":true"#.into(), 10209),
            (r#""mirror":{"name":"O"},"allow_msg_schedules":true"#.into(), 10186),
            (r#""mirror":{"name":"O","consumer":{"name":"a.b","deliver_subject":"d"}}"#.into(), 10213),
            (r#""mirror":{"name":"O","consumer":{"name":"c","deliver_subject":"d.*"}}"#.into(), 10213),
            (format!(r#""mirror":{{"name":"O","opt_start_seq":1,{consumer}}}"#), 10213),
            (format!(r#""mirror":{{"name":"O","filter_subject":"a",{consumer}}}"#), 10213),
            (r#""mirror":{"name":"O","filter_subject":"a","subject_transforms":[{"src":"b","dest":""}]}"#.into(), 10150),
            (r#""mirror":{"name":"O"},"subject_delete_marker_ttl":1000000000"#.into(), 10052),
            (r#""mirror":{"name":"O","subject_transforms":[{"src":"a..b","dest":""}]}"#.into(), 10151),
            (r#""mirror":{"name":"O","subject_transforms":[{"src":"a.*","dest":"b.$2"}]}"#.into(), 10154),
            (r#""mirror":{"name":"O","subject_transforms":[{"src":"a.*","dest":""},{"src":"*.b","dest":""}]}"#.into(), 10152),
            (r#""mirror":{"name":"a.b"}"#.into(), 10142),
            (r#""mirror":{"name":"O"},"max_msg_size":99"#.into(), 10030),
            (r#""mirror":{"name":"X","external":{"api":"a.*","deliver":"d"}}"#.into(), 10052),
            (r#""mirror":{"name":"X","external":{"api":"$JS.API","deliver":"d"}}"#.into(), 10021),
            (r#""mirror":{"name":"X","external":{"api":"a","deliver":"d.*"}}"#.into(), 10024),
            (r#""sources":[{"name":"W"},{"name":"X","external":{"api":"a","deliver":"d"}}]"#.into(), 10022),
            (r#""sources":[{"name":"O"}],"allow_msg_schedules":true"#.into(), 10187),
            (r#""sources":[{"name":"a.b"}]"#.into(), 10141),
            (r#""sources":[{"name":"O"},{"name":"O"}]"#.into(), 10140),
            (r#""sources":[{"name":"O","filter_subject":"a","subject_transforms":[{"src":"b","dest":""}]}]"#.into(), 10144),
            (r#""sources":[{"name":"O","subject_transforms":[{"src":"a..b","dest":""}]}]"#.into(), 10145),
            (r#""sources":[{"name":"O","subject_transforms":[{"src":"a.*","dest":"b.$2"}]}]"#.into(), 10146),
            (r#""sources":[{"name":"O","subject_transforms":[{"src":"a.*","dest":""},{"src":"a.b","dest":""}]}]"#.into(), 10147),
            (format!(r#""sources":[{{"name":"O","opt_start_seq":1,{consumer}}}]"#), 10215),
            (format!(r#""sources":[{{"name":"O",{consumer}}},{{"name":"O","subject_transforms":[{{"src":"a","dest":""}}],{consumer}}}]"#), 10216),
            (r#""sources":[{"name":"O"}],"max_msg_size":99"#.into(), 10046),
            (r#""sources":[{"name":"S"}]"#.into(), 10052),
        ] {
            let text = format!(r#"{{"name":"S",{rest}}}"#);
            let error = asked(&text, &there).expect_err(&text);
            assert_eq!(error.err_code(), code, "{rest}: {error}");
        }
        // What overlaps only in part is fine for sources, as in the reference.
        let text = r#"{"name":"S","sources":[{"name":"O","subject_transforms":[
            {"src":"a.*","dest":""},{"src":"*.b","dest":""}]}]}"#;
        assert!(asked(text, &there).is_ok());
    }

    #[test]
    fn mirrors_follow_their_origin() {
        let mut there = There::default();
        let origin = StreamConfig {
            name: "O".into(),
            allow_direct: true,
            max_msg_size: 100,
            ..StreamConfig::default()
        };
        there.0.insert("O".into(), origin);
        assert!(made(r#"{"name":"S","mirror":{"name":"O"}}"#, &there).mirror_direct);
        let small = asked(
            r#"{"name":"S","max_msg_size":99,"mirror":{"name":"O"}}"#,
            &there,
        );
        assert_eq!(small, Err(ApiError::MirrorMaxMessageSizeTooBig));
        let back = StreamConfig {
            name: "O".into(),
            mirror: Some(StreamSource {
                name: "S".into(),
                ..StreamSource::default()
            }),
            ..StreamConfig::default()
        };
        there.0.insert("O".into(), back);
        let cycle = asked(r#"{"name":"S","mirror":{"name":"O"}}"#, &there);
        assert_eq!(cycle, Err(ApiError::invalid_config("detected cycle")));
    }

    #[test]
    fn streams_are_restored_under_their_name() {
        let mut there = There::default();
        let of = |text: &str, there: &There| {
            let restored = restore(read(text).config, "S", &around(there, &ledger()));
            restored
                .map(|config| config.name)
                .map_err(|error| error.err_code())
        };
        assert_eq!(of("{}", &there), Ok("S".into()));
        assert_eq!(of(r#"{"name":"T"}"#, &there), Err(10056));
        assert_eq!(of(r#"{"num_replicas":3}"#, &there), Err(10074));
        there.0.insert("S".into(), made(r#"{"name":"S"}"#, &there));
        assert_eq!(of("{}", &there), Err(10130));
        let other = StreamConfig {
            name: "T".into(),
            subjects: vec!["S".into()],
            ..StreamConfig::default()
        };
        there.0 = [("T".to_owned(), other)].into();
        assert_eq!(of("{}", &there), Err(10065));
    }

    fn updated(old: &str, new: &str) -> Result<StreamConfig, ApiError> {
        let mut there = There::default();
        let old = made(old, &there);
        there.0.insert("S".into(), old.clone());
        let ledger = ledger();
        let around = around(&there, &ledger);
        let new = check_update_request(&read(new), "S", &around)?;
        let consumer = ConsumerConfig {
            max_ack_pending: 100,
            ..ConsumerConfig::default()
        };
        update(
            &old,
            &new,
            false,
            [("b", &consumer), ("a", &consumer)].into_iter(),
            &around,
        )
    }

    #[test]
    fn updates_keep_what_can_not_change() {
        for (old, new, want) in [
            (
                "",
                r#","storage":"memory""#,
                "stream configuration update can not change storage type",
            ),
            (
                "",
                r#","retention":"workqueue""#,
                "stream configuration update can not change retention policy to/from workqueue",
            ),
            (
                r#","allow_msg_ttl":true"#,
                "",
                "message TTL status can not be disabled",
            ),
            (
                r#","allow_msg_schedules":true"#,
                "",
                "message schedules can not be disabled",
            ),
            (
                r#","deny_delete":true"#,
                "",
                "stream configuration update can not cancel deny message deletes",
            ),
            (
                r#","deny_purge":true"#,
                "",
                "stream configuration update can not cancel deny purge",
            ),
            (
                "",
                r#","persist_mode":"async""#,
                "stream configuration update can not change persist mode",
            ),
            (
                "",
                r#","allow_msg_counter":true"#,
                "stream configuration update can not change message counter setting",
            ),
            (
                "",
                r#","mirror":{"name":"O"}"#,
                "stream mirror configuration can not be updated",
            ),
            (
                "",
                r#","num_replicas":3"#,
                "replicas > 1 not supported in non-clustered mode",
            ),
            (
                "",
                r#","consumer_limits":{"max_ack_pending":50}"#,
                "change to limits violates consumers: a, b",
            ),
        ] {
            let (old, new) = (
                format!(r#"{{"name":"S"{old}}}"#),
                format!(r#"{{"name":"S"{new}}}"#),
            );
            let error = updated(&old, &new).unwrap_err();
            assert_eq!(error.to_string(), want, "{old} {new}");
        }
        assert!(updated(r#"{"name":"S"}"#, r#"{"name":"S","retention":"interest"}"#).is_ok());
        let sealed = updated(r#"{"name":"S"}"#, r#"{"name":"S","sealed":true}"#).unwrap();
        assert!(sealed.deny_delete && sealed.deny_purge);
        assert_eq!(sealed.discard, DiscardPolicy::New);
    }
}
