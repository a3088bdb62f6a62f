//! Parameters of a query, and what is said about those that are not as they have to be.

use super::Refused;
use crate::base::text::quoted;
use std::num::IntErrorKind;

/// The name and value pairs of a query, decoded. Of several with one name, the first counts; an
/// empty value is as good as none. Unknown names are ignored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(pub(super) &'a [(String, String)]);

impl<'a> Query<'a> {
    /// The value of a parameter; empty if it is not there.
    pub(super) fn text(self, name: &str) -> &'a str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// A parameter that is a yes or a no; no if it is not there.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn boolean(self, name: &str) -> Result<bool, Refused> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(fault("boolean", name, "ParseBool", other, SYNTAX)),
        }
    }

    /// A parameter that is a whole number; 0 if it is not there.
    ///
    /// # Errors
    /// It is something else, or has more than 63 bits.
    pub(super) fn int(self, name: &str) -> Result<i64, Refused> {
        let value = self.text(name);
        if value.is_empty() {
            return Ok(0);
        }
        let read = value.parse::<i64>();
        read.map_err(|e| fault("int", name, "Atoi", value, reason(e.kind())))
    }

    /// A parameter that is a number without a sign; 0 if it is not there.
    ///
    /// # Errors
    /// It is something else, or has more than 64 bits.
    pub(super) fn unsigned(self, name: &str) -> Result<u64, Refused> {
        let value = self.text(name);
        if value.is_empty() {
            return Ok(0);
        }
        let read = match value.starts_with('+') {
            true => "+".parse::<u64>(),
            false => value.parse::<u64>(),
        };
        read.map_err(|e| fault("uint64", name, "ParseUint", value, reason(e.kind())))
    }

    /// What is asked about subscriptions: nothing, their subjects, or everything (`detail`).
    ///
    /// # Errors
    /// It is neither of these.
    pub(super) fn subscriptions(self) -> Result<(bool, bool), Refused> {
        if self.text("subs").eq_ignore_ascii_case("detail") {
            return Ok((false, true));
        }
        Ok((self.boolean("subs")?, false))
    }
}

const SYNTAX: &str = "invalid syntax";

fn reason(kind: &IntErrorKind) -> &'static str {
    match kind {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => SYNTAX,
    }
}

fn fault(kind: &str, name: &str, by: &str, value: &str, reason: &str) -> Refused {
    let value = quoted(value.as_bytes());
    Refused(format!(
        "Error decoding {kind} for '{name}': strconv.{by}: parsing {value}: {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error<T: std::fmt::Debug>(read: Result<T, Refused>) -> String {
        read.unwrap_err().0
    }

    fn one(value: &str) -> Vec<(String, String)> {
        vec![("x".into(), value.into())]
    }

    #[test]
    fn faults_are_told_in_the_words_of_the_reference() {
        for (value, want) in [
            (
                "2",
                "Error decoding boolean for 'x': strconv.ParseBool: parsing \"2\": invalid syntax",
            ),
            (
                "a\"\n",
                "Error decoding boolean for 'x': strconv.ParseBool: parsing \"a\\\"\\n\": invalid syntax",
            ),
        ] {
            assert_eq!(error(Query(&one(value)).boolean("x")), want);
        }
        for (value, reason) in [
            ("x", SYNTAX),
            ("1_0", SYNTAX),
            ("0x10", SYNTAX),
            ("1.5", SYNTAX),
            ("+", SYNTAX),
            ("99999999999999999999", "value out of range"),
            ("-99999999999999999999", "value out of range"),
        ] {
            let want =
                format!("Error decoding int for 'x': strconv.Atoi: parsing \"{value}\": {reason}");
            assert_eq!(error(Query(&one(value)).int("x")), want);
        }
        for (value, reason) in [
            ("-1", SYNTAX),
            ("+5", SYNTAX),
            ("x", SYNTAX),
            ("99999999999999999999", "value out of range"),
        ] {
            let want = format!(
                "Error decoding uint64 for 'x': strconv.ParseUint: parsing \"{value}\": {reason}"
            );
            assert_eq!(error(Query(&one(value)).unsigned("x")), want);
        }
    }

    #[test]
    fn values_and_their_absence() {
        assert_eq!(Query(&one("+5")).int("x"), Ok(5));
        assert_eq!(Query(&one("-5")).int("x"), Ok(-5));
        assert_eq!(Query(&one("")).int("x"), Ok(0));
        assert_eq!(Query(&[]).boolean("x"), Ok(false));
        for word in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(Query(&one(word)).boolean("x"), Ok(true));
        }
        let twice = [one("1"), one("0")].concat();
        assert_eq!(Query(&twice).boolean("x"), Ok(true));
        for (value, want) in [
            ("", (false, false)),
            ("1", (true, false)),
            ("DeTail", (false, true)),
        ] {
            let query = [("subs".to_owned(), value.to_owned())];
            assert_eq!(Query(&query).subscriptions(), Ok(want));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(value in ".*") {
            let pairs = one(&value);
            let query = Query(&pairs);
            let _ = (query.boolean("x"), query.int("x"), query.unsigned("x"));
        }
    }
}
