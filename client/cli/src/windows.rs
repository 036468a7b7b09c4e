//! What `unix.rs` has, on Windows: no program takes another's place there, so one waits for it; files for nobody else have access
//! lists. All that is asked without safety is in the crate for it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::windows::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use procurify_token_windows::{
    Grants, Make, Security, is_pipe, keep_handles_from_children, keep_memory_from_reports, make_folder,
    make_private, own_identity,
};

use crate::screen::Input;

pub(crate) use procurify_token_windows::{is_running, kill};

/// A report of a crash has nothing of the heap.
pub(crate) fn forbid_core_dumps() {
    // A system that refuses leaves us as every other program is, which is no reason to serve nobody.
    let _ = keep_memory_from_reports();
}

/// Nobody is, here.
pub(crate) fn is_root() -> bool {
    false
}

/// Takes a child out of our process group, so that Ctrl-C at our window is not for it.
pub(crate) fn detach(command: &mut Command) -> &mut Command {
    /// `CREATE_NEW_PROCESS_GROUP`.
    const OWN_GROUP: u32 = 0x200;
    command.creation_flags(OWN_GROUP)
}

/// What starts a daemon that outlives us: without a window, and with none of our handles but those that it is given.
pub(crate) fn daemon_command(_: &Path, daemon: &Path) -> Command {
    /// `DETACHED_PROCESS` and `CREATE_NEW_PROCESS_GROUP`.
    const ON_ITS_OWN: u32 = 0x208;
    keep_handles_from_children();
    let mut command = Command::new(daemon);
    command.creation_flags(ON_ITS_OWN);
    command
}

/// Runs the command and ends with its code. There is no need for more here.
pub(crate) fn become_detached(command: &mut Command) -> io::Error {
    become_command(command)
}

/// Runs the command and ends with its code. Comes back only with the reason why it could not run. Ctrl-C is for the command.
pub(crate) fn become_command(command: &mut Command) -> io::Error {
    let noticed = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGINT, noticed) {
        return error;
    }
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

/// Ends a process. Those that it has started go on: Windows knows no such groups.
pub(crate) fn kill_group(pid: u32) {
    kill(pid);
}

/// A line as the system's command interpreter has it.
pub(crate) fn shell(line: &OsStr) -> Command {
    let mut command = Command::new("cmd");
    command.arg("/C").raw_arg(line);
    command
}

/// Nothing: what ends a process here leaves it no time for more.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
pub(crate) fn when_asked_to_end(_: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Not here: no path of Windows leads to a pipe that was inherited.
pub(crate) fn reading_options(_: &str, _: &[u8], _: impl FnOnce(&mut Command, &str)) -> io::Result<Command> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes a folder that only its owner may enter, and those above it; one that exists stays as it is.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    let own = own_identity()?.user;
    let missing: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
    for folder in missing.into_iter().rev() {
        match make_folder(folder, &own, "") {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Opens a file for writing at its end; a new one is for its owner alone.
pub(crate) fn append_private(path: &Path) -> io::Result<File> {
    make_private(path, Make::ToAppend, &own_identity()?.user)
}

/// Whether stdout leads into another program: not to a window, a file or a device.
pub(crate) fn stdout_is_pipe() -> bool {
    is_pipe(io::stdout())
}

/// Never said: whoever writes into a pipe learns that nobody reads when there is something to write.
pub(crate) fn reader_has_gone() -> bool {
    false
}

/// What can be read from without a buffer of its own.
pub(crate) use std::os::windows::io::AsHandle as Source;

/// Reads once.
pub(crate) fn read(source: impl Source, buffer: &mut [u8]) -> io::Result<usize> {
    match File::from(source.as_handle().try_clone_to_owned()?).read(buffer) {
        // So a pipe says that its other end is closed.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        read => read,
    }
}

/// The folder for what the command keeps over its end, `%LOCALAPPDATA%`.
pub(crate) fn state_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("LOCALAPPDATA").map(PathBuf::from).filter(|path| path.is_absolute())?;
    Some(folder.join("procurify-token"))
}

/// What to set where there is no such folder.
pub(crate) const NO_STATE_FOLDER: &str = "there is no profile: set LOCALAPPDATA (absolute), or name a pipe";

/// Where a person is asked, and answers.
pub(crate) const TERMINAL: [&str; 2] = ["CONOUT$", "CONIN$"];

/// Here nothing of a paste is left: a window says where it ends, or its lines are read one by one.
pub(crate) fn forget_typed() {}

/// A console gives its window back as it was.
pub(crate) fn before_a_signal_ends_us(_: impl FnOnce() + Send + 'static) {}

/// Nobody is told of any here: the size is looked at each second.
pub(crate) fn for_each_sign(_: impl Fn(Input) + Send + 'static) {}

/// Of none that is told.
pub(crate) fn end_by(_: i32) {}

/// Windows has no call that makes the names in a folder safe from a power loss, and needs none.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
pub(crate) fn flush_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether others than its owner may read an open file. A device or a pipe holds nothing, and is not to be closed to them.
pub(crate) fn others_may_read(file: &File) -> io::Result<bool> {
    let own = own_identity()?.user;
    Ok(file.metadata()?.is_file() && Security::of(file)?.stranger(&own, Grants::reading).is_some())
}
