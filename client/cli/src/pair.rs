//! Client id and client secret as a person brings them: typed one after the other, pasted together at any of the questions, or
//! together on stdin. What belongs to which, `pasted` knows.

use std::fmt::Display;

use procurify_token_protocol::{ClientId, ClientSecret, CredentialName, Description, Domain};

use crate::args::SecretArgs;
use crate::dialog::{Dialog, Shown};
use crate::exit::{ExitCode, Failure};
use crate::pasted::Page;
use crate::secret_input;
use crate::terminal;

/// Refuses early what would have to be typed where nobody can, and what is no file.
pub(crate) fn must_not_be_asked_for(
    client_id: Option<&ClientId>,
    secret: &SecretArgs,
) -> Result<(), Failure> {
    secret_input::must_be_readable(secret)?;
    if terminal::is_interactive() || secret.is_given() {
        return Ok(());
    }
    let missing = match client_id {
        Some(_) => "the client secret",
        None => "the client id and the client secret",
    };
    Err(Failure::new(
        ExitCode::Usage,
        format!("stdin is not a terminal, so nobody can be asked for {missing}"),
    )
    .hint("give them by --client-id ID and --secret-stdin or --secret-file PATH"))
}

/// Whether somebody is there who is asked for one of the halves.
pub(crate) fn is_asked_for(client_id: Option<&ClientId>, secret: &SecretArgs) -> bool {
    terminal::is_interactive() && (client_id.is_none() || !secret.is_given())
}

/// The two halves, from where the options say, or asked for.
pub(crate) fn given_or_asked(
    questions: Option<&mut Questions>,
    client_id: Option<ClientId>,
    from: &SecretArgs,
) -> Result<(ClientId, ClientSecret), Failure> {
    let mut own = Questions::about_anything();
    let questions = questions.unwrap_or(&mut own);
    if !from.is_given() {
        let client_id = client_id.map_or_else(|| questions.client_id(), Ok)?;
        // Last, so that nothing can go wrong between typing and storing it.
        return Ok((client_id, questions.client_secret()?));
    }
    let (found, client_secret) = secret_input::client_secret(from)?;
    match (client_id, found) {
        (Some(given), Some(found)) if given != found => Err(Failure::new(
            ExitCode::Usage,
            "--client-id is another one than the client id beside the secret",
        )
        .hint("leave --client-id out, or give the secret alone")),
        (Some(client_id), _) | (None, Some(client_id)) => Ok((client_id, client_secret)),
        (None, None) if terminal::is_interactive() => Ok((questions.client_id()?, client_secret)),
        (None, None) => Err(Failure::new(
            ExitCode::Usage,
            "the client id is missing: it is neither an option nor beside the secret, and stdin is not a terminal",
        )
        .hint("give it by --client-id ID, or both as they are copied from Procurify, with their labels")),
    }
}

/// The questions of one enrolment. Whatever is pasted at one of them may answer those that follow.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// While somebody is asked.
    dialog: Option<Dialog>,
    page: Page,
    /// Whose page it has to be.
    domain: Option<Domain>,
}

impl Questions {
    /// About credentials of a domain.
    pub(crate) fn about(domain: Domain) -> Self {
        Self { domain: Some(domain), ..Self::default() }
    }

    /// About those of any.
    pub(crate) fn about_anything() -> Self {
        Self::default()
    }

    /// Gives the terminal back until the next question. What is pasted and not asked for by now is lost.
    pub(crate) fn pause(&mut self) {
        self.dialog = None;
    }

    /// Says something to whoever is asked.
    pub(crate) fn note(&mut self, note: &str) -> Result<(), Failure> {
        self.dialog()?.note(note)
    }

    fn dialog(&mut self) -> Result<&mut Dialog, Failure> {
        match &mut self.dialog {
            Some(dialog) => Ok(dialog),
            none => Ok(none.insert(Dialog::begin()?)),
        }
    }

    /// Whose credentials they are: a name, or the address of any page.
    pub(crate) fn name(&mut self) -> Result<CredentialName, Failure> {
        let from_page = |page: &mut Page| page.domain().cloned().map(CredentialName::from);
        let question = "Domain, or the address of any of its pages: ";
        let name =
            self.answered(question, Shown::Plain, from_page, CredentialName::from_pasted)?.into_inner();
        self.domain = Some(name.domain());
        Ok(name)
    }

    /// What it is for. Nobody is asked who has pasted a page by now.
    pub(crate) fn description(&mut self) -> Result<Description, Failure> {
        let from_page = |page: &mut Page| page.has_begun().then(Description::default);
        Ok(self.answered("Description (may be empty): ", Shown::Plain, from_page, str::parse)?.into_inner())
    }

    /// The public half.
    pub(crate) fn client_id(&mut self) -> Result<ClientId, Failure> {
        let answer = self.answered("Client id: ", Shown::Plain, Page::take_client_id, |text| {
            text.trim().parse::<ClientId>()
        })?;
        if let Answer::Pasted(client_id) = &answer {
            self.note(&format!("Client id: {} (pasted)", client_id.as_str()))?;
        }
        Ok(answer.into_inner())
    }

    /// The secret half.
    pub(crate) fn client_secret(&mut self) -> Result<ClientSecret, Failure> {
        let parse = |text: &str| ClientSecret::new(&text.into());
        let answer = self.answered("Client secret: ", Shown::Masked, Page::take_client_secret, parse)?;
        if matches!(answer, Answer::Pasted(_)) {
            self.note("Client secret: ******** (pasted)")?;
        }
        Ok(answer.into_inner())
    }

    /// Asks until the page has it, or the line is what it should be.
    fn answered<T, E: Display>(
        &mut self,
        question: &str,
        shown: Shown,
        from_page: impl Fn(&mut Page) -> Option<T>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Answer<T>, Failure> {
        loop {
            if let Some(answer) = from_page(&mut self.page) {
                return Ok(Answer::Pasted(answer));
            }
            let shown = if self.page.awaits_secret() { Shown::Masked } else { shown };
            let text = self.dialog()?.ask(question, shown)?;
            if self.page.wants(&text) {
                let taken = self.page.take(&text).map_err(|error| error.to_string());
                if let Err(reason) = taken.and_then(|()| self.must_be_of_this_domain()) {
                    self.page = Page::default();
                    self.note(&format!("{reason}. Once more:"))?;
                }
                continue;
            }
            match parse(&text) {
                Ok(answer) => return Ok(Answer::Typed(answer)),
                Err(error) => self.note(&format!("{error}. Once more:"))?,
            }
        }
    }

    fn must_be_of_this_domain(&self) -> Result<(), String> {
        match (self.page.domain(), &self.domain) {
            (Some(theirs), Some(ours)) if theirs != ours => Err(format!(
                "what was pasted is of {theirs}, and this is about {ours}; nothing of it was taken"
            )),
            _ => Ok(()),
        }
    }
}

/// Where an answer came from.
#[derive(Debug)]
enum Answer<T> {
    Typed(T),
    Pasted(T),
}

impl<T> Answer<T> {
    fn into_inner(self) -> T {
        match self {
            Self::Typed(answer) | Self::Pasted(answer) => answer,
        }
    }
}
