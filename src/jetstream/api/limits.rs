//! What accounts and the server may use of JetStream, what of it is promised, and what is used.
//!
//! A stream with a limit of bytes has these reserved. Limits of an account are either for all it
//! has, where every replica counts, or for streams with so many replicas each: a *tier*.

use super::errors::ApiError;
use super::info::AccountLimits;
use super::policy::StorageType;
use super::stream_config::StreamConfig;
use std::collections::BTreeMap;

/// The limits of an account, by tier.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tiers {
    /// By name: `R1`, `R3`; those without a name are for all it has.
    tiers: BTreeMap<String, AccountLimits>,
}

/// The limits that hold for a stream.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Selected<'a> {
    /// The tier; empty if the limits are for all that the account has.
    pub tier: &'a str,
    pub limits: &'a AccountLimits,
}

impl Selected<'_> {
    fn is_flat(&self) -> bool {
        self.tier.is_empty()
    }

    /// Bytes that a stream takes of the account's.
    fn charge(&self, bytes: i64, replicas: i64) -> i64 {
        match self.is_flat() {
            _ if bytes <= 0 => 0,
            true => bytes.saturating_mul(replicas.max(1)),
            false => bytes,
        }
    }
}

impl Tiers {
    /// One set of limits for all that the account has.
    pub fn flat(limits: AccountLimits) -> Tiers {
        Tiers {
            tiers: BTreeMap::from([(String::new(), limits)]),
        }
    }

    /// Sets the limits of a tier.
    pub fn insert(&mut self, tier: &str, limits: AccountLimits) {
        self.tiers.insert(tier.to_owned(), limits);
    }

    /// The tiers by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AccountLimits)> {
        self.tiers
            .iter()
            .map(|(name, limits)| (name.as_str(), limits))
    }

    /// The limits for a stream with so many replicas.
    pub fn select(&self, replicas: i64) -> Option<Selected<'_>> {
        let flat = self.tiers.get_key_value("");
        let found = flat.or_else(|| self.tiers.get_key_value(&tier_name(replicas)));
        found.map(|(tier, limits)| Selected { tier, limits })
    }
}

/// The tier of streams with so many replicas.
pub fn tier_name(replicas: i64) -> String {
    format!("R{}", if replicas == 0 { 1 } else { replicas })
}

/// What streams with the same number of replicas hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    pub streams: i64,
    pub consumers: i64,
    pub reserved_memory: i64,
    pub reserved_storage: i64,
    /// Bytes that messages take, without replicas.
    pub memory: i64,
    pub storage: i64,
}

impl Held {
    fn reserved(&mut self, storage: StorageType) -> &mut i64 {
        match storage {
            StorageType::Memory => &mut self.reserved_memory,
            StorageType::File => &mut self.reserved_storage,
        }
    }

    fn used(&mut self, storage: StorageType) -> &mut i64 {
        match storage {
            StorageType::Memory => &mut self.memory,
            StorageType::File => &mut self.storage,
        }
    }
}

/// What an account may have, and has.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ledger {
    pub tiers: Tiers,
    held: BTreeMap<i64, Held>,
}

impl Ledger {
    pub fn new(tiers: Tiers) -> Ledger {
        Ledger {
            tiers,
            held: BTreeMap::new(),
        }
    }

    /// Counts a stream and what it reserves.
    pub fn add_stream(&mut self, config: &StreamConfig) {
        let held = self.held.entry(config.num_replicas.max(1)).or_default();
        held.streams += 1;
        *held.reserved(config.storage) += config.max_bytes.max(0);
    }

    /// Takes back what [`Ledger::add_stream`] counted.
    pub fn remove_stream(&mut self, config: &StreamConfig) {
        let held = self.held.entry(config.num_replicas.max(1)).or_default();
        held.streams -= 1;
        *held.reserved(config.storage) -= config.max_bytes.max(0);
        debug_assert!(held.streams >= 0, "it was added before");
    }

    /// Counts a consumer of a stream.
    pub fn add_consumer(&mut self, stream: &StreamConfig) {
        self.held
            .entry(stream.num_replicas.max(1))
            .or_default()
            .consumers += 1;
    }

    /// Takes back what [`Ledger::add_consumer`] counted.
    pub fn remove_consumer(&mut self, stream: &StreamConfig) {
        let held = self.held.entry(stream.num_replicas.max(1)).or_default();
        held.consumers -= 1;
        debug_assert!(held.consumers >= 0, "it was added before");
    }

    /// Counts bytes that a stream's messages take from now on, or no longer.
    pub fn use_bytes(&mut self, stream: &StreamConfig, bytes: i64) {
        let held = self.held.entry(stream.num_replicas.max(1)).or_default();
        let used = held.used(stream.storage);
        *used = used.saturating_add(bytes).max(0);
    }

    /// What is held, by number of replicas.
    pub fn held(&self) -> impl Iterator<Item = (i64, &Held)> {
        self.held.iter().map(|(replicas, held)| (*replicas, held))
    }

    /// What is held of a tier, as far as its limits count it.
    fn of_tier(&self, selected: Selected<'_>, replicas: i64) -> Held {
        let mut sum = Held::default();
        for (of, held) in &self.held {
            if !selected.is_flat() && *of != replicas.max(1) {
                continue;
            }
            sum.streams += held.streams;
            sum.consumers += held.consumers;
            for storage in [StorageType::Memory, StorageType::File] {
                let mut held = *held;
                let reserved = selected.charge(*held.reserved(storage), *of);
                *sum.reserved(storage) = sum.reserved(storage).saturating_add(reserved);
                let used = held.used(storage).saturating_mul((*of).max(1));
                *sum.used(storage) = sum.used(storage).saturating_add(used);
            }
        }
        sum
    }

    /// What the account has of all tiers.
    pub fn total(&self) -> Held {
        let limits = AccountLimits::UNLIMITED;
        let all = Selected {
            tier: "",
            limits: &limits,
        };
        self.of_tier(all, 1)
    }

    /// What the account has of one tier.
    pub fn tier(&self, tier: &str) -> Held {
        let replicas = tier.strip_prefix('R').and_then(|n| n.parse().ok());
        match replicas {
            Some(replicas) => {
                let limits = AccountLimits::UNLIMITED;
                let selected = Selected {
                    tier,
                    limits: &limits,
                };
                self.of_tier(selected, replicas)
            }
            None => self.total(),
        }
    }

    /// Checks whether there may be one more stream. `existing` is the one by the same name.
    ///
    /// # Errors
    /// 10120 and 10027.
    pub fn check_streams(
        &self,
        config: &StreamConfig,
        existing: Option<&StreamConfig>,
    ) -> Result<(), ApiError> {
        let selected = self
            .tiers
            .select(config.num_replicas)
            .ok_or(ApiError::NoLimits)?;
        let mut count = self.of_tier(selected, config.num_replicas).streams;
        let same_tier = |existing: &StreamConfig| {
            selected.is_flat() || existing.num_replicas.max(1) == config.num_replicas.max(1)
        };
        if existing.is_some_and(same_tier) {
            count -= 1;
        }
        match selected.limits.max_streams {
            max if max > 0 && count >= max => Err(ApiError::MaximumStreamsLimit),
            _ => Ok(()),
        }
    }

    /// Checks whether the account may have a stream with this configuration, and the server has
    /// room for what it reserves. `existing` is the one by the same name.
    ///
    /// # Errors
    /// 10120, 10026, 10028 and 10047.
    pub fn check_stream(
        &self,
        config: &StreamConfig,
        existing: Option<&StreamConfig>,
        server: &ServerStorage,
    ) -> Result<(), ApiError> {
        let selected = self
            .tiers
            .select(config.num_replicas)
            .ok_or(ApiError::NoLimits)?;
        let reserved = self.reserved(selected, config, existing);
        check(selected, config, config.max_bytes, reserved, server)
    }

    /// The same for a new configuration of a stream, of which only what comes on top of the `old`
    /// one counts.
    ///
    /// # Errors
    /// As for [`Ledger::check_stream`].
    pub fn check_update(
        &self,
        old: &StreamConfig,
        new: &StreamConfig,
        server: &ServerStorage,
    ) -> Result<(), ApiError> {
        let selected = self.tiers.select(new.num_replicas);
        let selected = selected.or_else(|| self.tiers.select(old.num_replicas));
        let selected = selected.ok_or(ApiError::NoLimits)?;
        let more = (new.max_bytes.max(0) - old.max_bytes.max(0)).max(0);
        let before = new.max_bytes.saturating_sub(more);
        let reserved = self.reserved(selected, new, Some(old));
        let reserved = reserved.saturating_add(selected.charge(before, new.num_replicas));
        check(selected, new, more, reserved, server)
    }

    /// What the account has reserved in a tier, without the stream by the same name.
    fn reserved(
        &self,
        selected: Selected<'_>,
        config: &StreamConfig,
        existing: Option<&StreamConfig>,
    ) -> i64 {
        let mut held = self.of_tier(selected, config.num_replicas);
        let mut reserved = *held.reserved(config.storage);
        if let Some(existing) = existing {
            let same =
                selected.is_flat() || existing.num_replicas.max(1) == config.num_replicas.max(1);
            if same && existing.storage == config.storage {
                reserved -= selected.charge(existing.max_bytes, existing.num_replicas);
            }
        }
        reserved
    }

    /// Whether so many more bytes of messages would be beyond the account's limits.
    ///
    /// # Errors
    /// 10120 if there are no limits, 10002 if it would.
    pub fn check_bytes(&self, stream: &StreamConfig, bytes: i64) -> Result<(), ApiError> {
        let replicas = stream.num_replicas.max(1);
        let selected = self.tiers.select(replicas).ok_or(ApiError::NoLimits)?;
        let (used, max) = match stream.storage {
            StorageType::Memory => (
                self.of_tier(selected, replicas).memory,
                selected.limits.max_memory,
            ),
            StorageType::File => (
                self.of_tier(selected, replicas).storage,
                selected.limits.max_storage,
            ),
        };
        let scale = if selected.is_flat() { 1 } else { replicas };
        let total = used.saturating_add(bytes.saturating_mul(replicas));
        match max >= 0 && total > max.saturating_mul(scale) {
            true => Err(ApiError::AccountResourcesExceeded),
            false => Ok(()),
        }
    }
}

fn check(
    selected: Selected<'_>,
    config: &StreamConfig,
    max_bytes: i64,
    reserved: i64,
    server: &ServerStorage,
) -> Result<(), ApiError> {
    let limits = selected.limits;
    if config.max_consumers > 0
        && limits.max_consumers > 0
        && config.max_consumers > limits.max_consumers
    {
        return Err(ApiError::MaximumConsumersLimit);
    }
    // A stream without a limit needs some room, too.
    let bytes = if max_bytes < 0 { 1 } else { max_bytes };
    let (max, error) = match config.storage {
        StorageType::Memory => (limits.max_memory, ApiError::MemoryResourcesExceeded),
        StorageType::File => (limits.max_storage, ApiError::StorageResourcesExceeded),
    };
    let charge = selected.charge(bytes, config.num_replicas);
    if max >= 0 && charge > max.saturating_sub(reserved) {
        return Err(error);
    }
    if bytes > server.left(config.storage) {
        return Err(error);
    }
    Ok(())
}

/// What the server has for JetStream, and what of it is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServerStorage {
    pub max_memory: i64,
    pub max_storage: i64,
    pub reserved_memory: i64,
    pub reserved_storage: i64,
}

impl ServerStorage {
    /// Bytes that are not reserved; negative if more is reserved than there is.
    fn left(&self, storage: StorageType) -> i64 {
        match storage {
            StorageType::Memory => self.max_memory.saturating_sub(self.reserved_memory),
            StorageType::File => self.max_storage.saturating_sub(self.reserved_storage),
        }
    }

    /// Reserves what a stream is to have at most, if that is limited.
    pub fn reserve(&mut self, config: &StreamConfig) {
        let bytes = config.max_bytes.max(0);
        let reserved = self.reserved(config.storage);
        *reserved = reserved.saturating_add(bytes);
    }

    /// Takes back what [`ServerStorage::reserve`] did.
    pub fn release(&mut self, config: &StreamConfig) {
        let bytes = config.max_bytes.max(0);
        let reserved = self.reserved(config.storage);
        *reserved = reserved.saturating_sub(bytes);
    }

    fn reserved(&mut self, storage: StorageType) -> &mut i64 {
        match storage {
            StorageType::Memory => &mut self.reserved_memory,
            StorageType::File => &mut self.reserved_storage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(max_bytes: i64, replicas: i64, storage: StorageType) -> StreamConfig {
        StreamConfig {
            max_bytes,
            num_replicas: replicas,
            storage,
            max_consumers: -1,
            ..StreamConfig::default()
        }
    }

    const ROOM: ServerStorage = ServerStorage {
        max_memory: 1 << 40,
        max_storage: 1 << 40,
        reserved_memory: 0,
        reserved_storage: 0,
    };

    fn limits(max_memory: i64, max_storage: i64) -> AccountLimits {
        AccountLimits {
            max_memory,
            max_storage,
            ..AccountLimits::UNLIMITED
        }
    }

    #[test]
    fn bytes_are_reserved_and_released() {
        let mut ledger = Ledger::new(Tiers::flat(limits(-1, 1000)));
        let first = stream(600, 1, StorageType::File);
        assert_eq!(ledger.check_stream(&first, None, &ROOM), Ok(()));
        ledger.add_stream(&first);
        let second = stream(401, 1, StorageType::File);
        let full = Err(ApiError::StorageResourcesExceeded);
        assert_eq!(ledger.check_stream(&second, None, &ROOM), full);
        assert_eq!(
            ledger.check_stream(&stream(400, 1, StorageType::File), None, &ROOM),
            Ok(())
        );
        assert_eq!(
            ledger.check_stream(&stream(401, 1, StorageType::Memory), None, &ROOM),
            Ok(())
        );
        assert_eq!(ledger.check_stream(&second, Some(&first), &ROOM), Ok(()));
        ledger.remove_stream(&first);
        assert_eq!(ledger.check_stream(&second, None, &ROOM), Ok(()));
        assert_eq!(ledger.total(), Held::default());
    }

    #[test]
    fn replicas_count_where_limits_are_for_everything() {
        let flat = Ledger::new(Tiers::flat(limits(-1, 1000)));
        let replicated = stream(400, 3, StorageType::File);
        let full = Err(ApiError::StorageResourcesExceeded);
        assert_eq!(flat.check_stream(&replicated, None, &ROOM), full);
        let mut tiers = Tiers::default();
        tiers.insert("R3", limits(-1, 1000));
        let mut ledger = Ledger::new(tiers);
        assert_eq!(ledger.check_stream(&replicated, None, &ROOM), Ok(()));
        ledger.add_stream(&replicated);
        let single = stream(1, 1, StorageType::File);
        assert_eq!(
            ledger.check_stream(&single, None, &ROOM),
            Err(ApiError::NoLimits)
        );
        assert_eq!(ledger.tier("R3").reserved_storage, 400);
        assert_eq!(ledger.total().reserved_storage, 1200);
    }

    #[test]
    fn the_server_has_to_have_room() {
        let ledger = Ledger::new(Tiers::flat(AccountLimits::UNLIMITED));
        let mut server = ServerStorage {
            max_storage: 100,
            ..ROOM
        };
        let config = stream(60, 1, StorageType::File);
        assert_eq!(ledger.check_stream(&config, None, &server), Ok(()));
        server.reserve(&config);
        let full = Err(ApiError::StorageResourcesExceeded);
        assert_eq!(ledger.check_stream(&config, None, &server), full);
        assert_eq!(
            ledger.check_stream(&stream(-1, 1, StorageType::File), None, &server),
            Ok(())
        );
        // An update needs only what comes on top.
        let larger = stream(100, 1, StorageType::File);
        assert_eq!(ledger.check_update(&config, &larger, &server), Ok(()));
        let beyond = stream(101, 1, StorageType::File);
        assert_eq!(ledger.check_update(&config, &beyond, &server), full);
        server.release(&config);
        assert_eq!(ledger.check_stream(&config, None, &server), Ok(()));
    }

    #[test]
    fn streams_and_consumers_are_counted() {
        let few = AccountLimits {
            max_streams: 1,
            max_consumers: 5,
            ..AccountLimits::UNLIMITED
        };
        let mut ledger = Ledger::new(Tiers::flat(few));
        let mut config = stream(-1, 1, StorageType::File);
        assert_eq!(ledger.check_streams(&config, None), Ok(()));
        ledger.add_stream(&config);
        assert_eq!(
            ledger.check_streams(&config, None),
            Err(ApiError::MaximumStreamsLimit)
        );
        assert_eq!(ledger.check_streams(&config, Some(&config.clone())), Ok(()));
        config.max_consumers = 6;
        let many = Err(ApiError::MaximumConsumersLimit);
        assert_eq!(ledger.check_stream(&config, None, &ROOM), many);
        ledger.add_consumer(&config);
        assert_eq!(ledger.total().consumers, 1);
        ledger.remove_consumer(&config);
        assert_eq!(ledger.total().consumers, 0);
    }

    #[test]
    fn messages_stop_at_the_limit() {
        let mut ledger = Ledger::new(Tiers::flat(limits(-1, 100)));
        let config = stream(-1, 1, StorageType::File);
        assert_eq!(ledger.check_bytes(&config, 100), Ok(()));
        ledger.use_bytes(&config, 60);
        assert_eq!(ledger.check_bytes(&config, 40), Ok(()));
        let full = Err(ApiError::AccountResourcesExceeded);
        assert_eq!(ledger.check_bytes(&config, 41), full);
        ledger.use_bytes(&config, -60);
        assert_eq!(ledger.check_bytes(&config, 100), Ok(()));
        let memory = stream(-1, 1, StorageType::Memory);
        assert_eq!(ledger.check_bytes(&memory, 1 << 40), Ok(()));
        let none = Ledger::default();
        assert_eq!(none.check_bytes(&config, 1), Err(ApiError::NoLimits));
    }
}
