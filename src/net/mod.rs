//! Mechanism without NATS knowledge: connection tables, read buffers, timers, listeners, sockets
//! between parts of this process.

pub mod buffer;
pub mod listen;
pub mod table;
pub mod timer;
pub mod tls;
