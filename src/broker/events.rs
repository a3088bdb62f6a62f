//! Tells those who listen in the system account of clients that came and went
//! (<https://docs.nats.io/running-a-nats-service/configuration/sys_accounts>).

use super::batch::Batch;
use super::closed::ClosedClient;
use super::delivery::{NOBODY, Origin, Outcome};
use super::exchange::Journey;
use super::message::{Message, Own};
use super::{Broker, Facts, Turn, Wire};
use crate::accounts::{Account, GLOBAL};
use crate::base::clock::Mono;
use crate::proto::client::Publish;
use crate::proto::client_info::ClientInfo;
use crate::proto::events::{Connected, Disconnected};
use crate::proto::server_info::ServerInfo;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Where an account is told of clients that it did not let in.
const ACCOUNT_AUTH_ERROR: &str = "$SYS.ACCOUNT.CLIENT.AUTH.ERR";

/// Something that happened to a client.
pub(super) enum Event {
    /// It was let in.
    Came { slot: u32, cid: u64 },
    /// Its connection was closed.
    Gone(Arc<ClosedClient>),
    /// It was not let in, and so is gone.
    TurnedAway(Arc<ClosedClient>),
}

impl Facts {
    /// What the server says of itself in one more event.
    pub fn server_info(&self, time: SystemTime) -> ServerInfo<'_> {
        let options = &self.options;
        ServerInfo {
            name: &self.name,
            host: &self.host,
            id: &self.id,
            cluster: self.cluster.get(),
            domain: options.jetstream.domain.as_deref().unwrap_or_default(),
            version: crate::options::VERSION,
            tags: &options.tags,
            metadata: &options.metadata,
            jetstream: options.jetstream.enabled,
            flags: 0,
            seq: self.event_seq.fetch_add(1, Ordering::Relaxed) + 1,
            time,
        }
    }
}

impl Broker {
    /// Tells what has happened since the last time.
    #[cold]
    pub(super) fn tell_events<W: Wire>(&mut self, turn: &mut Turn<'_, W>) {
        let mut events = std::mem::take(&mut self.delivery.events);
        let facts = self.facts.clone();
        let Some(system) = facts.accounts.system().map(|tenant| &tenant.account) else {
            events.clear();
            self.delivery.events = events;
            return;
        };
        for event in events.drain(..) {
            match event {
                Event::Came { slot, cid } => self.tell_of_arrival(&facts, system, slot, cid, turn),
                Event::Gone(client) => {
                    let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", client.account.name);
                    self.tell_of_end(&facts, system, &subject, &client, turn);
                    if client.admitted {
                        self.note_change(system, &client.account);
                    }
                }
                Event::TurnedAway(client) => {
                    let own = client.account.clone();
                    self.tell_of_end(&facts, &own, ACCOUNT_AUTH_ERROR, &client, turn);
                    let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", facts.id);
                    self.tell_of_end(&facts, system, &subject, &client, turn);
                }
            }
        }
        // Whoever was closed since it did not read these is told of in the next turn.
        if self.delivery.events.is_empty() {
            self.delivery.events = events;
        }
    }

    fn tell_of_arrival<W: Wire>(
        &mut self,
        facts: &Facts,
        system: &Arc<Account>,
        slot: u32,
        cid: u64,
        turn: &mut Turn<'_, W>,
    ) {
        let client = self.delivery.clients.get(slot);
        let Some(client) = client.filter(|client| client.id.0 == cid) else {
            return;
        };
        let account = client.account.clone();
        self.note_change(system, &account);
        let subject = format!("$SYS.ACCOUNT.{}.CONNECT", account.name);
        if !self.is_heard(system, subject.as_bytes()) {
            return;
        }
        let time = self.wall(turn.now);
        let client = self.client_info(Some(slot), true).map(|info| ClientInfo {
            rtt: Default::default(),
            server: String::new(),
            ..info
        });
        let payload = Connected {
            id: self.event_id(),
            time,
            server: facts.server_info(time),
            client: client.unwrap_or_default(),
        };
        self.announce(system, subject.as_bytes(), payload.json(), turn);
    }

    fn tell_of_end<W: Wire>(
        &mut self,
        facts: &Facts,
        account: &Arc<Account>,
        subject: &str,
        client: &ClosedClient,
        turn: &mut Turn<'_, W>,
    ) {
        if !self.is_heard(account, subject.as_bytes()) {
            return;
        }
        let time = self.wall(client.ended);
        let payload = Disconnected {
            id: self.event_id(),
            time,
            server: facts.server_info(time),
            client: ClientInfo {
                start: Some(self.wall(client.opened)),
                stop: Some(time),
                host: client.addr.ip().to_canonical().to_string(),
                id: client.id.0,
                account: client.account.name.to_string(),
                user: client.user.to_string(),
                name: client.name.to_string(),
                lang: client.lang.to_string(),
                version: client.version.to_string(),
                rtt: client.rtt.unwrap_or_default(),
                kind: "Client",
                client_type: "nats",
                ..ClientInfo::default()
            },
            sent: (client.received.msgs, client.received.bytes),
            received: (client.sent.msgs, client.sent.bytes),
            reason: client.reason,
        };
        self.announce(account, subject.as_bytes(), payload.json(), turn);
    }

    /// Notes that an account has more or fewer clients, if somebody wants to be told.
    fn note_change(&mut self, system: &Arc<Account>, account: &Account) {
        let name = &account.name;
        if **name == *GLOBAL || self.changed.contains(&account.number) {
            return;
        }
        let [new, old] = connections_subjects(name);
        if self.is_heard(system, new.as_bytes()) || self.is_heard(system, old.as_bytes()) {
            self.changed.push(account.number);
        }
    }

    /// Whether anybody would get a message of the server's own.
    pub fn is_heard(&mut self, account: &Account, subject: &[u8]) -> bool {
        let route = self.routes.route(&self.facts.accounts, account, subject);
        !route.is_empty() || route.beyond().is_some_and(|beyond| beyond.is_heard())
    }

    /// Publishes something that the server itself has to say. Gives the number of deliveries.
    pub fn announce<W: Wire>(
        &mut self,
        account: &Arc<Account>,
        subject: &[u8],
        mut payload: Vec<u8>,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        payload.extend_from_slice(b"\r\n");
        self.publish_own(account, (subject, None), &payload, None, turn)
    }

    /// The same with a reply subject, and with headers in front of the payload, which has its line
    /// end behind it.
    pub fn publish_own<W: Wire>(
        &mut self,
        account: &Arc<Account>,
        (subject, reply): (&[u8], Option<&[u8]>),
        payload: &[u8],
        header_len: Option<usize>,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let publish = Publish {
            args: b"",
            subject,
            reply,
            header_len,
            payload,
            canonical: None,
        };
        let nobody = Origin {
            slot: NOBODY,
            skip: NOBODY,
        };
        let mut journey = Journey::new(nobody, None);
        self.forward(account, &publish, None, &mut journey, turn)
    }

    /// Publishes a message of which subscribers are shown another subject than the one it goes to. Gives
    /// the number of deliveries.
    pub fn publish_as<W: Wire>(
        &mut self,
        account: &Arc<Account>,
        to: &[u8],
        own: &Own<'_>,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let nobody = Origin {
            slot: NOBODY,
            skip: NOBODY,
        };
        let route = self.routes.route(&self.facts.accounts, account, to);
        if route.beyond().is_none() {
            if route.is_empty() {
                return 0;
            }
            if let Some(owner) = self.delivery.sole_loop(route) {
                let push = |batch: &mut Batch| batch.push_own(own, route, NOBODY);
                self.delivery.outbox(owner, turn, push);
                return 1;
            }
            let message = Message::compose(own, &mut self.scratch);
            let mut outcome = Outcome::default();
            self.delivery
                .deliver(route, &message, &nobody, &mut outcome, turn);
            return outcome.delivered;
        }
        let payload = [own.headers, own.body, b"\r\n"].concat();
        let publish = Publish {
            args: b"",
            subject: to,
            reply: own.reply,
            header_len: own.header_len(),
            payload: &payload,
            canonical: None,
        };
        let mut journey = Journey::new(nobody, None);
        journey.shown = (to != own.subject).then(|| own.subject.into());
        self.forward(account, &publish, None, &mut journey, turn)
    }

    /// The time of this turn on the wall clock.
    pub fn wall_now(&self, now: Mono) -> SystemTime {
        self.wall(now)
    }
}

/// Where is told how many clients an account has: the present subject and the older one.
pub fn connections_subjects(account: &str) -> [String; 2] {
    [
        format!("$SYS.ACCOUNT.{account}.SERVER.CONNS"),
        format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"),
    ]
}
