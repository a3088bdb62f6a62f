//! livez, readyz and startupz: what an orchestrator asks, each with the reasons why not. Not in
//! the reference.
//!
//! Who is not live has to be ended and started again; who is not ready gets no new clients; who
//! has not started is not asked the others.

use super::source::Source;
use super::{Answer, JSON, go_json};
use crate::broker::survey::Question;
use serde::Serialize;

/// The document.
#[derive(Debug, Serialize)]
struct Probe {
    status: &'static str,
    reasons: Vec<String>,
}

/// Live: at least one of the loops that serve clients answers.
pub(super) fn livez(source: &dyn Source) -> Answer {
    let answered = answering(source);
    let dead = (answered == 0).then(|| "no client loop answers".to_owned());
    answer(dead.into_iter().collect())
}

/// Ready: the server listens, is not about to end, and all of its loops answer.
pub(super) fn readyz(source: &dyn Source) -> Answer {
    let vitals = source.vitals();
    let mut reasons = Vec::new();
    if vitals.lame_duck {
        reasons.push("the server is in lame duck mode".into());
    } else if vitals.listener.is_none() {
        reasons.push(NOT_LISTENING.into());
    }
    let answered = answering(source);
    if answered < vitals.loops {
        let (missing, all) = (vitals.loops - answered, vitals.loops);
        reasons.push(format!("{missing} of {all} client loops do not answer"));
    }
    answer(reasons)
}

/// Started: the server listens, or has done so.
pub(super) fn startupz(source: &dyn Source) -> Answer {
    let vitals = source.vitals();
    let starting = vitals.listener.is_none() && !vitals.lame_duck;
    answer(starting.then(|| NOT_LISTENING.into()).into_iter().collect())
}

/// How many loops answer. No client has the number 0, so that nothing but a sign of life is asked
/// for.
fn answering(source: &dyn Source) -> usize {
    source.ask(Question::User(0)).len()
}

const NOT_LISTENING: &str = "the server does not listen for clients";

fn answer(reasons: Vec<String>) -> Answer {
    let well = reasons.is_empty();
    let status = if well { "ok" } else { "unavailable" };
    Answer {
        status: if well { 200 } else { 503 },
        content_type: JSON,
        body: go_json::compact(&Probe { status, reasons }),
    }
}
