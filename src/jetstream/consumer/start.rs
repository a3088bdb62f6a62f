//! Where consumers begin: new ones, and those that were there before.

use std::collections::VecDeque;
use std::time::Duration;

use super::choose::Pin;
use super::count::Count;
use super::push::Push;
use super::redelivery::Redelivery;
use super::settings::{DeliverPolicy, Mode, Settings};
use super::turn::{Fault, Scratch, Stream};
use super::{Consumer, Pull, Replay, Way, later};
use crate::store::index::{StreamSeq, Timestamp};

/// Where a new consumer begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The message before the first one that may be delivered: what the state begins with.
    pub after: StreamSeq,
    /// Messages that are delivered before all others.
    skip: Option<Box<SkipList>>,
}

/// The last messages of the subjects at the time when the consumer was made, which are delivered
/// first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SkipList {
    sequences: VecDeque<StreamSeq>,
    /// What is delivered then begins here.
    pub resume: StreamSeq,
}

impl SkipList {
    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<SkipList>() + self.sequences.capacity() * size_of::<StreamSeq>()
    }

    pub(super) fn front(&self) -> Option<StreamSeq> {
        self.sequences.front().copied()
    }

    /// Takes out the first one; gives whether it was the last.
    pub(super) fn pop(&mut self) -> bool {
        self.sequences.pop_front();
        self.sequences.is_empty()
    }

    /// Takes out a message that is in the stream no longer; gives whether it was there.
    pub(super) fn remove(&mut self, sequence: StreamSeq) -> bool {
        match self.sequences.binary_search(&sequence) {
            Ok(at) => self.sequences.remove(at).is_some(),
            Err(_) => false,
        }
    }
}

impl Start {
    /// Where all messages are delivered from on, if only some of those before are: for
    /// [`Consumer::open`].
    pub fn resume(&self) -> Option<StreamSeq> {
        self.skip.as_ref().map(|skip| skip.resume)
    }

    /// Finds out where a consumer with these settings begins. `one_per_subject` says that the
    /// stream keeps no more than one message of each subject.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn find<S: Stream>(
        settings: &Settings,
        stream: &mut S,
        one_per_subject: bool,
    ) -> Result<Start, Fault> {
        let (first, last) = (stream.first(), stream.last());
        let mut skip = None;
        let from = match settings.deliver {
            DeliverPolicy::All => first,
            DeliverPolicy::New => last.next(),
            DeliverPolicy::Last if settings.wants_all() => last,
            DeliverPolicy::Last => {
                let lasts = stream.last_on_each(&settings.filters, last);
                lasts.last().copied().unwrap_or(first)
            }
            DeliverPolicy::BySequence(sequence) => sequence,
            DeliverPolicy::ByTime(time) => stream.first_at(time)?,
            DeliverPolicy::LastPerSubject if one_per_subject => first,
            DeliverPolicy::LastPerSubject => {
                let sequences = VecDeque::from(stream.last_on_each(&settings.filters, last));
                let from = sequences.front().copied();
                if from.is_some() {
                    let resume = last.next();
                    skip = Some(Box::new(SkipList { sequences, resume }));
                }
                from.unwrap_or(last)
            }
        };
        let most = match settings.deliver {
            DeliverPolicy::BySequence(_) => StreamSeq(u64::MAX),
            _ => last.next(),
        };
        let from = from.min(most).max(first).max(StreamSeq(1));
        let after = from.previous();
        Ok(Start { after, skip })
    }
}

impl Consumer {
    /// A consumer whose state is new, and begins at `start`.
    pub fn create<S: Stream>(
        settings: Settings,
        start: Start,
        stream: &mut S,
        scratch: &mut Scratch<S::Buffer>,
        now: Timestamp,
    ) -> Consumer {
        let mut consumer = Consumer::open(settings, None, stream, scratch, now);
        if start.skip.is_some() {
            consumer.skip = start.skip;
            consumer.recount(stream);
        }
        consumer
    }

    /// A consumer that was there before: it goes on where its state says. Of messages before `resume`,
    /// if that is given, only those are delivered that are the last on their subjects.
    pub fn open<S: Stream>(
        settings: Settings,
        resume: Option<StreamSeq>,
        stream: &mut S,
        scratch: &mut Scratch<S::Buffer>,
        now: Timestamp,
    ) -> Consumer {
        let next = stream.state().delivered().stream.next();
        let way = match &settings.mode {
            Mode::Pull(_) => Way::Pull(Pull::default()),
            Mode::Push(push) => Way::Push(Box::new(Push::new(push, now))),
        };
        let replay = settings.replay_original.then(|| {
            Box::new(Replay {
                through: stream.last(),
                last: None,
                held: None,
            })
        });
        let mut consumer = Consumer {
            count: Count::take(stream, &settings, next),
            redelivery: Redelivery::restore(stream.state()),
            settings: Box::new(settings),
            next,
            skip: None,
            way,
            replay,
            hold_until: None,
            delivered_at: None,
            acked_at: None,
            used_at: now,
            inactive_after: Duration::ZERO,
            inactive_at: None,
            pause_end: None,
        };
        consumer.set_threshold(scratch.rng.below(900), now);
        consumer.set_pause_end(now);
        consumer.begin_at(stream);
        if let Some(resume) = resume.filter(|resume| consumer.next < *resume) {
            consumer.skip_to(resume, stream);
        }
        consumer
    }

    /// Delivers only the last messages of their subjects before `resume`.
    fn skip_to<S: Stream>(&mut self, resume: StreamSeq, stream: &mut S) {
        let lasts = stream.last_on_each(&self.settings.filters, resume.previous());
        let from = self.next;
        let sequences: VecDeque<StreamSeq> = lasts.into_iter().filter(|at| *at >= from).collect();
        match sequences.is_empty() {
            true => self.next = resume,
            false => self.skip = Some(Box::new(SkipList { sequences, resume })),
        }
        self.recount(stream);
    }

    /// Sets after how long without use the consumer goes. To that of a consumer that is pulled
    /// from, 100 milliseconds and `jitter_ms` are added.
    pub(super) fn set_threshold(&mut self, jitter_ms: usize, now: Timestamp) {
        self.inactive_after = self.settings.inactive_threshold;
        let mut runs = !self.inactive_after.is_zero();
        match &self.way {
            Way::Pull(_) if runs => {
                self.inactive_after += Duration::from_millis(100 + jitter_ms as u64);
            }
            Way::Pull(_) => {}
            Way::Push(push) => runs &= !push.is_active(),
        }
        self.inactive_at = runs.then(|| later(now, self.inactive_after));
    }

    /// Takes note of the end of a pause that lies ahead.
    pub(super) fn set_pause_end(&mut self, now: Timestamp) {
        self.pause_end = self.settings.pause_until.filter(|until| *until > now);
    }

    /// The pinned client, if there is one.
    pub(super) fn pin(&self) -> Option<&Pin> {
        match &self.way {
            Way::Pull(pull) => pull.pin.as_deref(),
            Way::Push(_) => None,
        }
    }
}
