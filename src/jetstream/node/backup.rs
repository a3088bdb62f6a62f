//! Backups of streams: they are sent in pieces, as fast as the client takes them, while the stream
//! goes on.
//!
//! A backup reads a part of the stream each turn, packs it, and sends a chunk when there is enough
//! for one and the client has room in its window, which it says by an answer to each chunk. What is
//! published meanwhile is not in it.

use super::listeners::Listener;
use super::requests::{Reaction, Request};
use super::{Node, asker, decode};
use crate::accounts::Account;
use crate::jetstream::api::advisory::{SnapshotComplete, SnapshotCreate};
use crate::jetstream::api::request::StreamSnapshotRequest;
use crate::jetstream::api::response::StreamSnapshotBody;
use crate::jetstream::api::{ApiError, ConsumerConfig, Response};
use crate::jetstream::backup::archive::{CONSUMERS, Entry, MAGIC, STATE};
use crate::jetstream::backup::consumers;
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::Stream;
use crate::json::Time;
use crate::proto::client_info::ClientInfo;
use crate::proto::frames::Packer;
use crate::store::consumer::ConsumerState;
use crate::store::error::LogError;
use crate::store::file::ReadBuffer;
use crate::store::types::{StreamSeq, Timestamp};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Backups that are sent at a time: each has a chunk and a block in memory.
const BACKUPS: usize = 64;

/// Bytes and messages that one backup reads in a turn.
const TURN_BYTES: usize = 256 << 10;
const TURN_MESSAGES: usize = 4096;

/// How long a client may say nothing, and how long it is waited for it to listen, in nanoseconds;
/// and how often it is looked for that.
const ANSWER_TIME: u64 = 5_000_000_000;
const INTEREST_TIME: u64 = 2_000_000_000;
const LOOK: u64 = 50_000_000;

/// A backup that is being sent.
pub(super) struct Backup {
    account: Arc<Account>,
    /// The stream's place, and what tells it from another one there.
    at: usize,
    name: String,
    created: Time,
    client: ClientInfo,
    start: Timestamp,
    deliver: Vec<u8>,
    chunk: usize,
    /// Chunks that may be on their way, and those that are.
    window: usize,
    on_their_way: usize,
    /// The number of the next chunk.
    index: u64,
    /// Whether messages are being brought into memory.
    is_cold: bool,
    /// Whether somebody listened.
    has_begun: bool,
    listener: Option<u32>,
    ack_subject: String,
    phase: Phase,
    packer: Packer,
    buffer: ReadBuffer,
    /// When it is given up if nothing happens.
    deadline: Timestamp,
    bytes: u64,
    /// Messages that could not be read.
    damaged: u64,
    /// Whether such a message ends it.
    checks: bool,
}

enum Phase {
    Consumers {
        left: VecDeque<(ConsumerConfig, ConsumerState)>,
        next: StreamSeq,
        last: StreamSeq,
    },
    Messages {
        next: StreamSeq,
        last: StreamSeq,
    },
    /// All has been packed.
    Packed,
}

/// How a backup ends.
enum End {
    Complete,
    NoInterest,
    NoAnswer,
    Failed(String),
}

impl Node {
    pub(super) fn stream_snapshot<O: Out>(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        match self.begin_backup(account, name, request, now) {
            Ok((body, backup)) => {
                self.send_answer(&request.reply, &Response::ok(body.clone()).encode(), out);
                log::info!("Starting snapshot for stream '{} > {name}'", account.name);
                let kind = SnapshotCreate {
                    stream: name.to_owned(),
                    state: body.state.unwrap_or_default(),
                    client: backup.client.clone(),
                    domain: self.identity.options.domain.clone().unwrap_or_default(),
                };
                self.tell(account, kind, now, out);
                let entry = self.backups.vacant_entry();
                let id = entry.key();
                let backup = entry.insert(backup);
                self.backups_at = now;
                let subject = format!("{}.>", backup.ack_subject);
                let listener = Listener::Backup(id);
                backup.listener = self.listeners.listen(account, subject.as_bytes(), listener);
                Reaction::None
            }
            Err(error) => self.reply::<StreamSnapshotBody>(Err(error)),
        }
    }

    fn begin_backup(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<(StreamSnapshotBody, Backup), ApiError> {
        if request.is_empty() {
            return Err(ApiError::BadRequest);
        }
        let domain = self.identity.options.domain.clone().unwrap_or_default();
        let strict = self.identity.options.strict;
        let id = self.unique_id();
        let full = self.backups.len() >= BACKUPS;
        let client = asker::client(request.info().unwrap_or_default());
        let (at, stream) = self.named(account, name)?;
        let asked: StreamSnapshotRequest = decode::read(&request.body, strict)?;
        let (chunk, window) = asked.flow()?;
        if full {
            let err = "too many backups are being sent".to_owned();
            return Err(ApiError::StreamSnapshot { err });
        }
        let mut state = super::info::stream_info(stream, now, &domain).state;
        // What is not stored yet may still be lost.
        let last = stream.visible().min(StreamSeq(state.last_seq));
        state.messages = state.messages.saturating_sub(state.last_seq - last.0);
        state.last_seq = last.0;
        let told = state.clone();
        let left: VecDeque<_> = match asked.no_consumers {
            true => VecDeque::new(),
            false => stream.saved_consumers().collect(),
        };
        state.consumer_count = left.len() as u64;
        let mut packer = Packer::default();
        packer.raw().extend_from_slice(MAGIC);
        Entry {
            name: STATE,
            timestamp: i64::try_from(now.0).unwrap_or(i64::MAX),
            payload: &crate::json::compact(&state),
            ..Entry::default()
        }
        .put(packer.raw());
        let backup = Backup {
            account: account.clone(),
            at,
            name: name.to_owned(),
            created: stream.created,
            client,
            start: now,
            deliver: asked.deliver_subject.into_bytes(),
            chunk: usize::try_from(chunk).unwrap_or(usize::MAX),
            window: usize::try_from(window).unwrap_or(usize::MAX),
            on_their_way: 0,
            index: 1,
            is_cold: false,
            has_begun: false,
            listener: None,
            ack_subject: format!("$JS.SNAPSHOT.ACK.{name}.{id}"),
            phase: Phase::Consumers {
                left,
                next: StreamSeq(state.first_seq),
                last,
            },
            packer,
            buffer: ReadBuffer::default(),
            deadline: Timestamp(now.0.saturating_add(INTEREST_TIME)),
            bytes: 0,
            damaged: 0,
            checks: asked.jsck,
        };
        let body = StreamSnapshotBody {
            config: Some(stream.config.clone()),
            state: Some(told),
        };
        Ok((body, backup))
    }

    /// Takes a client's answer to a chunk.
    pub(super) fn chunk_taken(&mut self, id: usize, now: Timestamp) {
        if let Some(backup) = self.backups.get_mut(id) {
            backup.on_their_way = backup.on_their_way.saturating_sub(1);
            self.backups_at = self.backups_at.min(now);
        }
    }

    /// Goes on with all backups; says whether there is more to do at once.
    pub(super) fn serve_backups<O: Out>(&mut self, now: Timestamp, out: &mut O) -> bool {
        if self.backups.is_empty() || self.backups_at > now {
            return false;
        }
        self.backups_at = super::NEVER;
        let mut more = false;
        let mut ended = Vec::new();
        let all: Vec<usize> = self.backups.iter().map(|(id, _)| id).collect();
        for id in all {
            let Some(at) = self.backups.get(id).map(|backup| backup.at) else {
                continue;
            };
            let stream = match self.streams.get_mut(at).map(|slot| &mut slot.phase) {
                Some(super::Phase::Open { stream, .. }) => Some(stream),
                _ => None,
            };
            let Some(backup) = self.backups.get_mut(id) else {
                continue;
            };
            let stream = stream.filter(|stream| {
                stream.created == backup.created && stream.config.name == backup.name
            });
            match backup.serve(stream.map(|stream| &mut **stream), now, out) {
                Ok(true) => more = true,
                // The end of a job wakes it.
                Ok(false) if backup.is_cold => {
                    self.syncing.insert(at);
                }
                Ok(false) => self.backups_at = self.backups_at.min(backup.look_at(now)),
                Err(end) => ended.push((id, end)),
            }
        }
        if more {
            self.backups_at = now;
        }
        for (id, end) in ended {
            self.end_backup(id, &end, now, out);
        }
        more
    }

    fn end_backup<O: Out>(&mut self, id: usize, end: &End, now: Timestamp, out: &mut O) {
        let backup = self.backups.remove(id);
        if let Some(slot) = backup.listener {
            self.listeners.leave(slot);
        }
        let headers = match end {
            // Who was asked for no answers is told nothing, either.
            End::Complete if backup.index == 1 => String::new(),
            End::Complete => "NATS/1.0 204\r\n\r\n".to_owned(),
            End::NoInterest => "NATS/1.0 408 No Interest\r\n\r\n".to_owned(),
            End::NoAnswer => "NATS/1.0 408 No Flow Response\r\n\r\n".to_owned(),
            End::Failed(error) => {
                let error = error.replace(['\r', '\n'], " ");
                format!("NATS/1.0 500 {error}\r\n\r\n")
            }
        };
        let status = Outgoing::status(&backup.deliver, headers.as_bytes());
        out.send(&backup.account, &status);
        let error = match end {
            End::Complete => String::new(),
            End::NoInterest => "no interest".to_owned(),
            End::NoAnswer => "no flow response".to_owned(),
            End::Failed(error) => error.clone(),
        };
        let label = format!("'{} > {}'", backup.account.name, backup.name);
        let took = std::time::Duration::from_nanos(now.0.saturating_sub(backup.start.0));
        match error.is_empty() {
            true => log::info!(
                "Completed snapshot of {} bytes for stream {label} in {took:?}",
                backup.bytes
            ),
            false => log::warn!("Snapshot for stream {label} failed after {took:?}: {error}"),
        }
        if backup.damaged > 0 {
            log::warn!(
                "Snapshot for stream {label} is without {} damaged messages",
                backup.damaged
            );
        }
        let kind = SnapshotComplete {
            stream: backup.name,
            start: Time::from_unix_nanos(backup.start.0),
            end: Time::from_unix_nanos(now.0),
            client: backup.client,
            domain: self.identity.options.domain.clone().unwrap_or_default(),
            error,
        };
        self.tell(&backup.account, kind, now, out);
    }
}

impl Backup {
    /// When to look at it if nothing happens.
    fn look_at(&self, now: Timestamp) -> Timestamp {
        match self.on_their_way {
            0 => Timestamp(now.0.saturating_add(LOOK)),
            _ => self.deadline,
        }
    }

    /// Does a part of the work; says whether it can go on at once.
    fn serve<O: Out>(
        &mut self,
        stream: Option<&mut Stream>,
        now: Timestamp,
        out: &mut O,
    ) -> Result<bool, End> {
        // The inbox that a client has for all answers is heard before it subscribes to this one.
        let interest = &self.account.interest;
        if !self.has_begun && !interest.has_literal(&self.deliver) {
            if now < self.deadline {
                return Ok(false);
            }
            if !out.is_heard(&self.account, &self.deliver) {
                return Err(End::NoInterest);
            }
        }
        self.has_begun = true;
        let Some(stream) = stream else {
            return Err(End::Failed("stream closed".to_owned()));
        };
        self.is_cold = false;
        self.pack(stream, now)?;
        let is_packed = matches!(self.phase, Phase::Packed);
        loop {
            let ready = self.packer.ready();
            if ready == 0 && is_packed {
                return Err(End::Complete);
            }
            if ready < self.chunk && !is_packed {
                return Ok(!self.is_cold);
            }
            if self.on_their_way >= self.window {
                return match now < self.deadline {
                    true => Ok(false),
                    false => Err(End::NoAnswer),
                };
            }
            self.send_chunk(now, out)?;
        }
    }

    fn send_chunk<O: Out>(&mut self, now: Timestamp, out: &mut O) -> Result<(), End> {
        let chunk = self.packer.take(self.chunk);
        let is_whole = chunk.len() == self.chunk;
        // The last one, if it is short, is not answered.
        let reply = format!("{}.{}.{}", self.ack_subject, chunk.len(), self.index);
        let message = Outgoing {
            reply: is_whole.then_some(reply.as_bytes()),
            ..Outgoing::plain(&self.deliver, chunk)
        };
        self.bytes += chunk.len() as u64;
        if out.send(&self.account, &message) == 0 {
            return Err(End::NoInterest);
        }
        if is_whole {
            self.index += 1;
            self.on_their_way += 1;
            self.deadline = Timestamp(now.0.saturating_add(ANSWER_TIME));
        }
        Ok(())
    }

    /// Packs a part of what there is, unless enough waits to be sent.
    fn pack(&mut self, stream: &mut Stream, now: Timestamp) -> Result<(), End> {
        let mut left = TURN_BYTES;
        while left > 0 && self.packer.ready() < self.chunk {
            let before = self.packer.raw().len();
            match &mut self.phase {
                Phase::Consumers { left, next, last } => match left.pop_front() {
                    Some((config, state)) => {
                        let name = format!("{CONSUMERS}{}", config.name);
                        Entry {
                            name: name.as_bytes(),
                            timestamp: i64::try_from(now.0).unwrap_or(i64::MAX),
                            payload: &consumers::encode(&config, &state, *last),
                            ..Entry::default()
                        }
                        .put(self.packer.raw());
                    }
                    None => {
                        let (next, last) = (*next, *last);
                        self.phase = Phase::Messages { next, last };
                    }
                },
                Phase::Messages { next, last } if *next > *last => {
                    Entry::default().put(self.packer.raw());
                    self.packer.finish();
                    self.phase = Phase::Packed;
                    return Ok(());
                }
                Phase::Messages { next, last } => {
                    let lost = stream.state().lost;
                    let raw = self.packer.raw();
                    let passed = stream.read_from(
                        (*next, *last),
                        (TURN_MESSAGES, left),
                        {
                            |stored| {
                                let record = &stored.record;
                                Entry {
                                    name: record.subject,
                                    timestamp: i64::try_from(record.timestamp.0)
                                        .unwrap_or(i64::MAX),
                                    sequence: record.sequence.0,
                                    headers: record.headers,
                                    payload: record.payload,
                                }
                                .put(raw);
                                ControlFlow::Continue(())
                            }
                        },
                        &mut self.buffer,
                    );
                    *next = match passed {
                        Ok(Some(next)) => next,
                        Ok(None) => {
                            self.is_cold = true;
                            return Ok(());
                        }
                        Err(LogError::Damaged) => {
                            self.damaged += 1;
                            next.next()
                        }
                        Err(error) => return Err(End::Failed(error.to_string())),
                    };
                    self.damaged += stream.state().lost.saturating_sub(lost);
                    if self.checks && self.damaged > 0 {
                        let error = format!("{} messages are damaged", self.damaged);
                        return Err(End::Failed(error));
                    }
                }
                Phase::Packed => return Ok(()),
            }
            let packed = self.packer.raw().len().saturating_sub(before);
            left = left.saturating_sub(packed.max(1));
            self.packer.settle();
        }
        Ok(())
    }
}
