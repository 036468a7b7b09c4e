//! Tables and fact sheets for people.
//!
//! Nothing is ever wrapped: a line that is longer than the terminal loses its end, so the least important column comes
//! last.

use comfy_table::{ContentArrangement, Table, presets};

use crate::exit::Failure;
use crate::{say, text};

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

/// Prints names and what they stand for; empty ones are left out.
pub(crate) fn facts<const N: usize>(facts: [(&str, String); N]) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([format!("{name}:"), text::one_line(&value).into_owned()]);
    }
    // A fact is never cut: whoever looks at one credential wants all of it.
    table.lines().try_for_each(|line| say::line(line.trim()))
}

fn print(table: &Table) -> Result<(), Failure> {
    let width = width(table.width());
    table.lines().try_for_each(|line| say::line(cut(line.trim(), width)))
}

/// A terminal that does not know its size (`docker exec -t`, a pseudo-terminal that a program made) says 0.
fn width(told: Option<u16>) -> usize {
    told.filter(|width| *width > 0).map_or(usize::MAX, usize::from)
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_loses_its_end_and_says_so() {
        assert_eq!(cut("Größe", 5), "Größe");
        assert_eq!(cut("Größen", 5), "Größ…");
    }

    #[test]
    fn a_terminal_of_no_width_is_no_reason_to_show_nothing() {
        assert_eq!(width(Some(80)), 80);
        assert_eq!(cut("Größe", width(Some(0))), "Größe");
        assert_eq!(cut("Größe", width(None)), "Größe");
    }
}
