//! Who works with the daemon while it is killed. Each remembers what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use procurify_sandbox::Application;
use procurify_token_tests::client::{Error, RefusalCode, blocking::Client};
use procurify_token_tests::protocol::{Answer, RefreshMode, Request};
use procurify_token_tests::{Home, PATIENCE, credential_of, name};

use super::model::{Pairs, Trio};

/// A time of work, in which every answer is reported to whoever decides about the kill.
pub(crate) struct Shift {
    answers: Sender<()>,
    is_over: AtomicBool,
}

/// A connection to the daemon; none for who comes to work only after the kill.
fn at_work(home: &Home) -> Option<Client> {
    match Client::connect(&home.options()) {
        Ok(client) => Some(client),
        Err(Error::NoDaemon { .. } | Error::Connection(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

impl Shift {
    pub(crate) fn new(answers: Sender<()>) -> Self {
        Self { answers, is_over: AtomicBool::new(false) }
    }

    /// Whatever is under way is finished, and nothing begun.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn ask(&self, client: &mut Client, request: &Request) -> Told {
        let told = match client.request(request, PATIENCE) {
            Ok(Answer::Done | Answer::Token(_)) => Told::Done,
            Err(Error::Refused(refusal)) => Told::Refused(refusal.code),
            // Carried out or not: a kill may even meet the second attempt of a request that may be sent twice.
            Err(Error::Connection(_)) => return Told::Nothing,
            other => panic!("{other:?}"),
        };
        // Whoever counts may have counted enough.
        let _ = self.answers.send(());
        told
    }
}

/// What became of a request while the daemon may be killed.
enum Told {
    Done,
    Refused(RefusalCode),
    /// The daemon was killed; it may have been carried out.
    Nothing,
}

/// An application of its own for each credential, so that a mixed-up secret is noticed.
fn application(home: &Home, client_id: String) -> Application {
    let client_secret = format!("secret-of-{client_id}");
    let application = Application { client_id, client_secret, ..Application::of("acme") };
    home.sandbox().put_client("acme", application.clone()).expect("the sandbox has this domain");
    application
}

/// Adds one credential after the other.
pub(crate) struct Enroller {
    home: Arc<Home>,
    count: u32,
    /// Name and client id of those that were answered "done".
    pub(crate) stored: BTreeMap<String, String>,
    /// Those that were not answered.
    pub(crate) in_doubt: BTreeMap<String, String>,
}

impl Enroller {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home, count: 0, stored: BTreeMap::new(), in_doubt: BTreeMap::new() }
    }

    pub(crate) fn work(&mut self, shift: &Shift) {
        let Some(mut client) = at_work(&self.home) else { return };
        while shift.goes_on() {
            self.count += 1;
            let application = application(&self.home, format!("enrolled-{:04}", self.count));
            let label = format!("acme/e{:04}", self.count);
            let add = Request::Add(Box::new(credential_of(&label, &application)));
            match shift.ask(&mut client, &add) {
                Told::Done => self.stored.insert(label, application.client_id),
                Told::Nothing => {
                    self.in_doubt.insert(label, application.client_id);
                    return;
                }
                Told::Refused(code) => panic!("{label} was refused: {code:?}"),
            };
        }
    }

    /// After a restart: what is there now is stored, and has to stay.
    pub(crate) fn settle(&mut self, client: &mut Client) {
        for (label, client_id) in std::mem::take(&mut self.in_doubt) {
            match client.describe(&name(&label)) {
                Ok(status) => {
                    assert_eq!(status.client_id.as_str(), client_id);
                    self.stored.insert(label, client_id);
                }
                Err(Error::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::UNKNOWN_CREDENTIAL),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Stages, promotes and rolls back one credential.
pub(crate) struct Rotator {
    home: Arc<Home>,
    count: u32,
    pub(crate) pairs: Pairs,
    pub(crate) rotations: u32,
}

impl Rotator {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home, count: 0, pairs: Pairs::default(), rotations: 0 }
    }

    pub(crate) fn work(&mut self, shift: &Shift) {
        let Some(mut client) = at_work(&self.home) else { return };
        while shift.goes_on() {
            let (request, after) = self.next_step();
            self.pairs.perhaps(after);
            match shift.ask(&mut client, &request) {
                Told::Done => self.pairs.surely(),
                Told::Refused(code) => panic!("{request:?} was refused: {code:?}"),
                Told::Nothing => return,
            }
            self.rotations += u32::from(matches!(request, Request::Promote { .. }));
        }
    }

    /// Enrol, then round and round: stage, promote, and every third time roll back.
    fn next_step(&mut self) -> (Request, Trio) {
        let rotating = name(Pairs::NAME);
        match self.pairs.now() {
            None => {
                let (current, application) = self.next_application();
                let add = Request::Add(Box::new(credential_of(Pairs::NAME, &application)));
                (add, Trio { current, previous: None, staged: None })
            }
            Some(Trio { current, staged: Some(staged), .. }) => (
                Request::Promote { name: rotating, deadline: PATIENCE },
                Trio { current: staged, previous: Some(current), staged: None },
            ),
            Some(trio @ Trio { current, previous: Some(previous), .. }) if current % 3 == 0 => (
                Request::Rollback { name: rotating },
                Trio { current: previous, previous: Some(current), ..trio },
            ),
            Some(trio) => {
                let (staged, application) = self.next_application();
                let new = credential_of(Pairs::NAME, &application);
                let (client_id, client_secret) = (new.client_id, new.client_secret);
                let stage = Request::Stage { name: rotating, client_id, client_secret, replace: false };
                (stage, Trio { staged: Some(staged), ..trio })
            }
        }
    }

    fn next_application(&mut self) -> (u32, Application) {
        self.count += 1;
        (self.count, application(&self.home, Pairs::client_id(self.count)))
    }
}

/// Asks for new tokens of whatever is there.
pub(crate) struct Refresher {
    home: Arc<Home>,
    turn: usize,
}

impl Refresher {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home, turn: 0 }
    }

    pub(crate) fn work(&mut self, shift: &Shift) {
        let Some(mut client) = at_work(&self.home) else { return };
        let Ok(listed) = client.list() else { return };
        if listed.is_empty() {
            return;
        }
        while shift.goes_on() {
            self.turn += 1;
            let name = listed[self.turn % listed.len()].name.clone();
            let refresh = Request::Refresh { name, mode: RefreshMode::OverBudget, deadline: PATIENCE };
            match shift.ask(&mut client, &refresh) {
                Told::Done => {}
                Told::Refused(code) => panic!("a refresh was refused: {code:?}"),
                Told::Nothing => return,
            }
        }
    }
}
