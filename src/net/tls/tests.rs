//! Certificates made on the spot, and conversations in memory.

use super::*;
use crate::options::tls::CertificateFiles;
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use std::fs;
use std::io::{IoSlice, Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicUsize;

/// A directory that is gone when dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nats-tls-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name, and its key, as files.
fn pair(dir: &Dir, ca: &Authority, name: &str, years: (i32, i32)) -> CertificateFiles {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    CertificateFiles {
        cert_file: dir.file(&format!("{name}.pem"), &certificate.pem()),
        key_file: dir.file(&format!("{name}-key.pem"), &key.serialize_pem()),
    }
}

const GOOD: (i32, i32) = (2020, 4000);

fn with(certs: Vec<CertificateFiles>) -> TlsOptions {
    TlsOptions {
        certs,
        ..TlsOptions::default()
    }
}

fn fault(options: &TlsOptions) -> String {
    ServerTls::load(options).unwrap_err().to_string()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn faults_of_files_are_named() {
    let (dir, ca) = (Dir::new(), authority());
    let good = pair(&dir, &ca, "a.example", GOOD);
    assert!(
        ServerTls::load(&with(vec![good.clone()]))
            .unwrap()
            .warnings()
            .is_empty()
    );
    let start = "error parsing X509 certificate/key pair: ";

    let missing = dir.0.join("missing.pem");
    let text = fault(&with(vec![CertificateFiles {
        cert_file: missing.clone(),
        ..good.clone()
    }]));
    let want = format!("{start}open {}: no such file or directory", shown(&missing));
    assert_eq!(text, want);

    let empty = dir.file("empty.pem", "nothing here");
    let (cert, key) = (good.cert_file.clone(), good.key_file.clone());
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = dir.file("encrypted.pem", encrypted);
    let broken = dir.file(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let junk = dir.file(
        "junk.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let bad_key = dir.file(
        "bad.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let other = pair(&dir, &ca, "b.example", GOOD);
    for (cert, key, at, what) in [
        (&empty, &key, &empty, "no certificate in it"),
        (&key, &key, &key, "no certificate in it"),
        (&broken, &key, &broken, "not PEM"),
        (&junk, &key, &junk, "invalid peer certificate: BadEncoding"),
        (&cert, &empty, &empty, "no private key in it"),
        (&cert, &cert, &cert, "no private key in it"),
        (
            &cert,
            &encrypted,
            &encrypted,
            "the private key is encrypted",
        ),
        (&cert, &bad_key, &bad_key, "private key"),
        (
            &cert,
            &other.key_file,
            &other.key_file,
            "does not match public key of",
        ),
    ] {
        let text = fault(&with(vec![CertificateFiles {
            cert_file: cert.clone(),
            key_file: key.clone(),
        }]));
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.contains(&shown(at)) && text.contains(what),
            "{what}: {text}"
        );
    }
    let text = fault(&with(vec![
        good.clone(),
        CertificateFiles {
            cert_file: empty.clone(),
            key_file: key,
        },
    ]));
    assert!(
        text.starts_with("error parsing X509 certificate/key pair 2/2: /"),
        "{text}"
    );
    assert!(fault(&with(vec![])).contains("cert_file"));
}

#[test]
fn faults_of_authorities_and_settings_are_named() {
    let (dir, ca) = (Dir::new(), authority());
    let good = || with(vec![pair(&dir, &ca, "a.example", GOOD)]);
    let bundle = dir.file("ca.pem", &ca.pem());
    let verifying = |ca_file: Option<PathBuf>| TlsOptions {
        verify: true,
        ca_file,
        ..good()
    };
    assert!(ServerTls::load(&verifying(Some(bundle))).is_ok());
    let empty = dir.file("empty.pem", "");
    let text = fault(&verifying(Some(empty)));
    assert!(
        text.starts_with("failed to parse root ca certificate: "),
        "{text}"
    );
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let text = fault(&verifying(Some(dir.file("junk.pem", junk))));
    assert!(
        text.contains("no certificate in it that can be used"),
        "{text}"
    );
    let mixed = dir.file("mixed.pem", &format!("{junk}{}", ca.pem()));
    let loaded = ServerTls::load(&verifying(Some(mixed))).unwrap();
    assert!(loaded.warnings()[0].starts_with("1 certificates in "));

    // Whether the system has authorities depends on the machine.
    let system = ServerTls::load(&verifying(None));
    assert!(
        matches!(system, Ok(_) | Err(TlsError::NoSystemAuthorities)),
        "{system:?}"
    );

    let text = fault(&TlsOptions {
        cipher_suites: vec!["TLS_RSA_WITH_RC4_128_SHA"],
        ..good()
    });
    assert!(text.contains("TLS_RSA_WITH_RC4_128_SHA"), "{text}");
}

#[test]
fn odd_certificates_are_warned_of() {
    let (dir, ca) = (Dir::new(), authority());
    let own = CertificateFiles {
        cert_file: dir.file("ca.pem", &ca.pem()),
        key_file: dir.file("ca-key.pem", &ca.key().serialize_pem()),
    };
    for (files, what) in [
        (
            pair(&dir, &ca, "old", (2000, 2001)),
            "has expired at 2001-01-01T00:00:00Z",
        ),
        (
            pair(&dir, &ca, "new", (3999, 4000)),
            "is not valid before 3999-01-01T00:00:00Z",
        ),
        (own, "is that of an authority"),
    ] {
        let tls = ServerTls::load(&with(vec![files])).unwrap();
        assert!(tls.warnings()[0].contains(what), "{:?}", tls.warnings());
    }
}

/// A socket of limited width in memory: what the other side wrote, and what it has not read.
#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes that `output` may hold.
    width: usize,
    /// Bytes that one read gives.
    gulp: usize,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.len().min(buf.len()).min(self.gulp);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buf[..n].copy_from_slice(&self.input[..n]);
        self.input.drain(..n);
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(self.width - self.output.len());
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.output.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client and a channel that have shaken hands, and the channel's end of what is between them.
struct Talk {
    client: ClientConnection,
    channel: Channel,
    pipe: Pipe,
}

impl Talk {
    fn new(server: &ServerTls, ca: &Authority, name: &'static str) -> Talk {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let mut talk = Talk {
            client: ClientConnection::new(config.into(), name).unwrap(),
            channel: server.accept().unwrap(),
            pipe: Pipe {
                width: 100,
                gulp: 7,
                ..Pipe::default()
            },
        };
        let mut done = false;
        while !done || talk.client.is_handshaking() {
            talk.client_writes();
            done = talk.channel.shake_hands(&mut talk.pipe).unwrap() == Handshake::Complete;
            talk.client_reads();
        }
        talk
    }

    fn client_writes(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.pipe.input).unwrap();
        }
    }

    fn client_reads(&mut self) -> Vec<u8> {
        let (mut plain, mut records) = (Vec::new(), &self.pipe.output[..]);
        while !records.is_empty() {
            self.client.read_tls(&mut records).unwrap();
            self.client.process_new_packets().unwrap();
            let _ = self.client.reader().read_to_end(&mut plain);
        }
        self.pipe.output.clear();
        plain
    }
}

fn simple() -> (ServerTls, Authority) {
    let (dir, ca) = (Dir::new(), authority());
    let options = with(vec![pair(&dir, &ca, "a.example", GOOD)]);
    (ServerTls::load(&options).unwrap(), ca)
}

#[test]
fn names_choose_certificates() {
    let (dir, ca) = (Dir::new(), authority());
    let names = ["a.example", "b.example", "c.example"];
    let pairs = names.map(|name| pair(&dir, &ca, name, GOOD)).to_vec();
    let server = ServerTls::load(&with(pairs)).unwrap();
    for name in names {
        // The client would refuse another one's certificate.
        Talk::new(&server, &ca, name);
    }
}

#[test]
fn hellos_are_told_by_their_first_bytes() {
    assert_eq!(looks_like_hello(b""), None);
    assert_eq!(looks_like_hello(b"C"), Some(false));
    assert_eq!(looks_like_hello(b"\x16\x03\x01\x00"), None);
    assert_eq!(looks_like_hello(b"\x16\x03\x01\x00\x02a"), None);
    assert_eq!(looks_like_hello(b"\x16\x03\x01\x00\x02ab"), Some(true));
    assert_eq!(looks_like_hello(b"\x16\x03\x01\xff\xff"), Some(true));
}

#[test]
fn pins_are_of_public_keys() {
    let (dir, ca) = (Dir::new(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let digest = Sha256::digest(key.subject_public_key_info());
    let pin = data_encoding::HEXLOWER.encode(&digest);
    let load = |pins: &[&str]| {
        let options = TlsOptions {
            pinned_certs: pins.iter().map(|pin| pin.to_string()).collect(),
            ..with(vec![pair(&dir, &ca, "a.example", GOOD)])
        };
        ServerTls::load(&options).unwrap()
    };
    let der = Some(certificate.der());
    assert!(load(&[]).check_pins(der).is_ok() && load(&[]).check_pins(None).is_ok());
    assert!(load(&["00", &pin]).check_pins(der).is_ok());
    let refused = Err(format!("key id: {pin}"));
    assert_eq!(load(&["00"]).check_pins(der), refused);
    assert!(load(&[&pin]).check_pins(None).is_err());
}

#[test]
fn a_fault_comes_after_the_bytes_before_it() {
    let (server, ca) = simple();
    let mut talk = Talk::new(&server, &ca, "a.example");
    (talk.pipe.width, talk.pipe.gulp) = (usize::MAX, usize::MAX);
    talk.client.writer().write_all(&[b'x'; 20_000]).unwrap();
    talk.client_writes();
    talk.pipe.input.extend_from_slice(&[0x17, 3, 3, 0, 40]);
    talk.pipe.input.extend_from_slice(&[7; 40]);
    let (mut scratch, mut room) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut read = || talk.channel.read(&mut talk.pipe, &mut scratch, &mut room);
    assert_eq!(read().unwrap(), (20_000, true));
    assert_eq!(read().unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_peer_that_says_goodbye_has_ended() {
    let (server, ca) = simple();
    let mut talk = Talk::new(&server, &ca, "a.example");
    talk.client.writer().write_all(b"PING\r\n").unwrap();
    talk.client.send_close_notify();
    talk.client_writes();
    (talk.pipe.width, talk.pipe.gulp) = (usize::MAX, usize::MAX);
    let (mut scratch, mut room) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut read = || talk.channel.read(&mut talk.pipe, &mut scratch, &mut room);
    assert_eq!(read().unwrap(), (6, true));
    assert_eq!((read().unwrap().0, read().unwrap().0), (0, 0));
    talk.channel.close(&mut talk.pipe);
    let mut records = &talk.pipe.output[..];
    talk.client.read_tls(&mut records).unwrap();
    assert!(talk.client.process_new_packets().unwrap().peer_has_closed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the socket takes at a time: nothing is lost, doubled or mixed up, what counts as
    /// written is never more than what was handed in, and the last of it waits for its records.
    #[test]
    fn bytes_arrive_as_they_were_written(
        widths in proptest::collection::vec(1..40_000usize, 1..20),
        parts in proptest::collection::vec(1..50_000usize, 1..6),
    ) {
        let (server, ca) = simple();
        let mut talk = Talk::new(&server, &ca, "a.example");
        let want: Vec<u8> = (0..parts.iter().sum()).map(|i: usize| (i % 251) as u8).collect();
        let (mut written, mut got) = (0, Vec::new());
        let mut widths = widths.into_iter().cycle();
        while written < want.len() {
            talk.pipe.width = widths.next().unwrap();
            let (mut at, mut slices) = (0, Vec::new());
            for part in &parts {
                let from = at.max(written);
                at += part;
                if from < at {
                    slices.push(IoSlice::new(&want[from..at]));
                }
            }
            match talk.channel.write(&mut talk.pipe, &slices) {
                Ok(n) => {
                    prop_assert!(n > 0);
                    written += n;
                    if written == want.len() {
                        prop_assert!(!talk.channel.connection_wants_write());
                    }
                }
                Err(e) => prop_assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
            got.extend(talk.client_reads());
        }
        prop_assert!(got == want, "{} of {}", got.len(), want.len());
    }

    #[test]
    fn bytes_are_read_as_they_were_sent(
        gulps in proptest::collection::vec(1..30_000usize, 1..20),
        parts in proptest::collection::vec(1..60_000usize, 1..6),
        room_len in 1..50_000usize,
    ) {
        let (server, ca) = simple();
        let mut talk = Talk::new(&server, &ca, "a.example");
        let (mut want, mut got) = (Vec::new(), Vec::new());
        for part in parts {
            let bytes: Vec<u8> = (0..part).map(|i| (i % 253) as u8).collect();
            for piece in bytes.chunks(16 << 10) {
                talk.client.writer().write_all(piece).unwrap();
                talk.client_writes();
            }
            want.extend(bytes);
        }
        let (mut scratch, mut room) = (vec![0; 64 << 10], vec![0; room_len]);
        let mut gulps = gulps.into_iter().cycle();
        while got.len() < want.len() {
            talk.pipe.gulp = gulps.next().unwrap();
            match talk.channel.read(&mut talk.pipe, &mut scratch, &mut room) {
                Ok((n, _)) => {
                    prop_assert!(n > 0);
                    got.extend_from_slice(&room[..n]);
                }
                Err(e) => prop_assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        prop_assert!(got == want);
    }
}
