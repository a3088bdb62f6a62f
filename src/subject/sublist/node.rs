//! The records of the trie: nodes, the tokens in them, and subscriptions.

use std::num::NonZeroU32;

use super::SubId;
use super::queues::QueueId;

/// The longest token that is kept in its node.
pub(super) const INLINE_MAX: usize = 15;

/// Marks a token that is kept apart, at the index that the node holds instead.
const LONG: u8 = u8::MAX;

/// The address of a node: its index in the arena plus one, below `NodeId::LIMIT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeId(NonZeroU32);

impl NodeId {
    pub(super) const ROOT: NodeId = NodeId(NonZeroU32::MIN);

    /// `Children` and `Place` need one bit of their 32 for themselves.
    const LIMIT: u32 = 1 << 31;

    /// # Panics
    /// When a list has two billion nodes, which would take 72 GiB.
    pub(super) fn from_index(index: u32) -> NodeId {
        match NonZeroU32::new(index.wrapping_add(1)) {
            Some(id) if id.get() < NodeId::LIMIT => NodeId(id),
            _ => panic!("too many nodes in a subscription list"),
        }
    }

    #[inline]
    pub(super) fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// The place of one token below its parent's place.
pub(super) struct Node {
    /// The root is its own parent.
    pub(super) parent: NodeId,
    /// The first subscription whose subject ends here.
    pub(super) first: Option<SubId>,
    /// The first subscription whose subject ends with a `>` below here.
    pub(super) first_rest: Option<SubId>,
    /// The child for the token `*`.
    pub(super) star: Option<NodeId>,
    /// The children for all other tokens.
    pub(super) literals: Literals,
    pub(super) token: Token,
}

const _: () = assert!(size_of::<Node>() == 36);

impl Node {
    pub(super) fn new(parent: NodeId, token: Token) -> Node {
        Node {
            parent,
            first: None,
            first_rest: None,
            star: None,
            literals: Literals::NONE,
            token,
        }
    }

    /// Whether no subscription needs this node.
    pub(super) fn is_vacant(&self) -> bool {
        self.first.is_none()
            && self.first_rest.is_none()
            && self.star.is_none()
            && self.literals == Literals::NONE
    }
}

/// What a node knows of its literal children, in 32 bits.
///
/// An only child is named here and has no edge. When a second one comes, both get edges in the
/// edge table, and the node counts them until the last goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Literals(u32);

/// [`Literals`], unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LiteralChildren {
    None,
    Only(NodeId),
    /// At least one; all of them have edges.
    Edges(u32),
}

impl Literals {
    pub(super) const NONE: Literals = Literals(0);
    const COUNTED: u32 = NodeId::LIMIT;

    pub(super) fn only(child: NodeId) -> Literals {
        Literals(child.0.get())
    }

    pub(super) fn edges(count: u32) -> Literals {
        if count == 0 {
            Literals::NONE
        } else {
            Literals(count | Literals::COUNTED)
        }
    }

    #[inline]
    pub(super) fn children(self) -> LiteralChildren {
        if self.0 & Literals::COUNTED != 0 {
            return LiteralChildren::Edges(self.0 & !Literals::COUNTED);
        }
        match NonZeroU32::new(self.0) {
            Some(id) => LiteralChildren::Only(NodeId(id)),
            None => LiteralChildren::None,
        }
    }
}

/// A token to look for.
///
/// A short one is a number: its length in the lowest byte, then its bytes, then zeros; so it is
/// compared and hashed at once, without loops over its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key<'a> {
    Short(u128),
    Long(&'a [u8]),
}

impl Key<'_> {
    #[inline]
    pub(super) fn new(token: &[u8]) -> Key<'_> {
        match short_number(token) {
            Some(number) => Key::Short(number),
            None => Key::Long(token),
        }
    }
}

/// The number of a short token; `None` if `bytes` are too many.
///
/// The bytes are read by words that may overlap, as their copies would have to be read again
/// before they are written.
#[inline]
fn short_number(bytes: &[u8]) -> Option<u128> {
    let len = bytes.len();
    let number = match len {
        0 => 0,
        1..4 => {
            let (middle, last) = (len / 2, len - 1);
            u128::from(bytes[0])
                | u128::from(bytes[middle]) << (8 * middle)
                | u128::from(bytes[last]) << (8 * last)
        }
        4..8 => {
            let (first, last) = (bytes.first_chunk()?, bytes.last_chunk()?);
            let high = u64::from(u32::from_le_bytes(*last)) << (8 * (len - 4));
            u128::from(u64::from(u32::from_le_bytes(*first)) | high)
        }
        8..=INLINE_MAX => {
            let (first, last) = (bytes.first_chunk()?, bytes.last_chunk()?);
            let high = u128::from(u64::from_le_bytes(*last)) << (8 * (len - 8));
            u128::from(u64::from_le_bytes(*first)) | high
        }
        _ => return None,
    };
    Some(number << 8 | len as u128)
}

/// A token as nodes hold it: the number of a short one, or the index of a long one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token([u8; 1 + INLINE_MAX]);

impl Token {
    /// The root's.
    pub(super) const EMPTY: Token = Token::short(0);
    pub(super) const STAR: Token = Token::short((b'*' as u128) << 8 | 1);

    /// The token of `Key::Short(number)`.
    #[inline]
    pub(super) const fn short(number: u128) -> Token {
        Token(number.to_le_bytes())
    }

    /// The token whose bytes are kept at `index`.
    pub(super) const fn long(index: u32) -> Token {
        Token::short((index as u128) << 8 | LONG as u128)
    }

    /// What [`Token::short`] was given; another number if the token is long.
    #[inline]
    pub(super) const fn number(self) -> u128 {
        u128::from_le_bytes(self.0)
    }

    /// The bytes of a short token, or the index of a long one.
    #[inline]
    pub(super) fn content(&self) -> Result<&[u8], u32> {
        let [len, bytes @ ..] = &self.0;
        match bytes.get(..usize::from(*len)) {
            Some(bytes) => Ok(bytes),
            None => Err(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        }
    }
}

/// A subscription; it is in one of the two lists of one node.
pub(super) struct Sub<T> {
    pub(super) place: Place,
    pub(super) next: Option<SubId>,
    /// `None` for the first of its list.
    pub(super) prev: Option<SubId>,
    pub(super) queue: Option<QueueId>,
    pub(super) value: T,
}

/// A list of subscriptions: a node's id times two, plus one for the list behind its `>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(NonZeroU32);

impl Place {
    pub(super) fn new(node: NodeId, rest: bool) -> Place {
        Place(node.0.saturating_mul(TWO) | u32::from(rest))
    }

    pub(super) fn node(self) -> NodeId {
        NodeId(NonZeroU32::new(self.0.get() >> 1).expect("a place is at least two"))
    }

    pub(super) fn is_rest(self) -> bool {
        self.0.get() & 1 == 1
    }
}

const TWO: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_up_to_fifteen_bytes_are_inline() {
        let bytes = b"0123456789abcdef";
        for len in 0..=INLINE_MAX {
            let Key::Short(number) = Key::new(&bytes[..len]) else {
                panic!("{len} bytes")
            };
            assert_eq!(Token::short(number).content(), Ok(&bytes[..len]));
            assert_eq!(Token::short(number).number(), number);
        }
        assert_eq!(Key::new(bytes), Key::Long(bytes));
        assert_eq!(Key::new(&[0; 300]), Key::Long(&[0; 300]));
        assert_eq!(Token::long(77).content(), Err(77));
        assert_eq!(Token::long(u32::MAX).content(), Err(u32::MAX));
        assert_ne!(Key::new(b"a\0"), Key::new(b"a"));
        assert_eq!(Key::new(b"*"), Key::Short(Token::STAR.number()));
        assert_eq!(Key::new(b""), Key::Short(Token::EMPTY.number()));
    }

    #[test]
    fn packed_fields_keep_what_they_are_given() {
        let last = NodeId::from_index(NodeId::LIMIT - 2);
        for node in [NodeId::ROOT, NodeId::from_index(5), last] {
            assert_eq!(Literals::only(node).children(), LiteralChildren::Only(node));
            for rest in [false, true] {
                let place = Place::new(node, rest);
                assert_eq!((place.node(), place.is_rest()), (node, rest));
            }
        }
        assert_eq!(Literals::edges(0), Literals::NONE);
        assert_eq!(Literals::NONE.children(), LiteralChildren::None);
        assert_eq!(Literals::edges(3).children(), LiteralChildren::Edges(3));
    }

    #[test]
    #[should_panic(expected = "too many nodes")]
    fn nodes_have_a_limit() {
        NodeId::from_index(NodeId::LIMIT - 1);
    }
}
