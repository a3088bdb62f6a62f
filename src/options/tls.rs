//! What is set about TLS of one listener.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// The `tls` block of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsOptions {
    /// The server's certificates; which one a client gets, its SNI decides. Never empty for a
    /// listener.
    pub certs: Vec<CertificateFiles>,
    /// PEM file of the authorities that client certificates are checked against; the system's
    /// own if `None`.
    pub ca_file: Option<PathBuf>,
    /// Whether clients must show a certificate that an authority has signed.
    pub verify: bool,
    /// Whether the certificate also says which user the client is; implies `verify`.
    pub verify_and_map: bool,
    /// Whether peers must show a certificate for one of the URLs that are configured; means
    /// something to server links only.
    pub verify_known_urls: bool,
    /// Whether this side, as a client, takes any certificate. Means something to server links only.
    pub insecure: bool,
    /// Time within which a handshake must be over.
    pub timeout: Duration,
    /// Names of cipher suites as in [`CIPHER_SUITES`], in order of preference; empty: the defaults.
    pub cipher_suites: Vec<&'static str>,
    /// Names of curves as in [`CURVES`], in order of preference; empty: the defaults.
    pub curve_preferences: Vec<&'static str>,
    pub min_version: TlsVersion,
    /// SHA-256 of the public keys (DER SubjectPublicKeyInfo) that client certificates may have, in
    /// lower-case hex; empty: any.
    pub pinned_certs: BTreeSet<String>,
    /// Handshakes begun a second; more connections are closed. 0 is unlimited.
    pub connection_rate_limit: u64,
    pub handshake_first: HandshakeFirst,
}

/// PEM files of a certificate, with those that lead from it to an authority, and of its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// The oldest protocol version that is spoken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    V12,
    V13,
}

/// Whether the handshake comes before INFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeFirst {
    /// INFO comes first, in plain text.
    No,
    /// Always.
    Yes,
    /// If the client begins one within this time; else INFO comes first.
    Auto(Duration),
}

/// How long `handshake_first: auto` waits for the client to begin a handshake.
pub const HANDSHAKE_FIRST_AUTO: Duration = Duration::from_millis(50);

/// How long a handshake may take unless something else is set.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(2);

/// The cipher suites that there are to choose from, by their IANA names.
pub const CIPHER_SUITES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// The curves that there are to choose from, by the names of the reference.
pub const CURVES: &[&str] = &["X25519", "CurveP256", "CurveP384"];

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            certs: Vec::new(),
            ca_file: None,
            verify: false,
            verify_and_map: false,
            verify_known_urls: false,
            insecure: false,
            timeout: TLS_TIMEOUT,
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: TlsVersion::V12,
            pinned_certs: BTreeSet::new(),
            connection_rate_limit: 0,
            handshake_first: HandshakeFirst::No,
        }
    }
}
