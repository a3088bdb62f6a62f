//! Requests of other accounts that clients of an account got and may answer: each got a subject of
//! its own, which nobody can guess, under which the answer is expected.
//!
//! The loops share these behind a lock that only services take. Nothing here reads a clock.

use super::exchange::ServiceExport;
use crate::base::clock::Mono;
use crate::base::limits::{REPLIES_BUDGET, REPLIES_BYTES, REPLIES_CHECK};
use crate::options::security::ResponseType;
use crate::proto::client_info::ClientInfo;
use crate::proto::headers::Picked;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// The start of all such subjects.
pub const PREFIX: &[u8] = b"_R_.";

/// Bytes of the two tokens that follow, with the point between them.
const NAME: usize = 13;

/// Bytes that a pending answer takes, about, beside its reply subject.
const WEIGHT: usize = 400;

/// The pending answers of an account.
pub struct Replies {
    table: Mutex<Table>,
    secret: u64,
}

#[derive(Default)]
struct Table {
    pending: HashMap<Name, Entry>,
    /// When to look at them.
    due: BTreeSet<(Mono, Name)>,
    /// Bytes that they take, by requesting account.
    held: HashMap<u32, usize>,
    count: u64,
}

/// Names a pending answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Name([u8; NAME]);

/// A request that may be answered.
pub struct Pending {
    /// The number of the account that asked.
    pub requestor: u32,
    /// Where it wants the answer.
    pub reply: Box<[u8]>,
    pub export: Arc<ServiceExport>,
    /// When it asked.
    pub asked: Mono,
    /// What is to be told about how long the answer took.
    pub measured: Option<Box<Measured>>,
}

/// A request whose latency is measured.
#[derive(Clone, Debug)]
pub struct Measured {
    pub requestor: Option<ClientInfo>,
    /// The connection that asked, where one did, as the loop that owns it knows it.
    pub connection: Option<Connection>,
    /// The headers that asked for it.
    pub header: Picked,
}

/// A connection of some loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    pub owner: u16,
    pub slot: u32,
    pub id: u64,
}

struct Entry {
    pending: Pending,
    /// When it expires.
    expires: Mono,
    /// When it is looked at next.
    due: Mono,
}

/// An answer on its way.
pub struct Answer {
    pub requestor: u32,
    pub reply: Box<[u8]>,
    pub export: Arc<ServiceExport>,
    pub asked: Mono,
    pub measured: Option<Box<Measured>>,
}

/// Pending answers that were due.
#[derive(Default)]
pub struct Due {
    /// Nobody answered in time.
    pub expired: Vec<Pending>,
    /// Whether anybody still waits for these is to be found out: the account and the subject.
    pub doubtful: Vec<(Name, u32, Box<[u8]>)>,
}

impl Name {
    /// The name in a subject; what follows it does not matter.
    fn of(subject: &[u8]) -> Option<Name> {
        let rest = subject.strip_prefix(PREFIX)?;
        let (name, more) = rest.split_first_chunk::<NAME>()?;
        matches!(more, [] | [b'.', ..]).then_some(Name(*name))
    }

    /// The subject of an answer. `suffix`, if not empty, begins with a point.
    pub fn subject(self, suffix: &str) -> Vec<u8> {
        [PREFIX, &self.0, suffix.as_bytes()].concat()
    }
}

/// Whether a subject looks like that of an answer.
#[inline]
pub fn is_reply(subject: &[u8]) -> bool {
    subject.starts_with(PREFIX) && Name::of(subject).is_some()
}

impl Replies {
    /// None yet. `secret` must be random; names are made of it.
    pub fn new(secret: u64) -> Replies {
        Replies {
            table: Mutex::default(),
            secret,
        }
    }

    /// Expects an answer. None if the account that asked has too many that are not answered.
    pub fn expect(&self, pending: Pending) -> Option<Name> {
        let mut table = self.lock();
        let held = table.held.entry(pending.requestor).or_default();
        let weight = pending.weight();
        if *held + weight > REPLIES_BYTES {
            return None;
        }
        *held += weight;
        let name = loop {
            table.count += 1;
            let name = self.name(table.count);
            if !table.pending.contains_key(&name) {
                break name;
            }
        };
        let expires = pending.asked + pending.export.threshold;
        let due = expires.min(pending.asked + REPLIES_CHECK);
        table.due.insert((due, name));
        let entry = Entry {
            pending,
            expires,
            due,
        };
        table.pending.insert(name, entry);
        Some(name)
    }

    /// The answer that is published on a subject, if it is expected, and not one of a service that
    /// `refuses` says no to. `is_last`: it is the last one of a stream.
    pub fn answer(
        &self,
        subject: &[u8],
        is_last: bool,
        now: Mono,
        refuses: impl Fn(&ServiceExport) -> bool,
    ) -> Option<(Name, Answer)> {
        let name = Name::of(subject)?;
        let mut table = self.lock();
        let entry = table.pending.get_mut(&name)?;
        if entry.expires < now || refuses(&entry.pending.export) {
            return None;
        }
        let export = entry.pending.export.clone();
        let answer = Answer {
            requestor: entry.pending.requestor,
            reply: entry.pending.reply.clone(),
            asked: entry.pending.asked,
            measured: entry.pending.measured.take(),
            export,
        };
        if is_last || answer.export.response_type == ResponseType::Singleton {
            table.remove(name);
        } else {
            entry.expires = now + answer.export.threshold;
        }
        Some((name, answer))
    }

    /// The account that expects an answer on a subject, and where; nothing changes by looking.
    pub fn expected(
        &self,
        subject: &[u8],
        now: Mono,
        refuses: impl Fn(&ServiceExport) -> bool,
    ) -> Option<(u32, Box<[u8]>)> {
        let table = self.lock();
        let entry = table.pending.get(&Name::of(subject)?)?;
        let pending = &entry.pending;
        let open = entry.expires >= now && !refuses(&pending.export);
        open.then(|| (pending.requestor, pending.reply.clone()))
    }

    /// No answer is expected any more.
    pub fn forget(&self, name: Name) -> Option<Pending> {
        self.lock().remove(name)
    }

    /// Whether there may be an answer on a subject.
    pub fn expects(&self, subject: &[u8]) -> bool {
        let name = Name::of(subject);
        name.is_some_and(|name| self.lock().pending.contains_key(&name))
    }

    /// Takes some of those that are due, a bounded number.
    pub fn take_due(&self, now: Mono) -> Due {
        let (mut due, mut table) = (Due::default(), self.lock());
        for _ in 0..REPLIES_BUDGET {
            let Some((at, name)) = table.due.first().copied().filter(|(at, _)| *at <= now) else {
                break;
            };
            table.due.remove(&(at, name));
            let Some(entry) = table.pending.get_mut(&name) else {
                continue;
            };
            if entry.expires <= now {
                due.expired.extend(table.remove(name));
                continue;
            }
            let age = now.since(entry.pending.asked);
            entry.due = entry.expires.min(now + age.max(REPLIES_CHECK));
            let asker = &entry.pending;
            due.doubtful
                .push((name, asker.requestor, asker.reply.clone()));
            let again = (entry.due, name);
            table.due.insert(again);
        }
        due
    }

    /// When the next ones are due.
    pub fn next_due(&self) -> Option<Mono> {
        self.lock().due.first().map(|(at, _)| *at)
    }

    /// How many answers are expected.
    pub fn len(&self) -> usize {
        self.lock().pending.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Two tokens of six characters, which look random to who does not know the secret.
    fn name(&self, count: u64) -> Name {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut hash = Sha256::new();
        hash.update(b"service reply");
        hash.update(self.secret.to_le_bytes());
        hash.update(count.to_le_bytes());
        let hash = hash.finalize();
        let (front, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
        let mut bits = u128::from_le_bytes(*front);
        let mut name = [b'.'; NAME];
        for at in (0..6).chain(7..NAME) {
            name[at] = DIGITS[usize::try_from(bits % 62).expect("it is below 62")];
            bits /= 62;
        }
        Name(name)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder of this lock panics")
    }
}

impl Table {
    fn remove(&mut self, name: Name) -> Option<Pending> {
        let entry = self.pending.remove(&name)?;
        self.due.remove(&(entry.due, name));
        let requestor = entry.pending.requestor;
        if let Some(held) = self.held.get_mut(&requestor) {
            *held = held.saturating_sub(entry.pending.weight());
            if *held == 0 {
                self.held.remove(&requestor);
            }
        }
        Some(entry.pending)
    }
}

impl Pending {
    fn weight(&self) -> usize {
        WEIGHT + self.reply.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pending(requestor: u32, response_type: ResponseType, asked: Mono) -> Pending {
        let export = ServiceExport {
            account: 1,
            subject: "svc".into(),
            response_type,
            threshold: Duration::from_secs(10),
            latency: None,
            allow_trace: false,
        };
        Pending {
            requestor,
            reply: (*b"inbox").into(),
            export: Arc::new(export),
            asked,
            measured: None,
        }
    }

    fn answer(replies: &Replies, subject: &[u8], is_last: bool, now: Mono) -> Option<Answer> {
        let answered = replies.answer(subject, is_last, now, |_| false);
        answered.map(|(_, answer)| answer)
    }

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_single_answer_is_expected_once() {
        let replies = Replies::new(5);
        let name = replies
            .expect(pending(2, ResponseType::Singleton, at(0)))
            .unwrap();
        let subject = name.subject(".hash.T");
        assert!(is_reply(&subject) && replies.expects(&subject));
        let text = String::from_utf8(subject.clone()).unwrap();
        assert_eq!(text.len(), "_R_.".len() + 13 + ".hash.T".len());
        let answer = answer(&replies, &subject, false, at(1)).unwrap();
        assert_eq!((answer.requestor, &*answer.reply), (2, &b"inbox"[..]));
        assert!(super::tests::answer(&replies, &subject, false, at(1)).is_none());
        assert!(replies.is_empty() && replies.next_due().is_none());
        assert!(replies.lock().held.is_empty());
    }

    #[test]
    fn a_stream_of_answers_ends_with_the_last_or_when_none_came_in_time() {
        for ends in [true, false] {
            let replies = Replies::new(5);
            let name = replies
                .expect(pending(2, ResponseType::Streamed, at(0)))
                .unwrap();
            let subject = name.subject("");
            for second in [5, 14, 23] {
                assert!(answer(&replies, &subject, false, at(second)).is_some());
                assert!(replies.take_due(at(second)).expired.is_empty());
            }
            if ends {
                assert!(answer(&replies, &subject, true, at(24)).is_some());
            } else {
                let expired = replies.take_due(at(33)).expired;
                assert_eq!(expired.len(), 1);
            }
            assert!(answer(&replies, &subject, false, at(33)).is_none());
            assert!(replies.is_empty() && replies.next_due().is_none());
        }
    }

    #[test]
    fn who_still_waits_is_asked_less_and_less_often() {
        let replies = Replies::new(5);
        replies.expect(pending(2, ResponseType::Singleton, at(0)));
        let mut looks = Vec::new();
        while let Some(due) = replies.next_due() {
            let taken = replies.take_due(due);
            looks.push((due, taken.doubtful.len(), taken.expired.len()));
        }
        let want = [(1, 1, 0), (2, 1, 0), (4, 1, 0), (8, 1, 0), (10, 0, 1)];
        assert_eq!(looks, want.map(|(s, d, e)| (at(s), d, e)));
    }

    #[test]
    fn an_account_that_waits_for_too_many_does_not_keep_others_from_asking() {
        let replies = Replies::new(5);
        let mut count = 0;
        while replies
            .expect(pending(2, ResponseType::Singleton, at(0)))
            .is_some()
        {
            count += 1;
        }
        assert!((50_000..100_000).contains(&count), "{count}");
        let other = replies.expect(pending(3, ResponseType::Singleton, at(0)));
        assert!(replies.forget(other.unwrap()).is_some());
        assert_eq!(replies.len(), count);
    }

    #[test]
    fn other_subjects_are_no_answers() {
        let replies = Replies::new(5);
        for subject in [
            "_R_",
            "_R_.",
            "_R_.abc.def",
            "_R_.abcdef.abcdefg",
            "_INBOX.x.y",
        ] {
            assert!(!is_reply(subject.as_bytes()), "{subject}");
            assert!(answer(&replies, subject.as_bytes(), false, at(0)).is_none());
        }
        assert!(is_reply(b"_R_.abcdef.abcdef"));
        assert!(!replies.expects(b"_R_.abcdef.abcdef"));
    }
}
