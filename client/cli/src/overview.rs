//! Credentials as a table for a person: as many columns as the terminal has room for, or one below the other. Pure: it is told
//! the time and the width, and styles everything; whoever prints it takes the styles out where they are not wanted.

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use procurify_token_protocol::{Activity, CredentialStatus};
use unicode_width::UnicodeWidthStr as _;

use crate::state::{state, valid_token};
use crate::table::{NARROW, cut};
use crate::{text, when};

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// How many columns.
    pub(crate) width: usize,
    /// Whether it has letters beyond ASCII.
    pub(crate) has_blocks: bool,
}

impl Look {
    /// What the environment says of a terminal of so many columns.
    pub(crate) fn of_terminal(width: usize) -> Self {
        let said = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let is_utf8 = said.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { width, has_blocks: is_utf8 || cfg!(windows) || cfg!(target_os = "macos") }
    }
}

/// All of them, with a header where they are rows.
pub(crate) fn lines(credentials: &[CredentialStatus], now: DateTime<Utc>, look: Look) -> Vec<String> {
    let rows: Vec<Row> = credentials.iter().map(|status| Row::of(status, now)).collect();
    let layout = LAYOUTS.iter().filter(|_| look.width >= NARROW).find_map(|layout| {
        let columns = layout.fitted(&rows, look.width)?;
        Some((columns, layout.at.unwrap_or(LONG_AT)))
    });
    match layout {
        Some((columns, at)) => in_rows(&rows, &columns, at, look),
        None => stacked(&rows, look),
    }
}

/// How much of its life a token still has: a bar of so many cells, and the share.
pub(crate) fn life(status: &CredentialStatus, now: DateTime<Utc>, look: Look) -> String {
    let row = Row::of(status, now);
    row.left.map_or_else(String::new, |left| {
        let (filled, rest) = bar(left, WIDE_BAR, look);
        format!("{filled}{rest} {:.0} %", left * 100.0)
    })
}

/// A credential in words.
#[derive(Debug)]
struct Row {
    name: String,
    state: &'static str,
    style: Style,
    /// The share of its life that the token still has.
    left: Option<f64>,
    ends: String,
    at: String,
    short_at: String,
    stamp: String,
    next: String,
    description: String,
}

impl Row {
    fn of(status: &CredentialStatus, now: DateTime<Utc>) -> Self {
        let token = valid_token(status, now);
        let color = match (status.activity, token) {
            (Activity::Barred, _) => AnsiColor::Red,
            (Activity::BackingOff, _) | (_, None) => AnsiColor::Yellow,
            (Activity::Resting | Activity::Requesting, Some(_)) => AnsiColor::Green,
        };
        let in_words = |of: fn(DateTime<Utc>, DateTime<Utc>) -> String| {
            token.map_or_else(|| "-".to_owned(), |token| of(token.expires_at, now))
        };
        Self {
            name: status.name.to_string(),
            state: state(status, now),
            style: color.on_default(),
            left: token.map(|token| share(token.issued_at, token.expires_at, now)),
            ends: in_words(when::distance),
            at: in_words(|at, _| at.format("%Y-%m-%d %H:%M").to_string()),
            short_at: in_words(|at, _| at.format("%m-%d %H:%M").to_string()),
            stamp: in_words(|at, _| when::stamp(at)),
            next: status.next_attempt_at.map_or_else(|| "-".to_owned(), |at| when::distance(at, now)),
            description: text::one_line(status.description.as_str()).into_owned(),
        }
    }
}

/// Which columns there are. The names are last to go, the descriptions may lose their ends.
#[derive(Clone, Copy, Debug)]
struct Layout {
    bar: usize,
    at: Option<fn(&Row) -> &str>,
    has_next: bool,
    /// How much of the descriptions there has to be; `None` where they are left out.
    description: Option<usize>,
}

/// How wide each column is; nought where it is left out.
#[derive(Debug)]
struct Columns {
    name: usize,
    state: usize,
    bar: usize,
    ends: usize,
    at: usize,
    next: usize,
    description: usize,
}

impl Layout {
    fn fitted(&self, rows: &[Row], width: usize) -> Option<Columns> {
        let widest = |title: &str, cell: fn(&Row) -> &str| {
            rows.iter().map(|row| cell(row).width()).max().unwrap_or(0).max(title.width())
        };
        let described = rows.iter().map(|row| row.description.width()).max().unwrap_or(0);
        let mut columns = Columns {
            name: widest(NAME, |row| &row.name),
            state: widest(STATE, |row| row.state),
            bar: self.bar,
            ends: widest(ENDS, |row| &row.ends),
            at: self.at.map_or(0, |at| widest(AT, at)),
            next: if self.has_next { widest(NEXT, |row| &row.next) } else { 0 },
            description: 0,
        };
        let room = width.checked_sub(columns.width())?;
        match self.description {
            Some(least) if described > 0 => {
                let wanted = described.max(DESCRIPTION.width());
                let room = room.checked_sub(GAP)?;
                columns.description = wanted.min(room);
                (columns.description >= wanted.min(least.max(DESCRIPTION.width()))).then_some(columns)
            }
            _ => Some(columns),
        }
    }
}

impl Columns {
    fn width(&self) -> usize {
        let shown = [self.name, self.state, self.bar, self.ends, self.at, self.next, self.description];
        shown.iter().filter(|width| **width > 0).map(|width| width + GAP).sum::<usize>() - GAP
    }
}

fn in_rows(rows: &[Row], columns: &Columns, at: fn(&Row) -> &str, look: Look) -> Vec<String> {
    let line = |cells: [(String, Style, usize); 7], life: Option<(String, String)>| {
        let mut line = String::new();
        let mut gap = 0;
        for (at, (cell, style, width)) in
            cells.into_iter().enumerate().filter(|(_, (_, _, width))| *width > 0)
        {
            line.push_str(&" ".repeat(gap));
            if let (BAR_CELL, Some((filled, rest))) = (at, &life) {
                line.push_str(&styled(filled, style));
                line.push_str(&styled(rest, FAINT));
                gap = GAP;
            } else {
                let cell = cut(&cell, width);
                gap = GAP + width.saturating_sub(cell.width());
                line.push_str(&styled(&cell, style));
            }
        }
        line
    };
    let widths = [
        columns.name,
        columns.state,
        columns.bar,
        columns.ends,
        columns.at,
        columns.next,
        columns.description,
    ];
    let of = |cells: [(&str, Style); 7]| {
        let mut widths = widths.iter();
        cells.map(|(cell, style)| (cell.to_owned(), style, widths.next().copied().unwrap_or(0)))
    };
    let header = of([NAME, STATE, LIFE, ENDS, AT, NEXT, DESCRIPTION].map(|title| (title, FAINT)));
    let plain = Style::new();
    let row = |row: &Row| {
        let cells = of([
            (&row.name, BOLD),
            (row.state, row.style),
            ("-", row.style),
            (&row.ends, plain),
            (at(row), plain),
            (&row.next, plain),
            (&row.description, plain),
        ]);
        line(cells, row.left.map(|left| bar(left, columns.bar, look)))
    };
    std::iter::once(line(header, None))
        .chain(rows.iter().map(row))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn stacked(rows: &[Row], look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let (name, state) = (styled(&row.name, BOLD), styled(row.state, row.style));
        if row.name.width() + GAP + row.state.width() <= look.width {
            lines.push(format!("{name}  {state}"));
        } else {
            lines.extend([name, format!("  {state}")]);
        }
        if let Some(left) = row.left {
            let room = look.width.saturating_sub(row.ends.width() + 2 * GAP);
            let (filled, rest) = bar(left, room.clamp(NARROW_BAR, 2 * WIDE_BAR), look);
            lines.push(format!("  {}{}  {}", styled(&filled, row.style), styled(&rest, FAINT), row.ends));
            lines.push(format!("  until {}", row.stamp));
        }
        if row.next != "-" {
            lines.push(format!("  next request {}", row.next));
        }
        if !row.description.is_empty() {
            let folded = text::folded(&row.description, look.width.saturating_sub(2));
            lines.extend(folded.into_iter().map(|line| format!("  {line}")));
        }
    }
    lines
}

fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

fn share(from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    let milliseconds = |from: DateTime<Utc>, to: DateTime<Utc>| {
        let gap = (to - from).num_milliseconds();
        f64::from(i32::try_from(gap / 1000).unwrap_or(i32::MAX))
    };
    let whole = milliseconds(from, to);
    if whole <= 0.0 { 1.0 } else { (milliseconds(now, to) / whole).clamp(0.0, 1.0) }
}

/// What is left, and what has gone. A token that is alive has at least one cell.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a few dozen cells"
)]
fn bar(left: f64, cells: usize, look: Look) -> (String, String) {
    let filled = ((left * cells as f64).round() as usize).clamp(1, cells);
    let (full, empty) = if look.has_blocks { ("█", "░") } else { ("#", ".") };
    (full.repeat(filled), empty.repeat(cells - filled))
}

const NAME: &str = "NAME";
const STATE: &str = "STATE";
const LIFE: &str = "LIFE";
const ENDS: &str = "TOKEN ENDS";
const AT: &str = "AT (UTC)";
const NEXT: &str = "NEXT REQUEST";
const DESCRIPTION: &str = "DESCRIPTION";
const BAR_CELL: usize = 2;
const GAP: usize = 2;
const WIDE_BAR: usize = 10;
const NARROW_BAR: usize = 6;
const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

/// From the one that shows most to the one that shows least.
const LAYOUTS: [Layout; 9] = [
    Layout { bar: WIDE_BAR, at: Some(LONG_AT), has_next: true, description: Some(usize::MAX) },
    Layout { bar: WIDE_BAR, at: Some(LONG_AT), has_next: true, description: Some(20) },
    Layout { bar: WIDE_BAR, at: Some(LONG_AT), has_next: false, description: Some(usize::MAX) },
    Layout { bar: WIDE_BAR, at: Some(SHORT_AT), has_next: false, description: Some(usize::MAX) },
    Layout { bar: WIDE_BAR, at: Some(LONG_AT), has_next: false, description: Some(12) },
    Layout { bar: NARROW_BAR, at: Some(SHORT_AT), has_next: false, description: Some(12) },
    Layout { bar: WIDE_BAR, at: Some(SHORT_AT), has_next: false, description: None },
    Layout { bar: NARROW_BAR, at: Some(SHORT_AT), has_next: false, description: None },
    Layout { bar: NARROW_BAR, at: None, has_next: false, description: None },
];
const LONG_AT: fn(&Row) -> &str = |row| &row.at;
const SHORT_AT: fn(&Row) -> &str = |row| &row.short_at;

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use procurify_token_protocol::TokenStatus;

    fn status(name: &str, activity: Activity, left: i64, description: &str) -> CredentialStatus {
        let noon = noon();
        let token = TokenStatus {
            expires_at: noon + TimeDelta::minutes(left),
            issued_at: noon + TimeDelta::minutes(left) - TimeDelta::hours(24),
            ..crate::state::tests::status().token.unwrap()
        };
        CredentialStatus {
            name: name.parse().unwrap(),
            description: description.parse().unwrap(),
            token: (left != 0).then_some(token),
            activity,
            next_attempt_at: Some(noon + TimeDelta::minutes(95)),
            ..crate::state::tests::status()
        }
    }

    fn noon() -> DateTime<Utc> {
        "2026-11-26T12:00:00Z".parse().unwrap()
    }

    fn shown(credentials: &[CredentialStatus], width: usize, has_blocks: bool) -> String {
        let lines = lines(credentials, noon(), Look { width, has_blocks });
        let lines: Vec<String> =
            lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        for line in &lines {
            assert!(line.width() <= width, "{line:?} is wider than {width}");
        }
        lines.join("\n")
    }

    fn some() -> Vec<CredentialStatus> {
        vec![
            status("acme", Activity::Resting, 1439, "nightly report of all purchase orders"),
            status("globex/reporting", Activity::Barred, 180, ""),
            status("initech", Activity::BackingOff, 0, "日本語の説明"),
        ]
    }

    #[test]
    fn at_120_columns_a_description_is_worth_more_than_the_next_request() {
        let expected = "\
NAME              STATE                  LIFE        TOKEN ENDS      AT (UTC)     DESCRIPTION
acme              ok                     ██████████  in 23 h 59 min  11-27 11:59  nightly report of all purchase orders
globex/reporting  rejected, token valid  █░░░░░░░░░  in 3 h          11-26 15:00
initech           failing                -           -               -            日本語の説明";
        assert_eq!(shown(&some(), 120, true), expected);
    }

    #[test]
    fn at_160_columns_there_is_everything() {
        let expected = "\
NAME     STATE    LIFE        TOKEN ENDS      AT (UTC)          NEXT REQUEST   DESCRIPTION
acme     ok       ██████████  in 23 h 59 min  2026-11-27 11:59  in 1 h 35 min  nightly report of all purchase orders
initech  failing  -           -               -                 in 1 h 35 min  日本語の説明";
        let [acme, _, initech] = some().try_into().unwrap();
        assert_eq!(shown(&[acme, initech], 160, true), expected);
    }

    #[test]
    fn at_80_columns_the_least_important_is_left_out() {
        let expected = "\
NAME              STATE                  LIFE        TOKEN ENDS      AT (UTC)
acme              ok                     ██████████  in 23 h 59 min  11-27 11:59
globex/reporting  rejected, token valid  █░░░░░░░░░  in 3 h          11-26 15:00
initech           failing                -           -               -";
        assert_eq!(shown(&some(), 80, true), expected);
        let expected = "\
NAME  STATE  LIFE        TOKEN ENDS      AT (UTC)          DESCRIPTION
acme  ok     ██████████  in 23 h 59 min  2026-11-27 11:59  nightly report of al…";
        assert_eq!(shown(&some()[..1], 80, true), expected);
    }

    #[test]
    fn at_40_columns_one_is_below_the_other() {
        let expected = "\
acme  ok
  ████████████████████  in 23 h 59 min
  until 2026-11-27T11:59:00Z
  next request in 1 h 35 min
  nightly report of all purchase orders

globex/reporting  rejected, token valid
  ███░░░░░░░░░░░░░░░░░  in 3 h
  until 2026-11-26T15:00:00Z
  next request in 1 h 35 min

initech  failing
  next request in 1 h 35 min
  日本語の説明";
        assert_eq!(shown(&some(), 40, true), expected);
    }

    #[test]
    fn where_there_is_only_ascii_there_is_only_ascii() {
        let expected = "\
globex/reporting  rejected, token valid
  ###.................  in 3 h
  until 2026-11-26T15:00:00Z
  next request in 1 h 35 min";
        assert_eq!(shown(&some()[1..2], 40, false), expected);
    }

    #[test]
    fn at_no_width_a_line_is_wider_or_a_word_is_broken() {
        for width in 28..200 {
            let shown = shown(&some(), width, true);
            for word in ["acme", "globex/reporting", "initech"] {
                assert!(
                    shown.lines().any(|line| line.split_whitespace().next() == Some(word)),
                    "{width}:\n{shown}"
                );
            }
        }
    }

    #[test]
    fn a_bar_is_never_empty_while_the_token_lives_and_full_only_at_first() {
        let look = Look { width: 80, has_blocks: false };
        assert_eq!(bar(1.0, 10, look), ("##########".to_owned(), String::new()));
        assert_eq!(bar(0.5, 10, look), ("#####".to_owned(), ".....".to_owned()));
        assert_eq!(bar(0.001, 10, look), ("#".to_owned(), ".........".to_owned()));
        assert_eq!(
            share(noon(), noon() + TimeDelta::hours(24), noon() + TimeDelta::hours(18)).to_bits(),
            0.25_f64.to_bits()
        );
        assert_eq!(
            share(noon(), noon(), noon()).to_bits(),
            1.0_f64.to_bits(),
            "of no life there is none to share"
        );
    }

    #[test]
    fn a_state_has_its_colour_and_what_is_read_has_none() {
        let lines = lines(&some(), noon(), Look { width: 120, has_blocks: true });
        assert!(lines[1].contains("\u{1b}[32mok\u{1b}[0m"), "{:?}", lines[1]);
        assert!(lines[2].contains("\u{1b}[31mrejected, token valid\u{1b}[0m"), "{:?}", lines[2]);
        assert!(lines[3].contains("\u{1b}[33mfailing\u{1b}[0m"), "{:?}", lines[3]);
    }
}
