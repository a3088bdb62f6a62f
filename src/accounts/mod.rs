//! Accounts: who is isolated from whom, and who in an account listens to what.
//!
//! An [`Account`] is what lasts: its name, its number and the subscriptions of its clients. A
//! [`Tenant`] is an account as it is configured at present; [`Accounts`] are all of those, an
//! immutable value that a reload replaces.

pub mod exchange;
pub mod interest;
pub mod journal;
pub mod mappings;
pub mod permissions;
pub mod replies;
pub mod sampling;

use crate::options::Options;
use crate::options::jetstream::{AccountJetStream, JetStreamOptions};
use crate::options::security::{
    AccountLimits, AccountOptions, Destination, Mapping, TraceDestination,
};
use exchange::Exchange;
use interest::Interest;
use journal::Journal;
use mappings::Mappings;
use replies::Replies;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The name of the account that everybody is in when nothing else is configured.
pub const GLOBAL: &str = "$G";

/// The name of the account that the server itself uses, when nothing else is configured.
pub const SYSTEM: &str = "$SYS";

/// A tenant's lasting part: its subjects are its own.
pub struct Account {
    /// Tells accounts apart where a name would be too long, such as in caches. No two accounts of
    /// a server ever have the same.
    pub number: u32,
    pub name: Box<str>,
    pub interest: Interest,
    /// Requests of other accounts that its clients may still answer.
    pub replies: Replies,
    /// Clients that are connected.
    pub connections: AtomicUsize,
    /// Clients that are connected to other servers of the cluster.
    pub elsewhere: AtomicUsize,
    /// Clients that are still to be closed, as there are more of them in all than may be.
    pub excess: AtomicUsize,
}

impl Account {
    /// An account without subscriptions; `seed` is for its hash tables.
    pub fn new(number: u32, name: &str, seed: u64) -> Account {
        Account::with(number, name, seed, Interest::new(seed))
    }

    fn with(number: u32, name: &str, seed: u64, interest: Interest) -> Account {
        Account {
            number,
            name: name.into(),
            interest,
            replies: Replies::new(seed),
            connections: AtomicUsize::new(0),
            elsewhere: AtomicUsize::new(0),
            excess: AtomicUsize::new(0),
        }
    }
}

/// An account as it is configured at present.
pub struct Tenant {
    pub account: Arc<Account>,
    pub limits: AccountLimits,
    /// What becomes of the subjects that its clients publish to.
    pub mappings: Mappings,
    /// Whether this is the account that the server itself uses.
    pub is_system: bool,
    /// What it has of other accounts, and they of it.
    pub exchange: Exchange,
    /// Where it is told what became of messages that are part of a trace over many programs.
    pub trace: Option<TraceDestination>,
    /// What its streams may have; `None`: it has none.
    pub jetstream: Option<AccountJetStream>,
}

/// How a domain's own subjects become those of the API.
fn domain_mappings(domain: &str) -> impl Iterator<Item = Mapping> + '_ {
    const SAME: [&str; 7] = [
        "INFO",
        "STREAM.>",
        "CONSUMER.>",
        "DIRECT.>",
        "META.>",
        "SERVER.>",
        "ACCOUNT.>",
    ];
    let same = SAME.iter().map(|rest| (*rest, format!("$JS.API.{rest}")));
    let others = ["$KV.>", "$OBJ.>"]
        .iter()
        .map(|rest| (*rest, (*rest).to_owned()));
    same.chain(others).map(move |(rest, to)| Mapping {
        source: format!("$JS.{domain}.API.{rest}"),
        destinations: vec![Destination {
            subject: to,
            weight: 100,
            cluster: None,
        }],
    })
}

/// All accounts as they are configured at present.
pub struct Accounts {
    /// By their numbers.
    tenants: Vec<Option<Arc<Tenant>>>,
    numbers: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    /// The number of the account that the server itself uses.
    system: Option<u32>,
    seed: u64,
    /// Where accounts note what their subscribers listen to, if other servers are told.
    journal: Option<Arc<Journal>>,
}

impl Accounts {
    /// The accounts that `options` name; those that were there before (`old`) go on with their
    /// numbers and subscriptions. `seed` is for hash tables.
    ///
    /// # Errors
    /// All that is wrong with them, a text each.
    pub fn new(
        options: &Options,
        old: Option<&Accounts>,
        seed: u64,
    ) -> Result<Accounts, Vec<String>> {
        let mut accounts = Accounts {
            tenants: vec![None; old.map_or(0, |old| old.tenants.len())],
            numbers: HashMap::default(),
            system: None,
            seed: old.map_or(seed, |old| old.seed),
            journal: match old {
                Some(old) => old.journal.clone(),
                None => options.is_clustered().then(Arc::default),
            },
        };
        let system = options.system_account.as_deref().unwrap_or(SYSTEM);
        let system = (!options.no_system_account).then_some(system);
        let global = AccountOptions {
            name: GLOBAL.into(),
            mappings: options.mappings.clone(),
            // Where there are other accounts, they say which of them have streams.
            jetstream: options
                .accounts
                .iter()
                .all(|account| Some(&*account.name) == system)
                .then(AccountJetStream::default),
            ..AccountOptions::default()
        };
        let own = AccountOptions {
            name: system.unwrap_or_default().into(),
            ..AccountOptions::default()
        };
        let mut faults = Vec::new();
        let named = std::iter::once(&global).chain(&options.accounts);
        for account in named.chain(system.map(|_| &own)) {
            if let Err(fault) = accounts.add(account, (system, &options.jetstream), old) {
                faults.push(fault);
            }
        }
        accounts.system = system.and_then(|name| accounts.numbers.get(name).copied());
        let account = |name: &str| Some(accounts.named(name)?.account.clone());
        match exchange::build(options, account, accounts.seed) {
            Err(more) => faults.extend(more),
            Ok(mut exchanges) => {
                let system = accounts.system().map(|tenant| tenant.account.clone());
                let tenants = accounts.tenants.iter_mut().flatten();
                for tenant in tenants.filter_map(Arc::get_mut) {
                    let own = exchanges.remove(&tenant.account.number);
                    tenant.exchange = own.unwrap_or_default();
                    if let Some(system) = &system {
                        let (exchange, account) = (&mut tenant.exchange, &tenant.account);
                        exchange::system::import_services(exchange, account, system, accounts.seed);
                        if options.jetstream.enabled {
                            exchange::system::import_jetstream(
                                exchange,
                                account,
                                system,
                                accounts.seed,
                            );
                        }
                    }
                }
            }
        }
        if faults.is_empty() {
            Ok(accounts)
        } else {
            Err(faults)
        }
    }

    fn add(
        &mut self,
        options: &AccountOptions,
        (system, jetstream): (Option<&str>, &JetStreamOptions),
        old: Option<&Accounts>,
    ) -> Result<(), String> {
        let name = options.name.as_str();
        if self.numbers.contains_key(name) {
            return Ok(());
        }
        let before = old.and_then(|old| old.named(name));
        let account = before.map_or_else(
            || {
                let number = u32::try_from(self.tenants.len()).expect("accounts are few");
                let spread = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let seed = self.seed ^ spread;
                let interest = match &self.journal {
                    Some(journal) => Interest::journaled(seed, journal, number),
                    None => Interest::new(seed),
                };
                Arc::new(Account::with(number, name, seed, interest))
            },
            |tenant| tenant.account.clone(),
        );
        let number = account.number;
        let at = number as usize;
        if self.tenants.len() <= at {
            self.tenants.resize(at + 1, None);
        }
        self.numbers.insert(name.into(), number);
        let is_system = system == Some(name);
        let own = options
            .jetstream
            .filter(|_| jetstream.enabled && !is_system);
        let mut mappings = options.mappings.clone();
        if let Some(domain) = jetstream.domain.as_ref().filter(|_| own.is_some()) {
            mappings.extend(domain_mappings(domain));
        }
        self.tenants[at] = Some(Arc::new(Tenant {
            account,
            limits: options.limits,
            jetstream: own,
            mappings: Mappings::new(&mappings, None)?,
            is_system,
            exchange: Exchange::default(),
            trace: options.trace.clone(),
        }));
        Ok(())
    }

    /// The account with this number, if it is still configured.
    #[inline]
    pub fn tenant(&self, number: u32) -> Option<&Arc<Tenant>> {
        self.tenants.get(number as usize)?.as_ref()
    }

    /// The account of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenant(*self.numbers.get(name)?)
    }

    /// The account of those for whom nothing else is said.
    pub fn global(&self) -> &Arc<Tenant> {
        self.named(GLOBAL).expect("it is always there")
    }

    /// The account that the server itself uses, if there is one.
    pub fn system(&self) -> Option<&Arc<Tenant>> {
        self.tenant(self.system?)
    }

    /// Where accounts note what their subscribers listen to, if other servers are told.
    pub fn journal(&self) -> Option<&Arc<Journal>> {
        self.journal.as_ref()
    }

    /// All accounts.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.iter().flatten()
    }
}
