//! What was typed, as a plain struct: each thing at most once, nothing interpreted yet.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use pico_args::{Arguments, Error};

use super::flags::key;
use super::normalise::Normal;
use crate::options::Secret;

/// The arguments. `None` was not typed; of what was typed several times, the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) help: Option<bool>,
    pub(super) version: Option<bool>,
    pub(super) build_info: Option<bool>,
    pub(super) help_config: Option<bool>,
    pub(super) host: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) http_port: Option<i64>,
    pub(super) https_port: Option<i64>,
    pub(super) profile: Option<i64>,
    pub(super) name: Option<String>,
    pub(super) pid_file: Option<OsString>,
    pub(super) ports_file_dir: Option<OsString>,
    pub(super) signal: Option<String>,
    pub(super) config: Option<OsString>,
    pub(super) check: Option<bool>,
    pub(super) store_check: Option<OsString>,
    pub(super) store_dump: Option<OsString>,
    pub(super) client_advertise: Option<String>,
    pub(super) log_file: Option<OsString>,
    pub(super) log_format: Option<String>,
    pub(super) syslog: Option<bool>,
    pub(super) remote_syslog: Option<String>,
    pub(super) log_size_limit: Option<i64>,
    pub(super) max_traced_msg_len: Option<i64>,
    pub(super) loops: Option<i64>,
    pub(super) debug: Option<bool>,
    pub(super) trace: Option<bool>,
    pub(super) trace_verbose: Option<bool>,
    pub(super) logtime: Option<bool>,
    pub(super) logtime_utc: Option<bool>,
    pub(super) user: Option<String>,
    pub(super) pass: Option<Secret>,
    pub(super) auth: Option<Secret>,
    pub(super) tls: Option<bool>,
    pub(super) tls_cert: Option<OsString>,
    pub(super) tls_key: Option<OsString>,
    pub(super) tls_verify: Option<bool>,
    pub(super) tls_ca_cert: Option<OsString>,
    pub(super) jetstream: Option<bool>,
    pub(super) store_dir: Option<OsString>,
    pub(super) routes: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) cluster_name: Option<String>,
    pub(super) no_advertise: Option<bool>,
    pub(super) cluster_advertise: Option<String>,
    pub(super) connect_retries: Option<i64>,
    pub(super) help_tls: Option<bool>,
    /// The first word that is no flag.
    pub(super) word: Option<OsString>,
}

impl Args {
    /// Collects arguments in their normal form. Fails only where that form is not kept.
    pub(super) fn collect(normal: Normal) -> Result<Args, Error> {
        let typed = &mut Arguments::from_vec(normal.args);
        let args = Args {
            help: last(typed, key::HELP)?,
            version: last(typed, key::VERSION)?,
            build_info: last(typed, key::BUILD_INFO)?,
            help_config: last(typed, key::HELP_CONFIG)?,
            host: last(typed, key::HOST)?,
            port: last(typed, key::PORT)?,
            http_port: last(typed, key::HTTP_PORT)?,
            https_port: last(typed, key::HTTPS_PORT)?,
            profile: last(typed, key::PROFILE)?,
            name: last(typed, key::NAME)?,
            pid_file: last_os(typed, key::PID_FILE)?,
            ports_file_dir: last_os(typed, key::PORTS_FILE_DIR)?,
            signal: last(typed, key::SIGNAL)?,
            config: last_os(typed, key::CONFIG)?,
            check: last(typed, key::CHECK)?,
            store_check: last_os(typed, key::STORE_CHECK)?,
            store_dump: last_os(typed, key::STORE_DUMP)?,
            client_advertise: last(typed, key::CLIENT_ADVERTISE)?,
            log_file: last_os(typed, key::LOG_FILE)?,
            log_format: last(typed, key::LOG_FORMAT)?,
            syslog: last(typed, key::SYSLOG)?,
            remote_syslog: last(typed, key::REMOTE_SYSLOG)?,
            log_size_limit: last(typed, key::LOG_SIZE_LIMIT)?,
            max_traced_msg_len: last(typed, key::MAX_TRACED_MSG_LEN)?,
            loops: last(typed, key::LOOPS)?,
            debug: last(typed, key::DEBUG)?,
            trace: last(typed, key::TRACE)?,
            trace_verbose: last(typed, key::TRACE_VERBOSE)?,
            logtime: last(typed, key::LOGTIME)?,
            logtime_utc: last(typed, key::LOGTIME_UTC)?,
            user: last(typed, key::USER)?,
            pass: last::<String>(typed, key::PASS)?.map(Secret::from),
            auth: last::<String>(typed, key::AUTH)?.map(Secret::from),
            tls: last(typed, key::TLS)?,
            tls_cert: last_os(typed, key::TLS_CERT)?,
            tls_key: last_os(typed, key::TLS_KEY)?,
            tls_verify: last(typed, key::TLS_VERIFY)?,
            tls_ca_cert: last_os(typed, key::TLS_CA_CERT)?,
            jetstream: last(typed, key::JETSTREAM)?,
            store_dir: last_os(typed, key::STORE_DIR)?,
            routes: last(typed, key::ROUTES)?,
            cluster: last(typed, key::CLUSTER)?,
            cluster_name: last(typed, key::CLUSTER_NAME)?,
            no_advertise: last(typed, key::NO_ADVERTISE)?,
            cluster_advertise: last(typed, key::CLUSTER_ADVERTISE)?,
            connect_retries: last(typed, key::CONNECT_RETRIES)?,
            help_tls: last(typed, key::HELP_TLS)?,
            word: typed.opt_free_from_os_str(os)?,
        };
        Ok(args)
    }

    /// The configuration file, if one was named.
    pub(super) fn config(&self) -> Option<&Path> {
        let path = self.config.as_ref().filter(|path| !path.is_empty())?;
        Some(Path::new(path))
    }
}

fn last<T>(typed: &mut Arguments, key: &'static str) -> Result<Option<T>, Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    Ok(typed.values_from_str(key)?.pop())
}

fn last_os(typed: &mut Arguments, key: &'static str) -> Result<Option<OsString>, Error> {
    Ok(typed.values_from_os_str(key, os)?.pop())
}

fn os(value: &OsStr) -> Result<OsString, Infallible> {
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::super::flags::{FLAGS, Takes};
    use super::super::normalise::normalise;
    use super::*;

    fn typed(line: &[&str]) -> Args {
        Args::collect(normalise(line.iter().map(OsString::from)).unwrap()).unwrap()
    }

    #[test]
    fn every_key_of_the_table_is_collected() {
        for flag in FLAGS {
            let value = if flag.takes == Takes::Switch {
                "true"
            } else {
                "1"
            };
            let dashed = format!("--{}={value}", flag.names().next().unwrap());
            let args = typed(&[&dashed]);
            assert_eq!(args.word, None, "{dashed} is left over");
            assert_ne!(args, Args::default(), "{dashed} sets nothing");
        }
    }

    #[test]
    fn later_flags_win_whatever_their_name() {
        let args = typed(&[
            "-p", "1", "--net=a", "-port", "2", "-a", "b", "-DV", "-V=false",
        ]);
        assert_eq!((args.port, args.host.as_deref()), (Some(2), Some("b")));
        assert_eq!((args.debug, args.trace), (Some(true), Some(false)));
    }

    #[test]
    fn values_and_words_that_look_like_flags_stay_what_they_are() {
        let args = typed(&["-n", "--port", "-P", "--pid", "--", "--debug"]);
        assert_eq!(args.name.as_deref(), Some("--port"));
        assert_eq!(args.pid_file, Some("--pid".into()));
        assert_eq!(
            (args.word, args.debug, args.port),
            (Some("--debug".into()), None, None)
        );
    }
}
