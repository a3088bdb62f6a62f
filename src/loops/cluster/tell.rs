//! Telling other servers what this one's subscribers listen to, and writing.

use super::conn::{Conn, Phase};
use super::{ClusterLoop, turn};
use crate::accounts::journal::Change;
use crate::accounts::permissions::Permissions;
use crate::base::clock::Mono;
use crate::base::limits::ROUTE_TELL_BUDGET;
use crate::cluster::LinkId;
use crate::cluster::imports::Imports;
use crate::cluster::lanes::Lane;
use crate::cluster::local::{Cursor, Imported, Told};
use crate::options::WriteTimeout;
use crate::proto::error::CloseReason;
use crate::proto::route::{Queue, Subject, write_subscribe, write_unsubscribe};
use log::{debug, info};
use mio::Token;

impl ClusterLoop {
    /// From now on, a server is told everything on this connection.
    pub(super) fn begin_telling(&mut self, link: LinkId) {
        let Some(token) = self.by_link.get(&link).copied() else {
            return;
        };
        let lane = self.mesh.lane(link).cloned();
        if let Some(conn) = self.conns.get_mut(token) {
            info!("{} - Route connected", conn.label());
            conn.lane = lane.unwrap_or(Lane::Whole);
            conn.cursor = Some(Cursor::START);
            self.telling = true;
        }
    }

    /// Tells what has changed since the last time.
    pub(super) fn tell_changes(&mut self) {
        self.journal.take(&mut self.changes);
        let (local, imports) = (&mut self.local, &self.imports);
        self.changes.for_each(|change| {
            local.note(&change);
            imports.of(change.account, change.subject, |account, there| {
                let subject = there.as_bytes();
                local.note_import(&Change {
                    account,
                    subject,
                    ..change
                });
            });
        });
        if !self.local.has_changed() {
            return;
        }
        let (tokens, accounts) = (self.conns.tokens(), &self.facts.accounts);
        let (conns, pool, dirty) = (&mut self.conns, &mut self.pool, &mut self.dirty);
        let (scratch, permissions) = (&mut self.scratch, self.permissions.as_ref());
        let (former, spread) = (&self.former, self.mesh.spread());
        self.local.tell_changes(|told| {
            let ends = told.count == 0 && may_have_told(former, told);
            if !ends && !may_tell(permissions, told) {
                return;
            }
            let Some(tenant) = accounts.tenant(told.account) else {
                return;
            };
            let account = tenant.account.name.as_bytes();
            let home = spread.home(account);
            scratch.clear();
            write(scratch, account, told);
            let whole = scratch.len();
            write(scratch, b"", told);
            for token in &tokens {
                let Some(conn) = conns.get_mut(*token) else {
                    continue;
                };
                if conn.phase == Phase::Closed
                    || !conn.cursor.is_some_and(|c| told.concerns(c))
                    || !conn.lane.carries(account, home)
                {
                    continue;
                }
                let line = match conn.lane.account() {
                    None => &scratch[..whole],
                    Some(_) => &scratch[whole..],
                };
                conn.out.push(line, pool);
                if !conn.dirty {
                    conn.dirty = true;
                    dirty.push(*token);
                }
            }
        });
    }

    /// The accounts have changed: others may import what they have not, and use each other's services.
    pub(super) fn renew_imports(&mut self) {
        self.tell_changes();
        let old = std::mem::replace(&mut self.imports, Imports::new(&self.facts.accounts));
        let imports = &self.imports;
        if !(old.is_empty() && imports.is_empty()) {
            self.local.import_anew(|told, found| {
                imports.of(told.account, told.subject, |account, subject| {
                    found.push(Imported {
                        account,
                        subject,
                        queue: told.queue.map(Into::into),
                        count: told.count,
                    });
                });
            });
        }
        // Answers to requests of other accounts come back from wherever they are given.
        let subject = Imports::answers();
        let both = old.serving().symmetric_difference(imports.serving());
        for account in both {
            self.local.note(&Change {
                account: *account,
                subject: &subject,
                queue: None,
                began: imports.serving().contains(account),
            });
        }
        self.tell_changes();
    }

    /// Tells servers that are new some more of what there is, unless they are behind.
    pub(super) fn tell_more(&mut self, now: Mono) {
        if !self.telling {
            return;
        }
        self.tell_changes();
        self.telling = false;
        let pending_max = self.facts.options.max_pending / 4;
        for token in self.conns.tokens() {
            let Some(conn) = self
                .conns
                .get_mut(token)
                .filter(|c| c.phase != Phase::Closed)
            else {
                continue;
            };
            let unfinished = |cursor: Option<Cursor>| cursor.filter(|cursor| *cursor < Cursor::END);
            let (first, review) = (unfinished(conn.cursor), unfinished(conn.review));
            let Some(cursor) = first.or(review) else {
                continue;
            };
            if !conn.has_room(pending_max) {
                // It goes on when that is written.
                continue;
            }
            let (accounts, scratch) = (&self.facts.accounts, &mut self.scratch);
            let (permissions, former) = (self.permissions.as_ref(), &self.former);
            let spread = self.mesh.spread();
            let carried = |account: u32| {
                let name = accounts.tenant(account)?.account.name.as_bytes();
                let carries = conn.lane.carries(name, spread.home(name));
                carries.then_some(name)
            };
            // Mostly, one subject after the other is of the same account.
            let mut last: Option<(u32, Option<&[u8]>)> = None;
            scratch.clear();
            let end = self.local.tell_next(cursor, ROUTE_TELL_BUDGET, |told| {
                let (_, account) = match last {
                    Some(known) if known.0 == told.account => known,
                    _ => *last.insert((told.account, carried(told.account))),
                };
                let Some(account) = account else {
                    return;
                };
                if may_tell(permissions, told) {
                    write(scratch, conn.named(account), told);
                } else if first.is_none() && may_have_told(former, told) {
                    write(scratch, conn.named(account), &told.ended());
                }
            });
            match first {
                Some(_) => conn.cursor = Some(end),
                None => conn.review = Some(end),
            }
            self.telling |= conn.has_to_be_told();
            conn.told(scratch.len());
            let link = conn.link;
            if !self.scratch.is_empty() {
                self.send_scratch(link);
            }
        }
        if !self.former.is_empty() {
            let tokens = self.conns.tokens();
            let mut conns = tokens.into_iter();
            let is_told = |conn: &Conn| conn.phase == Phase::Closed || !conn.has_to_be_told();
            if conns.all(|token| self.conns.get_mut(token).is_none_or(|conn| is_told(conn))) {
                self.former.clear();
            }
        }
        self.broker.finish(&mut turn!(self, now));
    }

    /// Writes to all servers for which something has come up.
    pub(super) fn flush(&mut self, now: Mono) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for token in dirty.drain(..) {
            self.flush_one(token, now);
        }
        self.dirty.append(&mut dirty);
        self.note_congestion();
    }

    pub(super) fn flush_one(&mut self, token: Token, now: Mono) {
        let write_deadline = self.write_deadline();
        let pending_max = self.facts.options.max_pending;
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        conn.dirty = false;
        if conn.phase == Phase::Closed || (conn.blocked.is_some() && !conn.writable) {
            return self.close_if_slow(token, pending_max, now);
        }
        conn.writable = false;
        let before = conn.out.pending();
        let result = conn.write_out(&mut self.pool);
        conn.taken(before - conn.out.pending());
        let in_time = match self.options.write_timeout {
            WriteTimeout::Retry => conn.written > 0,
            WriteTimeout::Close => conn.owed == 0,
        };
        if in_time {
            conn.blocked = None;
        }
        match result {
            Ok(true) => {
                conn.blocked = None;
                self.telling |= conn.has_to_be_told();
            }
            Ok(false) => {
                self.telling |= conn.has_to_be_told() && conn.out.pending() < before;
                if conn.blocked.is_none() {
                    conn.blocked = Some(now);
                    conn.owed = conn.out.pending().max(1);
                    self.look_no_later_than(now + write_deadline);
                }
                self.close_if_slow(token, pending_max, now);
            }
            Err(e) => {
                debug!("{} - Error flushing: {e}", conn.label());
                self.close(token, CloseReason::WriteError, now);
            }
        }
    }

    /// Closes a connection for which too much is pending.
    fn close_if_slow(&mut self, token: Token, pending_max: usize, now: Mono) {
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        self.behind |= conn.pending() > pending_max / 4;
        if conn.pending() > pending_max && conn.phase != Phase::Closed {
            let label = conn.label();
            info!("{label} - Slow Consumer Detected: MaxPending of {pending_max} Exceeded");
            conn.out.clear(&mut self.pool);
            self.close(token, CloseReason::SlowConsumerPendingBytes, now);
        }
    }

    /// Has producers held back while a server is far behind.
    pub(super) fn note_congestion(&mut self) {
        let far = self.facts.options.max_pending / 4;
        if !self.behind && !self.congested {
            return;
        }
        let mut congested = false;
        for token in self.conns.tokens() {
            let conn = self.conns.get_mut(token);
            congested |= conn.is_some_and(|conn| conn.pending() > far);
        }
        self.behind = congested;
        if congested != self.congested {
            self.congested = congested;
            self.inbox().set_congested(congested);
        }
    }
}

/// Whether other servers are told of a subject.
fn may_tell(permissions: Option<&Permissions>, told: &Told<'_>) -> bool {
    permissions.is_none_or(|permissions| permissions.may_publish(told.subject))
}

/// Whether they may have been told of it before the options changed.
fn may_have_told(former: &[Option<Permissions>], told: &Told<'_>) -> bool {
    former.iter().any(|old| may_tell(old.as_ref(), told))
}

/// Appends what is told of a subject.
fn write(out: &mut Vec<u8>, account: &[u8], told: &Told<'_>) {
    let to = Subject {
        account,
        subject: told.subject,
    };
    let weight = told.count;
    match weight {
        0 => write_unsubscribe(out, &to, told.queue),
        _ => write_subscribe(out, &to, told.queue.map(|name| Queue { name, weight })),
    }
}
