//! `proxies`: whose word is taken for that a client came through a proxy.

use super::users::shown;
use super::{entries, list, text};
use crate::config::Value;
use crate::nkey::PublicKey;
use crate::options::Options;
use crate::options::file::Check;
use crate::options::keys::blocks::{PROXIES, PROXY};

pub(in crate::options) fn proxies(options: &mut Options, value: &Value, check: &mut Check<'_>) {
    let mut keys = Vec::new();
    for (_, entry) in entries(value, PROXIES) {
        for value in list(&entry.value) {
            let Some((_, entry)) = entries(value, PROXY).last() else {
                check.error(value.at, "proxy trusted key \"\" is invalid".into());
                continue;
            };
            let key = text(&entry.value);
            if PublicKey::parse(key).is_err() {
                let key = shown(key);
                check.error(entry.key_at, format!("invalid proxy key {key}"));
            }
            keys.push(key.to_owned());
        }
    }
    options.trusted_proxies = keys;
}
