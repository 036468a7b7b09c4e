//! Writes what a package installs beside the programs, from the definitions of their command lines: the man pages of both and of
//! the configuration, and the scripts that make shells complete.
//!
//! ```sh
//! cargo run -p procurify-token --example documents -- FOLDER
//! ```
//!
//! | below FOLDER | what |
//! | --- | --- |
//! | `man1/procurify-token.1`, `man1/procurify-token-COMMAND.1` | the command, a page for each of its commands |
//! | `man5/procurify-token.toml.5` | the daemon's configuration |
//! | `man8/procurify-tokend.8` | the daemon |
//! | `bash/NAME`, `zsh/_NAME`, `fish/NAME.fish`, `powershell/NAME.ps1` | completion, of both programs |
//!
//! It is no part of the command, which stays as small as it is. Pages carry the date of `SOURCE_DATE_EPOCH`, or today's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use clap::{Command, CommandFactory as _};
use clap_complete::aot::{self, Generator};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use procurify_tokend::cli::Arguments;
use source::{args, clock, exit, text, when};

/// The rooms of the command that its command line is made of. A binary has no library to take them from.
#[path = "../src"]
#[expect(dead_code, unused_imports, reason = "the command uses the rest")]
mod source {
    pub(crate) mod args;
    pub(crate) mod clock;
    pub(crate) mod exit;
    pub(crate) mod text;
    pub(crate) mod when;
}

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: documents FOLDER"));
    };
    let mut command = args::CommandLine::command().disable_help_subcommand(true);
    command.build();
    write_pages(&folder, &command)?;
    write(&folder.join("man8/procurify-tokend.8"), &page(&Arguments::command(), "8", DAEMON)?)?;
    write(&folder.join("man5/procurify-token.toml.5"), &configuration()?)?;
    for (path, script) in SCRIPTS {
        write(&folder.join(path), script.as_bytes())?;
    }
    write_scripts_of_daemon(&folder)
}

/// A page for each command, down to those of `slot`.
fn write_pages(folder: &Path, command: &Command) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let more = if name == "procurify-token" { COMMAND } else { ONE_COMMAND };
    write(&folder.join(format!("man1/{name}.1")), &page(command, "1", more)?)?;
    let inner = command.get_subcommands().filter(|command| !command.is_hide_set());
    inner.into_iter().try_for_each(|command| write_pages(folder, command))
}

/// One page, with what the end of the help text says in sections of their own.
fn page(command: &Command, section: &str, more: &[(&str, &str)]) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .section(section)
        .date(date())
        .source(concat!("procurify-token ", env!("CARGO_PKG_VERSION")))
        .manual("procurify-token");
    let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let [notes, examples, codes] = parted(&end);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if !notes.is_empty() {
        let mut roff = Roff::default();
        roff.control("PP", []);
        paragraphs(&mut roff, &notes);
        roff.to_writer(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::default();
    for (heading, lines) in [("EXAMPLES", examples), ("EXIT STATUS", codes)] {
        if !lines.is_empty() {
            roff.control("SH", [heading]);
            as_it_is(&mut roff, &lines);
        }
    }
    for (heading, text) in more {
        roff.control("SH", [*heading]);
        paragraphs(&mut roff, &text.lines().collect::<Vec<_>>());
    }
    roff.to_writer(&mut page)?;
    Ok(without_idle_breaks(&page))
}

/// `clap_mangen` breaks lines beside empty ones, where that does nothing and is warned of.
fn without_idle_breaks(page: &[u8]) -> Vec<u8> {
    let page = String::from_utf8_lossy(page);
    page.replace(".br\n\n.br\n", ".sp\n").replace(".br\n\n", ".sp\n").into_bytes()
}

/// The page of `config.toml`: the file that the daemon prints, whose comments say what each key means.
fn configuration() -> io::Result<Vec<u8>> {
    let mut roff = Roff::default();
    let source = concat!("procurify-token ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["procurify-token.toml", "5", &date(), source, "procurify-token"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("procurify-token.toml - the configuration of procurify-tokend")]);
    for (heading, text) in CONFIGURATION {
        roff.control("SH", [*heading]);
        paragraphs(&mut roff, &text.lines().collect::<Vec<_>>());
    }
    roff.control("SH", ["KEYS AND DEFAULTS"]);
    as_it_is(&mut roff, &DEFAULTS.lines().collect::<Vec<_>>());
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("procurify-tokend(8), procurify-token(1)")]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// The end of a help text: what is to be known, the examples, the exit codes.
fn parted(end: &str) -> [Vec<&str>; 3] {
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    let mut part = 0;
    for line in end.lines() {
        match line {
            "Example:" | "Examples:" => part = 1,
            "Exit codes:" => part = 2,
            line => parts[part].push(line),
        }
    }
    for part in &mut parts {
        while part.last().is_some_and(|line| line.is_empty()) {
            part.pop();
        }
    }
    parts
}

/// Text that is filled, but for lines that are indented.
fn paragraphs(roff: &mut Roff, lines: &[&str]) {
    for block in lines.split(|line| line.is_empty()) {
        let is_indented = block.iter().all(|line| line.starts_with("  "));
        if is_indented {
            as_it_is(roff, block);
        } else {
            for line in block {
                roff.text([roman(*line)]);
            }
        }
        let ends = lines.as_ptr_range().end == block.as_ptr_range().end;
        if !ends && !is_indented {
            roff.control("PP", []);
        }
    }
}

fn as_it_is(roff: &mut Roff, lines: &[&str]) {
    roff.control("RS", ["2"]);
    roff.control("nf", []);
    for line in lines {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff.control("RE", []);
}

fn write_scripts_of_daemon(folder: &Path) -> io::Result<()> {
    let write_script = |path: &str, shell: aot::Shell| {
        let mut script = Vec::new();
        let mut daemon = Arguments::command();
        daemon.set_bin_name("procurify-tokend");
        daemon.build();
        shell.generate(&daemon, &mut script);
        write(&folder.join(path), &script)
    };
    write_script("bash/procurify-tokend", aot::Shell::Bash)?;
    write_script("zsh/_procurify-tokend", aot::Shell::Zsh)?;
    write_script("fish/procurify-tokend.fish", aot::Shell::Fish)?;
    write_script("powershell/procurify-tokend.ps1", aot::Shell::PowerShell)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fs::write(path, bytes)
}

/// The same for the same source, where the builder says so.
fn date() -> String {
    let of_build = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let at = of_build.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).unwrap_or_else(clock::now);
    at.format("%Y-%m-%d").to_string()
}

const SCRIPTS: [(&str, &str); 4] = [
    ("bash/procurify-token", include_str!("../completions/procurify-token.bash")),
    ("zsh/_procurify-token", include_str!("../completions/_procurify-token")),
    ("fish/procurify-token.fish", include_str!("../completions/procurify-token.fish")),
    ("powershell/procurify-token.ps1", include_str!("../completions/procurify-token.ps1")),
];

const DEFAULTS: &str = include_str!("../../../daemon/src/default-config.toml");

const COMMAND: &[(&str, &str)] = &[
    (
        "ENVIRONMENT",
        "\
PROCURIFY_TOKEN_SOCKET names the daemon's socket, as --socket does.

PROCURIFY_TOKEN_AUTOSTART is the default of --autostart: auto, always or never.

NO_COLOR, where it is set, keeps colours from the terminal.",
    ),
    (
        "FILES",
        "\
The command keeps no state of its own. Where the daemon's files are: procurify-tokend(8).

With --json, an error is an object on standard error. The members of all objects are in json.md, in the documentation.",
    ),
    ("SEE ALSO", "procurify-tokend(8), procurify-token.toml(5); procurify-token-COMMAND(1) for each command"),
];

const ONE_COMMAND: &[(&str, &str)] = &[
    ("EXIT STATUS", "The exit codes are those of procurify-token(1)."),
    ("SEE ALSO", "procurify-token(1), procurify-tokend(8)"),
];

const DAEMON: &[(&str, &str)] = &[
    (
        "FILES",
        "\
For one user; the XDG variables move these folders. With --system: /etc/procurify-token, /var/lib/procurify-token and
/run/procurify-token.

  ~/.config/procurify-token/config.toml       the configuration
  ~/.config/procurify-token/vault.key         the key file
  ~/.local/share/procurify-token/vault        the vault
  ~/.local/state/procurify-token/audit/       audit records
  ~/.local/state/procurify-token/tokens.redb  sealed tokens; may be deleted
  $XDG_RUNTIME_DIR/procurify-token/tokend.sock, ~/.procurify-token/tokend.sock",
    ),
    (
        "SIGNALS",
        "SIGHUP reads the configuration again; a bad one changes nothing. SIGTERM and SIGINT end the daemon, after those who wait \
         were answered.",
    ),
    ("ENVIRONMENT", "PROCURIFY_TOKEN_SOCKET names the socket, as --socket does. HTTPS_PROXY, ALL_PROXY and NO_PROXY lead to Procurify."),
    ("SEE ALSO", "procurify-token(1), procurify-token.toml(5)"),
];

const CONFIGURATION: &[(&str, &str)] = &[
    (
        "DESCRIPTION",
        "\
A TOML file at ~/.config/procurify-token/config.toml, with --system at /etc/procurify-token/config.toml. None is needed: every
key has a default. A key that is not known is an error.

procurify-tokend --print-default-config prints what follows, procurify-tokend --check-config says whether a file is good, and
kill -HUP makes the daemon read it again.",
    ),
];
