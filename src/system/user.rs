//! What a client is told of itself.

use super::{Request, enveloped};
use crate::broker::survey::{Question, Report};
use crate::monitor::Source;
use crate::monitor::go_json::compact;
use crate::options::security::{Permissions, Rules};
use crate::proto::client_info::REQUEST_INFO;
use crate::proto::headers;
use serde::Serialize;
use serde_json::Value;

/// The reference's `UserInfo` (`events.go`, 2.15).
#[derive(Serialize)]
struct UserInfo<'a> {
    user: &'a str,
    account: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<PermissionsJson<'a>>,
}

#[derive(Serialize)]
struct PermissionsJson<'a> {
    publish: RulesJson<'a>,
    subscribe: RulesJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<ResponsesJson>,
}

#[derive(Serialize)]
struct RulesJson<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    allow: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    deny: &'a [String],
}

#[derive(Serialize)]
struct ResponsesJson {
    max: i64,
    /// Nanoseconds.
    ttl: i64,
}

impl<'a> From<&'a Rules> for RulesJson<'a> {
    fn from(rules: &'a Rules) -> RulesJson<'a> {
        RulesJson {
            allow: rules.allow.as_deref().unwrap_or_default(),
            deny: &rules.deny,
        }
    }
}

impl<'a> From<&'a Permissions> for PermissionsJson<'a> {
    fn from(permissions: &'a Permissions) -> PermissionsJson<'a> {
        let responses = permissions.responses.map(|responses| ResponsesJson {
            // Unlimited is -1, and for ever a negative time, as they are configured.
            max: responses.max.map_or(-1, i64::from),
            ttl: responses.expires.map_or(-1, |time| {
                i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
            }),
        });
        PermissionsJson {
            publish: (&permissions.publish).into(),
            subscribe: (&permissions.subscribe).into(),
            responses,
        }
    }
}

/// The answer to a client that asks about itself. Who it is stands in a header that the server
/// itself has written.
pub(super) fn info(source: &dyn Source, request: &Request<'_>) -> Vec<u8> {
    let info = headers::value(request.headers, REQUEST_INFO);
    let info: Value = info
        .and_then(|info| serde_json::from_slice(info).ok())
        .unwrap_or_default();
    let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default();
    let Some(cid) = info.get("id").and_then(Value::as_u64) else {
        return enveloped(
            source,
            "data",
            Err(crate::monitor::request::RequestError {
                code: 400,
                description: String::new(),
            }),
        );
    };
    let reports = source.ask(Question::User(cid));
    let report = reports.into_iter().find_map(|report| match report {
        Report::User(report) => report,
        _ => None,
    });
    let permissions = report
        .as_ref()
        .and_then(|report| report.permissions.as_deref());
    let data = UserInfo {
        user: text("user"),
        account: text("acc"),
        permissions: permissions.map(PermissionsJson::from),
    };
    enveloped(source, "data", Ok(compact(&data)))
}
