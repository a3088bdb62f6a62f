//! Memory for pieces of 4 bytes up to 1408, named by 32 bits each.
//!
//! A page of 64 KiB holds pieces of one size class, so that freed pieces of whatever size become
//! whole pages again, which serve every class or go back to the system. No page moves or is copied
//! when others come; only the first one of a class grows step by step, so that an index of a few
//! subjects costs a few hundred bytes.
//!
//! A clone shares the pages; who writes to one that is shared copies it first. So a checkpoint of an
//! index is made from a clone, elsewhere, while the index goes on changing.

use std::sync::Arc;

/// A page's bytes, and how many of them a reference counts as one.
const PAGE_BYTES: usize = 1 << 16;
const WORD: usize = 4;
const PAGE_WORDS: usize = PAGE_BYTES / WORD;
const OFFSET_BITS: u32 = PAGE_WORDS.trailing_zeros();

/// Pages that a reference can name: 16 GiB in all. Number 0 is not used.
const PAGES_MAX: usize = 1 << (32 - OFFSET_BITS);

/// Up to this many words, there is a class for each number of words; from there on eight to each
/// doubling.
const FINE_WORDS: usize = 32;
const CLASSES: usize = 60;

/// Bytes of the largest piece.
pub(super) const PIECE_BYTES_MAX: usize = class_words(CLASSES - 1) * WORD;

const _: () = assert!(PIECE_BYTES_MAX == 1408);
const _: () = assert!(class_of(PIECE_BYTES_MAX) == CLASSES - 1);

/// Bytes of a class's first page when it begins.
const FIRST_BYTES: usize = 64;

/// Ends a page's list of free pieces.
const NO_PIECE: u16 = u16::MAX;

/// The name of a piece. It is given out again after the piece was freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ref(u32);

impl Ref {
    /// Names nothing.
    pub(super) const NONE: Ref = Ref(0);

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Ref {
        Ref(u32::from_le_bytes(bytes))
    }

    #[inline]
    fn page(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    #[inline]
    fn offset(self) -> usize {
        (self.0 as usize & (PAGE_WORDS - 1)) * WORD
    }

    fn new(page: u32, word: u16) -> Ref {
        Ref(page << OFFSET_BITS | u32::from(word))
    }
}

#[derive(Clone)]
pub(super) struct Arena {
    /// The bytes of the pages; empty for those in `vacant`.
    memory: Vec<Arc<[u8]>>,
    pages: Vec<Page>,
    classes: [Class; CLASSES],
    /// Numbers of pages without memory.
    vacant: Vec<u32>,
    /// The memory of a page that ran empty, for the next that is needed.
    spare: Option<Arc<[u8]>>,
    live: usize,
    /// Bytes that pieces take, what is lost to their classes' sizes included.
    live_bytes: usize,
}

#[derive(Clone)]
struct Page {
    /// Its neighbours in the list of its class's pages with room; 0 at the ends.
    previous: u32,
    next: u32,
    /// The first freed piece, by its word, or `NO_PIECE`.
    free: u16,
    /// Words that were used so far, all before this one.
    fresh: u16,
    live: u16,
    class: u8,
}

#[derive(Clone, Copy, Default)]
struct Class {
    /// The first page with room, or 0.
    roomy: u32,
    pages: u32,
}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena {
            memory: Vec::new(),
            pages: Vec::new(),
            classes: [Class::default(); CLASSES],
            vacant: Vec::new(),
            spare: None,
            live: 0,
            live_bytes: 0,
        }
    }

    /// Whether there is room for `pieces` more, whatever their sizes.
    pub(super) fn has_room(&self, pieces: usize) -> bool {
        self.pages.len() - self.vacant.len() + pieces < PAGES_MAX
    }

    /// Takes memory for `len` bytes, whose content is anything.
    ///
    /// # Panics
    /// When the largest size or the number of pages is exceeded: see [`Arena::has_room`].
    pub(super) fn alloc(&mut self, len: usize) -> Ref {
        let class = class_of(len);
        let words = class_words(class);
        let number = match self.classes[class].roomy {
            0 => self.add_page(class),
            number => number,
        };
        self.live += 1;
        self.live_bytes += words * WORD;
        let page = &mut self.pages[number as usize];
        page.live += 1;
        let memory = &mut self.memory[number as usize];
        let word = if page.free == NO_PIECE {
            let word = page.fresh;
            page.fresh += short(words);
            let end = usize::from(page.fresh) * WORD;
            if end > memory.len() {
                let len = (memory.len() * 2).clamp(FIRST_BYTES, PAGE_BYTES).max(end);
                let mut grown = zeros(len);
                Arc::make_mut(&mut grown)[..memory.len()].copy_from_slice(memory);
                *memory = grown;
            }
            word
        } else {
            let word = page.free;
            let at = usize::from(word) * WORD;
            page.free = u16::from_le_bytes([memory[at], memory[at + 1]]);
            word
        };
        if page.is_full() {
            self.unlink(number);
        }
        Ref::new(number, word)
    }

    /// Takes memory for `bytes` and copies them there.
    pub(super) fn alloc_copy(&mut self, bytes: &[u8]) -> Ref {
        let piece = self.alloc(bytes.len());
        self.at_mut(piece)[..bytes.len()].copy_from_slice(bytes);
        piece
    }

    /// Gives a piece back.
    pub(super) fn free(&mut self, piece: Ref) {
        let number = piece.0 >> OFFSET_BITS;
        let page = &mut self.pages[number as usize];
        let was_full = page.is_full();
        let at = piece.offset();
        let memory = Arc::make_mut(&mut self.memory[number as usize]);
        memory[at..at + 2].copy_from_slice(&page.free.to_le_bytes());
        page.free = short(at / WORD);
        page.live -= 1;
        self.live -= 1;
        self.live_bytes -= class_words(usize::from(page.class)) * WORD;
        if self.live == 0 {
            *self = Arena::new();
            return;
        }
        if page.live == 0 {
            page.free = NO_PIECE;
            page.fresh = 0;
        }
        let empty = page.live == 0;
        if was_full {
            self.link(number);
        }
        if empty {
            self.release_unless_needed(number);
        }
    }

    /// Whether a piece that holds `old` bytes has place for `new` ones, and no other would do
    /// with less.
    pub(super) fn same_class(old: usize, new: usize) -> bool {
        class_of(old) == class_of(new)
    }

    /// A piece's bytes, and those behind it in its page.
    #[inline]
    pub(super) fn at(&self, piece: Ref) -> &[u8] {
        &self.memory[piece.page()][piece.offset()..]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, piece: Ref) -> &mut [u8] {
        &mut Arc::make_mut(&mut self.memory[piece.page()])[piece.offset()..]
    }

    /// Bytes of memory that the arena owns.
    pub(super) fn memory_bytes(&self) -> usize {
        let pages: usize = self.memory.iter().map(|page| page.len()).sum();
        pages
            + self.spare.as_ref().map_or(0, |page| page.len())
            + self.memory.capacity() * size_of::<Arc<[u8]>>()
            + self.pages.capacity() * size_of::<Page>()
            + self.vacant.capacity() * size_of::<u32>()
    }

    /// A page for `class`, whose other pages are all full.
    fn add_page(&mut self, class: usize) -> u32 {
        let number = self.vacant.pop().unwrap_or_else(|| {
            if self.pages.is_empty() {
                self.push_page();
            }
            self.push_page()
        });
        let first = self.classes[class].pages == 0;
        self.memory[number as usize] = match self.spare.take() {
            _ if first => Arc::default(),
            Some(memory) => memory,
            None => zeros(PAGE_BYTES),
        };
        let page = &mut self.pages[number as usize];
        page.class = u8::try_from(class).expect("there are fewer classes");
        page.fresh = 0;
        page.free = NO_PIECE;
        self.classes[class].pages += 1;
        self.link(number);
        number
    }

    fn push_page(&mut self) -> u32 {
        assert!(self.pages.len() < PAGES_MAX, "the arena is full");
        self.memory.push(Arc::default());
        self.pages.push(Page {
            previous: 0,
            next: 0,
            free: NO_PIECE,
            fresh: 0,
            live: 0,
            class: 0,
        });
        u32::try_from(self.pages.len() - 1).expect("there are fewer pages")
    }

    /// Gives back the memory of an empty page if another page of its class has room.
    fn release_unless_needed(&mut self, number: u32) {
        let page = &self.pages[number as usize];
        if page.previous == 0 && page.next == 0 {
            return;
        }
        let class = usize::from(page.class);
        self.unlink(number);
        self.classes[class].pages -= 1;
        let memory = std::mem::take(&mut self.memory[number as usize]);
        if self.spare.is_none() && memory.len() == PAGE_BYTES {
            self.spare = Some(memory);
        }
        self.vacant.push(number);
    }

    /// Puts a page at the front of those with room.
    fn link(&mut self, number: u32) {
        let class = usize::from(self.pages[number as usize].class);
        let next = std::mem::replace(&mut self.classes[class].roomy, number);
        if next != 0 {
            self.pages[next as usize].previous = number;
        }
        let page = &mut self.pages[number as usize];
        page.previous = 0;
        page.next = next;
    }

    fn unlink(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        let (previous, next) = (page.previous, page.next);
        page.previous = 0;
        page.next = 0;
        let class = usize::from(page.class);
        if previous == 0 {
            self.classes[class].roomy = next;
        } else {
            self.pages[previous as usize].next = next;
        }
        if next != 0 {
            self.pages[next as usize].previous = previous;
        }
    }

    /// Checks what must hold between calls, in time linear to the size of the arena.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let mut listed = vec![false; self.pages.len()];
        for class in &self.classes {
            let (mut at, mut previous) = (class.roomy, 0);
            while at != 0 {
                let page = &self.pages[at as usize];
                assert!(!std::mem::replace(&mut listed[at as usize], true));
                assert_eq!(
                    page.previous, previous,
                    "the list of pages is doubly linked"
                );
                (previous, at) = (at, page.next);
            }
        }
        for number in &self.vacant {
            assert!(!std::mem::replace(&mut listed[*number as usize], true));
        }
        let (mut live, mut bytes) = (0, 0);
        for (number, page) in self.pages.iter().enumerate().skip(1) {
            assert!(
                listed[number] != page.is_full(),
                "page {number} is listed if it has room"
            );
            if self.memory[number].is_empty() {
                assert_eq!(page.live, 0);
                continue;
            }
            let words = class_words(usize::from(page.class));
            let (mut at, mut free) = (page.free, 0);
            while at != NO_PIECE {
                free += 1;
                let i = usize::from(at) * WORD;
                assert_eq!(usize::from(at) % words, 0);
                at = u16::from_le_bytes([self.memory[number][i], self.memory[number][i + 1]]);
            }
            let used = usize::from(page.fresh) / words;
            assert_eq!(
                usize::from(page.live) + free,
                used,
                "page {number} counts its pieces"
            );
            live += usize::from(page.live);
            bytes += usize::from(page.live) * words * WORD;
        }
        assert_eq!((live, bytes), (self.live, self.live_bytes));
    }
}

impl Page {
    fn is_full(&self) -> bool {
        let words = class_words(usize::from(self.class));
        self.free == NO_PIECE && self.live > 0 && usize::from(self.fresh) + words > PAGE_WORDS
    }
}

/// The class of pieces that hold `len` bytes.
#[inline]
const fn class_of(len: usize) -> usize {
    let words = len.div_ceil(WORD);
    if words <= FINE_WORDS {
        return words;
    }
    let below = (words - 1).ilog2();
    let start = 1 << below;
    let step: usize = start >> 3;
    FINE_WORDS + (below as usize - 5) * 8 + (words - start).div_ceil(step)
}

/// Words of a piece of this class.
#[inline]
const fn class_words(class: usize) -> usize {
    if class <= FINE_WORDS {
        return class;
    }
    let coarse = class - FINE_WORDS - 1;
    let start = FINE_WORDS << (coarse / 8);
    start + (start >> 3) * (coarse % 8 + 1)
}

fn zeros(len: usize) -> Arc<[u8]> {
    std::iter::repeat_n(0, len).collect()
}

fn short(words: usize) -> u16 {
    u16::try_from(words).expect("a page has fewer words")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_hold_their_sizes_and_waste_little() {
        for len in 1..=PIECE_BYTES_MAX {
            let class = class_of(len);
            let size = class_words(class) * WORD;
            assert!(size >= len && class_words(class - 1) * WORD < len, "{len}");
            assert!(size <= (len + 3).max(len * 9 / 8), "{len} in {size}");
        }
    }

    #[test]
    fn an_emptied_arena_owns_nothing() {
        let mut arena = Arena::new();
        let pieces: Vec<Ref> = (0..50_000).map(|i| arena.alloc(8 + i % 1400)).collect();
        assert!(arena.memory_bytes() > 50_000 * 700);
        arena.check_invariants();
        for piece in pieces {
            arena.free(piece);
        }
        assert_eq!(arena.memory_bytes(), 0);
        arena.check_invariants();
    }

    #[test]
    fn freed_pages_serve_other_classes() {
        let mut arena = Arena::new();
        let small: Vec<Ref> = (0..100_000).map(|_| arena.alloc(8)).collect();
        let kept = arena.alloc(8);
        let before = arena.memory_bytes();
        for piece in small {
            arena.free(piece);
        }
        arena.check_invariants();
        assert!(arena.memory_bytes() < before / 4);
        let _large: Vec<Ref> = (0..1000).map(|_| arena.alloc(700)).collect();
        assert!(arena.memory_bytes() < before * 5 / 4);
        arena.free(kept);
        arena.check_invariants();
    }

    #[test]
    fn a_clone_stays_as_it_is() {
        let mut arena = Arena::new();
        let mut pieces: Vec<Ref> = (0..20_000)
            .map(|i| arena.alloc_copy(&[i as u8; 20]))
            .collect();
        let clone = arena.clone();
        for piece in pieces.drain(..10_000) {
            arena.free(piece);
        }
        for (i, piece) in pieces.iter().enumerate() {
            assert_eq!(clone.at(*piece)[..20], [(i + 10_000) as u8; 20]);
            arena.at_mut(*piece)[0] = 77;
            arena.alloc_copy(&[88; 20]);
            assert_eq!(clone.at(*piece)[..20], [(i + 10_000) as u8; 20]);
        }
        clone.check_invariants();
        arena.check_invariants();
    }

    #[test]
    fn few_pieces_cost_little() {
        let mut arena = Arena::new();
        for len in [10, 10, 20, 40, 100] {
            arena.alloc(len);
        }
        assert!(arena.memory_bytes() < 1500, "{}", arena.memory_bytes());
    }

    proptest! {
        #[test]
        fn pieces_keep_their_bytes(
            steps in prop::collection::vec((any::<u16>(), 1..PIECE_BYTES_MAX, any::<bool>()), 1..400),
        ) {
            let mut arena = Arena::new();
            let mut held: Vec<(Ref, Vec<u8>)> = Vec::new();
            for (i, (pick, len, takes)) in steps.into_iter().enumerate() {
                if takes || held.is_empty() {
                    let bytes = vec![i as u8; len];
                    held.push((arena.alloc_copy(&bytes), bytes));
                } else {
                    let (piece, bytes) = held.swap_remove(usize::from(pick) % held.len());
                    prop_assert_eq!(&arena.at(piece)[..bytes.len()], &bytes[..]);
                    arena.free(piece);
                }
                arena.check_invariants();
            }
            for (piece, bytes) in held {
                prop_assert_eq!(&arena.at(piece)[..bytes.len()], &bytes[..]);
            }
        }
    }
}
