//! TLS for clients: how it is begun, who is let in, and that bytes arrive.

use crate::support::{Peer, eventually, start};
use nats_server::options::Options;
use nats_server::options::tls::{CertificateFiles, HandshakeFirst, TlsOptions, TlsVersion};
use nats_server::server::Server;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData as _,
};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const GOOD: (i32, i32) = (2020, 4000);

/// An authority, and a directory for the files of what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

/// A certificate and its key.
struct Signed {
    der: rustls_pki_types::CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("nats-it-tls-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("Authority {n}");
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, dir }
    }

    fn sign(&self, name: &str, years: (i32, i32)) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Signed { der, key }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn options(&self) -> TlsOptions {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(4000, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsOptions {
            certs: vec![CertificateFiles {
                cert_file: self.file("server.pem", &certificate.pem()),
                key_file: self.file("server-key.pem", &key.serialize_pem()),
            }],
            ca_file: Some(self.file("ca.pem", &self.issuer.pem())),
            ..TlsOptions::default()
        }
    }

    fn start(&self, change: impl FnOnce(&mut Options, &mut TlsOptions)) -> Server {
        let mut tls = self.options();
        start(|options| {
            change(options, &mut tls);
            options.tls = Some(tls);
        })
    }

    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Signed>,
    ) -> Config {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivatePkcs8KeyDer::from(own.key.serialize_der());
                let key = PrivateKeyDer::Pkcs8(key);
                let chain = vec![own.der.clone()];
                config.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

type Config = Arc<ClientConfig>;

/// A client that speaks TLS.
struct TlsPeer(StreamOwned<ClientConnection, TcpStream>);

fn socket(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn line_of(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8(line).unwrap())
}

impl TlsPeer {
    /// Begins a handshake on a socket.
    fn over(socket: TcpStream, config: &Config) -> TlsPeer {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        TlsPeer(StreamOwned::new(connection, socket))
    }

    /// Reads INFO in plain text, which is checked, and goes on with TLS.
    fn open(addr: SocketAddr, config: &Config, info: &str) -> TlsPeer {
        let mut socket = socket(addr);
        let line = line_of(&mut socket).unwrap();
        assert!(line.starts_with("INFO {") && line.contains(info), "{line}");
        TlsPeer::over(socket, config)
    }

    /// The same, and says CONNECT.
    fn connect(addr: SocketAddr, config: &Config) -> TlsPeer {
        let mut peer = TlsPeer::open(addr, config, "\"tls_required\":true");
        peer.say(CONNECT);
        peer.sync();
        peer
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
        self.0.flush().unwrap();
    }

    fn expect(&mut self, want: impl AsRef<[u8]>) {
        let want = want.as_ref();
        let mut got = vec![0; want.len()];
        self.0.read_exact(&mut got).unwrap();
        let head = &got[..got.len().min(300)];
        assert!(got == want, "got {:?}", String::from_utf8_lossy(head));
    }

    /// A PING of this side, answered: all that was said before is done.
    fn sync(&mut self) {
        self.say("PING\r\n");
        // The answer to the first one comes with another INFO.
        loop {
            let line = line_of(&mut self.0).unwrap();
            match line.as_str() {
                "PONG\r\n" => return,
                "PING\r\n" => self.say("PONG\r\n"),
                line => assert!(line.starts_with("INFO {"), "{line}"),
            }
        }
    }

    /// Says CONNECT and PING on a connection that may not last; gives what comes of it.
    fn try_connect(mut self) -> io::Result<String> {
        self.0.write_all(format!("{CONNECT}PING\r\n").as_bytes())?;
        self.0.flush()?;
        line_of(&mut self.0)
    }
}

/// What the server says until it closes the connection.
fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    match socket.read_to_end(&mut heard) {
        Err(e) if e.kind() != ErrorKind::ConnectionReset => panic!("{e}: {heard:?}"),
        _ => heard,
    }
}

#[test]
fn info_comes_first_and_once() {
    let ca = Authority::new();
    let server = ca.start(|_, _| {});
    for version in BOTH {
        let config = ca.client(&[version], None);
        let info = "\"headers\":true,\"tls_required\":true,\"max_payload\"";
        let mut peer = TlsPeer::open(server.addr(), &config, info);
        // Anything said before this would be heard before it.
        peer.say("PING\r\n");
        peer.expect("PONG\r\n");
        peer.say(format!("{CONNECT}SUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n"));
        peer.expect("MSG a 1 2\r\nhi\r\n");
        assert_eq!(peer.0.conn.protocol_version(), Some(version.version));
    }
}

#[test]
fn tls_1_2_can_be_too_old() {
    let ca = Authority::new();
    let server = ca.start(|_, tls| tls.min_version = TlsVersion::V13);
    let old = TlsPeer::open(server.addr(), &ca.client(&[&TLS12], None), "");
    assert!(
        old.try_connect()
            .unwrap_err()
            .to_string()
            .contains("ProtocolVersion")
    );
    TlsPeer::connect(server.addr(), &ca.client(&[&TLS13], None));
}

#[test]
fn the_handshake_may_come_first() {
    let ca = Authority::new();
    let config = ca.client(BOTH, None);
    let server = ca.start(|options, tls| {
        tls.handshake_first = HandshakeFirst::Yes;
        tls.timeout = Duration::from_millis(500);
        // It has no say in this.
        options.allow_non_tls = true;
    });
    let mut peer = TlsPeer::over(socket(server.addr()), &config);
    let info = line_of(&mut peer.0).unwrap();
    assert!(
        info.contains("\"tls_required\":true,\"tls_available\":true"),
        "{info}"
    );
    peer.say(CONNECT);
    peer.sync();
    assert_eq!(rest(socket(server.addr())), b"");
    let mut plain = socket(server.addr());
    plain.write_all(b"CONNECT {}\r\nPING\r\n").unwrap();
    assert_eq!(rest(plain), b"");
}

#[test]
fn the_handshake_may_come_first_or_later() {
    let ca = Authority::new();
    let config = ca.client(BOTH, None);
    let server = ca.start(|_, tls| {
        tls.handshake_first = HandshakeFirst::Auto(Duration::from_millis(200));
    });
    let began = Instant::now();
    let mut first = TlsPeer::over(socket(server.addr()), &config);
    let info = line_of(&mut first.0).unwrap();
    assert!(
        info.starts_with("INFO {") && info.contains("\"tls_required\":true"),
        "{info}"
    );
    first.say(CONNECT);
    first.sync();
    let mut later = TlsPeer::open(server.addr(), &config, "\"tls_required\":true");
    assert!(began.elapsed() >= Duration::from_millis(200));
    later.say(CONNECT);
    later.sync();
}

#[test]
fn plain_text_may_be_allowed() {
    let ca = Authority::new();
    for first in [
        HandshakeFirst::No,
        HandshakeFirst::Auto(Duration::from_millis(50)),
    ] {
        let server = ca.start(|options, tls| {
            options.allow_non_tls = true;
            tls.handshake_first = first;
            tls.timeout = Duration::from_millis(100);
        });
        let info = "\"headers\":true,\"tls_available\":true,\"max_payload\"";
        let mut peer = TlsPeer::open(server.addr(), &ca.client(BOTH, None), info);
        peer.say(CONNECT);
        peer.sync();
        let mut plain = Peer::open(server.addr());
        // Whoever need not make a handshake need not make it in time.
        thread::sleep(Duration::from_millis(200));
        plain.say(format!("{CONNECT}SUB a 1\r\n"));
        plain.sync();
        peer.say("PUB a 2\r\nhi\r\n");
        plain.expect("MSG a 1 2\r\nhi\r\n");
    }
}

#[test]
fn wrong_beginnings_end_at_once() {
    let ca = Authority::new();
    let server = ca.start(|_, _| {});
    let began = Instant::now();
    for text in [
        &b"CONNECT {}\r\nPING\r\n"[..],
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut plain = socket(server.addr());
        line_of(&mut plain).unwrap();
        plain.write_all(text).unwrap();
        assert_eq!(rest(plain), b"", "{text:?}");
    }
    for garbage in [
        // A record that is no handshake message, one of a size that cannot be, an empty one.
        &b"\x16\x03\x01\x00\x05abcdefgh"[..],
        b"\x16\x03\x01\xff\xffabcdefgh",
        b"\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00",
    ] {
        let mut peer = socket(server.addr());
        line_of(&mut peer).unwrap();
        peer.write_all(garbage).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let heard = rest(peer);
        assert!(
            heard.is_empty() || heard[0] == 0x15,
            "{garbage:?}: {heard:?}"
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "none of them ran into the timeout"
    );

    let plain_server = start(|_| {});
    let mut lost = socket(plain_server.addr());
    line_of(&mut lost).unwrap();
    let lost = TlsPeer::over(lost, &ca.client(BOTH, None));
    assert!(lost.try_connect().is_err());
    Peer::connect(plain_server.addr());
}

#[test]
fn handshakes_that_do_not_end_are_ended() {
    let ca = Authority::new();
    let timeout = Duration::from_millis(600);
    let server = ca.start(|_, tls| tls.timeout = timeout);
    let began = Instant::now();
    let hello: Vec<u8> = {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(ca.client(BOTH, None), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    };
    let peers: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut peer = socket(server.addr());
            line_of(&mut peer).unwrap();
            peer
        })
        .collect();
    let [_silent, mut half, mut whole, mut dripping] = <[TcpStream; 4]>::try_from(peers).unwrap();
    half.write_all(&hello[..hello.len() / 2]).unwrap();
    whole.write_all(&hello).unwrap();
    for byte in hello {
        if dripping.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    eventually("all are closed", || server.connections() == 0);
    assert!(began.elapsed() >= timeout && began.elapsed() < timeout + Duration::from_secs(5));
    assert_eq!(rest(half), b"");
    TlsPeer::connect(server.addr(), &ca.client(BOTH, None));
}

#[test]
fn a_hello_in_pieces_is_a_hello() {
    let ca = Authority::new();
    let server = ca.start(|_, _| {});
    let mut socket = socket(server.addr());
    line_of(&mut socket).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(ca.client(BOTH, None), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for piece in hello.chunks(40) {
        socket.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    let mut peer = TlsPeer(StreamOwned::new(client, socket));
    peer.say(CONNECT);
    peer.sync();
}

#[test]
fn clients_show_certificates_where_that_is_asked() {
    let (ca, other) = (Authority::new(), Authority::new());
    let server = ca.start(|_, tls| tls.verify = true);
    let info = "\"tls_required\":true,\"tls_verify\":true,\"max_payload\"";
    let good = ca.sign("client", GOOD);
    let cases = [
        (None, "CertificateRequired"),
        (Some(ca.sign("old", (2000, 2001))), "CertificateExpired"),
        (Some(other.sign("client", GOOD)), "UnknownCA"),
    ];
    for version in BOTH {
        let open = |own: Option<&Signed>| {
            let config = ca.client(&[version], own);
            TlsPeer::open(server.addr(), &config, info).try_connect()
        };
        let heard = open(Some(&good)).unwrap();
        assert!(
            heard.starts_with("INFO {") || heard == "PONG\r\n",
            "{heard}"
        );
        for (own, alert) in &cases {
            let error = open(own.as_ref()).unwrap_err().to_string();
            assert!(error.contains(alert), "{alert}: {error}");
        }
    }
    eventually("nobody is left", || server.connections() == 0);
}

#[test]
fn only_pinned_keys_are_let_in_until_they_are_not() {
    let ca = Authority::new();
    let pin = |signed: &Signed| {
        let digest = Sha256::digest(signed.key.subject_public_key_info());
        data_encoding::HEXLOWER.encode(&digest)
    };
    let (one, two) = (ca.sign("one", GOOD), ca.sign("two", GOOD));
    let mut server = ca.start(|_, tls| {
        tls.verify = true;
        tls.pinned_certs = [pin(&one)].into();
    });
    let mut first = TlsPeer::connect(server.addr(), &ca.client(BOTH, Some(&one)));
    for version in BOTH {
        let config = ca.client(&[version], Some(&two));
        for _ in 0..2 {
            let info = "\"tls_verify\":true";
            let refused = TlsPeer::open(server.addr(), &config, info).try_connect();
            assert!(refused.is_err(), "{refused:?}");
        }
    }
    let mut options = server.options().clone();
    options.tls.as_mut().unwrap().pinned_certs = [pin(&two)].into();
    server.reload(server.prepare(options).unwrap());
    assert!(line_of(&mut first.0).is_err());
    TlsPeer::connect(server.addr(), &ca.client(BOTH, Some(&two)));
}

/// Payloads that differ in every byte, and what a subscriber hears of them.
fn messages(sizes: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    for (n, size) in sizes.iter().enumerate() {
        let payload: Vec<u8> = (0..*size).map(|i| (i * 7 + i / 251 + n) as u8).collect();
        said.extend(format!("PUB big {size}\r\n").as_bytes());
        heard.extend(format!("MSG big 1 {size}\r\n").as_bytes());
        for text in [&mut said, &mut heard] {
            text.extend_from_slice(&payload);
            text.extend_from_slice(b"\r\n");
        }
    }
    (said, heard)
}

#[test]
fn messages_of_all_sizes_arrive_both_ways() {
    let ca = Authority::new();
    let server = ca.start(|options, _| options.allow_non_tls = true);
    let sizes = [
        1,
        100,
        2000,
        16_383,
        16_384,
        70_000,
        300_000,
        1 << 20,
        0,
        65_536,
    ];
    let sizes: Vec<usize> = sizes.iter().cycle().take(60).copied().collect();
    let (said, heard) = messages(&sizes);
    for version in BOTH {
        let config = ca.client(&[version], None);
        let open = || TlsPeer::open(server.addr(), &config, "");
        let (mut subscriber, mut publisher) = (open(), open());
        let mut plain = Peer::open(server.addr());
        subscriber.say(format!("{CONNECT}SUB big 1\r\n"));
        subscriber.sync();
        plain.say(format!("{CONNECT}SUB big 1\r\n"));
        plain.sync();
        publisher.say(CONNECT);
        thread::scope(|scope| {
            scope.spawn(|| {
                publisher.say(&said);
                publisher.sync();
            });
            scope.spawn(|| subscriber.expect(&heard));
            plain.expect(&heard);
        });
    }
}

#[test]
fn many_small_messages_arrive() {
    let ca = Authority::new();
    let server = ca.start(|_, _| {});
    let config = ca.client(BOTH, None);
    let mut subscriber = TlsPeer::connect(server.addr(), &config);
    subscriber.say("SUB big 1\r\n");
    subscriber.sync();
    let mut publisher = TlsPeer::connect(server.addr(), &config);
    let (said, heard) = messages(&vec![16; 100_000]);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Records of many sizes, cut anywhere.
            for (i, piece) in said.chunks(1777).enumerate() {
                publisher.0.write_all(piece).unwrap();
                if i % 5 == 0 {
                    publisher.0.flush().unwrap();
                }
            }
            publisher.sync();
        });
        subscriber.expect(&heard);
    });
}

#[test]
fn slow_readers_get_all_and_stalled_ones_are_closed() {
    let ca = Authority::new();
    let server = ca.start(|options, _| options.write_deadline = Duration::from_secs(1));
    let config = ca.client(BOTH, None);
    let mut slow = TlsPeer::connect(server.addr(), &config);
    slow.say("SUB big 1\r\n");
    slow.sync();
    let mut publisher = TlsPeer::connect(server.addr(), &config);
    let (said, heard) = messages(&[500_000; 30]);
    publisher.say(&said);
    publisher.sync();
    // Long enough to fall behind, in all too long for the deadline, but never without progress.
    let mut at = 0;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        let mut part = vec![0; 300_000];
        slow.0.read_exact(&mut part).unwrap();
        assert!(part == heard[at..at + part.len()]);
        at += part.len();
    }
    slow.expect(&heard[at..]);
    slow.sync();

    publisher.say(&said);
    publisher.sync();
    eventually("the stalled client is gone", || server.connections() == 1);
    publisher.sync();
}

#[test]
fn certificates_change_while_clients_are_connected() {
    let (ca, next) = (Authority::new(), Authority::new());
    let mut server = ca.start(|_, _| {});
    let mut old = TlsPeer::connect(server.addr(), &ca.client(BOTH, None));
    let mut options = server.options().clone();
    options.tls = Some(next.options());
    server.reload(server.prepare(options.clone()).unwrap());
    old.sync();
    TlsPeer::connect(server.addr(), &next.client(BOTH, None));
    let refused = TlsPeer::open(server.addr(), &ca.client(BOTH, None), "").try_connect();
    assert!(refused.is_err(), "{refused:?}");

    // What cannot be loaded changes nothing.
    let key = &options.tls.as_ref().unwrap().certs[0].key_file;
    fs::write(key, "").unwrap();
    let error = server.prepare(options).err().unwrap().to_string();
    assert!(error.ends_with("no private key in it"), "{error}");
    TlsPeer::connect(server.addr(), &next.client(BOTH, None));

    // Without TLS, those who have it keep it.
    let mut options = server.options().clone();
    options.tls = None;
    server.reload(server.prepare(options).unwrap());
    old.sync();
    Peer::connect(server.addr());
}

#[test]
fn a_server_does_not_start_with_files_that_are_wrong() {
    let ca = Authority::new();
    let mut tls = ca.options();
    tls.certs[0].cert_file = ca.dir.join("missing.pem");
    let options = Options {
        host: "127.0.0.1".into(),
        port: -1,
        tls: Some(tls),
        ..Options::default()
    };
    let error = Server::start(options).err().unwrap().to_string();
    assert!(
        error.contains("missing.pem: no such file or directory"),
        "{error}"
    );
}

#[test]
fn more_handshakes_than_wanted_are_refused() {
    let ca = Authority::new();
    let server = ca.start(|_, tls| tls.connection_rate_limit = 3);
    let config = ca.client(BOTH, None);
    let mut refused = 0;
    let mut peers = Vec::new();
    for _ in 0..12 {
        let mut socket = socket(server.addr());
        line_of(&mut socket).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(config.clone(), name).unwrap();
        client.write_tls(&mut socket).unwrap();
        let mut first = [0];
        socket.peek(&mut first).unwrap();
        if first == [b'-'] {
            let line = line_of(&mut socket).unwrap();
            let want = "-ERR 'Connection throttling is active. Please try again later.'\r\n";
            assert_eq!(line, want);
            refused += 1;
        } else {
            peers.push(socket);
        }
    }
    assert!(refused >= 3, "{refused} of 12");
}

#[test]
fn goodbyes_are_said_both_ways() {
    let ca = Authority::new();
    let server = ca.start(|_, _| {});
    let config = ca.client(BOTH, None);
    let mut leaving = TlsPeer::connect(server.addr(), &config);
    leaving.0.conn.send_close_notify();
    leaving.0.flush().unwrap();
    let mut byte = [0];
    assert_eq!(leaving.0.read(&mut byte).unwrap(), 0);
    let mut wrong = TlsPeer::connect(server.addr(), &config);
    wrong.say("WRONG\r\n");
    assert_eq!(
        line_of(&mut wrong.0).unwrap(),
        "-ERR 'Unknown Protocol Operation'\r\n"
    );
    assert_eq!(wrong.0.read(&mut byte).unwrap(), 0);
    let mut staying = TlsPeer::connect(server.addr(), &config);
    server.shutdown();
    assert_eq!(staying.0.read(&mut byte).unwrap(), 0);
}

#[test]
fn cut_streams_are_noticed() {
    let ca = Authority::new();
    let server = ca.start(|_, _| {});
    let config = ca.client(BOTH, None);
    let cut = TlsPeer::connect(server.addr(), &config);
    cut.0.sock.shutdown(Shutdown::Both).unwrap();
    let mut garbled = TlsPeer::connect(server.addr(), &config);
    garbled.0.sock.write_all(&[0x17, 3, 3, 0, 32]).unwrap();
    garbled.0.sock.write_all(&[9; 32]).unwrap();
    let error = line_of(&mut garbled.0).unwrap_err().to_string();
    assert!(error.contains("BadRecordMac"), "{error}");
    eventually("both are gone", || server.connections() == 0);
}
