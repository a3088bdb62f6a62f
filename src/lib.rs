//! nats-server: a NATS server on hand-written poll loops.

pub mod accounts;
pub mod auth;
pub mod base;
pub mod broker;
pub mod cli;
pub mod conn;
pub mod logging;
pub mod loops;
pub mod net;
pub mod nkey;
pub mod options;
pub mod os;
pub mod proto;
pub mod routing;
pub mod server;
pub mod subject;
