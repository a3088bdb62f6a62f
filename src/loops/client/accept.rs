//! Accepting connections and sharing them out between the loops.

use super::{ClientLoop, turn};
use crate::base::clock::Mono;
use crate::base::limits::{ACCEPT_BUDGET, GREETING_SHARE, READ_BUFFER};
use crate::conn::client::ClientId;
use crate::loops::inbox::Mail;
use crate::loops::link::{Hold, Link, State, Tls, Waiting};
use crate::net::listen::Accepted;
use crate::options::tls::HandshakeFirst;
use crate::proto::error::CloseReason;
use log::error;
use mio::Interest;
use mio::net::TcpStream;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

impl ClientLoop {
    pub(super) fn accept(&mut self, now: Mono) {
        for _ in 0..ACCEPT_BUDGET {
            let Some(acceptor) = &mut self.acceptor else {
                return;
            };
            match acceptor.accept(now) {
                Accepted::Connection(stream, addr) => self.hand_out(stream, addr, now),
                Accepted::Nobody => {
                    self.accepting = false;
                    return;
                }
                Accepted::Paused(reason) => {
                    if let Some(e) = reason {
                        error!("Temporary Client Accept Error({e}), pausing until it is over");
                    }
                    return;
                }
            }
        }
    }

    /// Gives a new connection to the loop that has the fewest.
    pub(super) fn hand_out(&mut self, stream: TcpStream, addr: SocketAddr, now: Mono) {
        self.next_id += 1;
        self.peers.accepted.fetch_add(1, Ordering::Relaxed);
        let id = ClientId(self.next_id);
        let room = self.peers.total() < self.peers.connections_max.load(Ordering::Relaxed);
        let to = self.peers.least_loaded();
        self.peers.connections[to].fetch_add(1, Ordering::Relaxed);
        if to == self.index() {
            return self.open(stream, addr, id, room, now);
        }
        let mail = Mail::Connection {
            stream,
            addr,
            id,
            room,
        };
        if let Err(e) = self.peers.inboxes[to].send(mail) {
            error!("Error waking a client loop: {e}");
        }
    }

    pub(super) fn open(
        &mut self,
        stream: TcpStream,
        addr: SocketAddr,
        id: ClientId,
        room: bool,
        now: Mono,
    ) {
        // A peer that is gone already shows when it is read from.
        let _ = stream.set_nodelay(true);
        let (queued, ended, timer, last_words) = (false, false, None, None);
        // Of a stranger, not more is read than may have to be kept.
        let room_len = match self.broker.is_auth_required() {
            true => GREETING_SHARE,
            false => READ_BUFFER,
        };
        let tls = self.first_bytes(now);
        let greets = match &tls {
            Tls::Waiting(waiting) => waiting.greeted,
            _ => true,
        };
        let token = self.links.insert(|token| {
            let client = self.broker.take_on(token.0, id, addr, now);
            Link {
                stream,
                tls,
                state: State::Open {
                    client,
                    hold: Hold::Free,
                },
                queued,
                ended,
                room: room_len,
                backlog: Vec::new(),
                timer,
                last_words,
            }
        });
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let State::Open { client, .. } = link.state else {
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = self
            .poll
            .registry()
            .register(&mut link.stream, token, interest)
        {
            error!("{addr} - cid:{} - cannot be polled: {e}", id.0);
            return self.broker.handle_end(client, CloseReason::ReadError);
        }
        if greets {
            self.broker.greet(client);
        }
        if !room {
            self.broker.refuse(client);
        }
        // Greeting at once lets one chunk serve all connections of a storm.
        self.broker.flush(client, &mut turn!(self, now));
        self.schedule(token, client);
    }

    /// What a new connection may begin with.
    fn first_bytes(&self, now: Mono) -> Tls {
        let Some(server) = self.tls.clone() else {
            return Tls::Off;
        };
        let first = server.handshake_first;
        let plain = self.broker.options().allow_non_tls && first != HandshakeFirst::Yes;
        Tls::Waiting(Box::new(Waiting {
            greeted: first == HandshakeFirst::No,
            greet_at: match first {
                HandshakeFirst::Auto(patience) => Some(now + patience),
                HandshakeFirst::No | HandshakeFirst::Yes => None,
            },
            until: (!plain).then(|| now + server.timeout),
            look_at: None,
            plain,
            server,
        }))
    }
}
