//! What goes over which of the connections with another server.
//!
//! Servers spread accounts over a pool of connections, each account by a hash of its name, and give
//! some a connection of their own (`server/route.go` of the reference at 2.15). Servers of the
//! reference before 2.10, and those that want it so, have one connection for everything.

use crate::base::limits::ROUTE_POOL_MAX;
use crate::options::cluster::ClusterOptions;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What goes over a connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// Everything.
    Whole,
    /// The accounts that have this place in the pool.
    Pool(u32),
    /// One account, which lines do not name.
    Account(Arc<str>),
}

impl Lane {
    /// The account of a connection that is for one.
    pub fn account(&self) -> Option<&Arc<str>> {
        match self {
            Lane::Account(name) => Some(name),
            Lane::Whole | Lane::Pool(_) => None,
        }
    }

    /// The place in the pool, as it is told.
    pub fn index(&self) -> i64 {
        match self {
            Lane::Pool(index) => i64::from(*index),
            Lane::Whole | Lane::Account(_) => 0,
        }
    }

    /// Whether what is about an account goes here. `home` is the account's own.
    pub fn carries(&self, account: &[u8], home: Home) -> bool {
        match self {
            Lane::Whole => true,
            Lane::Pool(index) => home == Home::Pool(*index),
            Lane::Account(name) => home == Home::Own && name.as_bytes() == account,
        }
    }
}

/// Where an account belongs, with servers that know more than one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// On the connection at this place in the pool.
    Pool(u32),
    /// On a connection of its own.
    Own,
}

/// How this server spreads its accounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spread {
    /// Connections in a pool; zero: there are none.
    size: u32,
    /// Accounts with connections of their own.
    dedicated: BTreeSet<Arc<str>>,
}

impl Spread {
    /// As the options say; the account that the server itself uses always has its own.
    pub fn new(options: &ClusterOptions, system: Option<&str>) -> Spread {
        let size = options.pool_size.clamp(0, ROUTE_POOL_MAX);
        let own = options.accounts.iter().map(String::as_str).chain(system);
        Spread {
            size,
            dedicated: match size {
                0 => BTreeSet::new(),
                _ => own.map(Into::into).collect(),
            },
        }
    }

    /// Connections in a pool; zero: there are none.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Accounts with connections of their own.
    pub fn dedicated(&self) -> &BTreeSet<Arc<str>> {
        &self.dedicated
    }

    /// Gives an account a connection of its own; says whether it had none.
    pub fn dedicate(&mut self, account: &str) -> bool {
        self.dedicated.insert(account.into())
    }

    /// Where an account belongs.
    pub fn home(&self, account: &[u8]) -> Home {
        if std::str::from_utf8(account).is_ok_and(|name| self.dedicated.contains(name)) {
            return Home::Own;
        }
        Home::Pool(place(account, self.size))
    }
}

/// The place of an account in a pool of that size: by FNV-1a, as both sides have to agree.
pub fn place(account: &[u8], size: u32) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    match size {
        0 | 1 => 0,
        size => account.iter().fold(0x811c_9dc5, step) % size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_the_places_that_the_reference_gives_them() {
        // Of Go's hash/fnv, New32a.
        assert_eq!(place(b"", 1 << 31), 0x811c_9dc5 % (1 << 31));
        assert_eq!(place(b"a", 1 << 31), 0xe40c_292c % (1 << 31));
        assert_eq!(place(b"foobar", 1 << 31), 0xbf9c_f968 % (1 << 31));
        assert_eq!(place(b"foobar", 1), 0);
        assert_eq!(place(b"foobar", 0), 0);
    }

    #[test]
    fn some_accounts_have_connections_of_their_own() {
        let options = ClusterOptions {
            accounts: vec!["A".into()],
            ..ClusterOptions::default()
        };
        let mut spread = Spread::new(&options, Some("$SYS"));
        assert_eq!(spread.size(), 3);
        assert_eq!(spread.home(b"A"), Home::Own);
        assert_eq!(spread.home(b"$SYS"), Home::Own);
        let home = spread.home(b"B");
        assert_eq!(home, Home::Pool(place(b"B", 3)));
        let Home::Pool(index) = home else { panic!() };
        assert!(Lane::Pool(index).carries(b"B", home) && Lane::Whole.carries(b"B", home));
        assert!(!Lane::Pool(index + 1).carries(b"B", home));
        let lane = Lane::Account("A".into());
        assert!(lane.carries(b"A", Home::Own) && !lane.carries(b"B", home));
        assert!(spread.dedicate("B") && !spread.dedicate("B"));
        assert_eq!(spread.home(b"B"), Home::Own);
        let off = ClusterOptions {
            pool_size: 0,
            accounts: vec!["A".into()],
            ..ClusterOptions::default()
        };
        assert_eq!(Spread::new(&off, Some("$SYS")).home(b"A"), Home::Pool(0));
    }
}
