//! Requests to the API: which account asks for what.
//!
//! They come by the service that the system account has for all others, with a header that says who
//! asks.

use super::Node;
use crate::accounts::Account;
use crate::jetstream::api::advisory::ApiLimitReached;
use crate::jetstream::api::response::{
    Body, ConsumerCreateBody, ConsumerLeaderStepDownBody, SystemBody,
};
use crate::jetstream::api::subjects::{self, ConsumerTarget};
use crate::jetstream::api::{ApiError, Response};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::Incoming;
use crate::proto::client_info::REQUEST_INFO;
use crate::proto::headers;
use crate::store::types::Timestamp;
use std::sync::Arc;

/// What all requests begin with.
const PREFIX: &str = "$JS.API.";

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

    /// The account that asks.
    fn account(&self) -> Option<String> {
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
        self.requests.push_back(Request {
            subject: subject.to_owned(),
            reply: reply.to_vec(),
            headers: message.headers.to_vec(),
            body: message.payload.to_vec(),
        });
    }

    /// Too many requests wait: all of them are dropped, as in the reference.
    fn drop_requests<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let dropped = self.requests.len();
        log::warn!("JetStream API queue limit reached, dropping {dropped} requests");
        self.requests.clear();
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
        let reaction = match request.account() {
            Some(name) => match self.tenants.named(&name) {
                Some(tenant) => {
                    let account = tenant.account.clone();
                    if let Some(tenant) = self.tenants.get_mut(account.number) {
                        tenant.requests.total += 1;
                    }
                    self.react(&account, request, now, out)
                }
                None => Reaction::Answer(refused(&request.subject, ApiError::NotEnabledForAccount)),
            },
            None => Reaction::Answer(refused(&request.subject, ApiError::NotEnabledForAccount)),
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
            return Reaction::Answer(refused(&request.subject, ApiError::RequiredApiLevel));
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
            ["STREAM", "LEADER", "STEPDOWN", _] => answer::<
                crate::jetstream::api::response::StreamLeaderStepDownBody,
            >(Err(ApiError::ClusterRequired)),
            ["STREAM", "PEER", "REMOVE" | "EVACUATE", _] => {
                answer::<crate::jetstream::api::response::StreamRemovePeerBody>(Err(
                    ApiError::ClusterRequired,
                ))
            }
            ["STREAM", "CANCEL_MOVE", _] => answer::<
                crate::jetstream::api::response::StreamCancelMoveBody,
            >(Err(ApiError::ClusterRequired)),
            ["CONSUMER", ref rest @ ..] => {
                self.react_of_consumer(account, rest, request, (now, out))
            }
            // Nobody knows such a request.
            _ => Reaction::None,
        }
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
                return self.consumer_info(account, (stream, consumer), now, out);
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
            ["LEADER", "STEPDOWN", ..] => {
                return answer::<ConsumerLeaderStepDownBody>(Err(ApiError::ClusterRequired));
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
