//! TLS of a listener: what its options and files make of it, and one connection's records.

mod channel;
mod files;
mod names;
mod peer;
mod rate;
mod resolve;
#[cfg(test)]
mod tests;

pub use channel::{Channel, Handshake, PLAIN_MARGIN, looks_like_hello};
pub use peer::PeerTls;

use crate::base::clock::{self, Mono};
use crate::base::text::PlainError;
use crate::options::tls::{HandshakeFirst, TlsOptions, TlsVersion};
use rate::RateLimit;
use resolve::Certificates;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// TLS as a listener speaks it. Connections that have begun with one keep to it when another takes
/// its place.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    /// Time within which a handshake must be over.
    pub timeout: Duration,
    pub handshake_first: HandshakeFirst,
    pins: BTreeSet<String>,
    rate: RateLimit,
    warnings: Vec<String>,
    not_after: Option<SystemTime>,
}

/// Why TLS cannot be had.
#[derive(Debug)]
pub enum TlsError {
    Read(PathBuf, io::Error),
    /// The file is not PEM, and why.
    Pem(PathBuf, String),
    NoCertificate(PathBuf),
    NoKey(PathBuf),
    /// The key is there, behind a password.
    EncryptedKey(PathBuf),
    BadCertificate(PathBuf, String),
    BadKey(PathBuf, String),
    /// The certificate belongs to another key.
    KeyMismatch(PathBuf, PathBuf),
    /// There are no certificate files at all.
    NoCertificateFiles,
    /// One of several pairs of files, which of how many, and what is wrong with it.
    Pair(usize, usize, Box<TlsError>),
    NoAuthority(PathBuf),
    NoSystemAuthorities,
    /// A cipher suite or curve that is not there.
    UnknownName(String),
    /// What is set does not go together.
    Settings(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TlsError::*;
        let pair = "error parsing X509 certificate/key pair";
        match self {
            Read(path, e) => write!(f, "{pair}: open {}: {}", path.display(), PlainError(e)),
            Pem(path, why) => write!(f, "{pair}: {}: not PEM: {why}", path.display()),
            NoCertificate(path) => write!(f, "{pair}: {}: no certificate in it", path.display()),
            NoKey(path) => write!(f, "{pair}: {}: no private key in it", path.display()),
            EncryptedKey(path) => write!(
                f,
                "{pair}: {}: the private key is encrypted, which is not supported",
                path.display()
            ),
            BadCertificate(path, why) => write!(f, "{pair}: {}: {why}", path.display()),
            BadKey(path, why) => write!(f, "{pair}: {}: {why}", path.display()),
            KeyMismatch(cert, key) => write!(
                f,
                "{pair}: private key {} does not match public key of {}",
                key.display(),
                cert.display()
            ),
            NoCertificateFiles => {
                f.write_str("missing 'cert_file' and 'key_file' in TLS configuration")
            }
            Pair(which, of, e) => {
                let text = e.to_string();
                let text = text.strip_prefix(pair).unwrap_or(&text);
                write!(f, "{pair} {which}/{of}{text}")
            }
            NoAuthority(path) => write!(
                f,
                "failed to parse root ca certificate: {}: no certificate in it that can be used",
                path.display()
            ),
            NoSystemAuthorities => f.write_str(
                "no ca_file is set, and the system has no bundle of certificate authorities",
            ),
            UnknownName(name) => write!(f, "unsupported cipher suite or curve {name:?}"),
            Settings(why) => write!(f, "TLS configuration: {why}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Read(_, e) => Some(e),
            TlsError::Pair(_, _, e) => Some(e),
            _ => None,
        }
    }
}

impl ServerTls {
    /// Reads the files that the options name, and checks that all goes together.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should, a key does not belong to its
    /// certificate, there are no authorities to check clients by, or nothing is left of what both
    /// sides could agree on.
    pub fn load(options: &TlsOptions) -> Result<ServerTls, TlsError> {
        let mut warnings = Vec::new();
        let provider = provider(options)?;
        let certificates = load_certificates(options, &provider, &mut warnings)?;
        let versions = versions(options);
        let settings = |e: rustls::Error| TlsError::Settings(e.to_string());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(settings)?;
        let verifies = options.verify || options.verify_and_map;
        let builder = if verifies {
            let (roots, hints) = match &options.ca_file {
                Some(path) => (files::authorities(path, &mut warnings)?, true),
                None => (files::system_authorities()?, false),
            };
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            // All the world's authorities would make each handshake longer by some packets.
            let verifier = match hints {
                true => verifier,
                false => verifier.clear_root_hint_subjects(),
            };
            let verifier = verifier.build();
            builder
                .with_client_cert_verifier(verifier.map_err(|e| TlsError::Settings(e.to_string()))?)
        } else {
            builder.with_no_client_auth()
        };
        let first = certificates.first().and_then(|key| key.cert.first());
        let not_after = first.and_then(not_after);
        let mut config = builder.with_cert_resolver(Arc::new(Certificates(certificates)));
        config.ignore_client_order = !options.cipher_suites.is_empty();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if verifies || !options.pinned_certs.is_empty() {
            // A session taken up again would skip looking at the certificate, which may have
            // expired or be no longer wanted.
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = ring::Ticketer::new().map_err(settings)?;
            config.send_tls13_tickets = 1;
        }
        Ok(ServerTls {
            config: Arc::new(config),
            timeout: options.timeout,
            handshake_first: options.handshake_first,
            pins: options.pinned_certs.clone(),
            rate: RateLimit::new(options.connection_rate_limit),
            not_after,
            warnings,
        })
    }

    /// When the first certificate ends to be valid, if that can be read.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// What is odd about the files, but not wrong.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether another handshake may begin now; if so, it counts.
    pub fn admit(&self, now: Mono) -> bool {
        self.rate.admit(now)
    }

    /// How many handshakes were refused since the last call.
    pub fn take_refused(&self) -> u64 {
        self.rate.take_refused()
    }

    /// A connection whose handshake is about to begin.
    ///
    /// # Errors
    /// The configuration cannot be used, which [`ServerTls::load`] would have found.
    pub fn accept(&self) -> Result<Channel, rustls::Error> {
        Channel::new(self.config.clone())
    }

    /// Whether a peer with this certificate may stay; if not, the text says why.
    ///
    /// # Errors
    /// There are pins, and the certificate's key is none of them.
    pub fn check_pins(&self, certificate: Option<&CertificateDer<'_>>) -> Result<(), String> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let Some(certificate) = certificate else {
            return Err("client did not provide a certificate".into());
        };
        let parsed = ParsedCertificate::try_from(certificate).map_err(|e| e.to_string())?;
        let key = Sha256::digest(parsed.subject_public_key_info());
        let key = data_encoding::HEXLOWER.encode(&key);
        match self.pins.contains(&key) {
            true => Ok(()),
            false => Err(format!("key id: {key}")),
        }
    }

    /// The SHA-256 of a certificate's public key information, and that of all of it, in hexadecimal
    /// digits; none if it cannot be read.
    pub fn fingerprints(certificate: &CertificateDer<'_>) -> Option<[String; 2]> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
        Some([hex(&parsed.subject_public_key_info()), hex(certificate)])
    }

    /// Whether both accept the same keys of clients.
    pub fn has_same_pins(&self, other: &ServerTls) -> bool {
        self.pins == other.pins
    }
}

/// What the options leave of the ways to encrypt.
fn provider(options: &TlsOptions) -> Result<Arc<CryptoProvider>, TlsError> {
    Ok(Arc::new(CryptoProvider {
        cipher_suites: names::suites(&options.cipher_suites).map_err(TlsError::UnknownName)?,
        kx_groups: names::curves(&options.curve_preferences).map_err(TlsError::UnknownName)?,
        ..ring::default_provider()
    }))
}

fn versions(options: &TlsOptions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    match options.min_version {
        TlsVersion::V12 => &BOTH,
        TlsVersion::V13 => &BOTH[1..],
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(
        certificate
            .tbs_certificate
            .validity
            .not_after
            .to_system_time(),
    )
}

fn load_certificates(
    options: &TlsOptions,
    provider: &CryptoProvider,
    warnings: &mut Vec<String>,
) -> Result<Vec<Arc<rustls::sign::CertifiedKey>>, TlsError> {
    let count = options.certs.len();
    if count == 0 {
        return Err(TlsError::NoCertificateFiles);
    }
    let now = clock::wall();
    let pairs = options.certs.iter().enumerate().map(|(i, pair)| {
        let loaded = files::certified_key(pair, provider, now, warnings).map(Arc::new);
        loaded.map_err(|e| match count {
            1 => e,
            _ => TlsError::Pair(i + 1, count, Box::new(e)),
        })
    });
    pairs.collect()
}
