//! Looking for what is amiss: the driver adds what it knows of credentials, and has the rest looked at beside it.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use procurify_token_protocol::{Answer, Area, Finding, Severity};

use super::beside::Effort;
use super::{Driver, Event, Reply, VaultState};
use crate::checkup::{self, Credentials};
use crate::clock::Clock;
use crate::issuer::{Reach, TokenIssuer};
use crate::{explain, guarded};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Answered when all has been looked at; nothing is held up meanwhile.
    pub(super) fn examine(&mut self, reply: Reply) {
        let now = self.parts.clock.now();
        let mut servers = Vec::new();
        let credentials = match &self.vault {
            VaultState::Open(open) => {
                let mut credentials = Credentials::default();
                for credential in open.vault.credentials() {
                    if let Some(status) = self.credential_status(&credential.name, now) {
                        credentials.examine(&status);
                    }
                }
                servers.extend(credentials.servers().cloned());
                let mut found = credentials.into_findings();
                found.extend(self.short_of_budget());
                found
            }
            VaultState::Closed => vec![checkup::not_looked_at()],
        };
        let problems = self.problems.iter().map(|told| known(Severity::Problem, Area::Vault, told));
        let warnings = self.parts.warnings.iter().map(|told| known(Severity::Notice, Area::Daemon, told));
        let audit = self.parts.audit.warnings();
        let audit = audit.iter().filter(|told| !told.is_empty());
        let audit = audit.map(|told| known(Severity::Problem, Area::Daemon, told));
        let told = self.not_in_force.iter().cloned().chain(warnings).chain(problems).chain(audit);
        let mut told: Vec<_> = told.collect();
        let memory =
            checkup::memory(guarded::achieved(), self.parts.core_dumps_forbidden, Some(self.parts.sandbox));
        let places = self.parts.places.clone();
        let files = self.beside(Effort::Disk, move |_| places.examine());
        let (issuer, wall) = (Arc::clone(&self.parts.issuer), now.wall);
        self.running.push(Box::pin(async move {
            let untried = checkup::untried(servers.len());
            servers.truncate(checkup::MOST_SERVERS);
            let tried = stream::iter(servers).map(|url| {
                let issuer = Arc::clone(&issuer);
                async move {
                    let reach = issuer.reach(url.clone(), wall).await;
                    (url, reach)
                }
            });
            let tried: Vec<_> = tried.buffered(checkup::MOST_SERVERS).collect().await;
            let ahead = |(_, reach): &(_, Reach)| reach.outcome.ok().flatten();
            let farthest = tried.iter().filter_map(ahead).max_by_key(chrono::TimeDelta::abs);
            let network = tried.iter().map(|(url, reach)| checkup::way(url, reach));
            told.extend(files.await);
            let found = told.into_iter().chain(memory).chain(checkup::clock(wall, farthest));
            let found = found.chain(network).chain(untried).chain(credentials).collect();
            let found = checkup::fitted(found, checkup::MOST_IN_ANSWER);
            Event::Answered { answer: Ok(Answer::Findings(found)), reply }
        }));
    }

    fn short_of_budget(&self) -> Option<Finding> {
        let mut short: Vec<_> = self.keeper.short_of_budget().collect();
        short.sort_unstable();
        let name = short.first()?;
        let told = explain::short_of_budget(name, short.len());
        Some(Finding { subject: name.to_string(), ..known(Severity::Notice, Area::Credentials, &told) })
    }
}

/// What is known already and told in whole sentences, with what to do.
fn known(severity: Severity, area: Area, told: &str) -> Finding {
    Finding {
        severity,
        area,
        subject: "procurify-tokend".to_owned(),
        found: told.to_owned(),
        mend: String::new(),
    }
}
