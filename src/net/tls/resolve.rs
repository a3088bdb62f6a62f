//! Which of several certificates a client is shown.

use rustls::client::verify_server_name;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use std::sync::Arc;

/// The certificates of a listener, the default first. Never empty.
#[derive(Debug)]
pub(super) struct Certificates(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first certificate for the name that the client asks for and whose key it knows how to
    /// check; without one, the first whose key it can check.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let [first, others @ ..] = &self.0[..] else {
            return None;
        };
        if others.is_empty() {
            return Some(first.clone());
        }
        let schemes = hello.signature_schemes();
        let usable = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(schemes).is_some();
        let named = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name.to_owned()).ok())
            .and_then(|name| {
                let mut usable = self.0.iter().filter(usable);
                usable.find(|pair| is_for(pair, &name))
            });
        let chosen = named.or_else(|| self.0.iter().find(usable));
        Some(chosen.unwrap_or(first).clone())
    }
}

fn is_for(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    pair.end_entity_cert()
        .ok()
        .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
        .is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
