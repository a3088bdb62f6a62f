//! nats-server: a NATS server on hand-written poll loops, without an async runtime.
//!
//! ```text
//!  main thread          arguments, signals: start, reload, stop
//!    │
//!    ├─ clients-0 ─┐    accept, read, parse, route, deliver, write
//!    ├─ clients-1 ─┤    the same; batches of messages between them
//!    │     ...     │
//!    ├─ system     │    answers the system account, with what the others report
//!    ├─ monitor    │    those who ask over HTTP how the server is; threads that answer them
//!    └─ log        │    writes what the others log
//!         shared: accounts' interest (who listens to what)
//! ```
//!
//! The layers, of which each knows only those below it:
//!
//! | layer | modules |
//! |---|---|
//! | program | [`cli`], [`server`] |
//! | loops: the only place where sockets are read and written | [`loops`] |
//! | mechanism | [`os`], [`logging`], [`net`] |
//! | decisions, without I/O | [`options`], [`accounts`], [`auth`], [`conn`], [`routing`], [`jetstream`], [`broker`], [`monitor`], [`system`] |
//! | forms | [`proto`], [`json`], [`subject`], [`nkey`], [`config`], [`store`] |
//! | ground | [`base`] |

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tests make small numbers by hand"
    )
)]

pub mod accounts;
pub mod auth;
pub mod base;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod conn;
pub mod jetstream;
pub mod json;
pub mod logging;
pub mod loops;
pub mod monitor;
pub mod net;
pub mod nkey;
pub mod options;
pub mod os;
pub mod proto;
pub mod routing;
pub mod server;
pub mod store;
pub mod subject;
pub mod system;
