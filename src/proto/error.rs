//! The texts of `-ERR`, and why connections close: one table each, as clients and operators know
//! them (<https://docs.nats.io/reference/reference-protocols/nats-protocol#ok-err>).

use crate::base::text::quoted;
use std::fmt;

/// An error that is sent to a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClientError<'a> {
    UnknownOperation,
    AuthorizationViolation,
    AuthenticationTimeout,
    ConnectionsExceeded,
    AccountConnectionsExceeded,
    ConnectionsThrottled,
    PayloadViolation,
    ControlLineExceeded,
    SubscriptionsExceeded,
    StaleConnection,
    ClientProtocol,
    NoRespondersRequiresHeaders,
    InvalidSubject,
    InvalidPublishSubject,
    PublishViolation(&'a [u8]),
    ReplyViolation(&'a [u8]),
    SubscriptionViolation {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        /// The sid of a subscription that is taken away again.
        sid: Option<&'a [u8]>,
    },
    TooManyTokens(&'a [u8]),
}

impl fmt::Display for ClientError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ClientError::*;
        f.write_str(match self {
            UnknownOperation => "Unknown Protocol Operation",
            AuthorizationViolation => "Authorization Violation",
            AuthenticationTimeout => "Authentication Timeout",
            ConnectionsExceeded => "maximum connections exceeded",
            AccountConnectionsExceeded => "maximum account active connections exceeded",
            ConnectionsThrottled => "Connection throttling is active. Please try again later.",
            PayloadViolation => "Maximum Payload Violation",
            ControlLineExceeded => "maximum control line exceeded",
            SubscriptionsExceeded => "maximum subscriptions exceeded",
            StaleConnection => "Stale Connection",
            ClientProtocol => "invalid client protocol",
            NoRespondersRequiresHeaders => "no responders requires headers support",
            InvalidSubject => "Invalid Subject",
            InvalidPublishSubject => "Invalid Publish Subject",
            PublishViolation(subject) => {
                return write!(
                    f,
                    "Permissions Violation for Publish to {}",
                    quoted(subject)
                );
            }
            ReplyViolation(reply) => {
                let reply = quoted(reply);
                return write!(f, "Permissions Violation for Publish with Reply of {reply}");
            }
            SubscriptionViolation {
                subject,
                queue,
                sid,
            } => {
                write!(
                    f,
                    "Permissions Violation for Subscription to {}",
                    quoted(subject)
                )?;
                if let Some(queue) = queue {
                    write!(f, " using queue {}", quoted(queue))?;
                }
                return match sid {
                    Some(sid) => write!(f, " (sid {})", quoted(sid)),
                    None => Ok(()),
                };
            }
            TooManyTokens(subject) => {
                let subject = quoted(subject);
                return write!(
                    f,
                    "Permissions Violation for Subscription to {subject}, too many tokens"
                );
            }
        })
    }
}

/// Makes [`CloseReason`], the list of all of them and their words of one table.
macro_rules! close_reasons {
    ($($(#[$doc:meta])* $reason:ident => $text:literal,)*) => {
        /// Why a connection was closed, in the words of the logs and the monitoring endpoints.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseReason {
            $($(#[$doc])* $reason,)*
        }

        impl CloseReason {
            /// All there are.
            pub const ALL: &[CloseReason] = &[$(CloseReason::$reason,)*];

            /// The words themselves.
            pub fn text(self) -> &'static str {
                match self {
                    $(CloseReason::$reason => $text,)*
                }
            }
        }
    };
}

close_reasons! {
    ClientClosed => "Client Closed",
    AuthenticationTimeout => "Authentication Timeout",
    AuthenticationViolation => "Authentication Failure",
    TlsHandshakeFailure => "TLS Handshake Failure",
    SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
    SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
    WriteError => "Write Error",
    ReadError => "Read Error",
    ParseError => "Parse Error",
    StaleConnection => "Stale Connection",
    ProtocolViolation => "Protocol Violation",
    BadClientProtocolVersion => "Bad Client Protocol Version",
    MaxConnectionsExceeded => "Maximum Connections Exceeded",
    MaxAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
    ProxyNotTrusted => "Proxy Not Trusted",
    ProxyRequired => "Proxy Required",
    MaxPayloadExceeded => "Maximum Message Payload Exceeded",
    MaxControlLineExceeded => "Maximum Control Line Exceeded",
    ServerShutdown => "Server Shutdown",
    NoRespondersRequiresHeaders => "No Responders Requires Headers",
    /// By an operator.
    Kicked => "Kicked",
    /// There is another route to the same server, or it is this server itself.
    DuplicateRoute => "Duplicate Route",
    /// The peer is part of a cluster of another name.
    ClusterNameConflict => "Cluster Name Conflict",
    DuplicateServerName => "Duplicate Server Name",
    /// It is not configured any more.
    RouteRemoved => "Route Removed",
    /// A gateway came to the port for routes.
    WrongGateway => "Wrong Gateway",
    /// A client came to the port for routes.
    WrongPort => "Incorrect Port",
}

impl CloseReason {
    /// Whether the peer took too long to take what it was sent.
    pub fn is_slow_consumer(self) -> bool {
        use CloseReason::*;
        matches!(self, SlowConsumerPendingBytes | SlowConsumerWriteDeadline)
    }

    /// Whether what is still queued for the peer is worth a last write.
    pub fn flushes(self) -> bool {
        use CloseReason::*;
        !matches!(
            self,
            ReadError
                | WriteError
                | TlsHandshakeFailure
                | SlowConsumerPendingBytes
                | SlowConsumerWriteDeadline
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_quoted() {
        let e = ClientError::PublishViolation(b"_GR_.\"x");
        assert_eq!(
            e.to_string(),
            r#"Permissions Violation for Publish to "_GR_.\"x""#
        );
        let e = ClientError::SubscriptionViolation {
            subject: b"a",
            queue: Some(b"_sys_"),
            sid: None,
        };
        assert_eq!(
            e.to_string(),
            r#"Permissions Violation for Subscription to "a" using queue "_sys_""#
        );
        assert_eq!(
            ClientError::TooManyTokens(b"a.b").to_string(),
            r#"Permissions Violation for Subscription to "a.b", too many tokens"#
        );
    }
}
