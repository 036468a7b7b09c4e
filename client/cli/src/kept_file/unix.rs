//! On Unix: every folder on the way, those that symbolic links lead through included, has to be our own or root's, and nobody else may
//! exchange what is in it. The last one is held open while the file is made in it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf, absolute};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::{failed, must_be_file, quoted, unfit};
use crate::args::FileMode;
use crate::exit::Failure;

/// Puts a file with these bytes and this mode at the path, durably and in one step.
pub(crate) fn write(path: &Path, mode: FileMode, bytes: &[u8]) -> Result<(), Failure> {
    let (folder, name) = folder_of(path)?;
    match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let kind = FileType::from_raw_mode(stat.st_mode);
            must_be_file(path, kind == FileType::Symlink, kind == FileType::RegularFile)?;
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(failed(path, &error.into())),
    }
    replace(&folder, &name, mode, bytes).map_err(|error| failed(path, &error))
}

fn replace(folder: &OwnedFd, name: &OsStr, mode: FileMode, bytes: &[u8]) -> io::Result<()> {
    let (beside, file) = make_beside(folder, name)?;
    let outcome = fill(file, mode, bytes).and_then(|()| Ok(renameat(folder, &beside, folder, name)?));
    if outcome.is_err() {
        // What stays then has a token in it, but as private as the file would have been.
        let _ = unlinkat(folder, &beside, AtFlags::empty());
        return outcome;
    }
    Ok(rustix::fs::fsync(folder)?)
}

fn fill(mut file: File, mode: FileMode, bytes: &[u8]) -> io::Result<()> {
    // Before the first byte, and whatever the umask.
    fchmod(&file, bits_of(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The numbers of the bits are the system's.
fn bits_of(mode: FileMode) -> Mode {
    let bits = [(0o400, Mode::RUSR), (0o200, Mode::WUSR), (0o040, Mode::RGRP), (0o020, Mode::WGRP)];
    bits.into_iter().filter(|(bit, _)| mode.bits() & bit != 0).map(|(_, bit)| bit).collect()
}

/// A new file that nobody else may open, and its name. Each process and each attempt has a name of its own.
fn make_beside(folder: &OwnedFd, name: &OsStr) -> io::Result<(OsString, File)> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}-{number}", std::process::id()));
        match openat(folder, &beside, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((beside, file.into())),
            // Of a process that had our number and was killed.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The folder of a file, and the file's name in it.
fn folder_of(path: &Path) -> Result<(OwnedFd, OsString), Failure> {
    let whole = absolute(path).map_err(|error| failed(path, &error))?;
    let (Some(above), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(unfit(path, "it is no name of a file"));
    };
    let folder = walk(path, above)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = open(&folder, flags, Mode::empty()).map_err(|error| failed(&folder, &error.into()))?;
    Ok((opened, name.to_owned()))
}

/// Goes to a folder step by step, and says where that is without symbolic links.
fn walk(path: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let own = rustix::process::geteuid().as_raw();
    let mut way: VecDeque<OsString> = steps(folder).collect();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    judge(path, &at, &look(path, &at)?, own)?;
    while let Some(step) = way.pop_front() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(step);
        let found = look(path, &next)?;
        if found.is_symlink() {
            judge_link(path, &next, found.uid(), own)?;
            links += 1;
            let target = fs::read_link(&next).map_err(|error| failed(path, &error))?;
            if links > MOST_LINKS {
                return Err(unfit(path, "the symbolic links on the way to it lead in a circle"));
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                way.push_front(step);
            }
            continue;
        }
        if !found.is_dir() {
            return Err(unfit(path, format!("{} is no folder", next.display())));
        }
        judge(path, &next, &found, own)?;
        at = next;
    }
    Ok(at)
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn look(path: &Path, at: &Path) -> Result<fs::Metadata, Failure> {
    fs::symlink_metadata(at).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => unfit(path, format!("there is no folder {}", at.display()))
            .hint(format!("mkdir -m 700 {}", quoted(at))),
        _ => unfit(path, format!("{}: {error}", at.display())),
    })
}

/// Whether nobody else can have a link lead elsewhere the next time: in a folder of everybody's, its owner could.
fn judge_link(path: &Path, link: &Path, owner: u32, own: u32) -> Result<(), Failure> {
    if owner == own || owner == ROOT {
        return Ok(());
    }
    let why = format!(
        "the symbolic link {} belongs to uid {owner}, who could have it lead elsewhere; it has to be yours (uid {own}) or root's",
        link.display()
    );
    Err(unfit(path, why).hint("name the folder that it leads to"))
}

/// Whether nobody but its owner, who is trusted, can exchange what is in a folder.
fn judge(path: &Path, folder: &Path, found: &fs::Metadata, own: u32) -> Result<(), Failure> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if owner != own && owner != ROOT {
        let why = format!(
            "the folder {} belongs to uid {owner}, who could put another file there; it has to be yours (uid {own}) or root's",
            folder.display()
        );
        return Err(unfit(path, why).hint("name a file in a folder of your own"));
    }
    if mode & 0o022 != 0 && mode & STICKY == 0 {
        let why = format!(
            "others may write in the folder {} (mode {mode:04o}), and could put another file there; only its owner may be able to",
            folder.display()
        );
        return Err(unfit(path, why).hint(format!("chmod go-w {}", quoted(folder))));
    }
    Ok(())
}

const ROOT: u32 = 0;
const STICKY: u32 = 0o1000;
const MOST_LINKS: u32 = 40;
const ATTEMPTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use tempfile::TempDir;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    fn write_to(path: &Path) -> Result<(), Failure> {
        write(path, "0640".parse().unwrap(), b"new")
    }

    fn refused(path: &Path, why: &str) {
        let failure = write_to(path).unwrap_err();
        let Failure::Told { message, .. } = &failure else { panic!("{failure:?}") };
        assert!(message.contains(why) && message.contains(&path.display().to_string()), "{message}");
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_of_somebody_else_leads_nowhere() {
        let (path, link) = (Path::new("/shared/app/token"), Path::new("/shared/app"));
        assert!(judge_link(path, link, 1000, 1000).is_ok() && judge_link(path, link, ROOT, 1000).is_ok());
        for own in [ROOT, 1001] {
            let failure = judge_link(path, link, 1000, own).unwrap_err();
            let Failure::Told { message, .. } = &failure else { panic!("{failure:?}") };
            assert!(message.contains("/shared/app belongs to uid 1000"), "{message}");
        }
    }

    #[test]
    fn a_file_is_replaced_by_another_with_the_mode_that_was_asked_for() {
        let (_kept, folder) = folder();
        let path = folder.join("token");
        fs::write(&path, "old").unwrap();
        let old = File::open(&path).unwrap();
        write_to(&path).unwrap();
        let new = fs::metadata(&path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), new.mode() & 0o7777), (b"new".to_vec(), 0o640));
        assert_ne!(new.ino(), old.metadata().unwrap().ino(), "who reads the old one is not disturbed");
        assert_eq!(names(&folder), ["token"], "nothing else stays");
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let (_kept, folder) = folder();
        fs::write(folder.join("target"), "old").unwrap();
        symlink("target", folder.join("link")).unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        refused(&folder.join("link"), "symbolic link");
        refused(&folder.join("folder"), "something else than a file");
        refused(&folder.join("target/token"), "is no folder");
        refused(&folder.join("missing/token"), "there is no folder");
        assert_eq!(fs::read(folder.join("target")).unwrap(), b"old");
        assert_eq!(names(&folder), ["folder", "link", "target"]);
    }

    #[test]
    fn a_folder_that_others_may_write_in_is_refused_unless_it_is_sticky() {
        let (_kept, folder) = folder();
        for (mode, is_refused) in
            [(0o777, true), (0o770, true), (0o702, true), (0o1777, false), (0o755, false)]
        {
            let within = folder.join(format!("{mode:o}"));
            fs::create_dir_all(within.join("below")).unwrap();
            fs::set_permissions(&within, fs::Permissions::from_mode(mode)).unwrap();
            for path in [within.join("token"), within.join("below/token")] {
                if is_refused {
                    refused(&path, &format!("others may write in the folder {}", within.display()));
                } else {
                    write_to(&path).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_link_is_followed_as_far_as_nobody_else_could_have_made_it() {
        let (_kept, folder) = folder();
        fs::create_dir_all(folder.join("real/below")).unwrap();
        let loose = folder.join("loose");
        fs::create_dir(&loose).unwrap();
        symlink("real/../real", folder.join("link")).unwrap();
        symlink(folder.join("link/below"), loose.join("link")).unwrap();
        symlink(loose.join("link"), folder.join("through")).unwrap();
        symlink("circle", folder.join("circle")).unwrap();
        write_to(&folder.join("through/token")).unwrap();
        assert_eq!(names(&folder.join("real/below")), ["token"]);
        refused(&folder.join("circle/token"), "in a circle");
        fs::set_permissions(&loose, fs::Permissions::from_mode(0o777)).unwrap();
        refused(&folder.join("through/token"), "others may write");
    }

    #[test]
    fn a_strangers_folder_is_refused() {
        let (_kept, folder) = folder();
        let found = fs::metadata(&folder).unwrap();
        let stranger = found.uid() + 1;
        let failure = judge(&folder.join("token"), &folder, &found, stranger);
        // Root's is trusted by everybody.
        assert_eq!(failure.is_err(), found.uid() != ROOT);
        assert!(judge(&folder.join("token"), &folder, &found, found.uid()).is_ok());
    }
}
