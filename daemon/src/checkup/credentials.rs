//! How each credential fares, and which servers they need.

use std::collections::BTreeMap;

use procurify_token_protocol::{Area, CredentialStatus, Finding, Severity, TokenUrl};

use super::network::host_of;

/// Looks at one credential after the other.
#[derive(Debug, Default)]
pub struct Credentials {
    all: usize,
    with_token: usize,
    troubled: usize,
    found: Vec<Finding>,
    servers: BTreeMap<String, TokenUrl>,
}

impl Credentials {
    /// Takes a credential in.
    pub fn examine(&mut self, status: &CredentialStatus) {
        self.all += 1;
        self.with_token += usize::from(status.token.is_some());
        if !self.servers.contains_key(host_of(&status.token_url)) {
            self.servers.insert(host_of(&status.token_url).to_owned(), status.token_url.clone());
        }
        let troubles = troubles_of(status);
        self.troubled += usize::from(!troubles.is_empty());
        if self.troubled <= MOST_SHOWN {
            self.found.extend(troubles);
        }
    }

    /// A token URL of each of their servers.
    pub fn servers(&self) -> impl Iterator<Item = &TokenUrl> {
        self.servers.values()
    }

    /// What was found.
    pub fn into_findings(self) -> Vec<Finding> {
        let Self { all, with_token, troubled, mut found, .. } = self;
        let of_all =
            |severity, told: String, mend: &str| finding(severity, "all".to_owned(), told, mend.to_owned());
        let sum = match all {
            0 => of_all(Severity::Notice, "none is enrolled yet".to_owned(), "procurify-token add DOMAIN"),
            _ => {
                of_all(Severity::Fine, format!("{all} enrolled, {with_token} of them with a valid token"), "")
            }
        };
        found.insert(0, sum);
        if let Some(more @ 1..) = troubled.checked_sub(MOST_SHOWN) {
            let told = format!("{more} more have something to tell");
            found.push(of_all(Severity::Notice, told, "procurify-token list"));
        }
        found
    }
}

fn troubles_of(status: &CredentialStatus) -> Vec<Finding> {
    let finding =
        |severity, found: String, mend: String| finding(severity, status.name.to_string(), found, mend);
    let mut found = Vec::new();
    if let Some(failure) = &status.last_failure {
        let severity = if status.token.is_some() { Severity::Notice } else { Severity::Problem };
        let meanwhile = if status.token.is_some() { "; a valid token is handed out meanwhile" } else { "" };
        found.push(finding(severity, format!("{}{meanwhile}", failure.message), failure.advice.clone()));
    }
    if status.staged {
        let told = "new client credentials are stored and wait to be tried".to_owned();
        found.push(finding(
            Severity::Notice,
            told,
            format!("procurify-token rotate {} --retry", status.name),
        ));
    }
    found
}

fn finding(severity: Severity, subject: String, found: String, mend: String) -> Finding {
    Finding { severity, area: Area::Credentials, subject, found, mend }
}

/// So many fit into an answer, whatever is to be told of each.
const MOST_SHOWN: usize = 50;
