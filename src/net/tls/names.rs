//! What cipher suites, curves and versions are called, and what they are in the library.

use rustls::crypto::{SupportedKxGroup, ring};
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite};

use ring::{cipher_suite as suite, kx_group};

/// The cipher suites by their IANA names, those of TLS 1.3 first.
const SUITES: &[(&str, SupportedCipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// The curves by the names of the reference.
const CURVES: &[(&str, &dyn SupportedKxGroup)] = &[
    ("X25519", kx_group::X25519),
    ("CurveP256", kx_group::SECP256R1),
    ("CurveP384", kx_group::SECP384R1),
];

/// The suites with these names, in their order; None for one that is unknown. As in the
/// reference, the suites of TLS 1.3 are in use unless some of them are named.
pub(super) fn suites(names: &[&str]) -> Result<Vec<SupportedCipherSuite>, String> {
    if names.is_empty() {
        return Ok(SUITES.iter().map(|(_, suite)| *suite).collect());
    }
    let named: Result<Vec<_>, _> = names.iter().map(|name| find(SUITES, name)).collect();
    let mut suites = named?;
    if suites.iter().all(|suite| suite.tls13().is_none()) {
        let newer = SUITES.iter().map(|(_, suite)| *suite);
        suites.extend(newer.filter(|suite| suite.tls13().is_some()));
    }
    Ok(suites)
}

/// The curves with these names, in their order.
pub(super) fn curves(names: &[&str]) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    if names.is_empty() {
        return Ok(CURVES.iter().map(|(_, curve)| *curve).collect());
    }
    names.iter().map(|name| find(CURVES, name)).collect()
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Result<T, String> {
    let mut same = table.iter().filter(|(known, _)| *known == name);
    same.next()
        .map(|(_, value)| *value)
        .ok_or_else(|| name.to_owned())
}

/// The name of a suite that was negotiated.
pub(super) fn suite_name(suite: CipherSuite) -> &'static str {
    let mut same = SUITES.iter().filter(|(_, s)| s.suite() == suite);
    same.next().map_or("unknown", |(name, _)| *name)
}

/// How a version that was negotiated is shown.
pub(super) fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "1.2",
        ProtocolVersion::TLSv1_3 => "1.3",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tls::{CIPHER_SUITES, CURVES as CURVE_NAMES};

    #[test]
    fn every_name_that_can_be_configured_is_known() {
        let all = suites(CIPHER_SUITES).unwrap();
        let back: Vec<_> = all.iter().map(|s| suite_name(s.suite())).collect();
        assert_eq!(back, CIPHER_SUITES);
        assert_eq!(SUITES.len(), CIPHER_SUITES.len());
        assert_eq!(curves(CURVE_NAMES).unwrap().len(), CURVES.len());
        let names: Vec<_> = ring::default_provider()
            .cipher_suites
            .iter()
            .map(|s| suite_name(s.suite()))
            .collect();
        assert!(!names.contains(&"unknown"), "{names:?}");
        assert!(suites(&["TLS_NULL"]).is_err() && curves(&["CurveP521"]).is_err());
    }

    #[test]
    fn naming_older_suites_leaves_the_newer_ones_on() {
        let named = suites(&["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]).unwrap();
        let names: Vec<_> = named.iter().map(|s| suite_name(s.suite())).collect();
        assert_eq!(names[0], "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
        assert_eq!(names[1..], CIPHER_SUITES[..3]);
        assert_eq!(suites(&["TLS_AES_256_GCM_SHA384"]).unwrap().len(), 1);
    }
}
