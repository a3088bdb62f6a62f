//! Puts a server together: key, account, loops and listeners; and takes it apart again.

mod cluster;
mod figures;
mod jetstream;
mod monitoring;
mod operations;
mod profiling;
mod site;
mod sockets;

pub use figures::Figures;
pub use sockets::Sockets;

use crate::accounts::Accounts;
use crate::accounts::interest::LoopId;
use crate::auth::Directory;
use crate::base::address::{self, join};
use crate::base::clock::mono;
use crate::base::text::PlainError;
use crate::broker::{Broker, Facts};
use crate::loops::client::{ClientLoop, Peers};
use crate::loops::cluster::ClusterLoop;
use crate::loops::inbox::{Inbox, Mail};
use crate::loops::jetstream::{self as jetstream_loop, Door, StoreError};
use crate::loops::monitor::Monitor;
use crate::loops::system::SystemLoop;
use crate::loops::verifier::Verifier;
use crate::net::listen::{Acceptor, adopt, listen};
use crate::net::tls::{PeerTls, ServerTls, TlsError};
use crate::nkey::ServerKey;
use crate::options::Options;
use crate::options::tls::HandshakeFirst;
use crate::os::limits::lower_priority;
use log::{info, warn};
use mio::Poll;
use operations::Operations;
use site::Site;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long it is waited for clients to be told that the server ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// A running server.
pub struct Server {
    addr: SocketAddr,
    facts: Arc<Facts>,
    peers: Arc<Peers>,
    figures: Arc<Figures>,
    operations: Arc<Operations>,
    threads: Vec<JoinHandle<()>>,
    /// The loop of the system account.
    system: Option<JoinHandle<()>>,
    /// The loop of JetStream, if there is one.
    jetstream: Option<JoinHandle<()>>,
    cluster: Option<JoinHandle<()>>,
    cluster_addr: Option<SocketAddr>,
    monitor: Option<Monitor>,
    monitor_addr: Option<HttpAddr>,
    profile_addr: Option<HttpAddr>,
}

/// Where something is served over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpAddr {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The address, with its real port.
    pub addr: SocketAddr,
}

/// Options that a reload goes on with, and what was made of them.
pub struct Prepared {
    options: Options,
    tenancy: Tenancy,
    tls: Option<Arc<ServerTls>>,
    monitor_tls: Option<Arc<ServerTls>>,
    cluster_tls: Option<Arc<PeerTls>>,
}

/// The accounts and who may connect to them.
struct Tenancy {
    accounts: Accounts,
    directory: Directory,
}

impl Tenancy {
    fn new(options: &Options, old: Option<&Accounts>, seed: u64) -> Result<Tenancy, Vec<String>> {
        let accounts = Accounts::new(options, old, seed)?;
        let directory = Directory::new(options, &accounts)?;
        Ok(Tenancy {
            accounts,
            directory,
        })
    }
}

/// What is wrong with options that only shows when something is made of them.
///
/// # Errors
/// All of it, a text each.
pub fn check(options: &Options) -> Result<(), Vec<String>> {
    Tenancy::new(options, None, 0).map(drop)?;
    let tls = options.tls.as_ref().map(ServerTls::load).transpose();
    tls.map(drop).map_err(|e| vec![e.to_string()])
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The address, and the system's reason.
    Listen(String, io::Error),
    /// The system's source of randomness failed.
    Random(getrandom::Error),
    /// The address for monitoring, and the system's reason.
    Monitor(String, io::Error),
    /// The address for profiling, and the system's reason.
    Profiling(String, io::Error),
    /// The address for routes, and the system's reason.
    Routes(String, io::Error),
    /// A thread or a poll could not be had.
    Loop(io::Error),
    /// The store of JetStream cannot be used.
    Store(StoreError),
    /// What is wrong with accounts and users.
    Security(Vec<String>),
    /// What is wrong with the settings or files of TLS.
    Tls(TlsError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(at, e) => {
                let e = PlainError(e);
                write!(f, "Error listening on port: {at}, \"listen tcp {at}: {e}\"")
            }
            StartError::Routes(at, e) => {
                let e = PlainError(e);
                write!(
                    f,
                    "Error listening on router port: {at} - listen tcp {at}: {e}"
                )
            }
            StartError::Monitor(at, e) => {
                let e = PlainError(e);
                write!(
                    f,
                    "Can't start monitoring: can't listen to the monitor port: listen tcp {at}: {e}"
                )
            }
            StartError::Profiling(at, e) => {
                let e = PlainError(e);
                write!(f, "error starting profiler: listen tcp {at}: {e}")
            }
            StartError::Random(e) => write!(f, "Error getting random numbers: {e}"),
            StartError::Loop(e) => write!(f, "Error starting a loop: {e}"),
            StartError::Store(e) => write!(f, "Can't start JetStream: {e}"),
            StartError::Security(faults) => f.write_str(&faults.join("\n")),
            StartError::Tls(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Listen(_, e)
            | StartError::Monitor(_, e)
            | StartError::Routes(_, e)
            | StartError::Profiling(_, e)
            | StartError::Loop(e) => Some(e),
            StartError::Tls(e) => Some(e),
            StartError::Store(e) => Some(e),
            StartError::Random(_) | StartError::Security(_) => None,
        }
    }
}

/// The share of the machine's memory that all connections together may hold, where nothing else
/// is set, and what they may hold in any case.
const MEMORY_SHARE: usize = 2;
const MEMORY_MIN: usize = 256 << 20;

impl Server {
    /// Starts listening and serving, first for monitoring; returns once clients can connect.
    ///
    /// # Errors
    /// The address cannot be listened on, a file of TLS does not hold what it should, or the system
    /// lacks what the loops need.
    pub fn start(options: Options) -> Result<Server, StartError> {
        Server::start_on(options, Sockets::default())
    }

    /// [`Server::start`] with sockets that are listening already.
    ///
    /// # Errors
    /// As there; and a socket for monitoring, where that is not configured.
    pub fn start_on(options: Options, sockets: Sockets) -> Result<Server, StartError> {
        let tls = load_tls(&options).map_err(StartError::Tls)?;
        let http_tls = monitoring::load_tls(&options).map_err(StartError::Tls)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(StartError::Random)?;
        let id = ServerKey::from_seed(seed).public();
        let mut seeds = [0; 16];
        getrandom::fill(&mut seeds).map_err(StartError::Random)?;
        let (table_seed, pick_seed) = seeds.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let name = options.server_name.clone().unwrap_or_else(|| id.clone());
        info!("  Name:     {name}");
        info!("  ID:       {id}");

        let sites = monitoring::Sites {
            profiling: monitoring::bind_profiling(&options)?,
            monitoring: monitoring::bind(&options, sockets.monitor)?,
            tls: http_tls,
        };
        let port = match options.port {
            -1 => 0,
            0 => 4222,
            port => u16::try_from(port).map_err(|_| {
                let at = format!("{}:{port}", options.host);
                StartError::Listen(at, io::Error::other("invalid port"))
            })?,
        };
        let at = |e: io::Error| StartError::Listen(join(&options.host, port), e);
        let listener = match sockets.client {
            Some(socket) => adopt(socket),
            None => listen(&options.host, port),
        };
        let listener = listener.map_err(at)?;
        let addr = listener.local_addr().map_err(at)?;

        let cores = thread::available_parallelism().map_or(1, usize::from);
        let loops = options.client_loops(cores);
        let bytes_max = options.pending_total_max.unwrap_or_else(|| {
            let memory = crate::os::limits::total_memory().unwrap_or(0);
            (usize::try_from(memory).unwrap_or(usize::MAX) / MEMORY_SHARE).max(MEMORY_MIN)
        });
        let connections_max = AtomicUsize::new(options.max_connections);
        let (host, told_port) = told_address(&options, addr.port());
        let tenancy =
            Tenancy::new(&options, None, number(table_seed)).map_err(StartError::Security)?;
        let mut nonce_key = [0; 32];
        getrandom::fill(&mut nonce_key).map_err(StartError::Random)?;
        let facts = Arc::new(Facts {
            id,
            name,
            host,
            port: told_port,
            accounts: tenancy.accounts,
            directory: tenancy.directory,
            nonce_key,
            event_seq: Arc::default(),
            cluster: Arc::default(),
            loop_bytes_max: bytes_max / loops,
            options,
        });
        let (mut polls, mut inboxes) = (Vec::new(), Vec::new());
        for _ in 0..loops {
            let (poll, waker) = ClientLoop::poll().map_err(StartError::Loop)?;
            polls.push(poll);
            inboxes.push(Inbox::new(waker));
        }
        let (system_poll, waker) = SystemLoop::poll().map_err(StartError::Loop)?;
        let mut jetstream = None;
        let mut jetstream_door = None;
        if facts.options.jetstream.enabled {
            let place = jetstream::take_store(&facts)?;
            let (poll, waker) = jetstream_loop::poll().map_err(StartError::Loop)?;
            jetstream = Some((poll, place));
            jetstream_door = Some(Door::new(Inbox::new(waker), mono()));
        }
        let bound = cluster::bind(&facts.options)?;
        let (mut cluster, mut cluster_inbox) = (None, None);
        let cluster_addr = bound.as_ref().map(|bound| bound.at);
        if let Some(bound) = bound {
            let (poll, waker) = ClusterLoop::poll().map_err(StartError::Loop)?;
            cluster = Some((poll, bound));
            cluster_inbox = Some(Inbox::new(waker));
        }
        let connections = (0..loops).map(|_| AtomicUsize::new(0)).collect();
        let peers = Arc::new(Peers {
            inboxes,
            system: Inbox::new(waker),
            jetstream: jetstream_door,
            cluster: cluster_inbox,
            accepted: AtomicU64::new(0),
            connections,
            connections_max,
            verifier: Verifier::default(),
            giving_back: AtomicBool::new(false),
        });
        // Nobody waits for these to end: a comparison may take long, and does not matter then.
        for _ in 0..verifier_threads(cores) {
            let peers = peers.clone();
            let work = move || {
                lower_priority();
                peers.verifier.work(&peers);
            };
            thread::Builder::new()
                .name("auth".into())
                .spawn(work)
                .map_err(StartError::Loop)?;
        }
        let figures = Figures::new(peers.clone(), facts.clone(), addr, cores);
        let figures = Arc::new(figures);
        figures.note_tls(tls.as_deref());
        let mut acceptor = Some(Acceptor::new(listener));
        let mut server = Server {
            addr,
            facts: facts.clone(),
            peers: peers.clone(),
            operations: Arc::new(Operations::new(figures.clone())),
            figures,
            threads: Vec::new(),
            system: None,
            jetstream: None,
            cluster: None,
            cluster_addr,
            monitor: None,
            monitor_addr: sites.monitoring.as_ref().map(|bound| bound.at),
            profile_addr: sites.profiling.as_ref().map(|bound| bound.at),
        };
        let seed = number(pick_seed).wrapping_sub(1);
        server.start_system(system_poll, loops, seed)?;
        let site = Site::new(server.figures.clone(), &facts.options, server.monitor_addr);
        let figures = server.figures.clone();
        let memory = Box::new(move || profiling::memory(&*figures));
        let monitor = sites.start(&facts.options, Arc::new(site), memory);
        server.monitor = monitor.map_err(StartError::Loop)?;
        if let Some(own) = jetstream {
            server.start_jetstream(own, loops, number(pick_seed).rotate_left(17))?;
        }
        if let Some(own) = cluster {
            server.start_cluster(own, loops, number(pick_seed).rotate_left(31))?;
        }
        for (me, poll) in polls.into_iter().enumerate() {
            let owner = LoopId(u16::try_from(me).expect("there are few loops"));
            let seed = number(pick_seed).wrapping_add(me as u64);
            let broker = Broker::new(facts.clone(), owner, loops, seed);
            let (peers, tls, acceptor) = (peers.clone(), tls.clone(), acceptor.take());
            let client_loop = ClientLoop::new(owner, poll, peers, broker, tls, acceptor)
                .map_err(StartError::Loop)?;
            let thread = thread::Builder::new()
                .name(format!("clients-{me}"))
                .spawn(move || client_loop.run())
                .map_err(StartError::Loop)?;
            server.threads.push(thread);
        }
        info!(
            "Listening for client connections on {}",
            join(&facts.options.host, addr.port())
        );
        tell_of_tls(&facts.options);
        Ok(server)
    }

    fn start_system(&mut self, poll: Poll, loops: usize, seed: u64) -> Result<(), StartError> {
        let me = LoopId(u16::try_from(loops).expect("there are few loops"));
        let broker = Broker::new(self.facts.clone(), me, loops, seed);
        let (figures, operations) = (self.figures.clone(), self.operations.clone());
        let peers = self.peers.clone();
        let system = SystemLoop::new((me, poll), peers, broker, &self.facts, figures, operations);
        let thread = thread::Builder::new()
            .name("system".into())
            .spawn(move || system.run())
            .map_err(StartError::Loop)?;
        self.system = Some(thread);
        Ok(())
    }

    /// What monitoring can ask.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// How the configuration is read again when the system account asks for that. Without this, it
    /// is refused.
    pub fn on_reload(&self, reload: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.operations.set_reload(Box::new(reload));
    }

    /// A configuration with this digest is in force.
    pub fn note_config(&self, digest: &str) {
        self.figures.note_config(digest);
    }

    /// The address that clients connect to, with its real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where monitoring can be reached, if it is configured.
    pub fn monitor_addr(&self) -> Option<HttpAddr> {
        self.monitor_addr
    }

    /// Where other servers can connect, if this one is part of a cluster.
    pub fn cluster_addr(&self) -> Option<SocketAddr> {
        self.cluster_addr
    }

    /// Where profiles can be had, if that is configured.
    pub fn profile_addr(&self) -> Option<HttpAddr> {
        self.profile_addr
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.facts.options
    }

    /// Clients connected at the moment.
    pub fn connections(&self) -> usize {
        self.peers.total()
    }

    /// Makes all that other options need, so that a fault is found before anything has changed. The
    /// options were checked, and differ from those in force only where [`Options::changes`] allows
    /// it.
    ///
    /// # Errors
    /// What is wrong with accounts, users or TLS.
    pub fn prepare(&self, options: Options) -> Result<Prepared, StartError> {
        let tls = load_tls(&options).map_err(StartError::Tls)?;
        let monitor_tls = monitoring::load_tls(&options).map_err(StartError::Tls)?;
        let cluster_tls = cluster::load_tls(&options)?;
        let old = Some(&self.facts.accounts);
        let tenancy = Tenancy::new(&options, old, 0).map_err(StartError::Security)?;
        Ok(Prepared {
            options,
            tenancy,
            tls,
            monitor_tls,
            cluster_tls,
        })
    }

    /// Goes on with other options. Loops take them over as soon as they wake, and clients are told
    /// what has changed for them.
    pub fn reload(&mut self, prepared: Prepared) {
        let Prepared {
            options,
            tenancy,
            tls,
            monitor_tls,
            cluster_tls,
        } = prepared;
        if let Some(monitor) = &self.monitor {
            monitor.renew(monitor_tls);
        }
        self.renew_cluster(&options, cluster_tls);
        let (host, port) = told_address(&options, self.addr.port());
        let (id, name) = (self.facts.id.clone(), self.facts.name.clone());
        let connections_max = options.max_connections;
        self.facts = Arc::new(Facts {
            options,
            id,
            name,
            host,
            port,
            accounts: tenancy.accounts,
            directory: tenancy.directory,
            nonce_key: self.facts.nonce_key,
            event_seq: self.facts.event_seq.clone(),
            cluster: self.facts.cluster.clone(),
            loop_bytes_max: self.facts.loop_bytes_max,
        });
        self.figures.renew(self.facts.clone());
        self.figures.note_tls(tls.as_deref());
        let peers = &self.peers;
        peers
            .connections_max
            .store(connections_max, Ordering::Relaxed);
        self.tell(|| Mail::Renew(self.facts.clone(), tls.clone()));
        let mut excess = self.connections().saturating_sub(connections_max);
        if excess > 0 {
            info!("Closed {excess} connections to fall within max_connections");
        }
        for (inbox, own) in peers.inboxes.iter().zip(&peers.connections) {
            let count = excess.min(own.load(Ordering::Relaxed));
            excess -= count;
            if count > 0 {
                send(inbox, Mail::Shed(count));
            }
        }
    }

    /// Stops accepting, tells the clients, and after the grace period disconnects them one after
    /// the other; [`Server::connections`] tells when all are gone.
    pub fn enter_lame_duck(&self) {
        let grace = self.options().lame_duck_grace_period;
        let duration = self.options().lame_duck_duration;
        self.figures.note_lame_duck();
        self.tell(|| Mail::LameDuck { grace, duration });
    }

    fn tell(&self, mail: impl Fn() -> Mail) {
        for inbox in self.peers.all() {
            send(inbox, mail());
        }
    }

    /// Closes all connections, after a last write of what is pending, and ends the loops.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.figures.note_end();
        // While the others still run: they are asked by whoever answers.
        self.monitor = None;
        // Then the one that tells of the end, so that clients still hear that.
        if let Some(system) = self.system.take() {
            send(&self.peers.system, Mail::Shutdown);
            if system.join().is_err() {
                log::error!("The loop of the system account ended with a panic");
            }
        }
        self.say_goodbye();
        for inbox in &self.peers.inboxes {
            send(inbox, Mail::Shutdown);
        }
        // Before the client loops, so that no server sends to one that is gone.
        if let Some(cluster) = self.cluster.take() {
            if let Some(inbox) = &self.peers.cluster {
                send(inbox, Mail::Shutdown);
            }
            if cluster.join().is_err() {
                log::error!("The loop of the cluster ended with a panic");
            }
        }
        self.peers.verifier.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("A client loop ended with a panic");
            }
        }
        // Last, so that what clients published until their end is stored.
        if let Some(jetstream) = self.jetstream.take() {
            if let Some(door) = &self.peers.jetstream {
                send(&door.inbox, Mail::Shutdown);
            }
            if jetstream.join().is_err() {
                log::error!("The loop of JetStream ended with a panic");
            }
        }
    }
}

impl Server {
    /// Has clients told that wait for messages of streams, while there are loops that deliver that.
    fn say_goodbye(&self) {
        if self.jetstream.is_some()
            && let Some(door) = &self.peers.jetstream
        {
            let (done, is_done) = mpsc::channel();
            send(&door.inbox, Mail::Goodbye(done));
            if is_done.recv_timeout(GOODBYE).is_err() {
                log::warn!("Clients that wait for messages of streams were not told of the end");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How many threads compare passwords: a part of the cores, so that the others stay free for
/// messages.
fn verifier_threads(cores: usize) -> usize {
    (cores / 4).clamp(1, 4)
}

/// Reads the files of TLS, if it is configured, and warns of what is odd about them.
fn load_tls(options: &Options) -> Result<Option<Arc<ServerTls>>, TlsError> {
    let loaded = options.tls.as_ref().map(ServerTls::load).transpose()?;
    for warning in loaded.iter().flat_map(ServerTls::warnings) {
        warn!("TLS: {warning}");
    }
    Ok(loaded.map(Arc::new))
}

/// Says what clients have to expect.
fn tell_of_tls(options: &Options) {
    let Some(tls) = &options.tls else {
        return;
    };
    let first = tls.handshake_first == HandshakeFirst::Yes;
    match options.allow_non_tls && !first {
        true => info!("TLS available for client connections"),
        false => info!("TLS required for client connections"),
    }
    if first {
        warn!("Clients that are not using \"TLS Handshake First\" option will fail to connect");
    }
}

/// The address that clients are told.
fn told_address(options: &Options, port: u16) -> (String, u16) {
    let told = options.client_advertise.as_deref();
    told.and_then(|text| address::advertised(text, port).ok())
        .unwrap_or_else(|| (options.host.clone(), port))
}

fn send(inbox: &Inbox, mail: Mail) {
    if let Err(e) = inbox.send(mail) {
        log::error!("Error waking a client loop: {e}");
    }
}
