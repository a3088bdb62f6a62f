//! Requests about streams and their messages.

use super::requests::{Reaction, Request};
use super::{Change, Node, Phase, decode};
use crate::accounts::Account;
use crate::jetstream::api::ApiError;
use crate::jetstream::api::advisory::Action;
use crate::jetstream::api::request::{MsgDeleteRequest, MsgGetRequest, StreamPurgeRequest};
use crate::jetstream::api::response::{
    MsgDeleteBody, MsgGetBody, StoredMsg, StreamDeleteBody, StreamPurgeBody,
};
use crate::jetstream::out::Out;
use crate::jetstream::stream::{GetError, Locator, Stream};
use crate::json::Time;
use crate::store::file::ReadBuffer;
use crate::store::stream::Purge;
use crate::store::types::{StreamSeq, Timestamp};
use std::sync::Arc;

impl Node {
    /// The stream of that name that is open.
    pub(super) fn named(
        &mut self,
        account: &Account,
        name: &str,
    ) -> Result<(usize, &mut Stream), ApiError> {
        let at = self.find(account.number, name);
        let at = at.ok_or(ApiError::StreamNotFound)?;
        if let Some(offline) = self.offline(at) {
            return Err(offline);
        }
        let stream = self.open_stream(at).ok_or(ApiError::StreamNotFound)?;
        Ok((at, stream))
    }

    /// Whether a request has to wait for what is being done to the stream.
    pub(super) fn is_changing(&self, account: &Account, name: &str) -> bool {
        let at = self.find(account.number, name);
        // What is being restored may take long, and is as good as not there.
        at.is_some_and(|at| self.streams[at].is_changing()) && !self.is_restoring(account, name)
    }

    /// Whether there is no stream of that name yet, but is going to be.
    pub(super) fn is_restoring(&self, account: &Account, name: &str) -> bool {
        let at = self.find(account.number, name);
        at.is_some_and(|at| self.is_restoring_at(at))
    }

    pub(super) fn is_restoring_at(&self, at: usize) -> bool {
        matches!(self.streams[at].phase, Phase::Restoring(_))
    }

    pub(super) fn stream_delete<O: Out>(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        if !request.is_empty() {
            return self.reply::<StreamDeleteBody>(Err(ApiError::NotEmptyRequest));
        }
        if self.is_changing(account, name) {
            return Reaction::Later(request);
        }
        let at = self.find(account.number, name);
        let Some(at) = at.filter(|_| !self.is_restoring(account, name)) else {
            return self.reply::<StreamDeleteBody>(Err(ApiError::StreamNotFound));
        };
        self.begin_removing(at, request, (now, out));
        Reaction::None
    }

    /// Removes a stream to which nothing else is being done, and answers the request then.
    pub(super) fn begin_removing<O: Out>(
        &mut self,
        at: usize,
        request: Request,
        (now, out): (Timestamp, &mut O),
    ) {
        let mut steps = Vec::new();
        let mut consumers = Vec::new();
        if let Phase::Open {
            stream,
            listening,
            change,
            ..
        } = &mut self.streams[at].phase
        {
            for slot in listening.drain(..) {
                self.listeners.leave(slot);
            }
            stream.end_origins(&mut steps);
            consumers = stream.end_consumers(now, out);
            *change = Change::Removal(request);
        }
        self.do_steps(at, steps, now, out);
        let slot = &self.streams[at];
        let (account, stream) = (slot.account.clone(), slot.name.clone());
        for consumer in &consumers {
            let names = (&account, &*stream, &**consumer);
            self.tell_of_consumer(names, Action::Delete, now, out);
        }
        self.go_on_removing(at);
    }

    /// Whether a request has to wait for a purge, or for messages to go for a new limit.
    pub(super) fn is_working(&mut self, account: &Account, name: &str) -> bool {
        let named = self.named(account, name);
        named.is_ok_and(|(_, stream)| stream.has_work())
    }

    pub(super) fn stream_purge(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: Request,
    ) -> Reaction {
        if self.is_working(account, name) {
            return Reaction::Later(request);
        }
        let result = self.purge(account, name, &request);
        match result {
            // It is answered when it is done.
            Ok(()) => Reaction::None,
            Err(error) => self.reply::<StreamPurgeBody>(Err(error)),
        }
    }

    fn purge(&mut self, account: &Account, name: &str, request: &Request) -> Result<(), ApiError> {
        let strict = self.identity.options.strict;
        let asked: StreamPurgeRequest = match request.json() {
            None => Default::default(),
            Some(json) => decode::read(json, strict)?,
        };
        asked.check()?;
        let (at, stream) = self.named(account, name)?;
        if stream.config.sealed {
            return Err(ApiError::StreamSealed);
        }
        if stream.config.deny_purge {
            let err = "stream purge not permitted".into();
            return Err(ApiError::StreamPurgeFailed { err });
        }
        let last = stream.state().last;
        let purge = Purge {
            upto: match asked.seq {
                0 => last,
                seq => StreamSeq(seq - 1).min(last),
            },
            keep: asked.keep,
            filter: match &*asked.filter {
                ">" => vec![],
                filter => filter.as_bytes().to_vec(),
            },
        };
        let purged = stream.purge(&purge, &request.reply);
        purged.map_err(|e| ApiError::StreamPurgeFailed { err: e.to_string() })?;
        self.dirty.push(at);
        Ok(())
    }

    pub(super) fn msg_get(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: &Request,
    ) -> Reaction {
        let result = self.get(account, name, request);
        // Such requests are not counted.
        self.figures.total -= 1;
        super::requests::answer(result.map(|message| MsgGetBody {
            message: Some(message),
        }))
    }

    fn get(
        &mut self,
        account: &Account,
        name: &str,
        request: &Request,
    ) -> Result<StoredMsg, ApiError> {
        if request.is_empty() {
            return Err(ApiError::BadRequest);
        }
        let strict = self.identity.options.strict;
        let asked: MsgGetRequest = decode::read(&request.body, strict)?;
        let by_time = asked.start_time.is_some();
        let last = !asked.last_by_subj.is_empty();
        let next = !asked.next_by_subj.is_empty();
        let is_wrong = asked.batch != 0
            || asked.max_bytes != 0
            || !asked.multi_last.is_empty()
            || (asked.seq == 0 && !last && !next && !by_time)
            || (asked.seq > 0 && (last || by_time))
            || (last && (next || by_time));
        if is_wrong {
            return Err(ApiError::BadRequest);
        }
        let (at, stream) = self.named(account, name)?;
        let mut from = StreamSeq(asked.seq);
        if let Some(time) = asked.start_time {
            let at = stream.first_at(Timestamp(time.unix_nanos()));
            from = at.map_err(|e| ApiError::store_failed(e.to_string()))?;
        }
        let locator = if last {
            Locator::LastOn(asked.last_by_subj.as_bytes())
        } else if next {
            Locator::NextOn(asked.next_by_subj.as_bytes(), from)
        } else if by_time {
            Locator::NextOn(b"", from)
        } else {
            Locator::Sequence(from)
        };
        let mut buffer = ReadBuffer::default();
        let error = match stream.get(locator, &mut buffer) {
            Ok(got) => {
                let record = &got.record;
                return Ok(StoredMsg {
                    subject: String::from_utf8_lossy(record.subject).into_owned(),
                    seq: record.sequence.0,
                    headers: match asked.no_hdr {
                        true => vec![],
                        false => record.headers.to_vec(),
                    },
                    data: record.payload.to_vec(),
                    time: Time::from_unix_nanos(record.timestamp.0),
                });
            }
            Err(error) => error,
        };
        if stream.has_damage() {
            // It is told of, though nothing else happens to the stream.
            self.dirty.push(at);
        }
        Err(match error {
            GetError::NotFound | GetError::TooMany => ApiError::NoMessageFound,
            GetError::Store(error) => ApiError::store_failed(error.to_string()),
        })
    }

    pub(super) fn msg_delete(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: Request,
    ) -> Reaction {
        match self.delete(account, name, &request) {
            Ok(true) => Reaction::None,
            Ok(false) => Reaction::Later(request),
            Err(error) => self.reply::<MsgDeleteBody>(Err(error)),
        }
    }

    /// Deletes a message; false if that has to wait.
    fn delete(
        &mut self,
        account: &Account,
        name: &str,
        request: &Request,
    ) -> Result<bool, ApiError> {
        if request.is_empty() {
            return Err(ApiError::BadRequest);
        }
        let strict = self.identity.options.strict;
        let asked: MsgDeleteRequest = decode::read(&request.body, strict)?;
        let (at, stream) = self.named(account, name)?;
        if stream.config.sealed {
            return Err(ApiError::StreamSealed);
        }
        let failed = |err: &str| {
            Err(ApiError::StreamMsgDeleteFailed {
                err: err.to_owned(),
            })
        };
        if stream.config.deny_delete {
            return failed("message delete not permitted");
        }
        if asked.seq > stream.state().last.0 {
            return failed("stream store EOF");
        }
        if asked.seq == 0 {
            return failed("no message found");
        }
        if stream.has_work() {
            return Ok(false);
        }
        let sequence = StreamSeq(asked.seq);
        match stream.delete(sequence) {
            Ok(true) => {}
            Ok(false) => return Err(ApiError::SequenceNotFound { seq: asked.seq }),
            Err(error) => return failed(&error.to_string()),
        }
        let body = MsgDeleteBody { success: true };
        let body = crate::jetstream::api::Response::ok(body).encode();
        stream.answer_when_stored(&request.reply, &body);
        self.dirty.push(at);
        Ok(true)
    }
}
