//! JetStream as it is configured: for the server, and for an account.

use super::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// The directory below the system's for temporary files where no other is named.
pub const STORE_DIR_DEFAULT: &str = "nats/jetstream";

/// What the server lets streams have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JetStreamOptions {
    pub enabled: bool,
    /// The directory in which a directory `jetstream` holds all streams; one for temporary files if
    /// `None`.
    pub store_dir: Option<PathBuf>,
    /// Bytes of memory for streams; three quarters of the machine's if `None`.
    pub max_memory: Option<u64>,
    /// Bytes of files for streams; three quarters of what is free on the disk if `None`.
    pub max_file: Option<u64>,
    /// The name under which the API can also be reached, as `$JS.<domain>.API`.
    pub domain: Option<String>,
    pub sync: Sync,
    /// Whether requests with fields that nobody knows are refused.
    pub strict: bool,
    /// Bytes, and messages, of one stream that may wait to be acknowledged; more are refused.
    pub max_buffered_bytes: usize,
    pub max_buffered_messages: usize,
    /// Requests to the API that may wait; all that do are dropped if there is one more.
    pub request_queue_limit: usize,
    /// Messages that a consumer may have unacknowledged, at most, whatever it asks for; `None` for
    /// any number.
    pub max_ack_pending: Option<u32>,
    /// Messages that may be asked for in one request; `None` for any number.
    pub max_request_batch: Option<u32>,
    /// Consumers of a stream for which neither the stream nor the account says how many there may
    /// be; `None` for any number.
    pub default_max_consumers: Option<u32>,
    /// The longest window for duplicates that a stream may have; `None` for any.
    pub duplicate_window_max: Option<Duration>,
    pub batches: BatchLimits,
    /// What is on the disk is encrypted with this key, if there is one.
    pub key: Option<Secret>,
    /// The one before, with which what is there may be encrypted.
    pub previous_key: Option<Secret>,
    pub cipher: Cipher,
    /// Whether the subjects that acknowledgements and flow control are answered on have the domain and
    /// the account in them (`js_ack_fc_v2`).
    pub long_acks: bool,
}

/// How many batches there may be, and how large they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchLimits {
    /// Batches of each kind that may be open in a stream, and in all streams; `None` for 50 and 1000
    /// of those of which all or nothing is stored, and 1000 and 50,000 of those that are fast.
    pub per_stream: Option<usize>,
    pub total: Option<usize>,
    /// Messages of a batch of which all or nothing is stored.
    pub messages: usize,
    /// How long a batch stays open without another message.
    pub timeout: Duration,
}

impl Default for BatchLimits {
    /// Those of the reference (`stream.go`, 2.15).
    fn default() -> BatchLimits {
        BatchLimits {
            per_stream: None,
            total: None,
            messages: 1000,
            timeout: Duration::from_secs(10),
        }
    }
}

/// How what is on the disk is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cipher {
    #[default]
    ChaCha20Poly1305,
    Aes256Gcm,
}

/// When a message counts as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    /// When it is on the disk for good. The default, where the reference has two minutes.
    Always,
    /// When it was given to the system, which has it on the disk after this time at most.
    Interval(Duration),
}

/// As in the reference (`jetstream_api.go`, 2.15).
const DEFAULT_MAX_CONSUMERS: u32 = 1000;

impl Default for JetStreamOptions {
    fn default() -> JetStreamOptions {
        JetStreamOptions {
            enabled: false,
            store_dir: None,
            max_memory: None,
            max_file: None,
            domain: None,
            sync: Sync::Always,
            strict: true,
            long_acks: false,
            max_buffered_bytes: 128 << 20,
            max_buffered_messages: 100_000,
            request_queue_limit: 10_000,
            max_ack_pending: None,
            max_request_batch: None,
            default_max_consumers: Some(DEFAULT_MAX_CONSUMERS),
            duplicate_window_max: None,
            batches: BatchLimits::default(),
            key: None,
            previous_key: None,
            cipher: Cipher::default(),
        }
    }
}

impl JetStreamOptions {
    /// The directory that holds all streams.
    pub fn directory(&self) -> PathBuf {
        let dir = self.store_dir.clone();
        dir.unwrap_or_else(|| std::env::temp_dir().join(STORE_DIR_DEFAULT))
            .join("jetstream")
    }
}

/// What streams of one account may have; `None`: no limit of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountJetStream {
    /// Bytes of streams in memory, and in files.
    pub max_memory: Option<u64>,
    pub max_storage: Option<u64>,
    pub max_streams: Option<u32>,
    pub max_consumers: Option<u32>,
    pub max_ack_pending: Option<u32>,
    /// Whether each stream must say how many bytes it may have, and how many it may at most.
    pub max_bytes_required: bool,
    pub memory_max_stream_bytes: Option<u64>,
    pub storage_max_stream_bytes: Option<u64>,
}
