//! The tokens of the blocking client: handed out from its cache, or asked for.
//!
//! There is no thread that watches. A question stays unanswered on the connection for each watched credential, and each call looks,
//! without waiting, whether an answer has arrived: as long as none has, nothing has changed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use procurify_token_protocol::{Answer, CredentialName, RefusalClass, Request};

use super::{Client, Conversation};
use crate::answers::{self, Watcher};
use crate::call::{self, Setback};
use crate::clock::{Moment, Now};
use crate::deadline::{Deadline, now};
use crate::error::Error;
use crate::options::{Patience, TokenOptions};
use crate::token::Token;

impl Client {
    /// A token that still lives for a while, or within a deadline of its own.
    ///
    /// # Errors
    /// [`Error`]; most often [`Error::Refused`].
    pub fn token_with(&mut self, name: &CredentialName, options: &TokenOptions) -> Result<Token, Error> {
        self.listen();
        if let Some(token) = self.cache.find(name, options.min_ttl, Moment::now()) {
            return Ok(token);
        }
        let deadline = Deadline::new(now(), options.deadline.unwrap_or(self.deadline));
        // With a token in hand nobody is waited for.
        let patience = if self.spare(name).is_some() { Patience::Of(Duration::ZERO) } else { self.patience };
        let outcome = self.ask(name, options.min_ttl, deadline, patience);
        if let Err(error) = &outcome {
            self.heed(name, error);
        }
        match outcome {
            // Looked for only now: on the way the daemon may have denied it.
            Err(error) if error.is_of_the_connection() => self.spare(name).ok_or(error),
            outcome => outcome,
        }
    }

    /// Tokens of several credentials, in the order of their names; each has its own outcome. The daemon is asked for all of them
    /// at once, so this takes as long as the slowest and not as all of them together. None of them is watched for it.
    pub fn tokens(&mut self, names: &[CredentialName], options: &TokenOptions) -> Vec<Result<Token, Error>> {
        self.listen();
        let deadline = Deadline::new(now(), options.deadline.unwrap_or(self.deadline));
        let batches = names.chunks(AT_ONCE);
        batches.flat_map(|names| self.tokens_at_once(names, options.min_ttl, deadline)).collect()
    }

    fn tokens_at_once(
        &mut self,
        names: &[CredentialName],
        min_ttl: Duration,
        deadline: Deadline,
    ) -> Vec<Result<Token, Error>> {
        let get = |name: &CredentialName| Request::Get {
            name: name.clone(),
            min_ttl,
            deadline: deadline.left(now()),
        };
        let news: Vec<_> = names.iter().map(|name| self.cache.news(name)).collect();
        let mut replies = self.pipelined(&names.iter().map(get).collect::<Vec<_>>(), deadline);
        let outcomes = names.iter().zip(news).map(|(name, news)| {
            let request = get(name);
            let settled = replies
                .pop_front()
                .flatten()
                .map(|reply| call::Attempts::default().settle(&request, reply, deadline.left(now())));
            let outcome = match settled {
                Some(call::Verdict::Over(outcome)) => outcome,
                // Alone, as any other request: that connects anew, and waits for a daemon that starts again.
                Some(call::Verdict::Again(_)) | None => self.call(&request, deadline, self.patience),
            };
            if let Err(error) = &outcome {
                self.heed(name, error);
            }
            outcome.and_then(answers::token).map(|grant| self.cache.learned(name, grant, news, Now::read()))
        });
        outcomes.collect()
    }

    /// What was answered to each request, in their order; nothing for those that the connection broke before.
    fn pipelined(
        &mut self,
        requests: &[Request],
        deadline: Deadline,
    ) -> VecDeque<Option<Result<Answer, Setback>>> {
        let Ok(mut conversation) = self.take_conversation(deadline, self.patience) else {
            return VecDeque::new();
        };
        let left = deadline.left(now());
        let frames = requests.iter().map(|request| {
            let id = conversation.next_id();
            call::frame(id, request, left).map(|frame| (id, frame))
        });
        let Ok(frames) = frames.collect::<Result<Vec<_>, Error>>() else { return VecDeque::new() };
        let mut replies = HashMap::new();
        let outcome = conversation.exchange_all(&frames, deadline.with_grace(), |id, reply| {
            replies.insert(id, reply);
        });
        self.take_in(&mut conversation);
        let is_of_use =
            |reply: &Result<Answer, Setback>| reply.as_ref().err().is_none_or(Setback::leaves_connection);
        if outcome.is_ok() && replies.values().all(is_of_use) {
            self.conversation = Some(conversation);
        } else {
            self.cache.unwatch_all();
        }
        frames.iter().map(|(id, _)| replies.remove(id)).collect()
    }

    fn spare(&self, name: &CredentialName) -> Option<Token> {
        self.cache.spare(name, Moment::now())
    }

    fn heed(&mut self, name: &CredentialName, error: &Error) {
        if error.is_denial() {
            self.cache.deny(name);
        }
    }

    fn ask(
        &mut self,
        name: &CredentialName,
        min_ttl: Duration,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Token, Error> {
        // Who asks only once is not to pay for a cache.
        let is_asked_again = self.cache.knows(name);
        if self.is_cached && self.cache.admit(name, Moment::now()) && is_asked_again {
            self.begin_to_watch(name, deadline, patience)?;
            if let Some(token) = self.cache.find(name, min_ttl, Moment::now()) {
                return Ok(token);
            }
        }
        let news = self.cache.news(name);
        let get = Request::Get { name: name.clone(), min_ttl, deadline: deadline.left(now()) };
        let grant = self.call(&get, deadline, patience).and_then(answers::token)?;
        Ok(self.cache.learned(name, grant, news, Now::read()))
    }

    /// Asks how things stand, which is answered at once, and leaves the next question about it unanswered on the connection. A
    /// daemon that refuses that is asked for the token all the same: its refusal says more.
    fn begin_to_watch(
        &mut self,
        name: &CredentialName,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<(), Error> {
        if self.cache.is_watched(name) {
            return Ok(());
        }
        let mut watcher = Watcher::new(name.clone());
        let told = match self.call(&watcher.request(), deadline, patience) {
            Ok(answer) => watcher.news(answer)?,
            Err(error) => {
                self.heed(name, &error);
                return if error.leaves_a_get() { Ok(()) } else { Err(error) };
            }
        };
        if let (Some(told), Some(mut conversation)) = (told, self.conversation.take()) {
            if conversation.watch(watcher, deadline.with_grace()).is_ok() {
                self.conversation = Some(conversation);
                self.cache.told(name, told, Now::read());
            } else {
                self.cache.unwatch_all();
            }
        }
        Ok(())
    }

    /// Takes in what the daemon has said about the watched credentials meanwhile, without waiting for anything. Nobody
    /// answers that before the next question is asked, so none of them is watched any more.
    fn listen(&mut self) {
        let Some(mut conversation) = self.conversation.take_if(|conversation| conversation.is_watching())
        else {
            return;
        };
        if conversation.overhear().is_ok() {
            self.take_in(&mut conversation);
            self.conversation = Some(conversation);
        } else {
            self.cache.unwatch_all();
        }
    }

    pub(super) fn take_in(&mut self, conversation: &mut Conversation) {
        for (mut watcher, reply) in conversation.overheard.drain(..) {
            let name = watcher.name().clone();
            match reply.map(|answer| watcher.news(answer)) {
                Ok(Ok(Some(told))) => {
                    self.cache.told(&name, told, Now::read());
                    self.cache.unwatch(&name);
                }
                Err(Setback::Refused(refusal)) if refusal.code.class() != RefusalClass::Unavailable => {
                    self.cache.forget(&name);
                }
                _ => self.cache.unwatch(&name),
            }
        }
    }
}

/// How many requests are sent before an answer is read: as many as fit into the buffers of any system, with their answers.
const AT_ONCE: usize = 64;
