//! Somebody who types at a terminal, and answers when he is asked.

use procurify_token_tests::{Home, Screen, Terminal};

/// Types a command line, and each answer once its question stands there and what is typed is no longer shown.
pub(crate) fn typed_in(home: &Home, words: &[&str], answers: &[(&str, &str)]) -> Screen {
    let mut terminal = Terminal::open(home, words, (0, 0), &[]);
    for (question, answer) in answers {
        terminal.shows(question).types(&format!("{answer}\r"));
    }
    terminal.ends()
}
