//! TLS between servers: each shows the other a certificate, whichever of them has connected.

use super::{Channel, ServerTls, TlsError, files, load_certificates, provider, versions};
use crate::options::tls::TlsOptions;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// TLS as a server speaks it with others, as both sides.
#[derive(Debug)]
pub struct PeerTls {
    accepting: ServerTls,
    connecting: Arc<ClientConfig>,
}

impl PeerTls {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// Those of [`ServerTls::load`].
    pub fn load(options: &TlsOptions) -> Result<PeerTls, TlsError> {
        let both = TlsOptions {
            verify: true,
            ..options.clone()
        };
        let accepting = ServerTls::load(&both)?;
        let provider = provider(options)?;
        let mut warnings = Vec::new();
        let own = load_certificates(options, &provider, &mut warnings)?;
        let settings = |e: rustls::Error| TlsError::Settings(e.to_string());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(options))
            .map_err(settings)?;
        let builder = if options.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            let roots = match &options.ca_file {
                Some(path) => files::authorities(path, &mut warnings)?,
                None => files::system_authorities()?,
            };
            builder.with_root_certificates(roots)
        };
        let own = own.into_iter().next().ok_or(TlsError::NoCertificateFiles)?;
        let connecting = builder.with_client_cert_resolver(Arc::new(Own(own)));
        Ok(PeerTls {
            accepting,
            connecting: Arc::new(connecting),
        })
    }

    /// What holds for connections of others to this server, and for what their certificates may be.
    pub fn listener(&self) -> &ServerTls {
        &self.accepting
    }

    /// A connection to a server, whose certificate has to be for this host name or address, before
    /// its handshake.
    ///
    /// # Errors
    /// The host is none.
    pub fn connect(&self, host: &str) -> Result<Channel, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        Channel::to(self.connecting.clone(), name).map_err(|e| e.to_string())
    }
}

/// The certificate that this server shows.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes any certificate, as long as the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
