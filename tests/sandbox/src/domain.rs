//! One domain: its applications, its knobs, the tokens it honours, its vendors.
//!
//! All state behind one lock that is held for a few map operations at a time. No HTTP here, and
//! nothing is recorded: the ledger is the business of `token.rs` and `api.rs`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::config::{Application, DomainConfig};
use crate::jwt::fingerprint;
use crate::knobs::{Fault, Knobs};
use crate::ledger::Refusal;
use crate::submission::Credentials;

#[derive(Debug)]
pub(crate) struct Domain {
    configured: DomainConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    applications: Vec<Registered>,
    knobs: Knobs,
    burst_left: u32,
    issued_since_set: u64,
    grants: HashMap<String, Grant>,
    last: HashMap<String, Handed>,
    created_vendors: Vec<Value>,
}

#[derive(Debug)]
struct Registered {
    application: Application,
    /// The secret before the last rotation, and until when it still works.
    previous: Option<(String, DateTime<Utc>)>,
}

/// What a good token stands for.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) email: String,
    pub(crate) superuser: bool,
    pub(crate) expires: DateTime<Utc>,
}

/// A token that was handed out.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    pub(crate) text: Option<String>,
    pub(crate) jti: String,
}

impl Domain {
    pub(crate) fn new(configured: DomainConfig) -> Self {
        let state = Mutex::new(State::fresh(&configured));
        Self { configured, state }
    }

    pub(crate) fn name(&self) -> &str {
        &self.configured.name
    }

    pub(crate) fn knobs(&self) -> Knobs {
        self.lock().knobs.clone()
    }

    pub(crate) fn set_knobs(&self, knobs: Knobs) {
        self.lock().set_knobs(knobs);
    }

    pub(crate) fn clear_knobs(&self) {
        self.set_knobs(self.configured.knobs.clone());
    }

    /// Adds an application, or rotates the one that has this id.
    pub(crate) fn put_application(&self, application: Application, now: DateTime<Utc>) {
        let mut state = self.lock();
        let grace = TimeDelta::seconds(state.knobs.rotation_grace_s.into());
        match state.registered(&application.client_id) {
            Some(known) => {
                let old = std::mem::replace(&mut known.application, application);
                known.previous = Some((old.client_secret, now + grace));
            }
            None => state.applications.push(Registered { application, previous: None }),
        }
    }

    /// Says whether there was one. *Inferred:* its issued tokens live on.
    pub(crate) fn remove_application(&self, client_id: &str) -> bool {
        let mut state = self.lock();
        let before = state.applications.len();
        state.applications.retain(|known| known.application.client_id != client_id);
        state.applications.len() < before
    }

    pub(crate) fn applications(&self) -> Vec<Application> {
        let state = self.lock();
        state.applications.iter().map(|known| known.application.clone()).collect()
    }

    /// No issued token opens anything any more.
    pub(crate) fn revoke(&self) {
        let mut state = self.lock();
        state.grants.clear();
        state.last.clear();
    }

    /// As at the start.
    pub(crate) fn reset(&self) {
        *self.lock() = State::fresh(&self.configured);
    }

    /// The domain's own idea of the time.
    pub(crate) fn skewed(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        later(now, self.lock().knobs.date_skew_s)
    }

    /// What the token request at this second of the sandbox's life meets instead of an answer.
    pub(crate) fn token_fault(&self, second: u64) -> Option<Fault> {
        let mut state = self.lock();
        if let Some(outage) = state.outage(second) {
            return Some(outage);
        }
        if state.burst_left > 0 {
            state.burst_left -= 1;
            return state.knobs.burst.as_ref().map(|burst| burst.fault.clone());
        }
        state.knobs.fault.clone()
    }

    /// What an API call at this second of the sandbox's life meets instead of an answer.
    pub(crate) fn api_fault(&self, second: u64) -> Option<Fault> {
        let state = self.lock();
        state.outage(second).or_else(|| state.knobs.api_fault.clone())
    }

    /// Whether the secret is this client's, active or not.
    pub(crate) fn secret_matches(&self, id: &str, secret: &str, now: DateTime<Utc>) -> bool {
        self.lock().registered(id).is_some_and(|known| known.accepts(secret, now))
    }

    /// The application whose credentials these are. *Inferred:* an inactive user's are wrong.
    pub(crate) fn authenticate(
        &self,
        given: &Credentials,
        now: DateTime<Utc>,
    ) -> Result<Application, Refusal> {
        let mut state = self.lock();
        let known = state
            .registered(&given.client_id)
            .filter(|known| known.accepts(&given.client_secret, now) && known.application.active)
            .ok_or(Refusal::WrongCredentials)?;
        let application = known.application.clone();
        let optional = state.knobs.audience_optional;
        match &given.audience {
            Some(audience) if *audience == state.knobs.audience => Ok(application),
            Some(_) => Err(Refusal::WrongAudience),
            None if optional => Ok(application),
            None => Err(Refusal::MissingMember),
        }
    }

    /// The client's last token, when the domain is told to repeat it.
    pub(crate) fn repeated(&self, client_id: &str) -> Option<Handed> {
        let state = self.lock();
        state.knobs.same_token.then(|| state.last.get(client_id).cloned())?
    }

    /// Takes one token from the quota.
    pub(crate) fn take_from_quota(&self) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.knobs.token_quota.is_some_and(|quota| state.issued_since_set >= quota) {
            return Err(Refusal::QuotaExceeded);
        }
        state.issued_since_set += 1;
        Ok(())
    }

    /// Remembers a token that was handed out; `opens` when it is a good one.
    pub(crate) fn remember(&self, handed: Handed, grant: Grant, opens: bool, now: DateTime<Utc>) {
        let mut state = self.lock();
        if state.grants.len() >= GRANTS_BEFORE_SWEEP {
            state.grants.retain(|_, grant| now < grant.expires);
        }
        if let (true, Some(text)) = (opens, &handed.text) {
            state.grants.insert(fingerprint(text), grant.clone());
        }
        state.last.insert(grant.client_id, handed);
    }

    /// What this token opens, if it is this domain's, unexpired and its user is still active.
    pub(crate) fn holder(&self, token: &str, now: DateTime<Utc>) -> Option<Grant> {
        let mut state = self.lock();
        let grant = state.grants.get(&fingerprint(token)).cloned()?;
        let suspended = state.registered(&grant.client_id).is_some_and(|known| !known.application.active);
        (now < grant.expires && !suspended).then_some(grant)
    }

    pub(crate) fn vendor_count(&self) -> usize {
        self.configured.vendors + self.lock().created_vendors.len()
    }

    /// The vendors from `first` (counted from 0), at most `count`.
    pub(crate) fn vendors(&self, first: usize, count: usize) -> Vec<Value> {
        let built_in = self.configured.vendors;
        let state = self.lock();
        let end = first.saturating_add(count).min(built_in + state.created_vendors.len());
        (first..end)
            .map(|index| match index.checked_sub(built_in) {
                None => built_in_vendor(index + 1),
                Some(created) => state.created_vendors[created].clone(),
            })
            .collect()
    }

    /// Stores what was posted, under the next id, and gives it back.
    pub(crate) fn create_vendor(&self, mut vendor: serde_json::Map<String, Value>) -> Value {
        let mut state = self.lock();
        let id = self.configured.vendors + state.created_vendors.len() + 1;
        vendor.insert("id".to_owned(), id.into());
        vendor.entry("active").or_insert(true.into());
        state.created_vendors.push(vendor.into());
        state.created_vendors[state.created_vendors.len() - 1].clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fresh(configured: &DomainConfig) -> Self {
        let mut state = Self {
            applications: configured
                .applications
                .iter()
                .map(|application| Registered { application: application.clone(), previous: None })
                .collect(),
            knobs: Knobs::default(),
            burst_left: 0,
            issued_since_set: 0,
            grants: HashMap::new(),
            last: HashMap::new(),
            created_vendors: Vec::new(),
        };
        state.set_knobs(configured.knobs.clone());
        state
    }

    fn set_knobs(&mut self, knobs: Knobs) {
        self.burst_left = knobs.burst.as_ref().map_or(0, |burst| burst.count);
        self.issued_since_set = 0;
        self.knobs = knobs;
    }

    fn outage(&self, second: u64) -> Option<Fault> {
        let outage = self.knobs.outages.iter().find(|outage| outage.covers(second))?;
        Some(outage.fault.clone())
    }

    fn registered(&mut self, client_id: &str) -> Option<&mut Registered> {
        self.applications.iter_mut().find(|known| known.application.client_id == client_id)
    }
}

impl Registered {
    fn accepts(&self, secret: &str, now: DateTime<Utc>) -> bool {
        let in_grace = |(old, until): &(String, DateTime<Utc>)| old == secret && now < *until;
        self.application.client_secret == secret || self.previous.as_ref().is_some_and(in_grace)
    }
}

/// `seconds` after `time`, or before it; cut to a hundred years.
pub(crate) fn later(time: DateTime<Utc>, seconds: i64) -> DateTime<Utc> {
    time + TimeDelta::seconds(seconds.clamp(-CENTURY_S, CENTURY_S))
}

fn built_in_vendor(id: usize) -> Value {
    let name = if id == 1 { "OTHER".to_owned() } else { format!("Vendor {id:04}") };
    json!({ "id": id, "name": name, "active": true })
}

const CENTURY_S: i64 = 100 * 365 * 86_400;
const GRANTS_BEFORE_SWEEP: usize = 10_000;
