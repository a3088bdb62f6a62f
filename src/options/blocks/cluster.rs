//! `cluster`: the cluster that the server is part of.

use super::{entries, int, permissions, some, text, texts, tls, truth, users};
use crate::base::address;
use crate::base::limits::ROUTE_POOL_MAX;
use crate::base::text::quoted;
use crate::config::{Kind, Value};
use crate::options::cluster::{
    CLUSTER_HOST_DEFAULT, ClusterOptions, ROUTE_POOL_SIZE_DEFAULT, RouteUrl,
};
use crate::options::file::{Check, time};
use crate::options::keys::blocks::{CLUSTER, CLUSTER_AUTHORIZATION, COMPRESSION_MODE};
use crate::options::security::Permissions;
use crate::options::{Options, WriteTimeout};
use crate::proto::compression::Compression;
use crate::subject::is_valid;

pub(in crate::options) fn cluster(options: &mut Options, value: &Value, check: &mut Check<'_>) {
    let mut own = ClusterOptions::default();
    for (name, entry) in entries(value, CLUSTER) {
        let value = &entry.value;
        let set = match name {
            "authorization" => {
                authorization(&mut own, value, check);
                Ok(())
            }
            "tls" => {
                own.tls = Some(tls::read(value, true, check));
                Ok(())
            }
            "permissions" => {
                own.permissions = Some(allowed(value, check));
                Ok(())
            }
            "routes" => {
                routes(&mut own, value, check);
                Ok(())
            }
            _ => set(&mut own, name, value),
        };
        if let Err(wrong) = set {
            check.error(value.at, wrong);
        }
    }
    options.cluster = Some(own);
}

fn set(own: &mut ClusterOptions, name: &str, value: &Value) -> Result<(), String> {
    match name {
        "name" => own.name = some(value),
        "listen" => {
            let (host, port) = match &value.kind {
                Kind::Int(_) => ("", port(value)?),
                _ => address::split(text(value)).map_err(|e| e.to_string())?,
            };
            own.host = host_or_default(host);
            own.port = port;
        }
        "host" => own.host = host_or_default(text(value)),
        "port" => own.port = port(value)?,
        "advertise" => own.advertise = some(value),
        "no_advertise" => own.no_advertise = truth(value),
        "connect_retries" => own.connect_retries = count(name, value)?,
        "connect_backoff" => own.connect_backoff = truth(value),
        "pool_size" => own.pool_size = pool_size(int(value))?,
        "accounts" => {
            let names = texts(value).iter();
            own.accounts = names.map(|name| text(name).into()).collect();
        }
        "compression" => own.compression = compression(value)?,
        "write_timeout" => {
            own.write_timeout = match text(value) {
                "default" | "retry" => WriteTimeout::Retry,
                "close" => WriteTimeout::Close,
                _ => return Err("write_timeout must be 'default', 'close' or 'retry'".into()),
            }
        }
        "ping_interval" => own.ping_interval = Some(time(name, value)?).filter(|t| !t.is_zero()),
        "ping_max" => own.ping_max = Some(count(name, value)?).filter(|n| *n > 0),
        "write_deadline" => own.write_deadline = Some(time(name, value)?).filter(|t| !t.is_zero()),
        // What is to come was refused already, or is turned off.
        _ => {}
    }
    Ok(())
}

fn host_or_default(host: &str) -> String {
    match host {
        "" => CLUSTER_HOST_DEFAULT.into(),
        host => host.into(),
    }
}

fn port(value: &Value) -> Result<i32, String> {
    let number = int(value);
    let port = i32::try_from(number)
        .ok()
        .filter(|n| (-1..=65535).contains(n));
    port.ok_or_else(|| {
        format!("port {number} must be between 1 and 65535, or -1 for a random port")
    })
}

fn count(name: &str, value: &Value) -> Result<u32, String> {
    let number = int(value);
    u32::try_from(number).map_err(|_| format!("{name}: {number} is no number of times"))
}

/// Connections in a pool. None is what any negative number means, and zero the default.
fn pool_size(number: i64) -> Result<u32, String> {
    match u32::try_from(number.max(-1)) {
        Err(_) => Ok(0),
        Ok(0) => Ok(ROUTE_POOL_SIZE_DEFAULT),
        Ok(size) if size <= ROUTE_POOL_MAX => Ok(size),
        Ok(size) => Err(format!("pool_size: {size} is more than {ROUTE_POOL_MAX}")),
    }
}

/// A word, true or false, or a block with a word and thresholds.
fn compression(value: &Value) -> Result<Compression, String> {
    let word = |value: &Value| match value.kind {
        Kind::Bool(on) => if on { "on" } else { "off" }.to_owned(),
        _ => text(value).to_owned(),
    };
    if !matches!(value.kind, Kind::Map(_)) {
        return Compression::parse(&word(value), &[]);
    }
    let (mut mode, mut thresholds) = ("accept".to_owned(), Vec::new());
    for (name, entry) in entries(value, COMPRESSION_MODE) {
        match name {
            "mode" => mode = word(&entry.value),
            _ => {
                for value in texts(&entry.value) {
                    thresholds.push(time(name, value)?);
                }
            }
        }
    }
    Compression::parse(&mode, &thresholds)
}

fn routes(own: &mut ClusterOptions, value: &Value, check: &mut Check<'_>) {
    for value in texts(value) {
        match RouteUrl::parse(text(value)) {
            Ok(url) => own.routes.push(url),
            // The URL may hold a secret.
            Err(wrong) => check.error(value.at, format!("error parsing route url: {wrong}")),
        }
    }
}

/// What may be imported and exported. Subjects are all there is to say, without queue groups.
fn allowed(value: &Value, check: &mut Check<'_>) -> Permissions {
    let block = permissions::read(value, check);
    for rules in [&block.publish, &block.subscribe] {
        let subjects = rules.allow.iter().flatten().chain(&rules.deny);
        for subject in subjects.filter(|subject| !is_valid(subject.as_bytes())) {
            let subject = quoted(subject.as_bytes());
            check.error(
                value.at,
                format!("subject {subject} is not a valid subject"),
            );
        }
    }
    block
}

fn authorization(own: &mut ClusterOptions, value: &Value, check: &mut Check<'_>) {
    for (name, entry) in entries(value, CLUSTER_AUTHORIZATION) {
        match name {
            "user" => own.user = some(&entry.value),
            "pass" => own.password = some(&entry.value),
            "timeout" => own.auth_timeout = users::timeout(entry, check),
            "default_permissions" => {
                let text =
                    "setting \"permissions\" within cluster authorization block is deprecated";
                check.warning(entry.value.at, text.into());
                // Those of the cluster itself come before.
                let old = allowed(&entry.value, check);
                own.permissions.get_or_insert(old);
            }
            _ => {}
        }
    }
    if own.password.is_some() && own.user.is_none() {
        let text = "cluster authorization: a password without a user has no effect";
        check.warning(value.at, text.into());
    }
    if let Some(user) = &own.user
        && own.password.is_none()
    {
        let user = quoted(user.as_bytes());
        let text = format!("cluster authorization: the user {user} has no password");
        check.warning(value.at, text);
    }
}
