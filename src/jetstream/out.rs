//! Where JetStream's messages go.

use crate::accounts::Account;
use std::sync::Arc;

/// A message that the server publishes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'m> {
    /// Where it goes to.
    pub to: &'m [u8],
    /// The subject that subscribers are shown.
    pub subject: &'m [u8],
    pub reply: Option<&'m [u8]>,
    /// A whole block, or nothing.
    pub headers: &'m [u8],
    pub payload: &'m [u8],
}

impl<'m> Outgoing<'m> {
    /// A message without headers that shows the subject it goes to.
    pub fn plain(to: &'m [u8], payload: &'m [u8]) -> Outgoing<'m> {
        Outgoing {
            to,
            subject: to,
            payload,
            ..Outgoing::default()
        }
    }

    /// Headers without a payload.
    pub fn status(to: &'m [u8], headers: &'m [u8]) -> Outgoing<'m> {
        Outgoing {
            to,
            subject: to,
            headers,
            ..Outgoing::default()
        }
    }
}

/// The way out.
pub trait Out {
    /// Publishes a message in an account; gives the number of deliveries.
    fn send(&mut self, account: &Arc<Account>, message: &Outgoing<'_>) -> usize;

    /// Whether anybody listens to a subject.
    fn is_heard(&mut self, account: &Arc<Account>, subject: &[u8]) -> bool;
}
