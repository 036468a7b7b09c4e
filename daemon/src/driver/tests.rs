use std::sync::Mutex;

use procurify_token_protocol::{
    Activity, BaseUrl, CredentialStatus, DaemonStatus, FailureCode, NewCredential, NewSlot, RefreshMode,
    RefusalCode, TokenUrl, UnlockWith, VaultState as WireVaultState,
};
use secrecy::SecretString;
use tempfile::TempDir;

use super::*;
use crate::issuer::TokenRequest;
use crate::refresh::Moment;
use crate::vault::{KeyCommand, VaultPaths};

/// An issuer that answers what the test has laid ready, and remembers who asked.
#[derive(Debug, Default)]
struct FakeIssuer {
    outcomes: Mutex<Vec<Result<&'static str, FailureCode>>>,
    asked: Mutex<Vec<String>>,
    /// By how many seconds its clock is ahead.
    ahead: std::sync::atomic::AtomicI64,
    /// Nobody is answered while somebody holds this for writing.
    gate: tokio::sync::RwLock<()>,
}

impl FakeIssuer {
    fn prepare(&self, outcomes: &[Result<&'static str, FailureCode>]) {
        self.outcomes.lock().unwrap().extend(outcomes.iter().rev());
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl TokenIssuer for FakeIssuer {
    async fn reach(&self, _: TokenUrl, _: DateTime<Utc>) -> crate::issuer::Reach {
        crate::issuer::Reach { proxy: None, outcome: Ok(None) }
    }

    async fn issue(&self, request: TokenRequest) -> Result<Issued, Failure> {
        self.asked.lock().unwrap().push(request.client_id.as_str().to_owned());
        let _open = self.gate.read().await;
        let outcome = self.outcomes.lock().unwrap().pop().unwrap_or(Err(FailureCode::NOT_CONNECTED));
        let token = outcome.map_err(Failure::from)?;
        Ok(Issued {
            access_token: SecretString::from(token),
            lifetime: Duration::from_hours(24),
            server_ahead: Some(TimeDelta::seconds(self.ahead.load(std::sync::atomic::Ordering::Relaxed))),
        })
    }
}

/// By the boot-time clock, how far the wall clock was set ahead since, and which boot it is.
#[derive(Clone, Debug, Default)]
struct FakeClock(Arc<Mutex<i64>>, Arc<Mutex<TimeDelta>>, Option<u128>);

impl Clock for FakeClock {
    fn boot(&self) -> Moment {
        Moment::from_millis(*self.0.lock().unwrap())
    }

    fn now(&self) -> Now {
        let wall = DateTime::from_timestamp_millis(1_800_000_000_000 + *self.0.lock().unwrap()).unwrap();
        Now { boot: self.boot(), wall: wall + *self.1.lock().unwrap(), dice: 7 }
    }

    fn boot_id(&self) -> Option<u128> {
        self.2
    }
}

/// A driver in a folder of its own.
struct Daemon {
    folder: Arc<TempDir>,
    issuer: Arc<FakeIssuer>,
    clock: FakeClock,
    lookup: Arc<Lookup>,
    handle: Handle,
    controls: mpsc::Sender<Control<FakeIssuer>>,
    running: tokio::task::JoinHandle<()>,
}

impl Daemon {
    fn start() -> Self {
        Self::start_in(Arc::new(TempDir::new().unwrap()), FakeClock::default())
    }

    fn start_in(folder: Arc<TempDir>, clock: FakeClock) -> Self {
        Self::start_with(folder, clock, None)
    }

    fn start_with(folder: Arc<TempDir>, clock: FakeClock, command: Option<KeyCommand>) -> Self {
        let (issuer, lookup) = (Arc::new(FakeIssuer::default()), Arc::new(Lookup::default()));
        let mut parts = Self::parts_in(&folder, clock.clone(), &issuer, &lookup);
        parts.places.vault.command = command;
        let (mut driver, handle) = Driver::new(parts);
        driver.open_at_start();
        let (controls, inbox) = mpsc::channel(1);
        let running = tokio::spawn(driver.run(inbox));
        Self { folder, issuer, clock, lookup, handle, controls, running }
    }

    fn driver_in(
        folder: &TempDir,
        clock: FakeClock,
        issuer: &Arc<FakeIssuer>,
        lookup: &Arc<Lookup>,
    ) -> (Driver<FakeIssuer, FakeClock>, Handle) {
        let (mut driver, handle) = Driver::new(Self::parts_in(folder, clock, issuer, lookup));
        driver.open_at_start();
        (driver, handle)
    }

    fn parts_in(
        folder: &TempDir,
        clock: FakeClock,
        issuer: &Arc<FakeIssuer>,
        lookup: &Arc<Lookup>,
    ) -> Parts<FakeIssuer, FakeClock> {
        let path = |name: &str| folder.path().join(name);
        Parts {
            lookup: Arc::clone(lookup),
            issuer: Arc::clone(issuer),
            clock,
            policy: Policy { rate: 1000, ..Policy::default() },
            places: Places {
                owner: crate::os::effective_user().uid().unwrap_or_default(),
                config: path("config/config.toml"),
                vault: VaultPaths::new(path("data/vault"), path("config/vault.key")),
                cache: path("state/tokens.redb"),
                audit: path("state/audit"),
                sockets: Vec::new(),
            },
            extra_ca: None,
            core_dumps_forbidden: false,
            sandbox: Confinement::None,
            warnings: Vec::new(),
            stop: Arc::default(),
            audit: audit::Handle::default(),
            vitals: Arc::default(),
        }
    }

    /// Stops, and leaves what outlives it.
    async fn stop(self) -> (Arc<TempDir>, FakeClock) {
        let Self { folder, clock, controls, running, .. } = self;
        controls.send(Control::Stop).await.unwrap();
        running.await.unwrap();
        (folder, clock)
    }

    /// With a vault and a credential `acme`, whose first token is `first`.
    async fn enrolled() -> Self {
        let daemon = Self::start();
        daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
        daemon.issuer.prepare(&[Ok("first")]);
        daemon.add("acme").await.unwrap();
        assert_eq!(daemon.token("acme").await, Ok("first".to_owned()));
        daemon
    }

    async fn ask(&self, request: Request) -> Result<Answer, Refusal> {
        self.handle.ask(request, Peer::default()).await
    }

    async fn add(&self, name: &str) -> Result<Answer, Refusal> {
        let name: CredentialName = name.parse().unwrap();
        let base_url = BaseUrl::of_domain(&name.domain());
        self.add_at(name, base_url).await
    }

    async fn add_at(&self, name: CredentialName, base_url: BaseUrl) -> Result<Answer, Refusal> {
        self.ask(Request::Add(Box::new(NewCredential {
            name,
            description: "".parse().unwrap(),
            client_id: "id-1".parse().unwrap(),
            client_secret: secret("secret-1"),
            token_url: TokenUrl::below(&base_url),
            base_url,
            audience: procurify_token_protocol::Audience::default(),
            body_encoding: procurify_token_protocol::BodyEncoding::Json,
        })))
        .await
    }

    #[expect(clippy::disallowed_methods, reason = "the test compares tokens")]
    async fn token_by(&self, request: Request) -> Result<String, RefusalCode> {
        use secrecy::ExposeSecret as _;
        match self.ask(request).await {
            Ok(Answer::Token(grant)) => Ok(grant.token.secret().expose_secret().to_owned()),
            Ok(other) => panic!("not a token: {other:?}"),
            Err(refusal) => Err(refusal.code),
        }
    }

    async fn token(&self, name: &str) -> Result<String, RefusalCode> {
        let name = name.parse().unwrap();
        self.token_by(Request::Get { name, min_ttl: Duration::ZERO, deadline: SOON }).await
    }

    async fn describe(&self, name: &str) -> CredentialStatus {
        match self.ask(Request::Describe { name: name.parse().unwrap() }).await {
            Ok(Answer::Credential(status)) => *status,
            other => panic!("not a credential: {other:?}"),
        }
    }

    async fn status(&self) -> DaemonStatus {
        match self.ask(Request::Status).await {
            Ok(Answer::Status(status)) => *status,
            other => panic!("not a status: {other:?}"),
        }
    }

    fn is_ready(&self, name: &str) -> bool {
        self.lookup.find(&name.parse().unwrap(), Duration::ZERO, self.clock.boot()).is_some()
    }

    async fn stage(&self, client_id: &str) -> Result<Answer, Refusal> {
        self.ask(Request::Stage {
            name: "acme".parse().unwrap(),
            client_id: client_id.parse().unwrap(),
            client_secret: secret("secret-2"),
            replace: false,
        })
        .await
    }

    async fn promote(&self) -> Result<String, RefusalCode> {
        self.token_by(Request::Promote { name: "acme".parse().unwrap(), deadline: SOON }).await
    }

    async fn restart(self) -> Self {
        let Self { folder, clock, controls, running, .. } = self;
        controls.send(Control::Stop).await.unwrap();
        running.await.unwrap();
        Self::start_in(folder, clock)
    }
}

const SOON: Duration = Duration::from_secs(5);

fn secret(text: &str) -> procurify_token_protocol::ClientSecret {
    procurify_token_protocol::ClientSecret::new(&text.into()).unwrap()
}

#[tokio::test]
async fn without_a_vault_everything_but_status_and_init_is_refused() {
    let daemon = Daemon::start();
    assert_eq!(daemon.token("acme").await, Err(RefusalCode::NO_VAULT));
    assert_eq!(daemon.add("acme").await.unwrap_err().code, RefusalCode::NO_VAULT);
    assert_eq!(daemon.status().await.vault, WireVaultState::Missing);
    let made = daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    assert!(matches!(made, Answer::Initialised { key_file: Some(_), .. }));
    let again = daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap_err();
    assert_eq!(again.code, RefusalCode::VAULT_EXISTS);
}

#[tokio::test]
async fn a_new_credential_has_its_token_in_the_table() {
    let daemon = Daemon::enrolled().await;
    assert!(daemon.is_ready("acme"));
    let status = daemon.describe("acme").await;
    assert_eq!((status.activity, status.last_failure), (Activity::Resting, None));
    assert_eq!(daemon.add("acme").await.unwrap_err().code, RefusalCode::CREDENTIAL_EXISTS);
}

#[tokio::test]
async fn a_restart_within_a_tokens_life_asks_nobody() {
    let daemon = Daemon::enrolled().await.restart().await;
    assert!(daemon.is_ready("acme"));
    assert_eq!(daemon.token("acme").await, Ok("first".to_owned()));
    assert!(daemon.issuer.asked().is_empty());
}

#[tokio::test]
async fn a_lock_takes_the_tokens_out_of_reach_and_an_unlock_brings_them_back_without_a_request() {
    let daemon = Daemon::enrolled().await;
    daemon.ask(Request::Lock).await.unwrap();
    assert!(!daemon.is_ready("acme"));
    assert_eq!(daemon.token("acme").await, Err(RefusalCode::LOCKED));
    assert_eq!(daemon.ask(Request::Lock).await.unwrap_err().code, RefusalCode::LOCKED);
    assert_eq!(daemon.status().await.vault, WireVaultState::Locked);
    daemon.ask(Request::Unlock { key: UnlockWith::Unattended, generation: 0 }).await.unwrap();
    assert_eq!(daemon.token("acme").await, Ok("first".to_owned()));
    assert_eq!(daemon.issuer.asked().len(), 1);
}

#[tokio::test]
async fn a_rejected_credential_stays_stored_and_says_what_to_do() {
    let daemon = Daemon::start();
    daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    daemon.issuer.prepare(&[Err(FailureCode::CREDENTIALS_REJECTED)]);
    daemon.add("acme").await.unwrap();
    assert_eq!(daemon.token("acme").await, Err(RefusalCode::REJECTED));
    let status = daemon.describe("acme").await;
    assert_eq!(status.activity, Activity::Barred);
    assert!(status.last_failure.unwrap().advice.contains("procurify-token rotate acme"));
}

#[tokio::test]
async fn a_pair_that_works_is_promoted_and_can_be_rolled_back() {
    let daemon = Daemon::enrolled().await;
    daemon.stage("id-2").await.unwrap();
    daemon.issuer.prepare(&[Ok("second"), Ok("third")]);
    assert_eq!(daemon.promote().await, Ok("second".to_owned()));
    assert_eq!(daemon.token("acme").await, Ok("second".to_owned()));
    let status = daemon.describe("acme").await;
    assert_eq!((status.client_id.as_str(), status.staged, status.previous), ("id-2", false, true));
    daemon.ask(Request::Rollback { name: "acme".parse().unwrap() }).await.unwrap();
    while daemon.token("acme").await == Ok("second".to_owned()) {}
    assert_eq!(daemon.token("acme").await, Ok("third".to_owned()));
    assert_eq!(daemon.issuer.asked(), ["id-1", "id-2", "id-1"]);
}

#[tokio::test]
async fn a_pair_that_is_rejected_changes_nothing_and_is_kept() {
    let daemon = Daemon::enrolled().await;
    assert_eq!(daemon.promote().await, Err(RefusalCode::NOTHING_TO_ROTATE));
    daemon.stage("id-2").await.unwrap();
    daemon.issuer.prepare(&[Err(FailureCode::CREDENTIALS_REJECTED), Ok("second")]);
    assert_eq!(daemon.promote().await, Err(RefusalCode::REJECTED));
    assert_eq!(daemon.token("acme").await, Ok("first".to_owned()));
    assert_eq!(daemon.stage("id-3").await.unwrap_err().code, RefusalCode::STAGED_PAIR_EXISTS);
    let status = daemon.describe("acme").await;
    assert_eq!((status.client_id.as_str(), status.staged), ("id-1", true));
    assert_eq!(daemon.promote().await, Ok("second".to_owned()));
}

#[tokio::test]
async fn a_pair_that_is_being_tried_is_the_one_that_is_promoted_or_none() {
    let daemon = Daemon::enrolled().await;
    daemon.stage("id-2").await.unwrap();
    daemon.issuer.prepare(&[Ok("second"), Ok("third")]);
    let gate = daemon.issuer.gate.write().await;
    let meanwhile = async {
        while daemon.issuer.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        let name: CredentialName = "acme".parse().unwrap();
        let replacement = Request::Stage {
            name: name.clone(),
            client_id: "id-3".parse().unwrap(),
            client_secret: secret("secret-3"),
            replace: true,
        };
        assert_eq!(daemon.ask(replacement).await.unwrap_err().code, RefusalCode::BUSY);
        daemon.ask(Request::Remove { name }).await.unwrap();
        daemon.add("acme").await.unwrap();
        drop(gate);
    };
    let (promoted, ()) = tokio::join!(daemon.promote(), meanwhile);
    assert_eq!(promoted, Err(RefusalCode::NOTHING_TO_ROTATE));
    assert_eq!(daemon.describe("acme").await.client_id.as_str(), "id-1");
}

#[tokio::test]
async fn a_token_from_the_future_was_written_down_by_a_wrong_clock() {
    let daemon = Daemon::enrolled().await;
    let clock = FakeClock(Arc::new(Mutex::new(-10 * 24 * 3_600_000)), Arc::default(), None);
    let Daemon { folder, controls, running, .. } = daemon;
    controls.send(Control::Stop).await.unwrap();
    running.await.unwrap();
    let daemon = Daemon::start_in(folder, clock);
    assert!(!daemon.is_ready("acme"));
}

#[tokio::test]
async fn whoever_waits_when_the_daemon_stops_is_told_so() {
    let daemon = Daemon::start();
    daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    daemon.issuer.prepare(&[Err(FailureCode::NOT_CONNECTED)]);
    daemon.add("acme").await.unwrap();
    let stop = async {
        while daemon.issuer.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        daemon.controls.send(Control::Stop).await.unwrap();
    };
    let (token, ()) = tokio::join!(daemon.token("acme"), stop);
    assert_eq!(token, Err(RefusalCode::STOPPING));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_longer_token_at_a_stop_gets_the_one_that_is_held() {
    let daemon = Daemon::enrolled().await;
    *daemon.clock.0.lock().unwrap() += 3_600_000;
    let gate = daemon.issuer.gate.write().await;
    let min_ttl = Duration::from_hours(23) + Duration::from_mins(30);
    let name = "acme".parse().unwrap();
    let stop = async {
        while daemon.issuer.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        daemon.controls.send(Control::Stop).await.unwrap();
    };
    let longer = daemon.token_by(Request::Get { name, min_ttl, deadline: SOON });
    let (token, ()) = tokio::join!(longer, stop);
    assert_eq!(token, Ok("first".to_owned()));
    drop(gate);
}

#[tokio::test]
async fn a_pair_whose_token_ended_on_its_way_is_not_promoted_and_no_ended_token_is_handed_out() {
    let daemon = Daemon::enrolled().await;
    daemon.stage("id-2").await.unwrap();
    daemon.issuer.prepare(&[Ok("second")]);
    let gate = daemon.issuer.gate.write().await;
    let sleep = async {
        while daemon.issuer.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        *daemon.clock.0.lock().unwrap() += 25 * 3_600_000;
        drop(gate);
    };
    let (promoted, ()) = tokio::join!(daemon.promote(), sleep);
    assert_eq!(promoted, Err(RefusalCode::UPSTREAM_UNAVAILABLE));
    assert!(daemon.describe("acme").await.staged, "it can be tried again");
}

#[tokio::test]
async fn what_was_removed_is_gone_and_its_token_too() {
    let daemon = Daemon::enrolled().await;
    daemon.ask(Request::Remove { name: "acme".parse().unwrap() }).await.unwrap();
    assert!(!daemon.is_ready("acme"));
    assert_eq!(daemon.token("acme").await, Err(RefusalCode::UNKNOWN_CREDENTIAL));
    daemon.issuer.prepare(&[Ok("second")]);
    daemon.add("acme").await.unwrap();
    assert_eq!(daemon.token("acme").await, Ok("second".to_owned()), "the old token does not come back");
}

#[tokio::test]
async fn an_invalidated_token_is_replaced_once_and_never_comes_back() {
    let daemon = Daemon::enrolled().await;
    let fingerprint = daemon.describe("acme").await.token.unwrap().fingerprint;
    daemon.issuer.prepare(&[Ok("second")]);
    for _ in 0..3 {
        daemon.ask(Request::Invalidate { name: "acme".parse().unwrap(), fingerprint }).await.unwrap();
    }
    assert_eq!(daemon.token("acme").await, Ok("second".to_owned()));
    let daemon = daemon.restart().await;
    assert_eq!(daemon.token("acme").await, Ok("second".to_owned()));
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let daemon = Daemon::start();
    daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    for n in 0..105 {
        daemon.add(&format!("c{n:03}")).await.unwrap();
    }
    let Answer::Credentials { page, more: true } = daemon.ask(Request::List { after: None }).await.unwrap()
    else {
        panic!("there are more")
    };
    assert_eq!(page.len(), 100);
    let after = page.last().map(|status| status.name.clone());
    let Answer::Credentials { page, more: false } = daemon.ask(Request::List { after }).await.unwrap() else {
        panic!("these are the last")
    };
    assert_eq!(
        page.iter().map(|status| status.name.as_str()).collect::<Vec<_>>(),
        ["c100", "c101", "c102", "c103", "c104"]
    );
}

#[tokio::test]
async fn a_list_of_the_longest_credentials_fits_into_its_pages() {
    let daemon = Daemon::start();
    daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    let longest = format!("https://acme.example/{}", "p".repeat(2_000));
    for n in 0..105 {
        daemon.add_at(format!("c{n:03}").parse().unwrap(), longest.parse().unwrap()).await.unwrap();
    }
    let (mut after, mut listed) = (None, 0);
    loop {
        let answer = daemon.ask(Request::List { after }).await;
        assert!(procurify_token_protocol::codec::encode_reply(0, &answer).is_ok());
        let Ok(Answer::Credentials { page, more }) = answer else { panic!("a page") };
        listed += page.len();
        after = page.last().map(|status| status.name.clone());
        if !more {
            break;
        }
    }
    assert_eq!(listed, 105);
}

#[tokio::test]
async fn a_wrong_passphrase_is_refused_and_the_right_one_opens() {
    let passphrase = |text: &str| procurify_token_protocol::Passphrase::new(text.into()).unwrap();
    let daemon = Daemon::start();
    let slots = vec![NewSlot::Passphrase(passphrase("right"))];
    let made = daemon.ask(Request::Init { slots }).await.unwrap();
    assert!(matches!(made, Answer::Initialised { key_file: None, .. }));
    daemon.ask(Request::Lock).await.unwrap();
    let wrong =
        daemon.ask(Request::Unlock { key: UnlockWith::Passphrase(passphrase("wrong")), generation: 0 }).await;
    assert_eq!(wrong.unwrap_err().code, RefusalCode::WRONG_KEY);
    let no_key_file = daemon.ask(Request::Unlock { key: UnlockWith::Unattended, generation: 0 }).await;
    assert_eq!(no_key_file.unwrap_err().code, RefusalCode::WRONG_KEY);
    daemon
        .ask(Request::Unlock { key: UnlockWith::Passphrase(passphrase("right")), generation: 0 })
        .await
        .unwrap();
    assert_eq!(daemon.status().await.vault, WireVaultState::Open);
}

#[tokio::test(start_paused = true)]
async fn whoever_shows_a_wrong_passphrase_is_answered_late_whatever_it_was_for() {
    use procurify_token_protocol::{ExportProof, Passphrase};
    let key = |text: &str| UnlockWith::Passphrase(Passphrase::new(text.into()).unwrap());
    let daemon = Daemon::start();
    let slots = vec![NewSlot::Passphrase(Passphrase::new("right".into()).unwrap())];
    daemon.ask(Request::Init { slots }).await.unwrap();
    let asked = |text| {
        let description = Description::default();
        [
            Request::Export { proof: ExportProof::Key(key(text)), after: None },
            Request::AddSlot { proof: key(text), slot: NewSlot::RecoveryCode, description },
            Request::Rekey { without: Vec::new(), keys: vec![key(text)] },
        ]
    };
    for request in asked("wrong") {
        let (named, begun) = (format!("{request:?}"), tokio::time::Instant::now());
        daemon.ask(request).await.unwrap_err();
        assert!(begun.elapsed() >= Duration::from_secs(1), "{named}");
    }
    for request in asked("right").into_iter().take(2) {
        let (named, begun) = (format!("{request:?}"), tokio::time::Instant::now());
        daemon.ask(request).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "{named}");
    }
}

#[tokio::test]
async fn what_was_shown_before_a_lock_is_worth_nothing_after_it() {
    let daemon = Daemon::start();
    daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    // To stretch this takes longer than everything else here.
    let slot = NewSlot::Passphrase(procurify_token_protocol::Passphrase::new("words".into()).unwrap());
    let add = Request::AddSlot { proof: UnlockWith::Unattended, slot, description: Description::default() };
    let unlock = Request::Unlock { key: UnlockWith::Unattended, generation: 0 };
    // It is open again before the new slot is ready.
    let (added, locked, unlocked) =
        tokio::join!(daemon.ask(add), daemon.ask(Request::Lock), daemon.ask(unlock));
    assert_eq!(added.unwrap_err().code, RefusalCode::LOCKED);
    assert!(locked.is_ok() && unlocked.is_ok());
}

impl FakeClock {
    fn pass(&self, duration: Duration) {
        *self.0.lock().unwrap() += i64::try_from(duration.as_millis()).unwrap();
    }
}

impl Daemon {
    async fn watch(&self, seen: Option<u64>) -> Result<procurify_token_protocol::Watched, RefusalCode> {
        let request = Request::Watch { name: "acme".parse().unwrap(), seen, deadline: SOON };
        match self.ask(request).await {
            Ok(Answer::Watched(watched)) => Ok(*watched),
            Ok(other) => panic!("not what was asked: {other:?}"),
            Err(refusal) => Err(refusal.code),
        }
    }
}

#[tokio::test]
async fn whoever_watches_is_told_of_a_token_a_refusal_and_the_removal() {
    let daemon = Daemon::enrolled().await;
    let first = daemon.watch(None).await.unwrap();
    assert!(first.token.is_some() && first.refusal.is_none());
    let name: CredentialName = "acme".parse().unwrap();
    let refresh = Request::Refresh { name: name.clone(), mode: RefreshMode::Plain, deadline: SOON };
    daemon.issuer.prepare(&[Ok("second")]);
    let (second, _) = tokio::join!(daemon.watch(Some(first.revision)), daemon.token_by(refresh));
    let second = second.unwrap();
    assert_ne!(second.revision, first.revision);
    let refresh = Request::Refresh { name: name.clone(), mode: RefreshMode::Plain, deadline: Duration::ZERO };
    let (third, _) = tokio::join!(daemon.watch(Some(second.revision)), daemon.token_by(refresh));
    let third = third.unwrap();
    assert_eq!(third.refusal.map(|refusal| refusal.code), Some(RefusalCode::UPSTREAM_UNAVAILABLE));
    assert!(third.token.is_some(), "what is held is told too");
    let seen = daemon.watch(None).await.unwrap().revision;
    let (gone, _) = tokio::join!(daemon.watch(Some(seen)), daemon.ask(Request::Remove { name }));
    assert_eq!(gone.unwrap_err(), RefusalCode::UNKNOWN_CREDENTIAL);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_its_deadline_and_leaves_nothing_behind() {
    let daemon = Daemon::enrolled().await;
    let seen = daemon.watch(None).await.unwrap().revision;
    assert_eq!(daemon.watch(Some(seen)).await.unwrap().revision, seen);
    daemon.ask(Request::Lock).await.unwrap();
    assert_eq!(daemon.watch(Some(seen)).await.unwrap_err(), RefusalCode::LOCKED);
    let Daemon { controls, running, .. } = daemon;
    controls.send(Control::Stop).await.unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_spent_budget_and_its_reason_outlive_a_restart() {
    let mut daemon = Daemon::enrolled().await;
    let name: CredentialName = "acme".parse().unwrap();
    let refresh = |mode| Request::Refresh { name: name.clone(), mode, deadline: SOON };
    for token in ["second", "third", "fourth", "fifth", "sixth"] {
        daemon.issuer.prepare(&[Ok(token)]);
        daemon.token_by(refresh(RefreshMode::Plain)).await.unwrap();
    }
    daemon = daemon.restart().await;
    assert_eq!(daemon.token_by(refresh(RefreshMode::Retry)).await, Err(RefusalCode::BUDGET_SPENT));
    let status = daemon.describe("acme").await;
    assert_eq!((status.budget.issued_in_hour, status.budget.per_day), (6, 24));
    assert!(daemon.issuer.asked().is_empty());
    daemon.issuer.prepare(&[Ok("over")]);
    assert_eq!(daemon.token_by(refresh(RefreshMode::OverBudget)).await, Ok("over".to_owned()));
}

#[tokio::test]
async fn a_bar_outlives_a_restart_but_not_other_client_credentials() {
    let daemon = Daemon::start();
    daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    daemon.issuer.prepare(&[Err(FailureCode::CREDENTIALS_REJECTED)]);
    daemon.add("acme").await.unwrap();
    assert_eq!(daemon.token("acme").await, Err(RefusalCode::REJECTED));
    let daemon = daemon.restart().await;
    assert_eq!(daemon.token("acme").await, Err(RefusalCode::REJECTED));
    assert!(daemon.issuer.asked().is_empty());
    daemon.issuer.prepare(&[Ok("second")]);
    daemon.stage("id-2").await.unwrap();
    assert_eq!(daemon.promote().await, Ok("second".to_owned()));
}

#[tokio::test]
async fn a_server_with_another_date_is_told_of_once_it_is_more_than_a_minute() {
    let mut daemon = Daemon::enrolled().await;
    for (seconds, warnings) in [(59, 0), (-61, 1), (3, 0)] {
        daemon.issuer.ahead.store(seconds, std::sync::atomic::Ordering::Relaxed);
        daemon.issuer.prepare(&[Ok("next")]);
        let refresh =
            Request::Refresh { name: "acme".parse().unwrap(), mode: RefreshMode::Plain, deadline: SOON };
        daemon.token_by(refresh).await.unwrap();
        let status = daemon.status().await;
        assert_eq!(status.warnings.len(), warnings, "{:?}", status.warnings);
    }
    daemon = daemon.restart().await;
    assert!(daemon.status().await.warnings.is_empty());
}

#[tokio::test]
async fn a_suspended_machine_serves_nothing_that_has_ended() {
    let daemon = Daemon::enrolled().await;
    daemon.clock.pass(Duration::from_hours(24));
    assert!(!daemon.is_ready("acme"));
    daemon.issuer.prepare(&[Ok("second")]);
    assert_eq!(daemon.token("acme").await, Ok("second".to_owned()));
}

/// Looks into the table at the very moment when an answer is sent.
struct Witness {
    lookup: Arc<Lookup>,
    saw_token: Mutex<Option<bool>>,
}

impl std::task::Wake for Witness {
    fn wake(self: Arc<Self>) {
        let found = self.lookup.find(&"acme".parse().unwrap(), Duration::ZERO, Moment::from_millis(0));
        *self.saw_token.lock().unwrap() = Some(found.is_some());
    }
}

#[tokio::test]
async fn a_token_that_was_forgotten_is_out_of_the_table_when_that_is_answered() {
    let invalidate = |status: CredentialStatus| {
        let fingerprint = status.token.unwrap().fingerprint;
        Request::Invalidate { name: status.name, fingerprint }
    };
    let remove = |status: CredentialStatus| Request::Remove { name: status.name };
    let ways: [(&str, &dyn Fn(CredentialStatus) -> Request); 2] =
        [("invalidate", &invalidate), ("remove", &remove)];
    for (verb, forget) in ways {
        let daemon = Daemon::enrolled().await;
        let request = forget(daemon.describe("acme").await);
        let lookup = Arc::clone(&daemon.lookup);
        let witness = Arc::new(Witness { lookup, saw_token: Mutex::default() });
        let waker = std::task::Waker::from(Arc::clone(&witness));
        let mut asking = std::pin::pin!(daemon.ask(request));
        assert!(asking.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        while witness.saw_token.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*witness.saw_token.lock().unwrap(), Some(false), "{verb}");
        assert!(matches!(asking.await, Ok(Answer::Done)));
    }
}

#[tokio::test]
async fn a_request_that_a_suspend_has_cut_off_is_dropped_before_another_goes_out() {
    let daemon = Daemon::enrolled().await;
    let gate = daemon.issuer.gate.write().await;
    let refresh =
        Request::Refresh { name: "acme".parse().unwrap(), mode: RefreshMode::Plain, deadline: SOON };
    let sleep = async {
        while daemon.issuer.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        daemon.clock.pass(Duration::from_hours(8));
        // Whatever is asked of it, the driver looks at the clocks.
        daemon.status().await;
    };
    let asking = async { tokio::join!(daemon.token_by(refresh), sleep).0 };
    let refused = tokio::time::timeout(Duration::from_secs(30), asking).await;
    assert!(refused.expect("nobody waits for what was cut off").is_err());
    daemon.issuer.prepare(&[Ok("second")]);
    drop(gate);
    let longer = Duration::from_hours(20);
    let get =
        Request::Get { name: "acme".parse().unwrap(), min_ttl: longer, deadline: Duration::from_hours(1) };
    daemon.clock.pass(Duration::from_mins(5));
    assert_eq!(daemon.token_by(get).await, Ok("second".to_owned()));
    assert_eq!(daemon.issuer.asked().len(), 3, "what was dropped is not answered too");
    assert_eq!(daemon.describe("acme").await.budget.issued_in_hour, 1);
}

#[tokio::test]
async fn those_who_ask_and_leave_again_and_again_leave_no_trail() {
    let (folder, clock) = Daemon::enrolled().await.stop().await;
    let (mut driver, _handle) = Daemon::driver_in(&folder, clock, &Arc::default(), &Arc::default());
    let wait = Wait::Refresh { mode: RefreshMode::Plain };
    let (patient, mut answer) = oneshot::channel();
    driver.wait("acme".parse().unwrap(), wait, Duration::from_hours(1), patient);
    for _ in 0..10 * LEAST_CROWD {
        let (reply, left) = oneshot::channel();
        drop(left);
        driver.wait("acme".parse().unwrap(), wait, Duration::from_hours(1), reply);
        assert!(driver.waiters.len() <= LEAST_CROWD);
    }
    assert!(
        answer.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty),
        "still waits"
    );
}

/// A token of an earlier boot lives by the wall clock; one that was issued since does not.
#[tokio::test]
async fn once_it_is_replaced_a_token_of_an_earlier_boot_makes_no_other_hang_on_the_wall_clock() {
    for is_rotated in [false, true] {
        let daemon = Daemon::enrolled().await.restart().await;
        assert!(daemon.is_ready("acme"));
        daemon.issuer.prepare(&[Ok("second")]);
        if is_rotated {
            daemon.stage("id-2").await.unwrap();
            assert_eq!(daemon.promote().await, Ok("second".to_owned()));
        } else {
            let name = "acme".parse().unwrap();
            let refresh = Request::Refresh { name, mode: RefreshMode::Plain, deadline: SOON };
            assert_eq!(daemon.token_by(refresh).await, Ok("second".to_owned()));
        }
        *daemon.clock.1.lock().unwrap() = TimeDelta::days(30);
        daemon.status().await;
        daemon.status().await;
        assert!(daemon.is_ready("acme"), "is rotated: {is_rotated}");
    }
}

#[tokio::test]
async fn what_is_kept_of_credentials_that_are_gone_goes_at_the_next_start() {
    let daemon = Daemon::enrolled().await;
    let (folder, clock) = daemon.stop().await;
    let paths = VaultPaths::new(folder.path().join("data/vault"), folder.path().join("config/vault.key"));
    let path = folder.path().join("state/tokens.redb");
    let (name, gone): (CredentialName, CredentialName) = ("acme".parse().unwrap(), "gone".parse().unwrap());
    let keys = || Vault::open(&paths, crate::vault::Key::Unattended).unwrap().cache_keys();
    let stamp = crate::clock::Stamp::of(&clock);
    let (mut cache, _) = Cache::open(&path, keys()).unwrap();
    let (token, _) = cache.load(&name, &stamp).token.unwrap();
    let history = (crate::refresh::History::default(), 1);
    let token = crate::cache::TokenChange::Store(token);
    cache.store(&[crate::cache::Entry { name: &gone, token, history }], &stamp).unwrap();
    drop(cache);
    let daemon = Daemon::start_in(Arc::clone(&folder), clock);
    assert!(daemon.is_ready("acme"));
    daemon.stop().await;
    let (cache, _) = Cache::open(&path, keys()).unwrap();
    assert!(cache.load(&gone, &stamp).token.is_none() && cache.load(&name, &stamp).token.is_some());
}

/// A virtual machine that is paused shows that by its wall clock alone, and the daemon may be started anew meanwhile.
#[tokio::test]
async fn a_kept_token_that_has_ended_by_the_wall_clock_alone_is_served_and_refreshed_early() {
    let daemon = Daemon::start_in(
        Arc::new(TempDir::new().unwrap()),
        FakeClock(Arc::default(), Arc::default(), Some(1)),
    );
    daemon.ask(Request::Init { slots: vec![NewSlot::KeyFile] }).await.unwrap();
    daemon.issuer.prepare(&[Ok("first")]);
    daemon.add("acme").await.unwrap();
    assert_eq!(daemon.token("acme").await, Ok("first".to_owned()));
    let seen = |daemon: &Daemon| daemon.issuer.asked().len();

    let daemon = daemon.restart().await;
    daemon.status().await;
    assert_eq!((daemon.is_ready("acme"), seen(&daemon)), (true, 0));

    *daemon.clock.1.lock().unwrap() = TimeDelta::hours(25);
    let (folder, clock) = daemon.stop().await;
    let daemon = Daemon::start_in(folder, clock);
    daemon.issuer.prepare(&[Ok("second")]);
    assert!(daemon.is_ready("acme"), "it may live all the same");
    for _ in 0..20 {
        daemon.status().await;
    }
    assert_eq!(seen(&daemon), 1);
    assert_eq!(daemon.token("acme").await, Ok("second".to_owned()));
}

#[cfg(unix)]
#[tokio::test]
async fn whoever_waits_for_a_vault_that_opens_by_itself_is_let_in_when_a_person_is_faster() {
    let passphrase = || procurify_token_protocol::Passphrase::new("right".into()).unwrap();
    let folder = Arc::new(TempDir::new().unwrap());
    let gate = folder.path().join("gate");
    let line = "PROCURIFY-TOKEN-KEY-1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    let script = format!("[ -p '{0}' ] && read word < '{0}'; echo {line}", gate.display());
    let command = KeyCommand {
        program: "/bin/sh".to_owned(),
        arguments: vec!["-c".to_owned(), script],
        timeout: Duration::from_hours(1),
    };
    let daemon = Daemon::start_with(folder, FakeClock::default(), Some(command.clone()));
    let slots = vec![NewSlot::Command, NewSlot::Passphrase(passphrase())];
    daemon.ask(Request::Init { slots }).await.unwrap();
    daemon.issuer.prepare(&[Ok("first")]);
    daemon.add("acme").await.unwrap();
    assert_eq!(daemon.token("acme").await, Ok("first".to_owned()));
    let (folder, clock) = daemon.stop().await;

    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
    let daemon = Daemon::start_with(folder, clock, Some(command));
    let unlock = Request::Unlock { key: UnlockWith::Passphrase(passphrase()), generation: 0 };
    let both = async { tokio::join!(daemon.token("acme"), daemon.ask(unlock)) };
    let both = tokio::time::timeout(Duration::from_secs(30), both).await;
    // Now the command may end, and with it what waits for it.
    std::fs::write(&gate, "\n").unwrap();
    let (token, unlocked) = both.expect("nobody waits for the command");
    assert!(matches!(unlocked, Ok(Answer::Done)));
    assert_eq!(token, Ok("first".to_owned()));
}

/// What it holds is still in the table when those are told whom it has not heard any more.
#[tokio::test]
async fn whoever_is_not_heard_any_more_at_a_stop_finds_in_the_table_what_is_held() {
    let daemon = Daemon::enrolled().await;
    let witness = Arc::new(Witness { lookup: Arc::clone(&daemon.lookup), saw_token: Mutex::default() });
    let waker = std::task::Waker::from(Arc::clone(&witness));
    let min_ttl = Duration::from_hours(100);
    let get = Request::Get { name: "acme".parse().unwrap(), min_ttl, deadline: SOON };
    let handle = daemon.handle.clone();
    let mut asking = std::pin::pin!(handle.ask(get, Peer::default()));
    daemon.controls.try_send(Control::Stop).unwrap();
    assert!(asking.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    daemon.running.await.unwrap();
    assert_eq!(*witness.saw_token.lock().unwrap(), Some(true));
    assert_eq!(asking.await.unwrap_err().code, RefusalCode::STOPPING);
}
