//! One line as it is typed or pasted: bytes in, what to show out. Pure: reads no terminal and writes none.
//!
//! A paste of several lines, from a terminal that says where it begins and ends, is one answer. From a terminal that does not,
//! its lines come one after the other. Either way nothing behind the word "secret" is ever shown.

use unicode_width::UnicodeWidthChar;
use zeroize::Zeroizing;

/// Whether what is typed may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As it is.
    Plain,
    /// As stars.
    Masked,
}

/// What a byte has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to come.
    More,
    /// Enter was pressed.
    Line,
    /// Several lines were pasted at once.
    Page,
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, before anything was typed.
    Ended,
}

/// What has been typed so far.
#[derive(Debug)]
pub(super) struct Editor {
    shown: Shown,
    text: Zeroizing<String>,
    /// How many cells of the screen each character has.
    cells: Vec<usize>,
    unfinished: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Typing,
    Escaped,
    /// What came behind the escape character.
    Sequence(Vec<u8>),
    Pasting(Zeroizing<Vec<u8>>),
}

impl Editor {
    pub(super) fn new(shown: Shown) -> Self {
        Self {
            shown,
            text: Zeroizing::new(String::with_capacity(USUAL)),
            cells: Vec::with_capacity(USUAL),
            unfinished: Vec::new(),
            state: State::Typing,
        }
    }

    /// Takes the next byte, and says at the end of `screen` what to show for it.
    pub(super) fn take(&mut self, byte: u8, screen: &mut String) -> Step {
        match std::mem::replace(&mut self.state, State::Typing) {
            State::Typing => self.typed(byte, screen),
            State::Escaped => {
                if matches!(byte, b'[' | b'O') {
                    self.state = State::Sequence(vec![byte]);
                }
                Step::More
            }
            State::Sequence(mut sequence) => {
                sequence.push(byte);
                self.state = match byte {
                    _ if sequence == PASTE_BEGINS => {
                        State::Pasting(Zeroizing::new(Vec::with_capacity(USUAL)))
                    }
                    b'\x40'..=b'\x7e' => State::Typing,
                    _ if sequence.len() > LONGEST_SEQUENCE => State::Typing,
                    _ => State::Sequence(sequence),
                };
                Step::More
            }
            State::Pasting(mut paste) => {
                paste.push(byte);
                if paste.ends_with(PASTE_ENDS) {
                    return self.pasted(&paste[..paste.len() - PASTE_ENDS.len()], screen);
                }
                paste.truncate(LONGEST);
                self.state = State::Pasting(paste);
                Step::More
            }
        }
    }

    /// What was typed or pasted.
    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.text
    }

    fn typed(&mut self, byte: u8, screen: &mut String) -> Step {
        match byte {
            b'\r' | b'\n' => return Step::Line,
            CTRL_C => return Step::Interrupted,
            CTRL_D if self.text.is_empty() => return Step::Ended,
            DELETE | BACKSPACE => self.take_back(1, screen),
            CTRL_U => self.take_back(usize::MAX, screen),
            CTRL_W => {
                let word = self.text.trim_end().rfind(char::is_whitespace).map_or(0, |at| at + 1);
                let count = self.text.get(word..).map_or(0, |word| word.chars().count());
                self.take_back(count, screen);
            }
            ESCAPE => self.state = State::Escaped,
            b'\t' => self.push('\t', screen),
            0..b' ' => {}
            _ => self.push_byte(byte, screen),
        }
        Step::More
    }

    fn pasted(&mut self, paste: &[u8], screen: &mut String) -> Step {
        let text = Zeroizing::new(String::from_utf8_lossy(paste).replace("\r\n", "\n").replace('\r', "\n"));
        let page = text.trim_matches('\n');
        if page.contains('\n') {
            self.text.push_str(page);
            return Step::Page;
        }
        page.chars().filter(|c| *c == '\t' || !c.is_control()).for_each(|c| self.push(c, screen));
        Step::More
    }

    fn push_byte(&mut self, byte: u8, screen: &mut String) {
        self.unfinished.push(byte);
        match std::str::from_utf8(&self.unfinished) {
            Ok(text) => {
                let typed = text.chars().next();
                self.unfinished.clear();
                if let Some(c) = typed.filter(|c| !c.is_control()) {
                    self.push(c, screen);
                }
            }
            Err(error) if error.error_len().is_some() => self.unfinished.clear(),
            Err(_) => {}
        }
    }

    fn push(&mut self, c: char, screen: &mut String) {
        if self.text.len() >= LONGEST {
            return;
        }
        let shown = match (self.is_hidden(), c) {
            (true, _) => '*',
            (false, '\t') => ' ',
            (false, c) => c,
        };
        self.text.push(c);
        self.cells.push(shown.width().unwrap_or(0));
        screen.push(shown);
    }

    /// A page's line that names a secret, from a terminal that does not say that it was pasted.
    fn is_hidden(&self) -> bool {
        self.shown == Shown::Masked || self.text.to_ascii_lowercase().contains("secret")
    }

    fn take_back(&mut self, count: usize, screen: &mut String) {
        for _ in 0..count {
            if self.text.pop().is_none() {
                return;
            }
            let cells = self.cells.pop().unwrap_or(0);
            screen.extend(std::iter::repeat_n("\u{8} \u{8}", cells));
        }
    }
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;
const PASTE_BEGINS: &[u8] = b"[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";
const LONGEST_SEQUENCE: usize = 16;
/// What no answer and no page of a browser comes near.
const LONGEST: usize = 64 * 1024;
/// A buffer that grows leaves copies, which the allocator wipes; most answers need none.
const USUAL: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn typed(shown: Shown, bytes: &[u8]) -> (Step, String, String) {
        let (mut editor, mut screen) = (Editor::new(shown), String::new());
        for (at, byte) in bytes.iter().enumerate() {
            let step = editor.take(*byte, &mut screen);
            if step != Step::More {
                assert_eq!(at + 1, bytes.len(), "{step:?} comes with the last byte");
                return (step, editor.text.to_string(), screen);
            }
        }
        (Step::More, editor.text.to_string(), screen)
    }

    #[rstest]
    #[case::plain(b"acme\r", Step::Line, "acme", "acme")]
    #[case::of_several_bytes("Größe\r".as_bytes(), Step::Line, "Größe", "Größe")]
    #[case::taken_back(b"acm\x7f\x7fb\r", Step::Line, "ab", "acm\x08 \x08\x08 \x08b")]
    #[case::wide_taken_back("\u{65e5}\x7f\r".as_bytes(), Step::Line, "", "\u{65e5}\x08 \x08\x08 \x08")]
    #[case::word_taken_back(b"one two\x17\r", Step::Line, "one ", "one two\x08 \x08\x08 \x08\x08 \x08")]
    #[case::line_taken_back(b"ab\x15c\r", Step::Line, "c", "ab\x08 \x08\x08 \x08c")]
    #[case::arrows_and_others(b"a\x1b[Ab\x1b[1;5Cc\x1bOPd\r", Step::Line, "abcd", "abcd")]
    #[case::broken_text(b"a\xff\xc3b\r", Step::Line, "a", "a")]
    #[case::ended(b"\x04", Step::Ended, "", "")]
    #[case::not_ended_behind_text(b"a\x04\r", Step::Line, "a", "a")]
    #[case::interrupted(b"half\x03", Step::Interrupted, "half", "half")]
    fn what_is_typed_is_taken_and_shown(
        #[case] bytes: &[u8],
        #[case] step: Step,
        #[case] text: &str,
        #[case] screen: &str,
    ) {
        assert_eq!(typed(Shown::Plain, bytes), (step, text.to_owned(), screen.to_owned()));
    }

    #[test]
    fn a_page_is_one_answer_and_none_of_it_is_shown() {
        let page = b"\x1b[200~Client ID\rabc\r\nClient Secret\nxyz\n\x1b[201~";
        let expected = "Client ID\nabc\nClient Secret\nxyz".to_owned();
        assert_eq!(typed(Shown::Plain, page), (Step::Page, expected, String::new()));
    }

    #[test]
    fn one_pasted_line_waits_for_enter_whatever_its_end() {
        let line = b"\x1b[200~abc\n\x1b[201~\r";
        assert_eq!(typed(Shown::Plain, line), (Step::Line, "abc".to_owned(), "abc".to_owned()));
        assert_eq!(typed(Shown::Masked, line), (Step::Line, "abc".to_owned(), "***".to_owned()));
    }

    #[test]
    fn a_control_character_that_was_pasted_drives_nothing() {
        let (step, text, screen) = typed(Shown::Plain, b"\x1b[200~a\x1b[2Jb\x03c\x1b[201~\r");
        assert_eq!((step, text.as_str(), screen.as_str()), (Step::Line, "a[2Jbc", "a[2Jbc"));
    }

    #[test]
    fn behind_the_word_secret_nothing_is_shown() {
        let (_, text, screen) = typed(Shown::Plain, b"Client ID abc Client Secret xyz\r");
        assert_eq!(text, "Client ID abc Client Secret xyz");
        assert_eq!(screen, "Client ID abc Client Secret****");
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_a_masked_answer_is_never_shown(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut editor, mut screen) = (Editor::new(Shown::Masked), String::new());
            for byte in bytes {
                if editor.take(byte, &mut screen) != Step::More {
                    break;
                }
            }
            prop_assert!(screen.chars().all(|c| matches!(c, '*' | '\u{8}' | ' ')), "{screen:?}");
        }
    }
}
