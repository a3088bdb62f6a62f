//! Certificates in files, and clients that speak TLS.

use super::{Dir, PATIENCE, connect};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType,
};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Somebody who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Signed {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Signed {
    /// Writes `<name>.pem` and `<name>-key.pem`; gives their paths.
    pub fn write(&self, dir: &Dir, name: &str) -> (String, String) {
        (
            dir.write(&format!("{name}.pem"), &self.pem),
            dir.write(&format!("{name}-key.pem"), &self.key.serialize_pem()),
        )
    }
}

/// What is in a certificate.
#[derive(Default)]
pub struct Names<'a> {
    pub hosts: &'a [&'a str],
    pub email: Option<&'a str>,
    /// In the order of the certificate.
    pub subject: &'a [(DnType, &'a str)],
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn sign(&self, names: &Names<'_>) -> Signed {
        let hosts: Vec<String> = names.hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        if let Some(email) = names.email {
            let email = SanType::Rfc822Name(email.try_into().unwrap());
            params.subject_alt_names.push(email);
        }
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names.subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Signed {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        }
    }

    /// Writes the certificate of a server on this machine, its key, and that of the authority.
    pub fn serve(&self, dir: &Dir, cert_file: &str, key_file: &str, ca_file: &str) {
        let hosts = &["localhost", "127.0.0.1"];
        let signed = self.sign(&Names {
            hosts,
            ..Names::default()
        });
        dir.write(cert_file, &signed.pem);
        dir.write(key_file, &signed.key.serialize_pem());
        dir.write(ca_file, &self.pem());
    }

    /// What a client needs who trusts this authority and shows that certificate.
    pub fn client(&self, own: Option<&Signed>, version: Version) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&[match version {
                Version::V12 => &TLS12,
                Version::V13 => &TLS13,
            }])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivatePkcs8KeyDer::from(own.key.serialize_der());
                let chain = vec![own.der.clone()];
                config
                    .with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key))
                    .unwrap()
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Version {
    V12,
    V13,
}

/// A client that speaks TLS.
pub struct TlsPeer(pub StreamOwned<ClientConnection, TcpStream>);

fn line_of(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8(line).unwrap().trim_end().to_owned())
}

impl TlsPeer {
    /// Reads INFO in plain text, goes on with TLS, logs in with these fields of CONNECT, and gives
    /// the first that the server says to that.
    ///
    /// # Errors
    /// The handshake failed, or the server has closed the connection.
    pub fn answer(
        addr: SocketAddr,
        config: &Arc<ClientConfig>,
        fields: &str,
    ) -> io::Result<(TlsPeer, String)> {
        let mut socket = TcpStream::connect(addr)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let info = line_of(&mut socket)?;
        assert!(
            info.starts_with("INFO {") && info.contains("\"tls_required\":true"),
            "{info}"
        );
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        let mut peer = TlsPeer(StreamOwned::new(connection, socket));
        peer.try_say(&(connect(fields) + "PING\r\n"))?;
        let line = peer.try_line()?;
        Ok((peer, line))
    }

    /// A client that is in.
    pub fn log_in(addr: SocketAddr, config: &Arc<ClientConfig>, fields: &str) -> TlsPeer {
        for _ in 0..10 {
            match TlsPeer::answer(addr, config, fields) {
                Ok((peer, line)) if line == "PONG" => return peer,
                Ok((_, line)) if line == "-ERR 'Authentication Timeout'" => {}
                Ok((_, line)) => panic!("{fields}: {line}"),
                Err(e) => panic!("{fields}: {e}"),
            }
        }
        panic!("no login with {fields} was done in time");
    }

    fn try_say(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())?;
        self.0.flush()
    }

    pub fn say(&mut self, text: &str) {
        self.try_say(text).unwrap();
    }

    /// The next line that is no PING.
    fn try_line(&mut self) -> io::Result<String> {
        loop {
            let line = line_of(&mut self.0)?;
            if line != "PING" {
                return Ok(line);
            }
            self.try_say("PONG\r\n")?;
        }
    }

    pub fn line(&mut self) -> String {
        self.try_line().unwrap()
    }

    pub fn sync(&mut self) {
        self.say("PING\r\n");
        assert_eq!(self.line(), "PONG");
    }
}
