//! Requests to the API: which account asks for what.
//!
//! They come by the service that the system account has for all others, with a header that says who
//! asks.

use super::{Node, decode};
use crate::accounts::Account;
use crate::jetstream::api::advisory::ApiLimitReached;
use crate::jetstream::api::request::ConsumerCreateRequest;
use crate::jetstream::api::response::{AccountPurgeBody, Body, ConsumerCreateBody, SystemBody};
use crate::jetstream::api::subjects::{self, ConsumerTarget};
use crate::jetstream::api::{ApiError, Response};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::Incoming;
use crate::proto::client_info::REQUEST_INFO;
use crate::proto::headers;
use crate::store::types::Timestamp;
use std::sync::Arc;

/// What all requests begin with.
pub(super) const PREFIX: &str = "$JS.API.";

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The subject behind the prefix.
    pub(super) subject: String,
    pub(super) reply: Vec<u8>,
    pub(super) headers: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// What becomes of a request.
pub(super) enum Reaction {
    /// It is answered at once.
    Answer(Vec<u8>),
    /// It will be answered, or is not to be.
    None,
    /// It has to wait for something.
    Later(Request),
}

/// Who asks: only what the node needs of it.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Asker {
    acc: String,
    svc: String,
}

impl Request {
    /// What the system says of who asks.
    pub(super) fn info(&self) -> Option<&[u8]> {
        headers::value(&self.headers, REQUEST_INFO)
    }

    /// Whether it is one that the system account may make.
    pub(super) fn is_for_system(&self) -> bool {
        self.subject == "INFO" || matches!(early(&self.subject), Early::Purge(_))
    }

    /// The account that asks; none if it is the system account.
    pub(super) fn account(&self) -> Option<String> {
        let info = self.info()?;
        let asker: Asker = serde_json::from_slice(info).ok()?;
        let account = match asker.svc.is_empty() {
            true => asker.acc,
            false => asker.svc,
        };
        Some(account).filter(|name| !name.is_empty())
    }

    /// Whether it asks for nothing but what its subject says.
    pub(super) fn is_empty(&self) -> bool {
        subjects::is_empty(&self.body)
    }

    /// The body, if it looks like JSON.
    pub(super) fn json(&self) -> Option<&[u8]> {
        subjects::is_json(&self.body).then_some(&self.body[..])
    }
}

/// Whether headers ask for a level of the API that this server does not have.
pub(super) fn needs_more(block: &[u8]) -> bool {
    headers::value(block, subjects::REQUIRED_LEVEL).is_some_and(subjects::is_beyond_level)
}

impl Node {
    /// Takes a request, to be answered in one of the next turns.
    pub(super) fn take_request<O: Out>(
        &mut self,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(reply) = message.reply else { return };
        let subject = std::str::from_utf8(message.subject).ok();
        let Some(subject) = subject.and_then(|s| s.strip_prefix(PREFIX)) else {
            return;
        };
        if self.requests.len() >= self.identity.options.request_queue_limit {
            self.drop_requests(now, out);
        }
        let request = Request {
            subject: subject.to_owned(),
            reply: reply.to_vec(),
            headers: message.headers.to_vec(),
            body: message.payload.to_vec(),
        };
        self.note_request(&request, out);
        self.requests.push_back(request);
    }

    /// Too many requests wait: all of them are dropped, as in the reference.
    fn drop_requests<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let dropped = self.requests.len();
        log::warn!("JetStream API queue limit reached, dropping {dropped} requests");
        for request in self.requests.drain(..) {
            self.audits.forget(&request.reply);
        }
        if let Some(system) = self.system.clone() {
            let kind = ApiLimitReached {
                server: self.identity.server.clone(),
                domain: self.identity.options.domain.clone().unwrap_or_default(),
                dropped: dropped as u64,
            };
            self.tell(&system, kind, now, out);
        }
    }

    /// Answers a request.
    pub(super) fn answer<O: Out>(&mut self, request: Request, now: Timestamp, out: &mut O) {
        let reply = request.reply.clone();
        self.figures.total += 1;
        let Some(system) = self.system.clone() else {
            return;
        };
        let asker = request.account();
        let reaction = match (early(&request.subject), &asker) {
            (Early::Purge(account), None) => {
                let account = account.to_owned();
                self.account_purge(&account, request, (now, out))
            }
            // The system account has no streams, and is asked only for what it has.
            (_, None) if request.subject == "INFO" => {
                Reaction::Answer(refused("INFO", ApiError::NotEnabledForAccount))
            }
            (_, None) => {
                let refused = Response::<SystemBody>::refused(ApiError::NotEnabledForAccount);
                Reaction::Answer(refused.encode())
            }
            (Early::Refused(body), Some(_)) => Reaction::Answer(body),
            (Early::Unknown | Early::Purge(_), Some(_)) => {
                let subject = &request.subject;
                let headers = format!("NATS/1.0 503\r\nNats-Subject: {PREFIX}{subject}\r\n\r\n");
                out.send(&system, &Outgoing::status(&reply, headers.as_bytes()));
                self.figures.total -= 1;
                return;
            }
            (Early::Go, Some(name)) => match self.tenants.named(name) {
                Some(tenant) => {
                    let account = tenant.account.clone();
                    if let Some(tenant) = self.tenants.get_mut(account.number) {
                        tenant.requests.total += 1;
                    }
                    self.react(&account, request, now, out)
                }
                None => Reaction::Answer(refused(&request.subject, ApiError::NotEnabledForAccount)),
            },
        };
        match reaction {
            Reaction::Answer(body) => {
                out.send(&system, &Outgoing::plain(&reply, &body));
            }
            Reaction::None => {}
            Reaction::Later(request) => {
                self.figures.total -= 1;
                self.later.push(request);
            }
        }
    }

    fn react<O: Out>(
        &mut self,
        account: &Arc<Account>,
        request: Request,
        now: Timestamp,
        out: &mut O,
    ) -> Reaction {
        if needs_more(&request.headers) {
            let error = self
                .before_level(&request)
                .unwrap_or(ApiError::RequiredApiLevel);
            return Reaction::Answer(refused(&request.subject, error));
        }
        let subject = request.subject.clone();
        let tokens: Vec<&str> = subject.split('.').collect();
        match tokens[..] {
            ["INFO"] => self.account_info(account),
            ["STREAM", "CREATE", name] => self.stream_create(account, name, request, now),
            ["STREAM", "UPDATE", name] => self.stream_update(account, name, request, now),
            ["STREAM", "NAMES"] => self.stream_names(account, &request),
            ["STREAM", "LIST"] => self.stream_list(account, &request, now),
            ["STREAM", "INFO", name] => self.stream_info(account, name, &request, now),
            ["STREAM", "DELETE", name] => self.stream_delete(account, name, request, (now, out)),
            ["STREAM", "PURGE", name] => self.stream_purge(account, name, request),
            ["STREAM", "MSG", "GET", name] => self.msg_get(account, name, &request),
            ["STREAM", "MSG", "DELETE", name] => self.msg_delete(account, name, request),
            ["STREAM", "SNAPSHOT", name] => {
                self.stream_snapshot(account, name, &request, (now, out))
            }
            ["STREAM", "RESTORE", name] => self.stream_restore(account, name, &request, (now, out)),
            ["CONSUMER", ref rest @ ..] => {
                self.react_of_consumer(account, rest, request, (now, out))
            }
            // Nobody knows such a request.
            _ => Reaction::None,
        }
    }

    /// What is wrong with a request that is told before it is looked which level it needs.
    fn before_level(&self, request: &Request) -> Option<ApiError> {
        let strict = self.identity.options.strict;
        match subjects::parse(&format!("{PREFIX}{}", request.subject))? {
            subjects::Request::ConsumerCreate(_) => {
                decode::read::<ConsumerCreateRequest>(&request.body, strict).err()
            }
            subjects::Request::ConsumerInfo(_) if !request.is_empty() => {
                Some(ApiError::NotEmptyRequest)
            }
            _ => None,
        }
    }

    /// Removes all streams of an account, as the system account may ask for.
    fn account_purge<O: Out>(
        &mut self,
        name: &str,
        request: Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        let number = self.tenants.named(name).map(|tenant| tenant.account.number);
        let all: Vec<usize> = match number {
            Some(number) => self.streams_of(number).map(|(_, at)| at).collect(),
            None => Vec::new(),
        };
        let is_open = |at: &usize| !self.streams[*at].is_changing();
        let is_changing = |at: &&usize| !is_open(at) && !self.is_restoring_at(**at);
        if all.iter().any(|at| is_changing(&at)) {
            return Reaction::Later(request);
        }
        let all: Vec<usize> = all.into_iter().filter(is_open).collect();
        let streams = all.len();
        log::info!("Purge request for account {name} (streams: {streams})");
        for at in all {
            self.begin_removing(at, Request::default(), (now, out));
        }
        self.reply(Ok(AccountPurgeBody { initiated: true }))
    }

    fn react_of_consumer<O: Out>(
        &mut self,
        account: &Arc<Account>,
        subject: &[&str],
        request: Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        let filter;
        let target = match *subject {
            ["CREATE", stream] => ConsumerTarget::Ephemeral { stream },
            ["CREATE", stream, consumer, ref rest @ ..] => {
                filter = rest.join(".");
                ConsumerTarget::Named {
                    stream,
                    consumer,
                    filter: (!rest.is_empty()).then_some(&*filter),
                }
            }
            ["DURABLE", "CREATE", stream, consumer] => ConsumerTarget::Durable { stream, consumer },
            ["DURABLE", "CREATE", ..] => {
                let error = ApiError::ConsumerDurableNameNotInSubject;
                return self.reply::<ConsumerCreateBody>(Err(error));
            }
            ["NAMES", stream] => return self.consumer_names(account, stream, &request),
            ["LIST", stream] => {
                return self.consumer_list(account, stream, &request, (now, out));
            }
            ["INFO", stream, consumer] => {
                let names = (stream, consumer);
                return self.consumer_info(account, names, &request, (now, out));
            }
            ["DELETE", stream, consumer] => {
                let names = (stream, consumer);
                return self.consumer_delete(account, names, &request, (now, out));
            }
            ["PAUSE", stream, consumer] => {
                let names = (stream, consumer);
                return self.consumer_pause(account, names, &request, (now, out));
            }
            ["UNPIN", stream, consumer] => {
                let names = (stream, consumer);
                return self.consumer_unpin(account, names, &request, (now, out));
            }
            _ => return Reaction::None,
        };
        if self.is_changing(account, target.stream()) {
            return Reaction::Later(request);
        }
        self.consumer_create(account, target, &request, (now, out))
    }

    /// Counts a refusal, and gives the answer that says so.
    pub(super) fn reply<B: Body>(&mut self, result: Result<B, ApiError>) -> Reaction {
        self.figures.errors += u64::from(result.is_err());
        answer(result)
    }
}

/// What is known of a request by its subject alone.
enum Early<'r> {
    /// It is to be answered.
    Go,
    /// It needs a cluster, and is refused whoever asks.
    Refused(Vec<u8>),
    /// All streams of this account are to go.
    Purge(&'r str),
    /// Nobody knows such a request on one server.
    Unknown,
}

fn early(subject: &str) -> Early<'_> {
    use crate::jetstream::api::response as r;
    use crate::jetstream::api::subjects::Request as R;
    fn refused<B: Body>() -> Early<'static> {
        Early::Refused(Response::<B>::refused(ApiError::ClusterRequired).encode())
    }
    if let Some(account) = subject.strip_prefix("ACCOUNT.PURGE.")
        && !account.contains('.')
    {
        return Early::Purge(account);
    }
    match subjects::parse(&format!("{PREFIX}{subject}")) {
        Some(R::StreamLeaderStepDown(_)) => refused::<r::StreamLeaderStepDownBody>(),
        Some(R::StreamPeerRemove(_)) => refused::<r::StreamRemovePeerBody>(),
        Some(R::StreamPeerEvacuate(_)) => refused::<r::StreamEvacuatePeerBody>(),
        Some(R::StreamCancelMove(_)) => refused::<r::StreamCancelMoveBody>(),
        Some(R::ConsumerLeaderStepDown(_)) => refused::<r::ConsumerLeaderStepDownBody>(),
        Some(R::ConsumerPeerRemove(_)) => refused::<r::ConsumerRemovePeerBody>(),
        Some(R::ConsumerPeerEvacuate(_)) => refused::<r::ConsumerEvacuatePeerBody>(),
        Some(
            R::MetaLeaderStepDown
            | R::MetaRescue
            | R::ServerRemove
            | R::ServerEvacuate
            | R::AccountStreamMove { .. }
            | R::AccountStreamCancelMove { .. },
        ) => Early::Unknown,
        None if subject.starts_with("CONSUMER.DURABLE.CREATE.") => Early::Go,
        None => Early::Unknown,
        Some(_) => Early::Go,
    }
}

/// An answer.
pub(super) fn answer<B: Body>(result: Result<B, ApiError>) -> Reaction {
    Reaction::Answer(Response::from(result).encode())
}

/// A refusal in the form of the answer that a request of that kind would get.
fn refused(subject: &str, error: ApiError) -> Vec<u8> {
    use crate::jetstream::api::response as r;
    fn encode<B: Body>(error: ApiError) -> Vec<u8> {
        Response::<B>::refused(error).encode()
    }
    let kind: Vec<&str> = subject.split('.').take(3).collect();
    match kind[..] {
        ["INFO"] => encode::<r::AccountInfoBody>(error),
        ["STREAM", "CREATE", ..] => encode::<r::StreamCreateBody>(error),
        ["STREAM", "UPDATE", ..] => encode::<r::StreamUpdateBody>(error),
        ["STREAM", "NAMES", ..] => encode::<r::StreamNamesBody>(error),
        ["STREAM", "LIST", ..] => encode::<r::StreamListBody>(error),
        ["STREAM", "INFO", ..] => encode::<r::StreamInfoBody>(error),
        ["STREAM", "DELETE", ..] => encode::<r::StreamDeleteBody>(error),
        ["STREAM", "PURGE", ..] => encode::<r::StreamPurgeBody>(error),
        ["STREAM", "MSG", "GET"] => encode::<r::MsgGetBody>(error),
        ["STREAM", "MSG", "DELETE"] => encode::<r::MsgDeleteBody>(error),
        ["STREAM", "SNAPSHOT", ..] => encode::<r::StreamSnapshotBody>(error),
        ["STREAM", "RESTORE", ..] => encode::<r::StreamRestoreBody>(error),
        ["CONSUMER", "CREATE" | "DURABLE", ..] => encode::<r::ConsumerCreateBody>(error),
        ["CONSUMER", "NAMES", ..] => encode::<r::ConsumerNamesBody>(error),
        ["CONSUMER", "LIST", ..] => encode::<r::ConsumerListBody>(error),
        ["CONSUMER", "INFO", ..] => encode::<r::ConsumerInfoBody>(error),
        ["CONSUMER", "DELETE", ..] => encode::<r::ConsumerDeleteBody>(error),
        ["CONSUMER", "PAUSE", ..] => encode::<r::ConsumerPauseBody>(error),
        ["CONSUMER", "UNPIN", ..] => encode::<r::ConsumerUnpinBody>(error),
        _ => encode::<SystemBody>(error),
    }
}
