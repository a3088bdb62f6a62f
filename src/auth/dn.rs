//! Distinguished names: those of certificates, and those that users are named by
//! (RFC 4514, which replaced RFC 2253).

use std::fmt;

/// A distinguished name, the most specific part first, as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dn {
    rdns: Vec<Rdn>,
}

/// One part of it: an attribute, or several in no order.
#[derive(Clone, Debug)]
pub(super) struct Rdn(pub(super) Vec<Attribute>);

/// What an attribute is called, as in [`ATTRIBUTES`], and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// The attributes that names may have, by object identifier.
pub(super) const ATTRIBUTES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.17", "POSTALCODE"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// Why a text is no distinguished name.
#[derive(Debug, PartialEq, Eq)]
pub enum DnError {
    Empty,
    /// A part has no attribute name, or no value behind it.
    Incomplete,
    /// No attribute is called so.
    UnknownAttribute(String),
    /// A backslash stands before something that is neither special nor two hexadecimal digits.
    Escape,
    /// The value is given as `#` and hexadecimal BER.
    Encoded,
    /// What the escapes stand for is not UTF-8.
    NotText,
}

impl fmt::Display for DnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnError::Empty => f.write_str("the name is empty"),
            DnError::Incomplete => f.write_str("incomplete type, value pair"),
            DnError::UnknownAttribute(name) => write!(f, "unknown attribute {name:?}"),
            DnError::Escape => f.write_str("corrupted escaped character"),
            DnError::Encoded => f.write_str("unsupported BER encoding"),
            DnError::NotText => f.write_str("a value is not UTF-8"),
        }
    }
}

impl std::error::Error for DnError {}

impl Dn {
    /// Reads a name as people write it: `CN=example.com,OU=CNCF`.
    ///
    /// # Errors
    /// The text is not of this form. As in the reference, what RFC 4514 wants escaped inside a
    /// value, save `,` `+` and `\`, may also stand for itself.
    pub fn parse(text: &str) -> Result<Dn, DnError> {
        let mut rest = text.as_bytes();
        let mut dn = Dn { rdns: Vec::new() };
        let mut attributes = Vec::new();
        if text.trim_matches(' ').is_empty() {
            return Err(DnError::Empty);
        }
        loop {
            let equals = rest.iter().position(|b| matches!(b, b'=' | b',' | b'+'));
            let equals = equals.filter(|at| rest[*at] == b'=');
            let (name, value) = rest.split_at(equals.ok_or(DnError::Incomplete)?);
            let name = attribute_name(name)?;
            let (value, end) = parse_value(&value[1..])?;
            attributes.push(Attribute { name, value });
            match end.split_first() {
                Some((b'+', more)) => rest = more,
                Some((_, more)) => {
                    dn.rdns.push(Rdn(std::mem::take(&mut attributes)));
                    rest = more;
                }
                None => {
                    dn.rdns.push(Rdn(attributes));
                    return Ok(dn);
                }
            }
        }
    }

    /// The name with these parts, the most specific first; None if there are none.
    pub(super) fn new(rdns: Vec<Rdn>) -> Option<Dn> {
        (!rdns.is_empty()).then_some(Dn { rdns })
    }

    /// Whether both names have the same parts, in whatever order.
    pub fn has_same_parts(&self, other: &Dn) -> bool {
        is_permutation(&self.rdns, &other.rdns)
    }
}

impl PartialEq for Rdn {
    fn eq(&self, other: &Rdn) -> bool {
        is_permutation(&self.0, &other.0)
    }
}

impl Eq for Rdn {}

/// Whether one list holds what the other holds, each as many times.
fn is_permutation<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    let mut taken = vec![false; b.len()];
    a.len() == b.len()
        && a.iter().all(|x| {
            let free = (0..b.len()).find(|i| !taken[*i] && b[*i] == *x);
            free.is_some_and(|i| !std::mem::replace(&mut taken[i], true))
        })
}

fn attribute_name(text: &[u8]) -> Result<&'static str, DnError> {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_matches(' ');
    if text.is_empty() {
        return Err(DnError::Incomplete);
    }
    let known = ATTRIBUTES.iter().map(|(_, name)| *name);
    let mut same = known.filter(|name| name.eq_ignore_ascii_case(text));
    same.next()
        .ok_or_else(|| DnError::UnknownAttribute(text.to_owned()))
}

/// A value, and what follows it: a separator, or nothing.
fn parse_value(text: &[u8]) -> Result<(String, &[u8]), DnError> {
    if text.first() == Some(&b'#') {
        return Err(DnError::Encoded);
    }
    let mut value = Vec::new();
    // Blanks count only if something follows them, or if they are escaped.
    let mut blanks = 0;
    let mut i = 0;
    while let Some(byte) = text.get(i).filter(|b| !matches!(b, b',' | b'+')) {
        i += 1;
        if *byte == b' ' {
            blanks += 1;
            continue;
        }
        if !value.is_empty() {
            value.resize(value.len() + blanks, b' ');
        }
        blanks = 0;
        if *byte != b'\\' {
            value.push(*byte);
            continue;
        }
        match text.get(i).ok_or(DnError::Escape)? {
            special @ (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\') => {
                value.push(*special);
                i += 1;
            }
            _ => {
                let digit = |at: usize| {
                    let digit = text.get(at).and_then(|b| char::from(*b).to_digit(16));
                    digit.and_then(|d| u8::try_from(d).ok())
                };
                let pair = digit(i).zip(digit(i + 1));
                let (high, low) = pair.ok_or(DnError::Escape)?;
                value.push(high << 4 | low);
                i += 2;
            }
        }
    }
    let value = String::from_utf8(value).map_err(|_| DnError::NotText)?;
    Ok((value, &text[i..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap()
    }

    fn one(name: &'static str, value: &str) -> Dn {
        let value = value.into();
        Dn::new(vec![Rdn(vec![Attribute { name, value }])]).unwrap()
    }

    #[test]
    fn names_as_people_write_them() {
        assert_eq!(dn("CN=a,OU=b"), dn("cn = a , Ou=b "));
        assert_ne!(dn("CN=a,OU=b"), dn("OU=b,CN=a"));
        assert_ne!(dn("CN=a"), dn("CN=A"));
        assert!(dn("CN=a,OU=b").has_same_parts(&dn("OU=b,CN=a")));
        assert_eq!(dn("CN=a+OU=b,O=c"), dn("OU=b+CN=a,O=c"));
        assert_ne!(dn("CN=a+OU=b,O=c"), dn("CN=a,OU=b,O=c"));
        assert!(!dn("CN=a,CN=a,CN=b").has_same_parts(&dn("CN=a,CN=b,CN=b")));
        assert_ne!(dn("CN=a+CN=a+CN=b"), dn("CN=a+CN=b+CN=b"));
    }

    #[test]
    fn examples_of_rfc_4514() {
        assert_eq!(
            dn(r#"CN=James \"Jim\" Smith\, III"#),
            one("CN", "James \"Jim\" Smith, III")
        );
        assert_eq!(dn(r"CN=Before\0dAfter"), one("CN", "Before\rAfter"));
        assert_eq!(dn(r"CN=Lu\C4\8Di\C4\87"), one("CN", "Lučić"));
        assert_eq!(dn(r"CN=\  a \ "), one("CN", "  a  "));
        assert_eq!(dn(r"CN=\#a=b"), one("CN", "#a=b"));
        assert_eq!(dn("CN="), one("CN", ""));
    }

    #[test]
    fn what_is_no_name() {
        for (text, error) in [
            ("", DnError::Empty),
            ("   ", DnError::Empty),
            ("derek", DnError::Incomplete),
            ("CN=a,", DnError::Incomplete),
            ("CN=a,OU", DnError::Incomplete),
            ("CN=a,b,OU=c", DnError::Incomplete),
            ("=a", DnError::Incomplete),
            ("X=a", DnError::UnknownAttribute("X".into())),
            ("CN=#0403", DnError::Encoded),
            (r"CN=a\", DnError::Escape),
            (r"CN=a\4", DnError::Escape),
            (r"CN=a\zz", DnError::Escape),
            (r"CN=\ff", DnError::NotText),
        ] {
            assert_eq!(Dn::parse(text), Err(error), "{text:?}");
        }
    }

    /// A value with the escapes of RFC 4514; `hex` decides which of them are written as digits.
    fn escape(value: &str, hex: bool) -> String {
        let mut out = String::new();
        for (i, c) in value.char_indices() {
            let end = i + c.len_utf8() == value.len();
            let special = match c {
                ' ' => i == 0 || end,
                '#' => i == 0,
                c => "\"+,;<>\\=".contains(c),
            };
            match c {
                c if special && hex => out.push_str(&format!("\\{:02x}", c as u32)),
                c if special => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    }

    fn parts() -> impl Strategy<Value = Vec<Vec<(usize, String)>>> {
        let value = "[ a-c,+=\\\\\"#;<>é0]{0,6}";
        let attribute = (0..ATTRIBUTES.len(), value);
        let rdn = proptest::collection::vec(attribute, 1..3);
        proptest::collection::vec(rdn, 1..5)
    }

    fn write(parts: &[Vec<(usize, String)>], hex: bool) -> String {
        let rdn = |rdn: &Vec<(usize, String)>| {
            let text = rdn
                .iter()
                .map(|(i, v)| format!("{}={}", ATTRIBUTES[*i].1, escape(v, hex)));
            text.collect::<Vec<_>>().join("+")
        };
        parts.iter().map(rdn).collect::<Vec<_>>().join(",")
    }

    fn build(parts: &[Vec<(usize, String)>]) -> Dn {
        let rdn = |rdn: &Vec<(usize, String)>| {
            let attribute = |(i, v): &(usize, String)| Attribute {
                name: ATTRIBUTES[*i].1,
                value: v.clone(),
            };
            Rdn(rdn.iter().map(attribute).collect())
        };
        Dn::new(parts.iter().map(rdn).collect()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(parts in parts(), hex: bool) {
            prop_assert_eq!(dn(&write(&parts, hex)), build(&parts));
        }

        #[test]
        fn both_orders_have_the_same_parts(parts in parts(), hex: bool) {
            let mut reversed = parts.clone();
            reversed.reverse();
            reversed.iter_mut().for_each(|rdn| rdn.reverse());
            let reversed = dn(&write(&reversed, hex));
            prop_assert!(build(&parts).has_same_parts(&reversed));
        }

        #[test]
        fn a_name_inside_a_value_stays_a_value(parts in parts(), evil in parts(), hex: bool) {
            let mut forged = parts.clone();
            let text = write(&evil, hex);
            forged[0][0].1 = format!("x,{text}");
            let mut meant = parts.clone();
            meant[0][0].1 = "x".into();
            meant.extend(evil);
            let (forged, meant) = (build(&forged), build(&meant));
            prop_assert!(!forged.has_same_parts(&meant));
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,20}", bytes in "[CN=,+\\\\#0a ]{0,12}") {
            let _ = Dn::parse(&text);
            if let Ok(dn) = Dn::parse(&bytes) {
                prop_assert!(dn.has_same_parts(&dn));
            }
        }
    }
}
