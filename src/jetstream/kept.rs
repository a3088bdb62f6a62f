//! Configurations as they are kept: JSON, with the time of the creation.

use crate::jetstream::api::ConsumerConfig;
use crate::json::Time;
use crate::json::decode::Decode;
use crate::store::types::StreamSeq;
use serde::Serialize;

#[derive(Serialize)]
struct Kept<'c, C> {
    created: Time,
    config: &'c C,
    /// Whether it is of a stream that is still being restored.
    #[serde(skip_serializing_if = "crate::json::is_none")]
    restoring: bool,
    /// Where a consumer delivers all messages from on that delivers only the last ones of their subjects
    /// before.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<u64>,
}

#[derive(serde::Deserialize)]
struct Found {
    created: String,
    config: serde_json::Value,
}

/// A consumer as it is kept.
pub(super) struct KeptConsumer {
    pub(super) config: ConsumerConfig,
    pub(super) created: Time,
    /// Where it delivers all messages from on, if it delivers only some of those before.
    pub(super) resume: Option<StreamSeq>,
}

/// The bytes of a consumer.
pub(super) fn encode_consumer(
    config: &ConsumerConfig,
    created: Time,
    resume: Option<StreamSeq>,
) -> Vec<u8> {
    crate::json::compact(&Kept {
        created,
        config,
        restoring: false,
        resume: resume.map(|resume| resume.0),
    })
}

/// Reads what [`encode_consumer`] made.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode_consumer(bytes: &[u8]) -> Result<KeptConsumer, String> {
    #[derive(serde::Deserialize)]
    struct Resume {
        #[serde(default)]
        resume: Option<u64>,
    }
    let (config, created) = decode(bytes)?;
    let found: Resume = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(KeptConsumer {
        config,
        created,
        resume: found.resume.map(StreamSeq),
    })
}

/// The bytes of a configuration.
pub(super) fn encode<C: Serialize>(config: &C, created: Time) -> Vec<u8> {
    crate::json::compact(&Kept {
        created,
        config,
        restoring: false,
        resume: None,
    })
}

/// The bytes of the configuration of a stream that is of no use before it is restored.
pub(super) fn encode_unfinished<C: Serialize>(config: &C, created: Time) -> Vec<u8> {
    crate::json::compact(&Kept {
        created,
        config,
        restoring: true,
        resume: None,
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
        let config = ConsumerConfig {
            name: "C".into(),
            ..ConsumerConfig::default()
        };
        for resume in [None, Some(StreamSeq(7))] {
            let kept = decode_consumer(&encode_consumer(&config, created, resume)).unwrap();
            assert_eq!((kept.config, kept.created), (config.clone(), created));
            assert_eq!(kept.resume, resume);
        }
    }
}
