//! What clients are told instead of messages: blocks of headers whose first line is a status.

use std::io::Write as _;
use std::time::Duration;

use crate::base::text::{GoDuration, push_decimal};

/// A status with its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status<'a> {
    FlowControl,
    NoMessages,
    RequestTimeout,
    RequestsPending,
    InterestExpired,
    BatchCompleted,
    TooLarge,
    MaxBatch(u64),
    MaxExpires(Duration),
    MaxBytes(u64),
    MaxWaiting,
    PushBased,
    Deleted,
    Shutdown,
    WrongPin,
    PinMismatch,
    BadRequest(&'a str),
}

impl Status<'_> {
    /// Appends the block.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        self.line(out);
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Appends the block, with what the request had left: messages and bytes.
    pub(super) fn write_left(self, messages: i64, bytes: u64, out: &mut Vec<u8>) {
        self.line(out);
        put(
            out,
            format_args!(
                "\r\nNats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: {bytes}\r\n\r\n"
            ),
        );
    }

    fn line(self, out: &mut Vec<u8>) {
        let text = match self {
            Status::FlowControl => "100 FlowControl Request",
            Status::NoMessages => "404 No Messages",
            Status::RequestTimeout => "408 Request Timeout",
            Status::RequestsPending => "408 Requests Pending",
            Status::InterestExpired => "408 Interest Expired",
            Status::BatchCompleted => "409 Batch Completed",
            Status::TooLarge => "409 Message Size Exceeds MaxBytes",
            Status::MaxBatch(max) => {
                return put(
                    out,
                    format_args!("NATS/1.0 409 Exceeded MaxRequestBatch of {max}"),
                );
            }
            Status::MaxExpires(max) => {
                let max = GoDuration(max);
                return put(
                    out,
                    format_args!("NATS/1.0 409 Exceeded MaxRequestExpires of {max}"),
                );
            }
            Status::MaxBytes(max) => {
                return put(
                    out,
                    format_args!("NATS/1.0 409 Exceeded MaxRequestMaxBytes of {max}"),
                );
            }
            Status::MaxWaiting => "409 Exceeded MaxWaiting",
            Status::PushBased => "409 Consumer is push based",
            Status::Deleted => "409 Consumer Deleted",
            Status::Shutdown => "409 Server Shutdown",
            Status::WrongPin => "423 Nats-Wrong-Pin-Id",
            Status::PinMismatch => "423 Nats-Pin-Id mismatch",
            Status::BadRequest(reason) => {
                return put(out, format_args!("NATS/1.0 400 Bad Request - {reason}"));
            }
        };
        out.extend_from_slice(b"NATS/1.0 ");
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends an idle heartbeat: the last delivery and the last message, and the subject that flow
/// control waits to be answered on, if it does.
pub(super) fn write_heartbeat(consumer: u64, stream: u64, stalled: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: ");
    push_decimal(out, consumer);
    out.extend_from_slice(b"\r\nNats-Last-Stream: ");
    push_decimal(out, stream);
    if !stalled.is_empty() {
        out.extend_from_slice(b"\r\nNats-Consumer-Stalled: ");
        out.extend_from_slice(stalled);
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends a field to the block of headers that is at the end of `out`, from `start` on, which
/// begins if there is none.
pub(super) fn add_field(out: &mut Vec<u8>, start: usize, name: &str, value: &[u8]) {
    if out.len() > start + 2 {
        out.truncate(out.len() - 2);
    } else {
        out.truncate(start);
        out.extend_from_slice(b"NATS/1.0\r\n");
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n\r\n");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}
