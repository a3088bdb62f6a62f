//! What can be chosen from in configurations: policies, storage, compression. Each is a text in
//! JSON; the first one is what is meant where nothing is said.

use serde::{Serialize, Serializer};
use std::fmt::{self, Display, Formatter};

/// Makes an enum of texts.
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)?
    })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        pub enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $name {
            /// All there are, in order.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The text in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text),+
                }
            }

            /// The choice with this text.
            pub fn from_text(text: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|choice| choice.as_str() == text)
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
    )+};
}

choices! {
    /// When messages of a stream are removed.
    RetentionPolicy {
        /// When they are beyond a limit.
        #[default]
        Limits = "limits",
        /// When all consumers that they are for have acknowledged them.
        Interest = "interest",
        /// When the one consumer that they are for has acknowledged them.
        WorkQueue = "workqueue",
    }

    /// What goes when a stream is full.
    DiscardPolicy {
        /// The oldest messages.
        #[default]
        Old = "old",
        /// The message that does not fit.
        New = "new",
    }

    /// Where messages are kept.
    StorageType {
        #[default]
        File = "file",
        Memory = "memory",
    }

    /// How messages are compressed on disk.
    StoreCompression {
        #[default]
        None = "none",
        S2 = "s2",
    }

    /// When a message counts as stored.
    PersistMode {
        /// When it is safe, as far as the server is told to be.
        #[default]
        Default = "default",
        /// At once.
        Async = "async",
    }

    /// Where in its stream a consumer starts.
    DeliverPolicy {
        #[default]
        All = "all",
        Last = "last",
        New = "new",
        ByStartSequence = "by_start_sequence",
        ByStartTime = "by_start_time",
        LastPerSubject = "last_per_subject",
    }

    /// How messages are acknowledged to a consumer.
    AckPolicy {
        #[default]
        None = "none",
        /// One, and all before it.
        All = "all",
        Explicit = "explicit",
        /// By the answers to flow control requests.
        FlowControl = "flow_control",
    }

    /// How fast a consumer delivers what is there already.
    ReplayPolicy {
        #[default]
        Instant = "instant",
        /// At the pace at which it came.
        Original = "original",
    }

    /// Which of many pull requests is served.
    PriorityPolicy {
        #[default]
        None = "none",
        /// Those that ask for it only when much is pending.
        Overflow = "overflow",
        /// Those of one client, as long as it is there.
        PinnedClient = "pinned_client",
        /// Those of the best priority.
        Prioritized = "prioritized",
    }

    /// Whether a consumer is to be new, or to be there.
    ConsumerAction {
        #[default]
        CreateOrUpdate = "",
        Create = "create",
        Update = "update",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_choices_are_the_same() {
        for policy in DeliverPolicy::ALL {
            assert_eq!(DeliverPolicy::from_text(policy.as_str()), Some(*policy));
        }
        assert_eq!(
            AckPolicy::from_text("flow_control"),
            Some(AckPolicy::FlowControl)
        );
        assert_eq!(AckPolicy::from_text("Explicit"), None);
        assert_eq!(RetentionPolicy::WorkQueue.to_string(), "workqueue");
        assert_eq!(
            serde_json::to_string(&StorageType::Memory).unwrap(),
            r#""memory""#
        );
    }
}
