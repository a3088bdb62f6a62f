//! What other threads tell the monitor loop.

use crate::net::tls::ServerTls;
use log::error;
use mio::Waker;
use std::sync::{Arc, Mutex};

/// What one thread tells the loop.
pub(super) enum Command {
    /// New connections over TLS get this one.
    Renew(Option<Arc<ServerTls>>),
    /// What answers requests is to be set up anew.
    BackendFailed,
    /// Finish what has begun and end.
    Shutdown,
}

/// Where the loop gets its mail.
pub(super) struct Mailbox {
    mail: Mutex<Vec<Command>>,
    waker: Waker,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Mailbox {
        Mailbox {
            mail: Mutex::default(),
            waker,
        }
    }

    pub(super) fn send(&self, command: Command) {
        let mut mail = self.mail.lock().expect("no holder of this lock panics");
        mail.push(command);
        drop(mail);
        if let Err(e) = self.waker.wake() {
            error!("Error waking the monitor loop: {e}");
        }
    }

    pub(super) fn take(&self) -> Vec<Command> {
        let mut mail = self.mail.lock().expect("no holder of this lock panics");
        std::mem::take(&mut *mail)
    }
}
