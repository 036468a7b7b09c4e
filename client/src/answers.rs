//! What the answer to each request has to be.

use std::time::Duration;

use procurify_token_protocol::{
    Answer, CredentialName, CredentialStatus, DaemonStatus, Request, TokenGrant, Watched,
};

use crate::error::{Error, ProtocolError};

pub(crate) fn token(answer: Answer) -> Result<TokenGrant, Error> {
    match answer {
        Answer::Token(grant) => Ok(grant),
        _ => Err(UNEXPECTED),
    }
}

pub(crate) fn done(answer: &Answer) -> Result<(), Error> {
    match answer {
        Answer::Done => Ok(()),
        _ => Err(UNEXPECTED),
    }
}

pub(crate) fn credential(answer: Answer) -> Result<CredentialStatus, Error> {
    match answer {
        Answer::Credential(status) => Ok(*status),
        _ => Err(UNEXPECTED),
    }
}

pub(crate) fn status(answer: Answer) -> Result<DaemonStatus, Error> {
    match answer {
        Answer::Status(status) => Ok(*status),
        _ => Err(UNEXPECTED),
    }
}

/// Somebody who watches a credential: what was seen of it, and what to ask next.
#[derive(Debug)]
pub(crate) struct Watcher {
    name: CredentialName,
    seen: Option<u64>,
}

impl Watcher {
    pub(crate) fn new(name: CredentialName) -> Self {
        Self { name, seen: None }
    }

    pub(crate) fn name(&self) -> &CredentialName {
        &self.name
    }

    pub(crate) fn request(&self) -> Request {
        Request::Watch { name: self.name.clone(), seen: self.seen, deadline: POLL }
    }

    /// What is new in an answer; nothing where it only says that the deadline has passed.
    pub(crate) fn news(&mut self, answer: Answer) -> Result<Option<Watched>, Error> {
        match answer {
            Answer::Watched(watched) => {
                let is_new = self.seen.replace(watched.revision) != Some(watched.revision);
                Ok(is_new.then_some(*watched))
            }
            _ => Err(UNEXPECTED),
        }
    }
}

/// How long one question of somebody who watches may stay open; then it is asked again.
pub(crate) const POLL: Duration = Duration::from_mins(5);

/// All credentials, page by page.
#[derive(Default)]
pub(crate) struct Listing {
    credentials: Vec<CredentialStatus>,
    complete: bool,
}

impl Listing {
    /// Asks for the next page; `None` once there is no more.
    pub(crate) fn next_request(&self) -> Option<Request> {
        let after = self.credentials.last().map(|last| last.name.clone());
        (!self.complete).then_some(Request::List { after })
    }

    pub(crate) fn add(&mut self, answer: Answer) -> Result<(), Error> {
        match answer {
            // An empty page with more behind it would be asked for again for ever.
            Answer::Credentials { page, more } if !(more && page.is_empty()) => {
                self.credentials.extend(page);
                self.complete = !more;
                Ok(())
            }
            _ => Err(UNEXPECTED),
        }
    }

    pub(crate) fn into_credentials(self) -> Vec<CredentialStatus> {
        self.credentials
    }
}

const UNEXPECTED: Error = Error::Protocol(ProtocolError::UnexpectedAnswer);

#[cfg(test)]
mod tests {
    use super::*;
    use procurify_token_protocol::{Activity, BaseUrl, BodyEncoding, TokenUrl};

    fn credential(name: &str) -> CredentialStatus {
        let name: CredentialName = name.parse().unwrap();
        let base_url = BaseUrl::of_domain(&name.domain());
        CredentialStatus {
            token_url: TokenUrl::below(&base_url),
            name,
            description: "".parse().unwrap(),
            client_id: "id".parse().unwrap(),
            base_url,
            audience: "https://api.procurify.com/".parse().unwrap(),
            body_encoding: BodyEncoding::Json,
            added_at: chrono::DateTime::UNIX_EPOCH,
            staged: false,
            previous: false,
            token: None,
            activity: Activity::Resting,
            next_attempt_at: None,
            last_failure: None,
            budget: procurify_token_protocol::BudgetStatus::default(),
        }
    }

    #[test]
    fn pages_are_asked_for_until_there_are_no_more() {
        let mut listing = Listing::default();
        assert!(matches!(listing.next_request(), Some(Request::List { after: None })));
        let page = vec![credential("acme"), credential("globex")];
        listing.add(Answer::Credentials { page, more: true }).unwrap();
        let Some(Request::List { after: Some(last) }) = listing.next_request() else {
            panic!("no second page")
        };
        assert_eq!(last.as_str(), "globex");
        listing.add(Answer::Credentials { page: vec![credential("initech")], more: false }).unwrap();
        assert!(listing.next_request().is_none());
        let names: Vec<_> =
            listing.into_credentials().into_iter().map(|status| status.name.to_string()).collect();
        assert_eq!(names, ["acme", "globex", "initech"]);
    }

    #[test]
    fn an_empty_page_that_promises_more_is_not_followed_for_ever() {
        let answer = Answer::Credentials { page: Vec::new(), more: true };
        let outcome = Listing::default().add(answer);
        assert!(matches!(outcome, Err(Error::Protocol(ProtocolError::UnexpectedAnswer))));
    }

    #[test]
    fn a_watcher_passes_over_what_it_has_seen() {
        let answer = |revision| Answer::Watched(Box::new(Watched { revision, token: None, refusal: None }));
        let mut watcher = Watcher::new("acme".parse().unwrap());
        let mut revisions = Vec::new();
        for revision in [7, 7, 8, 3] {
            revisions.extend(watcher.news(answer(revision)).unwrap().map(|news| news.revision));
        }
        assert_eq!(revisions, [7, 8, 3], "another revision is news, also a smaller one");
        assert!(matches!(watcher.request(), Request::Watch { seen: Some(3), .. }));
        assert!(watcher.news(Answer::Done).is_err());
    }
}
