//! Moving requests to the threads that answer them, and answers from there to the clients.

use super::MonitorLoop;
use super::backend::{Answer, Exchange, Slot, SlotState};
use super::connection::Phase;
use super::front::connection_header;
use crate::base::clock::Mono;
use crate::base::limits::{MONITOR_HEAD, MONITOR_WRITE_STALL};
use crate::monitor::http::Response;
use httparse::{EMPTY_HEADER, Status};
use mio::Token;
use std::io::{self, Read, Write};

/// Bytes that are moved of one answer before the others get their turn.
const BUDGET: usize = 256 << 10;

/// Bytes read of an answer at a time.
const PIECE: usize = 32 << 10;

/// How an answer goes on.
enum Went {
    /// Something has to happen first.
    Waits,
    /// There is more, which others should not wait for.
    Budget,
    Done,
    /// The other side is gone.
    Dead,
}

impl Slot {
    /// Nothing was asked: if there is anything to be read, it can only be the end.
    fn look_idle(&mut self) {
        if !std::mem::take(&mut self.readable) {
            return;
        }
        match self.stream.read(&mut [0]) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            _ => self.state = SlotState::Dead,
        }
    }

    /// The client that does not take what waits for it, and since when.
    pub(super) fn blocked_since(&self) -> Option<(Mono, Token)> {
        match &self.state {
            SlotState::Busy(exchange) => Some((exchange.blocked_since?, exchange.client?)),
            _ => None,
        }
    }
}

impl MonitorLoop {
    /// Gives waiting requests to threads that have nothing to do.
    pub(super) fn assign(&mut self, now: Mono) {
        while let Some(token) = self.waiting.front().copied() {
            let Some(backend) = &mut self.backend else {
                return;
            };
            let Some(slot) = backend.idle() else {
                return;
            };
            self.waiting.pop_front();
            let Some(connection) = self.connections.get_mut(token) else {
                continue;
            };
            let serving = Phase::Serving(slot);
            if let Phase::Waiting(ticket) = std::mem::replace(&mut connection.phase, serving) {
                backend.begin(slot, token, *ticket);
                (connection.since, connection.progress) = (now, now);
                self.set_deadline(token, now + MONITOR_WRITE_STALL);
            }
        }
    }

    /// The client of this slot is gone: its answer goes nowhere.
    pub(super) fn abandon(&mut self, slot: usize) {
        if let Some(slot) = self.backend.as_mut().and_then(|b| b.slots.get_mut(slot))
            && let SlotState::Busy(exchange) = &mut slot.state
        {
            exchange.client = None;
            exchange.blocked_since = None;
            slot.due = true;
        }
    }

    /// A client has taken some of its answer: goes on with the rest if there is room for a good
    /// part of it.
    pub(super) fn has_room(&mut self, slot: usize, token: Token) {
        let room = self.ahead_max() / 2;
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if connection.output.len() > room {
            return;
        }
        if let Some(slot) = self.backend.as_mut().and_then(|b| b.slots.get_mut(slot))
            && let SlotState::Busy(exchange) = &mut slot.state
            && exchange.blocked_since.take().is_some()
        {
            slot.due = true;
        }
    }

    /// Moves what can be moved.
    pub(super) fn relay(&mut self, now: Mono) {
        let Some(mut backend) = self.backend.take() else {
            return;
        };
        for slot in &mut backend.slots {
            if std::mem::take(&mut slot.due) {
                self.relay_one(slot, now);
            }
        }
        self.backend = Some(backend);
    }

    fn relay_one(&mut self, slot: &mut Slot, now: Mono) {
        let SlotState::Busy(exchange) = &mut slot.state else {
            slot.look_idle();
            return;
        };
        let moved = write_request(&mut slot.stream, exchange)
            .and_then(|()| self.read_answer(&mut slot.stream, &mut slot.readable, exchange, now));
        let client = exchange.client;
        match moved.unwrap_or(Went::Dead) {
            Went::Waits => {}
            Went::Budget => slot.due = true,
            Went::Done => {
                slot.state = SlotState::Idle;
                if let Some(token) = client {
                    self.answered(token, now);
                }
            }
            Went::Dead => {
                let begun = matches!(exchange.answer, Answer::Body(_));
                slot.state = SlotState::Dead;
                if let Some(token) = client {
                    self.give_up(token, begun, now);
                }
            }
        }
        if let Some(token) = client {
            self.count(token);
            self.queue(token);
        }
    }

    /// The answer of a client will not come, or not all of it.
    fn give_up(&mut self, token: Token, begun: bool, now: Mono) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        connection.phase = Phase::Answering;
        connection.closes = true;
        if begun {
            // That it ends too early is the only way left to tell.
            self.forget(token);
        } else {
            let text = "500 Internal Server Error";
            self.answer(token, &Response::text(500, text), false, now);
        }
    }

    fn read_answer(
        &mut self,
        from: &mut impl Read,
        readable: &mut bool,
        exchange: &mut Exchange,
        now: Mono,
    ) -> io::Result<Went> {
        let mut piece = [0; PIECE];
        let mut moved = 0;
        loop {
            let room = match &exchange.answer {
                Answer::Body(0) => return Ok(Went::Done),
                Answer::Body(left) => (*left).min(self.room(exchange.client)).min(PIECE),
                Answer::Head(_) => MONITOR_HEAD.min(PIECE),
            };
            if room == 0 {
                exchange.blocked_since.get_or_insert(now);
                return Ok(Went::Waits);
            }
            if moved > BUDGET {
                return Ok(Went::Budget);
            }
            if !*readable {
                return Ok(Went::Waits);
            }
            let n = match from.read(&mut piece[..room]) {
                Ok(0) => return Ok(Went::Dead),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    *readable = false;
                    return Ok(Went::Waits);
                }
                Err(e) => return Err(e),
            };
            moved += n;
            self.take_answer(exchange, &piece[..n])?;
        }
    }

    /// How much more may wait for a client; who is gone takes everything.
    fn room(&mut self, client: Option<Token>) -> usize {
        let max = self.ahead_max();
        let connection = client.and_then(|token| self.connections.get_mut(token));
        connection.map_or(PIECE, |c| max.saturating_sub(c.output.len()))
    }

    fn take_answer(&mut self, exchange: &mut Exchange, bytes: &[u8]) -> io::Result<()> {
        let client = exchange.client;
        match &mut exchange.answer {
            Answer::Body(left) => {
                *left = left.saturating_sub(bytes.len());
                self.push(client, bytes);
            }
            Answer::Head(head) => {
                head.extend_from_slice(bytes);
                let connection = client.and_then(|token| self.connections.get_mut(token));
                let said = connection.and_then(|c| connection_header(c.closes, c.old));
                let Some((rewritten, len, body)) = rewrite(head, said)? else {
                    return Ok(());
                };
                let rest = head.split_off(len);
                let body = if exchange.head_only { 0 } else { body };
                exchange.answer = Answer::Body(body.saturating_sub(rest.len()));
                self.push(client, &rewritten);
                self.push(client, &rest);
            }
        }
        Ok(())
    }

    fn push(&mut self, client: Option<Token>, bytes: &[u8]) {
        if let Some(token) = client
            && let Some(connection) = self.connections.get_mut(token)
        {
            connection.output.push(bytes);
            self.count(token);
        }
    }
}

fn write_request(to: &mut impl Write, exchange: &mut Exchange) -> io::Result<()> {
    while exchange.sent < exchange.request.len() {
        match to.write(&exchange.request[exchange.sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => exchange.sent += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    exchange.request = Vec::new();
    exchange.sent = 0;
    Ok(())
}

/// The head of an answer as the client gets it, the length of the original, and that of the body;
/// None if more of it has to come.
fn rewrite(head: &[u8], connection: Option<&str>) -> io::Result<Option<(Vec<u8>, usize, usize)>> {
    let mut headers = [EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let len = match answer.parse(head).map_err(|_| broken())? {
        Status::Complete(len) => len,
        Status::Partial if head.len() > MONITOR_HEAD => return Err(broken()),
        Status::Partial => return Ok(None),
    };
    let status = answer.code.ok_or_else(broken)?;
    let reason = answer.reason.unwrap_or_default();
    let mut out = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    let mut body = None;
    for header in answer.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("Content-Length") {
            let text = str::from_utf8(header.value).ok();
            body = text.and_then(|text| text.parse::<usize>().ok());
        }
        if !is("Server") && !is("Connection") {
            out.extend_from_slice(header.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(header.value);
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some(connection) = connection {
        out.extend_from_slice(format!("Connection: {connection}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Ok(Some((out, len, body.ok_or_else(broken)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_answers_are_rewritten_once_they_are_whole() {
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: D\r\nContent-Length: 5\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(rewrite(&head[..end], None).unwrap(), None);
        }
        let whole = [&head[..], b"hello"].concat();
        let (out, len, body) = rewrite(&whole, Some("close")).unwrap().unwrap();
        assert_eq!((len, body), (head.len(), 5));
        let want = "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
        assert!(rewrite(b"HTTP/1.1 200 OK\r\n\r\n", None).is_err());
        assert!(rewrite(b"nonsense\r\n\r\n", None).is_err());
    }
}
