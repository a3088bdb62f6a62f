//! Configurations as they are kept: JSON, with the time of the creation.

use crate::json::Time;
use crate::json::decode::Decode;
use serde::Serialize;

#[derive(Serialize)]
struct Kept<'c, C> {
    created: Time,
    config: &'c C,
    /// Whether it is of a stream that is still being restored.
    #[serde(skip_serializing_if = "crate::json::is_none")]
    restoring: bool,
}

#[derive(serde::Deserialize)]
struct Found {
    created: String,
    config: serde_json::Value,
}

/// The bytes of a configuration.
pub(super) fn encode<C: Serialize>(config: &C, created: Time) -> Vec<u8> {
    crate::json::compact(&Kept {
        created,
        config,
        restoring: false,
    })
}

/// The bytes of the configuration of a stream that is of no use before it is restored.
pub(super) fn encode_unfinished<C: Serialize>(config: &C, created: Time) -> Vec<u8> {
    crate::json::compact(&Kept {
        created,
        config,
        restoring: true,
    })
}

/// Whether a stream was not restored to its end.
pub(super) fn is_unfinished(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Mark {
        #[serde(default)]
        restoring: bool,
    }
    serde_json::from_slice(bytes).is_ok_and(|mark: Mark| mark.restoring)
}

/// Reads what [`encode`] made.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode<C: Decode>(bytes: &[u8]) -> Result<(C, Time), String> {
    let found: Found = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let created = Time::parse(&found.created)?;
    let config = crate::json::decode::document(found.config.to_string().as_bytes())?;
    Ok((config, created))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::api::StreamConfig;

    #[test]
    fn what_is_kept_comes_back() {
        let config = StreamConfig {
            name: "S".into(),
            subjects: vec!["a.>".into()],
            max_msgs: 7,
            ..StreamConfig::default()
        };
        let created = Time::from_unix(5, 6);
        let kept = encode(&config, created);
        assert!(!is_unfinished(&kept));
        let unfinished = encode_unfinished(&config, created);
        assert!(is_unfinished(&unfinished));
        assert_eq!(
            decode::<StreamConfig>(&unfinished).as_ref(),
            Ok(&(config.clone(), created))
        );
        assert_eq!(decode::<StreamConfig>(&kept), Ok((config, created)));
        assert!(decode::<StreamConfig>(b"{").is_err());
    }
}
