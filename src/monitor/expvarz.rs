//! expvarz: variables of the process, as the `expvar` package of Go has them.
//!
//! `memstats` has those of Go's fields that mean something without its runtime: bytes in use and
//! from the system. What this server knows better stands beside them: bytes by purpose.

use super::figures::{Figures, memory_by_purpose};
use super::source::Source;
use super::{Answer, go_json};
use serde::Serialize;
use std::collections::BTreeMap;

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Expvarz {
    cmdline: Vec<String>,
    memstats: MemStats,
    memory: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MemStats {
    alloc: usize,
    sys: u64,
}

/// The document.
pub(super) fn document(source: &dyn Source) -> Expvarz {
    let vitals = source.vitals();
    let memory = memory_by_purpose(&Figures::of(source).memory);
    Expvarz {
        cmdline: vitals.command_line,
        memstats: MemStats {
            alloc: memory.iter().map(|(_, bytes)| bytes).sum(),
            sys: vitals.resident_bytes,
        },
        memory: memory.into(),
    }
}

/// The document in the form that Go's `expvar` gives it: a variable a line.
pub(super) fn answer(source: &dyn Source) -> Answer {
    let document = document(source);
    let mut body = b"{\n\"cmdline\": ".to_vec();
    body.extend(go_json::compact(&document.cmdline));
    body.extend(b",\n\"memstats\": ");
    body.extend(go_json::compact(&document.memstats));
    body.extend(b",\n\"memory\": ");
    body.extend(go_json::compact(&document.memory));
    body.extend(b"\n}\n");
    Answer {
        status: 200,
        content_type: "application/json; charset=utf-8",
        body,
    }
}
