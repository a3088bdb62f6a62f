//! What subscriptions of one account are in others: the streams that it imports, as other servers are
//! to be told of. And the answers that an account owes others, which come back from other servers.

use crate::accounts::exchange::StreamShare;
use crate::accounts::{Accounts, replies};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The imports of all accounts, as they are configured at present.
#[derive(Default)]
pub struct Imports {
    /// By the importing account's number: the exporting account's number, and what it gets of it.
    streams: HashMap<u32, Vec<(u32, Arc<StreamShare>)>>,
    /// The numbers of the accounts whose services others use.
    serving: BTreeSet<u32>,
}

impl Imports {
    pub fn new(accounts: &Accounts) -> Imports {
        let mut imports = Imports::default();
        for tenant in accounts.iter() {
            let exporter = tenant.account.number;
            for share in tenant.exchange.all_streams() {
                let of = imports.streams.entry(share.importer.number).or_default();
                of.push((exporter, share.clone()));
            }
            let services = tenant.exchange.all_services();
            imports
                .serving
                .extend(services.map(|import| import.exporter.number));
        }
        imports
    }

    /// Whether no account imports a stream.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Calls `each` with the accounts from which a subscription gets messages, and with what it is
    /// there.
    pub fn of(&self, account: u32, subject: &[u8], mut each: impl FnMut(u32, String)) {
        let Some(shares) = self.streams.get(&account) else {
            return;
        };
        let Ok(subject) = std::str::from_utf8(subject) else {
            return;
        };
        for (exporter, share) in shares {
            if let Some(there) = share.there(subject) {
                each(*exporter, there);
            }
        }
    }

    /// The accounts whose services others use.
    pub fn serving(&self) -> &BTreeSet<u32> {
        &self.serving
    }

    /// The subjects of all answers that such an account gives others.
    pub fn answers() -> Vec<u8> {
        [replies::PREFIX, b">"].concat()
    }
}
