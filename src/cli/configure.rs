//! From what was typed and the file that it names to options, at the start and on every reload.

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::args::Args;
use super::normalise::UsageError;
use crate::base::text::PlainError;
use crate::config::{self, Environment};
use crate::options::cluster::RouteUrl;
use crate::options::tls::{CertificateFiles, TlsOptions};
use crate::options::{Findings, LogFormat, OptionError, Options, Secret};

/// Options, and where they come from.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) options: Options,
    /// What was typed, for the next time.
    pub(super) args: Args,
    pub(super) file: Option<UsedFile>,
    /// What is odd about the file.
    pub(super) warnings: Vec<String>,
}

/// A configuration file that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UsedFile {
    pub(super) path: PathBuf,
    /// `sha256:` and the digest of what the file means, whatever its form.
    pub(super) digest: String,
}

/// Why there are no options.
#[derive(Debug)]
pub(super) enum ConfigureError {
    /// A flag's value is out of range.
    Usage(UsageError),
    /// The file has faults. Shown as they are.
    File(String),
    /// TLS is asked for, but something that it takes is not named.
    Tls(&'static str),
    /// The options break rules.
    Options(Vec<OptionError>),
    /// Something cannot be made of the options.
    Server(Vec<String>),
}

impl Display for ConfigureError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ConfigureError::Usage(error) => error.fmt(f),
            ConfigureError::File(text) => f.write_str(text),
            ConfigureError::Server(faults) => f.write_str(&faults.join("\n")),
            ConfigureError::Tls(text) => f.write_str(text),
            ConfigureError::Options(errors) => {
                let lines = errors.iter().map(ToString::to_string);
                f.write_str(&lines.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

impl std::error::Error for ConfigureError {}

impl From<UsageError> for ConfigureError {
    fn from(error: UsageError) -> ConfigureError {
        ConfigureError::Usage(error)
    }
}

/// The options that the arguments and the file that they name ask for; flags win over the file.
/// The rules that hold between options are not checked yet.
pub(super) fn configure(args: Args, env: &dyn Environment) -> Result<Setup, ConfigureError> {
    let mut options = Options::default();
    let (mut file, mut warnings) = (None, Vec::new());
    if let Some(path) = args.config() {
        let document =
            config::load(path, env).map_err(|report| ConfigureError::File(report.to_string()))?;
        let Findings {
            errors,
            warnings: odd,
        } = options.apply(&path.display().to_string(), &document);
        if !errors.is_empty() {
            // What is odd comes first, as in the reference.
            let all = odd.into_iter().chain(errors).collect::<Vec<_>>();
            return Err(ConfigureError::File(all.join("\n")));
        }
        warnings = odd;
        file = Some(UsedFile {
            path: path.into(),
            digest: document.digest(),
        });
    }
    override_with(&mut options, &args)?;
    override_authorization(&mut options, &args);
    override_tls(&mut options, &args)?;
    override_cluster(&mut options, &args)?;
    Ok(Setup {
        options,
        args,
        file,
        warnings,
    })
}

impl Setup {
    /// Checks the rules that hold between options.
    pub(super) fn checked(self) -> Result<Setup, ConfigureError> {
        match self.options.check() {
            Ok(()) => Ok(self),
            Err(errors) => Err(ConfigureError::Options(errors)),
        }
    }
}

/// Sets what was typed. As in the reference, an empty text or the port 0 asks for the default.
fn override_with(options: &mut Options, args: &Args) -> Result<(), UsageError> {
    let default = Options::default();
    let text = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
    if let Some(host) = &args.host {
        options.host = text(host).unwrap_or(default.host);
    }
    if let Some(port) = narrow("p", args.port)? {
        options.port = if port == 0 { default.port } else { port };
    }
    if let Some(port) = narrow("m", args.http_port)? {
        options.http_port = port;
    }
    if let Some(port) = narrow("ms", args.https_port)? {
        options.https_port = port;
    }
    if let Some(port) = narrow("profile", args.profile)? {
        options.prof_port = port;
    }
    if let Some(name) = &args.name {
        options.server_name = text(name);
    }
    if let Some(address) = &args.client_advertise {
        options.client_advertise = text(address);
    }
    for (typed, option) in [
        (&args.pid_file, &mut options.pid_file),
        (&args.ports_file_dir, &mut options.ports_file_dir),
        (&args.log_file, &mut options.log.file),
        (&args.store_dir, &mut options.jetstream.store_dir),
    ] {
        if let Some(path) = typed {
            *option = Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
        }
    }
    if let Some(loops) = narrow("loops", args.loops)? {
        options.loops = Some(loops);
    }
    options.jetstream.enabled = args.jetstream.unwrap_or(options.jetstream.enabled);
    let log = &mut options.log;
    for (typed, option) in [
        (args.debug, &mut log.debug),
        (args.trace, &mut log.trace),
        (args.trace_verbose, &mut log.trace_verbose),
        (args.logtime, &mut log.logtime),
        (args.logtime_utc, &mut log.logtime_utc),
        (args.syslog, &mut log.syslog),
    ] {
        *option = typed.unwrap_or(*option);
    }
    if let Some(server) = &args.remote_syslog {
        log.remote_syslog = text(server);
    }
    if let Some(limit) = args.log_size_limit {
        log.size_limit = u64::try_from(limit).unwrap_or(0);
    }
    if let Some(len) = args.max_traced_msg_len {
        log.max_traced_msg_len = usize::try_from(len.max(0)).unwrap_or(usize::MAX);
    }
    match args.log_format.as_deref() {
        None => {}
        Some("" | "text") => log.format = LogFormat::Text,
        Some("json") => log.format = LogFormat::Json,
        Some(other) => {
            return Err(UsageError::BadValue {
                name: "log_format".into(),
                value: other.into(),
                reason: "it must be text or json",
            });
        }
    }
    Ok(())
}

/// Sets who may connect as typed. A token that is typed alone takes the place of the file's only
/// user, as it does in the reference; what cannot stand together otherwise, the rules tell.
fn override_authorization(options: &mut Options, args: &Args) {
    let own = &mut options.authorization;
    let secret = |secret: &Secret| Some(secret.clone()).filter(|secret| !secret.is_empty());
    let token = args.auth.as_ref().and_then(secret);
    if token.is_some() {
        (own.user, own.password) = (None, None);
    }
    if args.auth.is_some() {
        own.token = token;
    }
    if let Some(user) = &args.user {
        own.user = Some(user.clone()).filter(|user| !user.is_empty());
    }
    if let Some(password) = &args.pass {
        own.password = secret(password);
    }
}

/// Sets certificates as typed. As in the reference, `--tls=false` turns TLS off whatever else is
/// said, and the other flags take the place of what the file says about certificates and how they
/// are checked; the rest of its `tls` block stays.
fn override_tls(options: &mut Options, args: &Args) -> Result<(), ConfigureError> {
    if args.tls == Some(false) {
        options.tls = None;
        return Ok(());
    }
    let paths = [&args.tls_cert, &args.tls_key, &args.tls_ca_cert];
    let typed = args.tls.is_some() || args.tls_verify.is_some();
    if !typed && paths.iter().all(|path| path.is_none()) {
        return Ok(());
    }
    let paths = paths.map(|path| path.as_ref().map(PathBuf::from));
    let [cert_file, key_file, ca_file] =
        paths.map(|path| path.filter(|path| !path.as_os_str().is_empty()));
    let Some(cert_file) = cert_file else {
        let text = "TLS Server certificate must be present and valid";
        return Err(ConfigureError::Tls(text));
    };
    let Some(key_file) = key_file else {
        let text = "TLS Server private key must be present and valid";
        return Err(ConfigureError::Tls(text));
    };
    let file = options.tls.take().unwrap_or_default();
    options.tls = Some(TlsOptions {
        certs: vec![CertificateFiles {
            cert_file,
            key_file,
        }],
        ca_file,
        verify: args.tls_verify == Some(true) || file.verify_and_map,
        verify_and_map: file.verify_and_map,
        timeout: file.timeout,
        pinned_certs: file.pinned_certs,
        connection_rate_limit: file.connection_rate_limit,
        handshake_first: file.handshake_first,
        ..TlsOptions::default()
    });
    Ok(())
}

/// Sets what was typed of the cluster. As in the reference, an empty address turns it off.
fn override_cluster(options: &mut Options, args: &Args) -> Result<(), UsageError> {
    let bad = |name: &str, reason: &'static str| UsageError::BadValue {
        name: name.into(),
        // The URL may hold a secret.
        value: "...".into(),
        reason,
    };
    let typed = args.routes.is_some()
        || args.cluster.is_some()
        || args.cluster_name.is_some()
        || args.cluster_advertise.is_some()
        || args.connect_retries.is_some()
        || args.no_advertise.is_some();
    if !typed {
        return Ok(());
    }
    let own = options.cluster.get_or_insert_default();
    match args.cluster.as_deref() {
        None => {}
        Some("") => own.port = 0,
        Some(text) => {
            let wrong = "it must be like nats://[user:password@]host:port";
            // A random port is no port of a URL.
            let (front, random) = match text.trim_end_matches('/').strip_suffix(":-1") {
                Some(front) => (format!("{front}:1"), true),
                None => (text.to_owned(), false),
            };
            let url = RouteUrl::parse(&front).map_err(|_| bad("cluster", wrong))?;
            own.host = url.host;
            own.port = if random { -1 } else { i32::from(url.port) };
            if url.user.is_some() && url.password.is_none() {
                return Err(bad("cluster", "expected cluster password to be set"));
            }
            (own.user, own.password) = (url.user, url.password);
        }
    }
    if let Some(routes) = &args.routes {
        let urls = routes
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty());
        let urls: Result<Vec<RouteUrl>, String> = urls.map(RouteUrl::parse).collect();
        let wrong = "it must be a list of URLs like nats-route://host:port";
        own.routes = urls.map_err(|_| bad("routes", wrong))?;
    }
    if let Some(name) = &args.cluster_name {
        own.name = Some(name.clone()).filter(|name| !name.is_empty());
    }
    if let Some(address) = &args.cluster_advertise {
        own.advertise = Some(address.clone()).filter(|address| !address.is_empty());
    }
    if let Some(retries) = narrow("connect_retries", args.connect_retries)? {
        own.connect_retries = retries;
    }
    own.no_advertise = args.no_advertise.unwrap_or(own.no_advertise);
    Ok(())
}

/// The number as the options hold it.
fn narrow<T: TryFrom<i64>>(name: &str, number: Option<i64>) -> Result<Option<T>, UsageError> {
    let Some(number) = number else {
        return Ok(None);
    };
    T::try_from(number)
        .map(Some)
        .map_err(|_| UsageError::BadValue {
            name: name.into(),
            value: number.to_string(),
            reason: "value out of range",
        })
}

/// The files and the environment of this process.
pub(super) struct Disk;

impl Environment for Disk {
    fn read(&self, path: &Path, max: usize) -> Result<Vec<u8>, String> {
        let shown = path.display();
        let open = |e| format!("open {shown}: {}", PlainError(&e));
        let read = |e| format!("read {shown}: {}", PlainError(&e));
        let file = File::open(path).map_err(open)?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() > max {
            return Err(format!("{shown}: the configuration has over {max} bytes"));
        }
        Ok(bytes)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
