//! `status --watch`: how things stand, on the whole terminal, each second. Asks the daemon again and again and starts none; that one
//! has gone, or has come back as another, is part of what is shown.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use procurify_token_client::blocking::Client;
use procurify_token_protocol::{CredentialName, CredentialStatus, DaemonStatus, VaultState};

use crate::connect::Daemon;
use crate::exit::Failure;
use crate::overview::{self, Look};
use crate::screen::{self, Input, Screen};
use crate::{clock, report, system, table, text, when};

pub(super) fn run(daemon: &Daemon, name: Option<&CredentialName>) -> Result<(), Failure> {
    Screen::must_be_there()?;
    // What is wrong from the beginning is told as ever.
    let mut client = daemon.connect_to_running()?;
    let mut live = Live::of(Seen::now(&mut client, name)?);
    let (events, happened) = mpsc::channel();
    let mut screen = Screen::take()?;
    screen::listen(&events, Event::Input);
    let (daemon, name) = (daemon.clone(), name.cloned());
    std::thread::spawn(move || follow(&daemon, name.as_ref(), client, &events));
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
            Ok(Event::Lost(reason)) => live.loses(reason, clock::now()),
            Ok(Event::Input(Input::Resized)) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

enum Event {
    Input(Input),
    Seen(Box<Seen>),
    Lost(String),
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
fn follow(daemon: &Daemon, name: Option<&CredentialName>, client: Client, to: &Sender<Event>) {
    let mut client = Some(client);
    loop {
        let took = clock::stopwatch();
        let seen = match client.take().map_or_else(|| daemon.connect_to_running(), Ok) {
            Ok(connected) => Seen::now(client.insert(connected), name),
            Err(failure) => Err(failure),
        };
        let event = match seen {
            Ok(seen) => Event::Seen(Box::new(seen)),
            Err(failure) => {
                client = None;
                Event::Lost(failure.message())
            }
        };
        if to.send(event).is_err() {
            return;
        }
        clock::pause(SECOND.max(took() * 10));
    }
}

/// What is shown.
struct Live {
    seen: Seen,
    /// Since when the daemon says nothing that can be shown, and why.
    lost: Option<(DateTime<Utc>, String)>,
    restarted: Option<String>,
    first_line: usize,
}

impl Live {
    fn of(seen: Seen) -> Self {
        Self { seen, lost: None, restarted: None, first_line: 0 }
    }

    fn sees(&mut self, seen: Seen) {
        let (before, after) = (&self.seen.status, &seen.status);
        if (before.pid, before.started_at) != (after.pid, after.started_at) {
            let at = when::stamp(after.started_at);
            self.restarted = Some(format!("The daemon was restarted at {at}: pid {}, before {}.", after.pid, before.pid));
        }
        self.lost = None;
        self.seen = seen;
    }

    fn loses(&mut self, reason: String, now: DateTime<Utc>) {
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
        let mut below: Vec<String> = self.news(now).into_iter().flat_map(|(news, style)| styled(&news, width, style)).collect();
        let body = self.body(now, look);
        // The rows go on as far as there is room; the last line is for the keys.
        above.truncate(height.saturating_sub(2));
        let room = height.saturating_sub(above.len() + below.len() + 1);
        self.first_line = self.first_line.min(body.len().saturating_sub(room));
        let hidden = body.len().saturating_sub(room);
        let shown: Vec<String> = body.into_iter().skip(self.first_line).take(room).collect();
        let keys = match hidden {
            0 => format!("{}  q quits", when::stamp(now)),
            _ => format!("{}  q quits, j and k scroll ({hidden} more)", when::stamp(now)),
        };
        below.extend(styled(&table::cut(&keys, width), width.max(keys.len()), FAINT));
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
            ([], _) => table::folded(next, look.width),
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
            let since = when::distance(*since, now);
            news.push((format!("The daemon is not to be seen since {since}: {reason}. Trying again."), BAD));
        } else if silent.to_std().is_ok_and(|silent| silent > PATIENCE) {
            let silent = when::span(silent.to_std().unwrap_or_default());
            news.push((format!("The daemon has not answered for {silent}."), BAD));
        }
        news
    }
}

/// A sentence as lines.
fn styled(text: &str, width: usize, style: Style) -> Vec<String> {
    let folded = table::folded(text, width).into_iter();
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
