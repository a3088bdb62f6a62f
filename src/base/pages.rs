//! A paged arena: values of one type, addressed by `u32`, which never move once they are stored.
//!
//! A `Vec` that grows by doubling copies everything it holds, which stalls whoever waits for it at
//! a million entries, and gives nothing back when it empties. Here values live in pages of some
//! hundred KiB. A page is allocated when all others are full and freed when its last value goes;
//! at most one freed page is kept for the next need. New values go to the lowest page that has
//! room, so that the high pages run empty after a peak. Only the first page grows step by step
//! (and so moves its values while it is small), so that an arena of a few values costs a few
//! hundred bytes.
//!
//! An index is an address and nothing more: it is handed out again after its value was removed.
//! Whoever may hold a stale index must check a generation of their own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::ops::{Index, IndexMut};

/// Bytes in a page, before rounding the number of its slots up to a power of two.
const PAGE_BYTES_MIN: usize = 256 * 1024;

/// An emptied arena keeps a first page up to this size, so that a single value which comes and
/// goes does not allocate each time.
const KEPT_BYTES_MAX: usize = 1024;

/// Ends a page's list of vacant slots.
const NONE: u32 = u32::MAX;

/// An arena of `T`, addressed by `u32`; insert, remove and look-up take constant time.
///
/// A slot costs no more than its value when `T` has a niche (a `NonZeroU32` or a reference
/// somewhere in it), otherwise up to one alignment unit more.
pub struct Pages<T> {
    pages: Vec<Page<T>>,
    /// Every page with room is in here once (`Page::listed`); full and released ones may be, until
    /// they come up.
    roomy: BinaryHeap<Reverse<u32>>,
    /// Numbers of pages without memory that are not in `roomy`.
    released: Vec<u32>,
    /// Memory of an emptied page, of full size.
    spare: Option<Vec<Slot<T>>>,
    len: usize,
}

struct Page<T> {
    /// Slots used so far; its capacity is 0 if the page is released.
    slots: Vec<Slot<T>>,
    /// The first vacant slot among `slots`, or `NONE`.
    free: u32,
    live: u32,
    listed: bool,
}

enum Slot<T> {
    Vacant { next: u32 },
    Full(T),
}

impl<T> Pages<T> {
    /// The number of slots in a page is `1 << SHIFT`.
    const SHIFT: u32 = {
        let slots = PAGE_BYTES_MIN
            .div_ceil(size_of::<Slot<T>>())
            .next_power_of_two();
        slots.trailing_zeros()
    };
    const SLOTS: u32 = 1 << Self::SHIFT;
    /// One page less than `u32` can address, so that no index is `u32::MAX`.
    const PAGES_MAX: u32 = u32::MAX >> Self::SHIFT;

    /// An empty arena, which owns no memory.
    pub const fn new() -> Pages<T> {
        Pages {
            pages: Vec::new(),
            roomy: BinaryHeap::new(),
            released: Vec::new(),
            spare: None,
            len: 0,
        }
    }

    /// Stores `value` and gives its index, which is below `u32::MAX`.
    ///
    /// # Panics
    /// When all indexes are taken, that is at some four billion values.
    pub fn insert(&mut self, value: T) -> u32 {
        let number = self.page_with_room();
        let page = &mut self.pages[number as usize];
        let slot = page.insert(value);
        self.len += 1;
        number << Self::SHIFT | slot
    }

    /// Stores the value that `make` builds from its own index to be, unless that fails.
    ///
    /// # Errors
    /// Those of `make`; nothing is stored then.
    pub fn insert_with<E>(&mut self, make: impl FnOnce(u32) -> Result<T, E>) -> Result<u32, E> {
        let number = self.page_with_room();
        let index = number << Self::SHIFT | self.pages[number as usize].next_slot();
        let value = match make(index) {
            Ok(value) => value,
            Err(error) => {
                // The page may have been allocated for this value.
                if self.pages[number as usize].live == 0 {
                    self.release(number);
                }
                return Err(error);
            }
        };
        let stored = self.insert(value);
        debug_assert_eq!(stored, index);
        Ok(index)
    }

    /// Takes out the value at `index`; `None` if there is none.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let (number, slot) = Self::split(index);
        let page = self.pages.get_mut(number as usize)?;
        let value = page.remove(slot)?;
        self.len -= 1;
        if !page.listed {
            page.listed = true;
            self.roomy.push(Reverse(number));
        }
        if page.live == 0 {
            self.release(number);
        }
        Some(value)
    }

    /// The value at `index`; `None` if there is none.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let (number, slot) = Self::split(index);
        match self.pages.get(number as usize)?.slots.get(slot as usize)? {
            Slot::Full(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// The value at `index`, to be changed in place; `None` if there is none.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (number, slot) = Self::split(index);
        match self
            .pages
            .get_mut(number as usize)?
            .slots
            .get_mut(slot as usize)?
        {
            Slot::Full(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// The number of values stored.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no value is stored.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of memory that the arena owns, apart from what its values own. Those of slots that
    /// were never used are counted though the system may not have spent them yet.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.pages.iter().map(|page| page.slots.capacity()).sum();
        let spare = self.spare.as_ref().map_or(0, Vec::capacity);
        (slots + spare) * size_of::<Slot<T>>() + self.pages.capacity() * size_of::<Page<T>>()
    }

    /// All values with their indexes, in the order of the indexes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..).zip(&self.pages).flat_map(|(number, page)| {
            (0u32..)
                .zip(&page.slots)
                .filter_map(move |(slot, content)| match content {
                    Slot::Full(value) => Some((number << Self::SHIFT | slot, value)),
                    Slot::Vacant { .. } => None,
                })
        })
    }

    /// The value with the lowest index that is not below `index`, and that index.
    pub fn at_or_after(&self, index: u32) -> Option<(u32, &T)> {
        let (first, slot) = Self::split(index);
        let pages = (first..).zip(self.pages.iter().skip(first as usize));
        pages.into_iter().find_map(|(number, page)| {
            let start = if number == first { slot } else { 0 };
            let slots = (start..).zip(page.slots.iter().skip(start as usize));
            slots.into_iter().find_map(|(slot, content)| match content {
                Slot::Full(value) => Some((number << Self::SHIFT | slot, value)),
                Slot::Vacant { .. } => None,
            })
        })
    }

    #[inline]
    fn split(index: u32) -> (u32, u32) {
        (index >> Self::SHIFT, index & (Self::SLOTS - 1))
    }

    /// The number of the lowest page with room; of a new one if all are full.
    fn page_with_room(&mut self) -> u32 {
        while let Some(&Reverse(number)) = self.roomy.peek() {
            let page = &mut self.pages[number as usize];
            if page.live < Self::SLOTS && !page.is_released() {
                return number;
            }
            page.listed = false;
            self.roomy.pop();
            if page.is_released() {
                self.released.push(number);
            }
        }
        let number = self.released.pop().unwrap_or_else(|| {
            let number = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
            assert!(number < Self::PAGES_MAX, "arena is out of indexes");
            self.pages.push(Page {
                slots: Vec::new(),
                free: NONE,
                live: 0,
                listed: false,
            });
            number
        });
        let page = &mut self.pages[number as usize];
        page.slots = self.spare.take().unwrap_or_else(|| {
            let kept = KEPT_BYTES_MAX / size_of::<Slot<T>>();
            Vec::with_capacity(if number == 0 {
                kept.max(1)
            } else {
                Self::SLOTS as usize
            })
        });
        page.listed = true;
        self.roomy.push(Reverse(number));
        number
    }

    /// Gives back the memory of a page that holds no value.
    fn release(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        page.free = NONE;
        page.slots.clear();
        let bytes = page.slots.capacity() * size_of::<Slot<T>>();
        if self.len == 0 {
            if self.pages.len() > 1 || bytes > KEPT_BYTES_MAX {
                *self = Pages::new();
            }
            return;
        }
        let slots = mem::take(&mut page.slots);
        if self.spare.is_none() && slots.capacity() >= Self::SLOTS as usize {
            self.spare = Some(slots);
        }
    }

    /// Checks what must hold between calls, in time linear to the size of the arena.
    ///
    /// # Panics
    /// When the arena is inconsistent, which is a bug in it.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        let mut live_sum = 0;
        for (number, page) in (0u32..).zip(&self.pages) {
            let full = page
                .slots
                .iter()
                .filter(|s| matches!(s, Slot::Full(_)))
                .count();
            assert_eq!(full, page.live as usize, "page {number} counts its values");
            assert!(
                page.slots.len() <= Self::SLOTS as usize,
                "page {number} keeps its size"
            );
            let (mut vacant, mut at) = (0, page.free);
            while at != NONE {
                vacant += 1;
                assert!(vacant <= page.slots.len(), "page {number}'s free list ends");
                match page.slots[at as usize] {
                    Slot::Vacant { next } => at = next,
                    Slot::Full(_) => panic!("page {number}'s free list holds a value"),
                }
            }
            assert_eq!(
                full + vacant,
                page.slots.len(),
                "page {number} lists its vacant slots"
            );
            let listings = self.roomy.iter().filter(|r| r.0 == number).count();
            assert_eq!(
                listings,
                usize::from(page.listed),
                "page {number} knows if it is listed"
            );
            let waiting = self.released.iter().filter(|r| **r == number).count();
            assert_eq!(waiting, usize::from(page.is_released() && !page.listed));
            assert!(page.listed || page.is_released() || page.live == Self::SLOTS);
            assert!(page.live > 0 || page.is_released() || self.len == 0);
            live_sum += full;
        }
        assert_eq!(live_sum, self.len, "the arena counts its values");
    }
}

impl<T> Page<T> {
    /// Stores `value` in a vacant slot or a new one; there must be room.
    fn insert(&mut self, value: T) -> u32 {
        self.live += 1;
        if let Some(slot) = self.slots.get_mut(self.free as usize) {
            let at = self.free;
            if let Slot::Vacant { next } = *slot {
                self.free = next;
            }
            *slot = Slot::Full(value);
            return at;
        }
        self.slots.push(Slot::Full(value));
        // Without vacant slots, the values are as many as the slots.
        self.live - 1
    }

    /// The slot that the next insert takes; there must be room.
    fn next_slot(&self) -> u32 {
        // Without vacant slots, the values are as many as the slots.
        if self.free == NONE {
            self.live
        } else {
            self.free
        }
    }

    fn remove(&mut self, at: u32) -> Option<T> {
        let slot = self.slots.get_mut(at as usize)?;
        match mem::replace(slot, Slot::Vacant { next: self.free }) {
            Slot::Full(value) => {
                self.free = at;
                self.live -= 1;
                Some(value)
            }
            vacant => {
                *slot = vacant;
                None
            }
        }
    }

    fn is_released(&self) -> bool {
        self.slots.capacity() == 0
    }
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Pages::new()
    }
}

/// Access to a value which is known to be there.
///
/// # Panics
/// When there is no value at the index; use [`Pages::get`] for an index from outside.
impl<T> Index<u32> for Pages<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        self.get(index)
            .expect("no value at this index of the arena")
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index)
            .expect("no value at this index of the arena")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    /// So large that a page has few slots, and small tests reach many pages.
    #[derive(Clone, PartialEq, Debug)]
    struct Big(u32, Box<[u8; 1]>, [u64; 8191]);

    fn big(n: u32) -> Big {
        Big(n, Box::new([n.to_le_bytes()[0]]), [0; 8191])
    }

    #[test]
    fn values_are_found_until_removed() {
        let mut pages = Pages::new();
        assert!(pages.is_empty());
        let (a, b) = (pages.insert("a"), pages.insert("b"));
        assert_eq!(
            (pages.get(a), pages.get(b), pages.len()),
            (Some(&"a"), Some(&"b"), 2)
        );
        pages[a] = "c";
        assert_eq!(pages.remove(a), Some("c"));
        assert_eq!(pages.remove(a), None);
        assert_eq!(pages.get(a), None);
        assert_eq!(pages.get_mut(a), None);
        assert_eq!(pages.iter().collect::<Vec<_>>(), [(b, &"b")]);
        assert_eq!(pages.insert("d"), a, "vacant slots are used again");
        pages.check_invariants();
    }

    #[test]
    fn foreign_indexes_find_nothing() {
        let mut pages = Pages::new();
        for index in [0, 1, 70_000, u32::MAX] {
            assert_eq!(pages.get(index), None);
            assert_eq!(pages.get_mut(index), None);
            assert_eq!(pages.remove(index), None::<u8>);
        }
        pages.insert(1);
        for index in [1, 70_000, u32::MAX] {
            assert_eq!(pages.get(index), None);
            assert_eq!(pages.remove(index), None);
        }
    }

    #[test]
    fn a_niche_makes_slots_as_small_as_values() {
        assert_eq!(size_of::<Slot<(NonZeroU32, [u8; 24])>>(), 28);
    }

    #[test]
    fn an_emptied_arena_owns_next_to_nothing() {
        let mut pages = Pages::new();
        let indexes: Vec<u32> = (0..100_000u64).map(|n| pages.insert(n)).collect();
        assert!(pages.pages.len() > 3);
        for index in indexes {
            pages.remove(index);
        }
        pages.check_invariants();
        assert!(pages.pages.is_empty() && pages.spare.is_none() && pages.roomy.is_empty());
        let index = pages.insert(1);
        let kept = pages.pages[0].slots.capacity();
        assert!(kept * size_of::<Slot<u64>>() <= KEPT_BYTES_MAX);
        pages.remove(index);
        assert_eq!(
            pages.pages[0].slots.capacity(),
            kept,
            "a small first page is kept"
        );
    }

    #[test]
    fn emptied_pages_are_freed_but_one() {
        let mut pages = Pages::new();
        let slots = Pages::<Big>::SLOTS;
        let indexes: Vec<u32> = (0..slots * 5).map(|n| pages.insert(big(n))).collect();
        assert_eq!(indexes, (0..slots * 5).collect::<Vec<_>>());
        for index in slots..slots * 4 {
            assert_eq!(pages.remove(index).map(|b| b.0), Some(index));
            pages.check_invariants();
        }
        assert!(pages.spare.is_some());
        assert_eq!(pages.pages.iter().filter(|p| p.is_released()).count(), 3);
        pages.remove(slots * 4);
        assert_eq!(
            pages.insert(big(0)),
            slots * 4,
            "room is used before a page is allocated"
        );
        let next = pages.insert(big(0));
        assert!(
            (slots..slots * 4).contains(&next),
            "released pages are used before new ones"
        );
        assert!(pages.spare.is_none(), "the spare is used first");
        pages.check_invariants();
    }

    #[test]
    fn values_made_from_their_index() {
        let mut pages = Pages::new();
        let slots = Pages::<Big>::SLOTS;
        for n in 0..slots * 2 {
            assert_eq!(pages.insert_with(|_| Err(n)), Err::<u32, _>(n));
            pages.check_invariants();
            assert_eq!(pages.len(), n as usize);
            let made = pages.insert_with(|index| Ok::<_, ()>(big(index)));
            assert_eq!(made, Ok(n));
            assert_eq!(pages[n].0, n);
        }
        pages.remove(3);
        assert_eq!(pages.insert_with(|index| Ok::<_, ()>(big(index))), Ok(3));
        pages.check_invariants();
    }

    #[test]
    fn low_pages_fill_first() {
        let mut pages = Pages::new();
        let slots = Pages::<Big>::SLOTS;
        for n in 0..slots * 3 {
            pages.insert(big(n));
        }
        pages.remove(slots * 2);
        pages.remove(slots);
        pages.remove(0);
        assert_eq!(
            [(); 3].map(|()| pages.insert(big(0))),
            [0, slots, slots * 2]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_a_map(
            ops in proptest::collection::vec((0u8..5, any::<proptest::sample::Index>()), 0..80),
        ) {
            let (mut pages, mut model) = (Pages::new(), HashMap::new());
            for (n, (op, pick)) in (0u32..).zip(ops) {
                if op < 3 {
                    let index = pages.insert(big(n));
                    prop_assert!(model.insert(index, n).is_none());
                } else if !model.is_empty() {
                    let mut indexes: Vec<u32> = model.keys().copied().collect();
                    indexes.sort_unstable();
                    let index = *pick.get(&indexes);
                    prop_assert_eq!(pages.remove(index).map(|b| b.0), model.remove(&index));
                }
                pages.check_invariants();
                prop_assert_eq!(pages.len(), model.len());
                for (index, n) in &model {
                    prop_assert_eq!(pages.get(*index).map(|b| b.0), Some(*n));
                }
                prop_assert!(pages.iter().all(|(index, b)| model.get(&index) == Some(&b.0)));
            }
        }
    }
}
