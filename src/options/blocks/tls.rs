//! `tls`: certificates of a listener, and how it is spoken.

use super::{entries, int, list, some, text, texts, truth};
use crate::base::duration;
use crate::base::text::quoted;
use crate::config::{Entry, Kind, Value};
use crate::options::Options;
use crate::options::file::{Check, time};
use crate::options::keys::blocks::{CERTIFICATE, TLS};
use crate::options::tls::{
    CIPHER_SUITES, CURVES, CertificateFiles, HANDSHAKE_FIRST_AUTO, HandshakeFirst, TLS_TIMEOUT,
    TlsOptions, TlsVersion,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Cipher suites that the reference has and this server does not.
#[rustfmt::skip]
const OTHER_CIPHER_SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Curves that the reference has and this server does not.
const OTHER_CURVES: &[&str] = &[
    "X25519MLKEM768",
    "SecP256r1MLKEM768",
    "SecP384r1MLKEM1024",
    "CurveP521",
];

pub(in crate::options) fn tls(options: &mut Options, value: &Value, check: &mut Check<'_>) {
    options.tls = Some(read(value, false, check));
}

/// Reads a block, of other servers' connections if it is one of `peers`.
pub(super) fn read(value: &Value, peers: bool, check: &mut Check<'_>) -> TlsOptions {
    let mut block = TlsOptions::default();
    let (mut cert_file, mut key_file, mut certs) = (None, None, None);
    for (name, entry) in entries(value, TLS) {
        let value = &entry.value;
        match name {
            "cert_file" => cert_file = some(value),
            "key_file" => key_file = some(value),
            "certs" => certs = Some(value),
            "ca_file" => block.ca_file = path(value),
            "verify" => block.verify |= truth(value),
            "verify_and_map" => block.verify_and_map = truth(value),
            "verify_cert_and_check_known_urls" if peers => block.verify_known_urls = truth(value),
            "verify_cert_and_check_known_urls" if truth(value) => {
                let text = format!("{name} not supported in this context");
                check.error(value.at, text);
            }
            "insecure" => block.insecure = truth(value),
            "timeout" => block.timeout = timeout(entry, check),
            "cipher_suites" => {
                let names = (CIPHER_SUITES, OTHER_CIPHER_SUITES);
                block.cipher_suites = chosen(entry, "cipher", names, check);
            }
            "curve_preferences" => {
                let names = (CURVES, OTHER_CURVES);
                block.curve_preferences = chosen(entry, "curve preference", names, check);
            }
            "min_version" => block.min_version = min_version(value, check),
            "pinned_certs" => block.pinned_certs = pinned(value, check),
            "connection_rate_limit" => {
                block.connection_rate_limit = u64::try_from(int(value)).unwrap_or(0);
            }
            "handshake_first" => block.handshake_first = handshake_first(entry, check),
            // There are no insecure cipher suites to allow.
            _ => {}
        }
    }
    block.verify |= block.verify_and_map;
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => {
            let (cert_file, key_file) = (PathBuf::from(cert_file), PathBuf::from(key_file));
            block.certs = vec![CertificateFiles {
                cert_file,
                key_file,
            }];
        }
        (Some::<String>(_), None) => {
            check.error(value.at, "missing 'key_file' in TLS configuration".into());
        }
        (None, Some::<String>(_)) => {
            check.error(value.at, "missing 'cert_file' in TLS configuration".into());
        }
        (None, None) => {}
    }
    if let Some(certs) = certs.filter(|certs| !list(certs).is_empty()) {
        if !block.certs.is_empty() {
            let text = "error parsing tls config, cannot combine 'cert_file' option with 'certs' \
                option";
            check.error(certs.at, text.into());
        }
        let files = list(certs).iter();
        block.certs = files
            .filter_map(|value| certificate(value, check))
            .collect();
    }
    block
}

fn path(value: &Value) -> Option<PathBuf> {
    some::<String>(value).map(PathBuf::from)
}

fn certificate(value: &Value, check: &mut Check<'_>) -> Option<CertificateFiles> {
    let (mut cert_file, mut key_file) = (None, None);
    for (name, entry) in entries(value, CERTIFICATE) {
        match name {
            "cert_file" => cert_file = path(&entry.value),
            "key_file" => key_file = path(&entry.value),
            _ => {}
        }
    }
    let (Some(cert_file), Some(key_file)) = (cert_file, key_file) else {
        let text = "error parsing certificates config: both 'cert_file' and 'key_file' options \
            are required";
        check.error(value.at, text.into());
        return None;
    };
    Some(CertificateFiles {
        cert_file,
        key_file,
    })
}

fn timeout(entry: &Entry, check: &mut Check<'_>) -> Duration {
    match time(&entry.key, &entry.value) {
        Ok(time) if time.is_zero() => TLS_TIMEOUT,
        Ok(time) => time,
        Err(wrong) => {
            check.error(entry.value.at, wrong);
            TLS_TIMEOUT
        }
    }
}

/// Names out of those that there are; `others` are those that only the reference has.
fn chosen(
    entry: &Entry,
    what: &str,
    (known, others): (&[&'static str], &[&str]),
    check: &mut Check<'_>,
) -> Vec<&'static str> {
    if list(&entry.value).is_empty() && matches!(entry.value.kind, Kind::Array(_)) {
        let text = format!("error parsing tls config, '{}' cannot be empty", entry.key);
        check.error(entry.value.at, text);
    }
    let mut chosen = Vec::new();
    for value in texts(&entry.value) {
        let name = text(value);
        match known.iter().find(|known| **known == name) {
            Some(known) => chosen.push(*known),
            None => {
                let wrong = match others.contains(&name) {
                    true => format!("{what} {name} is not supported"),
                    false => format!("unrecognized {what} {name}"),
                };
                let known = known.join(", ");
                check.error(value.at, format!("{wrong}, supported are: {known}"));
            }
        }
    }
    chosen
}

fn min_version(value: &Value, check: &mut Check<'_>) -> TlsVersion {
    let wrong = match text(value) {
        "1.2" => return TlsVersion::V12,
        "1.3" => return TlsVersion::V13,
        version @ ("1.0" | "1.1") => format!("unsupported TLS version: TLS {version}"),
        version => format!("unknown version: {version}"),
    };
    check.error(value.at, format!("error parsing tls config: {wrong}"));
    TlsVersion::V12
}

fn pinned(value: &Value, check: &mut Check<'_>) -> BTreeSet<String> {
    let mut pinned = BTreeSet::new();
    for value in texts(value) {
        let hash = text(value).to_lowercase();
        if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            pinned.insert(hash);
        } else {
            let text = format!(
                "error parsing tls config, 'pinned_certs' key {hash} does not look like \
                 hex-encoded sha256 of DER encoded SubjectPublicKeyInfo"
            );
            check.error(value.at, text);
        }
    }
    pinned
}

fn handshake_first(entry: &Entry, check: &mut Check<'_>) -> HandshakeFirst {
    let value = &entry.value;
    if let Kind::Bool(first) = value.kind {
        return if first {
            HandshakeFirst::Yes
        } else {
            HandshakeFirst::No
        };
    }
    match &*text(value).to_lowercase() {
        "true" | "on" => HandshakeFirst::Yes,
        "false" | "off" => HandshakeFirst::No,
        "auto" | "auto_fallback" => HandshakeFirst::Auto(HANDSHAKE_FIRST_AUTO),
        _ => match duration::parse(text(value)) {
            Ok(time) if time.is_zero() => HandshakeFirst::Yes,
            Ok(time) => HandshakeFirst::Auto(time),
            Err(_) => {
                let (key, value_text) = (&entry.key, quoted(text(value).as_bytes()));
                let key = quoted(key.as_bytes());
                check.error(
                    value.at,
                    format!("field {key}'s value {value_text} is invalid"),
                );
                HandshakeFirst::No
            }
        },
    }
}
