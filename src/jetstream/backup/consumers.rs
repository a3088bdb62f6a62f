//! Consumers in backups: JSON of the configuration and the state.

use super::Fault;
use crate::jetstream::api::ConsumerConfig;
use crate::store::consumer::Position;
use crate::store::consumer::{AckPolicy, ConsumerSeq, ConsumerState, Millis, PendingMessage};
use crate::store::types::StreamSeq;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sequences from here on are those of nobody.
const SEQUENCE_MAX: u64 = 1 << 62;

/// A consumer as it was found in a backup.
#[derive(Debug)]
pub(in crate::jetstream) struct SavedConsumer {
    pub(in crate::jetstream) config: ConsumerConfig,
    pub(in crate::jetstream) state: SavedState,
}

/// Its state, in which nothing is sure to fit together.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::jetstream) struct SavedState {
    pub(in crate::jetstream) delivered: SavedPosition,
    pub(in crate::jetstream) ack_floor: SavedPosition,
    pub(in crate::jetstream) pending: BTreeMap<u64, SavedPending>,
    /// How often messages were delivered after the first time.
    pub(in crate::jetstream) redelivered: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::jetstream) struct SavedPosition {
    pub(in crate::jetstream) consumer_seq: u64,
    pub(in crate::jetstream) stream_seq: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(in crate::jetstream) struct SavedPending {
    pub(in crate::jetstream) sequence: u64,
    /// Nanoseconds since 1970.
    pub(in crate::jetstream) timestamp: i64,
}

/// The JSON of a consumer, with what it knows of messages up to `last`.
pub(in crate::jetstream) fn encode(
    config: &ConsumerConfig,
    state: &ConsumerState,
    last: StreamSeq,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Saved<'a> {
        config: &'a ConsumerConfig,
        state: State<'a>,
    }
    #[derive(Serialize)]
    struct State<'a> {
        delivered: SavedPosition,
        ack_floor: SavedPosition,
        #[serde(skip_serializing_if = "Pendings::is_empty")]
        pending: Pendings<'a>,
        #[serde(skip_serializing_if = "Redeliveries::is_empty")]
        redelivered: Redeliveries<'a>,
    }
    let exhausted = u64::try_from(config.max_deliver).unwrap_or(0).max(1);
    let position = |at: Position| SavedPosition {
        consumer_seq: at.consumer.0,
        stream_seq: at.stream.min(last).0,
    };
    crate::json::compact(&Saved {
        config,
        state: State {
            delivered: position(state.delivered()),
            ack_floor: position(state.ack_floor()),
            pending: Pendings(state, last),
            redelivered: Redeliveries(state, last, exhausted),
        },
    })
}

/// Messages of a state up to some sequence.
struct Pendings<'a>(&'a ConsumerState, StreamSeq);
/// The third is how often those were delivered that were so as often as they may be.
struct Redeliveries<'a>(&'a ConsumerState, StreamSeq, u64);

impl Pendings<'_> {
    fn is_empty(&self) -> bool {
        self.0.pending().first().is_none_or(|m| m.stream > self.1)
    }
}

impl Redeliveries<'_> {
    fn all(&self) -> impl Iterator<Item = (StreamSeq, u64)> {
        let all = self.0.pending().iter().filter(|m| m.redeliveries > 0);
        let waiting = all.map(|m| (m.stream, u64::from(m.redeliveries)));
        let exhausted = self.0.exhausted().into_iter();
        let exhausted = exhausted.flat_map(|set| set.ranges(StreamSeq(1)));
        let exhausted = exhausted.flat_map(|(first, last)| first.0..=last.0);
        let exhausted = exhausted.map(|stream| (StreamSeq(stream), self.2));
        waiting
            .chain(exhausted)
            .filter(|(stream, _)| *stream <= self.1)
    }

    fn is_empty(&self) -> bool {
        let none = self.0.pending().redelivered() == 0 && self.0.exhausted().is_none();
        none || self.all().next().is_none()
    }
}

impl Serialize for Pendings<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for message in self.0.pending().iter().filter(|m| m.stream <= self.1) {
            let pending = SavedPending {
                sequence: message.consumer.0,
                timestamp: i64::try_from(message.delivered_at.get() * 1_000_000)
                    .unwrap_or(i64::MAX),
            };
            map.serialize_entry(&message.stream.0, &pending)?;
        }
        map.end()
    }
}

impl Serialize for Redeliveries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (stream, deliveries) in self.all() {
            map.serialize_entry(&stream.0, &deliveries)?;
        }
        map.end()
    }
}

/// Reads the JSON of a consumer.
///
/// # Errors
/// What is wrong with it.
pub(in crate::jetstream) fn decode(name: &str, json: &[u8]) -> Result<SavedConsumer, Fault> {
    #[derive(Deserialize)]
    struct Saved {
        config: Option<serde_json::Value>,
        state: Option<SavedState>,
    }
    let failed =
        |what: String| Fault::new(format!("failed to decode consumer {name:?} state: {what}"));
    let saved: Saved = serde_json::from_slice(json).map_err(|e| failed(e.to_string()))?;
    let missing = |what| Fault::new(format!("consumer {name:?} is missing {what}"));
    let config = saved.config.ok_or_else(|| missing("config"))?;
    let state = saved.state.ok_or_else(|| missing("state"))?;
    let config = crate::json::decode::document(config.to_string().as_bytes()).map_err(failed)?;
    Ok(SavedConsumer { config, state })
}

impl SavedState {
    /// The state as we keep it. What does not fit together is made so that messages are rather
    /// delivered again than not at all; nothing behind `last` is in the stream. `ends` says whether there
    /// is a number of times that a message is delivered at most; one that does not wait any more was
    /// delivered as often then. `deadline` says when one is to be delivered again, of its last delivery
    /// and how often there were others after the first.
    pub(in crate::jetstream) fn restore(
        &self,
        policy: AckPolicy,
        ends: bool,
        last: StreamSeq,
        deadline: impl Fn(Millis, u32) -> Millis,
    ) -> ConsumerState {
        let position = |at: SavedPosition| Position {
            stream: StreamSeq(at.stream_seq).min(last),
            consumer: ConsumerSeq(at.consumer_seq.min(SEQUENCE_MAX)),
        };
        let mut delivered = position(self.delivered);
        let floor = position(self.ack_floor);
        let mut pending = Vec::new();
        let waits = |stream: u64| stream > floor.stream.0 && stream <= delivered.stream.0;
        for (stream, saved) in &self.pending {
            if policy == AckPolicy::None || !waits(*stream) {
                continue;
            }
            let redeliveries = self.redelivered.get(stream).copied().unwrap_or(0);
            let redeliveries = u32::try_from(redeliveries).unwrap_or(u32::MAX);
            let at = Millis::new(u64::try_from(saved.timestamp).unwrap_or(0) / 1_000_000);
            pending.push(PendingMessage {
                stream: StreamSeq(*stream),
                consumer: ConsumerSeq(saved.sequence),
                delivered_at: at,
                deadline: deadline(at, redeliveries),
                redeliveries,
            });
        }
        let mut before = floor.consumer;
        let is_ordered = pending.iter().all(|message| {
            let follows = message.consumer > before && message.consumer <= delivered.consumer;
            before = message.consumer;
            follows
        });
        if !is_ordered {
            // The deliveries are counted anew, from the ack floor on.
            for (at, message) in pending.iter_mut().enumerate() {
                message.consumer = ConsumerSeq(floor.consumer.0 + 1 + at as u64);
                delivered.consumer = delivered.consumer.max(message.consumer);
            }
        }
        let floor = match pending.is_empty() {
            true => delivered,
            false => floor,
        };
        let exhausted = self.redelivered.keys().map(|stream| StreamSeq(*stream));
        let exhausted = exhausted.filter(|at| ends && at.0 > 0 && *at <= delivered.stream);
        ConsumerState::restored(policy, delivered, floor, pending, exhausted)
            .unwrap_or_else(|| ConsumerState::new(policy, floor.stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::consumer::Event;

    fn wait(at: Millis, redeliveries: u32) -> Millis {
        Millis::new(at.get() + 1000 * u64::from(redeliveries + 1))
    }

    #[test]
    fn a_state_comes_back() {
        let mut state = ConsumerState::new(AckPolicy::Explicit, StreamSeq(0));
        let at = Millis::new(1_700_000_000_000);
        for stream in [2, 4, 6, 9].map(StreamSeq) {
            let deadline = wait(at, 0);
            let event = Event::Delivered {
                stream,
                at,
                deadline,
            };
            state.apply(event).unwrap();
        }
        state
            .apply(Event::Acked {
                stream: StreamSeq(2),
            })
            .unwrap();
        let stream = StreamSeq(6);
        let deadline = wait(at, 1);
        let event = Event::Redelivered {
            stream,
            at,
            deadline,
        };
        state.apply(event).unwrap();
        let stream = StreamSeq(9);
        state.apply(Event::Exhausted { stream }).unwrap();
        let config = ConsumerConfig {
            durable: "d".into(),
            name: "d".into(),
            max_deliver: 3,
            ..ConsumerConfig::default()
        };
        let json = encode(&config, &state, StreamSeq(100));
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(
            text.contains(r#""pending":{"4":{"Sequence":2,"Timestamp":1700000000000000000}"#),
            "{text}"
        );
        assert!(text.contains(r#""redelivered":{"6":1,"9":3}"#), "{text}");
        let saved = decode("d", &json).unwrap();
        assert_eq!(saved.config, config);
        let restored = saved
            .state
            .restore(AckPolicy::Explicit, true, StreamSeq(9), wait);
        assert_eq!(restored.delivered(), state.delivered());
        assert_eq!(restored.ack_floor(), state.ack_floor());
        let all = |state: &ConsumerState| state.pending().iter().collect::<Vec<_>>();
        assert_eq!(all(&restored), all(&state));
        assert_eq!(restored.exhausted(), state.exhausted());
        // What the backup does not have is not known of either.
        let cut = decode("d", &encode(&config, &state, StreamSeq(5))).unwrap();
        let cut = cut
            .state
            .restore(AckPolicy::Explicit, true, StreamSeq(9), wait);
        assert_eq!(cut.delivered().stream, StreamSeq(5));
        assert_eq!(cut.pending().len(), 1);
    }

    #[test]
    fn states_that_make_no_sense_are_made_to() {
        for (json, pending, delivered) in [
            (r#"{"pending":{"5":{"Sequence":1,"Timestamp":1}}}"#, 0, 0),
            (
                r#"{"delivered":{"stream_seq":9},"pending":{"5":{},"7":{},"99":{}}}"#,
                2,
                9,
            ),
            (
                r#"{"delivered":{"stream_seq":9,"consumer_seq":1},"ack_floor":{"stream_seq":20},
                    "pending":{"5":{"Sequence":18446744073709551615,"Timestamp":-1}}}"#,
                0,
                9,
            ),
        ] {
            let json = format!(r#"{{"config":{{}},"state":{json}}}"#);
            let saved = decode("x", json.as_bytes()).unwrap();
            let state = saved
                .state
                .restore(AckPolicy::Explicit, true, StreamSeq(9), wait);
            assert_eq!(state.pending().len(), pending, "{json}");
            assert_eq!(state.delivered().stream, StreamSeq(delivered), "{json}");
        }
        assert!(decode("x", b"{}").is_err());
        assert!(decode("x", br#"{"config":{"ack_policy":"what"},"state":{}}"#).is_err());
    }
}
