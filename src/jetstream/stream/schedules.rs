//! Schedules: messages that make others when their time has come.
//!
//! The store keeps when each of them is due next, so nothing is to be looked for after a start. What
//! is made is stored in one with the next time, or with the removal of a schedule that has no other,
//! so that a crash neither loses it nor makes it twice. What was missed while the server was not
//! there is made once.

use super::check::Checked;
use super::publish::store_failed;
use super::{Stream, headers};
use crate::jetstream::api::ApiError;
use crate::jetstream::api::headers::{
    MSG_ID, ROLLUP, Rollup, SCHEDULE, SCHEDULE_NEXT, SCHEDULE_NEXT_PURGE, SCHEDULE_ROLLUP,
    SCHEDULE_SOURCE, SCHEDULE_TARGET, SCHEDULE_TIME_ZONE, SCHEDULE_TTL, SCHEDULER, TTL, Ttl, value,
};
use crate::jetstream::api::schedule::Schedule;
use crate::json::Time;
use crate::store::file::Payload;
use crate::store::stream::{NewMessage, Step};
use crate::store::types::{StreamSeq, Timestamp};
use std::borrow::Cow;

/// Schedules that make something in one turn.
const RUNS: usize = 128;

/// After how many nanoseconds it is tried again to store what they make.
const RETRY: u64 = 1_000_000_000;

/// What a schedule makes.
struct Made {
    /// The subject of the schedule, and of what it makes.
    scheduler: Vec<u8>,
    target: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
    ttl: Ttl,
    rolls_up: bool,
    /// When it makes something again; `None` for never.
    next: Option<Timestamp>,
}

impl Stream {
    /// When [`Stream::run_schedules`] is to be called.
    pub(super) fn schedules_at(&self) -> Option<Timestamp> {
        let next = self.store.next_timer().filter(|_| !self.config.sealed)?;
        Some(next.max(self.schedules_wait))
    }

    /// Makes what is due, as much as may be made in a turn.
    pub(super) fn run_schedules(&mut self, now: Timestamp) {
        let is_due = self.schedules_at().is_some_and(|at| at <= now);
        // What a purge is about to remove makes nothing any more.
        if !is_due || self.store.has_work() {
            return;
        }
        for (sequence, at) in self.store.due_timers(now, RUNS) {
            if let Err(error) = self.run_schedule(sequence, at, now) {
                log::warn!("Stream {}: schedules wait: {error}", self.label());
                self.schedules_wait = Timestamp(now.0.saturating_add(RETRY));
                return;
            }
            if self.store.has_work() {
                return;
            }
        }
    }

    fn run_schedule(
        &mut self,
        sequence: StreamSeq,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let made = self.made_by(sequence, at, now);
        let next = match &made {
            Some(made) => match self.store_made(sequence, made, now) {
                // It will be no smaller the next time.
                Err(error @ ApiError::StreamMessageExceedsMaximum) => {
                    let target = String::from_utf8_lossy(&made.target);
                    log::warn!("Stream {}: {error}, made for {target}", self.label());
                    made.next
                }
                stored => return stored,
            },
            None => None,
        };
        self.dirty = true;
        let ended = self.store.append_group(&[Step::Timer(sequence, next)]);
        ended.map(drop).map_err(|e| store_failed(&e))
    }

    /// What a schedule makes now; `None` if it is none any more.
    fn made_by(&mut self, sequence: StreamSeq, at: Timestamp, now: Timestamp) -> Option<Made> {
        let stored = self.store.read(sequence, &mut self.buffer).ok()?;
        let scheduler = stored.record.subject.to_vec();
        let mut block = stored.record.headers.to_vec();
        let mut payload = owned(stored.payload());
        let last = self.store.last();
        let newest = self
            .store
            .last_on(&scheduler, last, &mut self.buffer)
            .ok()?;
        if newest.record.sequence != sequence {
            return None;
        }
        let own = |name| value(&block, name).unwrap_or_default().to_vec();
        let (target, ttl, source) = (
            own(SCHEDULE_TARGET),
            own(SCHEDULE_TTL),
            own(SCHEDULE_SOURCE),
        );
        let rolls_up = !own(SCHEDULE_ROLLUP).is_empty();
        let pattern = own(SCHEDULE);
        let schedule = Schedule::parse(&pattern, value(&block, SCHEDULE_TIME_ZONE)).ok()??;
        let time = |at: Timestamp| Time::from_unix_nanos(at.0);
        let next = match schedule.repeats() {
            true => Some(schedule.next(time(at), time(now))?),
            false => None,
        };
        let seconds = Ttl::parse(&ttl).filter(|_| !target.is_empty())?;
        if !source.is_empty()
            && let Ok(stored) = self.store.last_on(&source, last, &mut self.buffer)
        {
            block = stored.record.headers.to_vec();
            payload = owned(stored.payload());
        }
        let mut headers = headers::without(&block, |name| {
            name.starts_with(SCHEDULE.as_bytes())
                || name.starts_with(b"Nats-Expected-")
                || [MSG_ID, TTL, ROLLUP].iter().any(|n| name == n.as_bytes())
        });
        let mut add = |name, value: &[u8]| headers = headers::with(&headers, name, value);
        add(SCHEDULER, &scheduler);
        match next {
            Some(next) => add(SCHEDULE_NEXT, schedule.written(next).as_bytes()),
            None => add(SCHEDULE_NEXT, SCHEDULE_NEXT_PURGE.as_bytes()),
        }
        if !ttl.is_empty() {
            add(TTL, &ttl);
        }
        if rolls_up {
            add(ROLLUP, b"sub");
        }
        let target = self.transformed(&target).unwrap_or(target);
        Some(Made {
            scheduler,
            target,
            headers,
            payload,
            ttl: seconds,
            rolls_up,
            next: next.map(|next| Timestamp(next.unix_nanos().max(1))),
        })
    }

    fn store_made(
        &mut self,
        schedule: StreamSeq,
        made: &Made,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let mut block = Cow::Borrowed(&*made.headers);
        let ttl_s = self.ttl(made.ttl, &mut block);
        self.check_size(&block, &made.payload)?;
        let checked = Checked {
            headers: block,
            payload: Cow::Borrowed(&made.payload),
            id: Cow::Borrowed(b""),
            ttl_s,
            rollup: made.rolls_up.then_some(Rollup::Subject),
            timer: None,
            ends: made.next.is_none().then(|| made.scheduler.clone()),
            value: None,
        };
        let Some(next) = made.next else {
            return self.put(&[(&made.target, checked)], now).map(drop);
        };
        let sequence = self.store.last().next();
        let mut steps = vec![match self.is_kept(&made.target) {
            true => Step::Message(NewMessage {
                subject: &made.target,
                headers: &checked.headers,
                payload: &checked.payload,
                timestamp: now,
                ttl_s,
            }),
            false => Step::Skip,
        }];
        if let Some(before) = self.timer_on(&made.target) {
            steps.push(Step::Timer(before, None));
        }
        steps.push(Step::Timer(schedule, Some(next)));
        if made.rolls_up {
            steps.extend(self.clearing(&made.target, sequence.previous(), true));
        }
        let stored = self.store.append_group(&steps);
        stored.map_err(|e| store_failed(&e))?;
        self.dirty = true;
        self.last_msg_id.clear();
        if ttl_s != 0 && self.expire_at.is_none() {
            self.expire_at = Some(Timestamp(0));
        }
        Ok(())
    }
}

/// When a message with these headers, stored at a time, makes another one next, if it is a schedule.
pub(in crate::jetstream) fn due_of(
    block: &[u8],
    stored: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let pattern = value(block, SCHEDULE)?;
    let schedule = Schedule::parse(pattern, value(block, SCHEDULE_TIME_ZONE)).ok()??;
    let time = |at: Timestamp| Time::from_unix_nanos(at.0);
    let next = schedule.next(time(stored), time(now))?;
    Some(Timestamp(next.unix_nanos().max(1)))
}

fn owned(payload: Payload<'_>) -> Vec<u8> {
    match payload {
        Payload::Copied(bytes) => bytes.to_vec(),
        Payload::Shared(bytes) => bytes.to_vec(),
    }
}
