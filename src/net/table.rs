//! Connections by mio token. A token carries its slot's generation, so that a late event can
//! never reach a new connection in a reused slot.

use mio::Token;
use slab::Slab;

/// A table of connections.
pub struct Table<T> {
    slots: Slab<(u32, T)>,
    generation: u32,
}

/// Tokens from here on up are never given to connections.
pub const RESERVED: usize = usize::MAX - 16;

const SLOT_BITS: u32 = 32;
const _: () = assert!(usize::BITS == 64, "a token holds a slot and a generation");

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            slots: Slab::new(),
            generation: 0,
        }
    }
}

impl<T> Table<T> {
    /// Adds a connection that `make` builds from its token.
    pub fn insert(&mut self, make: impl FnOnce(Token) -> T) -> Token {
        self.generation = self.generation.wrapping_add(1) & (u32::MAX >> 1);
        let entry = self.slots.vacant_entry();
        let token = Token(entry.key() | (self.generation as usize) << SLOT_BITS);
        entry.insert((self.generation, make(token)));
        token
    }

    /// The connection with this token, if it is still there.
    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(slot(token))?;
        (*generation as usize == token.0 >> SLOT_BITS).then_some(value)
    }

    /// Takes a connection out.
    pub fn remove(&mut self, token: Token) -> Option<T> {
        self.get_mut(token)?;
        let value = self.slots.remove(slot(token)).1;
        if self.slots.is_empty() {
            self.slots.shrink_to_fit();
        }
        Some(value)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The tokens of all connections.
    pub fn tokens(&self) -> Vec<Token> {
        let token = |(slot, (generation, _)): (usize, &(u32, T))| {
            Token(slot | (*generation as usize) << SLOT_BITS)
        };
        self.slots.iter().map(token).collect()
    }
}

fn slot(token: Token) -> usize {
    token.0 & (u32::MAX as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_token_finds_nothing() {
        let mut table = Table::default();
        let old = table.insert(|_| 'a');
        assert_eq!(table.remove(old), Some('a'));
        let new = table.insert(|_| 'b');
        assert_eq!(slot(old), slot(new));
        assert_eq!(
            (table.get_mut(old).copied(), table.remove(old)),
            (None, None)
        );
        assert_eq!(table.get_mut(new).copied(), Some('b'));
        assert!(new.0 < RESERVED);
        assert_eq!(table.tokens(), [new]);
    }
}
