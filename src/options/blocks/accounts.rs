//! `accounts`: names only, or what each account has.

use super::users::{apply_defaults, is_key, shown, users};
use super::{entries, exchange, int, jetstream, map, mappings, permissions, text, texts, trace};
use crate::base::text::quoted;
use crate::config::{Kind, Map, Value};
use crate::nkey::Prefix;
use crate::options::Options;
use crate::options::file::{Check, is_variable};
use crate::options::keys::Takes;
use crate::options::keys::blocks::{ACCOUNT, ACCOUNT_LIMITS};
use crate::options::security::{AccountLimits, AccountOptions, GLOBAL_ACCOUNT};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(in crate::options) fn accounts(options: &mut Options, value: &Value, check: &mut Check<'_>) {
    let mut accounts = Vec::new();
    if let Kind::Map(_) = value.kind {
        let entries = map(value).into_iter().flat_map(Map::iter);
        for entry in entries.filter(|entry| !is_variable(entry, &Takes::Block(ACCOUNT))) {
            if is_free(&entry.key, &entry.value, check) {
                accounts.push(account(&entry.key, &entry.value, check));
            }
        }
    } else {
        let mut names = BTreeSet::new();
        for value in texts(value) {
            let name = text(value);
            if !is_free(name, value, check) {
                continue;
            }
            if !names.insert(name) {
                check.error(value.at, format!("Duplicate Account Entry: {name}"));
                continue;
            }
            accounts.push(AccountOptions {
                name: name.into(),
                ..AccountOptions::default()
            });
        }
    }
    options.accounts = accounts;
}

/// Whether a name is not that of the account that there always is.
fn is_free(name: &str, value: &Value, check: &mut Check<'_>) -> bool {
    let reserved = name == GLOBAL_ACCOUNT;
    if reserved {
        let name = quoted(name.as_bytes());
        check.error(value.at, format!("{name} is a Reserved Account"));
    }
    !reserved
}

fn account(name: &str, value: &Value, check: &mut Check<'_>) -> AccountOptions {
    let mut account = AccountOptions {
        name: name.into(),
        ..AccountOptions::default()
    };
    let mut default = None;
    for (name, entry) in entries(value, ACCOUNT) {
        let value = &entry.value;
        match name {
            "users" => account.users = users(value, check),
            "nkey" => {
                let nkey = text(value);
                if !is_key(nkey, Prefix::Account) {
                    let nkey = shown(nkey);
                    let text = format!("Not a valid public nkey for an account: {nkey}");
                    check.error(entry.key_at, text);
                }
                account.nkey = Some(nkey.into());
            }
            "imports" => account.imports = exchange::imports(value, check),
            "exports" => account.exports = exchange::exports(value, check),
            "mappings" => account.mappings = mappings::read(value, check),
            "default_permissions" => default = Some(Arc::new(permissions::read(value, check))),
            "msg_trace" => account.trace = trace::read(entry, check),
            "limits" => account.limits = limits(value),
            "jetstream" => account.jetstream = jetstream::account(value, check),
            _ => {}
        }
    }
    apply_defaults(&mut account.users, default.as_ref());
    account
}

/// What is below zero is no limit.
fn limits(value: &Value) -> AccountLimits {
    let mut limits = AccountLimits::default();
    for (name, entry) in entries(value, ACCOUNT_LIMITS) {
        let limit = usize::try_from(int(&entry.value)).ok();
        match name {
            "max_connections" => limits.max_connections = limit,
            "max_subscriptions" => limits.max_subscriptions = limit,
            "max_payload" => limits.max_payload = limit,
            "max_leafnodes" => limits.max_leafnodes = limit,
            _ => {}
        }
    }
    limits
}
