//! What a user may publish and subscribe to, in a form that is quick to ask.
//!
//! A deny always beats an allow. Entries for subscriptions may name a queue group: such a deny
//! concerns members of that group and nobody else; such an allow lets members in, and where there
//! is one for a subject, members of other groups stay out. A plain entry concerns members of
//! groups like everybody else.
//!
//! A subscription must lie wholly inside an allowed subject. It may be wider than a denied one;
//! then each message is looked at when it is delivered. No subjects are special here: those that
//! MQTT uses by itself are up to who asks.
//!
//! These are the decisions of the Go server (2.15: `canSubscribe`, `checkDenySub` and
//! `pubAllowedFullCheck` in `client.go`), except that it takes the wildcards of a subscription for
//! plain tokens, and so lets one to `a.>` through where only `a.*` is allowed. That reading is kept
//! where it refuses more: `a.>` is denied where `a.*` is.

mod grants;
mod publish_cache;
#[cfg(test)]
mod tests;

pub use self::grants::ReplyGrants;
pub use self::publish_cache::PublishCache;
use crate::base::text::quoted;
use crate::options::security::{Permissions as Configured, Responses};
use crate::subject::is_valid;
use crate::subject::pattern::{is_subset, matches, overlaps};
use crate::subject::pattern_set::PatternSet;

/// The permissions of a user.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// `None`: all but what is denied.
    publish_allow: Option<PatternSet<()>>,
    publish_deny: PatternSet<()>,
    subscribe_allow: Option<PatternSet<Group>>,
    subscribe_deny: PatternSet<Group>,
    responses: Option<Responses>,
}

/// The queue groups that an entry is about; `None`: it is about everybody.
type Group = Option<Box<[u8]>>;

impl Permissions {
    /// The permissions as they are configured. Where answers to requests are allowed and nothing
    /// is said about what may be published, nothing else may be.
    ///
    /// # Errors
    /// An entry is no subject, or for subscriptions no subject with a queue group behind it.
    pub fn new(configured: &Configured) -> Result<Permissions, String> {
        let Configured {
            publish,
            subscribe,
            responses,
        } = configured;
        let mut publish_allow = publish.allow.as_deref().map(subjects).transpose()?;
        if responses.is_some() {
            publish_allow.get_or_insert_default();
        }
        Ok(Permissions {
            publish_allow,
            publish_deny: subjects(&publish.deny)?,
            subscribe_allow: subscribe
                .allow
                .as_deref()
                .map(queued_subjects)
                .transpose()?,
            subscribe_deny: queued_subjects(&subscribe.deny)?,
            responses: *responses,
        })
    }

    /// Whether a message may be published to `subject`, answers to requests aside. Where this is
    /// asked often, ask a [`PublishCache`].
    pub fn may_publish(&self, subject: &[u8]) -> bool {
        let is_in = |set: &PatternSet<()>| {
            let mut candidates = set.candidates(subject);
            candidates.any(|(pattern, ())| matches(pattern, subject))
        };
        self.publish_allow.as_ref().is_none_or(is_in) && !is_in(&self.publish_deny)
    }

    /// Whether everything may be published.
    #[inline]
    pub fn may_publish_all(&self) -> bool {
        self.publish_allow.is_none() && self.publish_deny.is_empty()
    }

    /// Whether there may be a subscription to `subject`, in the queue group `queue` if there is
    /// one.
    pub fn may_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let queue = queue.filter(|name| !name.is_empty());
        self.is_allowed(subject, queue) && !self.is_denied(subject, queue)
    }

    /// Whether a message on `subject` may be delivered to a subscription in this queue group, one
    /// that was allowed by [`Permissions::may_subscribe`].
    pub fn may_receive(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        !self.is_denied(subject, queue.filter(|name| !name.is_empty()))
    }

    /// Whether there are messages which an allowed subscription must not get, so that
    /// [`Permissions::may_receive`] has to be asked for each.
    pub fn filters(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let queue = queue.filter(|name| !name.is_empty());
        let mut denied = self.subscribe_deny.iter();
        denied.any(|(pattern, group)| overlaps(pattern, subject) && concerns(group, queue))
    }

    /// What answers to requests may be published in addition.
    #[inline]
    pub fn responses(&self) -> Option<Responses> {
        self.responses
    }

    fn is_allowed(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let Some(allow) = &self.subscribe_allow else {
            return true;
        };
        let (mut plain, mut groups_are_named, mut group_is_named) = (false, false, false);
        for (pattern, group) in allow.candidates(subject) {
            match (group, queue) {
                (None, _) => plain |= is_subset(subject, pattern),
                (Some(group), Some(queue)) if matches(pattern, subject) => {
                    groups_are_named = true;
                    let is_it = queue == &**group || is_subset(queue, group);
                    group_is_named |= is_it && is_subset(subject, pattern);
                }
                (Some(_), _) => {}
            }
        }
        if groups_are_named {
            group_is_named
        } else {
            plain
        }
    }

    /// Whether a deny entry matches, whatever tokens `subject` has.
    fn is_denied(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let mut candidates = self.subscribe_deny.candidates(subject);
        candidates.any(|(pattern, group)| matches(pattern, subject) && concerns(group, queue))
    }
}

/// Whether a deny entry for these groups concerns the subscriptions in `queue`. The names of
/// groups that clients choose are read literally: `*` is a name, too.
fn concerns(group: &Group, queue: Option<&[u8]>) -> bool {
    match (group, queue) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(group), Some(queue)) => matches_name(group, queue),
    }
}

/// Whether the name of a queue group matches, where, other than in subjects, a token may be empty.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let mut tokens = name.split(|b| *b == b'.');
    for of in pattern.split(|b| *b == b'.') {
        match tokens.next() {
            Some(_) if of == b">" => return true,
            Some(token) if of == b"*" || of == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

fn subjects(entries: &[String]) -> Result<PatternSet<()>, String> {
    let mut set = PatternSet::new();
    for entry in entries {
        if !is_valid(entry.as_bytes()) {
            return Err(invalid_subject(entry));
        }
        set.insert(entry.as_bytes(), ());
    }
    Ok(set)
}

fn queued_subjects(entries: &[String]) -> Result<PatternSet<Group>, String> {
    let mut set = PatternSet::new();
    for entry in entries {
        let (subject, group) = match entry.split_whitespace().collect::<Vec<_>>()[..] {
            [subject] if subject == entry => (subject, None),
            [subject, group] => (subject, Some(group)),
            _ => return Err(invalid_subject(entry)),
        };
        if !is_valid(subject.as_bytes()) {
            return Err(invalid_subject(subject));
        }
        if let Some(group) = group.filter(|group| !is_valid(group.as_bytes())) {
            let group = quoted(group.as_bytes());
            return Err(format!("queue {group} is not a valid queue"));
        }
        set.insert(subject.as_bytes(), group.map(|name| name.as_bytes().into()));
    }
    Ok(set)
}

fn invalid_subject(subject: &str) -> String {
    let subject = quoted(subject.as_bytes());
    format!("subject {subject} is not a valid subject")
}
