//! What the server does in its own account, the system account: services that operators and clients
//! ask, and events that it publishes.
//!
//! [`services`] lists the subjects of the services; [`handle`] answers a request, as a pure function
//! of it and of a [`Source`] of figures. Requests come as to any subscription, and answers go as
//! from any publisher, so that imports, exports and permissions hold for them; the loop that does
//! that is `loops/system.rs`.

mod elsewhere;
mod envelope;
pub mod heartbeat;
pub mod services;
mod user;

pub use elsewhere::Elsewhere;
pub use envelope::{
    connections_event, enveloped, plain, profile_answer, server_event, statsz_event,
};
pub use heartbeat::Heartbeat;
pub use services::Service;

use crate::base::text::GoDuration;
use crate::broker::survey::{Question, Report, SubscriptionsQuestion};
use crate::monitor::Source;
use crate::monitor::accstatz::AccountStat;
use crate::monitor::request::{self, AccountEndpoint, Endpoint, RequestError};
use crate::proto::client_info::REQUEST_INFO;
use crate::proto::headers;
use crate::subject;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A request to a service.
pub struct Request<'a> {
    pub subject: &'a [u8],
    /// Whether an answer is wanted.
    pub wants_answer: bool,
    /// The header block; empty if there is none.
    pub headers: &'a [u8],
    pub body: &'a [u8],
}

/// What a request leads to.
#[derive(Debug)]
pub enum Reaction {
    /// Nothing: it is for others, or for nobody.
    Silence,
    /// An answer.
    Answer(Vec<u8>),
    /// The event about how many clients an account has, as an answer.
    Connections(Box<AccountStat>),
    /// What the server tells everybody of itself from time to time is told now.
    Broadcast,
    /// Another server has so many clients in an account: the server's key, the account and how many.
    Elsewhere(String, String, usize),
    /// The server with that key ends.
    Ends(String),
    /// The configuration is read again; what comes of it is the answer.
    Reload,
    /// The process is looked at for a while; the profile is the answer.
    Profile { name: String, duration: Duration },
}

/// The longest time that a profile may be asked to take.
const PROFILE_MAX: Duration = Duration::from_secs(15);

/// What a request to a service leads to.
pub fn handle(source: &dyn Source, service: Service, request: &Request<'_>) -> Reaction {
    match service {
        Service::Elsewhere => return elsewhere::told(request.body),
        Service::Ends => return elsewhere::ended(request.subject),
        _ => {}
    }
    let statsz = service == Service::Document(Endpoint::Statsz);
    if !request.wants_answer && !statsz && service != Service::Reload {
        return Reaction::Silence;
    }
    let answer = match service {
        Service::Document(endpoint) => {
            let data = request::answer_request(source, endpoint, request.body);
            if statsz && !request.wants_answer {
                return match data {
                    Ok(Some(_)) => Reaction::Broadcast,
                    _ => Reaction::Silence,
                };
            }
            let key = if statsz { "statsz" } else { "data" };
            data.transpose().map(|data| enveloped(source, key, data))
        }
        Service::Account(AccountEndpoint::Conns) => return connections(source, request),
        Service::Account(endpoint) => match account_of(request.subject) {
            // The general request matches the subject of one about an account of that name.
            Some("PING") if endpoint == AccountEndpoint::Statz => None,
            Some(account) => {
                let data = request::answer_account(source, endpoint, account, request.body);
                data.transpose().map(|data| enveloped(source, "data", data))
            }
            None => None,
        },
        Service::AccountsStatz => {
            let data = request::answer_request(source, Endpoint::Accstatz, request.body);
            data.transpose().map(|data| enveloped(source, "data", data))
        }
        Service::Idz => Some(request::idz(&source.facts())),
        Service::UserInfo => Some(user::info(source, request)),
        Service::Subscribers => return subscribers(source, request),
        Service::Kick | Service::LameDuck => {
            filtered(source, request, || client_command(source, service, request))
        }
        Service::Reload => {
            return match request::filter(request.body) {
                Ok(filter) if request::applies(&filter, &source.facts()) => Reaction::Reload,
                Ok(_) => Reaction::Silence,
                Err(error) => Reaction::Answer(enveloped(source, "data", Err(error))),
            };
        }
        Service::Profile => return profile(source, request),
        // Nobody is answered.
        Service::Elsewhere | Service::Ends => return Reaction::Silence,
    };
    answer.map_or(Reaction::Silence, Reaction::Answer)
}

/// Does something unless the request is for other servers; what it gives is the answer.
fn filtered(
    source: &dyn Source,
    request: &Request<'_>,
    act: impl FnOnce() -> Result<(), RequestError>,
) -> Option<Vec<u8>> {
    match request::filter(request.body) {
        Ok(filter) if !request::applies(&filter, &source.facts()) => None,
        Ok(_) => Some(plain(source, act())),
        Err(error) => Some(plain(source, Err(error))),
    }
}

/// The account in `$SYS.REQ.ACCOUNT.<account>.<X>`.
fn account_of(subject: &[u8]) -> Option<&str> {
    let token = subject.split(|b| *b == b'.').nth(3)?;
    str::from_utf8(token).ok()
}

fn connections(source: &dyn Source, request: &Request<'_>) -> Reaction {
    let Some(account) = account_of(request.subject) else {
        return Reaction::Silence;
    };
    // As in the reference, nobody answers for an account without clients.
    match request::connections(source, account).filter(|stat| stat.connections() > 0) {
        Some(stat) => Reaction::Connections(Box::new(stat)),
        None => Reaction::Silence,
    }
}

/// Disconnects a client, or tells it to go elsewhere.
fn client_command(
    source: &dyn Source,
    service: Service,
    request: &Request<'_>,
) -> Result<(), RequestError> {
    let bad = |code, description: &str| RequestError {
        code,
        description: description.into(),
    };
    let body: Result<Value, _> = serde_json::from_slice(request.body);
    let body = body.map_err(|e| bad(400, &e.to_string()))?;
    // There is no client with the number 0.
    let cid = body.get("cid").and_then(Value::as_u64).unwrap_or(0);
    let (question, nobody) = match service {
        Service::Kick => (Question::Kick(cid), "no such client or leafnode id"),
        _ => (Question::LameDuck(cid), "no such client id"),
    };
    for report in source.ask(question) {
        match report {
            Report::Done(true) => return Ok(()),
            Report::NotReady => {
                return Err(bad(
                    500,
                    "client does not support Lame Duck Mode or is not ready to receive the \
                     notification",
                ));
            }
            _ => {}
        }
    }
    Err(bad(500, nobody))
}

/// Counts the subscriptions that a subject would reach, or that are within a pattern.
fn subscribers(source: &dyn Source, request: &Request<'_>) -> Reaction {
    let facts = source.facts();
    let info = headers::value(request.headers, REQUEST_INFO);
    let account = match info {
        None => facts.accounts.system().map(|t| t.account.name.to_string()),
        Some(info) => {
            let info: Value = serde_json::from_slice(info).unwrap_or_default();
            let name = |key: &str| info.get(key).and_then(Value::as_str).map(String::from);
            name("svc").or_else(|| name("acc"))
        }
    };
    let Some(account) = account.filter(|name| facts.accounts.named(name).is_some()) else {
        return Reaction::Silence;
    };
    let mut words = request.body.split(u8::is_ascii_whitespace);
    let mut words = words.by_ref().filter(|word| !word.is_empty());
    let subject = words.next().unwrap_or_default().to_vec();
    let queue = words.next().map(<[u8]>::to_vec);
    let literal = subject::is_literal(&subject);
    let question = SubscriptionsQuestion {
        account: Some(account),
        test: literal.then(|| subject.clone()),
        within: (!literal).then_some(subject),
        queue,
        pick: 0,
    };
    let reports = source.ask(Question::Subscriptions(Arc::new(question)));
    let count = |report: &Report| match report {
        Report::Subscriptions(report) => report.matching,
        _ => 0,
    };
    let sum: usize = reports.iter().map(count).sum();
    Reaction::Answer(sum.to_string().into_bytes())
}

/// `{"name": "cpu", "duration": nanoseconds}` and a filter.
fn profile(source: &dyn Source, request: &Request<'_>) -> Reaction {
    let options = match request::filter(request.body) {
        Err(error) => return Reaction::Answer(enveloped(source, "data", Err(error))),
        Ok(filter) if !request::applies(&filter, &source.facts()) => return Reaction::Silence,
        // What is JSON enough for the filter is so here.
        Ok(_) => serde_json::from_slice(request.body).unwrap_or(Value::Null),
    };
    let name = options.get("name").and_then(Value::as_str).unwrap_or("");
    let nanos = options.get("duration").and_then(Value::as_u64);
    let duration = Duration::from_nanos(nanos.unwrap_or(0));
    let refused = if name.is_empty() {
        "Profile name not specified".into()
    } else if name == "cpu" && (duration.is_zero() || duration > PROFILE_MAX) {
        let duration = GoDuration(duration);
        format!("Duration {duration} should be between 0s and 15s")
    } else {
        let name = name.into();
        return Reaction::Profile { name, duration };
    };
    Reaction::Answer(profile_answer(source, Err(refused)))
}
