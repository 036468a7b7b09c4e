//! The world around a whole driver: a real vault and a real cache in a folder, callers and watchers, and an invented
//! clock. What must hold of answers is checked here; what must hold of requests, in `book.rs`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use fastrand::Rng;
use procurify_token_protocol::{
    Answer, ClientSecret, CredentialName, Fingerprint, NewSlot, RefreshMode, Refusal, Request, TokenGrant,
    UnlockWith,
};
use procurify_token_tests::sandbox::Application as SandboxApplication;
use procurify_token_tests::{credential_of, text_of};
use procurify_tokend::access::Peer;
use procurify_tokend::checkup::Places;
use procurify_tokend::driver::{Control, Driver, Handle, Parts};
use procurify_tokend::lookup::Lookup;
use procurify_tokend::refresh::Moment;
use procurify_tokend::vault::VaultPaths;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::book::{Account, Shared};
use crate::procurify::{Application, Weather};

/// Lives through one history of a driver.
///
/// # Errors
/// What did not hold, with the last events.
pub(crate) fn live(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut house = House::new(Rng::with_seed(seed)).await;
        let outcome = house.live().await;
        outcome.map_err(|violation| {
            let book = house.shared.book();
            let events: Vec<_> = book.last_events().map(String::as_str).collect();
            format!("{}\n{violation}", events.join("\n"))
        })
    })
}

struct House {
    rng: Rng,
    shared: Shared,
    folder: TempDir,
    names: Vec<CredentialName>,
    next_pair: u32,
    door: Arc<Mutex<Door>>,
    controls: mpsc::Sender<Control<Shared>>,
    running: JoinHandle<()>,
    callers: JoinSet<()>,
    watchers: JoinSet<()>,
    /// What each watcher was told last.
    told: Arc<Mutex<HashMap<CredentialName, Option<Fingerprint>>>>,
}

/// Where callers find the daemon that runs at the moment.
#[derive(Clone)]
struct Door {
    lookup: Arc<Lookup>,
    handle: Handle,
}

type Violation = String;

/// Each credential's token, and when it ends.
type Held = BTreeMap<CredentialName, (Fingerprint, Moment)>;

impl House {
    async fn new(mut rng: Rng) -> Self {
        let shared = Shared::new(rng.fork());
        // Where there is one, memory: a history writes a thousand times.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let (door, controls, running) = start(&shared, &folder);
        let mut house = Self {
            names: Vec::new(),
            next_pair: 0,
            door: Arc::new(Mutex::new(door)),
            controls,
            running,
            callers: JoinSet::new(),
            watchers: JoinSet::new(),
            told: Arc::default(),
            folder,
            shared,
            rng,
        };
        house.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
        let domains = house.shared.book().weather.len();
        for number in 0..house.rng.usize(2..10) {
            let domain = house.rng.usize(..domains);
            let name: CredentialName = format!("d{domain}/c{number}").parse().unwrap();
            let mut application = Application::any(&mut house.rng);
            if domain == 0 {
                // Nothing is the matter with this one, whatever is with the others.
                (application.is_known, application.repeats) = (true, false);
                application.life = application.life.max(Duration::from_hours(4));
            }
            house.shared.book().accounts.insert(name.clone(), Account::new(domain, application));
            house.names.push(name.clone());
            house.enrol(&name).await;
            house.watch(name);
        }
        house
    }

    async fn live(&mut self) -> Result<(), Violation> {
        for _ in 0..EVENTS {
            self.pass().await;
            self.happen().await?;
            self.settle().await?;
        }
        self.shared.note("calm weather");
        self.shared.book().weather.fill(Weather::Fair);
        let end = self.shared.book().truth() + Duration::from_hours(26);
        while self.shared.book().truth() < end {
            let hour = Duration::from_secs(self.rng.u64(60..7200));
            tokio::time::sleep(hour).await;
            self.settle().await?;
        }
        self.whoever_can_have_a_token_has_one();
        self.whoever_watches_knows();
        self.settle().await?;
        let left = self.callers.len();
        self.shared.holds(left == 0, "every caller is answered");
        self.settle().await
    }

    /// Lets everybody finish who can, and looks whether something did not hold.
    async fn settle(&mut self) -> Result<(), Violation> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(caller) = self.callers.try_join_next() {
            caller.map_err(|error| error.to_string())?;
        }
        if self.running.is_finished() {
            return Err("the driver has ended by itself".to_owned());
        }
        self.shared.book().violation().cloned().map_or(Ok(()), Err)
    }

    async fn pass(&mut self) {
        match self.rng.u8(0..16) {
            0 => {
                let asleep = Duration::from_secs(self.rng.u64(60..100_000));
                self.shared.note(&format!("suspended for {asleep:?}"));
                self.shared.book().sleep(asleep);
            }
            1..=3 => tokio::time::sleep(Duration::from_secs(self.rng.u64(600..30_000))).await,
            4..=7 => tokio::time::sleep(Duration::from_secs(self.rng.u64(1..600))).await,
            _ => tokio::time::sleep(Duration::from_millis(self.rng.u64(0..10_000))).await,
        }
    }

    async fn happen(&mut self) -> Result<(), Violation> {
        let name = self.names[self.rng.usize(..self.names.len())].clone();
        let domains = self.shared.book().weather.len();
        match self.rng.u8(0..32) {
            0..=9 => {
                for _ in 0..self.rng.u8(1..4) {
                    let min_ttl =
                        if self.is_plain() || self.rng.bool() { 0 } else { self.rng.u64(0..100_000) };
                    self.get(&name, Duration::from_secs(min_ttl));
                }
            }
            10..=14 => {
                // So many may begin to hang together without delaying another.
                let places = self.shared.book().policy.concurrency;
                let may_hang = if self.is_plain() { places - (places / 2).max(1) } else { domains };
                let last = domains.min(1 + may_hang);
                let (domain, weather) = (self.rng.usize(1..last), Weather::any(&mut self.rng));
                self.shared.note(&format!("domain {domain}: {weather:?}"));
                self.shared.book().weather[domain] = weather;
            }
            15..=16 => self.restart(false, false).await,
            17 => self.restart(true, false).await,
            // Nobody can tell which of two wall clocks was right before a reboot: they step in other histories.
            18 if self.is_plain() => self.restart(true, true).await,
            _ if self.is_plain() => {}
            18..=19 => self.set_the_wall_clock().await,
            20..=21 => self.refresh(&name),
            22..=23 => self.invalidate(&name).await,
            24 => self.lock_and_unlock().await,
            25 => self.rotate(&name).await,
            26 => self.roll_back(&name).await,
            27 => self.remove_or_enrol(&name).await,
            28 if !name.as_str().starts_with("d0/") => {
                let mut book = self.shared.book();
                let application = &mut book.accounts.get_mut(&name).unwrap().application;
                application.is_known = !application.is_known;
            }
            _ => {}
        }
        self.settle().await
    }

    fn is_plain(&self) -> bool {
        self.shared.book().is_plain
    }

    fn door(&self) -> Door {
        self.door.lock().unwrap().clone()
    }

    async fn ask(&self, request: Request) -> Result<Answer, Refusal> {
        let handle = self.door().handle;
        handle.ask(request, Peer::default()).await
    }

    // People and programs.

    fn get(&mut self, name: &CredentialName, min_ttl: Duration) {
        let deadline = Duration::from_secs(self.rng.u64(0..90));
        let bystanders = self.names.iter().filter(|name| name.as_str().starts_with("d0/")).count();
        let patience = PATIENCE * u32::try_from(bystanders).unwrap();
        let (door, shared, name) = (self.door(), self.shared.clone(), name.clone());
        self.shared.note(&format!("a get of {name}, {min_ttl:?} within {deadline:?}"));
        self.callers.spawn(async move {
            let asked = tokio::time::Instant::now();
            let (sleep_before, crashes_before) = shared.book().troubles();
            let has_just_woken = shared.book().has_just_woken();
            let held = door.found(&name, Duration::ZERO, &shared);
            let request = Request::Get { name: name.clone(), min_ttl, deadline };
            let answer = match door.found(&name, min_ttl, &shared) {
                Some(grant) => Ok(grant),
                None => door.token(request, deadline, &shared).await,
            };
            let is_early = asked.elapsed() < patience;
            match &answer {
                Ok(grant) => shared.a_token_that_is_handed_out_is_valid_and_its_own(&name, grant),
                Err(refusal) => {
                    let now = door.found(&name, Duration::ZERO, &shared);
                    let same = now
                        .zip(held)
                        .filter(|(now, then)| now.token.fingerprint() == then.token.fingerprint());
                    shared.note(&format!("refused {name}: {}", refusal.code.label()));
                    let was_killed = shared.book().troubles().1 > crashes_before;
                    let holds = same.is_none() || was_killed;
                    shared.holds(holds, "nobody is refused while a valid token is held, at a stop neither");
                }
            }
            // Whoever waits while the machine sleeps wakes to find his deadline behind him.
            let was_awake = shared.book().troubles().0 == sleep_before && !has_just_woken;
            let is_bystander = name.as_str().starts_with("d0/") && shared.book().is_plain && was_awake;
            let is_served = answer.is_ok() && is_early
                || answer.is_err_and(|refusal| deadline < patience || refusal.code.label() == "stopping");
            shared.holds(!is_bystander || is_served, "one failing domain never delays another");
        });
    }

    fn refresh(&mut self, name: &CredentialName) {
        let modes = [RefreshMode::Plain, RefreshMode::Retry, RefreshMode::OverBudget];
        let mode = modes[self.rng.usize(..3)];
        let deadline = Duration::from_secs(self.rng.u64(0..90));
        let (door, shared, name) = (self.door(), self.shared.clone(), name.clone());
        shared.note(&format!("refresh {name}: {mode:?}"));
        if mode != RefreshMode::Plain {
            shared.book().accounts.get_mut(&name).unwrap().insist();
        }
        self.callers.spawn(async move {
            let request = Request::Refresh { name: name.clone(), mode, deadline };
            if let Ok(grant) = door.token(request, deadline, &shared).await {
                shared.a_token_that_is_handed_out_is_valid_and_its_own(&name, &grant);
            }
            if mode != RefreshMode::Plain {
                shared.book().accounts.get_mut(&name).unwrap().insisting -= 1;
            }
        });
    }

    async fn invalidate(&mut self, name: &CredentialName) {
        let held = self.door().found(name, Duration::ZERO, &self.shared);
        let Some(grant) = held else { return };
        self.shared.note(&format!("the API refused the token of {name}"));
        let fingerprint = grant.token.fingerprint();
        let _ = self.ask(Request::Invalidate { name: name.clone(), fingerprint }).await;
    }

    /// Watches a credential for as long as it can, over every restart.
    fn watch(&mut self, name: CredentialName) {
        let (door, told) = (Arc::clone(&self.door), Arc::clone(&self.told));
        self.watchers.spawn(async move {
            let mut seen = None;
            loop {
                let handle = door.lock().unwrap().handle.clone();
                let request = Request::Watch { name: name.clone(), seen, deadline: Duration::from_hours(1) };
                if let Ok(Answer::Watched(state)) = handle.ask(request, Peer::default()).await {
                    seen = Some(state.revision);
                    let token = state.token.map(|grant| grant.token.fingerprint());
                    told.lock().unwrap().insert(name.clone(), token);
                } else {
                    told.lock().unwrap().insert(name.clone(), None);
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        });
    }

    fn pair(&mut self, name: &CredentialName) -> SandboxApplication {
        self.next_pair += 1;
        let client_id = format!("pair-{}", self.next_pair);
        self.shared.book().pairs.insert(client_id.clone(), name.clone());
        SandboxApplication { client_id, ..SandboxApplication::of("any") }
    }

    async fn enrol(&mut self, name: &CredentialName) {
        self.shared.note(&format!("{name} is enrolled"));
        self.shared.book().accounts.get_mut(name).unwrap().is_enrolled = true;
        let credential = credential_of(name.as_str(), &self.pair(name));
        self.ask(Request::Add(Box::new(credential))).await.unwrap();
    }

    async fn remove_or_enrol(&mut self, name: &CredentialName) {
        if !self.shared.book().accounts[name].is_enrolled {
            return self.enrol(name).await;
        }
        self.shared.note(&format!("{name} is removed"));
        self.ask(Request::Remove { name: name.clone() }).await.unwrap();
        self.shared.book().accounts.get_mut(name).unwrap().removed();
    }

    async fn rotate(&mut self, name: &CredentialName) {
        let pair = self.pair(name);
        let stage = Request::Stage {
            name: name.clone(),
            client_id: pair.client_id.parse().unwrap(),
            client_secret: ClientSecret::new(&pair.client_secret.clone().into()).unwrap(),
            replace: true,
        };
        if self.ask(stage).await.is_err() {
            return;
        }
        self.shared.book().trials.insert(pair.client_id.clone());
        let promote = Request::Promote { name: name.clone(), deadline: Duration::from_mins(1) };
        let promoted = self.ask(promote).await;
        self.shared.book().trials.remove(&pair.client_id);
        self.changed(name, promoted.is_ok(), "is rotated");
    }

    async fn roll_back(&mut self, name: &CredentialName) {
        // The other pair is asked with before anybody is told that it is in use.
        let quiet = self.shared.book().accounts.get_mut(name).unwrap().quiet_until.take();
        let rolled = self.ask(Request::Rollback { name: name.clone() }).await;
        if rolled.is_err() {
            self.shared.book().accounts.get_mut(name).unwrap().quiet_until = quiet;
        }
        self.changed(name, rolled.is_ok(), "is rolled back");
    }

    fn changed(&self, name: &CredentialName, is_changed: bool, how: &str) {
        if is_changed {
            self.shared.note(&format!("{name} {how}"));
            let mut book = self.shared.book();
            let now = book.truth();
            book.accounts.get_mut(name).unwrap().changed(now);
        }
    }

    async fn set_the_wall_clock(&mut self) {
        let step = TimeDelta::seconds(self.rng.i64(-10_000_000..10_000_000));
        self.shared.note(&format!("the wall clock is set by {step}"));
        let before = self.held();
        self.shared.book().set_wall_clock(step);
        // Whatever is asked of the driver, it looks at the clocks.
        self.ask(Request::Status).await.unwrap();
        self.ask(Request::Status).await.unwrap();
        self.nothing_is_lost(&before, "a step of the wall clock takes no token away");
    }

    async fn lock_and_unlock(&mut self) {
        self.shared.note("locked and unlocked");
        self.ask(Request::Lock).await.unwrap();
        for account in self.shared.book().accounts.values_mut() {
            account.epoch += 1;
        }
        self.ask(Request::Unlock { key: UnlockWith::Unattended, generation: 0 }).await.unwrap();
    }

    /// A crash leaves what is on the disk; a clean stop waits a little for the answers that are out.
    async fn restart(&mut self, is_crash: bool, is_reboot: bool) {
        self.shared.note(if is_crash { "crash" } else { "restart" });
        let before = self.held();
        if is_crash {
            self.shared.book().crashes += 1;
            self.running.abort();
        } else {
            self.controls.send(Control::Stop).await.unwrap();
        }
        let _ = (&mut self.running).await;
        self.shared.book().forget_requests();
        if is_reboot {
            let off = Duration::from_secs(self.rng.u64(10..3000));
            self.shared.note(&format!("a reboot, {off:?} later"));
            let mut book = self.shared.book();
            book.sleep(off);
            book.reboot();
        }
        // Callers of the old one are told that it stops.
        tokio::task::yield_now().await;
        let (door, controls, running) = start(&self.shared, &self.folder);
        *self.door.lock().unwrap() = door;
        (self.controls, self.running) = (controls, running);
        self.nothing_is_lost(&before, "a restart within a token's life serves it at once");
    }

    /// The tokens in the table, by the book: whose, and until when.
    fn held(&self) -> Held {
        let door = self.door();
        let found = |name: &CredentialName| {
            let grant = door.found(name, Duration::ZERO, &self.shared)?;
            let ends = self.shared.book().token(&text_of(&grant.token))?.1;
            Some((name.clone(), (grant.token.fingerprint(), ends)))
        };
        self.names.iter().filter_map(found).collect()
    }

    fn nothing_is_lost(&self, before: &Held, what: &str) {
        let (after, now) = (self.held(), self.shared.book().truth());
        let mut living = before.iter().filter(|(_, (_, ends))| *ends > now + SOON);
        self.shared.holds(living.all(|(name, _)| after.contains_key(name)), what);
    }

    // What must hold in the end.

    fn whoever_can_have_a_token_has_one(&self) {
        let held = self.held();
        for name in &self.names {
            let mut book = self.shared.book();
            let account = &book.accounts[name];
            let application = &account.application;
            // Shorter ones may lie in wait for their budget; a server that repeats may have nothing else to give.
            let can = account.is_enrolled && application.is_known && !application.repeats;
            let is_long = application.life >= Duration::from_hours(24);
            let what = format!("in calm weather whoever can have a token has one: {name}");
            let holds = !(can && is_long) || held.contains_key(name);
            book.note("the end");
            drop(book);
            self.shared.holds(holds, &what);
        }
    }

    fn whoever_watches_knows(&self) {
        let held = self.held();
        let told = self.told.lock().unwrap();
        for name in &self.names {
            let is_known = told.get(name).copied().flatten() == held.get(name).map(|(held, _)| *held);
            self.shared.holds(is_known, "whoever watches a credential knows its token");
        }
    }
}

impl Door {
    /// What a session would answer without asking the driver.
    fn found(&self, name: &CredentialName, min_ttl: Duration, shared: &Shared) -> Option<TokenGrant> {
        use procurify_tokend::clock::Clock as _;
        self.lookup.find(name, min_ttl, shared.boot())?.grant()
    }

    async fn token(
        &self,
        request: Request,
        deadline: Duration,
        shared: &Shared,
    ) -> Result<TokenGrant, Refusal> {
        // A machine that sleeps is noticed within half a minute of waking.
        let answer = self.handle.ask(request, Peer::default());
        let answer = tokio::time::timeout(deadline + NOTICED, answer).await;
        shared.holds(answer.is_ok(), "nobody waits beyond his deadline");
        match answer {
            Ok(Ok(Answer::Token(grant))) => Ok(grant),
            Ok(Err(refusal)) => Err(refusal),
            other => panic!("not an answer to that: {other:?}"),
        }
    }
}

impl Shared {
    fn a_token_that_is_handed_out_is_valid_and_its_own(&self, name: &CredentialName, grant: &TokenGrant) {
        let mut book = self.book();
        let text = text_of(&grant.token);
        let now = book.truth();
        let (is_own, is_valid) =
            book.token(&text).map_or((false, false), |(owner, ends)| (owner == name, *ends > now));
        book.note(&format!("{name} is handed out: {text}"));
        drop(book);
        self.holds(is_own, "a token is handed out under no other name than its own");
        self.holds(is_valid, "no expired token is ever handed out");
    }
}

fn start(shared: &Shared, folder: &TempDir) -> (Door, mpsc::Sender<Control<Shared>>, JoinHandle<()>) {
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let lookup = Arc::new(Lookup::default());
    let policy = shared.book().policy.clone();
    let (mut driver, handle) = Driver::new(Parts {
        lookup: Arc::clone(&lookup),
        issuer: Arc::new(shared.clone()),
        clock: shared.clone(),
        policy,
        places: Places {
            owner: rustix::process::geteuid().as_raw(),
            config: path("config/config.toml"),
            vault: VaultPaths::new(path("data/vault"), path("config/vault.key")),
            cache: path("state/tokens.redb"),
            audit: path("state/audit"),
            sockets: Vec::new(),
        },
        extra_ca: None,
        core_dumps_forbidden: false,
        sandbox: procurify_tokend::os::sandbox::Confinement::None,
        warnings: Vec::new(),
        stop: Arc::default(),
        audit: procurify_tokend::audit::Handle::default(),
        vitals: Arc::default(),
    });
    driver.open_at_start();
    let (controls, inbox) = mpsc::channel(1);
    (Door { lookup, handle }, controls, tokio::spawn(driver.run(inbox)))
}

const EVENTS: usize = 60;
/// Within this time of true waiting each token of a healthy domain is there, one after another if need be, whatever
/// others do. An answer takes 3 s at most.
const PATIENCE: Duration = Duration::from_secs(4);
const NOTICED: Duration = Duration::from_secs(31);
/// A token that ends within this may have ended before anybody looks.
const SOON: Duration = Duration::from_millis(10);
