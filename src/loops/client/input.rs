//! Reading: from whom, how much at a time, and what happens to the end of a split command.

use super::{ClientLoop, turn};
use crate::base::clock::{self, Mono};
use crate::base::limits::{
    HOLD_BACK_BUDGET, LINGER_BYTES, READ_BUDGET, READ_BUFFER, READ_ROOM_MIN, READ_TIME_MAX,
    STRANGERS_BUDGET, TURN_BUDGET,
};
use crate::broker::Progress;
use crate::loops::link::{Hold, State};
use crate::proto::client::Partial;
use crate::proto::error::CloseReason;
use bytes::Bytes;
use log::debug;
use mio::Token;
use std::io::{self, Read};
use std::time::Duration;

impl ClientLoop {
    /// Reads from everybody on the ready list, once around; and then from strangers for a short
    /// while, so that however many of them come, who is in does not feel it.
    pub(super) fn read_ready(&mut self, now: Mono) {
        self.shaken = Duration::ZERO;
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                break;
            };
            let streams = self.peers.jetstream_id();
            let waiting = self.broker.waiting_for(streams);
            self.read_from(token, now);
            if self.broker.waiting_for(streams) == waiting {
                self.leisure.note_others(now);
            }
        }
        if self.strangers.is_empty() {
            return;
        }
        let end = clock::mono() + STRANGERS_BUDGET;
        for _ in 0..self.strangers.len() {
            let Some(token) = self.strangers.pop_front() else {
                return;
            };
            self.read_from(token, now);
            if clock::mono() >= end {
                return;
            }
        }
    }

    fn read_from(&mut self, token: Token, now: Mono) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        link.queued = false;
        match link.state {
            State::Open { client, .. } if !link.tls.is_settled() => {
                self.shake_hands(token, client, now);
            }
            State::Open { client, hold } => self.read(token, client, hold, now),
            State::Flushing { .. } => {}
            State::Lingering { .. } => self.drain(token),
        }
    }

    /// Reads from a client until there is no more, or its turn is over.
    pub(super) fn read(&mut self, token: Token, client: u32, hold: Hold, now: Mono) {
        let (budget, room_max) = match hold {
            Hold::Held | Hold::Verifying => return,
            Hold::Free => (READ_BUDGET, READ_BUFFER),
            Hold::Released => (HOLD_BACK_BUDGET, HOLD_BACK_BUDGET),
        };
        if hold == Hold::Released {
            self.set_hold(token, Hold::Free);
        }
        let mut read = self.reads.take();
        let mut began = clock::mono();
        let (mut total, mut kept) = (0, 0);
        let mut partial = Partial::Line;
        let again = loop {
            let Some(link) = self.links.get_mut(token) else {
                break false;
            };
            let Some(room) = read.room() else { break true };
            let room_max = room_max.min(link.room);
            let room_len = room.len().min(room_max.max(kept + room_max / 2));
            let (n, more) = match link.read(&mut self.scratch, &mut room[kept..room_len]) {
                Ok((0, _)) => {
                    self.broker.handle_end(client, CloseReason::ClientClosed);
                    break false;
                }
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    debug!("Client read error: {e}");
                    self.broker.handle_end(client, CloseReason::ReadError);
                    break false;
                }
            };
            let full = more || link.ended;
            total += n;
            let len = kept + n;
            let (bytes, mut source) = read.source(n);
            let bytes = &bytes[..len];
            let turn = &mut turn!(self, now);
            let progress = self.broker.handle_bytes(client, bytes, &mut source, turn);
            let (rest, then) = match progress {
                Progress::Wait { consumed, partial } => (consumed, partial),
                Progress::Pause { consumed } => {
                    self.pause(token, &read.bytes()[consumed..len]);
                    kept = 0;
                    break false;
                }
                Progress::Closed => break false,
            };
            partial = then;
            kept = len - rest;
            let handled = clock::mono();
            self.adapt_room(token, handled.since(began));
            began = handled;
            let yielding =
                total >= budget || self.is_held(token) || handled.since(now) > TURN_BUDGET;
            let large = kept > READ_BUFFER / 2
                || matches!(partial, Partial::Payload(all) if all > READ_BUFFER / 2);
            if !full || yielding || large {
                self.broker.keep(client, &read.bytes()[rest..len], partial);
                kept = 0;
                if !full || yielding {
                    break full;
                }
            } else if kept > 0 {
                match read.room() {
                    Some(room) => room.copy_within(rest..len, 0),
                    None => {
                        let mut next = self.reads.take();
                        if let Some(room) = next.room() {
                            room[..kept].copy_from_slice(&read.bytes()[rest..len]);
                        }
                        self.reads.give(std::mem::replace(&mut read, next));
                    }
                }
            } else if read.room().is_none() {
                let next = self.reads.take();
                self.reads.give(std::mem::replace(&mut read, next));
            }
        };
        if kept > 0 {
            self.broker.keep(client, &read.bytes()[..kept], partial);
        }
        self.reads.give(read);
        self.schedule(token, client);
        if again {
            self.handle_readable(token, false);
        }
    }

    /// Sets aside what was read, until it is known who the client is.
    fn pause(&mut self, token: Token, rest: &[u8]) {
        if let Some(link) = self.links.get_mut(token) {
            link.backlog = rest.to_vec();
        }
        self.set_hold(token, Hold::Verifying);
    }

    /// It is known now: goes on with what was set aside, and with reading.
    pub(super) fn unpause(&mut self, client: u32, now: Mono) {
        let Some(token) = self.broker.link(client).map(Token) else {
            return;
        };
        self.set_hold(token, Hold::Free);
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let mut backlog = Bytes::from(std::mem::take(&mut link.backlog));
        let bytes = backlog.clone();
        let turn = &mut turn!(self, now);
        match self.broker.handle_bytes(client, &bytes, &mut backlog, turn) {
            Progress::Wait { consumed, partial } => {
                self.broker.keep(client, &bytes[consumed..], partial);
            }
            Progress::Pause { consumed } => self.pause(token, &bytes[consumed..]),
            Progress::Closed => return,
        }
        self.schedule(token, client);
        self.handle_readable(token, false);
    }

    /// Reads less at a time from a connection whose bytes take long to handle.
    fn adapt_room(&mut self, token: Token, took: Duration) {
        if let Some(link) = self.links.get_mut(token) {
            if took > READ_TIME_MAX {
                link.room = (link.room / 2).max(READ_ROOM_MIN);
            } else if took < READ_TIME_MAX / 4 {
                link.room = (link.room * 2).min(READ_BUFFER);
            }
        }
    }

    /// Drains a closed connection.
    pub(super) fn drain(&mut self, token: Token) {
        let mut read = self.reads.take();
        let mut over = true;
        if let Some(link) = self.links.get_mut(token)
            && let State::Lingering { drained, .. } = &mut link.state
            && let Some(room) = read.room()
        {
            loop {
                match link.stream.read(room) {
                    Ok(n) if n > 0 && *drained + n < LINGER_BYTES => *drained += n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        over = false;
                        break;
                    }
                    _ => break,
                }
            }
        }
        self.reads.give(read);
        if over {
            self.forget(token);
        }
    }
}
