//! What the fake daemon was told to say. No I/O.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{
    AccessToken, Answer, BaseUrl, CredentialName, Fingerprint, Refusal, RefusalCode, TokenGrant, Watched,
};

use super::Asked;
use crate::clock::Now;

#[derive(Debug, Default)]
pub(crate) struct State {
    credentials: HashMap<CredentialName, Credential>,
    base_urls: HashMap<CredentialName, BaseUrl>,
    pub(crate) asked: Vec<Asked>,
    revisions: u64,
    /// The watches that are out.
    pub(crate) watching: HashMap<u64, CredentialName>,
    watches: u64,
}

#[derive(Debug)]
struct Credential {
    word: Word,
    next: VecDeque<Word>,
    base_url: BaseUrl,
    revision: u64,
}

/// What is said of a credential.
#[derive(Debug)]
pub(crate) enum Word {
    Token(Arc<AccessToken>),
    Refusal(RefusalCode),
    /// No token, so that who asks has to wait.
    Nothing,
}

impl Word {
    #[track_caller]
    pub(crate) fn token(text: &str, life: Duration) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let fingerprint = Fingerprint::from_bytes(hasher.finish().to_be_bytes());
        let life = i64::try_from(life.as_millis()).expect("a life of less than centuries");
        let ends: DateTime<Utc> =
            DateTime::from_timestamp_millis(Now::read().wall.saturating_add(life)).expect("a time");
        Self::Token(Arc::new(AccessToken::new(text.into(), fingerprint, ends).expect("a Bearer token")))
    }
}

impl State {
    pub(crate) fn watch_begins(&mut self, name: CredentialName) -> u64 {
        self.watches += 1;
        self.watching.insert(self.watches, name);
        self.watches
    }

    pub(crate) fn watching_for(&self, name: &CredentialName) -> Vec<u64> {
        self.watching.iter().filter(|(_, watched)| *watched == name).map(|(number, _)| *number).collect()
    }

    /// Another one, or none any more, is news to whoever watches.
    pub(crate) fn revision_of(&self, name: &CredentialName) -> Option<u64> {
        self.credentials.get(name).map(|credential| credential.revision)
    }

    pub(crate) fn say(&mut self, name: CredentialName, word: Word) {
        let base_url = self.base_urls.get(&name).cloned();
        let base_url = base_url.unwrap_or_else(|| BaseUrl::of_domain(&name.domain()));
        self.revisions += 1;
        let next = self.credentials.remove(&name).map(|credential| credential.next).unwrap_or_default();
        self.credentials.insert(name, Credential { word, next, base_url, revision: self.revisions });
    }

    pub(crate) fn say_next(&mut self, name: &CredentialName, word: Word) {
        match self.credentials.get_mut(name) {
            Some(credential) if !matches!(credential.word, Word::Nothing) => credential.next.push_back(word),
            _ => self.say(name.clone(), word),
        }
    }

    pub(crate) fn set_base_url(&mut self, name: CredentialName, base_url: BaseUrl) {
        self.base_urls.insert(name, base_url);
    }

    pub(crate) fn end_token(&mut self, name: &CredentialName) {
        let next = self.credentials.get_mut(name).and_then(|credential| credential.next.pop_front());
        if self.credentials.contains_key(name) {
            self.say(name.clone(), next.unwrap_or(Word::Nothing));
        }
    }

    pub(crate) fn remove(&mut self, name: &CredentialName) {
        self.credentials.remove(name);
        self.base_urls.remove(name);
    }

    pub(crate) fn invalidate(
        &mut self,
        name: &CredentialName,
        refused: Fingerprint,
    ) -> Result<Answer, Refusal> {
        let credential = self.credentials.get(name).ok_or_else(|| unknown(name))?;
        if matches!(&credential.word, Word::Token(token) if token.fingerprint() == refused) {
            self.end_token(name);
        }
        Ok(Answer::Done)
    }

    /// The token of this moment; `None` while there is none and one may yet come.
    pub(crate) fn token(&self, name: &CredentialName) -> Option<Result<Answer, Refusal>> {
        Some(match self.credentials.get(name) {
            None => Err(unknown(name)),
            Some(Credential { word: Word::Refusal(code), .. }) => Err(refusal(*code)),
            Some(credential) => Ok(Answer::Token(credential.grant()?)),
        })
    }

    /// How things stand; `None` where that was seen.
    pub(crate) fn watched(
        &self,
        name: &CredentialName,
        seen: Option<u64>,
    ) -> Option<Result<Answer, Refusal>> {
        let credential = match self.credentials.get(name) {
            None => return Some(Err(unknown(name))),
            Some(Credential { word: Word::Refusal(code), .. }) => return Some(Err(refusal(*code))),
            Some(credential) => credential,
        };
        (Some(credential.revision) != seen).then(|| {
            let (revision, token) = (credential.revision, credential.grant());
            Ok(Answer::Watched(Box::new(Watched { revision, token, refusal: None })))
        })
    }
}

impl Credential {
    fn grant(&self) -> Option<TokenGrant> {
        let Word::Token(token) = &self.word else { return None };
        Some(TokenGrant { token: Arc::clone(token), base_url: self.base_url.clone() })
    }
}

fn unknown(name: &CredentialName) -> Refusal {
    let message = format!("the fake daemon knows no credential {name}");
    Refusal { message, advice: "call set_token".to_owned(), ..refusal(RefusalCode::UNKNOWN_CREDENTIAL) }
}

pub(crate) fn refusal(code: RefusalCode) -> Refusal {
    let message = format!("the fake daemon was told to say {}", code.label());
    Refusal { code, retry_after: None, message, advice: String::new() }
}
