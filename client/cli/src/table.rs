//! Tables and fact sheets for people.
//!
//! No row is ever wrapped: a line that is longer than the terminal loses its end, so the least important column comes
//! last. Widths are those of the screen: a letter may have two columns, or none.

use comfy_table::{ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::exit::Failure;
use crate::{say, terminal, text};

/// Prints rows under a header.
pub(crate) fn rows<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| text::one_line(&cell).into_owned()));
    }
    print(&table)
}

/// Prints rows that go on below others.
pub(crate) fn more_rows<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        table.add_row(row.map(|cell| text::one_line(&cell).into_owned()));
    }
    print(&table)
}

/// Prints rows for programs: parted by tabs, nothing cut.
pub(crate) fn plain<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    say::line(header.join("\t"))?;
    rows.into_iter()
        .try_for_each(|row| say::line(row.map(|cell| text::one_line(&cell).into_owned()).join("\t")))
}

/// Prints names and what they stand for; empty ones are left out.
pub(crate) fn facts<const N: usize>(facts: &[(&str, String); N]) -> Result<(), Failure> {
    fact_lines(facts, terminal::width()).into_iter().try_for_each(say::line)
}

/// The same as lines of a terminal of so many columns. A fact is never cut, for whoever looks at one wants all of it; it goes on
/// below, and only what has no space in it is left to the terminal.
pub(crate) fn fact_lines(facts: &[(&str, String)], width: Option<usize>) -> Vec<String> {
    let facts: Vec<_> = facts.iter().filter(|(_, value)| !value.is_empty()).collect();
    let widest = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0) + 2;
    let mut lines = Vec::new();
    for (name, value) in facts {
        let (name, value) = (format!("{name}:"), text::one_line(value));
        match width {
            Some(width) if width < NARROW && name.width() + 1 + value.width() > width => {
                lines.push(name);
                let below = text::folded(&value, width.saturating_sub(INDENT.len()));
                lines.extend(below.into_iter().map(|line| format!("{INDENT}{line}")));
            }
            Some(width) if width < NARROW => lines.push(format!("{name} {value}")),
            _ => {
                let room = width.map_or(usize::MAX, |width| width.saturating_sub(widest));
                for (at, line) in text::folded(&value, room).into_iter().enumerate() {
                    let name = if at == 0 { name.as_str() } else { "" };
                    lines.push(format!("{}{line}", padded(name, widest)));
                }
            }
        }
    }
    lines
}

/// A text with as many spaces behind it as it takes.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// A text that has lost its end where it is wider, and says so.
pub(crate) fn cut(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut kept = String::new();
    let mut room = width.saturating_sub(1);
    for c in line.chars() {
        match room.checked_sub(c.width().unwrap_or(0)) {
            Some(left) => room = left,
            None => break,
        }
        kept.push(c);
    }
    kept + "…"
}

fn print(table: &Table) -> Result<(), Failure> {
    let width = terminal::width().unwrap_or(usize::MAX);
    table.lines().try_for_each(|line| say::line(cut(line.trim(), width)))
}

/// Below this many columns a name and what it stands for share no line unless both fit.
pub(crate) const NARROW: usize = 60;
const INDENT: &str = "  ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_loses_its_end_and_says_so() {
        assert_eq!(cut("Größe", 5), "Größe");
        assert_eq!(cut("Größen", 5), "Größ…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }

    #[test]
    fn facts_are_beside_their_names_or_below_them() {
        let facts = [
            ("name", "acme".to_owned()),
            ("none", String::new()),
            ("what to do", "one two three four".to_owned()),
        ];
        assert_eq!(fact_lines(&facts, None), ["name:       acme", "what to do: one two three four"]);
        assert_eq!(fact_lines(&facts, Some(70)), ["name:       acme", "what to do: one two three four"]);
        assert_eq!(fact_lines(&facts, Some(20)), ["name: acme", "what to do:", "  one two three four"]);
        assert_eq!(fact_lines(&facts, Some(16)), ["name: acme", "what to do:", "  one two three", "  four"]);
        let long = [("a", "word ".repeat(14))];
        assert_eq!(fact_lines(&long, Some(62))[1], "   word word");
    }
}
