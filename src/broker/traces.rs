//! What the log shows of messages where the protocol is traced.

use super::message::Message;
use crate::base::text::quoted;
use crate::conn::client::Client;
use crate::options::LogOptions;
use log::{log_enabled, trace};

/// How much of a message is traced beside its command.
#[derive(Default)]
pub(super) struct Tracing {
    headers_only: bool,
    bytes_max: usize,
}

impl Tracing {
    pub(super) fn new(options: &LogOptions) -> Tracing {
        Tracing {
            headers_only: options.trace_headers,
            bytes_max: match options.max_traced_msg_len {
                0 => usize::MAX,
                len => len,
            },
        }
    }
}

pub(super) fn trace_delivery(
    client: &Client,
    sid: &[u8],
    message: &Message<'_>,
    tracing: &Tracing,
) {
    if !log_enabled!(log::Level::Trace) {
        return;
    }
    let plain = message.header_len.is_some() && !client.flags.headers;
    let mut scratch = Vec::new();
    let message = if plain {
        message.without_headers(&mut scratch)
    } else {
        *message
    };
    let verb = if message.header_len.is_some() {
        "HMSG"
    } else {
        "MSG"
    };
    let args = message.arguments(sid);
    trace!(
        "{} - ->> [{verb} {}]",
        client.label,
        String::from_utf8_lossy(&args)
    );
    let header_len = message.header_len.unwrap_or(0);
    trace_payload(client, "->>", (message.payload, header_len), tracing);
}

/// Traces the headers and body of a message, if it has any and they are asked for. The payload
/// has its line end behind it; so have the headers, and a blank line.
pub(super) fn trace_payload(
    client: &Client,
    direction: &str,
    (payload, header_len): (&[u8], usize),
    tracing: &Tracing,
) {
    let shown = if tracing.headers_only {
        payload[..header_len].strip_suffix(b"\r\n\r\n")
    } else {
        payload.strip_suffix(b"\r\n")
    };
    let Some(shown) = shown.filter(|shown| !shown.is_empty()) else {
        return;
    };
    let cut = &shown[..shown.len().min(tracing.bytes_max)];
    let mut quoted = quoted(cut).to_string();
    if cut.len() < shown.len() {
        quoted.insert_str(quoted.len() - 1, "...");
    }
    trace!("{} - {direction} MSG_PAYLOAD: [{quoted}]", client.label);
}
