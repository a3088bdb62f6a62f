//! nats-server: a NATS server on hand-written poll loops.
