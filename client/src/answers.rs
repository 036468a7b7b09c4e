//! What the answer to each request has to be.

use procurify_token_protocol::{Answer, CredentialStatus, DaemonStatus, Request, TokenGrant};

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
    use procurify_token_protocol::{Activity, BaseUrl, BodyEncoding, CredentialName, TokenUrl};

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
}
