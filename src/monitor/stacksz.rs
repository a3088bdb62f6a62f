//! stacksz: what the threads are at. The reference shows the stacks of its goroutines; here a
//! thread is shown with its name, its state and the CPU that it has used.

use super::source::Source;
use super::{Answer, TEXT};
use crate::base::text::GoDuration;
use std::fmt::Write;

pub(super) fn answer(source: &dyn Source) -> Answer {
    let mut text = String::new();
    for thread in source.threads() {
        let cpu = GoDuration(thread.cpu);
        let (id, name, state) = (thread.id, thread.name, thread.state);
        let line = writeln!(text, "thread {id} \"{name}\" [{state}]: {cpu} of CPU");
        debug_assert!(line.is_ok(), "a string takes everything");
    }
    Answer {
        status: 200,
        content_type: TEXT,
        body: text.into_bytes(),
    }
}
