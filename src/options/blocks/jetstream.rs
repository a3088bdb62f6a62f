//! `jetstream`, at the top of a file and in accounts.

use super::{entries, int, text, truth};
use crate::base::text::quoted;
use crate::config::{Kind, Value};
use crate::options::Options;
use crate::options::file::{Check, time};
use crate::options::jetstream::{AccountJetStream, BatchLimits, Cipher, JetStreamOptions, Sync};
use crate::options::keys::blocks::{
    ACCOUNT_JETSTREAM, FEATURE_FLAGS, JETSTREAM, JETSTREAM_BATCH, JETSTREAM_LIMITS,
};

/// The block of the server, or whether there is JetStream at all.
pub(in crate::options) fn jetstream(options: &mut Options, value: &Value, check: &mut Check<'_>) {
    let own = &mut options.jetstream;
    match &value.kind {
        Kind::Map(_) => {
            own.enabled = true;
            for (name, entry) in entries(value, JETSTREAM) {
                if let Err(wrong) = set(own, name, &entry.value) {
                    check.error(entry.value.at, wrong);
                }
                // It may come from a variable that was forgotten.
                if name == "key" && own.key.is_none() {
                    let text = "an empty key: what is stored is not encrypted";
                    check.warning(entry.value.at, text.into());
                }
            }
        }
        _ => match switch(value) {
            Ok(enabled) => own.enabled = enabled,
            Err(wrong) => check.error(value.at, wrong),
        },
    }
}

/// Features that are tried out: all that there is are the subjects of acknowledgements.
pub(in crate::options) fn feature_flags(options: &mut Options, value: &Value, _: &mut Check<'_>) {
    for (name, entry) in entries(value, FEATURE_FLAGS) {
        if name == "js_ack_fc_v2" {
            options.jetstream.long_acks = truth(&entry.value);
        }
    }
}

fn set(own: &mut JetStreamOptions, name: &str, value: &Value) -> Result<(), String> {
    match name {
        "enabled" => own.enabled = truth(value),
        "strict" => own.strict = truth(value),
        "store_dir" => own.store_dir = super::some(value),
        "sync_interval" => {
            own.sync = match &value.kind {
                Kind::Text(text) if text == "always" => Sync::Always,
                _ => Sync::Interval(time(name, value)?),
            };
        }
        "max_memory_store" => own.max_memory = limit(name, value)?,
        "max_file_store" => own.max_file = limit(name, value)?,
        "domain" => own.domain = Some(domain(text(value))?).filter(|name| !name.is_empty()),
        "key" => own.key = super::some(value),
        "prev_key" => own.previous_key = super::some(value),
        "cipher" => {
            own.cipher = match text(value).to_ascii_lowercase().as_str() {
                "chacha" | "chachapoly" => Cipher::ChaCha20Poly1305,
                "aes" => Cipher::Aes256Gcm,
                other => {
                    let other = quoted(other.as_bytes());
                    return Err(format!("unknown cipher type: {other}"));
                }
            };
        }
        "max_buffered_size" => {
            if let Some(bytes) = limit(name, value)?.filter(|bytes| *bytes > 0) {
                own.max_buffered_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
        }
        "max_buffered_msgs" => {
            if let Some(many) = usize::try_from(int(value)).ok().filter(|many| *many > 0) {
                own.max_buffered_messages = many;
            }
        }
        "request_queue_limit" => {
            if let Some(many) = usize::try_from(int(value)).ok().filter(|many| *many > 0) {
                own.request_queue_limit = many;
            }
        }
        "limits" => {
            for (name, entry) in entries(value, JETSTREAM_LIMITS) {
                let value = &entry.value;
                match name {
                    "max_ack_pending" => own.max_ack_pending = above_zero(value),
                    "max_request_batch" => own.max_request_batch = above_zero(value),
                    "batch" => batch(&mut own.batches, value)?,
                    "default_max_consumers" if int(value) != 0 => {
                        own.default_max_consumers = above_zero(value);
                    }
                    "duplicate_window" => {
                        let window = time(name, value)?;
                        own.duplicate_window_max = Some(window).filter(|w| !w.is_zero());
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn batch(own: &mut BatchLimits, value: &Value) -> Result<(), String> {
    let size = |many: u32| usize::try_from(many).unwrap_or(usize::MAX);
    for (name, entry) in entries(value, JETSTREAM_BATCH) {
        let value = &entry.value;
        match name {
            "max_inflight_per_stream" => own.per_stream = above_zero(value).map(size),
            "max_inflight_total" => own.total = above_zero(value).map(size),
            "max_msgs" => {
                own.messages = above_zero(value).map_or(own.messages, size);
            }
            "timeout" => {
                let timeout = time(name, value)?;
                if !timeout.is_zero() {
                    own.timeout = timeout;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The block of an account, or whether it has JetStream.
pub(super) fn account(value: &Value, check: &mut Check<'_>) -> Option<AccountJetStream> {
    let mut own = AccountJetStream::default();
    if !matches!(value.kind, Kind::Map(_)) {
        return match switch(value) {
            Ok(enabled) => enabled.then_some(own),
            Err(wrong) => {
                check.error(value.at, wrong);
                None
            }
        };
    }
    for (name, entry) in entries(value, ACCOUNT_JETSTREAM) {
        let value = &entry.value;
        match name {
            "max_memory" => own.max_memory = bytes(value),
            "max_store" => own.max_storage = bytes(value),
            "max_streams" => own.max_streams = above_zero(value),
            "max_consumers" => own.max_consumers = above_zero(value),
            "max_bytes_required" => own.max_bytes_required = truth(value),
            "memory_max_stream_bytes" => {
                own.memory_max_stream_bytes = bytes(value).filter(|n| *n > 0)
            }
            "disk_max_stream_bytes" => {
                own.storage_max_stream_bytes = bytes(value).filter(|n| *n > 0)
            }
            "max_ack_pending" => own.max_ack_pending = above_zero(value),
            _ => {}
        }
    }
    Some(own)
}

/// Whether something is on, as true and false or in words.
fn switch(value: &Value) -> Result<bool, String> {
    match &value.kind {
        Kind::Bool(on) => Ok(*on),
        _ => match text(value).to_ascii_lowercase().as_str() {
            "enabled" | "enable" => Ok(true),
            "disabled" | "disable" => Ok(false),
            _ => {
                let text = quoted(text(value).as_bytes());
                Err(format!(
                    "Expected 'enabled' or 'disabled' for string value, got {text}"
                ))
            }
        },
    }
}

/// What is below zero is no limit.
fn bytes(value: &Value) -> Option<u64> {
    u64::try_from(int(value)).ok()
}

fn above_zero(value: &Value) -> Option<u32> {
    let number = int(value);
    (number > 0).then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A size as a number, or as text such as `10G`; below zero it is no limit.
fn limit(name: &str, value: &Value) -> Result<Option<u64>, String> {
    let Kind::Text(text) = &value.kind else {
        return Ok(bytes(value));
    };
    let wrong = || {
        let text = quoted(text.as_bytes());
        format!("{name}: {text} is no size such as 10G")
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).map(Some).ok_or_else(wrong)
}

/// A domain is one token of subjects.
fn domain(name: &str) -> Result<String, String> {
    let valid = !name.contains(['.', '*', '>', ' ', '\t', '\r', '\n']);
    match valid {
        true => Ok(name.to_owned()),
        false => {
            let name = quoted(name.as_bytes());
            Err(format!(
                "invalid domain name: may not contain \".\", \"*\" or \">\", got {name}"
            ))
        }
    }
}
