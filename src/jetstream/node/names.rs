//! Where streams are, by account and name.

use std::collections::BTreeMap;

/// The places of streams.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// In a map an account, as a pair could not be looked up without an allocation.
    accounts: BTreeMap<u32, BTreeMap<String, usize>>,
}

impl Names {
    pub(super) fn insert(&mut self, account: u32, name: String, at: usize) {
        self.accounts.entry(account).or_default().insert(name, at);
    }

    pub(super) fn remove(&mut self, account: u32, name: &str) {
        if let Some(names) = self.accounts.get_mut(&account) {
            names.remove(name);
            if names.is_empty() {
                self.accounts.remove(&account);
            }
        }
    }

    pub(super) fn get(&self, account: u32, name: &str) -> Option<usize> {
        self.accounts.get(&account)?.get(name).copied()
    }

    /// The streams of an account, by name.
    pub(super) fn of(&self, account: u32) -> impl Iterator<Item = (&str, usize)> {
        let names = self.accounts.get(&account).into_iter().flatten();
        names.map(|(name, at)| (&**name, *at))
    }
}
