//! Who may connect and what they may do: users, permissions and accounts as they are configured.
//!
//! Subjects are texts here, as they stand in the file; that they are valid, and that names refer
//! to something, is checked before anybody uses them.

use super::Secret;
use super::jetstream::AccountJetStream;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The account of those who are in no other, which always exists.
pub const GLOBAL_ACCOUNT: &str = "$G";

/// The `authorization` block: users of the global account, or one secret for everybody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Authorization {
    /// The only user, where there is no list of them.
    pub user: Option<String>,
    /// The password of the only user.
    pub password: Option<Secret>,
    /// What everybody has to know, where there are no users.
    pub token: Option<Secret>,
    /// Time within which a client must have been authenticated; 2 seconds, or a second more than
    /// the TLS timeout, if `None`.
    pub timeout: Option<Duration>,
    pub users: Vec<User>,
    /// What users may do for whom nothing else is said.
    pub default_permissions: Option<Arc<Permissions>>,
    /// Whether the only user, or who has the token, must come through a trusted proxy.
    pub proxy_required: bool,
}

/// How a user is known.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Login {
    /// By a name, with a password or a certificate.
    Name(String),
    /// By a public key (`U...`), whose private key signs a nonce.
    Nkey(String),
}

/// A user, of whatever account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub login: Login,
    /// Empty for nkeys, and for users who are known by their certificate.
    pub password: Secret,
    /// What the user may do, the defaults of the block that it stands in included; `None`:
    /// everything.
    pub permissions: Option<Arc<Permissions>>,
    /// How the user may connect; `None`: in any way.
    pub connection_types: Option<BTreeSet<ConnectionType>>,
    /// Whether the user must come through a trusted proxy.
    pub proxy_required: bool,
}

impl User {
    /// The name or the public key.
    pub fn name(&self) -> &str {
        match &self.login {
            Login::Name(name) | Login::Nkey(name) => name,
        }
    }
}

/// A way to connect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConnectionType {
    Standard,
    Websocket,
    Leafnode,
    LeafnodeWebsocket,
    Mqtt,
    MqttWebsocket,
    InProcess,
}

/// What a user may do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Permissions {
    pub publish: Rules,
    /// Entries may end in a blank and the name of a queue group, in which there may be wildcards.
    pub subscribe: Rules,
    /// Whether the user may answer requests that it gets.
    pub responses: Option<Responses>,
}

/// Subjects that are allowed and denied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// `None`: all but what is denied. Empty: nothing.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

/// What answers to requests a user may give where it may not publish otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Responses {
    /// Answers to one request; `None`: any number.
    pub max: Option<u32>,
    /// How long after the request; `None`: for ever.
    pub expires: Option<Duration>,
}

/// What `allow_responses: true` stands for.
pub const RESPONSES: Responses = Responses {
    max: Some(1),
    expires: Some(Duration::from_secs(120)),
};

/// An account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccountOptions {
    pub name: String,
    /// Its public key (`A...`).
    pub nkey: Option<String>,
    pub users: Vec<User>,
    pub exports: Vec<Export>,
    pub imports: Vec<Import>,
    pub mappings: Vec<Mapping>,
    pub limits: AccountLimits,
    pub trace: Option<TraceDestination>,
    /// What its streams may have; `None`: it has none.
    pub jetstream: Option<AccountJetStream>,
}

/// Where it is told what became of those messages of an account that are part of a trace over many
/// programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceDestination {
    pub subject: String,
    /// How many of a hundred, 1 to 100.
    pub sampling: u8,
}

/// What an account may use; `None`: no limit of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountLimits {
    pub max_connections: Option<usize>,
    /// Subscriptions of one connection.
    pub max_subscriptions: Option<usize>,
    /// Bytes of a message.
    pub max_payload: Option<usize>,
    pub max_leafnodes: Option<usize>,
}

/// What an account lets others have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    pub subject: String,
    /// Accounts that may import it; `None`: all.
    pub accounts: Option<Vec<String>>,
    /// The token of the subject that must be the name of the importing account, counted from 1.
    pub account_token_position: Option<usize>,
    pub kind: ExportKind,
}

/// What others may have of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExportKind {
    /// Its messages.
    Stream,
    /// Answers to their requests.
    Service {
        response_type: ResponseType,
        /// How long after the request, or between two answers, there may be one.
        response_threshold: Option<Duration>,
        latency: Option<Latency>,
        allow_trace: bool,
    },
}

/// How many answers a request has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseType {
    Singleton,
    /// Any number, up to an empty one.
    Streamed,
    /// One, in pieces, up to an empty one.
    Chunked,
}

/// Where and how often the latency of a service is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latency {
    pub subject: String,
    pub sampling: Sampling,
}

/// Which requests are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sampling {
    /// So many of a hundred, 1 to 100.
    Percent(u8),
    /// Those whose headers ask for it.
    Headers,
}

/// What an account has of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// The exporting account.
    pub account: String,
    /// The subject there.
    pub subject: String,
    pub kind: ImportKind,
}

/// What it has of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImportKind {
    Stream {
        /// Tokens put before the subject; not together with `to`.
        prefix: Option<String>,
        /// The subject here; the same as there if `None`.
        to: Option<String>,
        allow_trace: bool,
    },
    Service {
        /// The subject that requests are made on here; the same as there if `None`.
        to: Option<String>,
        /// Whether the exporting account is told who asks.
        share: bool,
    },
}

/// What becomes of messages on a subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    pub source: String,
    pub destinations: Vec<Destination>,
}

/// One of the subjects that a message is mapped to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    pub subject: String,
    /// How many of a hundred messages, 0 to 100.
    pub weight: u8,
    /// The only cluster in which it counts.
    pub cluster: Option<String>,
}
