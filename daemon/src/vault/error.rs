//! What can go wrong with a vault, in sentences for its owner.
//!
//! Every sentence may name paths, owners, modes and process ids, and never a secret. Each is the whole story: a cause is
//! told in it and not chained behind it, so nothing is said twice or left out whoever prints it. Long, because each is a
//! decision that a caller can make.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use procurify_token_protocol::{CredentialName, SlotId, SlotKind};
use thiserror::Error;

use super::command::CommandError;
use super::keychain::KeychainError;

/// Why a vault cannot be made, opened or written.
#[derive(Debug, Error)]
pub enum VaultError {
    /// There is none.
    #[error("There is no vault at {path}.", path = .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is none, but older generations of one are.
    #[error("There is no vault at {path}, but older generations of it are kept. {}", restore_advice(.path), path = .path.display())]
    OnlyOlder {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is no older generation of this number.
    #[error("There is no older generation of the vault at {path}. {}", restore_advice(.vault), path = .path.display())]
    NoGeneration {
        /// Where it was looked for.
        path: PathBuf,
        /// The vault.
        vault: PathBuf,
    },
    /// There is one already, or what is left of one, and it is not touched.
    #[error(
        "There is already a file at {path}, and it may hold secrets: nothing was changed. Move it away to make a new vault.",
        path = .path.display()
    )]
    Exists {
        /// The file: the vault or its previous generation.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{path} is not a vault.", path = .path.display())]
    NotAVault {
        /// The file.
        path: PathBuf,
    },
    /// The end of the file is missing.
    #[error("The end of {path} is missing. {}", restore_advice(.path), path = .path.display())]
    Truncated {
        /// The vault.
        path: PathBuf,
    },
    /// Bytes of the file have changed.
    #[error("{path} is damaged. {}", restore_advice(.path), path = .path.display())]
    Damaged {
        /// The vault.
        path: PathBuf,
    },
    /// What is to take the vault's place is not whole.
    #[error(
        "The backup is damaged or not all there, so nothing was put in the vault's place. Take another one."
    )]
    BadBackup,
    /// A later version wrote what is to take the vault's place, and it is whole.
    #[error(
        "The backup was written by a newer version: its format is {found}, and procurify-tokend {version} reads formats up to {known}. \
         Nothing was put in the vault's place. Install that version to restore it, or take an older backup.",
        version = env!("CARGO_PKG_VERSION")
    )]
    NewerBackup {
        /// Its format.
        found: u16,
        /// The newest format that this program reads.
        known: u16,
    },
    /// The file is larger than any vault, so it was not read.
    #[error("{path} is larger than a vault can be ({MAX_FILE} bytes).", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A later version wrote the file, and it is whole.
    #[error(
        "{path} was written by a newer version: its format is {found}, and procurify-tokend {version} reads formats up to {known}. It was \
         left as it is. Install the newer version again. To stay with this one, without what was changed since: {}",
        restore_advice(.path), path = .path.display(), version = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The vault.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// The newest format that this program reads.
        known: u16,
    },
    /// The key file or the passphrase is not this vault's.
    #[error("The {kind} does not open {path}.", path = .path.display())]
    WrongKey {
        /// The vault.
        path: PathBuf,
        /// What was tried.
        kind: SlotKind,
    },
    /// Nothing of the kind was ever set up for this vault.
    #[error("{path} is not opened by a {kind}.", path = .path.display())]
    NoSuchSlot {
        /// The vault.
        path: PathBuf,
        /// What was tried.
        kind: SlotKind,
    },
    /// No slot opens without a person.
    #[error("{path} is opened by a person only: none of its slots is for a key file, a systemd credential, a keychain or a command.", path = .path.display())]
    OnlyByPerson {
        /// The vault.
        path: PathBuf,
    },
    /// Each of the slots that need no person failed.
    #[error("{}", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))]
    NoneOpens {
        /// How each of them failed, in the order in which they were tried.
        failures: Vec<VaultError>,
    },
    /// The vault is opened by a systemd credential, and systemd has handed none over.
    #[error("{}", credential_missing(.path.as_deref()))]
    CredentialMissing {
        /// Where it was looked for, if systemd hands over anything at all.
        path: Option<PathBuf>,
    },
    /// The vault is opened by what a command prints, and none is configured.
    #[error(
        "No command that prints a key is configured: [vault] command in the configuration file names it."
    )]
    NoCommand,
    /// The configured command gave no key.
    #[error("The command {program} gives no key: {error}.")]
    Command {
        /// The program.
        program: String,
        /// Why not.
        error: CommandError,
    },
    /// There is no keychain to keep a key in, or none that would give it.
    #[error("The keychain gives no key: {0}.")]
    Keychain(#[from] KeychainError),
    /// The vault has as many slots as it can.
    #[error("{path} has as many key slots as a vault can.", path = .path.display())]
    SlotsFull {
        /// The vault.
        path: PathBuf,
    },
    /// A second slot of a kind of which there can be only one, and the one that is there is opened by what is there.
    #[error("{path} has a slot for a {kind} already, and the one that is here opens it.", path = .path.display())]
    SlotExists {
        /// The vault.
        path: PathBuf,
        /// The kind.
        kind: SlotKind,
    },
    /// The vault asks for more or less work on a passphrase than any version would write.
    #[error("{path} names Argon2id parameters out of bounds, so they were not tried.", path = .path.display())]
    KdfParameters {
        /// The vault.
        path: PathBuf,
    },
    /// The machine cannot give the memory that stretching the passphrase takes.
    #[error("Opening {path} takes {kib} KiB of memory for a moment, and there is not that much.", path = .path.display())]
    OutOfMemory {
        /// The vault.
        path: PathBuf,
        /// How much.
        kib: u32,
    },
    /// The vault is opened by a key file, and the key file is not there.
    #[error("The key file {path} is missing. Put it back from your backup; where the vault has another key, procurify-token unlock asks for that.", path = .path.display())]
    KeyFileMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is not a key file.
    #[error("{path} is not a key file: it must be the one line that this program wrote.", path = .path.display())]
    KeyFileMalformed {
        /// The file.
        path: PathBuf,
    },
    /// A link, a folder, a device or a pipe stands where a file must be.
    #[error("{path} is not a regular file; links are not followed.", path = .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A vault or key file belongs to somebody else.
    #[error("{path} belongs to user id {found} and must belong to user id {wanted}.", path = .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        found: u32,
        /// The user that this program runs as.
        wanted: u32,
    },
    /// Others may read or write a vault or key file.
    #[error("{path} has mode {found:04o} and must be closed to others: chmod 600 mends it.", path = .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// The folder of a vault or key file belongs to somebody else.
    #[error("The folder {path} belongs to user id {found} and must belong to user id {wanted} or to root.", path = .path.display())]
    FolderOwner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        found: u32,
        /// The user that this program runs as.
        wanted: u32,
    },
    /// Others may put files into the folder of a vault or key file.
    #[error("The folder {path} has mode {found:04o} and must not be writable by others: chmod 700 mends it.", path = .path.display())]
    FolderMode {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// Somebody else owns a vault or key file or its folder, or may get at it (Windows).
    #[error("{path} is open to {who} and must be closed to others: {mend} mends it.", path = .path.display())]
    OpenToOthers {
        /// The file or folder.
        path: PathBuf,
        /// A SID.
        who: String,
        /// What to type.
        mend: String,
    },
    /// Somebody else replaced the vault since it was opened; writing would destroy what they put there.
    #[error("{path} was replaced by another program since it was opened, so nothing was written.", path = .path.display())]
    ChangedOnDisk {
        /// The vault.
        path: PathBuf,
    },
    /// The vault was made, but the disk did not confirm it: a power loss may undo that.
    #[error("The vault was made, but not confirmed by the disk: {0}")]
    Unconfirmed(IoFailure),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

/// Why a change was not made.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// There is no credential of this name.
    #[error("There is no credential of this name.")]
    UnknownCredential,
    /// There is one of this name already.
    #[error("There is already a credential of this name.")]
    Exists,
    /// No pair is staged that could be promoted.
    #[error("No new client credentials are staged.")]
    NothingStaged,
    /// No previous pair is kept.
    #[error("No previous client credentials are kept.")]
    NoPrevious,
    /// Another pair is staged already.
    #[error("Other client credentials are already staged.")]
    StagedExists,
    /// The vault holds as much as it can.
    #[error("The vault is full.")]
    Full,
    /// There is no slot of this id.
    #[error("No key slot is named {0}.")]
    UnknownSlot(SlotId),
    /// Nothing would open the vault any more.
    #[error("That would leave the vault without a key slot, so nothing was changed.")]
    LastSlot,
    /// A slot that stays was not opened, so it could not be kept.
    #[error("The {kind} of slot {id} is needed, so that the slot can be kept. {why}")]
    SlotNotOpened {
        /// The slot.
        id: SlotId,
        /// What opens it.
        kind: SlotKind,
        /// What came of trying; empty where nothing could be tried.
        why: String,
    },
    /// The slots have changed while keys were derived.
    #[error("The key slots have changed meanwhile, so nothing was changed now.")]
    SlotsChanged,
    /// A sealed secret in memory is damaged, so it cannot be sealed anew.
    #[error("The client secret of {0} is damaged in memory, so nothing was changed.")]
    DamagedSecret(CredentialName),
    /// These are enrolled already.
    #[error("{} of the credentials are enrolled already, so none was stored: {}", .0.len(), some_of(.0))]
    SomeExist(Vec<CredentialName>),
    /// The change could not be written. Memory and disk are as before.
    #[error("The change was not stored. {0}")]
    NotStored(VaultError),
    /// The change was made, in memory and on the disk as everybody sees it, but the disk did not confirm it: until the
    /// next change succeeds, a power loss may undo it.
    #[error("The change was made, but not confirmed by the disk, so a power loss may undo it: {0}")]
    Unconfirmed(IoFailure),
}

/// Why a client secret cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretError {
    /// There is no credential of this name, or it has no such pair.
    #[error("There are no such client credentials.")]
    Unknown,
    /// What is sealed in memory does not open: the memory of this process has changed.
    #[error("The sealed client secret is damaged.")]
    Damaged,
}

/// A step on the disk that the operating system refused.
#[derive(Debug, Error)]
#[error("Could not {step} {path}: {cause}.", path = .path.display())]
pub struct IoFailure {
    /// What was being done.
    pub step: Step,
    /// With which file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub cause: io::Error,
}

/// The steps that a vault's way to and from the disk consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making a missing folder.
    CreateFolder,
    /// Looking at owner and mode.
    Inspect,
    /// Opening a file.
    Open,
    /// Reading it.
    Read,
    /// Making the temporary file.
    Create,
    /// Filling it.
    Write,
    /// Flushing it to the disk.
    Flush,
    /// Giving the generation so far a second name.
    Link,
    /// Making that the previous generation, and moving the older ones up.
    Keep,
    /// Dropping a generation that is no longer kept.
    Drop,
    /// Putting the new file in its place.
    Replace,
    /// Flushing the folder to the disk.
    FlushFolder,
    /// Locking the folder for one daemon.
    Lock,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateFolder => "make the folder",
            Self::Inspect => "look at",
            Self::Open => "open",
            Self::Read => "read",
            Self::Create => "make the file",
            Self::Write => "write",
            Self::Flush => "flush to the disk",
            Self::Link => "link",
            Self::Keep => "keep the previous generation as",
            Self::Drop => "drop the old generation",
            Self::Replace => "put the new file in place of",
            Self::FlushFolder => "flush to the disk the folder",
            Self::Lock => "lock",
        })
    }
}

/// The longest vault file, in bytes.
pub(super) const MAX_FILE: u64 = 1 << 30;

fn restore_advice(path: &Path) -> String {
    let before = super::file::generations_before(path);
    match before.iter().find(|(_, older)| super::file::is_whole(older)) {
        Some((number, older)) => format!(
            "A generation before it is kept as {}; procurify-token unlock --generation {number} goes back to it.",
            older.display()
        ),
        None if before.is_empty() => {
            "No generation before it is kept; procurify-token restore puts a backup in its place.".to_owned()
        }
        None => {
            "None of the generations before it is whole and may be read; procurify-token doctor says more of them, and \
             procurify-token restore puts a backup in its place."
                .to_owned()
        }
    }
}

fn credential_missing(path: Option<&Path>) -> String {
    match path {
        Some(path) => format!(
            "The systemd credential {} is missing: LoadCredentialEncrypted= in the unit hands it over.",
            path.display()
        ),
        None => "systemd hands no credential to this process: start the service, with LoadCredentialEncrypted= in its \
                 unit, or use another slot."
            .to_owned(),
    }
}

fn some_of(names: &[CredentialName]) -> String {
    let shown: Vec<_> = names.iter().take(MOST_NAMES).map(CredentialName::as_str).collect();
    let more = if names.len() > MOST_NAMES { ", …" } else { "." };
    shown.join(", ") + more
}

const MOST_NAMES: usize = 20;
