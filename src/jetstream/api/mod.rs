//! The data of the JetStream API: configurations, requests, answers and errors, as JSON has them.
//!
//! Everything here is a value, or a function of values. What needs more than that, such as the
//! streams there are, is passed in.

pub mod ack;
pub mod advisory;
pub mod batch;
pub mod consumer_change;
pub mod consumer_check;
pub mod consumer_config;
pub mod counter;
pub mod cron;
mod decode;
pub mod direct_get;
pub mod errors;
pub mod headers;
pub mod info;
pub mod limits;
pub mod metadata;
pub mod names;
pub mod policy;
pub mod pub_ack;
pub mod pull;
pub mod request;
pub mod response;
pub mod schedule;
pub mod stream_change;
pub mod stream_check;
pub mod stream_config;
pub mod subjects;
#[cfg(test)]
mod tests;
pub mod zone;

pub use consumer_config::ConsumerConfig;
pub use errors::ApiError;
pub use policy::{
    AckPolicy, ConsumerAction, DeliverPolicy, DiscardPolicy, PersistMode, PriorityPolicy,
    ReplayPolicy, RetentionPolicy, StorageType, StoreCompression,
};
pub use response::Response;
pub use stream_config::{Metadata, StreamConfig};

/// The level of the API that this server has.
pub const LEVEL: u16 = 5;
