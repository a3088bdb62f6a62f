//! A running server: its files, and what signals make of it.

use std::fs;
use std::panic;
use std::path::Path;
use std::process;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{error, info, warn};

use super::args::Args;
use super::configure::{Disk, Setup, UsedFile, configure};
use super::pid_file::PidFile;
use super::ports_file::{Ports, PortsFile, PortsFileError, urls};
use crate::base::clock::{self, Mono};
use crate::base::text::PlainError;
use crate::logging;
use crate::options::{COMMIT, Options, VERSION};
use crate::os::signals::{self, Signal, Signals};
use crate::os::supervisor::{self, Notice, Supervisor};
use crate::os::{interfaces, limits, lost_files, malloc, service};
use crate::server::{HttpAddr, Server, Sockets};

/// Larger payloads are warned of.
const PAYLOAD_ADVISED_MAX: usize = 8 << 20;

/// How often a server in lame duck mode looks whether it may end.
const LAME_DUCK_LOOK: Duration = Duration::from_millis(50);

/// Time that the last clients get to be gone after lame duck mode should be over.
const LAME_DUCK_SLACK: Duration = Duration::from_secs(2);

/// Runs a server until a signal ends it, under the system's manager of services if that has started
/// this program. Whether it ended well.
pub(super) fn serve(setup: Setup) -> bool {
    service::run(move || serve_here(setup))
}

fn serve_here(setup: Setup) -> bool {
    let inherited = supervisor::inherited();
    malloc::tune();
    limits::raise_open_files();
    if let Err(e) = lost_files::survive() {
        warn!("Files that are cut by others cannot be survived: {e}");
    }
    // Before any other thread starts: what comes early waits its turn instead of killing.
    let signals = Signals::install();
    let log = match logging::init(&setup.options.log) {
        Ok(log) => log,
        Err(error) => {
            super::run::complain(&format_args!("nats-server: {error}"));
            return false;
        }
    };
    end_on_panic();
    info!("Starting nats-server");
    info!("  Version:  {VERSION}");
    info!("  Git:      [{}]", COMMIT.unwrap_or("not set"));
    info!("  Build:    {}", env!("CARGO_PKG_VERSION"));

    let outcome = signals
        .map_err(|error| format!("Error handling signals: {error}"))
        .and_then(|signals| {
            let inherited = inherited.map_err(|error| {
                format!("Error taking over the service manager's sockets: {error}")
            })?;
            let running = Running::start(setup, Sockets::sort(inherited)?)?;
            running.run(signals);
            Ok(())
        });
    if let Err(reason) = &outcome {
        logging::fatal(reason);
    }
    drop(log);
    outcome.is_ok()
}

/// Makes a panic, which is a bug of ours, end the process at once: with one of its loops gone, a
/// server would only look alive, and whoever supervises it could not tell.
fn end_on_panic() {
    panic::set_hook(Box::new(|info| {
        logging::fatal(format_args!("Internal error: {info}"));
        logging::flush();
        process::exit(1);
    }));
}

/// Where those wait who have asked for a reload.
type Waiters = Arc<Mutex<Vec<Sender<Result<(), String>>>>>;

/// How long they wait.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    server: Server,
    waiters: Waiters,
    args: Args,
    pid_file: Option<PidFile>,
    ports_file: Option<PortsFile>,
    lame_duck: Option<LameDuck>,
    supervisor: Supervisor,
    /// When the supervisor is to be told next that the server is alive, if it watches.
    alive_at: Option<Mono>,
}

/// Lame duck mode as far as the main thread has to do with it.
struct LameDuck {
    since: Mono,
    /// Whether the grace period is over.
    closing: bool,
}

impl Running {
    fn start(setup: Setup, sockets: Sockets) -> Result<Running, String> {
        let Setup {
            options,
            args,
            file,
            warnings,
        } = setup;
        if let Some(UsedFile { path, digest }) = &file {
            info!("Using configuration file: {} ({digest})", path.display());
        }
        for warning in warnings {
            warn!("{warning}");
        }
        if !options.tags.is_empty() {
            info!("  Tags:     {}", options.tags.join(", "));
        }
        for (name, value) in &options.metadata {
            info!("  Metadata: {name} = {value}");
        }
        if options.max_payload > PAYLOAD_ADVISED_MAX {
            warn!(
                "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor \
                 performance"
            );
        }
        let pid_path = options.pid_file.clone();
        let ports_dir = options.ports_file_dir.clone();
        // A manager that cannot be told is no reason not to serve.
        let supervisor = Supervisor::from_env().unwrap_or_else(|e| {
            warn!("Error reaching the service manager: {}", PlainError(&e));
            Supervisor::default()
        });
        let server = Server::start_on(options, sockets).map_err(|error| error.to_string())?;
        // Only now: a server that found its port taken leaves the file of the one that runs.
        let pid_file = match pid_path.as_deref().map(PidFile::write).transpose() {
            Ok(file) => file,
            Err(error) => {
                server.shutdown();
                return Err(error.to_string());
            }
        };
        // As in the reference, a server that cannot write this one says so and runs.
        let ports_file = ports_dir.and_then(|dir| {
            let written = write_ports(&dir, &server);
            written.inspect_err(|e| error!("{e}")).ok()
        });
        if let Some(UsedFile { digest, .. }) = &file {
            server.note_config(digest);
        }
        let waiters = Waiters::default();
        server.on_reload({
            let waiters = waiters.clone();
            move || ask_for_reload(&waiters)
        });
        info!("Server is ready");
        let running = Running {
            server,
            waiters,
            args,
            pid_file,
            ports_file,
            lame_duck: None,
            alive_at: supervisor.watchdog().map(|_| clock::mono()),
            supervisor,
        };
        running.tell_ready();
        Ok(running)
    }

    fn tell_ready(&self) {
        let at = self.server.addr();
        let status = format!("Listening for client connections on {at}");
        self.supervisor.tell(&Notice::Ready(status));
    }

    /// Tells the supervisor, if it watches and half of its time is over, that the server is alive;
    /// which it is if every loop of clients is.
    fn feed_watchdog(&mut self) {
        let Some(watchdog) = self.supervisor.watchdog() else {
            return;
        };
        let now = clock::mono();
        if self.alive_at.is_some_and(|at| at > now) {
            return;
        }
        let pause = if self.server.figures().is_alive() {
            self.supervisor.tell(&Notice::Alive);
            watchdog / 2
        } else {
            warn!("A client loop does not answer");
            watchdog / 8
        };
        self.alive_at = Some(now + pause);
    }

    /// How long to wait for a signal at most.
    fn patience(&self) -> Option<Duration> {
        let look = self.lame_duck.is_some().then_some(LAME_DUCK_LOOK);
        let feed = self.alive_at.map(|at| at.since(clock::mono()));
        look.into_iter().chain(feed).min()
    }

    fn run(mut self, mut signals: Signals) {
        loop {
            self.feed_watchdog();
            if let Some(signal) = signals.wait(self.patience()) {
                info!("Trapped \"{signal}\" signal");
                if self.handle(signal) {
                    break;
                }
            }
            if self.lame_duck_is_over() {
                break;
            }
        }
        info!("Initiating Shutdown...");
        self.supervisor.tell(&Notice::Stopping(LAME_DUCK_SLACK));
        self.server.shutdown();
        drop(self.ports_file);
        drop(self.pid_file);
        info!("Server Exiting..");
    }

    /// Does what a signal asks for; says whether that ends the server.
    fn handle(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt | Signal::Quit => return true,
            // A server on its way out anyway takes its time.
            Signal::Terminate => return self.lame_duck.is_none(),
            Signal::Hangup => {
                self.supervisor.tell(&Notice::Reloading);
                let outcome = self.reload();
                self.tell_ready();
                if let Err(reason) = &outcome {
                    error!("Failed to reload server configuration: {reason}");
                }
                let waiters = std::mem::take(&mut *self.waiters.lock().expect(NO_PANIC));
                for waiter in waiters {
                    // Who has lost patience does not hear it.
                    let _ = waiter.send(outcome.clone());
                }
            }
            Signal::User1 => {
                if let Err(reason) = logging::reopen() {
                    error!("{reason}");
                }
            }
            Signal::User2 => self.enter_lame_duck(),
        }
        false
    }

    /// Reads the configuration again and goes on with it. Either all of it is in force afterwards,
    /// or nothing has changed.
    fn reload(&mut self) -> Result<(), String> {
        if self.args.config().is_none() {
            let text = "can only reload config when a file is provided using -c or --config";
            return Err(text.into());
        }
        let setup = configure(self.args.clone(), &Disk)
            .and_then(Setup::checked)
            .map_err(|error| error.to_string())?;
        let old = self.server.options();
        let mut new = setup.options;
        // Ports that were picked at the start are those that were asked for.
        let port = |at: Option<HttpAddr>| at.map(|at| i32::from(at.addr.port()));
        let at = port(self.server.monitor_addr());
        for (old, new, picked) in [
            (
                old.port,
                &mut new.port,
                Some(i32::from(self.server.addr().port())),
            ),
            (old.http_port, &mut new.http_port, at),
            (old.https_port, &mut new.https_port, at),
            (
                old.prof_port,
                &mut new.prof_port,
                port(self.server.profile_addr()),
            ),
        ] {
            if old != 0 && [Some(-1), picked].contains(&Some(*new)) {
                *new = old;
            }
        }
        if let (Some(old), Some(new)) = (&old.cluster, &mut new.cluster) {
            let picked = self.server.cluster_addr().map(|at| i32::from(at.port()));
            if old.port != 0 && [Some(-1), picked].contains(&Some(new.port)) {
                new.port = old.port;
            }
        }
        let changes = old.changes(&new).map_err(|refused| {
            let texts = refused.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>().join("\n")
        })?;

        let changed_log = (new.log != old.log).then(|| new.log.clone());

        // First whatever can fail; what was made is gone again if something else does.
        let prepared = self
            .server
            .prepare(new.clone())
            .map_err(|e| e.to_string())?;
        let pid_moves = !is_same(old.pid_file.as_deref(), new.pid_file.as_deref());
        let pid_file = match &new.pid_file {
            Some(path) if pid_moves => Some(PidFile::write(path).map_err(|e| e.to_string())?),
            _ => None,
        };
        let ports_move = !is_same(old.ports_file_dir.as_deref(), new.ports_file_dir.as_deref());
        let ports_file = match &new.ports_file_dir {
            Some(dir) if ports_move => {
                Some(write_ports(dir, &self.server).map_err(|e| e.to_string())?)
            }
            _ => None,
        };
        if let Some(log) = changed_log {
            logging::apply(&log).map_err(|error| error.to_string())?;
        }
        if pid_moves {
            self.pid_file = pid_file;
        }
        if ports_move {
            self.ports_file = ports_file;
        }
        self.server.reload(prepared);
        for warning in setup.warnings {
            warn!("{warning}");
        }
        for change in changes {
            info!("Reloaded: {change}");
        }
        let digest = setup.file.map_or(String::new(), |file| file.digest);
        self.server.note_config(&digest);
        info!("Reloaded server configuration ({digest})");
        Ok(())
    }

    fn enter_lame_duck(&mut self) {
        if self.lame_duck.is_some() {
            return;
        }
        info!("Entering lame duck mode, stop accepting new clients");
        self.server.enter_lame_duck();
        let patience = self.server.options().lame_duck_duration + 2 * LAME_DUCK_SLACK;
        self.supervisor.tell(&Notice::Leaving(patience));
        self.lame_duck = Some(LameDuck {
            since: clock::mono(),
            closing: false,
        });
    }

    /// Whether the server was in lame duck mode and all clients are gone, or should be.
    fn lame_duck_is_over(&mut self) -> bool {
        let Some(mode) = &mut self.lame_duck else {
            return false;
        };
        let Options {
            lame_duck_duration,
            lame_duck_grace_period,
            ..
        } = self.server.options();
        let passed = clock::mono().since(mode.since);
        let connections = self.server.connections();
        if passed >= *lame_duck_grace_period && !mode.closing && connections > 0 {
            mode.closing = true;
            info!("Closing existing clients");
        }
        connections == 0 || passed >= *lame_duck_duration + LAME_DUCK_SLACK
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

/// Has the main thread read the configuration again, as on SIGHUP, and waits for what comes of it.
fn ask_for_reload(waiters: &Waiters) -> Result<(), String> {
    let (waiter, outcome) = channel();
    waiters.lock().expect(NO_PANIC).push(waiter);
    signals::raise(Signal::Hangup).map_err(|e| PlainError(&e).to_string())?;
    outcome
        .recv_timeout(RELOAD_PATIENCE)
        .unwrap_or_else(|_| Err("the configuration was not read again in time".into()))
}

/// Whether two paths, or none, lead to the same file, however they are spelt.
fn is_same(a: Option<&Path>, b: Option<&Path>) -> bool {
    let real = |path: Option<&Path>| fs::canonicalize(path?).ok();
    a == b || real(a).is_some_and(|a| Some(a) == real(b))
}

fn write_ports(dir: &Path, server: &Server) -> Result<PortsFile, PortsFileError> {
    let interfaces = interfaces::addresses().unwrap_or_else(|e| {
        warn!("Error listing network interfaces: {}", PlainError(&e));
        Vec::new()
    });
    let http = |at: Option<HttpAddr>| {
        let urls = at.map(|at| urls(at.scheme, at.addr, &interfaces));
        urls.unwrap_or_default()
    };
    let ports = Ports {
        nats: urls("nats", server.addr(), &interfaces),
        monitoring: http(server.monitor_addr()),
        cluster: server
            .cluster_addr()
            .map_or_else(Vec::new, |at| urls("nats", at, &interfaces)),
        profile: http(server.profile_addr()),
        ..Ports::default()
    };
    PortsFile::write(dir, &ports)
}
