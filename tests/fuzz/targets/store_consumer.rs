//! The state of a consumer: what is read from any bytes is consistent and is written the same
//! again; a batch of events either happens or changes nothing; and batches make the same state again.
//!
//! The first byte of an input tells where the batch begins.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::store::consumer::{AckPolicy, ConsumerState, Event, EventWriter, Events, Millis};
use nats_server::store::index::varint::Reader;
use nats_server::store::index::{LogIndex, StreamSeq};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    let (checkpoint, batch) = data.split_at(usize::from(cut).min(data.len()));
    let state = ConsumerState::decode(&mut Reader::new(checkpoint)).unwrap_or_else(|_| {
        let mut state = ConsumerState::new(AckPolicy::Explicit, StreamSeq(3));
        for stream in [4, 5, 7, 300].map(StreamSeq) {
            let (at, deadline) = (Millis::new(5), Millis::new(10));
            let event = Event::Delivered {
                stream,
                at,
                deadline,
            };
            state.apply(event).expect("it follows");
        }
        state
    });
    state.check_invariants();
    let before = encoded(&state);
    let again = ConsumerState::decode(&mut Reader::new(&before)).expect("it was written");
    assert_eq!(encoded(&again), before);

    let index = LogIndex(state.applied().0.saturating_add(1));
    let mut replayed = state.clone();
    if replayed.replay(index, batch) != Ok(true) {
        assert_eq!(encoded(&replayed), before, "nothing has happened");
        return;
    }
    replayed.check_invariants();
    // The same, one by one and written down anew.
    let (mut recorded, mut writer) = (state.clone(), EventWriter::new());
    for event in Events::new(batch).expect("it was read") {
        let event = event.expect("it was read");
        recorded
            .record(event, &mut writer)
            .expect("it has happened");
    }
    recorded.set_applied(index);
    assert_eq!(encoded(&recorded), encoded(&replayed));
    let mut third = state;
    assert_eq!(third.replay(index, &writer.take()), Ok(true));
    assert_eq!(encoded(&third), encoded(&replayed));
});

fn encoded(state: &ConsumerState) -> Vec<u8> {
    let mut out = Vec::new();
    state.encode(&mut out);
    out
}
