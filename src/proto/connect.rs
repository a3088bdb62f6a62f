//! The CONNECT options of a client
//! (<https://docs.nats.io/reference/reference-protocols/nats-protocol#connect>).

use crate::base::secret::Secret;
use serde_json::Value;
use std::fmt;

/// What a client says of itself. A CONNECT is merged over what was there before, and before the
/// first one `verbose`, `pedantic` and `echo` are on.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    /// 0, or 1 for a client that understands asynchronous INFO.
    pub protocol: i64,
    pub name: String,
    pub lang: String,
    pub version: String,
    /// Once a way to choose an account; any use is an authorization violation.
    pub account: String,
    pub new_account: bool,
    /// Who the client says it is.
    pub user: String,
    pub pass: Secret,
    pub auth_token: Secret,
    /// The client's public key (`U...`).
    pub nkey: String,
    /// The client's signature of the nonce in INFO, in base64 for URLs without padding, or in
    /// plain base64.
    pub sig: String,
    /// The signature of the same nonce by a proxy that the client came through.
    pub proxy_sig: String,
}

impl Default for Connect {
    fn default() -> Connect {
        Connect {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            account: String::new(),
            new_account: false,
            user: String::new(),
            pass: Secret::default(),
            auth_token: Secret::default(),
            nkey: String::new(),
            sig: String::new(),
            proxy_sig: String::new(),
        }
    }
}

/// Why a CONNECT cannot be read.
#[derive(Debug, PartialEq)]
pub enum ConnectError {
    /// Not a JSON object; with the parser's words.
    Json(String),
    /// A field of the wrong type.
    Field { name: String, want: &'static str },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Json(e) => write!(f, "CONNECT parse error: {e}"),
            ConnectError::Field { name, want } => {
                write!(f, "CONNECT parse error: field {name:?} is not {want}")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

impl Connect {
    /// Merges the JSON object in `json` over these options. Field names match in either case,
    /// `null` changes nothing, unknown fields are ignored, bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// Bad JSON or a field of the wrong type; nothing is changed then.
    pub fn merge(&mut self, json: &[u8]) -> Result<(), ConnectError> {
        let text = String::from_utf8_lossy(json);
        let value: Value = serde_json::from_str(&text)
            .or_else(|_| serde_json::from_str(&without_lone_surrogates(&text)))
            .map_err(|e| ConnectError::Json(e.to_string()))?;
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Null => return Ok(()),
            _ => return Err(ConnectError::Json("not an object".into())),
        };
        let mut new = self.clone();
        for (name, value) in fields.iter().filter(|(_, v)| !v.is_null()) {
            new.set(name, value).map_err(|want| ConnectError::Field {
                name: name.clone(),
                want,
            })?;
        }
        *self = new;
        Ok(())
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), &'static str> {
        let flag = || value.as_bool().ok_or("a boolean");
        let text = || value.as_str().map(str::to_owned).ok_or("a string");
        match name.to_ascii_lowercase().as_str() {
            "verbose" => self.verbose = flag()?,
            "pedantic" => self.pedantic = flag()?,
            "echo" => self.echo = flag()?,
            "headers" => self.headers = flag()?,
            "no_responders" => self.no_responders = flag()?,
            "protocol" => self.protocol = value.as_i64().ok_or("an integer")?,
            "name" => self.name = text()?,
            "lang" => self.lang = text()?,
            "version" => self.version = text()?,
            "account" => self.account = text()?,
            "new_account" => self.new_account = flag()?,
            "user" => self.user = text()?,
            "pass" => self.pass = text()?.into(),
            "auth_token" => self.auth_token = text()?.into(),
            "nkey" => self.nkey = text()?,
            "sig" => self.sig = text()?,
            "proxy_sig" => self.proxy_sig = text()?,
            // Nothing here uses these, but what is not of their type has never been accepted.
            "jwt" | "remote_account" => {
                text()?;
            }
            "tls_required" => {
                flag()?;
            }
            "import" | "export" => {
                value.as_object().ok_or("an object")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// How the logs name the client: `v1.2:lang:name` of what it gave; empty if it gave nothing.
    pub fn label(&self) -> String {
        let version = match self.version.as_str() {
            "" => String::new(),
            v => format!("v{v}"),
        };
        let parts = [version.as_str(), &self.lang, &self.name];
        parts
            .into_iter()
            .filter(|p| !p.is_empty())
            .collect::<Vec<_>>()
            .join(":")
    }
}

/// JSON text in which escapes of half a surrogate pair stand for U+FFFD, as in the reference.
fn without_lone_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(escape) = text[at..].find('\\').map(|n| at + n) {
        let (len, lone) = match (unit(escape), unit(escape + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, false),
            (Some(0xd800..=0xdfff), _) => (6, true),
            _ => (
                1 + text[escape + 1..].chars().next().map_or(0, char::len_utf8),
                false,
            ),
        };
        out.push_str(&text[at..escape]);
        out.push_str(if lone {
            "\\ufffd"
        } else {
            &text[escape..escape + len]
        });
        at = escape + len;
    }
    out + &text[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_what_is_not_named() {
        let mut c = Connect::default();
        c.merge(br#"{"verbose":false,"Lang":"go","x":[{}],"name":null,"HEADERS":true}"#)
            .unwrap();
        assert!(!c.verbose && c.pedantic && c.echo && c.headers);
        assert_eq!((c.lang.as_str(), c.name.as_str()), ("go", ""));
        c.merge(br#"{"pedantic":false}"#).unwrap();
        c.merge(b" null ").unwrap();
        assert!(!c.verbose && !c.pedantic && c.headers);
    }

    #[test]
    fn errors_change_nothing() {
        for bad in [
            &b""[..],
            b"{",
            b"[]",
            b"{} x",
            br#"{"verbose":"yes"}"#,
            br#"{"lang":"a","protocol":1.5}"#,
            br#"{"name":1}"#,
            br#"{"pass":1}"#,
            br#"{"import":1}"#,
        ] {
            let mut c = Connect::default();
            assert!(c.merge(bad).is_err(), "{bad:?}");
            assert_eq!(c, Connect::default());
        }
        let deep = [vec![b'['; 100_000]].concat();
        assert!(Connect::default().merge(&deep).is_err());
    }

    #[test]
    fn half_a_surrogate_pair_is_no_reason_to_go() {
        let mut c = Connect::default();
        c.merge(br#"{"lang":"a\ud800b\\ud800\ud83d\ude00\udc00"}"#)
            .unwrap();
        assert_eq!(c.lang, "a\u{fffd}b\\ud800\u{1f600}\u{fffd}");
        assert!(c.merge(br#"{"lang":"\ud800"#).is_err());
        assert!(c.merge(br#"{"lang":"\"#).is_err());
    }

    #[test]
    fn labels() {
        let label = |v: &str, l: &str, n: &str| {
            let (version, lang, name) = (v.into(), l.into(), n.into());
            Connect {
                version,
                lang,
                name,
                ..Connect::default()
            }
            .label()
        };
        assert_eq!(label("1", "go", "x"), "v1:go:x");
        assert_eq!(label("", "go", "x"), "go:x");
        assert_eq!(label("1", "", ""), "v1");
        assert_eq!(label("", "", ""), "");
    }
}
