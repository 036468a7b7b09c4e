//! Who could exchange what a path names, on any part of the way to it. No link is followed: what one leads to may be another thing
//! tomorrow.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::security::{Grants, Security};
use crate::sid::{ADMINISTRATORS, SYSTEM, Sid};

/// Something on the way to a file or folder that somebody could change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changeable {
    /// The file itself, or a folder above it.
    pub path: PathBuf,
    /// Who could; nobody is named where it is a link.
    pub who: Option<Sid>,
}

impl Changeable {
    /// What to type, as an administrator, to leave it to SYSTEM and the administrators.
    pub fn closing(&self) -> String {
        let Some(who) = &self.who else { return "name what it leads to instead of the link".to_owned() };
        let path = self.path.display();
        let to_what_is_in_it = if self.path.is_dir() { "(OI)(CI)" } else { "" };
        let all = |sid: &str| format!("\"*{sid}:{to_what_is_in_it}F\"");
        format!(
            "icacls \"{path}\" /setowner *{ADMINISTRATORS}, and then: icacls \"{path}\" /inheritance:r /remove *{who} /grant:r {} {}",
            all(SYSTEM),
            all(ADMINISTRATORS)
        )
    }
}

impl fmt::Display for Changeable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Some(who) => write!(f, "{who} may change {}", self.path.display()),
            None => write!(f, "{} is a link", self.path.display()),
        }
    }
}

/// The first thing on the way to this file or folder, from the root on, that somebody else may change than `own`, SYSTEM, the
/// administrators and Windows's installer. Nobody else may write to it or into the folder that it is in; others may put something
/// into the folders above, but exchange nothing there. What is not there is nobody's.
///
/// # Errors
/// What Windows says, naming the path; and [`io::ErrorKind::Unsupported`] for a path that does not begin with a drive's letter.
pub fn changeable_by_others(path: &Path, own: &Sid) -> io::Result<Option<Changeable>> {
    first_changeable(path, own, Security::unfollowed)
}

/// The same by how things look; a link looks like nothing.
fn first_changeable(
    path: &Path,
    own: &Sid,
    look: impl Fn(&Path) -> io::Result<Option<Security>>,
) -> io::Result<Option<Changeable>> {
    let path = std::path::absolute(path)?;
    if !has_drive(&path) {
        let why = format!("{} is on no drive of this machine", path.display());
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let way: Vec<_> = path.ancestors().collect();
    for (above, part) in way.into_iter().enumerate().rev() {
        let right = if above < 2 { Grants::writing } else { Grants::exchanging };
        let who = match look(part) {
            Ok(Some(security)) => security.stranger(own, right).map(Some),
            Ok(None) => Some(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let why = format!("cannot see who may change {}: {error}", part.display());
                return Err(io::Error::new(error.kind(), why));
            }
        };
        if let Some(who) = who {
            return Ok(Some(Changeable { path: part.to_owned(), who }));
        }
    }
    Ok(None)
}

fn has_drive(path: &Path) -> bool {
    use std::path::{Component, Prefix};
    let Some(Component::Prefix(prefix)) = path.components().next() else { return false };
    matches!(prefix.kind(), Prefix::Disk(_) | Prefix::VerbatimDisk(_))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "to panic is how a test fails")]
mod tests {
    use super::*;
    use crate::sid::INSTALLER;
    use crate::{Make, make_folder, make_private, own_identity};

    #[test]
    fn what_is_made_for_us_alone_passes() {
        let own = own_identity().unwrap().user;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        make_folder(&inner, &own, "").unwrap();
        make_private(&inner.join("file"), Make::New, &own).unwrap();
        for place in [inner.clone(), inner.join("file"), inner.join("missing"), inner.join("x").join("y")] {
            assert_eq!(changeable_by_others(&place, &own).unwrap(), None, "{}", place.display());
        }
        let theirs = Sid::of_text("S-1-5-21-1-2-3-4").unwrap();
        assert_eq!(changeable_by_others(&inner, &theirs).unwrap().unwrap().who, Some(own));
    }

    /// Everything belongs to SYSTEM, and everybody may do this in one place.
    fn told(at: &str, mask: u32) -> Option<(String, Option<String>)> {
        let system = Sid::of_text(SYSTEM).unwrap();
        let own = Sid::of_text("S-1-5-21-1-2-3-4").unwrap();
        let look = |path: &Path| {
            let everybody = Grants { to: Sid::of_text("S-1-1-0").unwrap(), mask };
            let grants = if path == Path::new(at) { vec![everybody] } else { Vec::new() };
            Ok(Some(Security { owner: system.clone(), grants, text: String::new() }))
        };
        let weak = first_changeable(Path::new(r"C:\a\b\c"), &own, look).unwrap()?;
        Some((weak.path.display().to_string(), weak.who.map(|who| who.to_string())))
    }

    #[test]
    fn whoever_may_change_anything_on_the_way_is_told_of() {
        let [read, put_in, exchange] = [0x1, 0x6, 0x40];
        for at in [r"C:\", r"C:\a", r"C:\a\b", r"C:\a\b\c"] {
            let weak = Some((at.to_owned(), Some("S-1-1-0".to_owned())));
            let is_near = at.starts_with(r"C:\a\b");
            assert_eq!(told(at, read), None, "{at}");
            assert_eq!(told(at, put_in), weak.clone().filter(|_| is_near), "{at}");
            assert_eq!(told(at, exchange), weak, "{at}");
        }
    }

    #[test]
    fn owners_and_links_are_told_of() {
        let own = Sid::of_text("S-1-5-21-1-2-3-4").unwrap();
        let told = |owner: Option<&str>| {
            let owner = owner.map(|owner| Sid::of_text(owner).unwrap());
            let look = |_: &Path| {
                let security = |owner| Security { owner, grants: Vec::new(), text: String::new() };
                Ok(owner.clone().map(security))
            };
            first_changeable(Path::new(r"C:\a"), &own, look).unwrap()
        };
        for trusted in [SYSTEM, ADMINISTRATORS, INSTALLER, "S-1-5-21-1-2-3-4"] {
            assert_eq!(told(Some(trusted)), None, "{trusted}");
        }
        let weak = told(Some("S-1-5-21-1-2-3-5")).unwrap();
        assert_eq!(weak.to_string(), r"S-1-5-21-1-2-3-5 may change C:\");
        assert!(weak.closing().contains("/remove *S-1-5-21-1-2-3-5 "), "{}", weak.closing());
        assert_eq!(told(None).unwrap().to_string(), r"C:\ is a link");
    }

    #[test]
    fn what_is_on_no_drive_is_not_believed() {
        let own = own_identity().unwrap().user;
        let error = changeable_by_others(Path::new(r"\\server\share\file"), &own).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
