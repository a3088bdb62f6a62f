//! PEM files: certificates, keys and bundles of authorities.

use super::TlsError;
use crate::options::tls::CertificateFiles;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::BasicConstraints;

/// Where systems keep the authorities that they trust, as one file.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
];

/// The variable that names such a file instead, as it does for the reference.
const SYSTEM_ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// Reads a certificate with its chain and its key, and adds what is odd about it to `warnings`.
pub(super) fn certified_key(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<CertifiedKey, TlsError> {
    let CertificateFiles {
        cert_file,
        key_file,
    } = files;
    let chain = certificates(cert_file)?;
    let Some(leaf) = chain.first() else {
        return Err(TlsError::NoCertificate(cert_file.clone()));
    };
    inspect(cert_file, leaf, now, warnings);
    let text = read(key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound if is_encrypted(&text) => TlsError::EncryptedKey(key_file.clone()),
        pem::Error::NoItemsFound => TlsError::NoKey(key_file.clone()),
        e => TlsError::Pem(key_file.clone(), e.to_string()),
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|e| TlsError::BadKey(key_file.clone(), e.to_string()))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(pair)
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::KeyMismatch(cert_file.clone(), key_file.clone()))
        }
        Err(e) => Err(TlsError::BadCertificate(cert_file.clone(), e.to_string())),
    }
}

/// Whether a file holds a key behind a password, which nobody is there to type.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Warns of a server's certificate that clients may not like.
fn inspect(path: &Path, leaf: &CertificateDer<'_>, now: SystemTime, warnings: &mut Vec<String>) {
    let Ok(Certificate {
        tbs_certificate: leaf,
        ..
    }) = Certificate::from_der(leaf)
    else {
        return;
    };
    let path = path.display();
    let (from, until) = (leaf.validity.not_before, leaf.validity.not_after);
    if until.to_system_time() < now {
        warnings.push(format!("certificate {path} has expired at {until}"));
    }
    if from.to_system_time() > now {
        warnings.push(format!("certificate {path} is not valid before {from}"));
    }
    let constraints = leaf.get::<BasicConstraints>();
    if constraints.is_ok_and(|found| found.is_some_and(|(_, constraints)| constraints.ca)) {
        warnings.push(format!(
            "certificate {path} is that of an authority: some clients do not accept it for a server"
        ));
    }
}

/// The authorities of a bundle. Those that cannot be used are passed over, as in the reference.
pub(super) fn authorities(
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<RootCertStore, TlsError> {
    let certificates = certificates(path)?;
    if certificates.is_empty() {
        return Err(TlsError::NoAuthority(path.to_owned()));
    }
    let mut roots = RootCertStore::empty();
    let (used, unusable) = roots.add_parsable_certificates(certificates);
    if used == 0 {
        return Err(TlsError::NoAuthority(path.to_owned()));
    }
    if unusable > 0 {
        let path = path.display();
        warnings.push(format!("{unusable} certificates in {path} cannot be used"));
    }
    Ok(roots)
}

/// The authorities that the system trusts.
pub(super) fn system_authorities() -> Result<RootCertStore, TlsError> {
    if let Some(named) = std::env::var_os(SYSTEM_ROOTS_VARIABLE).filter(|name| !name.is_empty()) {
        return authorities(&PathBuf::from(named), &mut Vec::new());
    }
    // What is wrong with single certificates of the system is not the operator's concern.
    SYSTEM_ROOTS
        .iter()
        .find_map(|path| authorities(Path::new(path), &mut Vec::new()).ok())
        .ok_or(TlsError::NoSystemAuthorities)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let all: Result<_, _> = CertificateDer::pem_slice_iter(&text).collect();
    all.map_err(|e| TlsError::Pem(path.to_owned(), e.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|e| TlsError::Read(path.to_owned(), e))
}
