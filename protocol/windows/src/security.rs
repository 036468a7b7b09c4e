//! Whose a thing is and who may do what with it: security descriptors, read from what is open and given to what is made.
//!
//! A thing for its owner alone has an access list of its own, which inherits nothing: its owner, SYSTEM and the administrators may
//! do everything. The latter two could take it anyway.

#![expect(unsafe_code, reason = "security descriptors are read and written here")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{AsHandle, AsRawHandle as _, FromRawHandle as _};
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{
    GENERIC_ALL, GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE, LocalFree,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, DACL_SECURITY_INFORMATION, GetAce, INHERIT_ONLY_ACE,
    OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, DELETE, FILE_APPEND_DATA, FILE_ATTRIBUTE_NORMAL,
    FILE_DELETE_CHILD, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_GENERIC_READ,
    FILE_GENERIC_WRITE, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FILE_WRITE_DATA, OPEN_ALWAYS, READ_CONTROL, WRITE_DAC, WRITE_OWNER,
};

use crate::sid::Sid;
use crate::text::wide;

/// Whose something is, and what others may do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// The owner.
    pub owner: Sid,
    /// Everybody who may do anything, in the order of the access list. What it denies is left out: who may do something is rather
    /// told of once too often.
    pub grants: Vec<Grants>,
    /// All of it in Windows's own notation (SDDL).
    pub text: String,
}

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Who.
    pub to: Sid,
    pub(crate) mask: u32,
}

impl Grants {
    /// Whether the content may be read.
    pub fn reading(&self) -> bool {
        self.mask & (FILE_READ_DATA | GENERIC_READ | GENERIC_ALL | WRITE_DAC | WRITE_OWNER) != 0
    }

    /// Whether the content may be changed or exchanged, be it by allowing that to oneself first.
    pub fn writing(&self) -> bool {
        const CONTENT: u32 = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_DELETE_CHILD;
        self.mask & (CONTENT | DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL) != 0
    }

    /// Whether what is in a folder may be exchanged for something else, be it by allowing that to oneself first. To put something
    /// more into it does not suffice for that.
    pub fn exchanging(&self) -> bool {
        self.mask & (FILE_DELETE_CHILD | DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_ALL) != 0
    }
}

impl Security {
    /// That of something that is open with the right to read it (`READ_CONTROL`, which every way of reading includes).
    ///
    /// # Errors
    /// What Windows says.
    pub fn of(thing: impl AsHandle) -> io::Result<Self> {
        const WHAT: u32 = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
        let (mut owner, mut list, mut whole): (PSID, *mut ACL, _) = (null_mut(), null_mut(), null_mut());
        // SAFETY: the handle is borrowed; each place is one for what is asked for, and what is not asked for has none.
        let outcome = unsafe {
            GetSecurityInfo(
                thing.as_handle().as_raw_handle(),
                // Also right for files, for which the other kind looks at inheritance anew.
                SE_KERNEL_OBJECT,
                WHAT,
                &raw mut owner,
                null_mut(),
                &raw mut list,
                null_mut(),
                &raw mut whole,
            )
        };
        if outcome != 0 {
            return Err(io::Error::from_raw_os_error(outcome.cast_signed()));
        }
        let whole = Descriptor(whole);
        if owner.is_null() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it has no owner"));
        }
        Ok(Self {
            // SAFETY: it lies in the descriptor.
            owner: unsafe { Sid::of_raw(owner)? },
            // SAFETY: so does the list.
            grants: unsafe { grants_of(list)? },
            text: whole.text(WHAT)?,
        })
    }
}

impl Security {
    /// That of the file or folder with this name.
    ///
    /// # Errors
    /// What Windows says.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        // Folders are opened with the latter only.
        let open = OpenOptions::new()
            .access_mode(READ_CONTROL)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)?;
        Self::of(open)
    }

    /// That of what has this name itself; none where that is a link.
    ///
    /// # Errors
    /// What Windows says.
    pub(crate) fn unfollowed(path: &Path) -> io::Result<Option<Self>> {
        let open = OpenOptions::new()
            .access_mode(READ_CONTROL | FILE_READ_ATTRIBUTES)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
            .open(path)?;
        // Junctions are links as well.
        if open.metadata()?.file_type().is_symlink() { Ok(None) } else { Self::of(open).map(Some) }
    }

    /// The first to own it or to have the right who is neither `own` nor could do everything anyway.
    pub fn stranger(&self, own: &Sid, right: fn(&Grants) -> bool) -> Option<Sid> {
        let is_mighty = |sid: &Sid| sid.is_system() || sid.is_administrators() || sid.is_installer();
        let is_stranger = |sid: &&Sid| *sid != own && !is_mighty(sid);
        let granted = self.grants.iter().filter(|grants| right(grants) && !grants.to.is_owner());
        std::iter::once(&self.owner).chain(granted.map(|grants| &grants.to)).find(is_stranger).cloned()
    }
}

/// # Safety
/// It points to an access list, or to nothing.
unsafe fn grants_of(list: *const ACL) -> io::Result<Vec<Grants>> {
    if list.is_null() {
        return Ok(vec![Grants { to: Sid::everybody(), mask: GENERIC_ALL }]);
    }
    let mut grants = Vec::new();
    // SAFETY: the caller says that it is a list.
    for at in 0..unsafe { (*list).AceCount } {
        let mut entry = null_mut();
        // SAFETY: the list has that many entries.
        if unsafe { GetAce(list, at.into(), &raw mut entry) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: every entry begins like this.
        let ACE_HEADER { AceType: kind, AceFlags: flags, .. } = unsafe { *entry.cast() };
        if u32::from(flags) & INHERIT_ONLY_ACE != 0 || DENYING.contains(&kind) {
            continue;
        }
        if !ALLOWING.contains(&kind) {
            // Not for files and pipes, by all that is known; so whatever it allows, it allows.
            grants.push(Grants { to: Sid::everybody(), mask: GENERIC_ALL });
            continue;
        }
        let entry = entry.cast::<ACCESS_ALLOWED_ACE>();
        // SAFETY: entries of these kinds are built so.
        let mask = unsafe { (*entry).Mask };
        // SAFETY: and their SID begins there.
        let to = unsafe { Sid::of_raw((&raw mut (*entry).SidStart).cast())? };
        grants.push(Grants { to, mask });
    }
    Ok(grants)
}

/// What is for its owner alone, in Windows's own notation, with these further entries.
pub fn private(owner: &Sid, inherited: bool, further: &str) -> String {
    let to_what_is_in_it = if inherited { "OICI" } else { "" };
    let entry = |who: &str| format!("(A;{to_what_is_in_it};FA;;;{who})");
    format!("O:{owner}D:P{}{}{}{further}", entry(&owner.to_string()), entry("SY"), entry("BA"))
}

/// What to do about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Make it for reading and writing; there must be none.
    New,
    /// Open it for reading and writing, and make it where there is none.
    IfMissing,
    /// Open it for writing at its end, and make it where there is none.
    ToAppend,
}

/// Makes a file that is `owner`'s alone. One that was there stays whose it was. A link is not followed.
///
/// # Errors
/// What Windows says.
pub fn make_private(path: &Path, make: Make, owner: &Sid) -> io::Result<File> {
    let name = wide(path)?;
    let descriptor = Descriptor::of_text(&private(owner, false, ""))?;
    let attributes = descriptor.attributes();
    let access = match make {
        Make::New | Make::IfMissing => FILE_GENERIC_READ | FILE_GENERIC_WRITE,
        Make::ToAppend => FILE_GENERIC_READ | FILE_GENERIC_WRITE & !FILE_WRITE_DATA,
    };
    // SAFETY: the name ends with a zero, and the attributes and what they point to outlive the call.
    let file = unsafe {
        CreateFileW(
            name.as_ptr(),
            access,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            &raw const attributes,
            if make == Make::New { CREATE_NEW } else { OPEN_ALWAYS },
            FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT,
            null_mut(),
        )
    };
    if file == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it has just been opened for us.
    Ok(unsafe { File::from_raw_handle(file) })
}

/// Makes a folder that is `owner`'s alone, and so is what will be in it; with these further entries.
///
/// # Errors
/// What Windows says.
pub fn make_folder(path: &Path, owner: &Sid, further: &str) -> io::Result<()> {
    let name = wide(path)?;
    let descriptor = Descriptor::of_text(&private(owner, true, further))?;
    let attributes = descriptor.attributes();
    // SAFETY: the name ends with a zero, and the attributes and what they point to outlive the call.
    if unsafe { CreateDirectoryW(name.as_ptr(), &raw const attributes) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What to type to leave a file or folder to this user.
pub fn closing(path: &Path) -> String {
    format!(
        "icacls \"{}\" /inheritance:r /grant:r \"%USERNAME%:F\" SYSTEM:F Administrators:F",
        path.display()
    )
}

/// A descriptor in memory that Windows has allocated.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    fn of_text(text: &str) -> io::Result<Self> {
        let text = wide(text)?;
        let mut made = null_mut();
        // SAFETY: the text ends with a zero, and the place is one for a pointer.
        let is_made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut made,
                null_mut(),
            )
        };
        if is_made == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(made)) }
    }

    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or_default(),
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }

    fn text(&self, what: u32) -> io::Result<String> {
        let (mut text, mut length) = (null_mut::<u16>(), 0);
        // SAFETY: this is a descriptor, and a text is allocated for us.
        let is_told = unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.0,
                SDDL_REVISION_1,
                what,
                &raw mut text,
                &raw mut length,
            )
        };
        if is_told == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is so long, its end included.
        let told = String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length as usize) });
        // SAFETY: it was allocated for us, and nothing borrows from it any more.
        unsafe { LocalFree(text.cast()) };
        Ok(told.trim_end_matches('\0').to_owned())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it was allocated for us, and nothing borrows from it any more.
        unsafe { LocalFree(self.0) };
    }
}

/// What a client of a pipe needs: to read, to write, to see whose it is. Not to make further instances of it, which is what the
/// right to append means there.
pub const PIPE_ACCESS: u32 = (FILE_GENERIC_READ | FILE_GENERIC_WRITE) & !FILE_APPEND_DATA;
/// `ACCESS_ALLOWED_ACE_TYPE`, `ACCESS_ALLOWED_CALLBACK_ACE_TYPE`.
const ALLOWING: [u8; 2] = [0, 9];
/// `ACCESS_DENIED_ACE_TYPE` and its likes.
const DENYING: [u8; 4] = [1, 6, 10, 12];

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "to panic is how a test fails")]
mod tests {
    use super::*;
    use crate::own_identity;
    use std::io::{Read as _, Seek as _, Write as _};

    fn others(security: &Security, own: &Sid) -> Vec<Grants> {
        let is_other = |sid: &Sid| sid != own && !sid.is_system() && !sid.is_administrators();
        security.grants.iter().filter(|grants| is_other(&grants.to)).cloned().collect()
    }

    #[test]
    fn what_is_made_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let own = own_identity().unwrap().user;
        let inner = folder.path().join("inner");
        make_folder(&inner, &own, "").unwrap();
        let security = Security::of_path(&inner).unwrap();
        assert_eq!((&security.owner, others(&security, &own)), (&own, vec![]), "{security:?}");

        let mut file = make_private(&inner.join("file"), Make::New, &own).unwrap();
        let security = Security::of(&file).unwrap();
        assert_eq!((&security.owner, others(&security, &own)), (&own, vec![]), "{security:?}");
        file.write_all(b"one").unwrap();
        assert!(make_private(&inner.join("file"), Make::New, &own).is_err(), "it is there");
        make_private(&inner.join("file"), Make::ToAppend, &own).unwrap().write_all(b" two").unwrap();
        let mut again = make_private(&inner.join("file"), Make::IfMissing, &own).unwrap();
        let mut text = String::new();
        again.rewind().unwrap();
        again.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }

    #[test]
    fn whoever_may_do_anything_is_told_of() {
        let own = own_identity().unwrap().user;
        let of = |text: &str| {
            let descriptor = Descriptor::of_text(text).unwrap();
            let (mut list, mut is_there, mut is_default) = (null_mut(), 0, 0);
            // SAFETY: it is a descriptor, and each place is one for what is asked for.
            unsafe {
                windows_sys::Win32::Security::GetSecurityDescriptorDacl(
                    descriptor.0,
                    &raw mut is_there,
                    &raw mut list,
                    &raw mut is_default,
                );
                grants_of(list).unwrap()
            }
        };
        let told = |text: &str| -> Vec<_> {
            let grants = of(text);
            grants.iter().map(|grants| (grants.to.to_string(), grants.reading(), grants.writing())).collect()
        };
        let everybody = || "S-1-1-0".to_owned();
        assert_eq!(told("D:(A;;FR;;;WD)"), [(everybody(), true, false)]);
        assert_eq!(told("D:(A;;FW;;;WD)(D;;FA;;;BG)"), [(everybody(), false, true)]);
        assert_eq!(told("D:(A;;WD;;;WD)"), [(everybody(), true, true)], "it may allow itself the rest");
        let exchanging = |text: &str| of(text).iter().any(Grants::exchanging);
        assert!(exchanging("D:(A;;0x40;;;WD)") && exchanging("D:(A;;WO;;;WD)"));
        assert!(!exchanging("D:(A;;0x6;;;WD)"), "to put something into a folder");
        assert_eq!(told("D:(A;OICIIO;FA;;;WD)"), [], "not this one, only what is in it");
        // SAFETY: there is no list.
        let without_list = unsafe { grants_of(null_mut()).unwrap() };
        assert!(without_list[0].writing() && without_list[0].to == Sid::everybody());
        assert_eq!(told("D:P"), []);
        let ours = told(&private(&own, true, ""));
        assert_eq!(ours[0].0, own.to_string());
        assert_eq!(ours.len(), 3);
    }
}
