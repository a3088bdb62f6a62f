//! Who may connect: one verdict, whatever the mechanism.
//!
//! A [`Directory`] is everybody who may, as configured at present. It judges an [`Attempt`] in the
//! order of the reference: the proxy that the client came through, its key, its certificate or
//! name, and then the one secret or user where there is no list. What takes long, comparing with a
//! bcrypt hash, it leaves to the caller.

pub mod certificate;
mod directory;
pub mod dn;
#[cfg(test)]
mod tests;

pub use directory::Directory;

use crate::accounts::Account;
use crate::accounts::permissions::Permissions;
use crate::base::secret::Secret;
use crate::options::security::{ConnectionType, Login, Permissions as Configured};
use crate::proto::connect::Connect;
use certificate::Identity;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a client came with.
pub struct Attempt<'a> {
    pub connect: &'a Connect,
    /// What INFO gave the client to sign.
    pub nonce: &'a [u8],
    /// The names in the certificate that it showed, if that was asked for and verified.
    pub certificate: Option<&'a Identity>,
    pub kind: ConnectionType,
}

/// What became of an attempt.
pub enum Verdict {
    /// The client is in.
    Accepted(Arc<Grant>),
    /// It is not, and is told no more than that.
    Refused(Refusal),
    /// It is in if its password is the one that a hash was made of.
    Asks(Box<Check>),
}

/// A password to be compared with a bcrypt hash.
pub struct Check {
    pub hash: Secret,
    pub password: Secret,
    /// What the client gets if they agree.
    pub grant: Arc<Grant>,
}

/// Why a client is not in, as operators are told; the client is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    Credentials,
    ProxyNotTrusted,
    ProxyRequired,
}

/// What a client has got that is in.
pub struct Grant {
    /// Who it is; `None` for those who did not have to say.
    pub login: Option<Login>,
    pub account: Arc<Account>,
    /// What it may do; `None`: everything.
    pub permissions: Option<Arc<Permissions>>,
    /// The same as they are configured.
    pub configured: Option<Arc<Configured>>,
    /// The password or token that it had to know, or its hash.
    secret: Secret,
    connection_types: Option<BTreeSet<ConnectionType>>,
    proxy_required: bool,
}

impl Grant {
    fn admits(&self, kind: ConnectionType) -> bool {
        self.connection_types
            .as_ref()
            .is_none_or(|types| types.contains(&kind))
    }
}
