//! What a person copies out of Procurify: the dialog with client id and client secret, in whatever shape the browser puts it, or
//! the same as JSON or as lines of an environment file. Pure: text in, what was found out.
//!
//! Only what stands right beside its label is believed, so that a sentence about the client secret is not taken for one. Where
//! a text says two different things, none of it is believed.

use std::collections::VecDeque;

use procurify_token_protocol::{ClientId, ClientSecret, Domain};
use thiserror::Error;
use zeroize::Zeroizing;

/// Whether a line may be part of a page rather than an answer: it has a label in it.
pub(crate) fn has_label(text: &str) -> bool {
    text.lines().flat_map(cells).any(|(cell, _)| labelled(cell).is_some())
}

/// A page, as far as it has arrived.
#[derive(Debug, Default)]
pub(crate) struct Page {
    client_id: Option<ClientId>,
    client_secret: Option<ClientSecret>,
    // To compare a second one with.
    secret_text: Zeroizing<String>,
    domain: Option<Domain>,
    awaited: VecDeque<Label>,
    has_begun: bool,
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum PageError {
    /// Dots instead of a secret.
    #[error("the client secret is hidden in what was pasted; copy it by Procurify's own button")]
    Hidden,
    /// More than one application.
    #[error("there is more than one {0} in what was pasted; copy only one application")]
    Several(&'static str),
    /// Not what a client id or secret looks like.
    #[error("what stands beside the label is no {0}")]
    Broken(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Id,
    Secret,
}

impl Page {
    /// Takes in a page, or the next line of one.
    ///
    /// # Errors
    /// [`PageError`]. What was taken in before stays.
    pub(crate) fn take(&mut self, text: &str) -> Result<(), PageError> {
        for (cell, is_last) in text.lines().flat_map(cells) {
            self.note_domain(cell);
            match labelled(cell) {
                Some((label, rest)) => {
                    let beside = behind_label(rest, is_last);
                    self.has_begun |= beside != Beside::Prose;
                    match beside {
                        Beside::Nothing => self.awaited.push_back(label),
                        Beside::Value(value) => self.believe(label, value)?,
                        Beside::Prose => {}
                    }
                }
                None => {
                    if let (Some(label), Beside::Value(value)) = (self.awaited.front().copied(), alone(cell))
                    {
                        self.awaited.pop_front();
                        self.believe(label, value)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a label has been seen.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the next line is a client secret.
    pub(crate) fn awaits_secret(&self) -> bool {
        self.awaited.front() == Some(&Label::Secret)
    }

    /// Whether a line is part of the page that has begun: a label, what a label waits for, or what stands between.
    pub(crate) fn wants(&self, line: &str) -> bool {
        has_label(line) || self.has_begun && (!self.awaited.is_empty() || alone(line) == Beside::Nothing)
    }

    /// The client id, once.
    pub(crate) fn take_client_id(&mut self) -> Option<ClientId> {
        self.client_id.take()
    }

    /// The client secret, once.
    pub(crate) fn take_client_secret(&mut self) -> Option<ClientSecret> {
        self.client_secret.take()
    }

    /// Whose page it is, where an address in it says so.
    pub(crate) fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    fn believe(&mut self, label: Label, value: &str) -> Result<(), PageError> {
        if value.chars().all(|c| DOTS.contains(&c)) {
            return Err(PageError::Hidden);
        }
        match label {
            Label::Id => {
                let id: ClientId = value.parse().map_err(|_| PageError::Broken("client id"))?;
                if self.client_id.as_ref().is_some_and(|known| *known != id) {
                    return Err(PageError::Several("client id"));
                }
                self.client_id = Some(id);
            }
            Label::Secret => {
                let secret =
                    ClientSecret::new(&value.into()).map_err(|_| PageError::Broken("client secret"))?;
                if self.client_secret.is_some() && *self.secret_text != value {
                    return Err(PageError::Several("client secret"));
                }
                self.secret_text = Zeroizing::new(value.to_owned());
                self.client_secret = Some(secret);
            }
        }
        Ok(())
    }

    fn note_domain(&mut self, cell: &str) {
        if self.domain.is_none() {
            let words = cell.split(|c: char| c.is_whitespace() || QUOTES.contains(&c));
            self.domain = words
                .filter(|word| word.contains(".procurify.com"))
                .find_map(|word| Domain::from_pasted(word).ok());
        }
    }
}

/// What stands behind a label, or where its value is awaited.
#[derive(Debug, PartialEq, Eq)]
enum Beside<'a> {
    Nothing,
    Value(&'a str),
    Prose,
}

/// The parts of a line that stand apart: by tabs, strokes, or because a label begins there. Says of each whether it is the last.
fn cells(line: &str) -> Vec<(&str, bool)> {
    let mut cells: Vec<(&str, bool)> = Vec::new();
    for part in parted(line).into_iter().flat_map(|part| part.split(" / ")) {
        // `Client ID abc Client Secret xyz`: a label behind a label begins a cell.
        let begins: Vec<_> = std::iter::once(0).chain(labels_in(part).skip(1)).collect();
        let ends = begins.iter().copied().skip(1).chain([part.len()]);
        cells.extend(begins.iter().zip(ends).map(|(from, to)| (part[*from..to].trim(), false)));
    }
    if let Some(last) = cells.last_mut() {
        last.1 = true;
    }
    cells
}

/// A line at its tabs, and at strokes and braces where they are no part of a word.
fn parted(line: &str) -> Vec<&str> {
    let is_edge = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '|' | '{' | '}'));
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, c) in line.char_indices() {
        let beside = [line[..at].chars().next_back(), line[at + c.len_utf8()..].chars().next()];
        if c == '\t' || matches!(c, '|' | '{' | '}') && beside.into_iter().any(is_edge) {
            parts.push(&line[from..at]);
            from = at + c.len_utf8();
        }
    }
    parts.push(&line[from..]);
    parts
}

/// Where in a text labels begin.
fn labels_in(text: &str) -> impl Iterator<Item = usize> {
    let mut before = None;
    text.char_indices().filter_map(move |(at, c)| {
        let begins_word =
            before.replace(c).is_none_or(|before: char| !before.is_alphanumeric() && before != '_');
        // `PROCURIFY_CLIENT_ID=`, too.
        let is_label = label(&text[at..]).is_some();
        (is_label && (begins_word || text[..at].ends_with('_'))).then_some(at)
    })
}

/// The label that a cell begins with, and what stands behind it.
fn labelled(cell: &str) -> Option<(Label, &str)> {
    let cell =
        cell.trim_start_matches(|c: char| c.is_whitespace() || QUOTES.contains(&c) || BULLETS.contains(&c));
    let cell = cell.strip_prefix("export ").unwrap_or(cell);
    let behind_prefix = cell.strip_prefix("PROCURIFY_").or_else(|| cell.strip_prefix("procurify_"));
    label(behind_prefix.unwrap_or(cell))
}

fn label(text: &str) -> Option<(Label, &str)> {
    let rest = strip_word(text, "client")?;
    let rest = rest.trim_start_matches([' ', '_', '-', '\u{a0}']);
    let (label, rest) = match (strip_word(rest, "id"), strip_word(rest, "secret")) {
        (Some(rest), _) => (Label::Id, rest),
        (None, Some(rest)) => (Label::Secret, rest),
        (None, None) => return None,
    };
    let is_whole =
        rest.chars().next().is_none_or(|next| !next.is_alphanumeric() && !matches!(next, '_' | '-'));
    is_whole.then_some((label, rest))
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

/// What stands behind a label in its cell. What is written around a value, quotes and what parts it from the next one, is not of it.
fn behind_label(rest: &str, is_last: bool) -> Beside<'_> {
    // Emphasis around a label is short, and dots instead of a secret are many.
    if is_hidden(rest.trim()) {
        return Beside::Value(rest.trim());
    }
    let mut rest = rest.trim_start_matches(['"', '\'', '*', '`']).trim();
    // `Client Secret (shown once): xyz`.
    if let Some((_, behind)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        && behind.starts_with(|c: char| c.is_whitespace() || SEPARATORS.contains(&c))
    {
        rest = behind.trim_start();
    }
    let rest = rest.strip_prefix("=>").or_else(|| rest.strip_prefix(SEPARATORS)).unwrap_or(rest);
    let (word, is_quoted) = match only_word(rest) {
        Ok(word) => unquoted(word),
        Err(other) => return other,
    };
    let is_parted = !is_last && !is_quoted;
    Beside::Value(if is_parted { word.trim_end_matches([',', ';']) } else { word })
}

/// What stands in a cell or a line of its own: the value as it is, for there is nothing that it would have to be told from.
fn alone(cell: &str) -> Beside<'_> {
    only_word(cell).map_or_else(|other| other, Beside::Value)
}

/// The one word of a text, but for buttons and strokes beside it.
fn only_word(text: &str) -> Result<&str, Beside<'_>> {
    let is_something = |word: &&str| !is_button(word) && !word.chars().all(|c| STROKES.contains(&c));
    let mut words = text.split_whitespace().filter(is_something);
    match (words.next(), words.next()) {
        (None, _) => Err(Beside::Nothing),
        (Some(word), None) => Ok(word),
        (Some(_), Some(_)) => Err(Beside::Prose),
    }
}

/// A word without the quotes around it, and whether there were any.
fn unquoted(word: &str) -> (&str, bool) {
    let inner = ['"', '\'', '`'].into_iter().find_map(|quote| {
        let (inner, behind) = word.strip_prefix(quote)?.split_once(quote)?;
        behind.chars().all(|c| QUOTES.contains(&c) || c == ';').then_some(inner)
    });
    inner.map_or((word, false), |inner| (inner, true))
}

fn is_hidden(text: &str) -> bool {
    text.chars().count() >= FEWEST_DOTS && text.chars().all(|c| DOTS.contains(&c))
}

/// What a browser copies of the buttons beside a value.
fn is_button(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    BUTTONS.iter().any(|button| word.eq_ignore_ascii_case(button))
}

const QUOTES: [char; 4] = ['"', '\'', '`', ','];
const BULLETS: [char; 5] = ['*', '-', '•', '·', '#'];
const DOTS: [char; 6] = ['•', '*', '●', '·', '∙', '…'];
const FEWEST_DOTS: usize = 4;
const SEPARATORS: [char; 6] = [':', '=', '→', '–', '—', '：'];
/// What stands between a label and its value, or at the edge of a table, and is no value.
const STROKES: [char; 12] = [':', '=', '→', '–', '—', '：', '-', '>', '|', ',', ';', '"'];
const BUTTONS: [&str; 9] = ["copy", "copied", "show", "hide", "reveal", "close", "done", "ok", "edit"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn found(text: &str) -> Result<(Option<String>, Option<String>), PageError> {
        let mut page = Page::default();
        page.take(text)?;
        Ok((
            page.client_id.map(|id| id.as_str().to_owned()),
            page.client_secret.map(|_| page.secret_text.to_string()),
        ))
    }

    #[rstest]
    #[case::one_line_each("Client ID  abc\nClient Secret  xyz")]
    #[case::with_colons("Client ID: abc\nClient Secret: xyz\n")]
    #[case::with_tabs("Client ID\tabc\nClient Secret\txyz")]
    #[case::on_two_lines("Client ID\nabc\nClient Secret\nxyz")]
    #[case::with_lines_between("Client ID\n\nabc\n\nClient Secret\n\nxyz")]
    #[case::as_windows_ends_lines("Client ID\r\nabc\r\nClient Secret\r\nxyz\r\n")]
    #[case::parted_by_a_stroke("Client ID  abc / Client Secret xyz")]
    #[case::all_in_one_line("Client ID abc Client Secret xyz")]
    #[case::a_row_of_tabs("Client ID\tabc\tClient Secret\txyz")]
    #[case::a_table("Client ID\tClient Secret\nabc\txyz")]
    #[case::labels_first("Client ID\nClient Secret\nabc\nxyz")]
    #[case::the_other_way_round("Client Secret: xyz\nClient ID: abc")]
    #[case::with_buttons("Application created\nClient ID\nabc\nCopy\nClient Secret\nxyz\nCopy\nClose")]
    #[case::with_buttons_beside("Client ID\tabc\tCopy\nClient Secret xyz Copy")]
    #[case::in_json(r#"{"client_id": "abc", "client_secret": "xyz"}"#)]
    #[case::in_json_of_lines("{\n  \"client_id\": \"abc\",\n  \"client_secret\": \"xyz\"\n}")]
    #[case::in_an_environment("PROCURIFY_CLIENT_ID=abc\nexport PROCURIFY_CLIENT_SECRET='xyz'")]
    #[case::in_markdown("| Client ID | abc |\n| Client Secret | xyz |")]
    #[case::in_a_list("- **Client ID**: abc\n- **Client Secret**: xyz")]
    #[case::with_a_hint("Client ID abc\nClient Secret (shown once): xyz")]
    #[case::other_spelling("client-id: abc\nClientSecret = xyz")]
    #[case::no_break_space("Client\u{a0}ID\u{a0}abc\nClient\u{a0}Secret\u{a0}xyz")]
    #[case::with_a_warning(
        "Make sure to copy your Client Secret now. You won't be able to see it again!\nClient ID\nabc\nClient Secret\nxyz"
    )]
    #[case::with_a_warning_behind(
        "Client ID: abc\nClient Secret: xyz\nClient Secret will only be shown once."
    )]
    #[case::in_json_without_spaces(r#"{"client_id":"abc","client_secret":"xyz"}"#)]
    #[case::in_one_line_with_commas("client_id=abc, client_secret=xyz")]
    #[case::with_strokes("Client ID - abc\nClient Secret => xyz")]
    #[case::twice_the_same("Client ID: abc\nClient Secret: xyz\nClient ID: abc\nClient Secret: xyz")]
    fn both_are_found_in(#[case] page: &str) {
        assert!(has_label(page));
        assert_eq!(found(page), Ok((Some("abc".to_owned()), Some("xyz".to_owned()))));
    }

    #[rstest]
    #[case::nothing("", None, None)]
    #[case::an_answer("nightly report", None, None)]
    #[case::only_the_id("Client ID: abc", Some("abc"), None)]
    #[case::only_prose("The client secret is shown once; keep the client id with it.", None, None)]
    #[case::a_word_that_begins_alike("client identity abc\nclient secretary xyz", None, None)]
    #[case::a_label_without_value("Client ID\nClient Secret", None, None)]
    fn what_is_not_there_is_not_made_up(
        #[case] page: &str,
        #[case] id: Option<&str>,
        #[case] secret: Option<&str>,
    ) {
        assert_eq!(found(page), Ok((id.map(str::to_owned), secret.map(str::to_owned))));
    }

    #[rstest]
    #[case::dots("Client ID abc\nClient Secret ••••••••", PageError::Hidden)]
    #[case::stars("Client ID abc\nClient Secret\n********", PageError::Hidden)]
    #[case::two_applications(
        "Client ID: a\nClient Secret: x\nClient ID: b\nClient Secret: y",
        PageError::Several("client id")
    )]
    #[case::two_secrets("Client Secret: x\nClient Secret: y", PageError::Several("client secret"))]
    #[case::no_id("Client ID: äöü", PageError::Broken("client id"))]
    fn what_is_doubtful_is_refused(#[case] page: &str, #[case] error: PageError) {
        assert_eq!(found(page), Err(error));
    }

    #[rstest]
    #[case("ab|cd")]
    #[case("ab{cd}ef")]
    #[case("=eq")]
    #[case("ends;,")]
    #[case("(par)rest")]
    #[case("****abc")]
    #[case("'quoted'")]
    #[case("-abc:def=")]
    fn a_secret_is_taken_as_it_is(#[case] secret: &str) {
        let found =
            |behind: &str| found(&format!("Client ID\nabc\nClient Secret{behind}{secret}\n")).unwrap().1;
        assert_eq!(found("\n").as_deref(), Some(secret));
        if !secret.starts_with('\'') {
            assert_eq!(found(": ").as_deref(), Some(secret));
        }
    }

    #[test]
    fn an_address_in_the_page_says_whose_it_is() {
        let mut page = Page::default();
        page.take("https://Acme.procurify.com/#/settings/integrations\nClient ID abc").unwrap();
        assert_eq!(page.domain().map(Domain::as_str), Some("acme"));
        let mut page = Page::default();
        page.take("see https://acme.procurify.com.evil.example/").unwrap();
        assert_eq!(page.domain(), None);
    }

    #[test]
    fn lines_may_come_one_by_one() {
        let mut page = Page::default();
        assert!(!page.wants("abc") && !page.wants("Copy") && !page.wants(""));
        for line in ["Client ID", "abc", "Copy", "", "Client Secret"] {
            assert!(page.wants(line), "{line}");
            page.take(line).unwrap();
        }
        assert!(page.awaits_secret());
        page.take("xyz").unwrap();
        assert!(!page.wants("typed by hand"));
        assert!(page.take_client_id().is_some() && page.take_client_secret().is_some());
    }

    proptest! {
        #[test]
        fn any_id_and_any_secret_are_found_in_any_shape(
            id in "[A-Za-z0-9_.~-]{8,64}", secret in "[A-Za-z0-9_.~+/=-]{8,90}",
            behind in prop::sample::select(vec![" ", "  ", ": ", ":", "\t", "\n", ":\n", " = ", "\r\n\r\n", "\nCopy\n"]),
            between in prop::sample::select(vec!["\n", "\r\n", "\n\n", "\t", " / ", "\nCopy\n"]),
        ) {
            // A value of nothing but stars or the like is refused, and one that is a button's name is not one.
            prop_assume!(!is_button(&id) && !is_button(&secret));
            prop_assume!(!id.starts_with(['-', '=']) && !secret.starts_with(['-', '=']));
            prop_assume!(labels_in(&id).next().is_none() && labels_in(&secret).next().is_none());
            let page = format!("Client ID{behind}{id}{between}Client Secret{behind}{secret}\n");
            prop_assert_eq!(found(&page), Ok((Some(id), Some(secret))), "{}", page);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", lines in prop::collection::vec("[ \t:/|Clientscr\u{20}IDé•]{0,40}", 0..6)) {
            let _ = found(&text);
            let _ = found(&lines.join("\n"));
        }
    }
}
