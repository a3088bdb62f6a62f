//! Driving a connection: from the bytes of a request to an answer that was sent.

use super::MonitorLoop;
use super::connection::{Phase, Ticket, Went};
use crate::base::clock::{self, Mono};
use crate::base::limits::{
    LINGER, LINGER_BYTES, MONITOR_AHEAD, MONITOR_AHEAD_MIN, MONITOR_AHEAD_TOTAL, MONITOR_HEAD,
    MONITOR_IDLE_TIME, MONITOR_QUEUE, MONITOR_QUEUE_TIME, MONITOR_REQUEST_TIME, MONITOR_TURN,
    MONITOR_WRITE_STALL, MONITOR_WRITE_TIME,
};
use crate::monitor::head::{Fault, Head, parse};
use crate::monitor::http::Response;
use crate::monitor::path::{Route, route};
use mio::Token;

/// What to do next with a connection.
enum Next {
    /// It has moved on: look again.
    Again,
    /// Something has to happen first.
    Wait,
}

impl MonitorLoop {
    /// Drives everybody to whom something happened.
    pub(super) fn drive(&mut self, now: Mono) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                return;
            };
            self.drive_one(token, now);
        }
    }

    fn drive_one(&mut self, token: Token, now: Mono) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.queued = false;
        }
        for _ in 0..MONITOR_TURN {
            match self.step(token, now) {
                Next::Again => {}
                Next::Wait => return self.count(token),
            }
        }
        self.count(token);
        self.queue(token);
    }

    /// Keeps the sum of all output right.
    pub(super) fn count(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            let len = connection.output.len();
            self.ahead = self.ahead + len - connection.counted;
            connection.counted = len;
        }
    }

    /// How many bytes may wait for one client.
    pub(super) fn ahead_max(&self) -> usize {
        match self.ahead < MONITOR_AHEAD_TOTAL {
            true => MONITOR_AHEAD,
            false => MONITOR_AHEAD_MIN,
        }
    }

    fn step(&mut self, token: Token, now: Mono) -> Next {
        let Some(connection) = self.connections.get_mut(token) else {
            return Next::Wait;
        };
        let flushed = match connection.phase {
            Phase::Opening | Phase::Lingering { .. } => Went::Done,
            _ => connection.flush(now),
        };
        if flushed == Went::Ended {
            self.forget(token);
            return Next::Wait;
        }
        match &mut connection.phase {
            Phase::Opening => match connection.shake_hands() {
                Went::Done => {
                    if matches!(connection.phase, Phase::Reading) {
                        self.set_deadline(token, now + MONITOR_REQUEST_TIME);
                    }
                    Next::Again
                }
                Went::Blocked => Next::Wait,
                Went::Ended => self.finish(token, now),
            },
            Phase::Reading | Phase::Skipping(_) if flushed == Went::Blocked => Next::Wait,
            Phase::Reading => self.read_head(token, now),
            Phase::Skipping(_) => self.skip_body(token, now),
            Phase::Waiting(_) => Next::Wait,
            Phase::Serving(slot) => {
                let slot = *slot;
                self.has_room(slot, token);
                Next::Wait
            }
            Phase::Answering if flushed == Went::Blocked => Next::Wait,
            Phase::Answering if connection.closes => self.finish(token, now),
            Phase::Answering => {
                connection.phase = Phase::Reading;
                connection.since = now;
                // The next request may be here already.
                connection.line_ended = !connection.input.is_empty();
                let patience = match connection.input.is_empty() {
                    true => MONITOR_IDLE_TIME,
                    false => MONITOR_REQUEST_TIME,
                };
                self.set_deadline(token, now + patience);
                Next::Again
            }
            Phase::Lingering { .. } => self.linger(token),
        }
    }

    fn read_head(&mut self, token: Token, now: Mono) -> Next {
        let Some(connection) = self.connections.get_mut(token) else {
            return Next::Wait;
        };
        // A head can only be complete, or be seen to be wrong, at the end of a line.
        if connection.line_ended || connection.input.len() >= MONITOR_HEAD {
            connection.line_ended = false;
            match parse(&connection.input) {
                Ok(None) => {}
                Ok(Some((head, len))) => {
                    connection.input.drain(..len);
                    if head.asks_leave && connection.input.is_empty() && !head.body.is_over() {
                        connection.output.push(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    connection.closes |= !head.keeps_alive;
                    connection.old = head.old;
                    connection.phase = Phase::Skipping(Box::new(head));
                    return Next::Again;
                }
                Err(fault) => return self.refuse(token, fault, now),
            }
        }
        let begins = connection.input.is_empty();
        let went = connection.read(&mut self.scratch);
        if went == Went::Done && begins {
            connection.since = now;
            self.set_deadline(token, now + MONITOR_REQUEST_TIME);
        }
        self.has_read(token, went)
    }

    fn skip_body(&mut self, token: Token, now: Mono) -> Next {
        let Some(connection) = self.connections.get_mut(token) else {
            return Next::Wait;
        };
        let Phase::Skipping(head) = &mut connection.phase else {
            return Next::Wait;
        };
        match head.body.skip(&connection.input) {
            Ok(n) => {
                connection.input.drain(..n);
            }
            Err(fault) => return self.refuse(token, fault, now),
        }
        if !head.body.is_over() {
            let went = connection.read(&mut self.scratch);
            return self.has_read(token, went);
        }
        if connection.input.is_empty() {
            connection.input = Vec::new();
        }
        if let Phase::Skipping(head) = std::mem::replace(&mut connection.phase, Phase::Answering) {
            self.lead(token, *head, now);
        }
        Next::Again
    }

    fn has_read(&mut self, token: Token, went: Went) -> Next {
        match went {
            Went::Done => Next::Again,
            Went::Blocked => Next::Wait,
            Went::Ended => {
                self.forget(token);
                Next::Wait
            }
        }
    }

    /// A request is complete: finds out where it leads.
    fn lead(&mut self, token: Token, head: Head, now: Mono) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        let (site, head_only) = (connection.site, head.head_only);
        let Some(door) = self.doors.get(site) else {
            // The server is about to end.
            return self.answer(token, &unavailable(), head_only, now);
        };
        match route(&door.base, &head.path, &head.query, &head.accepted) {
            Route::Answer(response) => self.answer(token, &response, head_only, now),
            Route::Request(_) if self.waiting.len() >= MONITOR_QUEUE => {
                self.answer(token, &unavailable(), head_only, now);
            }
            Route::Request(request) => {
                connection.phase = Phase::Waiting(Box::new(Ticket {
                    site,
                    head_only,
                    request,
                }));
                connection.since = now;
                self.waiting.push_back(token);
                self.set_deadline(token, now + MONITOR_QUEUE_TIME);
            }
        }
    }

    /// Answers something that is no request, and closes the connection.
    fn refuse(&mut self, token: Token, fault: Fault, now: Mono) -> Next {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.closes = true;
            connection.input = Vec::new();
        }
        self.answer(token, &fault.response(), false, now);
        Next::Again
    }

    /// Queues an answer of the front's own.
    pub(super) fn answer(&mut self, token: Token, response: &Response, head_only: bool, now: Mono) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        let said = connection_header(connection.closes, connection.old);
        let date = httpdate::fmt_http_date(clock::wall());
        let bytes = response.encode(head_only, &date, said);
        connection.output.push(&bytes);
        self.answered(token, now);
    }

    /// All of an answer is in the output.
    pub(super) fn answered(&mut self, token: Token, now: Mono) {
        if let Some(connection) = self.connections.get_mut(token) {
            if !matches!(connection.phase, Phase::Serving(_)) {
                (connection.since, connection.progress) = (now, now);
            }
            connection.phase = Phase::Answering;
            let at = (connection.progress + MONITOR_WRITE_STALL)
                .min(connection.since + MONITOR_WRITE_TIME);
            self.set_deadline(token, at);
        }
        self.count(token);
        self.queue(token);
    }

    /// All is sent: closes, once the client has seen it.
    fn finish(&mut self, token: Token, now: Mono) -> Next {
        if let Some(connection) = self.connections.get_mut(token)
            && connection.finish()
        {
            connection.phase = Phase::Lingering { drained: 0 };
            connection.since = now;
            self.set_deadline(token, now + LINGER);
            return Next::Again;
        }
        self.forget(token);
        Next::Wait
    }

    fn linger(&mut self, token: Token) -> Next {
        let Some(connection) = self.connections.get_mut(token) else {
            return Next::Wait;
        };
        let (n, went) = connection.drain(&mut self.scratch);
        let Phase::Lingering { drained } = &mut connection.phase else {
            return Next::Wait;
        };
        *drained += n;
        match went {
            Went::Done if *drained < LINGER_BYTES => Next::Again,
            Went::Blocked => Next::Wait,
            _ => {
                self.forget(token);
                Next::Wait
            }
        }
    }

    /// A connection has taken too long for what it is at.
    pub(super) fn handle_deadline(&mut self, token: Token, now: Mono) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        match connection.phase {
            Phase::Reading if connection.input.is_empty() => self.forget(token),
            Phase::Reading | Phase::Skipping(_) if !connection.output.is_empty() => {
                self.forget(token);
            }
            Phase::Reading | Phase::Skipping(_) => {
                self.refuse(token, Fault::TooSlow, now);
            }
            Phase::Waiting(ref ticket) => {
                let head_only = ticket.head_only;
                self.waiting.retain(|other| *other != token);
                connection.phase = Phase::Answering;
                self.answer(token, &unavailable(), head_only, now);
            }
            Phase::Serving(_) | Phase::Answering => {
                let stalled = !connection.output.is_empty()
                    && now >= connection.progress + MONITOR_WRITE_STALL;
                // A handler may take its time; how long a client may, counts from the answer on.
                let slow = matches!(connection.phase, Phase::Answering)
                    && now >= connection.since + MONITOR_WRITE_TIME;
                match stalled || slow {
                    true => self.forget(token),
                    false => self.set_deadline(token, now + MONITOR_WRITE_STALL),
                }
            }
            Phase::Opening | Phase::Lingering { .. } => self.forget(token),
        }
    }
}

/// The answer where all threads are busy and too many wait already.
fn unavailable() -> Response {
    Response::text(503, "503 Service Unavailable")
}

/// What an answer says about the connection: nothing where that is as the version has it.
pub(super) fn connection_header(closes: bool, old: bool) -> Option<&'static str> {
    match (closes, old) {
        (true, _) => Some("close"),
        (false, true) => Some("keep-alive"),
        (false, false) => None,
    }
}
