//! Services as Windows knows them: started by a manager that waits to be answered, told what to do by
//! controls instead of signals, and known by their names. Elsewhere a service is a program like others.

pub use system::{is_hosted, run, send};

use super::signals::Signal;
use crate::base::text::PlainError;
use std::fmt::{self, Display, Formatter};
use std::io;

/// Whether running servers are told apart by the names of their services, not by process ids.
pub const BY_NAME: bool = cfg!(windows);

/// The service that is meant where none is named.
pub const NAME: &str = "nats-server";

/// The controls that the server takes, by their numbers, and the signals that ask for the same. Those
/// from 128 on are the reference's own.
const CONTROLS: [(u32, Signal); 5] = [
    (STOP, Signal::Interrupt),
    (SHUTDOWN, Signal::Interrupt),
    (PARAM_CHANGE, Signal::Hangup),
    (REOPEN, Signal::User1),
    (LAME_DUCK, Signal::User2),
];

const STOP: u32 = 1;
const SHUTDOWN: u32 = 5;
const PARAM_CHANGE: u32 = 6;
const REOPEN: u32 = 128;
const LAME_DUCK: u32 = 129;

/// States of a service, by their numbers.
#[cfg_attr(not(windows), allow(dead_code, reason = "there are no services"))]
mod state {
    pub(super) const STOPPED: u32 = 1;
    pub(super) const RUNNING: u32 = 4;
}

/// Why a service was not told what to do. Shown, it reads as in the reference.
#[derive(Debug)]
pub enum ControlError {
    /// There is no control that asks for the same as this signal.
    NoControl,
    /// The manager of services cannot be reached.
    Manager(io::Error),
    /// There is no such service, or no right to tell it anything.
    Access(io::Error),
    /// The service does not take this control now.
    Refused(u32, io::Error),
    /// What became of it cannot be asked.
    Unknown(io::Error),
    /// It has not come to this state in time.
    Late(u32),
}

impl Display for ControlError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::NoControl => f.write_str("there is no such control"),
            ControlError::Manager(error) => PlainError(error).fmt(f),
            ControlError::Access(error) => {
                write!(f, "could not access service: {}", PlainError(error))
            }
            ControlError::Refused(control, error) => {
                let error = PlainError(error);
                write!(f, "could not send control={control}: {error}")
            }
            ControlError::Unknown(error) => {
                write!(
                    f,
                    "could not retrieve service status: {}",
                    PlainError(error)
                )
            }
            ControlError::Late(state) => {
                write!(f, "timeout waiting for service to go to state={state}")
            }
        }
    }
}

impl std::error::Error for ControlError {}

/// The control that asks for the same as a signal.
#[cfg_attr(not(windows), allow(dead_code, reason = "there are no services"))]
fn control(signal: Signal) -> Option<u32> {
    let found = CONTROLS.iter().find(|(_, own)| *own == signal);
    found.map(|(control, _)| *control)
}

/// The signal that asks for the same as a control.
#[cfg_attr(not(windows), allow(dead_code, reason = "there are no services"))]
fn signal(control: u32) -> Option<Signal> {
    let found = CONTROLS.iter().find(|(own, _)| *own == control);
    found.map(|(_, signal)| *signal)
}

#[cfg(windows)]
pub(super) use system::{State, report};

#[cfg(windows)]
mod system {
    #![allow(
        unsafe_code,
        reason = "the crate for services knows no change of parameters"
    )]

    use std::ffi::OsString;
    use std::io;
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    use windows_service::service::{
        Service, ServiceAccess, ServiceControl, ServiceControlAccept, ServiceExitCode,
        ServiceState, ServiceStatus, ServiceType,
    };
    use windows_service::service_control_handler::{
        self, ServiceControlHandlerResult, ServiceStatusHandle,
    };
    use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
    use windows_service::{Error, define_windows_service, service_dispatcher};
    use windows_sys::Win32::System::Services::{ControlService, SERVICE_CONTROL_INTERROGATE};

    use super::{ControlError, NAME, control, signal, state};
    use crate::base::duration;
    use crate::os::signals::{self, Signal};

    /// Time that the manager gives a service to come up, unless `NATS_STARTUP_DELAY` says another.
    const STARTUP: Duration = Duration::from_secs(10);

    /// How long it is waited for a service to do as it was told.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// How often it is looked whether it has.
    const LOOK: Duration = Duration::from_millis(300);

    type Body = Box<dyn FnOnce() -> bool + Send>;

    /// What the service does; taken by who runs it.
    static BODY: Mutex<Option<Body>> = Mutex::new(None);

    /// Whether it ended well.
    static OUTCOME: OnceLock<bool> = OnceLock::new();

    /// The way to the manager, once it has started this process as a service.
    static STATUS: OnceLock<ServiceStatusHandle> = OnceLock::new();

    /// What the manager is told of the service.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(in crate::os) enum State {
        /// It comes up, which may take so long.
        Starting(Duration),
        Running,
        /// It ends, which may take so long.
        Stopping(Duration),
        /// It has ended, well or not.
        Stopped(bool),
    }

    define_windows_service!(entry, serve);

    /// Runs `body` under the manager of services if that has started this process, and otherwise as any
    /// program; or if `NATS_DOCKERIZED=1` says that containers have no such thing. Returns what it does.
    pub fn run(body: impl FnOnce() -> bool + Send + 'static) -> bool {
        if std::env::var_os("NATS_DOCKERIZED").is_some_and(|value| value == "1") {
            return body();
        }
        *BODY.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(body));
        // Fails at once where no manager has started the process.
        let served = service_dispatcher::start(NAME, entry);
        let left = BODY.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (served, left) {
            (_, Some(body)) => body(),
            (_, None) => OUTCOME.get().copied().unwrap_or(false),
        }
    }

    /// Whether this process is a service.
    pub fn is_hosted() -> bool {
        STATUS.get().is_some()
    }

    fn serve(_arguments: Vec<OsString>) {
        let Some(body) = BODY.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if let Ok(status) = service_control_handler::register(NAME, handle) {
            // The manager starts one service a process.
            let _ = STATUS.set(status);
        }
        let delay = std::env::var("NATS_STARTUP_DELAY").ok();
        let delay = delay.and_then(|text| duration::parse(&text).ok());
        report(State::Starting(delay.unwrap_or(STARTUP)));
        let is_well = body();
        let _ = OUTCOME.set(is_well);
        report(State::Stopped(is_well));
    }

    fn handle(told: ServiceControl) -> ServiceControlHandlerResult {
        let code = told.raw_service_control_type();
        if code == SERVICE_CONTROL_INTERROGATE {
            return ServiceControlHandlerResult::NoError;
        }
        let Some(signal) = signal(code) else {
            return ServiceControlHandlerResult::NotImplemented;
        };
        if signal == Signal::Interrupt {
            // Before the handler returns, as no other control may come then.
            report(State::Stopping(PATIENCE));
        }
        match signals::raise(signal) {
            Ok(()) => ServiceControlHandlerResult::NoError,
            Err(_) => ServiceControlHandlerResult::NotImplemented,
        }
    }

    /// Tells the manager, if there is one. It being deaf is no fault of ours.
    pub(in crate::os) fn report(state: State) {
        let Some(status) = STATUS.get() else {
            return;
        };
        let all = ServiceControlAccept::STOP
            | ServiceControlAccept::SHUTDOWN
            | ServiceControlAccept::PARAM_CHANGE;
        let none = ServiceControlAccept::empty();
        let zero = Duration::ZERO;
        let (current_state, controls_accepted, wait_hint) = match state {
            State::Starting(time) => (ServiceState::StartPending, none, time),
            State::Running => (ServiceState::Running, all, zero),
            State::Stopping(time) => (ServiceState::StopPending, none, time),
            State::Stopped(_) => (ServiceState::Stopped, none, zero),
        };
        let _ = status.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code: ServiceExitCode::Win32(u32::from(state == State::Stopped(false))),
            checkpoint: 0,
            wait_hint,
            process_id: None,
        });
    }

    /// Has a service do what a signal asks for, and waits until it has stopped, or runs, ten seconds at
    /// most.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn send(name: &str, signal: Signal) -> Result<(), ControlError> {
        let control = control(signal).ok_or(ControlError::NoControl)?;
        let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT);
        let manager = manager.map_err(|e| ControlError::Manager(plain(e)))?;
        let access = ServiceAccess::STOP
            | ServiceAccess::PAUSE_CONTINUE
            | ServiceAccess::USER_DEFINED_CONTROL
            | ServiceAccess::QUERY_STATUS;
        let service = manager.open_service(name, access);
        let service = service.map_err(|e| ControlError::Access(plain(e)))?;
        tell(&service, control).map_err(|e| ControlError::Refused(control, e))?;
        let (wanted, number) = match signal {
            Signal::Interrupt => (ServiceState::Stopped, state::STOPPED),
            _ => (ServiceState::Running, state::RUNNING),
        };
        let began = Instant::now();
        loop {
            let status = service.query_status();
            let status = status.map_err(|e| ControlError::Unknown(plain(e)))?;
            if status.current_state == wanted {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(ControlError::Late(number));
            }
            thread::sleep(LOOK);
        }
    }

    fn tell(service: &Service, control: u32) -> io::Result<()> {
        // SAFETY: all bytes zero are a value of this struct of numbers.
        let mut status = unsafe { std::mem::zeroed() };
        // SAFETY: the handle is open as long as `service` lives, and `status` outlives the call.
        match unsafe { ControlService(service.raw_handle(), control, &raw mut status) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn plain(error: Error) -> io::Error {
        match error {
            Error::Winapi(error) => error,
            other => io::Error::other(other),
        }
    }
}

#[cfg(not(windows))]
mod system {
    use super::ControlError;
    use crate::os::signals::Signal;

    /// Runs `body`, and returns what it does.
    pub fn run(body: impl FnOnce() -> bool + Send + 'static) -> bool {
        body()
    }

    /// There are no such services here.
    pub fn is_hosted() -> bool {
        false
    }

    /// There are no such services here.
    ///
    /// # Errors
    /// Always.
    pub fn send(_name: &str, _signal: Signal) -> Result<(), ControlError> {
        Err(ControlError::NoControl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_those_of_the_reference() {
        for (number, asked) in [
            (1, Signal::Interrupt),
            (5, Signal::Interrupt),
            (6, Signal::Hangup),
            (128, Signal::User1),
            (129, Signal::User2),
        ] {
            assert_eq!(signal(number), Some(asked));
        }
        for number in [0, 2, 3, 4, 7, 127, 130, 255] {
            assert_eq!(signal(number), None, "{number}");
        }
        // What stops a service is the control for that, not the end of the system.
        assert_eq!(control(Signal::Interrupt), Some(1));
        assert_eq!(control(Signal::Terminate), None);
    }

    #[test]
    fn errors_read_as_in_the_reference() {
        let error = || io::Error::other("no");
        for (error, text) in [
            (ControlError::Manager(error()), "no"),
            (
                ControlError::Access(error()),
                "could not access service: no",
            ),
            (
                ControlError::Refused(6, error()),
                "could not send control=6: no",
            ),
            (
                ControlError::Unknown(error()),
                "could not retrieve service status: no",
            ),
            (
                ControlError::Late(state::STOPPED),
                "timeout waiting for service to go to state=1",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
