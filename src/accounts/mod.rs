//! Accounts: who is isolated from whom, and who in an account listens to what.

pub mod interest;

use interest::Interest;

/// The name of the account that everybody is in when nothing else is configured.
pub const GLOBAL: &str = "$G";

/// A tenant: its subjects are its own.
pub struct Account {
    /// Tells accounts apart where a name would be too long, such as in caches.
    pub number: u32,
    pub name: Box<str>,
    pub interest: Interest,
}

impl Account {
    /// An account without subscriptions; `seed` is for its hash tables.
    pub fn new(number: u32, name: &str, seed: u64) -> Account {
        Account {
            number,
            name: name.into(),
            interest: Interest::new(seed),
        }
    }
}
