//! Log lines as JSON: one object a line.

use std::fmt::{self, Write};

use super::stamp::Stamp;

/// Appends `{"time":"2026-11-24T01:02:03.123456Z","level":"info","pid":123,"msg":"text"}`, without
/// a newline.
///
/// `time` is as in RFC 3339, with the offset from UTC where the log shows local time, and is left
/// out with `stamp`. `level` is `info`, `debug`, `warn`, `error`, `fatal` or `trace`.
pub(super) fn object(
    out: &mut String,
    stamp: Option<Stamp>,
    level: &str,
    pid: u32,
    text: &str,
) -> fmt::Result {
    out.push('{');
    if let Some(stamp) = stamp {
        out.push_str("\"time\":\"");
        stamp.rfc_3339_micros(out)?;
        out.push_str("\",");
    }
    write!(out, "\"level\":\"{level}\",\"pid\":{pid},\"msg\":\"")?;
    escape(out, text)?;
    out.push_str("\"}");
    Ok(())
}

/// Appends `text` as it stands between the quotes of a JSON string (RFC 8259, section 7).
fn escape(out: &mut String, text: &str) -> fmt::Result {
    let special = |c: char| matches!(c, '"' | '\\' | '\0'..='\x1f');
    let mut rest = text;
    while let Some(at) = rest.find(special) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        // All of these are one byte long.
        let (escaped, after) = from.split_at(1);
        match escaped {
            "\"" => out.push_str("\\\""),
            "\\" => out.push_str("\\\\"),
            "\n" => out.push_str("\\n"),
            "\r" => out.push_str("\\r"),
            "\t" => out.push_str("\\t"),
            _ => {
                for byte in escaped.bytes() {
                    write!(out, "\\u{byte:04x}")?;
                }
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn made(stamp: Option<Stamp>, text: &str) -> String {
        let mut out = String::new();
        object(&mut out, stamp, "info", 123, text).unwrap();
        out
    }

    #[test]
    fn an_object_has_its_fields_in_order() {
        let stamp = Stamp::utc(UNIX_EPOCH + Duration::from_micros(951_782_399_000_042));
        assert_eq!(
            made(Some(stamp), "Hello"),
            r#"{"time":"2000-02-28T23:59:59.000042Z","level":"info","pid":123,"msg":"Hello"}"#
        );
        assert_eq!(
            made(None, "a\n\"b\"\\\t\x1f\r"),
            r#"{"level":"info","pid":123,"msg":"a\n\"b\"\\\t\u001f\r"}"#
        );
    }

    proptest! {
        #[test]
        fn every_text_comes_back_from_one_line(text in any::<String>()) {
            let line = made(None, &text);
            prop_assert!(!line.contains('\n'));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["msg"].as_str(), Some(&*text));
        }
    }
}
