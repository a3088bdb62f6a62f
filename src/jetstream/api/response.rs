//! Answers of the API.
//!
//! Each is a [`Response`], which begins with its type and, if the request was refused, why; what
//! follows is a [`Body`]. A refusal has what its body has without anything in it, as in the
//! reference (`jetstream_api.go`, 2.15): `total`, `offset` and `limit` of 0, but no `config`.

use super::errors::ApiError;
use super::info::{AccountStats, ConsumerInfo, StreamInfo, StreamState};
use super::stream_config::StreamConfig;
use crate::json::{self, Nanos, Time, is_none};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What stands in an answer behind its type.
pub trait Body: Serialize + Default {
    /// The type, without what all begin with.
    const TYPE: &'static str;
}

/// An answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Response<B> {
    pub error: Option<ApiError>,
    pub body: B,
}

impl<B: Body> Response<B> {
    pub fn ok(body: B) -> Response<B> {
        Response { error: None, body }
    }

    pub fn refused(error: ApiError) -> Response<B> {
        let body = B::default();
        Response {
            error: Some(error),
            body,
        }
    }

    /// The bytes that are sent.
    pub fn encode(&self) -> Vec<u8> {
        json::compact(self)
    }
}

impl<B: Body> From<Result<B, ApiError>> for Response<B> {
    fn from(result: Result<B, ApiError>) -> Response<B> {
        match result {
            Ok(body) => Response::ok(body),
            Err(error) => Response::refused(error),
        }
    }
}

impl<B: Body> Serialize for Response<B> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a, B> {
            r#type: TypeName,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a ApiError>,
            #[serde(flatten)]
            body: &'a B,
        }
        let json = Json {
            r#type: TypeName(B::TYPE),
            error: self.error.as_ref(),
            body: &self.body,
        };
        json.serialize(to)
    }
}

/// A refusal of the type of an answer that was to be given.
pub fn refusal_like(answer: &[u8], error: ApiError) -> Vec<u8> {
    let mut body = Vec::new();
    // The type comes first, and has neither quotes nor commas.
    let end = memchr::memchr(b',', answer).unwrap_or(answer.len().saturating_sub(1));
    body.extend_from_slice(&answer[..end]);
    body.extend_from_slice(b",\"error\":");
    body.extend(json::compact(&error));
    body.push(b'}');
    body
}

/// A type with what all begin with.
struct TypeName(&'static str);

impl Serialize for TypeName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("io.nats.jetstream.api.v1.{}", self.0))
    }
}

/// Where in a long list a page stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Paging {
    /// Entries of the whole list.
    pub total: u64,
    pub offset: u64,
    /// Entries of a page.
    pub limit: u64,
}

/// Makes bodies of one shape: a name and a type each.
macro_rules! bodies {
    ($($(#[$meta:meta])* $name:ident = $type:literal { $($(#[$field_meta:meta])* $field:ident: $of:ty),* $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug, Default, Serialize)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $of),*
        }

        impl Body for $name {
            const TYPE: &'static str = $type;
        }
    )+};
}

bodies! {
    /// `INFO`
    AccountInfoBody = "account_info_response" {
        #[serde(flatten)]
        stats: Option<AccountStats>,
    }

    /// `STREAM.CREATE`, and the end of `STREAM.RESTORE`
    StreamCreateBody = "stream_create_response" {
        #[serde(flatten)]
        info: Option<StreamInfo>,
        #[serde(skip_serializing_if = "is_none")]
        did_create: bool,
    }

    /// `STREAM.UPDATE`
    StreamUpdateBody = "stream_update_response" {
        #[serde(flatten)]
        info: Option<StreamInfo>,
    }

    /// `STREAM.INFO`
    StreamInfoBody = "stream_info_response" {
        #[serde(flatten)]
        paging: Paging,
        #[serde(flatten)]
        info: Option<StreamInfo>,
    }

    /// `STREAM.NAMES`
    StreamNamesBody = "stream_names_response" {
        #[serde(flatten)]
        paging: Paging,
        /// `None` where none was found at all.
        streams: Option<Vec<String>>,
    }

    /// `STREAM.LIST`
    StreamListBody = "stream_list_response" {
        #[serde(flatten)]
        paging: Paging,
        /// `None` in refusals.
        streams: Option<Vec<StreamInfo>>,
        #[serde(skip_serializing_if = "is_none")]
        missing: Vec<String>,
        /// Why a stream can not be served.
        #[serde(skip_serializing_if = "is_none")]
        offline: BTreeMap<String, String>,
    }

    /// `STREAM.DELETE`
    StreamDeleteBody = "stream_delete_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `STREAM.PURGE`
    StreamPurgeBody = "stream_purge_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
        /// Messages that were removed.
        purged: u64,
    }

    /// `STREAM.MSG.GET`
    MsgGetBody = "stream_msg_get_response" {
        #[serde(skip_serializing_if = "is_none")]
        message: Option<StoredMsg>,
    }

    /// `STREAM.MSG.DELETE`
    MsgDeleteBody = "stream_msg_delete_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `STREAM.SNAPSHOT`
    StreamSnapshotBody = "stream_snapshot_response" {
        #[serde(skip_serializing_if = "is_none")]
        config: Option<StreamConfig>,
        #[serde(skip_serializing_if = "is_none")]
        state: Option<StreamState>,
    }

    /// `STREAM.RESTORE`
    StreamRestoreBody = "stream_restore_response" {
        /// Where the chunks are to be sent.
        deliver_subject: String,
    }

    /// `STREAM.LEADER.STEPDOWN`
    StreamLeaderStepDownBody = "stream_leader_stepdown_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `STREAM.PEER.REMOVE`
    StreamRemovePeerBody = "stream_remove_peer_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `STREAM.PEER.EVACUATE`
    StreamEvacuatePeerBody = "stream_evacuate_peer_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `STREAM.CANCEL_MOVE`
    StreamCancelMoveBody = "stream_cancel_move_response" {
        #[serde(flatten)]
        info: Option<StreamInfo>,
    }

    /// `CONSUMER.CREATE` and `CONSUMER.DURABLE.CREATE`
    ConsumerCreateBody = "consumer_create_response" {
        #[serde(flatten)]
        info: Option<ConsumerInfo>,
    }

    /// `CONSUMER.INFO`
    ConsumerInfoBody = "consumer_info_response" {
        #[serde(flatten)]
        info: Option<ConsumerInfo>,
    }

    /// `CONSUMER.NAMES`
    ConsumerNamesBody = "consumer_names_response" {
        #[serde(flatten)]
        paging: Paging,
        /// `None` in refusals.
        consumers: Option<Vec<String>>,
    }

    /// `CONSUMER.LIST`
    ConsumerListBody = "consumer_list_response" {
        #[serde(flatten)]
        paging: Paging,
        /// `None` in refusals.
        consumers: Option<Vec<ConsumerInfo>>,
        #[serde(skip_serializing_if = "is_none")]
        missing: Vec<String>,
        /// Why a consumer can not be served.
        #[serde(skip_serializing_if = "is_none")]
        offline: BTreeMap<String, String>,
    }

    /// `CONSUMER.DELETE`
    ConsumerDeleteBody = "consumer_delete_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `CONSUMER.PAUSE`
    ConsumerPauseBody = "consumer_pause_response" {
        paused: bool,
        pause_until: Time,
        #[serde(skip_serializing_if = "is_none")]
        pause_remaining: Nanos,
    }

    /// `CONSUMER.UNPIN`
    ConsumerUnpinBody = "consumer_unpin_response" {}

    /// `CONSUMER.RESET`
    ConsumerResetBody = "consumer_reset_response" {
        #[serde(flatten)]
        info: Option<ConsumerInfo>,
        reset_seq: u64,
    }

    /// `CONSUMER.LEADER.STEPDOWN`
    ConsumerLeaderStepDownBody = "consumer_leader_stepdown_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `META.LEADER.STEPDOWN`
    MetaLeaderStepDownBody = "meta_leader_stepdown_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `SERVER.REMOVE`
    MetaServerRemoveBody = "meta_server_remove_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `SERVER.EVACUATE`
    MetaServerEvacuateBody = "meta_server_evacuate_response" {
        #[serde(skip_serializing_if = "is_none")]
        success: bool,
    }

    /// `META.RESCUE`
    MetaRescueBody = "meta_rescue_response" {
        server: String,
        server_id: String,
        #[serde(skip_serializing_if = "is_none")]
        prev_quorum: u64,
        #[serde(skip_serializing_if = "is_none")]
        new_quorum: u64,
    }

    /// `ACCOUNT.PURGE`
    AccountPurgeBody = "account_purge_response" {
        #[serde(skip_serializing_if = "is_none")]
        initiated: bool,
    }

    /// What is answered where a request is refused before anybody looks what it asks for.
    SystemBody = "system_response" {}

    /// What is answered when too many requests wait.
    OverloadedBody = "system_overloaded" {}
}

/// A message as it is stored.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StoredMsg {
    pub subject: String,
    pub seq: u64,
    #[serde(
        rename = "hdrs",
        skip_serializing_if = "is_none",
        serialize_with = "base64"
    )]
    pub headers: Vec<u8>,
    #[serde(skip_serializing_if = "is_none", serialize_with = "base64")]
    pub data: Vec<u8>,
    pub time: Time,
}

fn base64<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&data_encoding::BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<B: Body>(response: &Response<B>) -> String {
        String::from_utf8(response.encode()).unwrap()
    }

    #[test]
    fn refusals_keep_what_is_never_left_out() {
        let error = r#""error":{"code":404,"err_code":10059,"description":"stream not found"}"#;
        let head = |name: &str| format!(r#"{{"type":"io.nats.jetstream.api.v1.{name}",{error}"#);
        let refused = ApiError::StreamNotFound;
        let info = Response::<StreamInfoBody>::refused(refused.clone());
        let want = head("stream_info_response") + r#","total":0,"offset":0,"limit":0}"#;
        assert_eq!(text(&info), want);
        let created = Response::<StreamCreateBody>::refused(refused.clone());
        assert_eq!(text(&created), head("stream_create_response") + "}");
        let purged = Response::<StreamPurgeBody>::refused(refused.clone());
        assert_eq!(
            text(&purged),
            head("stream_purge_response") + r#","purged":0}"#
        );
        let unpinned = Response::<ConsumerUnpinBody>::refused(refused);
        assert_eq!(text(&unpinned), head("consumer_unpin_response") + "}");
    }

    #[test]
    fn bodies_stand_behind_the_type() {
        let names = StreamNamesBody {
            paging: Paging {
                total: 0,
                offset: 0,
                limit: 1024,
            },
            streams: None,
        };
        let want = r#"{"type":"io.nats.jetstream.api.v1.stream_names_response","total":0,"offset":0,"limit":1024,"streams":null}"#;
        assert_eq!(text(&Response::ok(names)), want);
        let message = StoredMsg {
            subject: "a<b".into(),
            seq: 3,
            headers: Vec::new(),
            data: b"hello".to_vec(),
            time: Time::from_unix(0, 5),
        };
        let got = text(&Response::ok(MsgGetBody {
            message: Some(message),
        }));
        let want = r#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"a\u003cb","seq":3,"data":"aGVsbG8=","time":"1970-01-01T00:00:00.000000005Z"}}"#;
        assert_eq!(got, want);
    }
}
