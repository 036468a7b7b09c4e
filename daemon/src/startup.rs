//! The only place where the parts are joined, and taken apart again.
//!
//! Two threads have a runtime of their own: one talks with callers, the other runs the driver; two more write audit records and look
//! at callers' processes. So a token request, a key derivation or a slow disk never holds up a `get` whose token is in memory. A little
//! long: what depends on its order is in one place.

use std::convert::Infallible;
#[cfg(unix)]
use std::fs;
use std::io::{self, Write as _, stdout};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures_util::future::join_all;
use procurify_token_protocol::endpoint::{self, Platform, Surroundings};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::access::{Access, LookAt};
use crate::audit::{self, Keep};
use crate::checkup;
use crate::cli::Arguments;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, DEFAULT_CONFIG, Folders, KeyMemory, SecurityConfig};
use crate::driver::{Control, Driver, Parts, Vitals};
use crate::guarded::{self, GuardedKey};
use crate::ipc::{self, Door, Inherited, Listener, Service};
use crate::issuer::{HttpsIssuer, IssuerSettings, Proxies};
use crate::logging::{self, Verbosity};
use crate::lookup::Lookup;
use crate::os::sandbox::{self, Confinement, Places};
use crate::os::{self, Onlooker, OwnPages, Signals, Told};
use crate::supervisor::{self, Heartbeat, Supervisor};
use crate::vault::{self, InstanceLock};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it cannot start, in words for a person.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    #[cfg(windows)]
    if arguments.service {
        let (log, arguments) = (Folders::of_system().log(), arguments.clone());
        return supervisor::run_as_service(log, move || run_told(&arguments));
    }
    run_told(arguments)
}

fn run_told(arguments: &Arguments) -> anyhow::Result<()> {
    let outcome = run_untold(arguments);
    if let Err(problem) = &outcome {
        supervisor::cannot_start(problem);
    }
    outcome
}

fn run_untold(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.print_default_config {
        return stdout().write_all(DEFAULT_CONFIG.as_bytes()).context("cannot print the configuration");
    }
    if arguments.new_key {
        return stdout().write_all(&*vault::new_key_line()).context("cannot print a key");
    }
    os::restrict_file_modes();
    os::set_habits();
    let own_pages = OwnPages::find();
    let place = Place::find(arguments)?;
    let config = place.config();
    if arguments.doctor {
        return doctor(&place, config);
    }
    let config = config?;
    let access = config.access(os::effective_user(), &place.config_file)?;
    if arguments.check_config {
        // Whatever else of it could keep a daemon from its start.
        return issuer(&config).and_then(|_| place.tell_that_it_is_good());
    }
    let verbosity = logging::start(config.log.level, place.log()?.as_deref())?;
    let mut warnings = Vec::new();
    let core_dumps_forbidden = protect_memory(&config.security, place.is_system, &mut warnings)?;
    let inherited = Inherited::from_environment();
    let inherited =
        inherited.context("what the service manager has handed over is not a Unix socket that listens")?;
    let sockets = if inherited.is_empty() {
        place.sockets(&config)?
    } else {
        inherited.iter().map(Inherited::path).collect()
    };
    let places = place.places(&config, sockets.clone());
    let folder = places.vault.vault.parent().context("the vault's path names no file")?;
    let lock = InstanceLock::acquire(folder)?;
    let issuer = Arc::new(issuer(&config)?);

    let lookup = Arc::new(Lookup::default());
    let stop = Arc::new(Notify::new());
    let runtime = runtime()?;
    let inner = runtime.enter();
    let most = within_descriptors(config.max_connections.into(), &access, &mut warnings);
    let seats = Arc::new(ipc::Places::new(most));
    let listeners = if inherited.is_empty() {
        listen(&sockets, &access, &seats, &mut warnings)?
    } else {
        inherited.into_iter().map(|socket| Listener::inherit(socket, &seats)).collect::<Result<_, _>>()?
    };
    let signals = Signals::watch().context("cannot watch for signals")?;
    drop(inner);
    let audit = config.audit(&place.folders);
    let onlooker = onlooker(&access, audit.keep, &mut warnings)?;
    let sandbox = sandboxed(&config, &access, &places, &mut warnings);

    let audit =
        audit::start(audit, SystemClock).context("cannot start the thread that keeps audit records")?;
    let vitals = Arc::new(Vitals::default());
    let (mut driver, handle) = Driver::new(Parts {
        lookup: Arc::clone(&lookup),
        issuer,
        clock: SystemClock,
        policy: config.policy(),
        places,
        extra_ca: config.issuer.extra_ca.clone().map(PathBuf::from),
        core_dumps_forbidden,
        sandbox,
        warnings,
        stop: Arc::clone(&stop),
        audit: audit.handle(),
        vitals: Arc::clone(&vitals),
    });
    driver.open_at_start();

    let (controls, control_inbox) = mpsc::channel(8);
    let driving = drive(driver, control_inbox)?;

    let (stopping, watch_stopping) = watch::channel(false);
    let (access, access_in_force) = watch::channel(Arc::new(access));
    let service = Arc::new(Service {
        access: access_in_force,
        onlooker,
        lookup,
        driver: handle,
        clock: SystemClock,
        uploads: Arc::new(Semaphore::new(1)),
        stopping: watch_stopping,
        audit: audit.handle(),
        acquaintances: ipc::Acquaintances::default(),
    });
    info!(pid = std::process::id(), "ready");
    if arguments.announce_ready {
        announce_ready()?;
    }
    runtime.spawn(async move {
        sleep(START).await;
        own_pages.give_back();
    });
    let supervisor = Arc::new(Supervisor::new(Arc::clone(&vitals), place.check_command()));
    let heartbeat = Heartbeat::new(vitals);
    let keep_up =
        Upkeep { signals, stop, place, verbosity, access, controls, audit: audit.handle(), supervisor };
    let outcome = runtime.block_on(serve(listeners, service, stopping, keep_up, heartbeat, driving, lock));
    audit.finish();
    outcome?;
    info!("stopped");
    Ok(())
}

/// Serves until the daemon is told to stop, and then gets callers their last answers.
async fn serve(
    listeners: Vec<Listener>,
    service: Arc<Service<SystemClock>>,
    stopping: watch::Sender<bool>,
    keep_up: Upkeep,
    heartbeat: Heartbeat,
    driving: Driving,
    lock: InstanceLock,
) -> anyhow::Result<()> {
    let (controls, supervisor) = (keep_up.controls.clone(), Arc::clone(&keep_up.supervisor));
    let telling = Arc::clone(&supervisor);
    tokio::spawn(async move { telling.keep_told().await });
    let end = async {
        tokio::select! {
            () = keep_up.until_stopped() => {}
            _ = driving.ended => error!("the driver has ended by itself"),
        }
        supervisor.stopping();
        let _ = controls.send(Control::Stop).await;
        tokio::task::spawn_blocking(move || driving.thread.join()).await
    };
    // A task of its own: what the runtime itself waits for is woken by way of the kernel, with each caller. Whoever comes while the
    // driver finishes what it has begun is still served from the table.
    let (enough, until) = oneshot::channel();
    let serving = tokio::spawn(serve_until(listeners, Arc::clone(&service), heartbeat, until));
    let ended = end.await;
    let _ = enough.send(());
    let listeners = serving.await.context("the sockets' task failed")?;
    // From here on the next daemon may open the vault and take the sockets' names.
    drop(lock);
    let callers: Vec<_> = listeners.into_iter().map(Listener::close).collect();
    let _ = stopping.send(true);
    service.audit.wind_down();
    let _ = timeout(GOOD_BYE, join_all(callers.iter().map(TaskTracker::wait))).await;
    match ended {
        Ok(Ok(outcome)) => outcome,
        _ => bail!("the driver failed; its last words are in the log"),
    }
}

/// Serves at the sockets, and gives them back at the end.
async fn serve_until(
    mut listeners: Vec<Listener>,
    service: Arc<Service<SystemClock>>,
    mut heartbeat: Heartbeat,
    end: oneshot::Receiver<()>,
) -> Vec<Listener> {
    tokio::select! {
        () = ipc::serve(&mut listeners, &service, || heartbeat.beat(&SystemClock)) => unreachable!("they are served for ever"),
        _ = end => listeners,
    }
}

/// The driver's thread, and word of its end.
struct Driving {
    thread: thread::JoinHandle<anyhow::Result<()>>,
    ended: oneshot::Receiver<()>,
}

/// Runs the driver on a thread of its own, and tells when it has ended.
fn drive(
    driver: Driver<HttpsIssuer, SystemClock>,
    controls: mpsc::Receiver<Control<HttpsIssuer>>,
) -> anyhow::Result<Driving> {
    let (end, ended) = oneshot::channel();
    let driving = thread::Builder::new().name("driver".to_owned()).spawn(move || {
        let runtime = runtime();
        let outcome = runtime.map(|runtime| {
            runtime.block_on(driver.run(controls));
            // A look-up of a name that hangs must not hold up the end.
            runtime.shutdown_background();
        });
        let _ = end.send(());
        outcome
    });
    Ok(Driving { thread: driving.context("cannot start the driver's thread")?, ended })
}

/// Examines what can be examined without a daemon that runs, and prints the findings as one list in JSON. A configuration that
/// cannot be read is one of them.
fn doctor(place: &Place, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let (config, problem) = match config {
        Ok(config) => (config, None),
        Err(problem) => (Config::default(), Some(format!("{problem:#}"))),
    };
    let mut found: Vec<_> = problem
        .map(|why| checkup::bad_configuration(&place.config_file, why, &place.check_command()))
        .into_iter()
        .collect();
    guarded::prefer(kind_of_memory(&config.security, place.is_system));
    let Ok(_probe) = GuardedKey::try_fill(|_| Ok::<_, Infallible>(()));
    let forbidden = os::forbid_core_dumps().is_ok();
    found.extend(place.places(&config, place.sockets(&config)?).examine());
    found.extend(checkup::memory(guarded::achieved(), forbidden, None));
    found.extend(checkup::clock(SystemClock.now().wall, None));
    found.push(checkup::not_looked_at());
    let findings = serde_json::to_string(&found).context("cannot write the findings")?;
    writeln!(stdout(), "{findings}").context("cannot print")
}

/// Chooses the keys' memory, and keeps the process from being looked into. Says whether that worked for core files.
fn protect_memory(
    config: &SecurityConfig,
    is_system: bool,
    warnings: &mut Vec<String>,
) -> anyhow::Result<bool> {
    guarded::prefer(kind_of_memory(config, is_system));
    let Ok(_probe) = GuardedKey::try_fill(|_| Ok::<_, Infallible>(()));
    let mut shortfalls = Vec::new();
    if guarded::achieved() == guarded::Protection::None {
        shortfalls.push(
            "Keys cannot be locked into memory, so they may reach swap: raise the limit on locked memory \
                         (ulimit -l, LimitMEMLOCK= in a unit)."
                .to_owned(),
        );
    }
    let forbidden = os::forbid_core_dumps();
    if let Err(error) = &forbidden {
        shortfalls.push(format!(
            "The daemon's memory is open to core files and to other processes of its user: {error}."
        ));
    }
    if config.require_memory_protection && !shortfalls.is_empty() {
        bail!(
            "{} The configuration requires more: [security] require-memory-protection",
            shortfalls.join(" ")
        );
    }
    for shortfall in shortfalls {
        warn!("{shortfall}");
        warnings.push(shortfall);
    }
    Ok(forbidden.is_ok())
}

fn kind_of_memory(config: &SecurityConfig, is_system: bool) -> guarded::Kind {
    match config.memory {
        KeyMemory::Secret => guarded::Kind::Secret,
        KeyMemory::Auto if is_system => guarded::Kind::Secret,
        KeyMemory::Auto | KeyMemory::Locked => guarded::Kind::Locked,
    }
}

/// Whoever looks at callers' programs, where a rule names one or records are kept. Before the sandbox is closed.
fn onlooker(access: &Access, keep: Keep, warnings: &mut Vec<String>) -> anyhow::Result<Option<Onlooker>> {
    let names_programs = access.ever_looks_at().program;
    if !names_programs && keep == Keep::Off {
        return Ok(None);
    }
    if names_programs && !os::may_look_into_others() {
        let warning = "A rule in the configuration names a program, but the programs of other users are closed to this daemon, so \
                       it allows nobody anything: run it as root or with CAP_SYS_PTRACE, or name a unit instead.";
        warn!("{warning}");
        warnings.push(warning.to_owned());
    }
    Ok(Some(Onlooker::start().context("cannot start the thread that looks at callers' programs")?))
}

/// Denies this process what it does not need. Before any other thread is started: each is confined by itself.
fn sandboxed(
    config: &Config,
    access: &Access,
    ours: &checkup::Places,
    warnings: &mut Vec<String>,
) -> Confinement {
    if !config.security.sandbox {
        return Confinement::None;
    }
    let checkup::Places { config: config_file, vault, cache, audit, sockets, .. } = ours;
    let files = sockets.iter().chain([&vault.vault, &vault.key_file, cache]);
    let mut folders: Vec<_> = files.filter_map(|file| file.parent()).map(Path::to_owned).collect();
    if config.audit.keep != Keep::Off {
        folders.push(audit.clone());
    }
    for folder in &folders {
        // One that cannot be made now is not needed, or is missed where it is.
        let _ = vault::create_folders(folder);
    }
    let config_folder = config_file.parent().map(Path::to_owned);
    let extra_ca = config.issuer.extra_ca.clone().map(PathBuf::from);
    let credentials = vault.credential.as_ref().and_then(|file| file.parent()).map(Path::to_owned);
    // Which unit a caller belongs to is read there. Other processes' memory and environment are closed to whoever is in a sandbox.
    let processes = access.ever_looks_at().unit.then(|| PathBuf::from("/proc"));
    let places = Places {
        writable: folders,
        readable: [config_folder, extra_ca, credentials, processes].into_iter().flatten().collect(),
        may_execute: config.vault.command.is_some(),
    };
    match sandbox::confine(&places) {
        Ok(confinement) => confinement,
        Err(error) => {
            let warning = format!("The daemon could not put itself into a sandbox: {error}.");
            warn!("{warning}");
            warnings.push(warning);
            Confinement::None
        }
    }
}

/// Where this daemon lives.
#[derive(Debug)]
struct Place {
    folders: Folders,
    config_file: PathBuf,
    config_was_named: bool,
    named_socket: Option<PathBuf>,
    is_system: bool,
    /// Of Windows.
    is_service: bool,
    /// The user id that everything must belong to; of no meaning on Windows.
    owner: u32,
}

impl Place {
    fn find(arguments: &Arguments) -> anyhow::Result<Self> {
        let folders = if arguments.system { Folders::of_system() } else { Folders::of_user()? };
        let is_looked_at = arguments.doctor || arguments.check_config;
        let place = Self {
            owner: owner(&folders, arguments.system && is_looked_at),
            config_file: arguments.config.clone().unwrap_or_else(|| folders.config_file()),
            config_was_named: arguments.config.is_some(),
            named_socket: arguments.socket.clone(),
            is_system: arguments.system,
            #[cfg(windows)]
            is_service: arguments.service,
            #[cfg(unix)]
            is_service: false,
            folders,
        };
        // Who only looks makes nothing.
        #[cfg(windows)]
        if place.is_system && !is_looked_at {
            place.make()?;
        }
        Ok(place)
    }

    /// Makes the system's folders before somebody else does: whoever has signed in may put folders beside them.
    #[cfg(windows)]
    fn make(&self) -> anyhow::Result<()> {
        os::make_system_folder(&self.folders.config)?;
        Ok(os::make_system_folder(&self.folders.data)?)
    }

    /// Reads the configuration. It is believed only where nobody else could change it, on Windows that of the system: what it
    /// names is run, and it says who is served.
    fn config(&self) -> anyhow::Result<Config> {
        #[cfg(windows)]
        if self.is_system {
            for place in [&self.folders.config, &self.folders.data, &self.config_file] {
                os::judge_way(place)?;
            }
        }
        #[cfg(unix)]
        os::judge_settings(&self.config_file, self.owner).context("the configuration is not taken")?;
        Ok(Config::read(&self.config_file, !self.config_was_named)?)
    }

    /// What says whether the configuration that this daemon reads is good.
    fn check_command(&self) -> String {
        use std::fmt::Write as _;
        let mut command = "procurify-tokend".to_owned();
        if self.is_system {
            command.push_str(" --system");
        }
        command.push_str(" --check-config");
        if self.config_was_named {
            let _ = write!(command, " --config '{}'", self.config_file.display());
        }
        command
    }

    /// Of a configuration that was read.
    fn tell_that_it_is_good(&self) -> anyhow::Result<()> {
        let file = self.config_file.display();
        let told = if self.config_file.exists() {
            format!("{file} is good")
        } else {
            format!("there is no {file}: the defaults are in force")
        };
        writeln!(stdout(), "{told}").context("cannot print")
    }

    /// The log's file, where nobody reads standard error.
    fn log(&self) -> anyhow::Result<Option<PathBuf>> {
        if !self.is_service {
            return Ok(None);
        }
        let log = self.folders.log();
        vault::create_folders(&self.folders.state).context("cannot make the folder of the log")?;
        Ok(Some(log))
    }

    fn places(&self, config: &Config, sockets: Vec<PathBuf>) -> checkup::Places {
        checkup::Places {
            owner: self.owner,
            config: self.config_file.clone(),
            vault: self.folders.vault(&config.vault),
            cache: self.folders.cache(&config.cache),
            audit: self.folders.audit(&config.audit),
            sockets,
        }
    }

    fn sockets(&self, config: &Config) -> anyhow::Result<Vec<PathBuf>> {
        let around = Surroundings::of_process();
        let configured = || config.socket.clone().map(PathBuf::from);
        let named = self.named_socket.clone().or_else(|| around.socket_variable.clone()).or_else(configured);
        if let Some(path) = named {
            return Ok(vec![std::path::absolute(path).context("cannot find the current folder")?]);
        }
        if self.is_system {
            return Ok(vec![endpoint::system_wide(Platform::HERE).path]);
        }
        Ok(endpoint::per_user(Platform::HERE, &around).into_iter().map(|endpoint| endpoint.path).collect())
    }
}

/// What goes on beside serving: signals, and a client's wish to stop.
struct Upkeep {
    signals: Signals,
    stop: Arc<Notify>,
    place: Place,
    verbosity: Verbosity,
    access: watch::Sender<Arc<Access>>,
    controls: mpsc::Sender<Control<HttpsIssuer>>,
    audit: audit::Handle,
    supervisor: Arc<Supervisor>,
}

impl Upkeep {
    async fn until_stopped(mut self) {
        loop {
            tokio::select! {
                told = self.signals.next() => match told {
                    Told::Reload => {
                        self.supervisor.reloading();
                        let is_in_force = self.reload().await;
                        self.supervisor.reloaded(is_in_force);
                    }
                    Told::Stop => return,
                },
                () = self.stop.notified() => return,
            }
        }
    }

    /// Reads the configuration again, and says whether it is in force now. A bad one changes nothing.
    async fn reload(&self) -> bool {
        let reloaded = self.place.config().and_then(|config| {
            let access = config.access(os::effective_user(), &self.place.config_file)?;
            Ok((issuer(&config)?, access, config))
        });
        let (issuer, access, config) = match reloaded {
            Ok(reloaded) => reloaded,
            Err(problem) => {
                let why = format!("{problem:#}{}", closed_by_the_sandbox(&problem));
                warn!("the configuration stays as it was: {why}");
                let finding =
                    checkup::not_in_force(&self.place.config_file, &why, &self.place.check_command());
                let _ = self.controls.send(Control::NotInForce(finding)).await;
                return false;
            }
        };
        self.verbosity.set(config.log.level);
        let (before, now) = (self.access.borrow().ever_looks_at(), access.ever_looks_at());
        let is_new = now.unit && !before.unit || now.program && !before.program;
        if is_new || access.has_rules() != self.access.borrow().has_rules() {
            warn!(
                "the first [[access]] rules, and the first that name a unit or a program, take a restart: procurify-token stop"
            );
        }
        self.access.send_replace(Arc::new(access));
        self.audit.note_own("reload", "ok", SystemClock.boot());
        let control = Control::Reconfigure {
            policy: config.policy(),
            issuer: Arc::new(issuer),
            extra_ca: config.issuer.extra_ca.map(PathBuf::from),
        };
        let is_in_force = self.controls.send(control).await.is_ok();
        if is_in_force {
            info!(config = %self.place.config_file.display(), "the configuration was read again");
        }
        is_in_force
    }
}

/// A file may be named that was not when the sandbox was closed.
fn closed_by_the_sandbox(problem: &anyhow::Error) -> &'static str {
    let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let mut causes = problem.chain().filter_map(|cause| cause.downcast_ref());
    if causes.any(is_closed) {
        "; if its mode is right, restart the daemon: its sandbox was closed before"
    } else {
        ""
    }
}

/// Listens wherever that is possible; one place has to be.
fn listen(
    sockets: &[PathBuf],
    access: &Access,
    places: &Arc<ipc::Places>,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Vec<Listener>> {
    let door = if access.has_rules() { Door::Open } else { Door::Private };
    let mut listeners = Vec::new();
    let mut problems = Vec::new();
    for socket in sockets {
        match Listener::bind(socket, door, places) {
            Ok(listener) => {
                info!(socket = %socket.display(), "listening");
                listeners.push(listener);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if listeners.is_empty() {
        return Err(problems.pop().map_or_else(|| anyhow!("{NO_PLACE}"), Into::into));
    }
    for problem in problems {
        warn!("{problem}");
        warnings.push(problem.to_string());
    }
    let closed: Vec<_> = sockets.iter().filter_map(|socket| os::closed_to_others(socket)).collect();
    if let (Door::Open, Some(folder), true) = (door, closed.first(), closed.len() == sockets.len()) {
        let warning = format!(
            "There are [[access]] rules, but {} lets nobody through to the socket: chmod o+x, or another place for it (socket = \"…\").",
            folder.display()
        );
        warn!("{warning}");
        warnings.push(warning);
    }
    Ok(listeners)
}

/// As many callers as there are descriptors for, and a few left for everything else: whoever is turned away for want of a place
/// is told so, and the vault can be written all the time.
fn within_descriptors(most: usize, access: &Access, warnings: &mut Vec<String>) -> usize {
    let limit = os::raise_descriptor_limit();
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return most };
    // Its connection, and the process that is held on to where a rule looks at it.
    let of_each = if access.ever_looks_at() == LookAt::default() { 1 } else { 2 };
    let affordable = limit.saturating_sub(SPARE_DESCRIPTORS) / of_each;
    if affordable < most {
        let warning = format!(
            "max-connections is {most}, but the system gives this daemon {limit} descriptors, enough for {affordable}: raise \
             LimitNOFILE= in its unit, or ulimit -Hn."
        );
        warn!("{warning}");
        warnings.push(warning);
    }
    most.min(affordable.max(1))
}

/// Whose everything must be: of who runs the daemon, and that need not be who looks at what the system's stands on.
#[cfg(unix)]
fn owner(folders: &Folders, is_of_service: bool) -> u32 {
    let own = os::effective_user().uid().unwrap_or_default();
    if !is_of_service {
        return own;
    }
    let state = fs::metadata(&folders.state).ok().map(|folder| folder.uid());
    let service = os::account(SERVICE_USER).and_then(|account| account.user.uid());
    owner_of_service(state, service, own)
}

#[cfg(windows)]
fn owner(_: &Folders, _: bool) -> u32 {
    0
}

/// The user whom the system's service runs as: the one who was made for it, if there is one, for a folder may be somebody's by
/// mistake; else whose its state is.
#[cfg(unix)]
fn owner_of_service(state: Option<u32>, service: Option<u32>, own: u32) -> u32 {
    service.or(state).unwrap_or(own)
}

fn issuer(config: &Config) -> anyhow::Result<HttpsIssuer> {
    Ok(HttpsIssuer::new(IssuerSettings {
        extra_ca: config.issuer.extra_ca.clone().map(PathBuf::from),
        connect_timeout: config.issuer.connect_timeout,
        request_timeout: config.issuer.request_timeout,
        proxies: Proxies::from_env()?,
    })?)
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

fn announce_ready() -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(out, "ready").and_then(|()| out.flush()).context("cannot announce that the daemon is ready")?;
    os::close_standard_output().context("cannot close standard output")
}

const NO_PLACE: &str = if cfg!(windows) {
    "nobody knows who you are: set USERNAME, or --socket"
} else {
    "there is no home folder: set HOME, or --socket"
};
#[cfg(unix)]
const SERVICE_USER: &str = "procurify-token";
/// For the vault, the cache, token requests, and what libraries open.
const SPARE_DESCRIPTORS: usize = 64;
/// What is needed in the first second is most of what is ever needed only once.
const START: Duration = Duration::from_secs(1);
/// How long callers may take to read their last answers.
const GOOD_BYE: Duration = Duration::from_secs(1);

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn what_to_type_names_the_configuration_that_this_daemon_reads() {
        let command = |words: &[&str]| {
            let words = [&["procurify-tokend"], words].concat();
            Place::find(&Arguments::parse_from(words)).unwrap().check_command()
        };
        assert_eq!(command(&["--system"]), "procurify-tokend --system --check-config");
        let named = command(&["--system", "--config", "/c/a.toml"]);
        assert_eq!(named, "procurify-tokend --system --check-config --config '/c/a.toml'");
    }

    #[test]
    fn what_the_system_stands_on_is_judged_by_the_services_user_and_not_by_who_looks() {
        assert_eq!(owner_of_service(Some(997), Some(997), 0), 997);
        assert_eq!(owner_of_service(Some(7), Some(997), 0), 997, "given away by mistake");
        assert_eq!(owner_of_service(Some(0), None, 0), 0, "a service that root runs");
        assert_eq!(owner_of_service(Some(65532), None, 0), 65532, "in a container");
        assert_eq!(owner_of_service(None, None, 0), 0);
    }
}
