//! Filters in a form that is followed byte by byte, many at a time.

use std::fmt;

use crate::subject::{is_valid, is_wildcard_token};

/// Subjects with or without wildcards; a subject is wanted if it matches any of them.
#[derive(Clone, Debug)]
pub struct Filters {
    /// The filters one after the other, each with an [`Op::End`].
    ops: Vec<Op>,
    /// Where each filter begins.
    starts: Vec<State>,
    /// What each filter begins with up to its first wildcard, and whether it has one.
    fronts: Vec<(Box<[u8]>, bool)>,
    /// Whether everything is wanted, without looking at it.
    everything: bool,
}

/// A filter is not a valid subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidFilter;

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid filter")
    }
}

impl std::error::Error for InvalidFilter {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    /// This byte.
    Literal(u8),
    /// One byte or more up to the next dot.
    Token,
    /// One byte or more up to the end.
    Rest,
    /// Nothing more.
    End,
}

/// How far a filter has been followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// The index of the next operation.
    op: u32,
    /// Whether a byte has been taken for it.
    begun: bool,
}

/// What is known after some bytes of a subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// No filter matches what begins like this.
    Nothing,
    /// Some may.
    Open,
    /// Whatever follows is matched.
    Everything,
}

/// Which bytes may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Any,
    /// This one is the first that some filter has; others may follow.
    From(u8),
    None,
}

impl Filters {
    /// Filters that are looked for together.
    ///
    /// # Errors
    /// If one of them is not a valid subject.
    pub fn new<'f>(filters: impl IntoIterator<Item = &'f [u8]>) -> Result<Filters, InvalidFilter> {
        let (mut ops, mut starts, mut fronts) = (Vec::new(), Vec::new(), Vec::new());
        for filter in filters {
            if !is_valid(filter) {
                return Err(InvalidFilter);
            }
            let op = u32::try_from(ops.len()).map_err(|_| InvalidFilter)?;
            starts.push(State { op, begun: false });
            for (i, token) in filter.split(|b| *b == b'.').enumerate() {
                if i > 0 {
                    ops.push(Op::Literal(b'.'));
                }
                match token {
                    b"*" => ops.push(Op::Token),
                    b">" => ops.push(Op::Rest),
                    _ => ops.extend(token.iter().map(|b| Op::Literal(*b))),
                }
            }
            ops.push(Op::End);
            let front = ops[op as usize..].iter().map_while(|op| match op {
                Op::Literal(byte) => Some(*byte),
                Op::Token | Op::Rest | Op::End => None,
            });
            let front: Box<[u8]> = front.collect();
            let is_wild = front.len() < filter.len();
            fronts.push((front, is_wild));
        }
        Ok(Filters {
            ops,
            starts,
            fronts,
            everything: false,
        })
    }

    /// What every subject matches, even the empty one.
    pub const fn all() -> Filters {
        Filters {
            ops: Vec::new(),
            starts: Vec::new(),
            fronts: Vec::new(),
            everything: true,
        }
    }

    /// Whether there is no filter, so that nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && !self.everything
    }

    /// Whether all subjects are wanted.
    pub(in crate::store) fn is_all(&self) -> bool {
        self.everything
    }

    /// Whether one of the filters matches this subject. Subjects have no empty tokens.
    #[inline]
    pub fn matches(&self, subject: &[u8]) -> bool {
        let mut fronts = self.fronts.iter().zip(&self.starts);
        self.everything
            || fronts.any(
                |((front, is_wild), start)| match subject.strip_prefix(&**front) {
                    None => false,
                    Some(rest) if !is_wild => rest.is_empty(),
                    // The front has an operation for each byte.
                    Some(rest) => {
                        let op = start.op + u32::try_from(front.len()).unwrap_or(u32::MAX);
                        self.one_matches(State { op, begun: false }, rest)
                    }
                },
            )
    }

    /// What each filter begins with up to its first wildcard, and whether it has one.
    pub(in crate::store) fn fronts(&self) -> impl Iterator<Item = (&[u8], bool)> {
        self.fronts
            .iter()
            .map(|(front, is_wild)| (&**front, *is_wild))
    }

    /// The states before the first byte.
    pub(super) fn starts(&self) -> &[State] {
        &self.starts
    }

    /// Follows the states from `from` on over `head` and `tail`, and puts those that remain behind
    /// them.
    pub(super) fn follow(
        &self,
        states: &mut Vec<State>,
        from: usize,
        [head, tail]: [&[u8]; 2],
    ) -> Fate {
        let end = states.len();
        for i in from..end {
            match self
                .follow_one(states[i], head)
                .then(|state| self.follow_one(state, tail))
            {
                Followed::Dead => {}
                Followed::At(state) => states.push(state),
                Followed::Everything => {
                    states.truncate(end);
                    return Fate::Everything;
                }
            }
        }
        if states.len() == end {
            Fate::Nothing
        } else {
            Fate::Open
        }
    }

    /// Whether a subject that ends with `head` and `tail` is matched from one of these states on.
    pub(super) fn any_accepts(&self, states: &[State], [head, tail]: [&[u8]; 2]) -> bool {
        states
            .iter()
            .any(|state| match self.follow_one(*state, head) {
                Followed::Dead => false,
                Followed::Everything => true,
                Followed::At(state) => self.one_matches(state, tail),
            })
    }

    /// The first byte at `from` or behind it that may come next.
    pub(super) fn wanted(&self, states: &[State], from: u8) -> Wanted {
        let mut first = Wanted::None;
        for state in states {
            match self.ops[state.op as usize] {
                Op::Literal(byte) if byte < from => {}
                Op::Literal(byte) => {
                    if !matches!(first, Wanted::From(other) if other <= byte) {
                        first = Wanted::From(byte);
                    }
                }
                Op::Token | Op::Rest => return Wanted::Any,
                Op::End => {}
            }
        }
        first
    }

    fn one_matches(&self, state: State, rest: &[u8]) -> bool {
        match self.follow_one(state, rest) {
            Followed::Dead => false,
            Followed::Everything => true,
            Followed::At(State { op, begun }) => match self.ops[op as usize] {
                Op::End => true,
                Op::Token => begun && self.ops[op as usize + 1] == Op::End,
                Op::Literal(_) | Op::Rest => false,
            },
        }
    }

    #[inline]
    fn follow_one(&self, mut state: State, bytes: &[u8]) -> Followed {
        for &byte in bytes {
            match self.ops[state.op as usize] {
                Op::Literal(literal) if literal == byte => state.op += 1,
                Op::Token if byte != b'.' => state.begun = true,
                // A dot is literal behind a token, if anything is.
                Op::Token if state.begun && self.ops[state.op as usize + 1] != Op::End => {
                    state = State {
                        op: state.op + 2,
                        begun: false,
                    };
                }
                Op::Rest => return Followed::Everything,
                Op::Literal(_) | Op::Token | Op::End => return Followed::Dead,
            }
        }
        Followed::At(state)
    }
}

enum Followed {
    Dead,
    At(State),
    Everything,
}

impl Followed {
    fn then(self, next: impl FnOnce(State) -> Followed) -> Followed {
        match self {
            Followed::At(state) => next(state),
            decided => decided,
        }
    }
}

/// The filter as a subject, if it has no wildcard.
pub fn as_literal(filter: &[u8]) -> Option<&[u8]> {
    let wild = filter.split(|b| *b == b'.').any(is_wildcard_token);
    (!wild).then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::pattern;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = String> {
        let tokens = prop::collection::vec(prop::sample::select(vec!["a", "ab", "*", "a*"]), 0..3);
        (tokens, prop::sample::select(vec!["a", "b", "*", ">", ">a"])).prop_map(
            |(mut tokens, last)| {
                tokens.push(last);
                tokens.join(".")
            },
        )
    }

    #[test]
    fn invalid_filters_are_refused() {
        for bad in ["", "a..b", "a.>.b", "a b"] {
            assert_eq!(Filters::new([bad.as_bytes()]).err(), Some(InvalidFilter));
        }
        assert!(Filters::new([]).unwrap().is_empty());
        assert_eq!(as_literal(b"a.b*"), Some(&b"a.b*"[..]));
        assert_eq!(as_literal(b"a.*"), None);
    }

    proptest! {
        #[test]
        fn matching_is_that_of_subscriptions(
            filters in prop::collection::vec(filter(), 1..4),
            subject in "(a|ab|b|[*>])(\\.(a|ab|b|bb|>)){0,3}",
            cut: prop::sample::Index,
        ) {
            let subject = subject.as_bytes();
            let compiled = Filters::new(filters.iter().map(|f| f.as_bytes())).unwrap();
            let expected = filters.iter().any(|f| pattern::matches(f.as_bytes(), subject));
            prop_assert_eq!(compiled.matches(subject), expected);
            // The same in two pieces.
            let (head, tail) = subject.split_at(cut.index(subject.len()));
            let mut states = compiled.starts().to_vec();
            let before = states.len();
            let fate = compiled.follow(&mut states, 0, [b"", head]);
            let states = &states[before..];
            let matched = match fate {
                Fate::Nothing => false,
                Fate::Everything => true,
                Fate::Open => compiled.any_accepts(states, [&tail[..1], &tail[1..]]),
            };
            prop_assert_eq!(matched, expected);
            if fate == Fate::Open && expected {
                let wanted = compiled.wanted(states, tail[0]);
                prop_assert!(matches!(wanted, Wanted::Any) || wanted == Wanted::From(tail[0]));
            }
        }
    }
}
