//! The bodies of requests, and what of them is not there yet.

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
        (config.mirror.is_some(), "mirror"),
        (!config.sources.is_empty(), "sources"),
    ];
    match missing.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(ApiError::invalid_config(format!(
            "{what} is not supported yet"
        ))),
        None => Ok(()),
    }
}
