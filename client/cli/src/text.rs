//! Foreign text made fit for a terminal, any text for its width, and values for a shell.
//!
//! Descriptions, e-mail addresses, error messages and API bodies were written by others: a control character in them
//! could move the cursor, retitle the window or hide the truth. Here they become visible instead.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr as _;

/// One line: every control character, line ends included, is shown as its escape.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Several lines: line ends stay.
pub(crate) fn paragraphs(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n')
}

/// A text as lines of so many columns, parted between words. A word that is longer has a line of its own.
pub(crate) fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A word for a POSIX shell, quoted whether or not it needs to be.
pub(crate) fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A body on its way to a terminal, in pieces that may end within a character.
#[derive(Debug, Default)]
pub(crate) struct BodyEscaper {
    unfinished: Vec<u8>,
}

impl BodyEscaper {
    /// The next piece, as far as its last character is whole.
    pub(crate) fn push(&mut self, piece: &[u8]) -> String {
        self.unfinished.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&self.unfinished) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // A broken sequence in the middle: all but a possible beginning at the very end.
            Err(_) => whole_of_broken(&self.unfinished),
            Ok(_) => self.unfinished.len(),
        };
        let rest = self.unfinished.split_off(whole);
        shown(&std::mem::replace(&mut self.unfinished, rest))
    }

    /// What is left when the body has ended.
    pub(crate) fn finish(self) -> String {
        shown(&self.unfinished)
    }
}

fn shown(bytes: &[u8]) -> String {
    escaped(&String::from_utf8_lossy(bytes), |c| matches!(c, '\n' | '\t')).into_owned()
}

fn whole_of_broken(bytes: &[u8]) -> usize {
    let is_start = |b: &u8| *b >= 0xc0;
    match bytes.iter().rposition(is_start) {
        Some(start) if bytes.len() - start < LONGEST_CHARACTER => {
            let is_beginning =
                std::str::from_utf8(&bytes[start..]).is_err_and(|error| error.error_len().is_none());
            if is_beginning { start } else { bytes.len() }
        }
        _ => bytes.len(),
    }
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_plain = |c: char| is_kept(c) || !(c.is_control() || drives_layout(c));
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    Cow::Owned(shown)
}

/// Separators and the marks that turn the direction of writing: they make a line read other than it is.
fn drives_layout(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

const LONGEST_CHARACTER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parted_between_words_and_nowhere_else() {
        assert_eq!(folded("one two three", 7), ["one two", "three"]);
        assert_eq!(folded("/a/path/that/is/long and more", 8), ["/a/path/that/is/long", "and more"]);
        assert_eq!(folded("日本 日本 日本", 9), ["日本 日本", "日本"]);
        assert_eq!(folded("", 9), [""]);
    }
    use rstest::rstest;

    #[rstest]
    #[case("plain Größe", "plain Größe")]
    #[case("a\nb", r"a\nb")]
    #[case("\u{1b}]0;x\u{7}", r"\u{1b}]0;x\u{7}")]
    #[case("\u{9b}2J", r"\u{9b}2J")]
    #[case("abc\u{202e}cba", r"abc\u{202e}cba")]
    fn control_characters_become_visible(#[case] text: &str, #[case] visible: &str) {
        assert_eq!(one_line(text), visible);
    }

    #[test]
    fn paragraphs_keep_their_lines() {
        assert_eq!(paragraphs("a\nb\r"), "a\nb\\r");
    }

    #[rstest]
    #[case("plain", "'plain'")]
    #[case("it's", r"'it'\''s'")]
    #[case("$(rm -rf ~)`x`", "'$(rm -rf ~)`x`'")]
    fn words_are_quoted_for_a_shell(#[case] word: &str, #[case] quoted: &str) {
        assert_eq!(shell_quoted(word), quoted);
    }

    #[test]
    fn a_body_may_be_cut_anywhere() {
        let body = "ä€😀\u{1b}[1m\n".as_bytes();
        for cut in 0..=body.len() {
            let mut escaper = BodyEscaper::default();
            let shown = [escaper.push(&body[..cut]), escaper.push(&body[cut..]), escaper.finish()].concat();
            assert_eq!(shown, "ä€😀\\u{1b}[1m\n", "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_never_held_back() {
        let mut escaper = BodyEscaper::default();
        assert_eq!(escaper.push(b"a\xff\xc3"), "a\u{fffd}");
        assert_eq!(escaper.push(b"\xa4b"), "äb");
        assert_eq!(escaper.push(b"\xe2\x82"), "");
        assert_eq!(escaper.finish(), "\u{fffd}");
    }
}
