//! `authorization`, and the users in it and in accounts.

use super::{entries, list, permissions, some, text, texts, truth};
use crate::base::text::{GoDuration, quoted};
use crate::config::{Entry, Value};
use crate::nkey::{Prefix, PublicKey};
use crate::options::Options;
use crate::options::check_security::{SINGLE_AND_LIST, TOKEN_AND_LIST};
use crate::options::file::{Check, time};
use crate::options::keys::blocks::{AUTHORIZATION, USER};
use crate::options::security::{Authorization, ConnectionType, Login, Permissions, User};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Above this, a time to authenticate is likely a mistake: `1m` without quotes is a million.
const TIMEOUT_HIGH: Duration = Duration::from_secs(60);

pub(in crate::options) fn authorization(
    options: &mut Options,
    value: &Value,
    check: &mut Check<'_>,
) {
    let mut block = Authorization::default();
    let mut users_at = None;
    for (name, entry) in entries(value, AUTHORIZATION) {
        let value = &entry.value;
        match name {
            "user" => block.user = some(value),
            "pass" => block.password = some(value),
            "token" => block.token = some(value),
            "timeout" => block.timeout = timeout(entry, check),
            "users" => {
                users_at = Some(value.at);
                block.users = users(value, check);
            }
            "default_permissions" => {
                block.default_permissions = Some(Arc::new(permissions::read(value, check)));
            }
            "proxy_required" => block.proxy_required = truth(value),
            _ => {}
        }
    }
    // A list in which there are users is told of together with those of accounts.
    if let Some(at) = users_at.filter(|_| block.users.is_empty()) {
        if block.user.is_some() {
            check.error(at, SINGLE_AND_LIST.into());
        }
        if block.token.is_some() {
            check.error(at, TOKEN_AND_LIST.into());
        }
    }
    if block.password.is_some() && block.user.is_none() && block.token.is_none() {
        let text = "authorization: a password without a user has no effect";
        check.warning(value.at, text.into());
    }
    apply_defaults(&mut block.users, block.default_permissions.as_ref());
    options.authorization = block;
}

/// Gives permissions to users who have none of their own.
pub(super) fn apply_defaults(users: &mut [User], default: Option<&Arc<Permissions>>) {
    for user in users.iter_mut().filter(|user| user.permissions.is_none()) {
        user.permissions = default.cloned();
    }
}

pub(super) fn timeout(entry: &Entry, check: &mut Check<'_>) -> Option<Duration> {
    let key = &*entry.key;
    let timeout = match time(key, &entry.value) {
        Ok(timeout) => timeout,
        Err(wrong) => {
            check.error(entry.value.at, wrong);
            return None;
        }
    };
    if timeout > TIMEOUT_HIGH {
        let text = format!(
            "invalid use of field {}: timeout of {} ({:.6} seconds) is high, consider keeping it \
             under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for \
             example",
            quoted(key.as_bytes()),
            GoDuration(timeout),
            timeout.as_secs_f64()
        );
        check.warning(entry.value.at, text);
    }
    Some(timeout).filter(|timeout| !timeout.is_zero())
}

/// A list of users, without those that are none.
pub(super) fn users(value: &Value, check: &mut Check<'_>) -> Vec<User> {
    list(value)
        .iter()
        .filter_map(|value| user(value, check))
        .collect()
}

fn user(value: &Value, check: &mut Check<'_>) -> Option<User> {
    let (mut name, mut nkey) = (None::<String>, None);
    let mut user = User {
        login: Login::Name(String::new()),
        password: "".into(),
        permissions: None,
        connection_types: None,
        proxy_required: false,
    };
    for (key, entry) in entries(value, USER) {
        let value = &entry.value;
        match key {
            "user" => name = some(value),
            "pass" => user.password = text(value).into(),
            "nkey" => nkey = some(value).map(|nkey: String| (nkey, entry.key_at)),
            "permissions" => user.permissions = Some(Arc::new(permissions::read(value, check))),
            "allowed_connection_types" => user.connection_types = connection_types(value, check),
            "proxy_required" => user.proxy_required = truth(value),
            _ => {}
        }
    }
    match (nkey, name) {
        (None, None) => {
            check.error(value.at, "User entry requires a user".into());
            return None;
        }
        (Some((nkey, at)), _) if !is_key(&nkey, Prefix::User) => {
            check.error(at, "Not a valid public nkey for a user".into());
            return None;
        }
        (Some((nkey, at)), name) => {
            if name.is_some() || !user.password.is_empty() {
                let text = "Nkey users do not take usernames or passwords";
                check.error(value.at, text.into());
                return None;
            }
            check.login("nkey", &nkey, at);
            user.login = Login::Nkey(nkey);
        }
        (None, Some(name)) => {
            check.login("user", &name, value.at);
            user.login = Login::Name(name);
        }
    }
    Some(user)
}

/// Whether a text is the public key of a user, account and so on.
pub(super) fn is_key(text: &str, prefix: Prefix) -> bool {
    PublicKey::parse(text).is_ok_and(|key| key.prefix() == prefix)
}

/// A text where a public key should be, in quotes; what may be a private one is not shown.
pub(super) fn shown(text: &str) -> String {
    match text.starts_with('S') {
        true => "\"[REDACTED]\"".into(),
        false => quoted(text.as_bytes()).to_string(),
    }
}

/// Ways to connect; `None` if the list is empty, which allows all.
fn connection_types(value: &Value, check: &mut Check<'_>) -> Option<BTreeSet<ConnectionType>> {
    let (mut types, mut unknown) = (BTreeSet::new(), Vec::new());
    for value in texts(value) {
        let name = text(value).to_uppercase();
        match &*name {
            "STANDARD" => types.insert(ConnectionType::Standard),
            "WEBSOCKET" => types.insert(ConnectionType::Websocket),
            "LEAFNODE" => types.insert(ConnectionType::Leafnode),
            "LEAFNODE_WS" => types.insert(ConnectionType::LeafnodeWebsocket),
            "MQTT" => types.insert(ConnectionType::Mqtt),
            "MQTT_WS" => types.insert(ConnectionType::MqttWebsocket),
            "IN_PROCESS" => types.insert(ConnectionType::InProcess),
            _ => {
                unknown.push(quoted(name.as_bytes()).to_string());
                continue;
            }
        };
    }
    if !unknown.is_empty() {
        let unknown = unknown.join(" ");
        check.error(value.at, format!("invalid connection types [{unknown}]"));
    }
    Some(types).filter(|types| !types.is_empty())
}
