//! Rules about users, accounts and TLS that options must keep together.

use super::security::{ExportKind, GLOBAL_ACCOUNT, User};
use super::{OptionError, Options};

pub(super) const SINGLE_AND_LIST: &str = "Can not have a single user/pass and a users array";
pub(super) const TOKEN_AND_LIST: &str = "Can not have a token and a users array";

impl Options {
    /// All users, wherever they stand.
    pub(super) fn users(&self) -> impl Iterator<Item = &User> {
        let accounts = self.accounts.iter().flat_map(|account| &account.users);
        self.authorization.users.iter().chain(accounts)
    }

    /// Ways to log in that are set together and cannot be, in words.
    pub(super) fn login_conflicts(&self) -> Vec<&'static str> {
        let own = &self.authorization;
        let single = own.user.is_some() || own.password.is_some();
        let mut found = Vec::new();
        if single && own.token.is_some() {
            found.push("Cannot have a user/pass and token");
        }
        let in_accounts = self
            .accounts
            .iter()
            .any(|account| !account.users.is_empty());
        if !own.users.is_empty() {
            if own.user.is_some() {
                found.push(SINGLE_AND_LIST);
            }
            if own.token.is_some() {
                found.push(TOKEN_AND_LIST);
            }
        } else if in_accounts {
            if own.user.is_some() {
                found.push("Can not have a single user/pass and accounts");
            }
            if own.token.is_some() {
                found.push("Can not have a token and accounts");
            }
        }
        found
    }

    /// The rules that are broken.
    pub(super) fn check_security(&self) -> Vec<OptionError> {
        let conflicts = self.login_conflicts().into_iter();
        let mut broken = conflicts.map(OptionError::Logins).collect::<Vec<_>>();
        if let Some(name) = &self.no_auth_user {
            if self.users().next().is_none() {
                broken.push(OptionError::NoAuthUserAlone(name.clone()));
            } else if self.users().all(|user| user.name() != name) {
                broken.push(OptionError::NoAuthUserUnknown(name.clone()));
            }
        }
        if let Some(name) = &self.system_account
            && name != GLOBAL_ACCOUNT
            && self.accounts.iter().all(|account| account.name != *name)
        {
            broken.push(OptionError::SystemAccount(name.clone()));
        }
        if self.no_system_account {
            let exports = self.accounts.iter().flat_map(|account| &account.exports);
            let measured = exports.filter(|export| {
                matches!(
                    &export.kind,
                    ExportKind::Service {
                        latency: Some(_),
                        ..
                    }
                )
            });
            broken.extend(
                measured.map(|export| OptionError::LatencyWithoutSystem(export.subject.clone())),
            );
        }
        if self.tls.as_ref().is_some_and(|tls| tls.certs.is_empty()) {
            broken.push(OptionError::NoCertificate);
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use crate::config::{Nothing, parse};

    /// The rules that a text breaks which is fine by itself.
    fn broken(text: &str) -> Vec<String> {
        let document = parse("t.conf", text, &Nothing).unwrap();
        let mut options = Options::default();
        let found = options.apply("t.conf", &document);
        assert_eq!((found.errors, found.warnings), (vec![], vec![]));
        let broken = options.check().err().unwrap_or_default();
        broken.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_must_be_those_of_something() {
        for (text, rule) in [
            (
                "no_auth_user: u, authorization {user: u}",
                "no_auth_user: \"u\" present, but users/nkeys are not defined",
            ),
            (
                "no_auth_user: u, authorization {users: [{user: v}]}",
                "no_auth_user: \"u\" not present as user or nkey in authorization block or account \
                 configuration",
            ),
            (
                "system_account: S, accounts: [A]",
                "error resolving system account: account missing: \"S\"",
            ),
            (
                "system_account: '$SYS'",
                "error resolving system account: account missing: \"$SYS\"",
            ),
            (
                "no_system_account: true, accounts {A {exports: [{service: a, latency: b}]}}",
                "Error adding service latency sampling for \"a\": system account not setup",
            ),
            (
                "tls {verify: true}",
                "tls: 'cert_file' and 'key_file', or 'certs', must be set",
            ),
        ] {
            assert_eq!(broken(text), [rule], "{text}");
        }
        assert_eq!(
            broken("no_auth_user: u, system_account: S, tls {}").len(),
            3
        );
    }

    #[test]
    fn what_there_is_can_be_named() {
        for text in [
            "no_auth_user: u, authorization {users: [{user: v}, {user: u}]}",
            "no_auth_user: u, accounts {A {users: [{user: u}]}}",
            "system_account: A, accounts: [A]",
            "system_account: '$G'",
            "accounts {A {exports: [{service: a, latency: b}]}}",
            "no_system_account: true, accounts {A {exports: [{service: a}, {stream: b}]}}",
            "tls {cert_file: c, key_file: k}",
            "allow_non_tls: true",
        ] {
            assert_eq!(broken(text), [""; 0], "{text}");
        }
    }
}
