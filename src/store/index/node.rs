//! The bytes of the tree's nodes.
//!
//! A leaf stands for a subject:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: 0x80, with the bits `MULTI`, `WIDE`, `FIRST_INEXACT`, `LAST_INEXACT`, `SIZED` |
//! | 1 | bytes of the rest |
//! | 6, 8, 16 or 24 | the entry: sequence number, or first, last and count; narrow or wide |
//! | 4 | if it is `SIZED`: bytes of the only message |
//! | n | the rest of the subject, behind the byte that led here |
//!
//! An inner node stands for the beginning that several subjects have in common:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: an index into `CAPACITIES`, or `BY_BYTE`; with the bit `HAS_END` |
//! | 1 | bytes of the prefix |
//! | 2 | children |
//! | n | the prefix, behind the byte that led here |
//! | c | the bytes that lead to the children, ascending; c is the capacity |
//! | 4c | the references to them, in the same order |
//!
//! The subject that ends at a node is its *end*: a leaf with an empty rest, which is the first
//! child if there is one (`HAS_END`); its byte means nothing. A node of kind `BY_BYTE` has no
//! bytes, but 256 references, and one more for the end.
//!
//! Pieces of subjects are up to 255 bytes long. What is longer is cut by nodes with one child, which
//! may stay when it goes.

use super::arena::Ref;
use super::entry::SubjectEntry;
use super::units::StreamSeq;

/// Bytes of the longest prefix or rest.
pub(super) const PART_BYTES_MAX: usize = 255;

const LEAF: u8 = 0x80;
const MULTI: u8 = 0x01;
const WIDE: u8 = 0x02;
const FIRST_INEXACT: u8 = 0x04;
const LAST_INEXACT: u8 = 0x08;
const SIZED: u8 = 0x10;

const HAS_END: u8 = 0x40;
const KIND: u8 = 0x1f;
/// How many children nodes have place for, those with more than the last being `BY_BYTE`.
const CAPACITIES: [usize; 13] = [1, 2, 3, 4, 6, 8, 10, 13, 16, 24, 32, 48, 64];
const BY_BYTE: u8 = 0x1f;
const BY_BYTE_CAPACITY: usize = 257;
const INNER_HEAD: usize = 4;
const LEAF_HEAD: usize = 2;

/// The first sequence number that is wide, and the first such count.
const WIDE_SEQ: u64 = 1 << 48;
const WIDE_COUNT: u64 = 1 << 32;

/// Children's bytes that are compared at once.
const WINDOW: usize = 16;

const _: () = assert!(
    INNER_HEAD + PART_BYTES_MAX + 4 * BY_BYTE_CAPACITY <= super::arena::PIECE_BYTES_MAX,
    "every node is a piece of the arena"
);

pub(super) fn is_leaf(bytes: &[u8]) -> bool {
    bytes[0] & LEAF != 0
}

/// A leaf, read.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'a> {
    kind: u8,
    rest_len: usize,
    bytes: &'a [u8],
}

impl<'a> Leaf<'a> {
    /// Reads the leaf that `bytes` begin with.
    #[inline]
    pub(super) fn read(bytes: &'a [u8]) -> Leaf<'a> {
        debug_assert!(is_leaf(bytes));
        Leaf {
            kind: bytes[0],
            rest_len: usize::from(bytes[1]),
            bytes,
        }
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        let start = LEAF_HEAD + entry_bytes(self.kind);
        &self.bytes[start..start + self.rest_len]
    }

    #[inline]
    pub(super) fn entry(&self) -> SubjectEntry {
        let b = &self.bytes[LEAF_HEAD..];
        if self.kind & MULTI == 0 {
            let seq = if self.kind & WIDE == 0 {
                six(b)
            } else {
                eight(b)
            };
            let size = if self.kind & SIZED == 0 {
                0
            } else {
                let at = entry_bytes(self.kind) - 4;
                u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
            };
            return SubjectEntry::single_of(StreamSeq(seq), size);
        }
        let (first, last, count) = if self.kind & WIDE == 0 {
            let count = u32::from_le_bytes([b[12], b[13], b[14], b[15]]);
            (six(b), six(&b[6..]), u64::from(count))
        } else {
            (eight(b), eight(&b[8..]), eight(&b[16..]))
        };
        SubjectEntry {
            first,
            last,
            count,
            first_exact: self.kind & FIRST_INEXACT == 0,
            last_exact: self.kind & LAST_INEXACT == 0,
            bytes: 0,
        }
    }

    /// Bytes of the leaf.
    pub(super) fn len(&self) -> usize {
        leaf_bytes(self.kind, self.rest_len)
    }
}

/// Bytes of a leaf for this entry.
pub(super) fn leaf_len(entry: &SubjectEntry, rest: &[u8]) -> usize {
    leaf_bytes(leaf_kind(entry), rest.len())
}

/// Writes a leaf, into bytes that are long enough.
pub(super) fn write_leaf(out: &mut [u8], entry: &SubjectEntry, rest: &[u8]) {
    write_entry(out, entry);
    out[1] = part_len(rest);
    let start = LEAF_HEAD + entry_bytes(out[0]);
    out[start..start + rest.len()].copy_from_slice(rest);
}

/// Puts another entry into a leaf if it takes as many bytes as the old one.
pub(super) fn replace_entry(leaf: &mut [u8], entry: &SubjectEntry) -> bool {
    let fits = entry_bytes(leaf[0]) == entry_bytes(leaf_kind(entry));
    if fits {
        write_entry(leaf, entry);
    }
    fits
}

fn write_entry(out: &mut [u8], entry: &SubjectEntry) {
    let kind = leaf_kind(entry);
    out[0] = kind;
    let b = &mut out[LEAF_HEAD..];
    let (first, last) = (entry.first.to_le_bytes(), entry.last.to_le_bytes());
    match (kind & MULTI != 0, kind & WIDE != 0) {
        (false, false) => b[..6].copy_from_slice(&first[..6]),
        (false, true) => b[..8].copy_from_slice(&first),
        (true, false) => {
            b[..6].copy_from_slice(&first[..6]);
            b[6..12].copy_from_slice(&last[..6]);
            b[12..16].copy_from_slice(&entry.count.to_le_bytes()[..4]);
        }
        (true, true) => {
            b[..8].copy_from_slice(&first);
            b[8..16].copy_from_slice(&last);
            b[16..24].copy_from_slice(&entry.count.to_le_bytes());
        }
    }
    if kind & SIZED != 0 {
        let at = entry_bytes(kind) - 4;
        b[at..at + 4].copy_from_slice(&entry.bytes.to_le_bytes());
    }
}

fn leaf_kind(entry: &SubjectEntry) -> u8 {
    let bit = |on: bool, bit: u8| if on { bit } else { 0 };
    LEAF | bit(!entry.is_single(), MULTI)
        | bit(entry.last >= WIDE_SEQ || entry.count >= WIDE_COUNT, WIDE)
        | bit(!entry.first_exact, FIRST_INEXACT)
        | bit(!entry.last_exact, LAST_INEXACT)
        | bit(entry.bytes != 0 && entry.is_single(), SIZED)
}

#[inline]
fn entry_bytes(kind: u8) -> usize {
    [6, 16, 8, 24][usize::from(kind & (MULTI | WIDE))] + usize::from(kind & SIZED) / 4
}

const _: () = assert!(SIZED / 4 == 4, "the size has four bytes");

fn leaf_bytes(kind: u8, rest_len: usize) -> usize {
    LEAF_HEAD + entry_bytes(kind) + rest_len
}

#[inline]
fn six(b: &[u8]) -> u64 {
    u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], 0, 0])
}

#[inline]
fn eight(b: &[u8]) -> u64 {
    u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
}

/// What leads from an inner node to a child: the end, or a byte. The end is first in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    End,
    Byte(u8),
}

impl Step {
    /// The step to where `rest` leads, and what is left of it then.
    #[inline]
    pub(super) fn into_rest(rest: &[u8]) -> (Step, &[u8]) {
        match rest.split_first() {
            None => (Step::End, rest),
            Some((byte, rest)) => (Step::Byte(*byte), rest),
        }
    }

    /// The byte, or none.
    pub(super) fn byte(&self) -> Option<u8> {
        match *self {
            Step::End => None,
            Step::Byte(byte) => Some(byte),
        }
    }

    /// The next step in order, or `None` behind the last.
    pub(super) fn next(self) -> Option<Step> {
        match self {
            Step::End => Some(Step::Byte(0)),
            Step::Byte(byte) => byte.checked_add(1).map(Step::Byte),
        }
    }
}

/// An inner node, read.
#[derive(Clone, Copy)]
pub(super) struct Inner<'a> {
    kind: u8,
    prefix_len: usize,
    children: usize,
    bytes: &'a [u8],
}

impl<'a> Inner<'a> {
    /// Reads the inner node that `bytes` begin with.
    #[inline]
    pub(super) fn read(bytes: &'a [u8]) -> Inner<'a> {
        debug_assert!(!is_leaf(bytes));
        Inner {
            kind: bytes[0],
            prefix_len: usize::from(bytes[1]),
            children: usize::from(u16::from_le_bytes([bytes[2], bytes[3]])),
            bytes,
        }
    }

    #[inline]
    pub(super) fn prefix(&self) -> &'a [u8] {
        &self.bytes[INNER_HEAD..INNER_HEAD + self.prefix_len]
    }

    /// How many children there are, the end among them.
    pub(super) fn children(&self) -> usize {
        self.children
    }

    /// Where the reference to a child stands, in bytes from the node's start.
    #[inline]
    pub(super) fn slot(&self, step: Step) -> Option<usize> {
        let index = if self.is_by_byte() {
            let index = by_byte_index(step);
            if self.reference(index).is_none() {
                return None;
            }
            index
        } else {
            match step {
                Step::End if self.has_end() => 0,
                Step::End => return None,
                Step::Byte(byte) => self.index_of(byte)?,
            }
        };
        Some(self.refs_at() + 4 * index)
    }

    /// The child that a step leads to.
    #[inline]
    pub(super) fn child(&self, step: Step) -> Option<Ref> {
        self.slot(step).map(|slot| read_ref(self.bytes, slot))
    }

    /// The first child at `from` or behind it.
    pub(super) fn child_from(&self, from: Step) -> Option<(Step, Ref)> {
        if from == Step::End && self.has_end() {
            return self.child(Step::End).map(|child| (Step::End, child));
        }
        let from = match from {
            Step::End => 0,
            Step::Byte(byte) => byte,
        };
        if self.is_by_byte() {
            return (from..=255).find_map(|byte| {
                let child = self.reference(usize::from(byte));
                (!child.is_none()).then_some((Step::Byte(byte), child))
            });
        }
        let index = self.lower_bound(from);
        let byte = *self.keys().get(index)?;
        Some((Step::Byte(byte), self.reference(index)))
    }

    /// The first child in the places from `at` on, which are in order from 0, and the place behind it.
    #[inline]
    pub(super) fn child_at(&self, at: usize) -> Option<(Step, Ref, usize)> {
        if self.is_by_byte() {
            return (at..BY_BYTE_CAPACITY).find_map(|at| {
                let step = match at.checked_sub(1) {
                    None => Step::End,
                    Some(byte) => Step::Byte(u8::try_from(byte).ok()?),
                };
                let child = self.reference(by_byte_index(step));
                (!child.is_none()).then_some((step, child, at + 1))
            });
        }
        let byte = *self.keys().get(at)?;
        let step = match at == 0 && self.has_end() {
            true => Step::End,
            false => Step::Byte(byte),
        };
        Some((step, self.reference(at), at + 1))
    }

    pub(super) fn has_end(&self) -> bool {
        self.kind & HAS_END != 0
    }

    fn is_by_byte(&self) -> bool {
        self.kind & KIND == BY_BYTE
    }

    fn keys_at(&self) -> usize {
        INNER_HEAD + self.prefix_len
    }

    fn refs_at(&self) -> usize {
        self.keys_at() + keys_bytes(self.kind)
    }

    /// The children's bytes, that of the end among them.
    #[inline]
    fn keys(&self) -> &'a [u8] {
        let at = self.keys_at();
        &self.bytes[at..at + self.children]
    }

    #[inline]
    fn reference(&self, index: usize) -> Ref {
        read_ref(self.bytes, self.refs_at() + 4 * index)
    }

    /// The index of the child with this byte, the end aside. Which of few it is is found without a branch
    /// for each: nobody could tell beforehand which of them is taken.
    #[inline]
    fn index_of(&self, byte: u8) -> Option<usize> {
        let skipped = usize::from(self.has_end());
        let at = self.keys_at() + skipped;
        let keys = self.children - skipped;
        if let Some(window) = self.bytes.get(at..at + WINDOW)
            && keys <= WINDOW
        {
            let bits = window.iter().enumerate();
            let found = bits.fold(0, |all, (n, key)| all | u32::from(*key == byte) << n);
            let found = found & ((1 << keys) - 1);
            return (found != 0).then(|| skipped + found.trailing_zeros() as usize);
        }
        let index = self.lower_bound(byte);
        (*self.keys().get(index)? == byte).then_some(index)
    }

    /// The index of the first child, the end aside, whose byte is `byte` or more.
    #[inline]
    fn lower_bound(&self, byte: u8) -> usize {
        let skipped = usize::from(self.has_end());
        let keys = &self.keys()[skipped..];
        skipped
            + if keys.len() <= 12 {
                keys.iter()
                    .position(|key| *key >= byte)
                    .unwrap_or(keys.len())
            } else {
                keys.partition_point(|key| *key < byte)
            }
    }
}

/// Makes an inner node, in a buffer that is used again, of a prefix and children in order.
pub(super) fn build_inner<'a>(
    out: &'a mut Vec<u8>,
    prefix: &[u8],
    children: impl ExactSizeIterator<Item = (Step, Ref)>,
) -> &'a [u8] {
    let count = children.len();
    let kind = kind_for(count);
    out.clear();
    out.resize(inner_bytes(kind, prefix.len()), 0);
    out[0] = kind;
    out[1] = part_len(prefix);
    out[2..4].copy_from_slice(&count_bytes(count));
    out[INNER_HEAD..INNER_HEAD + prefix.len()].copy_from_slice(prefix);
    let keys = INNER_HEAD + prefix.len();
    let refs = keys + keys_bytes(kind);
    for (i, (step, child)) in children.enumerate() {
        let index = if kind == BY_BYTE {
            by_byte_index(step)
        } else {
            i
        };
        match step {
            Step::End => out[0] |= HAS_END,
            Step::Byte(byte) if kind != BY_BYTE => out[keys + i] = byte,
            Step::Byte(_) => {}
        }
        write_ref(out, refs + 4 * index, child);
    }
    out
}

/// Adds a child, which is not there yet, in place; false if there is no room.
pub(super) fn add_child(node: &mut [u8], step: Step, child: Ref) -> bool {
    let inner = Inner::read(node);
    let (kind, count, keys, refs) = (inner.kind, inner.children, inner.keys_at(), inner.refs_at());
    if count == capacity(kind) {
        return false;
    }
    if kind & KIND == BY_BYTE {
        write_ref(node, refs + 4 * by_byte_index(step), child);
    } else {
        let index = match step {
            Step::End => 0,
            Step::Byte(byte) => inner.lower_bound(byte),
        };
        node.copy_within(keys + index..keys + count, keys + index + 1);
        node.copy_within(refs + 4 * index..refs + 4 * count, refs + 4 * index + 4);
        if let Step::Byte(byte) = step {
            node[keys + index] = byte;
        }
        write_ref(node, refs + 4 * index, child);
    }
    if step == Step::End {
        node[0] |= HAS_END;
    }
    node[2..4].copy_from_slice(&count_bytes(count + 1));
    true
}

/// Takes out a child, which is there. Gives whether so few are left that a smaller node would do.
pub(super) fn remove_child(node: &mut [u8], step: Step) -> bool {
    let inner = Inner::read(node);
    let (kind, count, keys, refs) = (inner.kind, inner.children, inner.keys_at(), inner.refs_at());
    let slot = inner.slot(step).expect("the child is there");
    if kind & KIND == BY_BYTE {
        write_ref(node, slot, Ref::NONE);
    } else {
        let index = (slot - refs) / 4;
        node.copy_within(keys + index + 1..keys + count, keys + index);
        node.copy_within(refs + 4 * index + 4..refs + 4 * count, refs + 4 * index);
    }
    if step == Step::End {
        node[0] &= !HAS_END;
    }
    node[2..4].copy_from_slice(&count_bytes(count - 1));
    has_excess(kind, count - 1)
}

/// Whether a node of this kind is so large for its children that it is to be replaced. There is a
/// gap to the size at which it grows again.
fn has_excess(kind: u8, children: usize) -> bool {
    match kind & KIND {
        BY_BYTE => children <= CAPACITIES[CAPACITIES.len() - 2],
        0 => false,
        kind => children <= CAPACITIES[usize::from(kind) - 1] * 7 / 8,
    }
}

/// All children of a node, in order.
pub(super) fn children(inner: Inner<'_>) -> impl Iterator<Item = (Step, Ref)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (step, child, behind) = inner.child_at(at)?;
        at = behind;
        Some((step, child))
    })
}

#[inline]
pub(super) fn read_ref(bytes: &[u8], at: usize) -> Ref {
    Ref::from_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn write_ref(bytes: &mut [u8], at: usize, to: Ref) {
    bytes[at..at + 4].copy_from_slice(&to.to_bytes());
}

fn by_byte_index(step: Step) -> usize {
    match step {
        Step::End => 256,
        Step::Byte(byte) => usize::from(byte),
    }
}

/// The smallest kind of node for this many children.
fn kind_for(children: usize) -> u8 {
    let index = CAPACITIES.iter().position(|capacity| *capacity >= children);
    index
        .and_then(|index| u8::try_from(index).ok())
        .unwrap_or(BY_BYTE)
}

#[inline]
fn capacity(kind: u8) -> usize {
    match kind & KIND {
        BY_BYTE => BY_BYTE_CAPACITY,
        kind => CAPACITIES[usize::from(kind)],
    }
}

#[inline]
fn keys_bytes(kind: u8) -> usize {
    match kind & KIND {
        BY_BYTE => 0,
        kind => CAPACITIES[usize::from(kind)],
    }
}

fn inner_bytes(kind: u8, prefix_len: usize) -> usize {
    INNER_HEAD + prefix_len + keys_bytes(kind) + 4 * capacity(kind)
}

fn part_len(part: &[u8]) -> u8 {
    u8::try_from(part.len()).expect("longer parts are cut")
}

fn count_bytes(children: usize) -> [u8; 2] {
    u16::try_from(children)
        .expect("there are 257 at most")
        .to_le_bytes()
}
