//! raftz: Raft groups. A server without clustering has none.

use super::{Answer, TEXT};

pub(super) fn answer() -> Answer {
    Answer {
        status: 404,
        content_type: TEXT,
        body: b"No Raft nodes registered".to_vec(),
    }
}
