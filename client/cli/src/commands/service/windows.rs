//! Windows: a service of the machine's, which runs as SYSTEM, for a client believes no other user's daemon but SYSTEM's and the
//! administrators'. There is none for a user alone.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use procurify_token_windows::{changeable_by_others, own_identity};
use serde_json::json;
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use crate::args::{ServiceArgs, ServiceCommand, WhoseArgs};
use crate::autostart::program_beside_us;
use crate::exit::{ExitCode, Failure};
use crate::{clock, report, say, table};

pub(super) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    match args.command {
        ServiceCommand::Install { whose, dry_run, key_file: _ } => {
            for_machine(whose)?;
            install(dry_run)
        }
        ServiceCommand::Uninstall { whose, dry_run } => {
            for_machine(whose)?;
            uninstall(dry_run)
        }
        ServiceCommand::Status { whose, json } => {
            for_machine(whose)?;
            status(json)
        }
    }
}

fn install(dry_run: bool) -> Result<(), Failure> {
    let program = program()?;
    refuse_if_changeable(&program)?;
    let there = find(ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG | ServiceAccess::START)?;
    if let Some(service) = &there {
        refuse_if_another(service, &program)?;
    }
    try_configuration(&program)?;
    if there.is_some() {
        say::line(format!("note: the service {NAME} is installed already"))?;
    } else {
        say::line(format!(
            "create the service {NAME}, to be started at each boot, as SYSTEM: {} --system --service",
            program.display()
        ))?;
    }
    say::line(format!("start the service {NAME}"))?;
    if dry_run {
        return Ok(());
    }
    let service = match there {
        Some(service) => service,
        None => create(program)?,
    };
    if state(&service)? == ServiceState::Stopped {
        service.start::<OsString>(&[]).map_err(|error| failed("start", &error))?;
    }
    await_state(&service, ServiceState::Running)?;
    say::line(r"Next: procurify-token --socket \\.\pipe\procurify-token init")
}

fn create(program: PathBuf) -> Result<Service, Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: "Procurify tokens".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: vec!["--system".into(), "--service".into()],
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::START | ServiceAccess::CHANGE_CONFIG;
    let service = manager.create_service(&info, access).map_err(|error| failed("create", &error))?;
    let described = service.set_description(
        "Keeps Procurify client secrets sealed, and their access tokens ready for the programs of this machine",
    );
    if let Err(error) = described {
        say::note(&format!("the service has no description: {error}"));
    }
    let restart = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    let after_failures = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(24 * 3600)),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart(1), restart(5), restart(60)]),
    };
    if let Err(error) = service.update_failure_actions(after_failures) {
        say::note(&format!("Windows will not start it again after a failure: {}", why(&error)));
    }
    // Without this only after a crash, which is an end that the daemon has not told of.
    if let Err(error) = service.set_failure_actions_on_non_crash_failures(true) {
        say::note(&format!("Windows will start it again after a crash alone: {}", why(&error)));
    }
    Ok(service)
}

/// Whoever could exchange the program would be SYSTEM.
fn refuse_if_changeable(program: &Path) -> Result<(), Failure> {
    let told = own_identity().and_then(|own| changeable_by_others(program, &own.user));
    let why = match told {
        Ok(None) => return Ok(()),
        Ok(Some(weak)) => weak.to_string(),
        Err(error) => error.to_string(),
    };
    let message = format!("{} cannot be the system's service: {why}", program.display());
    Err(Failure::new(ExitCode::Denied, message).hint(
        r"copy procurify-token.exe and procurify-tokend.exe into a new folder in %ProgramFiles%, and call that one",
    ))
}

/// A service of this name that is another program is not ours to start.
fn refuse_if_another(service: &Service, program: &Path) -> Result<(), Failure> {
    let registered = service.query_config().map_err(|error| failed("look at", &error))?.executable_path;
    if runs(&registered.to_string_lossy(), program) {
        return Ok(());
    }
    let message =
        format!("the service {NAME} is installed already, and is not this program: {}", registered.display());
    Err(Failure::new(ExitCode::Conflict, message).hint(format!(
        "if it is to be {}: procurify-token service uninstall, and then: procurify-token service install",
        program.display()
    )))
}

/// Whether a service's command line runs this program.
fn runs(command_line: &str, program: &Path) -> bool {
    let program = program.to_string_lossy().to_lowercase();
    let line = command_line.trim().to_lowercase();
    let rest = match line.strip_prefix('"') {
        Some(quoted) => quoted.strip_prefix(&*program).and_then(|rest| rest.strip_prefix('"')),
        None => line.strip_prefix(&*program),
    };
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The daemon says whether it would start with what is there: its folders closed to others, and a good configuration.
fn try_configuration(program: &Path) -> Result<(), Failure> {
    let tried = Command::new(program).args(["--system", "--check-config"]).stdin(Stdio::null()).output();
    let tried = tried.map_err(|error| {
        Failure::new(ExitCode::Other, format!("cannot run {}: {error}", program.display()))
            .hint("take both programs from the same release")
    })?;
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    let said = said.trim().trim_start_matches("procurify-tokend: ");
    Err(Failure::new(ExitCode::Other, format!("the service would not start: {said}"))
        .hint("afterwards: procurify-token service install"))
}

fn uninstall(dry_run: bool) -> Result<(), Failure> {
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let Some(service) = find(access)? else {
        return say::line("note: there is no such service");
    };
    say::line(format!("stop the service {NAME}, and delete it"))?;
    if dry_run {
        return Ok(());
    }
    if state(&service)? != ServiceState::Stopped {
        service.stop().map_err(|error| failed("stop", &error))?;
        await_state(&service, ServiceState::Stopped)?;
    }
    service.delete().map_err(|error| failed("delete", &error))?;
    say::line("Vault, keys, configuration and audit records are where they were.")
}

fn status(as_json: bool) -> Result<(), Failure> {
    let service = find(ServiceAccess::QUERY_STATUS)?;
    let state = service.as_ref().map(state).transpose()?;
    let (is_installed, is_running) = (state.is_some(), state == Some(ServiceState::Running));
    let next = match (is_installed, is_running) {
        (false, _) => "procurify-token service install",
        (true, false) => "sc.exe start procurify-tokend",
        (true, true) => r"procurify-token --socket \\.\pipe\procurify-token status",
    };
    if as_json {
        return report::print_json(&[(
            "service",
            json!({ "whose": "system", "installed": is_installed, "running": is_running, "next": next }),
        )]);
    }
    let yes = |is_so| if is_so { "yes" } else { "no" }.to_owned();
    table::facts(&[
        ("service", "for this machine".to_owned()),
        ("installed", yes(is_installed)),
        ("running", yes(is_running)),
        ("what to type", next.to_owned()),
    ])
}

/// The service, if there is one.
fn find(access: ServiceAccess) -> Result<Option<Service>, Failure> {
    match manager(ServiceManagerAccess::CONNECT)?.open_service(NAME, access) {
        Ok(service) => Ok(Some(service)),
        Err(Error::Winapi(error)) if error.raw_os_error() == Some(NO_SUCH_SERVICE) => Ok(None),
        Err(error) => Err(failed("open", &error)),
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&str>, access).map_err(|error| failed("open", &error))
}

fn state(service: &Service) -> Result<ServiceState, Failure> {
    Ok(service.query_status().map_err(|error| failed("look at", &error))?.current_state)
}

fn await_state(service: &Service, wanted: ServiceState) -> Result<(), Failure> {
    if clock::within(PATIENCE, || state(service).is_ok_and(|state| state == wanted)) {
        return Ok(());
    }
    let message = format!("the service {NAME} does not come to be {wanted:?}");
    Err(Failure::new(ExitCode::Other, message)
        .hint(r"its last words are in %ProgramData%\procurify-token\data\tokend.log; if others may write there, why is said by: procurify-tokend --system --check-config"))
}

fn for_machine(whose: WhoseArgs) -> Result<(), Failure> {
    if whose.user {
        return Err(Failure::new(ExitCode::Other, "on Windows there is no service for one user")
            .hint("procurify-token service install --system"));
    }
    Ok(())
}

fn program() -> Result<PathBuf, Failure> {
    let program = program_beside_us("procurify-tokend");
    if program.is_absolute() && program.is_file() {
        return Ok(program);
    }
    Err(Failure::new(ExitCode::CommandNotFound, "procurify-tokend.exe is not installed")
        .hint("install it beside procurify-token.exe"))
}

fn why(error: &Error) -> &dyn Display {
    match error {
        Error::Winapi(error) => error,
        other => other,
    }
}

fn failed(what: &str, error: &Error) -> Failure {
    let failure = |code| Failure::new(code, format!("cannot {what} the service {NAME}: {}", why(error)));
    match error {
        Error::Winapi(error) if error.raw_os_error() == Some(ACCESS_DENIED) => {
            failure(ExitCode::Denied).hint("from a console that was started as administrator")
        }
        _ => failure(ExitCode::Other),
    }
}

const NAME: &str = "procurify-tokend";
/// `ERROR_ACCESS_DENIED`.
const ACCESS_DENIED: i32 = 5;
/// `ERROR_SERVICE_DOES_NOT_EXIST`.
const NO_SUCH_SERVICE: i32 = 1060;
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_of_the_program_that_it_begins_with() {
        let plain = Path::new(r"C:\tools\procurify-tokend.exe");
        let spaced = Path::new(r"C:\Program Files\p\procurify-tokend.exe");
        assert!(runs(r"C:\tools\procurify-tokend.exe --system --service", plain));
        assert!(runs(r"c:\TOOLS\procurify-tokend.exe", plain));
        assert!(runs(r#""C:\Program Files\p\procurify-tokend.exe" --system --service"#, spaced));
        for other in [
            r"C:\other\procurify-tokend.exe --system --service",
            r"C:\tools\procurify-tokend.exe.exe --system",
            r#""C:\tools\procurify-tokend.exe x" --system"#,
            r#""C:\tools\procurify-tokend.exe"#,
            "",
        ] {
            assert!(!runs(other, plain), "{other}");
        }
    }
}
