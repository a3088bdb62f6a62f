//! The bodies of requests, from JSON.

use crate::jetstream::api::policy::{
    DiscardPolicy, PersistMode, RetentionPolicy, StorageType, StoreCompression,
};
use crate::jetstream::api::request::{
    MsgDeleteRequest, MsgGetRequest, StreamConfigRequest, StreamInfoRequest, StreamListRequest,
    StreamPurgeRequest,
};
use crate::jetstream::api::stream_config::{
    ConsumerLimits, Placement, RePublish, SubjectTransform,
};
use crate::jetstream::api::{ApiError, StreamConfig};
use crate::json::{Nanos, Time};
use crate::options::jetstream::JetStreamOptions;
use crate::subject;
use serde_json::{Map, Value};

/// The fields of an object, taken one by one.
struct Fields(Map<String, Value>);

type Decoded<T> = Result<T, ApiError>;

impl Fields {
    fn read(json: &[u8]) -> Decoded<Fields> {
        let value =
            serde_json::from_slice(json).map_err(|e| ApiError::invalid_json(e.to_string()))?;
        Fields::of(value)
    }

    fn of(value: Value) -> Decoded<Fields> {
        match value {
            Value::Object(map) => Ok(Fields(map)),
            _ => Err(ApiError::invalid_json("expected an object")),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn with<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Decoded<Option<T>> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let wrong = || {
            let kind = match &value {
                Value::String(text) => {
                    return ApiError::invalid_json(format!(
                        "can not unmarshal {:?}",
                        format!("{text:?}")
                    ));
                }
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                Value::Null => "null",
            };
            ApiError::invalid_json(format!("json: cannot unmarshal {kind} into field {name}"))
        };
        read(&value).map(Some).ok_or_else(wrong)
    }

    fn text(&mut self, name: &str) -> Decoded<String> {
        let found = self.with(name, |v| v.as_str().map(str::to_owned))?;
        Ok(found.unwrap_or_default())
    }

    fn texts(&mut self, name: &str) -> Decoded<Vec<String>> {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let found = self.with(name, |v| v.as_array()?.iter().map(text).collect())?;
        Ok(found.unwrap_or_default())
    }

    fn int(&mut self, name: &str) -> Decoded<i64> {
        Ok(self.with(name, Value::as_i64)?.unwrap_or_default())
    }

    fn uint(&mut self, name: &str) -> Decoded<u64> {
        Ok(self.with(name, Value::as_u64)?.unwrap_or_default())
    }

    fn truth(&mut self, name: &str) -> Decoded<bool> {
        Ok(self.with(name, Value::as_bool)?.unwrap_or_default())
    }

    fn nanos(&mut self, name: &str) -> Decoded<Nanos> {
        self.int(name).map(Nanos)
    }

    fn time(&mut self, name: &str) -> Decoded<Option<Time>> {
        self.with(name, |v| Time::parse(v.as_str()?).ok())
    }

    fn choice<T: Default>(&mut self, name: &str, read: fn(&str) -> Option<T>) -> Decoded<T> {
        Ok(self.with(name, |v| read(v.as_str()?))?.unwrap_or_default())
    }

    fn object(&mut self, name: &str) -> Decoded<Option<Fields>> {
        self.take(name).map(Fields::of).transpose()
    }

    /// Nothing may be left.
    fn finish(self, strict: bool) -> Decoded<()> {
        match self.0.keys().next() {
            Some(name) if strict => Err(ApiError::invalid_json(format!(
                "json: unknown field {name:?}"
            ))),
            _ => Ok(()),
        }
    }
}

/// A configuration, as it is asked for.
pub(super) fn stream_config(json: &[u8], strict: bool) -> Decoded<StreamConfigRequest> {
    let mut from = Fields::read(json)?;
    for name in ["mirror", "sources"] {
        if from
            .take(name)
            .is_some_and(|v| v.as_array().is_none_or(|v| !v.is_empty()))
        {
            return Err(ApiError::invalid_config(format!(
                "{name}: not supported yet"
            )));
        }
    }
    let limit = |n: Option<i64>| n.unwrap_or(0);
    let mut config = StreamConfig {
        name: from.text("name")?,
        description: from.text("description")?,
        subjects: from.texts("subjects")?,
        retention: from.choice("retention", RetentionPolicy::from_text)?,
        max_consumers: limit(from.with("max_consumers", Value::as_i64)?),
        max_msgs: limit(from.with("max_msgs", Value::as_i64)?),
        max_bytes: limit(from.with("max_bytes", Value::as_i64)?),
        max_age: from.nanos("max_age")?,
        max_msgs_per_subject: limit(from.with("max_msgs_per_subject", Value::as_i64)?),
        max_msg_size: from
            .with("max_msg_size", |v| i32::try_from(v.as_i64()?).ok())?
            .unwrap_or(0),
        discard: from.choice("discard", |t| {
            DiscardPolicy::from_text(&t.to_ascii_lowercase())
        })?,
        storage: from.choice("storage", StorageType::from_text)?,
        num_replicas: from.int("num_replicas")?,
        no_ack: from.truth("no_ack")?,
        duplicate_window: from.nanos("duplicate_window")?,
        compression: from.choice("compression", StoreCompression::from_text)?,
        first_seq: from.uint("first_seq")?,
        allow_direct: from.truth("allow_direct")?,
        mirror_direct: from.truth("mirror_direct")?,
        discard_new_per_subject: from.truth("discard_new_per_subject")?,
        sealed: from.truth("sealed")?,
        deny_delete: from.truth("deny_delete")?,
        deny_purge: from.truth("deny_purge")?,
        allow_rollup_hdrs: from.truth("allow_rollup_hdrs")?,
        allow_msg_ttl: from.truth("allow_msg_ttl")?,
        subject_delete_marker_ttl: from.nanos("subject_delete_marker_ttl")?,
        allow_msg_counter: from.truth("allow_msg_counter")?,
        allow_atomic: from.truth("allow_atomic")?,
        allow_msg_schedules: from.truth("allow_msg_schedules")?,
        persist_mode: from.choice("persist_mode", |t| match t {
            "" => Some(PersistMode::Default),
            t => PersistMode::from_text(t),
        })?,
        allow_batched: from.truth("allow_batched")?,
        ..StreamConfig::default()
    };
    if let Some(mut own) = from.object("placement")? {
        config.placement = Some(Placement {
            cluster: own.text("cluster")?,
            tags: own.texts("tags")?,
            preferred: own.text("preferred")?,
        });
        own.finish(strict)?;
    }
    if let Some(mut own) = from.object("subject_transform")? {
        config.subject_transform = Some(SubjectTransform {
            source: own.text("src")?,
            destination: own.text("dest")?,
        });
        own.finish(strict)?;
    }
    if let Some(mut own) = from.object("republish")? {
        config.republish = Some(RePublish {
            source: own.text("src")?,
            destination: own.text("dest")?,
            headers_only: own.truth("headers_only")?,
        });
        own.finish(strict)?;
    }
    if let Some(mut own) = from.object("consumer_limits")? {
        config.consumer_limits = ConsumerLimits {
            inactive_threshold: own.nanos("inactive_threshold")?,
            max_ack_pending: own.int("max_ack_pending")?,
        };
        own.finish(strict)?;
    }
    if let Some(own) = from.object("metadata")? {
        for (name, value) in own.0 {
            if let Value::String(value) = value {
                config.metadata.insert(name, value);
            }
        }
    }
    let pedantic = from.truth("pedantic")?;
    from.finish(strict)?;
    Ok(StreamConfigRequest { config, pedantic })
}

pub(super) fn stream_list(json: &[u8], strict: bool) -> Decoded<StreamListRequest> {
    let mut from = Fields::read(json)?;
    let request = StreamListRequest {
        offset: from.int("offset")?,
        subject: from.text("subject")?,
    };
    from.finish(strict)?;
    Ok(request)
}

pub(super) fn stream_info(json: &[u8], strict: bool) -> Decoded<StreamInfoRequest> {
    let mut from = Fields::read(json)?;
    let request = StreamInfoRequest {
        offset: from.int("offset")?,
        deleted_details: from.truth("deleted_details")?,
        subjects_filter: from.text("subjects_filter")?,
    };
    from.finish(strict)?;
    Ok(request)
}

pub(super) fn purge(json: &[u8], strict: bool) -> Decoded<StreamPurgeRequest> {
    let mut from = Fields::read(json)?;
    let request = StreamPurgeRequest {
        seq: from.uint("seq")?,
        filter: from.text("filter")?,
        keep: from.uint("keep")?,
    };
    from.finish(strict)?;
    Ok(request)
}

pub(super) fn msg_delete(json: &[u8], strict: bool) -> Decoded<MsgDeleteRequest> {
    let mut from = Fields::read(json)?;
    let request = MsgDeleteRequest {
        seq: from.uint("seq")?,
        no_erase: from.truth("no_erase")?,
    };
    from.finish(strict)?;
    Ok(request)
}

pub(super) fn msg_get(json: &[u8], strict: bool) -> Decoded<MsgGetRequest> {
    let mut from = Fields::read(json)?;
    let request = MsgGetRequest {
        seq: from.uint("seq")?,
        last_by_subj: from.text("last_by_subj")?,
        next_by_subj: from.text("next_by_subj")?,
        batch: from.int("batch")?,
        max_bytes: from.int("max_bytes")?,
        start_time: from.time("start_time")?,
        multi_last: from.texts("multi_last")?,
        up_to_seq: from.uint("up_to_seq")?,
        up_to_time: from.time("up_to_time")?,
        no_hdr: from.truth("no_hdr")?,
    };
    from.finish(strict)?;
    Ok(request)
}

/// Checks and completes a configuration.
pub(super) fn check_stream(
    asked: StreamConfigRequest,
    name: &str,
    old: Option<&StreamConfig>,
    others: &[&StreamConfig],
    options: &JetStreamOptions,
) -> Decoded<StreamConfig> {
    let mut config = asked.config;
    if config.name != name {
        return Err(ApiError::StreamMismatch);
    }
    let invalid = |what: &str| Err(ApiError::invalid_config(what));
    if config.name.is_empty()
        || config.name.len() > 255
        || config.name.contains([' ', '*', '>', '\t', '\r', '\n'])
    {
        return invalid("stream name is required and can not contain '.', '*', '>', '\\', '/'");
    }
    if config.name.contains(['/', '\\']) {
        return Err(ApiError::StreamNameContainsPathSeparators);
    }
    for (asked, what) in [
        (config.allow_msg_counter, "allow_msg_counter"),
        (config.allow_atomic, "allow_atomic"),
        (config.allow_msg_schedules, "allow_msg_schedules"),
        (config.allow_batched, "allow_batched"),
        (
            config.subject_delete_marker_ttl.0 != 0,
            "subject_delete_marker_ttl",
        ),
        (config.persist_mode != PersistMode::Default, "persist_mode"),
        (config.retention != RetentionPolicy::Limits, "retention"),
    ] {
        if asked {
            return invalid(&format!("{what}: not supported yet"));
        }
    }
    if config.num_replicas > 1 {
        return Err(ApiError::StreamReplicasNotSupported);
    }
    config.num_replicas = 1;
    for limit in [
        &mut config.max_consumers,
        &mut config.max_msgs,
        &mut config.max_bytes,
        &mut config.max_msgs_per_subject,
    ] {
        if *limit <= 0 {
            *limit = -1;
        }
    }
    if config.max_msg_size <= 0 {
        config.max_msg_size = -1;
    }
    if config.subjects.is_empty() {
        config.subjects = vec![config.name.clone()];
    }
    if config.max_age.0 != 0 && config.max_age.0 < 100_000_000 {
        return invalid("max age needs to be >= 100ms");
    }
    if config.duplicate_window.0 == 0 {
        let mut window = 120_000_000_000;
        if config.max_age.0 > 0 {
            window = window.min(config.max_age.0);
        }
        if let Some(max) = options.duplicate_window_max {
            window = window.min(i64::try_from(max.as_nanos()).unwrap_or(i64::MAX));
        }
        config.duplicate_window = Nanos(window);
    }
    if config.max_age.0 > 0 && config.duplicate_window.0 > config.max_age.0 {
        return invalid("duplicates window can not be larger then max age");
    }
    for (i, own) in config.subjects.iter().enumerate() {
        if !subject::is_valid(own.as_bytes()) {
            return invalid("invalid subject");
        }
        if own == ">" && !config.no_ack {
            return invalid("capturing all subjects requires no-ack to be true");
        }
        let overlaps =
            |other: &String| subject::pattern::overlaps(own.as_bytes(), other.as_bytes());
        let twice = config.subjects[..i].iter().any(overlaps);
        let reserved = ["$JS.>", "$JSC.>", "$NRG.>"]
            .iter()
            .any(|r| overlaps(&(*r).to_owned()));
        if reserved && !config.no_ack && !own.starts_with("$JS.EVENT.") {
            return invalid("subjects that overlap with jetstream api require no-ack to be true");
        }
        if twice {
            return invalid("subjects overlap with an existing stream");
        }
        let taken = |other: &&StreamConfig| other.subjects.iter().any(overlaps);
        if others.iter().any(taken) {
            return Err(ApiError::StreamSubjectOverlap);
        }
    }
    match old {
        None if config.sealed => {
            return invalid("stream configuration for create can not be sealed");
        }
        None => {}
        Some(old) => {
            if old.storage != config.storage {
                return invalid("stream configuration update can not change storage type");
            }
            if config.sealed {
                config.max_age = Nanos(0);
                config.discard = DiscardPolicy::New;
                config.deny_delete = true;
                config.deny_purge = true;
                config.allow_rollup_hdrs = false;
            }
        }
    }
    Ok(config)
}
