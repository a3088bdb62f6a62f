//! What links of streams to others have done: they listen and publish in the account of their stream.

use super::listeners::Listener;
use super::{Node, Phase};
use crate::jetstream::origin::link::{Ear, Heard, Step};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::{Incoming, Stream};
use crate::store::types::Timestamp;
use std::collections::VecDeque;

impl Node {
    /// Lets the links of streams do what is due.
    pub(super) fn drive_origins<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        if self.linking.is_empty() {
            return;
        }
        for at in std::mem::take(&mut self.linking) {
            let Some(stream) = self.open_stream(at) else {
                continue;
            };
            let mut steps = Vec::new();
            stream.drive_origins(now, &mut steps);
            if stream.is_dirty() {
                self.dirty.push(at);
            }
            self.do_steps(at, steps, now, out);
            self.note_deadline(at);
        }
    }

    /// Takes what came for a link of a stream.
    pub(super) fn hear<O: Out>(
        &mut self,
        (at, link, ear): (usize, u32, Ear),
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(stream) = self.open_stream(at) else {
            return;
        };
        let heard = Heard {
            subject: message.subject,
            reply: message.reply,
            headers: message.headers,
            payload: message.payload,
        };
        let mut steps = Vec::new();
        let was_dirty = stream.is_dirty();
        stream.handle_linked((link, ear), &heard, now, &mut steps);
        if stream.is_dirty() && !was_dirty {
            self.dirty.push(at);
        }
        if !steps.is_empty() {
            self.do_steps(at, steps, now, out);
            self.note_deadline(at);
        }
    }

    /// Does what links want.
    pub(super) fn do_steps<O: Out>(
        &mut self,
        at: usize,
        steps: Vec<(u32, Step)>,
        now: Timestamp,
        out: &mut O,
    ) {
        let mut steps = VecDeque::from(steps);
        while let Some((link, step)) = steps.pop_front() {
            let Some(slot) = self.streams.get_mut(at) else {
                return;
            };
            let account = slot.account.clone();
            let Phase::Open { stream, .. } = &mut slot.phase else {
                return;
            };
            let unheard = |stream: &mut Stream, steps: &mut VecDeque<(u32, Step)>| {
                let mut own = Vec::new();
                stream.handle_unheard(link, now, &mut own);
                steps.extend(own);
            };
            match step {
                Step::Listen(ear, subject) => {
                    let listener = Listener::Link { at, link, ear };
                    let listening = self
                        .listeners
                        .listen(&account, subject.as_bytes(), listener);
                    if let Some(before) = stream.set_ear(link, ear, listening) {
                        self.listeners.leave(before);
                    }
                }
                Step::Leave(ear) => {
                    if let Some(before) = stream.set_ear(link, ear, None) {
                        self.listeners.leave(before);
                    }
                }
                Step::Send {
                    subject,
                    reply,
                    headers,
                    body,
                } => {
                    let subject = of_own_domain(self.identity.options.domain.as_deref(), subject);
                    let message = Outgoing {
                        reply: Some(reply.as_bytes()),
                        headers: &headers,
                        ..Outgoing::plain(subject.as_bytes(), &body)
                    };
                    if out.send(&account, &message) == 0 {
                        unheard(stream, &mut steps);
                    }
                }
            }
        }
    }

    /// A stream is there: those that take messages from it need not wait.
    pub(super) fn poke_origins(&mut self, account: u32, name: &str, now: Timestamp) {
        let all: Vec<usize> = self.copying.iter().copied().collect();
        for at in all {
            let own = self.streams.get(at).map(|slot| slot.account.number);
            if own != Some(account) {
                continue;
            }
            if let Some(stream) = self.open_stream(at) {
                stream.poke_origins(name, now);
                self.note_deadline(at);
            }
        }
    }

    /// The mirror that may be read from in place of a stream.
    pub(super) fn mirror_of(&self, account: u32, name: &str) -> Option<usize> {
        let mut copying = self.copying.iter().copied();
        copying.find(|at| {
            let slot = self.streams.get(*at);
            slot.is_some_and(|slot| {
                let stream = slot.stream();
                slot.account.number == account && stream.is_some_and(|s| s.stands_for(name))
            })
        })
    }
}

/// A subject of the API by the name of this server's own domain is one without a domain.
fn of_own_domain(domain: Option<&str>, subject: String) -> String {
    let rest = domain.and_then(|domain| {
        let rest = subject.strip_prefix("$JS.")?.strip_prefix(domain)?;
        rest.strip_prefix(".API.")
    });
    match rest {
        Some(rest) => format!("$JS.API.{rest}"),
        None => subject,
    }
}

#[cfg(test)]
mod tests {
    use super::of_own_domain;

    #[test]
    fn the_own_domain_is_no_other_place() {
        let of = |subject: &str| of_own_domain(Some("hub"), subject.to_owned());
        assert_eq!(of("$JS.hub.API.INFO"), "$JS.API.INFO");
        for other in ["$JS.hubs.API.INFO", "$JS.API.INFO", "x.hub.API.INFO"] {
            assert_eq!(of(other), other);
        }
        let none = of_own_domain(None, "$JS.hub.API.INFO".into());
        assert_eq!(none, "$JS.hub.API.INFO");
    }
}
