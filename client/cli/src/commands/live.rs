//! `status --watch`: how things stand, on the whole terminal, each second. Asks the daemon again and again and starts none; that one
//! has gone, or has come back as another, is part of what is shown.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use procurify_token_client::blocking::Client;
use procurify_token_protocol::{CredentialName, CredentialStatus, DaemonStatus, VaultState};

use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::overview::{self, Look};
use crate::screen::{self, Input, Screen};
use crate::{clock, report, system, table, text, when};

pub(super) fn run(daemon: &Daemon, name: Option<&CredentialName>) -> Result<(), Failure> {
    Screen::must_be_there()?;
    // What is wrong from the beginning is told as ever.
    let mut live = Live::of(Seen::now(&mut daemon.connect_to_running()?, name)?);
    let (events, happened) = mpsc::channel();
    let mut screen = Screen::take()?;
    screen::listen(&events, Event::Input);
    let (daemon, name) = (daemon.clone(), name.cloned());
    std::thread::spawn(move || follow(&daemon, name.as_ref(), &events));
    loop {
        let (width, height) = Screen::size();
        let now = clock::now();
        screen.draw(&live.lines(now, Look::of_terminal(width), height))?;
        let next_second = Duration::from_millis(1000 - u64::from(now.timestamp_subsec_millis().min(999)));
        match happened.recv_timeout(next_second) {
            Ok(Event::Input(Input::Quit)) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(Event::Input(Input::Ended(signal))) => {
                drop(screen);
                system::end_by(signal);
                return Ok(());
            }
            Ok(Event::Input(Input::Lines(count))) => live.scroll(count),
            Ok(Event::Input(Input::Screens(count))) => {
                live.scroll(count * isize::try_from(height / 2).unwrap_or(1));
            }
            Ok(Event::Seen(seen)) => live.sees(*seen),
            Ok(Event::Lost { reason, is_gone }) => live.loses(reason, is_gone, clock::now()),
            Ok(Event::Input(Input::Resized)) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

enum Event {
    Input(Input),
    Seen(Box<Seen>),
    /// Why, and whether it is for want of a daemon.
    Lost {
        reason: String,
        is_gone: bool,
    },
}

/// What the daemon said at some point.
struct Seen {
    at: DateTime<Utc>,
    status: DaemonStatus,
    credentials: Vec<CredentialStatus>,
    /// Whether only one was asked for.
    is_one: bool,
}

impl Seen {
    fn now(client: &mut Client, name: Option<&CredentialName>) -> Result<Self, Failure> {
        let status = client.status()?;
        let credentials = match name {
            Some(name) => vec![client.describe(name)?],
            None if status.vault == VaultState::Open => client.list()?,
            None => Vec::new(),
        };
        Ok(Self { at: clock::now(), status, credentials, is_one: name.is_some() })
    }
}

/// Asks each second, and less often where the answer takes long.
fn follow(daemon: &Daemon, name: Option<&CredentialName>, to: &Sender<Event>) {
    let mut client = None;
    loop {
        let took = clock::stopwatch();
        let seen = match client.take().map_or_else(|| daemon.glance(), Ok) {
            Ok(connected) => Seen::now(client.insert(connected), name),
            Err(failure) => Err(failure),
        };
        let (event, pause) = match seen {
            // What takes long is asked less often.
            Ok(seen) => (Event::Seen(Box::new(seen)), SECOND.max(took() * 10)),
            Err(failure) => {
                client = None;
                (
                    Event::Lost { reason: failure.message(), is_gone: failure.is_of(ExitCode::NoDaemon) },
                    SECOND,
                )
            }
        };
        if to.send(event).is_err() {
            return;
        }
        clock::pause(pause);
    }
}

/// What is shown.
struct Live {
    seen: Seen,
    /// Since when the daemon says nothing that can be shown, and why.
    lost: Option<(DateTime<Utc>, String)>,
    /// It is there, and says something else.
    is_refused: bool,
    restarted: Option<String>,
    first_line: usize,
}

impl Live {
    fn of(seen: Seen) -> Self {
        Self { seen, lost: None, is_refused: false, restarted: None, first_line: 0 }
    }

    fn sees(&mut self, seen: Seen) {
        let (before, after) = (&self.seen.status, &seen.status);
        if (before.pid, before.started_at) != (after.pid, after.started_at) {
            let at = when::stamp(after.started_at);
            self.restarted =
                Some(format!("The daemon was restarted at {at}: pid {}, before {}.", after.pid, before.pid));
        }
        self.lost = None;
        self.seen = seen;
    }

    fn loses(&mut self, reason: String, is_gone: bool, now: DateTime<Utc>) {
        self.is_refused = !is_gone;
        let since = self.lost.take().map_or(now, |(since, _)| since);
        self.lost = Some((since, reason));
    }

    fn scroll(&mut self, lines: isize) {
        self.first_line = self.first_line.saturating_add_signed(lines);
    }

    /// A screen of so many columns and lines.
    fn lines(&mut self, now: DateTime<Utc>, look: Look, height: usize) -> Vec<String> {
        let width = look.width;
        let mut above = self.above(width);
        let mut below: Vec<String> =
            self.news(now).into_iter().flat_map(|(news, style)| styled(&news, width, style)).collect();
        let body = self.body(now, look);
        // The rows go on as far as there is room; the last line is for the keys.
        above.truncate(height.saturating_sub(2));
        let room = height.saturating_sub(above.len() + below.len() + 1);
        self.first_line = self.first_line.min(body.len().saturating_sub(room));
        let hidden = body.len().saturating_sub(room);
        let shown: Vec<String> = body.into_iter().skip(self.first_line).take(room).collect();
        let time = now.format("%H:%M:%SZ");
        let keys = match hidden {
            0 => format!("{time}, q quits"),
            _ => format!("{time}, q quits, j/k scroll, {hidden} more"),
        };
        below.push(format!("{FAINT}{}{FAINT:#}", table::cut(&keys, width)));
        let mut lines = [above, shown].concat();
        lines.resize(height.saturating_sub(below.len()), String::new());
        lines.extend(below);
        lines.truncate(height);
        lines
    }

    /// The daemon.
    fn above(&self, width: usize) -> Vec<String> {
        let DaemonStatus { version, pid, vault, credentials, with_token, warnings, .. } = &self.seen.status;
        let vault = report::vault(*vault);
        let daemon = format!(
            "procurify-tokend {version}, pid {pid}, vault {vault}, {with_token} of {credentials} credentials with a valid token"
        );
        let mut lines = styled(&daemon, width, BOLD);
        for warning in warnings {
            lines.extend(styled(&format!("warning: {}", text::one_line(warning)), width, WARNING));
        }
        lines.push(String::new());
        lines
    }

    fn body(&self, now: DateTime<Utc>, look: Look) -> Vec<String> {
        let Seen { status, credentials, is_one, .. } = &self.seen;
        let next = match status.vault {
            VaultState::Missing => "what to do: procurify-token init",
            VaultState::Locked => "what to do: procurify-token unlock",
            VaultState::Open if credentials.is_empty() => "what to do: procurify-token add DOMAIN",
            VaultState::Open => "",
        };
        match (credentials.as_slice(), is_one) {
            ([], _) => text::folded(next, look.width),
            ([one], true) => report::credential_lines(one, now, Some(look))
                .into_iter()
                .flat_map(|line| broken(&line, look.width))
                .collect(),
            (all, _) => overview::lines(all, now, look),
        }
    }

    /// What has happened to the daemon.
    fn news(&self, now: DateTime<Utc>) -> Vec<(String, Style)> {
        let mut news = Vec::new();
        if let Some(restarted) = &self.restarted {
            news.push((restarted.clone(), WARNING));
        }
        let silent = now - self.seen.at;
        if let Some((since, reason)) = &self.lost {
            let reason = text::one_line(reason);
            let gone = when::span((now - *since).to_std().unwrap_or_default());
            news.push((
                if self.is_refused {
                    format!(
                        "This is {gone} old, for the daemon says now: {reason}. Asking again each second."
                    )
                } else {
                    format!("The daemon has been gone for {gone}: {reason}. Trying again each second.")
                },
                BAD,
            ));
        } else if silent.to_std().is_ok_and(|silent| silent > PATIENCE) {
            let silent = when::span(silent.to_std().unwrap_or_default());
            news.push((format!("The daemon has not answered for {silent}."), BAD));
        }
        news
    }
}

/// A sentence as lines.
fn styled(text: &str, width: usize, style: Style) -> Vec<String> {
    let folded = text::folded(text, width).into_iter();
    folded.map(|line| format!("{style}{}{style:#}", table::cut(&line, width))).collect()
}

/// A line that is longer than the screen, a path in it for one, goes on below: nothing does that for us here.
fn broken(line: &str, width: usize) -> Vec<String> {
    let mut rest: Vec<char> = line.chars().collect();
    let mut lines = Vec::new();
    while rest.len() > width.max(1) {
        let behind = rest.split_off(width.max(1));
        lines.push(rest.into_iter().collect());
        rest = behind;
    }
    lines.push(rest.into_iter().collect());
    lines
}

const SECOND: Duration = Duration::from_secs(1);
/// How long an answer may take before that is said.
const PATIENCE: Duration = Duration::from_secs(4);
const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use procurify_token_protocol::{MemoryProtection, Sandbox};

    fn seen(names: &[&str], pid: u32) -> Seen {
        let credentials = names
            .iter()
            .map(|name| CredentialStatus { name: name.parse().unwrap(), ..crate::state::tests::status() });
        let status = DaemonStatus {
            version: "0.1.0".into(),
            pid,
            started_at: DateTime::UNIX_EPOCH,
            vault: VaultState::Open,
            vault_path: "/vault".into(),
            credentials: 2,
            with_token: 1,
            extra_ca: None,
            memory: MemoryProtection::Secret,
            core_dumps_forbidden: true,
            sandbox: Sandbox::Full,
            warnings: vec!["the clock is wrong by more than a little: timedatectl".into()],
        };
        Seen { at: DateTime::UNIX_EPOCH, status, credentials: credentials.collect(), is_one: false }
    }

    fn shown(live: &mut Live, seconds: i64, width: usize, height: usize) -> String {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let lines = live.lines(now, Look { width, has_blocks: false }, height);
        assert_eq!(lines.len(), height);
        let plain = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string());
        plain
            .inspect(|line| assert!(line.chars().count() <= width, "{line:?} is too wide"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_screen_of_80_columns() {
        let expected = "\
procurify-tokend 0.1.0, pid 7, vault open, 1 of 2 credentials with a valid token
warning: the clock is wrong by more than a little: timedatectl

NAME    STATE  LIFE        TOKEN ENDS      AT (UTC)          DESCRIPTION
acme    ok     ##########  in 23 h 59 min  1970-01-02 00:00  nightly
globex  ok     ##########  in 23 h 59 min  1970-01-02 00:00  nightly

00:00:01Z, q quits";
        assert_eq!(shown(&mut Live::of(seen(&["acme", "globex"], 7)), 1, 80, 8), expected);
    }

    #[test]
    fn a_screen_of_40_columns_and_too_few_lines_can_be_scrolled() {
        let above = "\
procurify-tokend 0.1.0, pid 7, vault
open, 1 of 2 credentials with a valid
token
warning: the clock is wrong by more than
a little: timedatectl
";
        let first = "
acme  ok
  ####################  in 23 h 59 min
  until 1970-01-02T00:00:00Z
00:00:01Z, q quits, j/k scroll, 6 more";
        let last = "
  ####################  in 23 h 59 min
  until 1970-01-02T00:00:00Z
  nightly
00:00:01Z, q quits, j/k scroll, 6 more";
        let mut live = Live::of(seen(&["acme", "globex"], 7));
        assert_eq!(shown(&mut live, 1, 40, 10), format!("{above}{first}"));
        live.scroll(100);
        assert_eq!(shown(&mut live, 1, 40, 10), format!("{above}{last}"));
        live.scroll(-100);
        assert_eq!(shown(&mut live, 1, 40, 10), format!("{above}{first}"));
    }

    #[test]
    fn a_daemon_that_has_gone_and_one_that_has_come_back_are_told() {
        let mut live = Live::of(seen(&["acme"], 7));
        live.loses("no daemon".into(), true, DateTime::UNIX_EPOCH + TimeDelta::seconds(1));
        live.loses("no daemon at all".into(), true, DateTime::UNIX_EPOCH + TimeDelta::seconds(2));
        let screen = shown(&mut live, 4, 120, 12);
        assert!(
            screen.contains("The daemon has been gone for 3 s: no daemon at all. Trying again"),
            "{screen}"
        );
        live.sees(Seen { at: DateTime::UNIX_EPOCH + TimeDelta::seconds(5), ..seen(&["acme"], 8) });
        let screen = shown(&mut live, 6, 120, 12);
        assert!(
            !screen.contains("gone")
                && screen.contains("restarted at 1970-01-01T00:00:00Z: pid 8, before 7."),
            "{screen}"
        );
        let screen = shown(&mut live, 15, 120, 12);
        assert!(screen.contains("The daemon has not answered for 10 s."), "{screen}");
    }

    #[test]
    fn no_screen_is_too_small() {
        for (width, height) in [(1, 1), (5, 2), (20, 3), (200, 1)] {
            let mut live = Live::of(seen(&["acme", "globex"], 7));
            live.loses("no daemon".into(), true, DateTime::UNIX_EPOCH);
            assert_eq!(
                live.lines(DateTime::UNIX_EPOCH, Look { width, has_blocks: true }, height).len(),
                height
            );
        }
    }
}
