//! The bodies of requests.

use crate::jetstream::api::ApiError;
use crate::json::decode::{Decode, request};

/// Reads a body. Fields that there are not are a fault, unless `strict` is off.
pub(super) fn read<T: Decode>(body: &[u8], strict: bool) -> Result<T, ApiError> {
    let decoded = request(body, strict).map_err(ApiError::invalid_json)?;
    if let Some(warning) = decoded.warning {
        log::warn!("Invalid JetStream request: {warning}");
    }
    Ok(decoded.value)
}
