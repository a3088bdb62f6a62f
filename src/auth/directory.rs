//! Everybody who may connect, and the judgement of those who want to.

use super::dn::Dn;
use super::{Attempt, Check, Grant, Refusal, Verdict};
use crate::accounts::permissions::Permissions;
use crate::accounts::{Account, Accounts};
use crate::base::secret::Secret;
use crate::nkey::PublicKey;
use crate::options::Options;
use crate::options::security::{Login, Permissions as Configured, User};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Everybody who may connect, as configured at present.
pub struct Directory {
    users: HashMap<Login, Arc<Grant>>,
    has_nkeys: bool,
    has_names: bool,
    /// Where there is one secret, or one user, for everybody.
    sole: Option<Sole>,
    /// Who clients are that do not say who they are.
    no_auth_user: Option<Login>,
    /// Whether users are known by their certificates.
    by_certificate: bool,
    /// Those whose name is a distinguished one, in the order of the configuration.
    distinguished: Vec<(Dn, Arc<Grant>)>,
    proxies: Vec<PublicKey>,
    /// What clients get who need not say who they are.
    open: Arc<Grant>,
}

enum Sole {
    Token(Arc<Grant>),
    User(String, Arc<Grant>),
}

impl Directory {
    /// Everybody whom `options` name, in their `accounts`.
    ///
    /// # Errors
    /// All that is wrong with them, a text each.
    pub fn new(options: &Options, accounts: &Accounts) -> Result<Directory, Vec<String>> {
        let mut faults = Vec::new();
        let global = &accounts.global().account;
        let authorization = &options.authorization;
        let mut users = HashMap::new();
        let mut distinguished = Vec::new();
        // Many users have the very same permissions; those are made once.
        let mut compiled = Vec::new();
        let mut enlist = |list: &[User], account: &Arc<Account>, faults: &mut Vec<String>| {
            for user in list {
                let permissions = permissions(user, &mut compiled, faults);
                let grant = Grant {
                    login: Some(user.login.clone()),
                    account: account.clone(),
                    permissions,
                    configured: user.permissions.clone(),
                    secret: user.password.clone(),
                    connection_types: user.connection_types.clone(),
                    proxy_required: user.proxy_required,
                };
                let grant = Arc::new(grant);
                if let Login::Name(name) = &user.login
                    && let Ok(dn) = Dn::parse(name)
                {
                    distinguished.push((dn, grant.clone()));
                }
                users.insert(user.login.clone(), grant);
            }
        };
        enlist(&authorization.users, global, &mut faults);
        for account in &options.accounts {
            match accounts.named(&account.name) {
                Some(tenant) => enlist(&account.users, &tenant.account, &mut faults),
                None => faults.push(format!("account {} is missing", account.name)),
            }
        }
        let has_nkeys = users.keys().any(|login| matches!(login, Login::Nkey(_)));
        let has_names = users.keys().any(|login| matches!(login, Login::Name(_)));
        let plain = |login: Option<Login>, secret: &Option<Secret>| {
            Arc::new(Grant {
                login,
                account: global.clone(),
                permissions: None,
                configured: None,
                secret: secret.clone().unwrap_or_default(),
                connection_types: None,
                proxy_required: secret.is_some() && authorization.proxy_required,
            })
        };
        let sole = match (&authorization.token, &authorization.user) {
            (Some(_), _) => Some(Sole::Token(plain(None, &authorization.token))),
            (None, Some(name)) => {
                let login = Some(Login::Name(name.clone()));
                let secret = Some(authorization.password.clone().unwrap_or_default());
                Some(Sole::User(name.clone(), plain(login, &secret)))
            }
            (None, None) => None,
        };
        let no_auth_user = options.no_auth_user.as_ref().and_then(|name| {
            [Login::Nkey(name.clone()), Login::Name(name.clone())]
                .into_iter()
                .find(|login| users.contains_key(login))
        });
        let mut proxies = Vec::new();
        for key in &options.trusted_proxies {
            match PublicKey::parse(key) {
                Ok(key) => proxies.push(key),
                Err(e) => faults.push(format!("trusted proxy {key:?}: {e}")),
            }
        }
        let directory = Directory {
            users,
            has_nkeys,
            has_names,
            sole,
            no_auth_user,
            distinguished,
            by_certificate: options.tls.as_ref().is_some_and(|tls| tls.verify_and_map),
            proxies,
            open: plain(None, &None),
        };
        if faults.is_empty() {
            Ok(directory)
        } else {
            Err(faults)
        }
    }

    /// Whether clients have to say who they are.
    pub fn is_required(&self) -> bool {
        !self.users.is_empty() || self.sole.is_some()
    }

    /// Whether clients who do not say who they are, are somebody nevertheless.
    pub fn has_no_auth_user(&self) -> bool {
        self.no_auth_user.is_some()
    }

    /// Whether there is anybody who has to sign a nonce.
    pub fn challenges(&self) -> bool {
        self.has_nkeys || !self.proxies.is_empty()
    }

    /// Whether users are known by their certificates.
    pub fn is_by_certificate(&self) -> bool {
        self.by_certificate
    }

    /// Judges a client.
    pub fn authenticate(&self, attempt: &Attempt<'_>) -> Verdict {
        match self.judge(attempt) {
            Ok(verdict) => verdict,
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    /// Judges a client anew that was let in before. What it had to know then and has to know now
    /// it is not asked for again.
    pub fn reauthenticate(&self, attempt: &Attempt<'_>, before: &Grant) -> Verdict {
        match self.authenticate(attempt) {
            Verdict::Asks(check) if check.grant.secret == before.secret => {
                Verdict::Accepted(check.grant)
            }
            Verdict::Asks(_) => Verdict::Refused(Refusal::Credentials),
            other => other,
        }
    }

    /// What clients get who need not say who they are, if nobody need.
    pub fn open(&self) -> Option<&Arc<Grant>> {
        (!self.is_required()).then_some(&self.open)
    }

    /// Whether what a grant is of stands as it was when the grant was made.
    pub fn still_grants(&self, grant: &Grant) -> bool {
        let now = match (&grant.login, &self.sole) {
            (Some(login), _) if self.users.contains_key(login) => self.users.get(login),
            (None, Some(Sole::Token(now))) => Some(now),
            (Some(Login::Name(name)), Some(Sole::User(own, now))) if name == own => Some(now),
            _ => None,
        };
        now.is_some_and(|now| {
            now.secret == grant.secret && now.account.number == grant.account.number
        })
    }

    fn judge(&self, attempt: &Attempt<'_>) -> Result<Verdict, Refusal> {
        let connect = attempt.connect;
        // Nobody chooses an account.
        if connect.new_account || !connect.account.is_empty() {
            return Err(Refusal::Credentials);
        }
        let proxied = self.proxied(attempt)?;
        if !self.is_required() {
            return Ok(Verdict::Accepted(self.open.clone()));
        }
        let says_nothing =
            connect.user.is_empty() && connect.pass.is_empty() && connect.auth_token.is_empty();
        let unnamed = self
            .no_auth_user
            .as_ref()
            .filter(|_| says_nothing && connect.nkey.is_empty());
        let enter = |grant: &Arc<Grant>| {
            if grant.proxy_required && !proxied {
                return Err(Refusal::ProxyRequired);
            }
            Ok(grant.clone())
        };

        if self.has_nkeys && !connect.nkey.is_empty() {
            let grant = self.listed(&Login::Nkey(connect.nkey.clone()), attempt)?;
            let grant = enter(grant)?;
            let signed = self.no_auth_user == grant.login
                || signature_holds(&connect.nkey, attempt.nonce, &connect.sig);
            return match signed {
                true => Ok(Verdict::Accepted(grant)),
                false => Err(Refusal::Credentials),
            };
        }
        if let Some(login @ Login::Nkey(_)) = unnamed {
            return Ok(Verdict::Accepted(enter(self.listed(login, attempt)?)?));
        }
        if self.has_names {
            if self.by_certificate {
                let grant = enter(self.certified(attempt)?)?;
                return compare(&grant.secret, &connect.pass, &grant);
            }
            if let Some(login) = unnamed {
                return Ok(Verdict::Accepted(enter(self.listed(login, attempt)?)?));
            }
            if !connect.user.is_empty() {
                let grant = self.listed(&Login::Name(connect.user.clone()), attempt)?;
                let grant = enter(grant)?;
                return compare(&grant.secret, &connect.pass, &grant);
            }
        }
        match &self.sole {
            Some(Sole::Token(grant)) => {
                let grant = enter(grant)?;
                compare(&grant.secret, &connect.auth_token, &grant)
            }
            Some(Sole::User(name, grant)) => {
                let grant = enter(grant)?;
                if !same(name, &connect.user) {
                    return Err(Refusal::Credentials);
                }
                compare(&grant.secret, &connect.pass, &grant)
            }
            None => Err(Refusal::Credentials),
        }
    }

    /// A user from the list, who may connect in this way.
    fn listed(&self, login: &Login, attempt: &Attempt<'_>) -> Result<&Arc<Grant>, Refusal> {
        let grant = self.users.get(login);
        grant
            .filter(|grant| grant.admits(attempt.kind))
            .ok_or(Refusal::Credentials)
    }

    /// Whether the client came through a trusted proxy. A proxy's signature that does not hold is
    /// worse than none.
    fn proxied(&self, attempt: &Attempt<'_>) -> Result<bool, Refusal> {
        let signature = &attempt.connect.proxy_sig;
        if signature.is_empty() || self.proxies.is_empty() {
            return Ok(false);
        }
        let signature = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .map_err(|_| Refusal::ProxyNotTrusted)?;
        let holds = |key: &PublicKey| key.verify(attempt.nonce, &signature);
        match self.proxies.iter().any(holds) {
            true => Ok(true),
            false => Err(Refusal::ProxyNotTrusted),
        }
    }

    /// The user whom a client's certificate names.
    fn certified(&self, attempt: &Attempt<'_>) -> Result<&Arc<Grant>, Refusal> {
        let certificate = attempt.certificate.ok_or(Refusal::Credentials)?;
        let by_name = |name: &str| self.listed(&Login::Name(name.into()), attempt).ok();
        let admitted = |(_, grant): &&(Dn, Arc<Grant>)| grant.admits(attempt.kind);
        let by_dn = self.distinguished.iter().filter(admitted);
        let found = certificate.find_user(by_name, by_dn.map(|(dn, grant)| (dn, grant)));
        found.map(|(grant, _)| grant).ok_or(Refusal::Credentials)
    }
}

/// A user's permissions, made once for all who have the same.
fn permissions(
    user: &User,
    compiled: &mut Vec<(Arc<Configured>, Arc<Permissions>)>,
    faults: &mut Vec<String>,
) -> Option<Arc<Permissions>> {
    let configured = user.permissions.as_ref()?;
    // Users of one block follow each other, so the last few are as good as all.
    let known = compiled.iter().rev().take(64);
    for (of, permissions) in known {
        if Arc::ptr_eq(of, configured) || of == configured {
            return Some(permissions.clone());
        }
    }
    match Permissions::new(configured) {
        Ok(made) => {
            let made = Arc::new(made);
            compiled.push((configured.clone(), made.clone()));
            Some(made)
        }
        Err(fault) => {
            let name = match &user.login {
                Login::Name(name) | Login::Nkey(name) => name,
            };
            faults.push(format!("permissions of user {name:?}: {fault}"));
            None
        }
    }
}

/// Compares a password with what it has to be, unless that takes long.
fn compare(stored: &Secret, given: &Secret, grant: &Arc<Grant>) -> Result<Verdict, Refusal> {
    if stored.is_bcrypt() {
        return Ok(Verdict::Asks(Box::new(Check {
            hash: stored.clone(),
            password: given.clone(),
            grant: grant.clone(),
        })));
    }
    match same(stored.reveal(), given.reveal()) {
        true => Ok(Verdict::Accepted(grant.clone())),
        false => Err(Refusal::Credentials),
    }
}

/// Whether two texts are the same, in a time that does not depend on where they differ.
fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// Whether `signature`, in base64, is one of the nonce by the key.
fn signature_holds(key: &str, nonce: &[u8], signature: &str) -> bool {
    let decoded = BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .or_else(|_| BASE64.decode(signature.as_bytes()));
    let (Ok(signature), Ok(key)) = (decoded, PublicKey::parse(key)) else {
        return false;
    };
    key.verify(nonce, &signature)
}
