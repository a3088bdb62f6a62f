//! What records about consumers say: a byte for the kind of change, and its fields.
//!
//! | change | fields |
//! |---|---|
//! | 1, created | number, policy (0 none, 1 all, 2 explicit), start, name, configuration |
//! | 2, updated | number, count, configuration |
//! | 3, deleted | number |
//! | 4, events | for each consumer: number, count, batch |
//! | 5, state | number, count, state |
//! | 6, kept | number, count, name, configuration, state |
//!
//! Numbers are those of [`varint`]; name, configuration, batch and state have their length in
//! front. The count is that of all records about the consumer since it was created, this one
//! included, so that one that is lost is missed by the next. The sixth change tells all that there is
//! to know of a consumer, when the segment is about to go that told of it before.

use crate::store::consumer::AckPolicy;
use crate::store::file::format::CONSUMER_DELETED;
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::types::StreamSeq;

/// Bytes of a consumer's name, at most.
pub(super) const NAME_MAX: usize = 64 << 10;

const CREATED: u8 = 1;
const UPDATED: u8 = 2;
const DELETED: u8 = CONSUMER_DELETED;
const EVENTS: u8 = 4;
const STATE: u8 = 5;
const KEPT: u8 = 6;

/// A change of a consumer, or events of some of them.
#[derive(Clone, Debug)]
pub(super) enum Change<'a> {
    Created {
        number: u64,
        policy: AckPolicy,
        start: StreamSeq,
        name: &'a str,
        config: &'a [u8],
    },
    Updated {
        number: u64,
        count: u64,
        config: &'a [u8],
    },
    Deleted {
        number: u64,
    },
    Events(Entries<'a>),
    /// The whole state, for events that are not told one by one.
    State {
        number: u64,
        count: u64,
        state: &'a [u8],
    },
    /// Everything, of a consumer that is there.
    Kept {
        number: u64,
        count: u64,
        name: &'a str,
        config: &'a [u8],
        state: &'a [u8],
    },
}

/// The events of some consumers, until the first that cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a>(Reader<'a>);

/// Events of one consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry<'a> {
    pub(super) number: u64,
    pub(super) count: u64,
    pub(super) batch: &'a [u8],
}

impl<'a> Change<'a> {
    /// Appends what [`Change::decode`] reads. Events are begun only, and [added](Entry::encode).
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Change::Created {
                number,
                policy,
                start,
                name,
                config,
            } => {
                out.push(CREATED);
                varint::put(out, *number);
                out.push(policy_byte(*policy));
                varint::put(out, start.0);
                varint::put_bytes(out, name.as_bytes());
                varint::put_bytes(out, config);
            }
            Change::Updated {
                number,
                count,
                config,
            } => {
                out.push(UPDATED);
                varint::put(out, *number);
                varint::put(out, *count);
                varint::put_bytes(out, config);
            }
            Change::Deleted { number } => {
                out.push(DELETED);
                varint::put(out, *number);
            }
            Change::Events(_) => out.push(EVENTS),
            Change::State {
                number,
                count,
                state,
            } => {
                out.push(STATE);
                varint::put(out, *number);
                varint::put(out, *count);
                varint::put_bytes(out, state);
            }
            Change::Kept {
                number,
                count,
                name,
                config,
                state,
            } => {
                out.push(KEPT);
                varint::put(out, *number);
                varint::put(out, *count);
                varint::put_bytes(out, name.as_bytes());
                varint::put_bytes(out, config);
                varint::put_bytes(out, state);
            }
        }
    }

    /// How many records there are up to this one, by what it says, at least.
    pub(super) fn counts(&self) -> u64 {
        match self {
            Change::Created { number, .. } | Change::Deleted { number } => *number,
            Change::Updated { number, count, .. }
            | Change::State { number, count, .. }
            | Change::Kept { number, count, .. } => *number.max(count),
            Change::Events(_) => 0,
        }
    }

    /// Reads a change. What follows behind, a later version may have put there.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Change<'a>, Malformed> {
        let bad = Malformed("change of a consumer");
        let mut reader = Reader::new(bytes);
        let kind = reader.byte(bad.0)?;
        if kind == EVENTS {
            return Ok(Change::Events(Entries(reader)));
        }
        let number = reader.number(bad.0)?;
        Ok(match kind {
            CREATED => Change::Created {
                number,
                policy: policy(reader.byte(bad.0)?)?,
                start: StreamSeq(reader.number(bad.0)?),
                name: name(&mut reader)?,
                config: reader.bytes(usize::MAX, bad.0)?,
            },
            UPDATED => Change::Updated {
                number,
                count: reader.number(bad.0)?,
                config: reader.bytes(usize::MAX, bad.0)?,
            },
            DELETED => Change::Deleted { number },
            STATE => Change::State {
                number,
                count: reader.number(bad.0)?,
                state: reader.bytes(usize::MAX, bad.0)?,
            },
            KEPT => Change::Kept {
                number,
                count: reader.number(bad.0)?,
                name: name(&mut reader)?,
                config: reader.bytes(usize::MAX, bad.0)?,
                state: reader.bytes(usize::MAX, bad.0)?,
            },
            _ => return Err(bad),
        })
    }
}

impl Entries<'_> {
    /// None, to be added to.
    pub(super) const fn new() -> Self {
        Entries(Reader::new(&[]))
    }
}

impl Entry<'_> {
    /// As [`Change::counts`].
    pub(super) fn counts(&self) -> u64 {
        self.number.max(self.count)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.number);
        varint::put(out, self.count);
        varint::put_bytes(out, self.batch);
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let reader = &mut self.0;
        let mut read = || {
            let what = "events of a consumer";
            Ok::<_, Malformed>(Entry {
                number: reader.number(what)?,
                count: reader.number(what)?,
                batch: reader.bytes(usize::MAX, what)?,
            })
        };
        let entry = read();
        if entry.is_err() {
            self.0 = Reader::new(&[]);
        }
        entry.ok()
    }
}

fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let bad = Malformed("name of a consumer");
    std::str::from_utf8(reader.bytes(NAME_MAX, bad.0)?).map_err(|_| bad)
}

fn policy_byte(policy: AckPolicy) -> u8 {
    match policy {
        AckPolicy::None => 0,
        AckPolicy::All => 1,
        AckPolicy::Explicit => 2,
    }
}

fn policy(byte: u8) -> Result<AckPolicy, Malformed> {
    match byte {
        0 => Ok(AckPolicy::None),
        1 => Ok(AckPolicy::All),
        2 => Ok(AckPolicy::Explicit),
        _ => Err(Malformed("policy of a consumer")),
    }
}
