//! The service control manager of Windows: it starts the process, wants to be told how far it is, and says when to stop.
//!
//! It neither reads a log nor has a configuration read again.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::Word;
use crate::os::{ask_to_stop, judge_way};

/// What the service is called.
const SERVICE: &str = "procurify-tokend";

/// Runs this as the service, and comes back when it has ended. What it cannot say in the log is added to the log's file.
///
/// # Errors
/// Nobody but the service control manager may start a process as a service.
pub fn run_as_service(
    log: PathBuf,
    daemon: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    *WHAT.lock().unwrap_or_else(PoisonError::into_inner) = Some((log, Box::new(daemon)));
    service_dispatcher::start(SERVICE, service_main).context(
        "only Windows starts a service: procurify-token service install --system, and then: sc.exe start procurify-tokend",
    )
}

define_windows_service!(service_main, serve);

/// On a thread of the dispatcher's.
fn serve(_: Vec<OsString>) {
    let what = WHAT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((log, daemon)) = what else { return };
    let Ok(status) = service_control_handler::register(SERVICE, obey) else { return };
    let _ = STATUS.set(status);
    tell_state(ServiceState::StartPending, ServiceExitCode::NO_ERROR);
    let code = match daemon() {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(problem) => {
            // Where somebody else could have put it, it may lead anywhere.
            if judge_way(&log).is_err() {
                let code = ServiceExitCode::ServiceSpecific(CHANGEABLE_BY_OTHERS);
                return tell_state(ServiceState::Stopped, code);
            }
            if let Ok(mut log) = File::options().create(true).append(true).open(log) {
                let _ = writeln!(log, "procurify-tokend: {problem:#}");
            }
            ServiceExitCode::ServiceSpecific(1)
        }
    };
    tell_state(ServiceState::Stopped, code);
}

fn obey(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            ask_to_stop();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

pub(super) fn wants_to_be_told() -> bool {
    STATUS.get().is_some()
}

/// It looks at the process alone.
pub(super) fn patience() -> Option<Duration> {
    None
}

pub(super) fn tell(words: &[Word<'_>]) {
    for word in words {
        match word {
            Word::Ready => tell_state(ServiceState::Running, ServiceExitCode::NO_ERROR),
            Word::Stopping => tell_state(ServiceState::StopPending, ServiceExitCode::NO_ERROR),
            // It has no words for these, and wants no signs of life.
            Word::Reloading | Word::Alive | Word::Status(_) => {}
        }
    }
}

fn tell_state(state: ServiceState, exit_code: ServiceExitCode) {
    let Some(handle) = STATUS.get() else { return };
    let accepts = match state {
        ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
        _ => ServiceControlAccept::empty(),
    };
    let wait_hint = match state {
        ServiceState::StartPending | ServiceState::StopPending => PATIENCE,
        _ => Duration::ZERO,
    };
    // Nobody is there to be told that nobody can be told.
    let _ = handle.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: accepts,
        exit_code,
        checkpoint: 0,
        wait_hint,
        process_id: None,
    });
}

type Daemon = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

/// The dispatcher calls a function without an argument of ours.
static WHAT: Mutex<Option<(PathBuf, Daemon)>> = Mutex::new(None);
static STATUS: OnceLock<ServiceStatusHandle> = OnceLock::new();
/// What Windows shows of it where the log cannot be written; what it is, `--system --check-config` says.
const CHANGEABLE_BY_OTHERS: u32 = 2;
/// How long an opening may take, and an end.
const PATIENCE: Duration = Duration::from_secs(30);
