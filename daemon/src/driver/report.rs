//! What is known of credentials and of the daemon, for people and programs that look.

use procurify_token_protocol::{
    Answer, CredentialName, CredentialStatus, DaemonStatus, MemoryProtection, Sandbox, TokenStatus,
    VaultState as WireVaultState,
};

use super::{Driver, VaultState};
use crate::access::Scope;
use crate::clock::Clock;
use crate::explain;
use crate::guarded::{self, Protection};
use crate::issuer::TokenIssuer;
use crate::os::sandbox::Confinement;
use crate::refresh::Now;
use crate::vault::Credential;

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    pub(super) fn daemon_status(&self) -> DaemonStatus {
        let (vault, credentials) = match &self.vault {
            VaultState::Open(open) => (WireVaultState::Open, open.vault.credentials().count()),
            VaultState::Closed if self.parts.places.vault.vault.exists() => (WireVaultState::Locked, 0),
            VaultState::Closed => (WireVaultState::Missing, 0),
        };
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            vault,
            vault_path: self.parts.places.vault.vault.display().to_string(),
            credentials: count(credentials),
            with_token: count(self.keeper.count_valid()),
            extra_ca: self.parts.extra_ca.as_ref().map(|path| path.display().to_string()),
            memory: match guarded::achieved() {
                Protection::None => MemoryProtection::None,
                Protection::Locked => MemoryProtection::Locked,
                Protection::Secret => MemoryProtection::Secret,
            },
            core_dumps_forbidden: self.parts.core_dumps_forbidden,
            sandbox: match self.parts.sandbox {
                Confinement::None => Sandbox::None,
                Confinement::Loosened => Sandbox::Loosened,
                Confinement::Full => Sandbox::Full,
            },
            warnings: {
                let skew = self.skew.map(explain::skewed);
                let mut short: Vec<_> = self.keeper.short_of_budget().collect();
                short.sort_unstable();
                let short = short.first().map(|name| explain::short_of_budget(name, short.len()));
                let audit = self.parts.audit.warnings().into_iter().filter(|warning| !warning.is_empty());
                let known = self.parts.warnings.iter().chain(&self.problems).cloned();
                let refused = self.not_in_force.iter();
                let refused = refused.map(|finding| format!("{}. {}.", finding.found, finding.mend));
                refused.chain(known).chain(skew).chain(short).chain(audit).collect()
            },
        }
    }

    pub(super) fn page(&self, after: Option<&CredentialName>, scope: &Scope, now: Now) -> Answer {
        let VaultState::Open(open) = &self.vault else {
            return Answer::Credentials { page: Vec::new(), more: false };
        };
        let (mut page, mut length) = (Vec::new(), 0);
        let visible = open.vault.credentials_after(after).filter(|credential| scope.admits(&credential.name));
        for credential in visible {
            length += most_of(credential);
            if page.len() == PAGE || length > MOST_IN_ANSWER {
                return Answer::Credentials { page, more: true };
            }
            page.push(self.describe(credential, now));
        }
        Answer::Credentials { page, more: false }
    }

    pub(super) fn credential_status(&self, name: &CredentialName, now: Now) -> Option<CredentialStatus> {
        let VaultState::Open(open) = &self.vault else { return None };
        open.vault.credential(name).map(|credential| self.describe(credential, now))
    }

    fn describe(&self, credential: &Credential, now: Now) -> CredentialStatus {
        let name = &credential.name;
        let view = self.keeper.view(name, now).expect("every credential of the open vault has a slot");
        CredentialStatus {
            name: name.clone(),
            description: credential.description.clone(),
            client_id: credential.current.client_id.clone(),
            base_url: credential.base_url.clone(),
            token_url: credential.token_url.clone(),
            audience: credential.audience.clone(),
            body_encoding: credential.body_encoding,
            added_at: credential.added_at,
            staged: credential.staged.is_some(),
            previous: credential.previous.is_some(),
            token: view.held.map(|held| TokenStatus {
                fingerprint: held.fingerprint,
                issued_at: now.wall_of(held.issued),
                expires_at: now.wall_of(held.expires),
            }),
            activity: view.activity,
            next_attempt_at: view.next_attempt.map(|moment| now.wall_of(moment)),
            last_failure: view
                .last_failure
                .map(|(failure, at, attempts)| explain::report(name, failure, at, attempts)),
            budget: view.budget,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The most bytes that the status of a credential takes.
fn most_of(credential: &Credential) -> usize {
    let urls = [credential.base_url.as_str(), credential.token_url.as_str(), credential.audience.as_str()];
    // Its name is in each of the sentences about a failure.
    FIXED_PART
        + 8 * credential.name.as_str().len()
        + credential.description.as_str().len()
        + credential.current.client_id.as_str().len()
        + urls.map(str::len).iter().sum::<usize>()
}

const PAGE: usize = 100;
/// Numbers, times, and sentences about a failure.
const FIXED_PART: usize = 1024;
/// An answer has at most 256 KiB, head and frame included.
const MOST_IN_ANSWER: usize = 248 * 1024;
