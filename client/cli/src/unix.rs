//! What only Unix has: processes of their own group or session, programs that take our place, signals, files for nobody
//! else, no cores.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::screen::Input;
use procurify_token_client::Surroundings;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// A crash, or Ctrl-\ at the prompt, leaves no core file with a secret in it. What `exec` becomes is dumped as ever: the
/// kernel forgets this when another program takes our place.
pub(crate) fn forbid_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // A kernel that refuses leaves us as every other program is, which is no reason to serve nobody.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Takes a child out of our process group, so that Ctrl-C on our terminal is not for it.
pub(crate) fn detach(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Leaves the session, and becomes the command with nothing open but stdin, stdout and stderr: what a shell or a job
/// had open is not kept open by what outlives them. Comes back only with the reason why it could not.
pub(crate) fn become_detached(command: &mut Command) -> io::Error {
    // Refused to the leader of a group, which whoever starts us as it should does not make of us.
    let _ = rustix::process::setsid();
    close_fds::set_fds_cloexec(FIRST_BESIDE_STDIO, &[]);
    command.exec()
}

/// What starts a daemon that outlives us: our own last step before it (`detached`).
pub(crate) fn daemon_command(us: &Path, daemon: &Path) -> Command {
    let mut command = Command::new(us);
    command.args(["detached", "--"]).arg(daemon);
    command
}

/// Becomes the command. Comes back only with the reason why it could not.
pub(crate) fn become_command(command: &mut Command) -> io::Error {
    command.exec()
}

/// A command that finds what is too secret for its arguments in a pipe of its own; `arrange` is told where it reads that. Its stdin
/// stays the caller's.
pub(crate) fn reading_options(
    program: &str,
    options: &[u8],
    arrange: impl FnOnce(&mut Command, &str),
) -> io::Result<Command> {
    let (reader, mut writer) = io::pipe()?;
    // A token and a path are shorter than what a pipe holds, so nobody has to read yet.
    writer.write_all(options)?;
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty())?;
    let mut command = Command::new(program);
    // It stays open until the command has taken our place.
    arrange(&mut command, &format!("/dev/fd/{}", OwnedFd::from(reader).into_raw_fd()));
    Ok(command)
}

/// Makes a folder that only its owner may enter, and those above it; one that exists stays as it is.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file for writing at its end; a new one is for its owner alone.
pub(crate) fn append_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Whether stdout leads into another program: not to a terminal, a file or a device.
pub(crate) fn stdout_is_pipe() -> bool {
    use rustix::fs::FileType;
    rustix::fs::fstat(io::stdout())
        .is_ok_and(|stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket))
}

/// Comes back when whoever reads our output has gone; else never, or at once where that cannot be said (false).
pub(crate) fn reader_has_gone() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let stdout = io::stdout();
    // An error or a hang-up is told unasked; anything else would be told at once and for ever.
    let mut reader = [PollFd::new(&stdout, PollFlags::empty())];
    while poll(&mut reader, None).is_err_and(|error| error == Errno::INTR) {}
    reader[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// What can be read from without a buffer of its own.
pub(crate) use std::os::fd::AsFd as Source;

/// Reads once.
pub(crate) fn read(source: impl Source, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(source, buffer)?)
}

/// The folder for what the command keeps over its end: `$XDG_STATE_HOME` or `~/.local/state`.
pub(crate) fn state_folder() -> Option<PathBuf> {
    // The home that the daemon's socket and vault are in, or none at all: never the one that the system's list of users
    // has, and never one that is made up.
    let home = Surroundings::of_process().home.filter(|home| home.is_dir())?;
    let states = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(states.unwrap_or_else(|| home.join(".local/state")).join("procurify-token"))
}

/// What to set where there is no such folder.
pub(crate) const NO_STATE_FOLDER: &str = "there is no home folder: set HOME (absolute), or name a socket";

/// Where a person is asked, and answers.
pub(crate) const TERMINAL: [&str; 2] = ["/dev/tty", "/dev/tty"];

/// Throws away what was typed and nobody has read.
pub(crate) fn forget_typed() {
    // Where stdin is no terminal there is nothing to forget.
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
}

/// Has something done when a signal is about to end us: the signal then ends us all the same.
pub(crate) fn before_a_signal_ends_us(last: impl FnOnce() + Send + 'static) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    // Where this cannot be had, a signal ends us as it would any program.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            last();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}

/// Has each sign of the system told: a terminal of another size, and what would end us, which then does not by itself.
pub(crate) fn for_each_sign(tell: impl Fn(Input) + Send + 'static) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
    let all = [SIGWINCH, SIGHUP, SIGINT, SIGQUIT, SIGTERM];
    // Where this cannot be had, a signal ends us as it would any program.
    let Ok(mut signals) = signal_hook::iterator::Signals::new(all) else { return };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            tell(if signal == SIGWINCH { Input::Resized } else { Input::Ended(signal) });
        }
    });
}

/// Ends as a signal ends a program.
pub(crate) fn end_by(signal: i32) {
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// Makes the names in a folder safe from a power loss.
pub(crate) fn flush_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether others than its owner may read an open file. A device or a pipe holds nothing, and is not to be closed to them.
pub(crate) fn others_may_read(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.mode() & 0o044 != 0)
}

/// Ends a process without a chance to say goodbye; one that has ended by itself is left alone.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = pid_of(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Ends a process with all of its group, which it has to itself by [`detach`].
pub(crate) fn kill_group(pid: u32) {
    if let Some(pid) = pid_of(pid) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// A line as a shell has it.
pub(crate) fn shell(line: &OsStr) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line);
    command
}

/// Has something done when this process is asked to end, by Ctrl-C or a service manager.
pub(crate) fn when_asked_to_end(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            then();
        }
    });
    Ok(())
}

/// Whether a process still runs, be it somebody else's.
pub(crate) fn is_running(pid: u32) -> bool {
    // Where nobody collects orphans, an ended process stays as a zombie.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z'));
    !is_zombie && pid_of(pid).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn pid_of(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

const FIRST_BESIDE_STDIO: i32 = 3;
