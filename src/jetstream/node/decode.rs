//! The bodies of requests, and what of them is not there yet.

use crate::jetstream::api::policy::PersistMode;
use crate::jetstream::api::{ApiError, StreamConfig};
use crate::json::decode::{Decode, request};

/// Reads a body. Fields that there are not are a fault, unless `strict` is off.
pub(super) fn read<T: Decode>(body: &[u8], strict: bool) -> Result<T, ApiError> {
    let decoded = request(body, strict).map_err(ApiError::invalid_json)?;
    if let Some(warning) = decoded.warning {
        log::warn!("Invalid JetStream request: {warning}");
    }
    Ok(decoded.value)
}

/// Refuses what this server has not learnt yet.
pub(super) fn check_built(config: &StreamConfig) -> Result<(), ApiError> {
    let missing = [
        (config.allow_msg_counter, "allow_msg_counter"),
        (config.allow_atomic, "allow_atomic"),
        (config.allow_msg_schedules, "allow_msg_schedules"),
        (config.allow_batched, "allow_batched"),
        (
            config.subject_delete_marker_ttl.0 != 0,
            "subject_delete_marker_ttl",
        ),
        (config.persist_mode != PersistMode::Default, "persist_mode"),
    ];
    match missing.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(ApiError::invalid_config(format!(
            "{what} is not supported yet"
        ))),
        None => Ok(()),
    }
}
