//! Unix.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::principal::Principal;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit, umask};

/// The user as whom the daemon runs.
pub fn effective_user() -> Principal {
    own_uid().into()
}

fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// Whatever this process creates from now on is its user's alone.
pub fn restrict_file_modes() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Neither a core file nor another process of the same user shows this one's memory.
///
/// # Errors
/// What the kernel says; the daemon works without it, less protected.
pub fn forbid_core_dumps() -> io::Result<()> {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Points standard output at nothing, so that whoever waits at its other end sees it closed.
///
/// # Errors
/// What the kernel says.
pub fn close_standard_output() -> io::Result<()> {
    let nothing = fs::File::options().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(nothing)?)
}

/// Whether standard error is the journal: systemd names its device and inode in `JOURNAL_STREAM`, which children inherit
/// even where their output goes elsewhere (systemd.exec(5)).
pub fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = rustix::fs::fstat(io::stderr());
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// Makes a folder that only its user may enter, or that others may pass through, or checks that nobody else can change an
/// existing one.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] with owner and mode, where others could put something in.
pub fn make_private_folder(folder: &Path, is_passage: bool) -> io::Result<()> {
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if is_passage {
            fs::set_permissions(folder, Permissions::from_mode(0o711))?;
        }
    }
    let metadata = fs::metadata(folder)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != own_uid() && owner != 0 || mode & 0o022 != 0 {
        let wanted = own_uid();
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} belongs to user {owner} with mode {mode:04o}; wanted: user {wanted}, not writable by others \
                 (chmod 700)",
                folder.display()
            ),
        ));
    }
    Ok(())
}

/// The first folder on the way to a file that lets nobody through but its owner and its group.
pub fn closed_to_others(file: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(file.parent()?).ok()?;
    let is_closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & 0o001 == 0);
    folder.ancestors().find(is_closed).map(Path::to_owned)
}

/// Allows this process as many descriptors as it may allow itself, and says how many that are.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}

/// Whether the programs of other users' processes can be looked at: it takes `CAP_SYS_PTRACE` (proc(5)).
#[cfg(target_os = "linux")]
pub fn may_look_into_others() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE))
}

/// Nobody's.
#[cfg(not(target_os = "linux"))]
pub fn may_look_into_others() -> bool {
    false
}

/// Whether this is a socket.
pub fn is_socket(metadata: &Metadata) -> bool {
    metadata.file_type().is_socket()
}

/// Sets the socket's mode and looks whether the system really has.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] where the mode did not stick.
pub fn verify_socket_mode(socket: &Path, wanted: u32) -> io::Result<()> {
    fs::set_permissions(socket, Permissions::from_mode(wanted))?;
    let mode = fs::symlink_metadata(socket)?.mode() & 0o777;
    if mode == wanted {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} has mode {mode:04o} although {wanted:04o} was set", socket.display()),
        ))
    }
}
